"""Precision, recall, density and coverage: overlap of two sets of features by the balls to their k-th neighbours."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ebm_refine.errors import InputError
from ebm_refine.utils import cancellation

NEIGHBOURS = 5
CHUNK = 500


class Manifold(NamedTuple):
    """Shares in [0, 1], `density` in [0, N/k]; higher is better.

    `precision`: fakes within some real ball; `recall`: reals within some fake ball; `density`: real balls around a fake, over
    k; `coverage`: real balls that hold a fake. For equal laws density has mean 1 and coverage `expected_coverage`.
    """

    precision: float
    recall: float
    density: float
    coverage: float


SHARES = Manifold._fields


def overlap(real: Tensor, fake: Tensor, k: int = NEIGHBOURS, real_radii: Tensor | None = None, chunk: int = CHUNK) -> Manifold:
    """How `fake` (M, d) and `real` (N, d) overlap. N, M > k; all four depend on N and M, so compare at equal sizes only.

    Precision and recall: Kynkäänniemi et al. 2019 (arXiv 1904.06991; there k = 3); density and coverage: Naeem
    et al. 2020 (arXiv 2002.09797; there k = 5). A ball is closed and its radius is the distance to the k-th other
    row of its own set. `real_radii`: `squared_radii(real, k)`, where it is at hand. Distances are float32, `chunk` rows of
    `fake` at a time. Raises InputError for other shapes or sizes and for values that are not finite.
    """
    _check(real, k, "real")
    _check(fake, k, "fake")
    if real.shape[1] != fake.shape[1]:
        raise InputError(f"real and fake features must have one dimension; got {real.shape[1]} and {fake.shape[1]}")
    real_radii = squared_radii(real, k, chunk) if real_radii is None else real_radii
    fake_radii = squared_radii(fake, k, chunk)
    recalled, covered = torch.zeros_like(real_radii, dtype=torch.bool), torch.zeros_like(real_radii, dtype=torch.bool)
    precise, balls = 0, 0
    for start, squared in _squared_distances(fake, real, chunk):
        within = squared <= real_radii
        count = within.sum(1)
        precise += int((count > 0).sum())
        balls += int(count.sum())
        covered |= within.any(0)
        recalled |= (squared <= fake_radii[start : start + len(squared), None]).any(0)
    return Manifold(
        precise / len(fake), int(recalled.sum()) / len(real), balls / (k * len(fake)), int(covered.sum()) / len(real)
    )


def squared_radii(features: Tensor, k: int = NEIGHBOURS, chunk: int = CHUNK) -> Tensor:
    """(N,) float32: the squared distance of each row of `features` (N, d) to its k-th nearest other row, N > k >= 1."""
    _check(features, k, "given")
    radii = []
    for start, squared in _squared_distances(features, features, chunk):
        squared.diagonal(start).fill_(torch.inf)
        radii.append(squared.topk(k, dim=1, largest=False, sorted=False).values.amax(1))
    return torch.cat(radii)


def expected_coverage(real: int, fake: int, k: int = NEIGHBOURS) -> float:
    """Mean coverage of `real` rows by `fake` rows of the same continuous law (Naeem et al. 2020, section 3)."""
    missed = 1.0
    for i in range(1, k + 1):
        missed *= (real - i) / (real + fake - i)
    return 1 - missed


def _squared_distances(rows: Tensor, columns: Tensor, chunk: int) -> Iterator[tuple[int, Tensor]]:
    """(start, (<= chunk, M)) for `rows` (N, d) in chunks against `columns` (M, d).

    Both are moved by the columns' mean first, as |x|² + |y|² - 2x·y loses digits where the features lie far from 0.
    """
    mean = columns.double().mean(0)
    rows, columns = (rows.double() - mean).float(), (columns.double() - mean).float()
    norms = columns.square().sum(1)
    for start in range(0, len(rows), chunk):
        cancellation.check()
        part = rows[start : start + chunk]
        squared = torch.addmm(norms, part, columns.T, alpha=-2).add_(part.square().sum(1, keepdim=True))
        yield start, squared.clamp_min_(0)


def _check(features: Tensor, k: int, which: str) -> None:
    if features.ndim != 2 or not 1 <= k < len(features):
        raise InputError(f"the {which} features must be (N, d) with N > k >= 1; got {tuple(features.shape)} and k = {k}")
    if not features.isfinite().all():
        raise InputError(f"the {which} features hold values that are not finite")
