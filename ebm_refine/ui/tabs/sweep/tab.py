"""The Sweep tab: step sizes against numbers of steps, as a heat map of distance and as pictures of the same seeds."""

import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import gradio as gr

from ebm_refine.errors import InputError
from ebm_refine.parameters import shorten
from ebm_refine.samplers import METHODS
from ebm_refine.settings import available_ratios
from ebm_refine.ui.components.html_table import Cell as TableCell
from ebm_refine.ui.components.html_table import number, panel, small, table
from ebm_refine.ui.components.picture_view import picture_view
from ebm_refine.ui.components.picture_view import shown as seen
from ebm_refine.ui.components.run_bar import LOOK, RunBar, refilled
from ebm_refine.ui.components.status_line import idle, progress
from ebm_refine.ui.tabs.refine.job import first_model, model_named, refinable_models, user_errors
from ebm_refine.ui.tabs.sweep import job as sweeping
from ebm_refine.ui.tabs.sweep.job import IMAGES, SEED, Cell, CellDistance, Moment, Plan

TITLE = "Sweep"
START_EPS, START_STEPS, START_IMAGES = "10, 1, 0.1, 0.01, 0.001", "5, 20, 60", 32
PICTURES = "The same samples in every cell"
ALT = "Samples of every cell, step sizes down and numbers of steps across"


def sweepable(name: str) -> list[str]:
    """The methods of a model that have a step size."""
    return [method for method in model_named(name).methods if "eps" in METHODS[method].uses]


def build() -> None:
    """Lay out the tab and wire it. At least one model must have a method with a step size."""
    models = {name: info for name, info in refinable_models().items() if sweepable(name)}
    first = first_model() if first_model() in models else next(iter(models))
    gr.Markdown(
        "What do the step size eps and the number of steps N do? Every cell is a run of its own from the same samples. Steps "
        "that are too small change nothing; steps that are too large ruin the images; in between they improve, the more steps "
        "the more.",
        elem_classes="note",
    )
    with gr.Row():
        with gr.Column(min_width=280):
            model = gr.Dropdown(
                [(one.config.get("title", key), key) for key, one in models.items()], value=first, label="Model",
                elem_id="sweep-model",
            )  # fmt: skip
            method = gr.Dropdown(_methods(first), value=sweepable(first)[0], label="Method", elem_id="sweep-method")
            ratio = gr.Radio(_ratios(first), value="auto", label="Which discriminator score")
        with gr.Column(min_width=280):
            eps = gr.Textbox(
                START_EPS, label="eps, the step sizes", info="separated by commas", max_lines=1, elem_id="sweep-eps"
            )
            steps = gr.Textbox(
                START_STEPS, label="N, the numbers of steps", info="separated by commas", max_lines=1, elem_id="sweep-steps"
            )
            with gr.Row():
                images = gr.Slider(
                    IMAGES.low,
                    IMAGES.high,
                    value=START_IMAGES,
                    step=1,
                    label="Samples",
                    info=IMAGES.help,
                    elem_id="sweep-images",
                )
                seed = gr.Number(SEED.default, label="Seed", precision=0, min_width=110, elem_id="sweep-seed")
    bar = RunBar("sweep", "Run the sweep", "Choose the values, then press Run the sweep.")
    said = bar.status
    with gr.Row():
        with gr.Column(min_width=300):
            heat = gr.HTML(elem_id="sweep-heat")
        with gr.Column(min_width=300):
            pictures = picture_view(elem_id="sweep-pictures")

    def sweep(*values: Any) -> Iterator[dict[Any, Any]]:
        began = time.monotonic()
        with user_errors():
            wanted, chosen, log_ratio, sizes, counts, count, start = values
            plan = sweeping.checked_sweep(
                wanted, chosen, _numbers("eps", sizes), _numbers("N", counts), count, start, log_ratio, {}
            )
            yield {said: idle("Preparing …"), heat: "", pictures: ""}
            cells: list[Cell] = []
            line = ""
            with closing(sweeping.run(plan)) as news:
                for item in news:
                    if isinstance(item, Cell):
                        cells.append(item)
                        yield {heat: heat_html(plan, cells), pictures: seen(sweeping.pictured(plan, cells), PICTURES, ALT)}
                    elif isinstance(item, Moment):
                        line = f"cell {item.done + 1} of {item.of} · step {item.frame.step} of {item.frame.n_steps} · "
                        share = (item.done + item.frame.step / item.frame.n_steps) / item.of
                    else:
                        seconds = time.monotonic() - began
                        yield {said: progress(f"{line}{seconds:.1f} s", share) if line else idle("Preparing …")}
            what = f"{plan.num_images} samples of {wanted}, {chosen}, seed {start}"
            yield {said: idle(f"{len(cells)} cells on {what}, in {time.monotonic() - began:.1f} s")}

    inputs = [model, method, ratio, eps, steps, images, seed]
    bar.runs(refilled(sweep, inputs), inputs, [heat, pictures])

    def on_model(value: Any) -> list[Any]:
        with user_errors():
            able = sweepable(value)
            if not able:
                raise InputError(f"model {shorten(value)} has no method with a step size")
            return [
                gr.update(choices=_methods(value), value=able[0]),
                gr.update(choices=_ratios(value), value="auto", visible=bool(available_ratios(model_named(value).config))),
            ]

    model.input(on_model, model, [method, ratio], preprocess=False, **LOOK)


def heat_html(plan: Plan, cells: list[Cell]) -> str:
    """The distances as a table: green where they fell, red where they rose, a dot where chance does not explain the change."""
    read = {(cell.row, cell.column): sweeping.distance_of(cell.metrics) for cell in cells}
    rows, columns = sweeping.labels(plan)
    body = [
        [label, *(_cell(read[row, column]) if (row, column) in read else "" for column in range(len(columns)))]
        for row, label in enumerate(rows)
    ]
    known = next((one for one in read.values() if one), None)
    note = next((cell.metrics["note"] for cell in cells if "note" in cell.metrics), "nothing was measured")
    words = (
        f"{known.name}, lower is better; {number(known.before, 3)} before. Green: closer to real samples than before; red: "
        f"further away. ● marks what chance does not explain. {plan.num_images} samples are no more than a first look."
        if known
        else f"No distance: {note}."
    )
    return panel(table(["", *columns], body, wide=True, css="heat", name="Distances"), small(words))


def _cell(one: CellDistance | None) -> str | TableCell:
    """One distance; its colour is full where it fell to nothing, or doubled."""
    if one is None:
        return "–"
    change = (one.after - one.before) / abs(one.before) if one.before else 0.0
    kind, share = ("closer", -change) if change < 0 else ("further", change)
    mark = " <span title='chance does not explain the change'>●</span>" if one.significant else ""
    return TableCell(f"{number(one.after, 3)}{mark}", kind, f"--shade: {100 * min(1.0, share):.0f}%")


def _numbers(name: str, text: Any) -> list[float | int]:
    """Numbers separated by commas. Raises InputError."""
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{name} must be numbers separated by commas; got {shorten(text)}")
    return [_number(name, part.strip()) for part in text.split(",")]


def _number(name: str, text: str) -> float | int:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    raise InputError(f"{name} must be numbers separated by commas; got {shorten(text)}")


def _methods(model: str) -> list[tuple[str, str]]:
    return [(METHODS[name].title, name) for name in sweepable(model)]


def _ratios(model: str) -> list[str]:
    return ["auto", *available_ratios(model_named(model).config)]
