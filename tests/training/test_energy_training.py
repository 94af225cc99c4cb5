"""Contrastive divergence: buffer, clipping, the objective in closed form, resuming to the bit, divergence, whole recipes."""

import json
import math
import re
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from torch import nn
from zscores import LIMIT, rate_score

import ebm_refine
from ebm_refine.cli import main
from ebm_refine.data.images import Images
from ebm_refine.metrics import features
from ebm_refine.metrics.class_scores import class_report
from ebm_refine.models.checkpoint import load_checkpoint
from ebm_refine.models.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from ebm_refine.models.networks.energy_cnn import EnergyCNN
from ebm_refine.models.networks.mlp import MLPDiscriminator
from ebm_refine.tasks.ood_detection import REFERENCE
from ebm_refine.training.algorithms import contrastive_divergence as energy_module
from ebm_refine.training.algorithms import energy_against_frozen_generator as alone_module
from ebm_refine.training.algorithms.contrastive_divergence import (
    EnergyRecipe,
    ReplayBuffer,
    batch_of,
    contrastive_loss,
    energy_step,
    run_chains,
    source_of,
    train_energy,
)
from ebm_refine.training.algorithms.gan import GANRecipe
from ebm_refine.training.algorithms.joint import JointNetworks, train_joint
from ebm_refine.training.common.augment import Augmentation
from ebm_refine.training.common.job import Job
from ebm_refine.training.common.resumable import Run
from ebm_refine.training.common.stopping import Stopping
from ebm_refine.training.pipelines import energy_training as energy_model_module
from ebm_refine.training.pipelines import joint_model as joint_module

RECIPE = EnergyRecipe(epochs=3, batch_size=8, chain_steps=3, buffer=20, report_every=4)


def points(count: int = 64, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 2, generator=torch.Generator().manual_seed(seed)).mul(0.3).clamp(-1, 1)


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return MLPDiscriminator([16], [2], "silu")


class Quadratic(nn.Module):
    """E(x) = theta * |x|^2 / 2, whose every moment is known."""

    def __init__(self, theta: float = 1.0):
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(theta))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.theta * x.flatten(1).square().sum(1) / 2


def test_drawn_slots_are_different_and_chains_go_back_to_their_own():
    source = source_of(0, 0, "cpu")
    buffer = ReplayBuffer(50, (2,), (-3.0, 3.0), source)
    before = buffer.positions.clone()
    assert 2.5 < float(before.abs().max()) < 3
    slots, start = buffer.draw(20, 0.0, source)
    assert len(slots.unique()) == 20
    assert torch.equal(start, before[slots])
    buffer.write(slots, start + 1)
    assert torch.equal(buffer.positions[slots], before[slots] + 1)
    others = torch.ones(50, dtype=torch.bool)
    others[slots] = False
    assert torch.equal(buffer.positions[others], before[others])


def test_the_share_of_restarts_is_the_one_asked_for():
    """4,000 draws of 5 %: |z| < LIMIT, false alarm 6.8e-6. Restarted chains are uniform in the bounds, others untouched."""
    source = source_of(1, 0, "cpu")
    buffer = ReplayBuffer(40, (1,), (-1.0, 1.0), source)
    buffer.positions.fill_(5.0)  # nothing that restarts can be here
    starts = torch.cat([buffer.draw(40, 0.05, source)[1] for _ in range(100)])
    fresh = starts != 5.0
    assert abs(rate_score(int(fresh.sum()), 4000, 0.05)) < LIMIT
    assert bool((starts[fresh].abs() <= 1).all())
    assert float(starts[fresh].std()) == pytest.approx(1 / math.sqrt(3), abs=0.1)


def test_gradient_of_the_objective_is_the_closed_one():
    """On E = theta x^2 / 2: dL/dtheta = (<x^2>_data - <x^2>_chains) / 2 + alpha theta (<x^4>_data + <x^4>_chains) / 2."""
    quadratic, alpha = Quadratic(0.7).double(), 0.1
    real, fake = torch.randn(50, 1).double(), torch.randn(30, 1).double() * 2
    loss, numbers = contrastive_loss(quadratic, real, fake, alpha)
    loss.backward()
    squares = (real.square().mean() - fake.square().mean()) / 2
    fourths = real.pow(4).mean() + fake.pow(4).mean()
    torch.testing.assert_close(quadratic.theta.grad, squares + alpha * 0.7 * fourths / 2)
    assert float(numbers["contrastive_divergence"]) == pytest.approx(float(0.7 * squares))
    assert float(numbers["regulariser"]) == pytest.approx(float(alpha * 0.49 * fourths / 4))


def test_chains_move_by_clipped_gradients_within_the_bounds_and_leave_no_graph():
    quadratic = Quadratic(100.0)
    recipe = RECIPE._replace(chain_steps=1, temperature=0.0)
    start = torch.tensor([[0.9, -0.5], [1e-5, 0.0]])
    moved = run_chains(quadratic, start, recipe, source_of(0, 0, "cpu"))
    torch.testing.assert_close(moved, torch.tensor([[0.6, -0.2], [1e-5 - 1e-2, 0.0]]))
    assert not moved.requires_grad
    assert quadratic.theta.grad is None
    assert quadratic.theta.requires_grad
    away = run_chains(Quadratic(-100.0), start, recipe._replace(chain_steps=9), source_of(0, 0, "cpu"))
    assert float(away.abs().max()) == 1.0


def test_weights_follow_a_clipped_gradient():
    net = network()
    before = torch.cat([value.detach().flatten().clone() for value in net.parameters()])
    recipe = RECIPE._replace(max_norm=0.01)
    buffer = ReplayBuffer(20, (2,), recipe.bounds, source_of(0, 0, "cpu"))
    numbers = energy_step(net, torch.optim.SGD(net.parameters(), lr=1.0), buffer, recipe, points(8), source_of(0, 1, "cpu"))
    moved = torch.cat([value.detach().flatten() for value in net.parameters()]) - before
    assert float(numbers["gradient_norm"]) > 0.02  # so that clipping had something to do
    assert float(moved.norm()) == pytest.approx(0.01, rel=1e-3)


@pytest.mark.slow
def test_contrastive_divergence_finds_the_precision_of_gaussian_data():
    """Chains of step eps on E = theta x^2 / 2 rest at variance (1 / theta) / (1 - eps theta / 4): there training rests too.

    theta wanders by one per cent around that, and the law without the step's bias, 1 / theta, is 5 % off.
    """
    eps = 0.05
    data = torch.randn(2000, 1, generator=torch.Generator().manual_seed(0)) / 2
    variance = float(data.square().mean())
    recipe = EnergyRecipe(epochs=150, batch_size=1000, rate=0.3, decay=0.98, max_norm=1e9, alpha=0.0, input_noise=0.0,
                          chain_steps=5, eps=eps, temperature=1.0, clip=1e9, buffer=1000, fresh=0.0, bounds=(-2.0, 2.0),
                          report_every=4)  # fmt: skip
    quadratic, thetas = Quadratic(2.0), []
    for _ in train_energy(quadratic, recipe, data, data, 0):
        thetas.append(quadratic.theta.item())
    found = sum(thetas[-20:]) / 20
    assert (1 / found) / (1 - eps * found / 4) == pytest.approx(variance, rel=0.02)
    assert 1 / found < 0.97 * variance


def states_of(run=None) -> tuple[list, nn.Module]:
    net = network()
    return list(train_energy(net, RECIPE, points(), points(10, 1), 5, run=run)), net


@pytest.mark.parametrize("kill", [2, 10, 19])
@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bits(kill, tmp_path, monkeypatch):
    """Killed within step `kill` + 1: what was done since the last saved state is done again, with the same numbers."""
    whole, net = states_of()
    with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
        patch.setattr(energy_module, "batch_of", interrupted_at(kill))
        states_of(Run(tmp_path, resume=False))
    torch.manual_seed(99)  # whatever a new process starts with
    rest, again = states_of(Run(tmp_path, resume=True))
    assert rest[0].step == kill // 4 * 4 + 4
    assert [progress.numbers for progress in rest] == [progress.numbers for progress in whole[-len(rest) :]]
    for one, other in zip(net.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(*(last.state["buffer"]["positions"] for last in (whole[-1], rest[-1])))
    assert whole[-1].step == rest[-1].step == 24


def interrupted_at(kill: int):
    def batch(size: int, batch_size: int, seed: int, step: int) -> torch.Tensor:
        if step == kill:
            raise KeyboardInterrupt
        return batch_of(size, batch_size, seed, step)

    return batch


def test_a_state_does_not_change_as_training_goes_on():
    net, first = network(), None
    for progress in train_energy(net, RECIPE, points(), points(10, 1), 5):
        if first is None:
            first = progress.state
            copies = {name: value.clone() for name, value in first["network"].items()}
    assert all(torch.equal(first["network"][name], value) for name, value in copies.items())


@pytest.mark.parametrize(
    ("changes", "why"),
    [({"rate": 1e6, "max_norm": 1e9}, "run away to|not a finite number"), ({"max_energy": 1e-6}, "has run away to")],
)
def test_a_diverging_run_stops_says_so_and_keeps_the_last_good_state(changes, why):
    net = network()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    *_, last = train_energy(net, RECIPE._replace(**changes), points(), points(10, 1), 5)
    assert last.step == last.state["step"] == 0
    assert re.search(why, last.stopped)
    assert "stopped at step" in last.stopped
    assert "the state of step 0 is restored" in last.stopped
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_the_last_good_state_is_restored_after_a_divergence():
    """One example of the seventh batch is no number: steps 1 to 4 are reported and saved, step 7 stops the run."""
    data, net = points(), network()
    data[batch_of(64, 8, 5, 6)[0]] = math.nan
    whole, _ = states_of()
    *_, last = train_energy(net, RECIPE, data, points(10, 1), 5)
    assert last.step == 4
    assert "stopped at step 7" in last.stopped
    expected = whole[0].state["network"]
    assert all(torch.equal(value, expected[name]) for name, value in net.state_dict().items())


def test_logs_tell_data_chains_noise_and_contrast():
    whole, _ = states_of()
    assert {
        "contrastive_divergence", "regulariser", "energy_data", "energy_chains", "energy_unseen", "energy_noise",
        "validation_contrast", "gradient_norm",
    } <= whole[-1].numbers.keys()  # fmt: skip
    numbers = whole[-1].numbers
    assert numbers["validation_contrast"] == pytest.approx(numbers["energy_noise"] - numbers["energy_unseen"])


@pytest.mark.parametrize("decay", [0.5, 0.999])
def test_the_average_of_the_weights_is_part_of_the_state_and_follows_them(decay):
    """average <- d average + (1 - d) weights after every update, with d = min(decay, (1 + step) / (10 + step))."""
    net = network()
    expected = {name: value.double() for name, value in net.state_dict().items()}
    recipe = RECIPE._replace(average_decay=decay, report_every=1)
    for progress in train_energy(net, recipe, points(), points(10, 1), 5):
        d = min(decay, progress.step / (9 + progress.step))
        weights = progress.state["network"]
        expected = {name: d * old + (1 - d) * weights[name].double() for name, old in expected.items()}
    for name, value in progress.state["average"].items():
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-6)
        assert not torch.equal(value, progress.state["network"][name])


def test_chains_in_bfloat16_follow_the_same_gradients_within_a_per_cent():
    torch.manual_seed(0)
    net, start = EnergyCNN((4, 8, 8, 8), 1, 8), torch.rand(50, 1, 8, 8) * 2 - 1
    recipe = EnergyRecipe(epochs=1, chain_steps=1, temperature=0.0, clip=1e6, eps=0.02)
    single, half = (
        run_chains(net, start, recipe._replace(bf16_chains=flag), source_of(0, 0, "cpu")) - start for flag in (False, True)
    )
    assert half.dtype == torch.float32
    assert 0 < float((half - single).norm() / single.norm()) < 0.02
    assert all(p.requires_grad and p.dtype == torch.float32 for p in net.parameters())


def test_a_classifier_as_an_energy_learns_its_labels():
    """E(x) = -logsumexp f(x), and cross-entropy falls beside the contrastive divergence."""
    torch.manual_seed(0)
    net = EnergyCNN((4, 4, 4, 4), 1, 8, classes=3)
    labels = torch.arange(60) % 3
    images = torch.zeros(60, 1, 8, 8) + (labels.float() - 1)[:, None, None, None]
    torch.testing.assert_close(net(images), -net.logits(images).logsumexp(1))
    recipe = RECIPE._replace(epochs=20, rate=3e-2, batch_size=20, chain_steps=1, report_every=15, max_norm=10.0, alpha=0.01)
    progress = [p.numbers["cross_entropy"] for p in train_energy(net, recipe, images, images[:6], 0, labels=labels)]
    assert progress[-1] < 0.5 * progress[0]
    with torch.no_grad():
        assert float((net.logits(images).argmax(1) == labels).float().mean()) == 1.0
    with pytest.raises(ValueError, match="no logits"):
        EnergyCNN((2, 2, 2, 2), 1, 8).logits(images)


def test_the_convolutional_energy_takes_the_usual_shapes():
    for side in (8, 28, 32):
        energies = EnergyCNN((2, 3, 4, 4), 3, side)(torch.zeros(5, 3, side, side))
        assert energies.shape == (5,)
    convolutions = (25 + 1) * 16 + (9 * 16 + 1) * 32 + (9 * 32 + 1) * 64 + (9 * 64 + 1) * 64
    assert sum(p.numel() for p in EnergyCNN().parameters()) == convolutions + (256 + 1) * 64 + 64 + 1


@pytest.fixture
def digits(tiny_models, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small random images instead of the data, with an extractor that is embedded for them."""
    pixels = torch.randint(0, 256, (80, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    given = Images(pixels, torch.arange(80) % 10)
    for module in (energy_model_module, joint_module, alone_module):
        monkeypatch.setattr(module, "load_images", lambda *_: given)
        monkeypatch.setattr(module, "MEASURED", 60)
    monkeypatch.setattr(energy_model_module, "STORY_STEPS", 7)
    return tiny_models


def job(tmp_path: Path, resume: bool = False) -> Job:
    return Job(None, None, 0, "cpu", Run(tmp_path / "run", resume=resume), tmp_path / "model")


def trained_energy(tmp_path: Path, epochs: int = 2, resume: bool = False, **changes) -> Path:
    algorithm = EnergyRecipe(epochs=epochs, batch_size=20, chain_steps=2, buffer=30, report_every=2)._replace(**changes)
    recipe = energy_model_module.ImageEnergy(
        name="tiny-ebm", title="tiny energy", dataset="cifar10", shape=[3, 32, 32],
        architecture="energy-cnn", arguments={"widths": [2, 2, 2, 2], "channels": 3, "side": 32, "classes": 10},
        algorithm=algorithm, falls_to=None, measure_every=1, draw_steps=4, with_labels=True, notes=("a note of its own",),
    )  # fmt: skip
    energy_model_module.energy_model(job(tmp_path, resume), recipe)
    return tmp_path / "model"


@pytest.mark.slow
def test_an_energy_recipe_ends_in_a_model_that_refines(digits, tmp_path):
    folder = trained_energy(tmp_path)
    checkpoint = load_checkpoint(folder)
    assert checkpoint.kind == "energy"
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    lengths = next(entry for entry in log if entry.get("phase") == "lengths")
    distances = {n_steps: lengths[f"{n_steps} steps"] for n_steps in (4, 8, 16, 32)}
    drawn = checkpoint.config["defaults"]["short-run"]["n_steps"]
    assert distances[drawn] == min(distances.values()) == checkpoint.config["holdout_distance"]["value"]
    assert f"after 4, 8, 16, 32 steps: {distances[4]:.2f}, " in checkpoint.config["notes"][1]
    assert "test_accuracy" in checkpoint.config["accuracy"]
    story = checkpoint.tables["story"]
    assert all(rows.shape == (8, 8, 3, 32, 32) and rows.dtype == torch.uint8 for rows in story.values())
    assert sorted(story) == ["epoch-001", "epoch-002"]  # a file keeps no order
    assert [entry["epoch"] for entry in log if "epoch" in entry] == [1, 2]
    assert all(entry["classes"] >= 1 for entry in log if "epoch" in entry)
    assert (tmp_path / "run" / "story-002.png").exists()
    card = (folder / "README.md").read_text()
    assert "temperature 1.25e-06" in card
    assert "a note of its own" in card
    result = ebm_refine.refine(folder, num_images=3)
    assert result.settings.method == "short-run"
    assert result.after.shape == (3, 3, 32, 32)


def test_long_chains_are_measured_beside_short_ones(digits, tmp_path, monkeypatch):
    """Without noise: the long chains of two steps are the short chains of eight; where nothing moves, both are the same."""
    monkeypatch.setattr(energy_model_module, "LONG_CHAINS", 40)
    extractor = energy_model_module.features_for("cifar10")

    def measured(theta: float, steps: int) -> dict[str, float]:
        recipe = EnergyRecipe(epochs=1, chain_steps=steps, eps=0.3, temperature=0.0, clip=1e6)
        bowl = Quadratic(theta)
        return energy_model_module.measured_chains(bowl, recipe, extractor, (3, 32, 32), job(tmp_path))

    still, two, eight = measured(0.0, 2), measured(1.0, 2), measured(1.0, 8)
    assert still["long_chains_distance"] == still["short_chains_distance"]
    assert still["long_chains_error"] == 0
    assert two["long_chains_distance"] == pytest.approx(eight["short_chains_distance"], rel=1e-9)
    assert two["long_chains_distance"] != pytest.approx(two["short_chains_distance"], rel=1e-3)
    assert two["long_chains_error"] > 0
    assert 1 / two["classes"] <= two["largest_class_share"] <= 1


@pytest.mark.slow
def test_a_resumed_energy_recipe_writes_the_same_weights(digits, tmp_path, monkeypatch):
    whole = load_checkpoint(trained_energy(tmp_path / "whole"))
    calls = []
    original = energy_model_module.measured_chains

    def killed(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(energy_model_module, "measured_chains", killed)
    with pytest.raises(KeyboardInterrupt):
        trained_energy(tmp_path / "cut")
    monkeypatch.setattr(energy_model_module, "measured_chains", original)
    cut = load_checkpoint(trained_energy(tmp_path / "cut", resume=True))
    assert cut.hashes == whole.hashes
    assert cut.config["holdout_distance"] == whole.config["holdout_distance"]
    assert all(torch.equal(cut.tables["story"][name], rows) for name, rows in whole.tables["story"].items())


def test_a_recipe_that_diverges_says_so_on_its_card(digits, tmp_path, capsys):
    folder = trained_energy(tmp_path, max_energy=1e-9)
    assert "stopped at step 1: the mean energy has run away" in capsys.readouterr().out
    assert "has run away" in (folder / "README.md").read_text()
    load_checkpoint(folder)


def joint_model(tmp_path: Path, steps: int = 4, resume: bool = False) -> Path:
    recipe = joint_module.JointModel(
        name="tiny-joint", title="tiny joint", dataset="cifar10", shape=[3, 32, 32],
        generator=("dcgan-generator", {"latent": 4, "widths": [4, 4, 4], "channels": 3}),
        discriminator=("dcgan-discriminator", {"widths": [4, 4, 4], "channels": 3}),
        energy=("energy-cnn", {"widths": [2, 2, 2, 2], "channels": 3, "side": 32}),
        algorithm=GANRecipe(steps, batch_size=8, measure_every=2, augmentation=Augmentation()),
        chains=EnergyRecipe(epochs=1, chain_steps=2),
    )  # fmt: skip
    joint_module.joint_model(job(tmp_path, resume), recipe)
    return tmp_path / "model"


def test_a_joint_recipe_ends_in_a_model_whose_chains_start_at_its_generator(digits, tmp_path):
    checkpoint = load_checkpoint(joint_model(tmp_path))
    assert checkpoint.kind == "joint"
    assert set(checkpoint.networks) == {"generator", "energy"}
    result = ebm_refine.refine(tmp_path / "model", num_images=3)
    assert result.settings.n_steps == 2
    assert result.ratio_after is None
    assert not torch.equal(result.before, result.after)


def test_a_resumed_joint_run_equals_an_uninterrupted_one(digits, tmp_path):
    def nets() -> JointNetworks:
        torch.manual_seed(0)
        return JointNetworks(DCGANGenerator(4, (4, 4, 4)), DCGANDiscriminator((4, 4, 4)), EnergyCNN((2, 2, 2, 2), 3, 32))

    pixels = joint_module.load_images("cifar10", None, "train").pixels
    recipe = GANRecipe(4, batch_size=8, measure_every=2, augmentation=Augmentation(), falling_share=1e-9)
    chains = EnergyRecipe(epochs=1, chain_steps=2)

    def run(folder: Path, steps: int) -> dict:
        state = Run(folder, resume=True)
        train_joint(nets(), recipe._replace(steps=steps), chains, pixels, state, 0, "cpu", lambda _: 1.0)
        return state.load()

    whole = run(tmp_path / "whole", 4)
    run(tmp_path / "cut", 2)
    torch.manual_seed(99)
    cut = run(tmp_path / "cut", 4)
    for name in ("generator", "discriminator", "energy", "average"):
        assert all(torch.equal(value, cut[name][key]) for key, value in whole[name].items())


def alone(folder: Path, run: Path, steps: int = 4, resume: bool = False) -> Path:
    """Go on with the energy of the joint model in `folder`."""
    out = run.with_name(f"{run.name}-model")
    model = load_checkpoint(folder)
    alone_module.energy_alone(Job(None, steps, 0, "cpu", Run(run, resume=resume), out, model))
    return out


@pytest.fixture
def joint(digits, tmp_path, monkeypatch) -> Path:
    def few(job: Job):
        return EnergyRecipe(epochs=1, batch_size=8, chain_steps=2, rate=1e-2, buffer=16), Stopping(job.steps, 2, 20)

    monkeypatch.setattr(alone_module, "alone_settings", few)
    return joint_model(tmp_path)


@pytest.mark.slow
def test_an_energy_goes_on_alone_and_its_generator_stays_to_the_byte(joint, tmp_path):
    before, after = load_checkpoint(joint), load_checkpoint(alone(joint, tmp_path / "alone"))
    assert after.hashes["generator"] == before.hashes["generator"]
    assert after.hashes["energy"] != before.hashes["energy"]
    record = after.config["training"]["energy_alone"]
    distances = dict(record["distances"])
    assert list(distances) == [2, 4, 8, 16]
    assert distances[after.config["defaults"]["short-run"]["n_steps"]] == min(distances.values())
    assert distances[2] == pytest.approx(record["refined_distance"], rel=1e-6)
    assert record["steps_run"] == 4
    assert math.isfinite(record["refined_distance"])
    assert after.config["training"]["recipe"] == "tiny-joint"  # the record of the first phase stays
    assert not torch.equal(after.tables[REFERENCE]["digits"], before.tables[REFERENCE]["digits"])
    assert ebm_refine.refine(tmp_path / "alone-model", num_images=2).after.shape == (2, 3, 32, 32)


@pytest.mark.slow
def test_a_killed_energy_alone_goes_on_to_the_same_bits(joint, tmp_path, monkeypatch):
    whole = load_checkpoint(alone(joint, tmp_path / "whole"))
    saved, calls = Run.save, []

    def save(self, state):
        saved(self, state)
        calls.append(state["step"])
        if len(calls) == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Run, "save", save)
        with pytest.raises(KeyboardInterrupt):
            alone(joint, tmp_path / "cut")
    assert calls == [2]
    torch.manual_seed(99)
    cut = load_checkpoint(alone(joint, tmp_path / "cut", resume=True))
    assert cut.hashes == whole.hashes
    assert cut.config["training"]["energy_alone"] == whole.config["training"]["energy_alone"]


def test_chains_taught_alone_come_nearer_to_the_data(monkeypatch, tmp_path):
    """A generator that gives noise beside data that are dark: after training, chains from G(z) end darker than they began."""
    torch.manual_seed(0)
    generator, energy = DCGANGenerator(4, (4, 4, 4)), EnergyCNN((4, 4, 4, 4), 3, 32)
    data = torch.randint(0, 30, (40, 3, 32, 32), dtype=torch.uint8)
    # Of 3,072 pixels each has a small share of the gradient: steps are long.
    chains = EnergyRecipe(epochs=1, batch_size=16, chain_steps=4, eps=2000.0, rate=1e-2, alpha=1.0, max_norm=10.0, buffer=32,
                          fresh=0.5)  # fmt: skip
    ends = []
    monkeypatch.setattr(alone_module, "MEASURED", 30)

    def distance(images: torch.Tensor) -> float:
        ends.append(float(images.mean()))
        return ends[-1]

    run = Run(tmp_path / "run", resume=False)
    alone_module.train_energy_alone(generator, energy, chains, Stopping(20, 10, 20), data, run, 0, "cpu", distance)
    plain = float(generator(torch.randn(30, 4)).mean())
    assert min(ends) < plain - 0.1


def test_only_a_joint_model_of_images_has_an_energy_to_go_on_with(tiny_models, tmp_path, capsys):
    where = ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    assert main(["train", "energy-alone", "--model", "tiny", *where]) == 2
    assert "joint model of images; tiny is of kind 'pair'" in capsys.readouterr().err


def test_class_report_counts_classes_and_scores_them(digits):
    extractor = features.features_for("cifar10")
    images = torch.randint(0, 256, (30, 3, 32, 32), dtype=torch.uint8)
    sure = torch.eye(10)[torch.arange(30) % 5] * 100  # five classes, each certain, equally often

    class Head(nn.Module):
        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return sure[: len(features)]

    extractor.network.head = Head()
    report = class_report(images, extractor)
    assert report["inception_style_score"] == pytest.approx(5.0, rel=1e-4)
    assert report["mean_confidence"] == pytest.approx(1.0)
    assert report["classes"] == 5
    assert report["histogram"] == [6] * 5 + [0] * 5
    assert report["histogram_divergence"] == pytest.approx(math.log(2))
    assert report["extractor"] == "cifar10-features"


@pytest.mark.parametrize("sure", [3.0, 2000.0])
def test_divergences_of_classes_by_hand(digits, sure):
    """Two images, logits (s, 0) and (0, s) of two classes: p(y) is (1/2, 1/2), and both divergences are known."""
    extractor = features.features_for("cifar10")
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)

    class Head(nn.Module):
        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return torch.tensor([[sure, 0.0], [0.0, sure]])

    extractor.network.head = Head()
    report = class_report(images, extractor)
    q = 1 / (1 + math.exp(sure)) if sure < 700 else 0.0
    entropy = -(1 - q) * math.log1p(-q) - (q * math.log(q) if q else 0.0)
    assert report["kl_to_marginal"] == pytest.approx(math.log(2) - entropy)
    # 1/2 log(1/2 / (1 - q)) + 1/2 log(1/2 / q), log q being -s - log(1 + e^-s).
    assert report["kl_from_marginal"] == pytest.approx(-math.log(2) + sure / 2 + math.log1p(math.exp(-sure)))
    assert report["inception_style_score"] == pytest.approx(math.exp(report["kl_to_marginal"]))


@pytest.mark.parametrize("recipe", ["mnist-ebm", "mnist-jem", "mnist-gan", "mnist-gan-ebm", "mnist-features", "mnist-magan"])
def test_a_missing_data_folder_is_refused(recipe, tiny_models, tmp_path, capsys, monkeypatch):
    for other in ("energy_training", "joint_model", "gan_pair", "energy_gan"):
        monkeypatch.setattr(f"ebm_refine.training.pipelines.{other}.features_for", lambda _: None)
    where = ["--data", "/nowhere", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    assert main(["train", recipe, *where]) == 2
    assert "data must be an existing folder or a Hub data set" in capsys.readouterr().err
    assert not (tmp_path / "out" / recipe).exists()


def test_the_extractor_is_asked_for_first(tiny_models, tmp_path, capsys):
    assert main(["train", "mnist-ebm", "--data", "/nowhere", "--runs", str(tmp_path / "r"), "--out", str(tmp_path / "o")]) == 2
    assert "no feature extractor 'mnist-features' is embedded" in capsys.readouterr().err
