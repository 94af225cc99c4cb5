"""Identities between samplers and within one, checked point by point to rounding (D7, D8, D10; defects of others)."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
import toy_targets
from torch import Tensor

from ebm_refine.errors import InputError
from ebm_refine.samplers import (
    METHODS,
    dg_flow,
    dot,
    ex2mcmc,
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
from ebm_refine.samplers.base import State, evaluated
from ebm_refine.samplers.loop import run
from ebm_refine.samplers.pilot import PILOT_SIZE, Pilot
from ebm_refine.samplers.rng import Draws

INDEX = torch.arange(40)
DRAWS = Draws(3, INDEX, 2)


def posterior(dtype: torch.dtype = torch.float32) -> Any:
    return toy_targets.quadratic(toy_targets.A.to(dtype), toy_targets.B.to(dtype), toy_targets.PEAK, chunk=64)


def chain(kernel: Any, target: Any, n_steps: int) -> list[Any]:
    return list(run(kernel, target.init(3, INDEX), 3, INDEX, n_steps))


class PriorAsRatio:
    """The same energy with all of it called ratio: what adds the prior's drift to DG-flow."""

    def __init__(self, target: Any):
        self.energy_and_grad, self.init = target.energy_and_grad, target.init

    def prior_energy(self, position: Tensor) -> Tensor:
        return 0 * position.sum(dim=1)


def test_dg_flow_with_the_priors_drift_is_langevin_step_for_step() -> None:
    target = posterior()
    flowing = chain(dg_flow.dg_flow(PriorAsRatio(target), 0.2, "KL", gamma=1.0), target, 20)
    for one, other in zip(flowing, chain(langevin.langevin(target, 0.2), target, 20), strict=True):
        torch.testing.assert_close(one.state.position, other.state.position, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("divergence", "share"),
    [("KL", lambda d: torch.ones_like(d)), ("JS", lambda d: torch.sigmoid(d)), ("logD", lambda d: torch.sigmoid(-d))],
)
def test_dg_flow_follows_its_divergence(divergence: str, share: Any) -> None:
    """The velocities are the gradients of log r, of log(1 + r) and of -log(1 + 1 / r)."""
    target = posterior()
    before, after = (frame.state for frame in chain(dg_flow.dg_flow(target, 0.2, divergence, gamma=0.0), target, 1))
    ratio = target.log_ratio(before.position)
    grad = -(before.position - toy_targets.B) @ toy_targets.A
    torch.testing.assert_close(after.position, before.position + 0.1 * share(ratio)[:, None] * grad, rtol=1e-5, atol=1e-5)


def test_underdamped_without_memory_is_langevin() -> None:
    """With c = exp(-friction h) = 0 nothing of the velocity is left: it is Langevin with the same noise."""
    target = posterior()
    ours = chain(underdamped.underdamped(target, 0.2, friction=1e6), target, 20)
    for one, other in zip(ours, chain(langevin.langevin(target, 0.2), target, 20), strict=True):
        torch.testing.assert_close(one.state.position, other.state.position, rtol=0, atol=1e-5)


def test_hmc_of_one_step_is_mala() -> None:
    target = posterior()
    ours = chain(hmc.hmc(target, 1.5, leapfrog=1), target, 20)
    for one, other in zip(ours, chain(mala.mala(target, 1.5), target, 20), strict=True):
        torch.testing.assert_close(one.state.position, other.state.position, rtol=0, atol=1e-4)
        assert torch.equal(one.accepted, other.accepted)


def test_dot_descends_its_objective_by_hand() -> None:
    target = posterior()
    before, first, second = (frame.state for frame in chain(dot.dot(target, 0.05, slope=2.0, delta=1e-3), target, 2))
    for old, new in ((before, first), (first, second)):
        position = old.position.clone().requires_grad_()
        objective = (position - before.position + 1e-3).norm(dim=1) - target.ratio(position) / 2.0
        (grad,) = torch.autograd.grad(objective.sum(), position)
        torch.testing.assert_close(new.position, old.position - 0.05 * grad, rtol=1e-5, atol=1e-5)


def test_dot_with_an_infinite_slope_only_jitters() -> None:
    """The norm has a kink at the start: moves stay of the size of the rate (D10)."""
    target = posterior()
    start = target.init(3, INDEX)
    for frame in chain(dot.dot(target, 0.01, slope=1e30), target, 50):
        assert float((frame.state.position - start).norm(dim=1).max()) <= 0.0101


def test_dot_on_the_shell_keeps_norms_to_first_order() -> None:
    target = posterior()
    before, after = (frame.state.position for frame in chain(dot.dot(target, 1e-3, 2.0, "shell"), target, 1))
    moved = (after - before).norm(dim=1)
    assert ((after.norm(dim=1) - before.norm(dim=1)).abs() <= moved.square() / before.norm(dim=1) + 1e-6).all()


def test_pilot_slope_is_the_largest_over_pairs() -> None:
    """k_eff of a linear ratio c . x never exceeds |c|, and comes near it; 0 for a flat one, which DOT survives."""
    direction = torch.tensor([3.0, 4.0])
    target = toy_targets.quadratic(torch.zeros(2, 2), torch.zeros(2))
    target.ratio.forward = lambda x: x @ direction
    assert 4.9 < Pilot(target, 0).slope() <= 5.0
    flat = toy_targets.quadratic(torch.zeros(2, 2), torch.zeros(2))
    assert Pilot(flat, 0).slope() == 0.0
    *_, last = run(dot.dot(flat, 0.01, 0.0), flat.init(0, INDEX), 0, INDEX, 3)
    assert last.state.position.isfinite().all()


def test_tempering_at_beta_zero_is_fresh_from_the_prior() -> None:
    target = posterior()
    for frame in chain(tempering.tempering(target, 0.5, (0.0,)), target, 5)[1:]:
        assert torch.equal(frame.state.position, target.prior(Draws(3, INDEX, frame.step)))
    for frame in chain(tempering.tempering(target, 0.5, (1.0, 0.0)), target, 6)[1:]:
        fresh = target.prior(Draws(3, INDEX, frame.step))
        # Pairs (0, 1) take their turn at even steps; the fresh draw is then in one of the two rungs.
        rungs = (frame.state.replicas == fresh[:, None]).all(dim=2)
        assert rungs.any(dim=1).all()
        assert not rungs[:, 0].any() or frame.step % 2 == 0


def test_tempering_of_one_rung_is_mala() -> None:
    """Same energy, gradient and acceptance; the noise of one rung is laid out as MALA's."""
    target = posterior()
    ours = chain(tempering.tempering(target, 1.0, (1.0,)), target, 10)
    for one, other in zip(ours, chain(mala.mala(target, 1.0), target, 10), strict=True):
        torch.testing.assert_close(one.state.position, other.state.position, rtol=0, atol=1e-5)


def test_smc_at_beta_zero_weighs_all_alike() -> None:
    target = posterior()
    target.beta = 0.0
    kernel = smc.smc(target, 0.5, 5)
    last = chain(kernel, target, 5)[-1].state
    assert abs(kernel.summary(last)["log_mean_exp_ratio"]) < 1e-5
    assert kernel.summary(last)["distinct_ancestors"] == len(INDEX)


def test_ex2mcmc_without_local_moves_is_i_sir() -> None:
    target = posterior()
    ours = chain(ex2mcmc.ex2mcmc(target, 0.5, particles=4, local_moves=0), target, 10)
    for one, other in zip(ours, chain(i_sir.i_sir(target, particles=4), target, 10), strict=True):
        assert torch.equal(one.state.position, other.state.position)


@pytest.mark.parametrize("temperature", [1.0, 0.4])
def test_mala_detailed_balance(temperature: float) -> None:
    """D8: pi(x) q(x, y) a(x, y) is symmetric for any pair, to rounding; catches stale gradients and a dropped proposal term."""
    target, eps = posterior(torch.float64), 0.7
    x, y = (evaluated(target, Draws(5, INDEX, step).normal((3,)).double()) for step in (1, 2))

    def log_flux(old: State, new: State) -> Tensor:
        noise = (new.position - old.position + (eps / 2) * old.grad) / math.sqrt(eps * temperature)
        torch.testing.assert_close(mala.propose(old, eps, temperature, noise), new.position)
        accept = mala.log_acceptance(old, new, eps, temperature, noise).clamp(max=0)
        return -old.energy / temperature - noise.square().sum(dim=1) / 2 + accept

    torch.testing.assert_close(log_flux(x, y), log_flux(y, x), rtol=0, atol=1e-11)


def test_mala_accepts_as_rep_gan_does() -> None:
    """D10: the ratio of REP-GAN (Wang et al. 2021), with D itself and the proposal's densities in place of our squares."""
    target, tau = posterior(torch.float64), 0.7
    old = evaluated(target, Draws(5, INDEX, 1).normal((3,)).double())
    noise = Draws(5, INDEX, 2).normal((3,)).double()
    new = evaluated(target, mala.propose(old, tau, 1.0, noise))

    def log_proposal(here: State, there: State) -> Tensor:
        """log q(there | here): a Gaussian about z + tau / 2 grad log p_t(z)."""
        law = torch.distributions.Normal(here.position - tau / 2 * here.grad, math.sqrt(tau))
        return law.log_prob(there.position).sum(dim=1)

    prior = torch.distributions.Normal(torch.zeros(3, dtype=torch.float64), 1.0)
    odds = [1 / torch.sigmoid(target.log_ratio(state.position)) - 1 for state in (old, new)]
    expected = (
        (prior.log_prob(new.position) - prior.log_prob(old.position)).sum(dim=1)
        + log_proposal(new, old)
        - log_proposal(old, new)
        + (odds[0] / odds[1]).log()
    )
    torch.testing.assert_close(mala.log_acceptance(old, new, tau, 1.0, noise), expected, rtol=1e-9, atol=1e-9)


def test_hmc_is_reversible_and_of_second_order() -> None:
    """D7: with the momentum turned round a trajectory leads back; its energy error falls as h^2."""
    target = posterior(torch.float64)
    start = evaluated(target, DRAWS.normal((3,)).double())
    momentum = DRAWS.normal((3,), block=1).double()
    end, final = hmc.trajectory(target, start, momentum, 0.4, 7)
    back, returned = hmc.trajectory(target, end, -final, 0.4, 7)
    torch.testing.assert_close(back.position, start.position, rtol=0, atol=1e-12)
    torch.testing.assert_close(-returned, momentum, rtol=0, atol=1e-12)

    def error(h: float, steps: int) -> float:
        state, velocity = hmc.trajectory(target, start, momentum, h, steps)
        return float((state.energy + hmc.kinetic(velocity) - start.energy - hmc.kinetic(momentum)).abs().mean())

    assert error(0.1, 10) / error(0.05, 20) == pytest.approx(4.0, rel=0.1)


@pytest.mark.parametrize(
    "kernel",
    [
        lambda target: mala.mala(target, 3.0),
        lambda target: hmc.hmc(target, 1.5, leapfrog=3),
        lambda target: ex2mcmc.ex2mcmc(target, 3.0, particles=4, local_moves=2),
        lambda target: tempering.tempering(target, 3.0, (1.0, 0.5, 0.0)),
    ],
    ids=["mala", "hmc", "ex2mcmc", "tempering"],
)
def test_what_is_cached_is_fresh_after_rejections(kernel: Any) -> None:
    """Others kept the gradient of a rejected proposal, or of the point before a global move."""
    target = posterior()
    frames = chain(kernel(target), target, 15)
    assert 0 < sum(int(frame.accepted.sum()) for frame in frames) < 15 * len(INDEX)
    for frame in frames:
        energy, grad = target.energy_and_grad(frame.state.position)
        torch.testing.assert_close(frame.state.energy, energy, rtol=1e-5, atol=1e-5)
        if hasattr(frame.state, "grad"):
            torch.testing.assert_close(frame.state.grad, grad, rtol=1e-5, atol=1e-5)


def test_a_rejected_step_is_repeated_not_dropped() -> None:
    target = posterior()
    frames = chain(mala.mala(target, 3.0), target, 10)
    assert len(frames) == 11
    for before, after in pairwise(frames):
        stayed = (before.state.position == after.state.position).all(dim=1)
        assert torch.equal(stayed, ~after.accepted)


def test_ex2mcmc_costs_its_particles_its_local_moves_and_one_refresh_of_those_that_moved() -> None:
    target = posterior()
    kernel = ex2mcmc.ex2mcmc(target, 0.5, particles=5, local_moves=2)
    state = kernel.init(target.init(3, INDEX))
    forwards, gradients = target.forwards, target.gradients
    state, _ = kernel.step(state, DRAWS)
    moved = int(state.moved.sum())
    assert target.gradients - gradients == 2 * len(INDEX) + moved
    assert target.forwards - forwards == (4 + 2) * len(INDEX) + moved


def test_i_sir_selects_in_proportion_and_in_log_space() -> None:
    uniform = torch.tensor([0.01, 0.24, 0.26, 0.99])
    weights = torch.tensor([1.0, 1.0, 2.0]).log().repeat(4, 1)
    assert i_sir.select(i_sir.shares(weights), uniform).tolist() == [0, 0, 1, 2]
    assert i_sir.select(i_sir.shares(weights + 5000.0), uniform).tolist() == [0, 0, 1, 2]
    holes = torch.tensor([[math.nan, math.inf, 3.0], [math.nan, math.nan, -math.inf]])
    assert i_sir.select(i_sir.shares(holes), torch.tensor([0.5, 0.9])).tolist() == [2, 0]


def test_mh_gan_from_an_unreachable_real_image_shows_the_chain_of_the_first_fake() -> None:
    target = posterior()
    stuck, plain = mh_gan.mh_gan(target, 1000.0), mh_gan.mh_gan(target)
    shown, begun = chain(stuck, target, 20)[-1].state, chain(plain, target, 20)[-1].state
    assert torch.equal(shown.position, begun.position)
    assert stuck.summary(shown)["fallbacks"] == len(INDEX)
    assert plain.summary(begun)["fallbacks"] == 0


def test_mh_gan_says_what_its_fallbacks_are() -> None:
    target = posterior()
    none, some = (mh_gan.mh_gan(target, start) for start in (-1000.0, toy_targets.PEAK + 2.0))
    assert none.summary(chain(none, target, 20)[-1].state)["fallback_share"] == 0
    last = chain(some, target, 20)[-1].state
    said = some.summary(last)
    assert said["fallback_share"] == pytest.approx(int(last.real.sum()) / len(INDEX))
    assert 0.05 < said["fallback_share"] < 1
    assert (
        f"{said['fallback_share']:.0%} of the images are fallbacks: their chain from a real image never moved" in said["advice"]
    )
    assert "fallback_share" not in mh_gan.mh_gan(target).summary(last._replace(real=torch.zeros(len(INDEX)).bool()))


def test_underdamped_without_friction_is_refused() -> None:
    row = next(row for row in METHODS["underdamped"].parameters if row.name == "friction")
    with pytest.raises(InputError, match=r"friction must be a number from 0.01 to 1e\+06; got 0.0"):
        row.parse(0.0)


def test_a_flow_that_is_not_clearly_better_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many draws of the flow as of the prior, and a margin: an untrained flow is the prior, give or take its draws."""
    monkeypatch.setattr(flow, "ITERATIONS", 0)
    target = toy_targets.quadratic(8 * torch.eye(2), 1.5 * torch.ones(2))
    target.chunk, before = 64, target.forwards
    learned = flow.learn(target, Pilot(target, 0))
    assert target.forwards - before == 2 * PILOT_SIZE
    assert learned.efficiency == pytest.approx(learned.prior_efficiency, rel=0.3)
    assert "the prior" in learned.note
    monkeypatch.setattr(flow, "effective_share", _shares([0.02, 0.029]))
    assert "the prior" in flow.learn(target, Pilot(target, 0)).note
    monkeypatch.setattr(flow, "effective_share", _shares([0.02, 0.031]))
    assert flow.learn(target, Pilot(target, 0)).note == "the flow"


def _shares(values: list[float]) -> Any:
    """Efficiencies in turn: the prior's, then the flow's."""
    waiting = iter(values)
    return lambda log_weight: next(waiting)


def test_systematic_resampling_copies_in_proportion() -> None:
    share = torch.tensor([0.5, 0.0, 0.3, 0.2], dtype=torch.float64)
    for uniform in (0.0001, 0.5, 0.9999):
        copies = torch.bincount(smc.systematic(share, uniform), minlength=4)
        assert ((copies - 4 * share).abs() < 1).all()
        assert copies[1] == 0
    assert torch.equal(smc.systematic(torch.full((7,), 1 / 7, dtype=torch.float64), 0.5), torch.arange(7))


def test_tuned_step_meets_its_acceptance() -> None:
    """In 50 dimensions the tuned MALA and HMC accept near their optimum in a fresh run, whatever the target's scale.

    HMC's acceptance is not monotone in eps (its trajectory resonates with the Gaussian), so its margin is wide.
    """
    for precision in (1.0, 30.0):
        target = toy_targets.gaussian(precision, dim=50)
        target.chunk = 64
        for method, wanted, margin in (("mala", mala.ACCEPTANCE, 0.08), ("hmc", hmc.ACCEPTANCE, 0.3)):
            values = {row.name: row.default for row in METHODS[method].parameters}
            kernel = METHODS[method].build(target, values, Pilot(target, 1))
            start = target.init(9, INDEX) / math.sqrt(precision)
            *_, last = run(kernel, start, 9, INDEX, 15)
            assert float(kernel.summary(last.state)["acceptance_rate"]) == pytest.approx(wanted, abs=margin)


def test_pilot_shares_no_random_number_with_the_run() -> None:
    """Tuning leaves the run as it was: the same eps given by hand makes the same chain."""
    target = posterior()
    values = {row.name: row.default for row in METHODS["mala"].parameters}
    tuned = METHODS["mala"].build(target, values, Pilot(target, 3))
    last = chain(tuned, target, 8)[-1].state
    given = METHODS["mala"].build(target, values | {"eps": tuned.summary(last)["eps"]}, Pilot(target, 3))
    assert torch.equal(last.position, chain(given, target, 8)[-1].state.position)
    other = METHODS["mala"].build(target, values, Pilot(target, 4))
    assert other.summary(last)["eps"] != tuned.summary(last)["eps"]


@pytest.mark.parametrize(
    ("method", "word"), [("mala", "smaller"), ("hmc", "smaller"), ("ex2mcmc", "smaller"), ("smc", "smaller")]
)
def test_a_step_too_large_is_said_with_a_better_one(method: str, word: str) -> None:
    target = toy_targets.gaussian(100.0, dim=20)
    target.chunk = 64
    values = {row.name: row.default for row in METHODS[method].parameters} | {"eps": 5.0}
    kernel = METHODS[method].build(target, values, Pilot(target, 0))
    summary = kernel.summary(chain(kernel, target, 10)[-1].state)
    assert summary["acceptance_rate"] < 0.05
    assert word in summary["advice"]
    assert "eps 5" in summary["advice"]


@pytest.mark.parametrize("method", ["langevin", "underdamped", "dg-flow"])
def test_a_diverging_chain_is_said(method: str) -> None:
    target = toy_targets.gaussian(100.0, dim=20)
    target.chunk = 64
    values = {row.name: row.default for row in METHODS[method].parameters} | {"eps": 1.0}
    kernel = METHODS[method].build(target, values, Pilot(target, 0))
    summary = kernel.summary(chain(kernel, target, 40)[-1].state)
    assert summary["diverged"] == len(INDEX)
    assert "try a smaller one" in summary["advice"]


def test_collapsed_weights_are_said() -> None:
    target = toy_targets.quadratic(400.0 * torch.eye(6), 2 * torch.ones(6), chunk=360)
    for method in ("i-sir", "mh-gan", "ex2mcmc"):
        values = {row.name: row.default for row in METHODS[method].parameters}
        kernel = METHODS[method].build(target, values, Pilot(target, 0))
        summary = kernel.summary(chain(kernel, target, 20)[-1].state)
        assert "beta below 1" in summary["advice"], method


@pytest.mark.slow
def test_flow_beats_the_prior_where_they_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "ITERATIONS", 20)
    monkeypatch.setattr(flow, "RATE", 1e-2)
    target = toy_targets.quadratic(8 * torch.eye(2), 1.5 * torch.ones(2))
    target.chunk = 64
    learned = flow.learn(target, Pilot(target, 0))
    assert learned.note == "the flow"
    assert learned.efficiency > 10 * learned.prior_efficiency
    again = flow.learn(target, Pilot(target, 0))
    assert torch.equal(learned.proposal.draw(DRAWS, 0), again.proposal.draw(DRAWS, 0))


def test_a_flow_that_diverges_falls_back_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "RATE", 1e4)
    target = posterior()
    values = {row.name: row.default for row in METHODS["flex2mcmc"].parameters} | {"eps": 0.5}
    kernel = METHODS["flex2mcmc"].build(target, values, Pilot(target, 0))
    last = chain(kernel, target, 3)[-1].state
    assert str(kernel.summary(last)["proposal"]).startswith("the prior: the flow")
    plain = chain(ex2mcmc.ex2mcmc(target, 0.5), target, 3)[-1].state
    assert torch.equal(last.position, plain.position)


def test_learning_a_flow_leaves_the_global_generator_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "ITERATIONS", 2)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    flow.learn(posterior(), Pilot(posterior(), 0))
    assert torch.equal(torch.rand(1), expected)


def test_published_presets_are_allowed_values() -> None:
    for method in METHODS.values():
        rows = {row.name: row for row in method.parameters}
        for name, value in method.published.items():
            assert rows[name].parse(value) == value


def test_drs_score_agrees_with_its_formula() -> None:
    ratio = torch.tensor([-30.0, -3.0, 0.5, 2.0], dtype=torch.float64)
    excess = ratio - 2.0
    expected = excess - torch.log(1 - torch.exp(excess - 1e-3))
    torch.testing.assert_close(rejection.drs_score(ratio, 2.0, 1e-3), expected, rtol=1e-9, atol=1e-9)
