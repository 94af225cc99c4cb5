"""axe-core finds nothing to object to, on any page, in any tab, light and dark; every target is large enough for a finger."""

from collections.abc import Iterator
from pathlib import Path

import axe_playwright_python
import pytest
from playwright.sync_api import Page
from serving import served
from test_page import browser, in_both_themes, open_advanced, opened, opening, run  # noqa: F401

from ebm_refine.ui.tabs.refine.job import first_model

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
VIOLATIONS = """async () => (await axe.run(document, {resultTypes: ['violations']})).violations.map(
  (one) => [one.id, one.nodes.map((node) => node.html.slice(0, 160))])"""
SMALL = """() => [...document.querySelectorAll('main button, main a, main input:not([type=file]), main select, main summary')]
  .filter((one) => one.checkVisibility() && !one.closest('p, td, small'))
  .map((one) => [one.outerHTML.slice(0, 160), one.getBoundingClientRect()])
  .filter(([_, box]) => box.width > 1 && box.height > 1 && (box.width < 24 || box.height < 24)).map(([html]) => html)"""
PLACES = ("", "play", "compare", "sweep", "energies", "energy-gans", "own", "code")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    if first_model() != "mnist-gan":
        pytest.skip("no model is embedded")
    with served() as where:
        yield where


def objections(page: Page) -> list[list[object]]:
    page.evaluate(f"window.axe || (() => {{ {AXE} }})()")
    return page.evaluate(VIOLATIONS)


@pytest.mark.parametrize("place", PLACES)
def test_axe_finds_nothing(opened, place: str):  # noqa: F811
    page = opened(at=place)
    page.wait_for_timeout(1000)
    if not place:
        open_advanced(page)
        run(page)
    for _ in in_both_themes(page):
        page.wait_for_timeout(300)  # colours that fade
        assert objections(page) == []
        for tab in page.get_by_role("tab").all():
            if tab.is_visible():
                tab.click()
                page.wait_for_timeout(300)
                assert objections(page) == []


def test_axe_sees_what_is_wrong(opened):  # noqa: F811
    page = opened(at="code")
    page.evaluate("document.querySelector('main').insertAdjacentHTML('beforeend', '<img src=\"page/page.js\">')")
    assert [name for name, _ in objections(page)] == ["image-alt"]


@pytest.mark.parametrize("place", PLACES)
def test_targets_are_large_enough_on_a_phone(opened, place: str):  # noqa: F811
    page = opened(at=place, viewport={"width": 390, "height": 844})
    page.wait_for_timeout(1000)
    assert page.evaluate(SMALL) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_who_asks_for_no_motion_gets_none(opened):  # noqa: F811
    page = opened(reduced_motion="reduce")
    page.wait_for_selector(".view-film canvas[data-frame]")
    at = page.locator(".view-film canvas").get_attribute("data-frame")
    page.wait_for_timeout(800)
    assert page.locator(".view-film canvas").get_attribute("data-frame") == at
    assert page.locator(".view-film .play").get_attribute("aria-label") == "Play"
