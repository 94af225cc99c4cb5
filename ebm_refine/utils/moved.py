"""Import paths of the version before, which work for this one more with a DeprecationWarning.

A module under its old name is the module itself, not a copy, so classes and module variables are the same under both names.
"""

import importlib
import sys
import warnings
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

# By the folder in which modules lie now: the name that each had under `ebm_refine`, and the one that it has in that folder.
FOLDERS = {
    "": {"questions": "tasks"},
    "data": {"training.data": "images"},
    "energies": {"density_ratio": "density_ratio", "energy_gans": "autoencoder_gan", "targets": "targets"},
    "evaluation": {"sharding": "sharding", "sweeps": "sweeps", "tables": "tables", "truncation": "truncation"},
    "metrics": {
        "metrics.classes": "class_scores",
        "metrics.diagnostics": "mcmc",
        "metrics.inception": "fid",
        "metrics.likelihood": "ais",
        "metrics.manifold": "precision_recall",
        "metrics.stein": "ksd",
        "metrics.yardstick": "evaluator",
    },
    "models": {
        "card": "model_card",
        "checkpoints": "checkpoint",
        "hub": "hub",
        "kinds": "kinds",
        "networks": "networks",
        "preparation": "fuse",
    },
    "models.convert": {
        "importing": "convert",
        "networks.foreign": "dcgan_state_dict",
        "networks.foreign_plain": "mlp_state_dict",
    },
    "models.networks": {
        "networks.autoencoder": "autoencoder",
        "networks.dcgan": "dcgan",
        "networks.encoder": "encoder",
        "networks.energy_cnn": "energy_cnn",
        "networks.mixture": "mixture",
        "networks.mlp": "mlp",
        "networks.ratio": "ratio",
        "networks.rbm": "rbm",
        "networks.resnet": "resnet",
    },
    "samplers": {"random": "rng", "samplers.driver": "loop", "samplers.graphs": "cuda_graphs"},
    "tasks": {
        "answers": "energy_model",
        "questions.box": "reflection",
        "questions.comparing": "ranking",
        "questions.conditional": "conditional",
        "questions.detection": "ood_detection",
        "questions.digits": "digit_preprocessing",
        "questions.labels": "classification",
        "questions.masks": "masks",
        "questions.patterns": "synthetic_digits",
        "questions.reading": "row_decoding",
    },
    "toy2d": {"experiments": "experiments", "landscape": "landscape", "plane": "plane_pictures", "points": "datasets"},
    "training.algorithms": {
        "training.autoencoder_gan": "autoencoder_game",
        "training.autoencoder_losses": "autoencoder_losses",
        "training.classifier": "classifier",
        "training.contrastive": "simclr",
        "training.energy": "contrastive_divergence",
        "training.energy_alone": "energy_against_frozen_generator",
        "training.feature_ratio": "feature_ratio",
        "training.finetune": "finetune",
        "training.gan": "gan",
        "training.joint": "joint",
        "training.plane": "plane_games",
        "training.ratio": "ratio_learning",
        "training.rbm": "rbm_learning",
        "training.wgan": "wgan",
    },
    "training.common": {
        "training.augment": "augment",
        "training.duplicates": "duplicates",
        "training.job": "job",
        "training.run": "resumable",
        "training.scores": "scores",
        "training.stopping": "stopping",
    },
    "training.grid_search": {
        "training.grid_gan": "grid_gan",
        "training.search": "search",
        "training.search_space": "search_space",
        "training.study": "study",
    },
    "training.pipelines": {
        "training.closed_form": "closed_form",
        "training.dbn": "belief_net",
        "training.energy_gan": "energy_gan",
        "training.energy_model": "energy_training",
        "training.features": "evaluator_training",
        "training.pair": "gan_pair",
        "training.toys": "toy_model",
    },
    "training.recipes": {
        "training.celeba": "celeba",
        "training.cifar10": "cifar10",
        "training.mnist": "mnist",
        "training.mnist_energy_gans": "mnist_energy_gans",
    },
    "ui.runtime": {"space": "zero_gpu"},
    "utils": {"cancellation": "cancellation", "devices": "devices", "files": "atomic_io", "timing": "timing"},
}
MOVED = {
    f"ebm_refine.{old}": ".".join(filter(None, ("ebm_refine", folder, new)))
    for folder, modules in FOLDERS.items()
    for old, new in modules.items()
}


class _Finder(MetaPathFinder, Loader):
    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name in MOVED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        _warn(spec.name, MOVED[spec.name])
        module = importlib.import_module(MOVED[spec.name])
        spec.loader_state = module.__spec__  # which the import system replaces by `spec`
        return module

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state


def install() -> None:
    """Let old names be found. Ahead of other finders, which would load the files of a moved folder a second time."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def names_of(old: str, new: str) -> Callable[[str], Any]:
    """The `__getattr__` of the folder `old`, which was a module: its names are those of the module `new`."""

    def name_of(name: str) -> Any:
        # The import system asks for submodules here before it looks for their files.
        if name.startswith("__") or find_spec(f"{old}.{name}") is not None:
            raise AttributeError(name)
        try:
            found = getattr(importlib.import_module(new), name)
        except AttributeError:
            raise AttributeError(f"module {old!r} has no attribute {name!r}") from None
        _warn(old, new)
        return found

    return name_of


def _warn(old: str, new: str) -> None:
    # The warning names the importing line; frames of the import system are skipped.
    warnings.warn(f"{old} is now {new}; the old name goes with the next version", DeprecationWarning, stacklevel=3)
