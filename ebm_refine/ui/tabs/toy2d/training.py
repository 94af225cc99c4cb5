"""Training in the page: a small model of points is taught from scratch while its samples and its energy are watched.

The only module of the app that imports from `ebm_refine.training`, and only once somebody asks for it.
"""

import time
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any, NamedTuple

import gradio as gr
import pandas as pd
import torch

from ebm_refine.energies.targets import target_of
from ebm_refine.errors import InputError
from ebm_refine.metrics.points import REFERENCE_SEED
from ebm_refine.parameters import Parameter, shorten
from ebm_refine.toy2d.datasets import FAMILIES, TITLES, load_points
from ebm_refine.toy2d.landscape import landscape, windows
from ebm_refine.ui.components.line_chart import line_chart
from ebm_refine.ui.components.plane_view import plane_view, scene, window
from ebm_refine.ui.components.run_bar import RunBar
from ebm_refine.ui.components.status_line import idle
from ebm_refine.ui.runtime import limits
from ebm_refine.ui.runtime.background import in_background
from ebm_refine.ui.tabs.refine.job import user_errors
from ebm_refine.ui.tabs.toy2d.job import DATA_SHOWN, LANE, SHOWN

STEPS = Parameter("steps", "int", 2000, 100, 20_000, unit="updates", help="updates of the main phase")
CHAIN_STEPS = Parameter("K", "int", 20, 1, 100, unit="steps", help="Langevin steps in each update of a model with an energy")
EPS = Parameter("eps", "float", 5e-3, 1e-6, 1.0, help="step size of the Langevin steps")
SEED = Parameter("seed", "int", 0, 0, 2**32 - 1, help="of data, weights and noise")
WIDTHS = {"2 x 32": (32, 32), "3 x 64": (64, 64, 64), "3 x 128": (128, 128, 128)}
PHASES = {"main": "Training", "ratio": "A log ratio for its generator"}
SHOW_EVERY = 1.0
RESOLUTION = 64
# What the losses are called where their own names are short.
SERIES = {"loss_d": "loss of D", "loss_g": "loss of G", "energy_data": "energy of data", "energy_chains": "energy of chains"}


class Lesson(NamedTuple):
    """A moment of a training: which phase, how far, its numbers so far by series, and what the plane shows."""

    phase: str
    step: int
    steps: int
    history: pd.DataFrame
    view: str
    stopped: str


def build() -> None:
    """Lay out the tab and wire it."""
    with gr.Row():
        with gr.Column(scale=1, min_width=300):
            with gr.Group():
                dataset = gr.Dropdown([(title, name) for name, title in TITLES.items()], value="moons", label="Data")
                family = gr.Dropdown(
                    [(title, name) for name, title in FAMILIES.items()], value="gan-ebm", label="Model", elem_id="lesson-family"
                )
                widths = gr.Dropdown(list(WIDTHS), value="3 x 64", label="Architecture: hidden layers x units")
            with gr.Group():
                steps = gr.Number(STEPS.default, label="Updates", info=f"{STEPS.help}; {STEPS.allowed}", elem_id="lesson-steps")
                chain_steps = gr.Number(
                    CHAIN_STEPS.default, label="K", info=f"{CHAIN_STEPS.help}; {CHAIN_STEPS.allowed}", elem_id="lesson-k"
                )
                eps = gr.Number(EPS.default, label="eps", info=f"{EPS.help}; {EPS.allowed}", elem_id="lesson-eps")
                seed = gr.Number(SEED.default, label="Seed", info=SEED.help, elem_id="lesson-seed")
        with gr.Column(scale=2, min_width=330):
            bar = RunBar("lesson", "Train", f"Trains here and now, for at most {limits.MAX_SECONDS} seconds.")
            status = bar.status
            view = plane_view(elem_id="lesson-view")
            plot = line_chart("update", "value", "Losses and energies: not quality", "lesson-plot", "series")

    def watch(*values: Any) -> Iterator[dict[Any, Any]]:
        began, line, ended = time.monotonic(), "Preparing", ""
        with user_errors(), closing(lessons(*values)) as news:
            for item in news:
                seconds = time.monotonic() - began
                if item is None:
                    yield {status: idle(f"{line} … {seconds:.0f} s")}
                    continue
                line = f"{item.phase}: update {item.step} of {item.steps}"
                yield {status: idle(f"{line} · {seconds:.0f} s"), view: item.view, plot: item.history}
                # A phase that diverged says so to the end, whatever follows on the restored state.
                ended = item.stopped or ended
        words = ended[:1].upper() + ended[1:] if ended else line
        yield {status: idle(f"{words}. Finished in {time.monotonic() - began:.0f} s.")}

    bar.runs(watch, [dataset, family, widths, steps, chain_steps, eps, seed], [view, plot], LANE)


def lessons(
    dataset: Any, family: Any, widths: Any, steps: Any, chain_steps: Any, eps: Any, seed: Any
) -> Generator[Lesson | None, None, None]:
    """Train with these raw values and yield what is to be seen about once a second; None between. Close it to stop.

    A training that takes longer than a run may is ended there, and its last moment says so. Raises InputError for bad values.
    """
    for name, value, choices in (("data", dataset, TITLES), ("model", family, FAMILIES), ("architecture", widths, WIDTHS)):
        if not isinstance(value, str) or value not in choices:
            raise InputError(f"{name} must be one of {', '.join(choices)}; got {shorten(value)}")
    settings = {"steps": STEPS.given(steps), "widths": WIDTHS[widths], "mcmc_steps": CHAIN_STEPS.given(chain_steps),
                "eps": EPS.given(eps), "ratio_steps": 1000}  # fmt: skip
    with closing(in_background(lambda: _work(dataset, family, settings, SEED.given(seed)))) as news:
        yield from news


def _work(dataset: str, family: str, settings: dict[str, Any], seed: int) -> Generator[Lesson, None, None]:
    from ebm_refine.training.pipelines.toy_model import Toy, ToySettings

    began, shown = time.monotonic(), 0.0
    toy = Toy(dataset, family, ToySettings(**settings), seed)
    rows: list[tuple[int, float, str]] = []
    for phase, progress in toy.train():
        if phase == "main":
            named = ((SERIES.get(name, name.replace("_", " ")), value) for name, value in progress.numbers.items())
            rows += [(progress.step, value, name) for name, value in named]
        now = time.monotonic()
        late = now - began > limits.MAX_SECONDS
        last = progress.step == progress.steps or progress.stopped or late
        if not last and now - shown < SHOW_EVERY:
            continue
        stopped = progress.stopped or (f"Ended at the limit of {limits.MAX_SECONDS} seconds" if late else "")
        history = pd.DataFrame(rows, columns=["update", "value", "series"])
        yield Lesson(PHASES[phase], progress.step, progress.steps, history, _seen(toy, phase, progress), stopped)
        shown = time.monotonic()
        if late:
            return


def _seen(toy: Any, phase: str, progress: Any) -> str:
    """The model as it stands: its energy, and what its generator makes or, of an energy alone, the chains of its buffer."""
    checkpoint = toy.checkpoint()
    ratio = "refitted" if phase == "ratio" and toy.family == "wgan" else "raw"
    target = target_of(checkpoint, ratio)
    index = torch.arange(SHOWN)
    starts = target.init(toy.seed, index)
    points = progress.state["chains"]["positions"][:SHOWN] if toy.family == "ebm" else target.decode(starts)
    data = load_points(toy.dataset, DATA_SHOWN, REFERENCE_SEED)
    panes = []
    for name in windows(checkpoint):
        ground = landscape(checkpoint, name, ratio, resolution=RESOLUTION)
        panes.append(window(ground, [starts]) if name == "latent" else window(ground, [points], data))
    return scene(panes, [progress.step], f"{checkpoint.name} after {progress.step} updates")
