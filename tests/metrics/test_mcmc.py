"""Chain diagnostics against chains whose effective sample size is known in closed form, and where the pipeline shows them."""

import builtins
import math
import time

import pytest
import torch
import toy_targets
from scipy import stats
from torch.utils._python_dispatch import TorchDispatchMode
from zscores import LIMIT, mean_score

from ebm_refine import load, refine
from ebm_refine.energies.targets import target_of
from ebm_refine.errors import InputError
from ebm_refine.metrics import ksd as stein
from ebm_refine.metrics import mcmc as diagnostics
from ebm_refine.metrics.ksd import stein_discrepancy
from ebm_refine.metrics.mcmc import convergence
from ebm_refine.samplers import langevin
from ebm_refine.samplers.loop import run
from ebm_refine.utils.timing import ess_per_second, timed


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


NAMES = {"energy_split_rhat", "energy_ess_bulk", "energy_ess_tail", "energy_draws", "energy_from_step"}


@pytest.mark.slow
def test_a_run_shows_them_for_its_later_half_where_there_is_enough(tiny_pair, monkeypatch):
    model = load(tiny_pair)
    result = refine(model, "langevin", n_steps=19, num_images=4)
    expected = convergence(result.energy_trace[10:])
    assert result.diagnostics["energy_split_rhat"] == expected.split_rhat
    assert result.diagnostics["energy_ess_bulk"] == expected.ess_bulk
    assert result.diagnostics["energy_ess_tail"] == expected.ess_tail
    assert result.diagnostics["energy_draws"] == 40
    assert result.diagnostics["energy_from_step"] == 10
    for few in ({"n_steps": 18, "num_images": 4}, {"n_steps": 19, "num_images": 3}):
        assert not NAMES & refine(model, "langevin", **few).diagnostics.keys()
    assert not NAMES & refine(model, "dg-flow", n_steps=19, num_images=4).diagnostics.keys()
    monkeypatch.setattr(diagnostics, "available", lambda: False)
    assert not NAMES & refine(model, "langevin", n_steps=19, num_images=4).diagnostics.keys()


@pytest.mark.parametrize("eps", [0.1, 0.4])
@pytest.mark.slow
def test_bulk_ess_of_langevin_is_the_closed_form(eps):
    """D1: at precision 4 the lag-1 correlation is 1 - 2 eps and ESS / N = eps / (1 - eps); mean of 12 as above, |t| < 4.5."""
    target, index = toy_targets.gaussian(4.0), torch.arange(12 * 8)
    start = target.init(0, index) / 2 / math.sqrt(1 - eps)  # in its own law from the start
    frames = run(langevin.langevin(target, eps), start, 0, index, 400)
    repeats = torch.stack([frame.state.position[:, 0].double() for frame in frames][1:]).split(8, dim=1)
    estimates = [convergence(trace).ess_bulk for trace in repeats]
    correlations = [(trace[1:] * trace[:-1]).mean() * 4 * (1 - eps) for trace in repeats]
    assert abs(mean_score(torch.tensor(estimates), repeats[0].numel() * eps / (1 - eps))) < LIMIT
    assert abs(mean_score(torch.stack(correlations), 1 - 2 * eps)) < LIMIT


def correlated(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Samples (N, 3) of a correlated Gaussian about (1, -2, 3), and its scores at them."""
    covariance = torch.tensor([[1.0, 0.6, 0.0], [0.6, 2.0, -0.5], [0.0, -0.5, 0.5]], dtype=torch.float64)
    noise = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    offset = noise @ torch.linalg.cholesky(covariance).T
    return offset + torch.tensor([1.0, -2.0, 3.0]), -torch.linalg.solve(covariance, offset.T).T


def test_stein_discrepancy_is_zero_in_the_mean_for_samples_of_the_law():
    """Mean of 200 repeats, |z| < 4.5; over its own null deviation the variance is 1, likewise."""
    found = [stein_discrepancy(*correlated(60, seed)) for seed in range(200)]
    values, deviations = (torch.tensor(column) for column in zip(*found, strict=True))
    assert abs(mean_score(values, 0.0)) < LIMIT
    assert abs(mean_score((values / deviations).square(), 1.0)) < LIMIT


@pytest.mark.parametrize(("dim", "shift"), [(1, 0.5), (3, 1.0)])
def test_stein_discrepancy_of_a_shift_is_the_closed_form(dim, shift):
    """Samples of N(m, I) against N(0, I): |m|² E[k(x, y)] = |m|² (1 + 2 / h²)^(-d / 2). Mean of 60 repeats, |z| < 4.5."""
    h, values = 1.5, []
    for seed in range(60):
        x = torch.randn(100, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift / math.sqrt(dim)
        values.append(stein_discrepancy(x, -x, bandwidth=h).value)
    assert abs(mean_score(torch.tensor(values), shift**2 * (1 + 2 / h**2) ** (-dim / 2))) < LIMIT
    one = stein_discrepancy(x, -x)
    assert one.value > 4 * one.null_sd


def test_stein_discrepancy_sees_a_wrong_width_and_not_wrong_weights():
    """Two modes 40 apart: an eighth too wide is seen, 9 : 1 in place of 1 : 1 is not."""
    source = torch.Generator().manual_seed(0)
    noise, heads = torch.randn(2000, 1, generator=source), torch.rand(2000, 1, generator=source) < 0.9
    modes = torch.where(heads, 20.0, -20.0)
    lopsided = stein_discrepancy(modes + noise, -noise)
    assert abs(lopsided.value) < LIMIT * lopsided.null_sd
    wide = stein_discrepancy(modes + 1.125 * noise, -1.125 * noise)
    assert wide.value > LIMIT * wide.null_sd


class Largest(TorchDispatchMode):
    """Remembers the number of elements of the largest tensor that an operation gave."""

    size = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.size = max(self.size, result.numel())
        return result


def test_stein_discrepancy_needs_memory_for_rows_not_for_pairs(monkeypatch):
    samples, scores = correlated(2000, 0)
    with Largest() as largest:
        whole = stein_discrepancy(samples, scores)
    assert largest.size <= stein.CHUNK * 2000
    monkeypatch.setattr(stein, "CHUNK", 37)
    assert stein_discrepancy(samples, scores) == pytest.approx(whole)
    far = stein_discrepancy(samples.float() + 300.0, scores.float())
    assert far.value == pytest.approx(whole.value, abs=whole.null_sd / 100)


def test_stein_discrepancy_of_nothing_is_no_number_and_of_wrong_shapes_refused():
    point, holed = torch.ones(20, 2), torch.full((20, 2), math.nan)
    assert all(math.isnan(value) for value in stein_discrepancy(point, point))
    assert all(math.isnan(value) for value in stein_discrepancy(torch.randn(20, 2), holed))
    for one, other in ((torch.ones(20), torch.ones(20)), (torch.ones(1, 2), torch.ones(1, 2)), (point, torch.ones(20, 3))):
        with pytest.raises(InputError, match="must be"):
            stein_discrepancy(one, other)


@pytest.mark.slow
def test_a_run_is_set_against_its_law_by_the_score(tiny_pair):
    """The same number as by hand, with the score of exp(-E / T); also of a method that carries no gradient."""
    for method, temperature in (("langevin", 0.5), ("i-sir", None)):
        result = refine(tiny_pair, method, n_steps=3, num_images=20, temperature=temperature, eps=0.05, precision="fp32")
        _, grad = target_of(result.checkpoint, result.settings.ratio).energy_and_grad(result.positions)
        expected = stein_discrepancy(result.positions, -grad / (temperature or 1.0))
        assert result.diagnostics["stein_discrepancy"] == pytest.approx(expected.value)
        assert result.diagnostics["stein_null_sd"] == pytest.approx(expected.null_sd)
    assert "stein_discrepancy" not in refine(tiny_pair, "langevin", n_steps=3, num_images=15).diagnostics
    assert "stein_discrepancy" not in refine(tiny_pair, "langevin", n_steps=3, num_images=20, temperature=0.0).diagnostics
    assert "stein_discrepancy" not in refine(tiny_pair, "smc", n_steps=3, num_images=20).diagnostics  # coupled particles


def test_prior_samples_are_in_their_law_and_moved_ones_are_not(tiny_pair):
    """At beta = 0 rejection leaves the prior as it was, whose score is -z; Langevin without its noise does not."""
    still = refine(tiny_pair, "rejection", n_steps=1, num_images=100, beta=0.0, options={"log_bound": 0.0}).diagnostics
    assert abs(still["stein_discrepancy"]) < LIMIT * still["stein_null_sd"]
    squeezed = refine(tiny_pair, "langevin", n_steps=6, eps=0.5, temperature=1e-3, num_images=100, beta=0.0)
    found = stein_discrepancy(squeezed.positions, -squeezed.positions)
    assert found.value > LIMIT * found.null_sd


@pytest.mark.parametrize("method", ["langevin", "tempering"])
@pytest.mark.slow
def test_gradient_norm_along_the_chain_is_that_of_the_positions(tiny_pair, method):
    result = refine(tiny_pair, method, eps=0.05, n_steps=3, num_images=9, precision="fp32")
    target = target_of(result.checkpoint, result.settings.ratio)
    for frame in result.frames:
        _, grad = target.energy_and_grad(frame.positions)
        assert frame.gradient_norm == pytest.approx(float(grad.norm(dim=1).mean()), rel=1e-4)
    assert result.diagnostics["gradient_norm_after"] == result.frames[-1].gradient_norm
    without = refine(tiny_pair, "i-sir", n_steps=2, num_images=2)
    assert math.isnan(without.frames[0].gradient_norm)
    assert "gradient_norm_after" not in without.diagnostics


def test_ess_a_second_takes_the_seconds_of_the_steps_that_it_is_of():
    seconds = [float(step) for step in range(1, 11)]  # of transitions 1 to 10
    diagnostics = {"energy_ess_bulk": 120.0, "energy_from_step": 7}
    assert ess_per_second(diagnostics, seconds) == pytest.approx(120.0 / (7 + 8 + 9 + 10))
    assert ess_per_second({}, seconds) is None


def test_time_is_that_of_making_an_item_not_of_using_it():
    def made():
        for item in range(3):
            time.sleep(0.02)
            yield item

    taken = []
    for item, seconds in timed(made()):
        time.sleep(0.1)
        taken.append((item, seconds))
    assert [item for item, _ in taken] == [0, 1, 2]
    assert all(seconds >= 0.02 for _, seconds in taken)
    assert min(seconds for _, seconds in taken) < 0.1  # of three: a busy machine may hold one up
