"""Metropolis-adjusted Langevin: Langevin's proposal, accepted so that its step leaves no bias.

Roberts and Tweedie 1996, "Exponential convergence of Langevin distributions and their discrete approximations":

    z' = z - (eps / 2) * grad E(z) + sqrt(eps * T) * n
    accept with min(1, exp((E(z) - E(z')) / T) * q(z | z') / q(z' | z))

with q the Gaussian density of the proposal. On the DDLS energy this is the Metropolis-Hastings form of Che et al. 2020 (arXiv
2003.06060) and REP-GAN (Wang et al. 2021, arXiv 2107.00352, whose tau is eps). The gradient at the current point is
carried with it, so that a step costs one forward and one backward pass. In high dimension the chain is most efficient where it
accepts 57.4 % (Roberts and Rosenthal 1998): without a given eps the pilot finds that step, and it stays fixed.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ebm_refine.parameters import Parameter
from ebm_refine.samplers.base import Energy, Info, Kernel, State, acceptance_report, choose, evaluated, is_finite
from ebm_refine.samplers.method import EXACT, GRADIENT_KINDS, Method, Passes, Values, one_gradient
from ebm_refine.samplers.pilot import CHAINS, Pilot, tuning_steps
from ebm_refine.samplers.rng import Draws

ACCEPTANCE = 0.574


class MalaState(NamedTuple):
    """`position`, `grad` (B, d…), `energy` (B,); `accepted`, `proposals` (B,) int64 counts so far."""

    position: Tensor
    energy: Tensor
    grad: Tensor
    accepted: Tensor
    proposals: Tensor


def mala(target: Energy, eps: float, temperature: float = 1.0) -> Kernel:
    """One forward and one backward pass a step; exact at any eps."""

    def init(position: Tensor) -> MalaState:
        none = torch.zeros(len(position), dtype=torch.int64, device=position.device)
        return MalaState(*evaluated(target, position), none, none)

    def step(state: MalaState, draws: Draws) -> tuple[MalaState, Info]:
        here = State(*state[:3])
        chosen, info = move(target, here, eps, temperature, draws.normal(here.position.shape[1:]), draws.uniform())
        return MalaState(*chosen, state.accepted + info.accepted, state.proposals + 1), info

    return Kernel(init, step, summary=lambda state: acceptance_report(state.accepted, state.proposals, eps))


def move(target: Energy, state: State, eps: float, temperature: float, noise: Tensor, uniform: Tensor) -> tuple[State, Info]:
    """One transition with the given noise (B, d…) and uniforms (B,)."""
    proposal = evaluated(target, propose(state, eps, temperature, noise))
    finite = is_finite(proposal)
    accepted = finite & (uniform.log() < log_acceptance(state, proposal, eps, temperature, noise))
    return choose(accepted, proposal, state), Info(accepted, ~finite, proposal.position)


def propose(state: State, eps: float, temperature: float, noise: Tensor) -> Tensor:
    return state.position - (eps / 2) * state.grad + math.sqrt(eps * temperature) * noise


def log_acceptance(old: State, new: State, eps: float, temperature: float, noise: Tensor) -> Tensor:
    """(B,) log of the acceptance ratio for a move from `old` to `new` that `noise` made; NaN or > 0 are possible."""
    # The noise that would lead back: the Gaussian densities of the two directions differ by these squares alone.
    back = (old.position - new.position + (eps / 2) * new.grad) / math.sqrt(eps * temperature)
    squares = (noise.square() - back.square()).flatten(1).sum(dim=1) / 2
    return (old.energy - new.energy) / temperature + squares


def chosen_eps(target: Energy, values: Values, pilot: Pilot, acceptance: float = ACCEPTANCE) -> float:
    """The given step, or the one at which MALA accepts a share `acceptance` of its proposals in the pilot."""
    if values["eps"] is not None:
        return values["eps"]
    return pilot.tuned_eps(lambda eps: mala(target, eps, values.get("temperature", 1.0)), acceptance)


def tuning_cost(values: Values, gradients: int = 1) -> Passes:
    """The pilot's passes to tune eps, where none is given, for a kernel of so many `gradients` a transition."""
    passes = 0 if values["eps"] is not None else CHAINS * (1 + gradients * tuning_steps(gradients))
    return Passes(passes, passes)


def _kernel(target: Energy, values: Values, pilot: Pilot) -> Kernel:
    return mala(target, chosen_eps(target, values, pilot), values["temperature"])


METHOD = Method(
    name="mala",
    title="Adjusted Langevin (MALA)",
    summary="Langevin steps, each accepted or rejected so that no step size biases the result.",
    parameters=(
        Parameter("eps", "float", None, 1e-9, 10.0, scale="log", help="step size; none: tuned in a pilot to accept 57.4 %"),
        Parameter("n_steps", "int", 50, 1, 10_000, unit="steps", help="Metropolis-adjusted Langevin transitions"),
        Parameter("temperature", "float", 1.0, 1e-6, 100.0, help="samples exp(-E/T)"),
    ),
    # REP-GAN's tau and chain length
    published={"eps": 0.01, "n_steps": 640, "temperature": 1.0},
    kernel=_kernel,
    cost=one_gradient,
    pilot_cost=tuning_cost,
    law=EXACT,
    kinds=GRADIENT_KINDS,
    capturable=True,
)
