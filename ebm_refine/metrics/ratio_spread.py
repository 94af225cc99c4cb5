"""How far to believe a ratio: what refits of it, each on resampled images, say of the same samples.

A ratio on frozen features may come with refits of its head to images drawn with replacement (the bootstrap; Efron 1979,
"Bootstrap methods: another look at the jackknife"). Where they disagree, the images that the ratio was fitted to do not decide
r. They share body and form, so that they cannot see what is wrong with these: that is what a panel of other encoders is for.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ebm_refine.data.images import to_unit
from ebm_refine.models.checkpoint import Checkpoint
from ebm_refine.models.networks.ratio import FeatureRatio
from ebm_refine.utils import cancellation

REFITS = "ratio-refits"
# The name in that table of the last layer's weights (d,), float16 as they are stored, that its refits belong to.
OF = "of"
CHUNK = 100


def refits_table(network: FeatureRatio, refits: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The table of a ratio's refits, as `refits_of` reads it.

    refits: of each what differs from `network`, by its names there ("head.1.weight", "last.bias"). They are stacked.
    """
    stacked = {name: torch.stack([one[name] for one in refits]) for name in refits[0]}
    return {**stacked, OF: network.last.weight[0].detach().half()}


def refits_of(checkpoint: Checkpoint) -> list[nn.Module] | None:
    """The refits of a checkpoint's ratio, each as a module: what its body gives (B, d) -> r (B, 1). None where it has none."""
    network, table = checkpoint.networks.get("ratio"), checkpoint.tables.get(REFITS)
    if table is None or not isinstance(network, FeatureRatio):
        return None
    if not torch.equal(table[OF].float(), network.last.weight[0]):
        return None
    names = [name for name in table if name != OF]
    return [_head(network, {name: table[name][number].float() for name in names}) for number in range(len(table[names[0]]))]


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
    refits = refits_of(checkpoint)
    if refits is None:
        return None
    network: Any = checkpoint.networks["ratio"]
    heads = [_head(network, {}), *refits]
    first, second = (_ratios(network, images, heads) for images in (before, after))
    rises = (second - first).mean(0)
    return {
        "refits": len(refits),
        "rise": float(rises[0]),
        "rise_by_refits": [float(rises[1:].min()), float(rises[1:].max())],
        "sd_before": float(first[:, 1:].std(1).mean()),
        "sd_after": float(second[:, 1:].std(1).mean()),
    }


def _head(network: FeatureRatio, changed: dict[str, Tensor]) -> nn.Module:
    """What lies behind the body of `network`, with these values of its own."""
    head = nn.ModuleDict({"head": network.head, "last": network.last})
    if changed:
        head = copy.deepcopy(head)
        head.load_state_dict(changed, strict=False)
    return nn.Sequential(head["head"], head["last"]).eval()


def _ratios(network: Any, images: Tensor, heads: Sequence[nn.Module]) -> Tensor:
    """r (N, K) of images by K heads."""
    found = []
    for part in images.split(CHUNK):
        cancellation.check()
        features = network.features(to_unit(part))
        found.append(torch.cat([head(features) for head in heads], dim=1))
    return torch.cat(found)
