"""Files of columns as one table, and what tells data from others."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sgdfit.data.files import DataFile, unchanged
from sgdfit.data.floats import kind_of
from sgdfit.data.formats import ColumnarFile, reading
from sgdfit.data.rows import dataset_table, read_ahead
from sgdfit.data.table import ColumnStatistics, Dataset, RowGroup, Table, clean_names
from sgdfit.data.where import as_extremes
from sgdfit.errors import DataError, counted

# Files whose beginnings are read at once; most of the time goes into waiting for them.
OPENING_THREADS = 8
# Kinds of which a column may hold several, since all become numbers.
NUMBERS = {"numbers", "truth values"}

Opener = Callable[[DataFile], ColumnarFile]


def fingerprint_of(columns: Mapping[str, np.ndarray[Any, Any]]) -> str:
    """Return a SHA-256 of names, shapes, types and all bytes of columns: about a second a gigabyte.

    >>> one, other = (fingerprint_of({"x": np.array([1.0, x])}) for x in (2.0, 3.0))
    >>> len(one), one == other
    (64, False)
    """
    digest = hashlib.sha256()
    for name, column in columns.items():
        array = np.ascontiguousarray(column)
        digest.update(repr((name, array.shape, array.dtype.str)).encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


class _Layout(NamedTuple):
    """The columns of a file; thousands of files mostly share one."""

    label: str
    names: tuple[str, ...]  # of the file and of its folders, as `clean_names` writes them
    raw: dict[str, str]  # what those of the file are called in it
    types: dict[str, Any]


def open_dataset(
    files: Sequence[tuple[DataFile, Opener]], label: str, options: object = None
) -> Table:
    """Open files of columns, each by what opens its format; `DataError` where one is damaged.

    With other ``options`` for reading these are other data.
    """
    layouts: list[_Layout] = []
    check = functools.cache(functools.partial(_check_column, layouts))
    row_groups: list[RowGroup] = []
    before: list[Any] = []
    digest = hashlib.sha256(b"" if options is None else repr(options).encode())
    decimal, slow = "", False
    notes: dict[str, list[str]] = {}
    opening = [functools.partial(_open, origin, open_file) for origin, open_file in files]
    for opened in read_ahead(opening, min(OPENING_THREADS, len(files)), True):
        origin, slow = opened.origin, slow or opened.slow
        decimal = decimal if decimal == "," else opened.decimal
        for note in opened.notes:
            notes.setdefault(note, []).append(origin.label)
        constants = dict(origin.constants)
        if before != (columns := [opened.schema, *((n, v.type) for n, v in constants.items())]):
            with reading(origin.label, "columnar"):
                layouts.append(_layout(origin.label, opened.schema, constants))
            before = columns
            digest.update(str(opened.schema.remove_metadata()).encode())
        row_groups += [
            _row_group(origin, group, layouts[-1], check)
            for group in opened.row_groups
            if group.rows != 0
        ]
        base = origin.label.replace("\\", "/").rpartition("/")[2]
        values = [(name, value.as_py()) for name, value in constants.items()]
        digest.update(repr((base, tuple(origin.stamp), values)).encode())
    # The columns of the first file, then those that others have besides.
    first, *others = layouts
    more = dict.fromkeys(n for other in others for n in other.names if n not in first.names)
    fingerprint = digest.hexdigest()
    said = tuple(
        n if len(files) == 1 else f"{n} in {counted(len(w), 'file')}" for n, w in notes.items()
    )
    times = frozenset(n for lay in layouts for n, t in lay.types.items() if kind_of(t) == "times")
    found = Dataset((*first.names, *more), label, tuple(row_groups), True, fingerprint, decimal)
    return dataset_table(found._replace(slow=slow, notes=said, times=times))


def _open(origin: DataFile, open_file: Opener) -> Iterator[ColumnarFile]:
    yield open_file(origin)


def _layout(label: str, schema: Any, constants: Mapping[str, Any]) -> _Layout:
    if not schema.names:
        raise DataError(f"{label} has no columns; give at least one")
    clean = clean_names(schema.names)
    types = dict(zip(clean, schema.types, strict=True))
    types |= {name: value.type for name, value in constants.items()}
    raw = {c: r for c, r in zip(clean, schema.names, strict=True) if c not in constants}
    names = (*(c for c in clean if c not in constants), *constants)
    return _Layout(label, names, raw, types)


def _check_column(layouts: Sequence[_Layout], name: str) -> None:
    reference: _Layout | None = None
    for layout in layouts:
        if layout.names.count(name) > 1:
            raise DataError(
                f"{layout.label} has several columns named {name!r}; rename all but one of them"
            )
        if name not in layout.types:
            owner = next((other for other in layouts if name in other.types), layouts[0])
            raise DataError(
                f"{layout.label} has no column {name!r}, which {owner.label} has; give files with"
                " the same columns, or leave the column out of the formula"
            )
        kind = kind_of(layout.types[name])
        if kind == "nothing":
            continue
        reference = reference or layout
        before = reference.types[name]
        if kind != kind_of(before) and not {kind, kind_of(before)} <= NUMBERS:
            raise DataError(
                f"column {name!r} holds {kind_of(before)} ({before}) in {reference.label} and"
                f" {kind} ({layout.types[name]}) in {layout.label}; write it with one type in all"
                " files, or leave the column out of the formula"
            )


def constant_statistics(origin: DataFile) -> dict[str, ColumnStatistics]:
    """Return what the folders of a file tell of its columns."""
    known = {}
    for name, value in origin.constants:
        raw = value.as_py()
        known[name] = ColumnStatistics(as_extremes(raw, raw, value.type), raw is None, raw is None)
    return known


def _row_group(
    origin: DataFile, group: RowGroup, layout: _Layout, check: Callable[[str], None]
) -> RowGroup:
    """Return a row group with the columns of its folders, which refuses what has changed."""
    import pyarrow as pa

    constants, known = dict(origin.constants), constant_statistics(origin)

    def read(names: Sequence[str]) -> Iterator[Any]:
        for name in names:
            check(name)
        wanted = list(dict.fromkeys(layout.raw[name] for name in names if name in layout.raw))
        rows = 0
        with unchanged([origin]):
            for batch in group.read(wanted):
                rows += batch.num_rows
                arrays = [
                    batch.column(layout.raw[name])
                    if name in layout.raw
                    else pa.repeat(constants[name], batch.num_rows)
                    for name in names
                ]
                yield pa.RecordBatch.from_arrays(arrays, list(names)) if names else batch.select([])
            if group.rows is not None and rows != group.rows:
                raise DataError(
                    f"{origin.label} is damaged: {rows:,} rows follow row {group.first:,} where it"
                    f" announces {group.rows:,}; copy or write it again"
                )

    def statistics(name: str) -> ColumnStatistics | None:
        return group.statistics(layout.raw[name]) if name in layout.raw else known.get(name)

    return group._replace(read=read, statistics=statistics)
