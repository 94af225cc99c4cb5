"""What a finished run says of its own chains: whether they agree, how far they are from the law, where the gradient led."""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ebm_refine.energies.targets import BinaryTarget
from ebm_refine.metrics import mcmc
from ebm_refine.metrics.ksd import stein_discrepancy
from ebm_refine.samplers import METHODS

# Convergence is shown from this many recorded steps and chains, of methods whose steps come to rest in a law.
DIAGNOSED_STEPS, DIAGNOSED_CHAINS = 20, 4
# Chains whose ends are set against the law by its score: enough of them to say something, few enough to wait for.
STEIN_CHAINS = (16, 1000)


def convergence(method: str, trace: Tensor, steps: Sequence[int]) -> dict[str, float]:
    """Split R-hat and ESS of the energies `trace` (frames, N) at `steps`: of the later half, as the earlier one is warm-up.

    Empty for a method without a stationary law, for small runs, and without the extra `diagnostics`; only finite numbers.
    """
    recorded, count = trace.shape
    if not METHODS[method].stationary or recorded < DIAGNOSED_STEPS or count < DIAGNOSED_CHAINS or not mcmc.available():
        return {}
    later = trace[recorded // 2 :]
    found = {f"energy_{name}": value for name, value in mcmc.convergence(later)._asdict().items() if math.isfinite(value)}
    return {**found, "energy_draws": later.numel(), "energy_from_step": steps[recorded // 2]} if found else {}


def gradient_norms(before: float, after: float) -> dict[str, float]:
    """The mean lengths of the energy's gradient at both ends, as far as they are finite numbers."""
    norms = {"gradient_norm_before": before, "gradient_norm_after": after}
    return {name: norm for name, norm in norms.items() if math.isfinite(norm)}


def distance_to_law(target: Any, state: Any, temperature: float) -> dict[str, float]:
    """How far the chains' ends are from the law exp(-E / T), by its score; empty for few chains, at T = 0, and for bits."""
    least, most = STEIN_CHAINS
    position = state.position[:most]
    if len(position) < least or not temperature or isinstance(target, BinaryTarget) or target.no_gradient:
        return {}
    grad = state.grad[:most] if hasattr(state, "grad") else target.energy_and_grad(position)[1]
    found = stein_discrepancy(position.flatten(1), -grad.flatten(1) / temperature)
    if not math.isfinite(found.value):
        return {}
    return {"stein_discrepancy": found.value, "stein_null_sd": found.null_sd, "stein_chains": len(position)}


def mean_ratios(before: Tensor | None, after: Tensor | None) -> dict[str, Any]:
    """The mean log ratios (N,) before and after with the warning that belongs to them; of a model without, that of energies."""
    if before is None or after is None:
        return {
            "energy_warning": "the sampler lowers the energy by construction: a lower mean is not evidence of better samples"
        }
    return {
        "mean_ratio_before": float(before.mean()),
        "mean_ratio_after": float(after.mean()),
        "ratio_warning": "the sampler raises r by construction: a higher mean ratio is not evidence of better images",
    }
