"""Only the rows that meet a condition, of any table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sgdfit.data.columns import raw_array
from sgdfit.data.conditions.condition import Condition
from sgdfit.data.conditions.masks import mask_of
from sgdfit.data.numeric import Place
from sgdfit.data.scalars import as_bools, bools_of, numbers_of
from sgdfit.data.scan import BATCH_ROWS, Piece, Scan
from sgdfit.data.scanned import scanned_table
from sgdfit.data.table import Table
from sgdfit.errors import DataError

__all__ = ["filtered", "filtered_piece", "located"]

Array = np.ndarray[Any, Any]


def filtered(table: Table, condition: Condition) -> Table:
    """Return a table of the rows of ``table`` that meet ``condition``.

    Raises
    ------
    DataError
        When the condition looks at something that is no column.

    Examples
    --------
    >>> from sgdfit.data.conditions.parsing import read_condition
    >>> from sgdfit.data.readers import open_table
    >>> table = open_table({"x": [1.0, 2.0, 3.0], "site": ["A", "B", "A"]})
    >>> filtered(table, read_condition("site == 'A'")).load(["x"]).columns["x"]
    array([1., 3.])
    """
    condition.check(table.names, table.label)
    if table.scan is not None:
        return _scanned(table.scan, condition)

    def fetch(positions: Sequence[int]) -> list[object]:
        mask = _mask(table, condition)
        raw = table.fetch(positions)
        return [
            _chosen(value, mask, Place(table.names[k], table.label, table.line, table.decimal))
            for k, value in zip(positions, raw, strict=True)
        ]

    def line(row: int) -> str:
        before = int(np.flatnonzero(_mask(table, condition))[row])
        return f" (row {before + 1} of all{_inner(table.line(before))})"

    return replace(table, fetch=fetch, line=line)


def _inner(words: str) -> str:
    bare = words.strip(" ()")
    return f", {bare}" if bare else ""


def _mask(table: Table, condition: Condition) -> Array:
    """Evaluate a condition on the columns of a table in memory, a batch at a time."""
    import pyarrow as pa

    raw = table.fetch([table.names.index(name) for name in condition.names])
    arrays = {
        name: _as_arrow(value, Place(name, table.label, table.line, table.decimal))
        for name, value in zip(condition.names, raw, strict=True)
    }
    rows = max((len(array) for array in arrays.values()), default=0)
    if any(len(array) not in (1, rows) for array in arrays.values()):
        raise DataError(
            f"the columns {', '.join(map(repr, condition.names))} of {table.label}, which where"
            " compares, have different lengths; give all columns the same length"
        )
    whole = pa.table({n: a if len(a) == rows else pa.repeat(a[0], rows) for n, a in arrays.items()})
    parts = [as_bools(mask_of(condition, batch)) for batch in whole.to_batches(BATCH_ROWS)]
    mask = np.concatenate(parts) if parts else np.zeros(0, bool)
    if rows and not mask.any():
        raise DataError(nothing_left(table.label, condition))
    return mask


def nothing_left(label: str, condition: Condition) -> str:
    """Say that no row is left.

    Examples
    --------
    >>> from sgdfit.data.conditions.parsing import read_condition
    >>> nothing_left("data.csv", read_condition("x > 7"))
    "no row of data.csv meets where='x > 7'; widen the condition"
    """
    return f"no row of {label} meets where={condition.text!r}; widen the condition"


def _as_arrow(value: object, place: Place) -> Any:
    import pyarrow as pa

    raw = raw_array(value, place)
    if not isinstance(raw, np.ndarray):
        return raw
    raw = raw.reshape(-1)
    if raw.dtype.kind in "fiu" and raw.itemsize <= 8:
        return numbers_of(raw.astype(raw.dtype.newbyteorder("="), copy=False))
    if raw.dtype.kind == "b":
        return bools_of(raw)
    try:
        return pa.array(raw.tolist() if raw.dtype.kind in "OUST" else raw, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise DataError(
            f"{place} cannot be compared by where; give numbers, text or times"
        ) from error


def _chosen(value: object, mask: Array, place: Place) -> object:
    """Choose the rows of a column; a single number stands for any."""
    raw = raw_array(value, place)
    if isinstance(raw, np.ndarray) and raw.ndim == 0:
        return raw
    if len(raw) != mask.size:
        raise DataError(
            f"{place} has {len(raw)} rows, and what where compares has {mask.size}; give all"
            " columns the same length"
        )
    return raw[mask] if isinstance(raw, np.ndarray) else raw.filter(bools_of(mask))


def _scanned(scan: Scan, condition: Condition) -> Table:
    pieces = {filtered_piece(piece, condition): piece for piece in scan.pieces}
    fingerprint = f"{scan.fingerprint}\n{condition.text}" if scan.fingerprint else ""

    def line(piece: Piece, row: int) -> str:
        return located(pieces[piece], condition, row, scan.line) if scan.again else ""

    rest = scan._replace(pieces=tuple(pieces), fingerprint=fingerprint, line=line)
    return scanned_table(rest, condition.text)


def filtered_piece(piece: Piece, condition: Condition) -> Piece:
    """Return a piece of the rows that meet ``condition``; how many is not known."""

    def read(names: Sequence[str]) -> Iterator[Any]:
        names = list(names)
        extra = [name for name in condition.names if name not in names]
        for batch in piece.read([*names, *extra]):
            mask = mask_of(condition, batch)
            chosen = batch.filter(mask) if mask.false_count else batch
            if chosen.num_rows:
                yield chosen.select(range(len(names)))

    return Piece(piece.label, piece.first, None, read)


def located(piece: Piece, condition: Condition, row: int, line: Callable[[Piece, int], str]) -> str:
    """Say where a row of a filtered piece stands in its file, by looking at ``piece`` again."""
    seen = 0
    for batch in piece.read(condition.names):
        places = np.flatnonzero(as_bools(mask_of(condition, batch)))
        if row < places.size:
            before = seen + int(places[row])
            return f" (row {piece.first + before + 1} of the file{_inner(line(piece, before))})"
        row -= places.size
        seen += batch.num_rows
    return ""
