"""Stopping a run from outside, also in the middle of a long step.

Whoever runs the work wraps it in `cancellable(stop)`; code that loops over network passes calls `check()` between them. The
event is scoped to the caller's context, so runs in different threads do not see each other's.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Event

_stop: ContextVar[Event | None] = ContextVar("stop", default=None)


class Cancelled(BaseException):
    """The run was stopped from outside. No Exception, so that no handler of errors swallows it."""


@contextmanager
def cancellable(stop: Event) -> Iterator[None]:
    """Inside, `check()` raises Cancelled once `stop` is set."""
    token = _stop.set(stop)
    try:
        yield
    finally:
        _stop.reset(token)


def check() -> None:
    """Raise Cancelled if this run has been stopped. Costs nothing where nobody can stop it."""
    stop = _stop.get()
    if stop is not None and stop.is_set():
        raise Cancelled
