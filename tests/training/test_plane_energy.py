"""Energies of points: a jump keeps exp(-E); the blur falls to the width of the data; chains from noise reach all modes."""

import math

import pytest
import torch
from torch import nn

from ebm_refine.metrics.points import mode_report
from ebm_refine.models.networks import build
from ebm_refine.models.networks.mixture import log_density
from ebm_refine.toy2d.datasets import Mixture
from ebm_refine.training.algorithms.contrastive_divergence import EnergyRecipe, run_chains, source_of, uniform
from ebm_refine.training.algorithms.plane_energy import jumped, train_energy
from ebm_refine.training.algorithms.plane_loop import Blur, PlaneRecipe

BOUNDS = (-2.5, 2.5)
# Two sharp modes far apart, one three times as heavy.
TWO = Mixture(torch.tensor([[-1.5, -1.5], [1.5, 1.5]]), 0.05, torch.tensor([0.25, 0.75]), torch.arange(2))


class Exact(nn.Module):
    def forward(self, points):
        return -log_density(points, TWO.centres, TWO.weights, TWO.width)


@pytest.mark.parametrize(("scale", "moving"), [(0.03, 0.2), (0.5, 0.02)])
def test_a_jump_keeps_the_law(scale, moving):
    """From exact draws: the share of the heavy mode and the width stay those of the law; z-scores, false alarm 1 in 15,000."""
    count = 20_000
    source = source_of(7, 1, "cpu")
    start = TWO.sample(count, seed=3)
    # Centres that are not the law's: only the weights exp(-E)/q put that right.
    centres = torch.cat([TWO.centres[:1].repeat(30, 1), TWO.centres[1:].repeat(10, 1)])
    after = jumped(Exact(), start, centres, scale, BOUNDS, source)
    moved = float((after != start).any(dim=1).float().mean())
    assert moved > moving
    heavy = float((after[:, 0] > 0).double().mean())
    assert abs(heavy - 0.75) / math.sqrt(0.75 * 0.25 / count) < 4
    distance = (after - TWO.centres[(after[:, 0] > 0).long()]).square().sum(1) / TWO.width**2
    assert abs(float(distance.mean()) - 2) / math.sqrt(4 / count) < 4


def test_a_jump_carries_chains_to_the_heavier_mode_that_langevin_never_finds():
    source = source_of(1, 1, "cpu")
    positions = TWO.sample(4000, seed=1)
    positions = positions[positions[:, 0] < 0][:500]
    for _ in range(40):
        positions = jumped(Exact(), positions, TWO.centres.repeat(8, 1), 0.05, BOUNDS, source)
    heavy = float((positions[:, 0] > 0).double().mean())
    assert abs(heavy - 0.75) / math.sqrt(0.75 * 0.25 / len(positions)) < 4


def test_the_blur_falls_from_its_scale_to_the_width_and_then_ends():
    blur = Blur(width=0.02, scale=0.32, annealed_share=0.5)
    scales = [blur.at(step, 100) for step in range(100)]
    assert scales[0] == pytest.approx(0.32)
    assert scales[25] == pytest.approx(math.sqrt(0.32 * 0.02))
    assert scales[49] == pytest.approx(0.02, rel=0.1)
    assert all(scale == 0.0 for scale in scales[50:])


@pytest.mark.slow
def test_chains_from_noise_end_in_both_modes_of_a_trained_energy():
    torch.manual_seed(0)
    arguments = {"widths": [64] * 3, "shape": [2], "activation": "silu", "frequencies": 3, "half_period": 5.0}
    energy = build("mlp-discriminator", arguments)
    networks = {"energy": energy, "average_energy": build("mlp-discriminator", arguments)}
    recipe = PlaneRecipe(400, batch_size=256, rate=2e-3, betas=(0.0, 0.99))
    chains = EnergyRecipe(
        epochs=0, alpha=1e-3, chain_steps=3, eps=TWO.width**2 / 2, temperature=1.0, clip=1e6, bounds=BOUNDS, fresh=0.02
    )
    *_, last = train_energy(networks, recipe, chains, Blur(TWO.width), TWO.sample(20_000), 0)
    assert (last.step, last.stopped) == (400, "")
    source = source_of(0, 0, "cpu")
    long = chains._replace(chain_steps=400)
    report = mode_report(run_chains(networks["average_energy"], uniform((400, 2), BOUNDS, source), long, source), TWO)
    assert report.recovered == 2
    assert report.high_quality > 0.8
