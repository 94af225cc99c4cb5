"""Discriminator-driven latent sampling: unadjusted Langevin dynamics on the latent energy.

Che et al. 2020, "Your GAN is secretly an energy-based model" (arXiv 2003.06060):

    z' = z - (eps / 2) * grad E(z) + sqrt(eps * T) * n,     n ~ N(0, I)

At temperature T = 1 and eps -> 0 its law is exp(-E). At a finite eps it is biased: on a Gaussian of precision lambda the
stationary variance is (T / lambda) / (1 - eps * lambda / 4), and the chain diverges for eps * lambda >= 4.
"""

import math

from torch import Tensor

from ebm_refine.parameters import Parameter
from ebm_refine.samplers.base import Energy, Info, Kernel, State, choose, divergence_report, evaluated, is_finite
from ebm_refine.samplers.method import GRADIENT_KINDS, Claim, Law, Method, Values, one_gradient
from ebm_refine.samplers.pilot import Pilot
from ebm_refine.samplers.rng import Draws


def langevin(target: Energy, eps: float, temperature: float = 1.0) -> Kernel:
    """One forward and one backward pass a step. A proposal that is not finite is not taken; the chain stays."""
    noise_scale = math.sqrt(eps * temperature)

    def init(position: Tensor) -> State:
        return evaluated(target, position)

    def step(state: State, draws: Draws) -> tuple[State, Info]:
        noise = draws.normal(state.position.shape[1:])
        proposal = evaluated(target, state.position - (eps / 2) * state.grad + noise_scale * noise)
        finite = is_finite(proposal)
        chosen = choose(finite, proposal, state)
        return chosen, Info(accepted=finite, nonfinite=~finite)

    return Kernel(init, step, summary=lambda state: divergence_report(state.position, eps))


def _kernel(target: Energy, values: Values, pilot: Pilot) -> Kernel:
    return langevin(target, values["eps"], values["temperature"])


def stationary_variance(values: Values, precision: float) -> float:
    """The closed form of the module's head."""
    return values["temperature"] / precision / (1 - values["eps"] * precision / 4)


METHOD = Method(
    name="langevin",
    title="Langevin (DDLS)",
    summary="Noisy gradient steps on the latent energy; moves every image a little at a time.",
    parameters=(
        Parameter("eps", "float", 0.01, 1e-9, 10.0, scale="log", help="step size: drift eps/2, noise sqrt(eps * temperature)"),
        Parameter("n_steps", "int", 50, 1, 10_000, unit="steps", help="Langevin transitions"),
        Parameter("temperature", "float", 1.0, 0.0, 100.0, help="samples exp(-E/T); 0 is gradient descent"),
    ),
    published={"eps": 0.01, "n_steps": 1000, "temperature": 1.0},
    kernel=_kernel,
    cost=one_gradient,
    law=Law(Claim.BIASED, "Long chains sample the refined law, but for a bias that grows with eps.", stationary_variance),
    kinds=GRADIENT_KINDS,
    capturable=True,
)
