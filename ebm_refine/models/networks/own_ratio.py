"""Ratios for samples that no other network here accepts: vectors, and images that are shrunk first."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ebm_refine.models.networks.ratio import FeatureRatio, RatioNetwork


class VectorRatio(nn.Module):
    """Vectors (B, dim) -> r (B,): standardised by the real ones' mean and scale, then a perceptron, smooth (SiLU).

    A fresh one says r = 0 everywhere.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, dim: int, widths: Sequence[int] = (128, 128), dropout: float = 0.1):
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))
        layers: list[nn.Module] = []
        for before, after in zip((dim, *widths), widths, strict=False):
            layers += [nn.Linear(before, after), nn.SiLU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers)
        self.last = nn.Linear(widths[-1], 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, vectors: Tensor) -> Tensor:
        return self.last(self.layers((vectors - self.mean) / self.scale)).squeeze(1)

    @torch.no_grad()
    def standardise(self, vectors: Tensor) -> None:
        """Take mean and scale from `vectors` (N, dim); a coordinate that never changes keeps scale 1."""
        deviation = vectors.std(0)
        self.mean.copy_(vectors.mean(0))
        self.scale.copy_(torch.where(deviation > 0, deviation, 1.0))


class SmallerRatio(nn.Module):
    """Images (B, C, H, W) in [-1, 1] -> r (B,), by a ratio that sees them averaged down to `size` (h, w)."""

    def __init__(self, ratio: str, arguments: dict[str, Any], size: Sequence[int]):
        super().__init__()
        if ratio not in SEEING:
            raise ValueError(f"ratio must be one of {', '.join(SEEING)}; got {ratio!r}")
        self.ratio, self.size = SEEING[ratio](**arguments), (int(size[0]), int(size[1]))

    def forward(self, images: Tensor) -> Tensor:
        return self.ratio(F.adaptive_avg_pool2d(images, self.size))


SEEING: dict[str, type[nn.Module]] = {"feature-ratio": FeatureRatio, "ratio-network": RatioNetwork}
