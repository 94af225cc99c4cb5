"""Discriminator gradient flow: a fixed, small number of steps down an f-divergence from p_g to p_data.

Ansari et al. 2021, "Refining deep generative models via discriminator gradient flow" (arXiv 2012.00780):

    z' = z + eta * s(d) * grad d(G(z)) + sqrt(2 * eta * gamma) * n,     d = beta * r
    s(d) = 1 for KL, sigmoid(d) for JS, sigmoid(-d) for logD

Here eta = eps / 2. There is no prior term, so the number of steps is the regulariser, and the flow has no
stationary law tied to the prior. It follows r wherever it rises, right or wrong: deep classifier features, on which refitted
ratios are built, come nearer to those of real images while shallow features, of textures, move away. With a drift
-eta * z added, KL at gamma = 1 is `langevin`.
"""

import math

import torch
from torch import Tensor

from ebm_refine.parameters import Parameter
from ebm_refine.samplers.base import (
    Info,
    Kernel,
    State,
    Target,
    choose,
    divergence_report,
    evaluated,
    is_finite,
    parts,
    per_chain,
)
from ebm_refine.samplers.method import Claim, Law, Method, Values, one_gradient
from ebm_refine.samplers.pilot import Pilot
from ebm_refine.samplers.rng import Draws


def dg_flow(target: Target, eps: float, divergence: str = "KL", gamma: float = 0.01) -> Kernel:
    """One forward and one backward pass a step. A proposal that is not finite is not taken; the chain stays."""
    noise_scale = math.sqrt(eps * gamma)

    def init(position: Tensor) -> State:
        return evaluated(target, position)

    def step(state: State, draws: Draws) -> tuple[State, Info]:
        split = parts(target, state)
        velocity = split.ratio_grad
        if divergence != "KL":
            share = torch.sigmoid(split.ratio if divergence == "JS" else -split.ratio)
            velocity = per_chain(share, velocity) * velocity
        noise = draws.normal(state.position.shape[1:])
        proposal = evaluated(target, state.position + (eps / 2) * velocity + noise_scale * noise)
        finite = is_finite(proposal)
        return choose(finite, proposal, state), Info(accepted=finite, nonfinite=~finite)

    return Kernel(init, step, summary=lambda state: divergence_report(state.position, eps))


def _kernel(target: Target, values: Values, pilot: Pilot) -> Kernel:
    return dg_flow(target, values["eps"], values["divergence"], values["gamma"])


METHOD = Method(
    name="dg-flow",
    title="Gradient flow (DG-flow)",
    summary="A few gradient steps of the log ratio with little noise and no pull towards the prior.",
    parameters=(
        Parameter("eps", "float", 0.2, 1e-9, 10.0, scale="log", help="twice the flow's step eta"),
        Parameter("n_steps", "int", 25, 1, 10_000, unit="steps", help="steps of the flow; more is further from the generator"),
        Parameter("divergence", "choice", "KL", choices=("KL", "JS", "logD"), help="the f-divergence that the flow descends"),
        Parameter("gamma", "float", 0.01, 0.0, 100.0, help="weight of the flow's entropy: noise sqrt(eps * gamma)"),
    ),
    published={"eps": 0.2, "n_steps": 25, "divergence": "KL", "gamma": 0.01},
    kernel=_kernel,
    cost=one_gradient,
    law=Law(
        Claim.NONE,
        "Samples no law: nothing pulls it back to the prior. Classes sharpen and textures go wrong: on every image pair "
        "measured, encoders that the ratio does not use find its images further from real ones than before.",
    ),
    capturable=True,
)
