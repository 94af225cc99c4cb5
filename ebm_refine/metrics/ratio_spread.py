"""How far to believe a ratio: what refits of it, each on resampled images, say of the same samples.

A linear ratio comes with refits of its head to images drawn with replacement (the bootstrap; Efron 1979, "Bootstrap methods:
another look at the jackknife"). Where they disagree, the images that the ratio was fitted to do not decide r. They share body
and form, so that they cannot see what is wrong with these: that is what a panel of other encoders is for.
"""

from typing import Any

import torch
from torch import Tensor

from ebm_refine.data.images import to_unit
from ebm_refine.models.checkpoint import Checkpoint
from ebm_refine.models.networks.ratio import FeatureRatio
from ebm_refine.utils import cancellation

REFITS = "ratio-refits"
CHUNK = 100


def refits_of(checkpoint: Checkpoint) -> dict[str, Tensor] | None:
    """The refits of a checkpoint's ratio: "weight" (K, d) and "bias" (K,) float32. None where it has none."""
    network, table = checkpoint.networks.get("ratio"), checkpoint.tables.get(REFITS)
    if table is None or not isinstance(network, FeatureRatio):
        return None
    return table if torch.equal(table["of"].float(), network.last.weight[0]) else None


def spread_entry(checkpoint: Checkpoint, before: Tensor, after: Tensor, ratio: str) -> dict[str, Any]:
    """The entry "ratio_spread" of the metrics of a run under `ratio`; nothing where that has no refits."""
    found = ratio_spread(checkpoint, before, after) if ratio == "refitted" else None
    return {"ratio_spread": found} if found else {}


@torch.no_grad()
def ratio_spread(checkpoint: Checkpoint, before: Tensor, after: Tensor) -> dict[str, Any] | None:
    """What the refits say of uint8 images `before` and `after` (N, C, H, W), row i of both from one chain; None without refits.

    "refits": how many, K. "rise": mean change of r in nats by the ratio itself, "rise_by_refits" the lowest and the highest by
    a refit. "sd_before" and "sd_after": the standard deviation of r over the refits, averaged over the images.
    """
    table = refits_of(checkpoint)
    if table is None:
        return None
    network: Any = checkpoint.networks["ratio"]
    weights = torch.cat([network.last.weight, table["weight"]])
    biases = torch.cat([network.last.bias, table["bias"]])
    first, second = (_ratios(network, images, weights, biases) for images in (before, after))
    rises = (second - first).mean(0)
    return {
        "refits": len(table["weight"]),
        "rise": float(rises[0]),
        "rise_by_refits": [float(rises[1:].min()), float(rises[1:].max())],
        "sd_before": float(first[:, 1:].std(1).mean()),
        "sd_after": float(second[:, 1:].std(1).mean()),
    }


def _ratios(network: Any, images: Tensor, weights: Tensor, biases: Tensor) -> Tensor:
    """r (N, K) of images by K linear heads."""
    found = []
    for part in images.split(CHUNK):
        cancellation.check()
        found.append(network.head(network.features(to_unit(part))) @ weights.T + biases)
    return torch.cat(found)
