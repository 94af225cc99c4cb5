"""The README's picture: the page after its first Run, in Chromium.

python benchmarks/picture.py [--out docs/page.png]
"""

import argparse
import io
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from ebm_refine.ui import build, launch

PATIENCE = 180_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/page.png"))
    chosen = parser.parse_args()
    demo = build()
    _, address, _ = launch(demo, server_name="127.0.0.1", quiet=True, prevent_thread_lock=True)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"])
        page = chromium.new_page(viewport={"width": 1366, "height": 762})
        page.set_default_timeout(PATIENCE)
        page.goto(f"{address}?__theme=light")
        page.click("#run")
        page.wait_for_selector("#results")
        page.wait_for_selector("#numbers .verdict")
        page.mouse.move(5, 5)
        page.wait_for_timeout(2000)
        shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        chromium.close()
    demo.close()
    # 64 colours are enough for a page, and a quarter of the bytes.
    shot.quantize(64, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(chosen.out, optimize=True)


if __name__ == "__main__":
    main()
