"""The maps of `benchmarks/amortised.py`: a flow with exact density and a surrogate of r, and the exact moves that use them.

`flow` is a RealNVP (Dinh, Sohl-Dickstein and Bengio 2017, arXiv 1605.08803); `surrogate` a small network s(z) in place of
r(G(z)), on whose law p0 exp(s) i-SIR chooses among many draws at little cost. Each is corrected by the true r, so that the
moves leave the model's own law invariant.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ebm_refine.evaluation.best_of import best_of
from ebm_refine.samplers.i_sir import Proposal, global_move, prior_proposal
from ebm_refine.samplers.rng import Draws, Stream

PASSES = 5
# Wider flows learn the chains by heart within an epoch.
TRANSFORMS, FLOW_HIDDEN, SURROGATE_HIDDEN = 4, (32,), 256
# Points of each i-SIR step on the surrogate's law, and steps before each of its proposals to the model's law.
SURROGATE_PARTICLES, SURROGATE_STEPS = 64, 1

# (start, seed, index) -> positions and the share of proposals that were taken.
Move = Callable[[Tensor, int, Tensor], tuple[Tensor, float]]


def flow(dim: int) -> nn.Module:
    """A RealNVP that begins as the prior: every coupling is the identity."""
    import zuko

    network = zuko.flows.RealNVP(dim, transforms=TRANSFORMS, hidden_features=FLOW_HIDDEN)
    for transform in network.transform.transforms:
        if hasattr(transform, "hyper"):
            nn.init.zeros_(transform.hyper[-1].weight)
            nn.init.zeros_(transform.hyper[-1].bias)
    return network


def flow_loss(network: nn.Module, states: Tensor, ratio: Tensor, prior: Tensor, prior_ratio: Tensor) -> Tensor:
    """The negative log likelihood of the states less that of the prior: how many nats of the law the flow has not learned."""
    return (-network().log_prob(states) - normal_energy(states)).mean()


def surrogate(dim: int) -> nn.Module:
    width = SURROGATE_HIDDEN
    return nn.Sequential(
        nn.Linear(dim, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1), nn.Flatten(0)
    )


def surrogate_loss(network: nn.Module, states: Tensor, ratio: Tensor, prior: Tensor, prior_ratio: Tensor) -> Tensor:
    """The mean square of s - r, in the law and in the prior alike."""
    error = torch.cat([network(states) - ratio, network(prior) - prior_ratio])
    return error.square().mean()


def normal_energy(position: Tensor) -> Tensor:
    return -torch.distributions.Normal(0.0, 1.0).log_prob(position).sum(dim=1)


class SurrogateLaw:
    """The law p0(z) exp(s(z)) of the network that stands for r: what i-SIR needs of a target."""

    def __init__(self, network: nn.Module, shape: tuple[int, ...]):
        self.network, self.shape = network, shape

    @torch.no_grad()
    def log_ratio(self, position: Tensor) -> Tensor:
        return self.network(position)

    def prior_energy(self, position: Tensor) -> Tensor:
        return position.square().sum(dim=1) / 2

    def prior(self, draws: Draws, block: int = 0) -> Tensor:
        return draws.normal(self.shape, Stream.PROPOSAL, block)

    def energy(self, position: Tensor) -> Tensor:
        return self.prior_energy(position) - self.log_ratio(position)

    def moved(self, position: Tensor, seed: int, index: Tensor, number: int, steps: int) -> Tensor:
        """The chains after so many steps of i-SIR, which is reversible; `number` (from 1 on) sets random numbers apart."""
        law: Any = self
        energy, proposal = self.energy(position), prior_proposal(law)
        for step in range(1_000 * number, 1_000 * number + steps):
            chosen = global_move(law, proposal, position, energy, Draws(seed, index, step), SURROGATE_PARTICLES)
            position, energy = chosen.position, chosen.energy
        return position


def flow_proposal(network: Any, shape: tuple[int, ...]) -> Proposal:
    @torch.no_grad()
    def drawn(draws: Draws, block: int) -> Tensor:
        return network().transform.inv(draws.normal(shape, Stream.PROPOSAL, block))

    @torch.no_grad()
    def log_density(position: Tensor) -> Tensor:
        return network().log_prob(position)

    return Proposal(drawn, log_density)


def methods(target: Any, proposal: Proposal, law: SurrogateLaw) -> dict[str, Move]:
    """What is compared, by name: all at PASSES passes through the model's networks an image, the maps alone at none."""

    def iterated(given: Proposal) -> Any:
        def move(start: Tensor, seed: int, index: Tensor) -> tuple[Tensor, float]:
            chosen = global_move(target, given, start, target.energy(start), Draws(seed, index, 1), PASSES)
            return chosen.position, float(chosen.moved.float().mean())

        return move

    def from_flow(seed: int, index: Tensor) -> Tensor:
        return proposal.draw(Draws(seed, index, 0), 0)

    def flow_steps(start: Tensor, seed: int, index: Tensor) -> tuple[Tensor, float]:
        def propose(position: Tensor, number: int) -> Tensor:
            return proposal.draw(Draws(seed, index, number), 0)

        def log_weight(position: Tensor) -> Tensor:
            return -target.energy(position) - proposal.log_density(position)

        return metropolis(start, propose, log_weight, seed, index)

    def surrogate_steps(start: Tensor, seed: int, index: Tensor) -> tuple[Tensor, float]:
        def propose(position: Tensor, number: int) -> Tensor:
            return law.moved(position, seed, index, number, SURROGATE_STEPS)

        def log_weight(position: Tensor) -> Tensor:
            return target.log_ratio(position) - law.log_ratio(position)

        return metropolis(start, propose, log_weight, seed, index)

    def on_surrogate(start: Tensor, seed: int, index: Tensor) -> Tensor:
        return law.moved(start, seed, index, PASSES, (PASSES - 1) * SURROGATE_STEPS)

    return {
        "best of 5 from the prior": lambda start, seed, index: (best_of(target, seed, index, PASSES)[1], 1.0),
        "i-SIR, prior": iterated(prior_proposal(target)),
        "flow alone": lambda start, seed, index: (from_flow(seed, index), 1.0),
        "i-SIR, flow": iterated(proposal),
        "Metropolis, flow": lambda start, seed, index: flow_steps(from_flow(seed, index), seed, index),
        "surrogate alone": lambda start, seed, index: (on_surrogate(start, seed, index), 1.0),
        "Metropolis, surrogate": surrogate_steps,
        "Metropolis, surrogate, started from its law": lambda start, seed, index: surrogate_steps(
            on_surrogate(start, seed, index), seed, index
        ),
    }


def metropolis(
    start: Tensor,
    propose: Callable[[Tensor, int], Tensor],
    log_weight: Callable[[Tensor], Tensor],
    seed: int,
    index: Tensor,
) -> tuple[Tensor, float]:
    """PASSES - 1 proposals one after another, each taken with probability min(1, w(proposal) / w(point)).

    w is the law over the proposal's density, or over the law that the proposal leaves invariant and is reversible for: both
    are exact, the second however many steps a proposal takes (Liu 2001, "Monte Carlo Strategies", section 9.4.3).
    """
    position, weight, taken = start, log_weight(start), 0.0
    for number in range(1, PASSES):
        proposed = propose(position, number)
        value = log_weight(proposed)
        accepted = Draws(seed, index, number).uniform().log() < value - weight
        position = torch.where(accepted[:, None], proposed, position)
        weight = torch.where(accepted, value, weight)
        taken += float(accepted.float().mean()) / (PASSES - 1)
    return position, taken
