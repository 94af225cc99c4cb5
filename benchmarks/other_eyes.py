"""Does a gain hold in features that know no labels? Base and refined images in the features of a contrastive encoder.

    python benchmarks/other_eyes.py cifar10-dcgan --data ../shared/data/cifar10 -> benchmarks/results/MODEL-other-eyes.json

The refitted ratio sees through a classifier of the data's labels, and so does the extractor that measures it: two networks,
trained apart, but on the same ten classes. What both overlook, a gain could hide in. Here methods at their best settings of the
committed screen are measured once more, on test images, by an encoder that was trained without labels, on training images
alone, never ships, and chose nothing. It is trained first (about five minutes on one core), in RUNS, resumably.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import torch
from speed import machine
from torch import Tensor

from ebm_refine import load, refine
from ebm_refine.data.images import load_images, to_unit
from ebm_refine.evaluation.tables import RESULTS, ranked
from ebm_refine.metrics.distances import frechet_distance, kernel_distance, paired_difference
from ebm_refine.metrics.features import Reference
from ebm_refine.models.networks.encoder import ContrastiveEncoder
from ebm_refine.training.algorithms.simclr import ContrastiveRecipe, train_encoder
from ebm_refine.training.common.resumable import Run
from ebm_refine.training.pipelines.evaluator_training import floors, reference_table
from ebm_refine.utils.atomic_io import replacing

SEED, WIDTHS = 50, [32, 48, 64, 96, 64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--data", required=True)
    parser.add_argument("--steps", type=int, default=1500, help="batches of 128 that the encoder is trained for")
    parser.add_argument("--methods", default="dg-flow,dot,smc,ex2mcmc,langevin")
    parser.add_argument("--num-images", type=int, default=2048)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--runs", type=Path, default=Path("runs/other-eyes"))
    chosen = parser.parse_args()
    dataset = load(chosen.model).config["data"]["dataset"]
    train, holdout, test = (load_images(dataset, chosen.data, split).pixels for split in ("train", "holdout", "test"))
    torch.manual_seed(SEED)
    encoder = ContrastiveEncoder(train.shape[1], WIDTHS)
    crop = train.shape[-1] * 3 // 8 * 2
    run = Run(chosen.runs / dataset, resume=True)
    told = train_encoder(encoder, ContrastiveRecipe(steps=chosen.steps, crop=crop), train, run, SEED, "cpu")
    encoder.requires_grad_(False)

    reference = Reference.of_table("test", reference_table(seen(encoder, test)))
    rows = [measured(chosen, row, encoder, reference) for row in best_rows(chosen.model, chosen.methods.split(","))]
    results = {
        "model": chosen.model,
        "encoder": {"steps": chosen.steps, "batch_size": 128, "crop": crop, "seed": SEED, "dimension": WIDTHS[-1], **told},
        "num_images": chosen.num_images,
        "seeds": seeds_of(chosen),
        "test_images": len(test),
        "floors": floors(seen(encoder, holdout), reference, [min(chosen.num_images, len(holdout))]),
        "rows": rows,
        **machine(),
    }
    file = RESULTS / f"{chosen.model}-other-eyes.json"
    with replacing(file) as temporary:
        temporary.write_text(json.dumps(results, indent=1) + "\n")
    print(f"wrote {file}")


def best_rows(model: str, methods: list[str]) -> list[dict[str, Any]]:
    """Of each method the row that was nearest on the committed screen."""
    rows = ranked(json.loads((RESULTS / f"{model}-screen.json").read_text())["rows"])
    return [next(row for row in rows if row["method"] == method and row["beta"] == 1.0) for method in methods]


def measured(
    chosen: argparse.Namespace, row: dict[str, Any], encoder: ContrastiveEncoder, reference: Reference
) -> dict[str, Any]:
    """Both distances before and after, and the paired difference, over the seeds."""
    arguments = {name: row[name] for name in ("eps", "n_steps", "temperature", "ratio", "options") if row.get(name) is not None}
    told: dict[str, list[float]] = {}
    for seed in seeds_of(chosen):
        result = refine(chosen.model, row["method"], num_images=chosen.num_images, seed=seed, **arguments)
        before, after = seen(encoder, result.before), seen(encoder, result.after)
        difference = paired_difference(before, after, reference)
        for name, value in (
            ("frechet_before", frechet_distance(before, reference)),
            ("frechet_after", frechet_distance(after, reference)),
            ("kernel_before", kernel_distance(before, reference).value),
            ("kernel_after", kernel_distance(after, reference).value),
            ("kernel_difference", difference.value),
            ("kernel_difference_error", difference.error),
        ):
            told.setdefault(name, []).append(value)
    spread = {name: {"mean": statistics.mean(values), "values": values} for name, values in told.items()}
    return {"method": row["method"], **arguments, **spread}


def seeds_of(chosen: argparse.Namespace) -> list[int]:
    return [int(seed) for seed in chosen.seeds.split(",")]


@torch.no_grad()
def seen(encoder: ContrastiveEncoder, pixels: Tensor) -> Tensor:
    """Features (N, 64) of images (N, C, H, W) uint8."""
    return torch.cat([encoder(to_unit(part)) for part in pixels.split(100)])


if __name__ == "__main__":
    main()
