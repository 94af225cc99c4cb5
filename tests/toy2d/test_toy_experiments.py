"""Toy training: resumed runs equal uninterrupted ones to the bit, ratios are learned, recipes and experiments fit together."""

import json
import re
from pathlib import Path

import pytest
import torch
from torch import nn
from toy_models import MOMENT, job_in

from ebm_refine.catalogue import load
from ebm_refine.models.kinds import law_of
from ebm_refine.settings import resolve
from ebm_refine.toy2d.datasets import DATASETS, FAMILIES
from ebm_refine.toy2d.experiments import EXPERIMENTS
from ebm_refine.training.algorithms import plane_energy, plane_games, plane_loop
from ebm_refine.training.algorithms.plane_games import train_ratio
from ebm_refine.training.algorithms.plane_loop import PlaneRecipe
from ebm_refine.training.common.resumable import Run
from ebm_refine.training.pipelines import toy_model as toys
from ebm_refine.training.pipelines.closed_form import GENERATORS, ClosedForm, closed_form
from ebm_refine.training.recipes.registry import RECIPES
from ebm_refine.training.recipes.toys import SETTINGS
from ebm_refine.ui.tabs.energy import benchmark_table as energy_measured
from ebm_refine.ui.tabs.refine import job as running
from ebm_refine.ui.tabs.refine.presets import DIGITS, presets


@pytest.fixture
def quick(monkeypatch):
    """Little data, and news after every second update."""
    monkeypatch.setattr(toys, "DATA_POINTS", 300)
    monkeypatch.setattr(toys, "REPORT_POINTS", 200)
    monkeypatch.setattr(plane_loop, "SAVE_EVERY", 2)
    monkeypatch.setattr(plane_loop, "REPORT_EVERY", 2)


def trained(folder: Path, family: str, resume: bool = False) -> Path:
    settings = SETTINGS[family]._replace(**MOMENT, eps=5e-3)
    job = job_in(folder, f"toy-moons-{family}", resume)
    toys.toy_model(job, toys.ToyModel("moons", family, settings))
    return job.folder


@pytest.mark.parametrize(("family", "killed_at"), [("gan", 1), ("gan", 3), ("wgan", 2), ("ebm", 1), ("gan-ebm", 1)])
@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_weights(quick, tmp_path, monkeypatch, family, killed_at):
    """Killed at its first or third news, in the main phase or in that of the ratio; what ships is the same, bit for bit."""
    whole = load(trained(tmp_path / "whole", family))
    original = Run.log
    calls = []

    def log(self, **record):
        original(self, **record)
        calls.append(record)
        if len(calls) == killed_at + 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Run, "log", log)
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path / "cut", family)
    torch.manual_seed(99)  # whatever state a new process starts in
    assert load(trained(tmp_path / "cut", family, resume=True)).hashes == whole.hashes


@pytest.mark.parametrize("family", FAMILIES)
def test_a_diverging_training_is_stopped_says_so_and_keeps_what_was_good(quick, monkeypatch, family):
    """The rate fits before the first report and is too large after it: the state of that report is restored."""
    model = toys.Toy("moons", family, SETTINGS[family]._replace(**MOMENT, eps=5e-3))
    steps = model.train()
    _, first = next(steps)
    assert not first.stopped
    copies = {
        role: {key: value.clone() for key, value in network.state_dict().items()} for role, network in model.networks.items()
    }
    for module in (plane_games, plane_energy):
        monkeypatch.setattr(module, "set_rates", lambda adams, *_: [adam.param_groups[0].update(lr=1e9) for adam in adams])
    phase, last = next(steps)
    assert phase == "main"
    assert last.step == last.state["step"] == 2
    assert re.match(r"stopped at step [34]: [a-z_ ]+ is \S+; the state of step 2 is restored", last.stopped)
    for role, network in model.networks.items():
        assert all(torch.equal(value, copies[role][key]) for key, value in network.state_dict().items())


def test_a_recipe_that_diverges_says_so_in_the_terminal_and_on_its_card(quick, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(plane_loop, "MAX_NUMBER", 1e-9)
    folder = trained(tmp_path, "gan-ebm")
    assert "toy-moons-gan-ebm: stopped at step 1" in capsys.readouterr().out
    assert "the state of step 0 is restored" in (folder / "README.md").read_text()
    assert load(folder).config["training"]["steps"] == 0


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.slow
def test_what_ships_is_a_model_that_refines(quick, tmp_path, family):
    import ebm_refine

    checkpoint = load(trained(tmp_path / "out", family))
    assert law_of(checkpoint.config) == {"ebm": "energy", "gan-ebm": "joint"}.get(family, "pair")
    assert checkpoint.config["training"]["steps"] == MOMENT["steps"]
    assert checkpoint.config["training"]["minutes"] >= 0
    assert checkpoint.config["training"]["processor"]
    assert ("ratio_report" in checkpoint.config) == (family in ("gan", "wgan"))
    result = ebm_refine.refine(checkpoint, n_steps=2, num_images=5)
    assert result.after.shape == (5, 2)
    assert result.after.isfinite().all()
    if family == "gan":
        latents = torch.randn(200, 2, generator=torch.Generator().manual_seed(5))
        largest = checkpoint.networks["discriminator"](checkpoint.networks["generator"](latents)).max()
        assert float(largest) <= checkpoint.config["defaults"]["rejection"]["log_bound"] + 0.05
    assert FAMILIES[family] in (checkpoint.folder / "README.md").read_text()


def test_the_model_in_training_can_be_looked_at_and_does_not_change_under_ones_eyes(quick):
    toy = toys.Toy("moons", "gan-ebm", SETTINGS["gan-ebm"]._replace(**MOMENT))
    training = toy.train()
    next(training)
    seen = toy.checkpoint()
    before = {name: value.clone() for name, value in seen.networks["energy"].state_dict().items()}
    list(training)
    assert all(torch.equal(value, before[name]) for name, value in seen.networks["energy"].state_dict().items())
    after = toy.checkpoint().networks["energy"].state_dict()
    assert not all(torch.equal(value, before[name]) for name, value in after.items())


class Standard(nn.Module):
    """G(z) = z: points from N(0, I)."""

    latent = 2

    def forward(self, z):
        return z


@pytest.mark.parametrize("odds", [1, 32])
def test_the_ratio_is_learned(odds):
    """Data N(m, I) against a generator N(0, I): log p_data / p_gen = m'x - |m|^2 / 2, a plane that one layer can hold."""
    mean = torch.tensor([1.0, -0.5])
    data = torch.randn(20_000, 2, generator=torch.Generator().manual_seed(0)) + mean
    ratio = nn.Sequential(nn.Linear(2, 1), nn.Flatten(0))
    recipe = PlaneRecipe(400, batch_size=512, rate=0.03, betas=(0.9, 0.999))
    *_, last = train_ratio({"generator": Standard(), "ratio": ratio}, recipe, data, 0, odds=odds)
    assert last.step == 400
    # Asymptotic deviation of logistic regression at 400 batches of 512, averaged over the falling rate, is below 0.02.
    assert torch.allclose(ratio[0].weight.detach()[0], mean, atol=0.1)
    assert float(ratio[0].bias.detach()) == pytest.approx(-float(mean.square().sum()) / 2, abs=0.1)


def test_the_rings_settings_reach_its_training():
    ring = RECIPES["toy-ring8-ebm"].settings
    toy = toys.Toy("ring8", "ebm", ring._replace(**MOMENT))
    assert (toy._chains().fresh, toy.blur.tails) == (0.005, 0.04)
    assert toys.Toy("moons", "ebm", SETTINGS["ebm"]._replace(**MOMENT))._chains().fresh == 0.02


def test_every_family_of_every_data_set_has_its_recipe():
    expected = {f"toy-{dataset}-{family}" for dataset in DATASETS for family in FAMILIES}
    expected |= {f"toy-{dataset}-exact" for dataset in DATASETS}
    expected |= {f"toy-{dataset}-deficient" for dataset in ("moons", "grid25", "ring8")}
    assert {name for name in RECIPES if name.startswith("toy-")} == expected


@pytest.mark.slow
def test_experiments_fit_their_models(quick, tmp_path):
    """Each experiment's model has a recipe, and its settings are right for it."""
    configs = {}
    for one in EXPERIMENTS:
        _, dataset, family = one.model.split("-", 2)
        assert one.model in RECIPES
        if one.model not in configs:
            if family in GENERATORS:
                closed_form(job_in(tmp_path / "closed", one.model), ClosedForm(dataset, family))
                configs[one.model] = load(tmp_path / "closed" / one.model).config
            else:
                configs[one.model] = toys.Toy(dataset, family, SETTINGS[family]).checkpoint().config
        resolve(one.model, configs[one.model], **one.arguments)
    assert len({one.title for one in EXPERIMENTS}) == len(EXPERIMENTS)


def test_the_experiment_on_digits_has_a_preset_on_either_side():
    """Without the energy nothing moves; with it, chains of K = 240 steps begin at the generator's digits."""
    known = {name: presets(info) for name, info in running.refinable_models().items() if name in DIGITS}
    assert set(known) == {"mnist-gan", "mnist-gan-ebm"}
    for name, titles in DIGITS.items():
        for title, arguments in titles.items():
            assert known[name][title] == arguments
            settings = running.checked(name, {**arguments, "num_images": 64})
            assert settings.n_steps == (240 if "with an EBM" in title else 1)
    assert running.checked("mnist-gan", DIGITS["mnist-gan"]["MNIST without an EBM: the generator alone"]).beta == 0.0


def test_the_committed_measurement_of_the_digits_is_shown_whole():
    results = json.loads(energy_measured.FILE.read_text())
    shown = energy_measured.as_html(results)
    for name, model in results["models"].items():
        assert shown.count(f">{name}</th>") == 4  # before and after, in the measures and in the classes
        assert f"{model['summary']['frechet_distance_after']['mean']:.2f}" in shown
    for line in re.findall(r"<tr><th scope='row'>(?:mnist-[a-z-]+|real digits)</th>((?:<td>[^<]*</td>){11})</tr>", shown):
        assert abs(sum(map(int, re.findall(r">(\d+)<", line))) - 100) <= 5  # ten shares, rounded
