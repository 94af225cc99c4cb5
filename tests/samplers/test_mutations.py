"""Faults that people have shipped, put into the source one at a time: the oracle that guards against each must notice.

A mutation that no longer applies to the source fails with that message; change it with the source.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import oracles
import pytest
from toy_targets import mutant
from zscores import LIMIT

from ebm_refine.energies import targets
from ebm_refine.samplers import (
    dg_flow,
    ex2mcmc,
    flex2mcmc,
    flow,
    hmc,
    i_sir,
    langevin,
    mala,
    mh_gan,
    rejection,
    smc,
    tempering,
    underdamped,
)
from ebm_refine.samplers.pilot import Pilot


def assert_caught(scores: dict[str, float]) -> None:
    scores.pop("variance, were it unbiased", None)
    assert any(not abs(z) <= LIMIT for z in scores.values()), f"nobody noticed: {scores}"


LANGEVIN = {
    "noise x 1.1": ("noise_scale * noise", "1.1 * noise_scale * noise"),
    "dropped factor 1/2": ("(eps / 2) * state.grad", "eps * state.grad"),
    "stale gradient": ("return chosen, Info", "return chosen._replace(grad=state.grad), Info"),
    "noise from the wrong temperature": ("math.sqrt(eps * temperature)", "math.sqrt(eps) * temperature"),
}


@pytest.mark.parametrize("fault", LANGEVIN)
@pytest.mark.slow
def test_mutation_of_langevin(fault: str) -> None:
    broken = mutant(langevin, *LANGEVIN[fault])
    assert_caught(oracles.langevin_variance(broken))
    if "temperature" not in fault:  # the posterior oracle runs at T = 1
        assert_caught(oracles.langevin_posterior(broken))


@pytest.mark.parametrize("oracle", [oracles.langevin_variance, oracles.langevin_posterior])
def test_mutation_dropped_prior(oracle: Callable[..., dict[str, float]]) -> None:
    broken = mutant(targets, "return self.prior_energy(position) - self.beta", "return -self.beta")
    assert_caught(oracle(law=broken))


# name: module, source, its mutation, and the oracle of a mutant.
EXACT: dict[str, tuple[ModuleType, str, str, Callable[[ModuleType], dict[str, float]]]] = {
    "mala, dropped proposal term": (
        mala,
        "/ temperature + squares",
        "/ temperature",
        lambda broken: oracles.posterior(lambda target: broken.mala(target, 0.8), 50),
    ),
    "mala, stale gradient": (
        mala,
        "return choose(accepted, proposal, state), Info",
        "return choose(accepted, proposal, state)._replace(grad=state.grad), Info",
        lambda broken: oracles.posterior(lambda target: broken.mala(target, 0.8), 50),
    ),
    "mala, gradients of rejected proposals add up": (
        mala,
        "return choose(accepted, proposal, state), Info",
        "return choose(accepted, proposal, state._replace(grad=state.grad + proposal.grad)), Info",
        lambda broken: oracles.unequal_widths(lambda target: broken.mala(target, 0.5), 60),
    ),
    "hmc, gradient of a rejected proposal": (
        hmc,
        "chosen = choose(accepted, proposal, here)",
        "chosen = choose(accepted, proposal, here)._replace(grad=proposal.grad)",
        lambda broken: oracles.unequal_widths(lambda target: broken.hmc(target, 0.6, 1), 30),
    ),
    "mala, temperature in the noise alone": (
        mala,
        "(old.energy - new.energy) / temperature",
        "(old.energy - new.energy)",
        lambda broken: oracles.posterior(lambda target: broken.mala(target, 0.8, 0.5), 50, 0.5),
    ),
    "hmc, kinetic energy of the end forgotten": (
        hmc,
        "proposal.energy + kinetic(end)",
        "proposal.energy + kinetic(momentum)",
        lambda broken: oracles.posterior(lambda target: broken.hmc(target, 0.3, 2), 20),
    ),
    "hmc, second half kick with the old gradient": (
        hmc,
        "state = evaluated(target, state.position + h * momentum)\n        momentum = momentum - (h / 2) * state.grad",
        "momentum, state = momentum - (h / 2) * state.grad, evaluated(target, state.position + h * momentum)",
        lambda broken: oracles.posterior(lambda target: broken.hmc(target, 0.3, 2), 20),
    ),
    "underdamped, a dropped half": (
        underdamped,
        "kick = (h / 2) * state.grad",
        "kick = h * state.grad",
        oracles.underdamped_law,
    ),
    "underdamped, noise of the wrong size": (
        underdamped,
        "(1 - decay**2)",
        "(1 - decay)",
        oracles.underdamped_law,
    ),
    "dg-flow, eta = eps": (dg_flow, "(eps / 2) * velocity", "eps * velocity", oracles.dg_flow_law),
    "dg-flow, dropped factor in the noise": (
        dg_flow,
        "math.sqrt(eps * gamma)",
        "math.sqrt(eps * gamma / 2)",
        oracles.dg_flow_law,
    ),
    "mh-gan, compares whole energies": (
        mh_gan,
        "height < ratio - torch.where(state.ratio.isfinite(), state.ratio, -torch.inf)",
        "height < state.energy - target.prior_energy(position) + ratio",
        lambda broken: oracles.posterior(lambda target: broken.mh_gan(target), 60),
    ),
    "i-sir, dropped proposal density": (
        i_sir,
        "(-fresh_energy - proposal.log_density(flat))",
        "(-fresh_energy)",
        lambda broken: oracles.posterior(lambda target: broken.i_sir(target, 5), 25),
    ),
    "i-sir, weight of the point itself forgotten": (
        i_sir,
        "[(-energy - proposal.log_density(position))[:, None], fresh_weight]",
        "[torch.zeros_like(energy)[:, None], fresh_weight]",
        lambda broken: oracles.posterior(lambda target: broken.i_sir(target, 5), 25),
    ),
    "ex2mcmc, stale gradient after the global move": (
        ex2mcmc,
        "here = refreshed(target, State(*state[:3]), chosen.position, chosen.moved)",
        "here = State(chosen.position, chosen.energy, state.grad)",
        lambda broken: oracles.posterior(lambda target: broken.ex2mcmc(target, 0.8, 3, 2), 12),
    ),
    "tempering, swaps the wrong way": (
        tempering,
        "(ratio[:, first + 1] - ratio[:, first])",
        "(ratio[:, first] - ratio[:, first + 1])",
        lambda broken: oracles.posterior(lambda target: broken.tempering(target, 0.8, (1.0, 0.5, 0.0)), 20),
    ),
    "tempering, points swapped without their gradients": (
        tempering,
        "Parts(*(part[rows, order] for part in moved))",
        "moved._replace(prior=moved.prior[rows, order], ratio=moved.ratio[rows, order])",
        lambda broken: oracles.posterior(lambda target: broken.tempering(target, 0.8, (1.0, 0.5, 0.0)), 20),
    ),
    "smc, one level short": (smc, "ratio / n_steps, -torch.inf", "ratio / (n_steps + 1), -torch.inf", oracles.smc_evidence),
    "smc, weights not reset after resampling": (
        smc,
        "log_weight = torch.zeros_like(log_weight)",
        "log_weight = log_weight + 0",
        oracles.smc_evidence,
    ),
}


@pytest.mark.parametrize("fault", EXACT)
@pytest.mark.slow
def test_mutation_of_further_samplers(fault: str) -> None:
    module, old, new, oracle = EXACT[fault]
    assert_caught(oracle(mutant(module, old, new)))


@pytest.mark.slow
def test_mutation_of_the_flows_density() -> None:
    """Without the volume term the weights are those of another proposal."""
    broken = mutant(flow, "network().log_prob(part)", "network().base.log_prob(part)")
    broken.ITERATIONS, broken.RATE = 12, 1e-2

    def build(target: Any) -> Any:
        learned = broken.learn(target, Pilot(target, 0))
        assert learned.note == "the flow"
        return flex2mcmc.flex2mcmc(target, 0.5, learned, particles=4, local_moves=0)

    assert_caught(oracles.posterior(build, 4, count=2000))


@pytest.mark.slow
def test_mutation_shifted_bound() -> None:
    too_high = mutant(rejection, "(ratio - log_bound).clamp(max=0.0).exp()", "(ratio - log_bound - 0.1).clamp(max=0.0).exp()")
    assert_caught(oracles.rejection_posterior(too_high))
    too_low = mutant(rejection, "(ratio - log_bound).clamp(max=0.0).exp()", "(ratio - log_bound + 0.1).clamp(max=0.0).exp()")
    assert_caught(oracles.rejection_posterior(too_low))
    drs = mutant(rejection, "excess = (ratio - log_bound)", "excess = (ratio - log_bound + 0.1)")
    assert_caught(oracles.drs_discrete(1.5, drs))


def test_mutation_off_by_one_in_the_pilot_maximum() -> None:
    broken: ModuleType = mutant(rejection, "pilot.ratios().max()", "pilot.ratios().unique()[-2]")
    assert_caught(oracles.rejection_discrete(broken))
