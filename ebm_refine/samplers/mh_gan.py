"""Metropolis-Hastings GAN: an independence chain over fresh samples of the generator.

Turner et al. 2019, "Metropolis-Hastings generative adversarial networks" (arXiv 1811.11357): a fresh z' ~ p0
replaces z with probability

    min(1, (1 / D(z) - 1) / (1 / D(z') - 1)) = min(1, exp(beta * r(G(z')) - beta * r(G(z))))

Published: K = 640 proposals, the chain begun at a held-out real image, whose score is the `start_ratio` here; where that chain
accepted nothing, it is run again from the first fake. Both are run at once on the same proposals, which costs nothing more: as
long as the first has accepted nothing, the second is the result. Without a real score there is only the second.

An image whose first chain never moved is a fallback: all its proposals scored badly beside the real image. With many
fallbacks the images do not have the refined law; the summary reports their number.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ebm_refine.parameters import Parameter
from ebm_refine.samplers.base import Info, Kernel, Target, choose
from ebm_refine.samplers.method import STEPLESS, Cost, Method, Passes, Values
from ebm_refine.samplers.pilot import Pilot
from ebm_refine.samplers.rng import Draws

# From this share on, the report explains fallbacks.
FALLBACKS_REPORTED = 0.05


class MhState(NamedTuple):
    """`position` (B, d…), `energy`, `ratio` (B,); `real` (B,) bool: the chain from the real image has accepted nothing yet.

    `accepted`, `proposals` (B,) int64 counts so far.
    """

    position: Tensor
    energy: Tensor
    ratio: Tensor
    real: Tensor
    accepted: Tensor
    proposals: Tensor


def mh_gan(target: Target, start_ratio: float | Tensor | None = None) -> Kernel:
    """One forward pass a step. `start_ratio` is a number, or (R,) of real images, from which each chain draws one."""
    starts = None if start_ratio is None else torch.as_tensor(start_ratio, dtype=torch.float32).reshape(-1)

    def init(position: Tensor) -> MhState:
        ratio = target.log_ratio(position)
        none = torch.zeros(len(position), dtype=torch.int64, device=position.device)
        real = torch.full_like(ratio, starts is not None, dtype=torch.bool)
        return MhState(position, target.prior_energy(position) - ratio, ratio, real, none, none)

    def step(state: MhState, draws: Draws) -> tuple[MhState, Info]:
        position = target.prior(draws)
        ratio = target.log_ratio(position)
        finite = ratio.isfinite()
        height = draws.uniform().log()
        # A start without a finite ratio accepts any proposal.
        takes = finite & (height < ratio - torch.where(state.ratio.isfinite(), state.ratio, -torch.inf))
        real = state.real
        if starts is not None:
            # The same start at every step: it is drawn as of step 0.
            chosen = (draws._replace(step=0).uniform() * len(starts)).long()
            left = real & finite & (height < ratio - starts.to(ratio.device)[chosen])
            real, takes = real & ~left, takes | left
        counts = (real, state.accepted + takes, state.proposals + 1)
        proposal = MhState(position, target.prior_energy(position) - ratio, ratio, *counts)
        return choose(takes, proposal, MhState(*state[:3], *counts)), Info(takes, ~finite, position)

    def summary(state: MhState) -> dict[str, float | str]:
        rate = int(state.accepted.sum()) / max(int(state.proposals.sum()), 1)
        stuck, share = int((state.accepted == 0).sum()), float(state.real.float().mean())
        report: dict[str, float | str] = {"acceptance_rate": rate, "never_moved": stuck, "fallbacks": int(state.real.sum())}
        if starts is not None:
            report["fallback_share"] = share
        # A chain that takes nothing but the best seen so far accepts 1/2 + 1/3 + … times in K proposals.
        steps = int(state.proposals.max())
        if share > FALLBACKS_REPORTED:
            report["advice"] = (
                f"{share:.0%} of the images are fallbacks: their chain from a real image never moved in {steps} proposals, so "
                "they come from a second chain, begun at the first fake, and lack the refined law: use more steps or beta < 1"
            )
        elif steps >= 10 and rate * steps < 1.2 * sum(1 / (k + 1) for k in range(1, steps + 1)):
            report["advice"] = (
                f"the chains accepted {rate:.2%} of proposals, little but new maxima: use more steps, or beta below 1"
            )
        return report

    return Kernel(init, step, summary=summary)


def _kernel(target: Target, values: Values, pilot: Pilot) -> Kernel:
    start = values["start_ratio"]
    return mh_gan(target, pilot.real_ratios if start is None else start)


def _cost(values: Values) -> Cost:
    return Cost(Passes(1), Passes(1))


METHOD = Method(
    name="mh-gan",
    title="Metropolis-Hastings GAN",
    summary="Proposes fresh samples one after another; a better one replaces the image, a worse one sometimes.",
    parameters=(
        Parameter("n_steps", "int", 100, 1, 10_000, unit="proposals", help="K: proposals of each image"),
        Parameter(
            "start_ratio",
            "float",
            None,
            -1000.0,
            1000.0,
            help="beta * r of a real image; none: one that the model stores, if any",
        ),
    ),
    published={"n_steps": 640},
    kernel=_kernel,
    cost=_cost,
    law=STEPLESS,
)
