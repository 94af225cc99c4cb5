"""One trial of the grid: networks as published, an objective that setting and seed decide, a score with known truths."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from ebm_refine.cli import main
from ebm_refine.data.images import Images
from ebm_refine.metrics.features import FeatureExtractor
from ebm_refine.models.checkpoint import Checkpoint
from ebm_refine.models.networks.resnet import ResNetClassifier
from ebm_refine.training.grid_search import grid_gan, search
from ebm_refine.training.grid_search.grid_gan import Budget, build_discriminator, build_generator, generated, train_setting
from ebm_refine.training.grid_search.search_space import FAMILIES, Setting

BUDGET = Budget(batches=3, batch_size=16, num_images=20)
DIGITS = torch.randint(0, 256, (64, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def setting(family: str, **changes) -> Setting:
    usual = Setting(family, 3, 3, 24, 16, False, "adam", "adam", 0.001)
    return usual._replace(**changes)


def linear(network: nn.Module) -> list[nn.Linear]:
    return [module for module in network.modules() if isinstance(module, nn.Linear)]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("layers", [2, 5])
def test_layers_are_counted_as_published(family, layers):
    one = setting(family, layers_g=layers, layers_d=layers, dropout_d=True)
    generator, discriminator = build_generator(one), build_discriminator(one)
    assert len(linear(generator)) == len(linear(discriminator)) == layers
    for network in (generator, discriminator):
        assert sum(isinstance(module, nn.BatchNorm1d) for module in network.modules()) == layers - 1
    assert sum(isinstance(module, nn.Dropout) for module in discriminator.modules()) == layers - 1
    assert not any(isinstance(module, nn.Dropout) for module in generator.modules())
    assert not any(isinstance(module, nn.Dropout) for module in build_discriminator(setting(family)).modules())


def test_initial_weights_have_the_published_deviations():
    torch.manual_seed(0)
    one = setting("ebgan", size_g=400, size_d=400)
    for network, deviation in ((build_generator(one), 0.02), (build_discriminator(one), 0.002)):
        for module in linear(network):
            count = module.weight.numel()
            # The standard deviation of a sample deviation is deviation / sqrt(2 count): five of them.
            assert abs(float(module.weight.detach().std()) - deviation) < 5 * deviation / math.sqrt(2 * count)
            assert not module.bias.any()


def test_an_ebgans_energy_is_the_norm_of_what_it_does_not_reconstruct():
    torch.manual_seed(0)
    discriminator = build_discriminator(setting("ebgan")).eval()
    images = torch.rand(5, 784)
    energies, codes = discriminator(images)
    again = discriminator.decoder(codes)
    torch.testing.assert_close(energies, (again - images).square().sum(1).sqrt())
    assert codes.shape == (5, 16)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_objective_is_decided_by_setting_and_seed(family):
    one = setting(family, dropout_d=True)
    images = generated(train_setting(one, BUDGET, DIGITS, seed=1), 20, seed=1)
    torch.manual_seed(99)  # whatever the process drew before
    again = generated(train_setting(one, BUDGET, DIGITS, seed=1), 20, seed=1)
    assert torch.equal(images, again)
    other = generated(train_setting(one, BUDGET, DIGITS, seed=2), 20, seed=1)
    assert not torch.equal(images, other)
    sgd = generated(train_setting(one._replace(optim_g="sgd"), BUDGET, DIGITS, seed=1), 20, seed=1)
    assert not torch.equal(images, sgd)


def test_training_moves_an_ebgan_towards_the_digits():
    """Digits that are all one picture: the generator comes to draw it."""
    picture = torch.full((1, 28, 28), 255, dtype=torch.uint8)
    picture[:, 10:] = 0
    one, digits = setting("ebgan", layers_g=2, layers_d=2, rate=0.01), picture.expand(64, 1, 28, 28)
    contrast = [
        float(images[:, :, :10].mean() - images[:, :, 10:].mean())
        for images in (generated(train_setting(one, Budget(batches, 16), digits, 0), 20, 0).float() for batches in (0, 40))
    ]
    assert abs(contrast[0]) < 10
    assert contrast[1] > 60


def test_only_ebgan_pt_pulls_codes_apart(monkeypatch):
    called = []
    monkeypatch.setattr(grid_gan, "pulling_away", lambda codes: called.append(1) or codes.sum() * 0)
    for family in FAMILIES:
        called.clear()
        train_setting(setting(family), BUDGET, DIGITS, 0)
        assert len(called) == (BUDGET.batches if family == "ebgan-pt" else 0)


def test_a_generator_that_has_gone_to_infinity_still_gives_pixels():
    generator = build_generator(setting("gan")).eval()
    with torch.no_grad():
        linear(generator)[-1].weight.fill_(math.nan)
    assert not generated(generator, 3, 0).any()


class Sure(nn.Module):
    """Takes the class of an image from its first pixel, with logits `certainty` apart."""

    def __init__(self, certainty: float):
        super().__init__()
        self.certainty = certainty

    def features(self, images):
        return ((images[:, 0, 0, 0] + 1) * 127.5).round()[:, None]

    def head(self, features):
        return self.certainty * nn.functional.one_hot(features[:, 0].long(), 10).float()


def sure(certainty: float) -> FeatureExtractor:
    arguments = {"in_channels": 1, "widths": [4, 4, 4], "classes": 10}
    config = {"data": {"shape": [1, 28, 28]}, "parts": {"features": {"arguments": arguments, "sha256": "0" * 64}}}
    extractor = FeatureExtractor(Checkpoint("sure", Path(), config, {"features": ResNetClassifier(**arguments)}))
    extractor.network = Sure(certainty)
    return extractor


def of_classes(classes: list[int]) -> torch.Tensor:
    images = torch.zeros(len(classes), 1, 28, 28, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.tensor(classes)
    return images


def test_scores_have_their_known_values():
    every, one = of_classes(list(range(10)) * 4), of_classes([3] * 40)
    found = search.score(every, sure(60.0))
    assert found["score"] == pytest.approx(math.log(10), abs=1e-9)
    # KL(p(y) || p(y|x)) with p(y) uniform: -log 10 - mean over classes of log p(y|x), nine of them 60 down.
    assert found["reversed_score"] == pytest.approx(-math.log(10) + 54.0, abs=1e-9)
    assert found["histogram"] == [4] * 10
    for images, extractor in ((one, sure(60.0)), (every, sure(0.0))):
        assert search.score(images, extractor)["score"] == pytest.approx(0.0, abs=1e-9)
        assert search.score(images, extractor)["reversed_score"] == pytest.approx(0.0, abs=1e-9)


def test_the_command_line_works_goes_on_and_refuses_another_budget(tmp_path, monkeypatch, capsys):
    pytest.importorskip("optuna")
    monkeypatch.setattr(search, "load_images", lambda *_: Images(DIGITS, None))
    monkeypatch.setattr(search, "features_for", lambda _: sure(1.0))
    monkeypatch.setattr(search, "generated", lambda generator, count, seed: of_classes(list(range(10)) * (count // 10)))
    small = setting("gan")
    monkeypatch.setattr(search, "train_setting", lambda one, *rest: train_setting(small, BUDGET, DIGITS, 0))
    journal = tmp_path / "search.journal"
    command = ["search", "--storage", str(journal), "--trials", "2", "--batches", "3", "--num-images", "20"]
    assert main([*command, "--minutes", "0"]) == 0
    assert "0 of 6 trials of study 'mnist-grid' are done" in capsys.readouterr().out
    assert main(command) == 0
    assert "6 of 6 trials" in capsys.readouterr().out
    assert len(list((tmp_path / "search" / "mnist-grid").glob("*.png"))) == 6
    assert main([*command, "--batches", "4"]) == 2
    assert "has another batches (3, here 4)" in capsys.readouterr().err
    for flag, value in (("--trials", "0"), ("--batches", "x"), ("--num-images", "1"), ("--minutes", "-1"), ("--seed", "-1")):
        assert main([*command, flag, value]) == 2
        assert f"got {value}" in capsys.readouterr().err.replace("'", "")
