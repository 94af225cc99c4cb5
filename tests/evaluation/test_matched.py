"""Images matched with real ones in brightness, contrast, saturation and fine detail."""

import importlib
from pathlib import Path

import pytest
import torch


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    return importlib.import_module("matched")


def lognormal(count, shift, seed):
    """Four numbers an image: brightness about 120 + shift, the logarithms of the others about 3 + shift / 50."""
    normal = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.cat([120 + shift + 20 * normal[:, :1], (3 + shift / 50 + 0.4 * normal[:, 1:]).exp()], dim=1)


def test_what_stays_is_distributed_like_real_images(script):
    ours, real = lognormal(8000, 15.0, 0), lognormal(8000, 0.0, 1)
    matched = script.matching(ours, real)
    assert 500 < len(matched) < 6000
    for column, before, wanted in zip(ours[matched].T, ours.T, real.T, strict=True):
        error = (column.var() / len(matched) + wanted.var() / len(real)) ** 0.5
        assert abs(column.mean() - wanted.mean()) < 5 * error
        assert abs(before.mean() - wanted.mean()) > 20 * error
        assert float(column.std() / wanted.std()) == pytest.approx(1, abs=0.1)


def test_images_of_the_same_law_nearly_all_stay(script):
    matched = script.matching(lognormal(5000, 0.0, 2), lognormal(5000, 0.0, 3))
    assert len(matched) > 3500


def test_the_numbers_of_a_known_image(script):
    """Left half black, right half (90, 60, 30): grey 0 and 60; one edge of 60 in 31 columns of differences."""
    image = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    image[0, :, :, 16:] = torch.tensor([90, 60, 30], dtype=torch.uint8)[:, None, None]
    brightness, contrast, saturation, detail = script.numbers_of(image)[0].tolist()
    assert brightness == pytest.approx(30)
    assert contrast == pytest.approx(30, rel=1e-3)
    assert saturation == pytest.approx(30)
    assert detail == pytest.approx((60**2 / 31) ** 0.5)


def test_images_of_one_channel_can_be_matched(script):
    grey = torch.randint(0, 256, (300, 1, 28, 28), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    numbers = script.numbers_of(grey)
    assert (numbers[:, 2] == 0).all()
    assert len(script.matching(numbers, numbers)) > 200
