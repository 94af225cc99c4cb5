"""Is a generated image a copy? Its distance to the nearest training image, among those of real images never trained on.

A held-out image is no copy, and yet some training image is nearest to it. So the distance of a generated image to its nearest
training image says nothing by itself; its rank among the distances of held-out images does: far below them lie copies.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ebm_refine.errors import InputError
from ebm_refine.metrics.features import FeatureExtractor

# Name of the table beside an extractor's weights.
INDEX = "train-index"
CHUNK = 500


class Neighbour(NamedTuple):
    """The training image nearest to a generated one.

    `row` is its number in the train split, `distance` the Euclidean one in features. `percentile` in [0, 100]: the share of
    held-out images that lie nearer to their nearest training image; a copy has 0. `held_out`: how many these are.
    """

    row: int
    distance: float
    percentile: float
    held_out: int


def nearest_training_image(image: Tensor, extractor: FeatureExtractor) -> Neighbour:
    """For one `image` (C, H, W) uint8. Raises InputError where the extractor has no index of its training images."""
    index = extractor.tables.get(INDEX)
    if index is None:
        raise InputError(f"{extractor.name} holds no index of training images, so nothing can be said of copies")
    distances, rows = nearest(extractor(image[None]), index["features"].float() * index["scale"])
    held_out = index["holdout_distances"].float()
    percentile = 100 * float((held_out < distances[0]).float().mean())
    return Neighbour(int(rows[0]), float(distances[0]), percentile, len(held_out))


def index_table(train: Tensor, holdout: Tensor) -> dict[str, Tensor]:
    """The stored form of training images' features (N, d), and the sorted distances of held-out ones (M, d) to them.

    One byte a number: `features` int8 times `scale` (). Distances are to the rounded features, as later ones are.
    """
    scale = train.abs().max() / 127
    rounded = (train / scale).round().to(torch.int8)
    distances, _ = nearest(holdout, rounded.float() * scale)
    return {"features": rounded, "scale": scale, "holdout_distances": distances.sort().values}


def nearest(features: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """For rows of `features` (N, d): the distance (N,) float32 to the nearest row of `known` (M, d), and its number (N,)."""
    exact = "donot_use_mm_for_euclid_dist"  # so that a row of its own is at distance 0
    parts: list[Any] = [torch.cdist(part, known, compute_mode=exact).min(dim=1) for part in features.split(CHUNK)]
    return torch.cat([part.values for part in parts]), torch.cat([part.indices for part in parts])
