"""The results that open with the page: one run each from the embedded models, its first images and its film as small files.

`python benchmarks/showcase.py` writes `showcase.json` and its pictures into `ebm_refine/ui/assets`. Seed 0, the first images of
that seed, the models' own settings: nothing is picked by hand.
"""

import json
from pathlib import Path
from typing import Any

from PIL import Image

from ebm_refine import render
from ebm_refine.ui.runtime import limits
from ebm_refine.ui.runtime.pictures import ASSETS
from ebm_refine.ui.tabs.refine.job import Finished, Record, film_samples, run
from ebm_refine.ui.tabs.refine.pictures import FILM_QUALITY, film_pictures, film_steps, sheets
from ebm_refine.ui.tabs.refine.showcase import FILE

QUALITY, CARD_SIDE, CARD_TILES = FILM_QUALITY, 112, 4
PREVIEW_SIZE = (1200, 630)
# key, title, model, arguments of `refine` where they differ from the model's own
RUNS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("digits", "Digits", "mnist-gan", {"num_images": 256}),
    ("cifar", "CIFAR-10", "cifar10-cgan", {"num_images": 128}),
    ("faces", "Faces", "celeba-dcgan", {}),
    ("gaussians", "25 Gaussians", "toy-grid25-exact", {"method": "i-sir", "n_steps": 60, "num_images": 1000,
                                                       "options": {"particles": 100}}),
)  # fmt: skip


def main() -> None:
    limits.MAX_SECONDS = 3600  # a busy machine may take its time
    entries = []
    for key, title, model, arguments in RUNS:
        *_, end = run(model, {"seed": 0, **arguments})
        assert isinstance(end, Finished)
        record = end.record
        entries.append(entry(key, title, model, arguments, record))
        print(key, record.metrics.get("kernel_distance", {}).get("difference"), round(record.seconds, 1), flush=True)
    (ASSETS / FILE).write_text(json.dumps(entries, indent=1) + "\n")
    preview(ASSETS)
    sizes = {file.name: file.stat().st_size for file in sorted(ASSETS.glob("show-*"))}
    print(sizes, sum(sizes.values()))


def entry(key: str, title: str, model: str, arguments: dict[str, Any], record: Record) -> dict[str, Any]:
    """Write one run's pictures; gives what `showcase.json` says of it."""
    both, points = sheets(record), record.bounds is not None
    frames, steps = film_pictures(record)
    card = frames[-1].resize((CARD_SIDE, CARD_SIDE)) if points else last_tiles(record)
    files = {"before": both.before, "after": both.after, "film": render.strip(frames), "card": card}
    for name, picture in files.items():
        quality = QUALITY if name in ("film", "card") else None
        (ASSETS / f"show-{key}-{name}.webp").write_bytes(render.webp(picture, quality))
    assert steps == film_steps(record)
    return {
        "key": key,
        "title": title,
        "model": model,
        "arguments": {"seed": 0, **arguments},
        "metrics": record.metrics,
        "film_steps": steps,
        "layout": both.layout._asdict() if both.layout else None,
        "files": {name: f"show-{key}-{name}.webp" for name in files},
    }


def last_tiles(record: Record) -> Image.Image:
    """The first images after the run, small."""
    samples, _ = film_samples(record, 0, CARD_TILES, 2)
    picture = render.grid(samples[-1])
    scale = max(1, CARD_SIDE // picture.width)
    return picture.resize((picture.width * scale, picture.height * scale), resample=0)


def preview(folder: Path) -> None:
    """What chat programs show of the page: the first images before and after."""
    whole = Image.new("RGB", PREVIEW_SIZE, (15, 23, 42))
    for number, name in enumerate(("before", "after")):
        picture = Image.open(folder / f"show-digits-{name}.webp").convert("RGB").resize((540, 540), resample=0)
        whole.paste(picture, (40 + number * 580, 45))
    whole.save(folder / "preview.png", optimize=True)


if __name__ == "__main__":
    main()
