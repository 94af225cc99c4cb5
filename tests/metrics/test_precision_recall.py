"""Precision, recall, density and coverage against closed forms and against their definitions written out."""

import math

import pytest
import torch
from zscores import LIMIT, mean_score

from ebm_refine.errors import InputError
from ebm_refine.metrics.features import features_for
from ebm_refine.metrics.precision_recall import Manifold, expected_coverage, overlap, squared_radii
from ebm_refine.metrics.report import compare


def normal(count: int, seed: int, dim: int = 4) -> torch.Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def written_out(real: list[list[float]], fake: list[list[float]], k: int) -> Manifold:
    """The four definitions, one pair at a time."""

    def radius(points, i):
        return sorted(math.dist(points[i], other) for j, other in enumerate(points) if j != i)[k - 1]

    real_radii = [radius(real, i) for i in range(len(real))]
    fake_radii = [radius(fake, j) for j in range(len(fake))]
    inside = [[math.dist(x, y) <= r for x, r in zip(real, real_radii, strict=True)] for y in fake]
    recalled = [any(math.dist(x, y) <= r for y, r in zip(fake, fake_radii, strict=True)) for x in real]
    return Manifold(
        sum(map(any, inside)) / len(fake),
        sum(recalled) / len(real),
        sum(map(sum, inside)) / (k * len(fake)),
        sum(any(row[i] for row in inside) for i in range(len(real))) / len(real),
    )


@pytest.mark.parametrize(("count", "k"), [(30, 5), (23, 3), (30, 1)])
def test_equals_the_definitions_written_out(count, k):
    real, fake = normal(30, 0), normal(count, 1) * 0.7 + 0.3
    expected = written_out(real.tolist(), fake.tolist(), k)
    assert overlap(real, fake, k) == pytest.approx(expected, abs=1e-12)
    assert 0 < expected.precision < 1 or 0 < expected.recall < 1  # so the comparison says something


def test_a_set_with_itself_is_wholly_precise_and_recalled():
    scores = overlap(normal(200, 0), normal(200, 0))
    assert (scores.precision, scores.recall, scores.coverage) == (1, 1, 1)


def test_sets_far_apart_share_nothing():
    assert overlap(normal(100, 0), normal(100, 1) + 100) == Manifold(0, 0, 0, 0)


def test_dropping_half_of_the_modes_halves_recall_and_coverage_and_keeps_precision():
    centres = 100 * torch.eye(4)
    real = normal(400, 0) + centres.repeat(100, 1)
    fake = normal(400, 1) + centres[:2].repeat(200, 1)
    whole, half = overlap(real, normal(400, 1) + centres.repeat(100, 1)), overlap(real, fake)
    assert half.precision == pytest.approx(whole.precision, abs=0.05)
    # More fakes in the remaining modes have smaller balls: beside half of `whole`'s recall, at most half of the reals.
    assert half.recall == pytest.approx(whole.recall / 2, abs=0.05)
    assert half.coverage == pytest.approx(0.5, abs=0.02)
    mirrored = overlap(fake, real)
    assert mirrored.precision == half.recall
    assert mirrored.recall == half.precision


def test_density_and_coverage_of_equal_laws_have_their_closed_means():
    """Over 200 independent pairs, means within 4.5 s.e. of 1 and of the closed form (false alarm 6.8e-6 each)."""
    pairs = [overlap(normal(60, 2 * seed), normal(40, 2 * seed + 1)) for seed in range(200)]
    assert abs(mean_score(torch.tensor([pair.density for pair in pairs]), 1.0)) < LIMIT
    assert abs(mean_score(torch.tensor([pair.coverage for pair in pairs]), expected_coverage(60, 40))) < LIMIT


def test_expected_coverage_is_the_published_product():
    n, k = 60, 5
    product = math.prod(range(n - k, n)) / math.prod(range(2 * n - k, 2 * n))
    assert expected_coverage(n, n, k) == pytest.approx(1 - product)
    assert expected_coverage(5000, 5000) == pytest.approx(1 - 0.5**5, abs=1e-3)


def test_radii_leave_out_the_row_itself_but_not_its_copies():
    line = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    assert squared_radii(line, 1).tolist() == pytest.approx([1, 1, 4, 16])
    assert squared_radii(line, 2).tolist() == pytest.approx([9, 4, 9, 36])
    assert squared_radii(torch.cat([line, line]), 1).tolist() == pytest.approx([0] * 8, abs=1e-5)


def test_neither_the_order_nor_the_chunks_nor_a_common_shift_matter():
    real, fake = normal(300, 0, 16), normal(300, 1, 16) * 0.9
    whole = overlap(real, fake)
    for chunk in (1, 7, 299, 300, 1000):
        assert overlap(real, fake, chunk=chunk) == whole
    shuffle = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    assert overlap(real[shuffle], fake) == whole
    assert overlap(real, fake[shuffle]) == whole
    assert overlap(real, fake, real_radii=squared_radii(real)) == whole
    shifted = overlap((real + 64).double(), (fake + 64).double())
    assert shifted == pytest.approx(whole, abs=0.01)  # the sum has been rounded, the distances have not


def test_refuses_what_has_no_neighbours():
    good = normal(10, 0)
    for wrong in (good[:5], good[0], torch.full_like(good, torch.nan)):
        with pytest.raises(InputError, match="fake features"):
            overlap(good, wrong)
        with pytest.raises(InputError, match="real features"):
            overlap(wrong, good)
    with pytest.raises(InputError, match="one dimension"):
        overlap(good, good[:, :3])
    with pytest.raises(InputError, match="k = 0"):
        overlap(good, good, 0)


@pytest.mark.slow
def test_compare_takes_them_from_1000_images_with_equal_sizes(tiny_models):
    extractor = features_for("cifar10")
    images = torch.randint(0, 256, (1000, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    black = torch.zeros_like(images)
    report = compare(images, black, extractor)
    count = min(1000, len(extractor.references["test"].features))
    assert report["manifold"] == {"num_images": count, "neighbours": 5}
    alone = overlap(extractor.references["test"].features[:count], extractor(images)[:count])
    assert {name: report[name]["before"] for name in alone._fields} == alone._asdict()
    assert alone.precision > 0.9
    assert report["recall"]["after"] == report["coverage"]["after"] == 0.0
    assert "precision" not in compare(images[:999], images[:999], extractor)
