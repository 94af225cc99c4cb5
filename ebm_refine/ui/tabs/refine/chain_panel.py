"""How the chain itself fared, beside its film: convergence, effective samples, acceptance, gradients, distance to its law."""

import math
from typing import Any

import pandas as pd

from ebm_refine.samplers import METHODS
from ebm_refine.ui.components.html_table import number, panel, percent, small, table
from ebm_refine.ui.tabs.refine.job import Record


def as_html(record: Record) -> str:
    """A table of what is known of this run, each number with what it should be."""
    diagnostics = record.metrics["diagnostics"]
    rows = [*_convergence(diagnostics, record.ess_per_second), *_law(diagnostics)]
    rows.append(("share of proposals accepted", percent(diagnostics["accepted_share"], 1), ""))
    if "gradient_norm_after" in diagnostics:
        change = f"{diagnostics['gradient_norm_before']:.4g} → {diagnostics['gradient_norm_after']:.4g}"
        rows.append(("mean length of the gradient", change, "before → after"))
    missing = "" if "energy_ess_bulk" in diagnostics else small(_why_none(record))
    law = METHODS[record.settings.method].law.sentence
    return panel(small(f"The law that the chain samples: {law}"), table([], rows), missing, small(_SMALL_PRINT))


def accepted_frame(record: Record) -> pd.DataFrame | None:
    """The share of chains that moved at each recorded step after the start; None where every chain moved at every step."""
    if all(share == 1.0 for share in record.accepted[1:]):
        return None
    return pd.DataFrame({"step": record.steps[1:], "share accepted": record.accepted[1:]})


def gradient_frame(record: Record) -> pd.DataFrame | None:
    """The mean length of the gradient at each recorded step; None where the method uses no gradient."""
    if not all(map(math.isfinite, record.gradient_norms)):
        return None
    return pd.DataFrame({"step": record.steps, "gradient": record.gradient_norms})


def _convergence(diagnostics: dict[str, Any], ess_per_second: float | None) -> list[tuple[str, str, str]]:
    rows = []
    if "energy_split_rhat" in diagnostics:
        rows.append(("split R-hat", f"{diagnostics['energy_split_rhat']:.3f}", "below 1.01 where the chains agree"))
    of = f"of {diagnostics.get('energy_draws')} recorded draws"
    for name, title in (("energy_ess_bulk", "effective draws, bulk"), ("energy_ess_tail", "effective draws, tails")):
        if name in diagnostics:
            rows.append((title, f"{diagnostics[name]:.0f}", of))
    if ess_per_second is not None:
        rows.append(("effective draws a second", f"{ess_per_second:.3g}", "bulk, on this machine"))
    return rows


def _law(diagnostics: dict[str, Any]) -> list[tuple[str, str, str]]:
    if "stein_discrepancy" not in diagnostics:
        return []
    value, sd = diagnostics["stein_discrepancy"], diagnostics["stein_null_sd"]
    return [("kernelised Stein discrepancy", number(value, 3), f"0 ± {sd:.2g} for samples of the law")]


def _why_none(record: Record) -> str:
    if not METHODS[record.settings.method].stationary:
        return "No R-hat and no effective draws: this method's steps do not come to rest in a law."
    return "No R-hat and no effective draws: they need 20 recorded steps, 4 chains, and the package arviz-stats."


_SMALL_PRINT = (
    "R-hat and effective draws are of the energies in the later half of the recorded steps. The Stein "
    "discrepancy compares the chains' ends with the law that they should have; it cannot detect wrong weights of modes far "
    "apart, and detects little in many dimensions. None of these is a measure of the images' quality."
)
