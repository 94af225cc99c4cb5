"""The common small convolutional energy of MNIST digits, with smooth activations, as its gradient is what chains follow.

A 5x5 and three 3x3 convolutions of stride 2, then two linear layers: the shape of the "Deep energy models" tutorial of the
University of Amsterdam's deep-learning course, whose public checkpoints can be imported (`ebm_refine.models.convert.convert`).
"""

import itertools
from collections.abc import Sequence

from torch import Tensor, nn


class EnergyCNN(nn.Module):
    """Images (B, channels, side, side), float, in [-1, 1] -> energies (B,).

    With `classes` it is a classifier read as an energy (Grathwohl et al. 2020, "Your classifier is secretly an energy based
    model and you should treat it like one", arXiv 1912.03263): `logits` f(x) are (B, classes), E(x, y) = -f(x)[y] and
    E(x) = -logsumexp f(x).
    """

    def __init__(self, widths: Sequence[int] = (16, 32, 64, 64), channels: int = 1, side: int = 28, classes: int = 0):
        super().__init__()
        self.classes = classes
        # The wide padding lets the first layer see the corners as often as the middle; 28 becomes 16.
        layers: list[nn.Module] = [nn.Conv2d(channels, widths[0], 5, stride=2, padding=4), nn.SiLU()]
        reached = (side + 8 - 5) // 2 + 1
        for before, after in itertools.pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.SiLU()]
            reached = (reached - 1) // 2 + 1
        hidden = widths[-1]
        layers += [nn.Flatten(), nn.Linear(hidden * reached**2, hidden), nn.SiLU(), nn.Linear(hidden, max(classes, 1))]
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        return -self.logits(images).logsumexp(dim=1) if self.classes else self.layers(images).squeeze(1)

    def logits(self, images: Tensor) -> Tensor:
        """f(x) (B, classes). Raises ValueError for an energy without classes."""
        if not self.classes:
            raise ValueError("an energy without classes has no logits")
        return self.layers(images)
