"""Whole transitions replayed from a CUDA graph: noise, networks, gradient, acceptance and update in one launch.

A small batch leaves a GPU waiting for Python, which starts some hundred kernels a step. A graph starts them all at once, always
on the same memory: the states that a replayed step returns are those buffers, so each is valid until the next step. Random
numbers need no generator in the graph: they are a function of the transition's number, which is written to the device each
time.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from ebm_refine.samplers.base import Info, Kernel
from ebm_refine.samplers.rng import Draws
from ebm_refine.utils import cancellation

# Records what `work` does on the device, without doing it; returns what does it, and `work`'s result, which that fills.
Capture = Callable[[Callable[[], Info]], tuple[Callable[[], None], Info]]


class Counting(Protocol):
    """A target that counts the positions it evaluated."""

    forwards: int
    gradients: int

    @property
    def device(self) -> torch.device: ...


def captured(kernel: Kernel, target: Counting) -> Kernel:
    """`kernel`, on CUDA with its steps from the second on replayed from a graph; unchanged where that cannot be.

    Where the recording fails, for lack of memory or otherwise, steps run as usual.
    """
    if target.device.type != "cuda" or not kernel.capturable or not getattr(target, "replayable", True):
        return kernel
    return kernel._replace(step=Replayed(kernel.step, target, cuda_graph))


def cuda_graph(work: Callable[[], Info]) -> tuple[Callable[[], None], Info]:
    """Capture `work`, which has run before at the same shapes."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = work()
    return graph.replay, result


class _Recording(NamedTuple):
    """A step on fixed memory: `state` goes in and comes out; `forwards` and `gradients` are what each replay evaluates."""

    replay: Callable[[], None]
    seed: int
    index: Tensor  # type: ignore[assignment]  # as in Draws
    number: Tensor
    state: Any
    info: Info
    forwards: int
    gradients: int


class Replayed:
    """A kernel's `step` that is recorded by `capture` when first used after transition 1, and replayed from then on.

    Transition 1 is never replayed: it warms up whatever allocates on first use, and some methods begin by it.
    """

    def __init__(self, step: Callable[[Any, Draws], tuple[Any, Info]], target: Counting, capture: Capture):
        self.step, self.target, self.capture = step, target, capture
        self.recording: _Recording | None = None
        self.possible = True

    def __call__(self, state: Any, draws: Draws) -> tuple[Any, Info]:
        if self.recording is None and self.possible and not draws.first:
            self.recording = self._record(state, draws)
        recording = self.recording
        if recording is None or draws.first or draws.seed != recording.seed or draws.index is not recording.index:
            return self.step(state, draws)
        cancellation.check()
        for buffer, value in zip(recording.state, state, strict=True):
            if buffer is not value:
                buffer.copy_(value)
        recording.number.fill_(draws.step)
        recording.replay()
        self.target.forwards += recording.forwards
        self.target.gradients += recording.gradients
        return recording.state, recording.info

    def _record(self, state: Any, draws: Draws) -> _Recording | None:
        buffers = type(state)(*(value.clone() for value in state))
        number = torch.tensor(draws.step, dtype=torch.int64, device=draws.index.device)

        def work() -> Info:
            after, info = self.step(buffers, draws._replace(step=number))  # type: ignore[arg-type]
            for buffer, value in zip(buffers, after, strict=True):
                buffer.copy_(value)
            return info

        forwards, gradients = self.target.forwards, self.target.gradients
        try:
            replay, info = self.capture(work)
        except RuntimeError:  # what PyTorch raises for an operation that cannot be captured, and for memory that ran out
            self.possible = False
            return None
        finally:
            made = self.target.forwards - forwards, self.target.gradients - gradients
            self.target.forwards, self.target.gradients = forwards, gradients
        return _Recording(replay, draws.seed, draws.index, number, buffers, info, *made)
