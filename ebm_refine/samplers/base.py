"""The contract that every sampler meets: a target to evaluate, a state and an info a transition, a kernel of two functions."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from ebm_refine.random import Draws


class Target(Protocol):
    """A law to sample: density proportional to exp(-energy). Positions are (B, d…) float32; all results are (B,) float32.

    For a latent target, energy(z) = -log p0(z) - beta * log_ratio(z), both up to a constant (Che et al. 2020, eq. 4).
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape d… of one position."""

    def energy(self, position: Tensor) -> Tensor:
        """Negative log density up to a constant. No graph is kept."""

    def energy_and_grad(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """Energy and its gradient (B, d…) by one forward and one backward pass. No graph is kept."""

    def log_ratio(self, position: Tensor) -> Tensor:
        """beta times the log density ratio r: what rejection and importance methods weight by. No graph is kept."""

    def prior_energy(self, position: Tensor) -> Tensor:
        """-log p0 up to a constant, so that energy = prior_energy - log_ratio. Differentiable; no network."""

    def prior(self, draws: Draws, block: int = 0) -> Tensor:
        """Fresh positions from the prior p0, from the proposal stream of `draws`."""


class State(NamedTuple):
    """Where the chains are: `position` (B, d…), `energy` (B,), `grad` (B, d…) of the energy at the position."""

    position: Tensor
    energy: Tensor
    grad: Tensor


class Info(NamedTuple):
    """What a transition did: `accepted` (B,) bool; `nonfinite` (B,) bool, a proposal thrown away for NaN or infinity."""

    accepted: Tensor
    nonfinite: Tensor


class Kernel(NamedTuple):
    """An algorithm bound to a target and its parameters.

    `init(position) -> state`; `step(state, draws) -> (state, info)`. States are NamedTuples that have at least `position` and
    `energy`. `finished(state)` is true once further steps change nothing; `summary(state)` is what the method says of its end
    (plain numbers by name).
    """

    init: Callable[[Tensor], Any]
    step: Callable[[Any, Draws], tuple[Any, Info]]
    finished: Callable[[Any], bool] = lambda state: False
    summary: Callable[[Any], dict[str, float]] = lambda state: {}


def per_chain(mask: Tensor, like: Tensor) -> Tensor:
    """(B,) -> (B, 1, …) with as many dimensions as `like`, to choose whole chains with torch.where."""
    return mask.reshape(-1, *([1] * (like.dim() - 1)))
