"""Visitors' sessions: results are stored for the promised time, within a bound of bytes; sessions without a result are dropped.

Gradio keeps the last so many sessions, whatever is in them, and every call makes one: 66 questions for the status wiped a
visitor's result. It also keeps, in every session, a description of all components with every value that was sent.
"""

import gc
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from gradio.blocks import BlocksConfig
from gradio.state_holder import SessionState, StateHolder
from torch import Tensor

from ebm_refine.ui.runtime import freed_memory
from ebm_refine.ui.runtime.json_bodies import Refused

# A visitor's results, images and film, take 23 MB at most; they stay for `results.KEEP_SECONDS` while the page is open.
MAX_RESULT_BYTES = 1_000_000_000
LARGEST_RESULT_BYTES = 25_000_000
# A page that is closed is not opened again: its session may go when the memory is needed, and without results at once.
GONE_SECONDS = 60.0
# Forgotten sessions refer to themselves in circles, so only the garbage collector frees them: at most so often, as it takes
# 80 ms (of this page after two runs) in which nobody is served.
COLLECT_SECONDS = 30.0


class PageConfig(BlocksConfig):
    """The page's components, which every session copies; the copies describe nothing, as only deep links ask for that."""

    def __copy__(self) -> BlocksConfig:
        copied = super().__copy__()
        copied.__class__ = _SessionConfig
        return copied


class _SessionConfig(BlocksConfig):
    def config_for_block(self, *args: Any, **options: Any) -> Any:  # type: ignore[override]
        return {}


class Sessions(StateHolder):
    """Gradio's sessions by name. `capacity` is the number of stored sessions without a result and without an open page."""

    def begin(self) -> None:
        """Called where Gradio's own `StateHolder` becomes one of these."""
        self.lock: Any = threading.RLock()
        self.open: Counter[str] = Counter()
        self.used: dict[str, float] = {}
        self.bytes: dict[str, int] = {}
        self.garbage, self.collected = False, 0.0

    def __getitem__(self, session_id: str) -> SessionState:
        with self.lock:
            if session_id not in self.session_data:
                self.session_data[session_id] = SessionState(self.blocks)
            self.used[session_id] = time.monotonic()
            self.session_data.move_to_end(session_id)
            session = self.session_data[session_id]
            idle = [name for name in self.session_data if not self.open[name] and not self._has_result(name)]
            for name in idle[: max(0, len(idle) - self.capacity)]:
                if name != session_id:
                    self.drop(name)
            return session

    def update(self, session_id: str) -> None:
        """Gradio's own bound, which treats all sessions alike, is not used."""

    def drop(self, session_id: str) -> None:
        """Forget a session."""
        with self.lock:
            for table in (self.session_data, self.used, self.bytes):
                table.pop(session_id, None)

    def drop_idle(self, session_id: str) -> None:
        """Forget a session of one call, unless it has a result."""
        with self.lock:
            if session_id in self.session_data and not self._has_result(session_id):
                self.drop(session_id)

    @contextmanager
    def page_open(self, session_id: str) -> Iterator[None]:
        """While the page of a session is open in a browser."""
        self.open[session_id] += 1
        try:
            yield
        finally:
            self.open[session_id] -= 1
            if not self.open[session_id]:
                del self.open[session_id]

    def delete_all_expired_state(self) -> None:
        """Called every second: weighs results, forgets expired ones and sessions that nobody uses."""
        super().delete_all_expired_state()
        now = time.monotonic()
        with self.lock:
            held = sum(self.bytes.values())
            self.bytes = {name: size for name in self.session_data if (size := bytes_of(self.session_data[name].state_data))}
            for name in list(self.session_data):
                if not self.open[name] and not self._has_result(name) and now - self.used.get(name, now) > GONE_SECONDS:
                    self.drop(name)
                    self.garbage = True
            forgot = sum(self.bytes.values()) < held
        if forgot:
            freed_memory.give_back()
        if self.garbage and now - self.collected >= COLLECT_SECONDS:
            self.garbage, self.collected = False, now
            gc.collect()
            freed_memory.give_back()

    def free_memory(self, session_id: str) -> None:
        """Free memory for one more result by dropping those of closed pages. Raises Refused where that is not enough."""
        with self.lock:
            others = sum(size for name, size in self.bytes.items() if name != session_id)
            for name in [name for name in self.session_data if name in self.bytes and name != session_id]:
                if others + LARGEST_RESULT_BYTES <= MAX_RESULT_BYTES:
                    return
                if not self.open[name]:
                    others -= self.bytes[name]
                    self.drop(name)
            if others + LARGEST_RESULT_BYTES > MAX_RESULT_BYTES:
                said = "the results of visitors whose pages are open fill the memory; try again in a minute"
                raise Refused(503, said, 60)

    def _has_result(self, name: str) -> bool:
        return any(value is not None for value in self.session_data[name].state_data.values())


def bytes_of(value: Any) -> int:
    """The bytes of a value in the memory, as far as tensors and texts hold them."""
    if isinstance(value, Tensor):
        return value.untyped_storage().nbytes()
    if isinstance(value, Mapping):
        return sum(bytes_of(one) for one in value.values())
    if isinstance(value, list | tuple):
        return sum(bytes_of(one) for one in value)
    return 0 if value is None else sys.getsizeof(value)
