"""Flow-enhanced explore-exploit MCMC: `ex2mcmc` whose global proposal is a normalizing flow instead of the prior.

Samsonov et al. 2022, "Local-global MCMC kernels: the best of both worlds" (arXiv 2111.02702). The weights of the
global move become exp(-E(z)) / q(z) with q the flow's density. The flow is learned beforehand (`flow.py`); one that diverged,
or that proposes worse than the prior, is replaced by the prior, and the summary says so.
"""

from typing import Any

from ebm_refine.parameters import Parameter
from ebm_refine.samplers.base import Kernel, Target
from ebm_refine.samplers.ex2mcmc import ACCEPTANCE, ex2mcmc
from ebm_refine.samplers.ex2mcmc import PARAMETERS as EX2_PARAMETERS
from ebm_refine.samplers.ex2mcmc import PUBLISHED as EX2_PUBLISHED
from ebm_refine.samplers.flow import Flow

__all__ = ["ACCEPTANCE", "PARAMETERS", "PUBLISHED", "flex2mcmc"]

PARAMETERS: tuple[Parameter, ...] = EX2_PARAMETERS
PUBLISHED = EX2_PUBLISHED


def flex2mcmc(target: Target, eps: float, flow: Flow, particles: int = 10, local_moves: int = 3) -> Kernel:
    """The cost of `ex2mcmc`, and the flow's own networks."""
    kernel = ex2mcmc(target, eps, particles, local_moves, flow.proposal)

    def summary(state: Any) -> dict[str, float | str]:
        efficiencies = {"flow_efficiency": flow.efficiency, "prior_efficiency": flow.prior_efficiency}
        return {**kernel.summary(state), **efficiencies, "proposal": flow.note}

    return kernel._replace(summary=summary)
