"""The mean of r over the law that samplers draw from, by two estimators that share nothing, beside that over test images.

    python benchmarks/law_of_ratio.py cifar10-cgan --data ../shared/data/cifar10 -> benchmarks/results/MODEL-law-of-ratio.json

The first estimator weighs draws from the prior by exp(r) and normalises the weights (with classes, within each of them); the
second takes the ends of chains of elliptical slice sampling, 2,000 forward passes each. Where the weights rest on few draws
the first one is biased downwards, and its error says too little.
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

import torch
from panel import refitted_target
from speed import machine
from torch import Tensor

from ebm_refine import load, refine
from ebm_refine.data.images import load_images
from ebm_refine.energies.labels import labels_of
from ebm_refine.evaluation.tables import RESULTS
from ebm_refine.samplers.flow import effective_share
from ebm_refine.training.common.scores import scores_of
from ebm_refine.utils.atomic_io import replacing

MOST_REAL, BLOCK = 10_000, 2000


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
    real = load_images(checkpoint.config["data"]["dataset"], chosen.data, "test").pixels[:MOST_REAL]
    on_real = scores_of(checkpoint.networks["ratio"], real).double()

    drawn = torch.cat([prior_ratios(checkpoint, chosen.seed + start, BLOCK) for start in range(0, chosen.draws, BLOCK)])
    blocks = range(0, chosen.draws, BLOCK)
    labels = [labels_of(checkpoint.config, chosen.seed + start, torch.arange(BLOCK)) for start in blocks]
    known = [one for one in labels if one is not None]
    weighted = weighted_mean(drawn, torch.cat(known) if known else torch.zeros(len(drawn), dtype=torch.int64))

    result = refine(checkpoint, "elliptical-slice", n_steps=chosen.passes, num_images=chosen.chains, seed=chosen.seed,
                    ratio="refitted")  # fmt: skip
    ends = result.ratio_after.double()
    found = {
        "model": checkpoint.name, "weights": checkpoint.hashes, "seed": chosen.seed,
        "real": {"mean": float(on_real.mean()), "error": float(on_real.std()) / math.sqrt(len(real)), "images": len(real)},
        "prior": {"mean": float(drawn.mean()), "error": float(drawn.std()) / math.sqrt(len(drawn)), "draws": len(drawn)},
        "weighted": weighted,
        "chains": {"mean": float(ends.mean()), "error": float(ends.std()) / math.sqrt(len(ends)), "chains": len(ends),
                   "passes": chosen.passes},
        "quantiles": {name: [round(float(q), 3) for q in values.quantile(torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64))]
                      for name, values in (("real", on_real), ("chains", ends))},
        **machine(),
    }  # fmt: skip
    print(json.dumps(found, indent=1))
    file = RESULTS / f"{Path(checkpoint.name).name}-law-of-ratio.json"
    with replacing(file) as temporary:
        temporary.write_text(json.dumps(found, indent=1) + "\n")


@torch.no_grad()
def prior_ratios(checkpoint: Any, seed: int, count: int) -> Tensor:
    """r (count,) float64 of the generator's own samples."""
    target = refitted_target(checkpoint, seed, count)
    return target.log_ratio(target.init(seed, torch.arange(count))).double()


def weighted_mean(ratios: Tensor, labels: Tensor) -> dict[str, float]:
    """The mean of r under weights exp(r), normalised within each label, its error, and the weights' effective share."""
    means, variances, shares = [], [], []
    for label in labels.unique():
        r = ratios[labels == label]
        weights = torch.softmax(r, 0)
        mean = float(weights @ r)
        means.append(mean)
        variances.append(float(weights.square() @ (r - mean).square()))
        shares.append(effective_share(r))
    count = len(means)
    return {"mean": sum(means) / count, "error": math.sqrt(sum(variances)) / count, "effective_share": sum(shares) / count}


if __name__ == "__main__":
    main()
