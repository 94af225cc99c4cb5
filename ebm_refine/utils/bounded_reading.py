"""Untrusted files: only regular ones of bounded size are read, and reading never blocks."""

import errno
import os
import stat
from pathlib import Path


def read_regular(file: Path, most: int) -> bytes:
    """The content of a regular file. Raises OSError, whose `strerror` says why, for a pipe, a device, a socket or a folder,
    none of which is opened or waited for, and for a file of more than `most` bytes.
    """
    check_regular(file, most)
    # The file may be replaced between check and opening: so it is opened without blocking and checked again.
    descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb") as stream:
        found = os.fstat(descriptor)
        _check(found, file, most)
        content = stream.read(min(found.st_size, most) + 1)  # read() allocates what it is asked for
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it is larger than {most / 1e6:g} MB", str(file))
    return content


def check_regular(file: Path, most: int) -> None:
    """The checks of `read_regular` without reading, for libraries that read files themselves."""
    _check(os.stat(file), file, most)


def _check(found: os.stat_result, file: Path, most: int) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(file))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(file))
    if found.st_size > most:
        raise OSError(errno.EFBIG, f"it is larger than {most / 1e6:g} MB", str(file))
