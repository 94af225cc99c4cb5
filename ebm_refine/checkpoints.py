"""Checkpoints: a folder laid out as a Hub model repo, atomic to write and strict to read.

`config.json` names everything; weights are safetensors, each with its sha256 in the config. Nothing here unpickles.
"""

import hashlib
import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save_file
from torch import Tensor, nn

from ebm_refine import networks
from ebm_refine.errors import CheckpointError
from ebm_refine.files import replacing_folder
from ebm_refine.parameters import shorten
from ebm_refine.preparation import prepare

FORMAT = 1
KINDS = ("pair", "energy", "joint", "rbm", "dbn", "points", "features")
ROLES = ("generator", "discriminator", "energy", "ratio", "features")
NEEDED_ROLES = {"pair": ("generator", "discriminator"), "features": ("features",)}
# No honest config comes near these; they keep a hostile one from costing minutes or memory before it is refused.
MAX_CONFIG_BYTES = 4 * 2**20
MAX_ARGUMENT = 2**16
MAX_ARGUMENT_ITEMS = 64
MAX_NUMBER = 1e30
LFS_POINTER = b"version https://git-lfs"
WEIGHTS_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.safetensors")


class Part(NamedTuple):
    """A network on its way into a checkpoint: registered architecture name, constructor arguments, and the network."""

    architecture: str
    arguments: dict[str, Any]
    network: nn.Module


@dataclass(frozen=True)
class Checkpoint:
    """A loaded model: networks by role, on the CPU, float32, in eval mode, frozen; tables (named tensors) by file stem."""

    name: str
    folder: Path
    config: dict[str, Any]
    networks: dict[str, nn.Module]
    tables: dict[str, dict[str, Tensor]] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        return self.config["kind"]

    @cached_property
    def prepared(self) -> dict[str, nn.Module]:
        """The networks by role as they are run: copies, made cheaper by `preparation.prepare`."""
        return {role: prepare(network) for role, network in self.networks.items()}

    @property
    def hashes(self) -> dict[str, str]:
        """sha256 of each part's weights, by role."""
        return {role: part["sha256"] for role, part in self.config["parts"].items()}


def save_checkpoint(
    folder: Path,
    config: dict[str, Any],
    parts: dict[str, Part],
    card: str,
    tables: dict[str, dict[str, Tensor]] | None = None,
    dtype: torch.dtype = torch.float16,
) -> None:
    """Write a checkpoint in one step. `config` lacks `format`, `parts` and `tables`, which are added here.

    Floating-point weights are stored as `dtype`, or as float32 where they are too large for it; `tables` are further
    safetensors (name -> tensors) stored as they are. Raises InputError where the folder cannot be written; an older
    checkpoint there stays whole until the new one is complete.
    """
    with replacing_folder(folder) as temporary:
        described: dict[str, Any] = {"parts": {}, "tables": {}}
        for role, part in parts.items():
            weights = {
                name: _stored(value.detach().cpu(), dtype).contiguous() for name, value in part.network.state_dict().items()
            }
            file = temporary / f"{role}.safetensors"
            save_file(weights, file)
            described["parts"][role] = {
                "architecture": part.architecture,
                "arguments": part.arguments,
                "file": file.name,
                "sha256": _sha256(file.read_bytes()),
            }
        for name, tensors in (tables or {}).items():
            file = temporary / f"{name}.safetensors"
            save_file({key: value.contiguous() for key, value in tensors.items()}, file)
            described["tables"][name] = {"file": file.name, "sha256": _sha256(file.read_bytes())}
        (temporary / "config.json").write_text(json.dumps({"format": FORMAT, **config, **described}, indent=1) + "\n")
        (temporary / "README.md").write_text(card)


def load_checkpoint(folder: Path, name: str | None = None) -> Checkpoint:
    """Read and verify a checkpoint folder. Raises CheckpointError, one sentence naming the file, for anything unexpected."""
    config = read_config(folder)
    loaded = {role: _load_part(folder, role, part) for role, part in config["parts"].items()}
    tables = {stem: _read_tensors(folder, entry) for stem, entry in config.get("tables", {}).items()}
    if config["kind"] == "pair":
        _see_that_pair_fits(folder / "config.json", config, loaded)
    return Checkpoint(name or folder.name, folder, config, loaded, tables)


def read_config(folder: Path) -> dict[str, Any]:
    """The folder's checked `config.json`, without reading any weights."""
    file = folder / "config.json"
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_CONFIG_BYTES + 1)
    except FileNotFoundError:
        raise CheckpointError(f"{folder} is no checkpoint: it has no config.json") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(content) > MAX_CONFIG_BYTES:
        raise CheckpointError(f"{file} is larger than {MAX_CONFIG_BYTES // 2**20} MB, which no checkpoint's config is")
    if content.startswith(LFS_POINTER):
        raise CheckpointError(f"{file} is a Git-LFS pointer, not the config; fetch it with `git lfs pull`")
    try:
        config = json.loads(content)
    except (ValueError, RecursionError):
        raise CheckpointError(f"{file} is not readable JSON") from None
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        found = shorten(config.get("format")) if isinstance(config, dict) else "no object"
        raise CheckpointError(f"{file}: format must be {FORMAT}; got {found}")
    if config.get("kind") not in KINDS:
        raise CheckpointError(f"{file}: kind must be one of {', '.join(KINDS)}; got {shorten(config.get('kind'))}")
    parts = config.get("parts")
    if not isinstance(parts, dict) or not parts:
        raise CheckpointError(f"{file}: parts must name at least one network")
    for role, part in parts.items():
        if role not in ROLES:
            raise CheckpointError(f"{file}: a part's role must be one of {', '.join(ROLES)}; got {shorten(role)}")
        if not isinstance(part, dict) or not {"architecture", "arguments", "file", "sha256"} <= part.keys():
            raise CheckpointError(f"{file}: part {role!r} needs architecture, arguments, file and sha256")
        if not isinstance(part["architecture"], str) or not isinstance(part["arguments"], dict):
            raise CheckpointError(f"{file}: part {role!r} needs an architecture by name and its arguments as an object")
    for role in NEEDED_ROLES.get(config["kind"], ()):
        if role not in parts:
            raise CheckpointError(f"{file}: a checkpoint of kind {config['kind']!r} needs a part {role!r}")
    tables = config.get("tables", {})
    if not isinstance(tables, dict) or not all(isinstance(entry, dict) for entry in tables.values()):
        raise CheckpointError(f"{file}: tables must be an object of {{name: {{file, sha256}}}}")
    for name in weights_files(config):
        if not isinstance(name, str) or not WEIGHTS_NAME.fullmatch(name):
            raise CheckpointError(f"{file}: every part and table must name a .safetensors file beside it; got {shorten(name)}")
    _check_settings(file, config)
    return config


def weights_files(config: dict[str, Any]) -> list[Any]:
    """The names of the safetensors files that a config refers to."""
    return [entry.get("file") for entry in (*config["parts"].values(), *config.get("tables", {}).values())]


def _check_settings(file: Path, config: dict[str, Any]) -> None:
    """What the rest of the program reads from a config without asking again: data, prior, calibration, defaults."""
    data = config.get("data")
    if not isinstance(data, dict) or not {"shape", "range", "dataset"} <= data.keys():
        raise CheckpointError(f"{file}: data must give shape, range and dataset")
    shape = data["shape"]
    if not isinstance(shape, list) or not shape or not all(_is_whole(size) and 0 < size <= MAX_ARGUMENT for size in shape):
        raise CheckpointError(f"{file}: data.shape must be a list of sizes from 1 to {MAX_ARGUMENT}; got {shorten(shape)}")
    if config["kind"] == "pair":
        prior = config.get("prior")
        if not isinstance(prior, dict) or prior.get("name") != "normal" or not _is_whole(prior.get("dim")):
            raise CheckpointError(f"{file}: prior must be {{name: 'normal', dim: whole number}}; got {shorten(prior)}")
    calibration = config.get("calibration")
    if calibration is not None:
        numbers = isinstance(calibration, dict) and calibration.keys() == {"slope", "intercept"} and calibration.values()
        if not numbers or not all(isinstance(value, int | float) and abs(value) <= MAX_NUMBER for value in numbers):
            raise CheckpointError(f"{file}: calibration must be {{slope, intercept}}, both finite; got {shorten(calibration)}")
    defaults = config.get("defaults", {})
    if not isinstance(defaults, dict) or not all(isinstance(entry, dict | str) for entry in defaults.values()):
        raise CheckpointError(f"{file}: defaults must be an object of a method, a ratio, and settings by method")


def _load_part(folder: Path, role: str, part: dict[str, Any]) -> nn.Module:
    architecture, where = part["architecture"], f"{folder / 'config.json'}: part {role!r}"
    if architecture not in networks.ARCHITECTURES:
        known = ", ".join(networks.ARCHITECTURES)
        raise CheckpointError(f"{where} has an unknown architecture {shorten(architecture)}; known are {known}")
    for key, value in part["arguments"].items():
        items = value if isinstance(value, list) else [value]
        if len(items) > MAX_ARGUMENT_ITEMS or any(_is_whole(item) and abs(item) > MAX_ARGUMENT for item in items):
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
def _see_that_pair_fits(file: Path, config: dict[str, Any], loaded: dict[str, nn.Module]) -> None:
    """One latent through both networks: shapes must be those that the config promises."""
    dim, shape = config["prior"]["dim"], tuple(config["data"]["shape"])
    expected = getattr(loaded["generator"], "latent", dim)
    if dim != expected:
        raise CheckpointError(f"{file}: prior.dim is {dim}, but the generator takes latents of {expected}")
    for role in ("discriminator", "ratio"):
        if role not in loaded:
            continue
        try:
            images = loaded["generator"](torch.zeros(1, dim))
            logits = loaded[role](images)
        except Exception as error:  # a part of the wrong sort fails in its own words
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(f"{file}: generator and {role} do not fit each other: {reason}") from None
        if images.shape != (1, *shape):
            raise CheckpointError(f"{file}: data.shape is {list(shape)}, but the generator makes {list(images.shape[1:])}")
        if logits.shape != (1,):
            raise CheckpointError(f"{file}: the {role} gives {list(logits.shape[1:])} an image, where one number is needed")


def _read_tensors(folder: Path, entry: dict[str, Any]) -> dict[str, Tensor]:
    file = folder / entry["file"]
    try:
        content = file.read_bytes()
    except OSError:
        raise CheckpointError(f"{file} is missing or unreadable") from None
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


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
