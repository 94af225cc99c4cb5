"""A GAN alone against the same GAN trained beside an energy, and its points revised: five seeds on two moons and swiss roll.

    python benchmarks/joint_stability.py

Networks, data, number of batches and the game are the same; with an energy the generator also learns from its own points as the
energy revised them. The game is played twice: with the noise of the recipes on all that D sees, and with hardly any, as the GAN
of Goodfellow et al. 2014. Each training is written to benchmarks/results/joint-stability.json when it is done, and one that
stands there is not repeated.
"""

import argparse
import itertools
import json
import math
import platform
import resource
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

import ebm_refine
from ebm_refine.metrics.points import distance_to_data, floor, mode_report
from ebm_refine.toy2d.datasets import TITLES, law
from ebm_refine.training.algorithms.plane_loop import NoiseLevels
from ebm_refine.training.pipelines.toy_model import LEVELS, Toy
from ebm_refine.training.recipes.toys import SETTINGS
from ebm_refine.utils.atomic_io import replacing

FILE = Path(__file__).parent / "results" / "joint-stability.json"
DATASETS, SEEDS, STEPS, POINTS = ("moons", "swiss"), (0, 1, 2, 3, 4), 2000, 2000
# The second is noise of a thirtieth of the narrower data's width to a tenth.
GAMES = {"noise": LEVELS, "plain": NoiseLevels(first=2e-3, last=1e-3, span=2.0)}
# Steps by which points are revised: those of training, and those of the shipped models.
REVISED_BY = (5, 50)
# What a failed training is, fixed before the first one ran: so many times the floor, or a mode without a point.
FAILED_FLOORS = 2.0


def trained(game: str, dataset: str, family: str, seed: int) -> dict[str, Any]:
    """Train one model and measure its generator alone and, where there is an energy, its points revised."""
    began = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    toy, stopped = Toy(dataset, family, SETTINGS["gan-ebm"]._replace(steps=STEPS), seed, levels=GAMES[game]), ""
    for progress in toy.phases["main"]():
        stopped = progress.stopped
    seconds = resource.getrusage(resource.RUSAGE_SELF).ru_utime - began
    checkpoint = toy.checkpoint()
    if family == "gan":
        # With a ratio of zero every proposal is accepted: the generator alone.
        made = {"0": ebm_refine.refine(checkpoint, "rejection", n_steps=1, num_images=POINTS, seed=seed, beta=0.0).after}
    else:
        runs = {steps: ebm_refine.refine(checkpoint, n_steps=steps, num_images=POINTS, seed=seed) for steps in REVISED_BY}
        made = {"0": runs[REVISED_BY[0]].before, **{str(steps): run.after for steps, run in runs.items()}}
    measured = {steps: measure(points, dataset) for steps, points in made.items()}
    return {
        "game": game,
        "dataset": dataset,
        "family": family,
        "seed": seed,
        "cpu_seconds": round(seconds),
        "stopped": stopped,
        "by": measured,
    }


def measure(points: torch.Tensor, dataset: str) -> dict[str, Any]:
    """Distance over its floor, modes and quality of points (N, 2), and whether a training that gives them failed."""
    modes = mode_report(points, law(dataset))
    over = distance_to_data(points, dataset) / floor(dataset, POINTS)["mean"]
    failed = not over <= FAILED_FLOORS or modes.recovered < modes.modes
    found = {"recovered": modes.recovered, "high_quality": modes.high_quality, "p_value": modes.p_value, "failed": failed}
    return {"over_floor": over if math.isfinite(over) else None, **found}


def main() -> None:
    argparse.ArgumentParser(description=__doc__.split("\n")[0]).parse_args()
    torch.set_num_threads(1)
    settings = SETTINGS["gan-ebm"]
    shared = {
        "command": "python benchmarks/joint_stability.py",
        "num_points": POINTS,
        "seeds": list(SEEDS),
        "steps": STEPS,
        "widths": list(settings.widths),
        "mcmc_steps": settings.mcmc_steps,
        "failed_floors": FAILED_FLOORS,
        "device": machine(),
        "games": {game: levels._asdict() for game, levels in GAMES.items()},
        "titles": {dataset: TITLES[dataset] for dataset in DATASETS},
        "floors": {dataset: floor(dataset, POINTS) for dataset in DATASETS},
    }
    which = itertools.product(GAMES, DATASETS, ("gan", "gan-ebm"), SEEDS)
    trainings(FILE, shared, which, ("game", "dataset", "family", "seed"), lambda one: trained(*one))


def trainings(
    file: Path,
    shared: dict[str, Any],
    which: Iterable[tuple[Any, ...]],
    names: tuple[str, ...],
    train: Callable[[tuple[Any, ...]], dict[str, Any]],
) -> None:
    """One row of `train(one)` for each `one` of `which`; a row of the same `names` that stands in `file` is not made again."""
    results = json.loads(file.read_text()) if file.is_file() else {"rows": []}
    # Trainings of other settings are no part of this comparison.
    rows = results["rows"] if {name: results.get(name) for name in shared} == json.loads(json.dumps(shared)) else []
    done = {tuple(row[name] for name in names) for row in rows}
    for one in which:
        if one in done:
            continue
        rows.append(train(one))
        with replacing(file) as temporary:
            temporary.write_text(json.dumps({**shared, "rows": rows}, indent=1) + "\n")
        print(rows[-1], flush=True)


def machine() -> str:
    return f"CPU {platform.machine()}, torch {torch.__version__}"


if __name__ == "__main__":
    main()
