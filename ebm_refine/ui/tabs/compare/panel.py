"""What the Compare tab says: a committed table, and the numbers of two live runs side by side."""

from collections.abc import Callable, Sequence
from typing import Any

from ebm_refine.evaluation.tables import tabulated, verdict_of
from ebm_refine.samplers import METHODS
from ebm_refine.samplers.cost import spent
from ebm_refine.ui.components.html_table import number, panel, percent, small, table
from ebm_refine.ui.components.html_table import verdict as verdict_html
from ebm_refine.ui.tabs.compare.job import Compared, Side


def committed_html(results: dict[str, Any]) -> str:
    """A table of `benchmarks/results`, rows that the panel confirms marked."""
    table_of, kinds = tabulated(results), []
    # The floor's row, where there is one, has no entry among the results.
    for index in range(len(table_of.rows)):
        row = results["rows"][index] if index < len(results["rows"]) else None
        kind = ""
        if row is None or row["method"] == "base":
            kind = "floor"
        elif verdict_of(results, row) == "confirmed":
            kind = "gained"
        kinds.append(kind)
    made = table(*_settings_last(table_of.header, table_of.rows), kinds, wide=True, name="Measured on thousands of images")
    return panel(small(table_of.caption.replace("`", "")), made, *map(small, table_of.notes))


def _settings_last(header: list[str], rows: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """What was measured stands next to the method, so that a phone shows it; with what settings, at the end."""
    last = [index for index, title in enumerate(header) if title in ("ratio", "setting")]
    order = [index for index in range(len(header)) if index not in last] + last
    return [header[index] for index in order], [[row[index] for index in order] for row in rows]


def compared_html(end: Compared) -> str:
    """Which side came closer to real samples, and what each cost."""
    kind, sentence = verdict(end)
    first, second = end.sides
    head = ["", f"A: {name(first)}", f"B: {name(second)}"]
    made, chains = (table(head, _filled(rows, first, second)) for rows in (_ROWS, _CHAIN_ROWS))
    folded = f"<details><summary>How the chains fared</summary>{chains}</details>"
    return panel(verdict_html(kind, sentence), made, _small_print(end), folded)


def _filled(rows: Sequence[tuple[str, Callable[[Side], str | None]]], first: Side, second: Side) -> list[list[str]]:
    """The rows that a side has something for."""
    cells = [(title, cell(first), cell(second)) for title, cell in rows]
    return [[title, a or "–", b or "–"] for title, a, b in cells if a is not None or b is not None]


def verdict(end: Compared) -> tuple[str, str]:
    """A kind, and one sentence on the difference between the sides, paired by seed; of points what their floor allows."""
    between = end.between
    count = end.sides[0].settings.num_images
    if "kernel_distance" in between:
        low, high = between["kernel_distance"]["difference"]["interval"]
    elif "earth_movers_distance" in between:
        distance = between["earth_movers_distance"]
        change, noise = distance["after"] - distance["before"], 3 * distance["floor"]["sd"]
        low, high = change - noise, change + noise
    else:
        return "unknown", f"No verdict: {between.get('note', 'nothing was measured')}."
    if high < 0:
        return "better", f"B ({name(end.sides[1])}) came closer to real samples than A, more than chance explains."
    if low > 0:
        return "better", f"A ({name(end.sides[0])}) came closer to real samples than B, more than chance explains."
    if all(_closer(side) for side in end.sides):
        return "same", f"Both came closer to real samples; {count} are too few to tell which of them is closer."
    return "same", f"{count} samples of the same seeds are too few to tell whether A or B is closer to real ones."


def _closer(side: Side) -> bool:
    """Whether chance does not explain that this side came closer."""
    distance = side.metrics.get("kernel_distance")
    return distance is not None and distance["difference"]["interval"][1] < 0


def name(side: Side) -> str:
    ratio = f", {side.settings.ratio} ratio" if side.settings.ratio != "auto" else ""
    return f"{METHODS[side.settings.method].title}{ratio}"


def _kernel(which: str) -> Callable[[Side], str | None]:
    def cell(side: Side) -> str | None:
        if "kernel_distance" not in side.metrics:
            return None
        estimate = side.metrics["kernel_distance"][which]
        low, high = estimate["interval"]
        return f"{_number(estimate['value'])} ({_number(low)} … {_number(high)})"

    return cell


def _movers(which: str) -> Callable[[Side], str | None]:
    def cell(side: Side) -> str | None:
        distance = side.metrics.get("earth_movers_distance")
        return _number(distance[which]) if distance else None

    return cell


def _modes(side: Side) -> str | None:
    if "earth_movers_distance" not in side.metrics:
        return None
    report = side.metrics["modes"]["after"]
    return f"{report['recovered']} of {report['modes']}, {percent(report['high_quality'], 1)} of high quality"


def _diagnostic(*names: str, form: Callable[[float], str] = "{:.3g}".format) -> Callable[[Side], str | None]:
    """The first of the named diagnostics that the run has."""

    def cell(side: Side) -> str | None:
        values = [side.metrics["diagnostics"][one] for one in names if one in side.metrics["diagnostics"]]
        return form(values[0]) if values else None

    return cell


def _evaluations(side: Side) -> str:
    diagnostics = side.metrics["diagnostics"]
    return f"{spent(diagnostics['forwards_per_image'], diagnostics['gradients_per_image']):.3g}"


def _stein(side: Side) -> str | None:
    diagnostics = side.metrics["diagnostics"]
    if "stein_discrepancy" not in diagnostics:
        return None
    return f"{_number(diagnostics['stein_discrepancy'])} (0 ± {_number(diagnostics['stein_null_sd'])} in its law)"


_ROWS: tuple[tuple[str, Callable[[Side], str | None]], ...] = (
    ("kernel distance to real images, before (95 % interval)", _kernel("before")),
    ("after", _kernel("after")),
    ("change, paired by seed", _kernel("difference")),
    ("earth mover's distance to the data, before", _movers("before")),
    ("after", _movers("after")),
    ("modes", _modes),
    ("steps", lambda side: str(side.metrics["diagnostics"]["steps"])),
    ("gradient evaluations an image", _evaluations),
    ("evaluations of the pilot, in all", _diagnostic("pilot_forwards")),
    ("seconds", lambda side: f"{side.seconds:.1f}"),
)
# How the chains fared: for those who know these measures.
_CHAIN_ROWS: tuple[tuple[str, Callable[[Side], str | None]], ...] = (
    ("share of proposals accepted", _diagnostic("accepted_share", form=percent)),
    ("images whose budget ended without an acceptance", _diagnostic("budget_exhausted", "fallbacks", form=str)),
    ("split R-hat of the energy", _diagnostic("energy_split_rhat", form="{:.3f}".format)),
    ("effective sample size a second", lambda side: None if side.ess_per_second is None else f"{side.ess_per_second:.3g}"),
    ("kernelised Stein discrepancy", _stein),
)


def _small_print(end: Compared) -> str:
    between = end.between
    text = (
        "Both sides begin with the same samples. A gradient evaluation is a forward and a backward pass; a forward pass alone "
        "counts half. "
    )
    if "kernel_distance" in between:
        difference = between["kernel_distance"]["difference"]
        low, high = difference["interval"]
        text += (
            f"Distance of B minus distance of A, paired by seed: {_number(difference['value'])} "
            f"({_number(low)} … {_number(high)}). Unbiased kernel distance in "
            f"{between['title']} ({between['dimension']} dimensions, weights {between['sha256'][:12]}). "
        )
    text += "A sampler lowers its energy by construction, so no energy is among these numbers."
    return small(text)


def _number(value: float) -> str:
    return number(value, 3)
