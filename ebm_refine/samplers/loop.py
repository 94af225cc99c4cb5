"""The one loop that runs every kernel. Command line, page, evaluation and tests all consume it."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ebm_refine.samplers.base import Kernel
from ebm_refine.samplers.rng import Draws

MAX_FRAMES = 60


class Transition(NamedTuple):
    """The chains after `step` transitions. `keep` marks the thinned frames, at most MAX_FRAMES of a run, ends included.

    `accepted`, `nonfinite` and `proposal` are the last transition's (`samplers.base.Info`).
    """

    step: int
    state: Any
    accepted: Tensor
    nonfinite: Tensor
    keep: bool
    proposal: Tensor | None = None


def run(kernel: Kernel, position: Tensor, seed: int, index: Tensor, n_steps: int) -> Iterator[Transition]:
    """Yield the start (step 0) and the state after every transition; ends early once the kernel is finished.

    position (B, d…) is the chains' start, index (B,) int64 their sample numbers for the random numbers. Only the last state is
    in memory: it does not grow with n_steps. Stop by closing the generator.
    """
    saved = saved_steps(n_steps)
    state = kernel.init(position)
    nothing = torch.zeros(len(position), dtype=torch.bool, device=position.device)
    yield Transition(0, state, nothing, nothing, True)
    for step in range(1, n_steps + 1):
        state, info = kernel.step(state, Draws(seed, index, step))
        finished = kernel.finished(state)
        yield Transition(step, state, info.accepted, info.nonfinite, step in saved or finished, info.proposal)
        if finished:
            return


def saved_steps(n_steps: int) -> frozenset[int]:
    """The steps whose frames are saved: at most MAX_FRAMES from 0 to n_steps, evenly spread, both ends among them."""
    count = min(n_steps + 1, MAX_FRAMES)
    return frozenset(round(k * n_steps / max(count - 1, 1)) for k in range(count))
