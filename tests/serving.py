"""The page served on a loopback port, for the tests of the API and of the page."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import environ, sysconf
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


class Apart:
    """A page in a process of its own, of which the tests' own threads, models and servers are no part."""

    def __init__(self, process: "subprocess.Popen[str]"):
        self.process = process
        self.address = self._line()

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line, "the served process has ended"
        return line

    def workers(self) -> int:
        """How many runs are computing in it."""
        assert self.process.stdin is not None
        self.process.stdin.write("workers\n")
        self.process.stdin.flush()
        return int(self._line())

    def resident_mebibytes(self) -> float:
        """What it holds, with the freed pages that it has not handed back."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * sysconf("SC_PAGE_SIZE") / 2**20


@contextmanager
def served_tiny_apart(folder: Path, stored_visitors: int) -> Iterator[Apart]:
    """Serve the pair `tiny` from a process of its own, which keeps so many visitors without a result."""
    path = [str(Path(__file__).parents[1]), environ.get("PYTHONPATH", "")]
    process = subprocess.Popen(
        [sys.executable, __file__, str(folder), str(stored_visitors)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**environ, "PYTHONPATH": ":".join(path)},
    )
    try:
        yield Apart(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()  # which ends it
        process.wait(60)


def workers() -> int:
    """How many runs are computing in this process."""
    return sum(thread.name == "refine" for thread in threading.enumerate())


def seconds_until(condition: Callable[[], bool], at_most: float) -> float:
    """How long it took for `condition` to hold; `at_most` where it did not."""
    began = time.monotonic()
    while not condition() and time.monotonic() - began < at_most:
        time.sleep(0.01)
    return time.monotonic() - began


if __name__ == "__main__":  # what `served_tiny_apart` starts: serves until its input ends, and answers questions by the line
    with served_tiny(Path(sys.argv[1]), state_session_capacity=int(sys.argv[2])) as where:
        print(where, flush=True)
        for _question in sys.stdin:
            print(workers(), flush=True)
