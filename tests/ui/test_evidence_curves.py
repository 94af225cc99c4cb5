"""Recorded curves on the page: a fold with the address of their picture, and nothing where none were recorded."""

import json
import re

import pytest

from ebm_refine.ui.components import evidence_curves
from ebm_refine.ui.runtime.pictures import SHELF


def point(evaluations, change):
    kinds = {"pixels": {"value": 1.0, "error": 0.1, "votes": True, "relative": change, "relative_error": 0.05}}
    return {"evaluations": evaluations, "mean_ratio": change, "mean_ratio_error": 0.1, "kinds": kinds}


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    results = {
        "model": "one", "panel": "p", "fingerprint": "f", "num_images": 1500, "seeds": [0], "real_images": 5000,
        "real_ratio": None, "curves": [{"method": "mala", "points": [point(0, 0.0), point(30, -0.25)]}],
    }  # fmt: skip
    (tmp_path / "one-curves.json").write_text(json.dumps(results))
    monkeypatch.setattr(evidence_curves, "RESULTS", tmp_path)
    evidence_curves._recorded.cache_clear()
    yield
    evidence_curves._recorded.cache_clear()


def test_the_fold_names_a_picture_that_is_served(recorded):
    text = evidence_curves.curves_html("one")
    assert text.startswith("<details class='curves'>")
    assert "mala: the voting kinds&#x27; median distance is lowest at 30 evaluations (-25%)" in text
    assert "1,500 images against 5,000 test images" in text
    (name,) = re.findall(r"src='shown/([0-9a-f]{32}\.svg)'", text)
    assert SHELF.get(name).startswith(b"<svg")
    assert len(text) < 1500  # the picture itself is fetched only by whoever opens the fold


def test_a_model_without_curves_shows_nothing(recorded):
    assert evidence_curves.curves_html("another") == ""
