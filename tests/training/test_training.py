"""Training: resumed runs equal uninterrupted ones to the bit, D alone learns the ratio, data keeps its splits."""

from pathlib import Path

import pytest
import torch
from torch import nn

from ebm_refine.data import images as data_module
from ebm_refine.data.images import Images, load_images, to_unit
from ebm_refine.errors import InputError
from ebm_refine.models.networks.dcgan import DCGANDiscriminator, DCGANGenerator, initialise
from ebm_refine.models.networks.resnet import ResNetClassifier
from ebm_refine.training.algorithms.classifier import ClassifierRecipe, train_classifier
from ebm_refine.training.algorithms.discriminator_alone import mean_cross_entropy, train_discriminator_alone
from ebm_refine.training.algorithms.gan import GANRecipe, add_spectral_norm, bake_spectral_norm, train_gan
from ebm_refine.training.common.augment import Augmentation, augment
from ebm_refine.training.common.averages import follow, update_average
from ebm_refine.training.common.resumable import LINES, Run, epoch_order

RECIPE = GANRecipe(steps=6, batch_size=8, measure_every=2, alone_steps=60, alone_every=20, rate_d=2e-3)


def pixels(count: int = 64, seed: int = 0) -> torch.Tensor:
    source = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=source)


def fresh_pair() -> tuple[DCGANGenerator, DCGANDiscriminator]:
    torch.manual_seed(0)
    generator, discriminator = DCGANGenerator(8, (8, 8, 8)), DCGANDiscriminator((8, 8, 8))
    initialise(generator)
    initialise(discriminator)
    return generator, discriminator


def gan_run(folder: Path, steps: int, resume: bool) -> dict:
    generator, discriminator = fresh_pair()
    run = Run(folder, resume=resume)
    train_gan(generator, discriminator, RECIPE._replace(steps=steps), pixels(), run, 0, "cpu", lambda network: 1.0)
    return run.load()


def assert_same(one, two):
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, two)
    elif isinstance(one, dict):
        assert one.keys() == two.keys()
        for key in one:
            assert_same(one[key], two[key])
    elif isinstance(one, list | tuple):
        for a, b in zip(one, two, strict=True):
            assert_same(a, b)
    else:
        assert one == two


def test_a_resumed_gan_equals_an_uninterrupted_one_to_the_bit(tmp_path):
    whole = gan_run(tmp_path / "whole", 6, resume=False)
    gan_run(tmp_path / "cut", 2, resume=False)
    torch.manual_seed(99)  # whatever state a new process starts in
    cut = gan_run(tmp_path / "cut", 6, resume=True)
    assert_same(whole, cut)
    assert whole["step"] == 6


def test_a_killed_gan_goes_on_from_its_last_measurement(tmp_path):
    """Killed between two measurements: the three steps since the last one are done again, with the same numbers."""

    calls = []

    def distance(network):
        calls.append(network)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return 1.0

    generator, discriminator = fresh_pair()
    with pytest.raises(KeyboardInterrupt):
        train_gan(generator, discriminator, RECIPE, pixels(), Run(tmp_path / "cut", resume=False), 0, "cpu", distance)
    resumed = gan_run(tmp_path / "cut", 6, resume=True)
    assert_same(resumed, gan_run(tmp_path / "whole", 6, resume=False))


def test_the_best_state_by_distance_is_saved(tmp_path):
    generator, discriminator = fresh_pair()
    distances = iter([3.0, 1.0, 2.0])
    best = train_gan(
        generator, discriminator, RECIPE, pixels(), Run(tmp_path / "r", resume=False), 0, "cpu", lambda _: next(distances)
    )
    assert (best["step"], best["distance"]) == (4, 1.0)


def test_a_run_is_not_overwritten_without_resume(tmp_path):
    gan_run(tmp_path / "r", 2, resume=False)
    with pytest.raises(InputError, match="pass --resume"):
        Run(tmp_path / "r", resume=False)


def test_a_resumed_classifier_equals_an_uninterrupted_one(tmp_path):
    images = Images(pixels(), torch.arange(64) % 10)

    def run(folder: Path, epochs_done: int) -> dict:
        torch.manual_seed(0)
        network = ResNetClassifier(widths=(4, 4, 4))
        recipe = ClassifierRecipe(epochs=4, batch_size=16)
        training = Run(folder, resume=True)
        if epochs_done:  # the schedule belongs to the whole run, so the interruption is made by hand
            state = torch.load(tmp_path / "whole" / f"epoch{epochs_done}.pt", weights_only=True)
            training.save(state)
        train_classifier(network, recipe, images, images, training, 0, "cpu")
        # The log of the first epochs stayed in the other folder.
        return {name: value for name, value in (training.load() or {}).items() if name != LINES}

    original = Run.save

    def keep_each(self, state):
        original(self, state)
        torch.save(state, self.folder / f"epoch{state['step']}.pt")

    Run.save = keep_each
    try:
        whole = run(tmp_path / "whole", 0)
        cut = run(tmp_path / "cut", 2)
    finally:
        Run.save = original
    assert_same(whole, cut)


def test_discriminator_alone_falls_below_chance_and_keeps_its_best_state(tmp_path):
    generator, discriminator = fresh_pair()
    add_spectral_norm(discriminator)
    bright = pixels(200).clamp(min=128)  # real images that differ clearly from the generator's grey ones
    before = [parameter.clone() for parameter in generator.parameters()]
    run = Run(tmp_path / "r", resume=False)
    measured = train_discriminator_alone(generator, discriminator, RECIPE, bright[:100], bright[100:], run, 0, "cpu")
    assert measured["holdout_cross_entropy"] < 0.5
    assert mean_cross_entropy(generator, discriminator, Images(bright[100:], None), 0, "cpu") == pytest.approx(
        measured["holdout_cross_entropy"], abs=1e-5
    )
    assert all(torch.equal(a, b) for a, b in zip(before, generator.parameters(), strict=True))
    assert set(discriminator.state_dict()) == set(DCGANDiscriminator((8, 8, 8)).state_dict())


def test_a_resumed_discriminator_phase_equals_an_uninterrupted_one(tmp_path):
    def run(folder: Path, cut: bool = False) -> dict:
        generator, discriminator = fresh_pair()
        add_spectral_norm(discriminator)
        recipe = RECIPE._replace(alone_steps=40)
        phase = Run(folder, resume=True)
        if cut:
            save = phase.save

            def save_and_die(state):
                save(state)
                raise KeyboardInterrupt

            phase.save = save_and_die
        measured = train_discriminator_alone(generator, discriminator, recipe, pixels(), pixels(16, 1), phase, 0, "cpu")
        return {**phase.load(), "measured": measured, "baked": discriminator.state_dict()}

    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", cut=True)
    torch.manual_seed(99)
    assert_same(whole, run(tmp_path / "cut"))
    assert whole["measured"]["alone_steps"] == 40
    assert_same(whole["measured"], run(tmp_path / "cut")["measured"])  # nothing left to do


def test_baking_changes_nothing_but_the_parametrisation():
    _, discriminator = fresh_pair()
    add_spectral_norm(discriminator)
    images = to_unit(pixels(4))
    for _ in range(3):
        discriminator(images)  # power iterations
    discriminator.eval()
    expected = discriminator(images)
    bake_spectral_norm(discriminator)
    assert torch.allclose(discriminator(images), expected, atol=1e-6)


def test_average_follows_weights_and_statistics():
    a, b = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    b.weight.data.fill_(3.0)
    b.running_mean.fill_(5.0)
    update_average(a, b, 0.75)
    assert torch.allclose(a.weight, torch.tensor(1.5))
    assert torch.allclose(a.running_mean, torch.tensor(1.25))
    b.num_batches_tracked.fill_(7)
    follow(a, b, 0.999, 0)  # 1/10 of the old
    assert torch.allclose(a.weight, torch.tensor(0.1 * 1.5 + 0.9 * 3.0))
    assert int(a.num_batches_tracked) == 7
    follow(a, b, 0.5, 1000)
    assert torch.allclose(a.weight, torch.tensor((0.1 * 1.5 + 0.9 * 3.0 + 3.0) / 2))


def test_augmentation_lets_the_gradient_through_and_only_moves_pixels():
    torch.manual_seed(0)
    images = torch.rand(64, 3, 16, 16, requires_grad=True)
    moved = augment(images, Augmentation(mirror=True, shift=0.25))
    moved.sum().backward()
    assert moved.shape == images.shape
    assert set(images.grad.unique().tolist()) <= {0.0, 1.0}
    still = augment(images.detach(), Augmentation(mirror=True))
    same = (still == images).flatten(1).all(1)
    mirrored = (still == images.flip(3)).flatten(1).all(1)
    assert (same ^ mirrored).all()
    assert 15 <= int(same.sum()) <= 49  # Binomial(64, 1/2): outside with probability below 1e-4


def test_epoch_orders_are_permutations_that_differ():
    one, again, two = epoch_order(100, 0, 0), epoch_order(100, 0, 0), epoch_order(100, 0, 1)
    assert torch.equal(one, again)
    assert not torch.equal(one, two)
    assert torch.equal(one.sort().values, torch.arange(100))


def test_data_is_read_from_parquet_with_the_last_tenth_held_out(tmp_path):
    from datasets import Dataset, Features, Image, Value
    from PIL import Image as Picture

    def write(name: str, count: int) -> None:
        rows = {"img": [Picture.new("RGB", (32, 32), (k, 0, 255)) for k in range(count)], "label": list(range(count))}
        features = Features({"img": Image(), "label": Value("int64")})
        Dataset.from_dict(rows, features=features).to_parquet(str(tmp_path / name))

    write("train-0.parquet", 30)
    write("test-0.parquet", 5)
    train, holdout, test = (load_images("cifar10", str(tmp_path), split) for split in data_module.SPLITS)
    assert train.labels.tolist() == list(range(27))
    assert holdout.labels.tolist() == [27, 28, 29]
    assert test.pixels.shape == (5, 3, 32, 32)
    assert holdout.pixels[0, :, 0, 0].tolist() == [27, 0, 255]
    assert to_unit(holdout.pixels)[0, 1:, 0, 0].tolist() == [-1.0, 1.0]


@pytest.mark.parametrize(
    ("labels", "sizes", "problem"),
    [
        (list(range(9)), [32], "it takes 10 or more; got 9"),
        ([None] + 29 * [0], [32], "must hold a whole number for each image"),
        (30 * [0], [32, 16], r"train has \(3, 32, 32\) first, then \(3, 16, 16\) at 1"),
    ],
)
def test_data_that_cannot_be_used_is_said_in_one_sentence(labels, sizes, problem, tmp_path):
    from datasets import Dataset, Features, Image, Value
    from PIL import Image as Picture

    pictures = [Picture.new("RGB", 2 * (sizes[row % len(sizes)],)) for row in range(len(labels))]
    features = Features({"img": Image(), "label": Value("int64")})
    Dataset.from_dict({"img": pictures, "label": labels}, features=features).to_parquet(str(tmp_path / "train-0.parquet"))
    with pytest.raises(InputError, match=problem):
        load_images("cifar10", str(tmp_path), "train")
