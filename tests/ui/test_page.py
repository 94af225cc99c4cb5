"""The page in a browser: run, live frames, stop, scrub, a tile, a link, phone, dark; no console error, no external request."""

import io
import json
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from conftest import FAILED
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from serving import seconds_until, served, served_tiny, workers

import ebm_refine
from ebm_refine import render
from ebm_refine.samplers import METHODS

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
# Milliseconds for anything to appear: generous, for machines that are busy with other work.
PATIENCE = 60_000
expect.set_options(timeout=PATIENCE)
# Vega warns of its own versions; nothing that we could change.
# The second is about the tests themselves, which read canvases to see what is painted; the third is Gradio's, at every upload.
# The last two are what a page says that is left by a link while it listens to the server.
HARMLESS = ("Vega-Lite", "willReadFrequently", "Method not implemented", "AbortError: signal is aborted", "errored out")
COUNT_FRAMES = """() => {
  window.frames_seen = new Set();
  new MutationObserver(() => {
    const image = document.querySelector('#after img');
    if (image) window.frames_seen.add(image.src);
  }).observe(document.body, {subtree: true, childList: true, attributes: true, attributeFilter: ['src']});
}"""


CONTEXTS: dict[str, BrowserContext] = {}  # of the browser that is open, by their options


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Iterator[str]:
    with served_tiny(tmp_path_factory.mktemp("page")) as where:
        yield where


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert CHROMIUM, "the browser tests need chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        CONTEXTS.clear()
        chromium.close()


@contextmanager
def opening(browser: Browser, address: str) -> Iterator[Any]:
    """Opens the page with a query and context options; at the end nothing may have gone wrong or outside."""
    troubles: list[str] = []
    pages = []

    def open_page(query: str = "", base: str = address, at: str = "", **options: Any) -> Page:
        options = {"viewport": {"width": 1400, "height": 1000}} | options
        # One context for all the pages of a kind: a fresh one would fetch and compile all of Gradio's scripts again.
        if (kind := repr(sorted(options.items()))) not in CONTEXTS:
            CONTEXTS[kind] = browser.new_context(**options)
        page = CONTEXTS[kind].new_page()
        pages.append(page)
        page.set_default_timeout(PATIENCE)

        def on_console(message):
            if message.type in ("error", "warning") and not any(word in message.text for word in HARMLESS):
                troubles.append(f"{message.type}: {message.text}")

        def on_request(request):
            if not request.url.startswith((base, "data:", "blob:")):
                troubles.append(f"external request: {request.url}")

        def on_failure(request):
            if request.failure != "net::ERR_ABORTED":  # the page itself ends its event streams
                troubles.append(f"failed: {request.url}: {request.failure}")

        page.on("console", on_console)
        page.on("pageerror", lambda error: troubles.append(f"page error: {error}"))
        page.on("request", on_request)
        page.on("requestfailed", on_failure)
        page.goto(f"{base}{at}{query}")
        page.wait_for_selector("#pages nav")
        return page

    yield open_page
    for page in pages:
        page.close()
    assert troubles == []


@pytest.fixture
def opened(browser: Browser, address: str) -> Iterator[Any]:
    with opening(browser, address) as open_page:
        yield open_page


class Shared:
    """A page that tests use one after another, each where the last one ended: loading is what costs a test its time."""

    def __init__(self, open_page: Callable[[], Page]):
        self.open_page = open_page
        self.page: Page | None = None

    def take(self) -> Page:
        if self.page is None:
            self.page = self.open_page()
        return self.page

    def discard(self) -> None:
        """Closed, so that whatever it was running ends."""
        if self.page is not None:
            self.page.close()
            self.page = None


@pytest.fixture(scope="module")
def shared(browser: Browser, address: str) -> Iterator[Shared]:
    with opening(browser, address) as open_page:
        yield Shared(open_page)


@pytest.fixture
def desk(shared: Shared, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The module's shared page. Where a test fails, the next one begins on a new page."""
    yield shared.take()
    if FAILED in request.node.stash:
        shared.discard()


def in_both_themes(page: Page) -> Iterator[None]:
    """The page as it was opened, light, then dark: the class that `?__theme=dark` sets."""
    assert not page.evaluate("document.body.classList.contains('dark')")
    yield
    page.evaluate("document.body.classList.add('dark')")
    yield


def open_page(page: Page, name: str) -> None:
    """Open one of the pages by its link; nothing where it is open."""
    link = page.locator("#pages a", has_text=re.compile(f"^{name}$"))
    if link.get_attribute("aria-current") is None:
        link.click()
        expect(page.locator("#pages a[aria-current=page]")).to_have_text(name)
        page.wait_for_selector("#title h1")


def open_tab(page: Page, name: str) -> None:
    """Open a tab by its name; a narrow page keeps the later ones in a menu behind its last button."""
    tab = page.get_by_role("tab", name=name, exact=True)
    if not tab.is_visible():
        page.locator(".overflow-menu > button").first.click()
        tab = page.locator(".overflow-dropdown button", has_text=name)
    tab.click()


def finished(page: Page) -> None:
    """Wait for a run to end, which a link begins by itself."""
    page.wait_for_selector("#results", timeout=PATIENCE)
    expect(page.locator("#status")).to_contain_text("images,")
    expect(page.locator("#numbers .verdict")).to_be_visible()


def run(page: Page) -> None:
    page.click("#run")
    expect(page.locator("#results")).to_be_hidden()
    finished(page)


def typed(page: Page, field: str, text: str) -> None:
    """As by hand: Gradio's fields for text do not tell of what is put in at one stroke."""
    page.locator(field).press("Control+a")
    page.locator(field).press("Delete")
    page.locator(field).press_sequentially(text)


def bytes_of(page: Page, image: str) -> bytes:
    return page.request.get(page.evaluate(f"document.querySelector('{image}').src")).body()


def open_advanced(page: Page) -> None:
    if not page.locator("#seed").is_visible():
        page.get_by_role("button", name="Advanced").click()


def shown_link(page: Page) -> str:
    page.click("#copy-link")
    field = page.locator("#link textarea, #link input")
    expect(field).to_have_value(re.compile("model="))
    page.wait_for_timeout(1000)  # where a link stood already, for the new one
    return field.input_value()


def test_a_run_from_start_to_files(opened):
    """One visit: a link runs at once, the result is the library's, and every view of it works."""
    page = opened("?model=tiny&method=langevin&eps=0.02&n_steps=20&num_images=9&seed=3&ratio=raw")
    finished(page)
    result = ebm_refine.refine("tiny", "langevin", 0.02, 20, 9, 3, ratio="raw")

    # Sharp pixels, and the exact images.
    expect(page.locator("#after img")).to_have_attribute("alt", re.compile("20 steps.*tiny.*seed 3"))
    assert page.evaluate("getComputedStyle(document.querySelector('#after img')).imageRendering") == "pixelated"
    assert page.locator("#after img").bounding_box()["width"] / 3 >= 64
    for name, images in (("before", result.before), ("after", result.after)):
        shown = np.asarray(Image.open(io.BytesIO(bytes_of(page, f"#{name} img"))).convert("RGB"))
        assert np.array_equal(shown, np.asarray(render.grid(images)))

    # Numbers in words, and never the energy as a verdict.
    verdict = page.inner_text("#numbers .verdict")
    assert "9 images" in verdict
    assert "energy" not in verdict.lower()
    assert "real against real" in page.inner_text("#measured")
    page.wait_for_selector("#energy-plot svg, #energy-plot canvas")

    # The recorded chain is fetched once somebody looks at it: scrub, play, pause.
    page.get_by_role("button", name="Film", exact=True).click()
    canvas = page.locator(".view-film canvas")
    expect(canvas).to_have_attribute("data-frame", re.compile(r"\d+"))
    page.locator(".view-film .scrub").fill("0")
    expect(canvas).to_have_attribute("data-frame", "0")
    expect(page.locator(".view-film .where")).to_have_text("step 0 of 20")
    page.click(".view-film .play")
    page.wait_for_function("Number(document.querySelector('.view-film canvas').dataset.frame) > 1")
    page.click(".view-film .play")
    at = canvas.get_attribute("data-frame")
    page.wait_for_timeout(400)
    assert canvas.get_attribute("data-frame") == at
    page.get_by_role("button", name="Side by side").click()

    # One image: by a click on its tile, which shows its answer, and by its number.
    box = page.locator("#after img").bounding_box()
    page.locator("#after img").click(position={"x": box["width"] * 0.5, "y": box["height"] * 0.9})
    words = f"energy {result.energy_before[7]:.2f} → {result.energy_after[7]:.2f}"
    expect(page.locator("#tile-words")).to_contain_text(f"Image 7: {words}")
    expect(page.locator("#tile-film .where")).to_have_text("step 20 of 20")
    page.wait_for_function("document.querySelector('#tile-film').getBoundingClientRect().bottom <= innerHeight + 1")
    page.wait_for_selector("#tile-ratio svg, #tile-ratio canvas")
    typed(page, "#tile-number input", "5")
    expect(page.locator("#tile-words")).to_contain_text("Image 5: ")
    typed(page, "#tile-number input", "99")
    page.locator("#tile-number input").press("Enter")
    expect(page.locator("body")).to_contain_text("image number must be a whole number from 0 to 8; got 99")

    # The divider, the scores and the order.
    page.get_by_role("button", name="Divider").click()
    assert page.evaluate("getComputedStyle(document.querySelector('#divider .over')).imageRendering") == "pixelated"
    page.locator("#divider .cut").fill("20")
    assert "20%" in page.evaluate("document.querySelector('#divider .over').style.clipPath")
    page.get_by_role("button", name="Side by side").click()
    plain = page.locator("#after img").get_attribute("src")
    page.get_by_label("Show the score r").check()
    expect(page.locator("#after img")).not_to_have_attribute("src", plain)
    captioned = page.locator("#after img").get_attribute("src")
    page.locator("#order input").click()
    page.get_by_role("option", name="energy after: lowest first").click()
    expect(page.locator("#after img")).not_to_have_attribute("src", captioned)
    lowest = int(result.energy_after.argmin())
    assert lowest != 5  # or the next sentence would be there already
    page.locator("#after img").click(position={"x": 20, "y": 20})
    expect(page.locator("#tile-words")).to_contain_text(f"Image {lowest}: ")

    # Files.
    page.get_by_role("tab", name="Files and code").click()
    with page.expect_download() as download:
        page.click("#bundle")
    with zipfile.ZipFile(download.value.path()) as archive:
        settings = json.loads(archive.read("settings.json"))
        assert settings.pop("environment").keys() == result.environment.keys()
        assert settings == result.settings.as_dict()
    page.click("#animate")
    with page.expect_download() as download:
        page.click("#animation")
    assert Image.open(download.value.path()).n_frames > 5

    # The link reopens these settings, as does the address.
    link = shown_link(page)
    assert page.url.partition("#")[0] == link
    again = opened("?" + link.partition("?")[2])
    finished(again)
    assert shown_link(again) == link
    open_advanced(again)
    assert again.input_value("#seed input") == "3"


def test_frames_arrive_and_stop_acts_within_half_a_second(opened):
    page = opened("?model=tiny&n_steps=10000&num_images=4")
    page.evaluate(COUNT_FRAMES)
    page.wait_for_function("window.frames_seen.size >= 5")
    expect(page.locator("#status")).to_contain_text("of 10000")
    took = []
    for _ in range(3):  # the best of three: a machine that is busy elsewhere is not what is tested
        assert seconds_until(lambda: workers() == 1, 30) < 30
        page.click("#stop")
        took.append(seconds_until(lambda: workers() == 0, 30))
        expect(page.locator("#status")).to_contain_text("Stopped.")
        if took[-1] < 0.5:
            break
        page.click("#run")
    assert min(took) < 0.5
    page.wait_for_timeout(500)
    expect(page.locator("#status")).to_contain_text("Stopped.")


def test_closing_the_tab_ends_the_work(opened):
    page = opened("?model=tiny&n_steps=10000&num_images=4")
    page.evaluate(COUNT_FRAMES)
    page.wait_for_function("window.frames_seen.size >= 2")
    assert workers() == 1
    page.close()
    assert seconds_until(lambda: workers() == 0, 5) < 1.0


def test_exact_eps_and_its_slider_follow_each_other(desk):
    page = desk
    typed(page, "#eps input", "0.00000037")
    page.locator("#eps input").blur()
    slider = page.locator("#eps-slider input[type=range]")
    page.wait_for_function("Math.abs(Number(document.querySelector('#eps-slider input[type=range]').value) + 6.43) < 0.05")
    assert "eps=3.7e-07" in shown_link(page)
    slider.fill("-3")
    page.wait_for_function("document.querySelector('#eps input').value === '0.001'")
    # Emptied, every field leaves its value to the method or the checkpoint, and the link and the run are fine.
    open_advanced(page)
    for field in ("#eps input", "#seed input", "#n-steps input[type=number]", "#num-images input[type=number]"):
        typed(page, field, "")
        page.locator(field).blur()
    for field in page.locator("#options input").all():
        field.fill("")
    link = shown_link(page)
    assert "eps=0.05" in link
    assert "seed=0" in link
    run(page)
    assert page.locator("[data-testid=toast-body]").count() == 0


def test_presets_repeat_the_known_experiments(desk):
    page = desk
    open_advanced(page)
    # Touched and left, the field asks for nothing.
    page.get_by_label("Preset").click()
    page.keyboard.press("Escape")
    page.get_by_label("Preset").blur()
    page.wait_for_timeout(500)
    assert page.locator("[data-testid=toast-body]").count() == 0
    page.get_by_label("Preset").click()
    titles = page.get_by_role("option").all_inner_texts()
    for title in ("N = 10, eps = 1e-1", "N = 10, eps = 1e-7", "N = 15, eps = 1e-7", "Extreme walk: N = 150, eps = 1e-1"):
        assert any(title in one for one in titles)
    page.get_by_role("option", name="Gentle walk: N = 150, eps = 1e-4").click()
    page.wait_for_function("document.querySelector('#eps input').value === '0.0001'")
    page.click("#copy-link")
    expect(page.locator("#link textarea, #link input")).to_have_value(re.compile("eps=0.0001&n_steps=150"))


def test_only_the_methods_own_controls_are_shown(desk):
    page = desk
    open_advanced(page)
    for method in METHODS.values():
        if "pair" not in method.kinds:
            continue
        page.get_by_label("Method", exact=True).click()
        page.get_by_role("option", name=method.title, exact=True).click()
        expect(page.get_by_label("Method", exact=True)).to_have_value(method.title)
        expect(page.get_by_text(method.summary)).to_be_visible()
        assert page.locator("#eps").is_visible() == ("eps" in method.uses)
        own = method.uses - {"eps", "n_steps"}
        names = "[...document.querySelectorAll('#options :is(input, select)')].map((one) => one.name)"
        expect(page.locator("#options :is(input, select)")).to_have_count(len(own) + 1)
        assert set(page.evaluate(names)) == own | {"beta"}


def test_bad_input_is_one_sentence_and_text_stays_text(opened):
    page = opened("?model=tiny&seed=<img src=x onerror=alert(1)>")
    expect(page.locator("body")).to_contain_text("The link's settings were not used: seed must be a whole number")
    expect(page.locator("body")).to_contain_text("<img src=x onerror=alert(1)>")
    assert page.locator("img[src=x]").count() == 0
    open_advanced(page)
    typed(page, "#seed input", "-5")
    page.click("#run")
    expect(page.locator("body")).to_contain_text("seed must be a whole number from 0 to 4294967295; got -5")
    # It stands where it was typed as well, until something else is typed.
    expect(page.locator("#seed .wrong")).to_have_text("seed must be a whole number from 0 to 4294967295; got -5")
    typed(page, "#seed input", "5")
    expect(page.locator(".wrong")).to_have_count(0)
    # Also of a setting of the method alone, and after its fold was closed.
    page.locator("#options [name=beta]").fill("-1")
    page.get_by_role("button", name="Advanced").click()
    page.click("#run")
    expect(page.locator("#options .wrong")).to_contain_text("beta must be a number from 0")
    expect(page.locator("#options .wrong")).to_be_visible()
    # What concerns several fields stands with the button, until one of them is changed.
    page.locator("#options [name=beta]").fill("1")
    page.locator("#num-images input[type=number]").fill("256")
    page.locator("#n-steps input[type=number]").fill("200")
    page.click("#run")
    expect(page.locator("#run-bar .wrong")).to_contain_text("num_images x n_steps must be at most")
    expect(page.locator(".wrong")).to_have_count(1)
    page.locator("#n-steps input[type=number]").fill("2")
    expect(page.locator(".wrong")).to_have_count(0)
    # A name of two words is a field too.
    page.locator("#num-images input[type=number]").fill("3")
    page.click("#run")
    page.wait_for_selector("#results")
    page.get_by_role("tab", name="One image").click()
    typed(page, "#tile-number input", "99")
    expect(page.locator("#tile-number .wrong")).to_have_text("image number must be a whole number from 0 to 2; got 99")


def test_snippets_run_as_they_stand(opened, address, tmp_path):
    page = opened("?model=tiny&n_steps=2&num_images=3&seed=4&beta=0.5&eps=0.001")
    finished(page)
    page.get_by_role("tab", name="Files and code").click()
    page.click("#to-code")
    expect(page.locator("#snippet-client code")).to_contain_text("seed=4")
    code = {name: page.locator(f"#snippet-{name} code").inner_text() for name in ("client", "library", "cli", "curl")}
    got: dict[str, Any] = {}
    exec(code["client"], got)
    assert got["metrics"]["settings"]["beta"] == 0.5
    assert got["metrics"]["settings"]["seed"] == 4
    exec(code["library"].replace('"out"', repr(str(tmp_path / "library"))), got)
    assert got["result"].settings.as_dict() == got["metrics"]["settings"]
    from ebm_refine.cli import main

    words = code["cli"].replace("\\\n", " ").split()
    assert words[:4] == ["python", "-m", "ebm_refine", "refine"]
    assert main([*words[3:-1], str(tmp_path / "cli")]) == 0
    assert (tmp_path / "cli" / "samples.npz").read_bytes() == (tmp_path / "library" / "samples.npz").read_bytes()
    if shutil.which("curl"):
        answer = subprocess.run(["bash", "-c", code["curl"]], capture_output=True, text=True, timeout=60).stdout
        assert "event: complete" in answer


def test_phone(opened):
    page = opened("?model=tiny&n_steps=3&num_images=4&__theme=dark", viewport={"width": 390, "height": 844})
    assert page.evaluate("document.body.classList.contains('dark')")
    finished(page)
    assert page.locator("#numbers .verdict").bounding_box()["y"] + page.evaluate("scrollY") <= 2.5 * 844
    bar = page.locator("#run").bounding_box()  # in reach wherever the page is scrolled to
    assert bar["y"] + bar["height"] <= 844
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.evaluate("document.body.classList.remove('dark')")
    pictures = "[...document.querySelectorAll('img, canvas')].filter(one => one.offsetParent && !one.alt && !one.ariaLabel)"
    for _ in in_both_themes(page):
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    open_tab(page, "One image")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator("#tile-film").bounding_box()["width"] >= 260
    assert page.evaluate(f"{pictures}.map(one => one.outerHTML.slice(0, 200))") == []


def test_the_embedded_models(opened):
    """The real page, as `python app.py` serves it."""
    names = [model.name for model in ebm_refine.list_models() if model.methods]
    if not names:
        pytest.skip("no model is embedded")
    with served() as address:
        page = opened(f"?model={names[0]}&n_steps=2&num_images=4", base=address)
        finished(page)
        page.wait_for_timeout(1000)  # for requests that a result may still cause; the page keeps one open for good
        page.close()
