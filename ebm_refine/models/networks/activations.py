"""Activations by name, as configs and the import's options give them, and the codings of images."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

SLOPE = 0.2
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
}
NAMES = ("relu", "leaky", *(name for name in ACTIVATIONS if name != "relu"))
RANGES = ("signed", "unit")


def activation_of(name: str, slope: float = SLOPE) -> Callable[[], nn.Module]:
    """What makes the activation `name`; `slope` is that of "leaky". Raises ValueError for an unknown name."""
    if name == "leaky":
        return partial(nn.LeakyReLU, slope)
    if name not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(NAMES)}, got {name!r}")
    return ACTIVATIONS[name]


class SignedSigmoid(nn.Module):
    """What a sigmoid gives, [0, 1], in [-1, 1]."""

    def forward(self, given: Tensor) -> Tensor:
        return 2 * torch.sigmoid(given) - 1


def coded(images: Tensor, coding: str) -> Tensor:
    """Images in [-1, 1] as a discriminator saw them: "signed" as they are, "unit" in [0, 1]."""
    return (images + 1) / 2 if coding == "unit" else images


def check_coding(coding: str) -> str:
    """`coding` itself. Raises ValueError for an unknown one."""
    if coding not in RANGES:
        raise ValueError(f"coding must be one of {', '.join(RANGES)}, got {coding!r}")
    return coding
