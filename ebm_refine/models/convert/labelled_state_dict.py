"""Conditional pairs whose labels join the latent and the image: by a table in the file (an embedding), or one-hot.

PyTorch-GAN's cgan (perceptrons, the label's row before the latent and after the image), tutorials' conditional DCGANs (the row
after the latent, a channel of the image's size behind its channels), and generators whose latent is multiplied by the row.
"""

import math
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ebm_refine.errors import CheckpointError
from ebm_refine.models.convert.dcgan_state_dict import baked, read_discriminator, read_generator
from ebm_refine.models.convert.import_options import ImportOptions
from ebm_refine.models.convert.mlp_state_dict import is_perceptron, read_perceptron


class LabelledRead(NamedTuple):
    """State dict, architecture and arguments of one of our networks; what it makes or takes; what was assumed, in words."""

    state: dict[str, Tensor]
    architecture: str
    arguments: dict[str, Any]
    shape: tuple[int, ...]
    latent: int
    assumed: list[str]


def is_table(key: str, value: Tensor, state: dict[str, Tensor]) -> bool:
    """Whether a tensor is an embedding of labels: a matrix without a bias that is called one."""
    name, _, leaf = key.rpartition(".")
    called = any("emb" in part.lower() or part.lower().startswith("label") for part in name.split("."))
    return called and leaf == "weight" and value.ndim == 2 and f"{name}.bias" not in state


def table_of(state: dict[str, Tensor], role: str, file: Path) -> tuple[dict[str, Tensor], Tensor | None]:
    """The state dict without its embedding of labels (classes, width), and that, None where it has none."""
    state = baked(state, role, file)
    found = [key for key, value in state.items() if is_table(key, value, state)]
    if len(found) > 1:
        raise CheckpointError(f"{file} has several embeddings, {', '.join(found[:3])}; it is not clear where each belongs")
    return {key: value for key, value in state.items() if key not in found}, state[found[0]] if found else None


def takes_one_hot(state: dict[str, Tensor], shape: tuple[int, ...], classes: int) -> bool:
    """Whether a perceptron is given one-hot labels beside images of `shape`."""
    first = next(value for value in state.values() if value.ndim == 2) if is_perceptron(state) else None
    return first is not None and first.shape[1] == math.prod(shape) + classes


def read_labelled_generator(
    state: dict[str, Tensor], table: Tensor | None, file: Path, size: int | None, options: ImportOptions
) -> LabelledRead:
    """As our LabelledGenerator. Raises CheckpointError naming `file`."""
    table = torch.eye(options.classes) if table is None else table
    perceptron = is_perceptron(state)
    if perceptron:
        inner, arguments = read_perceptron(state, "generator", file)
        shape = tuple(arguments["shape"])
    else:
        inner, arguments, side = read_generator(state, file, size)
        shape = (arguments["channels"], side, side)
    taken, (classes, width) = arguments["latent"], table.shape
    joined = "product" if width == taken else options.g_labels or ("first" if perceptron else "last")
    if width > taken:
        raise CheckpointError(f"{file}: rows of {width} numbers for a class do not join the {taken} that the generator takes")
    assumption = "generator: the latent is multiplied by the row of its class"
    if joined != "product":
        assumption = f"generator: the row of the class stands {joined}, beside a latent of {taken - width} (--g-labels)"
    family = "mlp-generator" if perceptron else "dcgan-generator"
    return LabelledRead(
        {"table.weight": table, **{f"inner.{key}": value for key, value in inner.items()}},
        "labelled-generator",
        {"inner": family, "arguments": {**arguments, **options.generator_arguments()}, "classes": classes, "width": width,
         "joined": joined},
        shape, taken if joined == "product" else taken - width, [assumption],
    )  # fmt: skip


def read_labelled_discriminator(
    state: dict[str, Tensor], table: Tensor | None, file: Path, shape: tuple[int, ...], options: ImportOptions
) -> LabelledRead:
    """As our LabelledDiscriminator, of images of `shape` (C, H, W). Raises CheckpointError naming `file`."""
    table = torch.eye(options.classes) if table is None else table
    perceptron, (classes, width) = is_perceptron(state), table.shape
    joined, given = options.d_labels or "last", options.discriminator_arguments()
    coding = given.pop("coding", "signed")
    if perceptron:
        inner, arguments = read_perceptron(state, "discriminator", file, beside=width)
        seen = tuple(arguments["shape"])
        arguments = {**arguments, "shape": [math.prod(seen) + width]}
    else:
        inner, arguments = read_discriminator(state, file)
        side = arguments["head_kernel"] * 2 ** len(arguments["widths"])
        seen = (arguments["channels"] - 1, side, side)
        if width != side * side:
            raise CheckpointError(f"{file}: a row of {width} numbers for a class is no channel beside images of {side}x{side}")
    if seen != shape:
        reads, makes = ("x".join(map(str, one)) for one in (seen, shape))
        raise CheckpointError(f"{file} reads images of {reads}, but the generator makes {makes}")
    return LabelledRead(
        {"table.weight": table, **{f"inner.{key}": value for key, value in inner.items()}},
        "labelled-discriminator",
        {"inner": "mlp-discriminator" if perceptron else "dcgan-discriminator", "arguments": {**arguments, **given},
         "classes": classes, "width": width, "joined": joined, "coding": coding},
        seen, 0, [f"discriminator: the row of the class stands {joined}, beside the image (--d-labels)"],
    )  # fmt: skip
