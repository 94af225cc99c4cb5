"""The one resumable loop under every training that counts updates: where it stands, what its state is made of."""

from collections.abc import Iterator
from typing import Any

import torch
from tqdm import tqdm

from ebm_refine.training.common.resumable import Run


class Updates:
    """The numbers of the updates that are still to be made, `first` to `steps` - 1; iterate over it.

    parts: name -> what the updates change, with `state_dict` and `load_state_dict`. `kept` are plain values that travel with
    them, such as the best weights so far; change them in place in `self.kept`. Where `run` holds a state, parts, random numbers
    and kept values are those of that state, and a loop that goes on from there is the uninterrupted one to the bit.
    """

    def __init__(self, run: Run, parts: dict[str, Any], steps: int, title: str, **kept: Any):
        self.run, self.parts, self.steps, self.title, self.kept = run, parts, steps, title, kept
        self.first = 0
        if (state := run.load()) is not None:
            for name, part in parts.items():
                part.load_state_dict(state[name])
            torch.set_rng_state(state["rng"])
            self.first = state["step"]
            self.kept = {name: state[name] for name in kept}

    def __iter__(self) -> Iterator[int]:
        return iter(tqdm(range(self.first, self.steps), initial=self.first, total=self.steps, desc=self.title, mininterval=10))

    def due(self, done: int, every: int) -> bool:
        """Whether `done` updates are a multiple of `every`, or all."""
        return done % every == 0 or done == self.steps

    def save(self, done: int) -> None:
        """Save the state after `done` updates."""
        states = {name: part.state_dict() for name, part in self.parts.items()}
        self.run.save({**states, "rng": torch.get_rng_state(), "step": done, **self.kept})
