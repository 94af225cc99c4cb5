"""Pictures of an energy over the plane: shade and contours with a transparent ground, for light and dark pages alike."""

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

SIDE = 384
SHADE, OPACITY = (79, 70, 229), 170
LINE, LINES = (148, 163, 184, 150), 12
# Beyond so many nats above the lowest point a density is as good as zero; higher ground is all one.
DEEPEST = 20.0
TOP_QUANTILE = 0.9


def shade(energy: Tensor) -> Image.Image:
    """`energy` (S, S), row 0 lowest in the plane, as RGBA: the lower the energy the deeper the colour; not finite is high."""
    depth = (1 - _heights(energy)) ** 2
    pixels = np.empty((SIDE, SIDE, 4), np.uint8)
    pixels[..., :3] = SHADE
    pixels[..., 3] = (OPACITY * depth).round().byte().numpy()
    return Image.fromarray(pixels)


def contours(energy: Tensor) -> Image.Image:
    """Lines of equal energy, equally far apart in it, between the lowest point and where the shade ends; RGBA.

    There is none around the high ground, whose edge is that of the grid and not of the energy.
    """
    level = (_heights(energy) * LINES).floor().clamp(max=LINES - 1)
    edge = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    edge[1:] |= level[1:] != level[:-1]
    edge[:, 1:] |= level[:, 1:] != level[:, :-1]
    pixels = np.zeros((SIDE, SIDE, 4), np.uint8)
    pixels[edge.numpy()] = LINE
    return Image.fromarray(pixels)


def _heights(energy: Tensor) -> Tensor:
    """(SIDE, SIDE) float32 from 0 at the lowest point to 1 where the shade ends, row 0 at the picture's top."""
    known = energy[energy.isfinite()]
    if not len(known):
        return torch.ones(SIDE, SIDE)
    lowest = known.min()
    top = torch.minimum(known.float().quantile(TOP_QUANTILE), lowest + DEEPEST)
    height = ((energy.nan_to_num(torch.inf, torch.inf, torch.inf) - lowest) / (top - lowest).clamp(min=1e-6)).clamp(0, 2)
    # Cut off after the interpolation: cut before it, high ground has the corners of the grid's cells.
    fine = F.interpolate(height[None, None].float(), size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    return fine[0, 0].flip(0).clamp(max=1)
