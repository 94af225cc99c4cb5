"""How long the steps of a run take: apart from the pipeline, whose results hold no clock, so that a run repeats to the bit."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


def timed(items: Iterable[T]) -> Iterator[tuple[T, float]]:
    """Each item with the seconds it took to make; what its consumer does in between is not counted."""
    source = iter(items)
    while True:
        began = time.perf_counter()
        try:
            item = next(source)
        except StopIteration:
            return
        yield item, time.perf_counter() - began


def ess_per_second(diagnostics: Mapping[str, Any], step_seconds: Sequence[float]) -> float | None:
    """Bulk effective sample size of the energies over the seconds of the steps it was taken from; None where there is none.

    `step_seconds[k]` are those of transition k + 1; `diagnostics` are the run's.
    """
    if "energy_ess_bulk" not in diagnostics:
        return None
    return diagnostics["energy_ess_bulk"] / sum(step_seconds[max(diagnostics["energy_from_step"] - 1, 0) :])
