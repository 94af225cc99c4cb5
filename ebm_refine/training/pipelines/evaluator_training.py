"""From a trained network to a features checkpoint, with references of held-out real images and real-versus-real floors."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ebm_refine.data.images import load_images
from ebm_refine.metrics.distances import frechet_distance, kernel_distance, mean_kernel_of_others
from ebm_refine.metrics.features import FeatureExtractor, Reference
from ebm_refine.models.checkpoint import Part, load_checkpoint, save_checkpoint
from ebm_refine.models.model_card import model_card
from ebm_refine.models.networks.resnet import ResNetClassifier
from ebm_refine.training.algorithms.classifier import ClassifierRecipe, accuracy, train_classifier
from ebm_refine.training.common.job import Job, record
from ebm_refine.training.common.resumable import place

STORED = 5000
FLOOR_SIZES = (64, 256, 1000, 2000, 5000)
FLOOR_DRAWS = 10


def feature_extractor(
    job: Job, *, name: str, title: str, dataset: str, shape: list[int], arguments: dict[str, Any], recipe: ClassifierRecipe
) -> None:
    """Train a residual classifier on the training images and save it with its references; `recipe.epochs` is the length."""
    train_set, holdout, test = (load_images(dataset, job.data, split) for split in ("train", "holdout", "test"))
    network = ResNetClassifier(**arguments)
    measured = train_classifier(network, recipe, train_set, holdout, job.run, job.seed, job.device)
    place(network, "cpu", torch.contiguous_format)
    measured["test_accuracy"] = accuracy(network, test)
    config = {
        "kind": "features",
        "title": title,
        "data": {"shape": shape, "range": [-1, 1], "dataset": dataset},
        "accuracy": measured,
        "training": record(name, job, recipe.epochs, "epochs", train_set.pixels),
    }
    part = Part("resnet-classifier", arguments, network)

    def measure(extractor: FeatureExtractor) -> None:
        measured["test_accuracy_stored"] = accuracy(extractor.network, test)

    store_extractor(job, name, config, part, {"test": test.pixels, "holdout": holdout.pixels}, then=measure)


def store_extractor(
    job: Job,
    name: str,
    config: dict[str, Any],
    part: Part,
    reals: dict[str, Tensor],
    sizes: Sequence[int] = FLOOR_SIZES,
    tables: Callable[[FeatureExtractor], dict[str, dict[str, Tensor]]] = lambda extractor: {},
    then: Callable[[FeatureExtractor], None] = lambda extractor: None,
) -> None:
    """Save a features checkpoint with the references of `reals` (by split, uint8; "test" and "holdout") and its floors.

    References, `tables` and whatever `then` writes into `config` are of the stored half-precision weights, so the checkpoint is
    read back first. `sizes` are those of the floors, of subsets of the holdout against the test images.
    """
    save_checkpoint(job.folder, config, {"features": part}, "")
    extractor = FeatureExtractor(load_checkpoint(job.folder))
    then(extractor)
    features = {split: extractor(pixels) for split, pixels in reals.items()}
    stored = {f"reference-{split}": reference_table(rows) for split, rows in features.items()} | tables(extractor)
    save_checkpoint(job.folder, config, {"features": part}, "", stored)
    reference = FeatureExtractor(load_checkpoint(job.folder)).references["test"]
    config["floors"] = floors(features["holdout"], reference, sizes)
    save_checkpoint(job.folder, config, {"features": part}, model_card({**config, "name": name}), stored)


def reference_table(features: Tensor) -> dict[str, Tensor]:
    """The stored form of real images' features (N, d): the first 5,000 at half precision, moments of all."""
    stored = features[:STORED].half()
    return {
        "features": stored,
        "kernel_rows": mean_kernel_of_others(stored.float()),
        "mean": features.double().mean(0).float(),
        "covariance": torch.cov(features.double().T).float(),
        "images": torch.tensor(len(features)),
    }


def floors(real: Tensor, reference: Reference, sizes: Sequence[int] = FLOOR_SIZES, seed: int = 0) -> dict[str, Any]:
    """Distances of N real images (random subsets of `real` (M, d)) from other real images, the reference.

    What a perfect generator would score. By size: mean and sd over draws for both distances, without replacement.
    """
    source = torch.Generator().manual_seed(seed)
    table: dict[str, Any] = {}
    for size in (size for size in sizes if size <= len(real)):
        draws = FLOOR_DRAWS if size < len(real) else 1
        subsets = [real[torch.randperm(len(real), generator=source)[:size]] for _ in range(draws)]
        kernel = torch.tensor([kernel_distance(subset, reference).value for subset in subsets])
        frechet = torch.tensor([frechet_distance(subset, reference) for subset in subsets])
        table[str(size)] = {
            "draws": draws,
            "kernel_mean": float(kernel.mean()),
            "kernel_sd": float(kernel.std()) if draws > 1 else None,
            "frechet_mean": float(frechet.mean()),
            "frechet_sd": float(frechet.std()) if draws > 1 else None,
        }
    return table
