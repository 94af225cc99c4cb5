"""Set a model's default method, ratio and settings by holdout distance: python benchmarks/choose_defaults.py FOLDER RESULTS…

RESULTS are `results.json` files of `python -m ebm_refine evaluate --split holdout …` on the folder's own weights, all of one N
and the same seeds. Of each method the row with the lowest mean Fréchet distance gives its settings; the lowest row of all gives
the default method and ratio; every row is recorded in the config, and the card is written anew. The weights are not touched.
`--method M` makes M the default method, with the ratio and settings that were its nearest: for where the nearest one is refused
by the panel (`benchmarks/panel.py`), or gives images that depend on how many are asked for.

    python benchmarks/choose_defaults.py FOLDER --panel benchmarks/results/MODEL-panel-holdout-25.json …-75.json

chooses by the panel's voting kinds instead, from files of `benchmarks/panel.py --budget … --split holdout`: confirmed methods
come before open ones, these before contradicted ones, and within a word the larger median gain. The first file gives every
method's settings and, where its first row is confirmed, the default method and ratio; the default stays where none is. What
was first at each budget is recorded, with the best baseline beside it.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from ebm_refine.errors import InputError
from ebm_refine.evaluation.evidence import setting_of
from ebm_refine.metrics.panel import WORDS
from ebm_refine.models.checkpoint import Checkpoint, load_checkpoint
from ebm_refine.models.model_card import model_card
from ebm_refine.samplers import METHODS
from ebm_refine.settings import resolve
from ebm_refine.utils.atomic_io import replacing

SHARED = ("num_images", "seeds", "sha256", "extractor", "title", "weights")


def choice_of(measured: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The `choice` and the `defaults` entries of a config. Raises InputError where the results cannot be compared."""
    first = measured[0]
    for results in measured:
        if results["reference"]["split"] != "holdout":
            raise InputError(f"settings are chosen on holdout; these results are on {results['reference']['split']!r}")
        for name in SHARED:
            if results[name] != first[name]:
                raise InputError(f"results differ in {name}: {first[name]} and {results[name]}")
    base = next(row for row in first["rows"] if row["method"] == "base")
    # A default is a method with its settings; beta is no setting of a method, and controls are no methods.
    rows = [row for results in measured for row in results["rows"] if row["method"] in METHODS and row.get("beta", 1.0) == 1.0]
    if not rows:
        raise InputError("the results hold no row of a method at beta 1")
    rows.sort(key=lambda row: row["frechet_distance"]["mean"])
    defaults: dict[str, Any] = {"method": rows[0]["method"], "ratio": rows[0]["ratio"]}
    for row in rows:
        defaults.setdefault(row["method"], _settings(row))
    choice = {
        "split": "holdout",
        **{name: first[name] for name in SHARED if name != "weights"},
        "rows": [_entry(row) for row in (base, *rows)],
    }
    return choice, defaults


def _settings(row: dict[str, Any]) -> dict[str, Any]:
    given = {name: row[name] for name in ("eps", "n_steps", "temperature") if row.get(name) is not None}
    return {**given, **{name: value for name, value in row.get("options", {}).items() if value is not None}}


def _entry(row: dict[str, Any]) -> dict[str, Any]:
    setting = ", ".join(f"{name} {value}" for name, value in _settings(row).items())
    entry = {"method": row["method"], "ratio": row.get("ratio", "–"), "setting": setting or "–"}
    shares = {name: row[name]["mean"] for name in ("precision", "recall") if name in row}
    return {**entry, "value": row["frechet_distance"]["mean"], **shares}


def choose(folder: Path, files: list[Path], method: str | None = None) -> dict[str, Any]:
    """Write the choice into the folder's config and card, `method` as the default one if given; returns the new defaults.

    Raises InputError where the results cannot be compared, are of other weights, or lack that method.
    """
    checkpoint = load_checkpoint(folder)
    measured = [json.loads(file.read_text()) for file in files]
    if any(results["weights"] != checkpoint.hashes for results in measured):
        raise InputError(f"the results were measured on other weights than {folder} holds")
    choice, defaults = choice_of(measured)
    if method is not None:
        nearest = next((row for row in choice["rows"][1:] if row["method"] == method), None)
        if nearest is None:
            raise InputError(f"method must be one that the results hold; got {method!r}")
        defaults.update(method=method, ratio=nearest["ratio"])
    write(folder, checkpoint, {"choice": choice}, defaults)
    return defaults


def panel_order(row: dict[str, Any]) -> tuple[int, float]:
    """Where a row of `benchmarks/panel.py` stands among others, the first being the best."""
    return WORDS.index(row["verdict"]["word"]), -(row["verdict"]["median_gain"] or 0.0)


def panel_choice_of(measured: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What a config records of the choice, an entry a budget, and the `defaults` that it sets.

    Raises InputError where a file is not of holdout images, has no budget, or the files are of different panels.
    """
    entries = []
    for results in measured:
        if results["split"] != "holdout" or not results.get("budget"):
            raise InputError("choose from files of benchmarks/panel.py with --budget and --split holdout")
        if results["fingerprint"] != measured[0]["fingerprint"]:
            raise InputError("these results are of different panels")
        shared = {name: results[name] for name in ("panel", "fingerprint", "budget", "num_images", "seeds", "split")}
        methods, baselines = panel_rows(results)
        entries.append({**shared, "rows": [panel_entry(row) for row in (*methods[:3], *baselines[:1])]})
    methods, _ = panel_rows(measured[0])
    defaults: dict[str, Any] = {}
    if methods[0]["verdict"]["word"] == "confirmed":
        defaults = {"method": methods[0]["method"], "ratio": methods[0]["ratio"]}
    for row in methods:
        defaults.setdefault(row["method"], _settings({**row["settings"], "options": row["settings"].get("options") or {}}))
    return entries, defaults


def panel_rows(results: dict[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Methods and baselines of a file of `benchmarks/panel.py`, best first. Raises InputError where there is no method."""
    rows = sorted(results["rows"], key=panel_order)
    methods = [row for row in rows if row["method"] in METHODS]
    if not methods:
        raise InputError("the results hold no row of a method")
    return methods, [row for row in rows if row["method"] not in METHODS]


def panel_entry(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "method": row["method"],
        "ratio": row["ratio"],
        "setting": setting_of(row),
        "evaluations": row["evaluations"],
        "word": row["verdict"]["word"],
        "median_gain": row["verdict"]["median_gain"],
    }


def choose_by_panel(folder: Path, files: list[Path]) -> dict[str, Any]:
    """Write the panel's choice into the folder's config and card; returns the defaults it sets. Raises InputError."""
    checkpoint = load_checkpoint(folder)
    measured = [json.loads(file.read_text()) for file in files]
    if any(results["weights"] != checkpoint.hashes for results in measured):
        raise InputError(f"the results were measured on other weights than {folder} holds")
    entries, defaults = panel_choice_of(measured)
    write(folder, checkpoint, {"panel_choice": entries}, defaults)
    return defaults


def write(folder: Path, checkpoint: Checkpoint, entries: dict[str, Any], defaults: dict[str, Any]) -> None:
    """Put `entries` and `defaults` into a folder's config and card, once every default is known to resolve."""
    config = {**checkpoint.config, **entries, "defaults": {**checkpoint.config.get("defaults", {}), **defaults}}
    for method in (name for name, given in defaults.items() if isinstance(given, dict)):
        resolve(checkpoint.name, config, method=method)
    card = model_card({**config, "name": checkpoint.name})
    for name, content in (("config.json", json.dumps(config, indent=1) + "\n"), ("README.md", card)):
        with replacing(folder / name) as temporary:
            temporary.write_text(content)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("results", type=Path, nargs="*")
    parser.add_argument("--panel", type=Path, nargs="+", help="files of benchmarks/panel.py, in place of RESULTS")
    parser.add_argument("--method", help="the default method, in place of the nearest")
    chosen = parser.parse_args()
    if bool(chosen.results) == bool(chosen.panel):
        parser.error("give either results of `evaluate` or, after --panel, of benchmarks/panel.py")
    try:
        if chosen.panel:
            print(json.dumps(choose_by_panel(chosen.folder, chosen.panel)))
        else:
            print(json.dumps(choose(chosen.folder, chosen.results, chosen.method)))
    except InputError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
