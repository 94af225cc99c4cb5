"""The Play in 2-D in a browser: an experiment, its layers, scrubbing, Stop, training, phone and both themes."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect
from serving import seconds_until, served, workers
from test_page import Shared, browser, desk, in_both_themes, open_page, open_tab, opened, opening  # noqa: F401

from ebm_refine.toy2d.experiments import EXPERIMENTS

EXPERIMENT = "Exact discriminator, wrong weights: ring of 8 Gaussians, rejection succeeds"
# How many pixels of a canvas are drawn on, in a colour of their own.
PAINTED = """(canvas) => {
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  let count = 0;
  for (let k = 3; k < data.length; k += 4) count += data[k] > 0;
  return count;
}"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with served() as where:  # the embedded models: the laboratory's are small
        yield where


@pytest.fixture(scope="module")
def shared(browser, address) -> Iterator[Shared]:  # noqa: F811
    with opening(browser, address) as open_page:
        yield Shared(lambda: enter(open_page()))


def enter(page: Page) -> Page:
    open_page(page, "Play in 2-D")
    open_tab(page, "Sample")
    page.wait_for_selector("#toy-run")
    return page


def run(page: Page) -> None:
    # The numbers of a run before stand until this one has begun.
    page.evaluate("document.querySelectorAll('#toy-numbers .verdict').forEach((one) => one.classList.add('old'))")
    page.click("#toy-run")
    page.wait_for_selector("#toy-numbers .verdict:not(.old)")
    expect(page.locator("#toy-status")).to_contain_text("points,")


def choose(page: Page, title: str) -> None:
    page.locator("#toy-preset input").click()
    page.get_by_role("option", name=title, exact=True).click()
    # Its settings have come once its words have: a run before would be one of the settings before.
    shows = next(one.shows for one in EXPERIMENTS if one.title == title)
    expect(page.locator("#toy-shows")).to_contain_text(shows)


def painted(page: Page, canvas: int = 0) -> int:
    return page.locator("#toy-view canvas").nth(canvas).evaluate(PAINTED)


def test_an_experiment_its_layers_and_its_film(desk):  # noqa: F811
    page = desk
    choose(page, EXPERIMENT)
    expect(page.locator("#toy-shows")).to_contain_text("thinned")
    run(page)
    numbers = page.inner_text("#toy-numbers")
    assert "earth mover's distance" in numbers
    assert "8 of 8" in numbers
    assert "weights over modes" in numbers

    # Layers are switched in the browser alone.
    full = painted(page)
    page.locator("#toy-view [data-layer=shade]").uncheck()
    page.locator("#toy-view [data-layer=contours]").uncheck()
    bare = painted(page)
    assert 0 < bare < full
    page.locator("#toy-view [data-layer=field]").check()
    assert painted(page) > bare
    page.locator("#toy-view [data-layer=field]").uncheck()

    # The film: scrubbed and played; accepted and rejected proposals belong to its frames.
    canvas = page.locator("#toy-view canvas").first
    page.locator("#toy-view .scrub").fill("0")
    expect(canvas).to_have_attribute("data-frame", "0")
    start = painted(page)
    page.locator("#toy-view .scrub").fill("1")
    expect(page.locator("#toy-view .where")).to_have_text(re.compile(r"step [1-9]\d* of \d+"))  # the sampler may end early
    assert painted(page) != start
    page.locator("#toy-view [data-layer=proposals]").uncheck()
    page.locator("#toy-view .scrub").fill("0")
    page.click("#toy-view .play")
    page.wait_for_function("Number(document.querySelector('#toy-view canvas').dataset.frame) > 1")


def test_a_pair_is_seen_through_two_windows(desk):  # noqa: F811
    page = desk
    choose(page, "GAN alone: two moons")
    run(page)
    captions = page.locator("#toy-view figcaption").all_inner_texts()
    assert [caption.partition(":")[0] for caption in captions] == ["data space", "latent space"]
    assert painted(page, 0) > 0
    assert painted(page, 1) > 0


def test_stop(desk):  # noqa: F811
    page = desk
    choose(page, "GAN with EBM: two moons, small step")
    steps = page.locator("#toy-n-steps input[type=number]")
    expect(steps).to_have_value("100")  # the experiment's settings have come, and will not overwrite what is typed
    steps.fill("300")
    page.click("#toy-run")
    expect(page.locator("#toy-status")).to_contain_text("of 300")
    page.click("#toy-stop")
    assert seconds_until(lambda: workers() == 0, 30) < 30
    expect(page.locator("#toy-status")).to_contain_text("Stopped.")


def test_training_is_watched_and_stopped(desk):  # noqa: F811
    page = desk
    page.get_by_role("tab", name="Train").click()
    page.locator("#lesson-steps input").fill("20000")
    page.click("#lesson-run")
    expect(page.locator("#lesson-view canvas").first).to_be_visible()
    expect(page.locator("#lesson-status")).to_contain_text("of 20000")
    page.click("#lesson-stop")
    assert seconds_until(lambda: workers() == 0, 30) < 30
    expect(page.locator("#lesson-status")).to_contain_text("Stopped.")
    page.locator("#lesson-steps input").fill("5")
    page.click("#lesson-run")
    expect(page.locator("body")).to_contain_text("steps must be a whole number from 100 to 20000; got 5")


def test_phone(opened):  # noqa: F811
    page = opened(viewport={"width": 390, "height": 844})
    enter(page)
    choose(page, EXPERIMENT)
    run(page)
    unnamed = "[...document.querySelectorAll('img, canvas')].filter(one => one.offsetParent && !one.alt && !one.ariaLabel)"
    for _ in in_both_themes(page):
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert painted(page) > 0
        assert page.evaluate(f"{unnamed}.map(one => one.outerHTML.slice(0, 200))") == []
