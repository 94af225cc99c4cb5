"""Free memory goes back to the system: glibc keeps the freed pages of every thread that ever ran, and every run is a thread."""

import ctypes
from functools import cache
from typing import Any


def give_back() -> None:
    """Hand freed pages back, in milliseconds and without Python's lock; nothing where the C library has no such call."""
    if (trim := _malloc_trim()) is not None:
        trim(0)


@cache
def _malloc_trim() -> Any:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return None
