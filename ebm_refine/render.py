"""Pictures of results: grids of samples as PNG. Pixels stay exact: no lossy format, no smoothing."""

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

from ebm_refine.files import replacing


def grid(images: Tensor, columns: int | None = None, scale: int = 1, limit: int = 256) -> Image.Image:
    """A grid of uint8 images (N, C, H, W), the first `limit` of them, enlarged `scale` times by repeating pixels."""
    images = images[:limit]
    columns = columns or max(1, round(len(images) ** 0.5))
    picture = make_grid(images, nrow=columns, padding=1, pad_value=0)
    if scale > 1:
        picture = picture.repeat_interleave(scale, 1).repeat_interleave(scale, 2)
    return Image.fromarray(picture.permute(1, 2, 0).to(torch.uint8).contiguous().numpy())


def save_png(picture: Image.Image, path: Path) -> None:
    """Write `picture` in one step, with no metadata, so that the same picture gives the same bytes."""
    with replacing(path) as temporary:
        picture.save(temporary, format="PNG")
