"""The committed table over step size, K and architecture, as `benchmarks/toys.py` measured it."""

import json

import gradio as gr

from ebm_refine.evaluation.tables import RESULTS
from ebm_refine.ui.components.html_table import panel, table

FILE = RESULTS / "toys-sweep.json"


def present() -> bool:
    """Whether the table came with the program."""
    return FILE.is_file()


def build() -> None:
    """Show the table with what it was measured on."""
    results = json.loads(FILE.read_text())
    floor, trained = results["floor"], results["trained_with"]
    gr.Markdown(
        f"A GAN with an energy on {results['dataset_title']}, trained once in each architecture with K = "
        f"{trained['mcmc_steps']} Langevin steps of size {trained['eps']:g}, then sampled with K steps of size eps from the "
        f"generator's points. The numbers are earth mover's distances to the data over their floor, which is "
        f"{floor['mean']:.3f} ± {floor['sd']:.3f} between data and data: {results['num_points']} points, mean over seeds "
        f"{', '.join(map(str, results['seeds']))}. K = 0 is the generator alone. Measured by `{results['command']}`."
    )
    head = ["architecture", "eps", *(f"K = {steps}" for steps in results["rows"][0]["over_floor"])]
    rows = [
        [row["architecture"].replace("x", "×"), f"{row['eps']:g}", *map(_cell, row["over_floor"].values())]
        for row in results["rows"]
    ]
    gr.HTML(panel(table(head, rows, wide=True, name="Distance over its floor")), elem_id="toy-table")


def _cell(value: float | None) -> str:
    return "diverged" if value is None else f"{value:.2f}"
