"""The interface of every sampler: a target to evaluate, a state and an info per transition, a kernel of two functions."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from ebm_refine.samplers.rng import Draws, Stream

S = TypeVar("S", bound=tuple[Tensor, ...])


class Energy(Protocol):
    """A law to sample: density proportional to exp(-energy). Positions are (B, d…) float32; all results are (B,) float32."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape d… of one position."""

    @property
    def bounds(self) -> tuple[float, float]:
        """Where the data lie, in every coordinate; infinite for latents."""

    def start(self, draws: Draws, stream: Stream) -> Tensor:
        """Positions at which chains begin."""

    def energy(self, position: Tensor) -> Tensor:
        """Negative log density up to a constant. No autograd graph is retained."""

    def energy_and_grad(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """Energy and its gradient (B, d…) by one forward and one backward pass. No autograd graph is retained."""


class Target(Energy, Protocol):
    """A law with a prior: energy(z) = -log p0(z) - beta * log_ratio(z), both up to a constant (Che et al. 2020)."""

    def log_ratio(self, position: Tensor) -> Tensor:
        """beta times the log density ratio r: the weight of rejection and importance methods. No autograd graph is retained."""

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
    """What a transition did: `accepted` (B,) bool; `nonfinite` (B,) bool, a proposal rejected for NaN or infinity.

    `proposal` (B, d…), of methods that accept or reject one position per chain: that position, NaN where there was none.
    """

    accepted: Tensor
    nonfinite: Tensor
    proposal: Tensor | None = None


class Kernel(NamedTuple):
    """An algorithm bound to a target and its parameters.

    `init(position) -> state`; `step(state, draws) -> (state, info)`. States are NamedTuples that have at least `position` and
    `energy`. `finished(state)` is true once further steps change nothing; `summary(state)` is the method's report at the end:
    plain numbers by name and, under "advice", a sentence where a setting does not work. `capturable`: see `samplers.method`.
    """

    init: Callable[[Tensor], Any]
    step: Callable[[Any, Draws], tuple[Any, Info]]
    finished: Callable[[Any], bool] = lambda state: False
    summary: Callable[[Any], Mapping[str, float | str]] = lambda state: {}
    capturable: bool = False


def per_chain(mask: Tensor, like: Tensor) -> Tensor:
    """(B,) -> (B, 1, …) with as many dimensions as `like`, to choose whole chains with torch.where."""
    return mask.reshape(-1, *([1] * (like.dim() - 1)))


def choose(mask: Tensor, new: S, old: S) -> S:
    """The state (a NamedTuple of tensors with a chain axis) that is `new` where `mask` (B,) is true and `old` elsewhere."""
    return type(old)(*(torch.where(per_chain(mask, one), one, other) for one, other in zip(new, old, strict=True)))


def is_finite(state: State) -> Tensor:
    """(B,) bool: chains whose energy and gradient are finite numbers."""
    return state.energy.isfinite() & state.grad.flatten(1).isfinite().all(dim=1)


def evaluated(target: Energy, position: Tensor) -> State:
    """One forward and one backward pass at `position`."""
    return State(position, *target.energy_and_grad(position))


class Parts(NamedTuple):
    """The two terms of energy = prior - ratio, (B,), and their gradients (B, d…)."""

    prior: Tensor
    prior_grad: Tensor
    ratio: Tensor
    ratio_grad: Tensor


def parts(target: Target, state: State) -> Parts:
    """Split a state's energy and gradient into prior and beta * r. Costs no pass through the networks."""
    with torch.enable_grad():
        position = state.position.detach().requires_grad_()
        prior = target.prior_energy(position)
        (prior_grad,) = torch.autograd.grad(prior.sum(), position)
    prior = prior.detach()
    return Parts(prior, prior_grad, prior - state.energy, prior_grad - state.grad)


def acceptance_report(accepted: Tensor, proposals: Tensor, eps: float) -> dict[str, float | str]:
    """The summary of a Metropolis method from counts (B,); with a sentence of advice where nearly all was rejected."""
    rate = int(accepted.sum()) / max(int(proposals.sum()), 1)
    report: dict[str, float | str] = {"acceptance_rate": rate, "eps": eps}
    if rate < 0.05 and int(proposals.sum()):
        report["advice"] = f"only {rate:.1%} of the moves were accepted at eps {eps:g}: try a smaller one, such as {eps / 10:g}"
    return report


def divergence_report(position: Tensor, eps: float) -> dict[str, float | str]:
    """The summary of a method without acceptance: chains a thousand prior widths away have diverged, which it reports."""
    flat = position.flatten(1)
    diverged = int((flat.square().mean(dim=1).sqrt() > 1e3).sum())
    report: dict[str, float | str] = {"diverged": diverged}
    if diverged:
        report["advice"] = f"{diverged} of {len(flat)} chains diverged at eps {eps:g}: try a smaller one, such as {eps / 10:g}"
    return report
