"""Calibration returns the known miscalibration (D9), and the report is right on ratios whose truth is known."""

import math

import pytest
import torch

from ebm_refine.density_ratio import LogRatio, available_ratios, fit_calibration, log_ratio, ratio_report
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
