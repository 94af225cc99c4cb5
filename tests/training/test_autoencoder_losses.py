"""Losses of the autoencoder GANs: margins, the pulling-away term, BEGAN's control and MAGAN's margin, as their papers say."""

import math

import pytest
import torch
from torch import Tensor

from ebm_refine.training.algorithms.autoencoder_losses import (
    began_convergence,
    began_loss,
    generator_loss,
    margin_loss,
    mean_squared_cosine,
    next_k,
    next_margin,
    pulling_away,
)

REAL, FAKE = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.5, 4.0, 9.0])


def test_margin_loss_by_hand():
    assert margin_loss(REAL, FAKE, 5.0).item() == pytest.approx(2.0 + (4.5 + 1.0 + 0.0) / 3)


def test_margin_is_a_hinge():
    """A fake below m is pushed up with weight 1 / B, one beyond it not at all; a real image is pulled down always."""
    real, fake = REAL.clone().requires_grad_(), FAKE.clone().requires_grad_()
    margin_loss(real, fake, 5.0).backward()
    assert torch.equal(real.grad, torch.full((3,), 1 / 3))
    assert torch.equal(fake.grad, torch.tensor([-1 / 3, -1 / 3, 0.0]))


def test_margin_loss_is_least_where_the_energies_are_at_zero_and_the_margin():
    """Theorem 2 of the paper: at the equilibrium D(fake) stands between 0 and m, and L_D >= D(real) + m - D(fake)."""
    assert margin_loss(torch.zeros(4), torch.full((4,), 5.0), 5.0).item() == 0.0
    assert margin_loss(torch.zeros(4), torch.zeros(4), 5.0).item() == 5.0


def test_generator_loss_is_the_energy():
    assert generator_loss(FAKE).item() == pytest.approx(4.5)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_pulling_away_of_orthogonal_codes_is_0_and_of_equal_codes_1(scale: float):
    assert pulling_away(scale * torch.eye(7)).item() == pytest.approx(0.0, abs=1e-12)
    assert pulling_away(scale * torch.ones(7, 5)).item() == pytest.approx(1.0, abs=1e-6)
    opposite = torch.tensor([[1.0, 2.0], [-1.0, -2.0]])  # squared: one line counts as alike
    assert pulling_away(scale * opposite).item() == pytest.approx(1.0, abs=1e-6)


def test_pulling_away_is_over_distinct_pairs():
    """Three codes at angles of 60 and 120 degrees: every distinct pair has a squared cosine of 1/4."""
    angles = torch.tensor([0.0, math.pi / 3, 2 * math.pi / 3])
    codes = torch.stack([angles.cos(), angles.sin()], dim=1)
    assert pulling_away(codes).item() == pytest.approx(0.25, abs=1e-6)


def test_pulling_away_of_gaussian_codes():
    """Directions uniform on the sphere in d dimensions have E cos^2 = 1 / d."""
    codes = torch.randn(400, 16, generator=torch.Generator().manual_seed(0))
    # The mean's standard error, pairs being uncorrelated: sqrt(2 (d - 1) / (d^2 (d + 2)) / pairs) = 2.9e-4. At most z = 4.5.
    assert mean_squared_cosine(codes) == pytest.approx(1 / 16, abs=4.5 * 2.9e-4)


def test_pulling_away_drives_codes_apart():
    codes = torch.randn(6, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    before = pulling_away(codes)
    before.backward()
    with torch.no_grad():
        after = pulling_away(codes - 0.5 * codes.grad)
    assert after < before


@pytest.mark.parametrize("codes", [torch.ones(1, 4), torch.ones(4), torch.ones(2, 2, 2)])
def test_pulling_away_of_no_pair_is_refused(codes: Tensor):
    with pytest.raises(ValueError, match="B >= 2"):
        pulling_away(codes)


def test_began_loss_by_hand():
    assert began_loss(REAL, FAKE, 0.0).item() == pytest.approx(2.0)
    assert began_loss(REAL, FAKE, 0.4).item() == pytest.approx(2.0 - 0.4 * 4.5)


def test_k_moves_towards_the_balance_and_is_clipped():
    assert next_k(0.5, real=0.2, fake=0.05, gamma=0.5) == pytest.approx(0.5 + 0.001 * 0.05)
    assert next_k(0.5, real=0.2, fake=0.1, gamma=0.5) == 0.5
    assert next_k(0.0, real=0.2, fake=0.9, gamma=0.5) == 0.0
    assert next_k(1.0, real=0.9, fake=0.1, gamma=0.5) == 1.0
    assert next_k(0.999, real=100.0, fake=0.0, gamma=0.5, rate=0.5) == 1.0
    assert next_k(0.3, real=0.2, fake=0.05, gamma=0.5, rate=0.1) == pytest.approx(0.305)


def test_convergence_measure():
    assert began_convergence(0.2, 0.1, gamma=0.5) == pytest.approx(0.2)  # balanced
    assert began_convergence(0.2, 0.3, gamma=0.5) == began_convergence(0.2, -0.1, gamma=0.5) == pytest.approx(0.4)


def test_magan_margin_falls_only_where_all_three_hold():
    assert next_margin(0.5, real=0.3, fake=0.4, fake_before=0.35) == 0.3
    assert next_margin(0.2, real=0.3, fake=0.4, fake_before=0.35) == 0.2  # not below the margin
    assert next_margin(0.5, real=0.3, fake=0.29, fake_before=0.1) == 0.5  # G is already better than the data
    assert next_margin(0.5, real=0.3, fake=0.4, fake_before=0.41) == 0.5  # G is still getting better
    assert next_margin(0.5, real=0.3, fake=0.4, fake_before=0.4) == 0.5  # standing still is no rise
    assert next_margin(0.5, real=0.3, fake=0.4, fake_before=math.inf) == 0.5  # the first epoch


def test_magan_margin_never_rises():
    source = torch.Generator().manual_seed(0)
    margin, before = 1.0, math.inf
    for real, fake in torch.rand(500, 2, generator=source).tolist():
        following = next_margin(margin, real, fake, before)
        assert following <= margin
        margin, before = following, fake
    assert margin < 0.1  # it does move
