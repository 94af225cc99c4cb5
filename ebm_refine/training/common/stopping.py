"""Train until what is measured on held-out images stops falling: the loop of whatever is fitted to a frozen generator."""

import copy
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from tqdm import tqdm

from ebm_refine.errors import InputError
from ebm_refine.training.common.resumable import Run


class Stopping(NamedTuple):
    """At most `steps`, measured every `every` of them and at the end; over once `patience` measurements found nothing lower."""

    steps: int
    every: int
    patience: int


def train_to_lowest(
    parts: dict[str, Any],
    kept: str,
    update: Callable[[int], None],
    measure: Callable[[], dict[str, float]],
    stopping: Stopping,
    run: Run,
    phase: str,
) -> dict[str, Any]:
    """Update until the first of the numbers that `measure` gives stops falling.

    parts: name -> what the updates change, with its state; `kept` names the network among them that is measured. Returns
    {"weights": its state dict where that number was lowest, "step", "steps_run", "measured": the numbers there}. `run` goes on
    from its last measurement, to the same bits. Raises InputError where no measurement gave a finite number.
    """
    best: dict[str, Any] = {"step": 0, "lowest": math.inf}
    first = 0
    if (state := run.load()) is not None:
        for name, part in parts.items():
            part.load_state_dict(state[name])
        torch.set_rng_state(state["rng"])
        first, best = state["step"], state["best"]

    for step in tqdm(range(first, stopping.steps + 1), initial=first, total=stopping.steps, desc=phase, mininterval=10):
        if step > first and (step % stopping.every == 0 or step == stopping.steps):
            measured = measure()
            run.log(phase=phase, step=step, **measured)
            lowest = next(iter(measured.values()))
            if lowest < best["lowest"]:
                weights = copy.deepcopy(parts[kept].state_dict())
                best = {"step": step, "lowest": lowest, "measured": measured, "weights": weights}
            states = {name: part.state_dict() for name, part in parts.items()}
            run.save({**states, "rng": torch.get_rng_state(), "step": step, "best": best})
        if step == stopping.steps or step - best["step"] >= stopping.patience * stopping.every:
            break
        update(step)
    if "weights" not in best:
        raise InputError(f"{phase} diverged: nothing that was measured in {step} steps is a finite number")
    return {**best, "steps_run": step}
