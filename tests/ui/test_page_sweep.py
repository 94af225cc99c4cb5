"""The Sweep tab in a browser: heat map and pictures, bad input, budget, Stop, phone; a tile's neighbour, best and worst."""

from collections.abc import Iterator

import pytest
from conftest import save_tiny_models
from playwright.sync_api import Page, expect
from serving import seconds_until, served, workers
from test_memorisation import pixels, with_index
from test_page import browser, desk, in_both_themes, open_page, open_tab, opened, run, shared  # noqa: F401

from ebm_refine.ui.runtime import limits


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Iterator[str]:
    folder = save_tiny_models(tmp_path_factory.mktemp("page") / "embedded")
    with_index(folder, pixels(30, 5), pixels(40, 6))
    with served(folder) as where:
        yield where


def enter(page: Page, eps: str = "0.5, 1e-7", steps: str = "1, 4", images: int = 4) -> None:
    open_page(page, "Sweep")
    page.wait_for_selector("#sweep-run")
    page.locator("#sweep-eps input, #sweep-eps textarea").fill(eps)
    page.locator("#sweep-steps input, #sweep-steps textarea").fill(steps)
    page.locator("#sweep-images input[type=number]").fill(str(images))


def test_a_sweep_fills_its_heat_map_and_its_pictures(desk):  # noqa: F811
    page = desk
    enter(page)
    page.click("#sweep-run")
    expect(page.locator("#sweep-status")).to_contain_text("4 cells on 4 samples of tiny, langevin, seed 0")
    heat = page.locator("#sweep-heat")
    expect(heat.locator("tbody td")).to_have_count(4)
    assert [text.strip() for text in heat.locator("tbody th").all_inner_texts()] == ["eps 0.5", "eps 1e-07"]
    assert "kernel distance × 1000, lower is better; " in heat.inner_text()
    assert page.locator("#sweep-pictures img").get_attribute("src")

    page.locator("#sweep-eps input, #sweep-eps textarea").fill("0.1, much")
    page.click("#sweep-run")
    expect(page.locator("body")).to_contain_text("eps must be numbers separated by commas; got 'much'")
    page.locator("#sweep-eps input, #sweep-eps textarea").fill("0.1, 0.2")
    page.locator("#sweep-steps input, #sweep-steps textarea").fill("10000")
    page.click("#sweep-run")
    expect(page.locator("body")).to_contain_text(f"must be at most {limits.MAX_WORK} here")
    expect(page.locator("body")).to_contain_text("num_images may be at most 2")


def test_stop(desk):  # noqa: F811
    page = desk
    enter(page, "0.1, 0.2", "5000", 4)
    page.click("#sweep-run")
    assert seconds_until(lambda: workers() == 1, 30) < 30
    page.click("#sweep-stop")
    assert seconds_until(lambda: workers() == 0, 30) < 30
    expect(page.locator("#sweep-status")).to_contain_text("Stopped.")


def test_a_tile_tells_its_nearest_training_image_and_the_extremes_are_shown(desk):  # noqa: F811
    page = desk
    open_page(page, "Demo")
    run(page)
    page.click("#after img")
    expect(page.locator("#tile-copied")).to_contain_text("Of 40 held-out images")
    assert page.locator("#tile-copied img").count() == 0
    open_tab(page, "Most and least realistic")
    expect(page.locator("#extremes img")).to_be_visible()


def test_phone(opened):  # noqa: F811
    page = opened(viewport={"width": 390, "height": 844})
    enter(page)
    page.click("#sweep-run")
    expect(page.locator("#sweep-status")).to_contain_text("4 cells on")
    for _ in in_both_themes(page):
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
