"""What is said of an energy's answers: one sentence that decides, a table, and what must not be read into either."""

from collections.abc import Sequence

import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from ebm_refine import render
from ebm_refine.settings import Settings
from ebm_refine.tasks import ood_detection as detection
from ebm_refine.tasks.energy_model import Chains, Classification, Detection, Ranking, Row
from ebm_refine.ui.components.html_table import Cell, bar, dotted, number, panel, percent, small, table, verdict
from ebm_refine.ui.components.status_line import progress
from ebm_refine.ui.tabs.energy.job import Moment
from ebm_refine.ui.tabs.refine.job import thinned
from ebm_refine.ui.tabs.refine.pictures import FILM_FRAMES

THIS_IMAGE = "this image"
# The lines of the chart, in the order of the table above it, which is its legend: a chart's own is cut off on a phone.
COLOURS = {
    THIS_IMAGE: "#db2777",
    detection.DIGITS: "#4f46e5",
    "mirrored": "#d97706",
    "blurred": "#0284c7",
    "clothes": "#7c2d12",
    "inverted": "#0d9488",
    "uniform noise": "#65a30d",
}
ONE_MODEL = "Energies can be compared within one model only: each model has a zero of its own, which is unknown."
RATIO = "The log ratio (natural logarithm) is a difference of two energies, so their unknown zero cancels."


def of_sampler(settings: Settings) -> str:
    """What the chains of this sampler are samples of, and what not."""
    temperature = settings.values["temperature"]
    if settings.method == "short-run":
        return (
            f"A short run, as in training: it descends the energy with hardly any noise (temperature {temperature:g} instead "
            f"of 1). It shows which images the energy prefers; these are not samples of exp(−E)."
        )
    return (
        f"These chains sample exp(−E{'' if temperature == 1 else f'/{temperature:g}'}) itself, among images of the allowed "
        f"range. After too few steps they still depend on where they began."
    )


def of_moment(moment: Moment, what: str, seconds: float) -> str:
    """The line under which chains run, with its progress bar."""
    text = f"{what}: step {moment.step} of {moment.n_steps} · mean energy {number(moment.mean_energy, 3)} · {seconds:.1f} s"
    return progress(text, moment.step / moment.n_steps)


def of_chains(chains: Chains) -> str:
    before, after = float(chains.energy_before.mean()), float(chains.energy_after.mean())
    diagnostics = chains.diagnostics
    parts = [f"Mean energy E(x) {number(before)} → {number(after)} after {diagnostics['steps']} steps."]
    if chains.settings.method == "mala":
        parts.append(f"{percent(diagnostics['accepted_share'])} of the moves were accepted at eps {diagnostics['eps']:.3g}.")
    if diagnostics["nonfinite_proposals"]:
        parts.append(f"{diagnostics['nonfinite_proposals']} moves to infinity were rejected.")
    parts.append(of_sampler(chains.settings))
    return panel(small(*parts))


def of_detection(found: Detection) -> str:
    share = found.share_above
    words = f"{percent(share, 1)} of the digits have at least this energy ({number(found.energy)})"
    if share < 0.01:
        kind, sentence = "worse", f"Hardly a digit, says the model: only {words}."
    elif share < 0.05:
        kind, sentence = "same", f"An unusual digit, says the model: {words}."
    else:
        kind, sentence = "better", f"A typical digit, says the model: {words}."
    means = {THIS_IMAGE: found.energy} | {name: float(values.mean()) for name, values in found.energies.items()}
    rows: list[list[str | Cell]] = [
        [dotted(colour, name), number(means[name]), f"{found.aurocs[name]:.3f}" if name in found.aurocs else "–"]
        for name, colour in COLOURS.items()
        if name in means
    ]
    made = table(["", "mean energy", "separation from digits (AUROC)"], rows)
    notes = small(
        f"Measured on {found.measured_on}. AUROC: take a digit and an image of the other kind; how often does the other "
        f"have the higher energy? 1.000 means always, 0.5 is chance, and below 0.5 the model prefers the other kind to digits.",
        ONE_MODEL,
    )
    return _panel(kind, sentence, made, notes)


def of_ranking(found: Ranking, names: Sequence[str]) -> str:
    best = int(found.order[0])
    sentence = f"Most probable under this model: {names[best]}."
    rows = [
        [str(rank + 1), names[which], number(float(found.energies[which])), number(float(found.log_ratios[which]))]
        for rank, which in enumerate(found.order.tolist())
    ]
    made = table(["", "candidate", "E(x)", f"log p(x)/p({names[0]})"], rows)
    notes = small(RATIO, ONE_MODEL)
    return _panel("better" if best == 0 else "same", sentence, made, notes)


def of_classification(found: Classification, beta: float) -> str:
    label = int(found.labels[0])
    probability = float(found.log_probabilities[0, label].exp())
    sentence = f"It is a {label}, says the model: least energy, and p(y | x) = {probability:.3f} at beta {beta:g}."
    notes = small(
        "The label of least energy wins, whatever beta is; p(y | x) ∝ exp(−beta E(x, y)) depends on beta. It says how sure "
        "the model is of this label, not whether the image is a digit at all: “Detect” answers that."
    )
    probabilities = found.log_probabilities[0].exp().tolist()
    rows: list[list[str | Cell]] = [
        [str(rank), number(float(energy)), f"{share:.3f}", bar(share)]
        for rank, (energy, share) in enumerate(zip(found.energies[0], probabilities, strict=True))
    ]
    return _panel("better", sentence, table(["y", "E(x, y)", "p(y | x)", ""], rows), notes)


def of_row(found: Row, rule: str) -> str:
    alone, together = (" ".join(str(label) for label in row.tolist()) for row in (found.alone, found.together))
    rows = [
        ["each by itself", alone, number(found.energy_alone)],
        ["under the rule", together, number(found.energy_together)],
    ]
    sentence = f"The row of least energy under the rule “{rule}”: {together}."
    if found.energy_enumerated is not None:
        agrees = abs(found.energy_enumerated - found.energy_together) < 1e-6
        check = (
            f"Checked by looking at all {found.rows:,} rows: "
            f"{'none has less energy' if agrees else 'one has less energy, which is a bug in this program'}."
        )
    else:
        check = f"There are {found.rows:,.0f} rows; min-sum finds the best without looking at them."
    return _panel("better", sentence, table(["read", "row", "energy of the row"], rows), small(check))


# --- Pictures and tables for plots -----------------------------------------------------------------------------------------


def film_of(chains: Chains) -> tuple[list[Image.Image], list[int]]:
    """Grids of the recorded moments, as many as a browser takes at once, and their steps."""
    selected = thinned(list(zip(chains.film, chains.steps, strict=True)), FILM_FRAMES)
    return [render.grid(images) for images, _ in selected], [step for _, step in selected]


def energy_frame(chains: Chains) -> pd.DataFrame:
    rows = render.energy_table(chains.trace, chains.steps)
    return pd.DataFrame(rows, columns=["step", "energy", "series"])


def detection_frame(found: Detection) -> pd.DataFrame:
    """The histograms as lines, and the image's energy as an upright one."""
    histogram = detection.histogram(found.energies)
    rows = [
        (float(centre), float(share), name)
        for name, shares in histogram.shares.items()
        for centre, share in zip(histogram.centres, shares, strict=True)
    ]
    top = max(float(shares.max()) for shares in histogram.shares.values())
    rows += [(found.energy, 0.0, THIS_IMAGE), (found.energy, top, THIS_IMAGE)]
    return pd.DataFrame(rows, columns=["energy", "share", "set"])


def ranked_picture(images: Tensor, found: Ranking, names: Sequence[str], scale: int = 5) -> Image.Image:
    pixels = images.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
    captions = [f"{rank + 1}. {names[which]}" for rank, which in enumerate(found.order.tolist())]
    return render.captioned(pixels[found.order], captions, scale, columns=3)


def _panel(kind: str, sentence: str, *parts: str) -> str:
    return panel(verdict(kind, sentence), *parts)
