"""How close points in the plane are to a law known in closed form: modes, their weights, and the earth mover's distance.

The points must be independent, one draw a chain: the chi-square and the floors hold for nothing else.
"""

import math
import statistics
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ebm_refine.toy2d.datasets import Mixture, law, load_points

# A point is of high quality within so many component widths of its centre (Azadi et al. 2018; Turner et al. 2019).
QUALITY_WIDTHS = 4.0
# The exact distance takes time in the cube of the number of points.
MAX_MOVED = 2000
FLOOR_DRAWS = 8
# One draw of data has its own luck, by which it is nearer to some samples than to others.
REFERENCE_DRAWS = 3
# Seeds of the data that samples are compared with, and of those that show the floor; training draws from small ones.
REFERENCE_SEED, FLOOR_SEED = 1_000_000, 2_000_000


class ModeReport(NamedTuple):
    """`recovered` of `modes` have a point of high quality; `high_quality` is the share of such points; `counts` by mode.

    `p_value`: chi-square of the counts, every point given to the mode of its nearest component, against the modes' weights;
    None where there is one mode. `spread`: root mean square distance of high-quality points from their component in a
    coordinate, in component widths; None where components make up a curve.
    """

    modes: int
    recovered: int
    high_quality: float
    counts: list[int]
    p_value: float | None
    spread: float | None


def mode_report(points: Tensor, mixture: Mixture) -> ModeReport:
    """Compare finite `points` (N, 2) with the modes of `mixture`; points that are not finite count as of low quality."""
    from scipy.stats import chisquare

    finite = points[points.isfinite().all(dim=1)]
    distance, component = torch.cdist(finite.double(), mixture.centres.double()).min(dim=1)
    good = distance <= QUALITY_WIDTHS * mixture.width
    mode = mixture.modes[component]
    counts = torch.bincount(mode, minlength=mixture.num_modes)
    expected = mixture.mode_weights * counts.sum()
    separate = len(mixture.centres) == mixture.num_modes
    return ModeReport(
        modes=mixture.num_modes,
        recovered=len(mode[good].unique()),
        high_quality=int(good.sum()) / max(len(points), 1),
        counts=counts.tolist(),
        p_value=float(chisquare(counts.numpy(), expected.numpy()).pvalue) if mixture.num_modes > 1 and len(finite) else None,
        spread=float((distance[good].square().mean() / 2).sqrt()) / mixture.width if separate and good.any() else None,
    )


def quality_ceiling(mixture: Mixture) -> float | None:
    """The share of high quality among the mixture's own points: 1 - exp(-8) for separate components, else None."""
    separate = len(mixture.centres) == mixture.num_modes
    return 1 - math.exp(-(QUALITY_WIDTHS**2) / 2) if separate else None


def earth_movers_distance(one: Tensor, other: Tensor) -> float:
    """Wasserstein-1 distance of two equally large sets of points (N, 2), exact, by the best assignment.

    Infinite where a point is not finite. Raises ValueError where sizes differ or exceed 2,000.
    """
    from scipy.optimize import linear_sum_assignment

    if len(one) != len(other) or not 0 < len(one) <= MAX_MOVED:
        raise ValueError(f"two sets of equally many points, from 1 to {MAX_MOVED}, are needed; got {len(one)} and {len(other)}")
    if not (one.isfinite().all() and other.isfinite().all()):
        return math.inf
    cost = torch.cdist(one.double(), other.double()).numpy()
    rows, columns = linear_sum_assignment(cost)
    return float(cost[rows, columns].mean())


def distance_to_data(points: Tensor, dataset: str, seed: int = REFERENCE_SEED, draws: int = REFERENCE_DRAWS) -> float:
    """Earth mover's distance of `points` (N, 2) to N fresh points of the data set, mean over `draws` of them."""
    references = [load_points(dataset, len(points), seed + draw) for draw in range(draws)]
    return statistics.fmean(earth_movers_distance(points, reference) for reference in references)


@cache
def floor(dataset: str, count: int, draws: int = FLOOR_DRAWS) -> dict[str, float]:
    """The distance between `count` and `count` points of the data themselves: {"mean", "sd"} over `draws` pairs."""
    seeds = range(FLOOR_SEED, FLOOR_SEED + 2 * draws, 2)
    found = [distance_to_data(load_points(dataset, count, seed), dataset, seed + 1, draws=1) for seed in seeds]
    return {"mean": statistics.fmean(found), "sd": statistics.stdev(found) if draws > 1 else math.nan}


def compare_points(before: Tensor, after: Tensor, dataset: str) -> dict[str, Any]:
    """Measure points `before` and `after` (N, 2) against a data set: distances with the floor at that N, and the modes."""
    mixture, count = law(dataset), min(len(before), MAX_MOVED)
    sides = {"before": before, "after": after}
    return {
        "num_points": len(before),
        "dataset": dataset,
        "earth_movers_distance": {
            **{name: distance_to_data(points[:count], dataset) for name, points in sides.items()},
            "num_points": count,
            "floor": floor(dataset, count),
        },
        "modes": {name: mode_report(points, mixture)._asdict() for name, points in sides.items()},
        "high_quality_ceiling": quality_ceiling(mixture),
    }
