"""From a class-conditional recipe to a finished pair: train, train D alone, calibrate, report, save."""

from typing import Any

import torch
from torch import Tensor

from ebm_refine.data.images import load_images
from ebm_refine.metrics.distances import frechet_distance
from ebm_refine.metrics.features import features_for
from ebm_refine.models.networks.conditional_resnet import ConditionalResNetGenerator, ProjectionResNetDiscriminator
from ebm_refine.training.algorithms.conditional_gan import (
    AloneRecipe,
    ConditionalGANRecipe,
    fake_batch,
    initialise,
    train_conditional_gan,
)
from ebm_refine.training.algorithms.gan import narrow
from ebm_refine.training.common.job import Job

MEASURED_IMAGES = 2500


def conditional_pair(
    job: Job,
    *,
    name: str,
    title: str,
    dataset: str,
    shape: list[int],
    generator: dict[str, Any],
    discriminator: dict[str, Any],
    recipe: ConditionalGANRecipe,
    alone: AloneRecipe,
) -> None:
    """Train a pair by `recipe` and write its checkpoint to `job.folder`.

    `generator` and `discriminator` are the arguments of the networks. The generator that ships is the average at its lowest
    holdout distance; D is trained on alone against it.
    """
    extractor = features_for(dataset)
    train = load_images(dataset, job.data, "train")
    torch.manual_seed(job.seed)
    g, d = ConditionalResNetGenerator(**generator), ProjectionResNetDiscriminator(**discriminator)
    initialise(g)
    initialise(d)

    def distance(network: Any) -> float:
        samples = conditional_samples(network, MEASURED_IMAGES, job.seed, job.device)
        return frechet_distance(extractor(samples), extractor.references["holdout"])

    train_conditional_gan(g, d, recipe, train, job.run, job.seed, job.device, distance)


@torch.no_grad()
def conditional_samples(generator: Any, count: int, seed: int, device: str = "cpu") -> Tensor:
    """Samples (count, C, H, W) uint8, on the CPU, of latents and uniform labels that depend on the seed alone."""
    source = torch.Generator().manual_seed(seed + 10_000)
    parts = []
    for start in range(0, count, 500):
        with narrow(device):
            images = fake_batch(generator, min(500, count - start), device, source).images.float().cpu()
        parts.append(images.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8))
    return torch.cat(parts)
