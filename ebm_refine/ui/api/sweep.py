"""The public endpoint `/sweep`. Name, order and defaults are fixed; `tests/api_schema.json` has them."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import gradio as gr
from PIL import Image

from ebm_refine import render
from ebm_refine.ui.api.refine import EPS, NULL, STEPS, described, input_of, split_options
from ebm_refine.ui.components.run_bar import LANE
from ebm_refine.ui.runtime.waiting import priced
from ebm_refine.ui.tabs.refine.job import user_errors
from ebm_refine.ui.tabs.sweep import job as sweeping
from ebm_refine.ui.tabs.sweep.job import Cell, Moment, Plan


def _evaluations(model, method, eps, n_steps, num_images, seed, ratio, options) -> float:
    further = split_options(options)
    return sweeping.work_of(sweeping.checked_sweep(model, method, eps, n_steps, num_images, seed, ratio, further))


@priced(_evaluations)
def sweep(
    model, method="langevin", eps=None, n_steps=None, num_images=16, seed=0, ratio="auto", options=None
) -> Iterator[tuple[Image.Image | None, Image.Image | None, dict[str, Any]]]:
    """A grid of runs over eps and n_steps on the same seeds. Yields progress instead of the table, then heat map PNG, pictures
    PNG and the table."""
    with user_errors():
        further = split_options(options)
        plan = sweeping.checked_sweep(model, method, eps, n_steps, num_images, seed, ratio, further)
        cells: list[Cell] = []
        progress: dict[str, Any] = {"cells": 0}
        with closing(sweeping.run(plan)) as news:
            for item in news:
                if isinstance(item, Cell):
                    cells.append(item)
                elif isinstance(item, Moment):
                    progress = {"cells": item.done, "of": item.of, "step": item.frame.step, "n_steps": item.frame.n_steps}
                yield None, None, progress
        rows, columns = sweeping.labels(plan)
        read = sweeping.distance_of(cells[0].metrics)
        title = f"{model}, {method}: {read.name if read else 'not measured'}, N = {plan.num_images}, seed {seed}"
        heat = render.heat_map(sweeping.heat(plan, cells), rows, columns, title)
        yield heat, sweeping.pictured(plan, cells), as_json(plan, cells)


def as_json(plan: Plan, cells: list[Cell]) -> dict[str, Any]:
    """The sweep as plain values: one entry a cell, with everything that was measured."""
    common = plan.cells[0][0].as_dict()
    return {
        "eps": plan.eps,
        "n_steps": plan.steps,
        "settings": {name: value for name, value in common.items() if name not in ("eps", "n_steps")},
        "cells": [{"eps": plan.eps[cell.row], "n_steps": plan.steps[cell.column], "metrics": cell.metrics} for cell in cells],
    }


def add(demo: gr.Blocks) -> None:
    """Give the page the endpoint; it needs components, of which none is shown."""
    most = sweeping.MAX_VALUES
    sizes = f"step sizes, a list of 1 to {most}, each {EPS.allowed}"
    steps = f"numbers of steps, a list of 1 to {most}, each {STEPS.allowed}"
    inputs = [
        input_of("model", {"type": "string"}, "a name that /models lists"),
        input_of("method", {"type": "string"}, "a method with a step size, as /models lists", "langevin"),
        input_of(
            "eps",
            {"type": "array", "items": {"type": "number"}},
            sizes,
            [0.1, 0.001, 1e-05, 1e-07],
        ),
        input_of(
            "n_steps",
            {"type": "array", "items": {"type": "integer"}},
            steps,
            [5, 20],
        ),
        input_of("num_images", {"type": "integer"}, sweeping.IMAGES.allowed, sweeping.IMAGES.default),
        input_of("seed", {"type": "integer"}, sweeping.SEED.help, sweeping.SEED.default),
        input_of("ratio", {"type": "string"}, "as in /refine", "auto"),
        input_of(
            "options",
            {"anyOf": [{"type": "object", "additionalProperties": {}}, NULL]},
            "further values by name, as in /refine: beta, temperature, label, and the method's parameters",
        ),
    ]
    outputs = [
        gr.Image(label="heat map", format="png", visible=False),
        gr.Image(label="pictures", format="png", visible=False),
        gr.JSON(label="table", visible=False),
    ]
    gr.Button(visible=False).click(
        sweep, inputs, outputs, api_name="sweep", api_description=described(sweep), preprocess=False, show_progress="hidden",
        concurrency_id=LANE, concurrency_limit=1,
    )  # fmt: skip
