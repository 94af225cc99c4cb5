"""What a run costs an image in passes through the networks, known before it begins: how methods are given equal budgets.

The unit is a gradient evaluation, one forward and one backward pass to the position. Its backward pass takes as long as its
forward one (counted in floating-point operations), so a forward pass alone is half a unit. Pilots are left out: their size is
fixed, so an image's share of them falls with the number of images.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ebm_refine.errors import InputError

FORWARD = 0.5


class Cost(NamedTuple):
    """Of one image, in gradient evaluations: of the start, and at most of each transition."""

    start: float
    step: float


def _global_move(values: Mapping[str, Any]) -> float:
    return FORWARD * (values["particles"] - 1)


def _local_global(values: Mapping[str, Any]) -> Cost:
    # A point that the global move chose has its gradient taken afresh.
    return Cost(1, _global_move(values) + 1 + values["local_moves"])


_ONE_GRADIENT = Cost(1, 1)
_COSTS: dict[str, Callable[[Mapping[str, Any]], Cost]] = {
    **dict.fromkeys(("langevin", "short-run", "mala", "underdamped", "smc", "dot", "dg-flow"), lambda values: _ONE_GRADIENT),
    "rejection": lambda values: Cost(0, FORWARD),  # its first proposal is the start
    "mh-gan": lambda values: Cost(FORWARD, FORWARD),
    "hmc": lambda values: Cost(1, values["leapfrog"]),
    "i-sir": lambda values: Cost(FORWARD, _global_move(values)),
    "ex2mcmc": _local_global,
    "flex2mcmc": _local_global,
    "tempering": lambda values: Cost(1, values["rungs"]),
}


def cost_of(method: str, values: Mapping[str, Any]) -> Cost:
    """The cost of a method with these parameter values. Raises InputError for one whose steps evaluate no such networks."""
    if method not in _COSTS:
        raise InputError(f"method {method!r} has no cost in gradient evaluations; those that have are {', '.join(_COSTS)}")
    return _COSTS[method](values)


def evaluations(method: str, values: Mapping[str, Any], n_steps: int) -> float:
    """Gradient evaluations an image of `n_steps` transitions: exact, or the most that may be needed."""
    cost = cost_of(method, values)
    return cost.start + n_steps * cost.step


def steps_within(method: str, values: Mapping[str, Any], budget: float) -> int:
    """The most transitions that cost no image more than `budget` gradient evaluations. Raises InputError where not even one."""
    cost = cost_of(method, values)
    steps = int((budget - cost.start) // cost.step)
    if steps < 1:
        raise InputError(
            f"a budget of {budget:g} gradient evaluations an image does not pay for one step of {method!r}, "
            f"which needs {cost.start + cost.step:g}"
        )
    return steps


def spent(forwards: float, gradients: float) -> float:
    """Gradient evaluations in counts of forward passes, those of gradients among them, and of gradients."""
    return gradients + FORWARD * (forwards - gradients)
