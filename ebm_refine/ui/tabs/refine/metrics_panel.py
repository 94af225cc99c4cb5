"""The numbers of a run in words that a newcomer understands. Quality is the distance alone, never the energy."""

from typing import Any

from ebm_refine.ui.components.html_table import interval, number, panel, percent, small, table
from ebm_refine.ui.components.html_table import verdict as verdict_html
from ebm_refine.ui.runtime import limits
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
    "energy_from_step": "first recorded step that counts",
    "acceptance_rate": "acceptance rate of the moves",
    "budget_exhausted": "images whose budget ended without an acceptance",
    "exceedances": "log ratios above the bound, which were clipped",
}
RECORDED = "The figure below was measured on many more."
# The kinds of encoders, for readers who do not know them.
_PLAIN = {
    "classifier": "a classifier",
    "contrastive": "an encoder trained without labels",
    "autoencoder": "an autoencoder",
    "filter bank": "a bank of fixed filters",
    "pixels": "coarse pixels",
}
# Sentences, and the numbers that they warn of, are shown in words of their own.
_SENTENCES = ("ratio_warning", "energy_warning", "ignored")


def verdict(metrics: dict[str, Any], recorded: bool = False) -> tuple[str, str]:
    """A kind ("better", "worse", "same", "unknown") and one sentence: by two kinds of encoders that the method does not use,
    or, where the data set has none, on the paired difference of kernel distances; of points on their distance to the data.
    `recorded`: a measurement on many images stands beside it."""
    if "earth_movers_distance" in metrics:
        return point_panel.verdict(metrics)
    if "kernel_distance" not in metrics:
        return "unknown", f"No verdict: {metrics.get('note', 'nothing was measured')}."
    if metrics.get("settings", {}).get("label") is not None:
        return "unknown", "No verdict on one class: the real images are of all classes. Choose “any” as the class to get one."
    count, word = metrics["num_images"], _word(metrics)
    if word == "better":
        return "better", f"Better: these {count} images came closer to real ones, by more than chance explains."
    if word == "worse":
        return "worse", f"Worse: these {count} images moved away from real ones, by more than chance explains."
    more = "More images may decide it: see Advanced." if count < limits.MAX_IMAGES else "The page draws no more at once."
    return "same", f"{count} images are too few to tell. {RECORDED if recorded else more}"


def _word(metrics: dict[str, Any]) -> str:
    if "verdict" in metrics:
        return str(metrics["verdict"]["word"])
    low, high = metrics["kernel_distance"]["difference"]["interval"]
    return "better" if high < 0 else "worse" if low > 0 else "same"


def who_says(metrics: dict[str, Any]) -> str:
    """Who gave the verdict, and what each said, as HTML; nothing where there is no more to say."""
    found = metrics.get("verdict")
    if found is None:
        return ""
    said = ", ".join(f"{_PLAIN.get(one['kind'], one['kind'])} {_change(one)}" for one in found["kinds"])
    return small(f"Judged by encoders that this method does not use. Change of the distance to real images: {said}.")


def how_far(metrics: dict[str, Any]) -> str:
    """How far refits of the ratio agree on this run, as HTML; nothing of ratios without refits."""
    found = metrics.get("ratio_spread")
    if found is None:
        return ""
    low, high = found["rise_by_refits"]
    before, after = (f"±\u00a0{found[name]:.2f}" for name in ("sd_before", "sd_after"))
    return small(
        f"How far to believe the score r, the estimated log ratio of real to generated images: it rose by {found['rise']:.2f} "
        f"on average. Fitted {found['refits']} times more, each time to other random draws of its images, it rises by "
        f"{low:.2f} to {high:.2f}; on one image these fits differ by {before} before and {after} after. What all of them fail "
        "to see does not show here."
    )


def _change(one: dict[str, Any]) -> str:
    """A change in percent of the distance before, with its standard error; none where that exceeds the distance itself."""
    if one["error"] >= one["before"]:
        return "cannot tell from so few images"
    return f"{percent(one['change'] / one['before'], sign='+')} ± {percent(one['error'] / one['before'])}"


def with_verdict(metrics: dict[str, Any]) -> str:
    """The verdict above the metric panel."""
    kind, sentence = verdict(metrics)
    return panel(verdict_html(kind, sentence)) + as_html(metrics)


def as_html(metrics: dict[str, Any]) -> str:
    """The metric panel: distances with their intervals, what they were measured with, diagnostics."""
    parts = []
    if "kernel_distance" in metrics:
        parts += [_distances(metrics), _small_print(metrics)]
    if "earth_movers_distance" in metrics:
        parts += [point_panel.table(metrics), point_panel.small_print(metrics)]
    parts.append(_diagnostics(metrics["diagnostics"]))
    return panel(*parts)


def _distances(metrics: dict[str, Any]) -> str:
    names = {"before": "before", "after": "after", "difference": "after − before"}
    rows = [
        [names[name], number(entry["value"]), interval(*entry["interval"])]
        for name, entry in metrics["kernel_distance"].items()
    ]
    kinds, floors = [""] * len(rows), metrics.get("floors") or {}
    if floors.get("kernel_mean") is not None:
        spread = f"± {number(floors['kernel_sd'])} " if floors.get("kernel_sd") is not None else ""
        rows.append(["real against real", number(floors["kernel_mean"]), f"{spread}at {floors['num_images']} images"])
        kinds.append("floor")
    return table(["Kernel distance to real images", "value", "95 % interval"], rows, kinds)


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
    return small(text + more)


def _diagnostics(diagnostics: dict[str, Any]) -> str:
    rows = [
        [_UNDERSTOOD.get(name, name.replace("_", " ")), number(value)]
        for name, value in diagnostics.items()
        if name not in _SENTENCES and isinstance(value, int | float)
    ]
    notes = "".join(small(f"{diagnostics[name]}.") for name in _SENTENCES if name in diagnostics)
    summary = "Diagnostics of the chain (not a measure of quality)"
    return f"<details><summary>{summary}</summary>{table([], rows)}{notes}</details>"
