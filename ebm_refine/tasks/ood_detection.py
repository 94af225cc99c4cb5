"""Telling digits from what is no digit by their energy: how far the two histograms lie apart.

The energy itself is the score, as Du and Mordatch 2019 (arXiv 1903.08689) and Grathwohl et al. 2020 (arXiv 1912.03263) use it:
the area under the ROC curve is the probability that what is no digit has the higher energy of the two.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ebm_refine.tasks import synthetic_digits as patterns

DIGITS = "digits"
# The name of a checkpoint's table that holds the energies of held-out digits and of the other sets.
REFERENCE = "detection-holdout"
REFERENCE_DIGITS = 1000
# What digits are compared with: name -> the same number of others, from digits (N, C, H, H) and a seed.
OTHERS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "uniform noise": lambda digits, seed: patterns.uniform_noise(len(digits), tuple(digits.shape[1:]), seed),
    "inverted": lambda digits, seed: patterns.inverted(digits),
    "mirrored": lambda digits, seed: patterns.mirrored(digits),
    "blurred": lambda digits, seed: patterns.blurred(digits),
    "clothes": lambda digits, seed: patterns.clothes(len(digits), digits.shape[-1], seed).expand(-1, digits.shape[1], -1, -1),
}


class Histogram(NamedTuple):
    """`centres` (bins,) of bins of equal width; `shares` (bins,) of each set, by name, each summing to 1."""

    centres: Tensor
    shares: dict[str, Tensor]


def energies_of_sets(energy: Callable[[Tensor], Tensor], digits: Tensor, seed: int = 0) -> dict[str, Tensor]:
    """Energies (N,) float32 of the digits (N, C, H, H) in [-1, 1] and of as many of each set in `OTHERS`, by name."""
    sets = {DIGITS: digits, **{name: make(digits, seed) for name, make in OTHERS.items()}}
    return {name: energy(images).float().cpu() for name, images in sets.items()}


def auroc(inside: Tensor, outside: Tensor) -> float:
    """Area under the ROC curve of energies (N,) of what belongs against energies (M,) of what does not.

    1 where every outsider has the higher energy, 0.5 where the energy tells nothing. Ties count half.
    """
    from sklearn.metrics import roc_auc_score

    labels = np.concatenate([np.zeros(len(inside)), np.ones(len(outside))])
    return float(roc_auc_score(labels, torch.cat([inside, outside]).double().numpy()))


def aurocs(energies: dict[str, Tensor]) -> dict[str, float]:
    """The digits against each other set of `energies_of_sets`."""
    return {name: auroc(energies[DIGITS], values) for name, values in energies.items() if name != DIGITS}


def share_above(energies: Tensor, energy: float) -> float:
    """The share of `energies` (N,) that are at least `energy`: small where it is unusually high among them."""
    return float((energies >= energy).float().mean())


def histogram(energies: dict[str, Tensor], bins: int = 40) -> Histogram:
    """Shares of each set in common bins, which reach from the lowest to the highest energy of all."""
    everything = torch.cat(list(energies.values())).double()
    low, high = float(everything.min()), float(everything.max())
    edges = np.linspace(low, high if high > low else low + 1, bins + 1)
    shares = {
        name: torch.from_numpy(np.histogram(values.double(), edges)[0] / len(values)) for name, values in energies.items()
    }
    return Histogram(torch.from_numpy((edges[1:] + edges[:-1]) / 2), shares)
