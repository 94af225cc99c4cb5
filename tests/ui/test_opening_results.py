"""What the tabs show before anybody has pressed anything: it belongs to the controls beside it, and its files are small."""

import json
import re

import pytest

from ebm_refine.ui import app
from ebm_refine.ui.components import opening_results
from ebm_refine.ui.runtime.pictures import ASSETS
from ebm_refine.ui.tabs.refine.job import first_model

FILE = ASSETS / opening_results.FILE
if not FILE.is_file() or first_model() != "mnist-gan":
    pytest.skip("no results ship with this page", allow_module_level=True)


@pytest.fixture(scope="module")
def page():
    return app.build()


def test_every_button_has_a_result_for_its_controls_as_they_stand(page):
    entries = json.loads(FILE.read_text())
    assert set(entries) == set(opening_results.BUTTONS)
    for button, entry in entries.items():
        event = opening_results._event(page, button)
        assert opening_results._controls(event) == entry["controls"], f"python benchmarks/openings.py {button}"


def test_the_page_shows_them(page):
    named = {block.elem_id: block for block in page.blocks.values() if block.elem_id}
    assert "closer to real samples than before" in named["sweep-heat"].value
    assert "computed before" in named["energy-status"].value
    assert json.loads(named["toy-view"].value)["src"].startswith("page/open-toy-view-data.json?v=")
    assert named["detect-plot"].visible
    values = [getattr(block, "value", None) for block in named.values()]
    assert "asset:open-" not in "".join(value for value in values if isinstance(value, str))


def test_a_result_of_other_controls_is_not_shown(monkeypatch):
    entries = json.loads(FILE.read_text())
    entries["sweep-run"]["controls"][0] = "another model"
    monkeypatch.setattr(opening_results, "_entries", lambda: entries)
    named = {block.elem_id: block for block in app.build().blocks.values() if block.elem_id}
    assert not named["sweep-heat"].value
    assert named["compare-numbers"].value


def test_files_are_there_and_small():
    named = set(re.findall(r"asset:(open-[a-z0-9-]+\.[a-z]+)", FILE.read_text()))
    present = {file.name: file.stat().st_size for file in ASSETS.glob("open-*")}
    assert named == set(present)
    assert max(present.values()) < 260_000
    assert sum(present.values()) < 1_200_000
