"""Files that take the place of what stood there whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

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


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    r"""Open a file beside ``path`` that takes its name when the block of ``with`` ends well.

    Until then, and after an exception, what stood there still stands, with its permissions; links
    are followed. A pipe or a device, which cannot be replaced, is written directly.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "curve.csv"
    >>> with replacing(path) as file:
    ...     _ = file.write(b"x\n1\n")
    ...     before = path.exists()
    >>> before, path.read_bytes()
    (False, b'x\n1\n')
    """
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
        _sync_folder(target.parent)
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def probe(path: str | os.PathLike[str]) -> None:
    """Raise OSError now, rather than after a long run, where a file cannot be written."""
    beside = _beside(Path(os.path.realpath(path)))
    try:
        beside.write_bytes(bytes(4096))
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def remove_partial(path: str | os.PathLike[str]) -> None:
    """Remove what processes that were killed had begun to write in the place of ``path``."""
    target = Path(os.path.realpath(path))
    partial = re.compile(re.escape(f".{_stem(target)}.") + r"\d+\.[0-9a-f]{8}\.partial")
    with suppress(OSError):
        for name in os.listdir(target.parent):
            if partial.fullmatch(name):
                target.with_name(name).unlink(missing_ok=True)


def cure(error: OSError, otherwise: str = "name another file") -> str:
    """Return what to do about an error of the disk."""
    return _CURES.get(error.errno or 0, otherwise)


def _beside(target: Path) -> Path:
    unique = f"{os.getpid()}.{secrets.token_hex(4)}"
    return target.with_name(f".{_stem(target)}.{unique}.partial")


def _stem(target: Path) -> str:
    """Return as much of a name as leaves room for what is added to it."""
    return os.fsencode(target.name)[:200].decode(errors="ignore")


def _sync_folder(folder: Path) -> None:
    """Send a folder to the disk, so that a new name in it outlasts a loss of power."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:
        return  # a folder that may be written but not listed; on Windows, any
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that cannot
            raise
    finally:
        os.close(handle)
