"""Best of n, a baseline beside the samplers: of n draws from the prior the one with the largest log ratio, no chain at all.

As in best-of-n sampling against a reward (Stiennon et al. 2020, arXiv 2009.01325): it optimises r and samples no law. A
sampler's gain over it at equal cost is due to the sampler, not to r alone.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ebm_refine.energies.labels import LabelledTarget
from ebm_refine.energies.targets import LatentTarget
from ebm_refine.parameters import Parameter
from ebm_refine.samplers.method import FORWARD
from ebm_refine.samplers.rng import Draws

TRIES = Parameter("tries", "int", 50, 2, 10_000, help="draws from the prior an image")


@dataclass(frozen=True)
class BestOf:
    """A job of `evaluate` instead of a sampler's. `as_dict` round-trips through JSON."""

    model: str
    num_images: int
    seed: int
    tries: int
    ratio: str
    method: str = "best-of"

    def as_dict(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "method": self.method,
            "num_images": self.num_images,
            "seed": self.seed,
            "ratio": self.ratio,
            "options": {"tries": self.tries},
        }


def tries_within(budget: float) -> int:
    """How many draws cost at most `budget` gradient evaluations an image, a forward pass being half a one; 2 at least."""
    return max(2, int(budget / FORWARD))


@torch.no_grad()
def best_of(target: LatentTarget | LabelledTarget, seed: int, index: Tensor, tries: int) -> tuple[Tensor, Tensor]:
    """Starting positions (B, dim) of the samples `index` (B,), and of each the best of `tries` draws, the start among them."""
    start = target.init(seed, index)
    best, largest = start.clone(), target.log_ratio(start)
    for attempt in range(1, tries):
        other = target.prior(Draws(seed, index, attempt))
        value = target.log_ratio(other)
        better = value > largest
        best[better], largest = other[better], torch.maximum(value, largest)
    return start, best
