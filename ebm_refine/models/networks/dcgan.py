"""The DCGAN family (Radford et al. 2016, arXiv 1511.06434), shaped like the common public checkpoints.

Layers lie in one `nn.Sequential` called `main`, numbered as in the PyTorch example, so that a public state dict fits once its
arguments are read off its shapes (`ebm_refine.models.convert.convert`).
"""

import itertools
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from ebm_refine.models.networks.activations import SLOPE, SignedSigmoid, activation_of, check_coding, coded

LAST_OUTPUTS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "sigmoid": SignedSigmoid}
# The last layer of a generator by its kernel: stride and padding.
LAST_STRIDES = {4: (2, 1), 3: (1, 1), 1: (1, 0)}


class DCGANGenerator(nn.Module):
    """Latents (B, latent), float -> images (B, channels, S, S) in [-1, 1], S = stem_side * 2**len(widths).

    `stem` is the first layer: "transposed" (a transposed convolution of the latent, the PyTorch example) or "linear"; it makes
    maps of `stem_side` squared, 4 as in the paper, or 7 for images of 28x28. `last_kernel` is 4 (the last layer doubles the
    size), or 3 or 1 (it does not, as in some public 32x32 models: then S is half of that). `bias` gives every layer one; the
    original has none. `last_padding` cuts that much off every side behind a last kernel of 1 (some public 28x28 models).
    `activation` with its `slope`, and `output`, "tanh" or "sigmoid" (of images in [0, 1], brought to [-1, 1]), are the family's
    unless an import says otherwise.
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
        last_padding: int = 0,
        activation: str = "relu",
        slope: float = SLOPE,
        output: str = "tanh",
    ):
        super().__init__()
        self.latent = latent
        if output not in LAST_OUTPUTS:
            raise ValueError(f"output must be one of {', '.join(LAST_OUTPUTS)}, got {output!r}")
        act = partial(nn.ReLU, inplace=True) if activation == "relu" else activation_of(activation, slope)
        if stem == "transposed":
            layers: list[nn.Module] = [nn.ConvTranspose2d(latent, widths[0], stem_side, 1, 0, bias=bias)]
        elif stem == "linear":
            layers = [LinearStem(latent, widths[0], bias, stem_side)]
        else:
            raise ValueError(f"stem must be 'transposed' or 'linear', got {stem!r}")
        layers += [nn.BatchNorm2d(widths[0]), act()]
        for before, after in itertools.pairwise(widths):
            layers += [nn.ConvTranspose2d(before, after, 4, 2, 1, bias=bias), nn.BatchNorm2d(after), act()]
        if last_kernel not in LAST_STRIDES:
            raise ValueError(f"last_kernel must be one of {', '.join(map(str, LAST_STRIDES))}, got {last_kernel!r}")
        stride, padding = LAST_STRIDES[last_kernel]
        padding += last_padding
        layers += [nn.ConvTranspose2d(widths[-1], channels, last_kernel, stride, padding, bias=bias), LAST_OUTPUTS[output]()]
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
    positions. `head_padding` 1 pads the head's input and lets it halve once more (a public 28x28 model). `activation` with its
    `slope` is the family's unless an import says otherwise; `coding` "unit" where it was trained on images in [0, 1].
    """

    def __init__(
        self,
        widths: Sequence[int] = (64, 128, 256),
        channels: int = 3,
        norm: str = "none",
        bias: bool = True,
        head_kernel: int = 4,
        head_padding: int = 0,
        activation: str = "leaky",
        slope: float = SLOPE,
        coding: str = "signed",
    ):
        super().__init__()
        self.coding = check_coding(coding)
        leaky = partial(nn.LeakyReLU, slope, inplace=True)
        act = leaky if activation == "leaky" else activation_of(activation, slope)
        if norm not in ("none", "batch"):
            raise ValueError(f"norm must be 'none' or 'batch', got {norm!r}")
        layers: list[nn.Module] = []
        for position, (before, after) in enumerate(zip((channels, *widths), widths, strict=False)):
            layers.append(nn.Conv2d(before, after, 4, 2, 1, bias=bias))
            if norm == "batch" and position > 0:
                layers.append(nn.BatchNorm2d(after))
            layers.append(act())
        layers.append(nn.Conv2d(widths[-1], 1, head_kernel, 2 if head_padding else 1, head_padding, bias=bias))
        self.main = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        return self.main(coded(images, self.coding)).mean(dim=(1, 2, 3))


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
