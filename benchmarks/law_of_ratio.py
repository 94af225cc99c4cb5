"""The mean of r over the law that samplers draw from, by two estimators that share nothing, beside that over test images.

    python benchmarks/law_of_ratio.py cifar10-cgan --data ../shared/data/cifar10 -> benchmarks/results/MODEL-law-of-ratio.json

The first estimator weighs draws from the prior by exp(r) and normalises the weights (with classes, within each of them); the
second takes the ends of chains of elliptical slice sampling, 2,000 forward passes each. Where the weights rest on few draws
the first one is biased downwards, and its error says too little. Beside them stands the beta under which the law's mean of r,
by weighted draws, is that over the second half of the holdout images, which no fit has used: 1 where the ratio is right. The
chains of a file of the same weights are not run again.
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

import torch
from panel import target_by_best_ratio
from speed import machine
from table import best_ratio
from torch import Tensor

from ebm_refine import load, refine
from ebm_refine.data.images import load_images
from ebm_refine.energies.density_ratio import of_scores
from ebm_refine.energies.labels import labels_of
from ebm_refine.evaluation.tables import RESULTS
from ebm_refine.samplers.flow import effective_share
from ebm_refine.training.common.scores import scores_of
from ebm_refine.utils.atomic_io import replacing

MOST_REAL, BLOCK, LARGEST_BETA = 10_000, 2000, 8.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--data", required=True)
    parser.add_argument("--draws", type=int, default=20_000, help="from the prior")
    parser.add_argument("--chains", type=int, default=256)
    parser.add_argument("--passes", type=int, default=2000, help="forward passes of each chain")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    checkpoint = load(chosen.model)
    on_real = real_ratios(checkpoint, chosen.data, "test")[:MOST_REAL]

    drawn = torch.cat([prior_ratios(checkpoint, chosen.seed + start, BLOCK) for start in range(0, chosen.draws, BLOCK)])
    blocks = range(0, chosen.draws, BLOCK)
    labels = [labels_of(checkpoint.config, chosen.seed + start, torch.arange(BLOCK)) for start in blocks]
    known = [one for one in labels if one is not None]
    all_labels = torch.cat(known) if known else torch.zeros(len(drawn), dtype=torch.int64)
    on_unused = real_ratios(checkpoint, chosen.data, "holdout")
    on_unused = on_unused[len(on_unused) // 2 :]

    file = RESULTS / f"{Path(checkpoint.name).name}-law-of-ratio.json"
    asked = {"model": checkpoint.name, "weights": checkpoint.hashes, "seed": chosen.seed}
    shape = {"chains": chosen.chains, "passes": chosen.passes}
    older = json.loads(file.read_text()) if file.is_file() else {}
    if all(older.get(key) == value for key, value in asked.items()) and shape.items() <= older["chains"].items():
        chains, ends_quantiles = older["chains"], older["quantiles"]["chains"]
    else:
        result = refine(checkpoint, "elliptical-slice", n_steps=chosen.passes, num_images=chosen.chains, seed=chosen.seed,
                        ratio=best_ratio(checkpoint))  # fmt: skip
        ends = result.ratio_after.double()
        chains = {**mean_of(ends), **shape}
        ends_quantiles = quantiles(ends)
    found = {
        **asked,
        "real": {**mean_of(on_real), "images": len(on_real)},
        "prior": {**mean_of(drawn), "draws": len(drawn)},
        "weighted": weighted_mean(drawn, all_labels),
        "beta": {**solved_beta(drawn, all_labels, float(on_unused.mean())), "images": len(on_unused)},
        "chains": chains,
        "quantiles": {"real": quantiles(on_real), "chains": ends_quantiles},
        **machine(),
    }  # fmt: skip
    print(json.dumps(found, indent=1))
    with replacing(file) as temporary:
        temporary.write_text(json.dumps(found, indent=1) + "\n")


@torch.no_grad()
def real_ratios(checkpoint: Any, data: str, split: str) -> Tensor:
    """r (N,) float64 of the real images of a split, each under its own label where the ratio depends on it."""
    images = load_images(checkpoint.config["data"]["dataset"], data, split)
    role, ratio = of_scores(checkpoint.config, best_ratio(checkpoint))
    return ratio(scores_of(checkpoint.networks[role], images.pixels, labels=images.labels)).double()


@torch.no_grad()
def prior_ratios(checkpoint: Any, seed: int, count: int) -> Tensor:
    """r (count,) float64 of the generator's own samples."""
    target = target_by_best_ratio(checkpoint, seed, count)
    return target.log_ratio(target.init(seed, torch.arange(count))).double()


def mean_of(ratios: Tensor) -> dict[str, float]:
    """The mean of r (N,) with its standard error."""
    return {"mean": float(ratios.mean()), "error": float(ratios.std()) / math.sqrt(len(ratios))}


def quantiles(ratios: Tensor) -> list[float]:
    """The first and the last tenth of r (N,) float64, and its median."""
    return [round(float(q), 3) for q in ratios.quantile(torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64))]


def solved_beta(ratios: Tensor, labels: Tensor, wanted: float) -> dict[str, float]:
    """The beta at which the mean of r under weights exp(beta r) is `wanted`, and the weights' effective share there.

    The mean rises with beta: its slope is the variance of r under the weights. Not beyond LARGEST_BETA.
    """
    low, high = 0.0, LARGEST_BETA
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if weighted_mean(ratios, labels, middle)["mean"] < wanted else (low, middle)
    return {"value": high, "effective_share": weighted_mean(ratios, labels, high)["effective_share"]}


def weighted_mean(ratios: Tensor, labels: Tensor, beta: float = 1.0) -> dict[str, float]:
    """The mean of r under weights exp(beta r), normalised within each label, its error, and the weights' effective share."""
    means, variances, shares = [], [], []
    for label in labels.unique():
        r = ratios[labels == label]
        weights = torch.softmax(beta * r, 0)
        mean = float(weights @ r)
        means.append(mean)
        variances.append(float(weights.square() @ (r - mean).square()))
        shares.append(effective_share(beta * r))
    count = len(means)
    return {"mean": sum(means) / count, "error": math.sqrt(sum(variances)) / count, "effective_share": sum(shares) / count}


if __name__ == "__main__":
    main()
