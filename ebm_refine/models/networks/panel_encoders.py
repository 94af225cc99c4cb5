"""The trained encoders of an evidence panel in one network: one trained without labels, one half of an autoencoder."""

from collections.abc import Sequence

from torch import Tensor, nn

from ebm_refine.models.networks.autoencoder import AutoencoderDiscriminator
from ebm_refine.models.networks.encoder import ContrastiveEncoder


class PanelEncoders(nn.Module):
    """Images (B, channels, side, side), float, in [-1, 1] -> one row of features by each encoder.

    `contrastive` are the widths of a `ContrastiveEncoder`, empty where the data set's own extractor is one already;
    `autoencoder` those of the convolutions of an `AutoencoderDiscriminator`, whose encoder half gives
    a code of `code` numbers.
    """

    def __init__(
        self,
        channels: int = 3,
        side: int = 32,
        contrastive: Sequence[int] = (32, 48, 64, 96, 64),
        autoencoder: Sequence[int] = (24, 48, 96),
        code: int = 64,
    ):
        super().__init__()
        self.contrastive = ContrastiveEncoder(channels, contrastive) if contrastive else None
        self.autoencoder = AutoencoderDiscriminator(autoencoder, channels, side, code=code).encoder

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """By kind, "contrastive" (B, contrastive[-1]) where there is one, and "autoencoder" (B, code)."""
        found = {"autoencoder": self.autoencoder(images)}
        return found if self.contrastive is None else {"contrastive": self.contrastive(images), **found}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return self.features(images)
