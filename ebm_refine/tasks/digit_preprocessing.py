"""From a picture that someone uploads or draws to the digit that a model knows.

Done as the makers of MNIST did it (LeCun et al. 1998, "Gradient-based learning applied to document recognition"): the writing
is scaled to fit 20 of 28 pixels, its proportions unchanged, and set with its centre of mass in the middle.
"""

import base64
import io
import warnings

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from ebm_refine.errors import InputError
from ebm_refine.parameters import shorten

MAX_BYTES = 5_000_000
# A call may bring several as text, and Gradio keeps them with its session.
MAX_TEXT_BYTES = 2_000_000
MAX_SIDE = 4096
MIN_SIDE = 8
MODES = ("1", "L", "LA", "P", "RGB", "RGBA")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
# More pixels than this say no more about a digit.
WORKING_SIDE = 800
# The share of the side that the writing takes, and the least difference between ink and paper, of 255.
WRITING = 20 / 28
LEAST_CONTRAST = 32
# Less ink than this is shading of the paper.
FAINT = 0.2


def read(content: bytes) -> Image.Image:
    """The picture in the bytes of a file. Raises InputError, one sentence, for anything but one of a usual sort and size."""
    if not content:
        raise InputError("the image is empty: the file has no bytes")
    if len(content) > MAX_BYTES:
        raise InputError(f"the image must be at most {MAX_BYTES // 1_000_000} MB; got {len(content) / 1e6:.1f} MB")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large pictures and odd metadata; sizes are checked here
            picture = Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError:
        raise InputError(f"the file is not an image: it must be one of {', '.join(FORMATS)}") from None
    except Exception as error:  # whatever Pillow makes of a damaged header, a decompression bomb's refusal included
        raise InputError(f"the image cannot be read: {_reason(error)}") from None
    _check_size(picture.size)
    if picture.mode not in MODES:
        raise InputError(f"the image's mode must be one of {', '.join(MODES)}; got {picture.mode}")
    try:
        picture.load()
    except Exception as error:
        raise InputError(f"the image is damaged: {_reason(error)}") from None
    return picture


def decoded(text: object) -> bytes:
    """The bytes of a file from base64 text, with or without a data address before it. Raises InputError."""
    if not isinstance(text, str):
        raise InputError(f"an image must be a file's bytes as base64 text; got {shorten(text)}")
    code = text.partition(",")[2] if text.startswith("data:") else text
    if len(code) > 4 / 3 * MAX_TEXT_BYTES + 4:
        raise InputError(f"an image must be at most {MAX_TEXT_BYTES // 1_000_000} MB as base64 text")
    try:
        return base64.b64decode(code, validate=True)
    except ValueError:
        raise InputError(f"an image must be a file's bytes as base64 text; this begins with {shorten(text[:20])}") from None


def as_digit(picture: Image.Image, size: int = 28) -> Tensor:
    """The digit (1, size, size) float32 in [-1, 1], light on dark, of a picture of any usual mode and of either polarity.

    A grey picture of exactly `size` pixels is taken as it is. Raises InputError where nothing is written on it.
    """
    if picture.mode == "L" and picture.size == (size, size):
        _ink(picture)  # only to see that there is some
        return _scaled(np.asarray(picture, dtype=np.float64))
    return prepared(_on_paper(picture), size)


def prepared(picture: Image.Image, size: int = 28) -> Tensor:
    """The writing on a grey picture, found, scaled and centred: (1, size, size) float32 in [-1, 1], light on dark."""
    ink = _ink(picture)
    rows, columns = (np.flatnonzero((ink > FAINT).any(axis=axis)) for axis in (1, 0))
    cut = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = WRITING * size / max(cut.shape)
    height, width = (max(1, round(scale * side)) for side in cut.shape)
    scaled = Image.fromarray((255 * cut).astype(np.uint8)).resize((width, height), Image.Resampling.LANCZOS)
    small = np.asarray(scaled, dtype=np.float64)
    small *= 255 / max(small.max(), 1.0)
    mass = small.sum()
    top = round((size - 1) / 2 - (small.sum(axis=1) @ np.arange(height)) / mass)
    left = round((size - 1) / 2 - (small.sum(axis=0) @ np.arange(width)) / mass)
    top, left = min(max(top, 0), size - height), min(max(left, 0), size - width)
    digit = np.zeros((size, size))
    digit[top : top + height, left : left + width] = small
    return _scaled(digit)


def row(picture: Image.Image, size: int = 28) -> Tensor:
    """The digits (K, 1, size, size) that are written side by side with gaps between them, from left to right."""
    grey = _on_paper(picture)
    written = (_ink(grey) > FAINT).any(axis=0)
    # Columns with ink that follow each other without a gap make a digit; a speck narrower than this makes none.
    edges = np.flatnonzero(np.diff(np.concatenate([[False], written, [False]])))
    least = max(2, grey.height // 40)
    found = [(left, right) for left, right in zip(edges[::2], edges[1::2], strict=True) if right - left >= least]
    if not found:
        raise InputError("the image is empty: nothing is written on it that is as wide as a digit")
    paper = int(np.median(_rim(np.asarray(grey))))
    margin = grey.height // 10
    return torch.stack([prepared(_with_margin(grey, left, right, margin, paper), size) for left, right in found])


def _on_paper(picture: Image.Image) -> Image.Image:
    """Grey and no larger than needed, with transparency laid on white."""
    picture = picture.copy()
    picture.thumbnail((WORKING_SIDE, WORKING_SIDE), reducing_gap=2.0)
    if picture.mode in ("LA", "RGBA") or "transparency" in picture.info:
        whole = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", whole.size, "white"), whole)
    return picture.convert("L")


def _ink(picture: Image.Image) -> np.ndarray:
    """How much is written at each pixel, 0 to 1: the paper's grey is that of the picture's rim."""
    grey = np.asarray(picture, dtype=np.float64)
    distance = grey - np.median(_rim(grey))
    ink = distance if distance.max() >= -distance.min() else -distance
    if ink.max() < LEAST_CONTRAST:
        raise InputError("the image is empty: nothing is written on it that stands out from its background")
    return ink.clip(0) / ink.max()


def _rim(grey: np.ndarray) -> np.ndarray:
    return np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])


def _with_margin(grey: Image.Image, left: int, right: int, margin: int, paper: int) -> Image.Image:
    """Columns of the picture with blank paper around them."""
    whole = Image.new("L", (int(right - left) + 2 * margin, grey.height + 2 * margin), paper)
    whole.paste(grey.crop((int(left), 0, int(right), grey.height)), (margin, margin))
    return whole


def _scaled(grey: np.ndarray) -> Tensor:
    return torch.from_numpy(grey / 127.5 - 1).float()[None]


def _check_size(size: tuple[int, int]) -> None:
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in size):
        raise InputError(f"the image's sides must be from {MIN_SIDE} to {MAX_SIDE} pixels; got {size[0]} x {size[1]}")


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
