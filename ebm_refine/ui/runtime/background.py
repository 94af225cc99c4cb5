"""Work that can be stopped while it computes: it runs in a thread, and the caller hears something every heartbeat."""

import time
from collections.abc import Callable, Generator
from contextlib import closing
from contextvars import copy_context
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any, TypeVar

from ebm_refine.ui.runtime import freed_memory, limits
from ebm_refine.utils.cancellation import Cancelled, cancellable, check

HEARTBEAT = 0.2
T = TypeVar("T")


class _End:
    """The last thing a worker says: how it ended."""

    def __init__(self, error: BaseException | None = None):
        self.error = error


def bounded(work: Callable[[], Generator[T, None, None]]) -> Generator[T | None, None, None]:
    """`in_background`, which ends with an InputError after as many seconds as a visitor's run may take."""
    began = time.monotonic()
    with closing(in_background(work)) as news:
        for item in news:
            yield item
            if time.monotonic() - began > limits.MAX_SECONDS:
                raise limits.too_slow()


def in_background(work: Callable[[], Generator[T, None, None]]) -> Generator[T | None, None, None]:
    """Yield what `work()` yields, and None whenever a heartbeat passes without an item. Closing this stops the work.

    A plain generator is only closed between two of its yields, and one step on a large batch, or a pilot, may take seconds.
    Nothing here waits for the thread: Gradio closes generators from its event loop.
    """
    news: SimpleQueue[Any] = SimpleQueue()
    stop = Event()

    def run() -> None:
        end = _End()
        with cancellable(stop):
            try:
                with closing(work()) as items:
                    for item in items:
                        news.put(item)
                        del item  # the reader has it alone
                        check()
            except Cancelled:
                pass
            except BaseException as error:
                end = _End(error)
        news.put(end)
        freed_memory.give_back()

    # Gradio knows a generator from its first item on; one whose call is cancelled before lies around unclosed until the garbage
    # collector finds it. So the first item comes before the thread, and such a generator has nothing running.
    yield None
    # In the caller's context, so that a Space knows whose quota a borrowed GPU is charged to.
    Thread(target=copy_context().run, args=(run,), name="refine", daemon=True).start()
    try:
        while True:
            try:
                item = news.get(timeout=HEARTBEAT)
            except Empty:
                yield None
                continue
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        stop.set()
