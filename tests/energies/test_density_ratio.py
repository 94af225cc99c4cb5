"""Calibration returns the known miscalibration (D9), and the report is right on ratios whose truth is known."""

import math

import pytest
import torch

from ebm_refine.energies.density_ratio import (
    Increasing,
    LogRatio,
    available_ratios,
    fit_calibration,
    fit_isotonic,
    log_ratio,
    ratio_report,
)
from ebm_refine.errors import InputError


def gaussian_ratios(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """The true log ratio of N(1, 1) over N(0, 1), x - 1/2, at draws of each."""
    source = torch.Generator().manual_seed(seed)
    return torch.randn(count, generator=source) + 0.5, torch.randn(count, generator=source) - 0.5


def test_calibration_inverts_a_known_distortion():
    """d_hat = alpha d + beta: the fit must give 1/alpha and -beta/alpha, within 4 of its asymptotic standard errors."""
    alpha, beta, count = 2.0, 0.7, 20_000
    real, fake = gaussian_ratios(count)
    fit = fit_calibration(alpha * real + beta, alpha * fake + beta)
    r = torch.cat([real, fake]).double()
    information = (torch.sigmoid(r) * torch.sigmoid(-r))[:, None, None] * torch.stack(
        [torch.stack([r * r, r], -1), torch.stack([r, torch.ones_like(r)], -1)], -2
    )
    errors = torch.linalg.inv(information.sum(0)).diagonal().sqrt()
    assert abs(fit["slope"] * alpha - 1) / errors[0] < 4
    assert abs(fit["intercept"] + fit["slope"] * beta) / errors[1] < 4


def test_report_on_the_true_ratio():
    """False alarms 1e-4 each: Z within 3.9, mean weight 1 within 3.9 s.e.; ESS share is exp(-1) for this pair."""
    real, fake = gaussian_ratios(50_000)
    report = ratio_report(real, fake)
    assert abs(report["z_statistic"]) < 3.9
    weights = fake.double().exp()
    assert abs(report["mean_weight"] - 1) / (weights.std() / len(weights) ** 0.5) < 3.9
    assert report["effective_sample_share"] == pytest.approx(math.exp(-1), rel=0.1)
    for count, predicted, observed in report["reliability"]:
        if count > 100:
            assert abs(predicted - observed) < 4 * math.sqrt(predicted * (1 - predicted) / count)


def test_report_tells_an_overconfident_ratio():
    real, fake = gaussian_ratios(20_000)
    honest, loud = ratio_report(real, fake), ratio_report(3 * real, 3 * fake)
    assert loud["cross_entropy"] > honest["cross_entropy"]
    assert abs(loud["log_mean_weight"]) > 1
    assert loud["effective_sample_share"] < honest["effective_sample_share"] / 10


def test_a_ratio_that_knows_nothing_is_at_chance():
    report = ratio_report(torch.zeros(10), torch.zeros(10))
    assert report["cross_entropy"] == pytest.approx(math.log(2))
    assert report["mean_weight"] == 1.0
    assert report["effective_sample_share"] == pytest.approx(1.0)


def test_huge_logits_do_not_overflow_the_report():
    report = ratio_report(torch.full((5,), 900.0), torch.tensor([-900.0, 800.0, 0.0]))
    assert math.isfinite(report["log_mean_weight"])
    assert report["effective_sample_share"] == pytest.approx(1 / 3)


def test_ratios_offered_follow_the_checkpoint():
    config = {"parts": {"generator": {}, "discriminator": {}}}
    assert available_ratios(config) == ("raw",)
    assert available_ratios({**config, "calibration": {"slope": 1.0, "intercept": 0.0}}) == ("raw", "calibrated")
    networks = {"discriminator": torch.nn.Identity()}
    calibrated = log_ratio(networks, {**config, "calibration": {"slope": 2.0, "intercept": 1.0}}, "calibrated")
    assert calibrated(torch.tensor([3.0])).item() == 7.0
    assert isinstance(log_ratio(networks, config, "raw"), LogRatio)
    with pytest.raises(InputError, match="ratio must be one of auto, raw for this model; got 'refitted'"):
        log_ratio(networks, config, "refitted")


def distorted(r: torch.Tensor) -> torch.Tensor:
    """A strictly increasing miscalibration that no slope and intercept mend: steep in the middle, flat outside."""
    return torch.sinh(r).sign() * torch.log1p(torch.sinh(r).abs()) ** 0.5 + 0.3


def test_isotonic_calibration_inverts_a_known_monotone_distortion():
    """D9 for any increasing distortion: on fresh images r is back within the noise of 20,000; logistic calibration fails."""
    count = 20_000
    real, fake = gaussian_ratios(count)
    on_real, on_fake = distorted(real), distorted(fake)
    isotonic, logistic = Increasing(fit_isotonic(on_real, on_fake)), fit_calibration(on_real, on_fake)
    fresh = torch.cat(gaussian_ratios(5000, seed=1))
    within = fresh.abs() < 2.5  # beyond, fewer than a hundred images are left
    error = (isotonic(distorted(fresh)) - fresh)[within].square().mean().sqrt()
    scaled = logistic["slope"] * distorted(fresh) + logistic["intercept"]
    assert float(error) < 0.12
    assert float((scaled - fresh)[within].square().mean().sqrt()) > 2 * float(error)
    report = ratio_report(isotonic(distorted(fresh[:5000])), isotonic(distorted(fresh[5000:])))
    # False alarm 1e-4 each way, widened by the calibration's own error (its images are four times as many).
    assert abs(report["z_statistic"]) < 3.9 * math.sqrt(1.25)
    optimal = ratio_report(fresh[:5000], fresh[5000:])
    assert report["cross_entropy"] < optimal["cross_entropy"] + 0.005


def test_isotonic_ratio_is_finite_strictly_increasing_and_differentiable_everywhere():
    real, fake = gaussian_ratios(500)
    knots = fit_isotonic(3 * real, 3 * fake)
    assert len(knots) >= 5
    ratio = Increasing(knots)
    raw = torch.cat([torch.linspace(-1000, 1000, 501), torch.linspace(-12, 12, 2001)]).sort().values.requires_grad_()
    r = ratio(raw)
    (slope,) = torch.autograd.grad(r.sum(), raw)
    assert r.isfinite().all()
    assert (slope > 0).all()
    assert (r.diff()[raw.diff() > 0] > 0).all()
    assert torch.allclose(ratio(torch.tensor(knots)[:, 0]), torch.tensor(knots)[:, 1], atol=1e-4)
    between = torch.linspace(-11.97, 11.97, 333).requires_grad_()
    (slope,) = torch.autograd.grad(ratio(between).sum(), between)
    numeric = (ratio(between + 1e-3) - ratio(between - 1e-3)) / 2e-3
    assert (slope - numeric).abs().quantile(0.9) < 0.02  # the others lie within a thousandth of a knot
    # Below the images the logistic slope, above them a tenth of it.
    logistic = fit_calibration(3 * real, 3 * fake)["slope"]
    ends = torch.tensor([-500.0, 500.0]).requires_grad_()
    (slope,) = torch.autograd.grad(ratio(ends).sum(), ends)
    assert slope.tolist() == pytest.approx([logistic, logistic / 10], rel=1e-3)


def test_isotonic_ratio_of_a_perfect_separation_is_bounded_by_what_was_seen():
    """100 of each, all separated: the rule of succession gives shares 100/101, whatever the distance of the scores."""
    knots = fit_isotonic(torch.linspace(500, 900, 100), torch.linspace(-900, -500, 100))
    assert [r for _, r in knots[1:-1]] == pytest.approx([-math.log(100), math.log(100)])


def test_isotonic_ratio_without_information_keeps_a_slope_above_zero():
    """Scores in the wrong order: one block, and the smallest slope that is allowed."""
    real, fake = gaussian_ratios(200)
    knots = fit_isotonic(-real, -fake)
    assert len(knots) == 3
    assert knots[1][1] == pytest.approx(0.0, abs=1e-9)
    assert knots[1][1] - knots[0][1] == pytest.approx(1e-3)


def test_isotonic_ratio_is_offered_where_the_checkpoint_carries_it():
    networks = {"discriminator": torch.nn.Identity()}
    config = {"parts": networks, "isotonic": [[-1.0, -2.0], [1.0, 2.0], [3.0, 3.0]]}
    assert available_ratios(config) == ("raw", "isotonic")
    ratio = log_ratio(networks, config, "isotonic")
    assert ratio(torch.tensor([-3.0, -1.0, 0.0, 1.0, 2.0, 5.0])).tolist() == [-6.0, -2.0, 0.0, 2.0, 2.5, 4.0]


def test_raw_ratio_follows_what_the_discriminator_gives():
    """A logit as it is, a critic times its slope, an energy with its sign turned; calibrations stand on top of that."""
    networks, scores = {"discriminator": torch.nn.Identity()}, torch.tensor([2.0])
    parts = {"parts": networks, "calibration": {"slope": 3.0, "intercept": 1.0}, "isotonic": [[-9.0, -1.0], [9.0, 1.0]]}
    expected = {
        ("logit", None): (2.0, 7.0, 2 / 9),
        ("critic", None): (2.0, 7.0, 2 / 9),
        ("critic", 0.5): (1.0, 4.0, 1 / 9),
        ("energy", None): (-2.0, -5.0, -2 / 9),
    }
    for (output, slope), values in expected.items():
        config = {**parts, "discriminator_output": output, **({"critic_slope": slope} if slope else {})}
        found = [float(log_ratio(networks, config, which)(scores)) for which in ("raw", "calibrated", "isotonic")]
        assert found == pytest.approx(values), output


def test_the_z_statistic_by_hand():
    """Two real images at D = 0.8, three generated ones at D = 0.5: sum(y - D) = 0.4 - 1.5, sum D (1 - D) = 0.32 + 0.75."""
    real, fake = torch.full((2,), math.log(4.0)), torch.zeros(3)
    assert ratio_report(real, fake)["z_statistic"] == pytest.approx(-1.1 / math.sqrt(1.07), rel=1e-5)
