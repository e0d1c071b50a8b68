"""Files and streams of delimited text, read block by block."""

from __future__ import annotations

import contextlib
import io
import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from sgdfit.data.datasets import completed, fingerprint_of_files
from sgdfit.data.delimited import (
    HEAD,
    Types,
    block_columns,
    blocks,
    has_old_ends,
    line_of,
    open_delimited,
    refuse_binary,
)
from sgdfit.data.dialect import Dialect, find_dialect
from sgdfit.data.files import (
    NO_STAMP,
    Origin,
    compression_of,
    opened,
    reaching,
    unchanged,
    unpacking,
)
from sgdfit.data.formats import reading
from sgdfit.data.rows import dataset_table, read_once
from sgdfit.data.table import BATCH_ROWS, Dataset, RowGroup, Table
from sgdfit.errors import DataError, listed

TextBlock = tuple[bytes, Dialect]

# A quarter of a common last-level cache; larger blocks are not read faster.
BLOCK = 1 << 21
# Blocks that are read while others are parsed.
THREADS, AHEAD = 2, 3
# What is shorter, uncompressed, is read as a whole.
SMALL = 32 << 20
# Separator, header and decimal sign are found from so many bytes at most.
LOOKED_AT = 1 << 22


class PeekedStream:
    r"""Text or bytes that are read once, and can be looked at before.

    Examples
    --------
    >>> stream = PeekedStream(io.StringIO("x,y\n1,2\n"), "standard input")
    >>> stream.peek(3), stream.read(5), stream.read(5)
    (b'x,y', b'x,y\n1', b',2\n')
    """

    closed = False  # Arrow asks for it

    def __init__(self, stream: Any, label: str, compression: str | None = None) -> None:
        source = getattr(stream, "buffer", stream)
        self.stream = unpacking(source, compression) if compression else source
        self.label, self.compression = label, compression
        self.head, self.ended = memoryview(b""), False

    def peek(self, size: int) -> bytes:
        """Return the next ``size`` bytes, fewer at the end alone."""
        if len(self.head) < size:
            self.head = memoryview(self.read(size))
        return bytes(self.head[:size])

    def read(self, size: int) -> bytes:
        """Return the next ``size`` bytes, fewer at the end alone: a pipe hands out some at once."""
        parts: list[Any] = [self.head[:size]]
        self.head, left = self.head[size:], size - len(parts[0])
        while left and not self.ended:
            parts.append(self._next(left))
            left -= len(parts[-1])
        return parts[1] if len(parts) == 2 and not parts[0] else b"".join(parts)

    def _next(self, size: int) -> bytes:
        with reading(self.label, self.compression) if self.compression else reaching(self.label):
            found = self.stream.read(size)
        # These hand out less only at the end, of which a terminal would have to be told twice.
        whole = isinstance(self.stream, io.BufferedIOBase | io.TextIOBase)
        self.ended = not found or (whole and len(found) < size)
        return found.encode() if isinstance(found, str) else bytes(found or b"")

    def close(self) -> None:
        """Leave the stream open, for it belongs to who gave it."""


def peeked(stream: Any, label: str) -> PeekedStream:
    """Return an open stream, unpacked if its first bytes tell that it is compressed."""
    raw = PeekedStream(stream, label)
    compression = compression_of(raw.peek(4))
    return PeekedStream(raw, label, compression) if compression else raw


def stream_origin(stream: PeekedStream) -> Origin:
    """Return an open stream as what can be opened once."""
    return Origin(stream.label, NO_STAMP, lambda: NO_STAMP, lambda: stream, again=False)


@contextlib.contextmanager
def _opened_text(origin: Origin) -> Iterator[PeekedStream]:
    source = opened(origin)
    if isinstance(source, PeekedStream):
        yield source
        return
    with source:
        yield PeekedStream(source, origin.label, origin.compression)


class Mark(NamedTuple):
    """Where a block begins, and whether each of its rows is one line."""

    row: int
    line: int
    plain: bool


@dataclass(frozen=True, eq=False)
class TextFile:
    """One delimited text, the types of its columns as far as they are known, and its blocks.

    The marks of blocks are always the same, whoever reads them.
    """

    origin: Origin
    dialect: Dialect
    types: Types
    old_ends: bool
    size: int
    marks: dict[int, Mark] = field(default_factory=dict)

    def batches(self, positions: Sequence[int], names: Sequence[str]) -> Iterator[Any]:
        """Yield record batches, parsed on two threads while the next blocks are read."""
        first = 0
        for number, ((text, dialect), table) in enumerate(self._tables(positions)):
            plain = table.num_rows == text.count(b"\n") + (not text.endswith(b"\n"))
            self.marks[number] = Mark(first, dialect.first_line, plain)
            first += table.num_rows
            yield from table.rename_columns(list(names)).to_batches(BATCH_ROWS)

    def _tables(self, positions: Sequence[int]) -> Iterator[tuple[TextBlock, Any]]:
        types, label = self.types, self.origin.label
        waiting: deque[tuple[TextBlock, Future[tuple[Any, Types]]]] = deque()
        with ThreadPoolExecutor(THREADS, "sgdfit-text") as pool:
            try:
                for block in self._blocks():
                    job = pool.submit(block_columns, *block, positions, types, label)
                    waiting.append((block, job))
                    if len(waiting) > AHEAD:
                        block, job = waiting.popleft()
                        table, types = job.result()
                        yield block, table
                for block, job in waiting:
                    yield block, job.result()[0]
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _blocks(self) -> Iterator[TextBlock]:
        with _opened_text(self.origin) as stream:
            stream.read(self.dialect.start)

            def read(size: int) -> bytes:
                text = stream.read(size)
                return text.replace(b"\r", b"\n") if self.old_ends else text

            yield from blocks(read, self.dialect, self.origin.label, self.size)

    def line(self, row: int) -> str:
        """Say which line a row is, from the marks of the blocks that have been read."""
        found = [(k, mark) for k, mark in sorted(self.marks.items()) if mark.row <= row]
        if not found:
            return ""
        number, mark = found[-1]
        if mark.plain:
            return f" (line {mark.line + row - mark.row})"
        if not self.origin.again:
            return ""
        text, dialect = next(block for k, block in enumerate(self._blocks()) if k == number)
        return line_of(text, dialect, row - mark.row)

    def row_group(self, own: Sequence[str]) -> RowGroup:
        """Return the file as a row group, with columns that its folders name beside its own."""
        origin, columns = self.origin, {name: name for name in own}
        constants = {name for name, _ in origin.constants}

        def read(names: Sequence[str]) -> Iterator[Any]:
            lacking = [name for name in names if name not in columns and name not in constants]
            if lacking:
                raise DataError(
                    f"{origin.label} has no column {lacking[0]!r}, which the folders of other files"
                    " name; sort all files into folders of the same kind"
                )
            wanted = [name for name in names if name in columns] or own[:1]
            positions = [self.dialect.names.index(name) for name in wanted]
            with unchanged(origin):
                for batch in self.batches(positions, wanted):
                    yield completed(batch, names, columns, origin)

        once = read if origin.again else read_once(origin.label, read)
        return RowGroup(origin.label, 0, None, once, self.line)


def open_text(
    origins: Sequence[Origin], label: str = "", *, size: int = BLOCK, small: int = SMALL
) -> Table:
    r"""Open delimited texts that are alike, whose columns are parsed when they are asked for.

    A single text of up to ``small`` bytes is read as a whole. Others are read in blocks of
    ``size`` bytes, with a few of them in memory, and their columns are known as `Table.dataset`.

    Examples
    --------
    >>> stream = PeekedStream(io.BytesIO(b"x,y\n1,2\n3,4\n"), "standard input")
    >>> table = open_text([stream_origin(stream)], small=0)
    >>> table.names, table.dataset.again
    (('x', 'y'), False)
    """
    label, first = label or origins[0].label, origins[0]
    # A large file is told by its size, so that no more of it is read than has to be looked at.
    may_be_small = first.compression or first.stamp.size <= max(small, LOOKED_AT)
    if len(origins) == 1 and not first.constants and may_be_small:
        with _opened_text(first) as stream:
            head = stream.peek(small + 1)
        if len(head) <= small:
            return open_delimited(head, label)
    files: list[TextFile] = []
    has_rows = False
    for number, origin in enumerate(origins, 1):
        with _opened_text(origin) as stream:
            head = stream.peek(LOOKED_AT)
        # Some writers leave a header where they had no row; one file with rows will do.
        header_alone = len(head) < LOOKED_AT and (has_rows or number < len(origins))
        types = next((file.types for file in files if file.types), None)
        file = _looked_at(origin, head, size, types, header_alone)
        has_rows = has_rows or file.dialect.start < len(head)
        if files:
            _refuse_other_columns(file, files[0])
        files.append(file)
    decimal = "," if any(file.dialect.decimal == "," for file in files) else "."
    files = [replace(f, dialect=replace(f.dialect, decimal=decimal)) for f in files]
    extra = dict.fromkeys(name for origin in origins for name, _ in origin.constants)
    own = [name for name in files[0].dialect.names if name not in extra]
    groups = tuple(file.row_group(own) for file in files)
    again = all(origin.again for origin in origins)
    known = all(origin.stamp.time for origin in origins)
    fingerprint = fingerprint_of_files(origins, own, decimal) if known else ""
    dataset = Dataset((*own, *extra), label, groups, again, fingerprint, decimal, slow=True)
    return dataset_table(dataset)


def _looked_at(
    origin: Origin, head: bytes, size: int, types: Types | None, header_alone: bool
) -> TextFile:
    label, old_ends = origin.label, has_old_ends(head)
    refuse_binary(head[:HEAD], label)
    text = head.replace(b"\r", b"\n") if old_ends else head
    dialect = find_dialect(text, label, header_alone)
    if types is None:
        begun = io.BytesIO(text[dialect.start :]).read
        # Rows that cannot be read settle nothing: what is wrong with them is said once they are.
        with contextlib.suppress(DataError):
            for block in itertools.islice(blocks(begun, dialect, label, size), 1):
                types = block_columns(*block, range(len(dialect.names)), {}, label)[1]
    return TextFile(origin, dialect, types or {}, old_ends, size)


def _refuse_other_columns(file: TextFile, first: TextFile) -> None:
    ours, others = file.dialect.names, first.dialect.names
    if ours == others:
        return
    lacks = [name for name in others if name not in ours]
    raise DataError(
        f"{file.origin.label} has the columns {listed(ours)} where {first.origin.label} has"
        f" {listed(others)}; "
        + (f"it lacks {listed(lacks)}; " if lacks else "")
        + "give files with the same header, in the same order"
    )
