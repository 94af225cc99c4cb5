"""Samplers against closed-form laws: `pytest -k oracle` prints a z-score each. See `zscores.LIMIT` for the false alarms."""

from collections.abc import Callable

import oracles
import pytest
import torch
import toy_targets
from zscores import LIMIT

from ebm_refine.samplers import ex2mcmc, flex2mcmc, flow, hmc, i_sir, langevin, mala, mh_gan, tempering
from ebm_refine.samplers.base import Kernel, Target
from ebm_refine.samplers.pilot import Pilot

Score = Callable[[str, dict[str, float]], None]


@pytest.fixture
def score(record_property: Callable[[str, object], None]) -> Score:
    """Record the scores in the test report and ask that each lies within LIMIT; `pytest -s` shows them."""

    def check(title: str, scores: dict[str, float]) -> None:
        print(f"oracle {title}: " + ", ".join(f"{name} z = {z:+.2f}" for name, z in scores.items()))
        for name, z in scores.items():
            record_property(f"{title}, {name}", z)
        assert all(abs(z) <= LIMIT for z in scores.values()), scores

    return check


@pytest.mark.parametrize("temperature", [1.0, 0.25])
def test_oracle_langevin_variance_is_the_biased_one(score: Score, temperature: float) -> None:
    scores = oracles.langevin_variance(temperature=temperature)
    wrong = scores.pop("variance, were it unbiased")
    score(f"D1 langevin, T = {temperature} (against the unbiased 1/lambda: z = {wrong:+.1f})", scores)
    assert abs(wrong) > 3 * LIMIT


@pytest.mark.slow
def test_oracle_langevin_posterior(score: Score) -> None:
    score("D3 langevin", oracles.langevin_posterior())


def test_oracle_rejection_posterior(score: Score) -> None:
    score("D3 rejection", oracles.rejection_posterior())


def test_oracle_rejection_over_a_finite_space(score: Score) -> None:
    score("D6 rejection, pilot maximum", oracles.rejection_discrete())


@pytest.mark.parametrize("gamma", [-2.0, 1.5])
def test_oracle_drs_with_gamma(score: Score, gamma: float) -> None:
    score(f"D6 DRS, gamma = {gamma}", oracles.drs_discrete(gamma))


def learned(target: Target) -> Kernel:
    flow_proposal = flow.learn(target, Pilot(target, 0))
    assert flow_proposal.note == "the flow"
    return flex2mcmc.flex2mcmc(target, 0.5, flow_proposal, particles=4, local_moves=1)


LADDER = (1.0, 2 / 3, 1 / 3, 0.0)
EXACT: dict[str, tuple[Callable[[Target], Kernel], int]] = {
    "mala": (lambda target: mala.mala(target, 0.8), 50),
    "hmc": (lambda target: hmc.hmc(target, 0.3, leapfrog=2), 20),
    "mh-gan": (lambda target: mh_gan.mh_gan(target), 60),
    "mh-gan from a real image": (lambda target: mh_gan.mh_gan(target, torch.tensor([0.5, 0.7])), 60),
    "i-sir": (lambda target: i_sir.i_sir(target, particles=5), 25),
    "ex2mcmc": (lambda target: ex2mcmc.ex2mcmc(target, 0.8, particles=3, local_moves=2), 12),
    "flex2mcmc": (learned, 4),
    "tempering": (lambda target: tempering.tempering(target, 0.8, LADDER), 20),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", EXACT)
def test_oracle_exact_posterior(score: Score, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(flow, "ITERATIONS", 12)
    monkeypatch.setattr(flow, "RATE", 1e-2)
    count = 2000 if name == "flex2mcmc" else oracles.CHAINS
    score(f"D3 {name}", oracles.posterior(*EXACT[name], count=count))


@pytest.mark.slow
def test_oracle_unequal_widths_stay_as_they_are(score: Score) -> None:
    score("C3 mala", oracles.unequal_widths(lambda target: mala.mala(target, 0.5), 60))
    score("C3 hmc", oracles.unequal_widths(lambda target: hmc.hmc(target, 0.6, leapfrog=1), 30))
    score("C3 ex2mcmc", oracles.unequal_widths(lambda target: ex2mcmc.ex2mcmc(target, 0.5, particles=3, local_moves=2), 20))


@pytest.mark.parametrize("temperature", [0.3, 2.0])
@pytest.mark.slow
def test_oracle_temperature(score: Score, temperature: float) -> None:
    score(f"D2 mala, T = {temperature}", oracles.posterior(lambda target: mala.mala(target, 0.6, temperature), 60, temperature))
    hmc_scores = oracles.posterior(lambda target: hmc.hmc(target, 0.3, 2, temperature), 20, temperature)
    score(f"D2 hmc, T = {temperature}", hmc_scores)


def test_oracle_underdamped_law(score: Score) -> None:
    score("D3 underdamped after 15 steps", oracles.underdamped_law())
    score("D3 underdamped after 60 steps", oracles.underdamped_law(n_steps=60))


def test_oracle_dg_flow_law(score: Score) -> None:
    score("D3 dg-flow after 6 steps", oracles.dg_flow_law())


def test_oracle_leapfrog_without_acceptance(score: Score) -> None:
    score("D7 leapfrog", oracles.unadjusted_leapfrog_variance())


@pytest.mark.parametrize("n_steps", [1, 3, 30])
def test_oracle_independence_chain_over_a_finite_space(score: Score, n_steps: int) -> None:
    start = oracles.DISCRETE.probabilities
    kernel = mh_gan.mh_gan(oracles.DISCRETE)
    score(f"D5 mh-gan after {n_steps}", oracles.discrete_law(kernel, oracles.independence_transition(), start, n_steps))
    begun = torch.cat([torch.zeros_like(start), start])
    kernel, transition = mh_gan.mh_gan(oracles.DISCRETE, 1.3), oracles.real_start_transition(1.3)
    score(f"D5 mh-gan from a real image after {n_steps}", oracles.discrete_law(kernel, transition, begun, n_steps))
    kernel = i_sir.i_sir(oracles.DISCRETE, particles=2)
    score(f"D10 i-sir, N = 2 after {n_steps}", oracles.discrete_law(kernel, oracles.barker_transition(), start, n_steps))


def test_oracle_independence_chain_converges_as_its_bound_says() -> None:
    """D5: the distance in total variation after K proposals is at most (1 - 1 / w*)^K, w* = sup p_data / p_gen."""
    probabilities = oracles.DISCRETE.probabilities.double()
    law = probabilities * oracles.DISCRETE.ratios.double().exp()
    law = law / law.sum()
    bound = 1 - 1 / float((law / probabilities).max())
    for steps in range(1, 20):
        reached = probabilities @ torch.matrix_power(oracles.independence_transition(), steps)
        assert float((reached - law).abs().sum()) / 2 <= bound**steps


@pytest.mark.slow
def test_oracle_smc_evidence(score: Score) -> None:
    score("D3 smc", oracles.smc_evidence())


@pytest.mark.slow
def test_oracle_exact_discriminator_gives_the_data(score: Score) -> None:
    score("D4 rejection, 25 Gaussians", oracles.exact_discriminator_grid())


FINE = 1.5e-4  # half the square of the modes' width: steps that stay within a mode
ACROSS: dict[str, tuple[Callable[[Target], Kernel], int]] = {
    "i-sir": (lambda target: i_sir.i_sir(target, particles=10), 20),
    "ex2mcmc": (lambda target: ex2mcmc.ex2mcmc(target, FINE, particles=10, local_moves=2), 20),
    "tempering": (lambda target: tempering.tempering(target, FINE, (1.0, 0.5, 0.0)), 50),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ACROSS)
def test_oracle_unequal_weights_are_mended_by_global_moves(score: Score, name: str) -> None:
    """25 of 25 modes, at least 99.9 % high quality, weights uniform by chi-square."""
    position, scores = oracles.unequal_grid(*ACROSS[name])
    score(f"D4 {name}, unequal 25 Gaussians", scores)
    distance, mode = torch.cdist(position, toy_targets.GRID).min(dim=1)
    near = distance <= 4 * oracles.UNEQUAL.data_width
    assert len(mode[near].unique()) == 25
    assert float(near.float().mean()) >= 0.999


@pytest.mark.parametrize("name", ["langevin", "mala"])
@pytest.mark.slow
def test_oracle_unequal_weights_are_not_mended_by_gradients_alone(score: Score, name: str) -> None:
    """Langevin finds the width of each mode and never its weight: the chi-square of the counts gives it away."""
    build = {"langevin": lambda target: langevin.langevin(target, 1e-5), "mala": lambda target: mala.mala(target, FINE)}[name]
    _, scores = oracles.unequal_grid(build, 100 if name == "langevin" else 40)
    wrong = scores.pop("modes")
    if name == "mala":
        score(f"D4 mala, unequal 25 Gaussians (counts of modes, which it cannot mend: z = {wrong:+.1f})", scores)
    assert wrong > 4 * LIMIT
