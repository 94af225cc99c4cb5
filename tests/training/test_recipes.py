"""Recipes are data: plain values, one pipeline for each kind, and a run that goes on only with the settings it began with."""

import pytest
import torch

from ebm_refine.cli import main
from ebm_refine.training.pipelines.train import FROM_MODEL, PIPELINES, settings_of
from ebm_refine.training.recipes.by_device import for_device
from ebm_refine.training.recipes.registry import RECIPES

PLAIN = (str, int, float, bool, type(None))


def leaves(value):
    """Everything in `value` that is no tuple, list or dictionary."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield key
            yield from leaves(one)
    elif isinstance(value, tuple | list):
        for one in value:
            yield from leaves(one)
    else:
        yield value


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_plain_data_with_a_pipeline_on_either_device(name):
    assert name not in FROM_MODEL
    for device in ("cpu", "cuda", "cuda:1"):
        recipe = for_device(RECIPES[name], device)
        assert recipe.name == name
        assert type(recipe) in PIPELINES
        assert all(isinstance(leaf, PLAIN) for leaf in leaves(recipe))
    assert for_device(RECIPES[name], "cuda:1") == for_device(RECIPES[name], "cuda")


def test_settings_are_found_by_their_path_and_words_are_left_out():
    settings = settings_of(for_device(RECIPES["cifar10-dcgan"], "cpu"))
    assert settings["algorithm.rate_g"] == "0.0001"
    assert settings["algorithm.augmentation.shift"] == "0.125"
    assert "'latent': 100" in settings["generator"]
    assert not {"name", "title", "defaults", "notes"} & set(settings)


@pytest.mark.slow
def test_a_run_does_not_go_on_with_other_settings_of_its_recipe(tmp_path, capsys, monkeypatch):
    name = "toy-moons-gan"
    where = ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out"), "--steps", "20"]
    small = RECIPES[name]._replace(settings=RECIPES[name].settings._replace(widths=(8,), ratio_steps=20))
    monkeypatch.setitem(RECIPES, name, small)
    assert main(["train", name, *where]) == 0
    assert main(["train", name, *where, "--resume"]) == 0
    monkeypatch.setitem(RECIPES, name, small._replace(settings=small.settings._replace(ratio_steps=40)))
    capsys.readouterr()
    assert main(["train", name, *where, "--resume"]) == 2
    assert "a run with settings.ratio_steps '20', not '40'" in capsys.readouterr().err

    # A state from before settings were recorded says nothing of them, and is taken.
    for file in (tmp_path / "runs" / name).rglob("state.pt"):
        state = torch.load(file, weights_only=True)
        state["run"] = {key: value for key, value in state["run"].items() if not key.startswith("settings.")}
        torch.save(state, file)
    assert main(["train", name, *where, "--resume"]) == 0
