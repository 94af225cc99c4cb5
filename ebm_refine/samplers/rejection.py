"""Rejection sampling of the generator by its discriminator, plain and as discriminator rejection sampling (DRS).

Azadi et al. 2018, "Discriminator rejection sampling" (arXiv 1810.06758): a proposal z ~ p0 with log ratio r is
accepted with probability sigmoid(F - gamma), where M bounds exp(r) and

    F(r) = r - log M - log(1 - exp(r - log M - delta))

With gamma = 0 and delta -> 0 this is exp(r) / M, exact rejection sampling, if M is a true bound. A bound found as the maximum
of a pilot is not: a larger r is clipped to it and counted. gamma > 0 rejects more, gamma < 0 (a low percentile of the pilot's
F) accepts more than the exact rule and is biased towards the generator.

Each slot draws proposals from its own stream, the first being its starting position, until one is accepted. A slot whose
budget ends returns its best-scored proposal; such fallbacks are counted.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ebm_refine.parameters import Parameter
from ebm_refine.samplers.base import Info, Kernel, Target, per_chain
from ebm_refine.samplers.method import Claim, Cost, Law, Method, Passes, Values
from ebm_refine.samplers.pilot import PILOT_SIZE, Pilot
from ebm_refine.samplers.rng import Draws


class RejectionState(NamedTuple):
    """`position` (B, d…) is the accepted proposal, or the best so far; `energy`, `ratio` (B,) are its values.

    `done` (B,) bool; `proposals` (B,) int64 made so far; `exceeded` (B,) int64 of them above the bound.
    """

    position: Tensor
    energy: Tensor
    ratio: Tensor
    done: Tensor
    proposals: Tensor
    exceeded: Tensor


def rejection(target: Target, log_bound: float, gamma: float = 0.0, delta: float = 0.0, tries: int = 1) -> Kernel:
    """One forward pass a proposal, of the slots that are still open only: up to `tries` of each in a transition.

    The first proposals are the starting positions.
    """

    def init(position: Tensor) -> RejectionState:
        ratio = target.log_ratio(position)
        none = torch.zeros(len(position), dtype=torch.int64, device=position.device)
        return RejectionState(position, target.prior_energy(position) - ratio, ratio, none.bool(), none, none)

    def step(state: RejectionState, draws: Draws) -> tuple[RejectionState, Info]:
        state, info = propose(state, draws, 0)
        for block in range(1, tries):
            if bool(state.done.all()):
                break
            state, more = propose(state, draws, block)
            proposal = torch.where(more.proposal.isnan(), info.proposal, more.proposal)  # type: ignore[union-attr,arg-type]
            info = Info(info.accepted | more.accepted, info.nonfinite | more.nonfinite, proposal)
        return state, info

    def propose(state: RejectionState, draws: Draws, block: int) -> tuple[RejectionState, Info]:
        accepted, nonfinite = torch.zeros_like(state.done), torch.zeros_like(state.done)
        still_open = (~state.done).nonzero().squeeze(1)
        if len(still_open) == 0:
            return state, Info(accepted, nonfinite, torch.full_like(state.position, torch.nan))
        mine = Draws(draws.seed, draws.index[still_open], draws.step)
        if draws.first and not block:
            proposal, ratio = state.position[still_open], state.ratio[still_open]
        else:
            proposal = target.prior(mine, block)
            ratio = target.log_ratio(proposal)
        finite = ratio.isfinite()
        chance = torch.where(finite, acceptance(ratio, log_bound, gamma, delta), 0.0)
        keep = mine.uniform(block=block) < chance
        best = state.ratio[still_open]
        better = finite & (keep | (ratio > best) | ~best.isfinite())

        def updated(old: Tensor, new: Tensor) -> Tensor:
            return old.index_copy(0, still_open, torch.where(per_chain(better, new), new, old[still_open]))

        energy = target.prior_energy(proposal) - ratio  # no second pass through the networks
        return (
            RejectionState(
                updated(state.position, proposal),
                updated(state.energy, energy),
                updated(state.ratio, ratio),
                state.done.index_copy(0, still_open, keep),
                state.proposals.index_add(0, still_open, torch.ones_like(still_open)),
                state.exceeded.index_add(0, still_open, (ratio > log_bound).long()),
            ),
            Info(
                accepted.index_copy(0, still_open, keep),
                nonfinite.index_copy(0, still_open, ~finite),
                torch.full_like(state.position, torch.nan).index_copy(0, still_open, proposal),
            ),
        )

    def summary(state: RejectionState) -> dict[str, float | str]:
        proposals, exhausted = int(state.proposals.sum()), int((~state.done).sum())
        report: dict[str, float | str] = {
            "proposals": proposals,
            "acceptance_rate": int(state.done.sum()) / max(proposals, 1),
            "exceedances": int(state.exceeded.sum()),
            "budget_exhausted": exhausted,
            "log_bound": float(log_bound),
            "gamma": float(gamma),
        }
        if 2 * exhausted > len(state.done):
            report["advice"] = (
                f"{exhausted} of {len(state.done)} images found nothing to keep within their budget: "
                "use more steps, a lower log_bound or gamma, or a beta below 1"
            )
        return report

    return Kernel(init, step, finished=lambda state: bool(state.done.all()), summary=summary)


def acceptance(ratio: Tensor, log_bound: float, gamma: float = 0.0, delta: float = 0.0) -> Tensor:
    """Probability (B,) of keeping a proposal of log ratio `ratio` (B,); ratios above the bound count as the bound."""
    if gamma == 0.0 and delta == 0.0:
        return (ratio - log_bound).clamp(max=0.0).exp()
    return torch.sigmoid(drs_score(ratio, log_bound, delta) - gamma)


def drs_score(ratio: Tensor, log_bound: float, delta: float) -> Tensor:
    """F of the module's head, (B,); with ratios above the bound clipped to it."""
    excess = (ratio - log_bound).clamp(max=0.0)
    return excess - torch.log(-torch.expm1(excess - delta))


def gamma_from_pilot(pilot: Tensor, log_bound: float, percentile: float, delta: float) -> float:
    """gamma as the `percentile` (0 to 100) of F over the pilot's ratios (N,)."""
    return float(torch.quantile(drs_score(pilot.double(), log_bound, delta), percentile / 100))


def _kernel(target: Target, values: Values, pilot: Pilot) -> Kernel:
    log_bound, percentile, delta = values["log_bound"], values["gamma_percentile"], values["delta"]
    if log_bound is None:
        log_bound = float(pilot.ratios().max())
    if percentile is None:
        return rejection(target, log_bound)
    return rejection(target, log_bound, gamma_from_pilot(pilot.ratios(), log_bound, percentile, delta), delta)


def _cost(values: Values) -> Cost:
    return Cost(Passes(0), Passes(1), exact=False)  # its first proposal is the start; a slot that keeps one asks for no more


def _pilot_cost(values: Values) -> Passes:
    learns = values["log_bound"] is None or values["gamma_percentile"] is not None
    return Passes(PILOT_SIZE if learns else 0)


METHOD = Method(
    name="rejection",
    title="Rejection (DRS)",
    summary="Draws images until one is accepted, by chance and its log ratio; replaces images, never changes them.",
    parameters=(
        Parameter("n_steps", "int", 100, 1, 10_000, unit="proposals", help="proposal budget of each image"),
        Parameter(
            "log_bound", "float", None, -1000.0, 1000.0, help="log M, an upper bound of r; none: the maximum of a pilot sample"
        ),
        Parameter(
            "gamma_percentile",
            "float",
            None,
            0.0,
            100.0,
            unit="%",
            help="DRS: gamma is this percentile of F over the pilot; none: gamma = 0, plain rejection",
        ),
        Parameter("delta", "float", 1e-6, 1e-12, 1.0, scale="log", help="DRS: keeps F finite at the bound"),
    ),
    # as MH-GAN's code runs it
    published={"n_steps": 640, "gamma_percentile": 95.0, "delta": 1e-6},
    kernel=_kernel,
    cost=_cost,
    pilot_cost=_pilot_cost,
    law=Law(Claim.INDEPENDENT, "Every accepted image is an independent draw from the refined law, as far as log M bounds r."),
)
