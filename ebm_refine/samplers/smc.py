"""Annealed sequential Monte Carlo: a population moves from the prior to the posterior, reweighted, resampled and moved.

Del Moral, Doucet and Jasra 2006, "Sequential Monte Carlo samplers", along p0(z) exp(b * beta * r(G(z))) with b
= k / n at step k of n. A step multiplies each weight by exp((b_k - b_{k-1}) * beta * r), resamples systematically where the
effective sample size falls below half of the population, and always at the last step, and moves every particle by MALA at
b_k. The product of the mean weights is an unbiased estimate of E_p0[exp(beta * r)], which is 1 for a perfect ratio at beta =
1: a free check of calibration.

Its particles are coupled: resampling copies good ones over bad ones, so an image depends on how many are asked for, and small
populations repeat themselves. In all other methods images are independent.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ebm_refine.parameters import Parameter
from ebm_refine.samplers import mala
from ebm_refine.samplers.base import Info, Kernel, State, Target, acceptance_report, choose, evaluated, is_finite, parts
from ebm_refine.samplers.method import Claim, Law, Method, Values, one_gradient
from ebm_refine.samplers.pilot import Pilot
from ebm_refine.samplers.rng import Draws
from ebm_refine.samplers.tempering import tempered


class SmcState(NamedTuple):
    """`position`, `grad` (B, d…), `energy` (B,) at b = 1; `log_weight` (B,) since the last resampling.

    `log_evidence` (B,), the same number for all: log of the mean weights so far. `ancestor` (B,) int64: the slot in which the
    particle began. Counts (B,) int64: `accepted` of `proposals`.
    """

    position: Tensor
    energy: Tensor
    grad: Tensor
    log_weight: Tensor
    log_evidence: Tensor
    ancestor: Tensor
    accepted: Tensor
    proposals: Tensor


def smc(target: Target, eps: float, n_steps: int) -> Kernel:
    """One forward and one backward pass a step, for `n_steps` steps; the start must come from the prior."""

    def init(position: Tensor) -> SmcState:
        none = torch.zeros(len(position), dtype=torch.int64, device=position.device)
        zeros = torch.zeros(len(position), device=position.device)
        return SmcState(*evaluated(target, position), zeros, zeros, torch.arange(len(none), device=none.device), none, none)

    def step(state: SmcState, draws: Draws) -> tuple[SmcState, Info]:
        here = State(*state[:3])
        ratio = parts(target, here).ratio
        log_weight = state.log_weight + torch.where(is_finite(here), ratio / n_steps, -torch.inf)
        log_evidence, ancestor = state.log_evidence, state.ancestor
        share = log_weight.double().softmax(dim=0).nan_to_num(1 / len(log_weight))
        if draws.step == n_steps or float(1 / share.square().sum()) < len(share) / 2:
            chosen = systematic(share, float(draws.uniform()[0]))
            log_evidence = log_evidence + log_mean(log_weight)
            log_weight = torch.zeros_like(log_weight)
            here, ancestor = State(*(part[chosen] for part in here)), ancestor[chosen]
        b = torch.full_like(here.energy, min(draws.step / n_steps, 1.0))
        old_parts, noise = parts(target, here), draws.normal(here.position.shape[1:])
        old = tempered(here.position, old_parts, b)
        proposal = evaluated(target, mala.propose(old, eps, 1.0, noise))
        new = tempered(proposal.position, parts(target, proposal), b)
        finite = is_finite(proposal)
        rises = draws.uniform(block=1).log() < mala.log_acceptance(old, new, eps, 1.0, noise)
        accepted = finite & rises
        counts = (state.accepted + accepted, state.proposals + 1)
        after = choose(accepted, proposal, here)
        return SmcState(*after, log_weight, log_evidence, ancestor, *counts), Info(accepted, ~finite)

    def summary(state: SmcState) -> dict[str, float | str]:
        return {
            **acceptance_report(state.accepted, state.proposals, eps),
            "log_mean_exp_ratio": float(state.log_evidence[0] + log_mean(state.log_weight)),
            "distinct_ancestors": len(state.ancestor.unique()),
            "coupling": "the particles are resampled together: an image depends on how many were asked for",
        }

    return Kernel(init, step, summary=summary)


def log_mean(log_weight: Tensor) -> Tensor:
    """log of the mean of exp(log_weight), a number."""
    return (log_weight.double().logsumexp(dim=0) - torch.tensor(float(len(log_weight))).log()).float()


def systematic(share: Tensor, uniform: float) -> Tensor:
    """Indices (B,) int64, ascending, index k as often as B * share[k] rounded up or down (Kitagawa 1996)."""
    points = (torch.arange(len(share), device=share.device, dtype=torch.float64) + uniform) / len(share)
    cumulative = share.cumsum(dim=0)
    return torch.searchsorted(cumulative / cumulative[-1], points).clamp(max=len(share) - 1)


def _kernel(target: Target, values: Values, pilot: Pilot) -> Kernel:
    return smc(target, mala.chosen_eps(target, values, pilot), values["n_steps"])


METHOD = Method(
    name="smc",
    title="Sequential Monte Carlo",
    summary="Carries all images together to the refined law, copying good ones over bad; also estimates log E[exp r].",
    parameters=(
        Parameter("eps", "float", None, 1e-9, 10.0, scale="log", help="MALA's step; none: tuned in a pilot to accept 57.4 %"),
        Parameter("n_steps", "int", 20, 1, 10_000, unit="steps", help="levels between the prior and the posterior"),
    ),
    published={},
    kernel=_kernel,
    cost=one_gradient,
    pilot_cost=mala.tuning_cost,
    law=Law(
        Claim.NONE,
        "Has no step that leaves a law as it is: a population is carried once, and ends in copies of few images. On "
        "held-out digits the panel of other encoders contradicts it.",
    ),
    coupled=True,
)
