"""What a classifier makes of a set of samples: how sure it is, which classes are there, and a score of both at once."""

from typing import Any

import torch
from torch import Tensor

from ebm_refine.metrics.features import FeatureExtractor


@torch.no_grad()
def class_report(images: Tensor, extractor: FeatureExtractor) -> dict[str, Any]:
    """Measure uint8 images (N, C, H, W), N >= 1, with the extractor's own classifier.

    - `inception_style_score`: exp of the mean KL divergence of p(y | x) from its mean over the images (Salimans et al. 2016,
      arXiv 1606.03498), with this classifier instead of Inception: from 1 to the number of classes.
    - `mean_confidence`: mean of the largest p(y | x); `histogram`: images by most probable class; `classes`: how many have one.
    - `histogram_divergence`: KL divergence of the histogram from equal shares, 0 at best.
    """
    probabilities = extractor.network.head(extractor(images)).double().softmax(dim=1)
    overall = probabilities.mean(0)
    divergence = (probabilities * (_log(probabilities) - _log(overall))).sum(1).mean()
    histogram = torch.bincount(probabilities.argmax(1), minlength=probabilities.shape[1])
    shares = histogram.double() / len(images)
    return {
        "num_images": len(images),
        "inception_style_score": float(divergence.exp()),
        "mean_confidence": float(probabilities.amax(1).mean()),
        "histogram": histogram.tolist(),
        "classes": int((histogram > 0).sum()),
        "histogram_divergence": float((shares * (_log(shares) + torch.tensor(float(len(shares))).log())).sum()),
        **extractor.describe(),
    }


def _log(values: Tensor) -> Tensor:
    """The logarithm, finite at 0, where it is multiplied by 0."""
    return values.clamp(min=torch.finfo(torch.float64).tiny).log()
