"""Class-conditional residual networks: conditional batch norm in the generator, a projection head in the discriminator.

The pair of Miyato and Koyama 2018, "cGANs with projection discriminator" (arXiv 1802.05637), with fewer channels, so that two
processor cores can train it. Both networks take the labels as a second argument.
"""

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConditionalBatchNorm(nn.Module):
    """Batch norm whose gain and bias are rows of a table, one row a class (Dumoulin et al. 2017, arXiv 1610.07629).

    Maps (B, channels, H, W) and labels (B,) int64 -> maps of the same shape and type.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, channels: int, classes: int, momentum: float = 0.1, eps: float = 1e-5):
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.gain = nn.Parameter(torch.ones(classes, channels))
        self.bias = nn.Parameter(torch.zeros(classes, channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))

    def forward(self, maps: Tensor, labels: Tensor) -> Tensor:
        gain, bias = self.gain[labels], self.bias[labels]
        if self.training:
            maps = F.batch_norm(maps, self.mean, self.variance, None, None, True, self.momentum, self.eps)
        else:
            gain = gain * (self.variance + self.eps).rsqrt()
            bias = bias - self.mean * gain
        return torch.addcmul(bias.to(maps.dtype)[:, :, None, None], maps, gain.to(maps.dtype)[:, :, None, None])


class UpBlock(nn.Module):
    """Maps (B, before, S, S) -> (B, after, 2S, 2S): norm, ReLU, doubling, convolution, twice; and a 1x1 way around."""

    def __init__(self, before: int, after: int, classes: int):
        super().__init__()
        self.norm1 = ConditionalBatchNorm(before, classes)
        self.conv1 = nn.Conv2d(before, after, 3, padding=1, bias=False)
        self.norm2 = ConditionalBatchNorm(after, classes)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)
        self.around = nn.Conv2d(before, after, 1)

    def forward(self, maps: Tensor, labels: Tensor) -> Tensor:
        # A 1x1 convolution and the doubling commute; in this order it costs a quarter.
        around = F.interpolate(self.around(maps), scale_factor=2)
        maps = self.conv1(F.interpolate(F.relu(self.norm1(maps, labels)), scale_factor=2))
        return around + self.conv2(F.relu(self.norm2(maps, labels)))


class ConditionalResNetGenerator(nn.Module):
    """Latents (B, latent), float, and labels (B,), int64 -> images (B, channels, S, S) in [-1, 1].

    `widths` are those of the stem, whose maps are `stem_side` squared, and of each block, which doubles the side:
    S = stem_side * 2**(len(widths) - 1).
    """

    takes_labels = True

    def __init__(
        self,
        latent: int = 100,
        widths: Sequence[int] = (256, 128, 64, 32),
        channels: int = 3,
        classes: int = 10,
        stem_side: int = 4,
    ):
        super().__init__()
        self.latent, self.classes, self.stem_side = latent, classes, stem_side
        self.stem = nn.Linear(latent, widths[0] * stem_side**2)
        self.blocks = nn.ModuleList(UpBlock(before, after, classes) for before, after in itertools.pairwise(widths))
        self.norm = nn.BatchNorm2d(widths[-1])
        self.last = nn.Conv2d(widths[-1], channels, 3, padding=1)

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        side = self.stem_side
        # Channels last: the values of one pixel lie together.
        maps = self.stem(latents).unflatten(1, (side, side, -1)).permute(0, 3, 1, 2)
        for block in self.blocks:
            maps = block(maps, labels)
        return self.last(F.relu(self.norm(maps))).tanh()


class ResidualBlock(nn.Module):
    """Maps (B, before, S, S) -> (B, after, S, S), or half of S where it pools: ReLU and convolution, twice, and a way around.

    The way around is a 1x1 convolution where the width changes, else nothing.
    """

    def __init__(self, before: int, after: int, pools: bool):
        super().__init__()
        self.pools = pools
        self.conv1 = nn.Conv2d(before, before, 3, padding=1)
        self.conv2 = nn.Conv2d(before, after, 3, padding=1)
        self.around = nn.Conv2d(before, after, 1) if before != after else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        inner = self.conv2(F.relu(self.conv1(F.relu(maps))))
        if self.pools:
            # The mean and a 1x1 convolution commute; in this order it costs a quarter.
            return F.avg_pool2d(inner, 2) + self.around(F.avg_pool2d(maps, 2))
        return inner + self.around(maps)


class ProjectionResNetDiscriminator(nn.Module):
    """Images (B, channels, S, S) in [-1, 1] and labels (B,), int64 -> logits (B,): psi(phi(x)) + <v_y, phi(x)>.

    phi sums the last maps over all pixels. The stem is a convolution of stride 2; each block widens to the next of `widths`
    and halves the side, and one more keeps both. S is a multiple of 2**len(widths).
    """

    takes_labels = True

    def __init__(self, widths: Sequence[int] = (48, 96, 192), channels: int = 3, classes: int = 10):
        super().__init__()
        self.classes = classes
        self.stem = nn.Conv2d(channels, widths[0], 4, 2, 1)
        self.blocks = nn.ModuleList(ResidualBlock(before, after, True) for before, after in itertools.pairwise(widths))
        self.blocks.append(ResidualBlock(widths[-1], widths[-1], False))
        self.head = nn.Linear(widths[-1], 1)
        self.projection = nn.Linear(widths[-1], classes, bias=False)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        maps = self.stem(images)
        for block in self.blocks:
            maps = block(maps)
        phi = F.relu(maps).sum(dim=(2, 3))
        # Rows of the projection are the v_y; all products at once cost less than a gather and differ from one by rounding.
        return self.head(phi).squeeze(1) + self.projection(phi).gather(1, labels[:, None]).squeeze(1)
