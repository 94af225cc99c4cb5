"""Elliptical slice sampling against closed forms: few and many dimensions, a uniform prior, passes as asked for."""

import math
from typing import Any

import laws
import pytest
import torch
import toy_targets
from torch import Tensor, nn
from zscores import LIMIT, gaussian_scores, histogram_score, mean_score

from ebm_refine.energies.priors import of_normal, uniform_latents
from ebm_refine.energies.targets import LatentTarget
from ebm_refine.samplers import METHODS
from ebm_refine.samplers.loop import run
from ebm_refine.samplers.pilot import Pilot

METHOD = METHODS["elliptical-slice"]
CHAINS = 10_000


def end(target: Any, n_steps: int, start: Tensor | None = None, count: int = CHAINS) -> tuple[Tensor, dict[str, Any]]:
    kernel, index = METHOD.build(target, {"n_steps": n_steps}, Pilot(target, 3)), torch.arange(count)
    *_, last = run(kernel, target.init(3, index) if start is None else start, 3, index, n_steps)
    return last.state.position, dict(kernel.summary(last.state))


@pytest.mark.parametrize("from_the_law", [False, True])
@pytest.mark.slow
def test_gaussian_posterior_in_the_plane(from_the_law: bool) -> None:
    """From the prior and from exact draws; the latter saw a stop after a fixed number of passes (variance 12 % too small)."""
    target = toy_targets.quadratic(2 * torch.eye(2), torch.ones(2))
    mean, covariance = torch.full((2,), 2 / 3), torch.eye(2, dtype=torch.float64) / 3
    draws = mean + math.sqrt(1 / 3) * torch.randn(CHAINS, 2, generator=torch.Generator().manual_seed(0))
    position, said = end(target, 40, draws if from_the_law else None)
    found = gaussian_scores(position, mean, covariance)
    assert all(abs(z) <= LIMIT for z in found.values()), found
    assert said["unfinished"] == 0


@pytest.mark.slow
def test_gaussian_posterior_in_a_hundred_dimensions() -> None:
    """r of the first ten coordinates alone, so that the posterior's other ninety are the prior's; from exact draws."""
    weight = torch.zeros(100)
    weight[:10] = 3.0
    target = LatentTarget(nn.Identity(), Separable(weight), 100)
    target.chunk = CHAINS
    mean, variance = (weight / (1 + weight)), 1 / (1 + weight)
    draws = mean + variance.sqrt() * torch.randn(4000, 100, generator=torch.Generator().manual_seed(1))
    position, _ = end(target, 60, draws, count=4000)
    standard = (position - mean) / variance.sqrt()
    assert abs(mean_score(standard.square().sum(dim=1), 100)) <= LIMIT
    assert abs(mean_score(standard[:, :10].square().sum(dim=1), 10)) <= LIMIT
    assert abs(mean_score(standard[:, :10].sum(dim=1), 0)) <= LIMIT
    assert not torch.equal(position, draws)


class Separable(nn.Module):
    """r(x) = -sum of w (x - 1)^2 / 2 over coordinates."""

    def __init__(self, weight: Tensor):
        super().__init__()
        self.weight = weight

    def forward(self, x: Tensor) -> Tensor:
        return -(self.weight * (x - 1).square()).sum(dim=1) / 2


class Tilt(nn.Module):
    """r(x) = 2 x_1 of points in the square."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x[:, 0]


@pytest.mark.slow
def test_a_uniform_prior() -> None:
    """Latents uniform on [-1, 1], carried as normal ones: density exp(2 u) in the first coordinate, uniform in the second."""
    target = LatentTarget(of_normal(nn.Identity(), {"name": "uniform"}), Tilt(), 2)
    target.chunk = CHAINS
    position, _ = end(target, 40)
    latents = uniform_latents(position).double().T.contiguous()
    edges = torch.linspace(-1, 1, 21, dtype=torch.float64)
    shares = (2 * edges[1:]).exp() - (2 * edges[:-1]).exp()
    for column, expected in ((0, shares), (1, torch.ones(20))):
        counts = torch.bincount(torch.bucketize(latents[column], edges[1:-1]), minlength=20)
        assert abs(histogram_score(counts, expected)) <= LIMIT


@pytest.mark.slow
def test_the_passes_are_those_asked_for_on_average() -> None:
    target = toy_targets.bimodal()
    for n_steps in (10, 50, 200):
        kernel, index = METHOD.build(target, {"n_steps": n_steps}, Pilot(target, 3)), torch.arange(2000)
        before = target.forwards
        for _ in run(kernel, target.init(3, index), 3, index, n_steps):
            pass
        passes = (target.forwards - before) / 2000 - 1  # less the start
        assert passes == pytest.approx(n_steps, rel=0.2)


def test_a_prior_that_is_not_normal_is_refused() -> None:
    from ebm_refine import refine
    from ebm_refine.errors import InputError

    with pytest.raises(InputError, match="method 'elliptical-slice' needs a normal or a uniform prior"):
        refine("toy-moons-exact", "elliptical-slice", num_images=1)


@pytest.mark.slow
def test_two_modes_of_unequal_weight_from_either() -> None:
    """All chains begin in the smaller mode and find the larger one as often as its weight says."""
    start = toy_targets.BimodalRatio.CENTRES[1].expand(CHAINS, 2)
    position, _ = end(toy_targets.bimodal(), 100, start)
    found = laws.plane_scores(position)
    assert all(abs(z) <= LIMIT for z in found.values()), found
