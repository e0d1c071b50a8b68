"""The formats of files: their endings and first bytes, and how those that hold columns are read.

Parquet is read by row group, decoded in batches of 8 MB, as ORC is; Arrow by runs of record
batches.
"""

from __future__ import annotations

import contextlib
import re
import struct
import weakref
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from functools import cache, lru_cache, partial
from itertools import accumulate, chain, count, islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from sgdfit.data.files import COMPRESSIONS, DataFile, opened
from sgdfit.data.table import BATCH_ROWS, ColumnStatistics, RowGroup, batch_rows
from sgdfit.data.where import as_extremes
from sgdfit.errors import DataError, reason_of

# Columns of a row group that take more than this are read in steps of `BUFFER` bytes each, without
# which they would be held whole, as they are written; others at once, in 0.6 of the time.
AT_ONCE, BUFFER = 1 << 24, 1 << 20
# What stands before a page takes 30 bytes, with statistics of text up to four times 4 KB. Old
# writers did not count all of it.
PAGE_HEADERS, SLACK = (1 << 9, 1 << 16), 1 << 9
# Behind a network each step has to be waited for.
REMOTE_BUFFER = 1 << 23
# Of how many files is kept what they say of themselves: there may be thousands, and with each of
# thousands of row groups all of it would be read again.
METADATA_KEPT = 4
# Of a file that pyarrow scans: it would hold sixteen batches of four files, decoded.
BOUNDED: dict[str, Any] = {"batch_readahead": 1, "fragment_readahead": 1, "use_threads": False}
# Row groups of which a Parquet file has so many are joined where they are small.
MANY_ROW_GROUPS = 1_000
# The first bytes of an Arrow file, and of a message, with which a stream begins.
FILE, STREAM = b"ARROW1", b"\xff\xff\xff\xff"
FLAT = re.compile(
    r"u?int\d+|halffloat|float|double|bool|(date|time|duration|decimal|dictionary|fixed_size_bin).*"
    r"|(large_)?(string|binary)"
)
# Of messages what they are, and how packed; of a file's footer where these are told.
SCHEMA, DICTIONARY, RECORD_BATCH, CODECS = 1, 2, 3, {0: "lz4", 1: "zstd"}
DICTIONARY_BLOCKS, BATCH_BLOCKS = 2, 3


class ColumnarFile(NamedTuple):
    """A file that is open."""

    origin: DataFile
    schema: Any  # a `pyarrow.Schema`
    row_groups: tuple[RowGroup, ...]
    decimal: str = ""  # the decimal sign of a text file
    slow: bool = False  # whether what has been read had better be kept
    notes: tuple[str, ...] = ()  # what was left out or guessed, in words


@contextlib.contextmanager
def reading(label: str, kind: str, where: str = "") -> Iterator[None]:
    """Say in one sentence that a file, or a part of it, is damaged."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, EOFError, UnicodeDecodeError, struct.error) as error:
        reason = reason_of(error)
        found = f"is cut off, damaged or no {kind} file ({reason})"
        found = f"is damaged in {where}: {reason}" if where else found
        raise DataError(f"{label} {found}; copy or write it again") from error


def batches_of(batch: Any, names: Sequence[str]) -> Iterator[Any]:
    """Cut a record batch into pieces of at most `BATCH_ROWS` rows, and choose its columns."""
    batch = batch.select(list(names))
    for start in range(0, batch.num_rows, BATCH_ROWS):
        yield batch.slice(start, BATCH_ROWS)


def open_parquet(origin: DataFile, only: Container[int] | None = None) -> ColumnarFile:
    """Read what a Parquet file says of itself; its row groups, or some, are read one by one."""
    with reading(origin.label, "Parquet"):
        metadata, schema, *_ = _metadata(origin)
        counts = [metadata.row_group(k).num_rows for k in range(metadata.num_row_groups)]
        if min(counts, default=0) < 0:
            raise EOFError("it tells of a row group with fewer than no rows")
    # What is kept of each part of a file would take more than its rows where these are few.
    most = BATCH_ROWS if len(counts) > MANY_ROW_GROUPS else 0
    runs = _runs(counts, most, only)
    groups = [_row_group(origin, run, first, rows) for first, rows, run in runs]
    return ColumnarFile(origin, schema, tuple(groups))


def _parquet(source: Any, metadata: Any = None, buffer_size: int = 0) -> Any:
    import pyarrow.parquet as pq

    return pq.ParquetFile(
        source,
        metadata=metadata,
        pre_buffer=False,
        buffer_size=buffer_size,
        page_checksum_verification=True,
    )


def _check_columns(metadata: Any, size: int) -> None:
    """Refuse what a damaged file of so many bytes says of its columns.

    Where Python asks for it, pyarrow 26 ends the process; where columns are looked up to be read,
    it raises an error. So they are, and nothing is read.
    """
    import pyarrow.parquet as pq

    def read(_: int) -> bytes:
        raise LookupError

    source = _python_file(lambda *_: size, lambda: size, read)
    file = pq.ParquetFile(source, metadata=metadata, pre_buffer=True)
    with contextlib.suppress(LookupError):
        next(file.iter_batches(), None)


def _checking_pages(source: Any, columns: Sequence[Any]) -> Any:
    """Return a file that refuses a page which claims more bytes than are left of its column.

    Arrow would clear as much memory, up to 2 GB, before it finds that the page is shorter. Pages
    are looked at as they pass by: behind a network each further look would have to be waited for.
    """
    left_at = {
        min(filter(None, (c.dictionary_page_offset, c.data_page_offset)), default=0):
        c.total_compressed_size for c in columns
    }  # fmt: skip

    def read(size: int) -> Any:
        first, content = source.tell(), source.read_buffer(size)
        end = first + content.size

        def look(page: int, length: int) -> bytes:
            near: bytes = content[page - first :][:length].to_pybytes()
            return near if len(near) == length else source.read_at(length, page)

        for page in [page for page in left_at if first <= page < end]:
            left = left_at.pop(page)
            while page < end and left > 0:
                header, claimed = _page_sizes(partial(look, page))
                page, left = page + header + claimed, left - header - claimed
                if claimed < 0 or left < -SLACK:
                    raise EOFError(f"a page of {claimed:,} bytes does not fit into its column")
            if left > 0:  # another column may begin there
                left_at[page] = left
        return content

    return _python_file(source.seek, source.tell, read)


def _python_file(seek: Any, tell: Any, read: Any) -> Any:
    import pyarrow as pa

    yes = lambda: True  # noqa: E731
    made = SimpleNamespace(readable=yes, close=yes, closed=False, seek=seek, tell=tell, read=read)
    return pa.PythonFile(made, "r")


def _page_sizes(look: Callable[[int], bytes]) -> tuple[int, int]:
    """Return the bytes of what stands before a page, whose first ones ``look`` returns, and its."""
    for length in PAGE_HEADERS:
        with contextlib.suppress(IndexError, RecursionError):
            fields, header = _thrift_struct(look(length), 0)
            return header, fields.get(3, 0)
    raise EOFError("a page does not say how long it is")


def _thrift_struct(data: bytes, at: int) -> tuple[dict[int, int], int]:
    """Return the integers of a struct in Thrift's compact protocol, by field, and where it ends."""
    found, field = dict[int, int](), 0

    def unsigned() -> int:
        nonlocal at
        begin = at
        while data[at] > 127:
            at += 1
        at += 1
        return sum((byte & 127) << 7 * k for k, byte in enumerate(data[begin:at]))

    while kind := data[at]:
        at += 1
        field = field + (kind >> 4) if kind >> 4 else unsigned() >> 1
        kind &= 15
        if 4 <= kind <= 6:  # of 16, 32 or 64 bits: the sign is the last one
            bits = unsigned()
            found[field] = bits >> 1 ^ -(bits & 1)
        elif kind == 8:  # bytes
            at = unsigned() + at
        elif kind == 12:
            _, at = _thrift_struct(data, at)
        elif kind > 2:  # truth values take no byte; nothing else stands there
            raise IndexError
    return found, at + 1


class _Metadata(NamedTuple):
    """What a Parquet file says of itself."""

    whole: Any  # a `pyarrow.parquet.FileMetaData`
    schema: Any
    leaves: dict[str, int]  # where columns stand that do not nest
    check: Callable[[], object]  # to be called before ``whole`` is asked of columns


# Of what is read from memory or a copy, as long as that is there.
_METADATA_OF_COPIES = weakref.WeakKeyDictionary[Callable[[], Any], _Metadata]()


def _metadata(origin: DataFile) -> _Metadata:
    if origin.stamp.time:
        return _kept_metadata(origin)
    if origin.open not in _METADATA_OF_COPIES:
        _METADATA_OF_COPIES[origin.open] = _kept_metadata.__wrapped__(origin)
    return _METADATA_OF_COPIES[origin.open]


@lru_cache(maxsize=METADATA_KEPT)
def _kept_metadata(origin: DataFile) -> _Metadata:
    label = origin.label
    with opened(origin) as source:
        file = _parquet(source)
        metadata, size = file.metadata, source.size()
    leaves = {metadata.schema.column(k).path: k for k in range(metadata.num_columns)}

    @cache
    def check() -> None:
        with reading(label, "Parquet"):
            _check_columns(metadata, size)

    return _Metadata(metadata, file.schema_arrow, leaves, check)


def _row_group(origin: DataFile, run: range, first: int, rows: int) -> RowGroup:
    """Return row groups of a Parquet file that are next to one another as one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    several = f"s {run[0] + 1} to {run[-1] + 1}" if len(run) > 1 else f" {run[0] + 1}"
    place = f"row group{several} (rows {first + 1:,} to {first + rows:,})"
    # Columns whose pages were looked at: that the file is still the same is asked at every pass.
    checked = set[tuple[int, int]]()

    def read(names: Sequence[str]) -> Iterator[Any]:
        with opened(origin) as source, reading(origin.label, "Parquet", place):
            buffer, large = 0, origin.stamp.size > AT_ONCE
            metadata, _, leaves, check = _metadata(origin)
            if large:
                check()
            some = [(k, leaves[n]) for k in run for n in names if n in leaves and large]
            columns = [metadata.row_group(k).column(leaf) for k, leaf in some]
            if sum(column.total_compressed_size for column in columns) > AT_ONCE * len(run):
                buffer = BUFFER if origin.local else REMOTE_BUFFER
                if not checked.issuperset(some):
                    source = _checking_pages(source, columns)
            batches = _parquet(source, metadata, buffer).iter_batches(
                batch_size=batch_rows(len(names)),
                row_groups=list(run),
                columns=list(names),
                use_threads=False,
            )
            for batch in batches:
                yield batch.select(list(names))
            checked.update(some)

    def statistics(name: str) -> ColumnStatistics | None:
        known = [_statistics(origin, group, name) for group in run]
        if any(each is None for each in known):
            return None
        extremes, ends = [each.extremes for each in known if each and not each.empty], None
        if extremes and all(each is not None for each in extremes):
            values = pa.concat_arrays(extremes)
            order = pc.sort_indices(values)
            ends = pa.concat_arrays([values.take(order[:1]), values.take(order[-1:])])
        nulls, empty = any(e.nulls for e in known if e), all(e.empty for e in known if e)
        return ColumnStatistics(ends, nulls, empty)

    return RowGroup(origin.label, first, rows, read, statistics=statistics)


def _statistics(origin: DataFile, group: int, name: str) -> ColumnStatistics | None:
    import pyarrow as pa

    metadata, schema, leaves, check = _metadata(origin)
    check()
    if name not in leaves or schema.get_field_index(name) < 0:
        return None
    column = metadata.row_group(group).column(leaves[name])
    if not column.is_stats_set or column.statistics is None:
        return None
    found, kind = column.statistics, schema.field(name).type
    count = found.null_count if found.has_null_count else None
    extremes = None
    with contextlib.suppress(ValueError, TypeError, OverflowError, NotImplementedError):
        if found.has_min_max:
            extremes = as_extremes(found.min, found.max, kind)
    # NaN leaves no trace in the extremes, so a column of floats may always hold one.
    nulls = count != 0 or pa.types.is_floating(kind)
    return ColumnStatistics(extremes, nulls, empty=count == column.num_values > 0)


def open_orc(origin: DataFile) -> ColumnarFile:
    """Read what an ORC file says of itself; all of its stripes are one row group."""
    import pyarrow.dataset as ds
    import pyarrow.orc as orc

    with opened(origin) as source, reading(origin.label, "ORC"):
        file = orc.ORCFile(source)
        schema, rows = file.schema, file.nrows

    def read(names: Sequence[str]) -> Iterator[Any]:
        # A stripe as a whole may take a gigabyte.
        with opened(origin) as source, reading(origin.label, "ORC"):
            fragment = ds.OrcFileFormat().make_fragment(source)
            size = batch_rows(len(names))
            for batch in fragment.to_batches(columns=list(names), batch_size=size, **BOUNDED):
                yield from batches_of(batch, names)

    return ColumnarFile(origin, schema, (RowGroup(origin.label, 0, rows, read),))


def open_arrow(origin: DataFile) -> ColumnarFile:
    """Read what an Arrow file or stream says of itself; runs of record batches are row groups."""
    import pyarrow as pa

    with opened(origin) as source, reading(origin.label, "Feather or Arrow"):
        head = source.read(8)
        if head[:4] == b"FEA1":
            raise DataError(
                f"{origin.label} is Feather version 1, which is no more; write it as version 2"
            )
        source.seek(0)
        if not head.startswith(FILE):
            schema = pa.ipc.open_stream(source).schema
            group = RowGroup(origin.label, 0, None, _record_batches(origin, schema, None))
            return ColumnarFile(origin, schema, (group,))
        file = pa.ipc.open_file(source)
        schema, places = file.schema, list(_blocks(source))
        counts = [next((f.rows for f in _messages(source, at)), -1) for at in places]
        if len(counts) != file.num_record_batches or min(counts, default=0) < 0:
            raise EOFError("it does not say where its record batches are")
    groups = [
        RowGroup(origin.label, first, rows, _record_batches(origin, schema, run, places))
        for first, rows, run in _runs(counts)
    ]
    return ColumnarFile(origin, schema, tuple(groups))


def _runs(
    counts: Sequence[int], most: int = BATCH_ROWS, only: Container[int] | None = None
) -> Iterator[tuple[int, int, range]]:
    """Join batches to runs of up to ``most`` rows: the first row, how many, and which."""
    first, rows, begin = 0, 0, 0
    for index, more in enumerate([*counts, BATCH_ROWS + 1]):
        left_out = only is not None and index not in only
        if rows and (left_out or rows + more > most):
            yield first, rows, range(begin, index)
            first, rows, begin = first + rows, 0, index
        if left_out:
            first, begin = first + more, index + 1
        else:
            rows += more


def _record_batches(
    origin: DataFile, schema: Any, run: range | None, places: Sequence[int] = ()
) -> Callable[[Sequence[str]], Iterator[Any]]:
    """Return what reads some record batches of a file, which are at ``places``, or of a stream."""
    import pyarrow as pa

    coded = any("dictionary" in str(kind) for kind in schema.types)

    def read(names: Sequence[str]) -> Iterator[Any]:
        fields = sorted(schema.get_field_index(name) for name in names) or [0]
        options = pa.ipc.IpcReadOptions(included_fields=fields, use_threads=False)
        kinds = [schema.types[k] for k in fields] if names else [pa.null()]
        kinds += [kind.value_type for kind in kinds if pa.types.is_dictionary(kind)]
        by_pieces = all(FLAT.fullmatch(str(kind)) for kind in kinds)
        some = None if run is None else [places[number] for number in run]
        with opened(origin) as source:
            if coded and by_pieces and (some is None or any(_is_large(source, at) for at in some)):
                with reading(origin.label, "Feather or Arrow"):
                    yield from _coded_batches(source, schema, some, names)
                return
            with reading(origin.label, "Feather or Arrow"):
                open_it = pa.ipc.open_stream if run is None else pa.ipc.open_file
                file = open_it(source, options=options)
            for number in count() if run is None else run:
                with reading(origin.label, "Feather or Arrow", f"record batch {number + 1}"):
                    at = source.tell() if run is None else places[number]
                    if by_pieces and (found := _is_large(source, at)):
                        yield from _pieces(source, found, schema, names, {})
                        source.seek(found.end)
                        continue
                    source.seek(at)
                    batch = next(file, None) if run is None else file.get_batch(number)
                    if batch is None:
                        return
                    # Text with wrong offsets would be read beyond its bytes.
                    batch.validate(full=True)
                yield from batches_of(batch, names)

    return read


def _is_large(source: Any, at: int) -> _Message | None:
    """Return what is said of the record batch at byte ``at``, if it is not read at once."""
    found = next(_messages(source, at), None)
    return found if found and found.rows >= 0 and found.end - at > AT_ONCE else None


def _coded_batches(
    source: Any, schema: Any, places: Sequence[int] | None, names: Sequence[str]
) -> Iterator[Any]:
    """Read record batches piece by piece, and of dictionaries those that are needed, whole."""
    import pyarrow as pa

    messages, kinds = _messages(source, 0), dict(zip(schema.names, schema.types, strict=True))
    if places is not None:
        blocks = [len(FILE) + 2, *_blocks(source, DICTIONARY_BLOCKS), *places]
        messages = chain.from_iterable(islice(_messages(source, at), 1) for at in blocks)
    coded = [name for name in names if pa.types.is_dictionary(kinds[name])]
    known, ids = {n: pa.array([], kinds[n].value_type) for n in coded}, dict[str, int]()
    for found in messages:
        header, table = found.header, found.table
        if found.kind == SCHEMA:
            fields = _field(header, table, 1)
            for name in coded:
                at = fields + 4 + 4 * schema.get_field_index(name)
                encoding = _field(header, at + struct.unpack_from("<I", header, at)[0], 4)
                ids[name] = _field(header, encoding, 0, "<q")
        for name in coded if found.kind == DICTIONARY else ():
            if ids.get(name) == _field(header, table, 0, "<q"):
                inner = found._replace(kind=RECORD_BATCH, table=_field(header, table, 1))
                only = pa.schema([(name, kinds[name].value_type)])
                before = known[name] if _field(header, table, 2, "<B") else known[name][:0]
                values = [batch[0] for batch in _pieces(source, inner, only, [name], {})]
                known[name] = pa.concat_arrays([before, *values])
        if found.kind == RECORD_BATCH:
            yield from _pieces(source, found, schema, names, known)


def _blocks(source: Any, number: int = BATCH_BLOCKS) -> Iterator[int]:
    """Yield where the record batches of an Arrow file begin, as its footer says."""
    end = source.size() - len(FILE) - 4
    (size,) = struct.unpack("<i", source.read_at(4, end))
    footer = source.read_at(max(0, min(size, end)), end - size)
    where = _field(footer, struct.unpack_from("<I", footer)[0], number)
    for k in range(struct.unpack_from("<I", footer, where)[0] if where else 0):
        yield struct.unpack_from("<q", footer, where + 4 + 24 * k)[0]


class _Message(NamedTuple):
    """A schema, a dictionary or a record batch within an Arrow file or stream."""

    kind: int
    body: int  # where its buffers begin
    end: int
    header: bytes
    table: int  # within the header

    @property
    def rows(self) -> int:  # -1 of other messages than record batches
        return _field(self.header, self.table, 0, "<q") if self.kind == RECORD_BATCH else -1


def _messages(source: Any, at: int) -> Iterator[_Message]:
    """Yield what is said of the messages from byte ``at`` to the end of a stream."""
    while True:
        prefix = source.read_at(8, at)
        skipped = 8 if prefix.startswith(STREAM) else 4
        size = int.from_bytes(prefix[skipped - 4 : skipped], "little")
        if not size:
            return
        header = source.read_at(min(size, REMOTE_BUFFER), at + skipped)
        (root,) = struct.unpack_from("<I", header)
        body = at + skipped + size
        at = body + _field(header, root, 3, "<q")
        if not body <= at <= source.size():
            raise EOFError("it does not end where it says")
        yield _Message(_field(header, root, 1, "<B"), body, at, header, _field(header, root, 2))


def _field(data: bytes, table: int, number: int, kind: str = "") -> int:
    """Return a number in a FlatBuffers table, or where a table or a vector begins; 0 for nothing.

    See https://flatbuffers.dev/internals, and for the numbers of fields Message.fbs of
    https://arrow.apache.org/docs/format/Columnar.html.
    """
    types = table - struct.unpack_from("<i", data, table)[0]
    known = 4 + 2 * number < struct.unpack_from("<H", data, types)[0]
    offset = struct.unpack_from("<H", data, types + 4 + 2 * number)[0] if known else 0
    found: int = struct.unpack_from(kind or "<I", data, table + offset)[0] if offset else 0
    return found if kind or not offset else table + offset + found


def _buffers_of(kind: Any, views: Iterator[int]) -> int:
    """Return how many buffers a column and those within it take, of ``views`` with their texts."""
    kind = getattr(kind, "storage_type", kind)
    # Of these none says which rows are there.
    own: int = kind.num_buffers - str(kind).startswith(("null", "sparse", "dense", "run_end"))
    own += next(views) if str(kind).endswith("_view") else 0
    return own + sum(_buffers_of(kind.field(k).type, views) for k in range(kind.num_fields))


def _pieces(
    source: Any, found: _Message, schema: Any, names: Sequence[str], known: Mapping[str, Any]
) -> Iterator[Any]:
    """Read the columns ``names`` of a record batch, of which the whole is never held."""
    import pyarrow as pa

    header, table = found.header, found.table

    def numbers(number: int, each: int = 1) -> tuple[int, ...]:
        where = _field(header, table, number)
        count = struct.unpack_from("<I", header, where)[0] if where else 0
        return struct.unpack_from(f"<{each * count}q", header, where + 4)

    places, packing = numbers(2, 2), _field(header, table, 3)
    spans = list(zip(places[::2], places[1::2], strict=True))  # where in the body, how long
    codec = CODECS.get(_field(header, packing, 0, "<b")) if packing else None
    views = iter(numbers(4))
    ends = [0, *accumulate(_buffers_of(kind, views) for kind in schema.types)]
    if ends[-1] != len(spans):
        raise EOFError("its columns are not where it says")

    def stream(span: tuple[int, int]) -> Any:
        begin, length, packed = found.body + span[0], span[1], codec if span[1] else None
        if packed:  # 8 bytes tell how long it is unpacked, or that it is not packed
            packed = None if source.read_at(8, begin) == 2 * STREAM else packed
            begin, length = begin + 8, length - 8
        plain = pa.BufferedInputStream(source.get_stream(begin, length), BUFFER)
        return pa.CompressedInputStream(plain, packed) if packed else plain

    columns = []
    for name in names:
        k = schema.get_field_index(name)
        valid, *others = map(stream, spans[ends[k] : ends[k + 1]])
        valid, kind = valid if spans[ends[k]][1] else None, schema.types[k]
        stored = kind.index_type if name in known else kind
        column = _column_pieces(stored, found.rows, valid, *others)
        if name in known:
            column = map(partial(pa.DictionaryArray.from_arrays, dictionary=known[name]), column)
        columns.append(column)
    for arrays in zip(*columns, strict=True):
        yield pa.RecordBatch.from_arrays([*arrays], list(names))


def _column_pieces(
    kind: Any, left: int, valid: Any, values: Any, texts: Any = None
) -> Iterator[Any]:
    """Yield a column of so many rows, of streams of its buffers: which rows are there, and what."""
    import pyarrow as pa

    def read(stream: Any, bits: int) -> bytes:
        missing, found = -(-bits // 8), list[bytes]()
        while missing > 0 and (part := stream.read(min(missing, REMOTE_BUFFER))):
            found.append(part)
            missing -= len(part)
        if missing:
            raise EOFError("it is cut off")
        return b"".join(found)

    offset = np.dtype(np.int64 if "large" in str(kind) else np.int32)  # where each text begins
    bits = kind.bit_width if texts is None else 8 * offset.itemsize
    last = np.frombuffer(b"" if texts is None else read(values, bits), offset)
    read(texts, 8 * int(last.sum()))
    while left > 0:
        rows = min(BATCH_ROWS, left)
        buffers = [valid and read(valid, rows), read(values, rows * bits)]
        if texts is not None:
            places = np.concatenate([last, np.frombuffer(buffers[1], offset)])
            buffers[1:] = [(places - last).data, read(texts, 8 * int(places[-1] - last[0]))]
            last = places[-1:]
        held = [None if buffer is None else pa.py_buffer(buffer) for buffer in buffers]
        array = pa.Array.from_buffers(kind, rows, held)
        array.validate(full=True)  # text with wrong offsets would be read beyond its bytes
        yield array
        left -= rows


class Format(NamedTuple):
    """A format, the endings and first bytes of its files, and what opens one; None for text."""

    name: str
    endings: tuple[str, ...]
    magic: tuple[bytes, ...] = ()
    open: Callable[[DataFile], ColumnarFile] | None = None


TEXT = Format("delimited text", (".csv", ".tsv", ".tab", ".txt", ".dat"))
WORKBOOK = Format("Excel workbook", (".xlsx", ".xlsm"))
FORMATS = (
    TEXT,
    Format("Parquet", (".parquet", ".pq"), (b"PAR1",), open_parquet),
    Format(
        "Feather, Arrow",
        (".feather", ".arrow", ".arrows", ".ipc"),
        (FILE, b"FEA1", STREAM),
        open_arrow,
    ),
    Format("ORC", (".orc",), (b"ORC",), open_orc),
    WORKBOOK,
)
HINTS = {
    **dict.fromkeys((".xls", ".ods"), "save the sheet as CSV or .xlsx"),
    **dict.fromkeys((".json", ".jsonl", ".ndjson"), "read it with pandas and pass the frame"),
    **dict.fromkeys((".h5", ".hdf5"), "read it with pandas and pass the frame"),
    **dict.fromkeys((".npz", ".npy", ".mat"), "load its arrays and pass a dict of them"),
    **dict.fromkeys((".zip", ".xz", ".7z"), "unpack it first"),
}


def format_table() -> str:
    """Return the supported formats and endings, one format a line.

    >>> print(format_table())
      delimited text   .csv .tsv .tab .txt .dat, also followed by .gz .bz2 .zst
      Parquet          .parquet .pq
      Feather, Arrow   .feather .arrow .arrows .ipc
      ORC              .orc
      Excel workbook   .xlsx .xlsm
    """
    more = {TEXT: f", also followed by {' '.join(COMPRESSIONS)}"}
    return "\n".join(f"  {k.name:<16} {' '.join(k.endings)}{more.get(k, '')}" for k in FORMATS)


def format_at(head: bytes) -> Format | None:
    """Return the format of a file that begins with ``head``; None for text."""
    return next((kind for kind in FORMATS if head.startswith(kind.magic or (b"\0" * 9,))), None)


def format_of(name: str) -> tuple[str | None, Format]:
    """Return the compression and the format that the ending of ``name`` stands for."""
    path = Path(name.lower())
    compression = COMPRESSIONS.get(path.suffix)
    ending = Path(path.stem).suffix if compression else path.suffix
    kind = next((kind for kind in FORMATS if ending in kind.endings), None)
    if kind is not None and (compression is None or kind is TEXT):
        return compression, kind
    if kind is not None:
        raise DataError(
            f"{name} is compressed as a whole, which {kind.name} is within; unpack it first"
        )
    hint = HINTS.get(ending, "give the file the ending of its format")
    said = f"the ending {ending!r}, which is not supported" if ending else "no ending"
    raise DataError(f"{name} has {said}; {hint}; supported are\n{format_table()}")
