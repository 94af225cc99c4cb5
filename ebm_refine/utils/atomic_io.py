"""Files and folders that are never half-written: everything is written under a temporary name beside the target, then renamed.

What is renamed has been flushed to the disk, and so has the folder that names it: after a power cut there is the old content or
the new, never an empty file.
"""

import ctypes
import os
import platform
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile

from ebm_refine.errors import InputError

AT_FDCWD, RENAME_EXCHANGE = -100, 2


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside the file `path`; on success it replaces `path` in one step."""
    temporary = _temporary_name(path)
    try:
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)
        _flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """The same for a whole folder: the old one, if any, is removed only once the new one is complete.

    Raises InputError where `folder` is a file or cannot be written.
    """
    folder = folder.resolve()
    with _temporary_folder(folder) as temporary:
        yield temporary
        _flush_tree(temporary)
        _swap(temporary, folder)


@contextmanager
def replacing_set(folder: Path, names: Iterable[str]) -> Iterator[Path]:
    """Give a temporary folder; on success its files, which are called `names`, move to `folder` as one set.

    Where `folder` is new, or holds nothing but an earlier set, that is one step. Where it holds other things, or is the working
    folder, the files of the earlier set go first and those of the new one come after, the last name last: whenever that is cut
    short, no file of one set lies beside one of the other, and the last one is there only if all are. Raises InputError where
    `folder` is a file or cannot be written.
    """
    folder, ordered = folder.resolve(), tuple(names)
    with _temporary_folder(folder) as temporary:
        yield temporary
        _flush_tree(temporary)
        if not folder.exists() or (set(os.listdir(folder)) <= set(ordered) and not Path.cwd().is_relative_to(folder)):
            _swap(temporary, folder)
            return
        for name in reversed(ordered):
            (folder / name).unlink(missing_ok=True)
        _flush(folder)
        for name in ordered:
            os.replace(temporary / name, folder / name)
        _flush(folder)


@contextmanager
def _temporary_folder(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder`, removed at the end with whatever is still in it."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"output folder {str(folder)!r} is a file; name a folder")
    temporary = _temporary_name(folder)
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"output folder {str(folder)!r} cannot be written: {reason}") from None
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _temporary_name(path: Path) -> Path:
    """A hidden name beside `path` for this process. What killed processes of this machine left under theirs is removed."""
    hidden = f".{path.name}.{platform.node()}."
    with suppress(OSError):  # no such folder yet, or one that may not be listed
        for name in os.listdir(path.parent):
            process = name.removeprefix(hidden).removesuffix(".part")
            if name == f"{hidden}{process}.part" and process.isdecimal() and not _runs(int(process)):
                left = path.parent / name
                if left.is_dir():
                    shutil.rmtree(left, ignore_errors=True)
                else:
                    left.unlink(missing_ok=True)
    return path.with_name(f"{hidden}{os.getpid()}.part")


def _runs(process: int) -> bool:
    """Whether there is such a process, other than this one, on this machine."""
    if process == os.getpid():
        return False
    if os.name != "posix":  # where a signal of 0 would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's; or no number of a process
        return True
    return True


def _swap(temporary: Path, folder: Path) -> None:
    """Replace `folder` by `temporary`; the old content has the temporary name afterwards, or is removed."""
    if not folder.exists():
        os.replace(temporary, folder)
    elif not _exchange(temporary, folder):
        previous = folder.with_name(f".{folder.name}.{os.getpid()}.old")
        os.replace(folder, previous)
        try:
            os.replace(temporary, folder)
        except BaseException:
            os.replace(previous, folder)
            raise
        shutil.rmtree(previous, ignore_errors=True)
    _flush(folder.parent)


def _exchange(one: Path, other: Path) -> bool:
    """Swap the names of two folders in one step; False where the system or the file system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):  # an old C library
        return False
    return call(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0


def _flush(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_tree(folder: Path) -> None:
    for directory, _, files in os.walk(folder):
        for name in files:
            _flush(Path(directory) / name)
        _flush(Path(directory))


def writable_folder(folder: str | Path) -> Path:
    """Create `folder` if needed and check that files can be written there. Raises InputError, one sentence, where not."""
    path = Path(folder)
    if path.exists() and not path.is_dir():
        raise InputError(f"output folder {str(folder)!r} is a file; name a folder")
    try:
        path.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path):  # without a name, so that a process killed here leaves none
            pass
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"output folder {str(folder)!r} cannot be written: {reason}") from None
    return path
