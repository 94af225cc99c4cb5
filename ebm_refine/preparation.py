"""Frozen networks made cheaper to run, without changing what they compute: batch norms folded, channels-last.

Weights stay float32; results differ from the unfolded network's by rounding only. `benchmarks/speed.py` sets the pipeline's
step, which runs prepared networks in chunks, beside the bare one.
"""

import copy

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def prepare(network: nn.Module) -> nn.Module:
    """A copy of `network` for inference: in eval mode, frozen, every batch norm behind a convolution folded into it.

    The original is left alone. A batch norm is folded where it directly follows a (transposed) convolution in a Sequential.
    """
    prepared = copy.deepcopy(network).eval().requires_grad_(False)
    for module in list(prepared.modules()):
        if isinstance(module, nn.Sequential):
            _fold(module)
    prepared.requires_grad_(False)
    return prepared.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _fold(layers: nn.Sequential) -> None:
    before: nn.Module | None = None
    name_before = ""
    for name, layer in list(layers.named_children()):
        if isinstance(layer, nn.BatchNorm2d) and isinstance(before, nn.Conv2d | nn.ConvTranspose2d):
            transposed = isinstance(before, nn.ConvTranspose2d)
            setattr(layers, name_before, fuse_conv_bn_eval(before, layer, transpose=transposed))
            setattr(layers, name, nn.Identity())
        before, name_before = layer, name
