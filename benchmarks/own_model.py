"""A stranger's GAN brought to `ebm_refine`: wrapped, given a ratio from 5,000 real images, refined, and put before the panel.

    python benchmarks/small_gan.py --data ../shared/data/mnist --out runs/small_gan-2000.pt --steps 2000
    python benchmarks/own_model.py --data ../shared/data/mnist --gan runs/small_gan-2000.pt --averaged \\
        [--out benchmarks/results/own_model.json]
    python benchmarks/own_model.py --vectors [--out benchmarks/results/own_model.json]

Between the two marks below stands all that somebody with a GAN of their own writes. The panel's kinds vote, save the one that
the ratio's body is of; the second form does the same for vectors, a small table whose law is known.
"""

import argparse
import json
import math
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from small_gan import LATENT, digits, networks
from speed import machine
from torch import Tensor, nn

import ebm_refine
from ebm_refine.evaluation.tables import RESULTS
from ebm_refine.metrics.panel_kinds import kinds_seen

REAL, IMAGES = 5000, 2000


def images(given: argparse.Namespace) -> dict[str, Any]:
    real, labels = digits(given.data)[:REAL], numbers(given.data)[:REAL]
    method, *settings = given.method.split(":")
    options = {
        name: float(value) if "." in value else int(value) for name, _, value in (one.partition("=") for one in settings)
    }
    started = Clock()

    # From here …
    generator, discriminator = networks(given.gan, given.averaged)
    mine = ebm_refine.pair(generator, discriminator, latent=(LATENT, 1, 1), name="small-gan", ratio=given.ratio)
    if given.ratio is None:
        mine = ebm_refine.fit_ratio(mine, (real, labels), body=given.body, runs=given.runs)
        mine.save_ratio(Path(given.gan).with_suffix(".ratio.safetensors"))
    fitted = Clock()
    result = ebm_refine.refine(mine, method, num_images=given.num_images, **options)
    # … to here.

    refined = Clock()
    report = ebm_refine.panel(result.before, result.after, dataset="mnist", split=given.split, body=kinds_seen(mine.config))
    print(report, file=sys.stderr)
    voting = [row for row in report.rows if row.votes]
    mnist_gan = json.loads((RESULTS / "mnist-gan-panel.json").read_text())["rows"][0]["rows"]
    ours = {row["kind"]: row["before"]["value"] for row in mnist_gan}
    return {
        "settings": result.settings.as_dict(),
        "gan": {"file": Path(given.gan).name, "averaged": given.averaged},
        "real_images": REAL,
        "split": given.split,
        "seconds": {"fit": fitted.since(started), "refine": refined.since(fitted)},
        "ratio": mine.config["training"]["ratio"],
        "ratio_report": {name: without_lists(one) for name, one in mine.config["ratio_report"].items()},
        "diagnostics": {name: value for name, value in result.diagnostics.items() if isinstance(value, int | float | str)},
        "panel": report.as_dict(),
        "base_against_mnist_gan": {row.kind: row.before.value / ours[row.kind] for row in report.rows},
        "median_change_of_voters": statistics.median(row.relative for row in voting) if voting else None,
        **machine(),
    }


class Clock:
    """Wall and processor time; the machine may be shared."""

    def __init__(self) -> None:
        self.wall, self.processor = time.monotonic(), time.process_time()

    def since(self, other: "Clock") -> dict[str, float]:
        return {"wall": self.wall - other.wall, "processor": self.processor - other.processor}


def finite(found: Any) -> Any:
    """The same with None for what is no number, such as a spread over one seed; JSON has no NaN."""
    if isinstance(found, dict):
        return {name: finite(value) for name, value in found.items()}
    if isinstance(found, list | tuple):
        return [finite(value) for value in found]
    return None if isinstance(found, float) and not math.isfinite(found) else found


def without_lists(report: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in report.items() if not isinstance(value, list | dict)}


def numbers(folder: str) -> Tensor:
    """The digits' labels (N,)."""
    import pyarrow.parquet as pq

    return torch.cat([torch.tensor(pq.read_table(file)["label"].to_pylist()) for file in sorted(Path(folder).glob("train-*"))])


def table(count: int, seed: int) -> Tensor:
    """(count, 4) float32: two correlated columns, one of two humps, one positive and skewed."""
    source = torch.Generator().manual_seed(seed)
    n = torch.randn(count, 4, generator=source)
    humps = torch.where(torch.rand(count, generator=source) < 0.3, -2.0, 1.0) + 0.4 * n[:, 2]
    return torch.stack([n[:, 0], 0.8 * n[:, 0] + 0.6 * n[:, 1], humps, (0.5 * n[:, 3]).exp()], dim=1)


def vectors(steps: int = 1500) -> dict[str, Any]:
    """A small GAN of that table, trained on the spot."""
    real = table(20_000, 0)
    torch.manual_seed(0)
    g = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))
    d = nn.Sequential(nn.Linear(4, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))
    of_g, of_d = (torch.optim.Adam(network.parameters(), 1e-3, (0.5, 0.9)) for network in (g, d))
    for _ in range(steps):
        some, fake = real[torch.randint(len(real), (128,))], g(torch.randn(128, 8))
        loss = nn.functional.softplus(-d(some)).mean() + nn.functional.softplus(d(fake.detach())).mean()
        of_d.zero_grad()
        loss.backward()
        of_d.step()
        of_g.zero_grad()
        nn.functional.softplus(-d(fake)).mean().backward()
        of_g.step()

    started = time.monotonic()
    mine = ebm_refine.fit_ratio(ebm_refine.pair(g, d, latent=8, name="small-table"), real)
    fit = time.monotonic() - started
    results = ebm_refine.evaluate(mine, methods=["mala", "i-sir"], real=table(5000, 1), num_images=2000)
    return {
        "seconds": {"fit": fit, "all": time.monotonic() - started},
        "ratio_report": {name: one["verdict"] for name, one in mine.config["ratio_report"].items()},
        "rows": results["rows"],
        **machine(),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data")
    parser.add_argument("--gan")
    parser.add_argument("--vectors", action="store_true")
    parser.add_argument("--averaged", action="store_true", help="the averaged generator in place of the plain one")
    parser.add_argument("--body", help="of the ratio; without it by size and labels")
    parser.add_argument("--method", default="elliptical-slice:n_steps=150", help="with its settings, as in mh-gan:n_steps=49")
    parser.add_argument("--num-images", type=int, default=IMAGES)
    parser.add_argument("--split", default="test", help="real images of the panel: test, or holdout to choose settings")
    parser.add_argument("--ratio", help="a ratio fitted before")
    parser.add_argument("--runs", default="runs/own-model", help="folder of the fit's resumable state")
    parser.add_argument("--out")
    given = parser.parse_args()
    found = finite(vectors() if given.vectors else images(given))
    if given.out:  # both runs share a file
        out = Path(given.out)
        known = json.loads(out.read_text()) if out.exists() else {}
        out.write_text(json.dumps({**known, "vectors" if given.vectors else "images": found}, indent=1) + "\n")
    print(json.dumps(found, indent=1))
