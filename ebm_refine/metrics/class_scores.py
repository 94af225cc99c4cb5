"""What a classifier makes of a set of samples: how sure it is, which classes are there, and a score of both at once."""

import math
from typing import Any

import torch
from torch import Tensor

from ebm_refine.metrics.features import FeatureExtractor


@torch.no_grad()
def class_report(images: Tensor, extractor: FeatureExtractor) -> dict[str, Any]:
    """Measure uint8 images (N, C, H, W), N >= 1, with the extractor's own classifier.

    - `inception_style_score`: exp of the mean KL divergence of p(y | x) from its mean over the images (Salimans et al. 2016,
      arXiv 1606.03498), with this classifier instead of Inception: from 1 to the number of classes.
    - `kl_to_marginal`: that mean divergence itself, E KL(p(y | x) || p(y)), without the exponential: from 0 to the logarithm of
      the number of classes. `kl_from_marginal`: with the arguments the other way round, E KL(p(y) || p(y | x)), as the EBGAN
      paper prints its modified inception score (Zhao et al. 2017, arXiv 1609.03126, section 4.1). It has no upper bound: one
      classifier surer than another gives more of it for the same images, so it compares under one classifier only.
    - `mean_confidence`: mean of the largest p(y | x); `histogram`: images by most probable class; `classes`: how many have one.
    - `histogram_divergence`: KL divergence of the histogram from equal shares, 0 at best.
    """
    log_probabilities = extractor.network.head(extractor(images)).double().log_softmax(dim=1)
    probabilities = log_probabilities.exp()
    # In logarithms throughout, where no softmax is 0.
    log_overall = log_probabilities.logsumexp(0) - math.log(len(images))
    surprise = log_probabilities - log_overall
    divergence, reverse = (probabilities * surprise).sum(1).mean(), -(log_overall.exp() * surprise).sum(1).mean()
    histogram = torch.bincount(probabilities.argmax(1), minlength=probabilities.shape[1])
    shares = histogram.double() / len(images)
    return {
        "num_images": len(images),
        "inception_style_score": float(divergence.exp()),
        "kl_to_marginal": float(divergence),
        "kl_from_marginal": float(reverse),
        "mean_confidence": float(probabilities.amax(1).mean()),
        "histogram": histogram.tolist(),
        "classes": int((histogram > 0).sum()),
        "histogram_divergence": float((shares * (_log(shares) + torch.tensor(float(len(shares))).log())).sum()),
        **extractor.describe(),
    }


def _log(values: Tensor) -> Tensor:
    """The logarithm, finite at 0, where it is multiplied by 0."""
    return values.clamp(min=torch.finfo(torch.float64).tiny).log()
