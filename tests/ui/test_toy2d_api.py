"""The laboratory's endpoints: right answers, bad input in one sentence, stopping."""

import pytest
import torch
from gradio_client import Client
from serving import seconds_until, served, workers
from test_api import call
from toy_models import barely_trained_folder

import ebm_refine
from ebm_refine.catalogue import load
from ebm_refine.metrics.points import compare_points
from ebm_refine.toy2d.landscape import landscape

MODEL = "toy-ring8-deficient"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with served(barely_trained_folder(tmp_path_factory.mktemp("laboratory") / "embedded")) as where:
        yield where


@pytest.fixture(scope="module")
def client(address) -> Client:
    return Client(address, verbose=False, analytics_enabled=False)


@pytest.mark.slow
def test_sampling_gives_what_the_library_gives(client):
    answer = client.predict(MODEL, "i-sir", n_steps=5, num_points=60, seed=3, options={"particles": 4}, api_name="/toy_sample")
    result = ebm_refine.refine(MODEL, "i-sir", n_steps=5, num_images=60, seed=3, options={"particles": 4})
    assert torch.equal(torch.tensor(answer["after"]), result.after)
    assert torch.equal(torch.tensor(answer["before"]), result.before)
    assert answer["metrics"]["settings"] == result.settings.as_dict()
    assert answer["metrics"]["modes"] == compare_points(result.before, result.after, "ring8")["modes"]


@pytest.mark.slow
def test_refine_serves_points_too(client):
    before, after, metrics, bundle = client.predict("toy-moons-gan-ebm", n_steps=3, num_images=20, api_name="/refine")
    assert metrics["earth_movers_distance"]["num_points"] == 20
    assert metrics["settings"]["method"] == "langevin"
    assert [path.rpartition(".")[2] for path in (before, after, bundle)] == ["png", "png", "zip"]


def test_a_landscape_is_the_librarys(client):
    answer = client.predict("toy-moons-gan", "latent", "raw", 0.5, 16, api_name="/toy_landscape")
    ground = landscape(load("toy-moons-gan"), "latent", "raw", 0.5, 16)
    assert torch.equal(torch.tensor(answer["energy"]), ground.energy)
    assert torch.equal(torch.tensor(answer["field"]), ground.field)
    assert (answer["window"], answer["bounds"]) == ("latent", [-3.5, 3.5])


def test_experiments_are_those_whose_models_are_there(client):
    listed = client.predict(api_name="/toy_experiments")
    assert {one["model"] for one in listed} == {"toy-moons-gan", "toy-moons-gan-ebm", "toy-moons-ebm", MODEL}
    assert all(one["shows"] and one["title"] for one in listed)


@pytest.mark.parametrize(
    ("endpoint", "values", "sentence"),
    [
        ("toy_sample", ["tiny"], "model must be one of toy-moons-ebm, "),
        ("toy_sample", [None], "model must be one of toy-moons-ebm, "),
        ("toy_sample", [MODEL, "walk"], "method must be one of "),
        ("toy_sample", [MODEL, "gibbs"], "method 'gibbs' does not work on a model of kind 'points'; use langevin, "),
        ("toy_sample", [MODEL, "langevin", -1], "eps must be a number from 1e-09 to 10; got -1"),
        ("toy_sample", [MODEL, None, None, None, 1001], "num_images must be a whole number from 1 to 1000 here; got 1001"),
        ("toy_sample", [MODEL, None, None, None, 5, 0, "auto", [1]], "options must be an object of names and values; got [1]"),
        ("toy_landscape", [MODEL, "latent"], f"window must be one of data for model '{MODEL}'; got 'latent'"),
        ("toy_landscape", [MODEL, "data", "refitted"], f"ratio must be one of auto, raw for model '{MODEL}'; got 'refitted'"),
        ("toy_landscape", [MODEL, "data", "auto", "x"], "beta must be a number from 0 to 100; got 'x'"),
        ("toy_landscape", [MODEL, "data", "auto", 1, 10_000], "resolution must be a whole number from 8 to 256; got 10000"),
    ],
)
def test_bad_values_are_refused_in_one_sentence(address, endpoint, values, sentence):
    harmless = {"toy_sample": [MODEL, None, None, 1, 5, 0, "auto", None], "toy_landscape": [MODEL, "data", "auto", 1.0, 8]}[
        endpoint
    ]
    answer = call(address, {"data": [*values, *harmless[len(values) :]]}, f"call/{endpoint}")
    assert answer["error"].startswith(sentence)


def test_cancel_ends_the_work(client):
    job = client.submit("toy-moons-ebm", "langevin", n_steps=10_000, num_points=500, api_name="/toy_sample")
    assert seconds_until(lambda: len(job.outputs()) > 2, 60) < 60
    assert workers() == 1
    job.cancel()
    assert seconds_until(lambda: workers() == 0, 30) < 30
