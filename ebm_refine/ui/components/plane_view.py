"""The plane in the browser: energy, field, data and moving particles as layers that can be switched, played and scrubbed.

One canvas a window (data, and latents where a model has them), one bar for both. Everything moves in the browser: playing,
scrubbing and switching layers cost the server nothing.
"""

import json
from typing import Any

import gradio as gr
from torch import Tensor

from ebm_refine import render
from ebm_refine.toy2d import plane_pictures as plane
from ebm_refine.toy2d.landscape import Landscape
from ebm_refine.ui.components.film_player import SCRUB_BAR
from ebm_refine.ui.runtime.pictures import script

# Positions travel as whole numbers of this many parts of the window; assets/plane.js has the same number.
PARTS = 4000
LAYERS = {
    "shade": "energy",
    "contours": "contours",
    "field": "field",
    "data": "data",
    "before": "before",
    "particles": "particles",
    "trails": "trails",
    "proposals": "proposals",
}

_TEMPLATE = f"""
<div class="plane" hidden>
  <div class="layers" role="group" aria-label="Layers">
    {
    "".join(
        f'<label class="{name}"><input type="checkbox" data-layer="{name}"><i></i>{words}</label>'
        for name, words in LAYERS.items()
    )
}
  </div>
  <div class="windows"></div>
  {SCRUB_BAR}
</div>
"""


def plane_view(**options: Any) -> gr.HTML:
    """A component that shows what `scene` makes."""
    return gr.HTML(
        value=None, html_template=_TEMPLATE, js_on_load="page.plane(element, props, watch);",
        head=script("page.js") + script("plane.js"), apply_default_css=False, **options,
    )  # fmt: skip


def scene(windows: list[dict[str, Any]], steps: list[int], label: str) -> str:
    """The value of a view: windows that `window` made, with a frame for each of `steps`, and what a screen reader says.

    As JSON in one string: Gradio's page copies a component's value number by number at every message of a run, which for the
    thousands of a plane took it 0.4 s a message.
    """
    return json.dumps({"windows": windows, "steps": steps, "label": label}, separators=(",", ":"))


def window(
    ground: Landscape,
    frames: list[Tensor],
    data: Tensor | None = None,
    proposals: list[tuple[Tensor, Tensor] | None] | None = None,
) -> dict[str, Any]:
    """One canvas: an energy, `frames` of particles (K, 2), `data` (N, 2); for each frame, (positions, taken) of proposals."""
    offered = proposals or []
    return {
        "caption": ("data space: " if ground.window == "data" else "latent space: ") + ground.quantity,
        "shade": render.data_uri(plane.shade(ground.energy)),
        "contours": render.data_uri(plane.contours(ground.energy)),
        "field": _arrows(ground),
        "data": [] if data is None else _flat(data, ground.bounds),
        "frames": [_flat(points, ground.bounds) for points in frames],
        "proposals": [None if one is None else _flat(one[0], ground.bounds) for one in offered],
        "taken": [None if one is None else one[1].long().tolist() for one in offered],
    }


def _arrows(ground: Landscape) -> list[list[float]]:
    """[x, y, dx, dy]: middles in parts of the window, and arrows whose length grows with the logarithm of the field."""
    count = len(ground.field)
    size = ground.field.norm(dim=2, keepdim=True).nan_to_num(0.0, 0.0, 0.0)
    length = size.log1p() / size.log1p().max().clamp(min=1e-6) * 0.9 / count
    step = (ground.field / size.clamp(min=1e-12) * length).nan_to_num(0.0, 0.0, 0.0)
    return [
        [
            round((column + 0.5) / count * PARTS),
            round((row + 0.5) / count * PARTS),
            *(round(v, 4) for v in step[row, column].tolist()),
        ]
        for row in range(count)
        for column in range(count)
    ]


def _flat(points: Tensor, bounds: tuple[float, float]) -> list[int | None]:
    """x, y, x, y … in parts of the window; None for points that are not finite or have run far away."""
    low, high = bounds
    parts = (points.double() - low) / (high - low) * PARTS
    near = (parts.isfinite() & (parts.abs() < 10 * PARTS)).all(dim=1, keepdim=True).expand_as(parts)
    whole = parts.nan_to_num(0.0, 0.0, 0.0).clamp(-10 * PARTS, 10 * PARTS).round().long()
    return [value if seen else None for value, seen in zip(whole.flatten().tolist(), near.flatten().tolist(), strict=True)]
