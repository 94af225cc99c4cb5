"""Residual generators and discriminators of the SNGAN family (Miyato et al. 2018, arXiv 1802.05957), as public pairs have them.

The layers are those of kwotsin/mimicry: a linear stem, blocks of two 3x3 convolutions with a 1x1 way around, batch norms in the
generator, of each class its own gain and offset where it has classes, sums over pixels and a linear head in the discriminator,
with an inner product of a row for the class where it takes labels (Miyato and Koyama 2018, arXiv 1802.05637).
"""

import itertools
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from ebm_refine.models.networks.conditional_resnet import ConditionalBatchNorm

UPSAMPLINGS = ("bilinear", "nearest")
POOLINGS = ("sum", "mean")


class DoublingBlock(nn.Module):
    """Maps (B, before, S, S), and labels (B,) where there are `classes` -> (B, after, 2S, 2S)."""

    def __init__(self, before: int, after: int, classes: int, upsampling: str):
        super().__init__()
        self.upsampling = upsampling
        self.norm1, self.norm2 = (_norm(width, classes) for width in (before, after))
        self.conv1 = nn.Conv2d(before, after, 3, padding=1)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)
        self.around = nn.Conv2d(before, after, 1)

    def forward(self, maps: Tensor, *labels: Tensor) -> Tensor:
        # A 1x1 convolution and the doubling commute, since weights of an interpolation add up to 1.
        around = self._doubled(self.around(maps))
        inner = self.conv1(self._doubled(F.relu(self.norm1(maps, *labels))))
        return around + self.conv2(F.relu(self.norm2(inner, *labels)))

    def _doubled(self, maps: Tensor) -> Tensor:
        if self.upsampling == "nearest":
            return F.interpolate(maps, scale_factor=2)
        return F.interpolate(maps, scale_factor=2, mode="bilinear", align_corners=False)


class ResidualGenerator(nn.Module):
    """Latents (B, latent), float, and labels (B,) int64 where there are `classes` -> images (B, channels, S, S) in [-1, 1].

    `widths` are those of the stem, whose maps are `stem_side` squared, and of each block, which doubles the side:
    S = stem_side * 2**(len(widths) - 1).
    """

    def __init__(
        self,
        latent: int = 128,
        widths: Sequence[int] = (256, 256, 256, 256),
        channels: int = 3,
        stem_side: int = 4,
        classes: int = 0,
        upsampling: str = "bilinear",
    ):
        super().__init__()
        if upsampling not in UPSAMPLINGS:
            raise ValueError(f"upsampling must be one of {', '.join(UPSAMPLINGS)}, got {upsampling!r}")
        self.takes_labels = classes > 0
        self.latent, self.stem_side = latent, stem_side
        self.stem = nn.Linear(latent, widths[0] * stem_side**2)
        self.blocks = nn.ModuleList(
            DoublingBlock(before, after, classes, upsampling) for before, after in itertools.pairwise(widths)
        )
        self.norm = nn.BatchNorm2d(widths[-1])
        self.last = nn.Conv2d(widths[-1], channels, 3, padding=1)

    def forward(self, latents: Tensor, *labels: Tensor) -> Tensor:
        maps = self.stem(latents).unflatten(1, (-1, self.stem_side, self.stem_side))
        for block in self.blocks:
            maps = block(maps, *labels)
        return self.last(F.relu(self.norm(maps))).tanh()


class HalvingBlock(nn.Module):
    """Maps (B, before, S, S) -> (B, after, S, S), or half of S where it `pools`.

    The `first` block sees the image itself, without a ReLU before it. The way around is a 1x1 convolution where the width or
    the side changes, else nothing.
    """

    def __init__(self, before: int, after: int, pools: bool, first: bool):
        super().__init__()
        self.pools, self.first = pools, first
        inner = after if first else before
        self.conv1 = nn.Conv2d(before, inner, 3, padding=1)
        self.conv2 = nn.Conv2d(inner, after, 3, padding=1)
        self.around = nn.Conv2d(before, after, 1) if pools or before != after else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        inner = self.conv2(F.relu(self.conv1(maps if self.first else F.relu(maps))))
        if not self.pools:
            return inner + self.around(maps)
        # The mean and a 1x1 convolution commute.
        return F.avg_pool2d(inner, 2) + self.around(F.avg_pool2d(maps, 2))


class ResidualDiscriminator(nn.Module):
    """Images (B, channels, S, S) in [-1, 1], and labels (B,) int64 where there are `classes` -> logits (B,).

    `widths` of the blocks; the first `halvings` of them halve the side, the others keep it. `pooling` over the last maps'
    pixels: "sum", or "mean" (critics). Labels enter as <row of the class, pooled maps>.
    """

    def __init__(
        self,
        widths: Sequence[int] = (128, 128, 128, 128),
        channels: int = 3,
        halvings: int = 2,
        classes: int = 0,
        pooling: str = "sum",
    ):
        super().__init__()
        if pooling not in POOLINGS:
            raise ValueError(f"pooling must be one of {', '.join(POOLINGS)}, got {pooling!r}")
        self.takes_labels, self.pooling = classes > 0, pooling
        pairs = itertools.pairwise((channels, *widths))
        self.blocks = nn.ModuleList(
            HalvingBlock(before, after, number < halvings, number == 0) for number, (before, after) in enumerate(pairs)
        )
        self.head = nn.Linear(widths[-1], 1)
        if classes:
            self.projection = nn.Embedding(classes, widths[-1])

    def forward(self, images: Tensor, *labels: Tensor) -> Tensor:
        maps = images
        for block in self.blocks:
            maps = block(maps)
        pooled = F.relu(maps).sum(dim=(2, 3)) if self.pooling == "sum" else F.relu(maps).mean(dim=(2, 3))
        score = self.head(pooled).squeeze(1)
        return score + (self.projection(labels[0]) * pooled).sum(1) if self.takes_labels else score


def _norm(width: int, classes: int) -> nn.Module:
    return ConditionalBatchNorm(width, classes) if classes else nn.BatchNorm2d(width)
