"""Langevin dynamics whose linear part, the pull of the Gaussian prior, is solved exactly.

With E(z) = |z|^2 / 2 - beta * r(G(z)) Langevin dynamics is dz = -(z - g(z)) / 2 dt + sqrt(T) dW, g the gradient of beta * r.
The exponential Euler scheme (Hochbruck and Ostermann 2010, "Exponential integrators") solves the linear part, an Ornstein-
Uhlenbeck process, over a time eps with g held as it is at the start:

    z' = c z + (1 - c) g(z) + sqrt(T (1 - c^2)) n,     c = exp(-eps / 2),  n ~ N(0, I)

Where r is flat its law is the prior itself at any eps, which `langevin` widens by 1 / (1 - eps / 4). What is left is the
bias of the ratio's part: on a Gaussian of precision lambda the variance is T / lambda * (1 + c) / (2 - (1 - c) * lambda).
"""

import math

from torch import Tensor

from ebm_refine.parameters import Parameter
from ebm_refine.samplers.base import Info, Kernel, State, Target, choose, divergence_report, evaluated, is_finite, parts
from ebm_refine.samplers.method import Claim, Law, Method, Values, one_gradient
from ebm_refine.samplers.pilot import Pilot
from ebm_refine.samplers.rng import Draws


def langevin_exact(target: Target, eps: float, temperature: float = 1.0) -> Kernel:
    """One forward and one backward pass a step. A proposal that is not finite is not taken; the chain stays.

    The prior must be standard normal.
    """
    decay = math.exp(-eps / 2)
    noise_scale = math.sqrt(temperature * -math.expm1(-eps))

    def init(position: Tensor) -> State:
        return evaluated(target, position)

    def step(state: State, draws: Draws) -> tuple[State, Info]:
        pull = parts(target, state).ratio_grad
        noise = draws.normal(state.position.shape[1:])
        proposal = evaluated(target, decay * state.position + (1 - decay) * pull + noise_scale * noise)
        finite = is_finite(proposal)
        return choose(finite, proposal, state), Info(accepted=finite, nonfinite=~finite)

    return Kernel(init, step, summary=lambda state: divergence_report(state.position, eps))


def _kernel(target: Target, values: Values, pilot: Pilot) -> Kernel:
    return langevin_exact(target, values["eps"], values["temperature"])


def _variance(values: Values, precision: float) -> float:
    decay = math.exp(-values["eps"] / 2)
    return values["temperature"] / precision * (1 + decay) / (2 - (1 - decay) * precision)


METHOD = Method(
    name="langevin-exact",
    title="Langevin, prior solved exactly",
    summary="Langevin steps with the prior's pull solved exactly, so that their size matters for the ratio alone.",
    parameters=(
        Parameter("eps", "float", 0.1, 1e-9, 10.0, scale="log", help="time of one step: drift eps/2, noise eps for small eps"),
        Parameter("n_steps", "int", 25, 1, 10_000, unit="steps", help="transitions, one gradient each"),
        Parameter("temperature", "float", 1.0, 0.0, 100.0, help="samples exp(-E/T); 0 is gradient descent"),
    ),
    published={},
    kernel=_kernel,
    cost=one_gradient,
    law=Law(
        Claim.BIASED, "Long chains sample the refined law, but for a bias of the ratio's part that grows with eps.", _variance
    ),
    capturable=True,
    gaussian_prior=True,
)
