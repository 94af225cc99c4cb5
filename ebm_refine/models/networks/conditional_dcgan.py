"""Class-conditional networks of the DCGAN shape: conditional batch norm in the generator, a projection in the discriminator.

A layer costs half of what a residual block costs, so that a processor sees twice as many images. A pair can begin with the
weights of an unconditional `dcgan` pair of the same widths: then all classes look alike at first (`begin_as`).
"""

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ebm_refine.models.networks.conditional_resnet import ConditionalBatchNorm
from ebm_refine.models.networks.dcgan import DCGANDiscriminator, DCGANGenerator

SLOPE = 0.2


class ConditionalDCGANGenerator(nn.Module):
    """Latents (B, latent), float, and labels (B,), int64 -> images (B, channels, S, S) in [-1, 1], S = 4 * 2**len(widths).

    The generator of Radford et al. 2016 (arXiv 1511.06434) with the conditional batch norm of Dumoulin et al. 2017 (arXiv
    1610.07629).
    """

    takes_labels = True

    def __init__(self, latent: int = 100, widths: Sequence[int] = (256, 128, 64), channels: int = 3, classes: int = 10):
        super().__init__()
        self.latent, self.classes = latent, classes
        self.stem = nn.ConvTranspose2d(latent, widths[0], 4, 1, 0, bias=False)
        self.norms = nn.ModuleList(ConditionalBatchNorm(width, classes) for width in widths)
        self.doublings = nn.ModuleList(
            nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False) for before, after in itertools.pairwise([*widths, channels])
        )

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        maps = self.stem(latents[:, :, None, None])
        for norm, doubling in zip(self.norms, self.doublings, strict=True):
            maps = doubling(F.relu(norm(maps, labels)))
        return maps.tanh()

    @torch.no_grad()
    def begin_as(self, unconditional: DCGANGenerator) -> None:
        """Copy its weights, its norms' gains and biases to every class. Raises RuntimeError where a shape differs."""
        for mine, theirs in zip((self.stem, *self.doublings), _of(unconditional, nn.ConvTranspose2d), strict=True):
            mine.load_state_dict(theirs.state_dict())
        for mine, theirs in zip(self.norms, _of(unconditional, nn.BatchNorm2d), strict=True):
            weights = theirs.state_dict()
            state = {name: weights[of].expand(self.classes, -1) for name, of in (("gain", "weight"), ("bias", "bias"))}
            mine.load_state_dict({**state, "mean": weights["running_mean"], "variance": weights["running_var"]})


class ProjectionDCGANDiscriminator(nn.Module):
    """Images (B, channels, S, S) in [-1, 1] and labels (B,), int64 -> logits (B,): psi(phi(x)) + <v_y, phi(x)>.

    The projection discriminator of Miyato and Koyama 2018 (arXiv 1802.05637) with phi the last maps of DCGAN's
    discriminator, whose pixels are not summed: S = 4 * 2**len(widths).
    """

    takes_labels = True

    def __init__(self, widths: Sequence[int] = (64, 128, 256), channels: int = 3, classes: int = 10):
        super().__init__()
        self.classes = classes
        self.halvings = nn.ModuleList(
            nn.Conv2d(before, after, 4, 2, 1) for before, after in itertools.pairwise([channels, *widths])
        )
        self.head = nn.Conv2d(widths[-1], 1, 4)
        self.projection = nn.Linear(widths[-1] * 16, classes, bias=False)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        maps = images
        for halving in self.halvings:
            maps = F.leaky_relu(halving(maps), SLOPE)
        products = self.projection(maps.flatten(1))
        return self.head(maps).flatten() + products.gather(1, labels[:, None]).squeeze(1)

    @torch.no_grad()
    def begin_as(self, unconditional: DCGANDiscriminator) -> None:
        """Copy its weights; the projection stays as it is. Raises RuntimeError where a shape differs."""
        for mine, theirs in zip((*self.halvings, self.head), _of(unconditional, nn.Conv2d), strict=True):
            mine.load_state_dict(theirs.state_dict())


def _of(network: nn.Module, kind: type[nn.Module]) -> list[nn.Module]:
    return [module for module in network.modules() if isinstance(module, kind)]
