"""Committed results are those of the weights that ship."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import ebm_refine

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
# What older weights measured, for comparison.
OLDER = "models-before.json"


def stated(results: Any, name: str | None = None) -> Iterator[tuple[str | None, dict[str, str]]]:
    """The model and the hashes of its weights, for each place of some results that has such hashes."""
    if isinstance(results, list):
        for one in results:
            yield from stated(one, name)
    elif isinstance(results, dict):
        name = results.get("model", name)
        if "weights" in results:
            yield name or results["rows"][0]["settings"]["model"], results["weights"]
        for key, one in results.items():
            named = isinstance(one, dict) and "model" not in one and "weights" in one
            yield from stated(one, key if named else name)


@cache
def shipped(name: str) -> dict[str, str]:
    return ebm_refine.load(name).hashes


def files() -> list[str]:
    return sorted(file.name for file in RESULTS.glob("*.json") if file.name != OLDER)


@pytest.mark.slow
@pytest.mark.parametrize("file", files())
def test_results_are_of_the_weights_that_ship(file):
    for name, weights in stated(json.loads((RESULTS / file).read_text())):
        # A model may have gained a ratio since; what was measured without one still holds.
        assert weights.items() <= shipped(name).items(), f"{file} has results of other weights of {name}: run its command again"


def test_hashes_are_found_wherever_they_stand():
    nested = {"models": {"a": {"weights": {"g": "1"}, "runs": []}}, "rows": [{"model": "b", "weights": {"g": "2"}}]}
    assert list(stated(nested)) == [("a", {"g": "1"}), ("b", {"g": "2"})]
    assert list(stated({"weights": {"g": "3"}, "rows": [{"settings": {"model": "c"}}]})) == [("c", {"g": "3"})]
