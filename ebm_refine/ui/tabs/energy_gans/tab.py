"""The Energy-based GANs tab: pairs whose discriminator is an autoencoder, and what else of that family there is.

Each sub-tab is a title and a function that lays it out and wires it; what it returns, if anything, is filled in whenever the
sub-tab is opened, so that no model is read before. The grid search is one of its own, where its results are; so is the
belief network, an energy of digits with neither a generator nor a discriminator, where one is embedded.
"""

from collections.abc import Callable

import gradio as gr

from ebm_refine.ui.components.run_bar import LOOK
from ebm_refine.ui.tabs.energy_gans import belief_network as belief_net
from ebm_refine.ui.tabs.energy_gans import grid_search as study
from ebm_refine.ui.tabs.energy_gans import live as energy_gans_live
from ebm_refine.ui.tabs.energy_gans import training_history as energy_gans_views
from ebm_refine.ui.tabs.energy_gans.models import energy_gan_models
from ebm_refine.ui.tabs.energy_gans.training_history import Opened

TITLE = "Energy-based GANs"
_HEAD = """In these GANs the discriminator is an autoencoder. D(x) is the error with which it reconstructs an image: an energy,
low for what looks like a real digit. In training, EBGAN pushes the energy of generated digits up to a fixed margin, MAGAN to
a margin that falls, and BEGAN by a weight k that holds a balance; EBGAN-PT also drives the codes of generated digits apart.
Sampling follows r = −D, and beta says how strongly."""

Section = tuple[str, Callable[[], Opened | None]]
SECTIONS: list[Section] = [
    ("Side by side", energy_gans_live.side_by_side),
    ("Reconstructions", energy_gans_live.reconstructions),
    ("Energies", energy_gans_views.energies),
    ("Training", energy_gans_views.training),
]


def present() -> bool:
    """Whether there is anything to show."""
    return bool(energy_gan_models()) or study.present() or belief_net.present()


def build() -> None:
    """Lay out the tab and wire it. There must be something to show."""
    gr.Markdown(_HEAD, elem_classes="note")
    with gr.Tabs():
        for title, build_section in SECTIONS if energy_gan_models() else []:
            with gr.Tab(title, elem_id=f"gans-{title.split()[0].lower()}-tab") as tab:
                opened = build_section()
            if opened:
                tab.select(opened.fill, None, opened.outputs, **LOOK)
        if study.present():
            with gr.Tab(study.TITLE):
                study.build()
        if belief_net.present():
            with gr.Tab(belief_net.TITLE):
                belief_net.build()
