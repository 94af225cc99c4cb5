"""The one resumable loop under every training: where it stands, what its state is made of, and where it must stop."""

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from ebm_refine.errors import InputError
from ebm_refine.training.common.resumable import Run
from ebm_refine.utils import cancellation


class Updates:
    """The numbers of the updates that are still to be made, `first` to `steps` - 1; iterate over it.

    parts: name -> what the updates change, with `state_dict` and `load_state_dict`. `extra` are plain values saved with them,
    such as the best weights so far; change them in place in `self.extra`. Where `run` holds a state, parts, random numbers and
    extra values are those of that state, and the loop continues as if it had not been interrupted, to the bit. Without a run
    nothing is saved, and no bar is drawn. Raises InputError where the run's state has other parts.
    """

    def __init__(self, run: Run | None, parts: dict[str, Any], steps: int, title: str, **extra: Any):
        self.run, self.parts, self.steps, self.title, self.extra = run, parts, steps, title, extra
        self.first = 0
        if run is not None and (state := run.load()) is not None:
            if missing := [name for name in (*parts, "rng", "step", *extra) if name not in state]:
                raise InputError(
                    f"{run.folder} holds a state without {missing[0]!r}, of another version of ebm-refine; "
                    "remove it to begin anew"
                )
            torch.set_rng_state(state["rng"])
            self.first = self.restore(state)
            self.extra = {name: state[name] for name in extra}

    def __iter__(self) -> Iterator[int]:
        numbers = range(self.first, self.steps)
        bar = {"initial": self.first, "total": self.steps, "desc": self.title, "mininterval": 10}
        return iter(numbers if self.run is None else tqdm(numbers, **bar))

    def due(self, done: int, every: int) -> bool:
        """Whether `done` updates are a multiple of `every`, or all."""
        return done % every == 0 or done == self.steps

    def save(self, done: int) -> None:
        """Save the state after `done` updates."""
        if self.run is not None:
            states = {name: part.state_dict() for name, part in self.parts.items()}
            self.run.save({**states, "rng": torch.get_rng_state(), "step": done, **self.extra})

    def state(self, done: int) -> dict[str, Any]:
        """A copy of the state of all parts after `done` updates, with "step"."""
        return copy.deepcopy({name: part.state_dict() for name, part in self.parts.items()}) | {"step": done}

    def restore(self, state: dict[str, Any]) -> int:
        """Put all parts back into `state`; gives the number of updates that it is after."""
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        return state["step"]


class Progress(NamedTuple):
    """After `step` of `steps`: `numbers` to log, and `state`, a copy of that of all parts.

    `stopped` is a sentence where the run diverged; all parts are then in their last good state, which is `state`.
    """

    step: int
    steps: int
    numbers: dict[str, float]
    state: dict[str, Any]
    stopped: str = ""


class Watched:
    """Updates that report progress and stop on divergence: iterate over it for a Progress every `every` updates.

    `update(step)` makes one update and gives scalars. `trouble` gives from these the reason to stop, or ""; `report(step)`
    gives the numbers of a Progress (None: the scalars of its update). The state is saved every `save_every` updates and at the
    end, after the caller has seen the Progress and changed `extra`.
    """

    def __init__(
        self,
        updates: Updates,
        every: int,
        update: Callable[[int], Mapping[str, Tensor | float]],
        trouble: Callable[[dict[str, float]], str],
        report: Callable[[int], dict[str, float]] | None = None,
        save_every: int = 1,
    ):
        self.updates, self.every, self.save_every = updates, every, save_every
        self.update, self.trouble, self.report = update, trouble, report

    @property
    def extra(self) -> dict[str, Any]:
        return self.updates.extra

    def __iter__(self) -> Iterator[Progress]:
        updates = self.updates
        good = updates.state(updates.first)
        for number in updates:
            cancellation.check()
            numbers = {name: float(value) for name, value in self.update(number).items()}
            step = number + 1
            if trouble := self.trouble(numbers):
                why = f"stopped at step {step}: {trouble}; the state of step {good['step']} is restored"
                yield Progress(updates.restore(good), updates.steps, {}, good, why)
                updates.save(good["step"])
                return
            if updates.due(step, self.every):
                good = updates.state(step)
                yield Progress(step, updates.steps, numbers if self.report is None else self.report(number), good)
                if updates.due(step, self.save_every):
                    updates.save(step)


def no_trouble(numbers: dict[str, float]) -> str:
    """Of a training that cannot diverge."""
    return ""
