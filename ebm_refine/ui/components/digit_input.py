"""Where a visitor's digits come from: drawn, uploaded, or an example; and what the model sees of them."""

import html
from typing import Any

import gradio as gr
import torch
from torch import Tensor

from ebm_refine import render
from ebm_refine.errors import InputError
from ebm_refine.tasks import digit_preprocessing as digits
from ebm_refine.tasks import synthetic_digits as patterns
from ebm_refine.ui.components.picture_view import picture_view, shown
from ebm_refine.ui.components.run_bar import LOOK
from ebm_refine.ui.components.sketch import sketch
from ebm_refine.ui.tabs.energy.job import MAX_CANDIDATES, SIDE
from ebm_refine.ui.tabs.refine.results import KEEP_SECONDS

EXAMPLE, DRAW, UPLOAD = "Example", "Draw", "Upload"
SOURCES = [EXAMPLE, DRAW, UPLOAD]
FIRST_EXAMPLE = 4
FIRST_ROW = "31415"
_SIZE = 168


class DigitInput:
    """One digit, or a row of them. `digits` holds what is seen, (N, 1, 28, 28), or None where there is nothing to see."""

    def __init__(self, name: str, row: bool = False):
        self.row = row
        first = _examples(FIRST_ROW if row else str(FIRST_EXAMPLE))
        self.digits = gr.State(first, time_to_live=KEEP_SECONDS)
        self.source = gr.Radio(SOURCES, value=EXAMPLE, label="Where the digits come from", elem_id=f"{name}-source")
        if row:
            self.example: Any = gr.Textbox(
                FIRST_ROW, label="Digits to write", info="drawn by a small program, each a little differently", max_lines=1,
                max_length=MAX_CANDIDATES, elem_id=f"{name}-example",
            )  # fmt: skip
        else:
            self.example = gr.Radio(
                [str(digit) for digit in range(10)],
                value=str(FIRST_EXAMPLE),
                label="Which digit",
                elem_id=f"{name}-example",
            )
        where: dict[str, Any] = {
            "visible": False,
            "elem_id": f"{name}-sketch",
            "elem_classes": "sketch-row" if row else "sketch-one",
        }
        if row:
            self.sketch = sketch("Write digits side by side, with gaps between them", 900, 180, 0.07, **where)
        else:
            self.sketch = sketch("Write a digit", 280, 280, 0.07, **where)
        self.file = gr.File(
            label="A picture of digits in a row" if row else "A picture of a digit", type="binary", visible=False,
            elem_id=f"{name}-file", height=140,
        )  # fmt: skip
        self.seen = picture_view(_seen(first), elem_id=f"{name}-seen")
        self.trouble = gr.HTML(visible=False, elem_id=f"{name}-trouble")
        inputs = [self.source, self.example, self.sketch, self.file]
        outputs = [self.digits, self.seen, self.trouble]
        self.source.input(self._chosen, self.source, [self.example, self.sketch, self.file], **LOOK).then(
            self._look, inputs, outputs, **LOOK
        )
        for event in (self.example.change, self.sketch.input, self.file.change):
            event(self._look, inputs, outputs, trigger_mode="always_last", **LOOK)

    def _chosen(self, source: str) -> list[Any]:
        return [gr.update(visible=source == which) for which in SOURCES]

    def _look(self, source: str, example: Any, drawn: Any, file: bytes | None) -> dict[Any, Any]:
        try:
            found = self._found(source, example, drawn, file)
        except InputError as error:
            words = f'<div role="alert">{html.escape(str(error), quote=False)}.</div>'
            return {self.digits: None, self.seen: "", self.trouble: gr.update(value=words, visible=True)}
        return {self.digits: found, self.seen: _seen(found), self.trouble: gr.update(visible=False)}

    def _found(self, source: str, example: Any, drawn: Any, file: bytes | None) -> Tensor:
        if source == EXAMPLE:
            return _examples(str(example or ""))
        if source == DRAW:
            if not drawn:
                raise InputError("there is nothing to see yet: write on the canvas")
            picture = digits.read(digits.decoded(drawn))
        elif file is None:
            raise InputError("there is nothing to see yet: choose a picture to upload")
        else:
            picture = digits.read(file)
        return digits.row(picture, SIDE) if self.row else digits.as_digit(picture, SIDE)[None]


def given(images: Tensor | None) -> Tensor:
    """The digits of a `DigitInput`. Raises InputError where there are none."""
    if images is None:
        raise InputError("there is no digit to ask about: write one, upload one or choose an example")
    return images


def _examples(text: str) -> Tensor:
    labels = text.replace(" ", "")
    if not labels or not all(one in "0123456789" for one in labels) or len(labels) > MAX_CANDIDATES:
        raise InputError(f"digits to write must be 1 to {MAX_CANDIDATES} of 0 to 9; got {text[:30]!r}")
    return patterns.written([int(one) for one in labels], SIDE)


def _seen(images: Tensor) -> str:
    pixels = images.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
    columns = len(pixels)
    scale = max(1, _SIZE // SIDE if columns == 1 else 560 // (columns * (SIDE + 1)))
    picture = render.grid(pixels, columns=columns, scale=scale)
    return shown(picture, "What the model sees", "The digits as the model sees them", widest=picture.width)
