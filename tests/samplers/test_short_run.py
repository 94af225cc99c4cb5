"""Short-run: Langevin where nothing is clipped or clamped; clipping and clamping in closed form; faults are noticed."""

from types import ModuleType

import pytest
import torch
import toy_targets
from toy_targets import mutant
from zscores import LIMIT, gaussian_scores

from ebm_refine.samplers import langevin, short_run
from ebm_refine.samplers.loop import run
from ebm_refine.samplers.rng import Draws

CHAINS = 4000
PRECISION, EPS, TEMPERATURE, CLIP = 4.0, 0.2, 0.7, 0.9


def bounded(low: float = -0.5, high: float = 0.5, dim: int = 2):
    target = toy_targets.gaussian(PRECISION, dim)
    target.bounds = (low, high)
    return target


def one_step_law(module: ModuleType = short_run, start: float = 1.5) -> dict[str, float]:
    """From one point a step has the law N(x - (eps / 2) clip(lambda x), eps T): here the gradient 6 is clipped."""
    target = toy_targets.gaussian(PRECISION)
    index = torch.arange(CHAINS)
    kernel = module.short_run(target, EPS, TEMPERATURE, CLIP)
    state, _ = kernel.step(kernel.init(torch.full((CHAINS, 1), start)), Draws(0, index, 1))
    mean = torch.tensor([start - EPS / 2 * CLIP], dtype=torch.float64)
    return gaussian_scores(state.position, mean, torch.tensor([[EPS * TEMPERATURE]], dtype=torch.float64))


def test_oracle_one_clipped_step() -> None:
    assert all(abs(z) <= LIMIT for z in one_step_law().values())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("grad.clamp(-clip, clip)", "grad.clamp(max=2 * clip)"),
        ("alpha=-eps / 2", "alpha=-eps"),
        ("math.sqrt(eps * temperature)", "math.sqrt(eps) * temperature"),
        ("math.sqrt(eps * temperature)", "1.1 * math.sqrt(eps * temperature)"),
    ],
)
def test_mutation_of_a_step(old: str, new: str) -> None:
    assert any(abs(z) > LIMIT for z in one_step_law(mutant(short_run, old, new)).values())


def test_without_clipping_and_bounds_it_is_langevin() -> None:
    target, index = toy_targets.quadratic(toy_targets.A, toy_targets.B, toy_targets.PEAK), torch.arange(50)
    start = target.init(0, index)
    chains = []
    for kernel in (langevin.langevin(target, 0.3, 0.5), short_run.short_run(target, 0.3, 0.5, 1e6)):
        *_, last = run(kernel, start, 0, index, 20)
        chains.append(last.state.position)
    torch.testing.assert_close(chains[0], chains[1])


def test_without_noise_every_coordinate_moves_by_the_clipped_gradient() -> None:
    target = toy_targets.gaussian(PRECISION, 2)
    kernel = short_run.short_run(target, 20.0, 0.0, 0.03)
    start = torch.tensor([[5.0, -7.0], [0.001, 0.0]])
    state, _ = kernel.step(kernel.init(start), Draws(0, torch.arange(2), 1))
    torch.testing.assert_close(state.position, start - 10 * torch.tensor([[0.03, -0.03], [0.004, 0.0]]))


def test_positions_stay_within_the_bounds_and_reach_them() -> None:
    target, index = bounded(), torch.arange(100)
    for frame in run(short_run.short_run(target, 1.0, 1.0, 10.0), torch.zeros(100, 2), 0, index, 10):
        assert bool(((frame.state.position >= -0.5) & (frame.state.position <= 0.5)).all())
    assert bool((frame.state.position.abs() == 0.5).any())


def test_mutation_without_clamping() -> None:
    broken = mutant(short_run, ".clamp_(*bounds)", "")
    *_, last = run(broken.short_run(bounded(), 1.0, 1.0, 10.0), torch.zeros(100, 2), 0, torch.arange(100), 5)
    assert float(last.state.position.abs().max()) > 0.5


def test_start_is_left_alone() -> None:
    start = torch.ones(3, 2)
    kernel = short_run.short_run(bounded(-2.0, 2.0), 0.1, 1.0, 1.0)
    state, _ = kernel.step(kernel.init(start), Draws(0, torch.arange(3), 1))
    assert torch.equal(start, torch.ones(3, 2))
    assert not torch.equal(state.position, start)
