"""Data that can be read once: Arrow streams, readers, and iterators of batches."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from sgdfit.data.floats import Place, as_arrow, kind_of, numbers_of, shown
from sgdfit.data.formats import reading
from sgdfit.data.rows import read_once, scanned_table
from sgdfit.data.table import BATCH_ROWS, Dataset, RowGroup, Table, clean_names
from sgdfit.data.text.text_files import PeekedStream
from sgdfit.errors import DataError, listed, reason_of

__all__ = ["lazy_scan", "open_arrow_stream", "open_batches", "open_reader"]


def open_reader(data: Any, label: str) -> Table:
    """Open a `pyarrow.RecordBatchReader`, or any object with the Arrow C stream interface.

    Raises
    ------
    DataError
        When it holds no named columns.

    Examples
    --------
    >>> import pyarrow as pa
    >>> reader = pa.table({"x": [1, 2]}).to_reader()
    >>> open_reader(reader, "the data").dataset.again
    False
    """
    import pyarrow as pa

    try:
        reader = pa.RecordBatchReader.from_stream(data)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise DataError(
            f"{label} of type {type(data).__name__!r} is no table of named columns; write"
            " {'x': x, 'y': y}"
        ) from error
    return _table(reader.schema.names, label, lambda: _numbered(_read(reader, label)))


def _read(reader: Any, label: str) -> Iterator[Any]:
    """Yield the batches of a stream; what it stumbles over may come from far away."""
    import pyarrow as pa

    rows = 0
    while True:
        try:
            batch = reader.read_next_batch()
        except StopIteration:
            return
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"{label} broke off after {rows:,} rows ({reason_of(error)}); see to what they come"
                " from, and hand them over anew"
            ) from error
        rows += batch.num_rows
        yield batch


def open_arrow_stream(stream: Any, label: str) -> Table:
    """Open Arrow's stream format, read from an object with ``read(size)`` batch by batch.

    Raises
    ------
    DataError
        When it is damaged, at once or when it is read.

    Examples
    --------
    >>> import io
    >>> open_arrow_stream(io.BytesIO(b"x,y"), "standard input")
    Traceback (most recent call last):
    sgdfit.errors.DataError: standard input is cut off, damaged or no Arrow file ...
    """
    import pyarrow as pa

    with reading(label, "Arrow"):
        reader = pa.ipc.open_stream(pa.PythonFile(PeekedStream(stream, label), "r"))

    def batches() -> Iterator[Any]:
        while True:
            with reading(label, "Arrow"):
                batch = next(reader, None)
                if batch is None:
                    return
                batch.validate()
            yield batch

    return _table(reader.schema.names, label, lambda: _numbered(batches()))


def _numbered(batches: Iterator[Any]) -> Iterator[Callable[[Sequence[int]], Any]]:
    for batch in batches:
        yield functools.partial(_chosen, batch)


def _chosen(batch: Any, places: Sequence[int]) -> Any:
    import pyarrow as pa

    return pa.Table.from_batches([batch]).select(list(places))


def _table(
    names: Sequence[str], label: str, parts: Callable[[], Iterator[Callable[[Sequence[int]], Any]]]
) -> Table:
    """Return a table of one piece; each part returns an Arrow table of the columns asked for."""
    if not names:
        raise DataError(f"{label} has no columns; give at least one, as in {{'x': x, 'y': y}}")
    clean = clean_names(names)

    def read(wanted: Sequence[str]) -> Iterator[Any]:
        places = [clean.index(name) for name in wanted]
        for part in parts():
            found = part(places).rename_columns(list(wanted))
            yield from found.to_batches(max_chunksize=BATCH_ROWS)

    piece = RowGroup(label, 0, None, read_once(label, read))
    return scanned_table(Dataset(clean, label, (piece,), again=False))


def open_batches(items: Iterator[Any], label: str, open_item: Callable[[Any], Table]) -> Table:
    """Open an iterator of tables: Arrow batches, frames, or dicts of arrays.

    Parameters
    ----------
    items : iterator
        Its first item is taken at once, to learn the names of the columns. What it raises is
        passed on.
    label : str
    open_item : callable
        Opens one item.

    Raises
    ------
    DataError
        When there is no item, or one is no table or has other columns than the first.

    Examples
    --------
    >>> from sgdfit.data.readers import open_table
    >>> batches = ({"x": np.arange(2.0) + k} for k in range(2))
    >>> open_batches(batches, "the data", open_table).load(["x"]).columns["x"]
    array([0., 1., 1., 2.])
    """
    missing = object()
    first = next(items, missing)
    if first is missing:
        raise DataError(
            f"{label} end before the first batch, so they have no columns; give an iterator that"
            " yields at least one"
        )
    names = _opened(first, 1, label, open_item).names

    def parts() -> Iterator[Callable[[Sequence[int]], Any]]:
        seen = _Seen(names, label)
        for number, item in enumerate(itertools.chain([first], _noted(items, label, seen)), 1):
            table = _opened(item, number, label, open_item)
            yield functools.partial(seen.columns, table, number)

    return _table(names, label, parts)


def lazy_scan(frame: Any, names: Sequence[str], label: str) -> Dataset:
    """Return a Polars LazyFrame as a dataset; each pass runs the query anew, batch by batch.

    Examples
    --------
    >>> import polars
    >>> frame = polars.LazyFrame({"x": [1, 2, 3]}).filter(polars.col("x") > 1)
    >>> dataset = lazy_scan(frame, ["x"], "the data")
    >>> sum(batch.num_rows for batch in dataset.row_groups[0].read(["x"]))
    2
    """
    clean = clean_names(names)

    def read(wanted: Sequence[str]) -> Iterator[Any]:
        chosen = frame.select([names[clean.index(name)] for name in wanted])
        for part in chosen.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True):
            found = part.to_arrow().rename_columns(list(wanted))
            yield from found.to_batches(max_chunksize=BATCH_ROWS)

    return Dataset(clean, label, (RowGroup(label, 0, None, read),), slow=True)


def _noted(items: Iterator[Any], label: str, seen: _Seen) -> Iterator[Any]:
    try:
        yield from items
    except Exception as error:
        error.add_note(f"(raised by the iterator that yields {label}, after {seen.rows:,} rows)")
        raise


def _opened(item: Any, number: int, label: str, open_item: Callable[[Any], Table]) -> Table:
    named = isinstance(item, str | bytes | os.PathLike) or hasattr(item, "read")
    if named or (isinstance(item, Iterator) and not hasattr(item, "__arrow_c_stream__")):
        raise DataError(
            f"batch {number} of {label} is {shown(item)}, which is no table; yield Arrow batches,"
            " frames, or dicts of arrays"
        )
    return open_item(item)


class _Seen:
    """What the batches so far hold: their names, how many rows, and which kinds of values."""

    def __init__(self, names: tuple[str, ...], label: str) -> None:
        self.names, self.label = names, label
        self.rows = 0
        self.kinds: dict[int, str] = {}

    def columns(self, table: Table, number: int, places: Sequence[int]) -> Any:
        """Return columns of a batch as an Arrow table."""
        import pyarrow as pa

        if table.names != self.names:
            raise DataError(
                f"batch {number} of {self.label} has the columns {listed(table.names)} where the"
                f" first has {listed(self.names)}; yield batches with the same columns"
            )
        raw = [
            as_arrow(value, Place(self.names[place], self.label, table.line, first=self.rows))
            for place, value in zip(places, table.fetch(places), strict=True)
        ]
        for place, column in zip(places, raw, strict=True):
            self._compare(place, column, number)
        columns = self._level(raw, number)
        self.rows += len(columns[0]) if columns else 0
        return pa.table(columns, [str(place) for place in places])

    def _compare(self, place: int, column: Any, number: int) -> None:
        import pyarrow as pa

        kind = kind_of(pa.scalar(column).type if np.isscalar(column) else column.type)
        before = self.kinds.setdefault(place, kind)
        if "nothing" in (before, kind):
            self.kinds[place] = before if kind == "nothing" else kind
        elif kind != before:
            raise DataError(
                f"column {self.names[place]!r} of {self.label} holds {kind} in batch {number},"
                f" where batches before it hold {before}; give all of them the same type"
            )

    def _level(self, columns: Sequence[Any], number: int) -> list[Any]:
        lengths = {len(column) for column in columns if not np.isscalar(column)} or {1}
        if len(lengths) > 1:
            raise DataError(
                f"the columns of batch {number} of {self.label} have"
                f" {' and '.join(f'{n:,}' for n in sorted(lengths))} rows; give all of them the"
                " same length"
            )
        (rows,) = lengths
        return [numbers_of(np.full(rows, c, np.float64)) if np.isscalar(c) else c for c in columns]
