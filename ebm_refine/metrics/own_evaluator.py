"""The evaluator of a user's own model: against the user's real samples, in features that fit them.

Images: an embedded extractor where one takes their size, else training-free features, Inception-v3 for FID and KID, or any
callable. Vectors: coordinates standardised by the real ones, random Fourier features of them (Rahimi and Recht 2007) for the
kernel distance, and a classifier two-sample test (Lopez-Paz and Oquab 2017, arXiv 1610.06545).
"""

import hashlib
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ebm_refine.errors import InputError
from ebm_refine.metrics.distances import frechet_distance, kernel_distance, mean_kernel_of_others, paired_difference
from ebm_refine.metrics.evaluator import Evaluator
from ebm_refine.metrics.features import Reference, features_for
from ebm_refine.metrics.fid import MIN_IMAGES
from ebm_refine.metrics.report import described
from ebm_refine.parameters import shorten
from ebm_refine.utils import cancellation

# Embedded extractors by the shape of the images that they take.
EMBEDDED = {(1, 28, 28): "mnist", (3, 32, 32): "cifar10", (3, 64, 64): "celeba"}
EXTRACTORS = ("auto", "inception")
CHUNK = 50
CELLS = 8
LEAST, MOST_KERNEL = 100, 5000
FOURIER, FOURIER_SEED = 256, 0
FOLDS = 5


class Extractor(NamedTuple):
    """`extract`: uint8 (B, C, H, W) -> (B, d); `least` images on either side; `title` and `sha256` identify it."""

    extract: Callable[[Tensor], Any]
    title: str
    sha256: str
    least: int = LEAST
    inception: bool = False

    @torch.no_grad()
    def rows(self, pixels: Tensor) -> Tensor:
        found = []
        for part in pixels.split(CHUNK):
            cancellation.check()
            found.append(torch.as_tensor(self.extract(part)).float().cpu())
        rows = torch.cat(found)
        if rows.ndim != 2 or len(rows) != len(pixels) or not rows.isfinite().all():
            raise InputError(
                f"the extractor must give finite features (B, d); got {tuple(rows.shape)} for {len(pixels)} images"
            )
        return rows


def own_evaluator(real: Tensor, extractor: Any = "auto", device: str = "cpu") -> Evaluator:
    """Against `real`, uint8 images (N, C, H, W) or vectors (N, d) float32. `extractor`: "auto", "inception" or a callable.

    Raises InputError for an extractor that does not take the images, and for too few of them.
    """
    if real.ndim == 2:
        if extractor != "auto":
            raise InputError(f"vectors are measured in their own coordinates: extractor must be auto; got {shorten(extractor)}")
        return _of_vectors(real)
    if extractor == "inception" and len(real) < MIN_IMAGES:  # before its weights are fetched
        raise InputError(
            f"inception needs at least {MIN_IMAGES} real images; got {len(real)}: give more, or --extractor auto (in Python "
            f"extractor='auto'), which takes {LEAST}"
        )
    chosen = _extractor(tuple(real.shape[1:]), extractor, device)
    if len(real) < chosen.least:
        raise InputError(f"{chosen.title} needs at least {chosen.least} real images; got {len(real)}: give more")
    rows = chosen.rows(real)
    if not bool((rows != rows[:1]).any()):
        raise InputError(f"{chosen.title} are the same for all {len(real)} real images: they can tell no images apart")
    reference, size = reference_of(rows), rows.shape[1]

    def measure(before: Tensor, after: Tensor) -> dict[str, Any]:
        for side in (before, after):
            if side.shape[1:] != real.shape[1:]:
                made, wanted = ("x".join(map(str, one.shape[1:])) for one in (side, real))
                raise InputError(f"the model makes images of {made}, the real ones are {wanted}: bring them to one size")
        features = {"before": chosen.rows(before), "after": chosen.rows(after)}
        measures: dict[str, Any] = _kernel(features, reference)
        if min(len(before), len(real)) >= (chosen.least if chosen.inception else 10 * size):
            name = "fid" if chosen.inception else "frechet_distance"
            measures[name] = {which: frechet_distance(one, reference) for which, one in features.items()}
        return measures

    description = {
        "extractor": "inception-v3" if chosen.inception else "own",
        "title": chosen.title,
        "sha256": chosen.sha256,
        "dimension": size,
        "reference": {"split": "own real", "images": len(real)},
    }
    return Evaluator(measure, chosen.least, description, f"{chosen.sha256} {_hash(real)}", lambda count: _floors(rows, count))


def _kernel(features: dict[str, Tensor], reference: Reference) -> dict[str, Any]:
    """Of the first 5,000 samples at most, since the kernel takes every pair of them."""
    features = {name: rows[:MOST_KERNEL] for name, rows in features.items()}
    estimates = {name: kernel_distance(rows, reference) for name, rows in features.items()}
    estimates["difference"] = paired_difference(features["before"], features["after"], reference)
    return {"kernel_distance": {name: described(one) for name, one in estimates.items()}}


def reference_of(rows: Tensor) -> Reference:
    """Features (N, d) of real samples as a reference; the kernel distance sees at most 5,000 of them."""
    first, exact = rows[:MOST_KERNEL], rows.double()
    return Reference("real", first, mean_kernel_of_others(first), exact.mean(0), torch.cov(exact.T), len(rows))


def _floors(rows: Tensor, count: int) -> dict[str, Any]:
    """The kernel distance of one half of the real samples from the other."""
    half = len(rows) // 2
    size = min(half, count)
    found = kernel_distance(rows[half : half + size], reference_of(rows[:half]))
    return {str(size): {"kernel_distance_mean": found.value, "kernel_distance_sd": found.error, "num_images": size}}


def _extractor(shape: tuple[int, ...], extractor: Any, device: str) -> Extractor:
    if extractor == "auto":
        if shape in EMBEDDED:
            embedded = features_for(EMBEDDED[shape])
            return Extractor(embedded, embedded.title, embedded.sha256)
        return Extractor(coarse, f"{CELLS}x{CELLS} pixels, area-averaged: colours and coarse layout alone", "8x8")
    if extractor == "inception":
        from ebm_refine.metrics.fid import open_inception

        opened = open_inception(device=device)
        return Extractor(opened.features, opened.describe()["title"], opened.sha256, MIN_IMAGES, inception=True)
    if not callable(extractor):
        raise InputError(f"extractor must be one of {', '.join(EXTRACTORS)}, or a callable; got {shorten(extractor)}")
    probe = torch.randint(0, 256, (4, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    try:
        given = torch.as_tensor(extractor(probe)).float()
    except Exception as error:
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"the extractor fails on uint8 images of shape {tuple(probe.shape)}: {said}") from None
    if given.ndim != 2 or len(given) != len(probe):
        raise InputError(f"the extractor must give features (B, d); got {tuple(given.shape)} for {len(probe)} images")
    name = getattr(extractor, "__name__", type(extractor).__name__)
    return Extractor(extractor, f"features of {name}", hashlib.sha256(given.detach().cpu().numpy().tobytes()).hexdigest())


def coarse(pixels: Tensor) -> Tensor:
    """uint8 (B, C, H, W) -> (B, C * 64) in [0, 1]: averages over an 8x8 grid of cells."""
    return F.adaptive_avg_pool2d(pixels.float() / 255, CELLS).flatten(1)


def _of_vectors(real: Tensor) -> Evaluator:
    if len(real) < LEAST:
        raise InputError(f"at least {LEAST} real vectors are needed; got {len(real)}")
    mean, deviation = real.mean(0), real.std(0)
    scale = torch.where(deviation > 0, deviation, 1.0)
    standard = (real - mean) / scale
    fourier = _fourier(standard)
    reference, plain = reference_of(fourier(standard)), reference_of(standard)

    def measure(before: Tensor, after: Tensor) -> dict[str, Any]:
        sides = {"before": (before - mean) / scale, "after": (after - mean) / scale}
        found = _kernel({name: fourier(side) for name, side in sides.items()}, reference)
        if min(len(before), len(real)) >= 10 * real.shape[1]:
            found["frechet_distance"] = {name: frechet_distance(side, plain) for name, side in sides.items()}
        found["classifier_accuracy"] = {name: two_sample_accuracy(standard, side) for name, side in sides.items()}
        return found

    description = {
        "title": f"standardised coordinates; kernel distance in {FOURIER} random Fourier features; accuracy of a classifier of "
        "real against generated, 0.5 where it can tell nothing",
        "reference": {"split": f"{len(real)} own real vectors"},
    }
    rows = fourier(standard)
    return Evaluator(measure, LEAST, description, f"vectors {_hash(real)}", lambda count: _floors(rows, count))


def _fourier(standard: Tensor) -> Callable[[Tensor], Tensor]:
    """Random Fourier features of a Gaussian kernel whose width is the median distance of real vectors."""
    source = torch.Generator().manual_seed(FOURIER_SEED)
    some = standard[torch.randperm(len(standard), generator=source)[:500]]
    width = float(torch.pdist(some).median().clamp(min=1e-6))
    directions = torch.randn(standard.shape[1], FOURIER, generator=source) / width
    phases = 2 * math.pi * torch.rand(FOURIER, generator=source)
    return lambda rows: math.sqrt(2.0) * torch.cos(rows @ directions + phases)


def two_sample_accuracy(real: Tensor, generated: Tensor) -> float:
    """Held-out accuracy, over five folds, of gradient-boosted trees that tell real from generated vectors, equally many."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    count = min(len(real), len(generated), 2000)
    rows = torch.cat([real[:count], generated[:count]]).numpy()
    labels = torch.cat([torch.ones(count), torch.zeros(count)]).numpy()
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    trees = HistGradientBoostingClassifier(max_iter=60, random_state=0)
    return float(cross_val_score(trees, rows, labels, cv=folds).mean())


def _hash(real: Tensor) -> str:
    return hashlib.sha256(real.contiguous().numpy().tobytes()).hexdigest()[:16]
