"""Where delimited text comes from: a file, a compressed one, or a stream that is read once."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sgdfit.data.files import COMPRESSIONS, compression_of, unpacking, unreadable
from sgdfit.data.formats import reading
from sgdfit.errors import DataError

__all__ = [
    "Prefixed",
    "TextPlace",
    "file_place",
    "held",
    "opened",
    "stream_place",
    "told",
]

# So many bytes tell how a stream is compressed.
LOOKED_AT = 4


class TextPlace(NamedTuple):
    """A text, and how to get at its bytes.

    Attributes
    ----------
    label : str
        How messages name it.
    open : callable
        Returns an object with ``read(size)`` and ``close()``, at its beginning.
    compression : str or None
        ``gzip``, ``bz2``, ``zstd`` or none.
    again : bool
        Whether it can be opened more than once.
    mark : callable
        Returns the size of the file in bytes and when it was last written; nothing where that is
        unknown. Raises an OSError when it is gone.
    """

    label: str
    open: Callable[[], Any]
    compression: str | None = None
    again: bool = True
    mark: Callable[[], tuple[int, ...]] = tuple


class Prefixed:
    """A stream whose beginning has been read already."""

    def __init__(self, head: bytes, stream: Any, ended: bool = False) -> None:
        self.head, self.begin = head, 0
        self.stream, self.ended = stream, ended
        self.closed = False  # Arrow asks for it

    def read(self, size: int) -> bytes:
        """Return ``size`` bytes, fewer only at the end: a pipe hands out fewer at a time."""
        parts = [self._part(size)]
        while parts[-1] and (size := size - len(parts[-1])):
            parts.append(self._part(size))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _part(self, size: int) -> bytes:
        if self.begin == len(self.head) and not self.ended:
            self.head, self.begin = self._next(size), 0
        block = self.head[self.begin : self.begin + size]
        self.begin += len(block)
        return block

    def _next(self, size: int) -> bytes:
        block = self.stream.read(size)
        # These hand out less only at the end, of which a terminal would have to be told twice.
        whole = isinstance(self.stream, io.BufferedIOBase | io.TextIOBase)
        self.ended = not block or (whole and len(block) < size)
        return block.encode() if isinstance(block, str) else bytes(block or b"")

    def close(self) -> None:
        """Leave the stream open, for it belongs to who gave it."""


def file_place(path: str | os.PathLike[str]) -> TextPlace:
    """Return the place of a file; its ending tells whether it is compressed.

    Examples
    --------
    >>> file_place("runs/dose.csv.gz")[:1], file_place("runs/dose.csv.gz").compression
    (('dose.csv.gz',), 'gzip')
    """
    place = Path(os.path.expanduser(os.fspath(path)))

    def mark() -> tuple[int, ...]:
        found = place.stat()
        return found.st_size, found.st_mtime_ns

    compression = COMPRESSIONS.get(place.suffix.lower())
    return TextPlace(place.name, lambda: place.open("rb", buffering=0), compression, True, mark)


def stream_place(stream: Any, label: str, head: bytes = b"") -> TextPlace:
    r"""Return the place of an open stream, of which ``head`` has been read already.

    Compression is known by the first bytes, so some are needed.

    Examples
    --------
    >>> import io
    >>> place = stream_place(io.BytesIO(b"x,y\n1,2\n"), "standard input")
    >>> place.open().read(3), place.again
    (b'x,y', False)
    """
    source = Prefixed(head, getattr(stream, "buffer", stream))
    begun = _filled(source, LOOKED_AT)
    source.head, source.begin = begun + source.head[source.begin :], 0
    return TextPlace(label, lambda: source, compression_of(begun), False)


def held(place: TextPlace, size: int) -> tuple[TextPlace, bytes, bool]:
    r"""Read the first ``size`` bytes, uncompressed, and tell whether the text ends before them.

    A stream that is read once begins with these bytes again in the place that is returned.

    Examples
    --------
    >>> import io
    >>> place, head, ended = held(stream_place(io.BytesIO(b"x,y\n1,2\n"), "it"), 4)
    >>> head, ended, place.open().read(4)
    (b'x,y\n', False, b'x,y\n')
    """
    with contextlib.ExitStack() as stack:
        take = stack.enter_context(opened(place))
        head = take(size)
        if not place.again:
            rest = Prefixed(head, _Taken(take, stack.pop_all()))
            place = place._replace(open=lambda: rest, compression=None)
    return place, head, len(head) < size


class _Taken:
    """What is left of a stream that was opened before."""

    def __init__(self, take: Callable[[int], bytes], kept: contextlib.ExitStack) -> None:
        self.read, self.kept = take, kept


@contextlib.contextmanager
def opened(place: TextPlace) -> Iterator[Callable[[int], bytes]]:
    """Open ``place`` and hand out a function that reads exactly so many bytes, fewer at the end.

    Raises
    ------
    DataError
        When it cannot be opened or read, or is compressed and damaged.
    """
    with _closing(place) as raw:
        stream = _unpacked(raw, place)

        def take(size: int) -> bytes:
            with reading(place.label, place.compression) if place.compression else told(place):
                return _filled(stream, size)

        yield take


@contextlib.contextmanager
def _closing(place: TextPlace) -> Iterator[Any]:
    with told(place):
        raw = place.open()
    try:
        yield raw
    finally:
        raw.close()


@contextlib.contextmanager
def told(place: TextPlace) -> Iterator[None]:
    """Say in one sentence why a file cannot be read.

    Raises
    ------
    DataError
        Where it is gone, may not be read, or its disk fails.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(
            f"there is no file {place.label!r}; put it back, or check its name and folder"
        ) from error
    except OSError as error:
        raise DataError(unreadable(place.label, error)) from error


def _unpacked(raw: Any, place: TextPlace) -> Any:
    return raw if place.compression is None else unpacking(raw, place.compression)


def _filled(stream: Any, size: int) -> bytes:
    """Read until there are ``size`` bytes or no more: a pipe hands out fewer at a time."""
    parts: list[bytes] = []
    while size > 0:
        part = stream.read(size)
        if not part:
            break
        parts.append(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
