"""The numbers of a run in words that a newcomer understands. Quality is the distance alone, never the energy."""

import html
from typing import Any

from ebm_refine.ui.tabs.refine import points_panel as point_panel

_UNDERSTOOD = {
    "eps": "step size that was used",
    "steps": "transitions made",
    "accepted_share": "share of proposals accepted",
    "nonfinite_proposals": "proposals thrown away for infinity or NaN",
    "forwards_per_image": "network evaluations per image",
    "gradients_per_image": "gradients per image",
    "pilot_forwards": "network evaluations of the pilot, in all",
    "pilot_gradients": "gradients of the pilot, in all",
    "gradient_norm_before": "mean length of the gradient before",
    "gradient_norm_after": "mean length of the gradient after",
    "stein_discrepancy": "kernelised Stein discrepancy",
    "stein_null_sd": "its deviation for samples of the law",
    "stein_chains": "chains that it is of",
    "mean_move": "mean distance moved by a chain",
    "mean_energy_before": "mean energy before",
    "mean_energy_after": "mean energy after",
    "mean_ratio_before": "mean log ratio before",
    "mean_ratio_after": "mean log ratio after",
    "energy_split_rhat": "split R-hat of the energy (1 where the chains agree)",
    "energy_ess_bulk": "effective number of draws, bulk",
    "energy_ess_tail": "effective number of draws, tails",
    "energy_draws": "recorded draws of the energy",
    "energy_from_step": "step from which they are taken",
    "acceptance_rate": "acceptance rate of the moves",
    "budget_exhausted": "images whose budget ended without an acceptance",
    "exceedances": "log ratios above the bound, which were clipped",
}
# Sentences, and the numbers that they warn of, are shown in words of their own.
_SENTENCES = ("ratio_warning", "energy_warning", "ignored")


def verdict(metrics: dict[str, Any], recorded: bool = False) -> tuple[str, str]:
    """A kind ("better", "worse", "same", "unknown") and one sentence, on the paired difference of kernel distances; of points
    on their distance to the data. `recorded`: a measurement on many images stands beside it."""
    if "earth_movers_distance" in metrics:
        return point_panel.verdict(metrics)
    if "kernel_distance" not in metrics:
        return "unknown", f"No verdict: {metrics.get('note', 'nothing was measured')}."
    low, high = metrics["kernel_distance"]["difference"]["interval"]
    count = metrics["num_images"]
    if high < 0:
        return "better", f"Better: these {count} images came closer to real ones, by more than chance explains."
    if low > 0:
        return "worse", f"Worse: these {count} images moved away from real ones, by more than chance explains."
    more = "The figure below was measured on many more." if recorded else "Run with more images to narrow the interval."
    return "same", f"{count} images are too few to tell. {more}"


def with_verdict(metrics: dict[str, Any]) -> str:
    """The verdict above the metric panel."""
    kind, sentence = verdict(metrics)
    return f'<div class="panel"><p class="verdict {kind}" role="status">{html.escape(sentence)}</p></div>{as_html(metrics)}'


def as_html(metrics: dict[str, Any]) -> str:
    """The metric panel: distances with their intervals, what they were measured with, diagnostics."""
    parts = []
    if "kernel_distance" in metrics:
        parts += [_distances(metrics), _small_print(metrics)]
    if "earth_movers_distance" in metrics:
        parts += [point_panel.table(metrics), point_panel.small_print(metrics)]
    parts.append(_diagnostics(metrics["diagnostics"]))
    return '<div class="panel">' + "".join(parts) + "</div>"


def _distances(metrics: dict[str, Any]) -> str:
    names = {"before": "before", "after": "after", "difference": "after − before"}
    rows = "".join(
        f"<tr><th scope='row'>{names[name]}</th><td>{_number(entry['value'])}</td>"
        f"<td>{_number(entry['interval'][0])} … {_number(entry['interval'][1])}</td></tr>"
        for name, entry in metrics["kernel_distance"].items()
    )
    floors = metrics.get("floors") or {}
    if floors.get("kernel_mean") is not None:
        spread = f"± {_number(floors['kernel_sd'])}" if floors.get("kernel_sd") is not None else ""
        rows += (
            f"<tr class='floor'><th scope='row'>real against real</th><td>{_number(floors['kernel_mean'])}</td>"
            f"<td>{spread} at {floors['num_images']} images</td></tr>"
        )
    head = "".join(f"<th scope='col'>{name}</th>" for name in ("Kernel distance to real images", "value", "95 % interval"))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _small_print(metrics: dict[str, Any]) -> str:
    reference = metrics["reference"]
    text = (
        f"Smaller is closer to real images; 0 is reached only by real images themselves, and chance may carry it below. "
        f"Unbiased kernel distance (MMD², cubic kernel) in {metrics['title']} ({metrics['dimension']} dimensions, "
        f"weights {metrics['sha256'][:12]}), {metrics['num_images']} images against {reference['kernel_images']} real ones "
        f"of the {reference['split']} split; before and after share their seeds, so their difference is paired."
    )
    frechet = metrics.get("frechet_distance")
    more = (
        f" Fréchet distance in the same features: {frechet['before']:.3f} before, {frechet['after']:.3f} after."
        if frechet
        else f" {metrics.get('frechet_note', '')[:1].upper()}{metrics.get('frechet_note', '')[1:]}."
    )
    return f"<p class='small'>{html.escape(text + more)}</p>"


def _diagnostics(diagnostics: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><th scope='row'>{html.escape(_UNDERSTOOD.get(name, name.replace('_', ' ')))}</th><td>{_number(value)}</td></tr>"
        for name, value in diagnostics.items()
        if name not in _SENTENCES and isinstance(value, int | float)
    )
    told = [diagnostics[name] for name in _SENTENCES if name in diagnostics]
    notes = "".join(f"<p class='small'>{html.escape(str(sentence))}.</p>" for sentence in told)
    summary = "Diagnostics of the chain (not a measure of quality)"
    return f"<details><summary>{summary}</summary><table>{rows}</table>{notes}</details>"


def _number(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    return f"{value:.4g}".replace("-", "−")
