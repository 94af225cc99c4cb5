"""Fréchet and unbiased kernel distances between sets of features (torchmetrics), with errors and paired differences."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import poly_kernel

from ebm_refine.metrics.features import Reference


class Estimate(NamedTuple):
    """A value and its standard error; `interval` is the central 95 % interval.

    `reference_error` is the part of the error that the real images make: it does not shrink with more generated ones.
    """

    value: float
    error: float
    reference_error: float = 0.0

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


def frechet_estimate(features: Tensor, reference: Reference) -> Estimate:
    """`frechet_distance` with its standard error, to first order in both samples: their noise, not the upward bias.

    With T the linear map that carries one Gaussian to the other, the distance changes by (x - m)'(I - T)(x - m) + 2 (m - m')'x
    an image x (derivative of the Bures distance: Bhatia, Jain and Lim 2019, arXiv 1712.01504). The reference counts as all its
    images, also where the features of only a part of them are stored. Needs N > d on both sides.
    """
    value, on_features, on_reference = _frechet_projections(features, reference)
    return _estimate(value, on_features, on_reference, reference.images)


def paired_frechet_difference(before: Tensor, after: Tensor, reference: Reference) -> Estimate:
    """frechet_estimate(after) - frechet_estimate(before), where row i of both comes from the same seed; negative is better."""
    value_before, on_before, reference_before = _frechet_projections(before, reference)
    value_after, on_after, reference_after = _frechet_projections(after, reference)
    on_reference = reference_after - reference_before
    return _estimate(value_after - value_before, on_after - on_before, on_reference, reference.images)


def kernel_distance(features: Tensor, reference: Reference) -> Estimate:
    """Unbiased squared maximum mean discrepancy with the cubic kernel of KID (Bińkowski et al. 2018, arXiv 1801.01401).

    features (N, d), N >= 2, against the reference's stored features. May be negative. The error comes from the Hájek projection
    of both samples.
    """
    value, on_features, on_reference = _projections(features, reference)
    return _estimate(value, on_features, on_reference, len(on_reference))


def paired_difference(before: Tensor, after: Tensor, reference: Reference) -> Estimate:
    """kernel_distance(after) - kernel_distance(before), where row i of both comes from the same seed; negative is better.

    The projections are subtracted image by image before their variance is taken, so what the pairs share cancels.
    """
    _, change, on_features, on_reference = change_projections(before, after, reference)
    return _estimate(change, on_features, on_reference, len(on_reference))


def change_projections(before: Tensor, after: Tensor, reference: Reference) -> tuple[float, float, Tensor, Tensor]:
    """The kernel distance before, its change, and what each pair of rows (N,) and each real image (M,) contributes to that.

    The changes of several kinds of features on the same images are correlated; these rows say how much.
    """
    value_before, on_before, reference_before = _projections(before, reference)
    value_after, on_after, reference_after = _projections(after, reference)
    return value_before, value_after - value_before, on_after - on_before, reference_after - reference_before


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


def _frechet_projections(features: Tensor, reference: Reference) -> tuple[float, Tensor, Tensor]:
    """The Fréchet distance and its first-order change with each row of `features` (N,) and of the reference (M,)."""
    rows, real = features.double(), reference.features.double()
    centred, real_centred = rows - rows.mean(0), real - reference.mean
    covariance = torch.cov(rows.T)
    root, inverse = _roots(covariance)
    middle, inverse_middle = _roots(root @ reference.covariance @ root)
    there, back = inverse @ middle @ inverse, root @ inverse_middle @ root
    apart = rows.mean(0) - reference.mean
    value = apart.square().sum() + covariance.trace() + reference.covariance.trace() - 2 * middle.trace()
    on_features = (centred.square() - (centred @ there) * centred).sum(1) + 2 * centred @ apart
    on_reference = (real_centred.square() - (real_centred @ back) * real_centred).sum(1) - 2 * real_centred @ apart
    return float(value), on_features, on_reference


def _roots(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """The square root of a symmetric matrix and that root's inverse; eigenvalues are at least 1e-10 of the largest."""
    values, vectors = torch.linalg.eigh(matrix)
    roots = values.clamp_min(1e-10 * values[-1]).sqrt()
    return (vectors * roots) @ vectors.T, (vectors / roots) @ vectors.T


def _estimate(value: float, on_features: Tensor, on_reference: Tensor, real_images: int) -> Estimate:
    """s² = variance over generated images / their number + variance over real ones / theirs."""
    of_reference = float(on_reference.var()) / real_images
    return Estimate(value, (float(on_features.var()) / len(on_features) + of_reference) ** 0.5, of_reference**0.5)


class _Given(nn.Module):
    """Stands where torchmetrics expects an extractor: the features are computed already."""

    def __init__(self, dimension: int):
        super().__init__()
        self.num_features = dimension

    def forward(self, features: Tensor) -> Tensor:
        return features
