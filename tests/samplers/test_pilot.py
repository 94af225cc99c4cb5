"""The pilot's random numbers are its own: no run draws them again."""

from typing import Any

import pytest
import torch
import toy_targets
from torch import Tensor

from ebm_refine.samplers import METHODS, elliptical_slice, flow
from ebm_refine.samplers.base import Info, Kernel, State
from ebm_refine.samplers.pilot import Pilot
from ebm_refine.samplers.rng import Draws, Stream
from ebm_refine.settings import MAX_IMAGES


def watched(seen: list[Tensor]) -> Kernel:
    """A kernel that notes the numbers of the chains that it is asked to move."""

    def step(state: State, draws: Draws) -> tuple[State, Info]:
        seen.append(draws.index)
        return state, Info(torch.ones(len(draws.index), dtype=torch.bool), torch.zeros(len(draws.index), dtype=torch.bool))

    return Kernel(lambda position: State(position, position[:, 0], position), step)


def test_the_step_is_tuned_on_chains_that_no_run_has() -> None:
    seen: list[Tensor] = []
    Pilot(toy_targets.gaussian(1.0, 2), 5).tuned_eps(lambda eps: watched(seen), 0.574)
    assert len(seen) == 40
    assert min(int(index.min()) for index in seen) == 2**31 >= MAX_IMAGES
    assert max(int(index.max()) for index in seen) < 2**32


@pytest.mark.parametrize("method", ["flex2mcmc", "elliptical-slice", "mala", "hmc", "tempering", "smc", "obrs", "rejection"])
@pytest.mark.slow
def test_nothing_that_a_method_learns_uses_a_runs_numbers(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every draw while the kernel is built is of the pilot's stream, or of chains that no run has."""
    monkeypatch.setattr(flow, "ITERATIONS", 2)
    monkeypatch.setattr(elliptical_slice, "PILOT_PASSES", 5)
    used: list[tuple[int, int]] = []
    for name in ("normal", "uniform"):
        plain: Any = getattr(Draws, name)
        default = Stream.NOISE if name == "normal" else Stream.ACCEPT

        def noted(draws: Draws, shape: Any = (), stream: Stream = default, block: int = 0, plain: Any = plain) -> Tensor:
            used.append((int(stream), int(draws.index.min())))
            return plain(draws, shape, stream, block)

        monkeypatch.setattr(Draws, name, noted)
    target = toy_targets.quadratic(toy_targets.A, toy_targets.B, toy_targets.PEAK)
    METHODS[method].build(target, {row.name: row.default for row in METHODS[method].parameters}, Pilot(target, 5))
    assert used
    assert all(stream == Stream.PILOT or first >= 2**31 for stream, first in used)
