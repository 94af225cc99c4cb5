"""The committed measurement of the MNIST models, with and without an energy, as `benchmarks/mnist.py` made it."""

import json
import statistics
from collections.abc import Sequence
from typing import Any

import gradio as gr

from ebm_refine.evaluation.tables import RESULTS
from ebm_refine.ui.components.html_table import panel, small, table

FILE = RESULTS / "mnist.json"
TITLE = "Measured: MNIST with and without an EBM"
COLUMNS = {
    "frechet_distance": ("Fréchet distance", 2),
    "inception_style_score": ("Inception-style score", 2),
    "mean_confidence": ("confidence", 3),
    "classes": ("classes", 1),
}


def present() -> bool:
    """Whether the measurement lies beside the program, as it does in a clone and on a Space."""
    return FILE.is_file()


def build() -> None:
    """Show every model before and after its own chains, and how often each digit came."""
    with gr.Accordion(TITLE, open=False, elem_id="energy-measured"):
        gr.HTML(as_html(json.loads(FILE.read_text())), elem_id="energy-measured-table")


def as_html(results: dict[str, Any]) -> str:
    """Two tables and what they were measured on."""
    seeds = ", ".join(map(str, results["seeds"]))
    words = (
        f"{results['title']} ({results['extractor']}, sha256 {results['sha256'][:12]}), {results['num_images']} images a side, "
        f"seeds {seeds}, mean ± deviation over seeds, against unseen digits, whose own Fréchet distance at this number is "
        f"{results['floors']['frechet_mean']:.2f}. mnist-gan is the generator alone, then its own discriminator's chains; "
        "mnist-gan-ebm is such a generator trained beside an energy, then K steps of that energy; mnist-ebm and mnist-jem "
        "begin in noise. Energies are not quality: a sampler lowers them by construction."
    )
    real = results["real"]
    measures, counts = [], [["real digits", "", *_shares([real["histogram"]])]]
    for name, model in results["models"].items():
        summary = model["summary"]
        for side in ("before", "after"):
            cells = [spread(summary[f"{key}_{side}"], digits) for key, (_, digits) in COLUMNS.items()]
            energies = [_energy(summary.get(key)) for key in (f"energy_{side}", "energy_real")]
            measures.append([name, side, *cells, *energies])
            counts.append([name, side, *_shares([run[side]["histogram"] for run in model["runs"]])])
    head = ["model", "chains", *(title for title, _ in COLUMNS.values()), "mean energy", "of real digits"]
    shares = table(["model", "chains", *map(str, range(10))], counts, wide=True)
    often = small("How often the classifier saw each digit, in percent:")
    return panel(small(words), table(head, measures, wide=True), often, shares)


def _shares(histograms: Sequence[Sequence[int]]) -> list[str]:
    """The share of each class in percent, mean over the runs."""
    return [f"{100 * statistics.fmean(one):.0f}" for one in zip(*([n / sum(h) for n in h] for h in histograms), strict=True)]


def spread(value: dict[str, float], digits: int) -> str:
    return f"{value['mean']:.{digits}f} ± {value['sd']:.{digits}f}"


def _energy(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}".replace("-", "−")
