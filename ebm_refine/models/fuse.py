"""Frozen networks made cheaper to run, without changing their output.

Batch norms are folded into the convolutions before them; the first transposed convolution of a latent, which has one pixel
only, becomes a matrix product, and so does the way back through a last one that gives a number; weights lie channels-last. In
float32, results differ from the original's by rounding only. In bfloat16 the convolutions compute in it, while whatever a
network takes in and gives out stays float32. `benchmarks/speed.py` sets the pipeline's step beside the bare networks,
`benchmarks/precision.py` the laws of the two formats.
"""

import copy
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_input
from torch.nn.utils.fusion import fuse_conv_bn_eval

_CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)
# Below eight rows (four without AVX-512) MKL takes another kernel, whose sums round differently; eight cost it hardly more.
_ROWS = 8


def prepare(network: nn.Module, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A copy of `network` for inference: in eval mode, frozen, float32 in and out, cheaper to run; the original is left alone.

    A batch norm is folded where it directly follows a (transposed) convolution in a Sequential. `dtype` float32 or bfloat16 is
    that of the convolutions after the network's first layer, save one that gives a single number.
    """
    prepared = copy.deepcopy(network).eval().requires_grad_(False)
    for module in list(prepared.modules()):
        if isinstance(module, nn.Sequential):
            _fold(module)
            _shorten_stem(module)
            _shorten_head(module)
    prepared.requires_grad_(False)
    prepared.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if dtype != torch.float32:
        _cast_convolutions(prepared, dtype)
    return prepared


class Stem(nn.Module):
    """A transposed convolution without padding; of latents of one pixel, (B, C, 1, 1), it is a matrix product."""

    def __init__(self, layer: nn.ConvTranspose2d):
        super().__init__()
        rows = layer.weight.permute(2, 3, 1, 0)  # (height, width, out, in): what comes out lies channels-last
        self.shape, self.stride = rows.shape[:3], layer.stride
        self.weight = nn.Parameter(rows.flatten(0, 2).contiguous())
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.repeat(rows.shape[0] * rows.shape[1]))

    def forward(self, latents: Tensor) -> Tensor:
        if latents.shape[2:] != (1, 1):
            weight = self.weight.unflatten(0, self.shape).permute(3, 2, 0, 1)
            return F.conv_transpose2d(latents, weight, None if self.bias is None else self.bias[: weight.shape[1]], self.stride)
        rows = latents.flatten(1)
        padded = F.pad(rows, (0, 0, 0, max(_ROWS - len(rows), 0)))
        return F.linear(padded, self.weight, self.bias)[: len(rows)].unflatten(1, self.shape).permute(0, 3, 1, 2)


class Head(nn.Module):
    """A convolution without padding to one channel. Where it fits its input once, the way back is an outer product."""

    def __init__(self, layer: nn.Conv2d):
        super().__init__()
        self.weight, self.bias, self.stride = layer.weight, layer.bias, layer.stride

    def forward(self, maps: Tensor) -> Tensor:
        if maps.shape[2:] != self.weight.shape[2:]:
            return F.conv2d(maps, self.weight, self.bias, self.stride)
        return _OnePlace.apply(maps, self.weight, self.bias)


class _OnePlace(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return F.conv2d(maps, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (weight,) = ctx.saved_tensors
        return grads[0] * weight, None, None


def _fold(layers: nn.Sequential) -> None:
    before: nn.Module | None = None
    name_before = ""
    for name, layer in list(layers.named_children()):
        if isinstance(layer, nn.BatchNorm2d) and isinstance(before, _CONVOLUTIONS):
            transposed = isinstance(before, nn.ConvTranspose2d)
            setattr(layers, name_before, fuse_conv_bn_eval(before, layer, transpose=transposed))
            setattr(layers, name, nn.Identity())
        before, name_before = layer, name


def _shorten_stem(layers: nn.Sequential) -> None:
    name, first = next(layers.named_children(), ("", None))
    if not isinstance(first, nn.ConvTranspose2d) or first.groups != 1 or first.dilation != (1, 1):
        return
    if first.padding == first.output_padding == (0, 0):
        setattr(layers, name, Stem(first))


def _shorten_head(layers: nn.Sequential) -> None:
    name, last = next(reversed(list(layers.named_children())), ("", None))
    if isinstance(last, nn.Conv2d) and last.out_channels == 1 and _is_plain(last) and last.padding == (0, 0):
        setattr(layers, name, Head(last))


def _is_plain(layer: nn.Conv2d) -> bool:
    return (layer.groups, layer.dilation, layer.padding_mode) == (1, (1, 1), "zeros")


def _cast_convolutions(network: nn.Module, dtype: torch.dtype) -> None:
    """The convolutions after the first layer to `dtype`; every layer takes and gives what the weights around it are in.

    The first layer and one that gives a single number are a few percent of the work, and rounding there is most of what would
    change: they take in positions and images, and give energies. What follows a layer is computed in the next one's type, so
    that activations move half as many bytes; the network's own output is float32.
    """
    weighted = [
        layer
        for layer in network.modules()
        # An embedding takes whole numbers, which must stay what they are.
        if isinstance(getattr(layer, "weight", None), Tensor) and not isinstance(layer, nn.Embedding | nn.EmbeddingBag)
    ]
    for layer in weighted[1:]:
        if isinstance(layer, _CONVOLUTIONS) and layer.out_channels > 1:
            layer.to(dtype)
    following: list[Any] = [layer.weight.dtype for layer in weighted[1:]] + [torch.float32]
    for layer, given in zip(weighted, following, strict=False):
        layer.register_forward_pre_hook(_take_in_own_type)
        layer.register_forward_hook(partial(_give_in_type, given))
    for name, layer in list(network.named_modules())[1:]:
        if layer in weighted[:1] and isinstance(layer, nn.Conv2d) and _is_plain(layer) and following[0] == dtype:
            network.set_submodule(name, Entry(layer, dtype))


def _take_in_own_type(layer: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (inputs[0].to(layer.weight.dtype), *inputs[1:])


def _give_in_type(dtype: torch.dtype, layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output.to(dtype)


class Entry(nn.Module):
    """The first convolution of images: sums in float32, output in `dtype`, and the gradient to the images in `dtype`.

    The way back costs four times as much in float32, and no rounding there changes an energy.
    """

    def __init__(self, layer: nn.Conv2d, dtype: torch.dtype):
        super().__init__()
        self.weight, self.bias, self.stride, self.padding = layer.weight, layer.bias, layer.stride, layer.padding
        self.register_buffer("cast", layer.weight.detach().to(dtype))

    def forward(self, images: Tensor) -> Tensor:
        return _CastConvolution.apply(images.float(), self.weight, self.bias, self.cast, self.stride, self.padding)


class _CastConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None, cast: Tensor, *how: Any) -> Tensor:
        ctx.save_for_backward(cast)
        ctx.size, ctx.how = images.shape, how
        return F.conv2d(images, weight, bias, *how).to(cast.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (cast,) = ctx.saved_tensors
        back = conv2d_input(ctx.size, cast, grads[0], *ctx.how)
        return back.float(), None, None, None, None, None
