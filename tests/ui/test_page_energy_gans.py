"""The Energy-based GANs tab in a browser, and its endpoint: side by side, curves, the belief network, phone, bad input."""

import json
from collections.abc import Iterator

import pytest
from conftest import save_tiny_belief_net, save_tiny_energy_gan, save_tiny_models
from gradio_client import Client
from gradio_client.exceptions import AppError
from playwright.sync_api import Page, expect
from serving import served
from test_energy_api import DIGITS, EXACT
from test_page import browser, desk, in_both_themes, open_page, open_tab, opened, shared  # noqa: F401

from ebm_refine.energies import autoencoder_gan as energy_gans
from ebm_refine.models.checkpoint import load_checkpoint
from ebm_refine.ui.tabs.energy_gans import belief_network as belief_net

PAIRS = {"tiny-ebgan": "ebgan", "tiny-magan": "magan", "tiny-began": "began"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = save_tiny_models(tmp_path_factory.mktemp("page") / "embedded")
    for name, family in PAIRS.items():
        save_tiny_energy_gan(folder, name, family)
    save_tiny_belief_net(folder, "mnist-dbn")  # the name that the committed table is about
    return folder


@pytest.fixture(scope="module")
def address(folder) -> Iterator[str]:
    with served(folder) as where:
        yield where


def enter(page: Page, section: str) -> None:
    open_page(page, "Energy-based GANs")
    tab = page.get_by_role("tab", name=section, exact=True)
    if not tab.is_visible():  # on a narrow page it is in the menu of the inner row, which comes after the outer one's
        page.locator(".overflow-menu > button:visible").last.click()
        tab = page.locator(".overflow-dropdown button:visible", has_text=section).last
    tab.click()


def test_all_models_are_sampled_on_the_same_seed(desk):  # noqa: F811
    page = desk
    enter(page, "Side by side")
    page.locator("#gans-images input[type=number]").fill("4")
    page.click("#gans-run")
    expect(page.locator("#gans-status")).to_contain_text("Done in")
    for name in PAIRS:
        for side in ("before", "after"):
            expect(page.locator(f"#{name}-{side} img")).to_be_visible()
        expect(page.locator(f"#{name}-words")).to_contain_text("mean r")
    expect(page.get_by_text("So r does not measure quality")).to_be_visible()


def test_digits_are_reconstructed_and_bad_values_are_errors(desk):  # noqa: F811
    page = desk
    enter(page, "Reconstructions")
    page.click("#gans-reconstruct")
    for name in PAIRS:
        expect(page.locator(f"#{name}-seen img")).to_be_visible()
        expect(page.locator(f"#{name}-seen-words")).to_contain_text("of the chosen digit")
    page.locator("#gans-digit-source").get_by_label("Draw").check()
    expect(page.locator("#gans-digit-trouble")).to_contain_text("nothing to see yet")
    page.click("#gans-reconstruct")
    expect(page.locator("body")).to_contain_text("there is no digit to ask about")


def test_histograms_and_curves_are_drawn(desk):  # noqa: F811
    page = desk
    enter(page, "Energies")
    for name in PAIRS:
        page.wait_for_selector(f"#{name}-energies svg, #{name}-energies canvas")
    page.get_by_role("tab", name="Training").click()
    for name in ("energies", "margins", "k", "convergence", "cosine"):
        page.wait_for_selector(f"#gans-{name} svg, #gans-{name} canvas")


def test_the_belief_networks_chains_are_run_and_played(desk):  # noqa: F811
    page = desk
    enter(page, belief_net.TITLE)
    expect(page.locator("#dbn-table")).to_contain_text("Gibbs steps")
    page.locator("#dbn-images input[type=number]").fill("4")
    for steps in (7, 9):  # the model's own number, then another
        page.locator("#dbn-n-steps input[type=number]").fill(str(steps))
        page.click("#dbn-run")
        expect(page.locator("#dbn-film .where")).to_have_text(f"step {steps} of {steps}")
        expect(page.locator("#dbn-words")).to_contain_text(f"after {steps} steps")
        page.wait_for_selector("#dbn-plot svg, #dbn-plot canvas")
    canvas = page.locator("#dbn-film canvas")
    digits = canvas.evaluate("canvas => canvas.toDataURL()")
    page.locator("#dbn-film .scrub").fill("0")
    expect(canvas).to_have_attribute("data-frame", "0")
    assert canvas.evaluate("canvas => canvas.toDataURL()") != digits
    page.locator("#dbn-seed input").fill("-1")
    page.click("#dbn-run")
    expect(page.locator("body")).to_contain_text("seed must be a whole number from 0")


def test_the_belief_networks_table_shows_its_own_numbers():
    made = belief_net.as_html(json.loads(belief_net.FILE.read_text()))
    for cell in ("11.91 ± 0.07", "2.90 ± 0.13", "10.70 ± 0.16", "0.762 ± 0.012"):
        assert f"<td>{cell}</td>" in made
    assert "From random bits to 75 steps the Fréchet distance falls from 11.91 to 2.90; after 500 steps it is 10.70" in made


def test_phone(opened):  # noqa: F811
    page = opened(viewport={"width": 390, "height": 844})
    enter(page, belief_net.TITLE)
    page.click("#dbn-run")
    expect(page.locator("#dbn-film .where")).to_have_text("step 7 of 7")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    enter(page, "Reconstructions")
    page.click("#gans-reconstruct")
    expect(page.locator("#tiny-began-seen img")).to_be_visible()
    unnamed = "[...document.querySelectorAll('img, canvas')].filter(one => one.offsetParent && !one.alt && !one.ariaLabel)"
    for _ in in_both_themes(page):
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.evaluate(f"{unnamed}.map(one => one.outerHTML.slice(0, 200))") == []


# --- The endpoint ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client(address) -> Client:
    return Client(address, verbose=False, analytics_enabled=False)


@pytest.mark.slow
def test_endpoint_gives_what_the_library_gives(client, folder):
    _, answer = client.predict("tiny-magan", DIGITS[:2], 3, 1, api_name="/energy_gan")
    found = energy_gans.seen(load_checkpoint(folder / "tiny-magan"), EXACT[:2])
    assert answer["energies"] == pytest.approx(found.energies.tolist(), rel=1e-4)
    assert len(answer["generated_energies"]) == 3
    assert answer["d_is"] == "the norm of the difference over all pixels"
    assert answer["shares_of_real_above"] == [0.0, 0.0]  # those kept reach to 4 at most
    assert answer["training"]["step"] == [100.0, 200.0, 300.0, 400.0, 500.0]
    _, without = client.predict("tiny-magan", api_name="/energy_gan")
    assert without["energies"] == []
    assert len(without["generated_energies"]) == 8


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tiny"], "model must be one with an autoencoder for a discriminator, tiny-began, tiny-ebgan, tiny-magan; got 'tiny'"),
        ([None], "model must be one"),
        (["tiny-ebgan", "digits"], "images must be a list"),
        (["tiny-ebgan", ["no picture"]], "base64"),
        (["tiny-ebgan", None, 0], "num_generated must be a whole number from 1 to 16; got 0"),
        (["tiny-ebgan", None, 2.5], "num_generated must be a whole number"),
        (["tiny-ebgan", None, 2, -1], "seed must be a whole number"),
    ],
)
def test_bad_values_give_one_sentence(client, arguments, words):
    with pytest.raises(AppError) as error:
        client.predict(*arguments, api_name="/energy_gan")
    assert words in str(error.value)
    assert "\n" not in str(error.value)
