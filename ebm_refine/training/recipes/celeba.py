"""The CelebA recipes: a feature extractor without labels, and a GAN pair."""

from typing import Any

import torch
from torch import Tensor

from ebm_refine.data.images import load_extra_faces, load_images
from ebm_refine.metrics.features import FeatureExtractor
from ebm_refine.metrics.memorisation import INDEX, index_table
from ebm_refine.models.checkpoint import Part
from ebm_refine.models.networks.encoder import ContrastiveEncoder
from ebm_refine.training.algorithms.gan import GANRecipe
from ebm_refine.training.algorithms.simclr import ContrastiveRecipe, train_encoder
from ebm_refine.training.common.duplicates import near_duplicates
from ebm_refine.training.common.job import Job, record
from ebm_refine.training.pipelines.evaluator_training import store_extractor
from ebm_refine.training.pipelines.gan_pair import gan_pair

LICENCE_NOTE = "CelebA is for non-commercial research only, and so are these weights."
# Of the 900 held-out faces; 32 is the size of the published experiment, 640 ten times the feature dimension.
FLOOR_SIZES = (32, 64, 256, 640, 900)


def celeba_features(job: Job) -> None:
    """A contrastive encoder of faces, trained on the further faces of `extra` alone; `steps` counts batches of 128.

    It has seen none of the faces that a pair is trained on, so that those are no nearer to one another than faces are, and
    none of the faces that measure: photos of `extra` that also lie among the aligned ones are left out.
    """
    splits = {split: load_images("celeba", job.data, split).pixels for split in ("train", "holdout", "test")}
    faces = load_extra_faces(job.data)
    doubled = near_duplicates(faces, torch.cat(list(splits.values())))
    faces = faces[~doubled]
    arguments: dict[str, Any] = {
        "in_channels": 3,
        "widths": [32, 48, 64, 96, 64] if job.device == "cpu" else [32, 64, 96, 128, 64],
    }
    torch.manual_seed(job.seed)
    encoder = ContrastiveEncoder(**arguments)
    recipe = ContrastiveRecipe(steps=job.steps or (1000 if job.device == "cpu" else 10_000))
    measured = train_encoder(encoder, recipe, faces, job.run, job.seed, job.device)
    config = {
        "kind": "features",
        "title": "CelebA contrastive features",
        "data": {"shape": [3, 64, 64], "range": [-1, 1], "dataset": "celeba"},
        "training": {
            **record("celeba-features", job, recipe.steps, f"batches of {recipe.batch_size}", faces),
            "near_duplicates_left_out": int(doubled.sum()),
            "contrastive": measured,
        },
        "notes": [LICENCE_NOTE],
    }

    def tables(extractor: FeatureExtractor) -> dict[str, dict[str, Tensor]]:
        return {INDEX: index_table(extractor(splits["train"]), extractor(splits["holdout"]))}

    reals = {split: splits[split] for split in ("test", "holdout")}
    part = Part("contrastive-encoder", arguments, encoder)
    store_extractor(job, "celeba-features", config, part, reals, FLOOR_SIZES, tables)


def celeba_dcgan(job: Job) -> None:
    """DCGAN of 64x64 faces with a spectrally normalised discriminator; then D alone; then calibration.

    `steps` counts batches, of 64, on a CPU of 32: widths, length and batch are what an hour of a shared core allows.
    """
    on_cpu = job.device == "cpu"
    cpu = GANRecipe(
        steps=job.steps or 12_000,
        batch_size=32,
        rate_d=4e-4,
        average_decay=0.999,
        measure_every=1000,
        alone_steps=2400,
        alone_every=200,
        alone_patience=5,
    )
    wide = [160, 128, 64, 32] if on_cpu else [384, 192, 96, 48]
    gan_pair(
        job,
        name="celeba-dcgan",
        title="DCGAN on CelebA",
        dataset="celeba",
        shape=[3, 64, 64],
        generator=("dcgan-generator", {"latent": 100, "widths": wide, "channels": 3}),
        discriminator=("dcgan-discriminator", {"widths": wide[::-1], "channels": 3}),
        recipe=cpu if on_cpu else GANRecipe(steps=job.steps or 60_000, measure_every=1000, alone_every=250),
        defaults={"method": "langevin", "ratio": "calibrated", "langevin": {"eps": 0.1, "n_steps": 20}},
        notes=[LICENCE_NOTE],
    )
