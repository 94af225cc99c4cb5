"""What a training run's log says of its health: what goes wrong, since when, and what helps; and a picture of its curves.

A log is the `log.jsonl` of a run: one JSON object a line, with `step` and numbers. Nothing else is needed, so that a run can be
looked at while it goes on, or after it was killed.
"""

import json
import math
import statistics
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from ebm_refine.errors import InputError
from ebm_refine.utils.atomic_io import replacing

Records = Sequence[dict[str, Any]]

# Fewer values than these say nothing of a trend.
FEWEST = 4
# Energies count as running away where their gap has grown so many times over the run's first half, and by so much at least.
GAP_GROWTH, GAP_LEAST = 4.0, 5.0
# Long chains are worse where their distance is this many times that of short ones, and so many errors above it.
LONG_WORSE, LONG_ERRORS = 1.5, 3.0
# So large a share of samples in one of ten classes is more than luck at a few hundred samples, and a mode that others feed.
LARGEST_CLASS, FEWEST_CLASSES = 0.35, 8
# Twice log 2, D's cross-entropy at chance, and how near to it counts as chance; below the other D has won.
CHANCE, NEAR_CHANCE, WON = 2 * math.log(2), 0.03, 0.15
# A distance that has risen this far over its lowest says that the best state is past.
RISEN = 1.25

# What is drawn first, in this order; whatever else is logged comes after it.
CURVES = (
    "holdout_distance", "holdout_distance_0.999", "holdout_distance_0.9999", "holdout_distance_0.99",
    "loss_d", "loss_g", "logit_real", "logit_fake",
    "energy_data", "energy_chains", "energy_unseen", "energy_noise", "gradient_norm",
    "short_chains_distance", "long_chains_distance", "largest_class_share", "classes", "mean_confidence",
    "holdout_cross_entropy", "train_cross_entropy",
)  # fmt: skip


class Finding(NamedTuple):
    """What is wrong, in one sentence with its numbers; what helps, in one more."""

    problem: str
    remedy: str


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The records of `folder`/log.jsonl. A last line that is still being written is left out.

    Raises InputError where there is no log, or it holds anything else than JSON objects.
    """
    file = folder / "log.jsonl"
    if not file.is_file():
        raise InputError(f"{folder} holds no training run: there is no log.jsonl in it")
    lines = file.read_text(errors="replace").splitlines(keepends=True)
    records = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
        except ValueError:
            if number == len(lines) and not line.endswith("\n"):
                break
            raise InputError(f"line {number} of {file} is not JSON") from None
        if not isinstance(record, dict):
            raise InputError(f"line {number} of {file} is not a JSON object")
        records.append(record)
    return records


def findings(records: Records) -> list[Finding]:
    """All that is wrong with a run by its log, the gravest first; empty where nothing is, or too little is logged to say."""
    found = [check(records) for check in CHECKS]
    return [finding for finding in found if finding is not None]


def stopped(records: Records) -> Finding | None:
    reasons = [str(record["stopped"]) for record in records if record.get("stopped")]
    if not reasons:
        return None
    return Finding(f"The run {reasons[-1]}.", "Halve the learning rate, or raise the weight alpha of the energies' squares.")


def energy_gap(records: Records) -> Finding | None:
    """Data far below the chains, and farther with every step: the energy rises faster than chains can follow."""
    gaps = [(r["step"], r["energy_chains"] - r["energy_data"]) for r in records if {"energy_chains", "energy_data"} <= r.keys()]
    if len(gaps) < 2 * FEWEST:
        return None
    before = statistics.median(abs(gap) for _, gap in gaps[: len(gaps) // 2])
    now = statistics.fmean(abs(gap) for _, gap in gaps[-max(2, len(gaps) // 10) :])
    if now < max(GAP_GROWTH * before, GAP_LEAST):
        return None
    bound = max(GAP_GROWTH * before, GAP_LEAST)
    since = next(step for step, gap in gaps if abs(gap) >= bound or step == gaps[-1][0])
    return Finding(
        f"The gap between the energies of chains and of data is running away: {before:.3g} in the first half of the run, "
        f"{now:.3g} now, since step {since}.",
        "Lower the learning rate, raise alpha, or make the chains longer, so that they reach what the energy has become.",
    )


def long_chains(records: Records) -> Finding | None:
    """Samples of the chains of training look right, and longer chains leave them: a short-run sampler, not a density."""
    pairs = [r for r in records if {"short_chains_distance", "long_chains_distance"} <= r.keys()]
    if not pairs:
        return None
    short, long = pairs[-1]["short_chains_distance"], pairs[-1]["long_chains_distance"]
    if not (long > LONG_WORSE * short and long - short > LONG_ERRORS * pairs[-1].get("long_chains_error", 0.0)):
        return None
    return Finding(
        f"Long chains are worse than short ones: kernel distance {long:.3g} against {short:.3g} at step {pairs[-1]['step']}.",
        "Make the chains of training longer, start fewer of them anew, or cool the learning rate at the end of the run.",
    )


def stuck_in_a_class(records: Records) -> Finding | None:
    measured = [r for r in records if {"classes", "largest_class_share"} <= r.keys()]
    if not measured:
        return None
    last = measured[-1]
    if last["largest_class_share"] < LARGEST_CLASS and last["classes"] >= FEWEST_CLASSES:
        return None
    return Finding(
        f"Chains gather in few classes: {last['largest_class_share']:.0%} of the samples are of one, and {last['classes']} "
        f"classes are there at all, at step {last['step']}.",
        "Start more chains anew from noise, make them longer, or lower the learning rate: a class that chains rarely visit "
        "has its energy raised by none.",
    )


def discriminator_wins(records: Records) -> Finding | None:
    last = _last_quarter(records, "loss_d")
    if not last or statistics.median(last) > WON:
        return None
    return Finding(
        f"D wins: its loss was {statistics.median(last):.3g} in the last quarter of the run, where chance is {CHANCE:.3g}.",
        "Lower D's learning rate, augment what it sees, or bound its slope (spectral norms, or a penalty on its gradient).",
    )


def discriminator_at_chance(records: Records) -> Finding | None:
    """D's cross-entropy at chance while the samples are bad: G learns from noise. A hinge loss has chance at 2."""
    last, distances = _last_quarter(records, "loss_d"), _distances(records)
    if not last or not distances:
        return None
    level = statistics.median(last)
    at_chance = abs(level - CHANCE) < NEAR_CHANCE or 1.9 < level < 2.3
    improving = distances[-1][1] < 0.8 * distances[0][1]
    if not at_chance or improving:
        return None
    return Finding(
        f"D is at chance (its loss was {level:.3g} in the last quarter of the run) and the distance does not fall: "
        f"{distances[0][1]:.3g} at first, {distances[-1][1]:.3g} now.",
        "Raise D's learning rate or its steps for each step of G, loosen its spectral norms, or augment less.",
    )


def past_its_best(records: Records) -> Finding | None:
    distances = _distances(records)
    if len(distances) < FEWEST:
        return None
    step, best = min(distances, key=lambda pair: pair[1])
    if distances[-1][1] <= RISEN * best:
        return None
    return Finding(
        f"The run is past its best: holdout distance {best:.3g} at step {step:g}, {distances[-1][1]:.3g} now.",
        "The best state ships in any case; stop here, or begin anew with a learning rate that falls earlier.",
    )


CHECKS: tuple[Callable[[Records], Finding | None], ...] = (
    stopped, energy_gap, discriminator_wins, discriminator_at_chance, long_chains, stuck_in_a_class, past_its_best,
)  # fmt: skip


def draw(records: Records, file: Path, title: str) -> None:
    """Write the curves of a run as an SVG: a small diagram for each number that the log has at two steps at least."""
    logged = dict.fromkeys(name for record in records for name in record if name not in ("step", *CURVES))
    drawn = [(name, points) for name in (*CURVES, *logged) if len(points := _points(records, name)) > 1]
    columns, width, height = 3, 300, 150
    rows = math.ceil(len(drawn) / columns)
    title = title if drawn else f"{title}: no curve yet, nothing is logged at two steps"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{columns * width}" height="{30 + rows * height}" '
        'font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="8" y="20" font-size="14">{escape(title)}</text>',
    ]
    for index, (name, points) in enumerate(drawn):
        left, top = index % columns * width, 30 + index // columns * height
        parts.append(_diagram(name.replace("_", " "), points, left + 8, top + 4, width - 16, height - 12))
    with replacing(file) as temporary:
        temporary.write_text("\n".join([*parts, "</svg>"]) + "\n")


def _diagram(name: str, points: list[tuple[float, float]], left: int, top: int, width: int, height: int) -> str:
    steps, values = [step for step, _ in points], [value for _, value in points]
    low, high = min(values), max(values)
    plot_top, plot_height = top + 18, height - 36

    def point(step: float, value: float) -> str:
        across = (step - steps[0]) / (steps[-1] - steps[0] or 1)
        up = (value - low) / (high - low or 1)
        return f"{left + across * width:.1f},{plot_top + (1 - up) * plot_height:.1f}"

    return "\n".join(
        [
            f'<text x="{left}" y="{top + 11}">{escape(name)}</text>',
            f'<text x="{left + width}" y="{top + 11}" text-anchor="end" fill="#555">{low:.3g} to {high:.3g}, '
            f"now {values[-1]:.3g}</text>",
            f'<rect x="{left}" y="{plot_top}" width="{width}" height="{plot_height}" fill="none" stroke="#ccc"/>',
            f'<polyline fill="none" stroke="#2563eb" stroke-width="1.5" points="{" ".join(point(*p) for p in points)}"/>',
            f'<text x="{left}" y="{top + height - 4}" fill="#555">step {steps[0]:g}</text>',
            f'<text x="{left + width}" y="{top + height - 4}" text-anchor="end" fill="#555">{steps[-1]:g}</text>',
        ]
    )


def _points(records: Records, name: str) -> list[tuple[float, float]]:
    """(step, value) wherever `name` is logged as a finite number."""
    logged = [(record.get("step"), record.get(name)) for record in records]
    return [(float(s), float(v)) for s, v in logged if _is_number(s) and _is_number(v)]


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and math.isfinite(value)


def _last_quarter(records: Records, name: str) -> list[float]:
    points = _points(records, name)
    return [value for _, value in points[-max(2, len(points) // 4) :]] if len(points) >= 2 else []


def _distances(records: Records) -> list[tuple[float, float]]:
    """(step, lowest holdout distance of any average measured there), in the order of the log."""
    best: dict[float, float] = {}
    for record in records:
        values = [v for name, v in record.items() if name.startswith("holdout_distance") and _is_number(v)]
        if values and _is_number(record.get("step")):
            best[float(record["step"])] = min(values)
    return list(best.items())
