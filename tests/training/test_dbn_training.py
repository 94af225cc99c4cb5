"""The belief network's recipe on a few random images: a model that refines, a run that resumes, and what half precision did."""

import json
from pathlib import Path

import pytest
import torch

import ebm_refine
from ebm_refine.data.images import Images
from ebm_refine.errors import InputError
from ebm_refine.models.checkpoint import load_checkpoint
from ebm_refine.models.networks.rbm import DBN
from ebm_refine.training.algorithms.contrastive_divergence import source_of
from ebm_refine.training.algorithms.rbm_learning import RBMRecipe
from ebm_refine.training.common.job import Job
from ebm_refine.training.common.resumable import Run
from ebm_refine.training.pipelines import belief_net as dbn

SHAPE = [3, 32, 32]


@pytest.fixture
def images(tiny_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = torch.randint(0, 256, (80, *SHAPE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(dbn, "load_images", lambda *_: Images(pixels, None))
    monkeypatch.setattr(dbn, "MEASURED", 60)


def trained(folder: Path, resume: bool = False) -> Path:
    job = Job(None, None, 0, "cpu", Run(folder / "run", resume=resume), folder / "model")
    recipe = dbn.BeliefNet(
        name="tiny-dbn", title="tiny belief network", dataset="cifar10", shape=SHAPE, sizes=(3 * 32 * 32, 6, 4),
        algorithms=(RBMRecipe(2, batch_size=20), RBMRecipe(3, batch_size=20, chains=20, life=5, warm=2)),
        chain_steps=4, measure_every=2, notes=("a note of its own",),
    )  # fmt: skip
    dbn.belief_net(job, recipe)
    return folder / "model"


def test_a_belief_network_recipe_ends_in_a_model_that_refines(images, tmp_path: Path):
    checkpoint = load_checkpoint(trained(tmp_path))
    assert checkpoint.kind == "dbn"
    assert checkpoint.config["holdout_distance"]["value"] > 0
    half = checkpoint.config["training"]["half_precision"]
    assert abs(half["mean change of the free energy, nats"]) < 0.1
    logs = (tmp_path / "run" / "log.jsonl", tmp_path / "run" / "machine-2" / "log.jsonl")
    log = [json.loads(line) for file in logs for line in file.read_text().splitlines()]
    assert [(one["machine"], one["epoch"]) for one in log if "free_energy_gap" in one] == [
        (1, 1),
        (1, 2),
        (2, 1),
        (2, 2),
        (2, 3),
    ]
    assert [one["epoch"] for one in log if "holdout_distance" in one] == [2, 3]
    assert (tmp_path / "run" / "chains.png").exists()
    card = (tmp_path / "model" / "README.md").read_text()
    assert "a deep belief network" in card
    assert "a note of its own" in card
    result = ebm_refine.refine(tmp_path / "model", num_images=3)
    assert (result.settings.method, result.settings.n_steps) == ("gibbs", 4)
    assert result.after.shape == (3, *SHAPE)


@pytest.mark.parametrize("epochs", [1, 4])
@pytest.mark.slow
def test_a_resumed_recipe_writes_the_same_weights(images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epochs: int):
    """Cut off within the first machine, and within the second."""
    whole = load_checkpoint(trained(tmp_path / "whole"))
    saves, save = [], Run.save

    def killed(run: Run, state: dict) -> None:
        save(run, state)
        saves.append(1)
        if len(saves) == epochs:
            raise KeyboardInterrupt

    monkeypatch.setattr(Run, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "cut")
    monkeypatch.setattr(Run, "save", save)
    with pytest.raises(InputError, match="already holds a run"):
        trained(tmp_path / "cut")
    cut = load_checkpoint(trained(tmp_path / "cut", resume=True))
    assert cut.hashes == whole.hashes
    assert cut.config["holdout_distance"] == whole.config["holdout_distance"]


def test_bits_of_a_layer_have_the_means_that_lie_below():
    """A network of one-sided weights: black pixels never turn a bit on, white ones always do."""
    network = DBN([4, 3, 2]).requires_grad_(False)
    lower = network.stack[0]
    lower.weight.fill_(20.0)
    lower.hidden_bias.fill_(-40.0)
    pixels = torch.tensor([[0, 0, 0, 0], [255, 255, 255, 255]], dtype=torch.uint8)
    assert dbn.bits_of(network, pixels, 0, source_of(0, 0, "cpu")).tolist() == [[0.0] * 4, [1.0] * 4]
    assert dbn.bits_of(network, pixels, 1, source_of(0, 0, "cpu")).tolist() == [[0.0] * 3, [1.0] * 3]
