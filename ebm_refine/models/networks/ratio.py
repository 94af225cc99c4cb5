"""Networks that give a log density ratio: a small one of its own, and a new head on frozen features.

The features are a discriminator's, or those of a network that was taught to see and never saw a generated image. The small
network is smooth (SiLU), since samplers follow the gradient of r, and without batch norm, so that r of an image depends on
that image alone. A fresh network of any sort says r = 0 everywhere, the ratio that knows nothing.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ebm_refine.models.networks.dcgan import DCGANDiscriminator
from ebm_refine.models.networks.encoder import ContrastiveEncoder
from ebm_refine.models.networks.resnet import ResNetClassifier

Layer = TypeVar("Layer", bound=nn.Module)
# Where a linear head cuts a standardised feature off.
FARTHEST = 6.0


class RatioNetwork(nn.Module):
    """Images (B, channels, H, W) in [-1, 1] -> r (B,): stages that halve it, their mean over pixels, two linear layers."""

    def __init__(self, widths: Sequence[int] = (32, 64, 96), channels: int = 3, hidden: int = 64):
        super().__init__()
        pairs = zip((channels, *widths), widths, strict=False)
        self.stages = nn.Sequential(*(RatioStage(before, after) for before, after in pairs))
        self.hidden = _scale_preserving(nn.Linear(widths[-1], hidden))
        self.act = nn.SiLU()
        self.last = _zeroed(nn.Linear(hidden, 1))

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.act(self.hidden(self.stages(images).mean(dim=(2, 3))))).squeeze(1)


class RatioStage(nn.Module):
    """(B, before, H, W) -> (B, after, H / 2, W / 2): a convolution that halves, and a residual one that begins at zero."""

    def __init__(self, before: int, after: int):
        super().__init__()
        self.halve = _scale_preserving(nn.Conv2d(before, after, 4, 2, 1))
        self.residual = _zeroed(nn.Conv2d(after, after, 3, 1, 1))
        self.act = nn.SiLU()

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.act(self.halve(images))
        return hidden + self.residual(self.act(hidden))


class RatioHead(nn.Module):
    """Images (B, channels, S, S) in [-1, 1] -> r (B,): a DCGAN discriminator's layers but the last, and a small head on them.

    All arguments but `hidden` are those of the `DCGANDiscriminator` whose layers `body` holds; only the head is to be trained.
    """

    def __init__(
        self,
        widths: Sequence[int] = (64, 128, 256),
        channels: int = 3,
        norm: str = "none",
        bias: bool = True,
        head_kernel: int = 4,
        hidden: int = 64,
    ):
        super().__init__()
        self.body = DCGANDiscriminator(widths, channels, norm, bias, head_kernel).main[:-1]
        self.hidden = nn.Conv2d(widths[-1], hidden, 1)
        self.act = nn.SiLU()
        self.last = _zeroed(nn.Conv2d(hidden, 1, head_kernel))

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.act(self.hidden(self.body(images)))).mean(dim=(1, 2, 3))


class FeatureRatio(nn.Module):
    """Images (B, C, H, W) in [-1, 1] -> r (B,): features of a frozen `body`, and a head on them.

    body: "resnet-classifier" or "contrastive-encoder", with its `arguments`; a classifier's last layer is left out. Density
    ratio in the feature space of a network of its own: Ding, Wang and Welch 2020 (arXiv 1909.10670). The ratio of the features'
    laws is the generator's mean of exp(r) over the images with those features, so it is never steeper than that of the images.

    `layers`: the body's "last" features, or those of "all" its layers, so that textures cannot go wrong unseen.
    `pixels` > 0: the image, averaged down to `pixels` x `pixels`, stands beside them, so that brightness, colour and layout
    cannot go wrong unseen either: a classifier learns to overlook these.
    `hidden`: width of the head's two hidden layers; 0: the head is linear in the standardised features, each cut off at six
    standard deviations, so that r is bounded. Fitted by cross-entropy it is a logistic regression.
    """

    def __init__(
        self,
        body: str,
        arguments: dict[str, Any],
        hidden: int = 128,
        dropout: float = 0.3,
        layers: str = "last",
        pixels: int = 0,
    ):
        super().__init__()
        if body not in BODIES:
            raise ValueError(f"body must be one of {', '.join(BODIES)}; got {body!r}")
        if layers not in ("last", "all"):
            raise ValueError(f"layers must be 'last' or 'all', got {layers!r}")
        self.body, self.layers, self.pixels = BODIES[body](**arguments), layers, pixels
        if isinstance(self.body, ResNetClassifier):
            self.body.head = nn.Identity()  # type: ignore[assignment]
        width = self.body.num_features if layers == "last" else sum(self.body.layer_widths)
        width += pixels * pixels * arguments.get("in_channels", 3)
        norm = nn.BatchNorm1d(width, affine=False)
        if hidden == 0:
            self.head = nn.Sequential(norm, nn.Hardtanh(-FARTHEST, FARTHEST))
        else:
            self.head = nn.Sequential(
                norm,
                _scale_preserving(nn.Linear(width, hidden)),
                nn.SiLU(),
                nn.Dropout(dropout),
                _scale_preserving(nn.Linear(hidden, hidden)),
                nn.SiLU(),
                nn.Dropout(dropout),
            )
        self.last = _zeroed(nn.Linear(hidden or width, 1))

    def forward(self, images: Tensor) -> Tensor:
        return self.of_features(self.features(images))

    def features(self, images: Tensor) -> Tensor:
        """What the head sees of images (B, C, H, W): (B, d)."""
        seen = self.body.features(images) if self.layers == "last" else torch.cat(self.body.layers(images), dim=1)
        if not self.pixels:
            return seen
        return torch.cat([seen, F.adaptive_avg_pool2d(images, self.pixels).flatten(1)], dim=1)

    def of_features(self, features: Tensor) -> Tensor:
        """r (B,) of what `features` gave (B, d)."""
        return self.last(self.head(features)).squeeze(1)


BODIES: dict[str, Any] = {"resnet-classifier": ResNetClassifier, "contrastive-encoder": ContrastiveEncoder}


@torch.no_grad()
def _scale_preserving(layer: Layer) -> Layer:
    """Weights under which a signal keeps its scale (He et al. 2015) through SiLU, whose gain is 1.68.

    PyTorch's own shrink it threefold a layer; such a network still gave r = 0 after 750 steps on CIFAR-10.
    """
    weight, bias = layer.parameters()
    if weight.is_meta:  # to be filled from a file; random numbers without storage load a second's worth of PyTorch
        return layer
    nn.init.kaiming_normal_(weight, nonlinearity="linear")
    weight.mul_(1.68)
    nn.init.zeros_(bias)
    return layer


def _zeroed(layer: Layer) -> Layer:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
