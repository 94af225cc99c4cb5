"""Foreign state dicts without batch norms, read by structure: perceptron pairs, and the common convolutional energy."""

import itertools
import math
from pathlib import Path
from typing import Any

from torch import Tensor

from ebm_refine.errors import CheckpointError
from ebm_refine.models.convert.dcgan_state_dict import Layer, folded, layers_of

# Sides of square images that the shapes alone allow are tried in this order: MNIST's first.
SIDES = (28, *range(8, 129))


def is_perceptron(state: dict[str, Tensor]) -> bool:
    """Whether a state dict holds matrices and vectors only."""
    return all(value.ndim <= 2 for value in state.values())


def read_perceptron(
    state: dict[str, Tensor], role: str, file: Path, beside: int = 0
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """State dict and arguments of our MLPGenerator or MLPDiscriminator. Raises CheckpointError naming `file`.

    `beside`: of what a discriminator is given, so many numbers are no pixels but tell the class; `shape` is the image's.
    """
    # A batch norm directly behind a linear layer is, in eval mode, part of it.
    layers = [folded(layer) for layer in layers_of(state, role, file)]
    sizes = _sizes(layers, file)
    if role == "discriminator" and sizes[-1] != 1:
        raise CheckpointError(f"{file}: its last layer {layers[-1].name!r} gives {sizes[-1]} numbers an image, not one")
    shape = image_shape(sizes[-1] if role == "generator" else sizes[0] - beside, file)
    arguments: dict[str, Any] = {"widths": sizes[1:-1], "shape": list(shape)}
    if role == "generator":
        arguments |= {"latent": sizes[0]}
    layers = [one if one.bias is not None else one._replace(bias=one.weight.new_zeros(len(one.weight))) for one in layers]
    return _numbered("main", layers, [2 * index for index in range(len(layers))], file), arguments


def image_shape(pixels: int, file: Path) -> tuple[int, int, int]:
    """Channels, height and width of square images, grey or coloured, of so many numbers."""
    for channels in (1, 3):
        side = math.isqrt(pixels // channels)
        if channels * side**2 == pixels:
            return channels, side, side
    raise CheckpointError(f"{file}: {pixels} numbers are no square image, grey or coloured")


def read_energy(
    state: dict[str, Tensor], file: Path, image_size: int | None = None, negated: bool = True
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """State dict and arguments of our EnergyCNN, from one whose output is minus the energy, unless `negated` is False.

    An output of several numbers is taken for a classifier's logits. Raises CheckpointError naming `file`.
    """
    layers = layers_of(state, "discriminator", file)
    convolutions = list(itertools.takewhile(lambda layer: layer.weight.ndim == 4, layers))
    linear = layers[len(convolutions) :]
    kernels = [tuple(layer.weight.shape[2:]) for layer in convolutions]
    if kernels != [(5, 5)] + [(3, 3)] * (len(kernels) - 1) or len(linear) != 2:
        raise CheckpointError(f"{file} is not the common energy: one 5x5 and several 3x3 convolutions, then two linear layers")
    if normed := [layer.norm_name for layer in layers if layer.norm is not None]:
        raise CheckpointError(f"{file} has a batch norm {normed[0]!r}, unlike the energies that can be read")
    for before, after in itertools.pairwise(convolutions):
        if after.weight.shape[1] != len(before.weight):
            raise CheckpointError(
                f"{file}: {after.name!r} does not take the {len(before.weight)} channels of the layer before it"
            )
    widths = [len(layer.weight) for layer in convolutions]
    hidden, inputs = linear[0].weight.shape
    if hidden != widths[-1] or linear[1].weight.shape[1] != hidden:
        raise CheckpointError(f"{file}: its linear layers are not of width {widths[-1]}, as the common energy's are")
    fitting = [side for side in SIDES if widths[-1] * reached(side, len(widths)) ** 2 == inputs]
    side = image_size or next(iter(fitting), 0)
    if side not in fitting:
        raise CheckpointError(
            f"{file}: {linear[0].name!r} takes {inputs} numbers, which images of {side or 'no'} pixels do not give"
        )
    outputs = len(linear[1].weight)
    if outputs == 1 and negated:  # minus the energy becomes the energy
        last = linear[1]
        layers[-1] = last._replace(weight=-last.weight, bias=None if last.bias is None else -last.bias)
    indices = [2 * index for index in range(len(convolutions))]
    indices += [indices[-1] + 3, indices[-1] + 5]
    if (numbers := _numbers(layers)) and [number - numbers[0] for number in numbers] != indices:
        raise CheckpointError(f"{file}: between its layers, numbered {numbers}, lies something else than in the common energy")
    converted = _numbered("layers", layers, indices, file)
    channels = convolutions[0].weight.shape[1]
    return converted, {"widths": widths, "channels": channels, "side": side, "classes": outputs if outputs > 1 else 0}


def reached(side: int, convolutions: int) -> int:
    """The side of the maps behind the energy's convolutions: the first of 5x5 with padding 4, all of stride 2."""
    maps = (side + 8 - 5) // 2 + 1
    for _ in range(convolutions - 1):
        maps = (maps - 1) // 2 + 1
    return maps


def _sizes(layers: list[Layer], file: Path) -> list[int]:
    sizes = [layers[0].weight.shape[1]]
    for layer in layers:
        if layer.weight.shape[1] != sizes[-1]:
            raise CheckpointError(f"{file}: {layer.name!r} does not take the {sizes[-1]} numbers of the layer before it")
        sizes.append(layer.weight.shape[0])
    return sizes


def _numbers(layers: list[Layer]) -> list[int]:
    """The layers' numbers in one nn.Sequential; empty where they are not in one."""
    parents, _, numbers = zip(*(layer.name.rpartition(".") for layer in layers), strict=True)
    return list(map(int, numbers)) if len(set(parents)) == 1 and all(number.isdigit() for number in numbers) else []


def _numbered(parent: str, layers: list[Layer], indices: list[int], file: Path) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for layer, index in zip(layers, indices, strict=True):
        if layer.bias is None:
            raise CheckpointError(f"{file}: {layer.name!r} has no bias, which the networks that can be read have")
        tensors |= {f"{parent}.{index}.weight": layer.weight, f"{parent}.{index}.bias": layer.bias}
    return tensors
