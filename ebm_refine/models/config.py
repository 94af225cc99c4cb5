"""A checkpoint's `config.json`: read within bounds, and checked in every entry that the rest of the program relies on."""

import itertools
import json
import math
import re
from pathlib import Path
from typing import Any

from ebm_refine.errors import CheckpointError
from ebm_refine.models.kinds import KINDS, are_labels, law_of, needed_roles
from ebm_refine.parameters import shorten
from ebm_refine.utils.bounded_reading import read_regular

FORMAT = 1
OUTPUTS = ("logit", "critic", "energy", "inverted")
PRIORS = ("normal", "uniform")
ROLES = ("generator", "discriminator", "energy", "ratio", "features")
# No real config comes near these limits; they stop a hostile one from costing minutes or memory before its error.
MAX_CONFIG_BYTES = 4_000_000
# Numbers of one sample: an image of 2048 x 2048 has fewer.
MAX_SAMPLE = 2**24
MAX_ARGUMENT = 2**16
MAX_ARGUMENT_ITEMS = 64
MAX_KNOTS = 1000
MAX_NUMBER = 1e30
LFS_POINTER = b"version https://git-lfs"
WEIGHTS_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.safetensors")


def read_config(folder: Path) -> dict[str, Any]:
    """The folder's checked `config.json`, without reading any weights."""
    file = folder / "config.json"
    try:
        content = read_regular(see_that_inside(file, folder), MAX_CONFIG_BYTES)
    except FileNotFoundError:
        raise CheckpointError(f"{folder} is no checkpoint: it has no config.json") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except RuntimeError:  # a ring of links
        raise CheckpointError(f"{file} cannot be read: its link leads nowhere") from None
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
    for role in needed_roles(config):
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
    if not isinstance(shape, list) or not shape or not all(is_whole(size) and 0 < size <= MAX_ARGUMENT for size in shape):
        raise CheckpointError(f"{file}: data.shape must be a list of sizes from 1 to {MAX_ARGUMENT}; got {shorten(shape)}")
    if math.prod(shape) > MAX_SAMPLE:
        raise CheckpointError(f"{file}: a sample of data.shape {shape} has more than {MAX_SAMPLE} numbers")
    ends = data["range"]
    if not isinstance(ends, list) or len(ends) != 2 or not all(_is_number(end) for end in ends) or not ends[0] < ends[1]:
        raise CheckpointError(f"{file}: data.range must be [low, high], low < high; got {shorten(ends)}")
    if law_of(config) in ("pair", "joint"):
        prior = config.get("prior")
        # Where a generator is known in closed form, its own law is the prior.
        names = ("mixture",) if config["parts"]["generator"]["architecture"] == "mixture-generator" else PRIORS
        if not isinstance(prior, dict) or prior.get("name") not in names or not is_whole(prior.get("dim")):
            wanted = " or ".join(map(repr, names))
            raise CheckpointError(f"{file}: prior must be {{name: {wanted}, dim: whole number}}; got {shorten(prior)}")
    calibration = config.get("calibration")
    if calibration is not None:
        numbers = isinstance(calibration, dict) and calibration.keys() == {"slope", "intercept"} and calibration.values()
        if not numbers or not all(_is_number(value) for value in numbers):
            raise CheckpointError(f"{file}: calibration must be {{slope, intercept}}, both finite; got {shorten(calibration)}")
    knots = config.get("isotonic")
    if knots is not None and not _are_knots(knots):
        raise CheckpointError(f"{file}: isotonic must be a list of [raw, r] that increase strictly; got {shorten(knots)}")
    output, scale = config.get("discriminator_output", "logit"), config.get("critic_slope", 1.0)
    if not isinstance(output, str) or output not in OUTPUTS:
        raise CheckpointError(f"{file}: discriminator_output must be one of {', '.join(OUTPUTS)}; got {shorten(output)}")
    if not _is_number(scale) or scale <= 0:
        raise CheckpointError(f"{file}: critic_slope must be a number above 0; got {shorten(scale)}")
    if config.get("labels") is not None and not are_labels(config["labels"]):
        raise CheckpointError(
            f"{file}: labels must be {{count: 2 to 65536}}, with as many probabilities and names where they are given; "
            f"got {shorten(config['labels'])}"
        )
    defaults = config.get("defaults", {})
    if not isinstance(defaults, dict):
        raise CheckpointError(f"{file}: defaults must be an object of a method, a ratio, and settings by method")
    for name, entry in defaults.items():
        if not isinstance(entry, str if name in ("method", "ratio") else dict):
            raise CheckpointError(
                f"{file}: defaults must be an object of a method, a ratio, and settings by method; "
                f"of {shorten(name)} it says {shorten(entry)}"
            )
    if not isinstance(data["dataset"], str) or not isinstance(config.get("title", ""), str):
        raise CheckpointError(f"{file}: data.dataset and title must be texts")
    if not isinstance(config.get("training", {}), dict):
        raise CheckpointError(f"{file}: training must be an object; got {shorten(config['training'])}")


def see_that_inside(file: Path, folder: Path) -> Path:
    """The file, which may be a link, but not to a file outside the folder; in the Hub's cache, where every file is a link,
    not outside the model's part of the cache. Raises CheckpointError.
    """
    home = next((parent for parent in folder.resolve().parents if parent.name.startswith("models--")), folder.resolve())
    if not file.resolve().is_relative_to(home):
        raise CheckpointError(f"{file} is a link to a file outside the checkpoint's folder")
    return file


def is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) <= MAX_NUMBER


def _are_knots(knots: Any) -> bool:
    if not isinstance(knots, list) or not 2 <= len(knots) <= MAX_KNOTS:
        return False
    if not all(isinstance(knot, list) and len(knot) == 2 and all(map(_is_number, knot)) for knot in knots):
        return False
    return all(one[0] < two[0] and one[1] < two[1] for one, two in itertools.pairwise(knots))
