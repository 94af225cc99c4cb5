"""Explore-exploit MCMC: a global i-SIR move, then a few local MALA moves.

Samsonov et al. 2022, "Local-global MCMC kernels: the best of both worlds" (arXiv 2111.02702). The global move
finds other modes, the local ones refine within them; each is exact, so their product is. The gradient is taken afresh after
every global move that left its point. Without a given eps the pilot finds the step at which MALA accepts 67 %, their target.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ebm_refine.parameters import Parameter
from ebm_refine.samplers import mala
from ebm_refine.samplers.base import Info, Kernel, State, Target, acceptance_report, choose, evaluated, is_finite
from ebm_refine.samplers.i_sir import Proposal, global_move, global_report, prior_proposal
from ebm_refine.samplers.method import EXACT, Cost, Method, Passes, Values
from ebm_refine.samplers.pilot import Pilot
from ebm_refine.samplers.rng import Draws

ACCEPTANCE = 0.67


class Ex2State(NamedTuple):
    """`position`, `grad` (B, d…), `energy` (B,); counts (B,) int64: `moved` of `steps`, `accepted` of `proposals`.

    `effective` (B,): effective number of the last global move's N points.
    """

    position: Tensor
    energy: Tensor
    grad: Tensor
    moved: Tensor
    steps: Tensor
    accepted: Tensor
    proposals: Tensor
    effective: Tensor


def ex2mcmc(target: Target, eps: float, particles: int = 10, local_moves: int = 3, proposal: Proposal | None = None) -> Kernel:
    """N - 1 forward passes, then a forward and a backward one for chains that moved and for every local move."""
    proposal = prior_proposal(target) if proposal is None else proposal

    def init(position: Tensor) -> Ex2State:
        none = torch.zeros(len(position), dtype=torch.int64, device=position.device)
        here = evaluated(target, position)
        return Ex2State(*here, none, none, none, none, torch.full_like(here.energy, particles))

    def step(state: Ex2State, draws: Draws) -> tuple[Ex2State, Info]:
        chosen = global_move(target, proposal, state.position, state.energy, draws, particles)
        here = refreshed(target, State(*state[:3]), chosen.position, chosen.moved)
        accepted, changed, nonfinite = state.accepted, chosen.moved, chosen.nonfinite
        for block in range(1, local_moves + 1):  # block 0 of the uniforms was the global move's
            noise, uniform = draws.normal(here.position.shape[1:], block=block), draws.uniform(block=block)
            here, info = mala.move(target, here, eps, 1.0, noise, uniform)
            accepted, changed, nonfinite = accepted + info.accepted, changed | info.accepted, nonfinite | info.nonfinite
        counts = (state.moved + chosen.moved, state.steps + 1, accepted, state.proposals + local_moves, chosen.effective)
        return Ex2State(*here, *counts), Info(changed, nonfinite)

    def summary(state: Ex2State) -> dict[str, float | str]:
        local = acceptance_report(state.accepted, state.proposals, eps)
        across = global_report(state.moved, state.steps, state.effective)
        advice = "; ".join(str(report["advice"]) for report in (local, across) if "advice" in report)
        return {**local, **across, **({"advice": advice} if advice else {})}

    return Kernel(init, step, summary=summary)


def refreshed(target: Target, old: State, position: Tensor, moved: Tensor) -> State:
    """The state at `position` (B, d…): evaluated where `moved` (B,), carried over from `old` elsewhere.

    A chain whose new point has a finite energy but not a finite gradient goes back to its old one.
    """
    rows = moved.nonzero().squeeze(1)
    if len(rows) == 0:
        return old
    new = evaluated(target, position[rows])
    new = choose(is_finite(new), new, State(*(part[rows] for part in old)))
    return State(*(part.index_copy(0, rows, fresh) for part, fresh in zip(old, new, strict=True)))


def _kernel(target: Target, values: Values, pilot: Pilot) -> Kernel:
    eps = mala.chosen_eps(target, values, pilot, ACCEPTANCE)
    return ex2mcmc(target, eps, values["particles"], values["local_moves"])


def cost(values: Values) -> Cost:
    """At most: a point that the global move chose has its gradient taken afresh, and others keep theirs."""
    gradients = 1 + values["local_moves"]
    return Cost(Passes(1, 1), Passes(values["particles"] - 1 + gradients, gradients), exact=False)


METHOD = Method(
    name="ex2mcmc",
    title="Explore-exploit (Ex2MCMC)",
    summary="Resamples among fresh images to find modes, then refines by adjusted Langevin within them.",
    parameters=(
        Parameter("eps", "float", None, 1e-9, 10.0, scale="log", help="MALA's step; none: tuned in a pilot to accept 67 %"),
        Parameter("n_steps", "int", 10, 1, 10_000, unit="steps", help="transitions: one global move and the local ones"),
        Parameter("particles", "int", 10, 2, 1000, help="N of the global move: the current point and N - 1 fresh draws"),
        Parameter("local_moves", "int", 3, 0, 1000, unit="steps", help="MALA moves after each global move"),
    ),
    published={"eps": 0.01, "n_steps": 1000, "particles": 10, "local_moves": 3},
    kernel=_kernel,
    cost=cost,
    pilot_cost=mala.tuning_cost,
    law=EXACT,
)
