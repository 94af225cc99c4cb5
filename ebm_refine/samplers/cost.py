"""What a run costs an image in passes through the networks, known before it begins: how methods are given equal budgets.

The unit is a gradient evaluation, one forward and one backward pass to the position; every method's file says how many it
takes. Pilots are left out: their size is fixed, so an image's share of them falls with the number of images.
"""

from collections.abc import Mapping
from typing import Any

from ebm_refine.errors import InputError
from ebm_refine.samplers import METHODS
from ebm_refine.samplers.method import Cost, Passes


def cost_of(method: str, values: Mapping[str, Any]) -> Cost:
    """The cost of a method with these parameter values. Raises InputError for one whose steps evaluate no such networks."""
    cost = METHODS[method].cost
    if cost is None:
        able = ", ".join(name for name, row in METHODS.items() if row.cost)
        raise InputError(f"method {method!r} has no cost in gradient evaluations; those that have are {able}")
    return cost(values)


def evaluations(method: str, values: Mapping[str, Any], n_steps: int) -> float:
    """Gradient evaluations an image of `n_steps` transitions: exact, or what the run stays below or near (`Cost.exact`)."""
    cost = cost_of(method, values)
    return cost.start.evaluations + n_steps * cost.step.evaluations


def steps_within(method: str, values: Mapping[str, Any], budget: float) -> int:
    """The most transitions that cost no image more than `budget` gradient evaluations. Raises InputError where not even one."""
    cost = cost_of(method, values)
    steps = int((budget - cost.start.evaluations) // cost.step.evaluations)
    if steps < 1:
        raise InputError(
            f"a budget of {budget:g} gradient evaluations an image does not pay for one step of {method!r}, "
            f"which needs {evaluations(method, values, 1):g}"
        )
    return steps


def spent(forwards: float, gradients: float) -> float:
    """Gradient evaluations in counts of forward passes, those of gradients among them, and of gradients."""
    return Passes(forwards, gradients).evaluations
