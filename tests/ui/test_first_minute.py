"""The first minute of a visitor: the bare page with the embedded models, used as a hand would, with nothing in its address."""

import json
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect
from serving import served
from test_page import browser, bytes_of, open_page, opened, opening, shown_link  # noqa: F401

from ebm_refine.toy2d.datasets import law
from ebm_refine.ui.runtime.pictures import ASSETS
from ebm_refine.ui.tabs.refine import evidence, showcase
from ebm_refine.ui.tabs.refine.job import checked, first_model, refinable_models

PLACES = ("Play in 2-D", "Compare", "Sweep", "Energy models", "Energy-based GANs", "API")
TOAST = "[data-testid=toast-body]"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    if first_model() != "mnist-gan":
        pytest.skip("no model is embedded")
    with served() as where:
        yield where


def test_the_bare_page_shows_a_result_and_run_improves_it(opened):  # noqa: F811
    page = opened()
    # At once, and above the fold: a verdict, its evidence, a film.
    expect(page.locator("#numbers .verdict")).to_contain_text("Better")
    box = page.locator("#numbers .verdict").bounding_box()
    assert box["y"] + box["height"] < 768
    assert "closer to real images" in page.inner_text("#numbers .evidence")
    page.wait_for_function("Number(document.querySelector('.view-film canvas').dataset.frame) > 0")
    # Run is the first thing that the keyboard reaches.
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "run"
    page.keyboard.press("Enter")
    expect(page.locator("#results")).to_be_visible()
    expect(page.locator("#numbers .verdict")).to_contain_text("Better")
    assert page.locator(TOAST).count() == 0
    # More images bring a Fréchet distance and its floor.
    expect(page.locator("#measure-run")).to_contain_text("Measure on 640 images (about")
    page.click("#measure-run")
    expect(page.locator("#measure-status .evidence")).to_contain_text("real images")
    assert "640 images" in page.inner_text("#measure-status")
    # The address brings this result again.
    assert "model=mnist-gan" in page.url
    page.reload()
    expect(page.locator("#numbers .verdict")).to_contain_text("Better")


def test_every_card_opens_its_result_and_back_returns(opened):  # noqa: F811
    page = opened()
    for key, card in showcase.cards().items():
        page.click(f".cards [data-key={key}]")
        expect(page.locator("#after img")).to_have_attribute("src", re.compile(f"show-{key}-after"))
        expect(page.locator("#status")).to_contain_text(card.settings.model)
        page.wait_for_url(re.compile(f"model={card.settings.model}"))
        page.get_by_role("button", name="Side by side").click()
        assert len(bytes_of(page, "#before img")) > 100
    page.go_back()
    expect(page.locator("#status")).to_contain_text("celeba-dcgan")


def test_every_model_has_settings_that_stand(opened):  # noqa: F811
    """Chosen by hand, with what the page fills in, each gives a link; nothing is refused."""
    page = opened()
    page.locator("#model input").click()
    titles = page.get_by_role("option").all_inner_texts()
    page.keyboard.press("Escape")
    assert not any("toy" in title or "closed-form" in title for title in titles)
    for place, title in enumerate(titles):
        page.locator("#model input").blur()
        page.locator("#model input").click()
        page.get_by_role("option").nth(place).click()
        name = next(name for name, info in refinable_models().items() if info.config.get("title", name) == title.strip("✓ \n"))
        expect(page.get_by_label("Method", exact=True)).not_to_have_value("")
        page.wait_for_timeout(300)
        page.click("#copy-link")
        expect(page.locator("#link textarea, #link input")).to_have_value(re.compile(f"model={name}&"))
    assert page.locator(TOAST).count() == 0


def test_every_page_opens_by_its_link_and_keeps_its_place(opened):  # noqa: F811
    page = opened()
    for place in PLACES:
        open_page(page, place)
        assert page.locator(TOAST).count() == 0
        title = page.inner_text("#title h1")
        assert place in title
        page.reload()
        expect(page.locator("#title h1")).to_have_text(title)
    expect(page.locator("#snippet-library code")).to_contain_text("mnist-gan")
    assert "must be" not in page.inner_text("#snippet-library")


def test_particles_move_without_a_server(opened):  # noqa: F811
    page: Page = opened(at="play")
    page.wait_for_function("Number(document.querySelector('#play2d canvas').dataset.step) > 2")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    page.locator("#play2d .most").fill("30")
    page.wait_for_function("document.querySelector('#play2d .modes').textContent.includes('→ 25 of 25')")
    page.locator("#play2d .law").select_option("moons-ebm")
    page.locator("#play2d .eps").fill("-2")
    expect(page.locator("#play2d .eps-now")).to_have_text("0.01")
    page.wait_for_function("Number(document.querySelector('#play2d canvas').dataset.step) > 20")
    assert not [url for url in sent if "heartbeat" not in url]


def test_the_laws_of_the_browser_are_those_of_the_library():
    made = json.loads((ASSETS / "play2d.json").read_text())
    for name, one in made["laws"].items():
        mixture = law(name)
        assert one["width"] == pytest.approx(mixture.width, abs=1e-6)
        assert max(one["modes"]) + 1 == mixture.num_modes
        every = max(1, len(mixture.centres) * 2 // len(one["centres"]))
        assert one["centres"] == pytest.approx(mixture.centres[::every].flatten().tolist(), abs=1e-5)


def test_the_first_result_is_small_and_stands_on_recorded_evidence():
    sizes = {file.name: file.stat().st_size for file in ASSETS.glob("show-*")}
    assert len(sizes) == 16
    assert max(size for name, size in sizes.items() if "film" in name) <= 410_000
    found = evidence.recorded(checked(first_model(), {}))
    assert found is not None
    assert found.num_images >= 1000
    assert found.after < found.before
    assert evidence.recorded(checked(first_model(), {"n_steps": 3})) is None
    assert "Confirmed on 5,000 images by the whole panel" in evidence.panel_html(checked(first_model(), {}))
    assert "Contradicted on" in evidence.panel_html(checked(first_model(), {"method": "dg-flow"}))
    assert evidence.panel_html(checked(first_model(), {"n_steps": 3})) == ""
    # Where ratio and distance are of one kind of network, the page says so.
    assert "The ratio itself uses a network of this kind" in evidence.as_html(found)
    assert not evidence.shares_kind(checked(first_model(), {"ratio": "calibrated"}))
    # A measurement of one seed has no spread, and claims none.
    assert not [card.key for card in showcase.cards().values() if "nan" in card.verdict]
