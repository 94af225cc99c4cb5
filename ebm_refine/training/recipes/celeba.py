"""The CelebA recipes: a feature extractor without labels, and a GAN pair."""

from ebm_refine.training.algorithms.gan import GANRecipe
from ebm_refine.training.algorithms.simclr import ContrastiveRecipe
from ebm_refine.training.common.augment import Augmentation
from ebm_refine.training.pipelines.evaluator_training import ContrastiveFeatures
from ebm_refine.training.pipelines.gan_pair import GANPair
from ebm_refine.training.recipes.by_device import ByDevice

LICENCE_NOTE = "CelebA is for non-commercial research only, and so are these weights."

_FEATURES = ContrastiveFeatures(
    name="celeba-features",
    title="CelebA contrastive features",
    dataset="celeba",
    shape=[3, 64, 64],
    arguments={"in_channels": 3, "widths": [32, 64, 96, 128, 64]},
    algorithm=ContrastiveRecipe(steps=10_000),
    # Of the 900 held-out faces; 32 is the size of the published experiment, 640 ten times the feature dimension.
    floor_sizes=(32, 64, 256, 640, 900),
    notes=(LICENCE_NOTE,),
)
CELEBA_FEATURES = ByDevice(
    gpu=_FEATURES,
    cpu=_FEATURES._replace(
        arguments={"in_channels": 3, "widths": [32, 48, 64, 96, 64]}, algorithm=ContrastiveRecipe(steps=1000)
    ),
)

# DCGAN of 64x64 faces with a spectrally normalised discriminator; then D alone; then calibration. On a CPU widths and length
# are what two and a half hours of two cores allow; the first 15,000 steps were a training of their own (average decay 0.999),
# and the restart goes on from its state. Of DiffAugment it has shift and cutout; colours leaked into the faces.
_DCGAN = GANPair(
    name="celeba-dcgan",
    title="DCGAN on CelebA",
    dataset="celeba",
    shape=[3, 64, 64],
    generator=("dcgan-generator", {"latent": 100, "widths": [384, 192, 96, 48], "channels": 3}),
    discriminator=("dcgan-discriminator", {"widths": [48, 96, 192, 384], "channels": 3}),
    algorithm=GANRecipe(steps=60_000, measure_every=1000, alone_every=250),
    defaults={"method": "langevin", "ratio": "calibrated", "langevin": {"eps": 0.1, "n_steps": 20}},
    notes=(LICENCE_NOTE,),
)
CELEBA_DCGAN = ByDevice(
    gpu=_DCGAN,
    cpu=_DCGAN._replace(
        generator=("dcgan-generator", {"latent": 100, "widths": [160, 128, 96, 64], "channels": 3}),
        discriminator=("dcgan-discriminator", {"widths": [64, 96, 128, 160], "channels": 3}),
        algorithm=GANRecipe(
            steps=25_000,
            restart_at=15_000,
            rate_d=4e-4,
            falling_share=0.5,
            average_decay=0.9995,
            augmentation=Augmentation(mirror=True, shift=0.125, cutout=0.25),
            measure_every=1000,
            alone_steps=2400,
            alone_every=200,
            alone_patience=5,
        ),
        chosen_by_panel=True,
    ),
)

RECIPES = (CELEBA_FEATURES, CELEBA_DCGAN)
