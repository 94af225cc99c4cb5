"""Sampling algorithms, one a file. `METHODS` is the table that settings, page, API and command line read.

To add a sampler: write its file, which ends in its declaration `METHOD`, and name it below (docs/adding-a-sampler.md).
"""

from ebm_refine.samplers import (
    dg_flow,
    dot,
    elliptical_slice,
    ex2mcmc,
    flex2mcmc,
    gibbs,
    hmc,
    i_sir,
    langevin,
    langevin_exact,
    mala,
    mh_gan,
    obrs,
    rejection,
    short_run,
    smc,
    tempering,
    underdamped,
)
from ebm_refine.samplers.method import Method

# In the order in which page, API and command line list them.
_MODULES = (
    langevin,
    short_run,
    rejection,
    mala,
    hmc,
    underdamped,
    mh_gan,
    i_sir,
    ex2mcmc,
    flex2mcmc,
    tempering,
    smc,
    dot,
    dg_flow,
    gibbs,
    elliptical_slice,
    langevin_exact,
    obrs,
)
METHODS: dict[str, Method] = {module.METHOD.name: module.METHOD for module in _MODULES}

__all__ = ["METHODS", "Method"]
