"""Where the bytes of a file are: on a disk, behind a pyarrow filesystem, or in memory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from sgdfit.data.wording import reason_of
from sgdfit.errors import DataError

__all__ = [
    "Origin",
    "Stamp",
    "dangling",
    "in_memory",
    "on_disk",
    "opened",
    "remote",
    "unchanged",
    "unreadable",
]


class Stamp(NamedTuple):
    """What changes when a file does: its bytes, and nanoseconds since 1970 if they are known."""

    size: int
    time: int


class Origin(NamedTuple):
    """A file that is opened anew for each part that is read.

    Attributes
    ----------
    label : str
        How messages name it.
    stamp : Stamp
        From when it was found.
    look : callable
        Returns the stamp of now; raises OSError where it is gone.
    open : callable
        Returns a `pyarrow.NativeFile` that is read with ordinary reads: pages of a mapped file
        would count as memory, and end the process if the file became shorter.
    constants : tuple of (str, int or float or str or None)
        Columns that its folders name, the same for all its rows.
    local : str
        Its path, where it is on a disk of this machine.
    """

    label: str
    stamp: Stamp
    look: Callable[[], Stamp]
    open: Callable[[], Any]
    constants: tuple[tuple[str, Any], ...] = ()
    local: str = ""


def on_disk(path: str, label: str, stamp: Stamp | None = None) -> Origin:
    """Return a file of this machine.

    Raises
    ------
    DataError
        When it is not there, or may not be looked at.
    """

    def look() -> Stamp:
        found = os.stat(path)
        return Stamp(found.st_size, found.st_mtime_ns)

    def open_file() -> Any:
        import pyarrow as pa

        return pa.OSFile(path)

    try:
        return Origin(label, stamp or look(), look, open_file, local=path)
    except FileNotFoundError as error:
        raise DataError(dangling(path, label) or unreadable(label, error)) from error
    except OSError as error:
        raise DataError(unreadable(label, error)) from error


def dangling(path: str, label: str) -> str:
    """Say in one sentence that a link leads nowhere; empty for what is no link."""
    if not os.path.islink(path):
        return ""
    return (
        f"{label!r} is a link to {os.readlink(path)!r}, where there is no file; mend or remove it"
    )


def remote(filesystem: Any, path: str, label: str, stamp: Stamp) -> Origin:
    """Return a file behind a `pyarrow.fs.FileSystem`."""

    def look() -> Stamp:
        found = filesystem.get_file_info(path)
        if not found.is_file:
            raise FileNotFoundError(path)
        return Stamp(found.size, found.mtime_ns or 0)

    return Origin(label, stamp, look, lambda: filesystem.open_input_file(path))


def in_memory(content: Any, label: str) -> Origin:
    """Return bytes, which nothing changes.

    Examples
    --------
    >>> in_memory(b"abc", "standard input").open().read()
    b'abc'
    """
    stamp = Stamp(len(content), 0)

    def open_buffer() -> Any:
        import pyarrow as pa

        return pa.BufferReader(pa.py_buffer(content))

    return Origin(label, stamp, lambda: stamp, open_buffer)


def unreadable(label: str, error: BaseException) -> str:
    """Say in one sentence why a file cannot be opened."""
    if isinstance(error, PermissionError) or getattr(error, "errno", None) == 13:
        return f"{label!r} may not be read (permission denied); ask its owner, or chmod u+r it"
    if isinstance(error, FileNotFoundError):
        return f"there is no file {label!r} any more; it was there when the data were opened"
    reason = getattr(error, "strerror", None) or reason_of(error)
    return f"{label!r} cannot be read ({reason}); check its name, and the disk it is on"


def opened(origin: Origin) -> Any:
    """Open a file.

    Raises
    ------
    DataError
        When that is not possible.
    """
    import pyarrow as pa

    try:
        return origin.open()
    except (OSError, pa.ArrowException) as error:
        raise DataError(unreadable(origin.label, error)) from error


@contextlib.contextmanager
def unchanged(origin: Origin) -> Iterator[None]:
    """Refuse a file that has changed since it was found, before and after it is read.

    Raises
    ------
    DataError
        When it was changed or removed, also where that was the reason for another error.
    """
    _compare(origin)
    try:
        yield
    except DataError:
        _compare(origin)
        raise
    _compare(origin)


def _compare(origin: Origin) -> None:
    import pyarrow as pa

    try:
        now = origin.look()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(
            f"{origin.label} was removed while it was being read; put it back, or leave it out,"
            " and begin again"
        ) from error
    except (OSError, pa.ArrowException) as error:
        raise DataError(unreadable(origin.label, error)) from error
    if now != origin.stamp:
        raise DataError(
            f"{origin.label} has changed since it was opened ({_difference(origin.stamp, now)});"
            " begin again once nothing writes to it"
        )


def _difference(before: Stamp, now: Stamp) -> str:
    if before.size != now.size:
        return f"it had {before.size:,} bytes and has {now.size:,}"
    return "it was written anew with the same size"
