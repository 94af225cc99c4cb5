"""Train a convolutional autoencoder by its squared error: its code keeps what the pixels need, not what classes need."""

from typing import NamedTuple

import torch
from torch import Tensor

from ebm_refine.data.images import to_unit
from ebm_refine.models.networks.autoencoder import AutoencoderDiscriminator
from ebm_refine.training.algorithms.gan import autocast_bf16, epoch_batch
from ebm_refine.training.algorithms.simclr import rise_and_fall, settle_norms
from ebm_refine.training.common.resumable import Run, to_device
from ebm_refine.training.common.updates import Updates


class AutoencoderRecipe(NamedTuple):
    """AdamW with a warm-up over the first twentieth and a cosine fall. `mirror` mirrors half of the images."""

    steps: int
    batch_size: int = 64
    rate: float = 2e-3
    weight_decay: float = 1e-3
    mirror: bool = True
    save_every: int = 100


def train_autoencoder(
    network: AutoencoderDiscriminator, recipe: AutoencoderRecipe, train: Tensor, run: Run, seed: int, device: str
) -> dict[str, float]:
    """Fit `network` in place to `train` (N, C, S, S) uint8; returns {"loss"}, the mean squared error of the last batches.

    State is saved every `save_every` batches; a resumed run equals an uninterrupted one to the bit.
    """
    torch.manual_seed(seed)
    to_device(network, device)
    network.train()
    adam = torch.optim.AdamW(network.parameters(), lr=recipe.rate, weight_decay=recipe.weight_decay)
    updates = Updates(run, {"network": network, "adam": adam}, recipe.steps, "autoencoder", smoothed=torch.zeros(()))
    for step in updates:
        adam.param_groups[0]["lr"] = recipe.rate * rise_and_fall(step / recipe.steps)
        images = to_unit(epoch_batch(train, recipe.batch_size, seed, step)).to(device)
        if recipe.mirror:
            images = torch.where(torch.rand(len(images), 1, 1, 1).to(device) < 0.5, images.flip(3), images)
        with autocast_bf16(device):
            reconstructed = network.reconstruct(images)
        loss = (reconstructed.float() - images).square().mean()
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
        updates.extra["smoothed"] = updates.extra["smoothed"].lerp(loss.detach().cpu(), 1.0 if step == 0 else 0.02)
        if updates.due(step + 1, recipe.save_every):
            run.log(phase="autoencoder", step=step + 1, loss=float(updates.extra["smoothed"]))
            updates.save(step + 1)
    to_device(network, "cpu", torch.contiguous_format)
    settle_norms(network, train)
    return {"loss": float(updates.extra["smoothed"])}
