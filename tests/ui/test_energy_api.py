"""The endpoints of energies: right answers, every kind of bad input in one sentence, stopping."""

import base64
import io
import json

import numpy as np
import pytest
import torch
from conftest import save_tiny_energies, save_tiny_models
from gradio_client import Client
from gradio_client.exceptions import AppError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from serving import seconds_until, served, workers
from test_api import JUNK, call

from ebm_refine import render
from ebm_refine.models.checkpoint import load_checkpoint
from ebm_refine.tasks import digit_preprocessing as digits
from ebm_refine.tasks import energy_model as answers
from ebm_refine.tasks import masks
from ebm_refine.tasks import synthetic_digits as patterns
from ebm_refine.tasks.energy_model import Chains, EnergyModel
from ebm_refine.ui.api import energy as energy_api
from ebm_refine.ui.runtime import limits
from ebm_refine.ui.tabs.energy import job as asking


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny_energies(save_tiny_models(tmp_path_factory.mktemp("energy") / "embedded"))


@pytest.fixture(scope="module")
def address(folder):
    with served(folder) as where:
        yield where


@pytest.fixture(scope="module")
def client(address) -> Client:
    return Client(address, verbose=False, analytics_enabled=False)


def file_of(digit: torch.Tensor) -> str:
    """A digit (1, 28, 28) as the text of a grey PNG, which is taken as it is."""
    pixels = digit[0].add(1).mul(127.5).round().to(torch.uint8).numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


DIGITS = [file_of(digit) for digit in patterns.written(range(10), 28)]
EXACT = torch.stack([digits.as_digit(digits.read(base64.b64decode(text))) for text in DIGITS])


def model_of(folder, name: str) -> EnergyModel:
    return EnergyModel(load_checkpoint(folder / name))


def last(stages) -> Chains:
    *_, final = stages
    return final


def assert_same(path: str, picture: Image.Image) -> None:
    assert np.array_equal(np.asarray(Image.open(path)), np.asarray(picture))


@pytest.mark.slow
def test_sampling_gives_what_the_library_gives(client, folder):
    before, after, answer = client.predict("tiny-jem", 5, 6, 3, "langevin", 2, {"eps": 0.05}, api_name="/energy_sample")
    model = model_of(folder, "tiny-jem")
    chosen = answers.chain_settings("tiny-jem", model.checkpoint.config, "langevin", num_images=5, n_steps=6, seed=3, eps=0.05)
    chains = last(answers.sample(model, chosen, 2))
    assert_same(before, render.grid(chains.before))
    assert_same(after, render.grid(chains.after))
    assert answer["energy_after"] == pytest.approx(chains.energy_after.tolist())
    assert answer["settings"] == chosen.as_dict()
    assert answer["settings"]["temperature"] == 1.0
    assert "within one model only" in " ".join(answer["notes"])


def test_only_the_model_is_needed_and_the_recipes_run_says_how_cold_it_is(client):
    answer = client.predict("tiny-ebm", api_name="/energy_sample")[2]
    assert answer["settings"]["n_steps"] == 20  # the checkpoint's default
    assert "temperature 1.25e-06 instead of 1" in answer["notes"][0]


def test_a_digit_is_completed(client, folder):
    options = {"mask": "top", "share": 0.25, "n_steps": 3, "num_images": 4}
    picture, answer = client.predict("tiny-ebm", "complete", DIGITS[3:4], 1, options, api_name="/energy_question")
    model = model_of(folder, "tiny-ebm")
    chosen = answers.chain_settings("tiny-ebm", model.checkpoint.config, "short-run", n_steps=3, num_images=4, seed=1)
    assert_same(picture, render.grid(last(answers.complete(model, EXACT[3], masks.mask("top", 0.25, 28), chosen)).after))
    assert len(answer["energy_after"]) == 4
    rows = masks.mask("top", 0.25, 28)[0].int().tolist()
    again, _ = client.predict("tiny-ebm", "complete", DIGITS[3:4], 1, options | {"mask": rows}, api_name="/energy_question")
    assert_same(again, Image.open(picture))


def test_noise_is_taken_off(client):
    options = {"sigma": 0.3, "n_steps": 2, "num_images": 2, "sampler": "mala"}
    picture, answer = client.predict("tiny-ebm", "denoise", DIGITS[:1], options=options, api_name="/energy_question")
    assert Image.open(picture).width > 28
    assert answer["diagnostics"]["steps"] == 2


@pytest.mark.slow
def test_single_answers_are_the_librarys(client, folder):
    def ask(model, question, images, **options):
        picture, answer = client.predict(model, question, images, options=options, api_name="/energy_question")
        assert picture is None
        return answer

    plain, joint = model_of(folder, "tiny-ebm"), model_of(folder, "tiny-jem")
    found = answers.detect(plain, EXACT[0])
    answer = ask("tiny-ebm", "detect", DIGITS[:1])
    assert answer["energy"] == pytest.approx(found.energy)
    assert answer["aurocs"] == pytest.approx(found.aurocs)
    ranking = answers.rank(plain, EXACT)
    answer = ask("tiny-ebm", "rank", DIGITS)
    assert answer["order"] == ranking.order.tolist()
    assert answer["log_ratios_to_first"] == pytest.approx(ranking.log_ratios.tolist(), abs=1e-5)
    answer = ask("tiny-ebm", "ratio", DIGITS[2:4])
    assert answer["log_ratios_to_first"][1] == pytest.approx(float(ranking.energies[2] - ranking.energies[3]), abs=1e-5)
    classified = answers.classify(joint, EXACT[:3], 0.5)
    answer = ask("tiny-jem", "classify", DIGITS[:3], beta=0.5)
    assert answer["labels"] == classified.labels.tolist()
    assert torch.allclose(torch.tensor(answer["log_probabilities"]), classified.log_probabilities, atol=1e-4)
    row = answers.read(joint, EXACT[:4], "counts up by one", 3.0)
    answer = ask("tiny-jem", "read", DIGITS[:4], rule="counts up by one", weight=3)
    assert answer["together"] == row.together.tolist()
    assert answer["energy_by_enumeration"] == pytest.approx(answer["energy_together"])
    assert answer["rows"] == 10_000


def test_a_photograph_is_prepared_and_a_data_address_is_taken(client):
    paper = Image.new("RGB", (300, 200), "white")
    paper.paste(Image.new("RGB", (12, 120), "black"), (140, 40))
    buffer = io.BytesIO()
    paper.save(buffer, "JPEG")
    address = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
    answer = client.predict("tiny-ebm", "rank", [address, DIGITS[1]], api_name="/energy_question")[1]
    assert len(answer["energies"]) == 2


SAMPLE = ["tiny-ebm", 2, 1, 0, "short-run", None, None]
QUESTION = ["tiny-ebm", "detect", DIGITS[:1], 0, None]


def refusal(address: str, path: str, **changed) -> str:
    names = {
        "call/energy_sample": ("model", "num_images", "n_steps", "seed", "sampler", "class_label", "options"),
        "call/energy_question": ("model", "question", "images", "seed", "options"),
    }[path]
    harmless = SAMPLE if path.endswith("sample") else QUESTION
    values = dict(zip(names, harmless, strict=True)) | changed
    return call(address, {"data": list(values.values())}, path)["error"]


KNOWN = "model must be one of tiny-ebm, tiny-gan-ebm, tiny-jem; got "


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"model": "tiny"}, KNOWN + "'tiny'"),
        ({"model": None}, KNOWN + "None"),
        ({"num_images": 257}, "num_images must be a whole number from 1 to 256 here; got 257"),
        ({"num_images": None}, "num_images must be a whole number from 1 to 50000; got None"),
        ({"num_images": 200, "n_steps": 500}, "num_images x n_steps must be at most 80000 here"),
        ({"n_steps": 0}, "n_steps must be a whole number from 1 to 10000; got 0"),
        ({"seed": "0"}, "seed must be a whole number from 0 to 4294967295; got '0'"),
        ({"sampler": "hmc"}, "sampler must be one of short-run, langevin, mala; got 'hmc'"),
        ({"sampler": ["mala"]}, "sampler must be one of short-run, langevin, mala; got ['mala']"),
        ({"class_label": 3}, "model 'tiny-ebm' has no labels, so class_label must be left out; got 3"),
        ({"model": "tiny-jem", "class_label": 10}, "class_label must be a whole number from 0 to 9; got 10"),
        ({"model": "tiny-jem", "class_label": "3"}, "class_label must be a whole number from 0 to 9; got '3'"),
        ({"options": {"clip": -1}}, "clip must be a number from 1e-09 to 1e+06; got -1"),
        ({"options": {"sigma": 1}}, "option 'sigma' is not one of this call; its options are: eps, temperature, clip"),
        ({"options": {"clip": 1}, "sampler": "mala"}, "option 'clip' is not one of method 'mala'"),
        ({"options": "eps"}, "options must be an object of names and values; got 'eps'"),
    ],
)
def test_bad_samplings_are_refused(address, changed, sentence):
    assert sentence in refusal(address, "call/energy_sample", **changed)


ZEROS, ONES = [[0] * 28] * 28, [[1] * 28] * 28


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"question": "why"}, "question must be one of complete, denoise, detect, rank, ratio, classify, read; got 'why'"),
        ({"images": DIGITS[0]}, "images must be a list of image files in base64; got "),
        ({"images": []}, "images must be 1 for this question; got 0"),
        ({"images": DIGITS[:2]}, "images must be 1 for this question; got 2"),
        ({"images": DIGITS * 2}, "images must be 16 at most; got 20"),
        ({"question": "rank"}, "images must be from 2 to 16 for this question; got 1"),
        ({"question": "ratio", "images": DIGITS[:3]}, "images must be 2 for this question; got 3"),
        ({"images": [None]}, "an image must be a file's bytes as base64 text; got None"),
        ({"images": [""]}, "the image is empty: the file has no bytes"),
        ({"images": ["no base64!"]}, "an image must be a file's bytes as base64 text; this begins with 'no base64!'"),
        ({"images": [base64.b64encode(b"hello").decode()]}, "the file is not an image"),
        ({"images": [file_of(-torch.ones(1, 28, 28))]}, "the image is empty: nothing is written on it"),
        ({"images": ["A" * 3_000_000]}, "an image must be at most 2 MB as base64 text"),
        ({"question": "classify"}, "has no labels; this question needs an energy E(x, y): tiny-jem"),
        ({"question": "read", "images": DIGITS[:2]}, "has no labels; this question needs an energy E(x, y): tiny-jem"),
        ({"question": "classify", "model": "tiny-jem", "options": {"beta": -1}}, "beta must be a number from 0 to 100; got -1"),
        (
            {"question": "read", "model": "tiny-jem", "images": DIGITS[:2], "options": {"rule": "x"}},
            "rule must be one of none, never falls,",
        ),
        ({"question": "complete", "options": {"mask": ZEROS}}, "the mask covers nothing: at least one pixel must be missing"),
        ({"question": "complete", "options": {"mask": ONES}}, "the mask covers everything: at least one of the 784 pixels"),
        ({"question": "complete", "options": {"share": 0}}, "the mask covers nothing"),
        ({"question": "complete", "options": {"share": 1}}, "the mask covers everything"),
        ({"question": "complete", "options": {"share": 2}}, "share must be a number from 0 to 1; got 2"),
        ({"question": "complete", "options": {"mask": [[1]]}}, "or 28 rows of 28 numbers 0 or 1; got 1 rows of [1]"),
        ({"question": "complete", "options": {"n_steps": 10_000}}, "num_images x n_steps must be at most 80000 here"),
        ({"question": "denoise", "options": {"sigma": 0}}, "sigma must be a number from 0.01 to 2; got 0"),
        ({"options": {"beta": 1}}, "option 'beta' is not one of question 'detect'; its options are: none"),
    ],
)
def test_bad_questions_are_refused(address, changed, sentence):
    assert sentence in refusal(address, "call/energy_question", **changed)


def test_a_cancelled_call_ends_within_half_a_second(client):
    job = client.submit("tiny-ebm", 4, 10_000, api_name="/energy_sample")
    assert seconds_until(lambda: len(job.outputs()) > 2, 30) < 30
    steps = [output[2]["step"] for output in job.outputs()]
    assert steps == sorted(steps)
    assert workers() == 1
    job.cancel()
    assert seconds_until(lambda: workers() == 0, 5) < 0.5


@pytest.mark.slow
def test_an_endless_question_is_ended(client, monkeypatch):
    monkeypatch.setattr(limits, "MAX_SECONDS", 1)
    with pytest.raises(AppError, match="stopped after 1 seconds"):
        client.predict("tiny-ebm", 4, 10_000, api_name="/energy_sample")
    assert seconds_until(lambda: workers() == 0, 5) < 0.5


@pytest.mark.slow
def test_without_an_energy_the_page_has_no_such_tab_and_the_call_says_what_is_missing(tmp_path):
    with served(save_tiny_models(tmp_path / "embedded")) as where:
        sentence = refusal(where, "call/energy_sample")
        labels = [one["props"].get("label") for one in call_config(where) if one["type"] == "tabitem"]
    assert sentence == "model must be one of (no energy of digits is embedded); got 'tiny-ebm'"
    assert labels
    assert "Energy models" not in labels


def call_config(where: str) -> list[dict]:
    import httpx

    return httpx.get(f"{where}config").json()["components"]


FITTING = {
    "model": st.sampled_from(["tiny-ebm", "tiny-jem"]),
    "question": st.sampled_from(list(energy_api.QUESTIONS)),
    "images": st.lists(st.sampled_from(DIGITS), max_size=3),
    "seed": st.integers(0, 2**32 - 1),
    "options": st.one_of(st.none(), st.just({"beta": 1}), st.just({"share": 0.5, "n_steps": 1, "num_images": 1}), JUNK),
}


@st.composite
def questions(draw) -> dict:
    values = {name: draw(strategy) for name, strategy in FITTING.items()}
    for name in draw(st.lists(st.sampled_from(list(FITTING)), max_size=2)):
        values[name] = draw(st.one_of(JUNK, st.lists(JUNK, max_size=3)))
    return values


@pytest.mark.slow
def test_hostile_questions(address):
    answered = []

    @settings(max_examples=50, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(questions())
    def attack(values):
        result = call(address, {"data": list(values.values())}, "call/energy_question")
        if "data" in result:
            json.dumps(result["data"][1], allow_nan=False)
            answered.append(values)
            return
        sentence = result["error"]
        assert isinstance(sentence, str)
        assert 10 < len(sentence) < 400
        assert "\n" not in sentence
        assert "mistake of this program" not in sentence
        assert "<" not in sentence

    attack()
    assert answered
    assert workers() == 0
    assert asking.MAX_CANDIDATES == 16
