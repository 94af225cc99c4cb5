"""Checkpoints: a folder laid out as a Hub model repo, atomic to write and strict to read.

`config.json` names everything; weights are safetensors, each with its sha256 in the config. Nothing here unpickles.
"""

import hashlib
import json
from dataclasses import dataclass, field
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

FORMAT = 1
KINDS = ("pair", "energy", "joint", "rbm", "dbn", "points", "features")
ROLES = ("generator", "discriminator", "energy", "ratio", "features")
NEEDED_ROLES = {"pair": ("generator", "discriminator"), "features": ("features",)}


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

    Floating-point weights are stored as `dtype`; `tables` are further safetensors (name -> tensors) stored as they are.
    """
    with replacing_folder(folder) as temporary:
        described: dict[str, Any] = {"parts": {}, "tables": {}}
        for role, part in parts.items():
            weights = {
                name: (value.detach().to("cpu", dtype) if value.is_floating_point() else value.cpu()).contiguous()
                for name, value in part.network.state_dict().items()
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
    tables = {
        stem: _read_tensors(folder, f"table {stem!r}", entry) for stem, entry in config.get("tables", {}).items()
    }
    return Checkpoint(name or folder.name, folder, config, loaded, tables)


def read_config(folder: Path) -> dict[str, Any]:
    """The folder's checked `config.json`, without reading any weights."""
    file = folder / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{folder} is no checkpoint: it has no config.json") from None
    except (OSError, ValueError):
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
    for role in NEEDED_ROLES.get(config["kind"], ()):
        if role not in parts:
            raise CheckpointError(f"{file}: a checkpoint of kind {config['kind']!r} needs a part {role!r}")
    data = config.get("data")
    if not isinstance(data, dict) or not {"shape", "range", "dataset"} <= data.keys():
        raise CheckpointError(f"{file}: data must give shape, range and dataset")
    if config["kind"] == "pair":
        prior = config.get("prior")
        if not isinstance(prior, dict) or prior.get("name") != "normal" or not isinstance(prior.get("dim"), int):
            raise CheckpointError(f"{file}: prior must be {{name: 'normal', dim: whole number}}; got {shorten(prior)}")
    return config


def _load_part(folder: Path, role: str, part: dict[str, Any]) -> nn.Module:
    architecture, where = part["architecture"], f"{folder / 'config.json'}: part {role!r}"
    if architecture not in networks.ARCHITECTURES:
        known = ", ".join(networks.ARCHITECTURES)
        raise CheckpointError(f"{where} has an unknown architecture {shorten(architecture)}; known are {known}")
    weights = _read_tensors(folder, f"part {role!r}", part)
    try:
        # On the meta device a network costs no memory, so absurd arguments do no harm before the shapes are compared.
        with torch.device("meta"):
            network = networks.build(architecture, part["arguments"])
        weights = {name: value.float() if value.is_floating_point() else value for name, value in weights.items()}
        network.load_state_dict(weights, strict=True, assign=True)
    except (TypeError, ValueError, IndexError, RuntimeError, OverflowError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{where} does not fit architecture {architecture!r}: {reason[:300]}") from None
    return network.eval().requires_grad_(False)


def _read_tensors(folder: Path, what: str, entry: dict[str, Any]) -> dict[str, Tensor]:
    name = entry.get("file")
    if not isinstance(name, str) or Path(name).name != name or not name.endswith(".safetensors"):
        raise CheckpointError(f"{folder / 'config.json'}: {what} must name a .safetensors file beside it; got {shorten(name)}")
    file = folder / name
    try:
        content = file.read_bytes()
    except OSError:
        raise CheckpointError(f"{file} is missing or unreadable") from None
    if content.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{file} is a Git-LFS pointer, not the weights; fetch them with `git lfs pull`")
    if content.startswith((b"\x80", b"PK")):
        raise CheckpointError(f"{file} is a pickle, which is never read here; convert it with `ebm_refine import`")
    if _sha256(content) != entry.get("sha256"):
        raise CheckpointError(f"{file} is damaged or has been changed: its sha256 is not the one in config.json")
    try:
        return load_tensors(content)
    except SafetensorError as error:
        raise CheckpointError(f"{file} is not a readable safetensors file: {error}") from None


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
