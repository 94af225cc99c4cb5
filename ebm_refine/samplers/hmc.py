"""Hamiltonian Monte Carlo: several gradient steps with momentum, accepted together.

Neal 2011, "MCMC using Hamiltonian dynamics" (arXiv 1206.1901): a momentum p ~ N(0, T I) is drawn afresh, `leapfrog`
steps of size h follow the Hamiltonian H = E(z) + |p|^2 / 2,

    p <- p - (h / 2) grad E(z);  z <- z + h p;  p <- p - (h / 2) grad E(z)

and the end is accepted with min(1, exp(-(H' - H) / T)). Here h = sqrt(eps): one leapfrog step is a Langevin proposal of step
eps, and `leapfrog` = 1 is MALA. Without a given eps the pilot finds the step that accepts 65.1 %, the optimum in high dimension
(Beskos et al. 2013).
"""

import math

import torch
from torch import Tensor

from ebm_refine.parameters import Parameter
from ebm_refine.samplers.base import Energy, Info, Kernel, State, acceptance_report, choose, evaluated, is_finite
from ebm_refine.samplers.mala import MalaState, tuning_cost
from ebm_refine.samplers.method import EXACT, GRADIENT_KINDS, Cost, Method, Passes, Values
from ebm_refine.samplers.pilot import Pilot
from ebm_refine.samplers.rng import Draws

ACCEPTANCE = 0.651


def hmc(target: Energy, eps: float, leapfrog: int = 5, temperature: float = 1.0) -> Kernel:
    """`leapfrog` forward and backward passes a transition; exact at any eps."""

    def init(position: Tensor) -> MalaState:
        none = torch.zeros(len(position), dtype=torch.int64, device=position.device)
        return MalaState(*evaluated(target, position), none, none)

    def step(state: MalaState, draws: Draws) -> tuple[MalaState, Info]:
        here = State(*state[:3])
        momentum = math.sqrt(temperature) * draws.normal(here.position.shape[1:])
        proposal, end = trajectory(target, here, momentum, math.sqrt(eps), leapfrog)
        change = proposal.energy + kinetic(end) - here.energy - kinetic(momentum)
        finite = is_finite(proposal)
        accepted = finite & (draws.uniform().log() < -change / temperature)
        chosen = choose(accepted, proposal, here)
        return MalaState(*chosen, state.accepted + accepted, state.proposals + 1), Info(accepted, ~finite, proposal.position)

    return Kernel(init, step, summary=lambda state: acceptance_report(state.accepted, state.proposals, eps))


def trajectory(target: Energy, state: State, momentum: Tensor, h: float, leapfrog: int) -> tuple[State, Tensor]:
    """The state and momentum (B, d…) after `leapfrog` steps. Reversible: with -momentum it leads back."""
    for _ in range(leapfrog):
        momentum = momentum - (h / 2) * state.grad
        state = evaluated(target, state.position + h * momentum)
        momentum = momentum - (h / 2) * state.grad
    return state, momentum


def kinetic(momentum: Tensor) -> Tensor:
    return momentum.square().flatten(1).sum(dim=1) / 2


def _kernel(target: Energy, values: Values, pilot: Pilot) -> Kernel:
    def kernel(eps: float) -> Kernel:
        return hmc(target, eps, values["leapfrog"], values["temperature"])

    eps = values["eps"]
    return kernel(pilot.tuned_eps(kernel, ACCEPTANCE, values["leapfrog"]) if eps is None else eps)


def _cost(values: Values) -> Cost:
    return Cost(Passes(1, 1), Passes(values["leapfrog"], values["leapfrog"]))


METHOD = Method(
    name="hmc",
    title="Hamiltonian Monte Carlo",
    summary="Several gradient steps with momentum, accepted together; goes further than Langevin for each decision.",
    parameters=(
        Parameter("eps", "float", None, 1e-9, 10.0, scale="log", help="h = sqrt(eps); none: tuned in a pilot to accept 65.1 %"),
        Parameter("n_steps", "int", 10, 1, 10_000, unit="trajectories", help="trajectories of `leapfrog` gradient steps each"),
        Parameter("leapfrog", "int", 5, 1, 1000, unit="steps", help="gradient steps of one trajectory"),
        Parameter("temperature", "float", 1.0, 1e-6, 100.0, help="samples exp(-E/T)"),
    ),
    published={},
    kernel=_kernel,
    cost=_cost,
    pilot_cost=lambda values: tuning_cost(values, values["leapfrog"]),
    law=EXACT,
    kinds=GRADIENT_KINDS,
    capturable=True,
)
