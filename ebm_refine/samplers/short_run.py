"""The short-run sampler of energies that are trained on pixels: few, large, clipped gradient steps with next to no noise.

Nijkamp et al. 2019, "Learning non-convergent non-persistent short-run MCMC toward energy-based model" (arXiv 1904.09770) and
Du and Mordatch 2019, "Implicit generation and modeling with energy-based models" (arXiv 1903.08689) train energies with it:

    x' = clamp(x - (eps / 2) * clip(grad E(x), c) + sqrt(eps * T) * n),     n ~ N(0, I)

with each coordinate of the gradient clipped to [-c, c] and each of x' clamped to the range of the data. The usual values are a
step of eps / 2 = 10 and noise of 0.005, so T = 1.25e-6: next to gradient descent, far colder than exp(-E), and clipped besides.
The result is defined by the run, not by a stationary law; where nothing is clipped or clamped it is `langevin`.
"""

import math

import torch
from torch import Tensor

from ebm_refine.parameters import Parameter
from ebm_refine.samplers.base import Energy, Info, Kernel, State, choose, evaluated, is_finite
from ebm_refine.samplers.method import Claim, Law, Method, Values, one_gradient
from ebm_refine.samplers.pilot import Pilot
from ebm_refine.samplers.rng import Draws


def short_run(target: Energy, eps: float, temperature: float, clip: float) -> Kernel:
    """One forward and one backward pass a step. A proposal that is not finite is not taken; the chain stays."""

    def init(position: Tensor) -> State:
        return evaluated(target, position)

    def step(state: State, draws: Draws) -> tuple[State, Info]:
        noise = draws.normal(state.position.shape[1:])
        proposal = evaluated(target, move(state.position, state.grad, noise, eps, temperature, clip, target.bounds))
        finite = is_finite(proposal)
        return choose(finite, proposal, state), Info(accepted=finite, nonfinite=~finite)

    return Kernel(init, step)


def move(
    position: Tensor, grad: Tensor, noise: Tensor, eps: float, temperature: float, clip: float, bounds: tuple[float, float]
) -> Tensor:
    """The next position from the gradient of the energy there and standard normal noise, all of one shape."""
    moved = torch.add(position, grad.clamp(-clip, clip), alpha=-eps / 2)
    return moved.add_(noise, alpha=math.sqrt(eps * temperature)).clamp_(*bounds)


def _kernel(target: Energy, values: Values, pilot: Pilot) -> Kernel:
    return short_run(target, values["eps"], values["temperature"], values["clip"])


METHOD = Method(
    name="short-run",
    title="Short run (the recipe's own)",
    summary="A few large clipped steps down the energy with hardly any noise, as when it was trained; far colder than exp(-E).",
    parameters=(
        Parameter(
            "eps", "float", 20.0, 1e-9, 1e4, scale="log", help="twice the step: drift eps/2, noise sqrt(eps * temperature)"
        ),
        Parameter("n_steps", "int", 60, 1, 10_000, unit="steps", help="clipped gradient steps"),
        Parameter("temperature", "float", 1.25e-6, 0.0, 100.0, help="sets the noise sqrt(eps * temperature); 0 is descent"),
        Parameter("clip", "float", 0.03, 1e-9, 1e6, scale="log", help="largest size of each coordinate of the gradient"),
    ),
    published={"eps": 20.0, "n_steps": 60, "temperature": 1.25e-6, "clip": 0.03},
    kernel=_kernel,
    cost=one_gradient,
    law=Law(Claim.NONE, "Samples no law: clipped steps so cold that the run, not a stationary law, defines the result."),
    kinds=("energy", "joint"),
    capturable=True,
)
