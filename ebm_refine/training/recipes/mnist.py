"""The MNIST recipes: feature extractor, energies, GAN pairs, a GAN with an energy, and a deep belief network."""

from typing import Any

from ebm_refine.training.algorithms.classifier import ClassifierRecipe
from ebm_refine.training.algorithms.conditional_gan import ConditionalGANRecipe
from ebm_refine.training.algorithms.contrastive_divergence import EnergyRecipe
from ebm_refine.training.algorithms.discriminator_alone import AloneRecipe
from ebm_refine.training.algorithms.gan import GANRecipe
from ebm_refine.training.algorithms.rbm_learning import RBMRecipe
from ebm_refine.training.common.augment import Augmentation
from ebm_refine.training.pipelines.belief_net import BeliefNet
from ebm_refine.training.pipelines.conditional_pair import ConditionalPair
from ebm_refine.training.pipelines.energy_training import ImageEnergy
from ebm_refine.training.pipelines.evaluator_training import ClassifierFeatures
from ebm_refine.training.pipelines.gan_pair import GANPair
from ebm_refine.training.pipelines.joint_model import JointModel
from ebm_refine.training.recipes.by_device import ByDevice

DATA: dict[str, Any] = {"dataset": "mnist", "shape": [1, 28, 28]}
LATENT = 64
# The generator of every pair of digits, by device.
GENERATOR = ByDevice(
    gpu=("dcgan-generator", {"latent": LATENT, "widths": [128, 64], "channels": 1, "stem_side": 7}),
    cpu=("dcgan-generator", {"latent": LATENT, "widths": [64, 32], "channels": 1, "stem_side": 7}),
)
DISCRIMINATOR = ByDevice(
    gpu=("dcgan-discriminator", {"widths": [64, 128], "channels": 1, "head_kernel": 7}),
    cpu=("dcgan-discriminator", {"widths": [32, 64], "channels": 1, "head_kernel": 7}),
)
DEFAULTS: dict[str, Any] = {"method": "langevin", "ratio": "calibrated", "langevin": {"eps": 0.1, "n_steps": 20}}
# Digits are neither mirrored nor shifted, but for the classifier, which may see them shifted.
PLAIN = Augmentation()

_FEATURES = ClassifierFeatures(
    name="mnist-features",
    title="MNIST ResNet features",
    **DATA,
    arguments={"in_channels": 1, "widths": [16, 32, 64], "classes": 10},
    algorithm=ClassifierRecipe(epochs=30, flip=False),
)
MNIST_FEATURES = ByDevice(gpu=_FEATURES, cpu=_FEATURES._replace(algorithm=ClassifierRecipe(epochs=6, flip=False)))

# The common convolutional energy, by contrastive divergence with a replay buffer. On a GPU with the published settings. Two
# cores would take a day for as many epochs: there the rate is ten times higher and falls over the run, and a smaller buffer
# lets each chain grow as old as it would have. The joint energy of digits and labels has shorter chains there too.
_ENERGY_CNN: dict[str, Any] = {"widths": [16, 32, 64, 64], "channels": 1, "side": 28}
_ON_CPU: dict[str, Any] = {"batch_size": 64, "rate": 1e-3, "buffer": 1024}
_EBM = ImageEnergy(
    name="mnist-ebm",
    title="Deep energy of MNIST digits",
    **DATA,
    architecture="energy-cnn",
    arguments=_ENERGY_CNN,
    algorithm=EnergyRecipe(epochs=60, average_decay=0.999),
    falls_to=None,
    measure_every=2,
    draw_steps=256,
)
_EBM_ON_CPU = EnergyRecipe(epochs=14, average_decay=0.999, bf16_chains=True, **_ON_CPU)
MNIST_EBM = ByDevice(gpu=_EBM, cpu=_EBM._replace(algorithm=_EBM_ON_CPU, falls_to=0.05))

# A classifier that is an energy too: E(x, y) = -f(x)[y], E(x) = -logsumexp f(x).
_JEM = _EBM._replace(
    name="mnist-jem",
    title="Joint energy of MNIST digits and labels",
    arguments={**_ENERGY_CNN, "classes": 10},
    measure_every=1,
    with_labels=True,
    notes=("E(x, y) is minus the logit of class y, and E(x) = -logsumexp of the logits; `logits` gives them.",),
)
MNIST_JEM = ByDevice(gpu=_JEM, cpu=_JEM._replace(algorithm=EnergyRecipe(epochs=6, chain_steps=20, **_ON_CPU), falls_to=0.05))

# A small DCGAN of 28x28 digits, vanilla and non-saturating; then D alone, then calibration.
_GAN = GANPair(
    name="mnist-gan",
    title="DCGAN on MNIST",
    **DATA,
    generator=GENERATOR.gpu,
    discriminator=DISCRIMINATOR.gpu,
    algorithm=GANRecipe(60_000, augmentation=PLAIN, measure_every=2000),
    defaults=DEFAULTS,
)
MNIST_GAN = ByDevice(
    gpu=_GAN,
    cpu=_GAN._replace(
        generator=GENERATOR.cpu,
        discriminator=DISCRIMINATOR.cpu,
        algorithm=GANRecipe(6000, augmentation=PLAIN, measure_every=500, alone_steps=3000, alone_every=250),
    ),
)

MNIST_CGAN = ConditionalPair(
    name="mnist-cgan",
    title="Class-conditional residual GAN on MNIST",
    **DATA,
    label_names=[str(digit) for digit in range(10)],
    generator=(
        "conditional-resnet-generator",
        {"latent": LATENT, "widths": [64, 32, 16], "channels": 1, "classes": 10, "stem_side": 7},
    ),
    discriminator=("projection-resnet-discriminator", {"widths": [32, 64], "channels": 1, "classes": 10}),
    algorithm=ConditionalGANRecipe(steps=5000, d_steps=1, average_decays=(0.99, 0.999), augmentation=PLAIN, save_every=100),
    alone=AloneRecipe(steps=3000, augmentation=PLAIN),
    defaults=DEFAULTS,
)

# The same GAN for the same number of batches, with an energy whose chains of K = 20 steps revise its digits. alpha is 1: G(z)
# is easily separated from digits, which drives energies to 1 / (2 alpha) on either side. At the 0.1 of an energy alone they
# reach 5, gradients are clipped everywhere, and chains of step 10 leap about instead of descending: tried here, they made the
# digits worse.
_GAN_EBM = JointModel(
    name="mnist-gan-ebm",
    title="DCGAN with an energy on MNIST",
    **DATA,
    generator=GENERATOR.gpu,
    discriminator=DISCRIMINATOR.gpu,
    energy=("energy-cnn", _ENERGY_CNN),
    algorithm=MNIST_GAN.gpu.algorithm,
    chains=EnergyRecipe(epochs=1, alpha=1.0),
)
MNIST_GAN_EBM = ByDevice(
    gpu=_GAN_EBM,
    cpu=_GAN_EBM._replace(
        generator=GENERATOR.cpu,
        discriminator=DISCRIMINATOR.cpu,
        algorithm=MNIST_GAN.cpu.algorithm,
        chains=EnergyRecipe(epochs=1, rate=1e-3, alpha=1.0, chain_steps=20),
    ),
)

# Two machines, each learned in turn. The top machine has no units for the labels: what is learned owes nothing to them, so that
# a classifier that begins in these weights can be set against one that does not, and digits are drawn without labels.
MNIST_DBN = BeliefNet(
    name="mnist-dbn",
    title="Deep belief network of MNIST digits",
    **DATA,
    sizes=(28 * 28, 256, 512),
    algorithms=(
        RBMRecipe(10, rate=0.05, momentum=0.5, gibbs=1),
        RBMRecipe(20, rate=0.05, steady=0.2, momentum=0.0, gibbs=1, chains=100, life=100, warm=30),
    ),
    chain_steps=75,
    measure_every=5,
    notes=(
        "Grey digits become bits anew every time they are seen: a pixel is 1 with the probability of its grey level.",
        "The energy is the free energy of the top machine's visible bits, which lie one layer above the pixels. An image "
        "is the mean of the pixels given these bits, which one pass down gives exactly; no pixel is drawn.",
        "The top machine has no units for the labels.",
        "The top machine learned from chains of 30 to 130 steps from random bits, so its digits are those of chains of "
        "about that length. Chains of several hundred steps crowd into few classes: the stationary law has other proportions.",
    ),
)

RECIPES = (MNIST_FEATURES, MNIST_EBM, MNIST_JEM, MNIST_CGAN, MNIST_GAN, MNIST_GAN_EBM, MNIST_DBN)
