"""Parquet, Feather and Arrow files -> tables."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from sgdfit.data.dialect import Data
from sgdfit.data.table import Table, clean_names
from sgdfit.errors import DataError

__all__ = ["open_arrow_file", "open_parquet", "reading"]


@contextlib.contextmanager
def reading(label: str, kind: str) -> Iterator[None]:
    """Say in one sentence that a file is damaged."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, EOFError, UnicodeDecodeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(". ")
        raise DataError(
            f"{label} is cut off, damaged or no {kind} file ({reason}); copy or write it again"
        ) from error


def open_parquet(data: Data, label: str) -> Table:
    r"""Open a Parquet file; only the columns that are needed are decoded.

    Raises
    ------
    DataError
        When it is damaged or no Parquet file.

    Examples
    --------
    >>> open_parquet(b"x,y\n1,2\n", "data.parquet")
    Traceback (most recent call last):
    sgdfit.errors.DataError: data.parquet is cut off, damaged or no Parquet file ...
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with reading(label, "Parquet"):
        file = pq.ParquetFile(pa.BufferReader(pa.py_buffer(data)))
        names = file.schema_arrow.names

    def fetch(positions: Sequence[int]) -> list[Any]:
        with reading(label, "Parquet"):
            table = file.read(columns=[names[position] for position in positions])
        return [table.column(names[position]) for position in positions]

    return Table(clean_names(names), label, fetch)


def open_arrow_file(data: Data, label: str) -> Table:
    """Open Feather or Arrow's file and stream formats, in place if not compressed.

    Raises
    ------
    DataError
        When it is damaged or none of these.

    Examples
    --------
    >>> import pyarrow as pa
    >>> sink = pa.BufferOutputStream()
    >>> table = pa.table({"x": [1.0]})
    >>> with pa.ipc.new_file(sink, table.schema) as writer:
    ...     writer.write_table(table)
    >>> open_arrow_file(sink.getvalue().to_pybytes(), "data.arrow").names
    ('x',)
    """
    import pyarrow as pa

    if data[:4] == b"FEA1":
        raise DataError(f"{label} is Feather version 1, which is no more; write it as version 2")
    buffer = pa.py_buffer(data)
    with reading(label, "Feather or Arrow"):
        if data[:6] != b"ARROW1":
            return _whole(_stream(buffer), label)
        names = pa.ipc.open_file(buffer).schema.names

    def fetch(positions: Sequence[int]) -> list[Any]:
        chosen = sorted(positions) or [0]
        with reading(label, "Feather or Arrow"):
            if _in_place(buffer):
                return _columns(pa.ipc.open_file(buffer).read_all(), positions)
            options = pa.ipc.IpcReadOptions(included_fields=chosen)
            table = pa.ipc.open_file(buffer, options=options).read_all()
            return _columns(table, [chosen.index(position) for position in positions])

    return Table(clean_names(names), label, fetch)


def _in_place(buffer: Any) -> bool:
    """Tell whether Arrow reads this file without a copy.

    It does if the file is not compressed and all columns are read; a selection is always copied.
    """
    import pyarrow as pa

    file = pa.ipc.open_file(buffer)
    columns = file.get_batch(0).columns if file.num_record_batches else []
    parts = [part for column in columns for part in column.buffers() if part and part.size]
    first, last = buffer.address, buffer.address + buffer.size
    return all(first <= part.address < last for part in parts)


def _columns(table: Any, positions: Sequence[int]) -> list[Any]:
    """Choose columns of a file, whose lengths may lie if it is damaged."""
    table.validate()
    return [table.column(position) for position in positions]


def _stream(buffer: Any) -> Any:
    import pyarrow as pa

    return pa.ipc.open_stream(buffer).read_all()


def _whole(table: Any, label: str) -> Table:
    names = clean_names(table.column_names)

    def fetch(positions: Sequence[int]) -> list[Any]:
        with reading(label, "Feather or Arrow"):
            return _columns(table, positions)

    return Table(names, label, fetch)
