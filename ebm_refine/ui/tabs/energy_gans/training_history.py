"""The training records of energy-based GANs: energies of real and generated images, margins, k, and likeness of codes."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import gradio as gr
import pandas as pd
from torch import Tensor

from ebm_refine.catalogue import ModelInfo
from ebm_refine.energies import autoencoder_gan as energy_gans
from ebm_refine.energies.autoencoder_gan import CONTROLS, GENERATED, REAL, family_of
from ebm_refine.tasks import ood_detection as detection
from ebm_refine.ui.components.html_table import panel, small
from ebm_refine.ui.components.line_chart import line_chart
from ebm_refine.ui.tabs.energy_gans.models import energy_gan_models, short_title, stored_curves, stored_energies

_BINS = 40
_NONE = "This model stores no energies."
# The two whose energies are set side by side: a fixed margin and one that falls.
FIXED, FALLING = "ebgan", "magan"


class Opened(NamedTuple):
    """What is filled in once its sub-tab is opened."""

    fill: Callable[[], dict[Any, Any]]
    outputs: list[Any]


def energies() -> Opened:
    """A histogram a model: D of held-out real digits and of as many generated ones."""
    gr.Markdown(
        "D of held-out real digits and of as many digits of the generator, at the state that ships. Where the two "
        "overlap, D no longer distinguishes them; each model has its own unit.",
        elem_classes="note",
    )
    models = energy_gan_models()
    names = list(models)
    views: dict[str, tuple[gr.LinePlot, gr.HTML]] = {}
    for first in range(0, len(names), 2):
        with gr.Row():
            for name in names[first : first + 2]:
                with gr.Column(min_width=300):
                    title = short_title(models[name])
                    plot = line_chart("energy", "share", title, f"{name}-energies", "set", 260, visible=False)
                    views[name] = (plot, gr.HTML(elem_id=f"{name}-energies-words"))

    def fill() -> dict[Any, Any]:
        updates: dict[Any, Any] = {}
        for name, (plot, words) in views.items():
            stored = stored_energies(models[name])
            shown = gr.update(value=histogram_frame(stored), visible=True) if stored else gr.update(visible=False)
            updates |= {plot: shown, words: _energy_words(models[name], stored) if stored else _small(_NONE)}
        return updates

    return Opened(fill, [component for view in views.values() for component in view])


def training() -> Opened:
    """Real and generated energy over training, EBGAN beside MAGAN; margins; BEGAN's k; how alike codes are."""
    gr.Markdown(
        "Every point is a mean over the batches since the one before, D being in training mode. MAGAN's margin falls to the "
        "mean energy of real digits at the end of an epoch in which generated digits lost ground; EBGAN's stays.",
        elem_classes="note",
    )
    with gr.Row():
        both = _plot("Energy of real and generated digits, EBGAN against MAGAN", "energy", "gans-energies")
        margin = _plot("Margin m", "margin", "gans-margins")
    with gr.Row():
        weight = _plot("BEGAN: weight k", "k", "gans-k")
        convergence = _plot("BEGAN: convergence measure M", "M", "gans-convergence")
    cosine = _plot("Mean squared cosine of the codes of a generated batch", "cosine", "gans-cosine")

    def fill() -> dict[Any, Any]:
        curves = [(info, stored_curves(info)) for info in energy_gan_models().values()]
        curves = [(info, stored) for info, stored in curves if stored]
        steered = {
            control: [one for one in curves if CONTROLS[family_of(one[0].config)] == control]
            for control in dict.fromkeys(CONTROLS.values())
        }
        rows = {
            both: energy_frame(one for one in curves if family_of(one[0].config) in (FIXED, FALLING)),
            margin: frame(steered["margin m"], "control", "margin"),
            weight: frame(steered["k"], "control", "k"),
            convergence: frame(steered["k"], "convergence", "M"),
            cosine: frame(curves, "cosine", "cosine"),
        }
        return {plot: gr.update(value=table, visible=not table.empty) for plot, table in rows.items()}

    return Opened(fill, [both, margin, weight, convergence, cosine])


Curves = Iterable[tuple[ModelInfo, dict[str, list[float]]]]


def frame(curves: Curves, column: str, name: str) -> pd.DataFrame:
    """Rows (step, `name`, model) of one of `energy_gans.CURVE`."""
    rows = [
        (step, value, short_title(info))
        for info, stored in curves
        for step, value in zip(stored["step"], stored[column], strict=True)
    ]
    return pd.DataFrame(rows, columns=["step", name, "model"])


def energy_frame(curves: Curves) -> pd.DataFrame:
    """Rows (step, energy, model): real and generated energies of each."""
    rows = [
        (step, value, f"{short_title(info)}, {what}")
        for info, stored in curves
        for what, column in ((REAL, "real"), (GENERATED, "fake"))
        for step, value in zip(stored["step"], stored[column], strict=True)
    ]
    return pd.DataFrame(rows, columns=["step", "energy", "model"])


def histogram_frame(stored: dict[str, Tensor]) -> pd.DataFrame:
    """Rows (energy, share, set) of the stored energies (N,) by set, in common bins."""
    found = detection.histogram({name: stored[name] for name in (REAL, GENERATED)}, _BINS)  # in one order, for the colours
    rows = [
        (float(centre), float(share), name)
        for name, shares in found.shares.items()
        for centre, share in zip(found.centres, shares, strict=True)
    ]
    return pd.DataFrame(rows, columns=["energy", "share", "set"])


def _energy_words(info: ModelInfo, stored: dict[str, Tensor]) -> str:
    apart = detection.auroc(stored[REAL], stored[GENERATED])
    return _small(
        f"D is {energy_gans.unit_of(info.config)}. Mean {float(stored[REAL].mean()):.3g} of {len(stored[REAL])} real digits, "
        f"{float(stored[GENERATED].mean()):.3g} of {len(stored[GENERATED])} generated ones; a generated digit has the higher "
        f"energy of the two with probability {apart:.2f}."
    )


def _small(text: str) -> str:
    return panel(small(text))


def _plot(title: str, y: str, name: str) -> gr.LinePlot:
    return line_chart("step", y, title, name, "model", 280, min_width=300, visible=False)
