"""The numbers of points in the plane: distance to the data with its floor, modes, their weights, quality."""

import math
from typing import Any

from ebm_refine.ui.components import html_table
from ebm_refine.ui.components.html_table import percent

CHANCE = 0.01


def verdict(metrics: dict[str, Any]) -> tuple[str, str]:
    """A kind ("better", "worse", "same") and one sentence on the distance to the data, beyond three deviations of its floor."""
    distance, floor = metrics["earth_movers_distance"], metrics["earth_movers_distance"]["floor"]
    change = distance["after"] - distance["before"]
    noise = 3 * floor["sd"]
    if change < -noise:
        return "better", "Better: the points came closer to the data, by more than chance explains."
    if change > noise or math.isnan(change):
        return "worse", "Worse: the points went further from the data, by more than chance explains."
    return "same", f"{distance['num_points']} points are too few to tell whether they came closer to the data."


def table(metrics: dict[str, Any]) -> str:
    """Before, after, and what the data themselves give."""
    distance, before, after = metrics["earth_movers_distance"], metrics["modes"]["before"], metrics["modes"]["after"]
    floor = distance["floor"]
    ceiling = metrics["high_quality_ceiling"]
    rows = [
        ("earth mover's distance to data", _number(distance["before"]), _number(distance["after"]),
         f"{_number(floor['mean'])} ± {_number(floor['sd'])}"),
        ("over the floor", *(_number(distance[side] / floor["mean"]) for side in ("before", "after")), "1"),
        ("modes recovered", *(f"{side['recovered']} of {side['modes']}" for side in (before, after)), str(after["modes"])),
        ("high quality", *(percent(side["high_quality"], 1) for side in (before, after)),
         percent(ceiling, 2) if ceiling else "–"),
    ]  # fmt: skip
    if after["p_value"] is not None:
        rows.append(("weights over modes, p", *(_chance(side["p_value"]) for side in (before, after)), f"> {CHANCE}"))
    if after["spread"] is not None:
        rows.append(("width of modes", *(_number(side["spread"]) for side in (before, after)), "1"))
    return html_table.table(["", "before", "after", "data themselves"], rows)


def small_print(metrics: dict[str, Any]) -> str:
    """What the numbers are."""
    count = metrics["earth_movers_distance"]["num_points"]
    text = (
        f"{metrics['num_points']} points, one a chain. The earth mover's distance is that of {count} points to as many fresh "
        "ones of the data; its floor is the distance between two such sets of data. High quality: within 4 component widths of "
        "the nearest component. p is that of a chi-square test of the counts by mode, small where the weights are wrong. No "
        "energy is among these numbers: a sampler lowers it by construction."
    )
    return html_table.small(text)


def _chance(p_value: float | None) -> str:
    return "–" if p_value is None else f"{p_value:.2g}"


def _number(value: float | None) -> str:
    return html_table.number(value, 3)
