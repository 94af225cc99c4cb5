"""Comparing points of one law: order and ratios need no partition function, since it is the same for all of them.

Energies of two models are not comparable: each has a Z of its own, which nobody knows.
"""

from torch import Tensor


def ranked(energies: Tensor) -> Tensor:
    """The numbers of the candidates (N,) int64, most probable first; equal ones keep their order."""
    return energies.argsort(stable=True)


def log_density_ratio(energies: Tensor, reference: Tensor) -> Tensor:
    """log p(x) / p(x') = E(x') - E(x): (N,) for energies (N,) of x and the energy () of x', or of one x' for each (N,)."""
    return reference - energies
