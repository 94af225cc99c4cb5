"""The kinds of features that make up an evidence panel, each from uint8 images (N, C, H, W) to rows of features (N, d).

Kinds, not networks: two classifiers of the same labels overlook the same things, so all layers of a classifier are one kind
and have one vote. "filter bank" and "pixels" need no training and take images of any size.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ebm_refine import catalogue
from ebm_refine.errors import InputError
from ebm_refine.metrics.filter_bank import filter_responses
from ebm_refine.models.networks.encoder import ContrastiveEncoder
from ebm_refine.models.networks.panel_encoders import PanelEncoders
from ebm_refine.models.networks.resnet import ResNetClassifier
from ebm_refine.utils import cancellation

PIXELS = "pixels"
KINDS = ("classifier", "contrastive", "autoencoder", "filter bank", PIXELS)
# Which kind a ratio belongs to that sees with such a network.
BODY_KINDS = {
    "resnet-classifier": "classifier",
    "contrastive-encoder": "contrastive",
}
DATASETS = ("cifar10", "mnist", "celeba")
CELLS = 8
CHUNK = 50
BORROWED_SIDE = 32


def kinds_seen(config: Mapping[str, Any], ratio: str | None = "refitted") -> tuple[str, ...]:
    """The kinds of features that a model's refitted ratio sees, by its checkpoint's config; none for other ratios."""
    part = config.get("parts", {}).get("ratio", {})
    if ratio != "refitted" or part.get("architecture") != "feature-ratio":
        return ()
    arguments = part["arguments"]
    body = BODY_KINDS.get(arguments.get("body"))
    return (*([body] if body else []), *([PIXELS] if arguments.get("pixels") else []))


class Kind(NamedTuple):
    """`extract`: uint8 (B, C, H, W) -> (B, d) float32. `title` describes it, `sha256` is that of its weights, "" if none."""

    name: str
    title: str
    extract: Callable[[Tensor], Tensor]
    sha256: str = ""

    @torch.no_grad()
    def features(self, pixels: Tensor) -> Tensor:
        """Features (N, d) float32 of uint8 images (N, C, H, W), in chunks."""
        found = []
        for part in pixels.split(CHUNK):
            cancellation.check()
            found.append(self.extract(part))
        return torch.cat(found)


def kinds_of(dataset: str) -> tuple[Kind, ...]:
    """The five kinds of a built-in data set. Raises InputError for another name."""
    if dataset not in DATASETS:
        raise InputError(f"a panel is embedded for {', '.join(DATASETS)}; got {dataset!r}; for other images give `real`")
    return kinds_with(dataset, *_part(f"{dataset}-panel"))


def kinds_with(dataset: str, trained: PanelEncoders, sha256: str) -> tuple[Kind, ...]:
    """The five kinds of a data set, with the encoders `trained` for its panel, whose weights have the hash `sha256`."""
    if trained.contrastive is None:  # the data set's own extractor is of this kind
        contrastive, own = _part(f"{dataset}-features")
        classifier = _classifier("CIFAR-10 classifier, images at 32×32", _part("cifar10-features"), shrink=True)
    else:
        contrastive, own = trained.contrastive, sha256
        classifier = _classifier(f"classifier of {dataset}, deep and shallow layers", _part(f"{dataset}-features"))
    return (
        classifier,
        _contrastive(f"contrastive encoder of {dataset}", contrastive, own),
        _code("autoencoder", f"code of an autoencoder of {dataset}", trained, sha256),
        *training_free(),
    )


def borrowed_kinds() -> tuple[Kind, ...]:
    """The five kinds for images of any data set: CIFAR-10's encoders on images brought to 32×32, and the training-free."""
    trained, classifier = _part("cifar10-panel"), _part("cifar10-features")
    assert trained.network.contrastive is not None
    return (
        _classifier("CIFAR-10 classifier, images at 32×32", classifier, shrink=True),
        _contrastive("contrastive encoder of CIFAR-10, images at 32×32", trained.network.contrastive, trained.sha256, True),
        _code("autoencoder", "code of an autoencoder of CIFAR-10, images at 32×32", trained.network, trained.sha256, True),
        *training_free(),
    )


def training_free() -> tuple[Kind, ...]:
    """The two kinds that need no weights."""
    return (
        Kind("filter bank", "oriented band-pass filters, first and second order", filter_responses),
        Kind("pixels", f"{CELLS}×{CELLS} pixels, area-averaged", coarse_pixels),
    )


def coarse_pixels(pixels: Tensor) -> Tensor:
    """uint8 (B, C, H, W) -> (B, C * 64) float32 in [0, 1]: averages over an 8×8 grid of cells."""
    return F.adaptive_avg_pool2d(pixels.float().div_(255.0), CELLS).flatten(1)


def classifier_layers(network: ResNetClassifier, images: Tensor) -> Tensor:
    """Images (B, C, H, W) in [-1, 1] -> (B, d): the means over pixels of all stages but the last, and the last's maxima."""
    hidden = F.relu(network.whiten(images))
    found = [hidden.mean(dim=(2, 3))]
    for stage in network.stages:
        hidden = stage(hidden)
        found.append(hidden.mean(dim=(2, 3)))
    return torch.cat([*found[:-1], hidden.amax(dim=(2, 3))], dim=1)


class _Weights(NamedTuple):
    network: Any
    sha256: str


@lru_cache(maxsize=8)
def _part(name: str) -> _Weights:
    checkpoint = catalogue.load(name)
    return _Weights(checkpoint.networks["features"], checkpoint.hashes["features"])


def _unit(pixels: Tensor, shrink: bool) -> Tensor:
    """uint8 -> float32 in [-1, 1]; with `shrink` as RGB of 32×32, area-averaged where they are larger."""
    images = pixels.float()
    if shrink:
        side = (BORROWED_SIDE, BORROWED_SIDE)
        smaller = min(images.shape[-2:]) < BORROWED_SIDE
        images = F.interpolate(images, side, mode="bilinear") if smaller else F.adaptive_avg_pool2d(images, side)
        if images.shape[1] != 3:
            images = images.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    return images / 127.5 - 1.0


def _classifier(title: str, part: _Weights, shrink: bool = False) -> Kind:
    return Kind("classifier", title, lambda pixels: classifier_layers(part.network, _unit(pixels, shrink)), part.sha256)


def _contrastive(title: str, encoder: ContrastiveEncoder, sha256: str, shrink: bool = False) -> Kind:
    return Kind("contrastive", title, lambda pixels: encoder.features(_unit(pixels, shrink)), sha256)


def _code(name: str, title: str, trained: PanelEncoders, sha256: str, shrink: bool = False) -> Kind:
    return Kind(name, title, lambda pixels: trained.autoencoder(_unit(pixels, shrink)), sha256)
