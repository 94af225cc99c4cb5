"""A basis in which features of any kind are of one scale: standardised, and reduced to principal components of real images.

The components are standardised too. Left as they are, the first few of them, brightness and contrast, drown all others under a
cubic kernel.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ebm_refine.errors import InputError

COMPONENTS = 48
# A feature that hardly ever moves is not blown up: no deviation counts as less than this share of the root mean square one.
LEAST_DEVIATION = 0.3
# Directions with less of the variance than this are rounding.
LEAST_SHARE = 1e-6


class Basis(NamedTuple):
    """features (N, D) -> ((features - mean) @ projection), (N, k): mean (D,) float32, projection (D, k) float32.

    Over the real images that it was fitted to, every component has mean 0 and variance 1.
    """

    mean: Tensor
    projection: Tensor

    def project(self, features: Tensor) -> Tensor:
        """(N, D) -> (N, k) float32."""
        return (features.float() - self.mean) @ self.projection


def fit_basis(features: Tensor, most: int = COMPONENTS) -> Basis:
    """The basis of real images' features (N, D), with `most` components or fewer. N >= 2.

    Each feature is divided by its standard deviation, but by no less than 0.3 of the root mean square one; then come the
    leading eigenvectors of the covariance, each divided by the root of its eigenvalue. The projection is rounded to half
    precision, the form in which it is stored.
    Raises InputError where no feature varies.
    """
    rows = features.double()
    mean, deviation = rows.mean(0), rows.std(0)
    floor = LEAST_DEVIATION * deviation.square().mean().sqrt()
    if not floor > 0:
        raise InputError(f"the {len(features)} real images are all alike in these features; other images are needed")
    scale = deviation.clamp_min(floor)
    values, vectors = torch.linalg.eigh(torch.cov(((rows - mean) / scale).T).reshape(rows.shape[1], -1))
    count = min(most, int((values > LEAST_SHARE * values.sum()).sum()), len(features) - 1)
    values, vectors = values.flip(0)[:count], vectors.flip(1)[:, :count]
    # The sign of an eigenvector is arbitrary; a fixed one lets two machines store the same basis.
    vectors = vectors * vectors.gather(0, vectors.abs().argmax(0, keepdim=True)).sign()
    projection = vectors / scale[:, None] / values.sqrt()
    return Basis(mean.float(), projection.half().float())
