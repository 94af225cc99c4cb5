"""Curves against gradient evaluations: the picture places what it is given, and chains are looked at without bias."""

import importlib
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import torch
from zscores import LIMIT, mean_score

from ebm_refine.energies.labels import LabelledTarget
from ebm_refine.evaluation.curves import curve_table, curves_in_words, drawn_curves
from ebm_refine.samplers.rng import Draws, Stream
from ebm_refine.settings import Settings

SVG = "{http://www.w3.org/2000/svg}"


def point(evaluations, changes, ratio):
    kinds = {
        kind: {"value": 1.0, "error": 0.1, "votes": kind != "classifier", "relative": change, "relative_error": 0.05}
        for kind, change in changes.items()
    }
    return {"evaluations": evaluations, "mean_ratio": ratio, "mean_ratio_error": 0.1, "kinds": kinds}


@pytest.fixture
def results():
    points = [
        point(0, {"classifier": 0.0, "contrastive": 0.0, "pixels": 0.0}, -1.0),
        point(50, {"classifier": -0.8, "contrastive": -0.5, "pixels": -0.3}, 1.0),
        point(100, {"classifier": -0.9, "contrastive": 0.2, "pixels": 0.4}, 2.0),
    ]
    return {
        "model": "m <1>", "panel": "p", "fingerprint": "f" * 64, "num_images": 500, "seeds": [0], "real_images": 5000,
        "real_ratio": {"mean": 1.5, "images": 10, "split": "holdout"},
        "curves": [{"method": "mala", "points": points}],
    }  # fmt: skip


def path_of(tree, colour):
    return next(one.get("d") for one in tree.iter(f"{SVG}path") if one.get("stroke") == colour and one.get("fill") == "none")


def test_the_picture_is_valid_and_places_points_in_proportion(results):
    tree = ElementTree.fromstring(drawn_curves(results))
    spots = [tuple(map(float, spot.split())) for spot in path_of(tree, "#8c6d00")[1:].split("L")]
    (x0, y0), (x1, y1), (x2, y2) = spots
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.11)  # 0, 50, 100 evaluations
    assert (y0 - y1) / (y0 - y2) == pytest.approx(-0.3 / 0.4, abs=0.01)  # down by 30 %, up by 40 %
    assert y1 > y0 > y2  # rows of pixels count from above
    words = tree.find(f"{SVG}desc").text
    assert words == curves_in_words(results)
    assert "lowest at 50 evaluations (-40%) and stands at +30% after 100" in words  # the classifier has no vote
    assert [one.text for one in tree.iter(f"{SVG}text") if one.text == "classifier (no vote)"]


def test_a_kind_without_a_vote_is_dashed_and_left_out_of_the_median(results):
    tree = ElementTree.fromstring(drawn_curves(results))
    dashed = {one.get("stroke") for one in tree.iter(f"{SVG}path") if one.get("stroke-dasharray") == "5 3"}
    assert dashed == {"#0072b2"}
    table = curve_table(results)
    assert "| 50 | -40% | 1.00 ± 0.10 |" in table
    assert "Mean of r over 10 holdout images: 1.50" in table


class Gaussian:
    """A standard normal latent with r(z) = -(z - 2 m)^2 / 2: the refined law is normal with mean m and variance 1/2."""

    forwards = gradients = 0
    device = "cpu"
    points, shape, bounds, no_gradient = False, (1,), None, ""

    def __init__(self, mean=1.0):
        self.centre = 2 * mean

    def init(self, seed, index):
        return self.start(Draws(seed, index, 0), Stream.INIT)

    def start(self, draws, stream):
        return draws.normal((1,), stream=stream)

    def prior(self, draws, block=0):
        return draws.normal((1,), stream=Stream.PROPOSAL, block=block)

    def prior_energy(self, position):
        return position.square().sum(1) / 2

    def log_ratio(self, position):
        self.forwards += len(position)
        return -(position[:, 0] - self.centre).square() / 2


def costs_of(marks):
    return [cost for cost, _ in marks]


def test_a_slice_chain_is_looked_at_after_transitions_and_has_the_law(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    script = importlib.import_module("curves")
    monkeypatch.setattr(script, "affordable", lambda target, pilot, passes: 40.0)
    settings = Settings("m", "elliptical-slice", 4000, 3, "raw", 1.0, {"n_steps": 600})
    target = Gaussian()
    marks = script.slice_snapshots(target, settings)
    costs = costs_of(marks)
    assert costs == sorted(costs)
    assert costs[0] == 0
    for _, position in marks[3:]:
        assert abs(mean_score(position[:, 0], 1.0)) < LIMIT
        assert float(position.var()) == pytest.approx(0.5, rel=0.08)
    # What the marks cost is what the target counted: the start and every pass of every chain.
    assert costs[-1] == pytest.approx(target.forwards / 4000 / 2, rel=1e-4)


def test_slice_chains_of_classes_have_the_law_of_each_class(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    script = importlib.import_module("curves")
    paid = {1.0: 30.0, -1.0: 50.0}
    monkeypatch.setattr(script, "affordable", lambda target, pilot, passes: paid[target.centre / 2])
    settings = Settings("m", "elliptical-slice", 6000, 3, "raw", 1.0, {"n_steps": 600})
    labels = (torch.arange(6000) % 3 == 0).long()
    target = LabelledTarget(lambda label: Gaussian((1.0, -1.0)[label]), labels)
    marks = script.slice_snapshots(target, settings)
    for _, position in marks[3:]:
        for label, mean in enumerate((1.0, -1.0)):
            mine = position[labels == label, 0]
            assert abs(mean_score(mine, mean)) < LIMIT
            assert float(mine.var()) == pytest.approx(0.5, rel=0.1)
    # All classes make the transitions that are paid for on average: two thirds of 30 and one third of 50.
    assert costs_of(marks)[-1] == pytest.approx(target.forwards / 6000 / 2, rel=1e-4)
