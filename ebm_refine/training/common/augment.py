"""Differentiable augmentation (Zhao et al. 2020, arXiv 2006.10738): the same random changes for real and generated images.

It keeps a discriminator from learning the training images by heart, and lets the generator's gradient through.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def augment(images: Tensor, shift: float = 0.125, brightness: float = 0.0, mirror: bool = True) -> Tensor:
    """Mirror with probability one half, shift by up to `shift` of the side (zeros enter), add up to +-`brightness` to all.

    images (B, C, H, W) in [-1, 1] -> same shape; each image gets its own draw. Differentiable in `images`.
    """
    count, _, height, width = images.shape
    if mirror:
        flipped = torch.rand(count, 1, 1, 1, device=images.device) < 0.5
        images = torch.where(flipped, images.flip(3), images)
    if brightness:
        images = images + brightness * (2 * torch.rand(count, 1, 1, 1, device=images.device) - 1)
    reach = round(shift * height)
    if reach:
        padded = F.pad(images, (reach,) * 4)
        corner = torch.randint(0, 2 * reach + 1, (2, count), device=images.device)
        rows = (corner[0][:, None] + torch.arange(height, device=images.device))[:, :, None]
        columns = (corner[1][:, None] + torch.arange(width, device=images.device))[:, None, :]
        which = torch.arange(count, device=images.device)[:, None, None]
        # Indexing a channels-last view moves whole pixels and is twice as fast as indexing each channel.
        images = padded.permute(0, 2, 3, 1)[which, rows, columns].permute(0, 3, 1, 2)
    return images
