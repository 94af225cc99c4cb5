"""The recipes behind the embedded checkpoints: `python -m ebm_refine train RECIPE`; on CPU or GPU, resumable."""

import hashlib
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ebm_refine.card import model_card
from ebm_refine.checkpoints import Part, load_checkpoint, save_checkpoint
from ebm_refine.density_ratio import LogRatio, fit_calibration, ratio_report
from ebm_refine.errors import InputError
from ebm_refine.metrics.distances import frechet_distance
from ebm_refine.metrics.features import FeatureExtractor, features_for
from ebm_refine.networks.dcgan import DCGANDiscriminator, DCGANGenerator, initialise
from ebm_refine.networks.resnet import ResNetClassifier
from ebm_refine.parameters import Parameter, shorten
from ebm_refine.training.classifier import ClassifierRecipe, accuracy, train_classifier
from ebm_refine.training.data import load_images, to_unit
from ebm_refine.training.features import floors, reference_table
from ebm_refine.training.gan import (
    GANRecipe,
    train_discriminator_alone,
    train_gan,
)
from ebm_refine.training.run import Run, place

STEPS = Parameter("steps", "int", None, 1, 100_000_000)
SEED = Parameter("seed", "int", 0, 0, 2**32 - 1)


class Job(NamedTuple):
    """What a recipe gets: where the data is, how long to train (None: its own length), and where things go."""

    data: str | None
    steps: int | None
    seed: int
    device: str
    run: Run
    folder: Path


def train(
    recipe: str, *, data: str | None, model: str | None, steps: Any, seed: Any, device: str, runs: Path, out: Path, resume: bool
) -> Path:
    """Run a recipe to its finished checkpoint in `out/RECIPE`. Raises InputError for an unknown recipe or bad input."""
    if recipe not in RECIPES:
        raise InputError(f"recipe must be one of {', '.join(RECIPES)}; got {shorten(recipe)}")
    if model is not None:
        raise InputError(f"recipe {recipe!r} starts from no model; leave --model out (got {shorten(model)})")
    job = Job(data, STEPS.parse(steps), SEED.parse(seed), device, Run(runs / recipe, resume=resume), out / recipe)
    RECIPES[recipe](job)
    return job.folder


def cifar10_features(job: Job) -> None:
    """A residual classifier on the 45,000 training images; `steps` counts epochs."""
    arguments: dict[str, Any] = {"in_channels": 3, "widths": [56, 112, 112], "classes": 10}
    train_set, holdout = (load_images("cifar10", job.data, split) for split in ("train", "holdout"))
    test = load_images("cifar10", job.data, "test")
    recipe = ClassifierRecipe(epochs=job.steps or (14 if job.device == "cpu" else 60))
    network = ResNetClassifier(**arguments)
    measured = train_classifier(network, recipe, train_set, holdout, job.run, job.seed, job.device)
    place(network, "cpu", torch.contiguous_format)
    measured["test_accuracy"] = accuracy(network, test)
    config = {
        "kind": "features",
        "title": "CIFAR-10 ResNet features",
        "data": {"shape": [3, 32, 32], "range": [-1, 1], "dataset": "cifar10"},
        "accuracy": measured,
        "training": _record("cifar10-features", job, recipe.epochs, "epochs", train_set.pixels),
    }
    part = {"features": Part("resnet-classifier", arguments, network)}
    # The references are what the stored half-precision weights make of the images, so the checkpoint is read back first.
    save_checkpoint(job.folder, config, part, "")
    extractor = FeatureExtractor(load_checkpoint(job.folder))
    measured["test_accuracy_stored"] = accuracy(extractor.network, test)
    on_holdout = extractor(holdout.pixels)
    tables = {"reference-test": reference_table(extractor(test.pixels)), "reference-holdout": reference_table(on_holdout)}
    save_checkpoint(job.folder, config, part, "", tables)
    config["floors"] = floors(on_holdout, FeatureExtractor(load_checkpoint(job.folder)).references["test"])
    save_checkpoint(job.folder, config, part, model_card({**config, "name": "cifar10-features"}), tables)


def cifar10_dcgan(job: Job) -> None:
    """DCGAN with a spectrally normalised discriminator; then D alone against the averaged generator; then calibration.

    `steps` counts batches of 64. The best state by holdout distance ships.
    """
    on_cpu = job.device == "cpu"
    cpu = GANRecipe(steps=job.steps or 20_000, measure_every=500, alone_steps=3000, alone_every=300)
    wide = [256, 128, 64] if on_cpu else [512, 256, 128]
    _gan_pair(
        job,
        name="cifar10-dcgan",
        title="DCGAN on CIFAR-10",
        dataset="cifar10",
        shape=[3, 32, 32],
        generator=("dcgan-generator", {"latent": 100, "widths": wide, "channels": 3}),
        discriminator=("dcgan-discriminator", {"widths": wide[::-1], "channels": 3}),
        recipe=cpu if on_cpu else GANRecipe(steps=job.steps or 200_000, measure_every=2000, alone_every=1000),
        # Chosen on holdout among a few (1,200 images, one seed); rejection as published, with a budget a page can wait for.
        defaults={
            "method": "langevin",
            "ratio": "calibrated",
            "langevin": {"eps": 0.1, "n_steps": 10},
            "rejection": {"n_steps": 20, "gamma_percentile": 95.0},
        },
    )


RECIPES: dict[str, Callable[[Job], None]] = {"cifar10-features": cifar10_features, "cifar10-dcgan": cifar10_dcgan}


def _gan_pair(
    job: Job,
    *,
    name: str,
    title: str,
    dataset: str,
    shape: list[int],
    generator: tuple[str, dict[str, Any]],
    discriminator: tuple[str, dict[str, Any]],
    recipe: GANRecipe,
    defaults: dict[str, Any],
) -> None:
    extractor = features_for(dataset)
    train_set, holdout = (load_images(dataset, job.data, split).pixels for split in ("train", "holdout"))
    torch.manual_seed(job.seed)
    g, d = DCGANGenerator(**generator[1]), DCGANDiscriminator(**discriminator[1])
    initialise(g)
    initialise(d)

    def distance(network: DCGANGenerator) -> float:
        return frechet_distance(extractor(_samples(network, 2500, job.seed, job.device)), extractor.references["holdout"])

    best = train_gan(g, d, recipe, train_set, job.run, job.seed, job.device, distance)
    g.load_state_dict(best["generator"])
    d.load_state_dict(best["discriminator"])
    # One folder a generator: where the first phase went on and another state is best, D starts anew against that one.
    alone_run = Run(job.run.folder / f"alone-{best['step']}", resume=True)
    alone = train_discriminator_alone(g, d, recipe, train_set, holdout, alone_run, job.seed, job.device)
    for network in (g, d):
        place(network, "cpu", torch.contiguous_format)
        network.eval().requires_grad_(False)

    # One half of the holdout and of the fakes fits the calibration, the other half reports on it.
    half = len(holdout) // 2
    on_real = _logits(d, holdout)
    on_fake = _logits(d, _samples(g, len(holdout), job.seed + 1, "cpu"))
    calibration = fit_calibration(on_real[:half], on_fake[:half])
    scaled = LogRatio(nn.Identity(), **calibration)
    config = {
        "kind": "pair",
        "title": title,
        "prior": {"name": "normal", "dim": generator[1]["latent"]},
        "data": {"shape": shape, "range": [-1, 1], "dataset": dataset},
        "discriminator_output": "logit",
        "calibration": calibration,
        "defaults": defaults,
        "ratio_report": {
            "raw": ratio_report(on_real[half:], on_fake[half:]),
            "calibrated": ratio_report(scaled(on_real[half:]), scaled(on_fake[half:])),
        },
        "holdout_distance": {
            "value": best["distance"],
            "num_images": 2500,
            **extractor.describe(),
        },
        "training": {
            **_record(name, job, best["step"], f"batches of {recipe.batch_size}", train_set),
            "steps_run": recipe.steps,
            "alone": alone,
        },
    }
    parts = {"generator": Part(*generator, g), "discriminator": Part(*discriminator, d)}
    save_checkpoint(job.folder, config, parts, model_card({**config, "name": name}))


@torch.no_grad()
def _samples(generator: DCGANGenerator, count: int, seed: int, device: str) -> Tensor:
    source = torch.Generator().manual_seed(seed + 10_000)
    parts = []
    for size in [500] * (count // 500) + ([count % 500] if count % 500 else []):
        images = generator(torch.randn(size, generator.latent, generator=source).to(device)).float().cpu()
        parts.append(images.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8))
    return torch.cat(parts)


@torch.no_grad()
def _logits(discriminator: nn.Module, pixels: Tensor) -> Tensor:
    return torch.cat([discriminator(to_unit(part)) for part in pixels.split(500)])


def _record(recipe: str, job: Job, steps: int, unit: str, pixels: Tensor) -> dict[str, Any]:
    device = torch.cuda.get_device_name() if job.device.startswith("cuda") else f"CPU {platform.machine()}"
    return {
        "recipe": recipe,
        "steps": steps,
        "unit": unit,
        "seed": job.seed,
        "device": f"{device}, torch {torch.__version__}",
        "data": {"images": len(pixels), "sha256": hashlib.sha256(pixels.contiguous().numpy().tobytes()).hexdigest()},
        "date": time.strftime("%Y-%m-%d"),
    }
