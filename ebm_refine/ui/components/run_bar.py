"""Run and Stop, and the line that says how the run goes: the same on every page."""

import functools
import inspect
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gradio as gr

from ebm_refine.ui.components.status_line import idle

# The lane of runs: one computes at a time.
LANE = "gpu"
# No component shows Gradio's own progress: each that could would count the time in every frame that the browser draws.
PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "show_progress_on": []}
# Looking at results computes little, so it does not wait in the queue behind other visitors' runs.
LOOK: dict[str, Any] = {**PRIVATE, "concurrency_limit": None}


def laned(lane: str = LANE) -> dict[str, Any]:
    """Options of an event that computes: raw values in, one at a time of its lane."""
    return {**PRIVATE, "preprocess": False, "concurrency_id": lane, "concurrency_limit": 1}


def refilled(run: Callable[..., Any], inputs: Sequence[Any]) -> Callable[..., Any]:
    """`run`, a function or a generator of raw values, that is given what a field showed first where it was emptied.

    A field with a placeholder stays empty: it says there what that means. A state is no field: nothing in it is nothing.
    """
    may_be_empty = [isinstance(block, gr.State) or bool(getattr(block, "placeholder", None)) for block in inputs]
    first = [None if empty else block.value for empty, block in zip(may_be_empty, inputs, strict=True)]

    def given(values: Sequence[Any]) -> list[Any]:
        return [begin if value is None or value == "" else value for begin, value in zip(first, values, strict=True)]

    # Gradio looks at the function itself to learn that it is a generator.
    if inspect.isgeneratorfunction(run):

        @functools.wraps(run)
        def followed(*values: Any) -> Iterator[Any]:
            yield from run(*given(values))

        return followed

    @functools.wraps(run)
    def answered(*values: Any) -> Any:
        return run(*given(values))

    return answered


class RunBar:
    """Two buttons and a status line, laid out where this is made; elements are called NAME-run, NAME-stop, NAME-status."""

    def __init__(self, name: str, label: str, says: str = "", status: gr.HTML | None = None, visible: bool = True):
        """`says` stands in the line at first; `status` is a line that lies elsewhere."""
        prefix = f"{name}-" if name else ""
        with gr.Row(equal_height=True, elem_id=f"{prefix}run-bar", elem_classes="run-bar"):
            self.start = gr.Button(
                label, variant="primary", elem_id=f"{prefix}run", scale=3, min_width=100, visible=visible
            )  # fmt: skip
            self.stop = gr.Button("Stop", variant="stop", elem_id=f"{prefix}stop", scale=1, min_width=70, visible=visible)
        self.status = status or gr.HTML(idle(says) if says else "", elem_id=f"{prefix}status", elem_classes="run-status")

    def runs(self, run: Callable[..., Any], inputs: Sequence[Any], outputs: Sequence[Any], lane: str = LANE) -> Any:
        """`run(*raw values)` yields updates of `outputs` and of the status; Stop ends it. Gives the event."""
        event = self.start.click(run, list(inputs), [self.status, *outputs], **laned(lane))
        self.ends(event)
        return event

    def ends(self, *events: Any) -> None:
        """Stop ends these runs, and says so after whatever a cancelled run still had on its way."""
        self.stop.click(None, None, None, cancels=list(events)).then(_stopped, None, self.status, queue=False, **PRIVATE)


def _stopped() -> str:
    time.sleep(0.3)
    return idle("Stopped.")
