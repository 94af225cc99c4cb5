"""A sweep over step size and number of steps: one number and a few pictures for each cell, every cell from the same seeds."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from ebm_refine import render
from ebm_refine.evaluation.tables import DISTANCES, FACTORS, main_distance

# What tells a row's cell; rows that differ in anything else belong to different sweeps.
AXES = ("eps", "n_steps")
_SETTINGS = ("method", "ratio", "temperature", "beta", "options")


class Grid(NamedTuple):
    """One sweep: `rows[i][j]` is the result's row for eps[i] and n_steps[j], None where there is none; `base` the row before.

    `name` tells it from the other sweeps of the same results, in letters that a file may have.
    """

    name: str
    eps: list[float]
    n_steps: list[int]
    rows: list[list[dict[str, Any] | None]]
    base: dict[str, Any]


def grids(rows: Sequence[dict[str, Any]]) -> list[Grid]:
    """The sweeps among the rows of `evaluate`'s results: settings that differ in eps or n_steps alone, two or more of them."""
    base = rows[0]
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if all(row.get(axis) is not None for axis in AXES):
            groups.setdefault(json.dumps([row.get(name) for name in _SETTINGS]), []).append(row)
    swept = [group for group in groups.values() if len(group) > 1]
    found = []
    for number, group in enumerate(swept):
        eps, n_steps = (sorted({row[axis] for row in group}) for axis in AXES)
        cells = {(row["eps"], row["n_steps"]): row for row in group}
        name = "-".join([group[0]["method"], group[0]["ratio"], *([str(number)] if len(swept) > 1 else [])])
        found.append(Grid(name, eps, n_steps, [[cells.get((one, many)) for many in n_steps] for one in eps], base))
    return found


def setting_of(row: dict[str, Any]) -> str:
    """What tells a row, or the settings of a job but for their seed, from all others."""
    return json.dumps([row.get(name) for name in (*AXES, *_SETTINGS)])


def heat_map(grid: Grid, results: dict[str, Any]) -> Image.Image:
    """The main distance of every cell, with its description."""
    measure = main_distance(grid.base)
    factor = FACTORS.get(measure, 1)
    values = [[None if row is None else factor * row[measure]["mean"] for row in line] for line in grid.rows]
    title = (
        f"{results['model']}, {grid.name}: {DISTANCES[measure]}, N = {results['num_images']}, {len(results['seeds'])} seed(s)"
    )
    title += f"\n{results['title']}, {results['reference']['split']}; base {factor * grid.base[measure]['mean']:.4g}"
    return render.heat_map(values, [f"eps {eps:g}" for eps in grid.eps], [f"N = {steps}" for steps in grid.n_steps], title)


def write(
    results: dict[str, Any], folder: Path, pictures_of: Callable[[dict[str, Any]], tuple[Image.Image, Image.Image] | None]
) -> list[Path]:
    """Write `sweep-NAME.png` and, where there are pictures, `pictures-NAME.png` into `folder` for every sweep of the results.

    `pictures_of(row)` gives a row's first images before and after, or None. Returns the files.
    """
    written = []
    for grid in grids(results["rows"]):
        drawn = {f"sweep-{grid.name}.png": heat_map(grid, results)}
        both = [[None if row is None else pictures_of(row) for row in line] for line in grid.rows]
        befores = [pair[0] for line in both for pair in line if pair]
        if befores:
            # The first column is what all cells began with.
            table = [[befores[0], *(pair and pair[1] for pair in line)] for line in both]
            columns = ["before", *(f"N = {steps}" for steps in grid.n_steps)]
            drawn[f"pictures-{grid.name}.png"] = render.picture_table(table, [f"eps {eps:g}" for eps in grid.eps], columns)
        for name, picture in drawn.items():
            render.save_png(picture, folder / name)
            written.append(folder / name)
    return written
