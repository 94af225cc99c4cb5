"""State dicts become the networks of a family: DCGANs, perceptrons, either with labels, and mimicry's residual pairs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ebm_refine.errors import CheckpointError, InputError
from ebm_refine.models.checkpoint import Part
from ebm_refine.models.convert.dcgan_state_dict import read_discriminator, read_generator
from ebm_refine.models.convert.import_options import NOT_RESIDUAL, RESIDUAL, ImportOptions
from ebm_refine.models.convert.labelled_state_dict import (
    read_labelled_discriminator,
    read_labelled_generator,
    table_of,
    takes_one_hot,
)
from ebm_refine.models.convert.mlp_state_dict import is_perceptron, read_perceptron
from ebm_refine.models.convert.residual_state_dict import is_residual, read_residual_discriminator, read_residual_generator
from ebm_refine.models.networks import build


@dataclass(frozen=True)
class Converted:
    """A pair that was read and not yet written: `parts` by role, `assumed` the assumptions in words.

    `classes`: the labels that the generator takes, 0 for none.
    """

    family: str
    files: dict[str, Path]
    parts: dict[str, Part]
    shape: tuple[int, ...]
    latent: int
    options: ImportOptions
    assumed: list[str]
    classes: int = 0


def read_family(
    states: dict[str, dict[str, Tensor]],
    files: dict[str, Path],
    image_size: int | None,
    options: ImportOptions,
    notes: list[str],
) -> Converted:
    """The pair of state dicts, by the family that their tensors belong to."""
    if is_residual(states["generator"]):
        return _residual(states, files, image_size, options, notes)
    for name in RESIDUAL:
        if getattr(options, name) != getattr(ImportOptions(), name):
            raise InputError(f"--{name.replace('_', '-')} is for residual networks, which {files['generator']} does not hold")
    split = {role: table_of(states[role], role, files[role]) for role in files}
    if options.classes or split["generator"][1] is not None:
        return _labelled(split, files, image_size, options, notes)
    if split["discriminator"][1] is not None:
        raise CheckpointError(
            f"{files['discriminator']} takes labels, by an embedding, and {files['generator']} holds none; say --classes "
            "where its labels are one-hot"
        )
    if is_perceptron(states["generator"]) and is_perceptron(states["discriminator"]):
        parts, shape, latent = _perceptrons(states, files, image_size, options)
        return Converted("perceptrons", files, parts, shape, latent, options, [*notes, *options.described()])
    generator, arguments, size = read_generator(states["generator"], files["generator"], image_size)
    if image_size is not None and image_size != size:
        raise CheckpointError(f"{files['generator']} makes images of {size}x{size}, not of {image_size}x{image_size}")
    hint = "; if the images are smaller, say --image-size" if arguments["last_kernel"] == 1 else ""
    shape = (arguments["channels"], size, size)
    parts = {
        "generator": part_of("dcgan-generator", {**arguments, **options.generator_arguments()}, generator, files["generator"]),
        "discriminator": _convolutions(states["discriminator"], files["discriminator"], shape, image_size, options, hint),
    }
    assumed = [*notes, *options.described(), f"4x4 kernels with stride 2 and padding 1, images of {size}x{size} (--image-size)"]
    return Converted("DCGAN", files, parts, shape, arguments["latent"], options, assumed)


def _convolutions(
    state: dict[str, Tensor], file: Path, shape: tuple[int, ...], image_size: int | None, options: ImportOptions, hint: str = ""
) -> Part:
    """A DCGAN discriminator of images of `shape`."""
    discriminator, described = read_discriminator(state, file)
    channels, size, _ = shape
    reads, maps = described["head_kernel"] * 2 ** len(described["widths"]), size >> len(described["widths"])
    if image_size is not None and reads != size and described["head_kernel"] == 4 and maps in (2, 3):
        described["head_padding"] = 1  # a padded head, as no shape tells either
        reads = size
    if (described["channels"], reads) != (channels, size):
        raise CheckpointError(
            f"{file} reads images of {described['channels']}x{reads}x{reads}, but the generator makes "
            f"{channels}x{size}x{size}{hint}"
        )
    return part_of("dcgan-discriminator", {**described, **options.discriminator_arguments()}, discriminator, file)


def _residual(
    states: dict[str, dict[str, Tensor]],
    files: dict[str, Path],
    image_size: int | None,
    options: ImportOptions,
    notes: list[str],
) -> Converted:
    for name in NOT_RESIDUAL:
        if getattr(options, name) != getattr(ImportOptions(), name):
            raise InputError(
                f"--{name.replace('_', '-')} does not apply to residual networks, such as {files['generator']} holds"
            )
    one = read_residual_generator(states["generator"], files["generator"], options)
    size = one.arguments["stem_side"] * 2 ** (len(one.arguments["widths"]) - 1)
    if image_size not in (None, size):
        raise CheckpointError(f"{files['generator']} makes images of {size}x{size}, not of {image_size}x{image_size}")
    if not is_residual(states["discriminator"]):
        raise CheckpointError(f"{files['discriminator']} has no residual blocks, though the generator has")
    other = read_residual_discriminator(states["discriminator"], files["discriminator"], options, size)
    classes, shape = one.arguments["classes"], (one.arguments["channels"], size, size)
    if other.arguments["classes"] not in (0, classes) or other.arguments["channels"] != shape[0]:
        seen = [f"{found.arguments['channels']} channels and {found.arguments['classes']} classes" for found in (one, other)]
        raise CheckpointError(f"the generator has {seen[0]}, the discriminator {seen[1]}")
    parts = {
        role: part_of(f"residual-{role}", found.arguments, found.state, files[role])
        for role, found in (("generator", one), ("discriminator", other))
    }
    priors = f"batch norms with eps {options.norm_eps:g} (--norm-eps); latents {options.prior} (--prior)"
    assumed = [*notes, *one.assumed, *other.assumed, priors]
    return Converted("residual", files, parts, shape, one.arguments["latent"], options, assumed, classes)


def _labelled(
    split: dict[str, tuple[dict[str, Tensor], Tensor | None]],
    files: dict[str, Path],
    image_size: int | None,
    options: ImportOptions,
    notes: list[str],
) -> Converted:
    state, table = split["generator"]
    one = read_labelled_generator(state, table, files["generator"], image_size, options)
    if image_size not in (None, one.shape[-1]):
        raise CheckpointError(
            f"{files['generator']} makes images of {one.shape[-1]}x{one.shape[-1]}, not of {image_size}x{image_size}"
        )
    parts = {"generator": part_of(one.architecture, one.arguments, one.state, files["generator"])}
    state, table = split["discriminator"]
    assumed = [*notes, *one.assumed]
    if table is None and not (
        options.classes and takes_one_hot(state, one.shape, options.classes)
    ):  # labels are the generator's alone
        parts["discriminator"] = _without_labels(state, files["discriminator"], one.shape, image_size, options)
    else:
        other = read_labelled_discriminator(state, table, files["discriminator"], one.shape, options)
        if other.arguments["classes"] != one.arguments["classes"]:
            counts = [found.arguments["classes"] for found in (one, other)]
            raise CheckpointError(f"the generator has {counts[0]} classes, the discriminator {counts[1]}")
        parts["discriminator"] = part_of(other.architecture, other.arguments, other.state, files["discriminator"])
        assumed += other.assumed
    assumed += options.described()
    return Converted("conditional pair", files, parts, one.shape, one.latent, options, assumed, one.arguments["classes"])


def _without_labels(
    state: dict[str, Tensor], file: Path, shape: tuple[int, ...], image_size: int | None, options: ImportOptions
) -> Part:
    """A discriminator of images alone, beside a generator that takes labels."""
    if not is_perceptron(state):
        return _convolutions(state, file, shape, image_size, options)
    inner, arguments = read_perceptron(state, "discriminator", file)
    if tuple(arguments["shape"]) != shape:
        reads, makes = ("x".join(map(str, one)) for one in (arguments["shape"], shape))
        raise CheckpointError(
            f"{file} reads images of {reads}, but the generator makes {makes}; of one-hot labels say --classes"
        )
    return part_of("mlp-discriminator", {**arguments, **options.discriminator_arguments()}, inner, file)


def _perceptrons(
    states: dict[str, dict[str, Tensor]], files: dict[str, Path], image_size: int | None, options: ImportOptions
) -> tuple[dict[str, Part], tuple[int, ...], int]:
    """The parts of a pair of perceptrons, the shape of its images and the dimension of its latents."""
    read = {role: read_perceptron(states[role], role, files[role]) for role in files}
    (_, generator), (_, discriminator) = read["generator"], read["discriminator"]
    shape = generator["shape"]
    if discriminator["shape"] != shape:
        reads, makes = ("x".join(map(str, one["shape"])) for one in (discriminator, generator))
        raise CheckpointError(f"{files['discriminator']} reads images of {reads}, but the generator makes {makes}")
    if image_size not in (None, shape[-1]):
        raise CheckpointError(f"{files['generator']} makes images of {shape[-1]}x{shape[-1]}, not of {image_size}x{image_size}")
    more = {"generator": options.generator_arguments(), "discriminator": options.discriminator_arguments()}
    parts = {
        role: part_of(f"mlp-{role}", {**arguments, **more[role]}, state, files[role])
        for role, (state, arguments) in read.items()
    }
    return parts, tuple(shape), generator["latent"]


def part_of(architecture: str, arguments: dict[str, Any], state: dict[str, Tensor], file: Path) -> Part:
    network = build(architecture, arguments)
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{file} does not fit architecture {architecture!r}: {reason}") from None
    return Part(architecture, arguments, network.eval())
