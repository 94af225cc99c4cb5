"""Kernelised Stein discrepancy: how far samples are from a law of which only the score is known, grad log p.

Liu, Lee and Jordan 2016, "A kernelized Stein discrepancy for goodness-of-fit tests" (arXiv 1602.03253), and Chwialkowski et al.
2016 (arXiv 1602.02964). What it cannot see: scores know nothing of the weights of modes far apart, so a sampler that fills them
in wrong shares passes; and in high dimension this kernel notices little (Gorham and Mackey 2017, arXiv 1703.01717).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ebm_refine.errors import InputError
from ebm_refine.utils import cancellation

# Rows against columns at a time, and rows whose distances give the bandwidth: memory does not follow the number of samples.
CHUNK = 500
BANDWIDTH_ROWS = 1000


class SteinDiscrepancy(NamedTuple):
    """`value` is the squared discrepancy, 0 in the mean for samples of the law and positive for others; it may be negative.

    `null_sd` is the standard deviation that it has for samples of the law, to be read beside it.
    """

    value: float
    null_sd: float


def stein_discrepancy(samples: Tensor, scores: Tensor, bandwidth: float | None = None) -> SteinDiscrepancy:
    """Of independent `samples` (N, d), N >= 2, with `scores` (N, d), the law's grad log p at them; one draw a chain.

    The U-statistic over pairs with the kernel exp(-|x - y|² / 2h²), h the `bandwidth`; None: the median distance between
    samples. For samples of the law it is degenerate, with variance 2 E[u²] / (N (N - 1)), which the pairs themselves give.
    Not a number where a value is not finite, or where half of the samples are one point. Raises InputError for other shapes.
    """
    if samples.ndim != 2 or samples.shape != scores.shape or len(samples) < 2:
        raise InputError(
            f"samples and scores must be (N, d) alike with N of 2 or more; got {tuple(samples.shape)}, {tuple(scores.shape)}"
        )
    if not (samples.isfinite().all() and scores.isfinite().all()):
        return SteinDiscrepancy(math.nan, math.nan)
    # About the mean, as |x|² + |y|² - 2x·y loses digits where the samples lie far from 0.
    x, s = samples.double() - samples.double().mean(dim=0), scores.double()
    h2 = (bandwidth or _median_distance(x)) ** 2
    if h2 == 0:
        return SteinDiscrepancy(math.nan, math.nan)
    count, dim = x.shape
    norms, own = x.square().sum(dim=1), (s * x).sum(dim=1)
    total = squares = 0.0
    for start in range(0, count, CHUNK):
        cancellation.check()
        rows = slice(start, start + CHUNK)
        distance2 = (norms[rows, None] + norms - 2 * x[rows] @ x.T).clamp(min=0)
        drift = own[rows, None] + own - s[rows] @ x.T - x[rows] @ s.T  # (s_x - s_y) · (x - y)
        u = (s[rows] @ s.T + drift / h2 + dim / h2 - distance2 / h2**2) * (-distance2 / (2 * h2)).exp()
        u.diagonal(start).zero_()
        total += float(u.sum())
        squares += float(u.square().sum())
    pairs = count * (count - 1)
    return SteinDiscrepancy(total / pairs, (2 * squares / pairs / pairs) ** 0.5)


def _median_distance(x: Tensor) -> float:
    """Over the pairs of the first rows: an independent sample needs no others."""
    return float(torch.pdist(x[:BANDWIDTH_ROWS]).median())
