"""Files and folders that are never half-written: everything goes to a temporary name beside its place, then is renamed."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ebm_refine.errors import InputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside the file `path`; on success it takes the path's place in one step."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """The same for a whole folder: the old one, if any, goes only once the new one is complete.

    Raises InputError where `folder` is a file or the place cannot be written.
    """
    folder = folder.resolve()
    if folder.exists() and not folder.is_dir():
        raise InputError(f"output folder {str(folder)!r} is a file; name a folder")
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    previous = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"output folder {str(folder)!r} cannot be written: {reason}") from None
    try:
        yield temporary
        if folder.exists():
            os.replace(folder, previous)
        try:
            os.replace(temporary, folder)
        except BaseException:
            if previous.exists():
                os.replace(previous, folder)
            raise
        shutil.rmtree(previous, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def writable_folder(folder: str | Path) -> Path:
    """Make `folder` if need be and see that files can be written there. Raises InputError, one sentence, where not."""
    path = Path(folder)
    if path.exists() and not path.is_dir():
        raise InputError(f"output folder {str(folder)!r} is a file; name a folder")
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".probe.{os.getpid()}"
        probe.touch()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"output folder {str(folder)!r} cannot be written: {reason}") from None
    with suppress(OSError):
        probe.unlink()
    return path
