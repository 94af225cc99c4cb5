"""Foreign weights become a checkpoint folder: public pairs and energies in PyTorch files, read without running code from them.

A state dict names tensors, not operations. What it cannot tell (activations, strides, paddings) is taken as in the DCGAN
family: ReLU after the generator's batch norms, tanh last, LeakyReLU(0.2) in the discriminator, stride 2 and padding 1 with
4x4 kernels; in pairs of perceptrons the same activations; in energies SiLU. A final sigmoid has no weights, so leaving it out,
as our logit does, needs nothing. Where shapes or positions contradict this, the file is rejected.
"""

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ebm_refine.errors import CheckpointError, InputError
from ebm_refine.models.checkpoint import Checkpoint, Part, load_checkpoint, save_checkpoint
from ebm_refine.models.convert.families import Converted, part_of, read_family
from ebm_refine.models.convert.import_options import EPS, ImportOptions
from ebm_refine.models.convert.mlp_state_dict import read_energy
from ebm_refine.models.convert.state_dicts import CRITIC, read_weights, state_dict_of
from ebm_refine.models.model_card import model_card

ASSUMED_ENERGY = "SiLU; stride 2, padding 4 in the first convolution and 1 in the others; the output is"
ASSUMED_LOGITS = "SiLU; stride 2, padding 4 in the first convolution and 1 in the others; the outputs are a classifier's logits"

# Public energies of this shape are sampled by the run that trained them (Nijkamp et al. 2019), at length from noise.
ENERGY_OUTPUTS = {"minus-energy": "minus the energy", "energy": "the energy"}
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
    options: ImportOptions | None = None,
) -> Checkpoint:
    """Turn a public pair (`.pth`, `.pt`, `.safetensors`: state dicts, bare or wrapped) into a checkpoint folder, and load it.

    Read are DCGANs, pairs of perceptrons, as of MNIST (64-256-256-784 and 784-256-256-1), either with labels that join the
    latent and the image, and the residual pairs of kwotsin/mimicry, also its conditional ones.

    discriminator_file: None where one file holds both. dataset: what the pair was trained on ("cifar10", …). image_size:
    where given, the pair must make images of that size; give it where the layers might be padded in an unusual way, as no
    shape shows that (a public 28x28 MNIST pair looks like 32x32). options: what no file states (None: the families' own).
    source, license: go into the model card. Weights stay float32.
    Raises CheckpointError for a file that is missing, damaged, not a pair, or that could only be read by running its code;
    InputError where `out_folder` cannot be written. `out_folder` is written in one step, or not at all.
    """
    pair = read_pair(generator_file, discriminator_file, image_size, options)
    return save_pair(pair, out_folder, {"dataset": dataset, "title": title, "source": source, "license": license})


def read_pair(
    generator_file: str | Path,
    discriminator_file: str | Path | None,
    image_size: int | None = None,
    options: ImportOptions | None = None,
) -> Converted:
    """The pair in files, without writing anything. Arguments and errors as of `import_pair`."""
    files = {"generator": Path(generator_file), "discriminator": Path(discriminator_file or generator_file)}
    notes: list[str] = []
    states = {role: state_dict_of(read_weights(file), role, file, notes) for role, file in files.items()}
    if options is None:
        options = ImportOptions(output="critic" if CRITIC in notes else "logit")
    states = {role: _with_eps(state, options.norm_eps) for role, state in states.items()}
    try:
        return read_family(states, files, image_size, options, notes)
    except CheckpointError as error:
        if "ebm_refine.pair" in str(error):
            raise
        raise CheckpointError(f"{error}; {BY_HAND}") from None


BY_HAND = "other networks are handed over in Python, with ebm_refine.pair(generator, discriminator, latent=…)"


def save_pair(pair: Converted, out_folder: str | Path, metadata: dict[str, str | None]) -> Checkpoint:
    """Write the checkpoint folder of a pair that was read, and load it from there. `metadata` goes into config and card."""
    prior = {"prior": {"name": pair.options.prior, "dim": pair.latent}, "discriminator_output": pair.options.output}
    if pair.classes:
        prior["labels"] = {"count": pair.classes}
    return _saved(
        Path(out_folder), "pair", pair.family, pair.files, pair.parts, pair.shape, prior, "; ".join(pair.assumed), metadata
    )


def _with_eps(state: dict[str, Tensor], eps: float) -> dict[str, Tensor]:
    """Batch norms of another eps as norms of the usual one: their variances differ by the difference, and by no more."""
    if eps == EPS:
        return state
    return {key: value + (eps - EPS) if key.endswith("running_var") else value for key, value in state.items()}


def import_energy(
    energy_file: str | Path,
    out_folder: str | Path,
    *,
    dataset: str,
    title: str | None = None,
    image_size: int | None = None,
    source: str | None = None,
    license: str | None = None,
    output: str = "minus-energy",
) -> Checkpoint:
    """Turn a public energy (`.ckpt`, `.pth`, `.pt`) of the common shape into a checkpoint folder, and load it from there.

    The file is a state dict or a Lightning checkpoint, of a 5x5 and several 3x3 convolutions of stride 2 and two linear
    layers. Its one output is minus the energy, or with `output` "energy" the energy; several outputs are a classifier's logits.
    For the rest see `import_pair`.
    """
    if output not in ENERGY_OUTPUTS:
        raise InputError(f"the output of an energy must be one of {', '.join(ENERGY_OUTPUTS)}; got {output!r}")
    file = Path(energy_file)
    state, arguments = read_energy(
        state_dict_of(read_weights(file), "energy", file), file, image_size, negated=output == "minus-energy"
    )
    shape = (arguments["channels"], arguments["side"], arguments["side"])
    parts = {"energy": part_of("energy-cnn", arguments, state, file)}
    assumed = ASSUMED_LOGITS if arguments["classes"] else f"{ASSUMED_ENERGY} {ENERGY_OUTPUTS[output]} (--output)"
    metadata = {"dataset": dataset, "title": title, "source": source, "license": license}
    return _saved(Path(out_folder), "energy", "energy", {"energy": file}, parts, shape, {}, assumed, metadata)


def _saved(
    folder: Path,
    kind: str,
    family: str,
    files: dict[str, Path],
    parts: dict[str, Part],
    shape: tuple[int, ...],
    law: dict[str, Any],
    assumed: str,
    metadata: dict[str, str | None],
) -> Checkpoint:
    """Write the checkpoint folder with everything that is known of where it comes from, and load it from there."""
    hashes = {f"{role}_sha256": hashlib.sha256(file.read_bytes()).hexdigest() for role, file in files.items()}
    names = {f"{role}_file": file.name for role, file in files.items()}
    origin = {key: metadata[key] for key in ("source", "license") if metadata[key]}
    config = {
        "kind": kind,
        "title": metadata["title"] or f"Imported {family}, {metadata['dataset']}",
        **law,
        "data": {"shape": list(shape), "range": [-1, 1], "dataset": metadata["dataset"]},
        **({"defaults": ENERGY_DEFAULTS, "notes": [COLD]} if kind == "energy" else {}),
        "training": {"recipe": "import", **names, **hashes, "assumed": assumed, **origin},
    }
    save_checkpoint(folder, config, parts, model_card(config), dtype=torch.float32)
    return load_checkpoint(folder)
