"""Data that can be read once: Arrow streams, readers, and iterators of batches."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sgdfit.data.floats import Place, as_arrow, kind_of, shown
from sgdfit.data.formats import reading
from sgdfit.data.rows import dataset_table, read_once
from sgdfit.data.table import BATCH_ROWS, Dataset, RowGroup, Table, arrow_table, clean_names
from sgdfit.data.text_files import PeekedStream
from sgdfit.errors import DataError, listed, reason_of


def open_reader(data: Any, label: str) -> Table:
    """Open a `pyarrow.RecordBatchReader`, or any object with the Arrow C stream interface.

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

    def batches() -> Iterator[Any]:
        rows = 0
        while True:
            try:
                batch = reader.read_next_batch()
            except StopIteration:
                return
            except (pa.ArrowException, OSError) as error:
                # What a stream stumbles over may come from far away.
                raise DataError(
                    f"{label} broke off after {rows:,} rows ({reason_of(error)}); see to what they"
                    " come from, and hand them over anew"
                ) from error
            rows += batch.num_rows
            yield batch

    return _table(reader.schema.names, label, lambda places: _select(batches(), places))


def open_arrow_stream(stream: Any, label: str) -> Table:
    """Open Arrow's stream format, read from an object with ``read(size)`` batch by batch.

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
                batch.validate(full=True)
            yield batch

    return _table(reader.schema.names, label, lambda places: _select(batches(), places))


def _select(batches: Iterator[Any], places: Sequence[int]) -> Iterator[Any]:
    import pyarrow as pa

    for batch in batches:
        yield pa.Table.from_batches([batch]).select(list(places))


def _table(
    names: Sequence[str], label: str, parts: Callable[[Sequence[int]], Iterator[Any]]
) -> Table:
    """Return a table over Arrow tables of the columns at some places, which come once."""
    if not names:
        raise DataError(f"{label} has no columns; give at least one, as in {{'x': x, 'y': y}}")
    clean = clean_names(names)

    def read(wanted: Sequence[str]) -> Iterator[Any]:
        for part in parts([clean.index(name) for name in wanted]):
            yield from part.rename_columns(list(wanted)).to_batches(max_chunksize=BATCH_ROWS)

    group = RowGroup(label, 0, None, read_once(label, read))
    return dataset_table(Dataset(clean, label, (group,), again=False))


def open_batches(items: Iterator[Any], label: str, open_item: Callable[[Any], Table]) -> Table:
    """Open an iterator of tables: Arrow batches, frames, or dicts of arrays.

    The first item is taken at once, to learn the names of the columns; what the iterator raises is
    passed on.

    Examples
    --------
    >>> import numpy as np
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

    def parts(places: Sequence[int]) -> Iterator[Any]:
        rows, kinds, number = 0, dict.fromkeys(places, "nothing"), 0
        batches = itertools.chain([first], items)
        while True:
            try:
                item = next(batches, missing)
            except Exception as error:
                error.add_note(f"(raised by the iterator that yields {label}, after {rows:,} rows)")
                raise
            if item is missing:
                return
            number += 1
            table = _opened(item, number, label, open_item)
            if table.names != names:
                raise DataError(
                    f"batch {number} of {label} has the columns {listed(table.names)} where the"
                    f" first has {listed(names)}; yield batches with the same columns"
                )
            raw = zip(places, table.fetch(places), strict=True)
            columns = {
                names[k]: as_arrow(v, Place(names[k], label, table.line, first=rows))
                for k, v in raw
            }
            found = arrow_table(columns, f"batch {number} of {label}")
            for place, kind in zip(places, map(kind_of, found.schema.types), strict=True):
                if kind != "nothing" and kinds[place] not in ("nothing", kind):
                    raise DataError(
                        f"column {names[place]!r} of {label} holds {kind} in batch {number}, where"
                        f" batches before it hold {kinds[place]}; give all of them the same type"
                    )
                kinds[place] = kind if kinds[place] == "nothing" else kinds[place]
            rows += found.num_rows
            yield found

    return _table(names, label, parts)


def _opened(item: Any, number: int, label: str, open_item: Callable[[Any], Table]) -> Table:
    named = isinstance(item, str | bytes | os.PathLike) or hasattr(item, "read")
    if named or (isinstance(item, Iterator) and not hasattr(item, "__arrow_c_stream__")):
        raise DataError(
            f"batch {number} of {label} is {shown(item)}, which is no table; yield Arrow batches,"
            " frames, or dicts of arrays"
        )
    return open_item(item)


def lazy_frame(frame: Any, names: Sequence[str], label: str) -> Dataset:
    """Return a Polars LazyFrame as a dataset; each pass runs the query anew, batch by batch.

    Examples
    --------
    >>> import polars
    >>> frame = polars.LazyFrame({"x": [1, 2, 3]}).filter(polars.col("x") > 1)
    >>> dataset = lazy_frame(frame, ["x"], "the data")
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
