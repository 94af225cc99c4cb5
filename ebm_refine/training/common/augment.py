"""Differentiable augmentation (Zhao et al. 2020, arXiv 2006.10738): the same random changes for real and generated images.

It keeps a discriminator from learning the training images by heart, and lets the generator's gradient through.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Augmentation(NamedTuple):
    """How far each change goes; 0 and False leave it out. Each image gets its own draw, and the order is that of the fields.

    mirror: with probability one half. brightness: up to +-this is added to all values. saturation: the deviations from a
    pixel's mean over channels are multiplied by 1 +- this. contrast: the deviations from the image's mean likewise. shift: by
    up to this share of the side, rows and columns alike; zeros enter. cutout: a square of this share of the side becomes zero,
    its centre anywhere in the image.
    """

    mirror: bool = False
    brightness: float = 0.0
    saturation: float = 0.0
    contrast: float = 0.0
    shift: float = 0.0
    cutout: float = 0.0


# The three policies of the paper (colour, translation, cutout) at its strengths, for values in [-1, 1], and a mirror.
ALL_POLICIES = Augmentation(mirror=True, brightness=0.5, saturation=1.0, contrast=0.5, shift=0.125, cutout=0.5)


def augment(images: Tensor, how: Augmentation) -> Tensor:
    """Images (B, C, H, W) in [-1, 1] -> same shape, changed at random as `how` says. Differentiable in `images`."""
    if how.mirror:
        images = torch.where(_uniform(images) < 0, images.flip(3), images)
    if how.brightness:
        images = images + how.brightness * _uniform(images)
    if how.saturation:
        images = torch.lerp(images.mean(1, keepdim=True), images, 1 + how.saturation * _uniform(images))
    if how.contrast:
        images = torch.lerp(images.mean((1, 2, 3), keepdim=True), images, 1 + how.contrast * _uniform(images))
    if reach := round(how.shift * images.shape[2]):
        images = _shifted(images, reach)
    if side := round(how.cutout * images.shape[2]):
        images = images * _outside_square(images, side)
    return images


def _uniform(images: Tensor) -> Tensor:
    """A draw from U(-1, 1) for each image, (B, 1, 1, 1) in the images' type."""
    return (2 * torch.rand(len(images), 1, 1, 1, device=images.device) - 1).to(images.dtype)


def _shifted(images: Tensor, reach: int) -> Tensor:
    count, _, height, width = images.shape
    padded = F.pad(images, (reach,) * 4)
    corner = torch.randint(0, 2 * reach + 1, (2, count), device=images.device)
    rows = (corner[0][:, None] + torch.arange(height, device=images.device))[:, :, None]
    columns = (corner[1][:, None] + torch.arange(width, device=images.device))[:, None, :]
    which = torch.arange(count, device=images.device)[:, None, None]
    # Indexing a channels-last view moves whole pixels and is twice as fast as indexing each channel.
    return padded.permute(0, 2, 3, 1)[which, rows, columns].permute(0, 3, 1, 2)


def _outside_square(images: Tensor, side: int) -> Tensor:
    """1 outside a square of `side` pixels about a random point of each image, 0 inside; (B, 1, H, W)."""
    count, _, height, width = images.shape
    top = torch.randint(height, (count, 1), device=images.device) - side // 2
    left = torch.randint(width, (count, 1), device=images.device) - side // 2
    rows, columns = torch.arange(height, device=images.device), torch.arange(width, device=images.device)
    in_rows = (rows >= top) & (rows < top + side)
    in_columns = (columns >= left) & (columns < left + side)
    return (~(in_rows[:, None, :, None] & in_columns[:, None, None, :])).to(images.dtype)
