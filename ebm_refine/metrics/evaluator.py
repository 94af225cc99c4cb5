"""What `evaluate` measures with: images in the features of an embedded extractor, points against their own law."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from ebm_refine.errors import InputError
from ebm_refine.metrics.features import features_for
from ebm_refine.metrics.precision_recall import SHARES
from ebm_refine.metrics.report import compare

MEASURES = ("kernel_distance", "frechet_distance", "manifold", *SHARES, "modes")
# Below this the chi-square of mode counts means nothing.
LEAST_POINTS = 500


class Evaluator(NamedTuple):
    """`measure(before, after)` gives each measure as {"before", "after"}; it needs `least` samples.

    `description` must accompany every number, `fingerprint` changes with anything that they depend on, and
    `floors(count)` are the distances of real samples from real ones, by the number of them.
    """

    measure: Callable[[Tensor, Tensor], dict[str, Any]]
    least: int
    description: dict[str, Any]
    fingerprint: str
    floors: Callable[[int], dict[str, Any]]


def image_evaluator(dataset: str, split: str) -> Evaluator:
    """Raises InputError where no extractor is embedded for the data set, or it has no such split."""
    extractor = features_for(dataset)
    if split not in extractor.references:
        raise InputError(f"split must be one of {', '.join(extractor.references)}; got {split!r}")

    def measure(before: Tensor, after: Tensor) -> dict[str, Any]:
        report = compare(before, after, extractor, split)
        return {name: report[name] for name in MEASURES if name in report}

    description = {
        **extractor.describe(),
        "reference": {"split": split, "images": extractor.references[split].images},
    }
    return Evaluator(
        measure, 10 * extractor.num_features, description, f"{extractor.sha256} {split}", lambda count: extractor.floors
    )


def point_evaluator(dataset: str) -> Evaluator:
    """Raises InputError for an unknown data set."""
    # Imported here: scipy takes a moment that the evaluation of images need not wait for.
    from ebm_refine.metrics import points

    law = points.law(dataset)

    def measure(before: Tensor, after: Tensor) -> dict[str, Any]:
        sides = {"before": before, "after": after}
        reports = {name: points.mode_report(side, law) for name, side in sides.items()}
        moved = min(len(before), points.MAX_MOVED)
        found: dict[str, Any] = {
            "earth_movers_distance": {name: points.distance_to_data(side[:moved], dataset) for name, side in sides.items()},
            "modes": {**{name: report.recovered for name, report in reports.items()}, "of": law.num_modes},
            "high_quality": {name: report.high_quality for name, report in reports.items()},
        }
        if law.num_modes > 1:
            # No finite point at all is as far from equal weights as can be.
            found["weights_p"] = {name: report.p_value or 0.0 for name, report in reports.items()}
        return found

    def floors(count: int) -> dict[str, Any]:
        moved = min(count, points.MAX_MOVED)
        floor = points.floor(dataset, moved)
        return {str(count): {"earth_movers_mean": floor["mean"], "earth_movers_sd": floor["sd"], "num_points": moved}}

    description = {
        "title": f"points against the law of {dataset}, earth mover's distance over the first {points.MAX_MOVED} of them",
        "reference": {"split": f"fresh points of {dataset}"},
    }
    return Evaluator(measure, LEAST_POINTS, description, f"points {dataset}", floors)
