"""Controls and links of models that no checkpoint in the repository has yet: those with classes."""

import json
from pathlib import Path
from typing import Any

import pytest

from ebm_refine.catalogue import ModelInfo
from ebm_refine.errors import InputError
from ebm_refine.evaluation.run_time import run_time
from ebm_refine.settings import methods_of
from ebm_refine.ui.components import controls
from ebm_refine.ui.components.parameter_form import given
from ebm_refine.ui.runtime import limits
from ebm_refine.ui.tabs.refine import job, share_link
from ebm_refine.ui.tabs.refine.presets import presets

CONFIG: dict[str, Any] = {
    "kind": "pair",
    "title": "a pair with classes",
    "prior": {"name": "normal", "dim": 4},
    "data": {"shape": [1, 8, 8], "range": [-1, 1], "dataset": "mnist"},
    "parts": {"generator": {}, "discriminator": {}},
    "discriminator_output": "logit",
    "labels": {"count": 10},
    "defaults": {"method": "langevin"},
}


@pytest.fixture
def classes(monkeypatch: pytest.MonkeyPatch) -> str:
    info = ModelInfo("classes", "pair", "mnist", (1, 8, 8), methods_of(CONFIG), Path("."), CONFIG)
    for module in (job, controls):
        monkeypatch.setattr(module, "refinable_models", lambda: {"classes": info})
    return "classes"


def test_a_class_is_chosen_and_travels_in_the_link(classes: str):
    import gradio as gr

    with gr.Blocks():
        made = controls.build(job.checked(classes, {}))
    assert made.label.visible
    assert [value for _, value in made.label.choices] == ["any", *map(str, range(10))]
    assert "label" not in given(made.form.value)
    values = [classes, "langevin", "", 5, 4, "0", "auto", made.form.value, "7"]
    settings = job.checked(*made.arguments(values))
    assert settings.label == 7
    query = share_link.query_of(settings)
    assert "label=7" in query
    pairs = dict(pair.split("=") for pair in query[1:].split("&"))
    assert share_link.settings_from(pairs) == settings
    with pytest.raises(InputError, match="label must be a whole number from 0 to 9"):
        share_link.settings_from({**pairs, "label": "10"})


def test_what_is_empty_is_left_to_the_model(classes: str):
    import gradio as gr

    with gr.Blocks():
        made = controls.build(job.checked(classes, {}))
    empty = json.dumps({"rows": [{**row, "value": " "} for row in json.loads(made.form.value)["rows"]]})
    settings = job.checked(*made.arguments([classes, "langevin", "  ", None, None, "", None, empty, "any"]))
    assert settings == job.checked(classes, {"method": "langevin"})
    with pytest.raises(InputError, match="form"):
        made.arguments([classes, "langevin", "", 5, 4, "0", "auto", "[1", "any"])


def test_the_class_of_an_embedded_model_is_among_its_controls_and_in_its_calls():
    import gradio as gr

    from ebm_refine.ui.api.refine import models, split_options

    if "mnist-cgan" not in job.refinable_models():
        pytest.skip("no conditional model is embedded")
    with gr.Blocks():
        made = controls.build(job.checked("mnist-cgan", {}))
    assert made.label.visible
    assert len(made.label.choices) == 11
    assert next(one for one in models() if one["name"] == "mnist-cgan")["classes"] == 10
    assert job.checked("mnist-cgan", split_options({"label": 3})).label == 3
    with pytest.raises(InputError, match="label must be a whole number from 0 to 9; got 10"):
        job.checked("mnist-cgan", split_options({"label": 10}))


IMAGE_MODELS = [name for name, one in job.refinable_models().items() if len(one.shape) == 3]


def test_every_model_of_images_is_offered():
    assert len(IMAGE_MODELS) >= 14 or not job.refinable_models()


@pytest.mark.slow
@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_no_choice_on_the_page_makes_a_run_too_long(name):
    """A model, each of its methods and each preset begin with as many images as seconds allow, and no limit refuses them."""
    model = job.model_named(name)
    by_method = [{"method": method} for method in model.methods]
    for arguments in [{}, *by_method, *presets(model).values()]:
        settings = job.opening(name, arguments)
        assert limits.check(settings) is settings
        assert settings.num_images >= job.LEAST_IMAGES
        if settings.method != "gibbs" and settings.num_images > job.LEAST_IMAGES:
            seconds = run_time(job.cached_model(name), settings).seconds(settings.num_images)
            assert seconds <= job.OPENING_SECONDS, settings


def test_a_longer_chain_begins_with_fewer_images():
    if "cifar10-dcgan" not in job.refinable_models():
        pytest.skip("cifar10-dcgan is not embedded")
    counts = [job.opening("cifar10-dcgan", {"method": "langevin", "n_steps": steps}).num_images for steps in (1, 50, 100, 2000)]
    assert counts[0] == job.IMAGES["cifar10"] > counts[1] > counts[2] > counts[3] == job.LEAST_IMAGES
