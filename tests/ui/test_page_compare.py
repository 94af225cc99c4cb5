"""The Compare tab in a browser: two methods on the same seeds, bad input, Stop, the committed tables, phone."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect
from serving import seconds_until, served_tiny, workers
from test_page import browser, desk, in_both_themes, open_page, open_tab, opened, shared  # noqa: F401

from ebm_refine.evaluation.tables import committed


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Iterator[str]:
    with served_tiny(tmp_path_factory.mktemp("page")) as where:
        yield where


def enter(page: Page) -> None:
    open_page(page, "Compare")
    page.wait_for_selector("#compare-run")


def fill(page: Page, field: str, value: int) -> None:
    page.locator(f"#{field} input[type=number]").fill(str(value))


def compare(page: Page) -> None:
    page.click("#compare-run")
    expect(page.locator("#compare-status")).to_contain_text("Both on")


def test_the_committed_tables_are_shown(desk):  # noqa: F811
    assert committed()
    page = desk
    enter(page)
    table = page.inner_text("#compare-table")
    assert "base" in table
    assert "floor" in table


def test_stop(desk):  # noqa: F811
    page = desk
    enter(page)
    fill(page, "compare-budget", 100)
    fill(page, "compare-images", 64)
    page.click("#compare-run")
    assert seconds_until(lambda: workers() == 1, 30) < 30
    page.click("#compare-stop")
    assert seconds_until(lambda: workers() == 0, 30) < 30
    expect(page.locator("#compare-status")).to_contain_text("Stopped.")


def test_two_methods_begin_with_the_same_samples(desk):  # noqa: F811
    page = desk
    enter(page)
    fill(page, "compare-budget", 20)
    fill(page, "compare-images", 6)
    fill(page, "compare-seed", 3)
    compare(page)
    expect(page.locator("#compare-status")).to_contain_text("6 samples of tiny, seed 3")
    shown = {name: page.locator(f"#{name} img").get_attribute("src") for name in
             ("compare-before", "compare-picture-a", "compare-picture-b")}  # fmt: skip
    assert len(set(shown.values())) == 3
    numbers = page.inner_text("#compare-numbers")
    assert "gradient evaluations an image" in numbers
    verdict = page.inner_text("#compare-numbers .verdict")
    assert "A" in verdict
    assert "energy" not in verdict

    # A method without a step size hides it; one whose step is bad is refused by name.
    page.locator("#compare-method-b input").click()
    page.get_by_role("option", name="Rejection (DRS)", exact=True).click()
    expect(page.locator("#compare-eps-b")).to_be_hidden()
    page.locator("#compare-eps-a input, #compare-eps-a textarea").fill("-1")
    page.click("#compare-run")
    expect(page.locator("#compare-eps-a .wrong")).to_contain_text("method A: eps must be a number from")


def test_phone(opened):  # noqa: F811
    page = opened(viewport={"width": 390, "height": 844})
    enter(page)
    fill(page, "compare-budget", 20)
    fill(page, "compare-images", 4)
    compare(page)
    for _ in in_both_themes(page):
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
