"""The Demo page: a finished result to look at, Run with a few controls beside it, and the events that join them."""

import html
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import gradio as gr

from ebm_refine.errors import InputError
from ebm_refine.models.kinds import is_points
from ebm_refine.ui.components import controls as controls_module
from ebm_refine.ui.components.controls import Controls, Scope
from ebm_refine.ui.components.run_bar import LOOK, PRIVATE, RunBar, laned
from ebm_refine.ui.components.status_line import idle
from ebm_refine.ui.runtime import limits
from ebm_refine.ui.runtime.waiting import priced
from ebm_refine.ui.tabs.refine import share_link as links
from ebm_refine.ui.tabs.refine import showcase
from ebm_refine.ui.tabs.refine.job import (
    Finished,
    Live,
    checked,
    first_model,
    model_named,
    opening,
    refinable_models,
    run,
    user_errors,
)
from ebm_refine.ui.tabs.refine.presets import RECOMMENDED, presets
from ebm_refine.ui.tabs.refine.results import Results

TITLE = "Demo"
_MORE = "<span id='more'><a href='./sweep'>What do eps and N do?</a> <a href='./own'>How do I refine my own GAN?</a></span>"
# The link is finished in the browser, which alone knows the page's address (a Space's is the Hub's, given by the server).
_COPY = """(query, base) => {
  const link = (base || window.location.origin + window.location.pathname) + query;
  if (navigator.clipboard) navigator.clipboard.writeText(link).catch(() => {});
  return link;
}"""
_ADDRESS = "(query) => { page.address(query); }"
_ADDRESS_OF_CARD = "(query) => { page.address(query); document.querySelector('#stage').scrollIntoView({block: 'nearest'}); }"


def build(demo: gr.Blocks, data: str | None = None) -> None:
    """Lay out the page and wire it. `data` as of `Results`."""
    models = {name: info for name, info in refinable_models().items() if not is_points(info.config)} or refinable_models()
    first = first_model() if first_model() in models else next(iter(models))
    settings = opening(first)
    card = showcase.card_of(settings)
    with gr.Row(elem_id="demo"):
        with gr.Column(scale=1, min_width=300, elem_id="settings"):
            status = gr.HTML(idle(card.status if card else "Press Run."), elem_id="status", render=False)
            bar = RunBar("", "Run", status=status)
            preset = gr.Dropdown(
                list(presets(models[first])), value=RECOMMENDED, label="Preset", elem_id="preset", render=False
            )
            controls = controls_module.build(settings, preset, Scope(models))
            copy = gr.Button("Copy a link to these settings", size="sm", elem_id="copy-link")
            link = gr.Textbox(label="Link", visible=False, interactive=False, buttons=["copy"], elem_id="link")
            query, base = gr.Textbox(visible=False), gr.Textbox(links.space_address(), visible=False)
        with gr.Column(scale=3, min_width=320):
            results = Results(status, data, card.shown() if card else None)
    go = gr.State(False)
    cards = None
    if showcase.cards():  # behind Run for the keyboard, above it for the eye
        cards = gr.HTML(showcase.as_html(_MORE), js_on_load=showcase.SCRIPT, apply_default_css=False, elem_id="cards")
    else:
        gr.HTML(_MORE, apply_default_css=False)

    def evaluations(*values: Any) -> float:
        model, arguments = controls.arguments(values)
        return limits.work_of(checked(model, arguments))

    @priced(evaluations)
    def refine(*values: Any) -> Iterator[dict[Any, Any]]:
        began, moment, before = time.monotonic(), None, None
        with user_errors():
            model, arguments = controls.arguments(values)
            with closing(run(model, arguments)) as news:
                for item in news:
                    seconds = time.monotonic() - began
                    if isinstance(item, Finished):
                        yield results.done(item.record, item.bundle.read_bytes())
                    elif isinstance(item, Live):
                        begins = {results.finished: gr.update(visible=False), results.verdict: ""} if before is None else {}
                        updates, before = results.live(item, seconds, before)
                        yield {**updates, **begins}
                        moment = item
                    else:
                        yield results.waiting(moment, seconds)

    def linked(wanted: bool, *values: Any) -> Iterator[dict[Any, Any]]:
        if wanted:
            yield from refine(*values)
        else:
            yield {results.status: gr.skip()}  # of a generator without a value Gradio would make an empty page

    running = bar.start.click(refine, controls.inputs, results.streamed, **laned())
    _shows(running, results)
    _follow(controls, preset)

    def opened(request: gr.Request) -> dict[Any, Any]:
        try:
            settings = links.settings_from(dict(request.query_params))
        except InputError as error:
            gr.Warning(f"The link's settings were not used: {html.escape(str(error), quote=False)}")
            return {results.status: gr.skip()}
        if settings is None:
            return {results.status: gr.skip()}
        return {
            **_chosen(settings),
            results.status: idle("Settings taken from the link."),
            **_opened(showcase.card_of(settings)),
        }

    def _chosen(settings: Any) -> dict[Any, Any]:
        chosen = gr.update(choices=list(presets(model_named(settings.model))), value=None)
        return {**controls.showing(settings), preset: chosen}

    def _opened(card: showcase.Card | None) -> dict[Any, Any]:
        """A result that ships with the page is shown; any other is run."""
        if card is None:
            return {go: True}
        shown = card.shown()
        shows = {results.status: idle(shown["status"]), results.verdict: shown["verdict"], results.stage: shown["stage"]}
        return {go: False, results.finished: gr.update(visible=False), results.query: card.query, **shows}

    outputs = [*controls.shown, preset, go, results.status, results.verdict, results.stage, results.finished, results.query]
    demo.load(opened, None, outputs, **LOOK)
    # Only where there is something to run: a page that is merely opened must not stand in the line of runs.
    following = go.change(linked, [go, *controls.inputs], results.streamed, **laned())
    _shows(following, results)
    bar.ends(running, following)
    if cards is not None:

        def picked(event: gr.EventData) -> dict[Any, Any]:
            key = event._data.get("index") if isinstance(event._data, dict) else None
            card = showcase.cards().get(key) if isinstance(key, str) else None
            if card is None:
                return {results.status: gr.skip()}
            return {**({} if card.points else _chosen(card.settings)), **_opened(card)}

        cards.select(picked, None, outputs, **LOOK).success(None, results.query, None, js=_ADDRESS_OF_CARD, **PRIVATE)

    def written(*values: Any) -> Any:
        with user_errors():
            return links.query_of(checked(*controls.arguments(values))), gr.update(visible=True)

    copy.click(written, controls.inputs, [query, link], preprocess=False, **LOOK).success(
        None, [query, base], link, js=_COPY, **PRIVATE
    )


def _shows(ran: Any, results: Results) -> None:
    """After a run: the rest of its result, and its address."""
    ran.success(results.details, results.record, results.outputs, **LOOK).success(
        None, results.query, None, js=_ADDRESS, **PRIVATE
    )


def _follow(controls: Controls, preset: gr.Dropdown) -> None:
    """Model, method and preset set the other controls to their defaults; the seed stays."""

    def opens(model: Any, arguments: dict[str, Any]) -> dict[Any, Any]:
        settings = opening(model_named(model).name, arguments)
        return {**controls.showing(settings, common=False), controls.num_images: settings.num_images}

    def on_model(model: Any) -> dict[Any, Any]:
        with user_errors():
            choices = gr.update(choices=list(presets(model_named(model))), value=RECOMMENDED)
            return {**opens(model, {}), preset: choices}

    def on_method(model: Any, method: Any) -> dict[Any, Any]:
        with user_errors():
            return {**opens(model, {"method": method}), preset: None}

    def on_preset(model: Any, title: Any) -> dict[Any, Any]:
        if title is None:  # the field was touched and left as it was
            return {preset: gr.skip()}
        with user_errors():
            known = presets(model_named(model))
            if not isinstance(title, str) or title not in known:
                raise InputError(f"preset must be one of {', '.join(known)}")
            return opens(model, known[title])

    outputs = [*controls.shown, preset]
    how = {"preprocess": False, **LOOK}
    controls.model.input(on_model, controls.model, outputs, **how)
    controls.method.input(on_method, [controls.model, controls.method], outputs, **how)
    preset.input(on_preset, [controls.model, preset], outputs, **how)
