"""WGAN-GP: the penalty, the schedule, resumption to the bit, and what a critic is worth as a log ratio."""

import json
from pathlib import Path

import pytest
import torch
from conftest import killed_at_the_second_save, tiny_pair_config, tiny_pair_parts
from test_ratio_training import parquet
from test_training import assert_same, pixels
from torch import Tensor, nn

from ebm_refine import refine
from ebm_refine.cli import main
from ebm_refine.errors import CheckpointError
from ebm_refine.models.checkpoint import load_checkpoint, save_checkpoint
from ebm_refine.models.networks.dcgan import DCGANDiscriminator, DCGANGenerator, initialise
from ebm_refine.training.algorithms.wgan import WGANRecipe, critic_loss, gradient_penalty, train_critic_alone, train_wgan
from ebm_refine.training.common.resumable import Run
from ebm_refine.training.common.scores import ratio_entries
from ebm_refine.training.recipes.cifar10 import CIFAR10_WGAN_GP
from ebm_refine.training.recipes.registry import RECIPES

RECIPE = WGANRecipe(
    steps=4, batch_size=8, critic_steps=2, rate_d=2e-3, measure_every=2, alone_steps=40, alone_every=10, alone_patience=4
)


class Linear(nn.Module):
    """D(x) = scale * <w, x> with |w| = 1."""

    def __init__(self, scale: float = 1.0):
        super().__init__()
        torch.manual_seed(0)
        self.scale, weight = scale, torch.randn(3, 32, 32)
        self.weight = nn.Parameter(weight / weight.norm())

    def forward(self, images: Tensor) -> Tensor:
        return self.scale * (self.weight * images).sum(dim=(1, 2, 3))


def fresh_pair() -> tuple[DCGANGenerator, DCGANDiscriminator]:
    torch.manual_seed(0)
    generator, critic = DCGANGenerator(8, (8, 8, 8)), DCGANDiscriminator((8, 8, 8))
    initialise(generator)
    initialise(critic)
    return generator, critic


def test_penalty_of_a_linear_critic():
    images = torch.randn(2, 5, 3, 32, 32)
    for scale in (0.25, 1.0, 3.0):
        assert gradient_penalty(Linear(scale), *images).item() == pytest.approx((scale - 1) ** 2, abs=1e-5)


def test_penalty_is_taken_between_real_and_fake():
    """D(x) = x^2 / 2 has gradient x: at x = u * fake, u uniform, E (|x| - 1)^2 = 1/3 for |fake| = 1, 7/3 for |fake| = 4."""

    class Square(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.square().sum(dim=1) / 2

    torch.manual_seed(0)
    real = torch.zeros(20_000, 1)
    for size, expected in ((1.0, 1 / 3), (4.0, 16 / 3 - 4 + 1)):
        found = gradient_penalty(Square(), real, torch.full_like(real, size)).item()
        assert found == pytest.approx(expected, abs=0.06)  # 4 standard errors at most


def test_critic_loss_is_difference_and_penalty():
    generator, _ = fresh_pair()
    generator.eval()
    real, critic = pixels(600), Linear(3.0)
    found = critic_loss(generator, critic, real, 10.0, seed=5, device="cpu")
    source = torch.Generator().manual_seed(5)
    with torch.no_grad():
        latents = []
        for size in (500, 100):
            latents.append(torch.randn(size, 8, generator=source))
            torch.rand(size, generator=source)  # where the penalty is taken
        fake = critic(generator(torch.cat(latents))).mean()
        expected = fake - critic(real.float() / 127.5 - 1).mean() + 10.0 * 4.0
    assert found == pytest.approx(float(expected), abs=1e-3)


def test_critic_steps_for_each_generator_step(tmp_path, monkeypatch):
    generator, critic = fresh_pair()
    taken = []
    original = torch.optim.Adam.step

    def step(self, *arguments):
        taken.append("g" if self.param_groups[0]["params"][0] is next(generator.parameters()) else "d")
        return original(self, *arguments)

    monkeypatch.setattr(torch.optim.Adam, "step", step)
    recipe = RECIPE._replace(steps=2, critic_steps=3)
    train_wgan(generator, critic, recipe, pixels(), Run(tmp_path, resume=False), 0, "cpu", lambda network: 1.0)
    assert "".join(taken) == "dddgdddg"
    assert all(parameter.requires_grad for parameter in critic.parameters())


def test_a_resumed_wgan_equals_an_uninterrupted_one_to_the_bit(tmp_path):
    def run(folder: Path, distance) -> dict:
        generator, critic = fresh_pair()
        training = Run(folder, resume=True)
        train_wgan(generator, critic, RECIPE, pixels(), training, 0, "cpu", distance)
        return training.load()

    calls = []

    def killed_at_the_second(network):
        calls.append(network)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return 1.0

    whole = run(tmp_path / "whole", lambda network: 1.0)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", killed_at_the_second)
    torch.manual_seed(99)  # whatever state a new process starts in
    assert_same(whole, run(tmp_path / "cut", lambda network: 1.0))
    assert whole["step"] == 4


@pytest.mark.slow
def test_the_critic_alone_tells_real_from_fake_and_resumes_to_the_bit(tmp_path, monkeypatch):
    bright = pixels(200).clamp(min=128)  # real images that differ clearly from the generator's grey ones

    def run(folder: Path) -> tuple[dict, nn.Module, nn.Module, dict]:
        generator, critic = fresh_pair()
        phase = Run(folder, resume=True)
        measured = train_critic_alone(generator, critic, RECIPE, bright[:100], bright[100:], phase, 0, "cpu")
        return measured, generator, critic, phase.load()

    measured, generator, critic, state = run(tmp_path / "whole")
    assert measured["holdout_critic_loss"] < -1.0  # 0 for a critic that knows nothing, plus the penalty
    assert measured["holdout_critic_loss"] == pytest.approx(
        critic_loss(generator, critic, bright[100:], RECIPE.penalty, 0, "cpu"), abs=1e-5
    )
    assert_same(generator.state_dict(), fresh_pair()[0].state_dict())
    with killed_at_the_second_save(monkeypatch):
        run(tmp_path / "cut")
    again, _, cut, resumed = run(tmp_path / "cut")
    assert again == measured
    assert_same(resumed, state)
    assert_same(cut.state_dict(), critic.state_dict())


def test_calibration_makes_the_same_ratio_of_a_critic_at_any_scale():
    """The score has no scale and no offset of its own: 10 D + 3 gives the calibrated and the isotonic ratio of D."""

    class Moved(nn.Module):
        def __init__(self, scale: float, offset: float):
            super().__init__()
            self.scale, self.offset = scale, offset

        def forward(self, images: Tensor) -> Tensor:
            return self.scale * images.mean(dim=(1, 2, 3)) + self.offset

    holdout, fakes = pixels(400).clamp(min=20), pixels(400, 1)
    stored_ratios = []
    for critic in (Moved(100.0, 0.0), Moved(1000.0, 3.0)):
        _, stored = ratio_entries({"discriminator": critic}, {"discriminator_output": "critic"}, holdout, fakes)
        stored_ratios.append(stored)
    for name in ("calibrated", "isotonic"):
        assert torch.allclose(stored_ratios[0][name], stored_ratios[1][name], atol=1e-2), name
        assert stored_ratios[0][name].std() > 0.1
    assert torch.allclose(10 * stored_ratios[0]["raw"] + 3, stored_ratios[1]["raw"], atol=1e-3)


@pytest.mark.slow
def test_beta_is_the_critic_s_temperature(tmp_path):
    """E = |z|^2 / 2 - slope * D: a slope of 0.4 in the config and a beta of 0.4 give the same images; the intercept none."""
    results = []
    for slope, beta in ((0.4, 1.0), (1.0, 0.4)):
        config = {**tiny_pair_config(), "discriminator_output": "critic", "critic_slope": slope}
        folder = tmp_path / str(slope)
        save_checkpoint(folder, config, tiny_pair_parts(), "")
        results.append(refine(folder, n_steps=5, eps=0.1, num_images=4, ratio="raw", beta=beta))
    assert torch.allclose(results[0].positions, results[1].positions, atol=1e-4)
    assert torch.allclose(results[0].ratio_after, 0.4 * results[1].ratio_after, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "discriminator_output",
            "sigmoid",
            "discriminator_output must be one of logit, critic, energy, inverted; got 'sigmoid'",
        ),
        ("discriminator_output", ["critic"], "discriminator_output must be one of"),
        ("critic_slope", 0, "critic_slope must be a number above 0; got 0"),
        ("critic_slope", "1", "critic_slope must be a number above 0"),
        ("isotonic", [[0.0, 1.0]], "isotonic must be a list"),
        ("isotonic", [[0.0, 1.0], [1.0, 1.0]], "isotonic must be a list"),
        ("isotonic", [[0.0, 1.0], [0.0, 2.0]], "isotonic must be a list"),
        ("isotonic", [[0.0, 1.0], [1.0, float("nan")]], "isotonic must be a list"),
        ("isotonic", {"knots": []}, "isotonic must be a list"),
    ],
)
def test_configs_that_name_no_ratio_are_refused(tiny_pair, name, value, message):
    file = tiny_pair / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), name: value}))
    with pytest.raises(CheckpointError, match=message.replace("[", r"\[")):
        load_checkpoint(tiny_pair)


@pytest.mark.slow
def test_the_recipe_makes_a_pair_that_can_be_refined(tiny_models, tmp_path, monkeypatch):
    small = CIFAR10_WGAN_GP.cpu._replace(
        generator=("dcgan-generator", {"latent": 8, "widths": [8, 8, 8], "channels": 3}),
        discriminator=("dcgan-discriminator", {"widths": [8, 8, 8], "channels": 3}),
        algorithm=RECIPE,
        begins_at="tiny",
    )
    monkeypatch.setitem(RECIPES, "cifar10-wgan-gp", small)
    data = parquet(tmp_path / "data")
    paths = ["--data", str(data), "--steps", "2", "--runs", str(tmp_path / "runs")]
    assert main(["train", "cifar10-wgan-gp", *paths, "--out", str(tmp_path / "out")]) == 0
    folder = tmp_path / "out" / "cifar10-wgan-gp"
    config = load_checkpoint(folder).config
    tiny_hashes, begins = load_checkpoint(tiny_models / "tiny").hashes, config["training"]["begins_at"]
    assert (begins["name"], begins["sha256"]) == ("tiny", {role: tiny_hashes[role] for role in begins["sha256"]})

    # And it goes on from there: two steps are a short way from what it was, not from random weights.
    assert main(["train", "pair", "--model", str(folder), *paths, "--out", str(tmp_path / "on")]) == 0
    before, after = (load_checkpoint(where / "cifar10-wgan-gp") for where in (tmp_path / "out", tmp_path / "on"))
    assert after.config["training"]["begins_at"]["begins_at"]["name"] == "tiny"
    weights = [pair.networks["generator"].state_dict()["main.0.weight"] for pair in (before, after)]
    assert 0 < float((weights[1] - weights[0]).norm() / weights[0].norm()) < 0.1
    assert config["discriminator_output"] == "critic"
    assert set(config["ratio_report"]) == {"raw", "calibrated", "isotonic"}
    assert "The discriminator gives no logit" in (folder / "README.md").read_text()
    ratios = {name: refine(folder, "i-sir", n_steps=2, num_images=3, ratio=name) for name in config["ratio_report"]}
    assert all(result.ratio_after.isfinite().all() for result in ratios.values())
    slope, intercept = (config["calibration"][name] for name in ("slope", "intercept"))
    assert torch.allclose(ratios["calibrated"].ratio_before, slope * ratios["raw"].ratio_before + intercept, atol=1e-4)


def test_the_page_says_what_a_critic_s_raw_score_is(tiny_models):
    from ebm_refine.catalogue import list_models
    from ebm_refine.ui.components.controls import _ratio_help

    save_checkpoint(tiny_models / "critical", {**tiny_pair_config(), "discriminator_output": "critic"}, tiny_pair_parts(), "")
    helps = {model.name: _ratio_help(model) for model in list_models()}
    assert "critic's score" in helps["critical"]
    assert "critic" not in helps["tiny"]


def test_a_pair_that_no_recipe_made_does_not_go_on(tiny_models, tmp_path, capsys):
    assert main(["train", "pair", "--model", "tiny", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert "recipe 'pair' goes on with a pair of cifar10-dcgan, cifar10-wgan-gp, celeba-dcgan, mnist-gan; tiny is of" in message


def test_a_pair_does_not_begin_at_another_network(tiny_models, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(RECIPES, "cifar10-wgan-gp", CIFAR10_WGAN_GP.cpu._replace(begins_at="tiny"))
    arguments = ["train", "cifar10-wgan-gp", "--data", str(parquet(tmp_path / "data")), "--steps", "2"]
    assert main([*arguments, "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 2
    assert "the generator is to begin as that of tiny, which is another network" in capsys.readouterr().err
