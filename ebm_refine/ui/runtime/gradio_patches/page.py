"""The page as Gradio's Blocks: guarded, with a queue and sessions of our own, and answers where Gradio has none."""

import html
from typing import Any

import gradio as gr
from gradio.context import Context, set_render_context
from starlette.middleware import Middleware

from ebm_refine.ui.runtime.gradio_patches.fair_queue import FairQueue
from ebm_refine.ui.runtime.gradio_patches.sessions import PageConfig, Sessions
from ebm_refine.ui.runtime.request_guard import RequestGuard


class Page(gr.Blocks):
    """Blocks whose application is guarded, whose callers get error messages, and whose runs lose no update."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.default_config.__class__ = PageConfig

    @property  # type: ignore[override]
    def state_holder(self) -> Sessions:
        """The sessions of the application that serves this page: made by Gradio's `App`, which offers no other way to them."""
        return self._sessions

    @state_holder.setter
    def state_holder(self, holder: Any) -> None:
        holder.__class__ = Sessions
        self._sessions = holder
        holder.begin()

    def __exit__(self, exc_type: type[BaseException] | None = None, *args: Any) -> None:
        """As `gr.Blocks.__exit__` of Gradio 6.31, which makes a whole application at the end of every page of `route`: nine of
        them took half of the start. The configuration and the application are made once, by `queue`."""
        if exc_type is not None:
            set_render_context(None)
            Context.root_block = None
            return
        self.fill_expected_parents()
        set_render_context(self.parent)
        self.default_config.attach_load_events()
        if self.parent is None:
            Context.root_block = None
        else:
            self.parent.children.extend(self.children)
        self.progress_tracking = any(block_fn.tracks_progress for block_fn in self.fns.values())  # type: ignore[assignment]
        self.page = ""
        self.validate_navbar_settings()
        self.exited = True

    def queue(self, *args: Any, **options: Any) -> "Page":
        """As `gr.Blocks.queue`, but fair; the application made here, which serves where nobody calls `launch`, is guarded."""
        self.config = self.get_config_file()
        super().queue(*args, **options)
        self._queue = FairQueue(self, self._queue)
        self.app.add_middleware(RequestGuard, blocks=self)
        return self

    def launch(self, *args: Any, **options: Any) -> Any:
        """As `gr.Blocks.launch`, which makes a new application: that is guarded before its first request."""
        given = dict(options.pop("app_kwargs", None) or {})
        # The last of the list stands next to Gradio's handlers, so that refusals carry the headers of its other layers.
        given["middleware"] = [*given.get("middleware", ()), Middleware(RequestGuard, blocks=self)]
        return super().launch(*args, app_kwargs=given, **options)

    def validate_inputs(self, block_fn: Any, inputs: list[Any]) -> None:
        """An HTTP caller with too few values gets an error; Gradio's own answer is empty."""
        expected = len(block_fn.inputs)
        if len(inputs) != expected:
            raise gr.Error(f"this call takes {expected} values; got {len(inputs)}", print_exception=False)

    async def preprocess_data(self, *args: Any, **options: Any) -> list[Any]:
        """A value that does not fit its component is the caller's mistake; Gradio says nothing of it and logs a traceback."""
        try:
            return await super().preprocess_data(*args, **options)
        except gr.Error as error:
            said = html.escape(" ".join(str(error.message).split())[:200], quote=False)
            raise gr.Error(said, print_exception=False) from None
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
