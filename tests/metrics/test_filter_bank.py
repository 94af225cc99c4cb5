"""The fixed filter bank: closed forms of its wavelets, and what its responses must not or must see."""

import math

import pytest
import torch

from ebm_refine.errors import InputError
from ebm_refine.metrics.filter_bank import ORIENTATIONS, filter_responses, scales_for, wavelets


def test_wavelets_have_mean_zero_and_peak_at_their_frequency():
    bank = wavelets(64, 64, 3)
    assert bank.shape == (3, ORIENTATIONS, 64, 64)
    assert bank[..., 0, 0].abs().max() < 1e-6
    for scale in range(3):
        # Orientation 0 runs along the columns; the frequency is 3/4 pi over 2**scale, in bins of 2 pi / 64.
        peak = bank[scale, 0].argmax()
        row, column = divmod(int(peak), 64)
        assert row == 0
        assert abs(column - 0.75 * math.pi / 2**scale * 64 / (2 * math.pi)) <= 1.5


def test_turning_the_image_by_a_right_angle_turns_the_orientations():
    bank = wavelets(32, 32, 2)
    # Rotation by 90 degrees carries orientation 0 to orientation 2 of 4.
    assert torch.allclose(bank[:, 0].transpose(1, 2), bank[:, 2], atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "dimension"), [((1, 28, 28), 400), ((3, 32, 32), 816), ((3, 64, 64), 1200), ((3, 16, 40), 496)]
)
def test_dimension_by_size(shape, dimension):
    pixels = torch.randint(0, 256, (2, *shape), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    assert filter_responses(pixels).shape == (2, dimension)
    assert filter_responses(pixels).isfinite().all()


def test_a_flat_image_gives_its_grey_level_and_no_waves():
    found = filter_responses(torch.full((1, 1, 32, 32), 51, dtype=torch.uint8))
    assert torch.allclose(found[0, :16], torch.full((16,), 0.2))
    assert found[0, 16:].abs().max() < 1e-6


def test_rows_do_not_depend_on_one_another():
    pixels = torch.randint(0, 256, (5, 3, 32, 32), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    assert torch.allclose(filter_responses(pixels)[3:], filter_responses(pixels[3:]), atol=1e-6)


def test_stripes_answer_the_wavelet_across_them():
    columns = torch.arange(32)
    stripes = (127.5 + 127 * torch.cos(0.75 * math.pi * columns)).round().to(torch.uint8).expand(1, 1, 32, 32)
    first = filter_responses(stripes)[0, 16:][: ORIENTATIONS * 16].view(ORIENTATIONS, 16).mean(1)
    assert first.argmax() == 0
    assert first[0] > 3 * first[2]


def test_scales_grow_with_the_octaves_of_the_side():
    assert [scales_for(side, side) for side in (16, 28, 32, 64, 128, 1024)] == [2, 3, 3, 4, 5, 5]


def test_too_small_images_are_refused():
    with pytest.raises(InputError, match="at least 16×16 pixels; got 8×32"):
        filter_responses(torch.zeros(1, 1, 8, 32, dtype=torch.uint8))
