"""The declaration of a sampling method: `METHOD`, at the end of its file. All other code reads it from there."""

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, NamedTuple

from ebm_refine.parameters import Parameter
from ebm_refine.samplers.base import Kernel
from ebm_refine.samplers.pilot import Pilot

Values = Mapping[str, Any]
# A backward pass takes as long as a forward one (counted in floating-point operations), so a forward pass alone is half of a
# gradient evaluation, the unit in which methods are compared.
FORWARD = 0.5


class Passes(NamedTuple):
    """Passes of one image through the networks: all `forwards`, those of gradients among them, and `gradients`."""

    forwards: float
    gradients: float = 0

    @property
    def evaluations(self) -> float:
        """The same in gradient evaluations, of one forward and one backward pass each."""
        return self.gradients + FORWARD * (self.forwards - self.gradients)


class Cost(NamedTuple):
    """What one image costs: its start, and each transition. Not `exact`: known after the run; these are bounds or means."""

    start: Passes
    step: Passes
    exact: bool = True


def no_pilot(values: Values) -> Passes:
    """The cost of the pilot of a method that learns nothing before it runs."""
    return Passes(0)


class Claim(Enum):
    """A method's claim about the law of its samples; `tests/samplers/test_laws.py` tests it.

    EXACT: a transition leaves exp(-E/T) invariant at any step size. BIASED: it leaves a law invariant that tends to exp(-E/T)
    as the step goes to 0. INDEPENDENT: every image is an independent draw from p0 * min(exp(beta * r), M), with log M in the
    diagnostics as `log_bound`. NONE: there is no such law, and the sentence says why.
    """

    EXACT = "exact"
    BIASED = "biased"
    INDEPENDENT = "independent"
    NONE = "none"


class Law(NamedTuple):
    """A `claim` and the `sentence` that the page shows.

    `variance(values, precision)`, of BIASED methods: the stationary variance on a Gaussian posterior of this precision under
    a standard normal prior, at temperature 1 or that of the values.
    """

    claim: Claim
    sentence: str
    variance: Callable[[Values, float], float] | None = None


EXACT = Law(Claim.EXACT, "Long chains sample the refined law exactly, whatever the step size.")
STEPLESS = EXACT._replace(sentence="Long chains sample the refined law exactly; there is no step size.")


class Method(NamedTuple):
    """A row of the table `METHODS`.

    `parameters` are its settings; `published` the values that its paper or its code used, as far as it used any.
    `kernel(target, values, pilot)` binds it: `values` by parameter name, `pilot` what the population shows. `cost(values)` is
    what an image costs; None where steps evaluate no networks of images. `pilot_cost(values)` is what the pilot costs in all,
    however many images follow. `kinds` are the models that it samples (`ebm_refine.models.kinds`): a method that needs a prior
    or a log ratio samples pairs alone. `capturable`: from transition 2 on a step is one fixed list of operations on the device,
    in which the random numbers alone are new, so a CUDA graph can replay it. `coupled`: chains depend on one another, so that
    an image depends on how many are asked for. `gaussian_prior`: it needs positions that are standard normal a priori, which
    latents are, and uniform ones are carried as.
    """

    name: str
    title: str
    summary: str
    parameters: tuple[Parameter, ...]
    published: Values
    kernel: Callable[[Any, Values, Pilot], Kernel]
    cost: Callable[[Values], Cost] | None
    law: Law
    pilot_cost: Callable[[Values], Passes] = no_pilot
    kinds: tuple[str, ...] = ("pair",)
    capturable: bool = False
    coupled: bool = False
    gaussian_prior: bool = False

    @property
    def uses(self) -> frozenset[str]:
        """The names of the parameters that this method accepts; any other is an error."""
        return frozenset(parameter.name for parameter in self.parameters)

    @property
    def gradient_free(self) -> bool:
        """Whether it runs on forward passes alone, so that r need not be differentiable."""
        return self.cost is not None and not self.cost({row.name: row.default for row in self.parameters}).step.gradients

    @property
    def stationary(self) -> bool:
        """Whether its steps have a stationary law, so that convergence diagnostics apply."""
        return self.law.claim in (Claim.EXACT, Claim.BIASED)

    def build(self, target: Any, values: Values, pilot: Pilot) -> Kernel:
        """The kernel for `target` (a `samplers.base.Target`, for some methods any `Energy`)."""
        return self.kernel(target, values, pilot)._replace(capturable=self.capturable)


# The gradient of an energy is all that some methods need; all others need a prior to draw from, or a ratio to weigh by.
GRADIENT_KINDS = ("pair", "energy", "joint")


def one_gradient(values: Values) -> Cost:
    """The cost of a method that takes one gradient to start and one a transition."""
    return Cost(Passes(1, 1), Passes(1, 1))
