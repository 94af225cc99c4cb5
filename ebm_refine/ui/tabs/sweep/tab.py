"""The Sweep tab: step sizes against numbers of steps, as a heat map of distance and as pictures of the same seeds."""

import html
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import gradio as gr

from ebm_refine import render
from ebm_refine.errors import InputError
from ebm_refine.parameters import shorten
from ebm_refine.samplers import METHODS
from ebm_refine.settings import available_ratios
from ebm_refine.ui.api.refine import LANE
from ebm_refine.ui.runtime import limits
from ebm_refine.ui.tabs.refine.job import first_model, model_named, refinable_models, told
from ebm_refine.ui.tabs.refine.results import LOOK, PRIVATE, idle
from ebm_refine.ui.tabs.sweep import job as sweeping
from ebm_refine.ui.tabs.sweep.job import IMAGES, LEAST_TOLD, SEED, Cell, Moment, Plan

TITLE = "Sweep"
START_EPS, START_STEPS, START_IMAGES = "1, 0.1, 0.01, 0.001", "5, 20", 32


def sweepable(name: str) -> list[str]:
    """The methods of a model that have a step size."""
    return [method for method in model_named(name).methods if "eps" in METHODS[method].uses]


def build() -> None:
    """Lay out the tab and wire it. At least one model must have a method with a step size."""
    models = {name: info for name, info in refinable_models().items() if sweepable(name)}
    first = first_model() if first_model() in models else next(iter(models))
    gr.Markdown(
        "Every cell is a run of its own from the same samples. With few of them a distance cannot tell small steps from none: "
        f"a dot marks what chance does not explain, from {LEAST_TOLD} samples on. Images x steps of all cells together may be "
        f"{limits.MAX_WORK:,} at most.",
        elem_classes="note",
    )
    with gr.Row():
        with gr.Column(min_width=280):
            model = gr.Dropdown(
                [(one.config.get("title", key), key) for key, one in models.items()], value=first, label="Model",
                elem_id="sweep-model",
            )  # fmt: skip
            method = gr.Dropdown(_methods(first), value=sweepable(first)[0], label="Method", elem_id="sweep-method")
            ratio = gr.Radio(_ratios(first), value="auto", label="Log ratio r")
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
    with gr.Row(equal_height=True):
        start = gr.Button("Run the sweep", variant="primary", elem_id="sweep-run", scale=3, min_width=120)
        stop = gr.Button("Stop", variant="stop", elem_id="sweep-stop", scale=1, min_width=90)
    said = gr.HTML(idle("Choose the values, then press Run the sweep."), elem_id="sweep-status", elem_classes="run-status")
    heat = gr.HTML(elem_id="sweep-heat")
    pictures = gr.Image(
        label="The same samples in every cell", format="png", type="pil", interactive=False, elem_id="sweep-pictures",
        elem_classes="pixel", alt_text="Samples of every cell, step sizes down and numbers of steps across",
        buttons=["download", "fullscreen"],
    )  # fmt: skip
    outputs = [said, heat, pictures]

    def sweep(*values: Any) -> Iterator[dict[Any, Any]]:
        began = time.monotonic()
        with told():
            wanted, chosen, log_ratio, sizes, counts, count, number = values
            plan = sweeping.checked_sweep(
                wanted, chosen, _numbers("eps", sizes), _numbers("N", counts), count, number, log_ratio, {}
            )
            yield {said: idle("Preparing …"), heat: "", pictures: None}
            cells: list[Cell] = []
            line = ""
            with closing(sweeping.run(plan)) as news:
                for item in news:
                    if isinstance(item, Cell):
                        cells.append(item)
                        yield {heat: heat_html(plan, cells), pictures: sweeping.pictured(plan, cells)}
                    elif isinstance(item, Moment):
                        line = f"cell {item.done + 1} of {item.of} · step {item.frame.step} of {item.frame.n_steps} · "
                        share = (item.done + item.frame.step / item.frame.n_steps) / item.of
                    else:
                        yield {said: _progress(line, share, time.monotonic() - began) if line else idle("Preparing …")}
            what = f"{plan.num_images} samples of {wanted}, {chosen}, seed {number}"
            yield {said: idle(f"{len(cells)} cells on {what}, in {time.monotonic() - began:.1f} s")}

    def stopped() -> str:
        time.sleep(0.3)
        return idle("Stopped.")

    running = start.click(
        sweep, [model, method, ratio, eps, steps, images, seed], outputs, preprocess=False, concurrency_id=LANE,
        concurrency_limit=1, **PRIVATE,
    )  # fmt: skip
    stop.click(None, None, None, cancels=[running]).then(stopped, None, said, queue=False, **PRIVATE)

    def on_model(value: Any) -> list[Any]:
        with told():
            able = sweepable(value)
            if not able:
                raise InputError(f"model {shorten(value)} has no method with a step size")
            return [
                gr.update(choices=_methods(value), value=able[0]),
                gr.update(choices=_ratios(value), value="auto", visible=bool(available_ratios(model_named(value).config))),
            ]

    model.input(on_model, model, [method, ratio], preprocess=False, **LOOK)


def heat_html(plan: Plan, cells: list[Cell]) -> str:
    """The heat map as a table, darker for farther from real samples; a dot where chance does not explain the change."""
    read = {(cell.row, cell.column): sweeping.reading(cell.metrics) for cell in cells}
    shades = render.shades_of(sweeping.heat(plan, cells))
    rows, columns = sweeping.labels(plan)
    head = "".join(f"<th scope='col'>{html.escape(label)}</th>" for label in ("", *columns))
    body = []
    for row, label in enumerate(rows):
        line = f"<th scope='row'>{html.escape(label)}</th>"
        for column in range(len(columns)):
            one, shade = read.get((row, column)), shades[row][column]
            if one is None or shade is None:
                line += f"<td>{'–' if (row, column) in read else ''}</td>"
                continue
            mark = " <span title='chance does not explain the change'>●</span>" if one.told else ""
            line += f"<td style='--shade: {100 * shade:.0f}%'>{one.after:.3g}{mark}</td>"
        body.append(f"<tr>{line}</tr>")
    known = next((one for one in read.values() if one), None)
    note = next((cell.metrics["note"] for cell in cells if "note" in cell.metrics), "nothing was measured")
    words = (
        f"{known.name}, lower is better; before: {known.before:.3g}. N = {plan.num_images} samples: no more than a first look."
        if known
        else f"No distance: {note}."
    )
    return (
        f"<div class='panel'><div class='wide' tabindex='0'><table class='heat'><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></div><p class='small'>{html.escape(words)}</p></div>"
    )


def _progress(line: str, share: float, seconds: float) -> str:
    text = html.escape(f"{line}{seconds:.1f} s")
    return f'<div>{text}<div class="bar"><span style="width:{100 * share:.0f}%"></span></div></div>'


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
