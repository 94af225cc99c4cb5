"""How much of a change is brightness, contrast, saturation and fine detail: the panel on images that match real ones in these.

    python benchmarks/matched.py cifar10-dcgan --data ../shared/data/cifar10 --runs runs/panel --num-images 500 --seeds 0,1,2,3
        -> benchmarks/results/MODEL-matched.json

Four numbers an image: its mean; the standard deviation of its grey values; the mean distance of its largest and smallest colour
channel; the root mean square difference of neighbouring grey values. A logistic regression on them and their products tells
each set of images from test images; its odds, cut at their 97th percentile, say at random which images stay. What is left has
the real images' distribution of these numbers, and the panel is asked again, base and refined images both matched. Images are
drawn, or read from --runs, as by `benchmarks/panel.py`. Beside it stands how r goes with each number among base images.
"""

import json
from typing import Any

import torch
from logistic import logistic
from panel import part_of, parts_parser
from scipy.stats import spearmanr
from speed import machine
from torch import Tensor

from ebm_refine import load
from ebm_refine.data.images import load_images
from ebm_refine.energies.targets import target_of
from ebm_refine.evaluation.tables import RESULTS
from ebm_refine.metrics.distances import kernel_distance
from ebm_refine.metrics.panel import projected
from ebm_refine.metrics.panel_kinds import kinds_seen
from ebm_refine.metrics.panel_rights import as_reference
from ebm_refine.metrics.panel_store import embedded_panel
from ebm_refine.utils.atomic_io import replacing
from ebm_refine.utils.devices import dtype_for

NUMBERS = ("brightness", "contrast", "saturation", "fine detail")
# Grey levels of 255; keeps the logarithm of an image of one colour finite.
LEAST = 0.5
CUT, PENALTY = 0.97, 1e-3


def numbers_of(pixels: Tensor) -> Tensor:
    """uint8 images (N, C, H, W) -> (N, 4) float64 in grey levels, in the order of NUMBERS; of one channel saturation is 0."""
    images = pixels.double()
    grey = images.mean(1)
    across, down = grey.diff(dim=2).square().mean((1, 2)), grey.diff(dim=1).square().mean((1, 2))
    saturation = (images.amax(1) - images.amin(1)).mean((1, 2))
    return torch.stack([grey.mean((1, 2)), grey.flatten(1).std(1), saturation, (across + down).sqrt()], dim=1)


def matching(numbers: Tensor, real: Tensor, seed: int = 0) -> Tensor:
    """Which rows of `numbers` (N, 4) stay, so that they are distributed as `real` (M, 4): indices (K,)."""

    def logs(rows: Tensor) -> Tensor:
        return torch.cat([rows[:, :1], rows[:, 1:].clamp_min(LEAST).log()], dim=1)

    middle, spread = logs(real).mean(0), logs(real).std(0).clamp_min(1e-6)

    def terms(rows: Tensor) -> Tensor:
        unit = (logs(rows) - middle) / spread
        one, two = torch.triu_indices(unit.shape[1], unit.shape[1])
        return torch.cat([torch.ones(len(unit), 1, dtype=unit.dtype), unit, unit[:, one] * unit[:, two]], dim=1)

    both, is_real = torch.cat([terms(numbers), terms(real)]), torch.cat([torch.zeros(len(numbers)), torch.ones(len(real))])
    weights = logistic(both, is_real, PENALTY)
    odds = (terms(numbers) @ weights).exp()
    draws = torch.rand(len(odds), generator=torch.Generator().manual_seed(seed), dtype=odds.dtype)
    return (draws < odds / odds.quantile(CUT)).nonzero().squeeze(1)


def moments(numbers: Tensor) -> dict[str, dict[str, float]]:
    return {
        name: {"mean": float(column.mean()), "sd": float(column.std())} for name, column in zip(NUMBERS, numbers.T, strict=True)
    }


def correlations(model: str, seed: int, count: int) -> dict[str, float]:
    """Spearman's rank correlation of the refitted r with each number among `count` base images."""
    checkpoint = load(model)
    target: Any = target_of(checkpoint, "refitted", dtype=dtype_for("auto", "cpu"))
    latents = target.init(seed, torch.arange(count))
    with torch.no_grad():
        ratios, numbers = target.log_ratio(latents), numbers_of(target.decode(latents))
    pairs = zip(NUMBERS, numbers.T, strict=True)
    return {name: float(spearmanr(ratios.numpy(), column.numpy()).statistic) for name, column in pairs if column.std() > 0}


def main() -> None:
    chosen = parts_parser(__doc__, "default,elliptical-slice:n_steps=150,best-of-50,dg-flow").parse_args()
    checkpoint = load(chosen.model)
    dataset = checkpoint.config["data"]["dataset"]
    panel = embedded_panel(dataset)
    seeds = [int(seed) for seed in chosen.seeds.split(",")]
    real = load_images(dataset, chosen.data, "test").pixels[: chosen.real]
    real_numbers = numbers_of(real)
    references = {kind: as_reference(rows, "test") for kind, rows in projected(panel, real).items()}
    sets: dict[str, tuple[dict[str, Any], Tensor]] = {}
    for method in chosen.methods.split(","):
        parts = [part_of(checkpoint, method, seed, chosen.num_images, chosen.runs) for seed in seeds]
        sets.setdefault("base", ({"method": "base", "settings": {}}, torch.cat([part["before"] for part in parts])))
        own = {name: parts[0][name] for name in ("method", "settings")}
        sets[method] = (own, torch.cat([part["after"] for part in parts]))
    rows = []
    for own, images in sets.values():
        numbers = numbers_of(images)
        matched = matching(numbers, real_numbers)
        kinds = {}
        for kind, features in projected(panel, images).items():
            kinds[kind] = {
                "all": kernel_distance(features, references[kind])._asdict(),
                "matched": kernel_distance(features[matched], references[kind])._asdict(),
            }
        rows.append(
            {
                **own,
                "numbers": moments(numbers),
                "matched_numbers": moments(numbers[matched]),
                "kept": len(matched),
                "kinds": kinds,
            }
        )
        print(own["method"], len(matched), {kind: round(one["matched"]["value"], 4) for kind, one in kinds.items()}, flush=True)
    results = {
        "model": checkpoint.name, "weights": checkpoint.hashes, "panel": panel.name, "fingerprint": panel.fingerprint,
        "body": ", ".join(kinds_seen(checkpoint.config)) or None, "num_images": chosen.num_images * len(seeds), "seeds": seeds,
        "real_images": len(real), "real": moments(real_numbers),
        "correlations": correlations(chosen.model, seeds[0], 1000), "rows": rows, **machine(),
    }  # fmt: skip
    file = RESULTS / f"{checkpoint.name}-matched.json"
    with replacing(file) as temporary:
        temporary.write_text(json.dumps(results, indent=1) + "\n")
    print(f"wrote {file}")


if __name__ == "__main__":
    main()
