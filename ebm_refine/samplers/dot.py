"""Discriminator optimal transport: gradient descent towards a better score that stays near its start.

Tanaka 2019, "Discriminator optimal transport" (arXiv 1910.06832), latent form: from z0 descend

    |z - z0 + delta| - beta * r(G(z)) / k_eff,     k_eff = max |r(G(z1)) - r(G(z2))| / |z1 - z2| over pilot pairs

at the rate eps, without noise. The author's errata (2023) apply: the optimal transport map is only an element of this argmin,
which holds every point between the start and its image, so gradient descent need not find the map. It is no sampler: it has
no target law. For a normal prior the published code also takes z (z . g) / sqrt(d) from the gradient g, over-subtracting its
radial part; `shell` takes out exactly that part, z (z . g) / |z|^2, so that a latent keeps its distance from the origin.
"""

from typing import NamedTuple

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
from ebm_refine.samplers.method import Claim, Law, Method, Passes, Values, one_gradient
from ebm_refine.samplers.pilot import PAIRS, Pilot
from ebm_refine.samplers.rng import Draws


class DotState(NamedTuple):
    """`position`, `grad` (B, d…), `energy` (B,); `start` (B, d…), to which the norm pulls back."""

    position: Tensor
    energy: Tensor
    grad: Tensor
    start: Tensor


def dot(target: Target, eps: float, slope: float, constraint: str = "none", delta: float = 1e-3) -> Kernel:
    """One forward and one backward pass a step; `slope` is k_eff. A point that is not finite is not taken; the chain stays."""

    def init(position: Tensor) -> DotState:
        return DotState(*evaluated(target, position), position)

    def step(state: DotState, draws: Draws) -> tuple[DotState, Info]:
        here = State(*state[:3])
        offset = state.position - state.start + delta
        pull = offset / per_chain(norm(offset), offset)
        # A slope of 0 is a ratio that does not vary: it has no gradient to divide.
        descent = pull - parts(target, here).ratio_grad / max(slope, torch.finfo(torch.float32).tiny)
        if constraint == "shell":
            radial = (state.position * descent).flatten(1).sum(dim=1) / norm(state.position).square()
            descent = descent - per_chain(radial, descent) * state.position
        proposal = evaluated(target, state.position - eps * descent)
        finite = is_finite(proposal)
        return DotState(*choose(finite, proposal, here), state.start), Info(accepted=finite, nonfinite=~finite)

    return Kernel(init, step, summary=lambda state: {"k_eff": slope, **divergence_report(state.position, eps)})


def norm(position: Tensor) -> Tensor:
    return position.flatten(1).norm(dim=1)


def _kernel(target: Target, values: Values, pilot: Pilot) -> Kernel:
    return dot(target, values["eps"], pilot.slope(), values["constraint"], values["delta"])


METHOD = Method(
    name="dot",
    title="Optimal transport (DOT)",
    summary="Descends to a better score while staying near the start; keeps each image's identity, samples no law.",
    parameters=(
        Parameter("eps", "float", 0.01, 1e-9, 10.0, scale="log", help="rate of the gradient descent"),
        Parameter("n_steps", "int", 50, 1, 10_000, unit="steps", help="updates"),
        Parameter(
            "constraint", "choice", "none", choices=("none", "shell"), help="shell: keep each latent's norm to first order"
        ),
        Parameter("delta", "float", 1e-3, 1e-12, 1.0, scale="log", help="keeps the norm's gradient finite at the start"),
    ),
    published={"eps": 0.01, "n_steps": 100, "constraint": "shell", "delta": 1e-3},
    kernel=_kernel,
    cost=one_gradient,
    pilot_cost=lambda values: Passes(2 * PAIRS),
    law=Law(
        Claim.NONE,
        "Samples no law: it climbs the score, right or wrong, near its start. Its gains were measured in features of the kind "
        "that the score itself uses; on held-out digits the panel of other encoders leaves it open.",
    ),
    capturable=True,
)
