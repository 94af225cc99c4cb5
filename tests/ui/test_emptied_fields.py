"""A field that a visitor emptied: every page runs with what it showed first, or with what its placeholder says."""

from collections.abc import Iterator

import gradio as gr
import pytest

from ebm_refine.ui import build
from ebm_refine.ui.components.opening_results import BUTTONS, _event
from ebm_refine.ui.components.run_bar import refilled
from ebm_refine.ui.tabs.refine.job import first_model

# Buttons of pages with fields of numbers or text; what is asked at once, without a run, is asked in full.
PRESSED = ("run", *(name for name in BUTTONS if name.endswith(("-run", "-reconstruct")) and name != "lesson-run"))


@pytest.fixture(scope="module")
def demo() -> gr.Blocks:
    if first_model() != "mnist-gan":
        pytest.skip("no model is embedded")
    return build()


@pytest.mark.parametrize("button", PRESSED)
@pytest.mark.slow
def test_every_emptied_field_runs(demo: gr.Blocks, button: str):
    event = _event(demo, button)
    whole = [block.value for block in event.inputs]
    for place, block in enumerate(event.inputs):
        if isinstance(block, gr.Slider | gr.Number | gr.Textbox):
            answer = event.fn(*(None if other == place else value for other, value in enumerate(whole)))
            if isinstance(answer, Iterator):
                next(answer)  # everything was checked before the first message
                answer.close()


def test_what_is_empty_becomes_what_was_shown_first():
    with gr.Blocks():
        fields = [gr.Slider(1, 9, value=4), gr.Textbox("0.1", placeholder="automatic"), gr.Number(7), gr.State(5)]

    def listed(*values):
        yield from values

    assert list(refilled(listed, fields)(None, "", "", None)) == [4, None, 7, None]
    assert list(refilled(listed, fields)(2, "0.5", 0, 6)) == [2, "0.5", 0, 6]
    assert refilled(lambda *values: values, fields)(None, None, 3, 6) == (4, None, 3, 6)
