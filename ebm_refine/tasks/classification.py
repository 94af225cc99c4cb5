"""Energies with a label: E(x, y) over labels y in 0 … Y - 1, as a table (B, Y).

LeCun et al. 2006, "A tutorial on energy-based learning": to decide is to take the y of least energy; where probabilities are
wanted, p(y | x) is proportional to exp(-beta E(x, y)). Of a classifier with logits f(x), Grathwohl et al. 2020, "Your
classifier is secretly an energy based model and you should treat it like one" (arXiv 1912.03263), take E(x, y) = -f_y(x) and
E(x) = -log sum_y exp f_y(x).
"""

from torch import Tensor


def energies_of(logits: Tensor) -> Tensor:
    """E(x, y) (B, Y) of a classifier's logits (B, Y)."""
    return -logits


def marginal_energy(energies: Tensor) -> Tensor:
    """E(x) (B,), the label summed out: exp(-E(x)) is the sum over y of exp(-E(x, y))."""
    return -(-energies).logsumexp(dim=1)


def decide(energies: Tensor) -> Tensor:
    """The label of least energy (B,) int64."""
    return energies.argmin(dim=1)


def conditional_log_probability(energies: Tensor, beta: float = 1.0) -> Tensor:
    """log p(y | x) (B, Y) for p(y | x) proportional to exp(-beta E(x, y)).

    beta = 0 gives every label the same; the larger beta, the more the least energy has.
    """
    return (-beta * energies).log_softmax(dim=1)
