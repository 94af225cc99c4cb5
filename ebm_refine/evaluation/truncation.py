"""Prior truncation, a control beside the samplers: the generator's samples from a truncated prior, without a ratio or a chain.

Brock et al. 2019, "Large scale GAN training for high fidelity natural image synthesis" (arXiv 1809.11096): samples from a
normal prior cut off at a threshold look better and vary less. What a sampler gains in precision alone, this has for nothing.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ebm_refine.parameters import Parameter

THRESHOLD = Parameter("threshold", "float", 1.0, 0.01, 10.0, help="the prior's coordinates lie within it")


@dataclass(frozen=True)
class Truncation:
    """A job of `evaluate` instead of a sampler's. `as_dict` round-trips through JSON."""

    model: str
    num_images: int
    seed: int
    threshold: float
    method: str = "truncation"
    ratio: str = "none"

    def as_dict(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "method": self.method,
            "num_images": self.num_images,
            "seed": self.seed,
            "options": {"threshold": self.threshold},
        }


def truncated(latents: Tensor, threshold: float) -> Tensor:
    """Standard normal `latents` (N, d) carried to the normal within [-threshold, threshold], each by its own quantile.

    Monotone in every coordinate, so image i stays the neighbour of its untruncated self.
    """
    threshold = THRESHOLD.parse(threshold)
    inside = torch.special.ndtr(torch.tensor(threshold, dtype=torch.float64))
    quantile = torch.special.ndtr(latents.double())
    within = (1 - inside) + (2 * inside - 1) * quantile
    return torch.special.ndtri(within).clamp(-threshold, threshold).to(latents.dtype)
