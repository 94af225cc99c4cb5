"""Features in which samples are compared: an embedded, frozen classifier and what it made of held-out real images."""

from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ebm_refine import catalogue
from ebm_refine.errors import InputError
from ebm_refine.models.checkpoint import Checkpoint
from ebm_refine.utils import cancellation

CHUNK = 100


class Reference(NamedTuple):
    """Real images as features.

    `features` (M, d) float32 are those of the split's first M images and `kernel_rows` (M,) float64 their mean kernel values
    with each other; `mean` (d,) and `covariance` (d, d), float64, are of all `images` images of the split.
    """

    split: str
    features: Tensor
    kernel_rows: Tensor
    mean: Tensor
    covariance: Tensor
    images: int

    @classmethod
    def of_table(cls, split: str, table: dict[str, Tensor]) -> "Reference":
        """From the form in which a checkpoint stores it."""
        rows, kernel_rows = table["features"].float(), table["kernel_rows"].double()
        return cls(split, rows, kernel_rows, table["mean"].double(), table["covariance"].double(), int(table["images"]))


class FeatureExtractor(nn.Module):
    """uint8 images (B, C, H, W) -> features (B, d) float32; the form in which torchmetrics takes an extractor."""

    def __init__(self, checkpoint: Checkpoint):
        super().__init__()
        self.network: Any = checkpoint.networks["features"]
        self.num_features = checkpoint.config["parts"]["features"]["arguments"]["widths"][-1]
        self.shape = tuple(checkpoint.config["data"]["shape"])
        self.name = checkpoint.name
        self.sha256 = checkpoint.hashes["features"]
        self.title: str = checkpoint.config.get("title", checkpoint.name)
        self.floors: dict[str, Any] = checkpoint.config.get("floors", {})
        self.tables = checkpoint.tables
        self.references = {
            stem.removeprefix("reference-"): Reference.of_table(stem.removeprefix("reference-"), table)
            for stem, table in checkpoint.tables.items()
            if stem.startswith("reference-")
        }

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        if tuple(images.shape[1:]) != self.shape:
            given, wanted = ("x".join(map(str, shape)) for shape in (images.shape[1:], self.shape))
            raise InputError(
                f"extractor {self.name!r} measures images of {wanted}; got {given}: bring them to that size as its data "
                "set was, or measure against real images of your own"
            )
        return torch.cat([self._padded(part) for part in images.split(CHUNK)]) if len(images) else torch.empty(0)

    @torch.no_grad()
    def classes(self, features: Tensor) -> Tensor:
        """Which class (B,) int64 the extractor's own head gives to each row of `features` (B, d)."""
        return self.network.head(features).argmax(dim=1)

    def _padded(self, part: Tensor) -> Tensor:
        cancellation.check()
        count = len(part)
        part = torch.cat([part, part.new_zeros(CHUNK - count, *part.shape[1:])])
        return self.network.features(part.float().div_(127.5).sub_(1.0))[:count]

    def describe(self) -> dict[str, Any]:
        """The description that accompanies every number measured with this extractor."""
        return {"extractor": self.name, "title": self.title, "sha256": self.sha256, "dimension": self.num_features}


@lru_cache(maxsize=4)
def features_for(dataset: str) -> FeatureExtractor:
    """The embedded extractor of a data set ("cifar10", …). Raises InputError where none is embedded."""
    name = f"{dataset}-features"
    if not (catalogue.EMBEDDED / name).is_dir():
        raise InputError(f"no feature extractor {name!r} is embedded, so no distance can be measured on {dataset}")
    return FeatureExtractor(catalogue.load(name))
