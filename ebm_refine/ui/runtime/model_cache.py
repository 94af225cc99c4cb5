"""Models that stay in memory from one visitor to the next: reading, preparing and trying one out costs a short run's time."""

import os
from functools import lru_cache
from pathlib import Path

from ebm_refine import catalogue
from ebm_refine.catalogue import ModelInfo
from ebm_refine.models.checkpoint import Checkpoint, load_checkpoint

MODELS_KEPT = 8
Stamp = tuple[tuple[str, int, int, int], ...]


def kept(name: str) -> Checkpoint:
    """The embedded model of that name, for reading only; read anew once its `config.json`, which has the hashes, is another.

    Raises InputError where there is none, CheckpointError where it is damaged.
    """
    folder = catalogue.EMBEDDED / name
    try:
        written = (folder / "config.json").stat()
    except OSError:
        return catalogue.load(name)  # says what is wrong
    return _read(folder, (written.st_mtime_ns, written.st_ino, written.st_size))


@lru_cache(maxsize=MODELS_KEPT)
def _read(folder: Path, _stamp: tuple[int, ...]) -> Checkpoint:
    return load_checkpoint(folder)


def known_models() -> tuple[ModelInfo, ...]:
    """What `list_models` gives, for reading only; the configs are read anew once one of them, or the list, is another."""
    return _listed(stamp())


def stamp() -> Stamp:
    """What is another once a config, or the list of models, is."""
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
