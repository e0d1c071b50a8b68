"""Bytes that hold an Arrow file -> its columns, in place where that is possible."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sgdfit.data.files.columnar import reading
from sgdfit.data.files.record_batches import FILE

__all__ = ["columns_in_place"]


def columns_in_place(data: Any, label: str) -> Callable[[Sequence[int]], Sequence[Any]] | None:
    """Return what fetches columns of an uncompressed Arrow file without a copy; None for others.

    A selection of columns would be copied, so all are looked at.

    Raises
    ------
    DataError
        When the file is damaged.

    Examples
    --------
    >>> import pyarrow as pa
    >>> sink = pa.BufferOutputStream()
    >>> table = pa.table({"x": [1.0], "y": [2.0]})
    >>> with pa.ipc.new_file(sink, table.schema) as writer:
    ...     writer.write_table(table)
    >>> columns_in_place(sink.getvalue().to_pybytes(), "data.arrow")([1])[0].to_pylist()
    [2.0]
    """
    import pyarrow as pa

    if data[: len(FILE)] != FILE:
        return None
    buffer = pa.py_buffer(data)
    with reading(label, "Feather or Arrow"):
        if not _in_place(buffer):
            return None

    def fetch(positions: Sequence[int]) -> list[Any]:
        with reading(label, "Feather or Arrow"):
            table = pa.ipc.open_file(buffer).read_all()
            # lengths may lie in a damaged file
            table.validate()
            return [table.column(position) for position in positions]

    return fetch


def _in_place(buffer: Any) -> bool:
    """Tell whether Arrow reads this file without a copy: then its columns lie within it."""
    import pyarrow as pa

    file = pa.ipc.open_file(buffer)
    columns = file.get_batch(0).columns if file.num_record_batches else []
    parts = [part for column in columns for part in column.buffers() if part and part.size]
    first, last = buffer.address, buffer.address + buffer.size
    return all(first <= part.address < last for part in parts)
