"""The grid search as numbers and pictures: python benchmarks/grid_search.py --data ../shared/data/mnist [--storage FILE].

Reads the study that `python -m ebm_refine search` has worked on, finished or not, and writes every trial with its setting and
score, the histograms of scores by number of layers, and for each family the digits of the best and of the median trial, to
benchmarks/results/grid-search*. Real test digits are scored beside them.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from speed import machine

from ebm_refine.data.images import load_images
from ebm_refine.evaluation.tables import RESULTS
from ebm_refine.metrics.features import features_for
from ebm_refine.training.grid_search.search import Search, picture_name, score
from ebm_refine.training.grid_search.search_space import FAMILIES, LAYERS, SPACE, Setting, settings_of
from ebm_refine.training.grid_search.study import Stored, read_study
from ebm_refine.utils.atomic_io import replacing

# From 0 to beyond log 10, the most that ten classes give.
WIDTH, BINS = 0.2, 12
# Histograms over the trials whose networks both have at most so many layers, as published; two alone are too few here.
AT_MOST = LAYERS[:0:-1]
KEPT = ("place", *Setting._fields, "score", "reversed_score", "mean_confidence", "classes", "parameters", "cpu_seconds")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="folder of parquet files, or a Hub data set")
    parser.add_argument("--storage", type=Path, default=Path("runs/search.journal"))
    parser.add_argument("--study", default="mnist-grid")
    chosen = parser.parse_args()
    asked = Search(chosen.data, chosen.storage, chosen.study)
    stored, extractor = read_study(asked.journal, asked.study), features_for("mnist")
    if extractor.sha256 != stored.identity["classifier"]:
        raise SystemExit(f"study {asked.study!r} was scored with another classifier than the embedded one")
    count = stored.identity["num_images"]
    real = score(load_images("mnist", chosen.data, "test").pixels[:count], extractor)
    results = {
        "command": command(stored), "study": asked.study, **stored.identity, **extractor.describe(), **machine(),
        "settings": {family: len(settings_of(family)) for family in SPACE}, "queued": stored.queued,
        "done": len(stored.results), "real": {"split": "test", "num_images": count, **real}, **summed(stored.results),
    }  # fmt: skip
    for family, summary in results["summary"].items():
        for which in ("best", "median"):
            picture = asked.pictures() / picture_name(Setting(**summary[which]["setting"]), stored.identity["seed"])
            shutil.copyfile(picture, RESULTS / f"grid-search-{family}-{which}.png")
    with replacing(RESULTS / "grid-search.json") as temporary:
        temporary.write_text(written(results))
    print(json.dumps(results["summary"], indent=1))


def command(stored: Stored) -> str:
    """The command that ran this study."""
    asked = stored.identity
    return (
        f"python -m ebm_refine search --data ../shared/data/mnist --trials {asked['trials a family']} --batches "
        f"{asked['batches']} --num-images {asked['num_images']} --seed {asked['seed']}"
    )


def summed(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What is drawn from the trials that are done: the histograms, and of each family best, median and mean."""
    rows = [{**row, "classes": sum(count > 0 for count in row["histogram"])} for row in rows]
    present = [family for family in FAMILIES if any(row["family"] == family for row in rows)]
    return {
        "edges": [round(WIDTH * number, 6) for number in range(BINS + 1)],
        "histograms": {
            str(most): {family: histogram([row["score"] for row in chosen(rows, family, most)]) for family in present}
            for most in AT_MOST
        },
        "summary": {family: summary(chosen(rows, family, LAYERS[-1])) for family in present},
        "rows": [{name: row[name] for name in KEPT} for row in rows],
    }


def chosen(rows: list[dict[str, Any]], family: str, most: int) -> list[dict[str, Any]]:
    """The trials of a family whose networks both have at most `most` layers."""
    return [row for row in rows if row["family"] == family and max(row["layers_g"], row["layers_d"]) <= most]


def histogram(scores: list[float]) -> list[int]:
    """How many scores lie in each bin; the last one holds what lies beyond it too."""
    counts = [0] * BINS
    for one in scores:
        counts[min(max(int(one / WIDTH), 0), BINS - 1)] += 1
    return counts


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of an even number of trials the median is the lower one of the middle: a trial that there was."""
    ranked = sorted(rows, key=lambda row: row["score"])
    shown = {"best": ranked[-1], "median": ranked[(len(ranked) - 1) // 2]}
    return {
        "trials": len(rows),
        "mean_score": sum(row["score"] for row in rows) / len(rows),
        **{
            which: {
                "setting": {name: row[name] for name in Setting._fields},
                **{name: row[name] for name in ("score", "reversed_score", "mean_confidence", "classes")},
            }
            for which, row in shown.items()
        },
    }


def written(results: dict[str, Any]) -> str:
    """As JSON, one line a trial."""
    rows = ",\n".join(f"  {json.dumps(row)}" for row in results["rows"])
    head = json.dumps({name: value for name, value in results.items() if name != "rows"}, indent=1)
    return f'{head.removesuffix("}").rstrip()},\n "rows": [\n{rows}\n ]\n}}\n'


if __name__ == "__main__":
    main()
