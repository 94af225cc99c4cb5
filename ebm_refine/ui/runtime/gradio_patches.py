"""What this page needs otherwise than Gradio does it, all in one place: overrides of its classes, each with its reason.

Written for Gradio 6.31.0, which `pyproject.toml` pins; whoever raises the pin reads this file against the new source.
"""

from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from ebm_refine.ui.runtime.request_guard import RequestGuard


class Page(gr.Blocks):
    """Blocks whose application is guarded, whose callers are told what was wrong, and whose runs lose no update."""

    def queue(self, *args: Any, **options: Any) -> "Page":
        """As `gr.Blocks.queue`; the application that it makes, which is served where nobody calls `launch`, is guarded too."""
        super().queue(*args, **options)
        self.app.add_middleware(RequestGuard, blocks=self)
        return self

    def launch(self, *args: Any, **options: Any) -> Any:
        """As `gr.Blocks.launch`, which makes a new application: that is guarded before its first request."""
        given = dict(options.pop("app_kwargs", None) or {})
        # The last of the list stands next to Gradio's handlers, so that refusals carry the headers of its other layers.
        given["middleware"] = [*given.get("middleware", ()), Middleware(RequestGuard, blocks=self)]
        return super().launch(*args, app_kwargs=given, **options)

    def validate_inputs(self, block_fn: Any, inputs: list[Any]) -> None:
        """An HTTP caller with too few values is told so; Gradio itself answers with nothing."""
        expected = len(block_fn.inputs)
        if len(inputs) != expected:
            raise gr.Error(f"this call takes {expected} values; got {len(inputs)}", print_exception=False)

    async def preprocess_data(self, *args: Any, **options: Any) -> list[Any]:
        """A value that does not fit its component is the caller's mistake; Gradio says nothing of it and logs a traceback."""
        try:
            return await super().preprocess_data(*args, **options)
        except gr.Error:
            raise
        except Exception:
            raise gr.Error("one of the values is none that its control of the page can have", print_exception=False) from None

    async def call_function(self, block_fn: Any, *args: Any, **options: Any) -> dict[str, Any]:
        """Gradio's page also calls events that do all their work in the browser, Stop's too, and its server raises then."""
        if block_fn.fn is not None:
            return await super().call_function(block_fn, *args, **options)
        unchanged: Any = gr.skip() if len(block_fn.outputs) == 1 else [gr.skip()] * len(block_fn.outputs)
        return {"prediction": unchanged, "duration": 0.0, "is_generating": False, "iterator": None}

    def handle_streaming_diffs(
        self,
        block_fn: Any,
        data: list[Any],
        session_hash: str | None,
        run: str | None,
        final: bool,
        simple_format: bool = False,
    ) -> list[Any]:
        """What a run yields reaches the browser as whole values, not as edits of the values before.

        Gradio's page applies edits to the very objects that wait to be shown. Where a message arrives before the last one is
        shown, as on a busy machine, its "nothing new here" would empty the film or the picture of the message before it.
        """
        known = self.pending_diff_streams.get(session_hash, {}).get(run)
        before = None if known is None else list(known)
        data = super().handle_streaming_diffs(block_fn, data, session_hash, run, final, simple_format=True)
        if before is None or final or simple_format:
            return data
        return [[] if value == old else [["replace", [], value]] for value, old in zip(data, before, strict=True)]
