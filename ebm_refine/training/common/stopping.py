"""Train until what is measured on held-out images stops falling: the loop of whatever is fitted to a frozen generator."""

import copy
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from ebm_refine.errors import InputError
from ebm_refine.training.common.resumable import Run
from ebm_refine.training.common.updates import Updates


class Stopping(NamedTuple):
    """At most `steps`, measured every `every` of them and at the end; over once `patience` measurements found nothing lower."""

    steps: int
    every: int
    patience: int


def train_to_lowest(
    parts: dict[str, Any],
    measured_part: str,
    update: Callable[[int], None],
    measure: Callable[[], dict[str, float]],
    stopping: Stopping,
    run: Run,
    phase: str,
) -> dict[str, Any]:
    """Update until the first of the numbers that `measure` gives stops falling.

    parts: name -> what the updates change, with its state; `measured_part` names the network among them that is measured.
    Returns {"weights": its state dict where that number was lowest, "step", "steps_run", "measured": the numbers there}. `run`
    goes on from its last measurement, to the same bits. Raises InputError where no measurement gave a finite number.
    """
    updates = Updates(run, parts, stopping.steps, phase, best={"step": 0, "lowest": math.inf})
    done = updates.first
    for step in updates:
        if step - updates.extra["best"]["step"] >= stopping.patience * stopping.every:
            break
        update(step)
        done = step + 1
        if updates.due(done, stopping.every):
            measured = measure()
            run.log(phase=phase, step=done, **measured)
            lowest = next(iter(measured.values()))
            if lowest < updates.extra["best"]["lowest"]:
                weights = copy.deepcopy(parts[measured_part].state_dict())
                updates.extra["best"] = {"step": done, "lowest": lowest, "measured": measured, "weights": weights}
            updates.save(done)
    best = updates.extra["best"]
    if "weights" not in best:
        raise InputError(f"{phase} diverged: nothing that was measured in {done} steps is a finite number")
    return {**best, "steps_run": done}
