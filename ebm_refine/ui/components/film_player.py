"""A film player for the browser: one strip image, a canvas that shows one frame of it, play, pause and a scrub bar."""

from typing import Any

import gradio as gr
from PIL import Image

from ebm_refine import render

_TEMPLATE = """
<div class="player" hidden>
  <canvas role="img" aria-label=""></canvas>
  <div class="bar">
    <button type="button" class="play" aria-label="Play">▶</button>
    <input type="range" class="scrub" min="0" max="0" value="0" step="1" aria-label="Frame of the recorded chain">
    <output class="where"></output>
  </div>
</div>
"""

_CSS = """
.player[hidden] { display: none; }
canvas { width: 100%; height: auto; image-rendering: pixelated; display: block; border-radius: 4px; background: #000; }
.bar { display: flex; gap: 0.6rem; align-items: center; margin-top: 0.5rem; }
.play { width: 2.4rem; height: 2.2rem; border-radius: 6px; background: var(--button-secondary-background-fill);
        color: var(--button-secondary-text-color); border: 1px solid var(--border-color-primary); cursor: pointer; }
.scrub { flex: 1; min-width: 3rem; accent-color: var(--color-accent); }
.where { min-width: 6.5rem; text-align: right; font-variant-numeric: tabular-nums; color: var(--body-text-color-subdued); }
"""

# Values arrive as {strip, frames, steps, label}. The template is drawn anew with each, so nodes are looked up when needed.
_SCRIPT = """
const find = (name) => element.querySelector(name);
const strip = new Image();
let frames = 0, steps = [], label = '', at = 0, timer = null;
function pause() {
  clearInterval(timer); timer = null;
  const play = find('.play');
  if (play) { play.textContent = '▶'; play.setAttribute('aria-label', 'Play'); }
}
function show(frame) {
  if (!frames || !find('.where')) return;
  at = Math.max(0, Math.min(frames - 1, frame));
  find('.scrub').value = at;
  find('.where').textContent = 'step ' + steps[at] + ' of ' + steps[frames - 1];
  draw();
}
// What is written does not wait for the picture to be decoded, which takes a busy browser its time.
function draw() {
  const canvas = find('canvas');
  if (!canvas || !frames || !strip.complete || !strip.naturalWidth) return;
  const height = strip.naturalHeight / frames;
  if (canvas.width !== strip.naturalWidth || canvas.height !== height) {
    canvas.width = strip.naturalWidth; canvas.height = height;
  }
  canvas.getContext('2d').drawImage(strip, 0, at * height, strip.naturalWidth, height, 0, 0, strip.naturalWidth, height);
  canvas.dataset.frame = at;
}
function load() {
  pause();
  const value = props.value;
  frames = value ? value.frames : 0;
  if (frames) {
    steps = value.steps; label = value.label; at = frames - 1;
    strip.onload = draw;
    strip.src = value.strip;
  }
  dress();
}
function dress() {
  const player = find('.player');
  if (!player) return;
  player.hidden = !frames;
  if (!frames) return;
  find('.scrub').max = frames - 1;
  find('canvas').setAttribute('aria-label', label);
  show(at);
}
// The template may be drawn anew after its value was told, which leaves new nodes bare.
new MutationObserver(() => {
  const where = find('.where');
  if (frames && where && !where.textContent) dress();
}).observe(element, {childList: true, subtree: true});
element.addEventListener('click', (event) => {
  if (!event.target.closest('.play')) return;
  if (timer) { pause(); return; }
  const play = find('.play');
  play.textContent = '❚❚'; play.setAttribute('aria-label', 'Pause');
  if (at >= frames - 1) show(0);
  timer = setInterval(() => { if (at >= frames - 1) pause(); else show(at + 1); }, Math.max(50, Math.min(160, 4000 / frames)));
});
element.addEventListener('input', (event) => {
  if (event.target.classList.contains('scrub')) { pause(); show(Number(event.target.value)); }
});
watch('value', load);
load();
"""


def player(**options: Any) -> gr.HTML:
    """A component that plays what `film` makes. Everything happens in the browser, so scrubbing costs the server nothing."""
    return gr.HTML(
        value=None, html_template=_TEMPLATE, css_template=_CSS, js_on_load=_SCRIPT, apply_default_css=False, **options
    )


def film(pictures: list[Image.Image], steps: list[int], label: str) -> dict[str, Any]:
    """The value of a player: `pictures` of one size, the chain's step at each, and what a screen reader says."""
    return {"strip": render.data_uri(render.strip(pictures)), "frames": len(pictures), "steps": steps, "label": label}
