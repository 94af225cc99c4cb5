"""Distances against closed forms and against torchmetrics, and intervals against their stated coverage."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance, poly_kernel

from ebm_refine.metrics.distances import (
    Estimate,
    frechet_distance,
    frechet_estimate,
    kernel_distance,
    mean_kernel_of_others,
    paired_difference,
    paired_frechet_difference,
)
from ebm_refine.metrics.features import Reference, features_for
from ebm_refine.metrics.report import compare, floors_at
from ebm_refine.training.pipelines.evaluator_training import floors


class Identity(nn.Module):
    num_features = 6

    def forward(self, x):
        return x


def reference_of(features: torch.Tensor) -> Reference:
    features = features.float()
    mean, covariance = features.double().mean(0), torch.cov(features.double().T)
    return Reference("test", features, mean_kernel_of_others(features), mean, covariance, len(features))


def normal(count: int, seed: int, shift: float = 0.0, scale: float = 1.0) -> torch.Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(seed)) * scale + shift


def test_frechet_equals_the_closed_form_of_two_gaussians():
    # Samples whitened to have exactly their moments, so that the closed form holds to rounding.
    def exact(mean, deviations, seed):
        x = normal(500, seed).double()
        x = (x - x.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.T))).T
        return x * deviations + mean

    a, b = torch.tensor([1.0, 2, 1, 1, 3, 1]).double(), torch.tensor([2.0, 1, 1, 4, 1, 1]).double()
    real, fake = exact(0.0, a, 0), exact(0.5, b, 1)
    reference = Reference("test", real.float(), torch.zeros(0), real.mean(0), torch.cov(real.T), len(real))
    expected = 6 * 0.25 + float(((a - b) ** 2).sum())
    assert frechet_distance(fake, reference) == pytest.approx(expected, rel=1e-6)


def test_frechet_from_stored_moments_equals_torchmetrics_from_the_images():
    real, fake = normal(300, 0), normal(200, 1, shift=0.3)
    metric = FrechetInceptionDistance(feature=Identity(), normalize=True).set_dtype(torch.float64)
    metric.update(real.double(), real=True)
    metric.update(fake.double(), real=False)
    assert frechet_distance(fake, reference_of(real)) == pytest.approx(float(metric.compute()), rel=1e-9)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save:UserWarning")
def test_kernel_distance_equals_torchmetrics_on_one_whole_subset():
    real, fake = normal(150, 0), normal(150, 1, shift=0.2)
    metric = KernelInceptionDistance(feature=Identity(), subsets=1, subset_size=150, normalize=True).set_dtype(torch.float64)
    metric.update(real.double(), real=True)
    metric.update(fake.double(), real=False)
    assert kernel_distance(fake, reference_of(real)).value == pytest.approx(float(metric.compute()[0]), rel=1e-9)


def test_kernel_distance_equals_its_definition_written_out():
    real, fake = normal(20, 0), normal(15, 1, shift=0.2)

    def k(x, y):
        return (float(x.double() @ y.double()) / 6 + 1) ** 3

    within = np.mean([k(a, b) for i, a in enumerate(fake) for j, b in enumerate(fake) if i != j])
    others = np.mean([k(a, b) for i, a in enumerate(real) for j, b in enumerate(real) if i != j])
    across = np.mean([k(a, b) for a in fake for b in real])
    assert kernel_distance(fake, reference_of(real)).value == pytest.approx(within + others - 2 * across, rel=1e-9)


def test_kernel_distance_is_unbiased_and_its_interval_covers():
    """Same law on both sides: over 200 repeats the mean is 0 within 3.3 s.e. and the 95 % interval misses 2-25 times.

    False alarm: 0.1 % for the mean; for Binomial(200, .05) outside 2-25 below 0.1 % (the interval is asymptotic, so the
    band leaves a margin above).
    """
    values, misses = [], 0
    for seed in range(200):
        estimate = kernel_distance(normal(60, 2 * seed, shift=0.5), reference_of(normal(80, 2 * seed + 1)))
        truth = exact_mmd(0.5)
        values.append(estimate.value - truth)
        misses += not estimate.interval[0] <= truth <= estimate.interval[1]
    z = np.mean(values) / (np.std(values, ddof=1) / math.sqrt(len(values)))
    assert abs(z) < 3.3
    assert 2 <= misses <= 25


def exact_mmd(shift: float) -> float:
    """The squared MMD of N(shift, I) and N(0, I) under (x.y/6 + 1)^3, from a large fixed sample's moments by expansion."""

    # E k(x, y) for independent x ~ N(a, I), y ~ N(b, I): with u = x.y, E(u/6 + 1)^3 from the first three moments of u.
    def expected(a: float, b: float) -> float:
        d = 6
        m1 = d * a * b
        # u given y is N(a sum y_i, |y|^2): moments over y in closed form.
        s1, s2 = d * b, d + d * d * b * b  # E sum y, E (sum y)^2
        s3 = (d * b) ** 3 + 3 * d * b * d
        n2 = d + d * b * b  # E |y|^2
        ns = d * b * (d + d * b * b) + 2 * d * b  # E |y|^2 sum y
        assert m1 == pytest.approx(a * s1)
        m2 = a * a * s2 + n2
        m3 = a**3 * s3 + 3 * a * ns
        return m3 / 216 + 3 * m2 / 36 + 3 * m1 / 6 + 1

    return expected(shift, shift) + expected(0, 0) - 2 * expected(shift, 0)


def test_paired_difference_is_the_difference_and_its_error_is_smaller_than_unpaired():
    reference = reference_of(normal(300, 0))
    before = normal(200, 1, shift=0.4)
    after = before * 0.98 - 0.05
    difference = paired_difference(before, after, reference)
    one, two = kernel_distance(before, reference), kernel_distance(after, reference)
    assert difference.value == pytest.approx(two.value - one.value, rel=1e-9)
    assert difference.error < math.hypot(one.error, two.error) / 3
    assert paired_difference(before, before, reference) == Estimate(0.0, 0.0)


def test_distances_do_not_depend_on_the_order():
    reference, fake = reference_of(normal(200, 0)), normal(100, 1)
    shuffled = fake[torch.randperm(100, generator=torch.Generator().manual_seed(0))]
    assert kernel_distance(fake, reference).value == pytest.approx(kernel_distance(shuffled, reference).value, rel=1e-9)
    assert frechet_distance(fake, reference) == pytest.approx(frechet_distance(shuffled, reference), rel=1e-9)


@pytest.mark.slow
def test_floor_falls_with_the_size_and_the_kernel_floor_is_zero_within_its_error():
    real = normal(3000, 0)
    table = floors(real, reference_of(normal(3000, 1)))
    assert set(table) == {"64", "256", "1000", "2000"}
    frechet = [table[size]["frechet_mean"] for size in ("64", "256", "1000", "2000")]
    assert frechet == sorted(frechet, reverse=True)
    entry = table["64"]
    assert abs(entry["kernel_mean"]) < 4 * entry["kernel_sd"] / math.sqrt(entry["draws"])


def test_compare_names_what_it_measured_with_and_refuses_a_small_frechet(tiny_models):
    extractor = features_for("cifar10")
    images = torch.randint(0, 256, (30, 3, 32, 32), dtype=torch.uint8)
    report = compare(images, images, extractor)
    assert report["kernel_distance"]["difference"]["value"] == 0.0
    assert report["sha256"] == extractor.sha256
    assert "frechet_distance" not in report
    assert "at least 40 images" in report["frechet_note"]
    assert "frechet_distance" in compare(images.repeat(2, 1, 1, 1), images.repeat(2, 1, 1, 1), extractor)
    assert floors_at(extractor, 30)["num_images"] == 64
    assert floors_at(extractor, 100)["num_images"] == 64


def test_features_do_not_depend_on_how_many_are_asked_for(tiny_models):
    extractor = features_for("cifar10")
    images = torch.randint(0, 256, (130, 3, 32, 32), dtype=torch.uint8)
    assert torch.equal(extractor(images)[:7], extractor(images[:7]))
    assert extractor(images).shape == (130, 4)


def test_the_kernel_is_the_published_one():
    x, y = normal(3, 0).double(), normal(4, 1).double()
    assert torch.allclose(poly_kernel(x, y), (x @ y.T / 6 + 1) ** 3)


def _gaussian(count, seed, stretch=1.0, shift=0.0, dimension=6):
    rows = torch.randn(count, dimension, generator=torch.Generator().manual_seed(seed))
    return rows * torch.linspace(1, stretch, dimension) + shift


def test_errors_of_frechet_distances_are_those_of_repeated_draws():
    """200 draws: mean squared z-score 1 within 4 errors of its own, sqrt(2 / 200) each; a false alarm in 16,000."""
    found = [
        frechet_estimate(_gaussian(800, seed, 1.6, 0.4), reference_of(_gaussian(500, 10_000 + seed))) for seed in range(200)
    ]
    values = torch.tensor([one.value for one in found])
    squares = ((values - values.mean()) / torch.tensor([one.error for one in found])).square()
    assert abs(float(squares.mean()) - 1) < 4 * (2 / 200) ** 0.5
    # The law's own distance: sum of (stretch - 1)^2 and of shift^2. The bias of an estimate is of order d^2 / count.
    exact = float((torch.linspace(1, 1.6, 6) - 1).square().sum()) + 6 * 0.4**2
    assert abs(float(values.mean()) - exact) < 0.08


def test_errors_of_paired_frechet_differences_are_those_of_repeated_draws():
    """As above; what the pairs share cancels, so the error is smaller than that of either distance."""
    found, alone = [], []
    for seed in range(200):
        reference = reference_of(_gaussian(500, 10_000 + seed))
        before = _gaussian(800, seed, 1.6, 0.4)
        found.append(paired_frechet_difference(before, 0.9 * before, reference))
        alone.append(frechet_estimate(before, reference).error)
    values, errors = torch.tensor([one.value for one in found]), torch.tensor([one.error for one in found])
    squares = ((values - values.mean()) / errors).square()
    assert abs(float(squares.mean()) - 1) < 4 * (2 / 200) ** 0.5
    assert errors.mean() < 0.6 * sum(alone) / len(alone)


def test_a_frechet_estimate_has_the_value_of_the_distance():
    features, reference = _gaussian(300, 1, 1.3), reference_of(_gaussian(200, 2))
    assert frechet_estimate(features, reference).value == pytest.approx(frechet_distance(features, reference), rel=1e-6)


def test_the_interval_is_the_central_one_of_95_percent():
    low, high = Estimate(2.0, 0.5).interval
    assert (low, high) == pytest.approx((1.02, 2.98), abs=1e-3)
