"""A scan as a table: all of its rows, where they are wanted in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from sgdfit.data.columns import as_floats
from sgdfit.data.numeric import Place
from sgdfit.data.scan import Piece, Scan
from sgdfit.data.table import Table
from sgdfit.errors import DataError

__all__ = ["arrow_floats", "batch_floats", "float_blocks", "read_once", "scanned_table"]

Array = np.ndarray[Any, Any]
Read = Callable[[Sequence[str]], Iterator[Any]]


def scanned_table(scan: Scan, where: str = "") -> Table:
    """Return a table over ``scan``, which reads all of it when its columns are asked for.

    Parameters
    ----------
    scan : Scan
    where : str, optional
        The condition that its rows meet, which is named where there are none.

    Examples
    --------
    >>> import pyarrow as pa
    >>> batch = pa.record_batch({"x": [1, 2], "y": [3, 4]})
    >>> piece = Piece("data.csv", 0, 2, lambda names: iter([batch.select(list(names))]))
    >>> scanned_table(Scan(("x", "y"), "data.csv", (piece,))).load(["y"]).columns["y"]
    array([3., 4.])
    """
    counts: list[int] = []

    def fetch(positions: Sequence[int]) -> list[Array]:
        names = [scan.names[place] for place in positions]
        parts: list[list[Array]] = [[] for _ in names]
        found = [0] * len(scan.pieces)
        for index, columns in float_blocks(scan, names) if names else ():
            found[index] += len(columns[0])
            for part, column in zip(parts, columns, strict=True):
                part.append(column)
        counts[:] = found
        if where and names and not any(found):
            raise DataError(f"no row of {scan.label} meets where={where!r}; widen the condition")
        return [_joined(part) for part in parts]

    def line(row: int) -> str:
        for piece, rows in zip(scan.pieces, counts, strict=False):
            if row < rows:
                words = scan.line(piece, row)
                return words if len(scan.pieces) == 1 else _in_file(piece, row, words)
            row -= rows
        return ""

    return Table(scan.names, scan.label, fetch, line, scan.decimal, scan)


def _joined(part: list[Array]) -> Array:
    if len(part) == 1:
        return part[0]
    return np.concatenate(part) if part else np.empty(0)


def _in_file(piece: Piece, row: int, words: str) -> str:
    line = words.strip(" ()")
    if line.startswith("row"):
        return f" ({line}; {piece.label})"
    return f" (row {piece.first + row + 1}{line and ', ' + line} of {piece.label})"


def float_blocks(scan: Scan, names: Sequence[str]) -> Iterator[tuple[int, tuple[Array, ...]]]:
    """Yield the columns of each batch as floating-point numbers, and the index of their piece.

    Raises
    ------
    DataError
        When a column is not one of numbers; the message names file, row and line.
    """
    for index, piece in enumerate(scan.pieces):
        offset = 0
        for batch in piece.read(names):
            yield index, batch_floats(scan, piece, offset, names, batch)
            offset += batch.num_rows


def batch_floats(
    scan: Scan, piece: Piece, offset: int, names: Sequence[str], batch: Any
) -> tuple[Array, ...]:
    """Convert the columns of a batch that begins at row ``offset`` of its piece.

    Raises
    ------
    DataError
        When a column is not one of numbers; the message names file, row and line.
    """

    def line(row: int) -> str:
        return scan.line(piece, offset + row)

    def place(name: str) -> Place:
        return Place(name, piece.label, line, scan.decimal, piece.first + offset)

    return tuple(as_floats(batch.column(k), place(name)) for k, name in enumerate(names))


def arrow_floats(column: Array) -> Any:
    """Return float64 or float32 as an Arrow array over the same memory.

    `pyarrow.array` would import pandas wherever it is installed, which takes 60 MB.

    Examples
    --------
    >>> arrow_floats(np.array([1.0, np.nan])).to_pylist()
    [1.0, nan]
    """
    import pyarrow as pa

    kind = pa.float32() if column.dtype == np.float32 else pa.float64()
    return pa.Array.from_buffers(kind, len(column), [None, pa.py_buffer(column)])


def read_once(label: str, read: Read) -> Read:
    """Return ``read``, which says on its second call that the data are gone.

    Raises
    ------
    DataError
        On the second call.
    """
    left = [True]

    def reading(names: Sequence[str]) -> Iterator[Any]:
        if not left:
            raise DataError(
                f"{label} can be read once, and has been; save it as a file, or hand it over anew"
            )
        left.clear()
        return read(names)

    return reading
