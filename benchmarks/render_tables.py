"""Write the tables of README.md and docs/ from the committed results: python benchmarks/render_tables.py [--check].

The text between `<!-- table: NAME -->` and `<!-- /table -->` is made from `benchmarks/results/NAME.json`, or from the several
files of `OF_SEVERAL`, or from the models' configs (`OF_CONFIGS`). --check only compares.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cost_tables import cost_quality, energy_step, precision, speed
from digit_tables import dbn, ebgan, grid_search, joint_digits, mnist
from distance_tables import known, seen_by_ratio, sense
from evidence_tables import amortised, base_change, fresh_classifier, headline, imagenet, law_of_ratio, longer_chains, matched
from model_tables import models, models_before
from page_tables import first_run, page
from point_tables import joint_stability, toy_sweep, toy_weights, toys

from ebm_refine.evaluation.curves import curve_table
from ebm_refine.evaluation.evidence import panel_table
from ebm_refine.evaluation.tables import table

# By the name of a file of results; all others are comparisons of methods.
RENDERERS = {
    "speed": speed,
    "speed-celeba-dcgan": speed,
    "precision": precision,
    "mnist": mnist,
    "dbn": dbn,
    "energy-step": energy_step,
    "ebgan": ebgan,
    "toys-models": toys,
    "toys-experiments": toys,
    "toys-weights": toy_weights,
    "toys-sweep": toy_sweep,
    "joint-stability": joint_stability,
    "joint-digits": joint_digits,
    "grid-search": grid_search,
    "celeba-features-sense": sense,
    "celeba-dcgan-ratio": seen_by_ratio,
    "known-experiments": known,
    "page": page,
    "first-run": first_run,
}
# By the end of such a name, for every model.
BY_ENDING = {
    "-panel": panel_table,
    "-panel-holdout-25": panel_table,
    "-panel-holdout-75": panel_table,
    "-matched": matched,
    "-imagenet": imagenet,
    "-curves": curve_table,
    "-cost-quality": cost_quality,
    "-amortised": amortised,
}
# Of the contents of several files, in the order of the patterns.
OF_SEVERAL: dict[str, tuple[Callable[[list[dict[str, Any]]], str], tuple[str, ...]]] = {
    "headline": (headline, ("*-panel",)),
    "law-of-ratio": (law_of_ratio, ("*-law-of-ratio",)),
    "longer-chains": (longer_chains, ("*-longer-chains",)),
    "fresh-classifier": (fresh_classifier, ("*-fresh-classifier",)),
    "cifar10-cgan-base": (base_change, ("cifar10-cgan-panel", "cifar10-dcgan-panel")),
    "models-before": (
        models_before,
        ("models-before", "mnist", "toys-models", "cifar10-cgan-panel", "cifar10-dcgan-panel", "celeba-dcgan-panel"),
    ),
}
# Of the models' own configs.
OF_CONFIGS: dict[str, Callable[[], str]] = {"models": models}
ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(<!-- table: ([\w-]+) -->\n)(.*?)(<!-- /table -->)", re.DOTALL)


def pages() -> list[Path]:
    """Every committed page that may hold tables."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def renderer(name: str) -> Callable[[dict[str, Any]], str]:
    """What makes the table of `benchmarks/results/NAME.json`."""
    if name in RENDERERS:
        return RENDERERS[name]
    return next((made for ending, made in BY_ENDING.items() if name.endswith(ending)), table)


def rendered(page: str) -> str:
    """A page's text with every table made anew."""
    folder = ROOT / "benchmarks" / "results"

    def replace(match: re.Match[str]) -> str:
        if match[2] in OF_CONFIGS:
            made = OF_CONFIGS[match[2]]()
        elif match[2] in OF_SEVERAL:
            make, patterns = OF_SEVERAL[match[2]]
            files = [file for pattern in patterns for file in sorted(folder.glob(f"{pattern}.json"))]
            made = make([json.loads(file.read_text()) for file in files])
        else:
            made = renderer(match[2])(json.loads((folder / f"{match[2]}.json").read_text()))
        return f"{match[1]}{made}{match[4]}"

    return BLOCK.sub(replace, page)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = []
    for file in pages():
        text = file.read_text()
        made = rendered(text)
        if made != text and check:
            stale.append(str(file.relative_to(ROOT)))
        elif made != text:
            file.write_text(made)
    if stale:
        sys.exit(f"tables differ from benchmarks/results in {', '.join(stale)}; run benchmarks/render_tables.py")


if __name__ == "__main__":
    main()
