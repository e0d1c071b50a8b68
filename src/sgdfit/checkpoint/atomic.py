"""Files that take the place of what stood there whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from sgdfit.errors import UsageError

_FULL = "free some space there, or name a file on another disk"
_DENIED = "name a file in a folder that you may write"
_CURES = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: "raise the limit on the size of files, or name a file on another disk",
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EROFS: "name a file on a disk that can be written",
    errno.ENOENT: "create its folder first",
    errno.ENOTDIR: "name a file in a folder",
    errno.EIO: "name a file on another disk",
}


def identity_of_file(path: str | os.PathLike[str]) -> tuple[int, int] | str:
    """Return what two names of one file share: by link or hard link, it is one file."""
    place = os.path.realpath(os.path.expanduser(path))
    try:
        status = os.stat(place)
    except (OSError, ValueError):
        return place
    return status.st_dev, status.st_ino


def refuse_inputs(path: str | os.PathLike[str], inputs: Iterable[str]) -> None:
    """Raise a `UsageError` where a file to be written is one of those that are read.

    A file that standard input was redirected from is always one of them.
    """
    written, taken = identity_of_file(path), set(map(identity_of_file, inputs))
    with suppress(OSError):  # where it is closed
        status = os.fstat(0)
        if stat.S_ISREG(status.st_mode):
            taken.add((status.st_dev, status.st_ino))
    if written in taken:
        raise UsageError(
            f"cannot write {os.fspath(path)!r}: it is also a file that is read; name another file"
        )


@contextmanager
def replacing(path: str | os.PathLike[str], inputs: Iterable[str] = ()) -> Iterator[BinaryIO]:
    """Open a file beside ``path`` that takes its name when the block of ``with`` ends well.

    Until then, and after an exception, what stood there still stands, with its permissions; links
    are followed. A pipe or a device, which cannot be replaced, is written directly. One of the
    ``inputs``, files that are read, is a `UsageError`.
    """
    refuse_inputs(path, inputs)
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        with target.open("wb") as file:
            yield file
        return
    beside = _beside(target)
    try:
        with beside.open("xb") as file:
            if target.exists():
                # Whoever may not read the old file may not read what is to become it.
                shutil.copymode(target, beside)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, target)
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
    # A new name in a folder that is not sent to the disk may not outlast a loss of power; of some
    # folders and file systems it cannot be.
    with suppress(OSError):
        handle = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def probe(path: str | os.PathLike[str]) -> None:
    """Raise OSError now, rather than after a long run, where a file cannot be made.

    What processes that were killed had begun to write in its place is removed.
    """
    target = Path(os.path.realpath(path))
    _beside(target).touch()
    partial = re.compile(re.escape(f".{target.name[:50]}.") + r"\d+\.[0-9a-f]{8}\.partial")
    with suppress(OSError):
        for name in filter(partial.fullmatch, os.listdir(target.parent)):
            target.with_name(name).unlink(missing_ok=True)


def cure(error: OSError) -> str:
    """Return what to do about an error of the disk."""
    return _CURES.get(error.errno or 0, "name another file")


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name[:50]}.{os.getpid()}.{secrets.token_hex(4)}.partial")
