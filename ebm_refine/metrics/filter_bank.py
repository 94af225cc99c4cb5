"""Features without training: a fixed bank of oriented band-pass filters, as in wavelet scattering (Bruna and Mallat 2013).

First order: |x * psi(j, l)| of every channel for scales j and orientations l, averaged over a coarse grid, and the averages
of x themselves (arXiv 1203.1513). Second order: ||x * psi(j1, l1)| * psi(j2, l2)| of the mean of the channels for
j2 > j1, averaged over a coarser grid. psi are Morlet wavelets: a plane wave under an elongated Gaussian, less as much of that
Gaussian as makes their mean zero. Nothing is random and nothing is fitted.
"""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ebm_refine.errors import InputError

ORIENTATIONS = 4
FIRST_GRID, SECOND_GRID = 4, 2
LEAST_SIDE, MOST_SIDE = 16, 128
# Of a Morlet wavelet at scale 0: width and frequency as in Andreux et al. 2020 (Kymatio), and its shape across the wave.
WIDTH, FREQUENCY, SLANT = 0.8, 0.75 * math.pi, 4 / ORIENTATIONS


def scales_for(height: int, width: int) -> int:
    """How many scales, an octave each, fit images of this size: 2 at 16, 3 at 32, 4 at 64 pixels, 5 at most."""
    return min(5, max(2, round(math.log2(min(height, width))) - 2))


def filter_responses(pixels: Tensor) -> Tensor:
    """uint8 images (B, C, H, W) -> features (B, d) float32.

    Sides over 128 pixels are area-averaged down to 128. Raises InputError where a side is below 16 pixels.
    """
    images = pixels.float().div_(255.0)
    height, width = images.shape[-2:]
    if min(height, width) < LEAST_SIDE:
        raise InputError(f"the filter bank needs images of at least {LEAST_SIDE}×{LEAST_SIDE} pixels; got {height}×{width}")
    if max(height, width) > MOST_SIDE:
        images = F.adaptive_avg_pool2d(images, (min(height, MOST_SIDE), min(width, MOST_SIDE)))
    scales = scales_for(*images.shape[-2:])
    # A multiple of every stride below, and wide enough that the largest wavelet hardly reaches around the torus.
    margin = 2 ** (scales - 1)
    padded = F.pad(images, (margin,) * 4, mode="reflect")
    found = [_pooled(images, FIRST_GRID)]
    for first in range(scales):
        # Coarse wavelets meet an image averaged down to where they are of scale 1: the same to the eye, and far cheaper.
        stride = 2 ** max(first - 1, 0)
        envelope = _envelopes(F.avg_pool2d(padded, stride), first // max(first, 1), 1)
        found.append(_pooled(_cropped(envelope.flatten(1, 3), margin // stride), FIRST_GRID))
        if first + 1 < scales:
            step = 2 ** (first + 1)
            averaged = F.avg_pool2d(envelope.mean(1).flatten(1, 2), step // stride)
            second = _envelopes(averaged, 0, scales - first - 1).flatten(1, 3)
            found.append(_pooled(_cropped(second, margin // step), SECOND_GRID))
    return torch.cat(found, dim=1)


def _envelopes(images: Tensor, scale: int, scales: int) -> Tensor:
    """(B, C, H, W) -> (B, C, scales, ORIENTATIONS, H, W): moduli of circular convolutions with wavelets from `scale` on."""
    bank = wavelets(*images.shape[-2:], scale + scales)[scale:]
    return torch.fft.ifft2(torch.fft.fft2(images)[:, :, None, None] * bank).abs()


def _cropped(maps: Tensor, margin: int) -> Tensor:
    return maps[..., margin:-margin, margin:-margin]


def _pooled(maps: Tensor, cells: int) -> Tensor:
    return F.adaptive_avg_pool2d(maps, cells).flatten(1)


@lru_cache(maxsize=32)
def wavelets(height: int, width: int, scales: int) -> Tensor:
    """Fourier transforms (scales, ORIENTATIONS, height, width), float32 and real, of Morlet wavelets of mean zero."""
    bank = torch.stack(
        [
            torch.stack([_morlet(height, width, 2**scale, math.pi * turn / ORIENTATIONS) for turn in range(ORIENTATIONS)])
            for scale in range(scales)
        ]
    )
    return torch.fft.fft2(bank).real.float()


def _morlet(height: int, width: int, stretch: float, angle: float) -> Tensor:
    """A wavelet (height, width), complex128, on a torus: its copies up to two periods away are added."""
    rows = torch.fft.fftfreq(height, 1 / height, dtype=torch.float64)
    columns = torch.fft.fftfreq(width, 1 / width, dtype=torch.float64)
    wave = torch.zeros(height, width, dtype=torch.complex128)
    envelope = torch.zeros(height, width, dtype=torch.complex128)
    for down in range(-2, 3):
        for right in range(-2, 3):
            y, x = (rows + down * height)[:, None], (columns + right * width)[None, :]
            along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
            gaussian = torch.exp(-(along.square() + (SLANT * across).square()) / (2 * (WIDTH * stretch) ** 2))
            envelope += gaussian
            wave += torch.polar(gaussian, FREQUENCY / stretch * along)
    unit = 2 * math.pi * (WIDTH * stretch) ** 2 / SLANT
    return (wave - wave.sum() / envelope.sum() * envelope) / unit
