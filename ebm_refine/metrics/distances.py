"""Fréchet and unbiased kernel distances between sets of features (torchmetrics), with errors and paired differences."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import poly_kernel

from ebm_refine.metrics.features import Reference


class Estimate(NamedTuple):
    """A value and its standard error; `interval` is the central 95 % interval."""

    value: float
    error: float

    @property
    def interval(self) -> tuple[float, float]:
        return self.value - 1.96 * self.error, self.value + 1.96 * self.error


def frechet_distance(features: Tensor, reference: Reference) -> float:
    """Squared Fréchet distance of Gaussians fitted to `features` (N, d) and to the reference (Heusel et al. 2017).

    Biased upwards by about the real-versus-real floor at N; "FID" only with Inception-v3 features. Needs N >= 2.
    """
    metric = FrechetInceptionDistance(feature=_Given(features.shape[1]), normalize=True).set_dtype(torch.float64)
    metric.update(features.double(), real=False)
    metric.real_features_sum = reference.mean * reference.images
    metric.real_features_cov_sum = reference.covariance * (reference.images - 1) + reference.images * torch.outer(
        reference.mean, reference.mean
    )
    metric.real_features_num_samples = torch.tensor(reference.images)
    return float(metric.compute())


def kernel_distance(features: Tensor, reference: Reference) -> Estimate:
    """Unbiased squared maximum mean discrepancy with the cubic kernel of KID (Bińkowski et al. 2018, arXiv 1801.01401).

    features (N, d), N >= 2, against the reference's stored features. May be negative. The error comes from the Hájek projection
    of both samples.
    """
    value, on_features, on_reference = _projections(features, reference)
    return Estimate(value, _error(on_features, on_reference))


def paired_difference(before: Tensor, after: Tensor, reference: Reference) -> Estimate:
    """kernel_distance(after) - kernel_distance(before), where row i of both comes from the same seed; negative is better.

    The projections are subtracted image by image before their variance is taken, so what the pairs share cancels.
    """
    value_before, on_before, reference_before = _projections(before, reference)
    value_after, on_after, reference_after = _projections(after, reference)
    return Estimate(value_after - value_before, _error(on_after - on_before, reference_after - reference_before))


def mean_kernel_of_others(features: Tensor) -> Tensor:
    """(N,) float64: of each row of `features` (N, d) the mean kernel value with every other row."""
    features = features.double()
    within = poly_kernel(features, features)
    return (within.sum(1) - within.diagonal()) / (len(features) - 1)


def _projections(features: Tensor, reference: Reference) -> tuple[float, Tensor, Tensor]:
    """The distance and twice its first-order projections on each row of `features` (N,) and of the reference (M,)."""
    row = mean_kernel_of_others(features)
    across = poly_kernel(features.double(), reference.features.double())
    value = row.mean() + reference.kernel_rows.mean() - 2 * across.mean()
    return float(value), 2 * (row - across.mean(1)), 2 * (reference.kernel_rows - across.mean(0))


def _error(on_features: Tensor, on_reference: Tensor) -> float:
    return float((on_features.var() / len(on_features) + on_reference.var() / len(on_reference)).sqrt())


class _Given(nn.Module):
    """Stands where torchmetrics expects an extractor: the features are computed already."""

    def __init__(self, dimension: int):
        super().__init__()
        self.num_features = dimension

    def forward(self, features: Tensor) -> Tensor:
        return features
