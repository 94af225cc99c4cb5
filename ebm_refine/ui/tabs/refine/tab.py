"""The Refine tab: controls on the left, results on the right, and the events that join them."""

import html
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import gradio as gr

from ebm_refine.errors import InputError
from ebm_refine.ui.api.refine import LANE
from ebm_refine.ui.components import controls as controls_room
from ebm_refine.ui.components.controls import Controls
from ebm_refine.ui.tabs.refine import share_link as links
from ebm_refine.ui.tabs.refine.job import Finished, Live, checked, model_named, refinable_models, run, told
from ebm_refine.ui.tabs.refine.presets import RECOMMENDED, presets
from ebm_refine.ui.tabs.refine.results import LOOK, PRIVATE, Results, idle

TITLE = "Refine"
# The link is finished in the browser, which alone knows the page's address (a Space's is the Hub's, given by the server).
_COPY = """(query, base) => {
  const link = (base || window.location.origin + window.location.pathname) + query;
  if (navigator.clipboard) navigator.clipboard.writeText(link).catch(() => {});
  return link;
}"""


def build(demo: gr.Blocks, data: str | None = None) -> Controls:
    """Lay out the tab and wire it; gives the controls, which other tabs read. `data` as of `Results`."""
    models = refinable_models()
    first = next(iter(models))
    with gr.Row():
        with gr.Column(scale=1, min_width=330):
            preset = gr.Dropdown(
                list(presets(models[first])), value=RECOMMENDED, label="Preset", elem_id="preset", render=False
            )
            controls = controls_room.build(checked(first, {}), preset)
            copy = gr.Button("Copy a link to these settings", size="sm", elem_id="copy-link")
            link = gr.Textbox(label="Link", visible=False, interactive=False, buttons=["copy"], elem_id="link")
            query, base = gr.Textbox(visible=False), gr.Textbox(links.space_address(), visible=False)
        with gr.Column(scale=2, min_width=330):
            with gr.Row(equal_height=True):
                start = gr.Button("Run", variant="primary", elem_id="run", scale=3, min_width=120)
                stop = gr.Button("Stop", variant="stop", elem_id="stop", scale=1, min_width=90)
            results = Results(data)

    def refine(*values: Any) -> Iterator[dict[Any, Any]]:
        began, moment = time.monotonic(), None
        with told(), closing(run(*controls.arguments(values))) as news:
            for item in news:
                if isinstance(item, Finished):
                    yield results.end(item)
                elif isinstance(item, Live):
                    moment = item
                    yield results.live(item, time.monotonic() - began)
                else:
                    yield results.waiting(moment, time.monotonic() - began)

    def stopped() -> str:
        time.sleep(0.3)
        return idle("Stopped.")

    running = start.click(
        refine, controls.inputs, results.outputs, preprocess=False, concurrency_id=LANE, concurrency_limit=1, **PRIVATE
    )
    # The word comes after whatever the cancelled run still had on its way.
    stop.click(None, None, None, cancels=[running]).then(stopped, None, results.status, queue=False, **PRIVATE)

    _follow(controls, preset)

    def opened(request: gr.Request) -> dict[Any, Any]:
        try:
            settings = links.settings_from(dict(request.query_params))
        except InputError as error:
            gr.Warning(f"The link's settings were not used: {html.escape(str(error), quote=False)}")
            return {results.status: gr.skip()}
        if settings is None:
            return {results.status: gr.skip()}
        chosen = gr.update(choices=list(presets(model_named(settings.model))), value=None)
        return {**controls.showing(settings), preset: chosen, results.status: idle("Settings taken from the link. Press Run.")}

    demo.load(opened, None, [*controls.shown, preset, results.status], **LOOK)

    def written(*values: Any) -> Any:
        with told():
            return links.query_of(checked(*controls.arguments(values))), gr.update(visible=True)

    copy.click(written, controls.inputs, [query, link], preprocess=False, **LOOK).success(
        None, [query, base], link, js=_COPY, **PRIVATE
    )
    return controls


def _follow(controls: Controls, preset: gr.Dropdown) -> None:
    """Model, method and preset set the other controls to their defaults; number of images and seed stay."""

    def on_model(model: Any) -> dict[Any, Any]:
        with told():
            settings = checked(model, {})
        choices = gr.update(choices=list(presets(model_named(model))), value=RECOMMENDED)
        return {**controls.showing(settings, common=False), preset: choices}

    def on_method(model: Any, method: Any) -> dict[Any, Any]:
        with told():
            return {**controls.showing(checked(model, {"method": method}), common=False), preset: None}

    def on_preset(model: Any, title: Any) -> dict[Any, Any]:
        with told():
            known = presets(model_named(model))
            if title not in known:
                raise InputError(f"preset must be one of {', '.join(known)}")
            return controls.showing(checked(model, known[title]), common=False)

    outputs = [*controls.shown, preset]
    how = {"preprocess": False, **LOOK}
    controls.model.input(on_model, controls.model, outputs, **how)
    controls.method.input(on_method, [controls.model, controls.method], outputs, **how)
    preset.input(on_preset, [controls.model, preset], outputs, **how)
