"""The MNIST recipes: feature extractor, energies, a GAN pair, a GAN with an energy, and a deep belief network."""

from typing import Any

from ebm_refine.training.algorithms.classifier import ClassifierRecipe
from ebm_refine.training.algorithms.conditional_gan import AloneRecipe, ConditionalGANRecipe
from ebm_refine.training.algorithms.contrastive_divergence import EnergyRecipe
from ebm_refine.training.algorithms.dbn_learning import belief_net
from ebm_refine.training.algorithms.gan import GANRecipe
from ebm_refine.training.algorithms.joint import joint_model
from ebm_refine.training.algorithms.rbm_learning import RBMRecipe
from ebm_refine.training.common.augment import Augmentation
from ebm_refine.training.common.job import Job
from ebm_refine.training.pipelines.conditional_pair import conditional_pair
from ebm_refine.training.pipelines.energy_training import energy_model
from ebm_refine.training.pipelines.evaluator_training import feature_extractor
from ebm_refine.training.pipelines.gan_pair import gan_pair

DATA: dict[str, Any] = {"dataset": "mnist", "shape": [1, 28, 28]}
LATENT = 64
# Over a short run on a CPU the rate falls to this share of its start.
FALL = 0.05


def mnist_features(job: Job) -> None:
    """A residual classifier on the 54,000 training digits, which are shifted and never mirrored; `steps` counts epochs."""
    feature_extractor(
        job,
        name="mnist-features",
        title="MNIST ResNet features",
        **DATA,
        arguments={"in_channels": 1, "widths": [16, 32, 64], "classes": 10},
        recipe=ClassifierRecipe(epochs=job.steps or (6 if job.device == "cpu" else 30), flip=False),
    )


def mnist_ebm(job: Job) -> None:
    """The common convolutional energy, by contrastive divergence with a replay buffer; `steps` counts epochs.

    On a GPU with the published settings. Two cores would take hours for as many epochs: there the rate is ten times
    higher and falls ten times faster, chains are shorter, and a smaller buffer lets each grow as old as it would have.
    """
    energy_model(
        job,
        name="mnist-ebm",
        title="Deep energy of MNIST digits",
        **DATA,
        architecture="energy-cnn",
        arguments={"widths": [16, 32, 64, 64], "channels": 1, "side": 28},
        recipe=_energy_recipe(job, epochs_on_cpu=10),
        measure_every=2,
        draw_steps=256,
        with_labels=False,
        notes=[],
    )


def mnist_jem(job: Job) -> None:
    """A classifier that is an energy too: E(x, y) = -f(x)[y], E(x) = -logsumexp f(x); `steps` counts epochs."""
    energy_model(
        job,
        name="mnist-jem",
        title="Joint energy of MNIST digits and labels",
        **DATA,
        architecture="energy-cnn",
        arguments={"widths": [16, 32, 64, 64], "channels": 1, "side": 28, "classes": 10},
        recipe=_energy_recipe(job, epochs_on_cpu=6),
        measure_every=1,
        draw_steps=256,
        with_labels=True,
        notes=["E(x, y) is minus the logit of class y, and E(x) = -logsumexp of the logits; `logits` gives them."],
    )


def mnist_gan(job: Job) -> None:
    """A small DCGAN of 28x28 digits, vanilla and non-saturating; then D alone, then calibration; `steps` counts batches."""
    recipe = _gan_recipe(job)
    gan_pair(
        job,
        name="mnist-gan",
        title="DCGAN on MNIST",
        **DATA,
        generator=generator(job),
        discriminator=_discriminator(job),
        recipe=recipe,
        defaults={"method": "langevin", "ratio": "calibrated", "langevin": {"eps": 0.1, "n_steps": 20}},
    )


def mnist_cgan(job: Job) -> None:
    """A small class-conditional residual pair of digits, which are neither mirrored nor shifted; `steps` counts batches."""
    none = Augmentation()
    conditional_pair(
        job,
        name="mnist-cgan",
        title="Class-conditional residual GAN on MNIST",
        **DATA,
        label_names=[str(digit) for digit in range(10)],
        generator=(
            "conditional-resnet-generator",
            {"latent": LATENT, "widths": [64, 32, 16], "channels": 1, "classes": 10, "stem_side": 7},
        ),
        discriminator=("projection-resnet-discriminator", {"widths": [32, 64], "channels": 1, "classes": 10}),
        recipe=ConditionalGANRecipe(
            steps=job.steps or 5000, d_steps=1, average_decays=(0.99, 0.999), augmentation=none, save_every=100
        ),
        alone=AloneRecipe(steps=3000, augmentation=none),
        defaults={"method": "langevin", "ratio": "calibrated", "langevin": {"eps": 0.1, "n_steps": 20}},
    )


def mnist_gan_ebm(job: Job) -> None:
    """The same GAN for the same number of batches, with an energy whose chains of K = 20 steps revise its digits."""
    joint_model(
        job,
        name="mnist-gan-ebm",
        title="DCGAN with an energy on MNIST",
        **DATA,
        generator=generator(job),
        discriminator=_discriminator(job),
        energy=("energy-cnn", {"widths": [16, 32, 64, 64], "channels": 1, "side": 28}),
        recipe=_gan_recipe(job),
        chains=_joint_chains(job),
    )


def mnist_dbn(job: Job) -> None:
    """A deep belief network of two machines, each learned in turn; `steps` counts the epochs of each.

    The top machine has no units for the labels: what is learned owes nothing to them, so that a classifier that begins in
    these weights can be set against one that does not, and digits are drawn without being told which.
    """
    below, top = job.steps or 10, job.steps or 20
    belief_net(
        job,
        name="mnist-dbn",
        title="Deep belief network of MNIST digits",
        **DATA,
        sizes=[28 * 28, 256, 512],
        recipes=[
            RBMRecipe(below, rate=0.05, momentum=0.5, gibbs=1),
            RBMRecipe(top, rate=0.05, steady=0.2, momentum=0.0, gibbs=1, chains=100, life=100, warm=30),
        ],
        chain_steps=75,
        measure_every=5,
        notes=[
            "Grey digits become bits anew every time they are seen: a pixel is 1 with the probability of its grey level.",
            "The energy is the free energy of the top machine's visible bits, which lie one layer above the pixels. An image "
            "is the mean of the pixels given these bits, which one pass down gives exactly; no pixel is drawn.",
            "The top machine has no units for the labels.",
            "The top machine learned from chains of 30 to 130 steps from a coin's tosses, so its digits are those of chains of "
            "about that age. Chains of several hundred steps crowd into few classes: the law at rest has other proportions.",
        ],
    )


def _energy_recipe(job: Job, epochs_on_cpu: int) -> EnergyRecipe:
    if job.device != "cpu":
        return EnergyRecipe(epochs=job.steps or 60)
    epochs = job.steps or epochs_on_cpu
    falling = FALL ** (1 / epochs)
    return EnergyRecipe(epochs, batch_size=64, rate=1e-3, decay=falling, chain_steps=20, buffer=1024, told_every=100)


def _joint_chains(job: Job) -> EnergyRecipe:
    """alpha is 1: G(z) is told from digits without effort, which drives energies to 1 / (2 alpha) on either side.

    At the 0.1 of an energy alone they reach 5, gradients are clipped everywhere, and chains of step 10 leap about instead of
    descending: tried here, they made the digits worse.
    """
    if job.device != "cpu":
        return EnergyRecipe(epochs=1, alpha=1.0)
    return EnergyRecipe(epochs=1, rate=1e-3, alpha=1.0, chain_steps=20)


def _gan_recipe(job: Job) -> GANRecipe:
    """Digits are neither mirrored nor shifted."""
    if job.device == "cpu":
        return GANRecipe(job.steps or 6000, augmentation=Augmentation(), measure_every=500, alone_steps=3000, alone_every=250)
    return GANRecipe(job.steps or 60_000, augmentation=Augmentation(), measure_every=2000)


def _widths(job: Job) -> list[int]:
    return [64, 32] if job.device == "cpu" else [128, 64]


def generator(job: Job) -> tuple[str, dict[str, Any]]:
    """The generator of every pair here: its architecture and arguments."""
    return "dcgan-generator", {"latent": LATENT, "widths": _widths(job), "channels": 1, "stem_side": 7}


def _discriminator(job: Job) -> tuple[str, dict[str, Any]]:
    return "dcgan-discriminator", {"widths": _widths(job)[::-1], "channels": 1, "head_kernel": 7}
