"""The committed grid search of GANs, EBGANs and EBGAN-PTs: histograms of scores by number of layers, digits, and every trial.

The page reads `benchmarks/results/grid-search*`, as `benchmarks/grid_search.py` wrote it; it runs no search, and no Optuna.
"""

import json
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from ebm_refine.evaluation import tables
from ebm_refine.ui.components.html_table import Cell, bar, panel, table
from ebm_refine.ui.components.picture_view import picture_view, shown
from ebm_refine.ui.components.run_bar import LOOK

TITLE = "Grid search"
FAMILIES = {"gan": "GAN", "ebgan": "EBGAN", "ebgan-pt": "EBGAN-PT"}
WHICH = {"best": "Best", "median": "Median"}
COLUMNS = {
    "family": "family", "score": "score", "reversed_score": "other way round", "classes": "classes", "layers_g": "layers of G",
    "layers_d": "layers of D", "size_g": "size of G", "size_d": "size of D", "dropout_d": "dropout in D", "optim_g": "G by",
    "optim_d": "D by", "rate": "rate", "parameters": "parameters of G",
}  # fmt: skip


def file() -> Path:
    """Where the results lie, in a clone and on a Space; absent where the package is installed alone."""
    return tables.RESULTS / "grid-search.json"


def present() -> bool:
    return file().is_file()


def build() -> None:
    """Lay out the part and wire it. The results must be present."""
    results = json.loads(file().read_text())
    gr.Markdown(words(results), elem_id="study-words")
    known = list(results["histograms"])
    layers = gr.Radio(
        [(_layers(most, results), most) for most in known], value=known[0], label="Layers of G and of D", elem_id="study-layers"
    )
    shown = gr.HTML(histograms_html(results, known[0]), elem_id="study-histograms")
    for which, title in WHICH.items():
        with gr.Row():
            for family, summary in results["summary"].items():
                _digits(family, which, f"{title} {FAMILIES[family]}", summary[which])
    with gr.Accordion(f"All {results['done']} trials", open=False):
        every = table(list(COLUMNS.values()), trials(results), wide=True, name="Every trial")
        gr.HTML(panel(every), elem_id="study-trials")

    def chosen(most: Any) -> str:
        # Whatever a caller sends: an unknown choice shows the first.
        return histograms_html(results, most if isinstance(most, str) and most in results["histograms"] else known[0])

    layers.input(chosen, layers, shown, preprocess=False, **LOOK)


def words(results: dict[str, Any]) -> str:
    """What was searched, how, at which budget, and what the score is."""
    counts = ", ".join(f"{results['settings'][family]:,} of {a_name(family)}" for family in results["summary"])
    state = "all" if results["done"] == results["queued"] else f"{results['done']:,}"
    real = results["real"]
    return (
        f"The published grid of fully connected networks on MNIST ({counts}; Zhao, Mathieu and LeCun 2017) **at a reduced "
        f"budget**: {state} of {results['queued']:,} settings, drawn at random with seed {results['seed']}, the same for EBGAN "
        f"and EBGAN-PT, each trained once on {results['batches']:,} batches of {results['batch_size']} digits and scored on "
        f"{results['num_images']:,} generated ones. The score is the mean of KL(p(y|x) ‖ p(y)) under the classifier "
        f"`{results['extractor']}` (sha256 {results['sha256'][:12]}): 0 where all digits look alike to it, at most log 10 = "
        f"2.303. {real['num_images']:,} real test digits have {real['score']:.3f}. The other way round, KL(p(y) ‖ p(y|x)), as "
        f"the paper has it, they have {real['reversed_score']:.2f}; that one has no upper bound. {results['machine']}, one "
        f"thread: `{results['command']}`"
    )


def histograms_html(results: dict[str, Any], most: str) -> str:
    """One bar for each bin and family, all on one scale: the share of the family's trials. `most` is a key of `histograms`."""
    found = results["histograms"][most]
    totals = {family: sum(counts) for family, counts in found.items()}
    shares = {family: [count / max(totals[family], 1) for count in counts] for family, counts in found.items()}
    scale = max(max(values) for values in shares.values()) or 1.0
    head = ["score", *(f"{FAMILIES[family]}, {_counted(totals[family], 'trial', 'trials')}" for family in found)]
    rows: list[list[str | Cell]] = []
    for number in reversed(range(len(results["edges"]) - 1)):
        low, high = results["edges"][number : number + 2]
        bars = [_bar(found[family][number], shares[family][number] / scale) for family in found]
        rows.append([f"{low:.1f} to {high:.1f}", *bars])
    caption = f"Trials by score, layers of G and of D {_layers(most, results)}; bars are shares of each family's trials"
    return panel(table(head, rows, caption=caption, css="histogram"))


def trials(results: dict[str, Any]) -> list[list[str]]:
    """Every trial in the order of `COLUMNS`, the highest score first."""
    ranked = sorted(results["rows"], key=lambda row: -row["score"])
    return [[_cell(name, row[name]) for name in COLUMNS] for row in ranked]


def setting_words(setting: dict[str, Any]) -> str:
    return (
        f"G {setting['layers_g']} layers of {setting['size_g']} by {setting['optim_g']}, D {setting['layers_d']} of "
        f"{setting['size_d']} by {setting['optim_d']}, {'with' if setting['dropout_d'] else 'no'} dropout, "
        f"rate {setting['rate']:g}"
    )


def a_name(family: str) -> str:
    return f"{'a' if family == 'gan' else 'an'} {FAMILIES[family]}"


def _digits(family: str, which: str, title: str, trial: dict[str, Any]) -> None:
    with gr.Column(min_width=240):
        label = f"{title}: score {trial['score']:.3f}"
        picture = file().with_name(f"grid-search-{family}-{which}.png")
        picture_view(shown(Image.open(picture), label, f"64 digits. {label}"), elem_id=f"study-{family}-{which}")
        gr.Markdown(f"{setting_words(trial['setting'])}; {_counted(trial['classes'], 'class', 'classes')}", elem_classes="note")


def _bar(count: int, share: float) -> Cell:
    return bar(share, f"<span class='count'>{count or ''}</span>")


def _counted(count: int, one: str, more: str) -> str:
    return f"{count} {one if count == 1 else more}"


def _layers(most: str, results: dict[str, Any]) -> str:
    return "any number" if most == next(iter(results["histograms"])) else f"at most {most}"


def _cell(name: str, value: Any) -> str:
    if name == "family":
        return FAMILIES[value]
    if name == "dropout_d":
        return "yes" if value else "no"
    return f"{value:.3f}" if name.endswith("score") else str(value)
