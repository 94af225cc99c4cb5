"""Which models there are and where they lie: embedded in the package, in the local Hub cache, or on the Hub."""

import os
from pathlib import Path
from typing import Any, NamedTuple

from ebm_refine.errors import CheckpointError, InputError
from ebm_refine.models.checkpoint import Checkpoint, load_checkpoint
from ebm_refine.models.config import read_config
from ebm_refine.models.hub import load_from_hub
from ebm_refine.parameters import listed, shorten
from ebm_refine.settings import methods_of
from ebm_refine.utils.installed_data import data_folder

EMBEDDED = data_folder("checkpoints")
# The environment variable that names a folder of further checkpoint folders (`python app.py --models FOLDER` sets it).
OWN_MODELS = "EBM_REFINE_MODELS"


class ModelInfo(NamedTuple):
    """A row of `list_models()`: what can be refined, and with what."""

    name: str
    kind: str
    dataset: str
    shape: tuple[int, ...]
    methods: tuple[str, ...]
    folder: Path
    config: dict[str, Any]


def list_models() -> list[ModelInfo]:
    """The embedded models by name, then those in the folder that EBM_REFINE_MODELS names; of one name the embedded one.

    A folder that is no readable checkpoint is left out.
    """
    found: list[ModelInfo] = []
    own = os.environ.get(OWN_MODELS)
    for folder in [*sorted(EMBEDDED.glob("*/")), *(sorted(Path(own).glob("*/")) if own else [])]:
        if any(model.name == folder.name for model in found):
            continue
        try:
            config = read_config(folder)
        except CheckpointError:
            continue
        data = config["data"]
        found.append(
            ModelInfo(folder.name, config["kind"], data["dataset"], tuple(data["shape"]), methods_of(config), folder, config)
        )
    return found


def load(name_or_path_or_hub_id: str | Path | Checkpoint) -> Checkpoint:
    """Load a model by embedded name, by folder, or by Hub id (`org/name`, `org/name/folder`, each with `@revision` or without).

    A loaded model, such as `ebm_refine.pair` gives, is returned as it is.
    Raises InputError where there is none or it cannot be fetched, CheckpointError where it is damaged.
    """
    name = name_or_path_or_hub_id
    if isinstance(name, Checkpoint):
        return name
    if not isinstance(name, str | Path) or not str(name):
        raise InputError(f"model must be a name, a folder or a Hub id; got {shorten(name)}")
    models = list_models()
    known = {model.name: model.folder for model in models}
    if str(name) in known:
        return load_checkpoint(known[str(name)])
    if isinstance(name, str) and _is_folder(EMBEDDED / name) and Path(name).name == name:
        return load_checkpoint(EMBEDDED / name)  # says what is wrong with it
    if _is_folder(Path(name)):
        return load_checkpoint(Path(name))
    if isinstance(name, str) and "/" in name and not name.startswith(("/", ".", "~")):
        if _is_folder(Path(name.partition("/")[0])):  # a path with a slip in it; a Hub's organisation is seldom a folder here
            raise InputError(f"model must be a checkpoint's folder; {shorten(name)}: {_missing(name)}")
        return load_from_hub(name, [model.name for model in models if model.methods])
    if isinstance(name, Path) or name.startswith(("/", ".", "~")):
        raise InputError(f"model must be a checkpoint's folder; {shorten(str(name))}: {_missing(name)}")
    raise InputError(f"model must be one of {listed(known) or '(none embedded)'}, a folder or a Hub id; got {shorten(name)}")


def _missing(name: str | Path) -> str:
    """Which part of a path that is no folder is wrong."""
    path = Path(name)
    try:
        if path.is_file():
            return "this is a file; name the folder that holds config.json"
        gone = next(part for part in (*reversed(path.parents), path) if not part.exists())
    except (OSError, ValueError, StopIteration):  # a name that no file system takes
        return "there is no such folder"
    return f"there is no {shorten(gone.name)} in {shorten(str(gone.parent.resolve()), 200)}"


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name too long for any file system
        return False
