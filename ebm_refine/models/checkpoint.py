"""Checkpoints: a folder laid out as a Hub model repo, atomic to write and strict to read.

`config.json` names everything; weights are safetensors, each with its sha256 in the config. Nothing here unpickles.
"""

import hashlib
import json
import shutil
from collections.abc import Container
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as packed
from torch import Tensor, nn

from ebm_refine.errors import CheckpointError, InputError
from ebm_refine.models import networks, refits
from ebm_refine.models.config import (
    FORMAT,
    LFS_POINTER,
    MAX_ARGUMENT,
    MAX_ARGUMENT_ITEMS,
    is_whole,
    read_config,
    see_that_inside,
)
from ebm_refine.models.fuse import prepare
from ebm_refine.models.kinds import is_binary, law_of
from ebm_refine.models.networks.rbm import pixels_fit
from ebm_refine.models.refits import REFITS
from ebm_refine.parameters import shorten
from ebm_refine.utils.atomic_io import replacing_folder
from ebm_refine.utils.bounded_reading import read_regular
from ebm_refine.utils.devices import dtype_for

# The weights of the largest network that is worth a chain on one device.
MAX_WEIGHTS_BYTES = 4_000_000_000


class Part(NamedTuple):
    """A network on its way into a checkpoint: registered architecture name, constructor arguments, and the network."""

    architecture: str
    arguments: dict[str, Any]
    network: nn.Module


class Prepared(NamedTuple):
    """Networks by role as they are run, and what targets found out about the widths of batch at which to run them."""

    networks: dict[str, nn.Module]
    widths: dict[str, dict[Any, bool]]


@dataclass(frozen=True)
class Checkpoint:
    """A loaded model: networks by role, on the CPU, float32, in eval mode, frozen; tables (named tensors) by file stem."""

    name: str
    folder: Path
    config: dict[str, Any]
    networks: dict[str, nn.Module]
    tables: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    _prepared: dict[tuple[str, torch.dtype], "Prepared"] = field(default_factory=dict, repr=False, compare=False)

    @property
    def kind(self) -> str:
        return self.config["kind"]

    @property
    def runs_as_given(self) -> bool:
        """Whether the networks are the user's own callables, which are not copied, fused or cast (`models.pair`)."""
        return False

    def dtype_for(self, precision: str, device: str) -> torch.dtype:
        """What the networks are computed in (`utils.devices.dtype_for`): own callables always in the format that they have.

        Raises InputError for an unknown precision, for "bf16" of own callables, and where the device lacks it.
        """
        if self.runs_as_given and precision == "bf16":
            raise InputError("precision bf16 is for the networks of a checkpoint: own modules run in the format that they have")
        return dtype_for("fp32" if self.runs_as_given else precision, device)

    @property
    def prepared(self) -> dict[str, nn.Module]:
        """The networks by role as they are run on the CPU in float32: copies, made cheaper by `models.fuse.prepare`."""
        return self.prepared_on("cpu", torch.float32).networks

    def prepared_on(self, device: str, dtype: torch.dtype) -> "Prepared":
        """The networks as they are run on `device` with convolutions in `dtype`; made once for each."""
        if (device, dtype) not in self._prepared:
            copies = {role: prepare(network, dtype).to(device) for role, network in self.networks.items()}
            self._prepared[device, dtype] = Prepared(copies, {})
        return self._prepared[device, dtype]

    @property
    def hashes(self) -> dict[str, str]:
        """sha256 of each part's weights, by role."""
        return {role: part["sha256"] for role, part in self.config["parts"].items()}

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change with the weights and with whatever else of the config r and its prior are made of."""
        made_of = [self.config.get(name) for name in ("calibration", "isotonic", "critic_slope", "prior", "labels")]
        return _sha256(json.dumps([self.hashes, *made_of], sort_keys=True).encode())[:16]


def save_checkpoint(
    folder: Path,
    config: dict[str, Any],
    parts: dict[str, Part],
    card: str,
    tables: dict[str, dict[str, Tensor]] | None = None,
    dtype: torch.dtype = torch.float16,
    previous: Checkpoint | None = None,
) -> None:
    """Write a checkpoint in one step. `config` lacks `format`, `parts` and `tables`, which are added here.

    Floating-point weights are stored as `dtype`, or as float32 where they are too large for it; `tables` are further
    safetensors (name -> tensors) stored as they are. Parts and tables of `previous` that are not given are copied byte for
    byte. Raises InputError where the folder cannot be written; an older checkpoint there, possibly `previous` itself, stays
    whole until the new one is complete.
    """
    with replacing_folder(folder) as temporary:
        described: dict[str, Any] = {"parts": {}, "tables": {}}
        if previous is not None:
            for section, new in (("parts", parts), ("tables", tables or {})):
                described[section] = _taken_over(previous, section, new, temporary)
        for role, part in parts.items():
            weights = {
                name: _stored(value.detach().cpu(), dtype).contiguous() for name, value in part.network.state_dict().items()
            }
            file = temporary / f"{role}.safetensors"
            file.write_bytes(packed(weights))  # safetensors' own save_file leaves files that only their owner can read
            described["parts"][role] = {
                "architecture": part.architecture,
                "arguments": part.arguments,
                "file": file.name,
                "sha256": _sha256(file.read_bytes()),
            }
        for name, tensors in (tables or {}).items():
            file = temporary / f"{name}.safetensors"
            file.write_bytes(packed({key: value.contiguous() for key, value in tensors.items()}))
            described["tables"][name] = {"file": file.name, "sha256": _sha256(file.read_bytes())}
        (temporary / "config.json").write_text(json.dumps({"format": FORMAT, **config, **described}, indent=1) + "\n")
        (temporary / "README.md").write_text(card)


def _taken_over(previous: Checkpoint, section: str, new: Container[str], folder: Path) -> dict[str, Any]:
    """The entries of `previous` in a section of its config that are not `new`; their files are copied to `folder`."""
    entries = {name: entry for name, entry in previous.config.get(section, {}).items() if name not in new}
    for entry in entries.values():
        shutil.copyfile(previous.folder / entry["file"], folder / entry["file"])
    return entries


def load_checkpoint(folder: Path, name: str | None = None) -> Checkpoint:
    """Read and verify a checkpoint folder. Raises CheckpointError, one sentence naming the file, for anything unexpected."""
    config = read_config(folder)
    loaded = {role: _load_part(folder, role, part) for role, part in config["parts"].items()}
    tables = {stem: _read_tensors(folder, entry) for stem, entry in config.get("tables", {}).items()}
    if law_of(config) in ("pair", "energy", "joint"):
        _see_that_parts_fit(folder / "config.json", config, loaded)
    if is_binary(config) and not pixels_fit(loaded["energy"], config["data"]["shape"]):
        shape = config["data"]["shape"]
        raise CheckpointError(f"{folder / 'config.json'}: the energy must be an RBM or a DBN with as many pixels as {shape}")
    if "ratio" in loaded and REFITS in tables:
        refits.see_that_they_fit(folder / config["tables"][REFITS]["file"], loaded["ratio"], tables[REFITS])
    return Checkpoint(name or folder.name, folder, config, loaded, tables)


def _load_part(folder: Path, role: str, part: dict[str, Any]) -> nn.Module:
    architecture, where = part["architecture"], f"{folder / 'config.json'}: part {role!r}"
    if architecture not in networks.ARCHITECTURES:
        known = ", ".join(networks.ARCHITECTURES)
        raise CheckpointError(f"{where} has an unknown architecture {shorten(architecture)}; known are {known}")
    for key, value in part["arguments"].items():
        items = value if isinstance(value, list) else [value]
        if len(items) > MAX_ARGUMENT_ITEMS or any(is_whole(item) and abs(item) > MAX_ARGUMENT for item in items):
            raise CheckpointError(f"{where}: argument {shorten(key)} is absurdly large: {shorten(value)}")
    weights = _read_tensors(folder, part)
    try:
        # On the meta device a network costs no memory, so wrong arguments do no harm before the shapes are compared.
        with torch.device("meta"):
            network = networks.build(architecture, part["arguments"])
        wanted = network.state_dict()
        for name, value in weights.items():
            if name in wanted and value.is_floating_point() != wanted[name].is_floating_point():
                raise ValueError(f"{name} is of type {value.dtype}")
            if not value.isfinite().all():
                raise ValueError(f"{name} holds numbers that are not finite")
        weights = {name: value.float() if value.is_floating_point() else value for name, value in weights.items()}
        network.load_state_dict(weights, strict=True, assign=True)
    except Exception as error:  # whatever a constructor makes of arguments that came from a file
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CheckpointError(f"{where} does not fit architecture {architecture!r}: {reason[:300]}") from None
    return network.eval().requires_grad_(False)


@torch.no_grad()
def _see_that_parts_fit(file: Path, config: dict[str, Any], loaded: dict[str, nn.Module]) -> None:
    """One sample through every network: shapes must be those that the config promises, and scores finite."""
    shape = tuple(config["data"]["shape"])
    samples = torch.zeros(1, *shape)
    if "generator" in loaded:
        dim = config["prior"]["dim"]
        expected = getattr(loaded["generator"], "latent", dim)
        if dim != expected:
            raise CheckpointError(f"{file}: prior.dim is {dim}, but the generator takes latents of {expected}")
        samples = _passed(f"{file}: the generator fails", loaded["generator"], torch.zeros(1, dim))
    for role in ("discriminator", "ratio", "energy"):
        if role not in loaded:
            continue
        together = (
            f"generator and {role} do not fit each other" if "generator" in loaded else f"the {role} does not fit the data"
        )
        scores = _passed(f"{file}: {together}", loaded[role], samples)
        if samples.shape != (1, *shape):
            raise CheckpointError(f"{file}: data.shape is {list(shape)}, but the generator makes {list(samples.shape[1:])}")
        if scores.shape != (1,):
            raise CheckpointError(f"{file}: the {role} gives {list(scores.shape[1:])} a sample, where one number is needed")
        if not scores.isfinite().all():  # finite weights do not exclude it: a negative variance of a batch norm, say
            raise CheckpointError(f"{file}: the {role} gives {float(scores)} for a sample, where a finite number is needed")


def _passed(problem: str, network: nn.Module, given: Tensor) -> Tensor:
    labels = (torch.zeros(len(given), dtype=torch.int64),) if getattr(network, "takes_labels", False) else ()
    try:
        return network(given, *labels)
    except Exception as error:  # a part of the wrong sort fails in its own words
        raise CheckpointError(f"{problem}: {' '.join(str(error).split())[:200]}") from None


def _read_tensors(folder: Path, entry: dict[str, Any]) -> dict[str, Tensor]:
    file = folder / entry["file"]
    try:
        content = read_regular(see_that_inside(file, folder), MAX_WEIGHTS_BYTES)
    except FileNotFoundError:
        raise CheckpointError(f"{file} is missing or unreadable") from None
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"{file} is missing or unreadable: {getattr(error, 'strerror', None) or error}") from None
    if content.startswith(LFS_POINTER):
        raise CheckpointError(f"{file} is a Git-LFS pointer, not the weights; fetch them with `git lfs pull`")
    if _is_pickle(content):
        raise CheckpointError(f"{file} is a pickle, which is never read here; convert it with `ebm_refine import`")
    if _sha256(content) != entry.get("sha256"):
        raise CheckpointError(f"{file} is damaged or has been changed: its sha256 is not the one in config.json")
    try:
        return load_tensors(content)
    except SafetensorError as error:
        raise CheckpointError(f"{file} is not a readable safetensors file: {error}") from None


def _is_pickle(content: bytes) -> bool:
    """Whether a file is a zipped or a bare pickle. A safetensors file may begin with the same byte, the low one of its
    header's length; but it is then no framed pickle, and the length's upper half is zero."""
    if content[:1] == b"\x80":
        return content[2:3] == b"\x95" or content[4:8] != bytes(4)
    return content.startswith(b"PK\x03\x04")


def _stored(value: Tensor, dtype: torch.dtype) -> Tensor:
    """`value` as it is written: in `dtype`, but in float32 where that would turn a finite number into infinity."""
    if not value.is_floating_point():
        return value
    short = value.to(dtype)
    return short if torch.equal(short.isfinite(), value.isfinite()) else value.float()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
