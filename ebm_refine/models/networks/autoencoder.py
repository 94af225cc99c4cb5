"""A discriminator that is an autoencoder, its energy the error with which it reconstructs an image: low on data.

The family of EBGAN (Zhao et al. 2017, arXiv 1609.03126), BEGAN and MAGAN; their losses are `training.autoencoder_losses`.
"""

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

# What D(x) is of the difference (B, d) between an image and its reconstruction, pixels being in [-1, 1].
ERRORS: dict[str, Callable[[Tensor], Tensor]] = {
    "norm": lambda difference: torch.linalg.vector_norm(difference, dim=1),
    "mean-square": lambda difference: difference.square().mean(dim=1),
    "mean-absolute": lambda difference: difference.abs().mean(dim=1),
}


class AutoencoderDiscriminator(nn.Module):
    """Images (B, channels, side, side) in [-1, 1] -> energies D(x) (B,), at least 0.

    Convolutions to `widths` that each halve the image, linear layers to `hidden`, one to a code of `code` numbers, and the same
    backwards; batch norm and ReLU between them, batch norm alone at the code, tanh at the end. `widths` or `hidden` may be
    empty: without convolutions it is fully connected, as the EBGAN paper's on MNIST are. `side` is a multiple of
    2**len(widths).

    `error` says what D(x) is, and so in what unit a margin is: "norm", |x - Dec(Enc(x))|, as the EBGAN paper prints it;
    "mean-square" over pixels, that norm squared and divided by their number; "mean-absolute" over pixels, BEGAN's.
    """

    def __init__(
        self,
        widths: Sequence[int] = (16, 32),
        channels: int = 1,
        side: int = 28,
        hidden: Sequence[int] = (),
        code: int = 32,
        error: str = "norm",
    ):
        super().__init__()
        if error not in ERRORS:
            raise ValueError(f"error must be one of {', '.join(ERRORS)}, got {error!r}")
        if side % 2 ** len(widths):
            raise ValueError(f"side must be a multiple of 2**{len(widths)}, got {side}")
        self.error = error
        maps, small = (channels, *widths), side // 2 ** len(widths)
        rows = (maps[-1] * small**2, *hidden)
        down: list[nn.Module] = []
        for before, after in itertools.pairwise(maps):
            down += [nn.Conv2d(before, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
        down.append(nn.Flatten())
        for before, after in itertools.pairwise(rows):
            down += [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU(inplace=True)]
        self.encoder = nn.Sequential(*down, nn.Linear(rows[-1], code, bias=False), nn.BatchNorm1d(code))
        up: list[nn.Module] = []
        for before, after in itertools.pairwise((code, *reversed(hidden))):
            up += [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU(inplace=True)]
        up += [nn.Linear(hidden[0] if hidden else code, rows[0]), nn.Unflatten(1, (maps[-1], small, small))]
        for before, after in itertools.pairwise(reversed(maps)):
            up += [nn.BatchNorm2d(before), nn.ReLU(inplace=True), nn.ConvTranspose2d(before, after, 4, 2, 1)]
        self.decoder = nn.Sequential(*up, nn.Tanh())

    def encode(self, images: Tensor) -> Tensor:
        """Codes (B, code) of images."""
        return self.encoder(images)

    def reconstruct(self, images: Tensor) -> Tensor:
        """Dec(Enc(x)), images (B, channels, side, side) in [-1, 1]."""
        return self.decoder(self.encoder(images))

    def forward(self, images: Tensor) -> Tensor:
        return self.distance(images, self.reconstruct(images))

    def energy_and_code(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """D(x) (B,) and the codes (B, code), in one pass."""
        code = self.encoder(images)
        return self.distance(images, self.decoder(code)), code

    def distance(self, images: Tensor, reconstructed: Tensor) -> Tensor:
        """`error` of each image and its reconstruction, (B,) float32."""
        return ERRORS[self.error]((images.float() - reconstructed.float()).flatten(1))
