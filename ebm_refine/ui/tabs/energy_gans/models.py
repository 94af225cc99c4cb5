"""Which pairs have an autoencoder for a discriminator, how they are called here, and what their D makes of images."""

from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from ebm_refine import render
from ebm_refine.catalogue import ModelInfo
from ebm_refine.energies import autoencoder_gan as energy_gans
from ebm_refine.energies.autoencoder_gan import ENERGIES, REAL
from ebm_refine.errors import InputError
from ebm_refine.models.checkpoint import Checkpoint
from ebm_refine.models.kinds import law_of
from ebm_refine.parameters import Parameter, shorten
from ebm_refine.pipeline import refine
from ebm_refine.settings import COMMON
from ebm_refine.tasks import ood_detection as detection
from ebm_refine.ui.runtime.model_cache import cached_model, known_models

# Generated digits that are reconstructed beside the visitor's own.
MOST_GENERATED = 16
COUNT = Parameter("num_generated", "int", 8, 1, MOST_GENERATED, help="generated digits that D reconstructs as well")
SEED = next(row for row in COMMON if row.name == "seed")


class Reconstructed(NamedTuple):
    """Images (N, 1, H, W) in [-1, 1], first `given` of a visitor's, then the model's own, and what D makes of them.

    `picture` shows each above its reconstruction. `shares_above`, of each given image the share of held-out real digits that
    have at least its energy, is None where the model stores none.
    """

    model: str
    given: int
    images: Tensor
    seen: energy_gans.Seen
    picture: Image.Image
    shares_above: list[float] | None


def energy_gan_models() -> dict[str, ModelInfo]:
    """The embedded pairs of images with an autoencoder, by name."""
    found = (model for model in known_models() if model.kind == "pair" and energy_gans.is_energy_gan(model.config))
    return {model.name: model for model in found if law_of(model.config) == "pair"}


def model_asked(name: Any) -> ModelInfo:
    """The embedded model of that name. Raises InputError."""
    models = energy_gan_models()
    if not isinstance(name, str) or name not in models:
        known = ", ".join(models) or "(none embedded)"
        raise InputError(f"model must be one with an autoencoder for a discriminator, {known}; got {shorten(name)}")
    return models[name]


def short_title(info: ModelInfo) -> str:
    """Its title without the data set, which all share."""
    return str(info.config.get("title", info.name)).removesuffix(" on MNIST")


def reconstructed(name: Any, given: Tensor, count: Any, seed: Any) -> Reconstructed:
    """What the model's D makes of given images (N, 1, H, W) in [-1, 1], N >= 0, and of `count` of its generator's own.

    Raises InputError for bad values.
    """
    checkpoint = cached_model(model_asked(name).name)
    shape = tuple(checkpoint.config["data"]["shape"])
    if given.shape[1:] != shape:
        raise InputError(f"images must be {shape} for {checkpoint.name}; got {tuple(given.shape[1:])}")
    images = torch.cat([given, _generated(checkpoint, COUNT.parse(count), SEED.given(seed))])
    found = energy_gans.seen(checkpoint, images)
    table = checkpoint.tables.get(ENERGIES)
    shares = [detection.share_above(table[REAL], float(energy)) for energy in found.energies[: len(given)]] if table else None
    # One above the other, with a line between them, and the energy beneath.
    line = torch.ones(*images.shape[:2], 1, images.shape[3])
    tiles = torch.cat([images, line, found.reconstructed], dim=2).add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
    picture = render.captioned(tiles, [f"{value:.3g}" for value in found.energies], 2)
    return Reconstructed(checkpoint.name, len(given), images, found, picture, shares)


def stored_energies(info: ModelInfo) -> dict[str, Tensor]:
    """D of held-out real and of generated images (N,), by REAL and GENERATED; empty where the model keeps none."""
    return cached_model(info.name).tables.get(ENERGIES, {})


def stored_curves(info: ModelInfo) -> dict[str, list[float]]:
    """The curves of its training by name of `energy_gans.CURVE`; empty where the model keeps none."""
    table = cached_model(info.name).tables.get(energy_gans.CURVES, {})
    return {name: column.tolist() for name, column in table.items()}


def _generated(checkpoint: Checkpoint, count: int, seed: int) -> Tensor:
    """G's images at the latents with which every run of that seed begins, in [-1, 1]."""
    pixels = refine(checkpoint, "langevin", n_steps=1, num_images=count, seed=seed).before
    return pixels.float().div(127.5).sub(1)
