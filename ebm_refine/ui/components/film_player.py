"""A film player for the browser: one strip of frames, a canvas that shows one of them, play, pause and a scrub bar."""

import json
from typing import Any

import gradio as gr

from ebm_refine.ui.runtime.pictures import script

# The one scrub bar of the page; `Scrub` in assets/page.js moves it.
SCRUB_BAR = """
<div class="bar">
  <button type="button" class="play" aria-label="Play">▶</button>
  <input type="range" class="scrub" min="0" max="0" value="0" step="1" aria-label="Frame of the recorded chain">
  <output class="where"></output>
</div>"""
_TEMPLATE = f"""<div class="player" hidden><canvas role="img" aria-label=""></canvas>{SCRUB_BAR}</div>"""


def player(**options: Any) -> gr.HTML:
    """A component that plays what `film` makes. Everything happens in the browser, so scrubbing costs the server nothing."""
    return gr.HTML(
        value=None, html_template=_TEMPLATE, js_on_load="page.player(element, props, watch);", head=script("page.js"),
        apply_default_css=False, **options,
    )  # fmt: skip


def film(source: str, steps: list[int], label: str) -> str:
    """The value of a player: the address of the strip, the chain's step at each frame, and what a screen reader says."""
    return json.dumps({"src": source, "steps": steps, "label": label}, separators=(",", ":"))
