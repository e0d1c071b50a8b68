"""Arrow IPC files (Feather) and streams, read a run of record batches at a time.

How many rows a batch has stands in front of it, in a FlatBuffers table (Arrow's
``format/File.fbs`` and ``format/Message.fbs``), which pyarrow does not show without reading what
follows.
"""

from __future__ import annotations

import contextlib
import mmap
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from sgdfit.data.files.columnar import Contents, Stretch, batches_of, reading
from sgdfit.data.files.origins import Origin, opened
from sgdfit.data.scan import BATCH_ROWS
from sgdfit.errors import DataError

__all__ = ["FILE", "STREAM", "open_record_batches"]

KIND = "Feather or Arrow"
# The first bytes of a file, and of a message, with which a stream begins.
FILE, STREAM = b"ARROW1", b"\xff\xff\xff\xff"
RECORD_BATCH = 3
# A batch beyond 64 MB is not read whole: it is mapped, and its pages are given back one by one.
MAPPED = 1 << 26


class Block(NamedTuple):
    """One record batch of a file: its rows, its bytes, and whether they are compressed."""

    rows: int
    size: int
    compressed: bool


def open_record_batches(origin: Origin) -> Contents:
    """Read what an Arrow file or stream says of itself.

    Raises
    ------
    DataError
        When it is damaged, none of these, or of Feather's first version.
    """
    import pyarrow as pa

    with opened(origin) as source, reading(origin.label, KIND):
        head = source.read(8)
        if head[:4] == b"FEA1":
            raise DataError(
                f"{origin.label} is Feather version 1, which is no more; write it as version 2"
            )
        source.seek(0)
        if not head.startswith(FILE):
            schema = pa.ipc.open_stream(source).schema
            return Contents(
                origin, schema, (Stretch(0, _rows_of_stream(origin), _streamed(origin, schema)),)
            )
        file = pa.ipc.open_file(source)
        schema, count = file.schema, file.num_record_batches
        blocks = _blocks(source, count)
    return Contents(origin, schema, tuple(_stretches(origin, schema, blocks, count)))


def _stretches(
    origin: Origin, schema: Any, blocks: list[Block] | None, count: int
) -> Iterator[Stretch]:
    """Join batches to runs of up to `BATCH_ROWS` rows."""
    if blocks is None:
        yield Stretch(0, None, _reader(origin, schema, range(count), False))
        return
    first, begin, rows = 0, 0, 0
    for index, block in enumerate(blocks):
        if index > begin and rows + block.rows > BATCH_ROWS:
            yield _stretch(origin, schema, first, rows, range(begin, index), blocks)
            first, begin, rows = first + rows, index, 0
        rows += block.rows
    if rows:
        yield _stretch(origin, schema, first, rows, range(begin, count), blocks)


def _stretch(
    origin: Origin, schema: Any, first: int, rows: int, run: range, blocks: list[Block]
) -> Stretch:
    large = any(blocks[k].size > MAPPED and not blocks[k].compressed for k in run)
    return Stretch(first, rows, _reader(origin, schema, run, large and bool(origin.local)))


def _reader(
    origin: Origin, schema: Any, run: range, mapped: bool
) -> Callable[[Sequence[str]], Iterator[Any]]:
    import pyarrow as pa

    def read(names: Sequence[str]) -> Iterator[Any]:
        # A selection of fields would be copied; what is mapped and not looked at costs nothing.
        options = None if mapped else _options(schema, names)
        with opened(origin) as source, _pages(origin, mapped) as (mapping, forget):
            with reading(origin.label, KIND):
                file = pa.ipc.open_file(mapping or source, options=options)
            for index in run:
                with reading(f"record batch {index + 1} of {origin.label}", KIND):
                    batch = file.get_batch(index)
                    batch.validate()
                for part in batches_of(batch, names):
                    yield part
                    forget()

    return read


@contextlib.contextmanager
def _pages(origin: Origin, mapped: bool) -> Iterator[tuple[Any, Callable[[], None]]]:
    """Map a file, and say how to give back the pages that were read: they count as memory."""
    import pyarrow as pa

    if not mapped:
        yield None, lambda: None
        return
    with open(origin.local, "rb") as file:
        pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def forget() -> None:
        if hasattr(mmap, "MADV_DONTNEED"):
            pages.madvise(mmap.MADV_DONTNEED)

    yield pa.BufferReader(pa.py_buffer(pages)), forget


def _streamed(origin: Origin, schema: Any) -> Callable[[Sequence[str]], Iterator[Any]]:
    import pyarrow as pa

    def read(names: Sequence[str]) -> Iterator[Any]:
        with opened(origin) as source:
            with reading(origin.label, KIND):
                stream = pa.ipc.open_stream(source, options=_options(schema, names))
            while True:
                with reading(origin.label, KIND):
                    batch = next(stream, None)
                    if batch is None:
                        return
                    batch.validate()
                yield from batches_of(batch, names)

    return read


def _options(schema: Any, names: Sequence[str]) -> Any:
    import pyarrow as pa

    fields = sorted(schema.get_field_index(name) for name in names) or [0]
    return pa.ipc.IpcReadOptions(included_fields=fields, use_threads=False)


def _rows_of_stream(origin: Origin) -> int | None:
    """Count rows by stepping from message to message, where steps cost nothing."""
    if not (origin.local or origin.stamp.time == 0):
        return None
    with opened(origin) as source:
        try:
            return sum(_steps(source))
        except (struct.error, IndexError, OSError, ValueError):
            return None


def _steps(source: Any) -> Iterator[int]:
    position, end = 0, source.size()
    while position < end:
        source.seek(position)
        head = source.read(8)
        if head[:4] != STREAM:
            raise ValueError(position)
        (length,) = struct.unpack("<i", head[4:])
        if length == 0:
            return
        if not 0 < length < end:
            raise ValueError(length)
        content = source.read(length)
        found = _message(content)
        if found is not None:
            yield found.rows
        position += 8 + length + _body_size(content)


def _body_size(message: bytes) -> int:
    size = _Fields.root(message).number(3, "<q")
    if size < 0:
        raise ValueError(size)
    return size


def _blocks(source: Any, count: int) -> list[Block] | None:
    """Read the rows of each batch of an IPC file, or None where that is not understood."""
    try:
        size = source.size()
        source.seek(size - 10)
        (length,) = struct.unpack("<i", source.read(4))
        source.seek(size - 10 - length)
        footer = _Fields.root(source.read(length))
        found = []
        for offset, header, _ in footer.blocks(3):
            if not 0 < header < size:
                return None
            source.seek(offset)
            text = source.read(header)
            message = _message(text[8:] if text[:4] == STREAM else text[4:])
            if message is None:
                return None
            found.append(message)
    except (struct.error, IndexError, OSError, ValueError):
        return None
    return found if len(found) == count else None


def _message(content: bytes) -> Block | None:
    """Return the record batch that a message announces; None for others."""
    message = _Fields.root(content)
    if message.number(1, "<B") != RECORD_BATCH:
        return None
    batch = message.inner(2)
    rows = batch.number(0, "<q")
    if rows < 0:
        raise ValueError(rows)
    return Block(rows, _body_size(content), batch.place(3) is not None)


class _Fields(NamedTuple):
    """A table in FlatBuffers: where it stands, and where its fields are listed."""

    content: bytes
    position: int
    listing: int

    @classmethod
    def at(cls, content: bytes, position: int) -> _Fields:
        (offset,) = struct.unpack_from("<i", content, position)
        return cls(content, position, position - offset)

    @classmethod
    def root(cls, content: bytes) -> _Fields:
        return cls.at(content, struct.unpack_from("<I", content)[0])

    def place(self, field: int) -> int | None:
        """Return where a field stands; None if it has its default."""
        (length,) = struct.unpack_from("<H", self.content, self.listing)
        entry = 4 + 2 * field
        if entry >= length:
            return None
        (offset,) = struct.unpack_from("<H", self.content, self.listing + entry)
        return self.position + offset if offset else None

    def number(self, field: int, form: str) -> int:
        place = self.place(field)
        return 0 if place is None else int(struct.unpack_from(form, self.content, place)[0])

    def inner(self, field: int) -> _Fields:
        place = self.place(field)
        if place is None:
            raise ValueError(field)
        return self.at(self.content, place + struct.unpack_from("<I", self.content, place)[0])

    def blocks(self, field: int) -> list[tuple[int, int, int]]:
        """Return offset, length of the header and length of the body of each message."""
        place = self.place(field)
        if place is None:
            return []
        start = place + struct.unpack_from("<I", self.content, place)[0]
        (count,) = struct.unpack_from("<I", self.content, start)
        return [
            struct.unpack_from("<qi4xq", self.content, start + 4 + 24 * k) for k in range(count)
        ]
