"""Parallel tempering of the log ratio alone: a ladder of chains from the posterior down to the prior, which swap their points.

Geyer 1991; Earl and Deem 2005, "Parallel tempering: theory, applications, and new perspectives". Replica k of a
sample has the law p0(z) exp(b_k * beta * r(G(z))) with 1 = b_1 > … > b_K = 0. Each step moves every replica by MALA, the last
by a fresh draw from the prior (exact, since b_K = 0), then neighbours swap their points with probability

    min(1, exp((b_i - b_j) * (r_j - r_i)))

where r, never the whole energy, is compared. Even and odd pairs take turns. Every sample has replicas of its own, so it
depends on the seed and its own number alone. A step costs K forward and K backward passes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ebm_refine.parameters import Parameter
from ebm_refine.samplers import mala
from ebm_refine.samplers.base import Info, Kernel, Parts, State, Target, acceptance_report, choose, evaluated, is_finite, parts
from ebm_refine.samplers.method import EXACT, Cost, Method, Passes, Values
from ebm_refine.samplers.pilot import Pilot
from ebm_refine.samplers.rng import Draws


class TemperingState(NamedTuple):
    """`position` (B, d…), `energy` (B,): the replica at b = 1. `replicas` (B, K, d…) and their `parts` (B, K, …).

    Counts (B,) int64: `accepted` of `proposals` MALA moves, `swapped` of `swaps`.
    """

    position: Tensor
    energy: Tensor
    replicas: Tensor
    parts: Parts
    accepted: Tensor
    proposals: Tensor
    swapped: Tensor
    swaps: Tensor

    @property
    def grad(self) -> Tensor:
        """(B, d…) of the energy at the replica at b = 1."""
        return self.parts.prior_grad[:, 0] - self.parts.ratio_grad[:, 0]


def tempering(target: Target, eps: float, ladder: Sequence[float]) -> Kernel:
    """`ladder` descends; a rung at 0 is drawn afresh from the prior at every step."""
    rungs = len(ladder)

    def init(position: Tensor) -> TemperingState:
        none = torch.zeros(len(position), dtype=torch.int64, device=position.device)
        split = parts(target, evaluated(target, position))
        everyone = Parts(*(part[:, None].expand(-1, rungs, *part.shape[1:]) for part in split))
        replicas = position[:, None].expand(-1, rungs, *position.shape[1:])
        return TemperingState(position, split.prior - split.ratio, replicas, everyone, none, none, none, none)

    def step(state: TemperingState, draws: Draws) -> tuple[TemperingState, Info]:
        chains, shape = len(state.position), state.position.shape[1:]
        b = torch.tensor(ladder, device=state.position.device).repeat(chains)
        fresh = b == 0
        old_parts = Parts(*(part.flatten(0, 1) for part in state.parts))
        old = tempered(state.replicas.flatten(0, 1), old_parts, b)
        noise = draws.normal((rungs, *shape)).flatten(0, 1)
        position = mala.propose(old, eps, 1.0, noise)
        if ladder[-1] == 0:
            position[rungs - 1 :: rungs] = target.prior(draws)
        full = evaluated(target, position)
        finite = is_finite(full)
        new_parts = parts(target, full)
        new = tempered(position, new_parts, b)
        rises = draws.uniform((rungs,)).flatten().log() < mala.log_acceptance(old, new, eps, 1.0, noise)
        accepted = finite & (fresh | rises)
        replicas = choose(accepted, new, old).position.unflatten(0, (chains, rungs))
        moved = Parts(*(part.unflatten(0, (chains, rungs)) for part in choose(accepted, new_parts, old_parts)))
        order, swapped = swap_order(moved.ratio, ladder, draws)
        rows = torch.arange(chains, device=order.device)[:, None]
        replicas, moved = replicas[rows, order], Parts(*(part[rows, order] for part in moved))
        accepted, local = accepted.unflatten(0, (chains, rungs)), (~fresh).unflatten(0, (chains, rungs))
        counts = (
            state.accepted + (accepted & local).sum(dim=1),
            state.proposals + local.sum(dim=1),
            state.swapped + swapped.sum(dim=1),
            state.swaps + len(range(draws.step % 2, rungs - 1, 2)),
        )
        changed = torch.where(order[:, 0] == 0, accepted[:, 0], True)
        nonfinite = ~finite.unflatten(0, (chains, rungs)).all(dim=1)
        energy = moved.prior[:, 0] - moved.ratio[:, 0]
        return TemperingState(replicas[:, 0], energy, replicas, moved, *counts), Info(changed, nonfinite)

    def summary(state: TemperingState) -> dict[str, float | str]:
        rate = int(state.swapped.sum()) / max(int(state.swaps.sum()), 1)
        return {**acceptance_report(state.accepted, state.proposals, eps), "swap_rate": rate}

    return Kernel(init, step, summary=summary)


def tempered(position: Tensor, split: Parts, b: Tensor) -> State:
    """Energy prior - b * ratio and its gradient, with b (B,) for each chain."""
    grad = split.prior_grad - b.reshape(-1, *[1] * (position.dim() - 1)) * split.ratio_grad
    return State(position, split.prior - b * split.ratio, grad)


def swap_order(ratio: Tensor, ladder: Sequence[float], draws: Draws) -> tuple[Tensor, Tensor]:
    """The order (B, K) int64 of the replicas after this step's swaps, given their ratios (B, K); pairs swapped (B, P) bool."""
    chains, rungs = ratio.shape
    order = torch.arange(rungs, device=ratio.device).repeat(chains, 1)
    first = torch.tensor(range(draws.step % 2, rungs - 1, 2), dtype=torch.int64, device=ratio.device)
    if len(first) == 0:
        return order, order[:, :0].bool()
    b = torch.tensor(ladder, device=ratio.device)
    log_chance = (b[first] - b[first + 1]) * (ratio[:, first + 1] - ratio[:, first])
    swapped = draws.uniform((len(first),), block=rungs).log() < log_chance
    order[:, first], order[:, first + 1] = first + swapped.long(), first + 1 - swapped.long()
    return order, swapped


def _kernel(target: Target, values: Values, pilot: Pilot) -> Kernel:
    rungs = values["rungs"]
    ladder = [1 - rung / (rungs - 1) for rung in range(rungs)]
    return tempering(target, mala.chosen_eps(target, values, pilot), ladder)


def _cost(values: Values) -> Cost:
    return Cost(Passes(1, 1), Passes(values["rungs"], values["rungs"]))


METHOD = Method(
    name="tempering",
    title="Parallel tempering",
    summary="A ladder of chains from the generator to the refined law that swap their images.",
    parameters=(
        Parameter("eps", "float", None, 1e-9, 10.0, scale="log", help="MALA's step; none: tuned in a pilot to accept 57.4 %"),
        Parameter("n_steps", "int", 20, 1, 10_000, unit="steps", help="transitions: all replicas move, then neighbours swap"),
        Parameter("rungs", "int", 5, 2, 20, unit="replicas", help="K: replicas at b = 1 … 0, evenly spaced"),
    ),
    published={},
    kernel=_kernel,
    cost=_cost,
    pilot_cost=mala.tuning_cost,
    law=EXACT,
)
