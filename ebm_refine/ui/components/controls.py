"""The page's controls, generated from the parameter rows of `settings` and of every method; no method has code of its own."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from ebm_refine.catalogue import ModelInfo
from ebm_refine.models.kinds import is_points
from ebm_refine.parameters import Parameter
from ebm_refine.samplers import METHODS
from ebm_refine.settings import COMMON, MAIN, Settings, available_ratios
from ebm_refine.ui.runtime import limits
from ebm_refine.ui.tabs.refine.job import model_named, refinable_models

STEPS_SHOWN = 300
_COMMON = {row.name: row for row in COMMON}
_LOG_TO_VALUE = "(x) => Number(Math.pow(10, x).toPrecision(3))"
_VALUE_TO_LOG = "(value) => value > 0 ? Math.log10(value) : null"


@dataclass(frozen=True)
class Controls:
    """All inputs of a run. `options` and `groups` are those of each method, of which only the chosen one's are visible."""

    model: gr.Dropdown
    method: gr.Dropdown
    summary: gr.Markdown
    eps: gr.Number
    eps_slider: gr.Slider
    n_steps: gr.Slider
    temperature: gr.Number
    num_images: gr.Slider
    seed: gr.Number
    ratio: gr.Radio
    beta: gr.Number
    options: dict[tuple[str, str], Any]
    groups: dict[str, gr.Group]

    @property
    def inputs(self) -> list[Any]:
        """In the order that `arguments` expects."""
        return [self.model, self.method, self.eps, self.n_steps, self.temperature, self.num_images, self.seed, self.ratio,
                self.beta, *self.options.values()]  # fmt: skip

    @property
    def shown(self) -> list[Any]:
        """Everything that `showing` may change."""
        return [*self.inputs, self.summary, self.eps_slider, *self.groups.values()]

    def arguments(self, values: Sequence[Any]) -> tuple[Any, dict[str, Any]]:
        """The model and the arguments of `refine` from the raw values of `inputs`; only what the chosen method reads."""
        model, method, eps, n_steps, temperature, num_images, seed, ratio, beta, *rest = values
        named = {"method": method, "num_images": num_images, "seed": seed, "ratio": ratio, "beta": beta}
        uses = METHODS[method].uses if isinstance(method, str) and method in METHODS else frozenset()
        main = {"eps": eps, "n_steps": n_steps, "temperature": temperature}
        named |= {name: value for name, value in main.items() if name in uses}
        own = zip(self.options, rest, strict=True)
        options = {name: value for (owner, name), value in own if owner == method and value is not None}
        return model, {**named, "options": options}

    def showing(self, settings: Settings, common: bool = True) -> dict[Any, Any]:
        """Updates that make the controls show these settings; without `common`, number of images and seed stay."""
        info = model_named(settings.model)
        method = METHODS[settings.method]
        rows = {row.name: row for row in method.parameters}
        updates: dict[Any, Any] = {
            self.model: settings.model,
            self.method: gr.update(choices=_method_choices(info), value=settings.method),
            self.summary: method.summary,
            self.n_steps: gr.update(
                value=settings.n_steps, maximum=_steps_shown(rows["n_steps"], settings.n_steps), info=rows["n_steps"].help
            ),
            self.ratio: gr.update(
                choices=["auto", *available_ratios(info.config)],
                value=settings.ratio,
                visible=_has_ratio(info),
                info=_ratio_help(info),
            ),
            self.beta: gr.update(value=settings.beta, visible=_has_ratio(info)),
        }
        numbers = {"eps": self.eps, "temperature": self.temperature}
        for name, component in numbers.items():
            present = name in rows
            updates[component] = gr.update(visible=present, value=settings.values[name] if present else None)
        updates[self.eps_slider] = gr.update(visible=False)
        if "eps" in rows:
            low, high = math.log10(rows["eps"].low), math.log10(rows["eps"].high)
            eps = settings.values["eps"]  # None where the method tunes its own
            updates[self.eps_slider] = gr.update(
                visible=True, minimum=low, maximum=high, value=low if eps is None else math.log10(eps), info=rows["eps"].help
            )
        for name, group in self.groups.items():
            updates[group] = gr.update(visible=name == settings.method)
        for (owner, name), option in self.options.items():
            if owner == settings.method:
                updates[option] = settings.values[name]
        updates[self.num_images] = gr.update(info=_work_help(settings, info))
        if common:
            updates |= {
                self.num_images: gr.update(value=settings.num_images, info=_work_help(settings, info)),
                self.seed: settings.seed,
            }
        return updates


@dataclass(frozen=True)
class Scope:
    """Which models a tab offers, how many samples it allows and how it calls them; `prefix` keeps its elements' ids apart."""

    models: dict[str, ModelInfo]
    noun: str = "Images"
    most: int = limits.MAX_IMAGES
    prefix: str = ""


def build(settings: Settings, presets: gr.Dropdown | None = None, scope: Scope | None = None) -> Controls:
    """Lay the controls out, showing `settings`, inside the current column. Without a scope they offer all models."""
    scope, method = scope or Scope(refinable_models()), METHODS[settings.method]
    info, rows = scope.models[settings.model], {row.name: row for row in METHODS[settings.method].parameters}
    steps = rows["n_steps"]
    with gr.Group():
        model = gr.Dropdown(
            [(one.config.get("title", name), name) for name, one in scope.models.items()],
            value=settings.model, label="Model", elem_id=f"{scope.prefix}model",
        )  # fmt: skip
        if presets is not None:
            presets.render()
        method_control = gr.Dropdown(_method_choices(info), value=settings.method, label="Method")
    summary = gr.Markdown(method.summary, elem_classes="note")
    with gr.Group():
        eps, eps_slider = _eps(rows.get("eps"), settings.values.get("eps"), scope.prefix)
        n_steps = gr.Slider(
            steps.low, _steps_shown(steps, settings.n_steps), value=settings.n_steps, step=1, label="N, the number of steps",
            info=steps.help, elem_id=f"{scope.prefix}n-steps",
        )  # fmt: skip
        num_images = gr.Slider(
            1, scope.most, value=settings.num_images, step=1, label=scope.noun,
            info=_work_help(settings, info), elem_id=f"{scope.prefix}num-images",
        )  # fmt: skip
        with gr.Row(equal_height=True, elem_classes="seed-row"):
            seed = gr.Number(settings.seed, label="Seed", precision=0, min_width=120, scale=3, elem_id=f"{scope.prefix}seed")
            dice = gr.Button("New seed", min_width=90, scale=1)
        ratio = gr.Radio(
            ["auto", *available_ratios(info.config)], value=settings.ratio, label="Log ratio r", info=_ratio_help(info),
            visible=_has_ratio(info),
        )  # fmt: skip
    options: dict[tuple[str, str], Any] = {}
    groups: dict[str, gr.Group] = {}
    with gr.Accordion("Advanced", open=False):
        beta = gr.Number(
            settings.beta, label="beta", info=_info(_COMMON["beta"]), elem_id=f"{scope.prefix}beta", visible=_has_ratio(info)
        )  # fmt: skip
        temperature = gr.Number(
            settings.values.get("temperature"), label="temperature", visible="temperature" in rows,
            elem_id=f"{scope.prefix}temperature", info="samples exp(-E/T); 0 is gradient descent",
        )  # fmt: skip
        for name, one in METHODS.items():
            own = [row for row in one.parameters if row.name not in MAIN]
            with gr.Group(visible=name == settings.method) as groups[name]:
                for row in own:
                    options[name, row.name] = _control(row, settings.values.get(row.name) if name == settings.method else None)
    dice.click(None, js="() => Math.floor(Math.random() * 4294967296)", outputs=seed, api_visibility="private")
    return Controls(
        model, method_control, summary, eps, eps_slider, n_steps, temperature, num_images, seed, ratio, beta, options, groups
    )


def _eps(row: Parameter | None, value: float | None, prefix: str) -> tuple[gr.Number, gr.Slider]:
    """A slider over log10(eps) and the exact number, each moving the other in the browser; the number is what is used."""
    low, high = (math.log10(row.low), math.log10(row.high)) if row else (-9.0, 1.0)
    with gr.Row(equal_height=True, elem_classes="eps-row"):
        slider = gr.Slider(
            low, high, value=math.log10(value) if value else low, step=0.05, label="eps, the step size", scale=3, min_width=170,
            info=row.help if row else "", visible=row is not None, elem_classes="log-slider",
            elem_id=f"{prefix}eps-slider",
        )  # fmt: skip
        number = gr.Number(value, label="exact eps", scale=1, min_width=96, visible=row is not None, elem_id=f"{prefix}eps")
    slider.input(None, slider, number, js=_LOG_TO_VALUE, show_progress="hidden", api_visibility="private")
    number.input(None, number, slider, js=_VALUE_TO_LOG, show_progress="hidden", api_visibility="private")
    return number, slider


def _control(row: Parameter, value: Any) -> Component:
    label = row.name.replace("_", " ") + (f" ({row.unit})" if row.unit else "")
    value = row.default if value is None else value
    if row.kind == "choice":
        return gr.Dropdown(list(row.choices), value=value, label=label, info=row.help)
    if row.kind == "int" and row.high <= 1000 and value is not None:
        return gr.Slider(row.low, row.high, value=value, step=1, label=label, info=row.help)
    return gr.Number(value, label=label, info=_info(row), placeholder="let the method decide" if row.default is None else None)


def _method_choices(info: ModelInfo) -> list[tuple[str, str]]:
    return [(METHODS[name].title, name) for name in info.methods]


def _has_ratio(info: ModelInfo) -> bool:
    return bool(available_ratios(info.config))


def _ratio_help(info: ModelInfo) -> str:
    """What the ratios are; a critic's raw score is none, and says so."""
    if info.config.get("discriminator_output") != "critic":
        return _COMMON["ratio"].help
    return f"{_COMMON['ratio'].help}; raw is a critic's score, whose scale only beta sets"


def _work_help(settings: Settings, info: ModelInfo) -> str:
    noun, most = ("points", limits.MAX_POINT_WORK) if is_points(info.config) else ("images", limits.most_work(settings))
    return f"{noun} x N may be at most {most:,} here"


def _steps_shown(row: Parameter, value: int) -> int:
    """How far the slider goes: to the usual numbers of steps, further where the settings need it."""
    return min(int(row.high or STEPS_SHOWN), max(STEPS_SHOWN, value))


def _info(row: Parameter) -> str:
    return f"{row.help}; {row.allowed}" if row.help else row.allowed
