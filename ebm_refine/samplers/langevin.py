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
from ebm_refine.samplers.rng import Draws

PARAMETERS = (
    Parameter("eps", "float", 0.01, 1e-9, 10.0, scale="log", help="step size: drift eps/2, noise sqrt(eps * temperature)"),
    Parameter("n_steps", "int", 50, 1, 10_000, unit="steps", help="Langevin transitions"),
    Parameter("temperature", "float", 1.0, 0.0, 100.0, help="samples exp(-E/T); 0 is gradient descent"),
)
PUBLISHED = {"eps": 0.01, "n_steps": 1000, "temperature": 1.0}


def langevin(target: Energy, eps: float, temperature: float = 1.0) -> Kernel:
    """One forward and one backward pass a step. A proposal that is not finite is not taken; the chain stays."""
    noise_scale = math.sqrt(eps * temperature)

    def init(position: Tensor) -> State:
        return evaluated(target, position)

    def step(state: State, draws: Draws) -> tuple[State, Info]:
        noise = draws.normal(state.position.shape[1:])
        proposal = evaluated(target, state.position - (eps / 2) * state.grad + noise_scale * noise)
        finite = is_finite(proposal)
        kept = choose(finite, proposal, state)
        return kept, Info(accepted=finite, nonfinite=~finite)

    return Kernel(init, step, summary=lambda state: divergence_report(state.position, eps), capturable=True)
