"""Fixtures that several test files share: small real checkpoints, so that no test depends on the embedded weights."""

import atexit
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest
import torch

from ebm_refine import catalogue
from ebm_refine.energies import autoencoder_gan as energy_gans
from ebm_refine.metrics import features
from ebm_refine.models.checkpoint import Part, load_checkpoint, save_checkpoint
from ebm_refine.models.networks.autoencoder import AutoencoderDiscriminator
from ebm_refine.models.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from ebm_refine.models.networks.energy_cnn import EnergyCNN
from ebm_refine.models.networks.mlp import MLPGenerator
from ebm_refine.models.networks.rbm import DBN
from ebm_refine.models.networks.resnet import ResNetClassifier
from ebm_refine.training.common.resumable import Run

torch.set_num_threads(1)

FAILED = pytest.StashKey[bool]()
# What Playwright says where a browser has not answered, or not shown what is waited for, in its time.
NO_ANSWER = ["TimeoutError", "Locator expected"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A browser on a busy machine may hang: where one has not answered, its test has a second try, which is reported."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.flaky(reruns=1, only_rerun=NO_ANSWER))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Fixtures may ask whether their test has failed."""
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report


DATA = {"shape": [3, 32, 32], "range": [-1, 1], "dataset": "cifar10"}


def tiny_pair_parts(seed: int = 0) -> dict[str, Part]:
    """A random pair of the DCGAN family, small enough to run in milliseconds; D's weights are large, so that r varies."""
    torch.manual_seed(seed)
    generator_arguments = {"latent": 8, "widths": [8, 8, 8], "channels": 3}
    discriminator_arguments = {"widths": [8, 8, 8], "channels": 3}
    generator, discriminator = DCGANGenerator(**generator_arguments), DCGANDiscriminator(**discriminator_arguments)
    with torch.no_grad():
        for parameter in [*generator.parameters(), *discriminator.parameters()]:
            parameter.mul_(3.0)
    return {
        "generator": Part("dcgan-generator", generator_arguments, generator),
        "discriminator": Part("dcgan-discriminator", discriminator_arguments, discriminator),
    }


def tiny_pair_config() -> dict:
    return {
        "kind": "pair",
        "title": "a tiny random pair",
        "prior": {"name": "normal", "dim": 8},
        "data": DATA,
        "discriminator_output": "logit",
        "calibration": {"slope": 0.5, "intercept": 0.1},
        "defaults": {"method": "langevin", "ratio": "calibrated", "langevin": {"eps": 0.05, "n_steps": 5}},
        "training": {},
    }


@pytest.fixture
def tiny_pair(tmp_path: Path) -> Path:
    """The folder of a loadable pair called `tiny`."""
    save_checkpoint(tmp_path / "tiny", tiny_pair_config(), tiny_pair_parts(), "")
    return tmp_path / "tiny"


def save_tiny_models(folder: Path) -> Path:
    """An embedded folder with the pair `tiny` and four-dimensional `cifar10-features` with their references."""
    return Path(shutil.copytree(_tiny_models(), folder, dirs_exist_ok=True))


@cache
def _tiny_models() -> Path:
    """Made once, since so many tests begin with a copy of it."""
    from ebm_refine.training.pipelines.evaluator_training import floors, reference_table

    folder = Path(tempfile.mkdtemp(prefix="tiny-models-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    save_checkpoint(folder / "tiny", tiny_pair_config(), tiny_pair_parts(), "")
    torch.manual_seed(1)
    arguments = {"in_channels": 3, "widths": [4, 4, 4], "classes": 10}
    config = {"kind": "features", "title": "tiny features", "data": DATA, "training": {}}
    part = {"features": Part("resnet-classifier", arguments, ResNetClassifier(**arguments))}
    real = torch.randint(0, 256, (400, 3, 32, 32), dtype=torch.uint8)
    save_checkpoint(folder / "cifar10-features", config, part, "")
    extractor = features.FeatureExtractor(load_checkpoint(folder / "cifar10-features"))
    tables = {
        "reference-test": reference_table(extractor(real[:200])),
        "reference-holdout": reference_table(extractor(real[200:])),
    }
    save_checkpoint(folder / "cifar10-features", config, part, "", tables)
    reference = features.FeatureExtractor(load_checkpoint(folder / "cifar10-features")).references["test"]
    config["floors"] = floors(extractor(real[200:]), reference)
    save_checkpoint(folder / "cifar10-features", config, part, "", tables)
    return folder


@pytest.fixture
def tiny_models(tmp_path: Path, monkeypatch) -> Path:
    """The folder of `save_tiny_models` in the place of the embedded one."""
    folder = save_tiny_models(tmp_path / "embedded")
    monkeypatch.setattr(catalogue, "EMBEDDED", folder)
    features.features_for.cache_clear()
    yield folder
    features.features_for.cache_clear()


def save_tiny_energies(folder: Path) -> Path:
    """Random energies of digits: `tiny-ebm`, `tiny-jem` with labels, and `tiny-gan-ebm`, whose chains begin at G(z)."""
    shape = {"shape": [1, 28, 28], "range": [-1, 1], "dataset": "mnist"}
    defaults = {"method": "short-run", "short-run": {"n_steps": 20}}
    for seed, (name, title, arguments) in enumerate(
        [
            ("tiny-ebm", "a tiny energy", {}),
            ("tiny-jem", "a tiny joint energy", {"classes": 10}),
            ("tiny-gan-ebm", "a tiny pair", {}),
        ]
    ):
        torch.manual_seed(seed)
        arguments = {"widths": [4, 4, 4, 4], **arguments}
        energy = EnergyCNN(**arguments)
        with torch.no_grad():
            for parameter in energy.parameters():
                parameter.mul_(3.0)  # so that energies differ from image to image
        parts = {"energy": Part("energy-cnn", arguments, energy)}
        config = {"kind": "energy", "title": title, "data": shape, "defaults": defaults, "training": {}}
        if name == "tiny-gan-ebm":
            generator = {"latent": 4, "widths": [8]}
            parts["generator"] = Part("mlp-generator", generator, MLPGenerator(**generator))
            config |= {"kind": "joint", "prior": {"name": "normal", "dim": 4}}
        chains = torch.randint(0, 256, (2, 4, 3, 1, 28, 28), dtype=torch.uint8)
        tables = {"story": {"epoch-003": chains[0], "epoch-030": chains[1]}} if "classes" in arguments else {}
        save_checkpoint(folder / name, config, parts, "", tables)
    return folder


def save_tiny_energy_gan(folder: Path, name: str = "tiny-ebgan", family: str = "magan") -> None:
    """A random pair of digits whose discriminator is an autoencoder, with curves and energies such as training keeps."""
    torch.manual_seed(len(name))
    generator = {"latent": 8, "widths": [8, 4], "channels": 1, "stem_side": 7}
    arguments = {"widths": [4, 4], "channels": 1, "side": 28, "code": 6, "error": "norm"}
    parts = {
        "generator": Part("dcgan-generator", generator, DCGANGenerator(**generator)),
        "discriminator": Part(energy_gans.ARCHITECTURE, arguments, AutoencoderDiscriminator(**arguments)),
    }
    config = {
        "kind": "pair",
        "title": f"a {name.replace('-', ' ')}",
        "prior": {"name": "normal", "dim": 8},
        "data": {"shape": [1, 28, 28], "range": [-1, 1], "dataset": "mnist"},
        "discriminator_output": "energy",
        "calibration": {"slope": 2.0, "intercept": 3.0},
        "defaults": {"method": "langevin", "ratio": "calibrated", "langevin": {"eps": 0.05, "n_steps": 5}},
        "training": {"settings": {"family": family}},
    }
    steps = torch.arange(1, 6) * 100.0
    curves = {curve: steps / (place + 1) for place, curve in enumerate(energy_gans.CURVE)}
    energies = {energy_gans.REAL: torch.linspace(2, 4, 50), energy_gans.GENERATED: torch.linspace(3, 6, 50)}
    tables = {energy_gans.CURVES: curves, energy_gans.ENERGIES: energies}
    save_checkpoint(folder / name, config, parts, "", tables, dtype=torch.float32)


def save_tiny_belief_net(folder: Path, name: str = "tiny-dbn") -> None:
    """A random belief network of digits."""
    torch.manual_seed(0)
    arguments = {"sizes": [784, 6, 4]}
    config = {
        "kind": "dbn",
        "title": "a tiny belief network",
        "data": {"shape": [1, 28, 28], "range": [-1, 1], "dataset": "mnist"},
        "defaults": {"gibbs": {"n_steps": 7}},
        "training": {},
    }
    save_checkpoint(folder / name, config, {"energy": Part("dbn", arguments, DBN(**arguments))}, "")


@contextmanager
def killed_at_the_second_save(monkeypatch) -> Iterator[list[int]]:
    """What runs within is interrupted right after its second saved state; gives the steps of the saved ones.

    Behind it the global random numbers stand anywhere, as in a new process.
    """
    original, saves = Run.save, []

    def save(self, state):
        original(self, state)
        saves.append(state["step"])
        if len(saves) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Run, "save", save)
    with pytest.raises(KeyboardInterrupt):
        yield saves
    monkeypatch.setattr(Run, "save", original)
    torch.manual_seed(99)
