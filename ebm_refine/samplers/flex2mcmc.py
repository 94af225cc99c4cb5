"""Flow-enhanced explore-exploit MCMC: `ex2mcmc` whose global proposal is a normalizing flow instead of the prior.

Samsonov et al. 2022, "Local-global MCMC kernels: the best of both worlds" (arXiv 2111.02702). The weights of the
global move become exp(-E(z)) / q(z) with q the flow's density. The flow is learned beforehand (`flow.py`); one that diverged,
or that is not clearly more efficient than the prior, is replaced by the prior, and the summary says so.
"""

from typing import Any

from ebm_refine.samplers import ex2mcmc, flow, mala
from ebm_refine.samplers.base import Kernel, Target
from ebm_refine.samplers.method import EXACT, Method, Passes, Values
from ebm_refine.samplers.pilot import Pilot


def flex2mcmc(target: Target, eps: float, learned: flow.Flow, particles: int = 10, local_moves: int = 3) -> Kernel:
    """The cost of `ex2mcmc`, and the flow's own networks."""
    kernel = ex2mcmc.ex2mcmc(target, eps, particles, local_moves, learned.proposal)

    def summary(state: Any) -> dict[str, float | str]:
        efficiencies = {"flow_efficiency": learned.efficiency, "prior_efficiency": learned.prior_efficiency}
        return {**kernel.summary(state), **efficiencies, "proposal": learned.note}

    return kernel._replace(summary=summary)


def _kernel(target: Target, values: Values, pilot: Pilot) -> Kernel:
    eps = mala.chosen_eps(target, values, pilot, ex2mcmc.ACCEPTANCE)
    return flex2mcmc(target, eps, flow.learn(target, pilot), values["particles"], values["local_moves"])


def _pilot_cost(values: Values) -> Passes:
    tuning, learning = mala.tuning_cost(values), flow.learning_cost()
    return Passes(tuning.forwards + learning.forwards, tuning.gradients + learning.gradients)


METHOD = Method(
    name="flex2mcmc",
    title="Flow explore-exploit (FlEx2MCMC)",
    summary="Ex2MCMC with a learned flow that proposes where the log ratio is high.",
    parameters=ex2mcmc.METHOD.parameters,
    published=ex2mcmc.METHOD.published,
    kernel=_kernel,
    cost=ex2mcmc.cost,
    pilot_cost=_pilot_cost,
    law=EXACT,
)
