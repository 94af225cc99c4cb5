"""The 2-D laboratory: known experiments on points in the plane, watched in data and latent space; and training to watch."""

import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import gradio as gr

from ebm_refine.errors import InputError
from ebm_refine.toy2d.experiments import EXPERIMENTS, POINTS, Experiment
from ebm_refine.ui.components import controls as controls_module
from ebm_refine.ui.components.controls import Controls, Scope
from ebm_refine.ui.components.plane_view import plane_view
from ebm_refine.ui.components.play2d import play2d
from ebm_refine.ui.components.run_bar import LOOK, RunBar
from ebm_refine.ui.components.status_line import idle, progress_line
from ebm_refine.ui.runtime import limits
from ebm_refine.ui.tabs.refine import metrics_panel as panel
from ebm_refine.ui.tabs.refine.job import user_errors
from ebm_refine.ui.tabs.toy2d import benchmark_table as laboratory_table
from ebm_refine.ui.tabs.toy2d import training as laboratory_training
from ebm_refine.ui.tabs.toy2d.job import LANE, FinishedScene, LiveScene, checked, run, toy_models

TITLE = "Play in 2-D"
_HEAD = (
    "In the plane everything can be seen: where the data lie, where a generator puts its points, the energy over both, and "
    "every particle on its way. The densities of the data are known here, so every claim has its number."
)


def experiments() -> dict[str, Experiment]:
    """The experiments whose models are embedded, by title."""
    models = toy_models()
    return {one.title: one for one in EXPERIMENTS if one.model in models}


def build() -> None:
    """Lay out the tab and wire it. At least one toy model must be embedded."""
    gr.Markdown(_HEAD, elem_classes="note")
    with gr.Tabs(elem_classes="address-tabs"):
        with gr.Tab("Play"):
            play2d()
        with gr.Tab("Sample"):
            _sampling()
        with gr.Tab("Train"):
            laboratory_training.build()
        if laboratory_table.present():
            with gr.Tab("Step size, K and architecture"):
                laboratory_table.build()


def _sampling() -> None:
    known, models = experiments(), toy_models()
    first = next(iter(known.values()), Experiment("", next(iter(models)), {}, ""))
    settings = checked(first.model, {**first.arguments, "num_images": POINTS})
    with gr.Row():
        with gr.Column(scale=1, min_width=330):
            preset = gr.Dropdown(
                list(known), value=first.title or None, label="Known experiment", elem_id="toy-preset", render=False
            )
            scope = Scope(models, "Points", limits.MAX_POINTS, "toy-", presets_first=True)
            controls = controls_module.build(settings, preset, scope)
        with gr.Column(scale=2, min_width=330):
            shows = gr.Markdown(first.shows, elem_id="toy-shows")
            bar = RunBar("toy", "Run", "Choose an experiment, then press Run.")
            status = bar.status
            view = plane_view(elem_id="toy-view")
            numbers = gr.HTML(elem_id="toy-numbers")

    def sample(*values: Any) -> Iterator[dict[Any, Any]]:
        began, moment = time.monotonic(), None
        with user_errors(), closing(run(*controls.arguments(values))) as news:
            for item in news:
                seconds = time.monotonic() - began
                if isinstance(item, FinishedScene):
                    done = f"{len(item.after)} points, {item.metrics['diagnostics']['steps']} steps in {item.seconds:.1f} s"
                    yield {status: idle(done), view: item.view, numbers: panel.with_verdict(item.metrics)}
                elif isinstance(item, LiveScene):
                    moment = item.frame
                    yield {status: progress_line(moment, seconds), view: item.view, numbers: ""}
                else:
                    yield {status: progress_line(moment, seconds) if moment else idle(f"Preparing … {seconds:.1f} s")}

    bar.runs(sample, controls.inputs, [view, numbers], LANE)
    _follow(controls, preset, shows)


def _follow(controls: Controls, preset: gr.Dropdown, shows: gr.Markdown) -> None:
    """Experiment, model and method set the other controls; number of points and seed stay."""

    def on_preset(title: Any) -> dict[Any, Any]:
        with user_errors():
            known = experiments()
            if title is None:  # the field was touched and left as it was
                return {shows: gr.skip()}
            if not isinstance(title, str) or title not in known:
                raise InputError(f"experiment must be one of {', '.join(known)}")
            one = known[title]
            return {**controls.showing(checked(one.model, one.arguments), common=False), shows: one.shows}

    def on_model(model: Any) -> dict[Any, Any]:
        with user_errors():
            return {**controls.showing(checked(model, {}), common=False), preset: None, shows: ""}

    def on_method(model: Any, method: Any) -> dict[Any, Any]:
        with user_errors():
            return {**controls.showing(checked(model, {"method": method}), common=False), preset: None, shows: ""}

    outputs = [*controls.shown, preset, shows]
    how = {"preprocess": False, **LOOK}
    preset.input(on_preset, preset, [*controls.shown, shows], **how)
    controls.model.input(on_model, controls.model, outputs, **how)
    controls.method.input(on_method, [controls.model, controls.method], outputs, **how)
