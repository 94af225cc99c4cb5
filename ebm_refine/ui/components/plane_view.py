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

# Positions travel as whole numbers of this many parts of the window.
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
OFF = ("field", "trails")

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
  <div class="bar">
    <button type="button" class="play" aria-label="Play">▶</button>
    <input type="range" class="scrub" min="0" max="0" value="0" step="1" aria-label="Frame of the recorded chains">
    <output class="where"></output>
  </div>
</div>
"""

_CSS = """
.plane[hidden], .bar[hidden] { display: none; }
.layers { display: flex; flex-wrap: wrap; gap: 0.15rem 0.9rem; margin-bottom: 0.4rem; font-size: 0.9rem;
          color: var(--body-text-color); }
.layers label { display: inline-flex; align-items: center; gap: 0.3rem; cursor: pointer; }
.layers label[hidden] { display: none; }
.layers input { appearance: auto; margin: 0; accent-color: var(--color-accent); }
.layers i { width: 0.7rem; height: 0.7rem; border-radius: 50%; background: var(--body-text-color-subdued); }
.layers .shade i { background: #4f46e5; border-radius: 2px; } .layers .contours i { height: 2px; border-radius: 0; }
.layers .field i { height: 2px; border-radius: 0; background: var(--body-text-color); }
.layers .before i { background: #0ea5e9; } .layers .particles i, .layers .trails i { background: #ea580c; }
.layers .trails i { height: 2px; } .layers .proposals i { background: linear-gradient(90deg, #16a34a 50%, #dc2626 50%); }
.windows { display: flex; flex-wrap: wrap; gap: 0.8rem; }
.windows figure { flex: 1 1 260px; max-width: 520px; margin: 0; min-width: 0; }
.windows figcaption { color: var(--body-text-color-subdued); font-size: 0.88rem; margin-top: 0.2rem; }
canvas { width: 100%; aspect-ratio: 1; height: auto; display: block; border-radius: 6px;
         border: 1px solid var(--border-color-primary); background: var(--background-fill-primary); }
.bar { display: flex; gap: 0.6rem; align-items: center; margin-top: 0.5rem; }
.play { width: 2.4rem; height: 2.2rem; border-radius: 6px; background: var(--button-secondary-background-fill);
        color: var(--button-secondary-text-color); border: 1px solid var(--border-color-primary); cursor: pointer; }
.scrub { flex: 1; min-width: 3rem; accent-color: var(--color-accent); }
.where { min-width: 6.5rem; text-align: right; font-variant-numeric: tabular-nums; color: var(--body-text-color-subdued); }
"""

# The template is drawn anew with each value, so nodes are looked up when needed; what is switched on outlives it.
_SCRIPT = (
    f"const PARTS = {PARTS}, OFF = new Set({list(OFF)!r});\n"
    """
const find = (name) => element.querySelector(name);
const on = {};
let windows = [], steps = [], at = 0, timer = null;
function pause() {
  clearInterval(timer); timer = null;
  const play = find('.play');
  if (play) { play.textContent = '▶'; play.setAttribute('aria-label', 'Play'); }
}
function picture(uri) {
  if (!uri) return null;
  const image = new Image();
  image.onload = draw;
  image.src = uri;
  return image;
}
function dots(context, flat, size, radius, colour) {
  context.fillStyle = colour;
  for (let k = 0; k + 1 < flat.length; k += 2) {
    if (flat[k] === null) continue;
    context.beginPath();
    context.arc(flat[k] / PARTS * size, (1 - flat[k + 1] / PARTS) * size, radius, 0, 2 * Math.PI);
    context.fill();
  }
}
function arrows(context, field, size, colour) {
  context.strokeStyle = colour; context.lineWidth = size / 500; context.beginPath();
  for (const [x, y, dx, dy] of field) {
    const px = x / PARTS * size, py = (1 - y / PARTS) * size, qx = px + dx * size, qy = py - dy * size;
    const angle = Math.atan2(qy - py, qx - px), head = size / 110;
    context.moveTo(px, py); context.lineTo(qx, qy);
    for (const turn of [2.6, -2.6]) {
      context.moveTo(qx, qy); context.lineTo(qx + head * Math.cos(angle + turn), qy + head * Math.sin(angle + turn));
    }
  }
  context.stroke();
}
function trails(context, frames, size) {
  context.strokeStyle = '#ea580c66'; context.lineWidth = size / 450; context.beginPath();
  const last = frames[frames.length - 1];
  for (let k = 0; k + 1 < Math.min(last.length, 240); k += 2) {
    let drawn = false;
    for (const flat of frames) {
      if (flat[k] === null) { drawn = false; continue; }
      const px = flat[k] / PARTS * size, py = (1 - flat[k + 1] / PARTS) * size;
      if (drawn) context.lineTo(px, py); else context.moveTo(px, py);
      drawn = true;
    }
  }
  context.stroke();
}
function offers(context, flat, taken, size) {
  context.lineWidth = size / 320;
  const arm = size / 120;
  for (let k = 0; k + 1 < flat.length; k += 2) {
    if (flat[k] === null) continue;
    const px = flat[k] / PARTS * size, py = (1 - flat[k + 1] / PARTS) * size;
    context.strokeStyle = taken[k / 2] ? '#16a34a' : '#dc2626';
    context.beginPath();
    if (taken[k / 2]) context.arc(px, py, arm, 0, 2 * Math.PI);
    else {
      context.moveTo(px - arm, py - arm); context.lineTo(px + arm, py + arm);
      context.moveTo(px - arm, py + arm); context.lineTo(px + arm, py - arm);
    }
    context.stroke();
  }
}
function draw() {
  const style = getComputedStyle(element), ink = style.getPropertyValue('--body-text-color').trim() || '#888';
  windows.forEach((one, number) => {
    const canvas = element.querySelectorAll('canvas')[number];
    if (!canvas) return;
    const size = Math.max(200, Math.round(canvas.clientWidth * (window.devicePixelRatio || 1)));
    if (canvas.width !== size) { canvas.width = size; canvas.height = size; }
    const context = canvas.getContext('2d'), dot = size / 240;
    context.clearRect(0, 0, size, size);
    for (const name of ['shade', 'contours']) {
      const image = one.images[name];
      if (on[name] && image && image.complete && image.naturalWidth) context.drawImage(image, 0, 0, size, size);
    }
    if (on.field) arrows(context, one.field, size, ink);
    context.globalAlpha = 0.45;
    if (on.data) dots(context, one.data, size, dot * 0.8, ink);
    context.globalAlpha = 0.8;
    if (on.before && one.frames.length) dots(context, one.frames[0], size, dot * 0.9, '#0ea5e9');
    context.globalAlpha = 1;
    const frame = Math.min(at, one.frames.length - 1);
    if (on.trails && frame > 0) trails(context, one.frames.slice(Math.max(0, frame - 12), frame + 1), size);
    if (on.particles && frame >= 0) dots(context, one.frames[frame], size, dot, '#ea580c');
    if (on.proposals && one.proposals[frame]) offers(context, one.proposals[frame], one.taken[frame], size);
    canvas.dataset.frame = at;
  });
}
function show(frame) {
  at = Math.max(0, Math.min(steps.length - 1, frame));
  const scrub = find('.scrub'), where = find('.where');
  if (!scrub) return;
  scrub.value = at;
  where.textContent = steps.length ? 'step ' + steps[at] + ' of ' + steps[steps.length - 1] : '';
  draw();
}
function load() {
  pause();
  const value = props.value ? JSON.parse(props.value) : null, whole = find('.plane');
  if (!whole) return;
  whole.hidden = !value;
  if (whole.hidden) { windows = []; return; }
  steps = value.steps;
  windows = value.windows.map((one) => ({
    ...one, images: { shade: picture(one.shade), contours: picture(one.contours) },
  }));
  const some = {
    shade: windows.some((one) => one.shade), contours: windows.some((one) => one.contours),
    field: windows.some((one) => one.field.length), data: windows.some((one) => one.data.length),
    before: steps.length > 1, particles: windows.some((one) => one.frames.length), trails: steps.length > 1,
    proposals: windows.some((one) => one.proposals.some((flat) => flat)),
  };
  for (const box of element.querySelectorAll('[data-layer]')) {
    const layer = box.dataset.layer;
    if (!(layer in on)) on[layer] = !OFF.has(layer);
    box.checked = on[layer];
    box.closest('label').hidden = !some[layer];
  }
  const place = find('.windows');
  place.replaceChildren(...windows.map((one) => {
    const figure = document.createElement('figure'), canvas = document.createElement('canvas');
    const caption = document.createElement('figcaption');
    canvas.setAttribute('role', 'img');
    canvas.setAttribute('aria-label', one.caption + '. ' + value.label);
    caption.textContent = one.caption;
    figure.append(canvas, caption);
    return figure;
  }));
  find('.bar').hidden = steps.length < 2;
  find('.scrub').max = Math.max(0, steps.length - 1);
  show(steps.length - 1);
}
element.addEventListener('click', (event) => {
  if (!event.target.closest('.play')) return;
  if (timer) { pause(); return; }
  const play = find('.play');
  play.textContent = '❚❚'; play.setAttribute('aria-label', 'Pause');
  if (at >= steps.length - 1) show(0);
  timer = setInterval(() => { if (at >= steps.length - 1) pause(); else show(at + 1); }, Math.max(50, 5000 / steps.length));
});
element.addEventListener('input', (event) => {
  const layer = event.target.dataset.layer;
  if (layer) { on[layer] = event.target.checked; draw(); }
  if (event.target.classList.contains('scrub')) { pause(); show(Number(event.target.value)); }
});
new ResizeObserver(draw).observe(element);
watch('value', load);
load();
"""
)


def plane_view(**options: Any) -> gr.HTML:
    """A component that shows what `scene` makes."""
    return gr.HTML(
        value=None, html_template=_TEMPLATE, css_template=_CSS, js_on_load=_SCRIPT, apply_default_css=False, **options
    )


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
