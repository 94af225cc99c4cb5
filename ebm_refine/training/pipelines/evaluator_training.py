"""From a trained network to a features checkpoint, with references of held-out real images and real-versus-real floors."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ebm_refine.data.images import load_extra_faces, load_images
from ebm_refine.metrics.distances import frechet_distance, kernel_distance, mean_kernel_of_others
from ebm_refine.metrics.features import FeatureExtractor, Reference
from ebm_refine.metrics.memorisation import INDEX, index_table
from ebm_refine.models.checkpoint import Part, load_checkpoint, save_checkpoint
from ebm_refine.models.model_card import model_card
from ebm_refine.models.networks.encoder import ContrastiveEncoder
from ebm_refine.models.networks.resnet import ResNetClassifier
from ebm_refine.training.algorithms.classifier import ClassifierRecipe, accuracy, train_classifier
from ebm_refine.training.algorithms.simclr import ContrastiveRecipe, train_encoder
from ebm_refine.training.common.duplicates import near_duplicates
from ebm_refine.training.common.job import Job, record
from ebm_refine.training.common.resumable import to_device

STORED = 5000
FLOOR_SIZES = (64, 256, 1000, 2000, 5000)
FLOOR_DRAWS = 10


class ClassifierFeatures(NamedTuple):
    """Features of a residual classifier of these arguments, which is trained on the training images for `algorithm.epochs`."""

    name: str
    title: str
    dataset: str
    shape: list[int]
    arguments: dict[str, Any]
    algorithm: ClassifierRecipe


class ContrastiveFeatures(NamedTuple):
    """Features of a contrastive encoder of these arguments; `steps` of its algorithm counts batches.

    It is trained on the further faces of `extra` alone. It has seen none of the faces that a pair is trained on, so that those
    are no nearer to one another than faces are, and none of the faces that measure: photos of `extra` that also lie among the
    aligned ones are left out. `floor_sizes` are the sizes at which real faces are measured against real ones.
    """

    name: str
    title: str
    dataset: str
    shape: list[int]
    arguments: dict[str, Any]
    algorithm: ContrastiveRecipe
    floor_sizes: tuple[int, ...]
    notes: tuple[str, ...]


def classifier_features(job: Job, recipe: ClassifierFeatures) -> None:
    """Train a classifier and save it with its references."""
    algorithm = recipe.algorithm if job.steps is None else recipe.algorithm._replace(epochs=job.steps)
    train_set, holdout, test = (load_images(recipe.dataset, job.data, split) for split in ("train", "holdout", "test"))
    network = ResNetClassifier(**recipe.arguments)
    measured = train_classifier(network, algorithm, train_set, holdout, job.run, job.seed, job.device)
    to_device(network, "cpu", torch.contiguous_format)
    measured["test_accuracy"] = accuracy(network, test)
    config = {
        "kind": "features",
        "title": recipe.title,
        "data": {"shape": recipe.shape, "range": [-1, 1], "dataset": recipe.dataset},
        "accuracy": measured,
        "training": record(recipe.name, job, algorithm.epochs, "epochs", train_set.pixels),
    }
    part = Part("resnet-classifier", recipe.arguments, network)

    def measure(extractor: FeatureExtractor) -> None:
        measured["test_accuracy_stored"] = accuracy(extractor.network, test)

    store_extractor(job, recipe.name, config, part, {"test": test.pixels, "holdout": holdout.pixels}, then=measure)


def contrastive_features(job: Job, recipe: ContrastiveFeatures) -> None:
    """Train an encoder on faces that are nobody's else and save it with its references and an index of training images."""
    algorithm = recipe.algorithm if job.steps is None else recipe.algorithm._replace(steps=job.steps)
    splits = {split: load_images(recipe.dataset, job.data, split).pixels for split in ("train", "holdout", "test")}
    faces = load_extra_faces(job.data)
    doubled = near_duplicates(faces, torch.cat(list(splits.values())))
    faces = faces[~doubled]
    torch.manual_seed(job.seed)
    encoder = ContrastiveEncoder(**recipe.arguments)
    measured = train_encoder(encoder, algorithm, faces, job.run, job.seed, job.device)
    config = {
        "kind": "features",
        "title": recipe.title,
        "data": {"shape": recipe.shape, "range": [-1, 1], "dataset": recipe.dataset},
        "training": {
            **record(recipe.name, job, algorithm.steps, f"batches of {algorithm.batch_size}", faces),
            "near_duplicates_left_out": int(doubled.sum()),
            "contrastive": measured,
        },
        "notes": list(recipe.notes),
    }

    def tables(extractor: FeatureExtractor) -> dict[str, dict[str, Tensor]]:
        return {INDEX: index_table(extractor(splits["train"]), extractor(splits["holdout"]))}

    reals = {split: splits[split] for split in ("test", "holdout")}
    part = Part("contrastive-encoder", recipe.arguments, encoder)
    store_extractor(job, recipe.name, config, part, reals, recipe.floor_sizes, tables)


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
