"""Class-conditional pairs: runs resume to the bit, refuse another recipe's state, and D alone learns the joint ratio."""

import pytest
import torch
from test_training import assert_same
from torch import Tensor, nn

import ebm_refine
from ebm_refine.data.images import Images
from ebm_refine.errors import InputError
from ebm_refine.models.networks import dcgan
from ebm_refine.models.networks.conditional_dcgan import ConditionalDCGANGenerator, ProjectionDCGANDiscriminator
from ebm_refine.models.networks.conditional_resnet import ConditionalResNetGenerator, ProjectionResNetDiscriminator
from ebm_refine.models.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from ebm_refine.training.algorithms import conditional_gan
from ebm_refine.training.algorithms.conditional_gan import (
    AloneRecipe,
    ConditionalGANRecipe,
    initialise,
    rate_at,
    train_conditional_discriminator_alone,
    train_conditional_gan,
)
from ebm_refine.training.common.augment import ALL_POLICIES, Augmentation, augment
from ebm_refine.training.common.job import Job
from ebm_refine.training.common.resumable import Run
from ebm_refine.training.pipelines import conditional_pair

RECIPE = ConditionalGANRecipe(steps=6, batch_size=8, measure_every=2, save_every=2)
GREYS = (40, 120, 200)


class Greys(nn.Module):
    """Grey images of 8x8 with a little noise; those of class y are of the grey GREYS[y + `moved`]."""

    takes_labels, latent, classes = True, 4, 3

    def __init__(self, moved: int = 0):
        super().__init__()
        self.moved = moved

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        level = torch.tensor(GREYS, dtype=torch.float32)[(labels + self.moved) % 3] / 127.5 - 1
        return (level + 0.1 * latents[:, 0])[:, None, None, None].expand(-1, 1, 8, 8)


def greys(count: int, seed: int = 0) -> Images:
    source = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (count,), generator=source)
    images = Greys()(torch.randn(count, 4, generator=source), labels)
    return Images(images.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8).contiguous(), labels)


def test_rates_fall_to_zero_and_restart_at_the_height_of_the_whole_fall() -> None:
    recipe = ConditionalGANRecipe(steps=10, restart_at=4)
    expected = [1, 3 / 4, 2 / 4, 1 / 4, 6 / 10, 5 / 10, 4 / 10, 3 / 10, 2 / 10, 1 / 10]
    assert [rate_at(step, recipe) for step in range(10)] == pytest.approx(expected)
    assert [rate_at(step, recipe._replace(restart_at=0)) for step in (0, 4, 9)] == pytest.approx([1, 0.6, 0.1])


def fresh_pair() -> tuple[ConditionalResNetGenerator, ProjectionResNetDiscriminator]:
    torch.manual_seed(0)
    pair = ConditionalResNetGenerator(4, (8, 8), 1, 3), ProjectionResNetDiscriminator((16, 32), 1, 3)
    for network in pair:
        initialise(network)
    return pair


def trained(folder, recipe: ConditionalGANRecipe = RECIPE, seed: int = 0) -> dict:
    run = Run(folder, resume=True, identity={"recipe": repr(recipe), "seed": seed})
    train_conditional_gan(*fresh_pair(), recipe, greys(40), run, seed, "cpu", lambda network: 1.0)
    return run.load()


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    whole = trained(tmp_path / "whole")
    real = conditional_gan._update

    def killed_at_the_fifth(*given):
        if given[6] == 4:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(conditional_gan, "_update", killed_at_the_fifth)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "cut")
    monkeypatch.setattr(conditional_gan, "_update", real)
    torch.manual_seed(99)  # whatever state a new process starts in
    assert_same(whole, trained(tmp_path / "cut"))
    assert whole["step"] == 6


@pytest.mark.parametrize(("what", "other"), [("recipe", {"recipe": RECIPE._replace(rate_d=1e-3)}), ("seed", {"seed": 1})])
@pytest.mark.slow
def test_the_state_of_another_run_is_refused(tmp_path, what, other):
    trained(tmp_path)
    with pytest.raises(InputError, match=f"a run with {what}"):
        trained(tmp_path, **other)


def test_rates_fall_to_zero_over_the_whole_run_and_averages_differ(tmp_path):
    state = trained(tmp_path)
    assert state["adam_g"]["param_groups"][0]["lr"] == pytest.approx(RECIPE.rate_g / 6)
    last = "module.last.weight"
    fast, slow = (state[f"average {decay}"][last] for decay in RECIPE.average_decays)
    now = state["generator"]["last.weight"]
    assert 0 < (fast - slow).abs().max() < (now - slow).abs().max()


@pytest.mark.parametrize(
    ("loss", "real", "fake", "d", "g"),
    [("hinge", [0.0, 2.0], [-3.0, 1.0], 1.5, 1.0), ("cross-entropy", [0.0, 0.0], [0.0, 0.0], 2 * 0.6931472, 0.6931472)],
)
def test_losses_by_hand(loss, real, fake, d, g):
    losses = conditional_gan.LOSSES[loss]
    assert float(losses.d(torch.tensor(real), torch.tensor(fake))) == pytest.approx(d)
    assert float(losses.g(torch.tensor(fake))) == pytest.approx(g)


@pytest.mark.slow
def test_a_pair_without_residual_blocks_begins_as_an_unconditional_one_and_learns_classes(tmp_path, monkeypatch):
    """Greys of 8x8 that differ by class: the generator begins alike for all, and each class finds its own grey."""
    torch.manual_seed(0)
    plain = DCGANGenerator(4, (8,), 1), DCGANDiscriminator((8,), 1)
    g, d = ConditionalDCGANGenerator(4, (8,), 1, 3), ProjectionDCGANDiscriminator((8,), 1, 3)
    for conditional, unconditional in zip((g, d), plain, strict=True):
        dcgan.initialise(unconditional, 0.1)
        initialise(conditional)
        conditional.begin_as(unconditional)
    recipe = ConditionalGANRecipe(
        steps=300, batch_size=48, d_steps=1, rate_g=5e-3, rate_d=5e-3, loss="cross-entropy", betas=(0.5, 0.999),
        average_decays=(0.9,), augmentation=Augmentation(), measure_every=300,
    )  # fmt: skip
    best = train_conditional_gan(g, d, recipe, greys(480), Run(tmp_path, resume=True), 0, "cpu", lambda network: 1.0)
    g.load_state_dict(best["generator"])
    with torch.no_grad():
        drawn = g.eval()(torch.randn(300, 4), torch.arange(3).repeat_interleave(100)).add(1).mul(127.5)
    greys_of_classes = drawn.view(3, -1).mean(1)
    torch.testing.assert_close(greys_of_classes, torch.tensor(GREYS, dtype=torch.float32), rtol=0, atol=25.0)


@pytest.mark.slow
def test_d_alone_tells_wrong_labels_although_the_images_are_right(tmp_path):
    """The images are those of the data, with another class's label each: only p(x, y), not p(x), tells them apart."""
    recipe = AloneRecipe(steps=120, batch_size=64, rate=2e-3, augmentation=Augmentation(), every=40)
    found = {}
    for moved in (0, 1):
        _, d = fresh_pair()
        conditional_gan.add_spectral_norm(d)
        run = Run(tmp_path / str(moved), resume=False)
        outcome = train_conditional_discriminator_alone(Greys(moved), d, recipe, greys(400), greys(100, 1), run, 0, "cpu")
        found[moved] = outcome["holdout_cross_entropy"]
    assert found[0] == pytest.approx(0.693, abs=0.02)
    assert found[1] < 0.1


@pytest.mark.slow
def test_a_recipe_makes_a_checkpoint_whose_chains_keep_their_labels(tmp_path, monkeypatch):
    class Extractor:
        def __init__(self):
            self.references = {"holdout": None}

        def __call__(self, images: Tensor) -> Tensor:
            return images.float().flatten(1)

        def describe(self) -> dict:
            return {"extractor": "none"}

    splits = {"train": greys(80), "holdout": greys(40, 1)}
    monkeypatch.setattr(conditional_pair, "features_for", lambda dataset: Extractor())
    monkeypatch.setattr(conditional_pair, "frechet_distance", lambda features, reference: float(features.mean()))
    monkeypatch.setattr(conditional_pair, "load_images", lambda dataset, source, split: splits[split])
    monkeypatch.setattr(conditional_pair, "MEASURED_IMAGES", 20)
    job = Job(None, None, 0, "cpu", Run(tmp_path / "run", resume=True), tmp_path / "greys")
    recipe = conditional_pair.ConditionalPair(
        name="greys",
        title="Greys",
        dataset="mnist",
        shape=[1, 8, 8],
        label_names=["dark", "middle", "light"],
        generator=("conditional-resnet-generator", {"latent": 4, "widths": [8, 8], "channels": 1, "classes": 3}),
        discriminator=("projection-resnet-discriminator", {"widths": [8, 16], "channels": 1, "classes": 3}),
        algorithm=RECIPE,
        alone=AloneRecipe(steps=4, batch_size=8, every=2),
        defaults={"method": "langevin", "ratio": "calibrated", "langevin": {"eps": 0.1, "n_steps": 2}},
    )
    conditional_pair.conditional_pair(job, recipe)
    result = ebm_refine.refine(tmp_path / "greys", num_images=12, seed=3)
    assert len(set(result.labels.tolist())) > 1
    assert result.after.shape == (12, 1, 8, 8)
    one = ebm_refine.refine(tmp_path / "greys", num_images=4, label=2)
    assert one.labels.tolist() == [2] * 4
    config = ebm_refine.load(tmp_path / "greys").config
    assert config["training"]["average_decay"] in RECIPE.average_decays
    assert config["labels"]["names"][2] == "light"


def test_colours_and_squares_are_changed_as_the_paper_says():
    torch.manual_seed(0)
    images = torch.rand(200, 3, 16, 16)
    grey = images.mean(1, keepdim=True)
    saturated = augment(images, Augmentation(saturation=1.0))
    factors = (saturated - grey).flatten(1).norm(dim=1) / (images - grey).flatten(1).norm(dim=1)
    assert torch.allclose(saturated.mean(1), images.mean(1), atol=1e-5)
    assert factors.min() < 0.2
    assert 1.8 < factors.max() <= 2.0001
    contrasted = augment(images, Augmentation(contrast=0.5))
    spread = contrasted.flatten(1).std(1) / images.flatten(1).std(1)
    assert torch.allclose(contrasted.mean((1, 2, 3)), images.mean((1, 2, 3)), atol=1e-5)
    assert 0.5 <= spread.min() < 0.6
    assert 1.4 < spread.max() <= 1.5001
    cut = augment(torch.ones(400, 1, 16, 16), Augmentation(cutout=0.5))
    holes = (cut == 0).sum((1, 2, 3))
    assert holes.max() == 64  # a square of 8 that lies inside
    assert holes.min() == 16  # its centre in the corner: a quarter
    assert ((cut == 0).float().mean(0) > 0).all()


def test_augmentation_lets_the_gradient_through():
    images = torch.rand(8, 3, 16, 16, requires_grad=True)
    augment(images, ALL_POLICIES).sum().backward()
    assert images.grad.abs().sum() > 0
