"""Where a checkpoint stands, and how the file there is replaced: whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterable
from contextlib import suppress
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sgdfit.checkpoint.snapshot import MAGIC
from sgdfit.errors import CheckpointError, UsageError

__all__ = [
    "Place",
    "content",
    "place_of",
    "probe",
    "remove_leftovers",
    "replace",
    "replaceable",
    "resumable",
]

# What is written is sent to the disk in portions, so that no single wait for it is long.
_PORTION = 32 << 20
_PROBE = 4096
_ANEW = "check its name, or begin anew without resume"
_FULL = "free some space there, or name a file on another disk"
_CURES = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: "raise the limit on the size of files, or name a file on another disk",
    errno.EACCES: "name a file in a folder that you may write",
    errno.EPERM: "name a file in a folder that you may write",
    errno.EROFS: "name a file on a disk that can be written",
    errno.ENOENT: "create its folder first",
    errno.ENOTDIR: "name a file in a folder",
    errno.EIO: "name a file on another disk",
}


class Place(NamedTuple):
    """The file of a checkpoint.

    Attributes
    ----------
    shown : str
        The path as the user wrote it, quoted for a message.
    target : Path
        The file itself, with all links followed.
    """

    shown: str
    target: Path

    @property
    def temporary(self) -> Path:
        """The file beside it in which this process writes."""
        return self.target.with_name(f".{self._stem}.{os.getpid()}.partial")

    @property
    def lock(self) -> Path:
        """The file beside it that the one run which may write it holds."""
        return self.target.with_name(f".{self._stem}.lock")

    @property
    def _stem(self) -> str:
        name = os.fsencode(self.target.name)
        if len(name) <= 200:
            return self.target.name
        return hashlib.sha256(name).hexdigest()  # with its ending it would be too long a name

    def refusal(self, error: OSError) -> CheckpointError:
        """Say that it cannot be written, why, and what to do."""
        reason = error.strerror or type(error).__name__
        cure = _CURES.get(error.errno or 0, "name another file")
        stands = "the previous one is intact; " if os.path.lexists(self.target) else ""
        return CheckpointError(
            f"cannot write the checkpoint {self.shown}: {reason}; {stands}{cure}"
        )


def place_of(path: str | os.PathLike[str]) -> Place:
    """Return the place that ``path`` names.

    Raises
    ------
    UsageError
        When no file can have that name.
    """
    name = os.fsdecode(path)
    if not name or "\0" in name:
        raise UsageError(f"{name!r} cannot name a checkpoint; give the name of a file")
    return Place(repr(name), Path(os.path.realpath(name)))


def replaceable(place: Place) -> None:
    """Refuse to write over anything but a checkpoint; an empty file holds nothing to lose.

    Raises
    ------
    CheckpointError
        When something else stands there, or it cannot be told.
    """
    try:
        with _opened(place) as file:
            begins = file.read(len(MAGIC))
    except FileNotFoundError:
        return
    except OSError as error:
        raise place.refusal(error) from error
    if not MAGIC.startswith(begins):
        raise CheckpointError(
            f"{place.shown} is no checkpoint of sgdfit, and is not written over; name another file"
            " for the checkpoint"
        )


def resumable(place: Place) -> None:
    """Refuse to go on from anything but a checkpoint.

    Raises
    ------
    CheckpointError
        When there is none, it is something else, or it cannot be read.
    """
    begins = content(place, len(MAGIC)).tobytes()
    if not begins or not MAGIC.startswith(begins):
        what, cure = ("no checkpoint of sgdfit", "check its name") if begins else ("empty", _ANEW)
        raise CheckpointError(f"cannot resume from {place.shown}: the file is {what}; {cure}")


def content(place: Place, most: int | None = None) -> NDArray[np.uint8]:
    """Return the bytes of a file, or the first of them.

    Raises
    ------
    CheckpointError
        When there is no such file, or it cannot be read.
    """
    try:
        with _opened(place) as file:
            size = os.fstat(file.fileno()).st_size
            found = np.empty(size if most is None else min(size, most), dtype=np.uint8)
            return found[: file.readinto(found.data)]
    except FileNotFoundError:
        raise CheckpointError(
            f"cannot resume from {place.shown}: there is no such file; {_ANEW}"
        ) from None
    except OSError as error:
        raise CheckpointError(
            f"cannot read the checkpoint {place.shown}: {error.strerror}; check its permissions and"
            " its disk, or name another file"
        ) from error


def _opened(place: Place) -> BufferedReader:
    # A pipe would wait for someone at its other end.
    kind = place.target.stat().st_mode
    if not stat.S_ISREG(kind):
        what = "a folder" if stat.S_ISDIR(kind) else "no regular file"
        raise CheckpointError(
            f"{place.shown} is {what}, where a file is needed that can be replaced; name another"
            " file for the checkpoint"
        )
    return place.target.open("rb")


def remove_leftovers(place: Place) -> None:
    """Remove what runs that were killed had begun to write; only for the holder of the lock."""
    named = re.compile(re.escape(place.temporary.name).replace(rf"\.{os.getpid()}\.", r"\.\d+\."))
    with suppress(OSError):
        for name in os.listdir(place.target.parent):
            if named.fullmatch(name):
                place.target.with_name(name).unlink(missing_ok=True)


def probe(place: Place) -> None:
    """Find out now, not at the end of a long run, that a folder cannot be written.

    Raises
    ------
    CheckpointError
        When it cannot.
    """
    try:
        _write(place.temporary, [memoryview(bytes(_PROBE))], None)
    except OSError as error:
        raise place.refusal(error) from error
    finally:
        _discard(place.temporary)


def replace(place: Place, pieces: Iterable[memoryview]) -> None:
    """Put ``pieces`` in the place of what stands there, whole or not at all.

    Raises
    ------
    CheckpointError
        When that fails; what stood there still stands, and nothing is left beside it.
    """
    replaceable(place)
    try:
        _write(place.temporary, pieces, _kept(place.target))
        os.replace(place.temporary, place.target)
        _settle(place.target.parent)
    except OSError as error:
        raise place.refusal(error) from error
    finally:
        # After an interrupt, too; once it has its name there is nothing to remove.
        _discard(place.temporary)


def _kept(target: Path) -> os.stat_result | None:
    try:
        return target.stat()
    except FileNotFoundError:
        return None


def _write(path: Path, pieces: Iterable[memoryview], like: os.stat_result | None) -> None:
    _discard(path)
    # Whoever may not read the checkpoint may not read what is to become it.
    mode = 0o666 if like is None else 0o600
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    with open(path, "wb", buffering=0, opener=lambda p, _: os.open(p, flags, mode)) as file:
        waiting = 0
        for piece in pieces:
            rest = piece
            while rest:
                rest = rest[file.write(rest) :]
            waiting += len(piece)
            if waiting >= _PORTION:
                os.fsync(file.fileno())
                waiting = 0
        if like is not None:
            _own(file.fileno(), like)
        os.fsync(file.fileno())


def _own(handle: int, like: os.stat_result) -> None:
    """Give a new file the owner and the permissions of the one that it replaces."""
    if not hasattr(os, "fchown"):
        return
    made = os.fstat(handle)
    if (made.st_uid, made.st_gid) != (like.st_uid, like.st_gid):
        with suppress(OSError):  # only root may give a file away
            os.fchown(handle, like.st_uid, like.st_gid)
    os.fchmod(handle, stat.S_IMODE(like.st_mode))


def _settle(folder: Path) -> None:
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


def _discard(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)
