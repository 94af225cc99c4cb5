"""Chain diagnostics against chains whose effective sample size is known in closed form, and where the pipeline shows them."""

import builtins
import math

import pytest
import torch
from scipy import stats
from zscores import LIMIT, mean_score

from ebm_refine import load, refine
from ebm_refine.errors import InputError
from ebm_refine.metrics import diagnostics
from ebm_refine.metrics.diagnostics import convergence
from ebm_refine.samplers import METHODS


def autoregressive(correlation: float, steps: int, chains: int, seed: int) -> torch.Tensor:
    """(steps, chains) of stationary x' = correlation * x + noise with variance 1."""
    noise = torch.randn(steps, chains, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    rows = [noise[0]]
    for row in noise[1:]:
        rows.append(correlation * rows[-1] + math.sqrt(1 - correlation**2) * row)
    return torch.stack(rows)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.8])
def test_bulk_ess_of_autoregressive_chains_is_the_closed_form(correlation):
    """Mean of 12 repeats within 4.5 s.e. of n (1 - c) / (1 + c): Student's t with 11 degrees, false alarm 9e-4 a value.

    The estimator's own bias, some 2 %, is below one standard error of that mean.
    """
    estimates = [convergence(autoregressive(correlation, 500, 8, seed)).ess_bulk for seed in range(12)]
    assert abs(mean_score(torch.tensor(estimates), 4000 * (1 - correlation) / (1 + correlation))) < LIMIT


def test_tail_ess_of_autoregressive_chains_is_that_of_the_quantile():
    """The indicator of x < q has autocorrelation (Phi2(q, q; c^t) - p²) / (p (1 - p)); the smaller of two estimates is low."""
    correlation, p = 0.5, 0.05
    q = stats.norm.ppf(p)
    joint = [stats.multivariate_normal.cdf([q, q], cov=[[1, correlation**t], [correlation**t, 1]]) for t in range(1, 25)]
    expected = 4000 / (1 + 2 * sum((value - p * p) / (p * (1 - p)) for value in joint))
    estimates = [convergence(autoregressive(correlation, 500, 8, seed)).ess_tail for seed in range(12)]
    assert sum(estimates) / 12 == pytest.approx(expected, rel=0.15)


def test_rhat_is_near_one_for_independent_draws_and_large_for_chains_apart():
    independent = autoregressive(0.0, 400, 4, 0)
    assert convergence(independent).split_rhat < 1.01
    apart = convergence(independent + torch.tensor([0.0, 0.0, 5.0, 5.0]))
    assert apart.split_rhat > 1.5
    assert apart.ess_bulk < 20
    assert convergence(independent * torch.tensor([1.0, 1.0, 9.0, 9.0])).split_rhat > 1.2  # equal means, other widths
    drifting = independent + torch.linspace(0, 8, 400)[:, None]  # all chains alike, but none has come to rest
    assert convergence(drifting).split_rhat > 1.5


def test_neither_the_order_of_chains_nor_a_monotone_scale_matter():
    trace = autoregressive(0.5, 100, 6, 1)
    whole = convergence(trace)
    assert convergence(trace.flip(1)) == pytest.approx(whole)
    scaled = convergence(7 * trace.float() - 3)
    assert scaled == pytest.approx(whole, rel=1e-4)
    assert convergence(trace.exp()).ess_bulk == pytest.approx(whole.ess_bulk)


def test_traces_that_say_nothing_give_no_number():
    still, stuck = torch.ones(30, 4), torch.arange(4.0).expand(30, 4)
    assert all(math.isnan(value) for value in convergence(still))
    assert convergence(stuck).split_rhat > 100
    assert all(math.isnan(value) for value in convergence(torch.full((30, 4), math.inf)))
    for wrong in (torch.ones(30), torch.ones(3, 4), torch.ones(30, 1)):
        with pytest.raises(InputError, match="steps, chains"):
            convergence(wrong)


def test_without_the_package_a_sentence_says_what_to_install(monkeypatch):
    imported = builtins.__import__

    def absent(name, *args, **kwargs):
        if name.startswith("arviz"):
            raise ModuleNotFoundError(name)
        return imported(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(InputError, match=r"ebm-refine\[diagnostics\]"):
        convergence(torch.ones(30, 4))


NAMES = {"energy_split_rhat", "energy_ess_bulk", "energy_ess_tail", "energy_draws"}


def test_a_run_shows_them_for_its_later_half_where_there_is_enough(tiny_pair, monkeypatch):
    model = load(tiny_pair)
    result = refine(model, "langevin", n_steps=19, num_images=4)
    expected = convergence(result.energy_trace[10:])
    assert result.diagnostics["energy_split_rhat"] == expected.split_rhat
    assert result.diagnostics["energy_ess_bulk"] == expected.ess_bulk
    assert result.diagnostics["energy_ess_tail"] == expected.ess_tail
    assert result.diagnostics["energy_draws"] == 40
    for few in ({"n_steps": 18, "num_images": 4}, {"n_steps": 19, "num_images": 3}):
        assert not NAMES & refine(model, "langevin", **few).diagnostics.keys()
    assert not NAMES & refine(model, "dg-flow", n_steps=19, num_images=4).diagnostics.keys()
    monkeypatch.setattr(diagnostics, "available", lambda: False)
    assert not NAMES & refine(model, "langevin", n_steps=19, num_images=4).diagnostics.keys()


def test_optimisers_and_one_pass_methods_are_not_diagnosed():
    assert {name for name, row in METHODS.items() if not row.stationary} == {"rejection", "smc", "dot", "dg-flow"}
