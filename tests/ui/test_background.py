"""Work in the background: it starts with the second item, ends when it is closed, and hands on what it raises."""

import time
from collections.abc import Iterator

import pytest
from serving import seconds_until, workers

from ebm_refine.ui.runtime.background import in_background
from ebm_refine.utils import cancellation


def endless() -> Iterator[int]:
    while True:
        cancellation.check()
        time.sleep(0.001)
        yield 1


def failing() -> Iterator[int]:
    yield 1
    raise ValueError("a mistake")


def test_a_generator_dropped_after_its_first_item_has_nothing_running():
    dropped = in_background(endless)  # held by this name, as Gradio's cancelled task holds it: not closed, not collected
    assert next(dropped) is None
    time.sleep(0.05)
    assert workers() == 0
    assert next(dropped) == 1
    assert workers() == 1
    dropped.close()
    assert seconds_until(lambda: workers() == 0, 5) < 0.5


def test_items_come_in_order_and_errors_reach_the_caller():
    items = in_background(failing)
    assert next(item for item in items if item is not None) == 1
    with pytest.raises(ValueError, match="a mistake"):
        for _ in items:
            pass
