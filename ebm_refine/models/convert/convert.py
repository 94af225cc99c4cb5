"""Foreign weights become a checkpoint folder: public pairs and energies in PyTorch files, read without running code from them.

A state dict names tensors, not operations. What it cannot tell (activations, strides, paddings) is taken as in the DCGAN
family: ReLU after the generator's batch norms, tanh last, LeakyReLU(0.2) in the discriminator, stride 2 and padding 1 with
4x4 kernels; in pairs of perceptrons the same activations; in energies SiLU. A final sigmoid has no weights, so leaving it out,
as our logit does, needs nothing. Where shapes or positions contradict this, the file is refused rather than guessed at.
"""

import hashlib
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ebm_refine.errors import CheckpointError
from ebm_refine.models.checkpoint import Checkpoint, Part, load_checkpoint, save_checkpoint
from ebm_refine.models.config import LFS_POINTER
from ebm_refine.models.convert.dcgan_state_dict import read_discriminator, read_generator
from ebm_refine.models.convert.mlp_state_dict import is_perceptron, read_energy, read_perceptron
from ebm_refine.models.model_card import model_card
from ebm_refine.models.networks import build

ROLE_NAMES = {
    "generator": ("g", "gen", "generator"),
    "discriminator": ("d", "dis", "disc", "discriminator"),
    "energy": ("e", "ebm", "energy"),
}
ASSUMED = "generator: ReLU, tanh; discriminator: LeakyReLU(0.2), sigmoid left out; 4x4 kernels with stride 2 and padding 1"
ASSUMED_PERCEPTRON = "generator: ReLU, tanh; discriminator: LeakyReLU(0.2), sigmoid left out"
ASSUMED_ENERGY = "SiLU; stride 2, padding 4 in the first convolution and 1 in the others; the output is minus the energy"
ASSUMED_LOGITS = "SiLU; stride 2, padding 4 in the first convolution and 1 in the others; the outputs are a classifier's logits"

# Public energies of this shape are sampled by the run that trained them (Nijkamp et al. 2019), at length from noise.
ENERGY_DEFAULTS = {"method": "short-run", "short-run": {"n_steps": 256}}
COLD = (
    "The default sampler is the short run that such energies are trained with: its noise is that of a temperature of about a "
    "millionth and its gradient is clipped, so its images are no samples of exp(-E). A long Langevin chain at temperature 1 is "
    "one, up to its step's bias; the two look different."
)


def import_pair(
    generator_file: str | Path,
    discriminator_file: str | Path | None,
    out_folder: str | Path,
    *,
    dataset: str,
    title: str | None = None,
    image_size: int | None = None,
    source: str | None = None,
    license: str | None = None,
) -> Checkpoint:
    """Turn a public pair (`.pth`, `.pt`: state dicts, bare or wrapped) into a checkpoint folder, and load it from there.

    Read are DCGANs and pairs of perceptrons, as of MNIST (64-256-256-784 and 784-256-256-1).

    discriminator_file: None where one file holds both. dataset: what the pair was trained on ("cifar10", …). image_size:
    where given, the pair must make images of that size; give it where the layers might be padded in an unusual way, as no
    shape tells that (a public 28x28 MNIST pair looks like 32x32). source, license: go into the model card. Weights stay
    float32.
    Raises CheckpointError for a file that is missing, damaged, not a pair, or that could only be read by running its code;
    InputError where `out_folder` cannot be written. `out_folder` is written in one step, or not at all.
    """
    files = {"generator": Path(generator_file), "discriminator": Path(discriminator_file or generator_file)}
    states = {role: state_dict_of(read_weights(file), role, file) for role, file in files.items()}
    told = {"dataset": dataset, "title": title, "source": source, "license": license}
    if is_perceptron(states["generator"]) and is_perceptron(states["discriminator"]):
        parts, shape, latent = _perceptrons(states, files, image_size)
        return _saved(Path(out_folder), "pair", "perceptrons", files, parts, shape, latent, ASSUMED_PERCEPTRON, told)
    generator, arguments, size = read_generator(states["generator"], files["generator"])
    channels = arguments["channels"]
    if image_size is not None and image_size != size:
        raise CheckpointError(f"{files['generator']} makes images of {size}x{size}, not of {image_size}x{image_size}")
    discriminator, described = read_discriminator(states["discriminator"], files["discriminator"])
    reads = described["head_kernel"] * 2 ** len(described["widths"])
    if (described["channels"], reads) != (channels, size):
        raise CheckpointError(
            f"{files['discriminator']} reads images of {described['channels']}x{reads}x{reads}, "
            f"but the generator makes {channels}x{size}x{size}"
        )
    parts = {
        "generator": _part("dcgan-generator", arguments, generator, files["generator"]),
        "discriminator": _part("dcgan-discriminator", described, discriminator, files["discriminator"]),
    }
    shape = (channels, size, size)
    return _saved(Path(out_folder), "pair", "DCGAN", files, parts, shape, arguments["latent"], ASSUMED, told)


def import_energy(
    energy_file: str | Path,
    out_folder: str | Path,
    *,
    dataset: str,
    title: str | None = None,
    image_size: int | None = None,
    source: str | None = None,
    license: str | None = None,
) -> Checkpoint:
    """Turn a public energy (`.ckpt`, `.pth`, `.pt`) of the common shape into a checkpoint folder, and load it from there.

    The file is a state dict or a Lightning checkpoint, of a 5x5 and several 3x3 convolutions of stride 2 and two linear
    layers. Its one output is minus the energy; several outputs are a classifier's logits. For the rest see `import_pair`.
    """
    file = Path(energy_file)
    state, arguments = read_energy(state_dict_of(read_weights(file), "energy", file), file, image_size)
    shape = (arguments["channels"], arguments["side"], arguments["side"])
    parts = {"energy": _part("energy-cnn", arguments, state, file)}
    assumed = ASSUMED_LOGITS if arguments["classes"] else ASSUMED_ENERGY
    told = {"dataset": dataset, "title": title, "source": source, "license": license}
    return _saved(Path(out_folder), "energy", "energy", {"energy": file}, parts, shape, None, assumed, told)


def _perceptrons(
    states: dict[str, dict[str, Tensor]], files: dict[str, Path], image_size: int | None
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
    parts = {role: _part(f"mlp-{role}", arguments, state, files[role]) for role, (state, arguments) in read.items()}
    return parts, tuple(shape), generator["latent"]


def _saved(
    folder: Path,
    kind: str,
    family: str,
    files: dict[str, Path],
    parts: dict[str, Part],
    shape: tuple[int, ...],
    latent: int | None,
    assumed: str,
    told: dict[str, str | None],
) -> Checkpoint:
    """Write the checkpoint folder with everything that is known of where it comes from, and load it from there."""
    hashes = {f"{role}_sha256": hashlib.sha256(file.read_bytes()).hexdigest() for role, file in files.items()}
    names = {f"{role}_file": file.name for role, file in files.items()}
    origin = {key: told[key] for key in ("source", "license") if told[key]}
    config = {
        "kind": kind,
        "title": told["title"] or f"Imported {family}, {told['dataset']}",
        **({} if latent is None else {"prior": {"name": "normal", "dim": latent}, "discriminator_output": "logit"}),
        "data": {"shape": list(shape), "range": [-1, 1], "dataset": told["dataset"]},
        **({"defaults": ENERGY_DEFAULTS, "notes": [COLD]} if kind == "energy" else {}),
        "training": {"recipe": "import", **names, **hashes, "assumed": assumed, **origin},
    }
    save_checkpoint(folder, config, parts, model_card(config), dtype=torch.float32)
    return load_checkpoint(folder)


def read_weights(file: Path) -> Any:
    """What a PyTorch file holds, read with `weights_only`. Raises CheckpointError where that is refused or fails."""
    try:
        with file.open("rb") as stream:
            start = stream.read(len(LFS_POINTER))
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror or type(error).__name__}") from None
    if start == LFS_POINTER:
        raise CheckpointError(f"{file} is a Git-LFS pointer, not the weights; fetch them with `git lfs pull`")
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged archive can fail anywhere in the reader
        text = str(error)
        wants_code = isinstance(error, pickle.UnpicklingError) and re.search(
            "unsupported global|unsupported class|trying to", text, re.I
        )
        if "TorchScript" in text or wants_code:
            raise CheckpointError(
                f"{file} holds Python objects that only running code from the file could restore, which is never done here; "
                "save the networks' state_dict() and import that"
            ) from None
        raise CheckpointError(f"{file} is truncated, or no PyTorch file of weights") from None


def state_dict_of(content: Any, role: str, file: Path) -> dict[str, Tensor]:
    """The state dict of the generator or the discriminator within what a file holds, however it is wrapped."""
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(f"{file} holds no state dict but {type(content).__name__}")
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if tensors:
        parts = {key: _role_of(key.split(".")[0]) for key in tensors}
        if any(parts.values()):  # one module that holds both networks
            tensors = {key: value for key, value in tensors.items() if parts[key] == role}
            if not tensors:
                raise CheckpointError(f"{file} holds no {role}")
        for key, value in tensors.items():
            if not value.numel() or not value.isfinite().all():
                raise CheckpointError(f"{file}: {key} is empty or holds numbers that are not finite")
        return {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}
    inner = {str(key): value for key, value in content.items() if isinstance(value, Mapping) and value}
    for wanted in (role, ""):
        if found := [value for key, value in inner.items() if _role_of(key) == wanted]:
            return state_dict_of(found[0], role, file)
    raise CheckpointError(f"{file} holds no {role}: its entries are {', '.join(map(str, content))[:200]}")


def _role_of(key: str) -> str | None:
    """ "netG_state_dict" is "generator", "D" is "discriminator", "state_dict" is "" (a mere wrapping), others are None."""
    bare = re.sub(r"state|dict|model|module|network|net|weights|params|[^a-z0-9]", "", key.lower())
    if not bare:
        return ""
    return next((role for role, names in ROLE_NAMES.items() if bare in names), None)


def _part(architecture: str, arguments: dict[str, Any], state: dict[str, Tensor], file: Path) -> Part:
    network = build(architecture, arguments)
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{file} does not fit architecture {architecture!r}: {reason}") from None
    return Part(architecture, arguments, network.eval())
