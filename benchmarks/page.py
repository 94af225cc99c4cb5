"""What the page costs its visitor: start, HTML, requests, bytes and time of a run, a slow browser, scrolling on a phone.

The first visitor's Run on the bare page comes first, before the server has read a model.

`python benchmarks/page.py --out benchmarks/results/page.json` measures the working tree, `--tree FOLDER` another one, whose
page is driven in the same way. Needs chromium and Playwright. Times are of this machine and its other work; bytes are exact.
"""

import argparse
import gzip
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

HERE = Path(__file__).resolve().parents[1]
# The same run for both: the digits' default, by the link where the model is not the page's first.
MODEL, SLOWER, PATIENCE = "mnist-gan", 4, 180_000
# Measured by the browser's own clock: the time that Playwright needs to aim a click and to look again is nobody's.
WATCH = """() => {
  document.querySelectorAll('#numbers .verdict').forEach((one) => one.classList.add('old'));
  let clicked;
  document.querySelector('#run').addEventListener('click', () => { clicked = performance.now(); }, {capture: true, once: true});
  const changes = new MutationObserver(() => {
    const there = document.querySelector('#before img[src]') && document.querySelector('#numbers .verdict:not(.old)');
    if (clicked === undefined || !there) return;
    changes.disconnect();
    // The second frame after a change begins when the first one has been drawn.
    const drawn = () => { window.seconds = (performance.now() - clicked) / 1000; };
    requestAnimationFrame(() => requestAnimationFrame(drawn));
  });
  changes.observe(document.body, {subtree: true, childList: true, attributes: true});
}"""


def served(tree: Path, port: int) -> tuple[subprocess.Popen[bytes], float]:
    """`python app.py` of a checkout, and the seconds until it answers with a page."""
    began = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(tree), "GRADIO_SERVER_PORT": str(port)}
    server = subprocess.Popen([sys.executable, "app.py"], cwd=tree, env=environment, stdout=subprocess.DEVNULL)
    while True:
        if server.poll() is not None:
            raise SystemExit(f"the page of {tree} did not start")
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/").read(1)
        except OSError:
            time.sleep(0.05)
        else:
            return server, time.monotonic() - began


def html_bytes(address: str) -> dict[str, int]:
    """Of the first page: as it is, and as it travels to a browser that takes compressed pages."""
    plain = urllib.request.urlopen(address).read()
    asked = urllib.request.urlopen(urllib.request.Request(address, headers={"Accept-Encoding": "gzip"}))
    sent = asked.read()
    text = gzip.decompress(sent) if asked.headers.get("Content-Encoding") == "gzip" else plain
    return {"html_bytes": len(text), "html_bytes_sent": len(sent)}


def counted(page: Page) -> dict[str, float]:
    """Counts the page's requests and the bytes of their bodies as they travel."""
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    counts = {"requests": 0.0, "bytes": 0.0}

    def received(event: dict[str, Any]) -> None:
        counts["bytes"] += max(event.get("encodedDataLength", 0), 0)

    session.on("Network.requestWillBeSent", lambda event: counts.__setitem__("requests", counts["requests"] + 1))
    # A stream that stays open has no end: its pieces are counted as they come, everything else is of such pieces too.
    session.on("Network.dataReceived", received)
    return counts


def loaded(browser: Browser, address: str, slower: int = 1) -> dict[str, float]:
    """Seconds until Run is seen in a fresh browser, and the seconds that its main thread worked for it."""
    page = browser.new_context(viewport={"width": 1366, "height": 768}).new_page()
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    if slower > 1:
        session.send("Emulation.setCPUThrottlingRate", {"rate": slower})
    counts, began = counted(page), time.monotonic()
    page.goto(address, wait_until="commit")
    page.wait_for_selector("#run", state="visible", timeout=PATIENCE)
    seen = time.monotonic() - began
    page.wait_for_timeout(2000)
    work = {entry["name"]: entry["value"] for entry in session.send("Performance.getMetrics")["metrics"]}["TaskDuration"]
    page.context.close()
    return {"run_visible_s": seen, "main_thread_s": work, **counts}


def run_once(browser: Browser, address: str) -> dict[str, float]:
    """One run by its button: seconds from the click to the frame that shows the verdict, and what travelled meanwhile."""
    page = browser.new_context(viewport={"width": 1366, "height": 768}).new_page()
    page.goto(f"{address}?model={MODEL}&seed=1")
    page.wait_for_selector("#run", timeout=PATIENCE)
    # The new page runs a link at once; what is measured is a second run by hand, when all is warm.
    page.wait_for_timeout(1000)
    if page.locator("#measured, .stage").count():
        page.wait_for_selector("#results", timeout=PATIENCE)
        page.wait_for_timeout(1500)
    page.evaluate(WATCH)
    counts = counted(page)
    page.click("#run")
    page.wait_for_function("() => window.seconds !== undefined", timeout=PATIENCE)
    seconds = page.evaluate("window.seconds")
    page.wait_for_timeout(2000)
    page.context.close()
    return {"run_s": seconds, "run_bytes": counts["bytes"], "run_requests": counts["requests"]}


def first_minute(browser: Browser, address: str) -> dict[str, float] | None:
    """The bare page and Run: seconds to the first pictures and to the verdict. None of pages that begin without a result."""
    page = browser.new_context(viewport={"width": 1366, "height": 768}).new_page()
    page.goto(address)
    page.wait_for_selector("#run", timeout=PATIENCE)
    page.wait_for_timeout(2000)
    if not page.locator("#numbers .verdict").count():
        page.context.close()
        return None
    began = time.monotonic()
    page.click("#run")
    # What ships with the page has names of its own; a run's pictures lie on the shelf.
    page.wait_for_selector("#before img[src*='shown/']", timeout=PATIENCE)
    pictures = time.monotonic() - began
    page.wait_for_selector("#results", timeout=PATIENCE)
    page.wait_for_selector("#numbers .verdict", timeout=PATIENCE)
    verdict = time.monotonic() - began
    page.context.close()
    return {"pictures_s": pictures, "verdict_s": verdict}


def over_the_api(address: str) -> float:
    """Seconds of the same run over HTTP, its files fetched."""
    from gradio_client import Client

    client = Client(address, verbose=False, analytics_enabled=False)
    began = time.monotonic()
    client.predict(MODEL, seed=1, api_name="/refine")
    return time.monotonic() - began


def scroll_on_a_phone(browser: Browser, address: str) -> float:
    """Screens from the top of the page to the verdict, at 390 x 844."""
    page = browser.new_context(viewport={"width": 390, "height": 844}).new_page()
    page.goto(address)
    page.wait_for_selector("#run", timeout=PATIENCE)
    page.wait_for_timeout(2000)
    if not page.locator("#numbers .verdict").count():  # a page that begins without a result
        page.goto(f"{address}?model={MODEL}")
        page.click("#run")
    page.wait_for_selector("#numbers .verdict", timeout=PATIENCE)
    top = page.evaluate("document.querySelector('#numbers .verdict').getBoundingClientRect().top + scrollY")
    page.context.close()
    return top / 844


def measured(tree: Path, port: int, repeats: int) -> dict[str, Any]:
    server, start = served(tree, port)
    address = f"http://127.0.0.1:{port}/"
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            visitor = first_minute(browser, address)  # the first visitor's, which reads the model
            over_the_api(address)
            minutes = [first_minute(browser, address) for _ in range(repeats)] if visitor else []
            fast = [loaded(browser, address) for _ in range(repeats)]
            slow = [loaded(browser, address, SLOWER) for _ in range(repeats)]
            runs = [run_once(browser, address) for _ in range(repeats)]
            calls = [over_the_api(address) for _ in range(repeats)]
            screens, html = scroll_on_a_phone(browser, address), html_bytes(address)
            browser.close()
    finally:
        server.kill()
    best = {name: min(one[name] for one in fast) for name in fast[0]}
    page_s, api_s = statistics.median(one["run_s"] for one in runs), statistics.median(calls)
    firsts = {f"first_{name}": round(value, 2) for name, value in (visitor or {}).items()}
    later = {name: round(statistics.median(one[name] for one in minutes if one), 2) for name in visitor or {}}
    return {
        "start_s": round(start, 2),
        **html,
        "requests": best["requests"],
        "load_bytes": best["bytes"],
        "run_visible_s": round(best["run_visible_s"], 2),
        "run_visible_slowed_s": round(min(one["run_visible_s"] for one in slow), 2),
        "main_thread_slowed_s": round(min(one["main_thread_s"] for one in slow), 2),
        "run_bytes": min(one["run_bytes"] for one in runs),
        "run_s": round(page_s, 2),
        "api_s": round(api_s, 2),
        "page_over_api": round(page_s / api_s, 2),
        **firsts,
        **later,
        "phone_screens_to_verdict": round(screens, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tree", type=Path, default=HERE, help="the checkout that is measured")
    parser.add_argument("--name", default="after", help="under which its figures are filed")
    parser.add_argument("--port", type=int, default=7931)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True, help="what other names hold there stays")
    chosen = parser.parse_args()
    found = json.loads(chosen.out.read_text()) if chosen.out.is_file() else {}
    found[chosen.name] = measured(chosen.tree, chosen.port, chosen.repeats)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=chosen.tree, capture_output=True, text=True).stdout
    found[chosen.name] |= {"commit": commit.strip(), "repeats": chosen.repeats, "processor": platform.processor() or "x86_64"}
    chosen.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found[chosen.name], indent=1))


if __name__ == "__main__":
    main()
