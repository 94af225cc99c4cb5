"""Where longer chains stop helping: the panel's distances and the mean of r against gradient evaluations, one chain a method.

    python benchmarks/curves.py mnist-gan --data ../shared/data/mnist -> benchmarks/results/MODEL-curves.json and .svg

Each method runs once to the last of MARKS, and what it has reached at every mark is measured against test images, so all points
of a curve are of the same chains. A chain of elliptical slice sampling is looked at after a set number of transitions, not of
passes (see `samplers.elliptical_slice`); its cost is what these took on average. Methods are as for `benchmarks/panel.py`. Each
seed adds --num-images images; the result of each seed is saved in --runs, so that an interrupted run continues.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from panel import number, part_file, saved
from speed import machine
from torch import Tensor

from ebm_refine import load
from ebm_refine.data.images import load_images
from ebm_refine.energies.labels import LabelledTarget, labels_of
from ebm_refine.energies.targets import kernel_for, real_ratios, target_of
from ebm_refine.evaluation.curves import drawn_curves
from ebm_refine.evaluation.tables import RESULTS
from ebm_refine.metrics.panel import judged, projected
from ebm_refine.metrics.panel_kinds import kinds_seen
from ebm_refine.metrics.panel_store import embedded_panel
from ebm_refine.models.checkpoint import Checkpoint
from ebm_refine.samplers import METHODS
from ebm_refine.samplers.cost import spent, steps_within
from ebm_refine.samplers.elliptical_slice import affordable, elliptical_slice
from ebm_refine.samplers.method import FORWARD
from ebm_refine.samplers.pilot import Pilot
from ebm_refine.samplers.rng import Draws
from ebm_refine.settings import Settings, resolve
from ebm_refine.utils.atomic_io import replacing
from ebm_refine.utils.devices import dtype_for

MARKS = (10, 25, 50, 75, 100, 150, 200, 300)
METHODS_SHOWN = "default,elliptical-slice,ex2mcmc"
MOST_REAL = 5000

Snapshot = tuple[float, Tensor]


def snapshots(target: Any, settings: Settings, real: Tensor | None) -> Iterator[Snapshot]:
    """Evaluations an image and positions (N, d) at the start and at every mark of one run of a method."""
    index = torch.arange(settings.num_images)
    start = target.init(settings.seed, index)
    kernel = kernel_for(target, METHODS[settings.method].build, settings.values, settings.seed, real)
    forwards, gradients = target.forwards, target.gradients
    state, left = kernel.init(start), list(MARKS)
    yield 0.0, start
    for step in range(1, settings.n_steps + 1):
        state, _ = kernel.step(state, Draws(settings.seed, index, step))
        cost = spent(target.forwards - forwards, target.gradients - gradients) / settings.num_images
        if left and (cost >= left[0] or step == settings.n_steps):
            left = [mark for mark in left if mark > cost]
            yield cost, state.position


def slice_snapshots(target: Any, settings: Settings) -> list[Snapshot]:
    """The same of elliptical slice sampling: every chain after the same number of transitions, for each mark one number."""
    index = torch.arange(settings.num_images)
    start = target.init(settings.seed, index)
    # A pilot is that of one class; all chains make the transitions that their pilots pay for on average.
    batches = [(one.target, len(one.rows)) for one in target.batches] if isinstance(target, LabelledTarget) else [(target, 1)]
    paid = [affordable(one, Pilot(one, settings.seed), int(MARKS[-1] / FORWARD)) for one, _ in batches]
    last = sum(transitions * count for transitions, (_, count) in zip(paid, batches, strict=True))
    last /= sum(count for _, count in batches)
    wanted = sorted({max(1, round(last * mark / MARKS[-1])) for mark in MARKS})
    found = after_transitions(target, settings.seed, index, start, wanted)
    # The start's own forward pass is part of the cost.
    made = [((float(passes.mean()) + 1) * FORWARD, positions) for passes, positions in found.values()]
    return [(0.0, start), *made]


def after_transitions(
    target: Any, seed: int, index: Tensor, start: Tensor, wanted: Sequence[int]
) -> dict[int, tuple[Tensor, Tensor]]:
    """By number of transitions, ascending, what each chain of elliptical slice sampling is then: passes (N,), positions."""
    found = {count: (torch.zeros(len(index)), start.clone()) for count in wanted}
    kernel = kernel_for(target, lambda one, *_: elliptical_slice(one, float(wanted[-1]), n_steps=2**31), {}, seed)
    state, step = kernel.init(start), 0
    while not kernel.finished(state):
        step += 1
        before = state.moves
        state, _ = kernel.step(state, Draws(seed, index, step))
        for count, (passes, positions) in found.items():
            arrived = (state.moves == count) & (before < count)
            passes[arrived], positions[arrived] = float(step), state.position[arrived]
    return found


def part_of(checkpoint: Checkpoint, spec: str, seed: int, count: int, runs: Path) -> list[dict[str, Any]]:
    """What the panel sees of one method and seed: of the start and every mark {"evaluations", "ratio": (N,), "features"}."""

    def make() -> list[dict[str, Any]]:
        settings = settings_of(checkpoint, spec, seed, count)
        labels = labels_of(checkpoint.config, seed, torch.arange(count))
        target: Any = target_of(checkpoint, settings.ratio, dtype=dtype_for("auto", "cpu"), labels=labels)
        panel = embedded_panel(checkpoint.config["data"]["dataset"])
        sliced = settings.method == "elliptical-slice"
        real = real_ratios(checkpoint, settings.ratio)
        marks = slice_snapshots(target, settings) if sliced else list(snapshots(target, settings, real))
        return [
            {"evaluations": cost, "ratio": target.log_ratio(position), "features": projected(panel, target.decode(position))}
            for cost, position in marks
        ]

    return saved(part_file(checkpoint, f"curve-{spec.replace(':', '_')}", seed, count, runs), make)


def settings_of(checkpoint: Checkpoint, spec: str, seed: int, count: int) -> Settings:
    """The settings of a run to the last mark."""
    name, *given = spec.split(":")
    method = checkpoint.config["defaults"]["method"] if name == "default" else name
    options = {key: number(value) for key, _, value in (item.partition("=") for item in given)}
    own = {key: options.pop(key) for key in ("eps", "temperature", "ratio") if key in options}
    settings = resolve(
        checkpoint.name, checkpoint.config, method=method, num_images=count, seed=seed, options=options or None, **own
    )
    return settings.changed(n_steps=steps_within(method, settings.values, MARKS[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--data", required=True)
    parser.add_argument("--methods", default=METHODS_SHOWN, help="comma-separated")
    parser.add_argument("--num-images", type=int, default=500, help="images a seed")
    parser.add_argument("--seeds", default="0,1,2,3")
    parser.add_argument("--runs", type=Path, default=Path("runs/panel"))
    chosen = parser.parse_args()
    checkpoint = load(chosen.model)
    dataset = checkpoint.config["data"]["dataset"]
    seeds = [int(seed) for seed in chosen.seeds.split(",")]
    panel = embedded_panel(dataset)
    real = projected(panel, load_images(dataset, chosen.data, "test").pixels[:MOST_REAL])
    curves = []
    for spec in chosen.methods.split(","):
        settings = settings_of(checkpoint, spec, seeds[0], chosen.num_images)
        parts = [part_of(checkpoint, spec, seed, chosen.num_images, chosen.runs) for seed in seeds]
        points = []
        for marks in zip(*parts, strict=True):
            sides = [
                {kind: torch.cat([one["features"][kind] for one in group]) for kind in real}
                for group in ([p[0] for p in parts], marks)
            ]
            report = judged(panel, *sides, real, seen=kinds_seen(checkpoint.config, settings.ratio))
            ratio = torch.cat([one["ratio"] for one in marks])
            kinds = {
                row.kind: {"value": row.after.value, "error": row.after.error, "votes": row.votes, "relative": row.relative,
                           "relative_error": row.difference.error / row.before.value}
                for row in report.rows
            }  # fmt: skip
            points.append({
                "evaluations": sum(one["evaluations"] for one in marks) / len(marks),
                "mean_ratio": float(ratio.mean()), "mean_ratio_error": float(ratio.std() / len(ratio) ** 0.5), "kinds": kinds,
            })  # fmt: skip
        curves.append({"method": settings.method, "eps": settings.values.get("eps"), "ratio": settings.ratio, "points": points})
        print(settings.method, [round(point["mean_ratio"], 2) for point in points], flush=True)
    stored = real_ratios(checkpoint, curves[0]["ratio"])
    results = {
        "model": checkpoint.name, "weights": checkpoint.hashes, "panel": panel.name, "fingerprint": panel.fingerprint,
        "num_images": chosen.num_images * len(seeds), "seeds": seeds, "real_images": len(next(iter(real.values()))),
        "real_ratio": None if stored is None else {"mean": float(stored.mean()), "images": len(stored), "split": "holdout"},
        "curves": curves, **machine(),
    }  # fmt: skip
    file = RESULTS / f"{checkpoint.name}-curves.json"
    for target, text in ((file, json.dumps(results, indent=1) + "\n"), (file.with_suffix(".svg"), drawn_curves(results))):
        with replacing(target) as temporary:
            temporary.write_text(text)
    print(f"wrote {file} and its picture")


if __name__ == "__main__":
    main()
