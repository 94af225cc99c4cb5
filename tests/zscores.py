"""z-scores of samples against closed-form laws.

Every sample row is one independent chain's last draw; nothing is pooled along a chain. A test fails beyond LIMIT, which a
correct program crosses with probability 6.8e-6 per score: with some 300 scores in the suite, once in 500 suites of fresh
seeds. The seeds are fixed, so the suite itself never flickers.
"""

import math

import torch
from scipy import stats
from torch import Tensor

LIMIT = 4.5


def gaussian_scores(sample: Tensor, mean: Tensor, covariance: Tensor) -> dict[str, float]:
    """The largest |z| among the means and among the second moments of `sample` (N, d), for the law N(mean, covariance).

    Largest of d and of d (d + 1) / 2 scores; the moments are taken about the true mean, so that they are exact averages.
    """
    count, dim = sample.shape
    offset = sample.double() - mean
    means = offset.mean(dim=0) / (covariance.diagonal() / count).sqrt()
    moments = offset.T @ offset / count
    variances = covariance.diagonal()
    spread = ((variances[:, None] * variances[None, :] + covariance.square()) / count).sqrt()
    moment_scores = ((moments - covariance) / spread)[torch.tril_indices(dim, dim).unbind()]
    return {"mean": _largest(means), "covariance": _largest(moment_scores)}


def variance_score(sample: Tensor, variance: float) -> float:
    """z of the variance of a zero-mean Gaussian `sample` (N,)."""
    return float((sample.double().square().mean() / variance - 1) * math.sqrt(len(sample) / 2))


def histogram_score(counts: Tensor, probabilities: Tensor) -> float:
    """z with the same tail as Pearson's chi-square of `counts` (S,) against `probabilities` (S,)."""
    expected = probabilities.double() / probabilities.double().sum() * counts.sum()
    chi_square = float(((counts.double() - expected).square() / expected).sum())
    return float(stats.norm.isf(max(stats.chi2.sf(chi_square, len(counts) - 1), 1e-300)))


def geometric_score(proposals: int, slots: int, rate: float) -> float:
    """z of the proposals that `slots` slots made until each accepted one, at an acceptance rate of `rate`; > 0: too many."""
    return (proposals - slots / rate) / (math.sqrt(slots * (1 - rate)) / rate)


def rate_score(successes: int, trials: int, rate: float) -> float:
    """z of a binomial count."""
    return (successes - trials * rate) / math.sqrt(trials * rate * (1 - rate))


def _largest(scores: Tensor) -> float:
    return float(scores[scores.abs().argmax()])


def mean_score(values: Tensor, mean: float) -> float:
    """z of the mean of independent `values` (N,) of unknown spread against `mean`."""
    values = values.double()
    return float((values.mean() - mean) / (values.std() / math.sqrt(len(values))))
