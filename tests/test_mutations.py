"""Faults that people have shipped, put into the source one at a time: the oracle that guards against each must notice.

A mutation that no longer applies to the source fails with that message; change it with the source.
"""

from collections.abc import Callable
from types import ModuleType

import oracles
import pytest
from toys import mutant
from zscores import LIMIT

from ebm_refine import samplers, targets
from ebm_refine.samplers import langevin, rejection


def assert_caught(scores: dict[str, float]) -> None:
    scores.pop("variance, were it unbiased", None)
    assert any(not abs(z) <= LIMIT for z in scores.values()), f"nobody noticed: {scores}"


LANGEVIN = {
    "noise x 1.1": ("noise_scale * noise", "1.1 * noise_scale * noise"),
    "dropped factor 1/2": ("(eps / 2) * state.grad", "eps * state.grad"),
    "stale gradient": ("return kept, Info", "return kept._replace(grad=state.grad), Info"),
    "noise from the wrong temperature": ("math.sqrt(eps * temperature)", "math.sqrt(eps) * temperature"),
}


@pytest.mark.parametrize("fault", LANGEVIN)
def test_mutation_of_langevin(fault: str) -> None:
    broken = mutant(langevin, *LANGEVIN[fault])
    assert_caught(oracles.langevin_variance(broken))
    if "temperature" not in fault:  # the posterior oracle runs at T = 1
        assert_caught(oracles.langevin_posterior(broken))


@pytest.mark.parametrize("oracle", [oracles.langevin_variance, oracles.langevin_posterior])
def test_mutation_dropped_prior(oracle: Callable[..., dict[str, float]]) -> None:
    broken = mutant(targets, "energy = self.prior_energy(part) - self.beta", "energy = -self.beta")
    assert_caught(oracle(law=broken))


def test_mutation_shifted_bound() -> None:
    too_high = mutant(rejection, "(ratio - log_bound).clamp(max=0.0).exp()", "(ratio - log_bound - 0.1).clamp(max=0.0).exp()")
    assert_caught(oracles.rejection_posterior(too_high))
    too_low = mutant(rejection, "(ratio - log_bound).clamp(max=0.0).exp()", "(ratio - log_bound + 0.1).clamp(max=0.0).exp()")
    assert_caught(oracles.rejection_posterior(too_low))
    drs = mutant(rejection, "excess = (ratio - log_bound)", "excess = (ratio - log_bound + 0.1)")
    assert_caught(oracles.drs_discrete(1.5, drs))


def test_mutation_off_by_one_in_the_pilot_maximum() -> None:
    broken: ModuleType = mutant(samplers, "pilot.ratios().max()", "pilot.ratios().unique()[-2]")
    assert_caught(oracles.rejection_discrete(broken))
