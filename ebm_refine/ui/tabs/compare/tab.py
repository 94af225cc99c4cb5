"""The Compare tab: the committed tables, and any two methods on the same seeds, live and side by side."""

import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any, NamedTuple

import gradio as gr

from ebm_refine.evaluation.tables import committed
from ebm_refine.parameters import Parameter
from ebm_refine.samplers import METHODS
from ebm_refine.settings import Settings, available_ratios, methods_of
from ebm_refine.ui.components.parameter_form import AUTOMATIC
from ebm_refine.ui.components.picture_view import picture_view
from ebm_refine.ui.components.picture_view import shown as seen
from ebm_refine.ui.components.run_bar import LOOK, RunBar, refilled
from ebm_refine.ui.components.status_line import idle, progress_line
from ebm_refine.ui.tabs.compare.job import BUDGET, IMAGES, SEED, Compared, Moment, checked_pair, method_named, run
from ebm_refine.ui.tabs.compare.panel import committed_html, compared_html, name
from ebm_refine.ui.tabs.refine.job import checked, first_model, model_named, refinable_models, user_errors

TITLE = "Compare"
ABSENT = (
    "No committed results lie beside this installation: they are in `benchmarks/results` of the project's repository. "
    "Two methods can be compared live all the same."
)
# Shown first where the model has them: a local method against a global one.
FAVOURITES = ("langevin", "ex2mcmc")
BEFORE = "Before: both begin here"
LIVE_QUALITY = 80


class _Controls(NamedTuple):
    """One side's inputs."""

    method: gr.Dropdown
    ratio: gr.Radio
    eps: gr.Textbox


class _Shown(NamedTuple):
    """What one side shows."""

    status: gr.HTML
    picture: gr.HTML


def build() -> None:
    """Lay out the tab and wire it. At least one model must be refinable."""
    gr.Markdown(
        "Two methods begin with the same samples and may spend the same number of network evaluations on each. Which one comes "
        "closer to real images?",
        elem_classes="note",
    )
    _live()
    gr.Markdown("## Measured on thousands of images", elem_id="compare-measured")
    _tables()


def _tables() -> None:
    tables = committed()
    if not tables:
        gr.Markdown(ABSENT, elem_id="compare-absent")
        return
    # The one that a visitor sees first is of the Demo page's model, and has its floor beside it.
    floored = [key for key, results in tables.items() if str(results.get("num_images")) in results.get("floors", {})]
    floored.sort(key=lambda key: tables[key].get("model") != first_model())
    first = next(iter(floored or tables))
    choice = gr.Dropdown(
        [(_title(results), key) for key, results in tables.items()], value=first, label="Table", elem_id="compare-choice",
        visible=len(tables) > 1,
    )  # fmt: skip
    shown = gr.HTML(committed_html(tables[first]), elem_id="compare-table")

    def chosen(key: Any) -> str:
        # Whatever a caller sends: an unknown name shows the first table.
        return committed_html(tables[key] if isinstance(key, str) and key in tables else tables[first])

    choice.input(chosen, choice, shown, preprocess=False, **LOOK)


def _title(results: dict[str, Any]) -> str:
    split = results["reference"]["split"]
    ratios = list(dict.fromkeys(row["ratio"] for row in results["rows"] if row.get("ratio", "none") != "none"))
    seeds = f"{len(results['seeds'])} seed{'s' if len(results['seeds']) > 1 else ''}"
    return f"{results['model']}: {split}, N = {results['num_images']}, {seeds}" + (
        f", {' and '.join(ratios)}" if ratios else ""
    )


def _live() -> None:
    # Of a model that one method alone samples there is nothing to compare.
    models = {name: model for name, model in refinable_models().items() if len(model.methods) > 1}
    start_model = first_model() if first_model() in models else next(iter(models))
    with gr.Row():
        with gr.Column(min_width=280):
            model = gr.Dropdown(
                [(one.config.get("title", key), key) for key, one in models.items()], value=start_model, label="Model",
                elem_id="compare-model",
            )  # fmt: skip
        with gr.Column(min_width=280):
            budget = _slider(BUDGET, "Gradient evaluations an image", "compare-budget")
    with gr.Row():
        with gr.Column(min_width=280):
            # As many as the limit allows: with few, only large differences show.
            images = _slider(IMAGES, "Samples", "compare-images", IMAGES.high)
        with gr.Column(min_width=280):
            seed = gr.Number(SEED.default, label="Seed", info=SEED.help, precision=0, elem_id="compare-seed")
    with gr.Row():
        sides = [_side(letter, start_model, number) for number, letter in enumerate("AB")]
    bar = RunBar("compare", "Run both", "Choose two methods, then press Run both.")
    said = bar.status
    numbers = gr.HTML(elem_id="compare-numbers")
    with gr.Row():
        with gr.Column(min_width=240):
            before = picture_view(elem_id="compare-before")
        shown = [_shown(letter) for letter in "AB"]
    inputs = [model, images, seed, budget, *(control for side in sides for control in side)]
    outputs = [before, numbers, *(component for side in shown for component in side)]

    def compare(*values: Any) -> Iterator[dict[Any, Any]]:
        began = time.monotonic()
        with user_errors():
            wanted, count, start_seed, most, *rest = values
            pair = checked_pair(wanted, count, start_seed, most, (_arguments("A", *rest[:3]), _arguments("B", *rest[3:])))
            clear = {side.status: idle(f"{settings.n_steps} steps") for side, settings in zip(shown, pair[:2], strict=True)}
            yield {numbers: "", said: idle("Preparing …"), **clear}
            with closing(run(pair)) as news:
                for item in news:
                    if isinstance(item, Compared):
                        yield _end(item, time.monotonic() - began)
                    elif isinstance(item, Moment):
                        yield _moment(item)
                    else:
                        yield {said: idle(f"{time.monotonic() - began:.1f} s")}

    def _moment(moment: Moment) -> dict[Any, Any]:
        side = shown[moment.side]
        line = progress_line(moment.frame, moment.seconds)
        updates: dict[Any, Any] = {side.status: line, side.picture: seen(moment.picture, "AB"[moment.side], "", LIVE_QUALITY)}
        if moment.frame.step == 0:
            updates[before] = seen(moment.picture, BEFORE, "", LIVE_QUALITY)
        return updates

    def _end(end: Compared, seconds: float) -> dict[Any, Any]:
        settings = end.sides[0].settings
        what = f"{settings.num_images} samples of {settings.model}, seed {settings.seed}"
        updates: dict[Any, Any] = {
            said: idle(f"Both on {what}, in {seconds:.1f} s"),
            before: seen(end.before, BEFORE, f"Samples before refinement: {what}"),
            numbers: compared_html(end),
        }
        for side, letter, component in zip(end.sides, "AB", shown, strict=True):
            done = f"{letter}: {name(side)}, {side.metrics['diagnostics']['steps']} steps in {side.seconds:.1f} s"
            updates[component.status] = idle(done)
            title = f"{letter}: {name(side)}"
            updates[component.picture] = seen(side.picture, title, f"Samples after {name(side)}: {what}")
        return updates

    bar.runs(refilled(compare, inputs), inputs, outputs)
    _follow(model, sides)


def _follow(model: gr.Dropdown, sides: list[_Controls]) -> None:
    """A model sets the methods and ratios to choose from; a method sets its step size, or hides it."""

    def on_model(value: Any) -> list[Any]:
        with user_errors():
            config = model_named(value).config
            updates: list[Any] = []
            for number in range(len(sides)):
                settings = _default(value, number)
                updates += [
                    gr.update(choices=_methods(config), value=settings.method),
                    gr.update(choices=["auto", *available_ratios(config)], value="auto"),
                    _eps(settings),
                ]
            return updates

    def on_method(value: Any, method: Any) -> Any:
        with user_errors():
            return _eps(checked(value, {"method": method, "n_steps": 1}))

    how = {"preprocess": False, **LOOK}
    model.input(on_model, model, [control for side in sides for control in side], **how)
    for side in sides:
        side.method.input(on_method, [model, side.method], side.eps, **how)


def _side(letter: str, model: str, number: int) -> _Controls:
    settings, config = _default(model, number), model_named(model).config
    key = letter.lower()
    with gr.Column(min_width=280), gr.Group():
        method = gr.Dropdown(_methods(config), value=settings.method, label=f"Method {letter}", elem_id=f"compare-method-{key}")
        ratio = gr.Radio(["auto", *available_ratios(config)], value="auto", label=f"Discriminator score of {letter}")
        # Text, as a number that is left empty would say 0.
        eps = gr.Textbox(
            _written(settings.values.get("eps")), label=f"eps of {letter}", visible="eps" in settings.values, max_lines=1,
            placeholder=AUTOMATIC, elem_id=f"compare-eps-{key}",
        )  # fmt: skip
    return _Controls(method, ratio, eps)


def _shown(letter: str) -> _Shown:
    key = letter.lower()
    with gr.Column(min_width=240):
        picture = picture_view(elem_id=f"compare-picture-{key}")
        status = gr.HTML("", elem_id=f"compare-status-{key}", elem_classes="run-status")
    return _Shown(status, picture)


def _arguments(letter: str, method: Any, ratio: Any, eps: Any) -> dict[str, Any]:
    """The arguments of `refine` of one side; a step size only where the method reads one and the visitor gave one."""
    rows = METHODS[method].parameters if isinstance(method, str) and method in METHODS else ()
    row = next((one for one in rows if one.name == "eps"), None)
    if row is None or not isinstance(eps, str) or not eps.strip():
        return {"method": method, "ratio": ratio}
    with method_named(letter):
        return {"method": method, "ratio": ratio, "eps": row.parse_text(eps.strip())}


def _default(model: str, number: int) -> Settings:
    """What side `number` shows of a model first."""
    present = methods_of(model_named(model).config)
    wanted = FAVOURITES[number] if FAVOURITES[number] in present else present[number % len(present)]
    return checked(model, {"method": wanted, "n_steps": 1})


def _methods(config: dict[str, Any]) -> list[tuple[str, str]]:
    return [(METHODS[method].title, method) for method in methods_of(config)]


def _eps(settings: Settings) -> Any:
    return gr.update(visible="eps" in settings.values, value=_written(settings.values.get("eps")))


def _written(eps: float | None) -> str:
    return "" if eps is None else f"{eps:g}"


def _slider(row: Parameter, label: str, key: str, value: float | None = None) -> gr.Slider:
    return gr.Slider(row.low, row.high, value=value or row.default, step=1, label=label, info=row.help, elem_id=key)
