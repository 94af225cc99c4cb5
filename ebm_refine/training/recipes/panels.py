"""The recipes of the evidence panels: small encoders of several kinds, each trained on training images alone, then frozen."""

from ebm_refine.training.pipelines.panel_training import EvidencePanel
from ebm_refine.training.recipes.celeba import LICENCE_NOTE

CIFAR10_PANEL = EvidencePanel(
    name="cifar10-panel",
    title="CIFAR-10 evidence panel",
    dataset="cifar10",
    shape=[3, 32, 32],
    arguments={"channels": 3, "side": 32, "contrastive": [24, 40, 56, 72, 64], "autoencoder": [24, 48, 64], "code": 64},
    steps=(2000, 2000),
    base="cifar10-dcgan",
)
MNIST_PANEL = EvidencePanel(
    name="mnist-panel",
    title="MNIST evidence panel",
    dataset="mnist",
    shape=[1, 28, 28],
    arguments={"channels": 1, "side": 28, "contrastive": [16, 24, 32, 48, 64], "autoencoder": [16, 32], "code": 32},
    steps=(1500, 1500),
    base="mnist-gan",
)
# An autoencoder; the contrastive kind is `celeba-features`. There are only 900 held-out faces, so the right to vote is tested
# on training faces, which no encoder but this one has seen.
CELEBA_PANEL = EvidencePanel(
    name="celeba-panel",
    title="CelebA evidence panel",
    dataset="celeba",
    shape=[3, 64, 64],
    arguments={"channels": 3, "side": 64, "contrastive": [], "autoencoder": [16, 32, 48, 64], "code": 64},
    steps=(0, 1000),
    base="celeba-dcgan",
    tested="train",
    notes=(LICENCE_NOTE,),
)

RECIPES = (CIFAR10_PANEL, MNIST_PANEL, CELEBA_PANEL)
