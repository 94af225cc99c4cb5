"""Train an encoder without labels: two crops of an image shall be near, crops of other images and spoiled crops far.

NT-Xent, the loss of SimCLR (Chen et al. 2020, arXiv 2002.05709), with two departures, both because these features are to
measure generated images and not to classify real ones:

- Crops are cut out and mirrored, never resized, blurred, noised or recoloured. SimCLR's features are taught to overlook just
  what a bad generator does.
- Each image also gives a spoiled crop, a negative for all: its quarters in a wrong order, its halves from two faces, or bent
  (negative data augmentation: Sinha et al. 2021, arXiv 2102.05113). Colours alone show that crops belong to one photo,
  but not whether a face is whole.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ebm_refine.data.images import to_unit
from ebm_refine.models.networks.encoder import ContrastiveEncoder
from ebm_refine.training.algorithms.gan import autocast_bf16, epoch_batch
from ebm_refine.training.common.resumable import Run, to_device
from ebm_refine.training.common.updates import Updates


class ContrastiveRecipe(NamedTuple):
    """AdamW with a warm-up over the first twentieth and a cosine fall.

    `crop` is the side of a crop in pixels, even. `mirror`: half of the crops are mirrored, which digits should not be.
    """

    steps: int
    batch_size: int = 128
    rate: float = 2e-3
    weight_decay: float = 1e-2
    temperature: float = 0.2
    crop: int = 48
    projection: int = 128
    save_every: int = 50
    mirror: bool = True


def train_encoder(
    encoder: ContrastiveEncoder, recipe: ContrastiveRecipe, train: Tensor, run: Run, seed: int, device: str
) -> dict[str, float]:
    """Fit `encoder` in place to `train` (N, C, S, S) uint8; returns {"loss", "accuracy"} of the last batches.

    Accuracy is the share of crops whose nearest candidate is the other crop of the same image. State is saved every
    `save_every` batches; a resumed run equals an uninterrupted one to the bit.
    """
    torch.manual_seed(seed)
    head = nn.Sequential(
        nn.Linear(encoder.num_features, recipe.projection), nn.ReLU(), nn.Linear(recipe.projection, recipe.projection)
    )
    networks = nn.ModuleDict({"encoder": encoder, "head": head})
    to_device(networks, device)
    networks.train()
    adam = torch.optim.AdamW(networks.parameters(), lr=recipe.rate, weight_decay=recipe.weight_decay)
    updates = Updates(run, {"networks": networks, "adam": adam}, recipe.steps, "encoder", smoothed=torch.zeros(2))
    for step in updates:
        adam.param_groups[0]["lr"] = recipe.rate * rise_and_fall(step / recipe.steps)
        images = to_unit(epoch_batch(train, recipe.batch_size, seed, step)).to(device)
        views = torch.cat([random_crops(images, recipe.crop, recipe.mirror) for _ in range(2)])
        spoiled = spoil(random_crops(images, recipe.crop, recipe.mirror))
        with autocast_bf16(device):
            projected = head(encoder(torch.cat([views, spoiled]))).float()
        loss, accuracy = nt_xent(projected[: 2 * len(images)], projected[2 * len(images) :], recipe.temperature)
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
        running = updates.extra["smoothed"].lerp(torch.stack([loss.detach(), accuracy]).cpu(), 1.0 if step == 0 else 0.02)
        updates.extra["smoothed"] = running
        if updates.due(step + 1, recipe.save_every):
            run.log(phase="encoder", step=step + 1, loss=float(running[0]), accuracy=float(running[1]))
            updates.save(step + 1)
    to_device(networks, "cpu", torch.contiguous_format)
    settle_norms(encoder, train)
    loss, accuracy = updates.extra["smoothed"].tolist()
    return {"loss": loss, "accuracy": accuracy}


def nt_xent(projected: Tensor, spoiled: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy of picking each row's partner among all other rows of `projected` (2B, p) and `spoiled` (M, p).

    Rows i and i + B are partners. Returns the loss and the share of right picks, both ().
    """
    rows, others = F.normalize(projected), F.normalize(spoiled)
    similar = rows @ rows.T / temperature
    similar = similar.masked_fill(torch.eye(len(rows), dtype=torch.bool, device=rows.device), -torch.inf)
    logits = torch.cat([similar, rows @ others.T / temperature], dim=1)
    partner = torch.arange(len(rows), device=rows.device).roll(len(rows) // 2)
    return F.cross_entropy(logits, partner), (logits.argmax(1) == partner).float().mean()


def rise_and_fall(progress: float, warm_share: float = 0.05) -> float:
    """Linearly up to 1 over the first `warm_share`, then down to 0 along half a cosine."""
    if progress < warm_share:
        return progress / warm_share
    return 0.5 + 0.5 * math.cos(math.pi * (progress - warm_share) / (1 - warm_share))


def random_crops(images: Tensor, side: int, mirror: bool = True) -> Tensor:
    """(B, C, S, S) -> (B, C, side, side): a crop of each at a random position, mirrored with probability one half."""
    count, _, height, width = images.shape
    top, left = (torch.randint(0, size - side + 1, (count, 1), device=images.device) for size in (height, width))
    rows = top + torch.arange(side, device=images.device)
    columns = left + torch.arange(side, device=images.device)
    if mirror:
        columns = torch.where(torch.rand(count, 1, device=images.device) < 0.5, columns, columns.flip(1))
    which = torch.arange(count, device=images.device)[:, None, None]
    return images.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def spoil(crops: Tensor) -> Tensor:
    """Each of `crops` (B, C, S, S) spoiled in one of three ways, in turn: quarters swapped, two faces joined, bent."""
    spoiled = crops.clone()
    spoiled[0::3] = swapped(crops[0::3])
    spoiled[1::3] = joined(crops[1::3])
    spoiled[2::3] = bent(crops[2::3])
    return spoiled


def swapped(crops: Tensor) -> Tensor:
    """The upper half below the lower one or the left half right of the right one, at random."""
    half = crops.shape[-1] // 2
    across = torch.rand(len(crops), 1, 1, 1, device=crops.device) < 0.5
    return torch.where(across, crops.roll(half, 3), crops.roll(half, 2))


def joined(crops: Tensor) -> Tensor:
    """The left half of each beside the right half of the next."""
    half = crops.shape[-1] // 2
    return torch.cat([crops[..., :half], crops.roll(1, 0)[..., half:]], dim=3)


def bent(crops: Tensor, reach: float = 0.12, knots: int = 5) -> Tensor:
    """Moved along a smooth random field: normal displacements of deviation `reach` (image = [-1, 1]) at `knots`² points."""
    field = reach * torch.randn(len(crops), 2, knots, knots, device=crops.device)
    field = F.interpolate(field, crops.shape[-2:], mode="bicubic", align_corners=True)
    still = torch.eye(2, 3, device=crops.device).expand(len(crops), 2, 3)
    grid = F.affine_grid(still, list(crops.shape), align_corners=False) + field.permute(0, 2, 3, 1)
    return F.grid_sample(crops, grid, mode="bicubic", padding_mode="reflection", align_corners=False).clamp(-1, 1)


@torch.no_grad()
def settle_norms(encoder: nn.Module, train: Tensor) -> None:
    """Fit the batch norms to whole images, which the encoder has only seen parts of, and leave it in eval mode."""
    norms = [module for module in encoder.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain average over all that follows
    encoder.train()
    for part in train[: len(train) // 500 * 500 or len(train)].split(500):
        encoder(to_unit(part))
    encoder.eval()
