"""Which kinds of features may vote in a panel: those that see graded damage in its order, and nothing where there is none.

Every distance is the unbiased kernel distance from one half of real images. The other half is blurred, made noisy, robbed of
classes; base samples are mixed with real images. A kind has the right to vote where, in each of these series, no step goes the
wrong way by more than two standard errors, the ends differ by more than three in the right direction, real images lie within
three of real images, and the base beyond three.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ebm_refine.metrics.distances import Estimate, kernel_distance, mean_kernel_of_others, paired_difference
from ebm_refine.metrics.features import Reference
from ebm_refine.metrics.principal_components import Basis

# In pixels of an image of 32; larger ones are blurred more.
BLURS = (0.5, 1.0, 2.0, 4.0)
# Standard deviations in grey levels of 255.
NOISES = (8.0, 16.0, 32.0, 64.0)
DROPPED = (1, 3, 5, 8)
REAL_SHARES = (0.75, 0.5, 0.25, 0.0)
STEP_ERRORS, END_ERRORS = 2.0, 3.0


def rights(
    features: Callable[[Tensor], Tensor],
    basis: Basis,
    real: Tensor,
    base: Tensor,
    classes: Tensor | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Put one kind to all tests. `features`: uint8 images (B, C, H, W) -> (B, D).

    real (N, C, H, W) uint8, halved at random; base (M, C, H, W) uint8, generated; `classes` (N,) int64 of the real images, or
    None: then that test is left out. Returns {"votes", "failed": names of tests, "tests": {name: numbers}}.
    """
    order = torch.randperm(len(real), generator=torch.Generator().manual_seed(seed))
    half = len(real) // 2
    reference = as_reference(basis.project(features(real[order[:half]])))
    other = real[order[half : 2 * half]]
    seen = basis.project(features(other))
    generated = basis.project(features(base[:half]))

    silent, loud = kernel_distance(seen, reference), kernel_distance(generated, reference)
    tests: dict[str, dict[str, Any]] = {
        "blur": in_order([seen, *(basis.project(features(blurred(other, width))) for width in BLURS)], reference),
        "noise": in_order([seen, *(basis.project(features(noisy(other, level, seed))) for level in NOISES)], reference),
        "admixture": in_order(
            [seen[: len(generated)], *(admixed(generated, seen, share) for share in REAL_SHARES)], reference, paired=True
        ),
        "real against real": {"passed": abs(silent.value) < END_ERRORS * silent.error, **_estimate(silent)},
        "base": {"passed": loud.value > END_ERRORS * loud.error, **_estimate(loud)},
    }
    if classes is not None:
        subsets = [keeping(classes[order[half : 2 * half]], number) for number in (0, *DROPPED)]
        tests["dropped classes"] = in_order([seen[rows] for rows in subsets], reference, paired=False)
    failed = [name for name, outcome in tests.items() if not outcome["passed"]]
    return {"votes": not failed, "failed": failed, "tests": tests, "images": half, "seed": seed}


def in_order(series: list[Tensor], reference: Reference, paired: bool = True) -> dict[str, Any]:
    """Whether distances of a series of feature sets (N, d) grow: {"passed", "distances", "steps" and "ends" in errors}.

    `paired`: rows of all sets belong together, so that what they share cancels in their differences' errors.
    """
    distances = [kernel_distance(rows, reference) for rows in series]

    def step(first: int, last: int) -> Estimate:
        if paired:
            return paired_difference(series[first], series[last], reference)
        value = distances[last].value - distances[first].value
        return Estimate(value, (distances[first].error ** 2 + distances[last].error ** 2) ** 0.5)

    steps = [step(number, number + 1) for number in range(len(series) - 1)]
    ends = step(0, len(series) - 1)
    passed = all(found.value >= -STEP_ERRORS * found.error for found in steps) and ends.value > END_ERRORS * ends.error
    return {
        "passed": passed,
        "distances": [round(found.value, 6) for found in distances],
        "steps": [round(found.value / found.error, 2) if found.error else 0.0 for found in steps],
        "ends": round(ends.value / ends.error, 2) if ends.error else 0.0,
    }


def as_reference(features: Tensor, split: str = "given") -> Reference:
    """Features (M, d) of real images as a reference of distances. M >= 2."""
    rows = features.double()
    return Reference(split, features, mean_kernel_of_others(features), rows.mean(0), torch.cov(rows.T), len(features))


def blurred(pixels: Tensor, width: float) -> Tensor:
    """uint8 images (N, C, H, W) under a Gaussian of deviation `width` pixels at 32 pixels a side; edges are mirrored."""
    deviation = width * min(pixels.shape[-2:]) / 32
    reach = min(int(3 * deviation) + 1, min(pixels.shape[-2:]) - 1)
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float32)
    line = torch.softmax(-offsets.square() / (2 * deviation**2), 0)
    done = []
    for part in pixels.split(500):
        images = F.pad(part.float().flatten(0, 1)[:, None], (reach,) * 4, mode="reflect")
        images = F.conv2d(F.conv2d(images, line.view(1, 1, -1, 1)), line.view(1, 1, 1, -1))
        done.append(images.view(part.shape).round().clamp(0, 255).to(torch.uint8))
    return torch.cat(done)


def noisy(pixels: Tensor, level: float, seed: int = 0) -> Tensor:
    """uint8 images plus Gaussian noise of deviation `level` grey levels, clipped to 0 … 255."""
    source = torch.Generator().manual_seed(seed)
    noise = torch.randn(pixels.shape, generator=source) * level
    return (pixels.float() + noise).round().clamp(0, 255).to(torch.uint8)


def admixed(generated: Tensor, real: Tensor, share: float) -> Tensor:
    """The rows of `generated`, the first `share` of them replaced by rows of `real`."""
    count = round(share * len(generated))
    return torch.cat([real[:count], generated[count:]])


def keeping(classes: Tensor, dropped: int) -> Tensor:
    """The indices of rows whose class is none of the `dropped` first ones of `classes` (N,)."""
    gone = classes.unique()[:dropped]
    return torch.isin(classes, gone, invert=True).nonzero().squeeze(1)


def _estimate(estimate: Estimate) -> dict[str, float]:
    return {"value": round(estimate.value, 6), "error": round(estimate.error, 6)}
