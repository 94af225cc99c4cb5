"""How far to believe a ratio: what refits of it, each on resampled images, say of the same samples.

A ratio on frozen features may come with refits of its head to images drawn with replacement (the bootstrap; Efron 1979,
"Bootstrap methods: another look at the jackknife"). Where they disagree, the images that the ratio was fitted to do not decide
r. They share body and form, so that they cannot see what is wrong with these: that is what a panel of other encoders is for.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ebm_refine.data.images import to_unit
from ebm_refine.models.checkpoint import Checkpoint
from ebm_refine.models.refits import REFITS, behind_body, belong, refits_of
from ebm_refine.utils import cancellation

CHUNK = 100


def spread_entry(checkpoint: Checkpoint, before: Tensor, after: Tensor, ratio: str) -> dict[str, Any]:
    """The entry "ratio_spread" of the metrics of a run under `ratio`; nothing where that has no refits."""
    found = ratio_spread(checkpoint, before, after) if ratio == "refitted" else None
    return {"ratio_spread": found} if found else {}


@torch.no_grad()
def ratio_spread(checkpoint: Checkpoint, before: Tensor, after: Tensor) -> dict[str, Any] | None:
    """What the refits say of uint8 images `before` and `after` (N, C, H, W), row i of both from one chain.

    None without refits, and where the ratio or a refit gives an image no finite r: a checkpoint from elsewhere may overflow.

    "refits": how many, K. "rise": mean change of r in nats by the ratio itself, "rise_by_refits" the lowest and the highest by
    a refit. "sd_before" and "sd_after": the standard deviation of r over the refits, averaged over the images.
    """
    table: Any = checkpoint.tables.get(REFITS)
    network: Any = checkpoint.networks.get("ratio")
    if table is None or not belong(network, table):
        return None
    refits = refits_of(network, table)
    heads = [behind_body(network, {}), *refits]
    first, second = (_ratios(network, images, heads) for images in (before, after))
    if not (first.isfinite().all() and second.isfinite().all()):
        return None
    rises = (second - first).mean(0)
    return {
        "refits": len(refits),
        "rise": float(rises[0]),
        "rise_by_refits": [float(rises[1:].min()), float(rises[1:].max())],
        "sd_before": float(first[:, 1:].std(1).mean()),
        "sd_after": float(second[:, 1:].std(1).mean()),
    }


def _ratios(network: Any, images: Tensor, heads: Sequence[nn.Module]) -> Tensor:
    """r (N, K) of images by K heads."""
    found = []
    for part in images.split(CHUNK):
        cancellation.check()
        features = network.features(to_unit(part))
        found.append(torch.cat([head(features) for head in heads], dim=1))
    return torch.cat(found)
