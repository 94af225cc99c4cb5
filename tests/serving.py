"""The page served on a loopback port, for the tests of the API and of the page."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import save_tiny_models

from ebm_refine import catalogue
from ebm_refine.metrics import features


@contextmanager
def served(models: Path | None = None, **options: Any) -> Iterator[str]:
    """Serve the page with the models of a folder (the embedded ones where None); gives its address."""
    from ebm_refine.ui import build, launch

    with pytest.MonkeyPatch.context() as patch:
        if models is not None:
            patch.setattr(catalogue, "EMBEDDED", models)
        features.features_for.cache_clear()
        demo = build()
        try:
            _, address, _ = launch(demo, server_name="127.0.0.1", quiet=True, prevent_thread_lock=True, **options)
            yield address
        finally:
            demo.close()
            features.features_for.cache_clear()


@contextmanager
def served_tiny(folder: Path, **options: Any) -> Iterator[str]:
    """Serve the page with a pair `tiny` that runs in milliseconds."""
    with served(save_tiny_models(folder / "embedded"), **options) as address:
        yield address


def workers() -> int:
    """How many runs are computing in this process."""
    return sum(thread.name == "refine" for thread in threading.enumerate())


def seconds_until(condition: Callable[[], bool], at_most: float) -> float:
    """How long it took for `condition` to hold; `at_most` where it did not."""
    began = time.monotonic()
    while not condition() and time.monotonic() - began < at_most:
        time.sleep(0.01)
    return time.monotonic() - began
