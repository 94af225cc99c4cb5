"""Moment matching against closed forms (docs/design.md, D12): the tilt between Gaussians, and what holds at a solution."""

import pytest
import torch

from ebm_refine.errors import InputError
from ebm_refine.models.networks.ratio import FeatureRatio
from ebm_refine.training.algorithms.moment_matching import match_moments, refits, tilt


def test_the_tilt_between_gaussians_of_one_covariance_is_linear_and_found():
    """log N(x; m, S) - log N(x; 0, S) = w·x + const with w = S^-1 m. Of N samples the estimate of w has the covariance
    exp(m·w) (S^-1 + w w') / N, by the delta method; three z-scores below 4.5, false alarm 2e-5."""
    source = torch.Generator().manual_seed(0)
    root = torch.tensor([[1.0, 0, 0], [0.5, 1.0, 0], [-0.3, 0.2, 0.8]], dtype=torch.float64)
    mean = torch.tensor([0.4, -0.2, 0.3], dtype=torch.float64)
    count = 200_000
    fake = torch.randn(count, 3, generator=source, dtype=torch.float64) @ root.T
    inverse = torch.linalg.inv(root @ root.T)
    true = inverse @ mean
    error = ((inverse.diagonal() + true.square()) * (mean @ true).exp() / count).sqrt()
    assert (((tilt(mean, fake, 1e-9, torch.zeros_like(mean)) - true) / error).abs() < 4.5).all()


def test_at_the_solution_the_means_differ_by_the_ridge_times_the_weights():
    source = torch.Generator().manual_seed(1)
    fake = torch.randn(500, 6, generator=source, dtype=torch.float64)
    wanted = torch.linspace(-0.4, 0.4, 6, dtype=torch.float64)
    for ridge in (0.03, 0.3, 3.0):
        weights = tilt(wanted, fake, ridge, torch.randn(6, generator=source, dtype=torch.float64))
        law = torch.softmax(fake @ weights, 0) @ fake
        assert torch.allclose(wanted - law, ridge * weights, atol=1e-6)


def network(hidden: int) -> FeatureRatio:
    torch.manual_seed(0)
    return FeatureRatio("resnet-classifier", {"in_channels": 3, "widths": [4, 4, 4], "classes": 2}, hidden, 0.0, pixels=1)


def test_the_fitted_head_is_normalised_and_its_law_has_the_same_mean_of_r_but_for_the_ridge():
    source = torch.Generator().manual_seed(2)
    real, fake = torch.randn(3000, 7, generator=source) + 0.6, 1.2 * torch.randn(4000, 7, generator=source)
    one = network(hidden=0)
    measured = match_moments(one, real, fake, 0.4)
    ridge = measured["ridge"]
    with torch.no_grad():
        on_real, on_fake = one.of_features(real).double(), one.of_features(fake).double()
    assert float(on_fake.exp().mean()) == pytest.approx(1.0, abs=1e-4)
    gap = float(on_real.mean() - on_fake.exp() @ on_fake / len(fake))
    squared = float(one.last.weight.detach().double().square().sum())
    assert gap == pytest.approx(ridge * squared, abs=1e-3)
    assert measured["mean_gap"] == pytest.approx(gap, abs=1e-3)
    share = float(on_fake.exp().sum() ** 2 / (2 * on_fake).exp().sum()) / len(fake)
    assert measured["effective_share"] == pytest.approx(share, rel=1e-3)
    assert 0.4 <= share < 0.42


def test_a_head_with_hidden_layers_is_refused():
    with pytest.raises(InputError, match="hidden=0"):
        match_moments(network(hidden=8), torch.randn(9, 7), torch.randn(9, 7), 0.1)


def test_refits_spread_as_the_delta_method_says():
    """Real N(m, I), generated N(0, I), both of N rows: w = m, and its covariance is I / N of the real means and
    exp(|m|²) (I + w w') / N of the generated rows. Variances over 60 refits, their ratios to these averaged over 7 weights: the
    mean's own error is sqrt(2 / (60 · 7)) = 7 %; within 4.5 of these, false alarm 7e-6."""
    source, count = torch.Generator().manual_seed(3), 6000
    real, fake = torch.randn(count, 7, generator=source) + 0.25, torch.randn(count, 7, generator=source)
    one = network(hidden=0)
    # Nearly no ridge: the least that is tried.
    ridge = match_moments(one, real, fake, 1e-6)["ridge"]
    found = refits(one, real, fake, ridge, 60, seed=0)
    weights = one.last.weight.detach()[0]
    by_refit, biases = (torch.cat([refit[name] for refit in found]) for name in ("last.weight", "last.bias"))
    expected = (1 + (weights.square().sum()).exp() * (1 + weights.square())) / count
    assert float((by_refit.var(0) / expected).mean()) == pytest.approx(1.0, abs=0.31)
    # Each is normalised over about the generated rows, as the head itself.
    with torch.no_grad():
        means = (one.head(fake) @ by_refit.T + biases).exp().mean(0)
    assert means.mean() == pytest.approx(1.0, abs=0.05)
    again = refits(one, real, fake, ridge, 2, seed=0)
    assert all(torch.equal(one["last.weight"], other["last.weight"]) for one, other in zip(again, found[:2], strict=True))
