"""Underdamped Langevin dynamics: a velocity with friction, refreshed a little at every step.

Arbel et al. 2021, "Generalized energy based models" (arXiv 2003.05033), the kinetic sampler: half drift, kick, exact
Ornstein-Uhlenbeck refreshment, kick, half drift, with one gradient a step. The two half drifts of neighbouring steps are one
drift here, and the recorded position is the point at which the gradient was taken:

    v <- v - (h / 2) grad E(z);  v <- c v + sqrt(T (1 - c^2)) n;  v <- v - (h / 2) grad E(z);  z <- z + h v

with c = exp(-friction * h), h = sqrt(eps). Where c = 0 this is `langevin` with the same eps. The published friction of 100 is
nearly that; small frictions keep the direction for longer. Unadjusted: its law has a bias of order h^2.
On a Gaussian that is the bias of `langevin`, whatever the friction. Without any friction nothing is
refreshed and a chain never leaves its own energy, so 0 is refused.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ebm_refine.parameters import Parameter
from ebm_refine.samplers.base import Energy, Info, Kernel, State, choose, divergence_report, evaluated, is_finite, per_chain
from ebm_refine.samplers.langevin import stationary_variance
from ebm_refine.samplers.method import GRADIENT_KINDS, Claim, Law, Method, Values, one_gradient
from ebm_refine.samplers.pilot import Pilot
from ebm_refine.samplers.rng import Draws


class UnderdampedState(NamedTuple):
    """`position`, `grad`, `velocity` (B, d…), `energy` (B,)."""

    position: Tensor
    energy: Tensor
    grad: Tensor
    velocity: Tensor


def underdamped(target: Energy, eps: float, friction: float = 2.0, temperature: float = 1.0) -> Kernel:
    """One forward and one backward pass a step. A proposal that is not finite is not taken; the chain turns round."""
    h = math.sqrt(eps)
    decay = math.exp(-friction * h)
    refreshed = math.sqrt(temperature * (1 - decay**2))

    def init(position: Tensor) -> UnderdampedState:
        return UnderdampedState(*evaluated(target, position), torch.zeros_like(position))

    def step(state: UnderdampedState, draws: Draws) -> tuple[UnderdampedState, Info]:
        shape = state.position.shape[1:]
        # The start of a chain has no velocity: transition 1 draws it from its own law.
        velocity = math.sqrt(temperature) * draws.normal(shape, block=1) if draws.first else state.velocity
        kick = (h / 2) * state.grad
        velocity = decay * (velocity - kick) + refreshed * draws.normal(shape) - kick
        proposal = evaluated(target, state.position + h * velocity)
        finite = is_finite(proposal)
        chosen = choose(finite, proposal, State(*state[:3]))
        turned = torch.where(per_chain(finite, velocity), velocity, -state.velocity)
        return UnderdampedState(*chosen, turned), Info(accepted=finite, nonfinite=~finite)

    return Kernel(init, step, summary=lambda state: divergence_report(state.position, eps))


def _kernel(target: Energy, values: Values, pilot: Pilot) -> Kernel:
    return underdamped(target, values["eps"], values["friction"], values["temperature"])


METHOD = Method(
    name="underdamped",
    title="Underdamped Langevin",
    summary="Langevin with a velocity and friction, so that a chain keeps its direction for a while.",
    parameters=(
        Parameter("eps", "float", 0.01, 1e-9, 10.0, scale="log", help="h = sqrt(eps)"),
        Parameter("n_steps", "int", 50, 1, 10_000, unit="steps", help="transitions, one gradient each"),
        Parameter("friction", "float", 2.0, 0.01, 1e6, help="velocity lost per unit of time; large is plain Langevin"),
        Parameter("temperature", "float", 1.0, 0.0, 100.0, help="samples exp(-E/T)"),
    ),
    # their h = 2 sqrt(0.01)
    published={"eps": 0.04, "n_steps": 1000, "friction": 100.0},
    kernel=_kernel,
    cost=one_gradient,
    law=Law(Claim.BIASED, "Long chains sample the refined law, but for a bias that grows with eps.", stationary_variance),
    kinds=GRADIENT_KINDS,
    capturable=True,
)
