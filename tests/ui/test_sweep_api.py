"""The endpoint `/sweep`: what it answers is the library's, bad input is one sentence, and a cancelled sweep stops."""

import numpy as np
import pytest
from gradio_client import Client
from PIL import Image
from serving import seconds_until, served_tiny, workers
from test_api import call

import ebm_refine
from ebm_refine import render
from ebm_refine.ui.runtime import limits
from ebm_refine.ui.tabs.sweep import job as sweeping


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with served_tiny(tmp_path_factory.mktemp("sweep")) as where:
        yield where


@pytest.fixture(scope="module")
def client(address) -> Client:
    return Client(address, verbose=False, analytics_enabled=False)


@pytest.mark.slow
def test_a_sweep_is_the_librarys_runs(client):
    heat, pictures, table = client.predict(
        "tiny", "langevin", [0.5, 0.001], [1, 3], num_images=6, seed=2, ratio="raw", options={"beta": 0.5}, api_name="/sweep"
    )
    assert [(cell["eps"], cell["n_steps"]) for cell in table["cells"]] == [(0.5, 1), (0.5, 3), (0.001, 1), (0.001, 3)]
    assert (table["settings"]["beta"], table["settings"]["ratio"]) == (0.5, "raw")
    _, _, single, _ = client.predict("tiny", "langevin", 0.5, 3, 6, 2, "raw", {"beta": 0.5}, api_name="/refine")
    assert table["cells"][1]["metrics"]["kernel_distance"] == single["kernel_distance"]
    result = ebm_refine.refine("tiny", "langevin", eps=0.5, n_steps=3, num_images=6, seed=2, ratio="raw", beta=0.5)
    shown = result.after[: sweeping.PICTURED]
    tile = np.asarray(render.grid(shown, scale=render.scale_for(shown, sweeping.PICTURE_WIDTH)))
    left, top = render.LABELS + 2 * (tile.shape[1] + render.GAP), render.HEADING
    found = np.asarray(Image.open(pictures).convert("RGB"))[top : top + tile.shape[0], left : left + tile.shape[1]]
    assert np.array_equal(found, tile)
    assert Image.open(heat).width > render.LABELS


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (["none"], "model must be one of tiny"),
        (["tiny", "rejection", [0.1], [1]], "has no eps to sweep over"),
        (["tiny", "langevin", [], [1]], "eps must be a list of 1 to 8 numbers"),
        (["tiny", "langevin", "0.1", [1]], "eps must be a list"),
        (["tiny", "langevin", [0.1], [0]], "n_steps must be"),
        (["tiny", "langevin", [0.1, 0.2], [10_000], 64], f"must be at most {limits.MAX_WORK} here; got 64 x 2 x 10000"),
        (["tiny", "langevin", [0.1], [1], 4, 0, "auto", {"gamma": 1}], "option 'gamma'"),
        (["tiny", "langevin", [0.1], [1], 4, 0, "auto", [1]], "options must be an object"),
    ],
)
def test_bad_input_is_one_sentence(address, values, sentence):
    harmless = ["tiny", "langevin", [0.1], [1], 4, 0, "auto", None]
    error = call(address, {"data": [*values, *harmless[len(values) :]]}, "call/sweep")["error"]
    assert sentence in error
    assert "\n" not in error


def test_cancelling_stops_the_work(client):
    job = client.submit("tiny", "langevin", [0.1, 0.01], [9000, 900], num_images=2, api_name="/sweep")
    assert seconds_until(lambda: workers() == 1, 30) < 30
    job.cancel()
    assert seconds_until(lambda: workers() == 0, 30) < 30
