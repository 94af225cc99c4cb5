"""Multilayer perceptrons: generators and discriminators (or energies) of small images and of points in the plane.

Layers lie in one `nn.Sequential` called `main`, as in the public MNIST pairs (64-256-256-784 and 784-256-256-1), so that their
state dicts fit once the arguments are read off the shapes (`ebm_refine.models.convert.convert`).
"""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ebm_refine.models.networks.activations import SLOPE, SignedSigmoid, activation_of, check_coding, coded

OUTPUTS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "linear": nn.Identity, "sigmoid": SignedSigmoid}


class MLPGenerator(nn.Module):
    """Latents (B, latent), float -> samples (B, *shape): images in [-1, 1], any numbers with `output` "linear".

    `output` "sigmoid" is the sigmoid of a generator of images in [0, 1], brought to [-1, 1]. `slope` is that of `activation`
    "leaky".
    """

    def __init__(
        self,
        latent: int = 64,
        widths: Sequence[int] = (256, 256),
        shape: Sequence[int] = (1, 28, 28),
        activation: str = "relu",
        output: str = "tanh",
        slope: float = SLOPE,
    ):
        super().__init__()
        if output not in OUTPUTS:
            raise ValueError(f"output must be one of {', '.join(OUTPUTS)}, got {output!r}")
        self.latent, self.shape = latent, tuple(shape)
        self.main = nn.Sequential(*_layers((latent, *widths, math.prod(shape)), activation, slope), OUTPUTS[output]())

    def forward(self, latents: Tensor) -> Tensor:
        return self.main(latents).view(-1, *self.shape)


class MLPDiscriminator(nn.Module):
    """Samples (B, *shape), float -> one number each (B,): a logit, or an energy where it is trained as one.

    An energy needs a smooth `activation` such as "silu", as samplers follow its gradient; "leaky" is LeakyReLU(slope).
    `coding`: "unit" where it was trained on images in [0, 1]. `frequencies` above 0 adds Fourier features, with which fine
    structure is learned as fast as coarse structure (Tancik et al. 2020, arXiv 2006.10739): sin and cos of 2**k pi x /
    `half_period` times 2**(-k/2), k < `frequencies`.
    """

    def __init__(
        self,
        widths: Sequence[int] = (256, 256),
        shape: Sequence[int] = (1, 28, 28),
        activation: str = "leaky",
        slope: float = SLOPE,
        coding: str = "signed",
        frequencies: int = 0,
        half_period: float = 1.0,
    ):
        super().__init__()
        self.coding = check_coding(coding)
        self.angular = [2**k * math.pi / half_period for k in range(frequencies)]
        inputs = math.prod(shape) * (1 + 2 * frequencies)
        self.main = nn.Sequential(*_layers((inputs, *widths, 1), activation, slope))

    def forward(self, samples: Tensor) -> Tensor:
        return self.main(self.features(samples)).squeeze(1)

    def features(self, samples: Tensor) -> Tensor:
        """What the first layer sees of samples: their values, then each wave of all values, (B, d (1 + 2 `frequencies`))."""
        values = coded(samples, self.coding).flatten(1)
        waves = [f(angular * values) * 2 ** (-k / 2) for k, angular in enumerate(self.angular) for f in (torch.sin, torch.cos)]
        return torch.cat([values, *waves], dim=1)


def _layers(sizes: Sequence[int], activation: str, slope: float) -> list[nn.Module]:
    """Linear layers of these sizes with activations between them."""
    made, layers = activation_of(activation, slope), list[nn.Module]()
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), made()]
    return layers[:-1]
