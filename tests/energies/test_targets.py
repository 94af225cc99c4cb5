"""Where chains begin: draws of a mixture whose components and offsets are independent, and tosses of a fair coin."""

import pytest
import torch
import toy_targets
from zscores import LIMIT, histogram_score, mean_score

from ebm_refine.energies.targets import MixtureTarget
from ebm_refine.models.networks.mixture import MixtureGenerator
from ebm_refine.samplers.rng import Draws, Stream

COUNT = 20_000


def mixture() -> MixtureTarget:
    generator = MixtureGenerator(4)
    centres = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0], [3.0, 3.0]])
    generator.law.filled(centres, torch.tensor([0.4, 0.3, 0.2, 0.1]), 0.2)
    return MixtureTarget(generator.requires_grad_(False), torch.nn.Identity())


@pytest.mark.parametrize("block", [None, 0, 3])
def test_a_mixtures_components_and_offsets_are_independent(block: int | None) -> None:
    """Shares of the components, and within each of them the offsets' mean, spread and radius; 4 x 5 + 1 scores."""
    target, draws = mixture(), Draws(3, torch.arange(COUNT), 1)
    points = target.start(draws, Stream.INIT) if block is None else target.prior(draws, block)
    law = target.law
    component = torch.cdist(points, law.centres).argmin(dim=1)  # 15 widths apart
    assert abs(histogram_score(torch.bincount(component, minlength=4), law.weights)) <= LIMIT
    for k in range(4):
        offset = (points[component == k] - law.centres[k]) / law.width
        radius = offset.square().sum(dim=1) / 2  # standard exponential
        found = [mean_score(offset[:, 0], 0), mean_score(offset[:, 1], 0), mean_score(offset.square()[:, 0], 1)]
        uniform = torch.histc(1 - (-radius).exp(), 10, 0, 1)
        found += [mean_score(radius, 1), histogram_score(uniform, torch.ones(10))]
        assert all(abs(z) <= LIMIT for z in found), (k, found)


def test_draws_of_different_blocks_are_independent() -> None:
    target, draws = mixture(), Draws(3, torch.arange(COUNT), 1)
    first, second = target.prior(draws, 0)[:, 0], target.prior(draws, 1)[:, 0]
    product = (first - first.mean()) * (second - second.mean())
    assert abs(mean_score(product, 0)) <= LIMIT


@pytest.mark.parametrize("stream", [Stream.INIT, Stream.PILOT])
def test_bits_begin_as_tosses_of_a_fair_coin(stream: Stream) -> None:
    """All eight patterns of three bits are equally frequent."""
    bits = toy_targets.bits().start(Draws(3, torch.arange(COUNT), 0), stream)
    assert bits.unique().tolist() == [0.0, 1.0]
    number = (bits @ torch.tensor([4.0, 2.0, 1.0])).long()
    assert abs(histogram_score(torch.bincount(number, minlength=8), torch.ones(8))) <= LIMIT
