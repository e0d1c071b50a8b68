"""Files of text: their compression, their blocks, and what these hold together."""

from __future__ import annotations

import contextlib
import io
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from sgdfit.data.files import COMPRESSIONS, compression_of, unpacking, unreadable
from sgdfit.data.floats import MISSING_SPELLINGS, shown
from sgdfit.data.formats import reading
from sgdfit.data.rows import read_once, scanned_table
from sgdfit.data.table import BATCH_ROWS, Dataset, RowGroup, Table
from sgdfit.data.text.delimited import (
    BLOCK,
    HEAD,
    Block,
    Types,
    blocks,
    columns_of,
    first_unlike,
    open_delimited,
    refuse_binary,
    settled,
    with_newlines,
    wrong_row,
)
from sgdfit.data.text.dialect import Dialect, find_dialect, rows
from sgdfit.errors import DataError, listed

# So many bytes tell how a stream is compressed.
MAGIC_BYTES = 4


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
    begun = _filled(source, MAGIC_BYTES)
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


THREADS = 2
# Blocks that are read while others are parsed.
AHEAD = 3


@dataclass(frozen=True, eq=False)
class TextFile:
    """One delimited text.

    Parameters
    ----------
    place : TextPlace
    dialect : Dialect
    types : mapping of int to pyarrow.DataType
        Of its columns, by position, as far as they are known.
    old : bool
        Whether lines end with a carriage return alone.
    state : tuple of int
        What ``place.mark()`` returned when the text was looked at.
    size : int
        How many bytes are parsed at once.
    marks : dict of int to Mark
        Of the blocks read so far, by number: always the same, whoever reads them.
    """

    place: TextPlace
    dialect: Dialect
    types: Types
    old: bool
    state: tuple[int, ...]
    size: int
    marks: dict[int, Mark] = field(default_factory=dict)


class Mark(NamedTuple):
    """Where a block begins, and whether each of its rows is one line."""

    row: int
    line: int
    plain: bool


def batches(file: TextFile, positions: Sequence[int], names: Sequence[str]) -> Iterator[Any]:
    """Yield record batches, parsed on two threads while the next blocks are read."""
    _refuse_changed(file)
    first = 0
    try:
        for number, block, table in _tables(file, positions):
            mark = Mark(first, block.line, table.num_rows == block.lines)
            file.marks[number] = mark
            first += table.num_rows
            yield from table.rename_columns(list(names)).to_batches(BATCH_ROWS)
    except DataError:
        _refuse_changed(file)
        raise
    _refuse_changed(file)


def _tables(file: TextFile, positions: Sequence[int]) -> Iterator[tuple[int, Block, Any]]:
    types = file.types
    waiting: deque[tuple[int, Block, Future[tuple[Any, Types]]]] = deque()
    with ThreadPoolExecutor(THREADS, "sgdfit-text") as pool:
        try:
            for number, block in enumerate(_blocks(file)):
                waiting.append((number, block, pool.submit(_parsed, file, block, positions, types)))
                while len(waiting) > AHEAD:
                    number, block, job = waiting.popleft()
                    table, types = job.result()
                    yield number, block, table
            while waiting:
                number, block, job = waiting.popleft()
                yield number, block, job.result()[0]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _blocks(file: TextFile) -> Iterator[Block]:
    dialect, label = file.dialect, file.place.label
    with opened(file.place) as take:
        take(dialect.start)
        read = (lambda size: take(size).replace(b"\r", b"\n")) if file.old else take
        yield from blocks(read, dialect.separator, dialect.first_line, label, file.size)


def _parsed(
    file: TextFile, block: Block, positions: Sequence[int], types: Types
) -> tuple[Any, Types]:
    import pyarrow as pa

    dialect = replace(file.dialect, start=0, first_line=block.line)
    if not block.text or block.text.isspace():
        return pa.table({str(place): pa.nulls(0) for place in positions}), types
    try:
        table, widened = columns_of(block.text, dialect, positions, types)
    except pa.ArrowInvalid as error:
        label = file.place.label
        raise DataError(wrong_row(block.text, dialect, label, error)) from error
    for place in positions:
        row = first_unlike(table.column(str(place)), types.get(place))
        if row is not None:
            value = table.column(str(place))[row].as_py()
            raise DataError(_unlike(file, block, place, row, value))
    return table, widened


def _unlike(file: TextFile, block: Block, place: int, row: int, value: Any) -> str:
    dialect = replace(file.dialect, start=0, first_line=block.line)
    line = next((n for k, (n, _) in enumerate(rows(block.text, dialect)) if k == row), block.line)
    return (
        f"column {file.dialect.names[place]!r} of {file.place.label} holds {shown(value)} in line"
        f" {line}, where rows before it hold dates or times; correct it, leave it empty if it is"
        " missing, or leave the column out of the formula"
    )


def line_of(file: TextFile, row: int) -> str:
    """Say which line a row is, from the marks of the blocks that have been read."""
    known = sorted(file.marks.items())
    found = [(number, mark) for number, mark in known if mark.row <= row]
    if not found:
        return ""
    number, mark = found[-1]
    if mark.plain:
        return f" (line {mark.line + row - mark.row})"
    if not file.place.again:
        return ""
    block = next(b for k, b in enumerate(_blocks(file)) if k == number)
    dialect = replace(file.dialect, start=0, first_line=block.line)
    walk = enumerate(rows(block.text, dialect), start=mark.row)
    return next((f" (line {line})" for place, (line, _) in walk if place == row), "")


def state_of(place: TextPlace) -> tuple[int, ...]:
    """Return what changes when a text does.

    Raises
    ------
    DataError
        When it is gone.
    """
    with told(place):
        return place.mark()


def _refuse_changed(file: TextFile) -> None:
    if state_of(file.place) != file.state:
        raise DataError(
            f"{file.place.label} has changed since it was opened; fit again, once nothing writes"
            " to it any more"
        )


# What is shorter, uncompressed, is read as a whole.
SMALL = 32 << 20
# Separator, header and decimal sign are found from so many bytes at most.
LOOKED_AT = 1 << 22


def scan_text(
    places: Sequence[TextPlace | str | os.PathLike[str]],
    label: str = "",
    *,
    size: int = BLOCK,
    small: int = SMALL,
) -> Table:
    r"""Open delimited texts that are alike; the numbers are read when they are asked for.

    A single text of up to ``small`` bytes is read as a whole. Others are read in blocks, with
    a few times ``size`` bytes in memory, and their columns are known as `Table.dataset`.

    Parameters
    ----------
    places : sequence of TextPlace, str or path
    label : str, optional
        How messages name all of them; by default the name of the only one, or how many there are.
    size : int
        How many bytes are parsed at once.
    small : int

    Raises
    ------
    DataError
        When one is empty, binary, has no rows, or has other columns than the first.

    Examples
    --------
    >>> from sgdfit.data.text.text_files import stream_place
    >>> import io
    >>> text = io.BytesIO(b"x,y\n1,2\n3,4\n")
    >>> table = scan_text([stream_place(text, "standard input")], small=0)
    >>> table.names, table.dataset.again
    (('x', 'y'), False)
    """
    found = [p if isinstance(p, TextPlace) else file_place(p) for p in places]
    if len(found) == 1:
        looked_at = LOOKED_AT if _is_large(found[0], small) else max(small + 1, LOOKED_AT)
        place, head, ended = held(found[0], looked_at)
        if ended and len(head) <= small:
            return open_delimited(head, label or place.label)
        files = [_looked_at(place, head[:LOOKED_AT], size)]
    else:
        files = _alike(found, size)
    return scanned_table(_dataset(files, label or _label(found)))


def _is_large(place: TextPlace, small: int) -> bool:
    """Tell a large file by its size, so that no more of it is read than has to be looked at."""
    return place.compression is None and state_of(place)[:1] > (max(small, LOOKED_AT),)


def _label(places: Sequence[TextPlace]) -> str:
    return places[0].label if len(places) == 1 else f"the data ({len(places)} files)"


def _alike(places: Sequence[TextPlace], size: int) -> list[TextFile]:
    """Look at each text; one with other columns than the first is refused."""
    files: list[TextFile] = []
    rows = False
    for number, each in enumerate(places, 1):
        place, head, ended = held(each, LOOKED_AT)
        types = next((file.types for file in files if file.types), None)
        # Some writers leave a header where they had no row; one file with rows will do.
        file = _looked_at(place, head, size, types, ended and (rows or number < len(places)))
        rows = rows or file.dialect.start < len(head)
        if files:
            _refuse_other_columns(file, files[0])
        files.append(file)
    return files


def _looked_at(
    place: TextPlace,
    head: bytes,
    size: int,
    types: Types | None = None,
    header_alone: bool = False,
) -> TextFile:
    state = state_of(place)
    refuse_binary(head[:HEAD], place.label)
    text = with_newlines(head)
    dialect = find_dialect(text, place.label, MISSING_SPELLINGS, header_alone)
    if types is None:
        begun = io.BytesIO(text[dialect.start :]).read
        found = blocks(begun, dialect.separator, dialect.first_line, place.label, size)
        first = next(found, None)
        types = settled(first.text, replace(dialect, start=0)) if first else {}
    return TextFile(place, dialect, types, text is not head, state, size)


def _refuse_other_columns(file: TextFile, first: TextFile) -> None:
    ours, others = file.dialect.names, first.dialect.names
    if ours == others:
        return
    lacks = [name for name in others if name not in ours]
    raise DataError(
        f"{file.place.label} has the columns {listed(ours)} where {first.place.label} has"
        f" {listed(others)}; "
        + (f"it lacks {listed(lacks)}; " if lacks else "")
        + "give files with the same header, in the same order"
    )


def _dataset(files: Sequence[TextFile], label: str) -> Dataset:
    comma = any(file.dialect.decimal == "," for file in files)
    decimal = "," if comma else "."
    files = [replace(f, dialect=replace(f.dialect, decimal=decimal)) for f in files]
    row_groups = tuple(_row_group(file) for file in files)
    again = all(file.place.again for file in files)
    known = again and all(file.state for file in files)
    marks = [f"{file.place.label} {' '.join(map(str, file.state))}" for file in files]
    fingerprint = "\n".join(marks) if known else ""
    return Dataset(
        files[0].dialect.names, label, row_groups, again, fingerprint, decimal, slow=True
    )


def _row_group(file: TextFile) -> RowGroup:
    names = file.dialect.names

    def read(wanted: Sequence[str]) -> Iterator[Any]:
        return batches(file, [names.index(name) for name in wanted], wanted)

    label = file.place.label
    once = read if file.place.again else read_once(label, read)
    return RowGroup(label, 0, None, once, partial(line_of, file))
