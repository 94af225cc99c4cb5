"""The committed table over step size, K and architecture, as `benchmarks/toys.py` measured it."""

import json

import gradio as gr
import pandas as pd

from ebm_refine.evaluation.tables import RESULTS

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
    rows = [
        {
            "architecture": row["architecture"],
            "eps": f"{row['eps']:g}",
            **{f"K = {steps}": _cell(value) for steps, value in row["over_floor"].items()},
        }
        for row in results["rows"]
    ]
    gr.DataFrame(pd.DataFrame(rows), interactive=False, elem_id="toy-table", wrap=True, buttons=[])


def _cell(value: float | None) -> str:
    return "diverged" if value is None else f"{value:.2f}"
