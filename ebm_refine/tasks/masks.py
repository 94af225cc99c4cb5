"""Which pixels of an image are missing: bool (1, size, size), true where they are."""

import torch
from torch import Tensor

from ebm_refine.errors import InputError
from ebm_refine.parameters import shorten
from ebm_refine.samplers.rng import Draws, Stream

NAMES = ("right", "left", "top", "bottom", "middle", "scattered")


def mask(name: str, share: float, size: int, seed: int = 0) -> Tensor:
    """About a `share` (0 to 1) of the pixels: from one side, in a square in the middle, or scattered (depends on the seed)."""
    missing = torch.zeros(size, size, dtype=torch.bool)
    width = round(share * size)
    if name == "right":
        missing[:, size - width :] = True
    elif name == "left":
        missing[:, :width] = True
    elif name == "top":
        missing[:width] = True
    elif name == "bottom":
        missing[size - width :] = True
    elif name == "middle":
        side = round(size * share**0.5)
        begin = (size - side) // 2
        missing[begin : begin + side, begin : begin + side] = True
    else:
        order = Draws(seed, torch.zeros(1, dtype=torch.int64), 0).uniform((size * size,), Stream.PROPOSAL)[0].argsort()
        missing.view(-1)[order[: round(share * size * size)]] = True
    return missing[None]


def check(missing: Tensor) -> None:
    """Raises InputError where all or none of an image is missing."""
    count, size = int(missing.sum()), missing.numel()
    if count == 0:
        raise InputError("the mask covers nothing: at least one pixel must be missing")
    if count == size:
        raise InputError(f"the mask covers everything: at least one of the {size} pixels must stay seen")


def mask_from_rows(rows: object, size: int) -> Tensor:
    """The mask given as `size` rows of `size` numbers or truth values, 1 where a pixel is missing. Raises InputError."""
    wanted = f"mask must be one of {', '.join(NAMES)}, or {size} rows of {size} numbers 0 or 1"
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise InputError(f"{wanted}; got {shorten(rows)}")
    if len(rows) != size or any(len(row) != size for row in rows):
        raise InputError(f"{wanted}; got {len(rows)} rows of {sorted({len(row) for row in rows})[:5]}")
    if not all(isinstance(pixel, bool | int) and pixel in (0, 1) for row in rows for pixel in row):
        raise InputError(f"{wanted}; some of these numbers are others")
    return torch.tensor(rows, dtype=torch.bool)[None]
