"""A cache of models in memory, shared by visitors: loading and preparing one takes as long as a short run."""

import os
from functools import lru_cache
from pathlib import Path

from ebm_refine import catalogue
from ebm_refine.catalogue import ModelInfo
from ebm_refine.models.checkpoint import Checkpoint, load_checkpoint

MODELS_CACHED = 8
Stamp = tuple[tuple[str, int, int, int], ...]


def cached_model(name: str) -> Checkpoint:
    """The embedded model of that name, read-only; loaded again when its `config.json`, which has the hashes, changes.

    Raises InputError where there is none, CheckpointError where it is damaged.
    """
    folder = catalogue.EMBEDDED / name
    try:
        written = (folder / "config.json").stat()
    except OSError:
        return catalogue.load(name)  # says what is wrong
    return _read(folder, (written.st_mtime_ns, written.st_ino, written.st_size))


@lru_cache(maxsize=MODELS_CACHED)
def _read(folder: Path, _stamp: tuple[int, ...]) -> Checkpoint:
    return load_checkpoint(folder)


def known_models() -> tuple[ModelInfo, ...]:
    """What `list_models` gives, read-only; configs are read again when one of them, or the list, changes."""
    return _listed(stamp())


def stamp() -> Stamp:
    """A value that changes with any config and with the list of models."""
    found = []
    own = os.environ.get(catalogue.OWN_MODELS)
    for folder in [catalogue.EMBEDDED, *([Path(own)] if own else [])]:
        for file in sorted(folder.glob("*/config.json")):
            try:
                written = file.stat()
            except OSError:
                continue
            found.append((str(file), written.st_mtime_ns, written.st_ino, written.st_size))
    return tuple(found)


@lru_cache(maxsize=2)
def _listed(_stamp: Stamp) -> tuple[ModelInfo, ...]:
    return tuple(catalogue.list_models())
