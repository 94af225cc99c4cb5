"""What the GANs with an energy for a discriminator show, by number: EBGAN, EBGAN-PT, BEGAN and MAGAN of digits.

    python benchmarks/ebgan.py --data ../shared/data/mnist --out benchmarks/results/ebgan.json [--num-images 1000] [--record]

Of every model that is embedded, for each sampling seed, before and after its own sampler: what `benchmarks/mnist.py` measures,
and the two divergences of classes, without the exponential (the modified inception score and its other way round), with those
of real digits beside them. Of D besides: its mean over real and generated digits, how alike the encoder's codes of generated
digits are (the pulling-away term's mean squared cosine) and those of real ones, and the area under the ROC curve of unseen
digits against what is no digit, which says whether D is an energy of pixels.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from mnist import entries, one_run, spread
from record import write_metrics
from speed import machine
from torch import Tensor

from ebm_refine import catalogue, load, refine
from ebm_refine.data.images import load_images, to_unit
from ebm_refine.energies.autoencoder_gan import codes, is_energy_gan, seen, unit_of
from ebm_refine.metrics.class_scores import class_report
from ebm_refine.metrics.features import FeatureExtractor, features_for
from ebm_refine.metrics.report import floors_at
from ebm_refine.models.checkpoint import Checkpoint
from ebm_refine.tasks.ood_detection import aurocs, energies_of_sets
from ebm_refine.training.algorithms.autoencoder_losses import mean_squared_cosine
from ebm_refine.utils.atomic_io import replacing

MODELS = ("mnist-ebgan", "mnist-ebgan-pt", "mnist-began", "mnist-magan")
MEASURES = (
    "frechet_distance", "inception_style_score", "kl_to_marginal", "kl_from_marginal", "mean_confidence", "classes",
    "histogram_divergence",
)  # fmt: skip
SAME = ("sha256", "num_images", "seeds", "reference_split")
COMMAND = "python benchmarks/ebgan.py --data ../shared/data/mnist --out benchmarks/results/ebgan.json"


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
        "floors": floors_at(extractor, chosen.num_images), "real": class_report(digits, extractor), **machine(), "models": {},
    }  # fmt: skip
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    if chosen.out.exists():  # of models that are not asked for, what was measured in the same way stays
        before = json.loads(chosen.out.read_text())
        if all(before[name] == results[name] for name in SAME):
            results["models"] = before["models"]
    for name in (name for name in chosen.models.split(",") if name in embedded):
        results["models"][name] = measured(load(name), digits, seeds, extractor, chosen.out)
        with replacing(chosen.out) as temporary:
            temporary.write_text(json.dumps(results, indent=1) + "\n")
    results["models"] = {name: results["models"][name] for name in MODELS if name in results["models"]}
    with replacing(chosen.out) as temporary:
        temporary.write_text(json.dumps(results, indent=1) + "\n")
    if chosen.record:
        for name, model in results["models"].items():
            write_metrics(name, model["weights"], recorded(results, model["summary"]))
    print(json.dumps({name: model["summary"] for name, model in results["models"].items()}, indent=1))


def measured(
    checkpoint: Checkpoint, digits: Tensor, seeds: list[int], extractor: FeatureExtractor, out: Path
) -> dict[str, Any]:
    """Everything of one model; `summary` holds means and deviations over the seeds."""
    assert is_energy_gan(checkpoint.config)
    runs = [one_run(checkpoint, len(digits), seed, extractor, out if seed == seeds[0] else None) for seed in seeds]
    summary: dict[str, Any] = {
        f"{name}_{when}": spread([run[when][name] for run in runs]) for when in ("before", "after") for name in MEASURES
    }
    chosen = runs[0]["settings"]
    summary["sampler"] = {name: chosen[name] for name in ("method", "ratio", "eps", "n_steps")}
    real = to_unit(digits)
    drawn = [to_unit(refine(checkpoint, num_images=len(digits), seed=seed, n_steps=1).before) for seed in seeds]
    summary["unit"] = unit_of(checkpoint.config)
    summary["d_real"] = float(seen(checkpoint, real).energies.mean())
    summary["d_generated"] = spread([float(seen(checkpoint, images).energies.mean()) for images in drawn])
    summary["cosine_real"] = mean_squared_cosine(codes(checkpoint, real))
    summary["cosine_generated"] = spread([mean_squared_cosine(codes(checkpoint, images)) for images in drawn])
    summary["aurocs"] = aurocs(energies_of_sets(lambda images: seen(checkpoint, images).energies, real))
    return {"weights": checkpoint.hashes, "runs": runs, "summary": summary}


def recorded(results: dict[str, Any], summary: dict[str, Any]) -> list[dict[str, Any]]:
    """What a card lists of one model."""
    drawn = {
        "num_images": results["num_images"], "seeds": results["seeds"], "extractor": results["extractor"],
        "extractor_sha256": results["sha256"], "reference_split": results["reference_split"],
    }  # fmt: skip
    divergences = [
        {"name": f"{title}, {side}", "value": summary[f"{key}_{side}"]["mean"], "floor": results["real"][key], **drawn}
        for side in ("before", "after")
        for key, title in (("kl_to_marginal", "E KL(p(y|x), p(y))"), ("kl_from_marginal", "E KL(p(y), p(y|x))"))
    ]
    alike = {"name": "mean squared cosine of codes of generated digits", "value": summary["cosine_generated"]["mean"]}
    alike |= {"num_images": results["num_images"], "seeds": results["seeds"], "floor": summary["cosine_real"]}
    return [{**entry, "command": COMMAND} for entry in (*entries(results, summary), *divergences, alike)]


if __name__ == "__main__":
    main()
