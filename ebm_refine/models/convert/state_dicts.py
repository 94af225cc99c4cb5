"""What files of weights hold: read without running code from them, unwrapped, and taken apart by role."""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ebm_refine.errors import CheckpointError
from ebm_refine.models.checkpoint import MAX_WEIGHTS_BYTES
from ebm_refine.models.config import LFS_POINTER
from ebm_refine.utils.bounded_reading import check_regular

ROLE_NAMES = {
    "generator": ("g", "gen", "generator"),
    "discriminator": ("d", "dis", "disc", "discriminator", "critic"),
    "energy": ("e", "ebm", "energy"),
}
AVERAGED = ("ema", "average", "avg")
# Prefixes that wrappers put before all names: DataParallel, torch.compile, a Lightning module's attribute.
WRAPPERS = ("module", "_orig_mod", "model", "net", "network")
PLAIN = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def read_weights(file: Path) -> Any:
    """What a PyTorch or safetensors file holds; pickles with `weights_only`. Raises CheckpointError where that fails."""
    try:
        check_regular(file, MAX_WEIGHTS_BYTES)
        with file.open("rb") as stream:
            start = stream.read(len(LFS_POINTER))
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read: {error.strerror or type(error).__name__}") from None
    if start == LFS_POINTER:
        raise CheckpointError(f"{file} is a Git-LFS pointer, not the weights; fetch them with `git lfs pull`")
    if file.suffix == ".safetensors":
        try:
            state = load_file(file)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{file} is not a readable safetensors file: {' '.join(str(error).split())[:120]}") from None
        # Stored by alphabet: the layers' numbers give back their order.
        return {key: state[key] for key in sorted(state, key=_by_number)}
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


def state_dict_of(content: Any, role: str, file: Path, notes: list[str] | None = None) -> dict[str, Tensor]:
    """The state dict of the generator or the discriminator within what a file holds, however it is wrapped.

    An averaged generator is preferred to the plain one. What was chosen without being asked is added to `notes`.
    """
    notes = [] if notes is None else notes
    if not isinstance(content, Mapping) or not content:
        held = "an empty one" if isinstance(content, Mapping) else type(content).__name__
        raise CheckpointError(f"{file} holds no state dict but {held}")
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor) and key != "n_averaged"}
    if tensors:
        return _checked(_of_role(_unwrapped(tensors), role, file, notes), file)
    inner = {str(key): value for key, value in content.items() if isinstance(value, Mapping) and value}
    for wanted in (role, ""):
        found = [key for key in inner if _role_of(key) == wanted]
        averaged = [key for key in found if _is_averaged(key)]
        if wanted and averaged and len(found) > 1:
            notes.append(f"{file.name}: of {', '.join(found)} the average {averaged[0]!r} was taken")
        if found:
            name = (averaged or found)[0]
            if role == "discriminator" and "critic" in name.lower():
                notes.append(CRITIC)
            return state_dict_of(inner[name], role, file, notes)
    missing = f"{file} holds no {role}: its entries are {', '.join(map(str, content))[:200]}"
    raise CheckpointError(missing + (ALONE if role == "discriminator" else ""))


CRITIC = "the file calls its discriminator a critic: unless --output says otherwise, it is read as one"
ALONE = "; a generator alone becomes a pair in Python, with ebm_refine.pair(generator, latent=…) and ebm_refine.fit_ratio"


def _unwrapped(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the prefixes that wrappers put before all names, as long as something is left that tells the layers apart."""
    while True:
        first = {key.partition(".")[0] for key in tensors}
        rest = [key.partition(".")[2] for key in tensors]
        # A network's own nn.Sequential may be called `model` or `net`: its layers' numbers are then all that is left.
        if len(first) != 1 or first.pop() not in WRAPPERS or not all("." in name for name in rest):
            return tensors
        if all(name.partition(".")[0].isdigit() for name in rest):
            return tensors
        tensors = {key.partition(".")[2]: value for key, value in tensors.items()}


def _of_role(tensors: dict[str, Tensor], role: str, file: Path, notes: list[str]) -> dict[str, Tensor]:
    names = list(dict.fromkeys(key.partition(".")[0] for key in tensors))
    roles = {name: _role_of(name) or None for name in names}
    if not any(roles.values()):  # one network, whose file does not say which
        return tensors
    mine = [name for name in names if roles[name] == role]
    if not mine:
        raise CheckpointError(f"{file} holds no {role}" + (ALONE if role == "discriminator" else ""))
    averaged = [name for name in mine if _is_averaged(name)]
    if averaged and len(mine) > 1:
        notes.append(f"{file.name}: of {', '.join(mine)} the average {averaged[0]!r} was taken")
        mine = averaged[:1]
    if role == "discriminator" and "critic" in mine[0].lower():
        notes.append(CRITIC)
    if set(roles.values()) <= {role, None}:  # layers within one network called after its role, and its embedding beside them
        mine += [name for name in names if roles[name] is None and "emb" in name.lower()]
    return {key: value for key, value in tensors.items() if key.partition(".")[0] in mine and not key.endswith("n_averaged")}


def _checked(tensors: dict[str, Tensor], file: Path) -> dict[str, Tensor]:
    found = {}
    for key, value in tensors.items():
        key, name = _named(key), key
        if value.layout != torch.strided or value.is_quantized:
            raise CheckpointError(f"{file}: {key} is a sparse or quantised tensor; save it dense")
        if value.is_meta:
            raise CheckpointError(f"{file}: {key} has a shape but no numbers; save the weights themselves")
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise CheckpointError(f"{file}: {key} is larger than what is stored of it; save a contiguous tensor")
        if value.is_floating_point() and value.dtype not in PLAIN:
            kind = str(value.dtype).removeprefix("torch.")
            raise CheckpointError(f"{file}: {key} is of type {kind}; save the weights as float32, float16 or bfloat16")
        if not value.numel() or not value.isfinite().all():
            raise CheckpointError(f"{file}: {key} is empty or holds numbers that are not finite")
        found[name] = value.float() if value.is_floating_point() else value
    return found


def _named(key: str) -> str:
    """A key as a message shows it."""
    return key if len(key) <= 80 else f"{key[:79]}…"


def _by_number(key: str) -> list[tuple[int, int, str]]:
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)|\.", key) if part]


def _is_averaged(key: str) -> bool:
    return any(word in re.split(r"[^a-z]+", key.lower()) or key.lower().endswith(word) for word in AVERAGED)


def _role_of(key: str) -> str | None:
    """ "netG_state_dict", "G_ema" are "generator", "D" is "discriminator", "state_dict" is "" (a wrapping), others None."""
    bare = re.sub(r"state|dict|model|module|network|net|weights|params|ema|average|avg|[^a-z0-9]", "", key.lower())
    if not bare:
        return ""
    return next((role for role, names in ROLE_NAMES.items() if bare in names), None)
