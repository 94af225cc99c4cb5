"""Turn a trained classifier into a features checkpoint: references of held-out real images, and real-versus-real floors."""

from typing import Any

import torch
from torch import Tensor

from ebm_refine.metrics.distances import frechet_distance, kernel_distance, mean_kernel_of_others
from ebm_refine.metrics.features import Reference

STORED = 5000
FLOOR_SIZES = (64, 256, 1000, 2000, 5000)
FLOOR_DRAWS = 10


def reference_table(features: Tensor) -> dict[str, Tensor]:
    """The stored form of real images' features (N, d): the first 5,000 at half precision, moments of all."""
    stored = features[:STORED].half()
    return {
        "features": stored,
        "kernel_rows": mean_kernel_of_others(stored.float()),
        "mean": features.double().mean(0).float(),
        "covariance": torch.cov(features.double().T).float(),
        "images": torch.tensor(len(features)),
    }


def floors(real: Tensor, reference: Reference, seed: int = 0) -> dict[str, Any]:
    """Distances of N real images (random subsets of `real` (M, d)) from other real images, the reference.

    What a perfect generator would score. By size: mean and sd over draws for both distances, without replacement.
    """
    source = torch.Generator().manual_seed(seed)
    table: dict[str, Any] = {}
    for size in (size for size in FLOOR_SIZES if size <= len(real)):
        draws = FLOOR_DRAWS if size < len(real) else 1
        subsets = [real[torch.randperm(len(real), generator=source)[:size]] for _ in range(draws)]
        kernel = torch.tensor([kernel_distance(subset, reference).value for subset in subsets])
        frechet = torch.tensor([frechet_distance(subset, reference) for subset in subsets])
        table[str(size)] = {
            "draws": draws,
            "kernel_mean": float(kernel.mean()),
            "kernel_sd": float(kernel.std()) if draws > 1 else None,
            "frechet_mean": float(frechet.mean()),
            "frechet_sd": float(frechet.std()) if draws > 1 else None,
        }
    return table
