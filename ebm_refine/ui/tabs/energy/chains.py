"""Chains of an energy on the page: how a run is followed and shown, the steps from noise to digits, completion, denoising."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

import gradio as gr
import pandas as pd
from PIL import Image

from ebm_refine import render
from ebm_refine.tasks import energy_model as answers
from ebm_refine.tasks import masks
from ebm_refine.tasks.energy_model import Chains
from ebm_refine.ui.components.digit_input import DigitInput, given
from ebm_refine.ui.components.film_player import film, player
from ebm_refine.ui.components.line_chart import line_chart
from ebm_refine.ui.components.picture_view import picture_view, shown
from ebm_refine.ui.components.run_bar import LOOK, RunBar, refilled
from ebm_refine.ui.components.status_line import idle
from ebm_refine.ui.runtime import limits
from ebm_refine.ui.runtime.pictures import SHELF
from ebm_refine.ui.tabs.energy import job as asking
from ebm_refine.ui.tabs.energy import panels as energy_words
from ebm_refine.ui.tabs.energy.job import Question, first_energy
from ebm_refine.ui.tabs.refine.job import user_errors
from ebm_refine.ui.tabs.refine.pictures import strip_bytes

STEPS_SHOWN = 2000
BESIDE = "mala"
LIVE_QUALITY = 80
ANY = "any"


class ChainsView:
    """A run of chains: the moment it is in, then its film, its energies and what they mean."""

    def __init__(self, title: str, name: str):
        self.title = title
        gr.Markdown(f"**{title}**")
        self.live = picture_view(elem_id=f"{name}-live")
        self.film = player(elem_id=f"{name}-film", elem_classes="film")
        self.words = gr.HTML(elem_id=f"{name}-words")
        self.plot = line_chart("step", "energy", "Energy along the chains", f"{name}-plot", "series", 220, visible=False)

    @property
    def outputs(self) -> list[Any]:
        return [self.live, self.film, self.words, self.plot]

    def cleared(self) -> dict[Any, Any]:
        return {
            self.live: "",
            self.film: None,
            self.words: "",
            # Hidden and not taken off the page: Gradio's plot goes on watching its size, and fails once it has none.
            self.plot: gr.update(visible="hidden"),
        }

    def moment(self, moment: asking.Moment) -> dict[Any, Any]:
        return self.running(render.grid(moment.images))

    def running(self, picture: Image.Image) -> dict[Any, Any]:
        """Updates for a moment that is a picture."""
        return {self.live: shown(picture, "", f"Grid of chains: {self.title}", LIVE_QUALITY), self.film: None}

    def ended(self, chains: Chains) -> dict[Any, Any]:
        words, energies = energy_words.of_chains(chains), energy_words.energy_frame(chains)
        return self.filmed(*energy_words.film_of(chains), words, energies)

    def filmed(self, pictures: list[Image.Image], steps: list[int], words: str, energies: pd.DataFrame) -> dict[Any, Any]:
        """The end of a run: its film, HTML about it, and rows (step, energy, series)."""
        return {
            self.live: "",
            self.film: film(SHELF.put(strip_bytes(pictures)), steps, f"Film of the chains: {self.title}"),
            self.words: words,
            self.plot: gr.update(value=energies, visible=True),
        }


class Runner(RunBar):
    """Run and Stop, a status line, and the event that follows one or more runs, each in its own view."""

    def asks(self, asked: Callable[..., list[Question]], inputs: Sequence[Any], views: Sequence[ChainsView]) -> None:
        """`asked(*values)` gives the questions, one for each view that is to be used, all checked before the first runs."""

        def run(*values: Any) -> Iterator[dict[Any, Any]]:
            began = time.monotonic()
            with user_errors():
                questions = asked(*values)
                yield {key: value for view in views for key, value in view.cleared().items()} | {
                    self.status: idle("Preparing …")
                }
                for question, view in zip(questions, views, strict=False):
                    with closing(asking.ask(question)) as news:
                        for item in news:
                            if isinstance(item, Chains):
                                yield view.ended(item)
                            elif isinstance(item, asking.Moment):
                                line = energy_words.of_moment(item, view.title, time.monotonic() - began)
                                yield {**view.moment(item), self.status: line}
                yield {self.status: idle(f"Done in {time.monotonic() - began:.1f} s.")}

        self.follows(run, inputs, views)

    def follows(self, run: Callable[..., Iterator[dict[Any, Any]]], inputs: Sequence[Any], views: Sequence[ChainsView]) -> None:
        """`run(*values)` yields updates of the status and of the views; Stop ends it."""
        self.runs(refilled(run, inputs), inputs, [component for view in views for component in view.outputs])


def from_noise(model: gr.Dropdown) -> None:
    """The section in which noise slides into digits, beside a long chain at unit temperature."""
    first = first_energy()
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            with gr.Group():
                n_steps = gr.Slider(
                    1,
                    STEPS_SHOWN,
                    value=_steps(first.name),
                    step=1,
                    label="Steps of the short run",
                    elem_id="energy-n-steps",
                )
                beside = gr.Checkbox(
                    True, label="Beside it, a long chain at temperature 1",
                    info="adjusted Langevin steps, which sample exp(−E) itself", elem_id="energy-beside",
                )  # fmt: skip
                long = gr.Slider(10, 2500, value=1000, step=10, label="Steps of the long chain", elem_id="energy-long")
                label = gr.Dropdown(
                    [ANY, *map(str, range(10))], value=ANY, label="Digit", info="any, or one of your choice",
                    visible=bool(answers.classes_of(first.config)), elem_id="energy-label",
                )  # fmt: skip
                images = gr.Slider(1, 64, value=16, step=1, label="Chains", info=_info(), elem_id="energy-images")
                seed = gr.Number(0, label="Seed", precision=0, elem_id="energy-seed")
            runner = Runner("energy", "Start in noise")
        with gr.Column(scale=2, min_width=320), gr.Row():
            with gr.Column(min_width=250):
                cold = ChainsView("Short run, as in training", "cold")
            with gr.Column(min_width=250):
                warm = ChainsView("Long chain at temperature 1", "warm")

    def asked(model: Any, n_steps: Any, beside: Any, long: Any, label: Any, images: Any, seed: Any) -> list[Question]:
        chosen = int(label) if isinstance(label, str) and label.isdecimal() else None
        common = {"num_images": images, "seed": asking.SEED.given(seed), "class_label": chosen}
        questions = [asking.sampling(model, "short-run", n_steps=n_steps, **common)]
        return [*questions, asking.sampling(model, BESIDE, n_steps=long, **common)] if beside else questions

    runner.asks(asked, [model, n_steps, beside, long, label, images, seed], [cold, warm])

    def chosen(name: Any) -> list[Any]:
        with user_errors():
            steps = _steps(name)
        labelled = name in asking.labelled_models()
        return [steps, gr.update(visible=labelled, value=ANY)]

    model.input(chosen, model, [n_steps, label], preprocess=False, **LOOK)


def completing(model: gr.Dropdown, digit: DigitInput) -> None:
    """The section in which a digit's missing pixels are filled."""
    with gr.Row():
        mask = gr.Dropdown(list(masks.NAMES), value=masks.NAMES[0], label="What is missing", elem_id="mask")
        share = gr.Slider(0, 100, value=50, step=1, label="How much of it (%)", elem_id="share")
    controls = _chain_controls("complete")
    runner = Runner("complete", "Complete the digit")
    view = ChainsView("Completions: the given pixels stay, the chains fill in the others", "complete")

    def asked(model: Any, images: Any, mask: Any, share: Any, *chain: Any) -> list[Question]:
        part = share / 100 if isinstance(share, int | float) else share
        return [asking.completion(model, given(images)[0], mask, part, **_arguments(chain))]

    runner.asks(asked, [model, digit.digits, mask, share, *controls], [view])


def denoising(model: gr.Dropdown, digit: DigitInput) -> None:
    """The section in which noise that was put on a digit is taken off again."""
    sigma = gr.Slider(
        0.05,
        1.5,
        value=0.5,
        step=0.05,
        label="Noise put on the digit (standard deviation)",
        info="black is −1, white is 1",
        elem_id="sigma",
    )
    controls = _chain_controls("denoise")
    runner = Runner("denoise", "Put noise on it and take it off")
    view = ChainsView("From the noisy digit to clean ones", "denoise")

    def asked(model: Any, images: Any, sigma: Any, *chain: Any) -> list[Question]:
        return [asking.denoising(model, given(images)[0], sigma, **_arguments(chain))]

    runner.asks(asked, [model, digit.digits, sigma, *controls], [view])


def _chain_controls(name: str) -> list[Any]:
    titles = [(title, sampler) for sampler, title in answers.SAMPLERS.items()]
    with gr.Row():
        sampler = gr.Dropdown(titles, value="short-run", label="Sampler", scale=2, elem_id=f"{name}-sampler")
        n_steps = gr.Slider(1, STEPS_SHOWN, value=100, step=1, label="Steps", elem_id=f"{name}-n-steps")
    with gr.Row():
        images = gr.Slider(1, 64, value=16, step=1, label="Chains", elem_id=f"{name}-images")
        seed = gr.Number(0, label="Seed", precision=0, elem_id=f"{name}-seed")
    return [sampler, n_steps, images, seed]


def _arguments(chain: Sequence[Any]) -> dict[str, Any]:
    values = dict(zip(("sampler", "n_steps", "num_images", "seed"), chain, strict=True))
    return {**values, "seed": asking.SEED.given(values["seed"])}


def _steps(model: Any) -> int:
    """The number of steps that the model's own recipe takes."""
    return asking.sampling(model, "short-run").settings.n_steps


def _info() -> str:
    return f"chains × steps may be at most {limits.MAX_ENERGY_WORK:,} here"
