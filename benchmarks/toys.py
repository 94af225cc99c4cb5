"""Numbers of the toy models: each as it is sampled by default, the known experiments, and a sweep over eps, K and architecture.

    python benchmarks/toys.py models [--record]     every embedded toy model, by its default method
    python benchmarks/toys.py experiments           the known experiments of the 2-D laboratory
    python benchmarks/toys.py weights               25 Gaussians, wrong weights, exact discriminator: which methods mend them
    python benchmarks/toys.py sweep                 GAN with an energy on two moons, trained anew in each architecture

JSON goes to benchmarks/results/toys-*.json. `--record` also writes the numbers of `models` into configs and cards.
"""

import argparse
import json
import math
import statistics
from pathlib import Path
from typing import Any

import torch
from record import write_metrics

import ebm_refine
from ebm_refine.metrics.points import compare_points, distance_to_data, floor, mode_report, quality_ceiling
from ebm_refine.models.checkpoint import Checkpoint
from ebm_refine.toy2d.datasets import TITLES, law
from ebm_refine.toy2d.experiments import EXPERIMENTS
from ebm_refine.training.pipelines.toy_model import Toy
from ebm_refine.training.recipes.toys import SETTINGS
from ebm_refine.utils.atomic_io import replacing

RESULTS = Path(__file__).parent / "results"
POINTS, SEEDS = 1000, (0, 1, 2)
SWEEP_DATA, SWEEP_EPS, SWEEP_STEPS = "moons", (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 5.0), (5, 20, 100)
WEIGHT_POINTS = 10_000
WEIGHT_METHODS: dict[str, dict[str, Any]] = {
    "langevin": {"n_steps": 200},
    "mala": {"n_steps": 100},
    "rejection": {},
    "i-sir": {"n_steps": 30, "options": {"particles": 5}},
}
ARCHITECTURES = {"2 x 32": (32, 32), "3 x 64": (64, 64, 64), "3 x 128": (128, 128, 128)}


def models() -> dict[str, Any]:
    """Every embedded toy model by its default method and settings."""
    names = [model.name for model in ebm_refine.list_models() if model.name.startswith("toy-")]
    return {"rows": [{"model": name, **measured(ebm_refine.load(name), {})} for name in names]}


def experiments() -> dict[str, Any]:
    """The known experiments whose models are embedded."""
    present = {model.name for model in ebm_refine.list_models()}
    return {
        "rows": [
            {"title": one.title, "model": one.model, **measured(ebm_refine.load(one.model), one.arguments)}
            for one in EXPERIMENTS
            if one.model in present
        ]
    }


def weights() -> dict[str, Any]:
    """Modes, quality and weights of many points by several methods; one draw a chain."""
    model, rows = ebm_refine.load("toy-grid25-deficient"), []
    mixture = law("grid25")
    for method, arguments in WEIGHT_METHODS.items():
        for seed in SEEDS:
            run = ebm_refine.refine(model, method, num_images=WEIGHT_POINTS, seed=seed, **arguments)
            report = mode_report(run.after, mixture)
            rows.append(
                {"settings": run.settings.as_dict(), "before_p": mode_report(run.before, mixture).p_value, **report._asdict()}
            )
            print(method, seed, f"high quality {report.high_quality:.4%}, p {report.p_value:.3g}", flush=True)
    return {
        "num_points": WEIGHT_POINTS,
        "high_quality_ceiling": quality_ceiling(mixture),
        "weights": model.hashes,
        "rows": rows,
    }


def sweep() -> dict[str, Any]:
    """Earth mover's distance over its floor, by architecture, eps and K; null where a chain has flown out of all sight."""
    least, rows = floor(SWEEP_DATA, POINTS), []
    for architecture, widths in ARCHITECTURES.items():
        toy = Toy(SWEEP_DATA, "gan-ebm", SETTINGS["gan-ebm"]._replace(widths=widths))
        for phase, progress in toy.train():
            print(f"{architecture}: {phase} {progress.step}/{progress.steps}", flush=True)
        checkpoint = toy.checkpoint()
        for eps in SWEEP_EPS:
            found = {str(steps): [distance(checkpoint, eps, steps, seed) for seed in SEEDS] for steps in SWEEP_STEPS}
            alone = [distance(checkpoint, eps, 0, seed) for seed in SEEDS]
            cells = {str(steps): over(values, least["mean"]) for steps, values in {"0": alone, **found}.items()}
            rows.append({"architecture": architecture, "eps": eps, "over_floor": cells})
            print(rows[-1], flush=True)
    trained = SETTINGS["gan-ebm"]
    return {
        "dataset": SWEEP_DATA,
        "dataset_title": TITLES[SWEEP_DATA],
        "floor": least,
        "trained_with": {"steps": trained.steps, "mcmc_steps": trained.mcmc_steps, "eps": toy.eps},
        "rows": rows,
    }


def distance(checkpoint: Checkpoint, eps: float, steps: int, seed: int) -> float:
    result = ebm_refine.refine(checkpoint, "langevin", eps, max(steps, 1), POINTS, seed)
    return distance_to_data(result.after if steps else result.before, SWEEP_DATA)


def over(values: list[float], least: float) -> float | None:
    """The mean distance over the floor; None where it is a hundred floors or more, or not a number."""
    mean = statistics.fmean(values)
    return mean / least if math.isfinite(mean) and mean < 100 * least else None


def measured(checkpoint: Checkpoint, arguments: dict[str, Any]) -> dict[str, Any]:
    """Before and after by seed, and means over the seeds."""
    runs = [ebm_refine.refine(checkpoint, num_images=POINTS, seed=seed, **arguments) for seed in SEEDS]
    dataset = checkpoint.config["data"]["dataset"]
    reports = [compare_points(run.before, run.after, dataset) for run in runs]
    least = reports[0]["earth_movers_distance"]["floor"]
    sides: dict[str, Any] = {}
    for side in ("before", "after"):
        modes = [report["modes"][side] for report in reports]
        distances = [report["earth_movers_distance"][side] for report in reports]
        sides[side] = {
            "earth_movers_distance": statistics.fmean(distances),
            "over_floor": statistics.fmean(distances) / least["mean"],
            "high_quality": statistics.fmean(mode["high_quality"] for mode in modes),
            "recovered": [mode["recovered"] for mode in modes],
            "p_values": [mode["p_value"] for mode in modes],
            "spread": None if modes[0]["spread"] is None else statistics.fmean(mode["spread"] for mode in modes),
        }
    reported = ("acceptance_rate", "exceedances", "budget_exhausted", "diverged", "global_move_rate")
    row = {
        "settings": {**runs[0].settings.as_dict(), "seed": list(SEEDS)},
        "dataset": dataset,
        "modes": reports[0]["modes"]["after"]["modes"],
        "floor": least,
        "high_quality_ceiling": reports[0]["high_quality_ceiling"],
        **sides,
        "diagnostics": [{name: run.diagnostics[name] for name in reported if name in run.diagnostics} for run in runs],
        "weights": checkpoint.hashes,
    }
    print(checkpoint.name, row["settings"]["method"], {side: round(sides[side]["over_floor"], 2) for side in sides}, flush=True)
    return row


def record(results: dict[str, Any]) -> None:
    """Write each model's numbers into its config and card."""
    for row in results["rows"]:
        metrics = [entry for side in ("before", "after") for entry in entries(row, side, results["command"])]
        write_metrics(row["model"], row["weights"], metrics)


def entries(row: dict[str, Any], side: str, command: str) -> list[dict[str, Any]]:
    """What the card lists of one side."""
    settings, numbers = row["settings"], row[side]
    given = {name: settings[name] for name in ("eps", "n_steps") if settings.get(name) is not None}
    how = ", ".join([settings["method"], *(f"{name} {value:g}" for name, value in given.items())])
    label = f"before ({start(row)})" if side == "before" else f"after ({how})"
    shared = {
        "num_images": POINTS,
        "seeds": list(SEEDS),
        "reference_split": f"fresh points of {row['dataset']}",
        "command": command,
    }
    found = [
        {
            "name": f"earth mover's distance to data, {label}",
            "value": numbers["earth_movers_distance"],
            "floor": row["floor"]["mean"],
        },
        {"name": f"share of high quality, {label}", "value": numbers["high_quality"], "floor": row["high_quality_ceiling"]},
    ]
    if row["modes"] > 1:
        found.append(
            {"name": f"modes recovered, {label}", "value": statistics.fmean(numbers["recovered"]), "floor": row["modes"]}
        )
        found.append({"name": f"weights over modes, smallest p, {label}", "value": min(p or 0.0 for p in numbers["p_values"])})
    return [{**entry, **shared} for entry in found]


def start(row: dict[str, Any]) -> str:
    return "uniform noise" if row["model"].endswith("-ebm") and not row["model"].endswith("-gan-ebm") else "the generator alone"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("models", "experiments", "weights", "sweep"))
    parser.add_argument("--record", action="store_true", help="write the numbers of `models` into configs and cards")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    results = {"models": models, "experiments": experiments, "weights": weights, "sweep": sweep}[chosen.what]()
    command = f"python benchmarks/toys.py {chosen.what}"
    results = {"command": command, "num_points": POINTS, "seeds": list(SEEDS), "torch": torch.__version__, **results}
    with replacing(RESULTS / f"toys-{chosen.what}.json") as temporary:
        temporary.write_text(json.dumps(results, indent=1) + "\n")
    if chosen.record:
        if chosen.what != "models":
            parser.error("--record goes with models")
        record(results)


if __name__ == "__main__":
    main()
