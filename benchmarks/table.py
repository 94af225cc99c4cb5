"""The table of methods at equal network evaluations: a screen on holdout, then base and the best of it on test.

    python benchmarks/table.py plan MODEL            what a screen runs and how long it would take here; runs nothing
    python benchmarks/table.py screen MODEL          -> benchmarks/results/MODEL-screen.json
    python benchmarks/table.py final MODEL           -> benchmarks/results/MODEL-test.json

Every method spends at most 50 gradient evaluations an image, or the `--budget` that is given. The screen (N = 2,048, one seed,
holdout) runs every method with the model's best ratio, and langevin, rejection, i-sir and ex2mcmc with its raw and calibrated
ones too. The final (N = 5,000, three seeds, test) runs the best settings of a screen, one for each method and ratio, as they
are. Controls stand beside both: mala at beta = 0, and the truncated prior. Each finished job is saved in RUNS, so that a
command that is stopped goes on where it was: `touch RUNS/stop` ends it after the job in hand. `accelerate launch --multi_gpu
--num_processes N benchmarks/table.py …` shares the jobs between processes.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ebm_refine import load
from ebm_refine.energies.density_ratio import available_ratios
from ebm_refine.energies.targets import target_of
from ebm_refine.errors import InputError
from ebm_refine.evaluation.best_of import BestOf
from ebm_refine.evaluation.jobs import Job, StoppedError, controls, evaluate, plan
from ebm_refine.evaluation.sharding import Share, this_process
from ebm_refine.evaluation.tables import RESULTS, main_distance, ranked, table
from ebm_refine.evaluation.truncation import Truncation
from ebm_refine.models.checkpoint import Checkpoint
from ebm_refine.models.kinds import is_points
from ebm_refine.samplers import METHODS
from ebm_refine.samplers.cost import evaluations
from ebm_refine.samplers.method import FORWARD
from ebm_refine.settings import Settings, methods_of, resolve
from ebm_refine.utils.atomic_io import replacing, writable_folder

BUDGET = 50.0
SCREEN_IMAGES, SCREEN_SEEDS = 2048, (0,)
FINAL_IMAGES, FINAL_SEEDS = 5000, (0, 1, 2)
EVERY_RATIO = ("langevin", "rejection", "i-sir", "ex2mcmc")
# What the screen tries of each method beside its default; methods that tune their own step are left to it. Steps are
# Langevin-equivalent; those of points are against modes some fifty times smaller than a latent prior.
IMAGE_STEPS = {"langevin": (0.1, 0.3), "underdamped": (0.1,), "dot": (0.05,), "dg-flow": (0.2,)}
POINT_STEPS = {"langevin": (2e-5, 1e-4), "underdamped": (2e-5, 1e-4), "dot": (1e-3, 1e-2), "dg-flow": (2e-5, 1e-4)}
VARIANTS: dict[str, tuple[dict[str, Any], ...]] = {
    "i-sir": ({"particles": 50},),
    # Both in full: a model whose own defaults are one of them would be measured with that one twice.
    "ex2mcmc": ({"particles": 10, "local_moves": 3}, {"particles": 25, "local_moves": 10}),
}


def screen_jobs(
    checkpoint: Checkpoint,
    num_images: int = SCREEN_IMAGES,
    seeds: Sequence[int] = SCREEN_SEEDS,
    budget: float = BUDGET,
) -> list[Job]:
    """Every method with the best ratio in every variant, four of them with the other ratios as by default, and controls."""
    ratios = available_ratios(checkpoint.config)
    best = best_ratio(checkpoint)
    jobs: list[Job] = []
    for method in methods_of(checkpoint.config):
        for given in variants(checkpoint, method):
            jobs += plan(checkpoint, [method], num_images, seeds, [best], given=given, budget=budget)
    for method in EVERY_RATIO:
        others = [ratio for ratio in ("raw", "calibrated") if ratio in ratios and ratio != best]
        if others:
            jobs += plan(checkpoint, [method], num_images, seeds, others, budget=budget)
    return [*jobs, *controls(checkpoint, num_images, seeds, budget)]


def variants(checkpoint: Checkpoint, method: str) -> list[dict[str, Any]]:
    """The settings of a method that the screen tries, as arguments of `refine`."""
    steps = (POINT_STEPS if is_points(checkpoint.config) else IMAGE_STEPS).get(method)
    if steps:
        return [{"eps": eps} for eps in steps]
    return [{"options": options} for options in VARIANTS.get(method, ({},))]


def best_ratio(checkpoint: Checkpoint) -> str:
    """The refitted ratio where the model carries one, else its default."""
    ratios = available_ratios(checkpoint.config)
    if not ratios:
        raise InputError(f"the table is of pairs of generator and ratio, which {checkpoint.name!r} is not")
    return "refitted" if "refitted" in ratios else checkpoint.config.get("defaults", {}).get("ratio", ratios[-1])


def best_rows(rows: Iterable[dict[str, Any]], count: int, also: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The `count` nearest rows of methods at beta = 1, one for each method and ratio; then the nearest of each of `also`."""
    chosen: dict[tuple[str, str], dict[str, Any]] = {}
    for row in ranked(list(rows)):
        if row["method"] in METHODS and row["beta"] == 1.0:
            chosen.setdefault((row["method"], row["ratio"]), row)
    best = list(chosen.values())[:count]
    for method in also:
        if all(row["method"] != method for row in best):
            best += [row for row in chosen.values() if row["method"] == method][:1]
    return best


def final_jobs(
    checkpoint: Checkpoint,
    screen: dict[str, Any],
    count: int,
    also: Sequence[str] = (),
    num_images: int = FINAL_IMAGES,
    seeds: Sequence[int] = FINAL_SEEDS,
    budget: float = BUDGET,
) -> list[Job]:
    """The best settings of a screen as they are, and the controls with the threshold that was nearest there."""
    ratios = available_ratios(checkpoint.config)
    jobs: list[Job] = []
    for row in best_rows(screen["rows"], count, also):
        # A screen of another model may have used a ratio that this one lacks.
        ratio = row["ratio"] if row["ratio"] in ratios else best_ratio(checkpoint)
        arguments = {name: row.get(name) for name in ("eps", "n_steps", "temperature", "options")}
        for seed in seeds:
            jobs.append(
                resolve(checkpoint.name, checkpoint.config, method=row["method"], ratio=ratio, num_images=num_images,
                        seed=seed, **arguments)
            )  # fmt: skip
    truncations = [row for row in ranked(screen["rows"]) if row["method"] == "truncation"]
    thresholds = [row["options"]["threshold"] for row in truncations[:1]]
    return [*jobs, *controls(checkpoint, num_images, seeds, budget, thresholds)]


def cost(job: Job) -> float:
    """Gradient evaluations of a whole job, at most; a control without a chain has none."""
    if isinstance(job, Truncation):
        return 0.0
    if isinstance(job, BestOf):
        return job.num_images * job.tries * FORWARD
    return job.num_images * evaluations(job.method, job.values, job.n_steps)


def rate(checkpoint: Checkpoint, images: int = 128, repeats: int = 3) -> float:
    """Gradient evaluations a second of this machine's processors were they ours alone, the fastest of a few."""
    target = target_of(checkpoint, best_ratio(checkpoint))
    position = target.init(0, torch.arange(images))
    seconds = []
    for _ in range(repeats):
        began = time.process_time()
        target.energy_and_grad(position)
        seconds.append(time.process_time() - began)
    return images / min(seconds) * torch.get_num_threads()


def plan_text(checkpoint: Checkpoint, jobs: Sequence[Job]) -> str:
    """The jobs line by line, with what they cost."""
    speed = rate(checkpoint)
    lines = []
    for number, job in enumerate(jobs, 1):
        values = job.values if isinstance(job, Settings) else job.as_dict()["options"]
        given = ", ".join(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
                          for name, value in values.items() if value is not None)  # fmt: skip
        lines.append(f"{number:3} {job.method:12} {job.ratio:10} seed {job.seed} {cost(job) / speed:6.0f} s  {given}")
    whole = sum(map(cost, jobs))
    return "\n".join([
        *lines,
        f"{len(jobs)} jobs, at most {whole:,.0f} gradient evaluations; at {speed:.0f} a second {whole / speed / 3600:.1f} h, "
        "pilots, decoding and measuring not counted",
    ])  # fmt: skip


def write(results: dict[str, Any], name: str, budget: float) -> Path:
    """The results with their rows ranked, where the tables of docs/results and the page find them."""
    file = writable_folder(RESULTS) / f"{name}.json"
    with replacing(file) as temporary:
        temporary.write_text(json.dumps({**results, "rows": ranked(results["rows"]), "budget": budget}, indent=1) + "\n")
    return file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("plan", "screen", "final"))
    parser.add_argument("model")
    parser.add_argument("--best", type=int, default=5, help="final: how many settings of the screen")
    parser.add_argument(
        "--also", default="", help="final: methods that are to be there whatever the screen said, comma-separated"
    )
    parser.add_argument("--screen", type=Path, help="final: the screen's results; without it the model's own")
    parser.add_argument("--num-images", type=int)
    parser.add_argument("--budget", type=float, help="gradient evaluations an image; a final has its screen's")
    parser.add_argument("--runs", type=Path, default=Path("runs/table"))
    parser.add_argument("--device", default="cpu")
    chosen = parser.parse_args()
    checkpoint, share = load(chosen.model), this_process()
    if chosen.what == "final":
        screen = json.loads((chosen.screen or RESULTS / f"{checkpoint.name}-screen.json").read_text())
        also = [method for method in chosen.also.split(",") if method]
        budget = screen.get("budget", BUDGET)
        jobs = final_jobs(checkpoint, screen, chosen.best, also, chosen.num_images or FINAL_IMAGES, budget=budget)
    else:
        budget = chosen.budget or BUDGET
        jobs = screen_jobs(checkpoint, chosen.num_images or SCREEN_IMAGES, budget=budget)
    if chosen.what == "plan":
        print(plan_text(checkpoint, jobs))
        return
    split = "test" if chosen.what == "final" else "holdout"
    run(checkpoint, jobs, chosen.runs, split, share, chosen.device, budget)


def run(checkpoint: Checkpoint, jobs: list[Job], runs: Path, split: str, share: Share, device: str, budget: float) -> None:
    """Run what is missing; the first process writes the committed file and prints its table."""
    name = f"{checkpoint.name}-{'test' if split == 'test' else 'screen'}"
    stop = runs / "stop"
    try:
        results = evaluate(
            checkpoint, jobs, runs / name, split, share.device or device, partial(print, flush=True), None, share, stop.exists
        )
    except StoppedError as error:
        sys.exit(f"{error} (remove {stop} first)")
    if share.index == 0:
        file = write(results, name, budget)
        print(table(json.loads(file.read_text())))
        nearest = ranked(results["rows"])[1]
        print(f"wrote {file}; nearest: {nearest['method']} at {nearest[main_distance(nearest)]['mean']:.4g}")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"benchmarks/table.py: {error}")
