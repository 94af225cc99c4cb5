"""Readiness for a Hugging Face Space: the README's front matter, what is installed there, and the borrowed GPU."""

import re
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import gradio
import pytest
import yaml

from ebm_refine.catalogue import list_models
from ebm_refine.ui.runtime.zero_gpu import borrows_gpu, seconds_for

ROOT = Path(__file__).parents[2]
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
HARDWARE = {"cpu-basic", "cpu-upgrade", "t4-small", "t4-medium", "l4x1", "l4x4", "a10g-small", "a10g-large", "a100-large",
            "l40sx1", "zero-a10g"}  # fmt: skip
KEYS = {"title", "emoji", "colorFrom", "colorTo", "sdk", "sdk_version", "python_version", "app_file", "suggested_hardware",
        "fullWidth", "header", "short_description", "models", "datasets", "tags", "thumbnail", "pinned", "license",
        "disable_embedding", "startup_duration_timeout", "preload_from_hub"}  # fmt: skip


@pytest.fixture(scope="module")
def front():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.startswith("---\n"), "a Space reads its settings from front matter at the very top"
    return yaml.safe_load(text.split("---\n", 2)[1])


@pytest.fixture(scope="module")
def requirements():
    """What a Space installs: name -> the whole line."""
    lines = [line.split("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines()]
    return {plain(line): line for line in lines if line}


def plain(requirement):
    return re.match(r"[\w.-]*", requirement).group().lower().replace("_", "-")


def dependencies():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]


def test_the_front_matter_has_what_a_space_needs(front):
    for key in ("title", "emoji", "sdk", "sdk_version", "python_version", "app_file", "short_description", "license"):
        assert isinstance(front.get(key), str), f"{key} must be given as text (numbers need quotes)"
        assert front[key].strip()
    assert set(front) <= KEYS
    assert front["sdk"] == "gradio"
    assert len(front["short_description"]) <= 60
    assert len(front["emoji"]) <= 3
    assert {front.get("colorFrom", "red"), front.get("colorTo", "red")} <= COLOURS
    assert front["license"] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["license"].lower()


def test_the_space_runs_the_gradio_that_is_tested_here(front, requirements):
    assert requirements.get("gradio") == f"gradio=={front['sdk_version']}"
    assert f"gradio=={front['sdk_version']}" in dependencies()
    assert gradio.__version__ == front["sdk_version"]


def test_the_space_installs_what_the_library_needs(requirements):
    if "." in requirements.values() or "-e ." in requirements.values():
        return
    missing = {plain(line) for line in dependencies()} - set(requirements)
    assert not missing


def test_the_space_starts_a_file_that_is_there(front):
    assert (ROOT / front["app_file"]).is_file()
    minor = re.fullmatch(r"3\.(\d+)(\.\d+)?", front["python_version"])
    assert minor, "python_version must be text like 3.12"
    assert int(minor.group(1)) >= 11


def test_optional_keys_are_of_their_form(front):
    assert front.get("suggested_hardware", "cpu-basic") in HARDWARE
    for item in front.get("preload_from_hub", []):
        # "repo", "repo file1,file2" or "repo file1,file2 commit"
        assert re.fullmatch(r"[\w.-]+/[\w.-]+( \S+( [0-9a-f]{40})?)?", item)
    for key in ("models", "datasets"):
        assert all(re.fullmatch(r"[\w.-]+/[\w.-]+", name) for name in front.get(key, []))


def test_what_the_page_offers_is_embedded_or_preloaded(front):
    """Nothing is fetched when a Space starts: without `preload_from_hub` there must be models in the repository itself."""
    embedded = [model for model in list_models() if model.methods]
    assert embedded or front.get("preload_from_hub")
    assert "preload_from_hub" in (ROOT / "README.md").read_text(encoding="utf-8").split("---\n", 2)[1]


def settings(num_images, n_steps):
    return SimpleNamespace(num_images=num_images, n_steps=n_steps)


def test_short_runs_ask_for_less_time():
    assert seconds_for(settings(1, 1)) == 15
    assert seconds_for(settings(64, 50)) == 18
    assert seconds_for(settings(256, 10_000)) == 120
    assert isinstance(seconds_for(settings(64, 50)), int)


def test_without_zerogpu_nothing_changes(monkeypatch):
    def work(settings):
        yield settings

    monkeypatch.setitem(sys.modules, "spaces", None)
    assert borrows_gpu(work) is work


def test_on_zerogpu_the_time_comes_from_the_settings(monkeypatch):
    asked = []

    def gpu(duration):
        def decorate(work):
            def borrowed(*args):
                asked.append(duration(*args))
                return work(*args)

            return borrowed

        return decorate

    monkeypatch.setitem(sys.modules, "spaces", SimpleNamespace(GPU=gpu))
    work = borrows_gpu(lambda settings, folder: f"{settings.num_images} in {folder}")
    assert work(settings(64, 50), "out") == "64 in out"
    assert asked == [18]
