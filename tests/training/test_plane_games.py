"""Games of points in the plane: levels of noise, and D of one level as a network of points alone."""

import pytest
import torch

import ebm_refine
from ebm_refine.training.algorithms import plane_games
from ebm_refine.training.algorithms.plane_loop import NoiseLevels, PlaneRecipe
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


@pytest.mark.parametrize("levels", [LEVELS, NoiseLevels(first=2e-3, last=1e-3, span=2.0)])
def test_the_ratio_begins_as_the_discriminator_at_the_lowest_level(levels):
    toy = Toy("moons", "gan", ToySettings(4, widths=(16, 16)), levels=levels)
    toy._take_over()
    points = 4 * torch.rand(500, 2, generator=torch.Generator().manual_seed(0)) - 2
    level = levels.coordinate(torch.full((500, 1), levels.last))
    expected = toy.networks["discriminator"](torch.cat([points, level], dim=1))
    assert torch.allclose(toy.parts()["discriminator"].network(points), expected, atol=1e-5)
    assert float(expected.detach().std()) > 1e-3


@pytest.mark.parametrize(("begins", "follows"), [(0.5, True), (1.0, False)])
@pytest.mark.slow
def test_the_generator_learns_from_its_points_as_they_were_revised(monkeypatch, begins, follows):
    """Where chains end in one point and the game weighs next to nothing, every latent comes to give that point."""
    end = torch.tensor([2.2, -1.9])
    monkeypatch.setattr(plane_games, "run_chains", lambda energy, start, *_: end.expand_as(start))
    monkeypatch.setattr(plane_games, "COOPERATION", 100.0)
    monkeypatch.setattr(plane_games, "COOPERATES_FROM", begins)
    toy = Toy("moons", "gan-ebm", ToySettings(200, widths=(16, 16), mcmc_steps=1))
    recipe = PlaneRecipe(200, batch_size=32, rate=1e-2)
    *_, last = plane_games.train_joint(
        toy.networks, recipe, LEVELS, recipe._replace(rate=1e-4), toy._chains(), toy.blur._replace(scale=0.1), toy.data, 0
    )
    assert not last.stopped
    made = toy.networks["generator"](torch.randn(200, 2, generator=torch.Generator().manual_seed(1))).detach()
    assert (float((made - end).norm(dim=1).mean()) < 0.2) == follows


def test_a_model_in_training_is_refined_like_any_other():
    """In memory it has hashes of its weights too, which results are recorded with."""
    toy = Toy("moons", "gan-ebm", ToySettings(2, widths=(8, 8), mcmc_steps=1))
    checkpoint = toy.checkpoint()
    assert ebm_refine.refine(checkpoint, n_steps=1, num_images=3).after.shape == (3, 2)
    next(iter(toy.networks["average"].parameters())).data.add_(1.0)
    changed = toy.checkpoint().hashes
    assert changed["generator"] != checkpoint.hashes["generator"]
    assert changed["energy"] == checkpoint.hashes["energy"]
