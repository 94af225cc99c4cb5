"""Cached models: the same object while nothing has changed, and never an old one."""

import json

import pytest

from ebm_refine import catalogue
from ebm_refine.errors import CheckpointError, InputError
from ebm_refine.ui.runtime.model_cache import cached_model, known_models


def test_a_model_is_read_once_and_again_when_it_has_changed(tiny_models):
    first = cached_model("tiny")
    assert first.name == "tiny"
    assert cached_model("tiny") is first
    config = tiny_models / "tiny" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "title": "another"}))
    assert cached_model("tiny").config["title"] == "another"
    (tiny_models / "tiny" / "generator.safetensors").write_bytes(b"damaged")
    config.write_text(config.read_text() + "\n")
    with pytest.raises(CheckpointError, match="generator"):
        cached_model("tiny")
    config.unlink()
    with pytest.raises(InputError, match="tiny"):
        cached_model("tiny")
    with pytest.raises(InputError, match="model must be one of"):
        cached_model("nothing")


def test_the_list_is_read_once_and_again_when_it_has_changed(tiny_models):
    first = known_models()
    assert [model.name for model in first] == [model.name for model in catalogue.list_models()]
    assert known_models() is first
    config = tiny_models / "tiny" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "title": "another"}))
    assert {model.name: model for model in known_models()}["tiny"].config["title"] == "another"
    config.unlink()
    assert "tiny" not in [model.name for model in known_models()]
