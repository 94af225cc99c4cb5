"""Games of points in the plane: levels of noise, and D of one level as a network of points alone."""

import pytest
import torch

from ebm_refine.training.algorithms.plane_loop import NoiseLevels
from ebm_refine.training.pipelines.toy_model import LEVELS, Toy, ToySettings


def test_levels_of_noise_are_log_uniform_between_bounds_that_fall():
    """The mean of log-uniform deviations is that of the logarithms of the bounds; five standard errors of 20,000 draws."""
    levels = NoiseLevels(first=0.4, last=0.1, span=2.0, annealed_share=0.5)
    source = torch.Generator().manual_seed(0)
    for step, lowest, highest in ((0, 0.4, 0.8), (25, 0.2, 0.4), (50, 0.1, 0.4), (99, 0.1, 0.4)):
        drawn = levels.draw(step, 100, 20_000, source).log()
        low, high = torch.tensor([lowest, highest]).log().tolist()
        assert low - 1e-6 <= float(drawn.min())
        assert float(drawn.max()) <= high + 1e-6
        assert float(drawn.mean()) == pytest.approx((low + high) / 2, abs=5 * (high - low) / (12 * 20_000) ** 0.5)
    assert levels.coordinate(torch.tensor([0.1, 0.8])).tolist() == pytest.approx([-1, 1])


def test_the_ratio_begins_as_the_discriminator_at_the_lowest_level():
    toy = Toy("moons", "gan", ToySettings(4, widths=(16, 16)))
    toy._take_over()
    points = 4 * torch.rand(500, 2, generator=torch.Generator().manual_seed(0)) - 2
    level = LEVELS.coordinate(torch.full((500, 1), LEVELS.last))
    expected = toy.networks["discriminator"](torch.cat([points, level], dim=1))
    assert torch.allclose(toy.parts()["discriminator"].network(points), expected, atol=1e-5)
    assert float(expected.detach().std()) > 1e-3
