"""Convergence of chains from a trace of one number a chain: split R-hat, bulk and tail effective sample size (ArviZ)."""

from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
from torch import Tensor

from ebm_refine.errors import InputError

TAILS = (0.05, 0.95)


class Convergence(NamedTuple):
    """`split_rhat` is near 1 where the chains agree, and should be below 1.01; `ess_*` are out of steps x chains draws.

    Not a number, or infinite, where the trace does not vary within the chains or holds values that are not finite.
    """

    split_rhat: float
    ess_bulk: float
    ess_tail: float


def available() -> bool:
    """Whether the package that `convergence` needs is installed; it is not imported."""
    return find_spec("arviz_stats") is not None


def convergence(trace: Tensor) -> Convergence:
    """Of a trace (steps, chains), steps >= 4 and chains >= 2, without its warm-up.

    Vehtari et al. 2021 (arXiv 1903.08008): R-hat is the larger of the rank-normalised split values of the draws and of their
    folds about the median; bulk ESS is that of the rank-normalised draws in split chains; tail ESS the smaller of those of the
    5 % and 95 % quantiles. Raises InputError for another shape, and where the package arviz-stats is missing.
    """
    if trace.ndim != 2 or trace.shape[0] < 4 or trace.shape[1] < 2:
        raise InputError(f"a trace must be (steps, chains) with at least 4 steps and 2 chains; got {tuple(trace.shape)}")
    try:
        from arviz_stats.base import array_stats
    except ModuleNotFoundError:
        raise InputError("chain diagnostics need the package arviz-stats: pip install 'ebm-refine[diagnostics]'") from None
    chains = trace.detach().double().cpu().numpy().T
    if not np.isfinite(chains).all():
        return Convergence(np.nan, np.nan, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        return Convergence(
            float(array_stats.rhat(chains, method="rank")),
            float(array_stats.ess(chains, method="bulk")) if np.ptp(chains) else np.nan,
            float(array_stats.ess(chains, method="tail", prob=TAILS)) if np.ptp(chains) else np.nan,
        )
