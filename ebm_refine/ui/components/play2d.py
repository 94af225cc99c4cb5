"""Particles in the plane that move at once, in the browser: the laws and energies are a file that ships with the page."""

import gradio as gr

from ebm_refine.ui.runtime.pictures import asset, script

FILE = "play2d.json"
# What can be sampled, in the order of the list: names of `play2d.json`.
LAWS = {
    "grid25": "25 Gaussians, exact discriminator",
    "ring8": "Ring of 8 Gaussians, exact discriminator",
    "moons": "Two moons, exact discriminator",
    "swiss": "Swiss roll, exact discriminator",
    "moons-ebm": "Two moons, a trained energy",
    "swiss-ebm": "Swiss roll, a trained energy",
    "grid25-ebm": "25 Gaussians, a trained energy",
    "ring8-ebm": "Ring of 8 Gaussians, a trained energy",
}
METHODS = {"isir": "i-SIR: choose among fresh samples", "langevin": "Langevin", "mala": "Langevin, accepted or rejected (MALA)"}


def _options(titles: dict[str, str]) -> str:
    return "".join(f'<option value="{name}">{title}</option>' for name, title in titles.items())


_TEMPLATE = f"""
<div class="play2d">
  <div><canvas role="img" aria-label="300 particles in the plane, on their way to the data"></canvas></div>
  <div class="side">
    <p class="exact">The generator has learned nothing: it draws from one broad Gaussian. The discriminator is exact. Together
      they find the data.</p>
    <p class="learned" hidden>An energy that was learned from data, and no generator: particles begin anywhere and slide
      downhill, with noise.</p>
    <label>What is sampled<select class="law">{_options(LAWS)}</select></label>
    <label>Method<select class="method">{_options(METHODS)}</select></label>
    <label class="for-eps" hidden>eps, the step size: <output class="eps-now"></output>
      <input type="range" class="eps" min="-6" max="0.7" step="0.02" value="-3"></label>
    <label class="for-fresh">Fresh samples to choose from: <output class="fresh-now"></output>
      <input type="range" class="fresh" min="1" max="100" step="1" value="20"></label>
    <label>N, the number of steps: <output class="most-now"></output>
      <input type="range" class="most" min="1" max="400" step="1" value="60"></label>
    <div class="row"><button type="button" class="again">Start again</button>
      <button type="button" class="hold">Pause</button></div>
    <p class="now" role="status"></p>
    <table><tbody><tr><th scope="row">modes found</th><td class="modes"></td></tr>
      <tr><th scope="row">points of high quality</th><td class="good"></td></tr></tbody></table>
    <p class="small">A point is of high quality within 4 widths of a component's centre; a mode is found where it has one.</p>
  </div>
</div>
"""


def play2d() -> gr.HTML:
    """The component. It is complete in itself: no event of it reaches the server."""
    return gr.HTML(
        html_template=_TEMPLATE, js_on_load="page.play2d(element, props);", head=script("page.js") + script("play2d.js"),
        apply_default_css=False, elem_id="play2d", source=asset(FILE),
    )  # fmt: skip
