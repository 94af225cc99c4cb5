"""Public residual pairs, as kwotsin/mimicry trains and publishes them: SNGAN, its DCGAN, WGAN-GP, SSGAN and cGAN-PD.

Layers have names there, so that little has to be inferred: `l1`, `block2` … with `c1`, `c2`, `b1`, `b2`, `c_sc`, a last batch
norm `b6` and convolution `c6`; in discriminators `block1` …, `l6`, and `l_y` for labels. What no tensor tells is how maps are
doubled and pooled, and which blocks of a discriminator halve.
"""

import math
import re
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ebm_refine.errors import CheckpointError
from ebm_refine.models.convert.dcgan_state_dict import baked
from ebm_refine.models.convert.import_options import ImportOptions

BLOCK = re.compile(r"block(\d+)\.(c1|c2|c_sc|b1|b2)\.(.+)")
LAYERS = {"c1": "conv1", "c2": "conv2", "c_sc": "around", "b1": "norm1", "b2": "norm2"}
# Discriminators whose last block widens but does not halve: no tensor tells it (image size, blocks).
HALVINGS = {(48, 5): 4}


class ResidualRead(NamedTuple):
    """State dict and arguments of one of our networks, and what had to be assumed, in words."""

    state: dict[str, Tensor]
    arguments: dict[str, Any]
    assumed: list[str]


def is_residual(state: dict[str, Tensor]) -> bool:
    return any(re.match(r"block\d+\.c1\.", key) for key in state)


def read_residual_generator(state: dict[str, Tensor], file: Path, options: ImportOptions) -> ResidualRead:
    """As our ResidualGenerator. Raises CheckpointError naming `file`."""
    state = baked(state, "discriminator", file)  # no transposed convolutions here: outputs come first in both networks
    blocks, rest = _blocks(state, file)
    stem = rest.pop("l1.weight", None)
    last = next((key.partition(".")[0] for key in rest if re.fullmatch(r"c\d+\.weight", key)), None)
    if stem is None or last is None:
        raise CheckpointError(
            f"{file} has residual blocks, but no stem 'l1' or no last convolution, as mimicry's generators have"
        )
    conditional = "norm1.embed.weight" in blocks[0]
    classes = len(blocks[0]["norm1.embed.weight"]) if conditional else 0
    widths = [blocks[0]["conv1.weight"].shape[1], *(len(block["conv2.weight"]) for block in blocks)]
    side = math.isqrt(len(stem) // widths[0])
    found = {"stem.weight": stem, "stem.bias": rest.pop("l1.bias", torch.zeros(len(stem)))}
    for number, block in enumerate(blocks):
        found |= {f"blocks.{number}.{key}": value for key, value in _normed(block, conditional).items()}
    channels = len(rest[f"{last}.weight"])
    for leaf in ("weight", "bias"):
        if f"{last}.{leaf}" in rest:
            found[f"last.{leaf}"] = rest.pop(f"{last}.{leaf}")
    norm = f"b{last[1:]}."
    for key in [key for key in rest if key.startswith(norm)]:
        found[f"norm.{key.removeprefix(norm)}"] = rest.pop(key)
    _see_that_all_was_read(rest, file)
    arguments = {
        "latent": stem.shape[1], "widths": widths, "channels": channels, "stem_side": side, "classes": classes,
        "upsampling": options.upsampling,
    }  # fmt: skip
    assumed = [f"generator: ReLU, tanh last, maps doubled by {options.upsampling} interpolation (--upsampling)"]
    return ResidualRead(found, arguments, assumed)


def read_residual_discriminator(state: dict[str, Tensor], file: Path, options: ImportOptions, size: int) -> ResidualRead:
    """As our ResidualDiscriminator, of images of `size`. Raises CheckpointError naming `file`."""
    state = baked(state, "discriminator", file)
    blocks, rest = _blocks(state, file)
    head = next((key.partition(".")[0] for key in rest if re.fullmatch(r"l\d+\.weight", key)), None)
    if head is None or len(rest[f"{head}.weight"]) != 1:
        raise CheckpointError(
            f"{file} has residual blocks, but no last linear layer of one output, as mimicry's discriminators have"
        )
    widths = [len(block["conv2.weight"]) for block in blocks]
    channels = blocks[0]["conv1.weight"].shape[1]
    assumed = []
    found = {f"blocks.{number}.{key}": value for number, block in enumerate(blocks) for key, value in block.items()}
    found |= {f"head.{leaf}": rest.pop(f"{head}.{leaf}") for leaf in ("weight", "bias") if f"{head}.{leaf}" in rest}
    classes = 0
    if "l_y.weight" in rest:
        table = rest.pop("l_y.weight")
        if rest.pop("l_y.bias", None) is not None:
            assumed.append(f"discriminator: its second head of {len(table)} outputs is left out")
        else:
            classes, found["projection.weight"] = len(table), table
    _see_that_all_was_read(rest, file)
    halvings = options.halvings or _halvings(blocks, widths, channels, size, file)
    wrong = [
        number + 1
        for number, (block, before, after) in enumerate(zip(blocks, [channels, *widths], widths, strict=False))
        if ("around.weight" in block) != (before != after or number < halvings)
    ]
    if wrong:
        raise CheckpointError(f"{file}: block {wrong[0]} contradicts that the first {halvings} blocks halve; see --halvings")
    assumed.append(
        f"discriminator: ReLU, the first {halvings} of {len(blocks)} blocks halve the side (--halvings), {options.d_pooling} "
        f"over pixels (--d-pooling), its output read as {options.output} (--output)"
    )
    arguments = {
        "widths": widths, "channels": channels, "halvings": halvings, "classes": classes, "pooling": options.d_pooling,
    }  # fmt: skip
    return ResidualRead(found, arguments, assumed)


def _halvings(blocks: list[dict[str, Tensor]], widths: list[int], channels: int, size: int, file: Path) -> int:
    """Leading blocks with a convolution on the way around: those that halve, save where one only widens."""
    leading = next((number for number, block in enumerate(blocks) if "around.weight" not in block), len(blocks))
    return HALVINGS.get((size, len(blocks)), leading)


def _blocks(state: dict[str, Tensor], file: Path) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
    """The tensors of each block in order, by our names, and all the others."""
    blocks: dict[int, dict[str, Tensor]] = {}
    rest = {}
    for key, value in state.items():
        if found := BLOCK.fullmatch(key):
            blocks.setdefault(int(found[1]), {})[f"{LAYERS[found[2]]}.{found[3]}"] = value
        else:
            rest[key] = value
    ordered = [blocks[number] for number in sorted(blocks)]
    if any(block.get(f"{name}.weight", torch.empty(0)).ndim != 4 for block in ordered for name in ("conv1", "conv2")):
        raise CheckpointError(f"{file}: not every residual block has two convolutions 'c1' and 'c2'")
    return ordered, rest


def _normed(block: dict[str, Tensor], conditional: bool) -> dict[str, Tensor]:
    """A block whose batch norms of classes are ours: gains and offsets stand side by side in the table of such a norm."""
    if not conditional:
        return block
    found = {key: value for key, value in block.items() if not key.startswith("norm")}
    for norm in ("norm1", "norm2"):
        gain, bias = block[f"{norm}.embed.weight"].chunk(2, 1)
        found |= {f"{norm}.gain": gain.contiguous(), f"{norm}.bias": bias.contiguous()}
        found |= {f"{norm}.mean": block[f"{norm}.bn.running_mean"], f"{norm}.variance": block[f"{norm}.bn.running_var"]}
    return found


def _see_that_all_was_read(rest: dict[str, Tensor], file: Path) -> None:
    if rest:
        raise CheckpointError(f"{file}: {next(iter(rest))!r} belongs to no layer of mimicry's SNGAN family")
