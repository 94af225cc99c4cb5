"""Pictures made in code, (N, 1, H, W) float32 in [-1, 1]: digits, and what is none. Picture i depends on (seed, i) alone."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ebm_refine.samplers.rng import Draws, Stream
from ebm_refine.tasks.digit_preprocessing import prepared

BLUR_SIGMA = 1.5
# Drawn this much larger, then averaged down, so that edges are grey as in a scan.
OVERSAMPLING = 8


def uniform_noise(count: int, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return 2 * _draws(count, seed).uniform(shape, Stream.PROPOSAL) - 1


def inverted(images: Tensor) -> Tensor:
    return -images


def mirrored(images: Tensor) -> Tensor:
    """Left and right exchanged."""
    return images.flip(-1)


def blurred(images: Tensor, sigma: float = BLUR_SIGMA) -> Tensor:
    """Smoothed by a Gaussian of `sigma` pixels."""
    from torchvision.transforms.v2.functional import gaussian_blur  # a second of start-up, so that the page comes first

    return gaussian_blur(images, [2 * math.ceil(3 * sigma) + 1] * 2, [sigma, sigma])


def clothes(count: int, size: int, seed: int = 0) -> Tensor:
    """Silhouettes with shading and stripes, like those of Fashion-MNIST: shirt, trousers, dress, bag and shoe in turn."""
    random = _draws(count, seed).uniform((12,), Stream.PROPOSAL).double().numpy()
    names = list(_GARMENTS)
    return torch.stack([_garment(names[number % len(names)], size, row) for number, row in enumerate(random)])


def written(labels: Sequence[int], size: int, seed: int = 0) -> Tensor:
    """The digits `labels` as pen strokes, each a little different in slant, width and thickness."""
    random = _draws(len(labels), seed).uniform((4,), Stream.INIT).double().numpy()
    return torch.stack([prepared(_stroked(label, row), size) for label, row in zip(labels, random, strict=True)])


def _draws(count: int, seed: int) -> Draws:
    return Draws(seed, torch.arange(count), 0)


# --- Digits ----------------------------------------------------------------------------------------------------------------


def _arc(x: float, y: float, width: float, height: float, begin: float, end: float) -> list[tuple[float, float]]:
    """Points on an ellipse about (x, y), clockwise on the screen from angle `begin` to `end` in degrees; 0 points right."""
    angles = np.radians(np.linspace(begin, end, 30))
    return [(x + width * math.cos(angle), y + height * math.sin(angle)) for angle in angles]


# Strokes in a box 1 wide and 1 high, y downwards.
_STROKES: dict[int, list[list[tuple[float, float]]]] = {
    0: [_arc(0.5, 0.5, 0.28, 0.45, -90, 270)],
    1: [[(0.38, 0.2), (0.55, 0.05), (0.52, 0.95)]],
    2: [[*_arc(0.5, 0.28, 0.27, 0.23, -170, 40), (0.25, 0.93), (0.8, 0.93)]],
    3: [[*_arc(0.47, 0.28, 0.26, 0.22, -150, 90), *_arc(0.47, 0.73, 0.3, 0.23, -90, 150)]],
    4: [[(0.3, 0.08), (0.2, 0.55), (0.8, 0.55)], [(0.68, 0.1), (0.62, 0.95)]],
    5: [[(0.75, 0.08), (0.32, 0.08), (0.28, 0.45), *_arc(0.48, 0.67, 0.3, 0.27, -110, 150)]],
    6: [[(0.68, 0.05), (0.4, 0.3), *_arc(0.5, 0.7, 0.26, 0.25, -180, 180)]],
    7: [[(0.2, 0.1), (0.78, 0.1), (0.42, 0.95)]],
    8: [_arc(0.5, 0.28, 0.22, 0.22, 90, 450), _arc(0.5, 0.73, 0.27, 0.23, -90, 270)],
    9: [[*_arc(0.48, 0.3, 0.25, 0.24, 10, 370), (0.72, 0.32), (0.66, 0.95)]],
}


def _stroked(digit: int, random: np.ndarray) -> Image.Image:
    slant, wide, turn, thick = 2 * random - 1
    side = 40 * OVERSAMPLING
    picture = Image.new("L", (side, side))
    draw, width = ImageDraw.Draw(picture), round((0.075 + 0.02 * thick) * side)
    cosine, sine = math.cos(0.12 * turn), math.sin(0.12 * turn)
    for stroke in _STROKES[digit]:
        points = []
        for x, y in stroke:
            x, y = (x - 0.5) * (1 + 0.15 * wide) - 0.25 * (slant + 0.4) * (y - 0.5), y - 0.5
            points.append((side * (0.5 + 0.7 * (cosine * x - sine * y)), side * (0.5 + 0.7 * (sine * x + cosine * y))))
        draw.line(points, fill=255, width=width, joint="curve")
        for x, y in (points[0], points[-1]):
            draw.ellipse([x - width / 2, y - width / 2, x + width / 2, y + width / 2], fill=255)
    return picture


# --- Clothes ---------------------------------------------------------------------------------------------------------------

# Outlines of the left half, from the top middle to the bottom middle, x from 0 (middle) to 1 (left edge), y from 0 to 1; a
# shoe is no mirror image of itself, so it is given whole.
_GARMENTS: dict[str, list[tuple[float, float]]] = {
    "shirt": [(0.0, 0.12), (0.25, 0.05), (0.55, 0.12), (0.98, 0.4), (0.78, 0.55), (0.55, 0.4), (0.55, 0.95), (0.0, 0.97)],
    "trousers": [(0.0, 0.04), (0.42, 0.04), (0.5, 0.5), (0.48, 0.97), (0.16, 0.97), (0.06, 0.35), (0.0, 0.33)],
    "dress": [(0.0, 0.15), (0.18, 0.04), (0.3, 0.04), (0.34, 0.2), (0.28, 0.42), (0.7, 0.96), (0.0, 0.98)],
    "bag": [(0.0, 0.4), (0.8, 0.38), (0.9, 0.92), (0.0, 0.95)],
    "shoe": [(-0.95, 0.55), (-0.8, 0.3), (-0.2, 0.3), (0.1, 0.5), (0.9, 0.65), (0.95, 0.85), (-0.95, 0.85)],
}


def _garment(name: str, size: int, random: np.ndarray) -> Tensor:
    side = size * OVERSAMPLING
    wide, tall, shift, fill, slope, stripes, period, depth, grain, *_ = random
    half = [(x * (0.75 + 0.25 * wide), 0.5 + (y - 0.5) * (0.75 + 0.25 * tall)) for x, y in _GARMENTS[name]]
    outline = half if name == "shoe" else half + [(-x, y) for x, y in reversed(half)]
    mask = Image.new("L", (side, side))
    draw = ImageDraw.Draw(mask)
    draw.polygon([(side * (0.5 - 0.48 * x + 0.02 * (shift - 0.5)), side * y) for x, y in outline], fill=255)
    if name == "bag":
        draw.arc([side * 0.33, side * 0.12, side * 0.67, side * 0.7], 180, 360, fill=255, width=side // 14)
    covered = np.asarray(mask.reduce(OVERSAMPLING), dtype=np.float64) / 255
    rows, columns = np.mgrid[0:size, 0:size] / size
    cloth = 0.45 + 0.45 * fill + 0.3 * (slope - 0.5) * (rows - 0.5)
    along = rows if stripes < 0.5 else columns
    cloth = cloth - 0.35 * depth * (np.sin(2 * math.pi * (3 + 6 * period) * along) > 0.3)
    cloth = cloth + 0.08 * np.sin(97 * grain + 41 * rows) * np.cos(53 * columns)
    return torch.from_numpy(2 * (covered * cloth.clip(0.05, 1)) - 1).float()[None]
