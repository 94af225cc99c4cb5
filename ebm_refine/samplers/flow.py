"""A normalizing flow learned in the pilot, as the global proposal of `flex2mcmc`.

Samsonov et al. 2022 (arXiv 2111.02702) and its code: a RealNVP of five blocks, trained by a mix of the forward KL divergence,
over self-normalised importance samples of the target, and the backward one, over its own draws: weights 0.6 and 0.4, 100
iterations of Adam at 1e-3, gradient norm 1. The paper keeps training during the run; here the flow is trained in the pilot,
then frozen, so that the chains are exact and a sample depends on the seed and its own number alone.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ebm_refine.errors import InputError
from ebm_refine.samplers.base import Target
from ebm_refine.samplers.i_sir import Proposal, prior_proposal
from ebm_refine.samplers.method import Passes
from ebm_refine.samplers.pilot import FIRST_CHAIN, PILOT_SIZE, Pilot
from ebm_refine.samplers.rng import Draws, Stream

BLOCKS, HIDDEN = 5, (64, 64)
ITERATIONS, RATE, FORWARD = 100, 1e-3, 0.6
FORWARD_BATCH, BACKWARD_BATCH = 256, 32
# The flow must be this much more efficient than the prior. Both are measured on PILOT_SIZE draws: weights with heavy tails look
# better the fewer are drawn.
MARGIN = 1.5
# A matrix product's bits may depend on its height, so the flow runs on this many positions at a time, padded.
CHUNK = 64


class Flow(NamedTuple):
    """`proposal` to use, and for whom it was measured: the share of its draws that are effective, beside the prior's.

    `note` says which it is, the flow or, where the flow diverged or is not clearly better, the prior.
    """

    proposal: Proposal
    efficiency: float
    prior_efficiency: float
    note: str


def learn(target: Target, pilot: Pilot) -> Flow:
    """Train the flow on the pilot's samples. Raises InputError where the package zuko is missing."""
    position = pilot.positions(PILOT_SIZE)
    ratio = target.log_ratio(position)
    ratio = torch.where(ratio.isfinite(), ratio, -torch.inf)
    prior_efficiency = effective_share(ratio)
    network = _network(math.prod(target.shape), pilot)
    diverged = not _train(network, target, pilot, position.flatten(1), ratio.double().softmax(dim=0).cumsum(dim=0))
    proposal = Proposal(
        lambda draws, block: _in_chunks(
            lambda noise: network().transform.inv(noise), draws.normal(target.shape, Stream.PROPOSAL, block).flatten(1)
        ).reshape(-1, *target.shape),
        lambda position: _in_chunks(lambda part: network().log_prob(part), position.flatten(1)),
    )
    efficiency = 0.0
    if not diverged:
        fresh = proposal.draw(_draws(pilot, PILOT_SIZE, 0), 0)
        weight = -target.energy(fresh) - proposal.log_density(fresh)
        efficiency = effective_share(torch.where(weight.isfinite(), weight, -torch.inf))
    if diverged:
        return Flow(prior_proposal(target), efficiency, prior_efficiency, "the prior: the flow diverged in training")
    if efficiency < MARGIN * prior_efficiency:
        return Flow(
            prior_proposal(target), efficiency, prior_efficiency, "the prior: the flow hardly proposes better, if at all"
        )
    return Flow(proposal, efficiency, prior_efficiency, "the flow")


def learning_cost() -> Passes:
    """Passes of what `learn` does: the ratios it learns from, the gradients of its training, and the measure at the end."""
    gradients = ITERATIONS * BACKWARD_BATCH
    return Passes(2 * PILOT_SIZE + gradients, gradients)


def effective_share(log_weight: Tensor) -> float:
    """Effective sample size over sample size, of log weights (N,); 0 where none is finite."""
    share = log_weight.double().softmax(dim=0)
    return float(1 / share.square().sum().nan_to_num(torch.inf)) / len(share)


def _network(dim: int, pilot: Pilot) -> Any:
    try:
        import zuko
    except ImportError:
        raise InputError("method 'flex2mcmc' needs the package zuko: pip install 'ebm-refine[flow]'") from None
    with torch.random.fork_rng():  # its weights come from the seed and leave the global generator as it was
        torch.manual_seed(pilot.seed)
        network = zuko.flows.RealNVP(dim, transforms=BLOCKS, hidden_features=HIDDEN).to(pilot.device)
    # Every coupling begins as the identity, so that the flow begins as the prior and can only gain on it.
    for transform in network.transform.transforms:
        if hasattr(transform, "hyper"):
            torch.nn.init.zeros_(transform.hyper[-1].weight)
            torch.nn.init.zeros_(transform.hyper[-1].bias)
    return network


def _train(network: Any, target: Target, pilot: Pilot, position: Tensor, share: Tensor) -> bool:
    """Fit the network to `position` (N, D) of cumulative weights `share` (N,) and to the target; False where it diverged."""
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
    for iteration in range(1, ITERATIONS + 1):
        chosen = torch.searchsorted(share, _draws(pilot, FORWARD_BATCH, iteration).uniform().double() * share[-1])
        noise = _draws(pilot, BACKWARD_BATCH, iteration).normal(target.shape, Stream.PILOT).flatten(1)
        with torch.enable_grad():
            law = network()
            own, log_volume = law.transform.inv.call_and_ladj(noise)
            _, grad = target.energy_and_grad(own.detach().reshape(-1, *target.shape))
            # d/dtheta E(own) = grad E . d own / dtheta; draws outside the target's support teach nothing.
            backward = ((grad.flatten(1).nan_to_num(0.0, 0.0, 0.0) * own).sum(dim=1) - log_volume).mean()
            forward = -law.log_prob(position[chosen]).mean()
            loss = FORWARD * forward + (1 - FORWARD) * backward
            optimizer.zero_grad()
            loss.backward()
        if not loss.isfinite():
            return False
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    network.requires_grad_(False)
    return all(bool(parameter.isfinite().all()) for parameter in network.parameters())


def _draws(pilot: Pilot, count: int, step: int) -> Draws:
    return Draws(pilot.seed, torch.arange(FIRST_CHAIN, FIRST_CHAIN + count, device=pilot.device), step)


@torch.no_grad()
def _in_chunks(function: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    padding = -len(rows) % CHUNK
    padded = torch.cat([rows, rows.new_zeros(padding, *rows.shape[1:])])
    return torch.cat([function(part) for part in padded.split(CHUNK)])[: len(rows)]
