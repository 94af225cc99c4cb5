"""A canvas to write on: a pen for mouse, touch and stylus, undo and clear. Its value is the drawing as a PNG's data address.

Gradio's own sketchpad is an image editor: a visitor has to choose a tool first and may zoom the canvas out of sight, and the
browser complains of its shaders. Here there is nothing to do but write.
"""

from typing import Any

import gradio as gr

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

_CSS = """
canvas { width: 100%; height: auto; display: block; background: #fff; border-radius: 6px; touch-action: none; cursor: crosshair;
         border: 1px solid var(--border-color-primary); }
.bar { display: flex; gap: 0.5rem; align-items: center; margin-top: 0.5rem; }
.bar span { flex: 1; color: var(--body-text-color-subdued); }
button { padding: 0.25rem 0.7rem; border-radius: 6px; background: var(--button-secondary-background-fill);
         color: var(--button-secondary-text-color); border: 1px solid var(--border-color-primary); cursor: pointer; }
"""

# The template is drawn anew when the value changes, so the canvas is looked up when needed and the strokes are kept here.
_SCRIPT = """
const strokes = [];
let writing = null;
const canvas = () => element.querySelector('canvas');
function draw() {
  const surface = canvas();
  if (!surface) return;
  const pen = surface.getContext('2d');
  pen.fillStyle = '#fff';
  pen.fillRect(0, 0, surface.width, surface.height);
  pen.strokeStyle = pen.fillStyle = '#000';
  pen.lineWidth = surface.height * PEN; pen.lineCap = pen.lineJoin = 'round';
  for (const stroke of strokes) {
    pen.beginPath();
    pen.moveTo(...stroke[0]);
    for (const point of stroke) pen.lineTo(...point);
    pen.stroke();
  }
}
function tell() {
  draw();
  props.value = strokes.length ? canvas().toDataURL('image/png') : '';
  requestAnimationFrame(draw);
  trigger('input');
}
function at(event) {
  const surface = canvas(), box = surface.getBoundingClientRect();
  return [(event.clientX - box.left) * surface.width / box.width, (event.clientY - box.top) * surface.height / box.height];
}
element.addEventListener('pointerdown', (event) => {
  if (event.target !== canvas()) return;
  event.preventDefault();
  canvas().setPointerCapture(event.pointerId);
  writing = [at(event)];
  strokes.push(writing);
  draw();
});
element.addEventListener('pointermove', (event) => {
  if (writing) { writing.push(at(event)); draw(); }
});
for (const end of ['pointerup', 'pointercancel']) {
  element.addEventListener(end, () => { if (writing) { writing = null; tell(); } });
}
element.addEventListener('click', (event) => {
  if (event.target.closest('.undo')) strokes.pop();
  else if (event.target.closest('.clear')) strokes.length = 0;
  else return;
  tell();
});
watch('value', draw);
draw();
"""


def sketch(label: str, width: int, height: int, pen: float, **options: Any) -> gr.HTML:
    """A white canvas of `width` x `height` pixels and a black pen, `pen` of the height wide; `input` tells of every stroke."""
    template = _TEMPLATE.format(width=width, height=height, label=label)
    script = _SCRIPT.replace("PEN", str(pen))
    return gr.HTML("", html_template=template, css_template=_CSS, js_on_load=script, apply_default_css=False, **options)
