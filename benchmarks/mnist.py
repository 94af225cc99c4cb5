"""What the MNIST energies show, by number: chains from noise, detection, and a GAN with an energy beside the same GAN without.

    python benchmarks/mnist.py --data ../shared/data/mnist --out benchmarks/results/mnist.json [--num-images 1000] [--record]
        [--models mnist-gan-ebm,…]

Of every model that is embedded, for each sampling seed: Fréchet distance in MNIST features with its floor, classes and their
histogram, Inception-style score and confidence, before and after the model's own sampler; and grids of the first seed, beside
the JSON. Of models with an energy: the mean energy of real digits, of what chains begin with, and of what they end with. Of
`mnist-ebm` and `mnist-jem` besides: 256 chains from noise, and the area under the ROC curve of unseen digits against what is no
digit.
Models that are not asked for keep the numbers that stand in --out.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from record import write_metrics
from speed import machine
from torch import Tensor

from ebm_refine import catalogue, load, refine, render
from ebm_refine.data.images import load_images, to_unit
from ebm_refine.energies.targets import target_of
from ebm_refine.metrics.class_scores import class_report
from ebm_refine.metrics.distances import frechet_distance
from ebm_refine.metrics.features import FeatureExtractor, features_for
from ebm_refine.metrics.report import floors_at
from ebm_refine.models.checkpoint import Checkpoint
from ebm_refine.models.kinds import law_of
from ebm_refine.tasks.ood_detection import aurocs, energies_of_sets
from ebm_refine.utils.atomic_io import replacing

MODELS = ("mnist-gan", "mnist-gan-ebm", "mnist-ebm", "mnist-jem")
CHAINS = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="folder of parquet files, or a Hub data set")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--num-images", type=int, default=1000)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--record", action="store_true", help="write the numbers into configs and cards too")
    chosen = parser.parse_args()
    extractor = features_for("mnist")
    digits = load_images("mnist", chosen.data, "test").pixels[: chosen.num_images]
    seeds = [int(seed) for seed in chosen.seeds.split(",")]
    embedded = {model.name for model in catalogue.list_models()}
    results: dict[str, Any] = {
        **extractor.describe(), "num_images": chosen.num_images, "seeds": seeds, "reference_split": "test",
        "floors": floors_at(extractor, chosen.num_images), "real": class_report(digits, extractor),
        "models": measured_models(chosen.out, extractor, chosen.num_images, seeds),
    }  # fmt: skip
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    names = [name for name in chosen.models.split(",") if name in embedded]
    for name in names:
        results["models"][name] = {**measured(load(name), digits, seeds, extractor, chosen.out), "measured_on": machine()}
        with replacing(chosen.out) as temporary:
            temporary.write_text(json.dumps(results, indent=1) + "\n")
    if chosen.record:
        for name in names:
            model = results["models"][name]
            write_metrics(name, model["weights"], entries(results, model["summary"]))
    print(json.dumps({name: results["models"][name]["summary"] for name in names}, indent=1))


def measured_models(out: Path, extractor: FeatureExtractor, num_images: int, seeds: list[int]) -> dict[str, Any]:
    """The models that `out` already holds, where they were measured alike and their weights still ship."""
    if not out.exists():
        return {}
    earlier = json.loads(out.read_text())
    if (earlier["sha256"], earlier["num_images"], earlier["seeds"]) != (extractor.describe()["sha256"], num_images, seeds):
        return {}
    machine_then = {name: earlier[name] for name in machine() if name in earlier}
    found = {name: {"measured_on": machine_then, **model} for name, model in earlier["models"].items()}
    return {name: found[name] for name in MODELS if name in found and found[name]["weights"] == load(name).hashes}


def measured(
    checkpoint: Checkpoint, digits: Tensor, seeds: list[int], extractor: FeatureExtractor, out: Path
) -> dict[str, Any]:
    """Everything of one model; `summary` holds means and deviations over the seeds."""
    runs = [one_run(checkpoint, len(digits), seed, extractor, out if seed == seeds[0] else None) for seed in seeds]
    summary = {
        f"{name}_{when}": spread([run[when][name] for run in runs])
        for when in ("before", "after")
        for name in ("frechet_distance", "inception_style_score", "mean_confidence", "classes", "histogram_divergence")
    }
    found: dict[str, Any] = {"weights": checkpoint.hashes, "runs": runs, "summary": summary}
    if law_of(checkpoint.config) != "pair":
        target = target_of(checkpoint)
        summary["energy_real"] = float(target.energy(to_unit(digits)).mean())
        for when in ("before", "after"):
            summary[f"energy_{when}"] = statistics.fmean(run[when]["mean_energy"] for run in runs)
    if law_of(checkpoint.config) == "energy":
        found["aurocs"] = summary["aurocs"] = aurocs(energies_of_sets(target_of(checkpoint).energy, to_unit(digits)))
        chains = class_report(refine(checkpoint, num_images=CHAINS, seed=seeds[0]).after, extractor)
        summary["chains_from_noise"] = {
            name: chains[name] for name in ("num_images", "mean_confidence", "classes", "histogram")
        }
    return found


def entries(results: dict[str, Any], summary: dict[str, Any]) -> list[dict[str, Any]]:
    """What a card lists of one model."""
    shared = {
        "seeds": results["seeds"], "extractor": results["extractor"], "extractor_sha256": results["sha256"],
        "command": "python benchmarks/mnist.py --data ../shared/data/mnist --out benchmarks/results/mnist.json",
    }  # fmt: skip
    drawn = {**shared, "num_images": results["num_images"], "reference_split": results["reference_split"]}
    found = []
    for side in ("before", "after"):
        distance = summary[f"frechet_distance_{side}"]["mean"]
        found.append(
            {"name": f"Fréchet distance, {side}", "value": distance, "floor": results["floors"]["frechet_mean"], **drawn}
        )
        confidence = summary[f"mean_confidence_{side}"]["mean"]
        real = results["real"]["mean_confidence"]
        found.append({"name": f"mean confidence, {side}", "value": confidence, "floor": real, **drawn})
    for what, area in summary.get("aurocs", {}).items():
        name = f"AUROC of unseen digits against {what.replace('_', ' ')}"
        found.append({"name": name, "value": area, "num_images": results["num_images"], "command": shared["command"]})
    return found


def one_run(
    checkpoint: Checkpoint, num_images: int, seed: int, extractor: FeatureExtractor, out: Path | None
) -> dict[str, Any]:
    """One sampling seed with the model's own method and settings; with `out`, grids of the first 100 images lie beside it."""
    result = refine(checkpoint, num_images=num_images, seed=seed)
    run: dict[str, Any] = {"settings": result.settings.as_dict()}
    for when, images, energy in (
        ("before", result.before, result.energy_before),
        ("after", result.after, result.energy_after),
    ):
        report = class_report(images, extractor)
        run[when] = {
            "frechet_distance": frechet_distance(extractor(images), extractor.references["test"]),
            "mean_energy": float(energy.mean()),
            **{name: value for name, value in report.items() if name not in extractor.describe()},
        }
        if out and (
            when == "after" or "generator" in checkpoint.networks
        ):  # an energy alone begins at noise: nothing to look at
            render.save_png(
                render.grid(images[:100]).convert("L"), out.with_name(f"{out.stem}-{checkpoint.name}-seed{seed}-{when}.png")
            )
    return run


def spread(values: list[float]) -> dict[str, float]:
    return {"mean": statistics.fmean(values), "sd": statistics.stdev(values) if len(values) > 1 else 0.0}


if __name__ == "__main__":
    main()
