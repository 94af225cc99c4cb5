"""Can a classifier of a kind that no ratio uses distinguish refined from real images less well than the generator's own?

    python benchmarks/fresh_classifier.py cifar10-cgan --data ../shared/data/cifar10 --runs runs/panel --num-images 500
        -> benchmarks/results/MODEL-fresh-classifier.json

A classifier two-sample test (Lopez-Paz and Oquab 2017, arXiv 1610.06545). For every kind of the panel that the ratio does
not see with: a logistic regression on the panel's features and their squares, with a ridge, fitted to half of the test images
and of the generated ones, and its cross-entropy on the other half, both ways round; the two classes weigh the same. log 2 is
0.693, that of a classifier that cannot distinguish them. Base and refined images are set against the same test images, row by
row, so that what they share cancels in the gain. Images are drawn, or read from --runs, as by `benchmarks/panel.py`.
"""

import json
from pathlib import Path
from typing import Any

import torch
from logistic import logistic
from panel import described, part_of, parts_parser
from speed import machine
from torch import Tensor

from ebm_refine import load
from ebm_refine.data.images import load_images
from ebm_refine.evaluation.tables import RESULTS
from ebm_refine.metrics.panel import projected
from ebm_refine.metrics.panel_kinds import kinds_seen
from ebm_refine.metrics.panel_store import embedded_panel
from ebm_refine.utils.atomic_io import replacing

METHODS = "default,elliptical-slice:n_steps=50,elliptical-slice:n_steps=150,best-of-50,dg-flow"
# The ridge is on the mean loss, in standardised features.
RIDGE, FARTHEST = 1e-3, 6.0


def losses(made: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Held-out cross-entropies, in nats, of each row of features `made` (N, d) and `real` (M, d), float64.

    Even rows judge by what odd rows taught, and the other way round.
    """
    on_made, on_real = (torch.empty(len(rows), dtype=torch.float64) for rows in (made, real))
    for first in (0, 1):
        taught, judged = slice(first, None, 2), slice(1 - first, None, 2)
        weights, middle, spread = fitted(made[taught], real[taught])
        logits = [_terms(rows[judged], middle, spread) @ weights for rows in (made, real)]
        on_made[judged] = torch.nn.functional.softplus(logits[0])
        on_real[judged] = torch.nn.functional.softplus(-logits[1])
    return on_made, on_real


def fitted(made: Tensor, real: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Weights of the logistic regression for `real` against `made`, and the mean and deviation that standardise features."""
    middle, spread = real.double().mean(0), real.double().std(0).clamp_min(1e-9)
    rows = torch.cat([_terms(made, middle, spread), _terms(real, middle, spread)])
    is_real = torch.cat([torch.zeros(len(made)), torch.ones(len(real))]).double()
    # Each class has half of the weight, however many rows it has.
    share = torch.cat([torch.full((len(made),), 0.5 / len(made)), torch.full((len(real),), 0.5 / len(real))]).double()
    return logistic(rows, is_real, RIDGE, share), middle, spread


def _terms(rows: Tensor, middle: Tensor, spread: Tensor) -> Tensor:
    unit = ((rows.double() - middle) / spread).clamp(-FARTHEST, FARTHEST)
    return torch.cat([torch.ones(len(unit), 1, dtype=torch.float64), unit, unit.square()], dim=1)


def summary(made: tuple[Tensor, Tensor], base: tuple[Tensor, Tensor] | None) -> dict[str, float]:
    """Cross-entropy with its standard error, and its rise over `base`, paired row by row."""

    def mean(sides: tuple[Tensor, Tensor]) -> tuple[float, float]:
        value = sum(float(side.mean()) / 2 for side in sides)
        return value, sum(float(side.var()) / len(side) / 4 for side in sides) ** 0.5

    value, error = mean(made)
    found = {"cross_entropy": value, "error": error}
    if base is not None:
        gain, gain_error = mean((made[0] - base[0], made[1] - base[1]))
        found |= {"gain": gain, "gain_error": gain_error}
    return found


def main() -> None:
    chosen = parts_parser(__doc__, METHODS).parse_args()
    checkpoint = load(chosen.model)
    dataset = checkpoint.config["data"]["dataset"]
    panel, seeds = embedded_panel(dataset), [int(seed) for seed in chosen.seeds.split(",")]
    real = projected(panel, load_images(dataset, chosen.data, "test").pixels[: chosen.real])
    unused = [kind for kind in real if kind not in kinds_seen(checkpoint.config)]
    rows: list[dict[str, Any]] = []
    base: dict[str, tuple[Tensor, Tensor]] = {}
    for method in chosen.methods.split(","):
        parts = [part_of(checkpoint, method, seed, chosen.num_images, chosen.runs) for seed in seeds]
        if not rows:
            features = projected(panel, torch.cat([part["before"] for part in parts]))
            base = {kind: losses(features[kind], real[kind]) for kind in unused}
            rows.append({"method": "base", "settings": {}, "kinds": {kind: summary(base[kind], None) for kind in unused}})
        features = projected(panel, torch.cat([part["after"] for part in parts]))
        kinds = {kind: summary(losses(features[kind], real[kind]), base[kind]) for kind in unused}
        rows.append({**described(parts), "kinds": kinds})
        print(
            rows[-1]["method"], {kind: {key: round(x, 4) for key, x in one.items()} for kind, one in kinds.items()}, flush=True
        )
    results = {
        "model": Path(checkpoint.name).name, "weights": checkpoint.hashes, "panel": panel.name,
        "fingerprint": panel.fingerprint, "num_images": chosen.num_images * len(seeds), "seeds": seeds,
        "real_images": len(next(iter(real.values()))), "rows": rows, **machine(),
    }  # fmt: skip
    with replacing(RESULTS / f"{results['model']}-fresh-classifier.json") as temporary:
        temporary.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
