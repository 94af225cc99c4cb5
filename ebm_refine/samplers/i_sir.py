"""Iterated sampling-importance resampling: each step chooses among fresh draws and the current point by their weights.

Andrieu, Lee and Vihola 2018, "Uniform ergodicity of the iterated conditional SMC", as used by Samsonov et al. 2022,
"Local-global MCMC kernels: the best of both worlds" (arXiv 2111.02702): N - 1 draws from the proposal q join the
current point, and the next point is one of the N with probability in proportion to its weight

    w(z) = exp(-E(z)) / q(z),     with q = p0:  w(z) = exp(beta * r(G(z)))

Exact for any N >= 2, blind to distances, so it moves between modes; its cost is N - 1 forward passes a step, without gradients.
The current point is never evaluated again.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ebm_refine.parameters import Parameter
from ebm_refine.samplers.base import Info, Kernel, Target
from ebm_refine.samplers.method import STEPLESS, Cost, Method, Passes, Values
from ebm_refine.samplers.pilot import Pilot
from ebm_refine.samplers.rng import Draws

# Fresh draws held at once: memory follows neither the number of images nor N.
MAX_DRAWS = 2**16


class Proposal(NamedTuple):
    """An independent proposal: `draw(draws, block)` gives (B, d…), `log_density(position)` (B,) up to a constant."""

    draw: Callable[[Draws, int], Tensor]
    log_density: Callable[[Tensor], Tensor]


class Chosen(NamedTuple):
    """What a global move chose: `position` (B, d…), `energy` (B,); `moved`, `nonfinite` (B,) bool.

    `effective` (B,), from 1 to N: the effective number of the N points, 1 where one of them holds all the weight.
    """

    position: Tensor
    energy: Tensor
    moved: Tensor
    nonfinite: Tensor
    effective: Tensor


class IsirState(NamedTuple):
    """`position` (B, d…), `energy` (B,); `moved` of `steps` (B,) int64 global moves left the point; `effective` of the last."""

    position: Tensor
    energy: Tensor
    moved: Tensor
    steps: Tensor
    effective: Tensor


def i_sir(target: Target, particles: int = 10) -> Kernel:
    """N - 1 forward passes a step, in one batch."""
    proposal = prior_proposal(target)

    def init(position: Tensor) -> IsirState:
        energy = target.energy(position)
        none = torch.zeros(len(position), dtype=torch.int64, device=position.device)
        return IsirState(position, energy, none, none, torch.full_like(energy, particles))

    def step(state: IsirState, draws: Draws) -> tuple[IsirState, Info]:
        chosen = global_move(target, proposal, state.position, state.energy, draws, particles)
        counts = (state.moved + chosen.moved, state.steps + 1, chosen.effective)
        return IsirState(chosen.position, chosen.energy, *counts), Info(chosen.moved, chosen.nonfinite)

    return Kernel(init, step, summary=lambda state: global_report(state.moved, state.steps, state.effective))


def prior_proposal(target: Target) -> Proposal:
    return Proposal(target.prior, lambda position: -target.prior_energy(position))


def global_move(target: Target, proposal: Proposal, position: Tensor, energy: Tensor, draws: Draws, particles: int) -> Chosen:
    """One i-SIR move of every chain. Draws without a finite energy have weight 0 and are counted."""
    size = max(MAX_DRAWS // particles, 1)
    if len(position) > size:  # chains are independent: many of them go in groups
        groups = zip(position.split(size), energy.split(size), draws.index.split(size), strict=True)
        chosen = [global_move(target, proposal, z, e, draws._replace(index=index), particles) for z, e, index in groups]
        return Chosen(*(torch.cat(column) for column in zip(*chosen, strict=True)))
    fresh = torch.stack([proposal.draw(draws, block) for block in range(particles - 1)], dim=1)
    flat = fresh.flatten(0, 1)
    fresh_energy = target.energy(flat)
    fresh_weight = (-fresh_energy - proposal.log_density(flat)).reshape(len(position), -1)
    share = shares(torch.cat([(-energy - proposal.log_density(position))[:, None], fresh_weight], dim=1))
    choice = select(share, draws.uniform())
    rows = torch.arange(len(position), device=position.device)
    everyone = torch.cat([position[:, None], fresh], dim=1)
    energies = torch.cat([energy[:, None], fresh_energy.reshape(len(position), -1)], dim=1)
    nonfinite = ~fresh_weight.isfinite().all(dim=1)
    effective = (1 / share.square().sum(dim=1)).float()
    return Chosen(everyone[rows, choice], energies[rows, choice], choice > 0, nonfinite, effective)


def shares(log_weight: Tensor) -> Tensor:
    """Normalised weights (B, N) float64; those that are not finite count as 0, and where none is, the first has all."""
    log_weight = torch.where(log_weight.isfinite(), log_weight, -torch.inf).double()
    log_weight[:, 0] = torch.where(log_weight.isfinite().any(dim=1), log_weight[:, 0], 0.0)
    return log_weight.softmax(dim=1)


def select(share: Tensor, uniform: Tensor) -> Tensor:
    """Index (B,) int64 drawn in proportion to `share` (B, N) by one uniform each."""
    cumulative = share.cumsum(dim=1)
    return (cumulative[:, :-1] < uniform.double()[:, None] * cumulative[:, -1:]).sum(dim=1)


def global_report(moved: Tensor, steps: Tensor, effective: Tensor) -> dict[str, float | str]:
    """The summary of a method with global moves, from counts (B,); with advice where the weights have collapsed."""
    report: dict[str, float | str] = {
        "global_move_rate": int(moved.sum()) / max(int(steps.sum()), 1),
        "effective_particles": float(effective.mean()),
    }
    if float(effective.mean()) < 1.2:
        report["advice"] = "one point of each choice holds nearly all the weight: use more particles, or a beta below 1"
    return report


def _kernel(target: Target, values: Values, pilot: Pilot) -> Kernel:
    return i_sir(target, values["particles"])


def _cost(values: Values) -> Cost:
    return Cost(Passes(1), Passes(values["particles"] - 1))


METHOD = Method(
    name="i-sir",
    title="Iterated resampling (i-SIR)",
    summary="At every step chooses by weight among the current image and several fresh ones.",
    parameters=(
        Parameter("n_steps", "int", 10, 1, 10_000, unit="steps", help="transitions of N - 1 proposals each"),
        Parameter("particles", "int", 10, 2, 1000, help="N: the current point and N - 1 fresh draws"),
    ),
    published={"n_steps": 1000, "particles": 10},
    kernel=_kernel,
    cost=_cost,
    law=STEPLESS,
    capturable=True,
)
