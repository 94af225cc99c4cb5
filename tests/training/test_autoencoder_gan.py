"""GANs with an autoencoder for a discriminator: what D is, what steers it, resumption to the bit, and a whole recipe."""

import json
import math
from pathlib import Path

import pytest
import torch
from conftest import save_tiny_energy_gan, save_tiny_models
from test_training import assert_same
from torch import Tensor, nn

from ebm_refine import catalogue, refine
from ebm_refine.data.images import Images
from ebm_refine.energies import autoencoder_gan as energy_gans
from ebm_refine.models.checkpoint import load_checkpoint
from ebm_refine.models.fuse import prepare
from ebm_refine.models.networks import build
from ebm_refine.models.networks.autoencoder import AutoencoderDiscriminator
from ebm_refine.models.networks.dcgan import DCGANGenerator, initialise
from ebm_refine.training.algorithms import autoencoder_game as autoencoder_gan
from ebm_refine.training.algorithms.autoencoder_game import (
    AutoencoderRecipe,
    Control,
    mean_energy,
    pretrained,
    settle,
    train_autoencoder_gan,
)
from ebm_refine.training.common.job import Job
from ebm_refine.training.common.resumable import Run
from ebm_refine.training.pipelines import energy_gan as energy_gan_module

TINY = {"widths": [4, 4], "side": 28, "code": 6}
RECIPE = AutoencoderRecipe(6, "ebgan", batch_size=8, measure_every=2, report_every=2)


def digits(count: int = 24, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (count, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def fresh_pair(**arguments) -> tuple[DCGANGenerator, AutoencoderDiscriminator]:
    torch.manual_seed(0)
    generator, discriminator = DCGANGenerator(8, (8, 4), 1, stem_side=7), AutoencoderDiscriminator(**{**TINY, **arguments})
    initialise(generator)
    initialise(discriminator, 0.002)
    return generator, discriminator


# --- The network -----------------------------------------------------------------------------------------------------------


def test_energy_is_the_error_that_it_says():
    torch.manual_seed(0)
    images = torch.rand(5, 1, 28, 28) * 2 - 1
    energies = {}
    for error in ("norm", "mean-square", "mean-absolute"):
        _, network = fresh_pair(error=error)
        network.eval()
        difference = (images - network.reconstruct(images)).flatten(1)
        energies[error] = network(images)
        assert energies[error].shape == (5,)
        assert torch.equal(network.energy_and_code(images)[0], energies[error])
        assert torch.equal(network.energy_and_code(images)[1], network.encode(images))
    torch.testing.assert_close(energies["norm"], difference.norm(dim=1))
    torch.testing.assert_close(energies["mean-square"], energies["norm"] ** 2 / 784)
    torch.testing.assert_close(energies["mean-absolute"], difference.abs().mean(1))


def test_norm_of_nothing_has_a_finite_gradient():
    _, network = fresh_pair()
    images = torch.zeros(2, 1, 28, 28, requires_grad=True)
    network.distance(images, torch.zeros(2, 1, 28, 28)).sum().backward()
    assert images.grad is not None
    assert images.grad.isfinite().all()


def test_an_image_is_judged_by_itself_in_eval_mode_and_by_its_batch_in_training():
    _, network = fresh_pair()
    initialise(network, 0.1)
    images = torch.rand(6, 1, 28, 28, generator=torch.Generator().manual_seed(0)) * 2 - 1
    network.eval()
    torch.testing.assert_close(network(images)[:2], network(images[:2]))
    network.train()
    assert not torch.allclose(network(images)[:2], network(images[:2]), atol=1e-4)


@pytest.mark.parametrize(("widths", "hidden"), [([], [9]), ([4], [9, 5]), ([], [])])
def test_layers_may_be_convolutions_or_none(widths, hidden):
    network = AutoencoderDiscriminator(**{**TINY, "widths": widths, "hidden": hidden})
    images = torch.rand(3, 1, 28, 28) * 2 - 1
    assert network.encode(images).shape == (3, 6)
    assert network.reconstruct(images).shape == images.shape
    assert network(images).shape == (3,)
    norms = sum(isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) for layer in network.modules())
    assert norms == 1 + 2 * (len(widths) + len(hidden))


@pytest.mark.parametrize("wrong", [{"error": "cross-entropy"}, {"side": 30}])
def test_wrong_arguments_are_refused(wrong):
    with pytest.raises(ValueError, match="must be"):
        AutoencoderDiscriminator(**{**TINY, **wrong})


def test_prepared_networks_compute_the_same():
    network = build(energy_gans.ARCHITECTURE, TINY)
    initialise(network, 0.1)
    images = torch.rand(9, 1, 28, 28, generator=torch.Generator().manual_seed(0)) * 2 - 1
    network(images)  # statistics that are not those of a fresh network
    network.eval()
    cheaper = prepare(network)
    torch.testing.assert_close(cheaper(images), network(images), rtol=1e-4, atol=1e-5)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in cheaper.encoder)


def test_initial_weights_are_the_published_ones():
    network = AutoencoderDiscriminator((32, 64))
    torch.manual_seed(0)
    initialise(network, 0.002)
    weights = torch.cat([layer.weight.flatten() for layer in network.modules() if isinstance(layer, nn.Linear)])
    assert weights.std().item() == pytest.approx(0.002, rel=0.02)  # 200,000 weights: 12 standard errors
    initialise(network)
    assert network.decoder[0].weight.std().item() == pytest.approx(0.02, rel=0.02)


# --- What steers D ---------------------------------------------------------------------------------------------------------


def observed(control: Control, pairs: list[tuple[float, float]]) -> list[float]:
    values = []
    for step, (real, fake) in enumerate(pairs):
        control.observe(step + 1, real, fake, 0.0)
        values.append(control.value)
    return values


def test_the_margin_of_ebgan_stays():
    assert observed(Control(RECIPE, 1), [(1, 2), (0.5, 3), (0.1, 4)]) == [10.0] * 3


def test_k_moves_at_every_batch():
    control = Control(RECIPE._replace(family="began", gamma=0.5), 100)
    assert observed(control, [(1.0, 0.1), (1.0, 0.5), (1.0, 9.0)]) == pytest.approx([0.0004, 0.0004, 0.0])


def test_the_margin_of_magan_moves_at_epochs_ends_alone():
    """Two batches an epoch. Means of real and fake by epoch: (3, 4), (2, 5): lower and risen; (1, 4): fake has fallen."""
    control = Control(RECIPE._replace(family="magan"), 2)
    control.value = 3.5
    batches = [(3.5, 3.0), (2.5, 5.0), (2.5, 4.0), (1.5, 6.0), (1.0, 4.0), (1.0, 4.0)]
    assert observed(control, batches) == [3.5, 3.5, 3.5, 2.0, 2.0, 2.0]


def test_curves_are_means_since_the_point_before():
    control = Control(RECIPE._replace(family="began", gamma=0.5), 100)
    observed(control, [(1.0, 2.0), (3.0, 4.0), (9.0, 9.0)])
    assert len(control.curve) == 1
    step, real, fake, k, convergence, cosine = control.curve[0]
    assert (step, real, fake, cosine) == (2, 2.0, 3.0, 0.0)
    assert k == control.value == 0.0
    assert convergence == pytest.approx(2.0 + abs(0.5 * 2.0 - 3.0))


# --- Training --------------------------------------------------------------------------------------------------------------


def trained(folder: Path, family: str, steps: int, resume: bool) -> tuple[dict, dict, dict]:
    error = "mean-absolute" if family == "began" else "norm"
    recipe = RECIPE._replace(family=family, steps=steps, falling_share=1e-9, pretraining_steps=3 if family == "magan" else 0)
    run = Run(folder, resume=resume)
    best, curves = train_autoencoder_gan(*fresh_pair(error=error), recipe, digits(), run, 0, "cpu", lambda network: 1.0)
    return best, curves, run.load()


@pytest.mark.parametrize("family", list(energy_gans.CONTROLS))
@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one_to_the_bit(tmp_path, family):
    best, curves, state = trained(tmp_path / "whole", family, 6, resume=False)
    trained(tmp_path / "cut", family, 4, resume=False)
    torch.manual_seed(99)  # whatever state a new process starts in
    cut_best, cut_curves, cut_state = trained(tmp_path / "cut", family, 6, resume=True)
    assert_same(state, cut_state)
    assert_same(best, cut_best)
    assert_same(curves, cut_curves)
    assert curves["step"].tolist() == [2.0, 4.0, 6.0]
    assert set(curves) == set(energy_gans.CURVE)
    assert all(column.isfinite().all() for column in curves.values())


def test_only_the_pulling_away_term_sets_ebgan_pt_apart(tmp_path):
    one, _, _ = trained(tmp_path / "one", "ebgan", 2, resume=False)
    two, _, _ = trained(tmp_path / "two", "ebgan-pt", 2, resume=False)
    assert any(not torch.equal(one["generator"][name], two["generator"][name]) for name in one["generator"])
    log = [json.loads(line) for line in (tmp_path / "two" / "log.jsonl").read_text().splitlines()]
    assert 0 < log[-1]["code_cosine"] <= 1


def test_the_first_margin_of_magan_is_the_pretrained_autoencoders_energy(tmp_path):
    generator, discriminator = fresh_pair()
    train = digits()
    adam = torch.optim.Adam(discriminator.parameters(), lr=1e-2)
    recipe = RECIPE._replace(family="magan", pretraining_steps=30)
    untrained = mean_energy(discriminator, train, "cpu")
    discriminator.train()
    torch.manual_seed(0)
    margin = pretrained(generator, discriminator, adam, recipe, train, Run(tmp_path / "r", resume=False), 0, "cpu")
    assert discriminator.training
    assert margin == mean_energy(discriminator, train, "cpu") < untrained


def test_settled_statistics_are_those_of_half_real_and_half_generated_images(monkeypatch):
    monkeypatch.setattr(autoencoder_gan, "SETTLING_BATCHES", 3)
    generator, discriminator = fresh_pair()
    train = digits(8)
    settle(generator, discriminator, train, 8, 0, "cpu")
    # Every batch holds all eight real images; the fakes are of three draws.
    source = torch.Generator().manual_seed(2)
    with torch.no_grad():
        fakes = [generator(torch.randn(8, 8, generator=source)) for _ in range(3)]
        real = train.float() / 127.5 - 1
        first = discriminator.encoder[0]
        expected = torch.stack([first(torch.cat([real, fake])).mean((0, 2, 3)) for fake in fakes]).mean(0)
    torch.testing.assert_close(discriminator.encoder[1].running_mean, expected, rtol=1e-4, atol=1e-6)
    assert not discriminator.training


def whole_recipe(tmp_path: Path, steps: int, resume: bool = False) -> Path:
    job = Job(None, None, 0, "cpu", Run(tmp_path / "run", resume=resume), tmp_path / "model")
    recipe = energy_gan_module.AutoencoderPair(
        name="tiny-magan", title="tiny MAGAN", dataset="cifar10", shape=[3, 32, 32],
        generator=("dcgan-generator", {"latent": 4, "widths": [4, 4, 4], "channels": 3}),
        autoencoder={"widths": [4], "channels": 3, "side": 32, "hidden": [6], "code": 5, "error": "norm"},
        algorithm=RECIPE._replace(steps=steps, family="magan", pretraining_steps=2),
        defaults={"method": "langevin", "ratio": "calibrated", "langevin": {"eps": 0.1, "n_steps": 2}},
    )  # fmt: skip
    energy_gan_module.energy_gan(job, recipe)
    return tmp_path / "model"


@pytest.mark.slow
def test_a_recipe_ends_in_a_pair_that_refines_and_keeps_its_curves(tiny_models, tmp_path, monkeypatch):
    given = Images(torch.randint(0, 256, (80, 3, 32, 32), dtype=torch.uint8), torch.arange(80) % 10)
    monkeypatch.setattr(energy_gan_module, "load_images", lambda *_: given)
    monkeypatch.setattr(energy_gan_module, "MEASURED", 60)
    monkeypatch.setattr(autoencoder_gan, "SETTLING_BATCHES", 2)
    whole = load_checkpoint(whole_recipe(tmp_path / "whole", 4))
    assert whole.config["discriminator_output"] == "energy"
    assert energy_gans.family_of(whole.config) == "magan"
    assert whole.config["training"]["margin m"] > 0
    assert whole.tables[energy_gans.CURVES]["step"].tolist() == [2.0, 4.0]
    stored = whole.tables[energy_gans.ENERGIES]
    with torch.no_grad():
        expected = whole.networks["discriminator"](given.pixels.float() / 127.5 - 1)
    torch.testing.assert_close(stored[energy_gans.REAL], expected, rtol=2e-2, atol=1e-2)  # stored in half precision
    card = (whole.folder / "README.md").read_text()
    assert "the norm of the difference over all pixels (pixels in [-1, 1]), is an energy" in card
    assert "begins at the mean D of real images after pretraining" in card
    result = refine(whole.folder, num_images=3)
    assert result.settings.ratio == "calibrated"
    assert result.after.shape == (3, 3, 32, 32)

    whole_recipe(tmp_path / "cut", 2)
    cut = load_checkpoint(whole_recipe(tmp_path / "cut", 4, resume=True))
    assert cut.tables[energy_gans.CURVES]["step"].tolist() == [2.0, 4.0]


# --- The pair --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny_digits(tmp_path, monkeypatch) -> Path:
    """The embedded folder has a pair `tiny-ebgan` of digits."""
    folder = save_tiny_models(tmp_path / "embedded")
    save_tiny_energy_gan(folder)
    monkeypatch.setattr(catalogue, "EMBEDDED", folder)
    return folder


def test_r_is_minus_the_energy_and_beta_its_inverse_temperature(tiny_digits):
    result = refine("tiny-ebgan", "langevin", 0.05, 3, num_images=4, seed=1, ratio="raw", beta=2.0)
    checkpoint = load_checkpoint(tiny_digits / "tiny-ebgan")
    # The ratio of what the generator gives, before rounding to uint8.
    generator, discriminator = checkpoint.networks["generator"], checkpoint.networks["discriminator"]
    with torch.no_grad():
        energies = discriminator(generator(result.positions))
    torch.testing.assert_close(result.ratio_after, -energies, rtol=1e-3, atol=1e-4)
    latent = result.positions.square().sum(1) / 2 + 2.0 * energies
    torch.testing.assert_close(result.energy_after, latent, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_every_pair_method_runs(tiny_digits):
    for method in ("rejection", "mala", "i-sir", "dot"):
        assert refine("tiny-ebgan", method, n_steps=2, num_images=2).after.shape == (2, 1, 28, 28)


def test_what_the_model_keeps_and_sees(tiny_digits):
    checkpoint = load_checkpoint(tiny_digits / "tiny-ebgan")
    assert energy_gans.is_energy_gan(checkpoint.config)
    assert not energy_gans.is_energy_gan(load_checkpoint(tiny_digits / "tiny").config)
    assert energy_gans.family_of(checkpoint.config) == "magan"
    images = torch.rand(70, 1, 28, 28, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = energy_gans.seen(checkpoint, images)
    network = checkpoint.networks["discriminator"]
    torch.testing.assert_close(found.energies, network(images), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found.reconstructed, network.reconstruct(images), rtol=1e-3, atol=1e-4)
    assert energy_gans.codes(checkpoint, images).shape == (70, 6)
    assert math.isfinite(float(found.energies.mean()))
