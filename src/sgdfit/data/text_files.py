"""Files and streams of delimited text, read block by block."""

from __future__ import annotations

import codecs
import contextlib
import io
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sgdfit.data.delimited import (
    HEAD,
    Types,
    block_columns,
    blocks,
    has_old_ends,
    line_of,
    notes_of,
    open_delimited,
    refuse_binary,
)
from sgdfit.data.dialect import (
    FOUND_OUT,
    LOOKED_AT,
    TextDialect,
    TextOptions,
    find_dialect,
    newlines,
    settled_encoding,
)
from sgdfit.data.files import (
    NO_STAMP,
    DataFile,
    compression_of,
    opened,
    reaching,
    unpacking,
)
from sgdfit.data.formats import ColumnarFile, reading
from sgdfit.data.rows import dataset_table, read_once
from sgdfit.data.table import BATCH_ROWS, Dataset, RowGroup, Table
from sgdfit.errors import DataError

# A quarter of a common last-level cache; larger blocks are not read faster.
READ_BYTES = 1 << 21
# What is shorter, uncompressed, is read as a whole.
SMALL = 32 << 20


class PeekedStream:
    """Text or bytes that are read once, and can be looked at before."""

    closed = False  # Arrow asks for it

    def __init__(self, stream: Any, label: str, compression: str | None = None) -> None:
        source = getattr(stream, "buffer", stream)
        self.stream = unpacking(source, compression) if compression else source
        self.label, self.compression = label, compression
        self.head, self.ended = memoryview(b""), False
        self.decoder: Any = None

    def decode(self, encoding: str) -> None:
        """Hand out UTF-8 from now on, whatever the source holds."""
        if self.decoder is None and encoding != "utf-8":
            self.decoder = codecs.getincrementaldecoder(encoding)("replace")
            self.head = memoryview(self.decoder.decode(self.head, self.ended).encode())

    def peek(self, size: int) -> bytes:
        """Return the next ``size`` bytes, fewer at the end alone."""
        if len(self.head) < size:
            found = self.read(size)
            self.head = memoryview(found + bytes(self.head))
        return bytes(self.head[:size])

    def read(self, size: int) -> bytes:
        """Return the next ``size`` bytes, fewer at the end alone: a pipe hands out some at once."""
        parts: list[Any] = [self.head[:size]]
        self.head, left = self.head[size:], size - len(parts[0])
        named = reading(self.label, self.compression) if self.compression else reaching(self.label)
        # These hand out less only at the end, of which a terminal would have to be told twice.
        whole = isinstance(self.stream, io.BufferedIOBase | io.TextIOBase)
        with named:
            while left > 0 and not self.ended:
                wanted = min(left, SMALL)
                found = self.stream.read(wanted)
                self.ended = not found or (whole and len(found) < wanted)
                found = found.encode() if isinstance(found, str) else bytes(found or b"")
                if self.decoder is not None:
                    found = self.decoder.decode(found, self.ended).encode()
                left -= len(found)
                parts.append(found)
        text: bytes = parts[1] if len(parts) == 2 and not parts[0] else b"".join(parts)
        if left < 0:  # characters may take more bytes than were asked for
            self.head = memoryview(text)[size:]
        return text[:size] if left < 0 else text

    def close(self) -> None:
        """Leave the stream open, for it belongs to who gave it."""


def peeked(stream: Any, label: str) -> PeekedStream:
    """Return an open stream, unpacked if its first bytes tell that it is compressed."""
    raw = PeekedStream(stream, label)
    compression = compression_of(raw.peek(4))
    return PeekedStream(raw, label, compression) if compression else raw


@contextlib.contextmanager
def _opened_text(origin: DataFile) -> Iterator[PeekedStream]:
    source = opened(origin)
    if isinstance(source, PeekedStream):
        yield source
        return
    with source:
        yield PeekedStream(source, origin.label, origin.compression)


@dataclass(frozen=True, eq=False)
class TextFile:
    """One delimited text, the types of its columns as far as they are known, and its blocks."""

    origin: DataFile
    dialect: TextDialect
    types: Types
    old_ends: bool
    size: int
    encoding: str
    # Of each block the first row, the first line, and whether each of its rows is one line: always
    # the same, whoever reads them.
    marks: dict[int, tuple[int, int, bool]] = field(default_factory=dict)

    def read(self, names: Sequence[str]) -> Iterator[Any]:
        """Yield record batches, block by block."""
        names = list(names) or [self.dialect.names[0]]
        places = [self.dialect.names.index(name) for name in names]
        first, types = 0, self.types
        for number, (text, dialect) in enumerate(self._blocks()):
            table, types = block_columns(text, dialect, places, types, self.origin.label)
            plain = table.num_rows == newlines(text) + (not text.endswith(b"\n"))
            self.marks[number] = first, dialect.first_line, plain
            first += table.num_rows
            yield from table.rename_columns(names).to_batches(BATCH_ROWS)

    def _blocks(self) -> Iterator[tuple[bytes, TextDialect]]:
        with _opened_text(self.origin) as stream:
            stream.decode(self.encoding)
            stream.read(self.dialect.start)

            def read(size: int) -> bytes:
                text = stream.read(size)
                return text.replace(b"\r", b"\n") if self.old_ends else text

            yield from blocks(read, self.dialect, self.origin.label, self.size)

    def line(self, row: int) -> str:
        """Say which line a row is, from the marks of the blocks that have been read."""
        number = max((k for k, (first, *_) in self.marks.items() if first <= row), default=None)
        if number is None:
            return ""
        first, line, plain = self.marks[number]
        if plain:
            return f" (line {line + row - first})"
        if not self.origin.again:
            return ""
        text, dialect = next(itertools.islice(self._blocks(), number, None))
        return line_of(text, dialect, row - first)


def open_text(
    origin: DataFile, size: int = READ_BYTES, options: TextOptions = FOUND_OUT
) -> ColumnarFile:
    """Look at the beginning of a text, which is read in blocks of ``size`` bytes.

    What its text columns hold is left open: which row is no number is said once they are read.
    """
    import pyarrow as pa

    with _opened_text(origin) as stream:
        head = stream.peek(LOOKED_AT)
        encoding = settled_encoding(head, origin.label, options.encoding)
        refuse_binary(head[:HEAD], origin.label, encoding)
        stream.decode(encoding)
        head = stream.peek(LOOKED_AT)
    label, old_ends = origin.label, has_old_ends(head)
    text = head.replace(b"\r", b"\n") if old_ends else head
    dialect = find_dialect(text, label, options, header_alone=True)
    begun = io.BytesIO(text[dialect.start :]).read
    types: Types = {}
    # Rows that cannot be read settle nothing: what is wrong with them is said once they are.
    with contextlib.suppress(DataError):
        for block in itertools.islice(blocks(begun, dialect, label, size), 1):
            types = block_columns(*block, range(len(dialect.names)), {}, label)[1]
    file = TextFile(origin, dialect, types, old_ends, size, encoding)
    kinds = [types.get(place) for place in range(len(dialect.names))]
    known = [pa.null() if kind in (None, pa.string(), pa.binary()) else kind for kind in kinds]
    schema = pa.schema(list(zip(dialect.names, known, strict=True)))
    has_rows = dialect.start < len(text)
    group = RowGroup(label, 0, None, file.read, file.line)
    notes = notes_of(dialect, encoding)
    return ColumnarFile(origin, schema, (group,) * has_rows, dialect.decimal, True, notes)


def open_small_text(
    origin: DataFile, small: int = SMALL, options: TextOptions = FOUND_OUT
) -> Table | None:
    """Open a text of up to ``small`` bytes as a whole; return None if it is longer."""
    # A large file is told by its size, so that no more of it is read than has to be looked at.
    if not origin.compression and origin.stamp.size > max(small, LOOKED_AT):
        return None
    with _opened_text(origin) as stream:
        text = stream.peek(small + 1)
    return open_delimited(text, origin.label, options) if len(text) <= small else None


def open_text_stream(
    stream: PeekedStream, size: int = READ_BYTES, options: TextOptions = FOUND_OUT
) -> Table:
    """Open a stream of text that is read once."""
    label = stream.label
    origin = DataFile(label, NO_STAMP, lambda: NO_STAMP, lambda: stream, again=False)
    file = open_text(origin, size, options)
    groups = tuple(g._replace(read=read_once(label, g.read)) for g in file.row_groups)
    names = tuple(file.schema.names)
    return dataset_table(Dataset(names, label, groups, False, "", file.decimal, True, file.notes))
