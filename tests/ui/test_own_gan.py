"""Own models beside the embedded ones, and the tab that says how to bring one."""

import ast
import shutil

import pytest

from ebm_refine import catalogue, list_models, load
from ebm_refine.cli.commands import _parser
from ebm_refine.ui.app import options
from ebm_refine.ui.tabs.own_gan import tab


@pytest.fixture
def own(tiny_models, tmp_path, monkeypatch):
    monkeypatch.setenv(catalogue.OWN_MODELS, "")
    first = next(folder for folder in sorted(tiny_models.iterdir()) if (folder / "config.json").exists())
    shutil.copytree(first, tmp_path / "own" / "my-own")
    shutil.copytree(first, tmp_path / "own" / first.name)
    return tmp_path / "own"


def test_checkpoints_of_a_folder_join_the_embedded_ones(own):
    before = [model.name for model in list_models()]
    assert options(["--models", str(own)]) == {"data": None}
    assert [model.name for model in list_models()] == [*before, "my-own"]
    assert load("my-own").name == "my-own"
    taken = next(model for model in list_models() if model.name == before[0])
    assert taken.folder.parent == catalogue.EMBEDDED


def test_a_folder_without_checkpoints_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        options(["--models", str(tmp_path)])
    assert caught.value.code == 2
    assert "--models must be a folder that holds checkpoint folders" in capsys.readouterr().err


def test_the_page_takes_no_function_for_a_model():
    from ebm_refine.errors import InputError

    with pytest.raises(InputError, match="model must be one of"):
        load("os:getcwd")


def test_the_code_of_the_tab_is_code():
    ast.parse(tab.PYTHON)
    for text in (tab.SHELL, tab.IMPORT):
        for line in text.splitlines():
            if line.startswith("python -m ebm_refine "):
                _parser().parse_args(line.removeprefix("python -m ebm_refine ").split())
