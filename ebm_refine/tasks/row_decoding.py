"""A row of labels whose neighbours depend on each other: too many rows to list, yet the best one is found exactly.

The energy of a row y_1 … y_K is the sum of E(x_k, y_k) and of pairwise energies W(y_k, y_{k+1}). Min-sum on a chain, which is
Viterbi's algorithm (Viterbi 1967), finds its minimum in (K - 1) Y^2 steps instead of Y^K.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Decoding(NamedTuple):
    """The row of least energy: `labels` (K,) int64, and that energy."""

    labels: Tensor
    energy: float


def min_sum(unary: Tensor, pairwise: Tensor) -> Decoding:
    """unary (K, Y): E(x_k, y); pairwise (Y, Y): W(left, right), or (K - 1, Y, Y), one for each pair of neighbours."""
    unary, pairwise = unary.double(), _of_each_pair(unary, pairwise)
    best, came_from = unary[0], []
    for own, between in zip(unary[1:], pairwise, strict=True):
        reached, which = (best[:, None] + between).min(dim=0)
        best = reached + own
        came_from.append(which)
    labels = [int(best.argmin())]
    for which in reversed(came_from):
        labels.append(int(which[labels[-1]]))
    return Decoding(torch.tensor(labels[::-1]), float(best.min()))


def by_enumeration(unary: Tensor, pairwise: Tensor) -> Decoding:
    """The same by enumerating all Y^K rows, for short rows: a check on `min_sum`."""
    count, labels = unary.shape
    rows = torch.cartesian_prod(*[torch.arange(labels)] * count).reshape(-1, count)
    total = unary.double()[torch.arange(count), rows].sum(dim=1)
    for position, between in enumerate(_of_each_pair(unary, pairwise)):
        total += between[rows[:, position], rows[:, position + 1]]
    least = total.argmin()
    return Decoding(rows[least], float(total[least]))


def energy_of(labels: Tensor, unary: Tensor, pairwise: Tensor) -> float:
    """The energy of one row of labels (K,)."""
    own = unary.double()[torch.arange(len(unary)), labels].sum()
    between = _of_each_pair(unary, pairwise)[torch.arange(len(unary) - 1), labels[:-1], labels[1:]].sum()
    return float(own + between)


def _of_each_pair(unary: Tensor, pairwise: Tensor) -> Tensor:
    count, labels = unary.shape
    return pairwise.double().expand(count - 1, labels, labels)


# --- Rules between neighbours ----------------------------------------------------------------------------------------------

RULES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "none": lambda left, right: torch.zeros_like(left == right),
    "never falls": lambda left, right: right < left,
    "counts up by one": lambda left, right: right != left + 1,
    "neighbours differ": lambda left, right: right == left,
    "even and odd in turn": lambda left, right: (right - left) % 2 == 0,
}


def pairwise_energy(rule: str, weight: float, labels: int = 10) -> Tensor:
    """(labels, labels) float64: `weight` where a left and a right neighbour break the rule named, and 0 elsewhere."""
    left, right = torch.arange(labels)[:, None], torch.arange(labels)[None, :]
    return weight * RULES[rule](left, right).double()
