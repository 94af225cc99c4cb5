"""Which images of one set show the same photo as one of another, whose crops may differ by a few pixels."""

import torch
import torch.nn.functional as F
from torch import Tensor

# By eye: pairs above 0.98 are one photo, pairs from 0.97 down are two people before dark walls.
ALIKE = 0.97
MARGIN, SIDE, CHUNK = 8, 12, 2000


def near_duplicates(images: Tensor, others: Tensor, alike: float = ALIKE, reach: int = 4) -> Tensor:
    """(N,) bool: whether a part of each of `images` looks like the middle of any of `others`; both uint8 (., C, S, S), S > 24.

    Compared are grey thumbnails of 12x12, mean 0 and norm 1, of all but a margin of 8 pixels: alike from a correlation of
    `alike`. The part of `images` is moved by up to `reach` pixels either way in steps of two, as crops may differ so.
    """
    known = torch.cat([_thumbnails(part, 0, 0) for part in others.split(CHUNK)])
    moves = range(-reach, reach + 1, 2)
    found = []
    for part in images.split(CHUNK):
        nearest = torch.full((len(part),), -1.0)
        for down in moves:
            for right in moves:
                nearest = nearest.maximum((_thumbnails(part, down, right) @ known.T).amax(1))
        found.append(nearest >= alike)
    return torch.cat(found)


def _thumbnails(images: Tensor, down: int, right: int) -> Tensor:
    height, width = (size - 2 * MARGIN for size in images.shape[2:])
    grey = images.float().mean(1, keepdim=True)[:, :, MARGIN + down :, MARGIN + right :][:, :, :height, :width]
    rows = F.adaptive_avg_pool2d(grey, SIDE).flatten(1)
    return F.normalize(rows - rows.mean(1, keepdim=True))
