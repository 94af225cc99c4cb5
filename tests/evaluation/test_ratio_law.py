"""What the benchmarks of a ratio's law compute, against closed forms: solved beta, and a fresh classifier's cross-entropy."""

import importlib
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ebm_refine.metrics.distances import kernel_distance
from ebm_refine.metrics.panel_rights import as_reference
from ebm_refine.metrics.panel_store import Member, Panel


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    return importlib.import_module


def test_beta_of_a_gaussian_ratio(script):
    """r ~ N(-0.3, 0.8²) under the prior: under weights exp(beta r) its mean is -0.3 + 0.64 beta. The estimate of N draws has
    the error exp(beta² 0.64 / 2) / (0.8 sqrt(N)) or so, 0.006 at beta = 1.5 and N = 200,000; within 5 of these."""
    source = torch.Generator().manual_seed(0)
    ratios = -0.3 + 0.8 * torch.randn(200_000, generator=source, dtype=torch.float64)
    labels = torch.randint(2, (len(ratios),), generator=source)
    for beta in (0.5, 1.0, 1.5):
        found = script("law_of_ratio").solved_beta(ratios, labels, -0.3 + 0.64 * beta)
        assert found["value"] == pytest.approx(beta, abs=0.03)
        assert found["effective_share"] == pytest.approx(math.exp(-0.64 * beta**2), rel=0.15)


def test_cross_entropy_between_gaussians(script):
    """N(0.5, 1) against N(-0.5, 1) in one of five dimensions: r(x) = x, so the cross-entropy is E[softplus(-x)], x ~ N(0.5, 1),
    for both classes. Held-out losses of N rows a side have the error sd / sqrt(2 N), and the fit costs d / N nats."""
    benchmark = script("fresh_classifier")
    source, count = torch.Generator().manual_seed(1), 6000
    real, made = torch.randn(count, 5, generator=source), torch.randn(2 * count, 5, generator=source)
    real[:, 0] += 0.5
    made[:, 0] -= 0.5
    grid = torch.linspace(-8, 9, 20_001, dtype=torch.float64)
    density = (-(grid - 0.5).square() / 2).exp()
    true = float((density * torch.nn.functional.softplus(-grid)).sum() / density.sum())
    found = benchmark.summary(benchmark.losses(made, real), None)
    assert abs(found["cross_entropy"] - true - 10 / count) < 4.5 * found["error"]
    assert found["error"] < 0.006


def test_the_same_law_gives_log_two_and_no_gain_over_itself(script):
    benchmark = script("fresh_classifier")
    source = torch.Generator().manual_seed(2)
    real, made = torch.randn(3000, 4, generator=source), torch.randn(3000, 4, generator=source)
    alone = benchmark.losses(made, real)
    found = benchmark.summary(alone, alone)
    assert found["cross_entropy"] == pytest.approx(math.log(2), abs=0.006)
    assert (found["gain"], found["gain_error"]) == (0.0, 0.0)
    # Refined half way to real images: the classifier can tell less, which is a gain.
    base = benchmark.losses(made + 1.0, real)
    closer = benchmark.summary(benchmark.losses(made + 0.5, real), base)
    assert closer["gain"] > 20 * closer["gain_error"] > 0


def test_longer_chains_are_paired_with_shorter_ones(script):
    """Features N(m, 1), real ones N(0, 1): a chain that moves m from 1 to 0.5 and, four times as long, to 0.25 or back to 1.
    The further change is the difference of the two, and its error smaller than that of two unpaired sets."""
    benchmark, source = script("longer_chains"), torch.Generator().manual_seed(3)
    kind: Any = SimpleNamespace(name="filter bank", title="filter bank")
    panel = Panel("tiny", (1, 2, 3), (Member(kind, None, {}, {"votes": True}),), "")  # type: ignore[arg-type]
    noise, real = torch.randn(600, 6, generator=source), torch.randn(800, 6, generator=source)
    base, short = noise + 1.0, noise + 0.5

    def found(long):
        sets = ({"filter bank": rows} for rows in (base, short, long, real))
        return benchmark.changes(panel, *sets, seen=())["filter bank"]

    def alone(rows):
        return kernel_distance(rows, as_reference(real)).value

    better, undone, same = found(noise + 0.25), found(base), found(short)
    assert better["votes"]
    assert better["longer"] == pytest.approx(alone(noise + 0.25) / alone(base) - 1, abs=1e-9)
    for one in (better, undone):
        assert one["further"] == pytest.approx(one["longer"] - one["shorter"], abs=1e-12)
    assert better["further"] < -3 * better["error"] < 0
    assert undone["longer"] == pytest.approx(0, abs=1e-12)
    assert undone["further"] > 3 * undone["error"] > 0
    assert (same["further"], same["error"]) == (0.0, 0.0)
    unpaired = found(torch.randn(600, 6, generator=source) + 0.25)
    assert better["error"] < unpaired["error"]
