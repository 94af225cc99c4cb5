"""Optimal budgeted rejection sampling: independent images, as near to the refined law as a given number of proposals allows.

Verine et al. 2024, "Optimal budgeted rejection sampling for generative models" (arXiv 2311.00460): among all acceptance
functions that accept a share 1 / K of the generator's samples,

    a(z) = min(1, c * exp(beta * r(G(z)))),     c such that E_p0[a] = 1 / K,

gives accepted samples of the least f-divergence from the refined law, for every f. Their law is proportional to p0 *
min(exp(beta * r), 1 / c): the refined one with the ratio cut at 1 / c. Bisection finds c on the pilot's samples. Where
exp(r) has a bound M below K there is nothing to cut, and this is plain rejection sampling at 1 / M.

It is `rejection` with log M = -log c. K is the mean number of proposals an image: each slot continues until it accepts one; the
few that accept none of TRIES * K proposals return the best of them and are counted.
"""

from torch import Tensor

from ebm_refine.parameters import Parameter
from ebm_refine.samplers.base import Kernel, Target
from ebm_refine.samplers.method import Claim, Cost, Law, Method, Passes, Values
from ebm_refine.samplers.pilot import PILOT_SIZE, Pilot
from ebm_refine.samplers.rejection import rejection

# Proposals of an open slot in each of K transitions: at most exp(-TRIES), 0.03 % of the slots, accept nothing.
TRIES = 8


def log_cut(ratio: Tensor, budget: float) -> float:
    """-log c, where min(1, c * exp(ratio)) has the mean 1 / budget over `ratio` (N,); at most the largest ratio.

    `budget` >= 1. The mean falls as -log c rises, from 1 at the smallest ratio.
    """
    ratio = ratio.double()
    low, high = float(ratio.min()), float(ratio.max())
    if float((ratio - high).exp().mean()) >= 1 / budget:
        return high
    for _ in range(60):
        middle = (low + high) / 2
        if float((ratio - middle).clamp(max=0).exp().mean()) > 1 / budget:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _kernel(target: Target, values: Values, pilot: Pilot) -> Kernel:
    return rejection(target, log_cut(pilot.ratios(), values["n_steps"]), tries=TRIES)


def _cost(values: Values) -> Cost:
    return Cost(Passes(0), Passes(1), exact=False)  # on average over the whole run; its first proposal is the start


METHOD = Method(
    name="obrs",
    title="Budgeted rejection (OBRS)",
    summary="Independent images, as near to the refined law as a given mean number of proposals allows.",
    parameters=(Parameter("n_steps", "int", 10, 1, 10_000, unit="proposals", help="K: proposals an image, on average"),),
    published={},
    kernel=_kernel,
    cost=_cost,
    pilot_cost=lambda values: Passes(PILOT_SIZE),
    law=Law(
        Claim.INDEPENDENT,
        "Every image is a draw of its own, from the refined law with the ratio cut where the number of proposals ends.",
    ),
)
