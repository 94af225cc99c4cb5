"""Models that stay in memory from one visitor to the next: reading, preparing and trying one out costs a short run's time."""

from functools import lru_cache
from pathlib import Path

from ebm_refine import catalogue
from ebm_refine.models.checkpoint import Checkpoint, load_checkpoint

MODELS_KEPT = 8


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
