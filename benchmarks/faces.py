"""Whether the face features see what they should, and the known 32-image experiments beside what they could have measured.

    python benchmarks/faces.py features --data ../shared/data/celeba --cifar10 ../shared/data/cifar10
    python benchmarks/faces.py known [--large 1000] [--seeds 0] [--model cifar10-dcgan]
    python benchmarks/faces.py ratio

`features` -> benchmarks/results/celeba-features-sense.json: kernel distance of held-out faces, spoiled in growing strength, to
the test faces. `known` -> benchmarks/results/known-experiments.json: Langevin with the step sizes and numbers of steps of a
published experiment on 32 images, on 32 images of ours over many seeds and on a large sample, with the real-versus-real floor
at 32. `ratio` -> benchmarks/results/celeba-dcgan-ratio.json: what each ratio goes by.
Finished jobs of the large samples lie in RUNS, so that a run that is stopped goes on.
"""

import argparse
import json
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from speed import machine
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from ebm_refine import load, refine
from ebm_refine.catalogue import list_models
from ebm_refine.data.images import load_images, to_unit
from ebm_refine.energies.density_ratio import available_ratios
from ebm_refine.evaluation.jobs import evaluate, plan
from ebm_refine.evaluation.tables import RESULTS
from ebm_refine.metrics.distances import frechet_distance, kernel_distance
from ebm_refine.metrics.features import FeatureExtractor, features_for
from ebm_refine.metrics.memorisation import INDEX, nearest
from ebm_refine.models.checkpoint import Checkpoint
from ebm_refine.training.algorithms.simclr import bent
from ebm_refine.training.pipelines.evaluator_training import floors
from ebm_refine.utils.atomic_io import replacing

SUBSET, DRAWS = 400, 3
CLUSTERS, ROUNDS = 10, 30
SMALL, SMALL_SEEDS, RATIO = 32, tuple(range(100, 110)), "refitted"
# Fréchet distances printed by the known experiment, of 32 images made one at a time: N, eps, value. Its base comes first.
PUBLISHED: dict[str, tuple[float, tuple[tuple[int, float, float], ...]]] = {
    "celeba-dcgan": (
        301.87,
        ((20, 1e-1, 293.18), (20, 1e-3, 296.08), (20, 1e-5, 306.09), (20, 1e-7, 304.47), (50, 1e-7, 306.28)),
    ),
    "cifar10-dcgan": (
        126.07,
        ((10, 1e-1, 138.80), (10, 1e-3, 119.62), (10, 1e-5, 123.55), (10, 1e-7, 123.41), (15, 1e-7, 106.63)),
    ),
}


def spoilers(others: Tensor) -> dict[str, tuple[list[float], str, Callable[..., Tensor]]]:
    """Kind -> (strengths, their unit, function of uint8 images and a strength). `others` (M, 3, 64, 64) are no faces."""

    def blurred(images: Tensor, strength: float) -> Tensor:
        return gaussian_blur(images, 9, strength)

    def noisy(images: Tensor, strength: float) -> Tensor:
        return as_bytes(images + strength * torch.randn(images.shape))

    def tinted(images: Tensor, strength: float) -> Tensor:
        return as_bytes(images + strength * torch.tensor([1.0, 0.0, -1.0])[:, None, None])

    def mixed(images: Tensor, strength: float) -> Tensor:
        count = round(strength * len(images))
        return torch.cat([images[count:], others[:count]])

    def bowed(images: Tensor, strength: float) -> Tensor:
        return as_bytes((bent(to_unit(images), strength) + 1) * 127.5)

    return {
        "blur": ([0.5, 0.7, 1.0, 2.0], "sigma, pixels", blurred),
        "noise": ([4, 8, 16, 32], "sd of 255", noisy),
        "colour shift": ([5, 10, 20, 40], "red up, blue down, of 255", tinted),
        "CIFAR-10 images mixed in": ([0.05, 0.1, 0.2, 0.5], "share", mixed),
        "bent (trained against)": ([0.02, 0.04, 0.08, 0.16], "deviation, half sides", bowed),
    }


def sense(data: str, cifar10: str) -> dict[str, Any]:
    """Kernel distances by kind and strength, each over a few draws of as many held-out faces."""
    extractor = features_for("celeba")
    faces = load_images("celeba", data, "holdout").pixels
    others = F.interpolate(load_images("cifar10", cifar10, "test").pixels[:SUBSET].float(), scale_factor=2, mode="bilinear")

    def measured(spoil: Callable[[Tensor], Tensor], pool: Tensor) -> dict[str, float]:
        values = []
        for draw in range(DRAWS):
            torch.manual_seed(draw)
            chosen = pool[torch.randperm(len(pool))[:SUBSET]]
            values.append(kernel_distance(extractor(spoil(chosen)), extractor.references["test"]).value)
        return spread(values)

    table = [{"kind": "none", "unit": "", "strength": 0.0, **measured(lambda images: images, faces)}]
    for kind, (strengths, unit, spoil) in spoilers(as_bytes(others)).items():
        for strength in strengths:
            row = measured(partial(spoil, strength=strength), faces)
            table.append({"kind": kind, "unit": unit, "strength": strength, **row})
    table += with_modes_dropped(load_images("celeba", data, "train").pixels, extractor)
    words = {"num_images": SUBSET, "draws": DRAWS, "split": "holdout against test"}
    return {**extractor.describe(), **words, **machine(), "rows": table}


def with_modes_dropped(faces: Tensor, extractor: FeatureExtractor) -> list[dict[str, Any]]:
    """Training faces, of which the extractor holds the features, without the largest or without the darkest clusters."""
    index = extractor.tables[INDEX]
    features = index["features"].float() * index["scale"]
    modes = clusters(faces)
    brightness = torch.stack([faces[modes == k].float().mean() for k in range(CLUSTERS)])
    orders = {"largest": modes.bincount(minlength=CLUSTERS).argsort(descending=True), "darkest": brightness.argsort()}
    table = []
    for which, order in orders.items():
        for dropped in (1, 2, 4, 8):
            remaining = features[~torch.isin(modes, order[:dropped])]
            values = []
            for draw in range(DRAWS):
                torch.manual_seed(draw)
                chosen = remaining[torch.randperm(len(remaining))[:SUBSET]]
                values.append(kernel_distance(chosen, extractor.references["test"]).value)
            unit = f"{which} of {CLUSTERS} clusters left out"
            table.append({"kind": "mode dropping", "unit": unit, "strength": dropped, **spread(values)})
    return table


def seen_by_ratio(name: str = "celeba-dcgan") -> dict[str, Any]:
    """What each ratio goes by among generated faces: its rank correlation with simple properties, and with real-likeness.

    The latter is the distance in features to the nearest test face, which a useful ratio would lower.
    """
    checkpoint, extractor = load(name), features_for("celeba")
    ratios = [ratio for ratio in ("raw", "refitted") if ratio in available_ratios(checkpoint.config)]
    values = {}
    for ratio in ratios:
        result = refine(checkpoint, "langevin", eps=1e-9, n_steps=1, num_images=1000, seed=7, ratio=ratio)
        values[ratio] = result.ratio_before
    images = result.before
    grey = images.float().mean(1)
    fine = grey - F.avg_pool2d(grey[:, None], 3, 1, 1)[:, 0]
    distances, _ = nearest(extractor(images), extractor.references["test"].features)
    properties = {
        "brightness": grey.mean((1, 2)),
        "contrast": grey.std((1, 2)),
        "fine detail": fine.square().mean((1, 2)).sqrt(),
        "distance to the nearest test face": distances,
    }
    correlations = {
        ratio: {
            "mean": float(r.mean()),
            "sd": float(r.std()),
            "rank_correlations": {title: float(spearmanr(r, of).statistic) for title, of in properties.items()},
        }
        for ratio, r in values.items()
    }
    words = {"model": name, "weights": checkpoint.hashes, "num_images": 1000, "seed": 7}
    return {**words, **extractor.describe(), "ratios": correlations}


def clusters(images: Tensor) -> Tensor:
    """(N,) int64: k-means of thumbnails of 8x8, which owe nothing to the features under test."""
    rows = F.adaptive_avg_pool2d(images.float(), 8).flatten(1)
    centres = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:CLUSTERS]]
    for _ in range(ROUNDS):
        nearest = torch.cdist(rows, centres).argmin(1)
        centres = torch.stack([rows[nearest == k].mean(0) if (nearest == k).any() else centres[k] for k in range(CLUSTERS)])
    return torch.cdist(rows, centres).argmin(1)


def as_bytes(images: Tensor) -> Tensor:
    return images.round().clamp(0, 255).to(torch.uint8)


def known(large: int, seeds: list[int], runs: Path, only: str | None) -> dict[str, Any]:
    """Each published number beside ours, of the models that are embedded; with `only` the others' rows stay as committed."""
    embedded = {model.name for model in list_models()}
    file = RESULTS / "known-experiments.json"
    models: dict[str, Any] = json.loads(file.read_text())["models"] if only else {}
    for name in PUBLISHED if only is None else (only,):
        if name in embedded:
            models[name] = known_of(load(name), large, seeds, runs / name)
    return {"small": SMALL, "small_seeds": list(SMALL_SEEDS), "models": models}


def known_of(checkpoint: Checkpoint, large: int, seeds: list[int], runs: Path) -> dict[str, Any]:
    base, settings = PUBLISHED[checkpoint.name]
    extractor = features_for(checkpoint.config["data"]["dataset"])
    large = max(large, 10 * extractor.num_features)  # fewer have no Fréchet distance
    jobs = [
        job
        for n_steps, eps, _ in settings
        for job in plan(checkpoint, ["langevin"], large, seeds, [RATIO], given={"eps": eps, "n_steps": n_steps})
    ]
    rows = evaluate(checkpoint, jobs, runs, progress=partial(print, flush=True))["rows"]
    found: list[dict[str, Any]] = [{"setting": "base", "published": base, "large": distances(rows[0])}]
    befores: list[float] = []
    for (n_steps, eps, value), row in zip(settings, rows[1:], strict=True):
        afters = []
        for seed in SMALL_SEEDS:
            result = refine(checkpoint, "langevin", eps=eps, n_steps=n_steps, num_images=SMALL, seed=seed, ratio=RATIO)
            afters.append(small(result.after, extractor))
            if len(befores) < len(SMALL_SEEDS):
                befores.append(small(result.before, extractor))
        gains: list[float] = [before - after for before, after in zip(befores, afters, strict=True)]
        setting = f"N = {n_steps}, eps = {eps:g}"
        found.append(
            {
                "setting": setting,
                "published": value,
                "large": distances(row),
                "small": spread(afters),
                "gain_small": spread(gains),
            }
        )
    found[0]["small"] = spread(befores)
    floor = floors(extractor.references["holdout"].features, extractor.references["test"], (SMALL,))[str(SMALL)]
    details = {"weights": checkpoint.hashes, **extractor.describe(), "reference": "test", "ratio": RATIO, "large": large}
    return {**details, "seeds": seeds, **machine(), "floor_small": floor, "rows": found}


def small(images: Tensor, extractor: FeatureExtractor) -> float:
    """The Fréchet distance of 32 images, whose covariance has not even full rank: what the known experiment printed."""
    return frechet_distance(extractor(images), extractor.references["test"])


def distances(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name.startswith(("kernel", "frechet", "precision", "recall"))}


def spread(values: list[float]) -> dict[str, float]:
    return {"mean": statistics.fmean(values), "sd": statistics.stdev(values)}


def write(name: str, results: dict[str, Any]) -> None:
    file = RESULTS / f"{name}.json"
    with replacing(file) as temporary:
        temporary.write_text(json.dumps(results, indent=1) + "\n")
    print(f"wrote {file}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    features = commands.add_parser("features")
    features.add_argument("--data", required=True)
    features.add_argument("--cifar10", required=True)
    experiments = commands.add_parser("known")
    experiments.add_argument("--large", type=int, default=1000)
    experiments.add_argument("--seeds", default="0")
    experiments.add_argument("--model", choices=list(PUBLISHED), help="measure this one alone")
    experiments.add_argument("--runs", type=Path, default=Path("runs/known"))
    commands.add_parser("ratio")
    chosen = parser.parse_args()
    if chosen.command == "features":
        write("celeba-features-sense", sense(chosen.data, chosen.cifar10))
    elif chosen.command == "ratio":
        write("celeba-dcgan-ratio", seen_by_ratio())
    else:
        seeds = [int(seed) for seed in chosen.seeds.split(",")]
        write("known-experiments", known(chosen.large, seeds, chosen.runs, chosen.model))


if __name__ == "__main__":
    main()
