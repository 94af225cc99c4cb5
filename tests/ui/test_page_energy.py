"""The Energy models tab in a browser: chains and their film, questions to an energy, drawing, uploads, Stop, phone."""

import io
import re
from collections.abc import Iterator

import pytest
from conftest import save_tiny_energies, save_tiny_models
from PIL import Image
from playwright.sync_api import Page, expect
from serving import seconds_until, served, workers
from test_page import Shared, browser, desk, in_both_themes, open_page, open_tab, opened, opening  # noqa: F401

from ebm_refine import render
from ebm_refine.tasks import synthetic_digits as patterns

LABELLED = "a tiny joint energy"


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Iterator[str]:
    folder = save_tiny_energies(save_tiny_models(tmp_path_factory.mktemp("page") / "embedded"))
    with served(folder) as where:
        yield where


@pytest.fixture(scope="module")
def shared(browser, address) -> Iterator[Shared]:  # noqa: F811
    with opening(browser, address) as open_page:
        yield Shared(lambda: enter(open_page()))


def enter(page: Page) -> Page:
    open_page(page, "Energy models")
    page.wait_for_selector("#energy-run")
    return page


def choose(page: Page, field: str, option: str) -> None:
    page.locator(f"#{field} input").click()
    page.get_by_role("option", name=option, exact=True).click()


def fill(page: Page, field: str, value: int) -> None:
    page.locator(f"#{field} input[type=number]").fill(str(value))


def test_noise_slides_along_two_chains_and_the_films_play(desk):  # noqa: F811
    page = desk
    fill(page, "energy-n-steps", 12)
    fill(page, "energy-long", 30)
    fill(page, "energy-images", 5)
    page.click("#energy-run")
    expect(page.locator("#energy-status")).to_contain_text("Done in")
    for name, steps in (("cold", 12), ("warm", 30)):
        expect(page.locator(f"#{name}-film .where")).to_have_text(f"step {steps} of {steps}")
        assert f"after {steps} steps" in page.inner_text(f"#{name}-words")
        page.wait_for_selector(f"#{name}-plot svg, #{name}-plot canvas")
    # What chains are samples of, and what not.
    assert "not samples of exp(−E)" in page.inner_text("#cold-words")
    assert "of the moves were accepted" in page.inner_text("#warm-words")
    canvas = page.locator("#cold-film canvas")
    page.locator("#cold-film .scrub").fill("0")
    expect(canvas).to_have_attribute("data-frame", "0")
    noise = canvas.evaluate("canvas => canvas.toDataURL()")
    page.click("#cold-film .play")
    page.wait_for_function("Number(document.querySelector('#cold-film canvas').dataset.frame) > 1")
    assert canvas.evaluate("canvas => canvas.toDataURL()") != noise


def test_a_digit_is_completed_denoised_detected_and_ranked(desk):  # noqa: F811
    page = desk
    fill(page, "complete-n-steps", 6)
    fill(page, "complete-images", 4)
    page.click("#complete-run")
    expect(page.locator("#complete-status")).to_contain_text("Done in")
    expect(page.locator("#complete-film .where")).to_have_text("step 6 of 6")
    page.get_by_role("tab", name="Denoise").click()
    fill(page, "denoise-n-steps", 7)
    page.click("#denoise-run")
    expect(page.locator("#denoise-film .where")).to_have_text("step 7 of 7")
    page.get_by_role("tab", name="Detect").click()
    page.click("#detect-run")
    expect(page.locator("#detect-words .verdict")).to_be_visible()
    assert "inverted" in page.inner_text("#detect-words")
    page.get_by_role("tab", name="Rank").click()
    page.click("#rank-run")
    expect(page.locator("#rank-words .verdict")).to_contain_text("Most probable under this model")
    expect(page.locator("#rank-picture img")).to_be_visible()


def test_messages_of_a_run_that_arrive_together_are_all_shown(desk):  # noqa: F811
    page = desk
    # A busy browser gets several messages before it has shown the first: here it gets them all at once.
    page.route("**/queue/data*", lambda route: route.fulfill(response=route.fetch()))
    page.get_by_role("tab", name="Denoise").click()
    for steps in (5, 6):
        fill(page, "denoise-n-steps", steps)
        page.click("#denoise-run")
        expect(page.locator("#denoise-film .where")).to_have_text(f"step {steps} of {steps}")
        expect(page.locator("#denoise-words")).to_contain_text(f"after {steps} steps")
        expect(page.locator("#denoise-plot")).to_be_visible()
        expect(page.locator("#denoise-live img")).to_have_count(0)
    page.unroute("**/queue/data*")


def test_a_model_with_labels_classifies_reads_rows_and_tells_its_story(desk):  # noqa: F811
    page = desk
    choose(page, "energy-model", "a tiny energy")
    expect(page.locator("#energy-label")).to_be_hidden()
    choose(page, "energy-model", LABELLED)
    expect(page.locator("#energy-label")).to_be_visible()
    page.get_by_role("tab", name="Classify").click()
    page.click("#classify-run")
    expect(page.locator("#classify-words .verdict")).to_contain_text(re.compile(r"It is a \d, says the model"))
    page.locator("#row-example input, #row-example textarea").fill("271")
    page.locator("#row-example input, #row-example textarea").blur()
    page.click("#read-run")
    expect(page.locator("#read-words")).to_contain_text("1,000 rows")  # of three digits
    page.get_by_role("button", name="How it learned").click()
    expect(page.locator("#story-picture img")).to_be_visible()
    last = page.locator("#story-picture img").get_attribute("src")
    page.locator("#story-epoch").get_by_label("3", exact=True).check()
    expect(page.locator("#story-picture img")).not_to_have_attribute("src", last)


def test_a_digit_is_drawn_and_bad_pictures_are_refused_in_words(desk):  # noqa: F811
    page = desk
    page.get_by_role("tab", name="Complete").click()
    example = page.locator("#digit-seen img").get_attribute("src")
    page.locator("#digit-source").get_by_label("Draw").check()
    expect(page.locator("#digit-trouble")).to_contain_text("nothing to see yet")
    page.click("#complete-run")
    expect(page.locator("body")).to_contain_text("there is no digit to ask about")
    box = page.locator("#digit-sketch canvas").bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.8, steps=5)
    page.mouse.up()
    expect(page.locator("#digit-seen img")).to_be_visible()
    drawn = page.locator("#digit-seen img").get_attribute("src")
    assert drawn != example

    page.locator("#digit-source").get_by_label("Upload").check()
    upload = page.locator("#digit-file input[type=file]")
    upload.set_input_files({"name": "<b>note</b>.png", "mimeType": "image/png", "buffer": b"no picture at all"})
    expect(page.locator("#digit-trouble")).to_contain_text("picture")
    assert page.locator("#digit-trouble b").count() == 0
    picture = io.BytesIO()
    render.grid((patterns.written([7], 28) + 1).mul(127.5).byte(), scale=4).save(picture, "PNG")
    assert Image.open(picture).width > 100
    page.locator("#digit-file").get_by_label("Clear").or_(page.locator("#digit-file button[aria-label=Remove]")).first.click()
    upload.set_input_files({"name": "seven.png", "mimeType": "image/png", "buffer": picture.getvalue()})
    expect(page.locator("#digit-seen img")).to_be_visible()
    expect(page.locator("#digit-trouble")).to_be_hidden()


def test_stop(desk):  # noqa: F811
    page = desk
    fill(page, "energy-n-steps", 1000)
    fill(page, "energy-images", 40)
    page.click("#energy-run")
    expect(page.locator("#energy-status")).to_contain_text("of 1000")
    page.click("#energy-stop")
    assert seconds_until(lambda: workers() == 0, 30) < 30
    expect(page.locator("#energy-status")).to_contain_text("Stopped.")


def test_phone(opened):  # noqa: F811
    page = opened(viewport={"width": 390, "height": 844})
    enter(page)
    fill(page, "energy-n-steps", 4)
    page.locator("#energy-beside input").uncheck()
    page.click("#energy-run")
    expect(page.locator("#energy-status")).to_contain_text("Done in")
    expect(page.locator("#cold-film .where")).to_have_text("step 4 of 4")
    unnamed = "[...document.querySelectorAll('img, canvas')].filter(one => one.offsetParent && !one.alt && !one.ariaLabel)"
    for _ in in_both_themes(page):
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.evaluate(f"{unnamed}.map(one => one.outerHTML.slice(0, 200))") == []
