"""The common basis of features: its scale, its order, and what it does to features that hardly move."""

import pytest
import torch

from ebm_refine.errors import InputError
from ebm_refine.metrics.principal_components import fit_basis


def _features(count=2000):
    source = torch.Generator().manual_seed(0)
    mixing = torch.randn(12, 12, generator=source)
    return torch.randn(count, 12, generator=source) @ mixing * torch.logspace(0, 0.5, 12) + 5


def test_projected_features_are_centred_uncorrelated_and_of_variance_one():
    features = _features()
    rows = fit_basis(features, most=6).project(features)
    assert rows.shape == (2000, 6)
    assert rows.mean(0).abs().max() < 0.01
    covariance = torch.cov(rows.T)
    # To the half precision of the stored projection.
    assert (covariance - covariance.diagonal().diag()).abs().max() < 0.01
    assert (covariance.diagonal() - 1).abs().max() < 0.01


def test_the_unit_of_a_feature_does_not_matter():
    features = _features()
    rows = fit_basis(features).project(features)
    other = fit_basis(features * torch.linspace(1, 1.5, 12)).project(features * torch.linspace(1, 1.5, 12))
    assert torch.allclose(torch.cdist(rows[:50], rows[:50]), torch.cdist(other[:50], other[:50]), atol=0.05)


def test_a_feature_that_hardly_moves_is_not_blown_up():
    features = torch.randn(500, 3, generator=torch.Generator().manual_seed(1))
    features[:, 2] *= 1e-6
    basis = fit_basis(features)
    assert basis.project(features + torch.tensor([0, 0, 1e-4])).sub(basis.project(features)).abs().max() < 0.01


def test_images_that_are_all_alike_are_refused():
    with pytest.raises(InputError, match="the 7 real images are all alike"):
        fit_basis(torch.ones(7, 3))
