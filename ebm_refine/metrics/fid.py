"""FID on demand: Inception-v3 features through torchmetrics, with weights and reference images downloaded on first use.

Only this is called FID here (Heusel et al. 2017, arXiv 1706.08500): the 2015-12-05 weights, the resize of the original
(`antialias=False`), 2,048 features, and at least 2,048 images on either side, below which a covariance cannot have full rank.
"""

import hashlib
import json
import urllib.request
from collections.abc import Iterable, Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torchmetrics.image.fid import FrechetInceptionDistance

from ebm_refine.errors import InputError
from ebm_refine.utils import cancellation
from ebm_refine.utils.atomic_io import replacing

URL = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
MIN_IMAGES = 2048
CHUNK = 50
TIMEOUT = 10.0


class Moments(NamedTuple):
    """Mean (d,) and covariance (d, d), float64, of the features of `images` images."""

    mean: Tensor
    covariance: Tensor
    images: int


class Inception:
    """An extractor within its torchmetrics metric; `sha256` is that of its weights. Make it with `open_inception`."""

    def __init__(self, metric: FrechetInceptionDistance, sha256: str):
        self.metric, self.sha256 = metric, sha256

    def describe(self) -> dict[str, Any]:
        """The description that accompanies every FID."""
        title = "FID, Inception-v3 2015-12-05, resize as in the original (no antialiasing)"
        return {"extractor": "inception-v3", "title": title, "sha256": self.sha256}

    def moments(self, batches: Iterable[Tensor]) -> Moments:
        """Of uint8 images (B, C, H, W), C = 1 or 3, that come in batches. Raises InputError for fewer than 2,048 in all."""
        self.metric.reset()
        for batch in batches:
            self._update(batch, real=True)
        count = int(self.metric.real_features_num_samples)
        if count < MIN_IMAGES:
            raise InputError(f"FID needs at least {MIN_IMAGES} images on either side; got {count}")
        mean = self.metric.real_features_sum / count
        covariance = (self.metric.real_features_cov_sum - count * torch.outer(mean, mean)) / (count - 1)
        return Moments(mean.cpu(), covariance.cpu(), count)

    def fid(self, images: Tensor, reference: Moments) -> float:
        """FID of uint8 images (N, C, H, W) to the reference. Raises InputError for fewer than 2,048 on either side."""
        if min(len(images), reference.images) < MIN_IMAGES:
            raise InputError(f"FID needs at least {MIN_IMAGES} images on either side; got {len(images)} and {reference.images}")
        self.metric.reset()
        self._update(images, real=False)
        mean, covariance = reference.mean.to(self.metric.device), reference.covariance.to(self.metric.device)
        self.metric.real_features_sum = mean * reference.images
        self.metric.real_features_cov_sum = covariance * (reference.images - 1) + reference.images * torch.outer(mean, mean)
        self.metric.real_features_num_samples = torch.tensor(reference.images, device=self.metric.device)
        return float(self.metric.compute())

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Features (B, 2048) of uint8 images (B, C, H, W), C = 1 or 3."""
        coloured = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
        return self.metric.inception(coloured.to(self.metric.device)).float().cpu()

    def _update(self, images: Tensor, real: bool) -> None:
        for part in images.split(CHUNK):
            cancellation.check()
            coloured = part.expand(-1, 3, -1, -1) if part.shape[1] == 1 else part
            self.metric.update(coloured.to(self.metric.device), real=real)


def open_inception(weights: str | Path | None = None, device: str = "cpu") -> Inception:
    """Build the extractor from a weights file, or else from torch's own cache, where they are downloaded to (95 MB).

    No file is opened but the one with the published sha256. Raises InputError where it cannot be had or is another.
    """
    file = Path(weights) if weights is not None else _downloaded()
    if not file.is_file():
        raise InputError(f"Inception-v3 weights {str(file)!r} are not there; they are published as {URL}")
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != SHA256:
        raise InputError(
            f"{file} is not the Inception-v3 weights: its sha256 begins {found[:8]}, not {SHA256[:8]}; fetch {URL}"
        )
    try:
        metric = FrechetInceptionDistance(
            feature=2048, antialias=False, normalize=False, feature_extractor_weights_path=str(file)
        )
    except ModuleNotFoundError:
        raise InputError("FID needs torch-fidelity; install it with `pip install torch-fidelity`") from None
    return Inception(metric.to(device), SHA256)


def reference_moments(
    inception: Inception, dataset: str, split: str = "train", count: int | None = None, cache: Path | None = None
) -> Moments:
    """Moments of the first `count` images (None: all) of a data set's split, read through `datasets`.

    dataset: a Hub id ("uoft-cs/cifar10") or a folder that `datasets` reads. They are stored in `cache`, by default in the
    Hugging Face cache, under data set, split, count and extractor hash. Raises InputError where the images cannot be had.
    """
    if count is not None and count < MIN_IMAGES:
        raise InputError(f"FID needs at least {MIN_IMAGES} images on either side; got {count}")
    key = json.dumps([dataset, split, count, inception.sha256, "antialias=False"])
    file = (cache or _cache()) / f"inception-moments-{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors"
    try:
        stored = load_file(file)
        return Moments(stored["mean"], stored["covariance"], int(stored["images"]))
    except (OSError, SafetensorError, KeyError):
        pass  # not there yet, or damaged: measured anew
    moments = inception.moments(_images(dataset, split, count))
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as temporary:
        tensors = {"mean": moments.mean, "covariance": moments.covariance, "images": torch.tensor(moments.images)}
        save_file(tensors, temporary, metadata={"of": key})
    return moments


def _cache() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HOME) / "ebm_refine"


def _downloaded() -> Path:
    """The weights where torchmetrics looks for them, downloaded if needed."""
    file = Path(torch.hub.get_dir()) / "checkpoints" / URL.rsplit("/", 1)[1]
    if file.is_file():
        return file
    try:
        with urllib.request.urlopen(URL, timeout=TIMEOUT) as answer:
            content = answer.read()
        found = hashlib.sha256(content).hexdigest()
        if found != SHA256:
            raise InputError(f"{URL} gave something else than the Inception-v3 weights: its sha256 begins {found[:8]}")
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as temporary:
            temporary.write_bytes(content)
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise InputError(
            f"Inception-v3 weights cannot be had from {URL} ({reason}); check the network, or fetch them elsewhere and name "
            "the file; distances in embedded features work without them"
        ) from None
    return file


def _images(dataset: str, split: str, count: int | None) -> Iterator[Tensor]:
    """The images of a data set as uint8 batches (B, C, H, W)."""
    try:
        from datasets import Image, load_dataset
    except ModuleNotFoundError:
        raise InputError("FID needs its reference images through datasets; install it with `pip install datasets`") from None
    try:
        rows = load_dataset(dataset, split=split)
    except Exception as error:  # the library raises many sorts, for a missing name, split or network
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"reference images {dataset!r}, split {split!r}, cannot be read: {reason}") from None
    column = next((name for name, feature in rows.features.items() if isinstance(feature, Image)), None)
    if column is None:
        raise InputError(f"reference data set {dataset!r} has no column of images, only {', '.join(rows.column_names)}")
    if count is not None:
        if len(rows) < count:
            raise InputError(f"reference data set {dataset!r} has {len(rows)} images in split {split!r}, fewer than {count}")
        rows = rows.select(range(count))
    for batch in rows.select_columns([column]).iter(batch_size=CHUNK):
        pixels = [np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB")) for image in batch[column]]
        if len({image.shape for image in pixels}) > 1:
            raise InputError(f"reference data set {dataset!r} has images of several sizes in column {column!r}")
        tensor = torch.from_numpy(np.stack(pixels))
        yield tensor[:, None] if tensor.ndim == 3 else tensor.permute(0, 3, 1, 2)
