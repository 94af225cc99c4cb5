"""The CIFAR-10 recipes: feature extractor and GAN pairs."""

from ebm_refine.catalogue import load
from ebm_refine.training.algorithms.classifier import ClassifierRecipe
from ebm_refine.training.algorithms.conditional_gan import AloneRecipe, ConditionalGANRecipe
from ebm_refine.training.algorithms.gan import GANRecipe
from ebm_refine.training.algorithms.wgan import WGANRecipe
from ebm_refine.training.common.augment import Augmentation
from ebm_refine.training.common.job import Job
from ebm_refine.training.pipelines.conditional_pair import conditional_pair
from ebm_refine.training.pipelines.evaluator_training import feature_extractor
from ebm_refine.training.pipelines.gan_pair import gan_pair


def cifar10_features(job: Job) -> None:
    """A residual classifier on the 45,000 training images; `steps` counts epochs."""
    feature_extractor(
        job,
        name="cifar10-features",
        title="CIFAR-10 ResNet features",
        dataset="cifar10",
        shape=[3, 32, 32],
        arguments={"in_channels": 3, "widths": [56, 112, 112], "classes": 10},
        recipe=ClassifierRecipe(epochs=job.steps or (14 if job.device == "cpu" else 60)),
    )


def cifar10_cgan(job: Job) -> None:
    """A class-conditional pair that begins with the weights of `cifar10-dcgan`; then D alone; then calibration.

    `steps` counts batches of 64. Residual networks (`conditional-resnet-generator`, `projection-resnet-discriminator`) cost
    four times as much an image, and theirs did not learn in 1,000 batches with the hinge loss.
    """
    conditional_pair(
        job,
        name="cifar10-cgan",
        title="Class-conditional GAN on CIFAR-10",
        dataset="cifar10",
        shape=[3, 32, 32],
        label_names=["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"],
        generator=("conditional-dcgan-generator", {"latent": 100, "widths": [256, 128, 64], "channels": 3, "classes": 10}),
        discriminator=("projection-dcgan-discriminator", {"widths": [64, 128, 256], "channels": 3, "classes": 10}),
        recipe=ConditionalGANRecipe(
            steps=job.steps or 30_000,
            d_steps=1,
            loss="cross-entropy",
            betas=(0.5, 0.999),
            augmentation=Augmentation(mirror=True, shift=0.125, cutout=0.5),
            measure_every=1000,
            save_every=100,
        ),
        alone=AloneRecipe(steps=6000, rate=5e-4, patience=10),
        defaults={"method": "elliptical-slice", "ratio": "calibrated", "elliptical-slice": {"n_steps": 25}},
        begins_at=load("cifar10-dcgan"),
    )


def cifar10_dcgan(job: Job) -> None:
    """DCGAN with a spectrally normalised discriminator; then D alone against the averaged generator; then calibration.

    `steps` counts batches of 64. The best state by holdout distance ships.
    """
    on_cpu = job.device == "cpu"
    cpu = GANRecipe(steps=job.steps or 20_000, rate_g=1e-4, measure_every=500, alone_steps=4200, alone_every=300)
    wide = [256, 128, 64] if on_cpu else [512, 256, 128]
    gan_pair(
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
            "langevin": {"eps": 0.4, "n_steps": 10},
            "rejection": {"n_steps": 20, "gamma_percentile": 95.0},
        },
    )


def cifar10_wgan_gp(job: Job) -> None:
    """WGAN-GP with networks of DCGAN shape; then the critic alone against the averaged generator; then calibration.

    `steps` counts updates of the generator, on batches of 64. On a GPU as published: 5 critic steps for each, both rates 1e-4.
    A CPU does a few steps a second, and has no time for that. There the pair begins as `cifar10-dcgan`, critic and all, and 3
    critic steps run at thrice the generator's rate (two time scales: Heusel et al. 2017, arXiv 1706.08500).
    """
    on_cpu = job.device == "cpu"
    cpu = WGANRecipe(
        steps=job.steps or 1_000,
        critic_steps=3,
        rate_d=3e-4,
        average_decay=0.995,
        measure_every=100,
        alone_steps=450,
        alone_every=150,
    )
    wide = [256, 128, 64] if on_cpu else [512, 256, 128]
    gan_pair(
        job,
        name="cifar10-wgan-gp",
        title="WGAN-GP on CIFAR-10",
        dataset="cifar10",
        shape=[3, 32, 32],
        generator=("dcgan-generator", {"latent": 100, "widths": wide, "channels": 3}),
        discriminator=("dcgan-discriminator", {"widths": wide[::-1], "channels": 3}),
        recipe=cpu if on_cpu else WGANRecipe(steps=job.steps or 100_000, measure_every=2000),
        defaults={"method": "langevin", "ratio": "calibrated", "langevin": {"eps": 0.1, "n_steps": 10}},
        begins_at=load("cifar10-dcgan") if on_cpu else None,
    )
