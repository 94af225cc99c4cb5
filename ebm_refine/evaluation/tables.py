"""Summarise the records of jobs in one row per setting, and write rows as a table with its caption.

A record holds measures as {"before", "after"}: of images distances, shares and classes, of points the earth mover's distance
and modes. Base is what all jobs of a list began with, so gains are differences paired by seed.
"""

import json
import math
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from ebm_refine.metrics.precision_recall import SHARES
from ebm_refine.samplers.cost import spent
from ebm_refine.utils.installed_data import data_folder

# What docs/results and the page show.
RESULTS = data_folder("results")
DISTANCES = {"frechet_distance": "Fréchet distance", "kernel_distance": "kernel distance × 1000",
             "earth_movers_distance": "earth mover's distance × 1000",
             "classifier_accuracy": "accuracy of a real-or-generated classifier"}  # fmt: skip
FACTORS = {"kernel_distance": 1000, "earth_movers_distance": 1000}
HIGHER_IS_BETTER = (*SHARES, "high_quality")
# Diagnostics of the rows; a model with an energy of its own has no log ratio, a control no chain.
AVERAGED = ("mean_ratio_before", "mean_ratio_after", "forwards_per_image", "gradients_per_image", "accepted_share")
# What tells settings apart.
IDENTITY = ("method", "ratio", "eps", "n_steps", "temperature", "beta", "options")
# What a method did where its budget or its proposal was not enough.
FALLBACKS = ("budget_exhausted", "fallbacks")
FALLBACKS_ARE = (
    "a fallback is an image outside the method's law: of mh-gan its chain from a real image never moved, so that a second "
    "chain, begun at the generator's own image, is shown; of rejection and obrs nothing was accepted within the budget"
)


Cell = Callable[[dict[str, Any]], str]


class Table(NamedTuple):
    """Text alone: `rows` have as many cells as `header`; `caption` stands above, `notes` below."""

    caption: str
    header: list[str]
    rows: list[list[str]]
    notes: list[str]


def summarise(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for base and one for each setting: means over seeds, and paired gains with their errors.

    A gain is positive where the measure got better. Of distances to real images its error contains their noise, which all seeds
    share: s² = mean of the seeds' s²_generated / seeds + s²_reference. Of other measures it is the spread over seeds alone.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        setting = {name: value for name, value in record["settings"].items() if name != "seed"}
        groups.setdefault(json.dumps(setting, sort_keys=True), []).append(record)
    by_seed = {record["settings"]["seed"]: record for record in records}
    rows = [{"method": "base", "seeds": len(by_seed), **_means(list(by_seed.values()), "before")}]
    for group in groups.values():
        settings = {name: value for name, value in group[0]["settings"].items() if name not in ("seed", "model", "num_images")}
        diagnostics = [record["diagnostics"] for record in group]
        rows.append(
            {
                **settings,
                "seeds": len(group),
                **_means(group, "after"),
                **_gains(group),
                **{
                    name: statistics.fmean(one[name] for one in diagnostics)
                    for name in AVERAGED
                    if all(name in one for one in diagnostics)
                },
                "nonfinite_proposals": sum(one.get("nonfinite_proposals", 0) for one in diagnostics),
                "budget_exhausted": sum(one.get(name, 0) for one in diagnostics for name in FALLBACKS),
                "exceedances": sum(one.get("exceedances", 0) for one in diagnostics),
                "seconds": statistics.fmean(record["seconds"] for record in group),
                **_averaged_if_all([record.get("ess_per_second") for record in group], "ess_per_second"),
            }
        )
    return rows


def main_distance(row: dict[str, Any]) -> str:
    """The name of the distance by which rows are ranked."""
    return next(name for name in DISTANCES if name in row)


def ranked(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Base first, then by the main distance, nearest first; an infinite distance is last."""
    name = main_distance(rows[0])

    def rank(row: dict[str, Any]) -> tuple[bool, float]:
        mean = row[name]["mean"]
        return row["method"] != "base", mean if math.isfinite(mean) else math.inf

    return sorted(rows, key=rank)


def verdict_of(results: dict[str, Any], row: dict[str, Any]) -> str:
    """The panel's word on a row's setting, "confirmed", "open" or "contradicted"; "" where no panel was asked."""
    for judged in results.get("panel", {}).get("rows", []):
        if all(judged.get(name) == row.get(name) for name in IDENTITY):
            return judged["verdict"]["word"]
    return ""


def evaluations_per_image(row: dict[str, Any]) -> float:
    """Gradient evaluations an image, a forward pass alone being half a one; 0 where no network but the generator ran."""
    return spent(row.get("forwards_per_image", 0.0), row.get("gradients_per_image", 0.0))


def tabulated(results: dict[str, Any]) -> Table:
    """The results as text, row by row."""
    rows = results["rows"]
    columns = _columns(results, rows[0], any("mean_ratio_after" in row for row in rows))
    cells = [[cell(row) for _, cell in columns] for row in rows]
    floor = results["floors"].get(str(results["num_images"]))
    if floor:
        floors = {title: _floor(floor, name) for name, title in DISTANCES.items() if name in rows[0]}
        first = {"method": "real samples", "setting": "floor at this N"}
        cells.append([(first | floors).get(title, "–") for title, _ in columns])
    return Table(_caption(results), [title for title, _ in columns], cells, _notes(results))


def table(results: dict[str, Any]) -> str:
    """The results as a Markdown table with its caption."""
    made = tabulated(results)
    lines = [made.caption, "", "| " + " | ".join(made.header) + " |", "|" + "---|" * len(made.header)]
    lines += ["| " + " | ".join(cells) + " |" for cells in made.rows]
    return "\n".join([*lines, "", "\n\n".join(made.notes), ""])


def committed() -> dict[str, dict[str, Any]]:
    """The tables in `benchmarks/results` by name; none where that folder is absent."""
    found = {}
    for file in sorted(RESULTS.glob("*.json")):
        results = json.loads(file.read_text())
        if "reference" in results:  # the speed benchmark's results lie there too
            found[file.stem] = results
    return found


def _columns(results: dict[str, Any], base: dict[str, Any], has_ratio: bool) -> list[tuple[str, Cell]]:
    """Titles, and what makes a row's cell; `base` tells which measures there are."""
    main = main_distance(base)
    columns: list[tuple[str, Cell]] = [
        ("method", lambda row: row["method"]),
        ("ratio", lambda row: row.get("ratio") or "–"),
        ("setting", _setting),
    ]
    for name, title in DISTANCES.items():
        if name in base:
            columns.append((title, partial(_measure, name)))
        if name == main:
            columns.append(("gain ± s.e.", lambda row: _gain(row, base, main)))
    columns += [(name, partial(_measure, name)) for name in SHARES if name in base]
    if "modes" in base:
        columns.append(("modes", lambda row: f"{_shortest(row['modes']['mean'])} of {row['modes']['of']}"))
    if "high_quality" in base:
        columns.append(("high quality", lambda row: f"{100 * row['high_quality']['mean']:.2f} %"))
    if "weights_p" in base:
        columns.append(("equal weights, p", lambda row: _p_value(row["weights_p"])))
    if "panel" in results:
        columns.append(("panel", lambda row: verdict_of(results, row) or "–"))
    if has_ratio:
        columns.append(("mean r", lambda row: f"{row['mean_ratio_after']:+.2f}" if "mean_ratio_after" in row else "–"))
    return [
        *columns,
        ("evaluations an image", lambda row: _shortest(evaluations_per_image(row))),
        ("seconds", lambda row: f"{row['seconds']:.0f}" if "seconds" in row else "–"),
        ("fallbacks", lambda row: str(row["budget_exhausted"]) if "budget_exhausted" in row else "–"),
    ]


def _caption(results: dict[str, Any]) -> str:
    reference, manifold = results["reference"], results.get("manifold")
    extractor = f" (`{results['extractor']}`, sha256 {results['sha256'][:12]})" if "extractor" in results else ""
    against = f"{reference['images']} {reference['split']} images" if "images" in reference else reference["split"]
    text = f"`{results['model']}`: {results['title']}{extractor}, N = {results['num_images']}, "
    text += f"seeds {', '.join(map(str, results['seeds']))}, reference: {against}. "
    text += f"{'Mean ± sd over seeds; of' if len(results['seeds']) > 1 else 'Of'} distances lower is better"
    if manifold:
        size = f"{manifold['num_images']} features a side, k = {manifold['neighbours']}"
        text += f", of precision, recall, density and coverage ({size}) higher"
    return f"{text}."


def _notes(results: dict[str, Any]) -> list[str]:
    notes = []
    if all("fid" in row for row in results["rows"]):
        fids = "; ".join(f"{row['method']} {row.get('ratio', '')} {_pm(row['fid'])}" for row in results["rows"])
        notes.append(f"FID (Inception-v3, no antialiasing), against the train split: {fids}.")
    if any(_clearly_lower(row, name) for row in results["rows"] for name in SHARES):
        notes.append("↓: lower than base by more than three standard errors over seeds.")
    gains = [row[_gain_name(main_distance(row))] for row in results["rows"] if _gain_name(main_distance(row)) in row]
    if "extractor" in results and any("reference_error" not in gain for gain in gains):
        notes.append("The errors of gains are spreads over seeds, measured before the real images' own noise was part of them.")
    if any(row.get("budget_exhausted") for row in results["rows"]):
        notes.append(f"{FALLBACKS_ARE[0].upper()}{FALLBACKS_ARE[1:]}.")
    said = (
        "An evaluation is a forward and a backward pass; a forward pass alone counts half. Pilots, of fixed size, are left out."
    )
    if any("mean_ratio_after" in row for row in results["rows"]):
        said += " Mean r is what the samplers raise by construction: it is not evidence of better images."
    return [*notes, said]


def _means(records: Sequence[dict[str, Any]], which: str) -> dict[str, Any]:
    """Means over seeds of every measure that all records have: a mean is over every seed or not at all."""
    present = [name for name in (*DISTANCES, *HIGHER_IS_BETTER, "fid") if all(name in record for record in records)]
    means: dict[str, Any] = {name: _spread([_value(record[name][which]) for record in records]) for name in present}
    if all("modes" in record for record in records):
        found = [record["modes"][which] for record in records]
        means["modes"] = {"mean": statistics.fmean(found), "least": min(found), "of": records[0]["modes"]["of"]}
    if all("weights_p" in record for record in records):
        # The smallest of several p-values, times their number: at most the chance of seeing it (Bonferroni).
        means["weights_p"] = min(1.0, len(records) * min(record["weights_p"][which] for record in records))
    return means


def _gains(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    gains = {}
    for name in (*DISTANCES, *HIGHER_IS_BETTER):
        if all(name in record for record in records):
            sign = 1 if name in HIGHER_IS_BETTER else -1
            changes = [sign * (_value(record[name]["after"]) - _value(record[name]["before"])) for record in records]
            gains[_gain_name(name)] = _paired(changes, [record[name].get("difference", {}) for record in records])
    return gains


def _paired(changes: Sequence[float], differences: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The mean change over seeds; its error from the differences' own where all have them, else from the spread over seeds."""
    mean = statistics.fmean(changes)
    if all("reference_error" in one for one in differences):
        of_reference = statistics.fmean(one["reference_error"] ** 2 for one in differences)
        of_images = statistics.fmean(one["error"] ** 2 - one["reference_error"] ** 2 for one in differences)
        error = math.sqrt(of_images / len(changes) + of_reference)
        return {"mean": mean, "error": error, "reference_error": math.sqrt(of_reference)}
    return {"mean": mean, "error": statistics.stdev(changes) / math.sqrt(len(changes)) if len(changes) > 1 else math.nan}


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"mean": statistics.fmean(values), "sd": statistics.stdev(values) if len(values) > 1 else math.nan}


def _averaged_if_all(values: Sequence[float | None], name: str) -> dict[str, float]:
    known = [value for value in values if value is not None]
    return {name: statistics.fmean(known)} if known and len(known) == len(values) else {}


def _value(entry: Any) -> float:
    return entry["value"] if isinstance(entry, dict) else entry


def _gain_name(measure: str) -> str:
    return f"{measure.removesuffix('_distance')}_gain"


def _setting(row: dict[str, Any]) -> str:
    if row["method"] == "base":
        return "–"
    numbers = [(name, row[name]) for name in ("eps", "n_steps", "temperature") if row.get(name) is not None]
    if row.get("beta", 1) != 1:
        numbers.append(("beta", row["beta"]))
    return ", ".join(
        [f"{name} {value:g}" for name, value in numbers]
        + [f"{name} {value}" for name, value in row.get("options", {}).items() if value is not None]
    )


def _gain(row: dict[str, Any], base: dict[str, Any], name: str) -> str:
    if row["method"] == "base":
        return "–"
    gain, factor = row[_gain_name(name)], FACTORS.get(name, 1)
    return f"{factor * gain['mean']:+.2f}{_error(factor * gain['error'])} ({gain['mean'] / base[name]['mean']:+.1%})"


def _measure(name: str, row: dict[str, Any]) -> str:
    """Mean and spread, with a mark where a share is lower than base by more than three errors."""
    lower = name in SHARES and _clearly_lower(row, name)
    return _pm(row[name], FACTORS.get(name, 1)) + (" ↓" if lower else "") if name in row else "–"


def _clearly_lower(row: dict[str, Any], name: str) -> bool:
    gain = row.get(_gain_name(name))
    return gain is not None and math.isfinite(gain["error"]) and -gain["mean"] > 3 * gain["error"]


def _floor(floor: dict[str, Any], name: str) -> str:
    mean = floor.get(name.replace("distance", "mean"))
    return "–" if mean is None else f"{FACTORS.get(name, 1) * mean:.2f}"


def _p_value(value: float) -> str:
    return f"{value:.2f}" if value >= 0.01 else "< 0.01"


def _pm(spread: dict[str, float], factor: float = 1.0) -> str:
    return f"{factor * spread['mean']:.2f}{_error(factor * spread['sd'])}"


def _error(value: float) -> str:
    return f" ± {value:.2f}" if math.isfinite(value) else ""


def _shortest(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
