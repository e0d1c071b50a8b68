"""Data that are read once: Arrow streams, readers and Datasets, and iterators of batches."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sgdfit.data.floats import Place, as_arrow, kind_of, shown
from sgdfit.data.formats import BUFFER, batches_of, reading
from sgdfit.data.rows import dataset_table, read_once
from sgdfit.data.table import (
    BATCH_ROWS,
    Dataset,
    RowGroup,
    Table,
    arrow_table,
    batch_rows,
    clean_names,
)
from sgdfit.errors import DataError, listed, reason_of

# pyarrow would hold sixteen batches of four files, decoded.
BOUNDED = {"batch_readahead": 1, "fragment_readahead": 1, "use_threads": False}


def open_reader(data: Any, label: str) -> Table:
    """Open a `pyarrow.RecordBatchReader`, or any object with the Arrow C stream interface."""
    import pyarrow as pa

    try:
        reader = pa.RecordBatchReader.from_stream(data)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise DataError(no_table(data, label)) from error
    return _reader_table(reader, label)


def no_table(data: object, label: str) -> str:
    """Say in one sentence that data are one column, or none."""
    return (
        f"{label} of type {type(data).__name__!r} is no table of named columns; write"
        " {'x': x, 'y': y}"
    )


def open_arrow_stream(stream: Any, label: str) -> Table:
    """Open Arrow's stream format, read from an object with ``read(size)`` batch by batch."""
    import pyarrow as pa

    with reading(label, "Arrow"):
        reader = pa.ipc.open_stream(pa.PythonFile(stream, "r"))
    return _reader_table(reader, label)


def _reader_table(reader: Any, label: str) -> Table:
    import pyarrow as pa

    def parts(places: Sequence[int]) -> Iterator[Any]:
        rows = 0
        while True:
            try:
                batch = next(reader, None)
                if batch is None:
                    return
                batch.validate(full=True)
            except (pa.ArrowException, OSError) as error:
                # What a stream stumbles over may come from far away.
                raise DataError(
                    f"{label} broke off after {rows:,} rows ({reason_of(error)}); see to what they"
                    " come from, and hand them over anew"
                ) from error
            rows += batch.num_rows
            yield pa.Table.from_batches([batch]).select(list(places))

    return _table(reader.schema.names, label, parts)


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


def open_arrow_dataset(data: Any, label: str) -> Table:
    """Open a `pyarrow.dataset.Dataset`: pyarrow reads it, with little read ahead."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    names, clean = data.schema.names, clean_names(data.schema.names)
    options: dict[str, Any] = dict(BOUNDED)
    if isinstance(getattr(data, "format", None), ds.ParquetFileFormat):
        # or it would hold row groups, which takes gigabytes
        options["fragment_scan_options"] = ds.ParquetFragmentScanOptions(
            pre_buffer=False, use_buffered_stream=True, buffer_size=BUFFER
        )

    def read(wanted: Sequence[str]) -> Iterator[Any]:
        columns = [names[clean.index(name)] for name in wanted]
        try:
            scanner = data.scanner(columns=columns, batch_size=batch_rows(len(wanted)), **options)
            for batch in scanner.to_batches():
                yield from batches_of(batch.rename_columns(list(wanted)), wanted)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise DataError(
                f"{label} cannot be read as the Dataset says ({reason_of(error)}); correct it,"
                " or name the files instead of the Dataset"
            ) from error

    return dataset_table(Dataset(clean, label, (RowGroup(label, 0, None, read),), slow=True))


def open_batches(items: Iterator[Any], label: str, open_item: Callable[[Any], Table]) -> Table:
    """Open an iterator of tables: Arrow batches, frames, or dicts of arrays.

    The first item is taken at once, to learn the names of the columns; what the iterator raises is
    passed on.
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
        rows, kinds = 0, dict.fromkeys(places, "nothing")
        batches = itertools.chain([first], items)
        for number in itertools.count(1):
            try:
                item = next(batches, missing)
            except Exception as error:
                error.add_note(f"(raised by the iterator that yields {label}, after {rows:,} rows)")
                raise
            if item is missing:
                return
            table = _opened(item, number, label, open_item)
            if table.names != names:
                raise DataError(
                    f"batch {number} of {label} has the columns {listed(table.names)} where the"
                    f" first has {listed(names)}; yield batches with the same columns"
                )
            columns = {
                names[k]: as_arrow(raw, Place(names[k], label, table.line, first=rows))
                for k, raw in zip(places, table.fetch(places), strict=True)
            }
            found = arrow_table(columns, f"batch {number} of {label}")
            for place, kind in zip(places, map(kind_of, found.schema.types), strict=True):
                if "nothing" not in (kind, kinds[place]) and kind != kinds[place]:
                    raise DataError(
                        f"column {names[place]!r} of {label} holds {kind} in batch {number}, where"
                        f" batches before it hold {kinds[place]}; give all of them the same type"
                    )
                kinds[place] = kind if kind != "nothing" else kinds[place]
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
