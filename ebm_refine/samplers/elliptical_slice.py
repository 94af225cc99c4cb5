"""Elliptical slice sampling: a search on random ellipses through the point, without gradient or step size.

Murray, Adams and MacKay 2010, "Elliptical slice sampling" (arXiv 1001.0175), for a law p0(z) exp(beta * r(G(z)))
with a standard normal prior p0: draw nu ~ p0, a level log y = beta * r(z) + log u and an angle t uniform on [0, 2 pi); then

    z' = z cos t + nu sin t

is taken as soon as beta * r(z') > log y. Until then the bracket [t - 2 pi, t] of angles shrinks to t, on the side away from
0, and the next t is drawn from what is left. Each transition is exact, and at angle 0 the search always ends.

`n_steps` counts forward passes an image, the mean over images. A transition takes as many passes as its search needs, and
hard searches begin at probable points: a chain stopped after a fixed number of *passes* is found more often where searches
last, and its law is not the refined one (on a Gaussian in the plane its variance was 12 % too small). So what is fixed is
the number of *transitions* of each chain, independently of its path: the pilot finds how many transitions n_steps passes buy on
average. All chains that have transitions left make one pass a step; the last step goes on until all have ended, for as many
passes again at most. A chain that has not keeps its last point and is counted.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ebm_refine.parameters import Parameter
from ebm_refine.samplers.base import Info, Kernel, Target, choose, per_chain
from ebm_refine.samplers.method import STEPLESS, Cost, Method, Passes, Values
from ebm_refine.samplers.pilot import FIRST_CHAIN, Pilot
from ebm_refine.samplers.rng import Draws

PILOT_CHAINS, PILOT_PASSES = 32, 60
# The last step makes at most as many passes as there were steps, but at least this limit; hardly any chain needs them all.
LEAST_EXTRA = 50


class SliceState(NamedTuple):
    """`position` (B, d…), `energy`, `ratio` (B,); of the search under way `direction` (B, d…), `level`, `low`, `high` (B,).

    `searching` (B,) bool: a search is under way. `moves` (B,) int64: transitions made, of `allowed` (B,) float32.
    """

    position: Tensor
    energy: Tensor
    ratio: Tensor
    direction: Tensor
    level: Tensor
    low: Tensor
    high: Tensor
    searching: Tensor
    moves: Tensor
    allowed: Tensor


def elliptical_slice(target: Target, transitions: float, n_steps: int) -> Kernel:
    """One forward pass of all chains that have transitions left a step, for `n_steps` steps; the last one ends every search.

    Each chain makes `transitions` transitions, rounded up or down at random so that this is the mean.
    """

    def init(position: Tensor) -> SliceState:
        ratio = target.log_ratio(position)
        zeros, none = torch.zeros_like(ratio), torch.zeros(len(position), dtype=torch.int64, device=position.device)
        energy, allowed = target.prior_energy(position) - ratio, torch.full_like(ratio, transitions)
        return SliceState(position, energy, ratio, position, zeros, zeros, zeros, none.bool(), none, allowed)

    def step(state: SliceState, draws: Draws) -> tuple[SliceState, Info]:
        if draws.first:
            state = state._replace(allowed=(state.allowed + draws.uniform(block=2)).floor())
        state, info = one_pass(target, state, draws)
        for extra in range(1, 1 + max(n_steps, LEAST_EXTRA) if draws.step >= n_steps else 0):
            if bool((state.moves >= state.allowed).all()):
                break
            state, more = one_pass(target, state, draws._replace(step=draws.step + extra))
            proposal = torch.where(more.proposal.isnan(), info.proposal, more.proposal)  # type: ignore[union-attr,arg-type]
            info = Info(info.accepted | more.accepted, info.nonfinite | more.nonfinite, proposal)
        return state, info

    def summary(state: SliceState) -> dict[str, float | str]:
        unfinished = int((state.moves < state.allowed).sum())
        return {"transitions": float(state.moves.float().mean()), "unfinished": unfinished}

    return Kernel(init, step, finished=lambda state: bool((state.moves >= state.allowed).all()), summary=summary)


def one_pass(target: Target, state: SliceState, draws: Draws) -> tuple[SliceState, Info]:
    """One point of every open chain's bracket is tried."""
    rows = (state.moves < state.allowed).nonzero().squeeze(1)
    none = torch.zeros_like(state.searching)
    untried = torch.full_like(state.position, torch.nan)
    if len(rows) == 0:
        return state, Info(none, none, untried)
    here, mine = SliceState(*(part[rows] for part in state)), Draws(draws.seed, draws.index[rows], draws.step)
    begun, spin = here.searching, mine.uniform(block=1)
    # A point without a finite ratio accepts any that has one.
    level = torch.where(here.ratio.isfinite(), here.ratio, -torch.inf) + mine.uniform().log()
    angle = torch.where(begun, here.low + spin * (here.high - here.low), 2 * math.pi * spin)
    low, high = torch.where(begun, here.low, angle - 2 * math.pi), torch.where(begun, here.high, angle)
    direction = torch.where(per_chain(begun, here.direction), here.direction, target.prior(mine))
    level = torch.where(begun, here.level, level)
    turned = per_chain(angle, here.position)
    position = here.position * turned.cos() + direction * turned.sin()
    ratio = target.log_ratio(position)
    finite = ratio.isfinite()
    taken = finite & (ratio >= level)
    shrunk = (torch.where(angle < 0, angle, low), torch.where(angle < 0, high, angle))
    stayed = SliceState(*here[:3], direction, level, *shrunk, torch.ones_like(begun), here.moves, here.allowed)
    energy = target.prior_energy(position) - ratio
    search = (direction, level, low, high, torch.zeros_like(begun))
    moved = SliceState(position, energy, ratio, *search, here.moves + 1, here.allowed)
    new = choose(taken, moved, stayed)
    return (
        SliceState(*(old.index_copy(0, rows, part) for old, part in zip(state, new, strict=True))),
        Info(none.index_copy(0, rows, taken), none.index_copy(0, rows, ~finite), untried.index_copy(0, rows, position)),
    )


def affordable(target: Target, pilot: Pilot, n_steps: int) -> float:
    """How many transitions n_steps passes pay for on average, by the pilot's chains from their start.

    Beyond PILOT_PASSES passes each is taken to go on as in the later half of those. A chain that makes N transitions in n_steps
    passes needs n_steps * m / N for m of them, so it is the harmonic mean of N that counts.
    """
    passes = min(n_steps, PILOT_PASSES)
    kernel = elliptical_slice(target, math.inf, n_steps + 1)
    index = torch.arange(FIRST_CHAIN, FIRST_CHAIN + PILOT_CHAINS, device=pilot.device)
    state = kernel.init(pilot.positions(PILOT_CHAINS))
    moves = [state.moves.double()]
    for number in range(1, passes + 1):
        state, _ = kernel.step(state, Draws(pilot.seed, index, number))
        moves.append(state.moves.double())
    half = passes // 2
    later = (moves[passes] - moves[half]) / max(passes - half, 1)
    # Half a transition for the search under way.
    made = moves[passes] + (n_steps - passes) * later + 0.5
    return float(1 / (1 / made).mean())


def _kernel(target: Target, values: Values, pilot: Pilot) -> Kernel:
    return elliptical_slice(target, affordable(target, pilot, values["n_steps"]), values["n_steps"])


def _cost(values: Values) -> Cost:
    return Cost(Passes(1), Passes(1), exact=False)


METHOD = Method(
    name="elliptical-slice",
    title="Elliptical slice sampling",
    summary="Searches random ellipses through each latent for a point of similar log ratio; no gradient, no step size.",
    parameters=(Parameter("n_steps", "int", 50, 1, 10_000, unit="passes", help="forward passes an image, on average"),),
    published={},
    kernel=_kernel,
    cost=_cost,
    pilot_cost=lambda values: Passes(PILOT_CHAINS * (1 + min(values["n_steps"], PILOT_PASSES))),
    law=STEPLESS,
    gaussian_prior=True,
)
