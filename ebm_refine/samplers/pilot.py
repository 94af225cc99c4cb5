"""What a method learns about the whole population before it runs, from a fixed-size pilot with its own random stream."""

import torch
from torch import Tensor

from ebm_refine.random import Draws, Stream
from ebm_refine.samplers.base import Target

PILOT_SIZE = 2048


def pilot_positions(draws: Draws, shape: tuple[int, ...]) -> Tensor:
    """Positions (B, *shape) from a standard normal prior, of the pilot stream alone."""
    return draws.normal(shape, Stream.PILOT)


def pilot_ratios(target: Target, seed: int, shape: tuple[int, ...], device: torch.device | str = "cpu") -> Tensor:
    """Log ratios (PILOT_SIZE,) of fresh samples, float32; they depend on the seed and the target, not on the run's size."""
    draws = Draws(seed, torch.arange(PILOT_SIZE, device=device), 0)
    return target.log_ratio(pilot_positions(draws, shape))
