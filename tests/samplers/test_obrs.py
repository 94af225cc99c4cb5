"""Optimal budgeted rejection: it accepts one of K proposals, and cuts the ratio where that is reached."""

from typing import Any

import pytest
import torch
import toy_targets
from zscores import LIMIT, geometric_score, histogram_score

from ebm_refine.samplers import METHODS
from ebm_refine.samplers.loop import run
from ebm_refine.samplers.obrs import log_cut
from ebm_refine.samplers.pilot import Pilot

CHAINS = 10_000


def last_of(target: Any, budget: int, count: int = CHAINS, pilot: Pilot | None = None) -> tuple[Any, dict[str, Any]]:
    kernel = METHODS["obrs"].build(target, {"n_steps": budget}, pilot or Pilot(target, 3))
    index = torch.arange(count)
    *_, last = run(kernel, target.init(3, index), 3, index, budget)
    return last, dict(kernel.summary(last.state))


@pytest.mark.parametrize("budget", [1.0, 1.5, 4.0, 30.0])
def test_the_cut_accepts_one_of_k_by_definition(budget: float) -> None:
    ratio = 3 * torch.randn(500, generator=torch.Generator().manual_seed(0))
    chance = (ratio.double() - log_cut(ratio, budget)).clamp(max=0).exp()
    assert float(chance.mean()) == pytest.approx(1 / budget, rel=1e-9)


def test_a_budget_that_the_ratio_does_not_need_is_plain_rejection() -> None:
    assert log_cut(torch.tensor([-1.0, 0.5, 2.0]), 100.0) == 2.0
    assert log_cut(torch.zeros(4), 7.0) == 0.0


def test_acceptance_and_law_over_a_finite_space() -> None:
    """The pilot has every state in its exact share, so that 1 / K is exact, and the law p0 * min(exp r, 1 / c) is known."""
    share = torch.tensor([4, 3, 2, 1]) / 10
    target = toy_targets.Discrete(share, torch.tensor([-1.0, 0.2, 1.0, 2.5]))
    pilot = Pilot(target, 0)
    pilot.ratios = lambda: target.ratios.repeat_interleave(torch.tensor([400, 300, 200, 100]))
    last, said = last_of(target, 3, pilot=pilot)
    weight = share.double() * target.ratios.double().clamp(max=said["log_bound"]).exp()
    assert float(weight.sum() / torch.tensor(said["log_bound"]).exp()) == pytest.approx(1 / 3, rel=1e-6)
    assert said["log_bound"] < 2.5
    assert abs(geometric_score(int(said["proposals"]), CHAINS, 1 / 3)) <= LIMIT
    assert abs(histogram_score(torch.bincount(last.state.position[:, 0].long(), minlength=4), weight)) <= LIMIT
    assert said["budget_exhausted"] <= 20  # exp(-8) of 10,000 on average, 3.4


def test_images_are_independent_and_begin_with_before() -> None:
    target, index = toy_targets.bimodal(), torch.arange(200)
    many, _ = last_of(target, 6, count=200)
    few, _ = last_of(target, 6, count=20)
    assert torch.equal(many.state.position[:20], few.state.position)
    first = many.state.proposals == 1
    assert first.any()
    assert torch.equal(many.state.position[first], target.init(3, index)[first])


@pytest.mark.slow
def test_a_larger_budget_is_nearer_to_the_refined_law() -> None:
    target = toy_targets.bimodal()
    means = [float(target.log_ratio(last_of(target, budget)[0].state.position).mean()) for budget in (1, 2, 4, 30)]
    exact = float(target.log_ratio(toy_targets.bimodal_draws(CHAINS)).mean())
    assert means == sorted(means)
    assert means[-1] == pytest.approx(exact, abs=0.05)
