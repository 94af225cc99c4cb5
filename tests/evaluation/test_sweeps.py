"""Sweeps: the grid from a list of results, its heat map and its pictures, from `evaluate --sweep` and for the page."""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from ebm_refine import render
from ebm_refine.cli import main
from ebm_refine.errors import InputError
from ebm_refine.evaluation import sweeps
from ebm_refine.pipeline import refine
from ebm_refine.ui.runtime import limits
from ebm_refine.ui.tabs.sweep import job as sweeping


def row(eps: float | None, n_steps: int, value: float, **settings) -> dict:
    return {
        "method": "langevin",
        "ratio": "raw",
        "eps": eps,
        "n_steps": n_steps,
        "kernel_distance": {"mean": value},
        **settings,
    }


BASE = {"method": "base", "kernel_distance": {"mean": 0.5}}


def test_rows_become_grids_by_eps_and_steps():
    rows = [BASE, row(0.1, 5, 0.1), row(0.1, 20, 0.2), row(1e-3, 5, 0.3), {**row(None, 9, 0.4), "method": "rejection"}]
    (grid,) = sweeps.grids(rows)
    assert (grid.name, grid.eps, grid.n_steps) == ("langevin-raw", [1e-3, 0.1], [5, 20])
    assert grid.rows == [[rows[3], None], [rows[1], rows[2]]]
    assert grid.base is BASE
    # What differs in anything else is another sweep, with a file name of its own; one cell alone is none.
    two = sweeps.grids([*rows, row(0.1, 5, 0.6, beta=2.0), row(0.2, 5, 0.7, beta=2.0), row(0.1, 5, 0.8, beta=3.0)])
    assert [len(grid.eps) for grid in two] == [2, 2]
    assert len({grid.name for grid in two}) == 2
    assert sweeps.grids([BASE, row(0.1, 5, 0.1)]) == []


def test_shades_follow_the_order_of_the_numbers():
    shades = render.shades_of([[1.0, 10.0], [100.0, None]])
    assert shades[0] == pytest.approx([0.1, 0.55])  # by the logarithm: halfway
    assert shades[1] == [pytest.approx(1.0), None]
    assert render.shades_of([[-1.0, 0.0, 1.0]])[0] == pytest.approx([0.1, 0.55, 1.0])
    assert render.shades_of([[2.0, math.inf, math.nan]]) == [[0.1, 1.0, 1.0]]
    assert render.shades_of([[None]]) == [[None]]


def test_heat_map_is_darker_where_the_number_is_larger():
    picture = np.asarray(render.heat_map([[1.0, 10.0, None]], ["a"], ["x", "y", "z"], "title"), dtype=int)
    width, height = render.CELL
    top = render.TITLE + render.HEADING + 4  # a corner of the cell, where no digit is
    corners = [picture[top, render.LABELS + width * column + 4].sum() for column in range(3)]
    assert corners[0] > corners[1]
    assert corners[2] == sum(render.PAPER)
    assert picture.shape[0] >= top + height - 4


def test_picture_table_puts_pictures_in_their_places():
    red, blue = Image.new("RGB", (10, 8), (255, 0, 0)), Image.new("RGB", (10, 8), (0, 0, 255))
    table = render.picture_table([[red, None], [None, blue]], ["a", "b"], ["x", "y"])
    assert table.getpixel((render.LABELS + 5, render.HEADING + 4)) == (255, 0, 0)
    assert table.getpixel((render.LABELS + 10 + render.GAP + 5, render.HEADING + 8 + render.GAP + 4)) == (0, 0, 255)
    assert table.getpixel((render.LABELS + 10 + render.GAP + 5, render.HEADING + 4)) == render.PAPER


@pytest.mark.slow
def test_evaluate_draws_its_sweep_and_goes_on_where_it_was(tiny_models, tmp_path, capsys):
    command = ["evaluate", "--model", "tiny", "--methods", "langevin", "--num-images", "60", "--seeds", "0,1", "--ratios",
               "calibrated", "--sweep", "eps=0.5/0.001,n-steps=1/3", "--out", str(tmp_path / "out")]  # fmt: skip
    assert main(command) == 0
    files = {file.name for file in (tmp_path / "out").iterdir()}
    assert files == {"jobs", "results.json", "table.md", "sweep-langevin-calibrated.png", "pictures-langevin-calibrated.png"}
    first = {file: file.stat().st_mtime_ns for file in (tmp_path / "out" / "jobs").iterdir()}
    assert len(first) == 2 * 8  # a record and a picture each
    drawn = (tmp_path / "out" / "pictures-langevin-calibrated.png").read_bytes()
    capsys.readouterr()
    assert main(command) == 0
    assert first == {file: file.stat().st_mtime_ns for file in (tmp_path / "out" / "jobs").iterdir()}
    assert drawn == (tmp_path / "out" / "pictures-langevin-calibrated.png").read_bytes()

    # Every cell shows the images that a run of those settings gives to that seed.
    table = np.asarray(Image.open(tmp_path / "out" / "pictures-langevin-calibrated.png"))
    result = refine("tiny", "langevin", eps=0.5, n_steps=3, num_images=60, seed=0, ratio="calibrated")
    expected = np.asarray(render.grid(result.after[:8], columns=8))
    height, width = expected.shape[:2]
    left, top = render.LABELS + 2 * (width + render.GAP), render.HEADING + (height + render.GAP)  # eps rises downwards
    assert np.array_equal(table[top : top + height, left : left + width], expected)
    measured = json.loads((tmp_path / "out" / "results.json").read_text())["rows"]
    assert len(measured) == 1 + 4


@pytest.fixture
def plan(tiny_models):
    def make(**given):
        settings = {"model": "tiny", "method": "langevin", "eps": [0.1, 1e-7], "n_steps": [1, 2], "num_images": 4, "seed": 3,
                    "ratio": "auto", "options": {}}  # fmt: skip
        return sweeping.checked_sweep(**(settings | given))

    return make


@pytest.mark.slow
def test_every_cell_of_the_page_begins_with_the_same_samples(plan):
    chosen = plan()
    items = list(sweeping.run(chosen))
    cells = [item for item in items if isinstance(item, sweeping.Cell)]
    assert [(cell.row, cell.column) for cell in cells] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert len({cell.before.tobytes() for cell in cells}) == 1
    assert len({cell.after.tobytes() for cell in cells[:2]}) == 2
    result = refine("tiny", "langevin", eps=0.1, n_steps=2, num_images=4, seed=3)
    assert cells[1].after.tobytes() == render.grid(result.after, scale=render.scale_for(result.after, 200)).tobytes()
    values = sweeping.heat(chosen, cells)
    assert values[0][1] == pytest.approx(1000 * cells[1].metrics["kernel_distance"]["after"]["value"])
    assert sweeping.heat(chosen, cells[:1])[1] == [None, None]
    table = sweeping.pictured(chosen, cells[:1])
    assert table.getpixel((table.width - 20, table.height - 20)) == render.PAPER  # not there yet
    moments = [item for item in items if isinstance(item, sweeping.Moment)]
    assert {moment.of for moment in moments} == {4}


def test_a_sweep_beyond_the_budget_says_how_large_it_may_be(plan):
    most = limits.MAX_WORK
    with pytest.raises(InputError, match=rf"at most {most} here; got 64 x 2 x 1000 = 128000, .* num_images may be at most 20"):
        plan(num_images=64, n_steps=[400, 600])
    assert plan(num_images=20, n_steps=[400, 600]).n_steps == 2000
    with pytest.raises(InputError, match=rf"with 2 images and 2 values of eps the n_steps may sum to at most {most // 4}"):
        plan(num_images=2, n_steps=[10_000, 9_999])


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"eps": []}, "eps must be a list of 1 to 8 numbers"),
        ({"eps": 0.1}, "eps must be a list"),
        ({"eps": [None]}, "eps must be a list"),
        ({"eps": [0.1, 0.1]}, "different numbers"),
        ({"eps": [math.nan]}, "eps must be"),
        ({"eps": ["x"]}, "eps must be"),
        ({"eps": [0.1 * k for k in range(1, 10)]}, "1 to 8"),
        ({"n_steps": [0]}, "n_steps must be"),
        ({"n_steps": [1.5]}, "n_steps must be"),
        ({"num_images": 1}, "num_images must be"),
        ({"seed": -1}, "seed must be"),
        ({"model": "none"}, "model must be one of"),
        ({"method": "rejection"}, "has no eps to sweep over; use langevin"),
        ({"method": 3}, "method must be one of"),
        ({"ratio": "best"}, "ratio must be one of"),
    ],
)
def test_bad_input_is_one_sentence(plan, given, sentence):
    with pytest.raises(InputError, match=sentence):
        plan(**given)


def test_a_distance_is_marked_only_beyond_chance():
    def kernel(low: float, high: float, count: int = 16) -> dict:
        sides = {"after": {"value": 0.002}, "before": {"value": 0.001}}
        return {"num_images": count, "kernel_distance": {**sides, "difference": {"interval": [low, high]}}}

    assert sweeping.distance_of(kernel(-0.1, 0.2)) == ("kernel distance × 1000", 2.0, 1.0, False)
    assert sweeping.distance_of(kernel(0.1, 0.2)).significant
    assert not sweeping.distance_of(kernel(0.1, 0.2, count=15)).significant
    assert sweeping.distance_of({"note": "no extractor"}) is None
    moved = {"earth_movers_distance": {"after": 1.0, "before": 2.0, "floor": {"sd": 0.3}}}
    assert sweeping.distance_of(moved).significant
    assert torch.isfinite(torch.tensor(sweeping.distance_of(moved).after))
