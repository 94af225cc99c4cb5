"""The report on a small batch: kernel distances with intervals, their paired difference, and the floors beside."""

from typing import Any

from torch import Tensor

from ebm_refine.errors import InputError
from ebm_refine.metrics.distances import (
    Estimate,
    frechet_distance,
    kernel_distance,
    paired_difference,
    paired_frechet_difference,
)
from ebm_refine.metrics.features import FeatureExtractor, Reference
from ebm_refine.metrics.precision_recall import NEIGHBOURS, SHARES, overlap, squared_radii

MANIFOLD_IMAGES = 1000
# A class counts as a mode that was found where it has this share of what would be its part among equals.
PRESENT = 0.1


def compare(before: Tensor, after: Tensor, extractor: FeatureExtractor, split: str = "test") -> dict[str, Any]:
    """Measure uint8 images `before` and `after` (N, C, H, W), paired by row, against the embedded features of `split`.

    Gives `kernel_distance` of both and of `difference` (after - before; negative is better), each with error and 95 % interval;
    `frechet_distance` of both, and of their difference with its error, only at ten times the feature dimension or more;
    `precision`, `recall`, `density`, `coverage` of both, and the `modes` found, classes of the extractor, only from 1,000
    images; what they were measured with; the floors. Raises InputError for fewer than two images: the unbiased kernel distance
    leaves each image's product with itself out.
    """
    if len(before) < 2:
        raise InputError("a distance needs at least 2 images")
    reference = extractor.references[split]
    features_before, features_after = extractor(before), extractor(after)
    report: dict[str, Any] = {
        "num_images": len(before),
        "reference": {"split": split, "kernel_images": len(reference.features), "frechet_images": reference.images},
        **extractor.describe(),
        "kernel_distance": {
            "before": described(kernel_distance(features_before, reference)),
            "after": described(kernel_distance(features_after, reference)),
            "difference": described(paired_difference(features_before, features_after, reference)),
        },
        "floors": floors_at(extractor, len(before)),
    }
    if len(before) >= 10 * extractor.num_features:
        report["frechet_distance"] = {
            "before": frechet_distance(features_before, reference),
            "after": frechet_distance(features_after, reference),
            "difference": described(paired_frechet_difference(features_before, features_after, reference)),
        }
    else:
        report["frechet_note"] = (
            f"no Fréchet distance: it needs at least {10 * extractor.num_features} images, ten times the feature dimension"
        )
    if len(before) >= MANIFOLD_IMAGES:
        report.update(_manifold(features_before, features_after, reference))
        if hasattr(extractor.network, "head"):  # an encoder trained without labels has none
            report["modes"] = _modes({"before": features_before, "after": features_after}, extractor)
    return report


def _manifold(before: Tensor, after: Tensor, reference: Reference) -> dict[str, Any]:
    """The four shares of both, each from as many features as the reference has, or all: they depend on the sizes."""
    count = min(len(before), len(reference.features))
    real = reference.features[:count]
    radii = squared_radii(real)
    measured = {which: overlap(real, side[:count], real_radii=radii) for which, side in (("before", before), ("after", after))}
    shares = {name: {which: getattr(measured[which], name) for which in measured} for name in SHARES}
    return {"manifold": {"num_images": count, "neighbours": NEIGHBOURS}, **shares}


def _modes(sides: dict[str, Tensor], extractor: FeatureExtractor) -> dict[str, int]:
    """How many classes each side holds, "of" how many, by the extractor's own eyes."""
    number = extractor.network.head.out_features
    found = {
        name: int((extractor.classes(features).bincount(minlength=number) >= PRESENT * len(features) / number).sum())
        for name, features in sides.items()
    }
    return {**found, "of": number}


def floors_at(extractor: FeatureExtractor, count: int) -> dict[str, Any]:
    """The real-versus-real distances measured at the largest tabulated size that is not above `count`, or at the smallest."""
    sizes = sorted(int(size) for size in extractor.floors)
    if not sizes:
        return {}
    size = max((size for size in sizes if size <= count), default=sizes[0])
    return {"num_images": size, **extractor.floors[str(size)]}


def described(estimate: Estimate) -> dict[str, Any]:
    return {**estimate._asdict(), "interval": list(estimate.interval)}
