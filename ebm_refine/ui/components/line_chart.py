"""Curves: the one kind of chart that the page draws."""

from typing import Any

import gradio as gr


def line_chart(
    x: str, y: str, title: str, elem_id: str, colour: str | None = None, height: int = 240, **options: Any
) -> gr.LinePlot:  # fmt: skip
    """A chart of a table's columns `x` and `y`, one line for each value of `colour`; its legend has no name, it no buttons."""
    return gr.LinePlot(
        x=x, y=y, color=colour, title=title, height=height, elem_id=elem_id, buttons=[], color_title=" ", **options
    )  # fmt: skip
