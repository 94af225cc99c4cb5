"""A result to look at: its film, before and after under a divider, or both grids side by side, with the tiles to click."""

import json
from typing import Any, NamedTuple

import gradio as gr

from ebm_refine.render import Layout
from ebm_refine.ui.components.film_player import SCRUB_BAR
from ebm_refine.ui.runtime.pictures import script

MODES = {"film": "Film", "divider": "Divider", "sides": "Side by side"}
_MODE = '<button type="button" data-mode="{}" aria-pressed="false">{}</button>'
_MODES = "".join(_MODE.format(mode, title) for mode, title in MODES.items())
_TEMPLATE = f"""
<div class="stage" hidden>
  <div class="modes" role="group" aria-label="How to look at the result">{_MODES}</div>
  <div class="view-film" data-view="film" hidden><canvas role="img" aria-label=""></canvas>{SCRUB_BAR}</div>
  <div class="view-divider" data-view="divider" id="divider" hidden>
    <div class="halves"><img class="under" alt=""><img class="over" alt=""><span class="line"></span></div>
    <input type="range" class="cut" min="0" max="100" value="50" aria-label="Where before ends and after begins">
    <div class="ends"><span>before</span><span>after</span></div>
  </div>
  <div class="sides" data-view="sides" hidden>
    <figure class="side-before" id="before"><figcaption></figcaption><img alt=""></figure>
    <figure class="side-after" id="after"><figcaption></figcaption><img alt=""></figure>
  </div>
</div>
"""


class Shown(NamedTuple):
    """One grid: where it is fetched, what stands above it, and what a screen reader says."""

    src: str
    label: str
    alt: str


class Strip(NamedTuple):
    """A film: where its strip is fetched, the step at each frame, and what a screen reader says."""

    src: str
    steps: list[int]
    label: str


def stage(value: str | None = None, **options: Any) -> gr.HTML:
    """A component that shows what `view` and `running` make; `select` tells which tile was clicked. One on a page."""
    return gr.HTML(
        value, html_template=_TEMPLATE, js_on_load="page.stage(element, props, watch, trigger);",
        head=script("page.js") + script("stage.js"), apply_default_css=False, elem_id="stage", **options,
    )  # fmt: skip


def view(
    before: Shown, after: Shown, layout: Layout | None, film: Strip | None, mode: str = "sides", first: bool = False
) -> str:
    """A finished result. `first`: shown in `mode` whatever the visitor chose before."""
    tiles = None
    if layout is not None:
        tiles = {"columns": layout.columns, "count": layout.tiles, "pitch_x": layout.pitch_x, "pitch_y": layout.pitch_y}
    return _value(before, after, tiles=tiles, film=None if film is None else film._asdict(), mode=mode, first=first, live=False)


def running(before: Shown, after: Shown) -> str:
    """A moment of a running chain."""
    return _value(before, after, tiles=None, film=None, mode="sides", first=False, live=True)


def _value(before: Shown, after: Shown, **more: Any) -> str:
    # One string, which Gradio's page copies at once at every message of a run.
    return json.dumps({"before": before._asdict(), "after": after._asdict(), **more}, separators=(",", ":"))
