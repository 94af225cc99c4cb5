"""From a recipe to a pair: which state of a training ships."""

import json
import statistics

import pytest
from test_ratio_training import parquet

from ebm_refine.cli import main
from ebm_refine.data.images import load_images
from ebm_refine.metrics.distances import frechet_distance
from ebm_refine.metrics.features import features_for
from ebm_refine.metrics.panel import projected
from ebm_refine.metrics.panel_rights import as_reference
from ebm_refine.metrics.panel_store import embedded_panel
from ebm_refine.models.checkpoint import load_checkpoint
from ebm_refine.training.algorithms.gan import GANRecipe, restarted_rate
from ebm_refine.training.common.scores import generated
from ebm_refine.training.pipelines import gan_pair
from ebm_refine.training.recipes.cifar10 import CIFAR10_DCGAN
from ebm_refine.training.recipes.registry import RECIPES


def test_rates_fall_to_zero_twice():
    """Half of 4 steps fall, then half of 10, from the height that a fall over the whole run has there."""
    rates = [restarted_rate(step, 4, 10, 0.5) for step in range(10)]
    assert rates == pytest.approx([1, 1, 1, 1 / 2, 1, 1, 4 / 5, 3 / 5, 2 / 5, 1 / 5])
    assert [restarted_rate(step, 0, 10, 0.5) for step in (0, 4, 9)] == pytest.approx([1, 1, 1 / 5])


@pytest.mark.slow
def test_a_pair_chosen_by_the_panel_is_the_nearest_over_its_kinds(tmp_path, monkeypatch):
    """The stored distance is that of the generator that ships, in the panel's features, and no measured one is lower."""
    recipe = CIFAR10_DCGAN.cpu._replace(
        generator=("dcgan-generator", {"latent": 8, "widths": [8, 8, 8], "channels": 3}),
        discriminator=("dcgan-discriminator", {"widths": [8, 8, 8], "channels": 3}),
        algorithm=GANRecipe(
            steps=6, batch_size=8, rate_g=2e-2, measure_every=2, alone_steps=20, alone_every=10, alone_patience=2
        ),
        chosen_by_panel=True,
    )
    monkeypatch.setitem(RECIPES, "cifar10-dcgan", recipe)
    monkeypatch.setattr(gan_pair, "MEASURED", 64)
    data = parquet(tmp_path / "data")
    where = ["--data", str(data), "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    assert main(["train", "cifar10-dcgan", *where]) == 0
    checkpoint = load_checkpoint(tmp_path / "out" / "cifar10-dcgan")
    panel, generator = embedded_panel("cifar10"), checkpoint.networks["generator"]
    images, holdout = generated(generator, 64, 0), load_images("cifar10", data, "holdout").pixels
    made, real = projected(panel, images), projected(panel, holdout)
    distance = statistics.mean(frechet_distance(made[kind], as_reference(real[kind])) for kind in made)
    assert checkpoint.config["training"]["panel_distance"] == pytest.approx(distance, rel=1e-3)
    lines = [json.loads(line) for line in (tmp_path / "runs" / "cifar10-dcgan" / "log.jsonl").read_text().splitlines()]
    assert min(line["holdout_distance"] for line in lines if line["phase"] == "gan") == pytest.approx(distance, rel=1e-3)
    extractor = features_for("cifar10")
    in_features = frechet_distance(extractor(images), extractor.references["holdout"])
    assert checkpoint.config["holdout_distance"]["value"] == pytest.approx(in_features, rel=1e-3)
