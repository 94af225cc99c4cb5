"""Langevin with the prior solved exactly: untouched where r is flat, and by hand where it is not."""

import math

import torch
import toy_targets
from zscores import LIMIT, gaussian_scores

from ebm_refine.samplers.langevin_exact import langevin_exact
from ebm_refine.samplers.loop import run
from ebm_refine.samplers.rng import Draws


def test_a_flat_ratio_leaves_the_prior_as_it_is_at_any_step() -> None:
    """Two steps of eps = 3, at which `langevin` would widen the prior to four times its variance."""
    target, index = toy_targets.bimodal(beta=0.0), torch.arange(10_000)
    *_, last = run(langevin_exact(target, 3.0), target.init(1, index), 1, index, 2)
    found = gaussian_scores(last.state.position, torch.zeros(2), torch.eye(2, dtype=torch.float64))
    assert all(abs(z) <= LIMIT for z in found.values()), found


def test_a_step_by_hand() -> None:
    target, index, eps, temperature = toy_targets.quadratic(toy_targets.A, toy_targets.B), torch.arange(5), 0.4, 0.6
    kernel = langevin_exact(target, eps, temperature)
    before = target.init(1, index)
    after, _ = kernel.step(kernel.init(before), Draws(1, index, 2))
    pull, share = -(before - toy_targets.B) @ toy_targets.A, math.exp(-eps / 2)
    noise = Draws(1, index, 2).normal((3,))
    expected = share * before + (1 - share) * pull + math.sqrt(temperature * (1 - share**2)) * noise
    torch.testing.assert_close(after.position, expected, rtol=1e-5, atol=1e-5)
