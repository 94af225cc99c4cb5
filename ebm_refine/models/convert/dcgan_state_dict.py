"""Foreign DCGAN state dicts, read by structure: names may be anything, order and shapes tell which layer is which."""

import itertools
import math
import re
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ebm_refine.errors import CheckpointError
from ebm_refine.models.convert.import_options import EPS
from ebm_refine.models.networks.dcgan import LAST_STRIDES

# Sides of the first maps: 4 as in the paper, 7 for images of 28x28, and what other sizes lead to.
STEM_SIDES = (3, 4, 5, 6, 7, 8)
NORM_TENSORS = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}


class Layer(NamedTuple):
    """A convolution or linear layer by its name in the state dict, with the batch norm behind it, if any."""

    name: str
    weight: Tensor
    bias: Tensor | None
    norm_name: str = ""
    norm: dict[str, Tensor] | None = None


def layers_of(state: dict[str, Tensor], role: str, file: Path) -> list[Layer]:
    """The state dict as a chain of layers, batch norms attached to the layer before them."""
    groups: dict[str, dict[str, Tensor]] = {}
    for key, value in baked(state, role, file).items():
        name, _, leaf = key.rpartition(".")
        groups.setdefault(name, {})[leaf] = value
    layers: list[Layer] = []
    norms: list[tuple[str, dict[str, Tensor]]] = []
    for name, tensors in groups.items():
        shapes = {leaf: tuple(value.shape) for leaf, value in tensors.items()}
        weight = tensors.get("weight")
        if {"running_mean", "running_var"} <= tensors.keys() <= NORM_TENSORS and _is_norm(shapes):
            norms.append((name, tensors))
        elif weight is not None and tensors.keys() <= {"weight", "bias"} and _is_layer(weight, tensors.get("bias"), role):
            layers.append(Layer(name, weight, tensors.get("bias")))
        elif tensors.keys() <= {"weight", "bias"} and weight is not None and weight.ndim == 1:
            raise CheckpointError(
                f"{file}: {name!r} is a normalisation without running statistics (InstanceNorm, GroupNorm or LayerNorm, a "
                "BatchNorm made without them) or a PReLU, which no family that can be read has; hand the module over with "
                "ebm_refine.pair"
            )
        else:
            layer = repr(name) if name else "a tensor outside any layer"
            raise CheckpointError(f"{file}: {layer} is no layer of a DCGAN; it holds {str(shapes)[:200]}")
    flat = all(layer.weight.ndim == 2 for layer in layers)
    if len(layers) < (2 if flat else 3):
        raise CheckpointError(f"{file} is no DCGAN {role}: it has {len(layers)} layers with weights")
    order = list(groups)
    for name, norm in norms:
        size, position = len(norm["running_mean"]), order.index(name)
        fitting = [k for k, layer in enumerate(layers) if layer.norm is None and _may_have_norm(layer, size, role)]
        behind = [k for k in fitting if layers[k].name == order[position - 1]]
        # A module may also list all its norms after all its other layers; then sizes have to tell.
        if not behind and position > order.index(layers[-1].name) and len(fitting) == 1:
            behind = fitting
        if not behind:
            raise CheckpointError(f"{file}: the batch norm {name!r} fits more than one layer: which one is not clear")
        layers[behind[0]] = layers[behind[0]]._replace(norm_name=name, norm=norm)
    _see_that_nothing_lies_between(layers, file)
    return layers


def _is_norm(shapes: dict[str, tuple[int, ...]]) -> bool:
    """Whether all tensors but the counter have one size."""
    sizes = {shape for leaf, shape in shapes.items() if leaf != "num_batches_tracked"}
    return len(sizes) == 1 and len(next(iter(sizes))) == 1


def _is_layer(weight: Tensor, bias: Tensor | None, role: str) -> bool:
    if weight.ndim not in (2, 4) or not weight.is_floating_point():
        return False
    return bias is None or tuple(bias.shape) == (_outputs(weight, role),)


def _outputs(weight: Tensor, role: str) -> int:
    """Output channels: the second axis of a transposed convolution, the first of everything else."""
    return weight.shape[1 if role == "generator" and weight.ndim == 4 else 0]


def _may_have_norm(layer: Layer, size: int, role: str) -> bool:
    """Whether a batch norm of this size can stand behind the layer; a linear layer's output may be reshaped into maps."""
    outputs = _outputs(layer.weight, role)
    return outputs % size == 0 if layer.weight.ndim == 2 else outputs == size


def _see_that_nothing_lies_between(layers: list[Layer], file: Path) -> None:
    """Where layers are numbered within one nn.Sequential, the gaps tell what has no weights: an activation, and no more."""
    chain = [entry for layer in layers for entry in ((layer.name, False, layer), (layer.norm_name, True, layer)) if entry[0]]
    for (name, _, layer), (after, is_norm, after_layer) in itertools.pairwise(chain):
        (parent, _, number), (after_parent, _, after_number) = name.rpartition("."), after.rpartition(".")
        if parent != after_parent or not (number.isdigit() and after_number.isdigit()):
            continue
        steps = {1} if is_norm else {2}
        over_maps = is_norm and len(_norm(layer)["running_mean"]) != len(layer.weight)
        if 2 in (layer.weight.ndim, after_layer.weight.ndim) and (over_maps or not is_norm):
            steps |= {min(steps) + 1}  # an Unflatten or Flatten beside the linear layer
        if int(after_number) - int(number) not in steps:
            raise CheckpointError(f"{file}: between {name!r} and {after!r} lies something else than in a DCGAN")


def baked(state: dict[str, Tensor], role: str, file: Path) -> dict[str, Tensor]:
    """Spectrally normalised weights, in torch's two forms or mimicry's, replaced by the weights that they stand for."""
    plain: dict[str, Tensor] = {}
    for key, value in state.items():
        key = re.sub(r"parametrizations\.weight\.original$", "weight_orig", key)
        key = re.sub(r"parametrizations\.weight\.original([01])$", lambda found: f"weight_{'gv'[int(found[1])]}", key)
        key = re.sub(r"parametrizations\.weight\.0\._([uv])$", r"weight_\1", key)
        plain[key] = value
    for key in [key for key in plain if key.endswith("weight_v") and f"{key[:-1]}g" in plain]:  # weight norm: g v / |v|
        direction, length = plain.pop(key), plain.pop(f"{key[:-1]}g")
        plain[key.removesuffix("_v")] = torch._weight_norm(direction, length, 0)
    for key in [key for key in plain if key.endswith("weight_orig")]:
        stem = key.removesuffix("_orig")
        weight, u, v = plain[key], plain.pop(f"{stem}_u", None), plain.pop(f"{stem}_v", None)
        # torch flattens W from its output channels on and divides by u . W v.
        matrix = weight.transpose(0, 1 if role == "generator" and weight.ndim == 4 else 0).flatten(1)
        if u is None or u.shape != matrix.shape[:1] or (v is not None and v.shape != matrix.shape[1:]):
            raise CheckpointError(f"{file}: {key!r} has no spectral norm that fits it")
        if v is None:
            v = torch.nn.functional.normalize(matrix.T @ u, dim=0)
        plain[key] = weight / torch.dot(u, matrix @ v)
    for key in [key for key in plain if key.endswith(".sn_u")]:  # mimicry takes one step of the power iteration in each call
        stem = key.removesuffix(".sn_u")
        plain.pop(f"{stem}.sn_sigma", None)
        given, u = plain.get(f"{stem}.weight"), plain.pop(key)
        if given is None or u.shape != (1, len(given)):
            raise CheckpointError(f"{file}: {key!r} has no weight that fits it")
        matrix, normal = given.flatten(1), torch.nn.functional.normalize
        v = normal(u @ matrix)
        plain[f"{stem}.weight"] = given / (normal(v @ matrix.T) @ matrix @ v.T)
    return {key.removesuffix("_orig") if key.endswith("weight_orig") else key: value for key, value in plain.items()}


def read_generator(
    state: dict[str, Tensor], file: Path, image_size: int | None = None
) -> tuple[dict[str, Tensor], dict[str, Any], int]:
    """State dict and arguments of our DCGANGenerator, and the size of its images. Raises CheckpointError naming `file`.

    `image_size`: a smaller size than the layers make, where a last kernel of 1 is padded.
    """
    layers = layers_of(state, "generator", file)
    stem, *middle, last = layers
    linear = stem.weight.ndim == 2
    latent = stem.weight.shape[1 if linear else 0]
    inner = layers[1].weight.shape[0] if linear else stem.weight.shape[1]
    side = math.isqrt(len(stem.weight) // inner) if linear else stem.weight.shape[2]
    if linear and (len(stem.weight) != inner * side**2 or side not in STEM_SIDES):
        raise CheckpointError(f"{file}: {stem.name!r} makes {len(stem.weight)} numbers, not {inner} maps of 4x4 or 7x7")
    if not linear and (stem.weight.shape[2] != stem.weight.shape[3] or side not in STEM_SIDES):
        raise CheckpointError(f"{file}: {stem.name!r} has a kernel of {_kernel(stem)}, not of 4x4 or 7x7")
    widths = [inner]
    for layer in (*middle, last):
        if layer.weight.ndim != 4 or layer.weight.shape[0] != widths[-1]:
            raise CheckpointError(f"{file}: {layer.name!r} does not take the {widths[-1]} channels of the layer before it")
        widths.append(layer.weight.shape[1])
        kernels = [(4, 4)] if layer is not last else [(k, k) for k in LAST_STRIDES]
        if tuple(layer.weight.shape[2:]) not in kernels:
            raise CheckpointError(f"{file}: {layer.name!r} has a kernel of {_kernel(layer)}, unlike a DCGAN generator's")
    *widths, channels = widths
    missing = [layer.name for layer in (stem, *middle) if layer.norm is None]
    if missing or last.norm is not None:
        named = f"no batch norm behind {missing[0]!r}" if missing else f"a batch norm behind its last layer {last.name!r}"
        raise CheckpointError(f"{file} has {named}, unlike a DCGAN generator")
    if linear and len(_norm(stem)["running_mean"]) != inner:
        stem = folded(stem)._replace(norm=_identity_norm(inner))
        layers = [stem, *middle, last]
    bias = any(layer.bias is not None for layer in layers)
    converted: dict[str, Tensor] = {}
    for position, layer in enumerate(layers):
        prefix = f"main.{3 * position}" + (".linear" if position == 0 and linear else "")
        converted |= _tensors(prefix, layer, "generator", bias)
        if layer.norm is not None:
            converted |= {f"main.{3 * position + 1}.{leaf}": value for leaf, value in _norm(layer).items()}
    kernel = last.weight.shape[2]
    arguments = {
        "latent": latent,
        "widths": widths,
        "channels": channels,
        "stem": "linear" if linear else "transposed",
        "last_kernel": kernel,
        "bias": bias,
        **({} if side == 4 else {"stem_side": side}),
    }
    size = side * 2 ** (len(widths) - 1) * LAST_STRIDES[kernel][0]
    if image_size is not None and kernel == 1 and image_size < size and (size - image_size) % 2 == 0:
        # A padding cuts off the border; no shape tells it.
        arguments["last_padding"], size = (size - image_size) // 2, image_size
    return converted, arguments, size


def read_discriminator(state: dict[str, Tensor], file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """State dict and arguments of our DCGANDiscriminator. Raises CheckpointError naming `file`."""
    *body, head = layers_of(state, "discriminator", file)
    channels = body[0].weight.shape[1]
    widths = [channels]
    for layer in body:
        if layer.weight.ndim != 4 or layer.weight.shape[1] != widths[-1]:
            raise CheckpointError(f"{file}: {layer.name!r} does not take the {widths[-1]} channels of the layer before it")
        if tuple(layer.weight.shape[2:]) != (4, 4):
            raise CheckpointError(f"{file}: {layer.name!r} has a kernel of {_kernel(layer)}, unlike a DCGAN discriminator's")
        widths.append(layer.weight.shape[0])
    if head.weight.shape[0] != 1:
        raise CheckpointError(f"{file}: its last layer {head.name!r} gives {head.weight.shape[0]} numbers an image, not one")
    if head.weight.ndim == 2:
        side = round((head.weight.shape[1] / widths[-1]) ** 0.5)
        if side * side * widths[-1] != head.weight.shape[1]:
            raise CheckpointError(f"{file}: {head.name!r} does not take square maps of {widths[-1]} channels")
        head = head._replace(weight=head.weight.view(1, widths[-1], side, side))
    if head.weight.shape[1] != widths[-1] or head.weight.shape[2] != head.weight.shape[3]:
        raise CheckpointError(f"{file}: {head.name!r} does not take square maps of {widths[-1]} channels")
    layers = [*body, head]
    # Batch norm stands as in the DCGAN paper, behind all but the first layer; elsewhere it is folded into the weights.
    norm = "batch" if [layer.norm is not None for layer in layers] == [False] + [True] * (len(body) - 1) + [False] else "none"
    if norm == "none":
        layers = [folded(layer) for layer in layers]
    bias = any(layer.bias is not None for layer in layers)
    converted: dict[str, Tensor] = {}
    number = 0
    for layer in layers:
        converted |= _tensors(f"main.{number}", layer, "discriminator", bias)
        if layer.norm is not None:
            number += 1
            converted |= {f"main.{number}.{leaf}": value for leaf, value in _norm(layer).items()}
        number += 2
    arguments = {
        "widths": widths[1:],
        "channels": channels,
        "norm": norm,
        "bias": bias,
        "head_kernel": head.weight.shape[2],
    }
    return converted, arguments


def _kernel(layer: Layer) -> str:
    return "x".join(map(str, layer.weight.shape[2:])) or "no size"


def _tensors(prefix: str, layer: Layer, role: str, with_bias: bool) -> dict[str, Tensor]:
    tensors = {f"{prefix}.weight": layer.weight}
    if with_bias:
        tensors[f"{prefix}.bias"] = torch.zeros(_outputs(layer.weight, role)) if layer.bias is None else layer.bias
    return tensors


def _norm(layer: Layer) -> dict[str, Tensor]:
    """A layer's batch norm with all its tensors; those made without gain and offset, or by an old torch, lack some."""
    norm = layer.norm or {}
    size = len(norm["running_mean"])
    return {"weight": torch.ones(size), "bias": torch.zeros(size), "num_batches_tracked": torch.tensor(0), **norm}


def _identity_norm(size: int) -> dict[str, Tensor]:
    return {"running_mean": torch.zeros(size), "running_var": torch.full((size,), 1 - EPS)}


def folded(layer: Layer) -> Layer:
    """The layer with its batch norm, as it acts in eval mode, multiplied into weight and bias (output axis first)."""
    if layer.norm is None:
        return layer
    norm = _norm(layer)
    gain = norm["weight"] / (norm["running_var"] + EPS).sqrt()
    bias = torch.zeros_like(gain) if layer.bias is None else layer.bias
    weight = layer.weight * gain.view(-1, *[1] * (layer.weight.ndim - 1))
    return layer._replace(weight=weight, bias=(bias - norm["running_mean"]) * gain + norm["bias"], norm=None)
