"""Conditional networks of the plainest kind: a row of a table for the class joins what an unconditional network is given.

Mirza and Osindero 2014 (arXiv 1411.1784). The table is learned (an embedding) or the identity (one-hot labels).
"""

from typing import Any

import torch
from torch import Tensor, nn

from ebm_refine.models.networks.activations import check_coding, coded
from ebm_refine.models.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from ebm_refine.models.networks.mlp import MLPDiscriminator, MLPGenerator

GENERATORS: dict[str, type[nn.Module]] = {"dcgan-generator": DCGANGenerator, "mlp-generator": MLPGenerator}
DISCRIMINATORS: dict[str, type[nn.Module]] = {"dcgan-discriminator": DCGANDiscriminator, "mlp-discriminator": MLPDiscriminator}
JOINS = ("first", "last", "product")


class LabelledGenerator(nn.Module):
    """Latents (B, latent), float, and labels (B,) int64 -> what `inner` makes of both.

    `joined`: the row stands "first", before the latent, or "last", or the latent is multiplied by it ("product").
    """

    takes_labels = True

    def __init__(self, inner: str, arguments: dict[str, Any], classes: int, width: int, joined: str):
        super().__init__()
        if inner not in GENERATORS or joined not in JOINS:
            raise ValueError(f"inner must be one of {', '.join(GENERATORS)}, joined of {', '.join(JOINS)}")
        self.joined = joined
        self.table = nn.Embedding(classes, width)
        self.inner = GENERATORS[inner](**arguments)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        rows = self.table(labels)
        if self.joined == "product":
            return self.inner(rows * latents)
        return self.inner(torch.cat([rows, latents] if self.joined == "first" else [latents, rows], 1))


class LabelledDiscriminator(nn.Module):
    """Images (B, C, H, W) in [-1, 1] and labels (B,) int64 -> numbers (B,), by an `inner` that is given both.

    A perceptron is given the image's numbers and the row, a DCGAN discriminator the image and the row as one more channel of
    its size; `joined` says whether the row stands "first" or "last". `coding`: "unit" where images were in [0, 1].
    """

    takes_labels = True

    def __init__(self, inner: str, arguments: dict[str, Any], classes: int, width: int, joined: str, coding: str = "signed"):
        super().__init__()
        if inner not in DISCRIMINATORS or joined not in JOINS[:2]:
            raise ValueError(f"inner must be one of {', '.join(DISCRIMINATORS)}, joined of {', '.join(JOINS[:2])}")
        self.joined, self.coding, self.as_channel = joined, check_coding(coding), inner == "dcgan-discriminator"
        self.table = nn.Embedding(classes, width)
        self.inner = DISCRIMINATORS[inner](**arguments)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        rows, images = self.table(labels), coded(images, self.coding)
        given = [images, rows.view(-1, 1, *images.shape[2:])] if self.as_channel else [images.flatten(1), rows]
        return self.inner(torch.cat(given if self.joined == "last" else given[::-1], 1))
