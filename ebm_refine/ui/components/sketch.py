"""A canvas to write on: a pen for mouse, touch and stylus, undo and clear. Its value is the drawing as a PNG's data address.

Gradio's own sketchpad is an image editor: a visitor has to choose a tool first and may zoom the canvas out of sight, and the
browser complains of its shaders. Here there is nothing to do but write.
"""

from typing import Any

import gradio as gr

from ebm_refine.ui.runtime.pictures import script

_TEMPLATE = """
<div class="sketch">
  <canvas width="{width}" height="{height}" role="img" aria-label="{label}"></canvas>
  <div class="bar">
    <span>{label}</span>
    <button type="button" class="undo">Undo</button>
    <button type="button" class="clear">Clear</button>
  </div>
</div>
"""


def sketch(label: str, width: int, height: int, pen: float, **options: Any) -> gr.HTML:
    """A white canvas of `width` x `height` pixels and a black pen, `pen` of the height wide; `input` tells of every stroke."""
    return gr.HTML(
        "", html_template=_TEMPLATE.format(width=width, height=height, label=label), apply_default_css=False, pen=pen,
        js_on_load="page.sketch(element, props, watch, trigger);", head=script("page.js") + script("sketch.js"), **options,
    )  # fmt: skip
