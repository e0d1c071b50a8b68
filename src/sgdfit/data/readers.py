"""Anything that holds columns -> a `Table`, which knows its names and loads what is needed.

==========================================  ==============================================
data                                        read as
==========================================  ==============================================
path, ``-`` for standard input              see `data.formats`: CSV, Parquet, …
folder, pattern, address, list of paths     files of one format as one table, in natural order
file object                                 the same, by its first bytes; read once
NumPy structured or record array            its fields
pandas DataFrame, Series                    its columns; the index is not one
Polars DataFrame, LazyFrame, Series         its columns; only those needed are collected
Arrow table, batch                          its columns
pyarrow Dataset, Fragment                   see `data.datasets`
Arrow reader, Scanner, any Arrow C stream   its columns; read once, batch by batch
iterator of batches, frames or dicts        the columns of each; read once
mapping of names to arrays                  its items; a single number stands for every row
==========================================  ==============================================

Delimited text has a header unless its first line is all numbers; its columns are then named
``x`` and ``y`` if there are two, else ``c1``, ``c2``, … . Lines that start with ``#`` and blank
lines are skipped; a header that starts with ``#`` is a comment too. Separator (comma, semicolon,
tab, ``|`` or whitespace) and decimal sign (a comma only if it does not separate) are found from
the first lines. Integers too long for int64 are read as floats. What each
type of column becomes stands in `sgdfit.data.floats`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sgdfit.data.condition import Condition, read_condition
from sgdfit.data.datasets import open_arrow_dataset
from sgdfit.data.floats import shown
from sgdfit.data.one_pass import lazy_scan, open_batches, open_reader
from sgdfit.data.paths import open_files, open_stream
from sgdfit.data.table import Table, clean_names
from sgdfit.data.where import filtered
from sgdfit.errors import DataError

__all__ = ["Table", "open_table"]

LABEL = "the data"


def open_table(data: object, where: str | None = None) -> Table:
    """Open ``data`` and learn its column names.

    Parameters
    ----------
    data : anything of the table above
        Folders called ``name=value`` within a folder or a pattern give their files a column.
    where : str, optional
        Which rows count, such as ``"x > 0 and site == 'A'"``; see
        `sgdfit.data.condition.read_condition`. Files and row groups that can hold none of
        them are not read.

    Raises
    ------
    DataError
        When it is nothing that can be read; the message lists what can.
    FormulaError, UsageError
        When ``where`` cannot be read.

    Examples
    --------
    >>> table = open_table({"x": [1, 2], "y": [3.0, 4.0]})
    >>> table.names
    ('x', 'y')
    >>> table.load(["x"]).columns["x"]
    array([1., 2.])
    >>> open_table({"x": [1, 2], "y": [3.0, 4.0]}, where="y > 3").load(["x"]).rows
    1
    """
    if where is None:
        return _opened_where(data, None)
    condition = read_condition(where)
    before = f"({data.where}) and " if isinstance(data, Table) and data.where else ""
    return replace(_opened_where(data, condition), where=f"{before}{condition.text}")


def _opened_where(data: object, condition: Condition | None) -> Table:
    if _is_files(data):
        return open_files(data, condition)  # type: ignore[arg-type]
    if _is_dataset(data):
        return _open_dataset(data, condition)
    table = data if isinstance(data, Table) else _opened(data)
    return table if condition is None else filtered(table, condition)


def _opened(data: object) -> Table:
    for _, recognised, opener in KINDS:
        if recognised(data):
            return opener(data)
    raise DataError(
        f"data of type {type(data).__name__!r} ({shown(data)}) cannot be read{_advice(data)};"
        f" give one of these:\n" + "\n".join(f"  {words}" for words, _, _ in KINDS)
    )


def _advice(data: object) -> str:
    if isinstance(data, list | tuple) and data and _is_table(data[0]):
        return " as a whole: pass iter(…) of it, to read its parts one after another"
    if isinstance(data, np.ndarray | list | tuple):
        return ", for its columns have no names: write {'x': x, 'y': y}"
    if _is_arrow_made(data):
        return ": name its file, or pass a pyarrow.dataset.Dataset"
    return ""


def _is_table(item: object) -> bool:
    plain = item is None or isinstance(item, str | bytes | int | float | list | tuple)
    return not plain and any(recognised(item) for _, recognised, _ in KINDS)


def _texts(names: Sequence[object], advice: str) -> tuple[str, ...]:
    for name in names:
        if not isinstance(name, str):
            raise DataError(f"{LABEL} has a column named {shown(name)}, which is no text; {advice}")
    return clean_names(str(name) for name in names)


def _table(names: tuple[str, ...], fetch: Callable[[Sequence[int]], Sequence[object]]) -> Table:
    if not names:
        raise DataError(f"{LABEL} has no columns; give at least one, as in {{'x': x, 'y': y}}")
    return Table(names, LABEL, fetch)


def _open_mapping(data: Any) -> Table:
    keys = list(data)
    names = _texts(keys, "name columns by text, as in {'x': x, 'y': y}")
    return _table(names, lambda positions: [data[keys[place]] for place in positions])


def _open_structured(data: Any) -> Table:
    fields = data.dtype.names
    return _table(
        clean_names(fields), lambda positions: [data[fields[place]] for place in positions]
    )


def _open_pandas(data: Any) -> Table:
    frame = data if hasattr(data, "columns") else data.to_frame(data.name or "c1")
    names = _texts(list(frame.columns), "set frame.columns = ['x', 'y', …] first")
    return _table(names, lambda positions: [frame.iloc[:, place] for place in positions])


def _open_polars(data: Any) -> Table:
    frame = data.to_frame() if hasattr(data, "to_frame") else data
    names = frame.collect_schema().names()

    def fetch(positions: Sequence[int]) -> list[object]:
        chosen = frame.select([names[place] for place in positions])
        chosen = chosen.collect() if hasattr(chosen, "collect") else chosen
        return list(chosen.get_columns())

    table = _table(clean_names(names), fetch)
    if not hasattr(frame, "collect_batches"):
        return table
    return replace(table, scan=lazy_scan(frame, names, LABEL))


def _open_arrow(data: Any) -> Table:
    import pyarrow as pa

    try:
        table = pa.table(data)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise DataError(
            f"{LABEL} of type {type(data).__name__!r} is no table of named columns; write"
            " {'x': x, 'y': y}"
        ) from error
    names = clean_names(table.column_names)
    return _table(names, lambda positions: [table.column(place) for place in positions])


def _open_dataset(data: Any, condition: Condition | None = None) -> Table:
    import pyarrow.dataset as ds

    if not isinstance(data, ds.InMemoryDataset):
        return open_arrow_dataset(data, LABEL, condition)
    table = _open_arrow(data.to_table())
    return table if condition is None else filtered(table, condition)


def _belongs(package: str, *names: str) -> Callable[[object], bool]:
    """Tell an object of a package that need not be installed, nor imported to look."""

    def recognised(data: object) -> bool:
        module = sys.modules.get(package)
        kinds = tuple(getattr(module, name) for name in names) if module else ()
        return isinstance(data, kinds)

    return recognised


def _is_files(data: object) -> bool:
    several = data if isinstance(data, list | tuple) and data else [data]
    return all(isinstance(path, str | os.PathLike) for path in several)


def _is_structured(data: object) -> bool:
    return isinstance(data, np.ndarray) and data.dtype.names is not None


def _is_file(data: object) -> bool:
    """Tell what hands out text or bytes; readers of pandas' and pyarrow's hand out tables."""
    if not hasattr(data, "read") or hasattr(data, "get_chunk"):
        return False
    return not _is_arrow_made(data) or hasattr(data, "readable")


def _is_arrow_made(data: object) -> bool:
    """Tell objects of pyarrow's, such as its ParquetFile, whose methods have other meanings."""
    return type(data).__module__.partition(".")[0] == "pyarrow"


def _is_arrow(data: object) -> bool:
    """Tell what is in memory: anything of Arrow's but its readers."""
    if hasattr(data, "read_next_batch"):
        return False
    return (_is_arrow_made(data) and _is_stream(data)) or hasattr(data, "__arrow_c_array__")


def _is_stream(data: object) -> bool:
    return hasattr(data, "__arrow_c_stream__")


_is_dataset = _belongs("pyarrow.dataset", "Dataset", "Fragment")

KINDS: tuple[tuple[str, Callable[[object], bool], Callable[[Any], Table]], ...] = (
    (
        "path of a file or folder (CSV, Parquet, Feather, Arrow, ORC), pattern such as"
        " data/*.parquet, address such as s3://bucket/folder, a list of them, or - for standard"
        " input",
        _is_files,
        open_files,
    ),
    ("open file", _is_file, lambda data: open_stream(data, LABEL)),
    ("NumPy structured array", _is_structured, _open_structured),
    ("pandas DataFrame or Series", _belongs("pandas", "DataFrame", "Series"), _open_pandas),
    (
        "Polars DataFrame, LazyFrame or Series",
        _belongs("polars", "DataFrame", "LazyFrame", "Series"),
        _open_polars,
    ),
    ("Arrow Dataset or Fragment", _is_dataset, _open_dataset),
    (
        "Arrow Scanner",
        _belongs("pyarrow.dataset", "Scanner"),
        lambda data: open_reader(data.to_reader(), LABEL),
    ),
    ("Arrow table or batch", _is_arrow, _open_arrow),
    ("Arrow reader, or any Arrow C stream", _is_stream, lambda data: open_reader(data, LABEL)),
    (
        "mapping of names to arrays, such as {'x': x, 'y': y}",
        lambda data: isinstance(data, Mapping),
        _open_mapping,
    ),
    (
        "iterator of Arrow batches, frames or such mappings",
        lambda data: isinstance(data, Iterator),
        lambda data: open_batches(data, LABEL, open_table),
    ),
)
