"""What the deep belief network of digits is worth, by number: its samples, its likelihood, and the start it gives a classifier.

    python benchmarks/dbn.py --data ../shared/data/mnist --out benchmarks/results/dbn.json [--model mnist-dbn] [--record]

Samples: for each sampling seed the model's own Gibbs chains at several lengths, measured as `benchmarks/mnist.py` measures,
with the two divergences of classes without the exponential (the modified inception score and its other way round) and the
distance to holdout images, by which the model's own length was chosen; grids of the first seed beside the JSON. Likelihood:
log Z of the top machine by annealed importance sampling, once a seed, and with their mean the variational lower bound of log
p(v) of test digits made bits; of the first machine alone log p(v) by the same annealing; and of independent pixels.
Classifier: test errors of fine-tuning from the network's weights and from random ones, the same steps for both, with the
learning rate of each chosen on held-out digits; by number of labels, over seeds that choose labels, weights and order.
"""

import argparse
import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mnist import spread
from record import write_metrics
from speed import machine
from torch import Tensor

from ebm_refine import load, render
from ebm_refine.data.images import Images, load_images
from ebm_refine.energies.targets import target_of
from ebm_refine.metrics.ais import annealed_log_partition, log_likelihood, lower_bounds
from ebm_refine.metrics.class_scores import class_report
from ebm_refine.metrics.distances import frechet_distance
from ebm_refine.metrics.features import FeatureExtractor, features_for
from ebm_refine.metrics.report import floors_at
from ebm_refine.models.checkpoint import Checkpoint
from ebm_refine.models.networks.rbm import DBN, RBM
from ebm_refine.samplers.gibbs import gibbs
from ebm_refine.samplers.loop import run
from ebm_refine.training.algorithms.classifier import labelled
from ebm_refine.training.algorithms.contrastive_divergence import source_of
from ebm_refine.training.algorithms.finetune import classifier_of, error_rate, fine_tune
from ebm_refine.training.pipelines.belief_net import bits_of
from ebm_refine.utils.atomic_io import replacing

LABELS = (100, 1000, 54_000)
RATES = (1e-3, 3e-3)
STEPS = 500
# How the samples change with the length of the chains, the model's own length among them.
LENGTHS = (0, 50, 75, 100, 150, 500)
COMMAND = "python benchmarks/dbn.py --data ../shared/data/mnist --out benchmarks/results/dbn.json --record"
MEASURES = (
    "frechet_distance", "holdout_distance", "inception_style_score", "kl_to_marginal", "kl_from_marginal", "mean_confidence",
    "classes", "histogram_divergence",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="folder of parquet files, or a Hub data set")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--model", default="mnist-dbn")
    parser.add_argument("--num-images", type=int, default=1000)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--temperatures", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--only", default="samples,likelihood,classifier", help="sections to measure; others stay as they are")
    parser.add_argument("--record", action="store_true", help="write the numbers into config and card too")
    chosen = parser.parse_args()
    seeds = [int(seed) for seed in chosen.seeds.split(",")]
    checkpoint, extractor = load(chosen.model), features_for("mnist")
    train, holdout, test = (load_images("mnist", chosen.data, split) for split in ("train", "holdout", "test"))
    results: dict[str, Any] = {
        **extractor.describe(), "model": checkpoint.name, "weights": checkpoint.hashes, "num_images": chosen.num_images,
        "seeds": seeds, "reference_split": "test", "floors": floors_at(extractor, chosen.num_images),
        "real": class_report(test.pixels[: chosen.num_images], extractor), **machine(),
        "half_precision": checkpoint.config["training"].get("half_precision"),
    }  # fmt: skip
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    network: Any = checkpoint.networks["energy"]
    for section, measure in (
        ("samples", lambda: samples(checkpoint, chosen.num_images, seeds, extractor, chosen.out)),
        ("likelihood", lambda: likelihood(network, train, test, seeds, chosen.temperatures, chosen.runs, chosen.draws)),
        ("classifier", lambda: classifier(network, train, holdout, test, seeds)),
    ):
        if section not in chosen.only.split(","):
            continue
        results[section] = measure()
        print(section, json.dumps(results[section], indent=1), flush=True)
        results = {**measured_before(chosen.out, checkpoint), **results}
        with replacing(chosen.out) as temporary:
            temporary.write_text(json.dumps(results, indent=1) + "\n")
    if chosen.record:
        write_metrics(checkpoint.name, checkpoint.hashes, entries({**measured_before(chosen.out, checkpoint), **results}))


def measured_before(out: Path, checkpoint: Checkpoint) -> dict[str, Any]:
    """What the file holds already of these very weights."""
    previous = json.loads(out.read_text()) if out.exists() else {}
    return previous if previous.get("weights") == checkpoint.hashes else {}


def samples(
    checkpoint: Checkpoint, num_images: int, seeds: Sequence[int], extractor: FeatureExtractor, out: Path
) -> dict[str, Any]:
    """Measures of the model's own chains at LENGTHS and at its default length, by seed and as means over the seeds."""
    own = checkpoint.config["defaults"]["gibbs"]["n_steps"]
    lengths = sorted({*LENGTHS, own})
    runs: dict[int, list[dict[str, Any]]] = {steps: [] for steps in lengths}
    target: Any = target_of(checkpoint)
    index = torch.arange(num_images)
    for seed in seeds:
        for frame in run(gibbs(target), target.init(seed, index), seed, index, lengths[-1]):
            if frame.step not in runs:
                continue
            images = target.decode(frame.state.position)
            report = class_report(images, extractor)
            features = extractor(images)
            report["frechet_distance"] = frechet_distance(features, extractor.references["test"])
            report["holdout_distance"] = frechet_distance(features, extractor.references["holdout"])
            runs[frame.step].append(
                {"seed": seed, "histogram": report["histogram"], **{name: report[name] for name in MEASURES}}
            )
            if seed == seeds[0]:
                render.save_png(
                    render.grid(images[:100]).convert("L"), out.with_name(f"{out.stem}-seed{seed}-{frame.step}-steps.png")
                )
    by_steps = {str(steps): {name: spread([one[name] for one in found]) for name in MEASURES} for steps, found in runs.items()}
    return {"n_steps": own, "runs": runs, "by_steps": by_steps}


def likelihood(
    network: DBN, train: Images, test: Images, seeds: Sequence[int], temperatures: int, runs: int, draws: int
) -> dict[str, Any]:
    """Nats a digit, over all test digits; every seed has its own annealing, bits and draws."""
    first = network.stack[0]
    means = train.pixels.flatten(1).float().mean(dim=0) / 255
    independent = means.clamp(1e-3, 1 - 1e-3).logit()
    partitions: dict[str, list[dict[str, float]]] = {"top": [], "first": []}
    bits = [bits_of(network, test.pixels.flatten(1), 0, source_of(seed, 1, "cpu")) for seed in seeds]
    for seed in seeds:
        source = source_of(seed, 0, "cpu")
        upward = bits_of(network, train.pixels[:5000].flatten(1), len(network.stack) - 1, source).mean(dim=0)
        for name, rbm, mean in (("top", network.top, upward), ("first", first, means)):
            partitions[name].append(annealed(rbm, mean, temperatures, runs, source))
    log_z = {name: mean_of_logs([one["value"] for one in found]) for name, found in partitions.items()}
    bounds = [
        lower_bounds(network, one, log_z["top"], draws, source_of(seed, 2, "cpu"))
        for seed, one in zip(seeds, bits, strict=True)
    ]
    alone = [-first(one).double() - log_z["first"] for one in bits]
    plain = [log_likelihood(independent.expand(len(one), -1), one) for one in bits]
    return {
        "digits": len(test.pixels), "temperatures": temperatures, "runs": runs, "draws": draws,
        "log_partitions": partitions, "log_partition": log_z,
        "lower_bound": nats(bounds), "first_machine_alone": nats(alone), "independent_pixels": nats(plain),
    }  # fmt: skip


def annealed(rbm: RBM, mean: Tensor, temperatures: int, runs: int, source: torch.Generator) -> dict[str, float]:
    return annealed_log_partition(rbm, mean, temperatures, runs, source)._asdict()


def mean_of_logs(values: list[float]) -> float:
    """The logarithm of the mean of what these are the logarithms of."""
    return float(torch.tensor(values, dtype=torch.float64).logsumexp(0)) - math.log(len(values))


def nats(by_seed: list[Tensor]) -> dict[str, float]:
    """Mean over digits and seeds, its standard error over the digits, and the deviation of the seeds' means."""
    means = [float(one.mean()) for one in by_seed]
    error = float(torch.stack(by_seed).mean(dim=0).std() / math.sqrt(len(by_seed[0])))
    return {"mean": statistics.fmean(means), "error": error, "sd": statistics.stdev(means) if len(means) > 1 else 0.0}


def classifier(network: DBN, train: Images, holdout: Images, test: Images, seeds: Sequence[int]) -> dict[str, Any]:
    """By number of labels and start: every seed's test error at the rate of the least mean error on held-out digits."""
    rows = []
    for count in (min(count, len(train.pixels)) for count in LABELS):
        for start in ("network", "random"):
            errors = {
                rate: [one_classifier(network, train, holdout, test, count, start, rate, seed) for seed in seeds]
                for rate in RATES
            }
            best = min(RATES, key=lambda rate: statistics.fmean(error["holdout"] for error in errors[rate]))
            on_test = [error["test"] for error in errors[best]]
            rows.append({"labels": count, "start": start, "rate": best, "test_errors": on_test, "test_error": spread(on_test),
                         "holdout_error": statistics.fmean(error["holdout"] for error in errors[best])})  # fmt: skip
            print(json.dumps(rows[-1]), flush=True)
    return {"steps": STEPS, "rates": list(RATES), "rows": rows}


def one_classifier(
    network: DBN, train: Images, holdout: Images, test: Images, count: int, start: str, rate: float, seed: int
) -> dict[str, float]:
    chosen = torch.randperm(len(train.pixels), generator=source_of(seed, 3, "cpu"))[:count]
    model = classifier_of(network, seed, pretrained=start == "network")
    fine_tune(model, train.pixels[chosen].flatten(1), labelled(train)[chosen], rate, STEPS, seed)
    return {
        "holdout": error_rate(model, holdout.pixels.flatten(1), labelled(holdout)),
        "test": error_rate(model, test.pixels.flatten(1), labelled(test)),
    }


def entries(results: dict[str, Any]) -> list[dict[str, Any]]:
    """What the card lists."""
    drawn = {
        "num_images": results["num_images"], "seeds": results["seeds"], "reference_split": results["reference_split"],
        "extractor": results["extractor"], "extractor_sha256": results["sha256"], "command": COMMAND,
    }  # fmt: skip
    found = []
    for side, steps in (("before", 0), ("after", results["samples"]["n_steps"])):
        for key, name, floor in (
            ("frechet_distance", "Fréchet distance", results["floors"]["frechet_mean"]),
            ("mean_confidence", "mean confidence", results["real"]["mean_confidence"]),
        ):
            value = results["samples"]["by_steps"][str(steps)][key]["mean"]
            found.append({"name": f"{name}, {side}", "value": value, "floor": floor, **drawn})
    likely = results["likelihood"]
    details = {"num_images": likely["digits"], "seeds": results["seeds"], "reference_split": "test", "command": COMMAND}
    found.append({"name": "lower bound of log p(v), nats", "value": likely["lower_bound"]["mean"], **details})
    for row in results["classifier"]["rows"]:
        start = "this network's weights" if row["start"] == "network" else "random weights"
        name = f"test error of a classifier of {row['labels']} labels, from {start}"
        found.append({"name": name, "value": row["test_error"]["mean"], **details})
    return found


if __name__ == "__main__":
    main()
