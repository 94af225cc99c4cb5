"""The GANs whose discriminator is an autoencoder, as loaded models: which they are, what they keep of their training, and what
their D says of images. It is an energy, in the unit of its error and under this model only.
"""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from ebm_refine.models.checkpoint import Checkpoint
from ebm_refine.models.networks.autoencoder import AutoencoderDiscriminator

ARCHITECTURE = "autoencoder-discriminator"
# Tables of a checkpoint. Over training, at each of P steps, by name of CURVE, float32 (P,): means since the point before.
CURVES = "training-curves"
CURVE = ("step", "real", "fake", "control", "convergence", "cosine")
# D of up to 1,000 held-out real and as many generated images, float32 (N,).
ENERGIES = "holdout-energies"
REAL, GENERATED = "real", "generated"
UNITS = {
    "norm": "the norm of the difference over all pixels",
    "mean-square": "the mean square over pixels",
    "mean-absolute": "the mean absolute difference over pixels",
}
# What steers D's loss, by family.
CONTROLS = {"ebgan": "margin m", "ebgan-pt": "margin m", "began": "k", "magan": "margin m"}
BATCH = 64


class Seen(NamedTuple):
    """What an autoencoder makes of images (N, C, H, W): its reconstructions in [-1, 1], and D of each, (N,), at least 0."""

    reconstructed: Tensor
    energies: Tensor


def is_energy_gan(config: dict[str, Any]) -> bool:
    """Whether a model with this config is a pair whose discriminator is an autoencoder."""
    return config["parts"].get("discriminator", {}).get("architecture") == ARCHITECTURE


def family_of(config: dict[str, Any]) -> str:
    """One of CONTROLS, as the training record says; "ebgan" where it says none."""
    family = config.get("training", {}).get("settings", {}).get("family", "ebgan")
    return family if family in CONTROLS else "ebgan"


def unit_of(config: dict[str, Any]) -> str:
    """What D(x) is, in words."""
    return UNITS[config["parts"]["discriminator"]["arguments"].get("error", "norm")]


@torch.no_grad()
def seen(checkpoint: Checkpoint, images: Tensor) -> Seen:
    """Reconstruct images (N, C, H, W) in [-1, 1] with the model's own D, on the CPU, in eval mode."""
    network = cast(AutoencoderDiscriminator, checkpoint.prepared["discriminator"])
    made, energies = [], []
    for part in images.split(BATCH):
        made.append(network.reconstruct(part))
        energies.append(network.distance(part, made[-1]))
    return Seen(torch.cat(made), torch.cat(energies))


@torch.no_grad()
def codes(checkpoint: Checkpoint, images: Tensor) -> Tensor:
    """The encoder's codes (N, code) of images (N, C, H, W) in [-1, 1]."""
    network = cast(AutoencoderDiscriminator, checkpoint.prepared["discriminator"])
    return torch.cat([network.encode(part) for part in images.split(BATCH)])
