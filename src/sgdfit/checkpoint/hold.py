"""One run at a time writes a checkpoint: a lock that ends with the process that holds it."""

from __future__ import annotations

import os
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from sgdfit.checkpoint.place import Place
from sgdfit.errors import CheckpointError

__all__ = ["Hold", "take"]


class Hold(NamedTuple):
    """A lock that is held.

    Attributes
    ----------
    file : FileIO
        The open file that bears the lock; closing it, or the end of the process, frees it.
    path : Path
        Where it stands.
    sure : bool
        Whether the file system can lock at all.
    """

    file: FileIO
    path: Path
    sure: bool

    def release(self) -> None:
        """Free the lock and remove its file; a second time nothing happens."""
        if self.file.closed:
            return
        # Removed while it is held: whoever opened it meanwhile sees that it is no longer there.
        with suppress(OSError):
            if _stands(self.file, self.path):
                self.path.unlink()
        self.file.close()


def take(place: Place) -> Hold:
    """Take the lock of a place.

    Raises
    ------
    CheckpointError
        When another run has it, or its file cannot be written.
    """
    while True:
        try:
            file = FileIO(place.lock, "ab+", opener=_open)
        except OSError as error:
            raise place.refusal(error) from error
        try:
            sure = _lock(file)
        except BlockingIOError:
            holder = _holder(file)
            file.close()
            raise CheckpointError(
                f"the checkpoint {place.shown} is in use by another run{holder}; wait until that"
                " has ended, or name another file"
            ) from None
        if _stands(file, place.lock):
            break
        file.close()  # its last holder has just removed it
    with suppress(OSError):  # the number is for a message only
        file.truncate(0)
        file.write(str(os.getpid()).encode())
    return Hold(file, place.lock, sure)


def _open(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def _lock(file: FileIO) -> bool:
    """Lock without waiting; False where the system or the file system cannot."""
    try:
        import fcntl
    except ImportError:
        return False
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


def _stands(file: FileIO, path: Path) -> bool:
    """Return whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _holder(file: FileIO) -> str:
    with suppress(OSError):
        file.seek(0)
        number = file.read(20)
        if number.isdigit():
            return f" (process {number.decode()})"
    return ""
