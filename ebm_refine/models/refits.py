"""Refits of a ratio's head to resampled images, as a checkpoint stores them beside the ratio (`metrics.ratio_spread`)."""

import copy
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ebm_refine.errors import CheckpointError
from ebm_refine.models.networks.ratio import FeatureRatio

REFITS = "ratio-refits"
# The name in that table of the last layer's weights (d,), float16 as they are stored, that its refits belong to.
OF = "of"
# A deviation needs two; each more costs time in every run.
LEAST, MOST = 2, 64


def refits_table(network: FeatureRatio, refits: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The table of a ratio's refits, as `refits_of` reads it.

    refits: of each what differs from `network`, by its names there ("head.1.weight", "last.bias"). They are stacked.
    """
    stacked = {name: torch.stack([one[name] for one in refits]) for name in refits[0]}
    return {**stacked, OF: network.last.weight[0].detach().half()}


def belong(network: nn.Module, table: dict[str, Tensor]) -> bool:
    """Whether a table holds refits of this ratio, and not of an earlier one."""
    return isinstance(network, FeatureRatio) and OF in table and torch.equal(table[OF].float(), network.last.weight[0])


def see_that_they_fit(file: Path, network: nn.Module, table: dict[str, Tensor]) -> None:
    """Raises CheckpointError, naming the file, where a table's refits of this ratio are not LEAST to MOST of its layers."""
    if not belong(network, table):
        return
    own = {name: value for name, value in network.state_dict().items() if name.startswith(("head.", "last."))}
    refits = {name: value for name, value in table.items() if name != OF}
    fitting = all(name in own and value.ndim and value.shape[1:] == own[name].shape for name, value in refits.items())
    counts = {len(value) for value in refits.values() if value.ndim}
    real = all(value.is_floating_point() for value in refits.values())
    # As they are computed with: not every type says what is finite, and float32 holds less than some.
    finite = real and all(bool(value.float().isfinite().all()) for value in refits.values())
    scaled = all(bool((value.float() >= 0).all()) for name, value in refits.items() if name.endswith("running_var"))
    if not (fitting and finite and scaled and len(counts) == 1 and LEAST <= min(counts) <= MOST):
        raise CheckpointError(f"{file} must hold {LEAST} to {MOST} finite refits of the layers of its ratio; or leave it out")


def refits_of(network: FeatureRatio, table: dict[str, Tensor]) -> list[nn.Module]:
    """The refits, each as a module: what the ratio's body gives (B, d) -> r (B, 1)."""
    refits = {name: value.float() for name, value in table.items() if name != OF}
    count = len(next(iter(refits.values())))
    return [behind_body(network, {name: value[number] for name, value in refits.items()}) for number in range(count)]


def behind_body(network: FeatureRatio, changed: dict[str, Tensor]) -> nn.Module:
    """What lies behind the body of `network`, with these values in place of its own."""
    layers = nn.ModuleDict({"head": network.head, "last": network.last})
    if changed:
        layers = copy.deepcopy(layers)
        layers.load_state_dict(changed, strict=False)
    return nn.Sequential(layers["head"], layers["last"]).eval()
