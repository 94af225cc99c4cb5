"""How an energy learned: chains saved during its training, by epoch."""

from typing import Any

import gradio as gr
from torch import Tensor

from ebm_refine import render
from ebm_refine.ui.components.picture_view import picture_view, shown
from ebm_refine.ui.components.run_bar import LOOK
from ebm_refine.ui.runtime.model_cache import cached_model
from ebm_refine.ui.tabs.energy.job import model_asked
from ebm_refine.ui.tabs.refine.job import user_errors

# The table of a checkpoint: epoch -> chains (chains, points, C, H, W) uint8 on their way from noise.
TABLE = "story"
ALT = "Chains from noise, a row each, at one epoch of training"
_NONE = "This model stores no chains of its training."


def story(model: gr.Dropdown) -> None:
    """The section: one epoch at a time, a row a chain. A model is read when the section is opened."""
    with gr.Accordion("How it learned: chains from noise at several epochs", open=False, elem_id="story") as section:
        epoch = gr.Radio([], label="Epoch", visible=False, elem_id="story-epoch")
        words = gr.Markdown(_NONE, elem_classes="note", elem_id="story-words")
        picture = picture_view(elem_id="story-picture")

    def opened(name: Any) -> dict[Any, Any]:
        with user_errors():
            epochs = _epochs(name)
        if not epochs:
            return {epoch: gr.update(choices=[], value=None, visible=False), words: _NONE, picture: ""}
        last = list(epochs)[-1]
        return {
            epoch: gr.update(choices=list(epochs), value=last, visible=True),
            words: "Every row is a chain of the recipe's sampler, from noise on the left to the end of its walk on the right.",
            picture: _rows(epochs[last]),
        }

    def chosen(name: Any, which: Any) -> Any:
        with user_errors():
            epochs = _epochs(name)
        return _rows(epochs[which]) if which in epochs else gr.skip()

    outputs = [epoch, words, picture]
    section.expand(opened, model, outputs, preprocess=False, **LOOK)
    model.input(opened, model, outputs, preprocess=False, **LOOK)
    epoch.input(chosen, [model, epoch], picture, preprocess=False, **LOOK)


def _epochs(name: Any) -> dict[str, Tensor]:
    """The stored chains by epoch, in order; may be empty."""
    table = cached_model(model_asked(name).name).tables.get(TABLE, {})
    return {key.removeprefix("epoch-").lstrip("0") or "0": table[key] for key in sorted(table)}


def _rows(chains: Tensor) -> str:
    return shown(render.grid(chains.flatten(0, 1), columns=chains.shape[1]), "", ALT)
