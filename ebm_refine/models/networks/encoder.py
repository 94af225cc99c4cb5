"""A small encoder of images for contrastive training, whose output serves as features for distances.

A strided convolution, residual stages as in `networks.resnet`, mean pooling, one linear layer, and a batch norm without
parameters: every feature has mean 0 and variance 1 over the images it was fitted to, so that the kernel distance, which knows
no scale, weighs all alike.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from ebm_refine.models.networks.resnet import Stage


class ContrastiveEncoder(nn.Module):
    """Images (B, C, S, S), float, in [-1, 1] -> features (B, widths[-1]). S is a multiple of 4, 16 or more."""

    def __init__(self, in_channels: int = 3, widths: Sequence[int] = (32, 48, 64, 96, 64)):
        super().__init__()
        first, *inner, dimension = widths
        self.stem = nn.Conv2d(in_channels, first, 4, 2, 1)
        self.stages = nn.ModuleList(Stage(before, after) for before, after in zip((first, *inner[:-1]), inner, strict=True))
        self.linear = nn.Linear(inner[-1], dimension, bias=False)
        self.norm = nn.BatchNorm1d(dimension, affine=False)
        self.num_features, self.layer_widths = dimension, (first, *inner, dimension)

    def features(self, images: Tensor) -> Tensor:
        hidden = F.leaky_relu(self.stem(images), 0.2)
        for stage in self.stages:
            hidden = stage(hidden)
        return self.norm(self.linear(hidden.mean(dim=(2, 3))).float())

    def layers(self, images: Tensor) -> list[Tensor]:
        """Images (B, C, S, S) -> what each layer sees, shallow to deep: means over pixels (B, width), then the features."""
        hidden = F.leaky_relu(self.stem(images), 0.2)
        found = [hidden.mean(dim=(2, 3))]
        for stage in self.stages:
            hidden = stage(hidden)
            found.append(hidden.mean(dim=(2, 3)))
        return [*found, self.norm(self.linear(found[-1])).float()]

    def forward(self, images: Tensor) -> Tensor:
        return self.features(images)
