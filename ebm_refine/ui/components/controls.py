"""The page's controls, generated from the parameter rows of `settings` and of every method; no method has code of its own.

An emptied field is a state of its own: the value is left to the checkpoint, or to the method, and the field says so.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from ebm_refine.catalogue import ModelInfo
from ebm_refine.energies.labels import label_count, label_parameter
from ebm_refine.models.kinds import is_points
from ebm_refine.parameters import Parameter
from ebm_refine.samplers import METHODS, Method
from ebm_refine.settings import COMMON, Settings, available_ratios
from ebm_refine.ui.components.parameter_form import AUTOMATIC, form, given, placeholder, shown, written
from ebm_refine.ui.runtime import limits
from ebm_refine.ui.tabs.refine.job import model_named, refinable_models

STEPS_SHOWN = 300
_COMMON = {row.name: row for row in COMMON}
_LOG_TO_TEXT = "(x) => String(Number(Math.pow(10, x).toPrecision(3)))"
_TEXT_TO_LOG = "(text) => Number(text) > 0 ? Math.log10(Number(text)) : null"
_NUMBER = gr.InputHTMLAttributes(autocomplete="off", spellcheck=False)
_HERE: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
ANY_CLASS = "any"
# Rows with a control of their own; every other row of a method is in the form.
_OWN = ("eps", "n_steps")


@dataclass(frozen=True)
class Controls:
    """All inputs of a run. `form` holds what the chosen method has beside a step size and a number of steps."""

    model: gr.Dropdown
    method: gr.Dropdown
    summary: gr.Markdown
    eps: gr.Textbox
    eps_slider: gr.Slider
    n_steps: gr.Slider
    num_images: gr.Slider
    seed: gr.Textbox
    ratio: gr.Radio
    form: gr.HTML
    label: gr.Dropdown

    @property
    def inputs(self) -> list[Any]:
        """In the order that `arguments` expects."""
        return [self.model, self.method, self.eps, self.n_steps, self.num_images, self.seed, self.ratio, self.form, self.label]

    @property
    def shown(self) -> list[Any]:
        """Everything that `showing` may change."""
        return [*self.inputs, self.summary, self.eps_slider]

    def arguments(self, values: Sequence[Any]) -> tuple[Any, dict[str, Any]]:
        """The model and the arguments of `refine` from the raw values of `inputs`; only what the chosen method reads."""
        model, method, eps, n_steps, num_images, seed, ratio, more, label = values
        chosen = METHODS.get(method) if isinstance(method, str) else None
        classes = label_parameter(model_named(model).config)
        own = [*([classes] if classes else []), *(chosen.parameters if chosen else ())]
        rows = {**_COMMON, **{row.name: row for row in own}}
        # Of another method's rows, which a form may still hold for a moment, nothing is read.
        typed = {name: text for name, text in given(more).items() if name in rows}
        raw = {**typed, "num_images": num_images, "seed": seed, "ratio": ratio}
        raw |= {name: value for name, value in (("eps", eps), ("n_steps", n_steps)) if name in rows}
        if classes and label != ANY_CLASS:
            raw["label"] = label
        parsed = {name: _parsed(rows[name], value) for name, value in raw.items() if not _empty(value)}
        main = {name: parsed.pop(name) for name in ("eps", "n_steps", "temperature", "label", *_COMMON) if name in parsed}
        return model, {"method": method, **main, "options": parsed}

    def showing(self, settings: Settings, common: bool = True) -> dict[Any, Any]:
        """Updates that make the controls show these settings; without `common`, number of images and seed stay."""
        info = model_named(settings.model)
        method = METHODS[settings.method]
        rows = {row.name: row for row in method.parameters}
        steps, eps = rows["n_steps"], rows.get("eps")
        value = settings.values.get("eps")
        updates: dict[Any, Any] = {
            self.model: settings.model,
            self.method: gr.update(choices=_method_choices(info), value=settings.method),
            self.summary: _explained(method),
            self.n_steps: gr.update(
                value=settings.n_steps, maximum=_steps_shown(steps, settings.n_steps), info=_steps_help(settings, info)
            ),
            self.ratio: gr.update(
                choices=["auto", *available_ratios(info.config)],
                value=settings.ratio,
                visible=_has_ratio(info),
                info=_ratio_help(info),
            ),
            self.form: shown(_form_rows(method.parameters, info), _form_values(settings)),
            self.label: gr.update(
                choices=_classes(info), value=_class(settings), visible=label_parameter(info.config) is not None
            ),
            self.eps: gr.update(visible=eps is not None),
            self.eps_slider: gr.update(visible=eps is not None),
        }
        if eps is not None:
            low, high = math.log10(eps.low), math.log10(eps.high)
            updates[self.eps] = gr.update(visible=True, value=written(eps, value), placeholder=_left_empty(eps, info, settings))
            updates[self.eps_slider] = gr.update(
                visible=True, minimum=low, maximum=high, value=low if value is None else math.log10(value),
                info=_eps_help(eps, info, settings),
            )  # fmt: skip
        if common:
            updates |= {self.num_images: settings.num_images, self.seed: str(settings.seed)}
        return updates


@dataclass(frozen=True)
class Scope:
    """Which models a tab offers, how many samples it allows and how it calls them.

    `prefix` keeps its elements' ids apart; `presets_first` puts presets above all controls, else among the further ones.
    """

    models: dict[str, ModelInfo]
    noun: str = "Images"
    most: int = limits.MAX_IMAGES
    prefix: str = ""
    presets_first: bool = False


def build(settings: Settings, presets: gr.Dropdown | None = None, scope: Scope | None = None) -> Controls:
    """Lay the controls out, showing `settings`, inside the current column. Without a scope they offer all models."""
    scope, method = scope or Scope(refinable_models()), METHODS[settings.method]
    info, rows, prefix = scope.models[settings.model], {row.name: row for row in method.parameters}, scope.prefix
    steps = rows["n_steps"]
    with gr.Group():
        if presets is not None and scope.presets_first:
            presets.render()
        model = gr.Dropdown(
            [(one.config.get("title", name), name) for name, one in scope.models.items()],
            value=settings.model, label="Model", elem_id=f"{prefix}model",
        )  # fmt: skip
        label = gr.Dropdown(
            _classes(info), value=_class(settings), label="Class", visible=label_parameter(info.config) is not None,
            elem_id=f"{prefix}label",
        )  # fmt: skip
        method_control = gr.Dropdown(_method_choices(info), value=settings.method, label="Method", elem_id=f"{prefix}method")
    summary = gr.Markdown(_explained(method), elem_classes="note")
    with gr.Column(elem_classes="steps"):
        eps, eps_slider = _eps(rows.get("eps"), settings, info, prefix)
        n_steps = gr.Slider(
            steps.low, _steps_shown(steps, settings.n_steps), value=settings.n_steps, step=1, label="N, the number of steps",
            info=_steps_help(settings, info), elem_id=f"{prefix}n-steps", buttons=[],
        )  # fmt: skip
    with gr.Accordion("Advanced", open=False):
        if presets is not None and not scope.presets_first:
            presets.render()
        num_images = gr.Slider(
            1, scope.most, value=settings.num_images, step=1, label=scope.noun, elem_id=f"{prefix}num-images", buttons=[],
        )  # fmt: skip
        with gr.Row(equal_height=True, elem_classes="seed-row"):
            seed = _text(str(settings.seed), "Seed", f"{prefix}seed", placeholder(_COMMON["seed"]), min_width=110, scale=3)
            dice = gr.Button("New seed", min_width=90, scale=1)
        ratio = gr.Radio(
            ["auto", *available_ratios(info.config)], value=settings.ratio, label="Which discriminator score",
            info=_ratio_help(info), visible=_has_ratio(info), elem_id=f"{prefix}ratio",
        )  # fmt: skip
        more = form(_form_rows(method.parameters, info), _form_values(settings), elem_id=f"{prefix}options")
    dice.click(None, js="() => String(Math.floor(Math.random() * 4294967296))", outputs=seed, api_visibility="private")
    return Controls(model, method_control, summary, eps, eps_slider, n_steps, num_images, seed, ratio, more, label)


def _eps(row: Parameter | None, settings: Settings, info: ModelInfo, prefix: str) -> tuple[gr.Textbox, gr.Slider]:
    """A slider over log10(eps) and the exact number, each moving the other in the browser; the number is what is used."""
    low, high = (math.log10(row.low), math.log10(row.high)) if row else (-9.0, 1.0)
    value = settings.values.get("eps")
    with gr.Row(equal_height=True, elem_classes="eps-row"):
        slider = gr.Slider(
            low, high, value=math.log10(value) if value else low, step=0.05, label="eps, the step size", scale=2, min_width=140,
            info=_eps_help(row, info, settings) if row else "", visible=row is not None, elem_classes="log-slider",
            elem_id=f"{prefix}eps-slider", buttons=[],
        )  # fmt: skip
        number = _text(
            written(row, value) if row else "", "Exact eps", f"{prefix}eps", _left_empty(row, info, settings) if row else "",
            visible=row is not None, min_width=120, scale=1,
        )  # fmt: skip
    slider.input(None, slider, number, js=_LOG_TO_TEXT, trigger_mode="always_last", **_HERE)
    number.input(None, number, slider, js=_TEXT_TO_LOG, trigger_mode="always_last", **_HERE)
    return number, slider


def _text(value: str, label: str, elem_id: str, empty: str, **options: Any) -> gr.Textbox:
    """A field for a number. Text, as Gradio's own field for numbers says 0 where it is empty."""
    return gr.Textbox(
        value, label=label, elem_id=elem_id, placeholder=empty, max_lines=1, html_attributes=_NUMBER, **options
    )  # fmt: skip


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _parsed(row: Parameter, value: Any) -> Any:
    return row.parse_text(value.strip()) if isinstance(value, str) else value


def _form_rows(rows: Sequence[Parameter], info: ModelInfo) -> list[Parameter]:
    """What is neither among the common controls nor has one of its own."""
    first = [_COMMON["beta"]] if _has_ratio(info) else []
    return [*first, *(row for row in rows if row.name not in _OWN)]


def _form_values(settings: Settings) -> dict[str, Any]:
    return {**settings.values, "beta": settings.beta}


def _explained(method: Method) -> str:
    """What a method does, and what its samples are samples of."""
    return f"{method.summary}\n\n*{method.law.sentence}*"


def _classes(info: ModelInfo) -> list[tuple[str, str]]:
    """What the class may be, by the names that the model has for them."""
    count = label_count(info.config)
    names = (info.config.get("labels") or {}).get("names") or [str(label) for label in range(count)]
    return [("any: one drawn for each image", ANY_CLASS), *((str(names[label]), str(label)) for label in range(count))]


def _class(settings: Settings) -> str:
    return ANY_CLASS if settings.label is None else str(settings.label)


def _method_choices(info: ModelInfo) -> list[tuple[str, str]]:
    return [(METHODS[name].title, name) for name in info.methods]


def _has_ratio(info: ModelInfo) -> bool:
    return bool(available_ratios(info.config))


def _ratio_help(info: ModelInfo) -> str:
    """What the ratios are; a critic's raw score is none, and says so."""
    if info.config.get("discriminator_output") != "critic":
        return _COMMON["ratio"].help
    return f"{_COMMON['ratio'].help}; raw is a critic's score, whose scale only beta sets"


def _default_eps(row: Parameter, info: ModelInfo, settings: Settings) -> float | None:
    """The step size of an empty field: the checkpoint's own, or the method's; None where that tunes it."""
    return info.config.get("defaults", {}).get(settings.method, {}).get("eps", row.default)


def _left_empty(row: Parameter, info: ModelInfo, settings: Settings) -> str:
    default = _default_eps(row, info, settings)
    return AUTOMATIC if default is None else written(row, default)


def _eps_help(row: Parameter, info: ModelInfo, settings: Settings) -> str:
    if _default_eps(row, info, settings) is None:
        return "Leave empty: the step size is tuned automatically."
    return "Small steps stay close to the generator's image; large ones explore, and too large ones spoil it."


def _steps_help(settings: Settings, info: ModelInfo) -> str:
    """What N does; the limit, where these settings exceed it."""
    noun, most = ("points", limits.MAX_POINT_WORK) if is_points(info.config) else ("images", limits.most_work(settings))
    if settings.num_images * settings.n_steps > most:
        return f"{noun} × N may be at most {most:,} here"
    return "More steps change more, and take longer."


def _steps_shown(row: Parameter, value: int) -> int:
    """How far the slider goes: to the usual numbers of steps, further where the settings need it."""
    return min(int(row.high or STEPS_SHOWN), max(STEPS_SHOWN, value))
