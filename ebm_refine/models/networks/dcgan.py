"""The DCGAN family (Radford et al. 2016, arXiv 1511.06434), shaped like the common public checkpoints.

Layers lie in one `nn.Sequential` called `main`, numbered as in the PyTorch example, so that a public state dict fits once its
arguments are read off its shapes (`ebm_refine.models.convert.convert`).
"""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

# The last layer of a generator by its kernel: stride and padding.
LAST_STRIDES = {4: (2, 1), 3: (1, 1), 1: (1, 0)}


class DCGANGenerator(nn.Module):
    """Latents (B, latent), float -> images (B, channels, S, S) in [-1, 1], S = stem_side * 2**len(widths).

    `stem` is the first layer: "transposed" (a transposed convolution of the latent, the PyTorch example) or "linear"; it makes
    maps of `stem_side` squared, 4 as in the paper, or 7 for images of 28x28. `last_kernel` is 4 (the last layer doubles the
    size), or 3 or 1 (it does not, as in some public 32x32 models: then S is half of that). `bias` gives every layer one; the
    original has none.
    """

    def __init__(
        self,
        latent: int = 100,
        widths: Sequence[int] = (256, 128, 64),
        channels: int = 3,
        stem: str = "transposed",
        last_kernel: int = 4,
        bias: bool = False,
        stem_side: int = 4,
    ):
        super().__init__()
        self.latent = latent
        if stem == "transposed":
            layers: list[nn.Module] = [nn.ConvTranspose2d(latent, widths[0], stem_side, 1, 0, bias=bias)]
        elif stem == "linear":
            layers = [LinearStem(latent, widths[0], bias, stem_side)]
        else:
            raise ValueError(f"stem must be 'transposed' or 'linear', got {stem!r}")
        layers += [nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True)]
        for before, after in itertools.pairwise(widths):
            layers += [nn.ConvTranspose2d(before, after, 4, 2, 1, bias=bias), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
        if last_kernel not in LAST_STRIDES:
            raise ValueError(f"last_kernel must be one of {', '.join(map(str, LAST_STRIDES))}, got {last_kernel!r}")
        stride, padding = LAST_STRIDES[last_kernel]
        layers += [nn.ConvTranspose2d(widths[-1], channels, last_kernel, stride, padding, bias=bias), nn.Tanh()]
        self.main = nn.Sequential(*layers)

    def forward(self, latents: Tensor) -> Tensor:
        return self.main(latents[:, :, None, None])


class LinearStem(nn.Module):
    """Latents (B, latent, 1, 1) -> (B, width, side, side) through one linear layer."""

    def __init__(self, latent: int, width: int, bias: bool = False, side: int = 4):
        super().__init__()
        self.linear = nn.Linear(latent, width * side**2, bias=bias)
        self.width, self.side = width, side

    def forward(self, latents: Tensor) -> Tensor:
        return self.linear(latents.flatten(1)).view(-1, self.width, self.side, self.side)


class DCGANDiscriminator(nn.Module):
    """Images (B, channels, S, S) in [-1, 1] -> logits (B,), S = head_kernel * 2**len(widths), or more.

    `norm` is "none" (spectral norms are applied in training and baked before saving) or "batch" (public checkpoints; there
    the first convolution has no norm). `head_kernel` is 4, 7 for images of 28x28, or smaller where a public model averages over
    positions.
    """

    def __init__(
        self,
        widths: Sequence[int] = (64, 128, 256),
        channels: int = 3,
        norm: str = "none",
        bias: bool = True,
        head_kernel: int = 4,
    ):
        super().__init__()
        if norm not in ("none", "batch"):
            raise ValueError(f"norm must be 'none' or 'batch', got {norm!r}")
        layers: list[nn.Module] = []
        for position, (before, after) in enumerate(zip((channels, *widths), widths, strict=False)):
            layers.append(nn.Conv2d(before, after, 4, 2, 1, bias=bias))
            if norm == "batch" and position > 0:
                layers.append(nn.BatchNorm2d(after))
            layers.append(nn.LeakyReLU(0.2, inplace=True))
        layers.append(nn.Conv2d(widths[-1], 1, head_kernel, bias=bias))
        self.main = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        return self.main(images).mean(dim=(1, 2, 3))


@torch.no_grad()
def initialise(network: nn.Module, deviation: float = 0.02) -> None:
    """The DCGAN paper's initial weights: convolutions N(0, 0.02), batch-norm gains N(1, 0.02), biases 0.

    `deviation` is another one for the former.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, 0.0, deviation)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
            nn.init.zeros_(module.bias)
