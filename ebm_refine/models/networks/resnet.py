"""A small residual classifier whose penultimate layer serves as features for distances.

Three stages of convolution, max-pooling, batch norm and one residual convolution, after a fixed first layer that whitens
2x2 patches. The shape follows the fast CIFAR-10 networks of Page ("How to train your ResNet", 2018) and Jordan
(arXiv 2404.00498); the widths are smaller, so that the weights fit in one megabyte at half precision.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ResNetClassifier(nn.Module):
    """Images (B, C, H, W), float, in [-1, 1] -> class logits (B, classes); `features` gives (B, widths[-1])."""

    def __init__(self, in_channels: int = 3, widths: tuple[int, int, int] = (56, 112, 112), classes: int = 10):
        super().__init__()
        patch = in_channels * 4
        self.whiten = nn.Conv2d(in_channels, 2 * patch, 2, bias=False)
        self.whiten.weight.requires_grad_(False)
        self.stages = nn.ModuleList(
            Stage(before, after) for before, after in zip((2 * patch, *widths[:-1]), widths, strict=True)
        )
        self.head = nn.Linear(widths[-1], classes)
        self.num_features, self.layer_widths = widths[-1], (2 * patch, *widths)

    def features(self, images: Tensor) -> Tensor:
        hidden = F.relu(self.whiten(images))
        for stage in self.stages:
            hidden = stage(hidden)
        return hidden.amax(dim=(2, 3))

    def layers(self, images: Tensor) -> list[Tensor]:
        """Images (B, C, H, W) -> what each layer sees, shallow to deep: means over pixels (B, width); of the last maxima."""
        hidden = F.relu(self.whiten(images))
        found = [hidden.mean(dim=(2, 3))]
        for stage in self.stages:
            hidden = stage(hidden)
            found.append(hidden.mean(dim=(2, 3)))
        return [*found[:-1], hidden.amax(dim=(2, 3))]

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))

    @torch.no_grad()
    def set_whitening(self, images: Tensor, floor: float = 5e-4) -> None:
        """Fit the first layer to `images` (B, C, H, W): eigenvectors of 2x2 patches over the roots of their eigenvalues.

        Each direction appears with both signs, so that the ReLU behind it loses nothing.
        """
        patches = F.unfold(images, 2).transpose(1, 2).reshape(-1, self.whiten.weight[0].numel())
        covariance = patches.T.double() @ patches.double() / len(patches)
        values, vectors = torch.linalg.eigh(covariance)
        filters = (vectors / (values + floor).sqrt()).T.reshape(-1, *self.whiten.weight.shape[1:]).float()
        self.whiten.weight.copy_(torch.cat([filters, -filters]))


class Stage(nn.Module):
    def __init__(self, before: int, after: int):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)

    def forward(self, hidden: Tensor) -> Tensor:
        # Pooling before the norm halves its cost; max and a positive affine map commute.
        hidden = F.relu(self.norm1(F.max_pool2d(self.conv1(hidden), 2)))
        return hidden + F.relu(self.norm2(self.conv2(hidden)))
