"""Anything that holds columns -> a `Table`: arrays, frames, paths, folders, addresses, streams."""

from __future__ import annotations

import io
import itertools
import os
import stat
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sgdfit.data.datasets import open_arrow_dataset, open_dataset
from sgdfit.data.delimited import open_delimited
from sgdfit.data.files import (
    DataFile,
    Selection,
    dangling,
    in_memory,
    is_many,
    opened,
    select,
    unpacking,
    unreadable,
)
from sgdfit.data.floats import shown
from sgdfit.data.formats import MAGIC, STREAM, TEXT, Format, format_of, format_table, reading
from sgdfit.data.single_use import lazy_frame, open_arrow_stream, open_batches, open_reader
from sgdfit.data.table import Table, clean_names
from sgdfit.data.text_files import SMALL, open_small_text, open_text, open_text_stream, peeked
from sgdfit.data.where import Condition, filtered, read_condition
from sgdfit.errors import DataError, did_you_mean

LABEL = "the data"
NAMES_SHOWN, NAMES_LOOKED_AT = 3, 2_000


def open_table(data: object, where: str | None = None) -> Table:
    """Open ``data`` and learn its column names.

    Parameters
    ----------
    data : anything that `KINDS` lists
        Folders called ``name=value`` within a folder or a pattern give their files a column.
    where : str, optional
        Which rows count, such as ``"x > 0 and site == 'A'"``; see
        `sgdfit.data.where.read_condition`. Files and row groups that can hold none of
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
    condition = None if where is None else read_condition(where)
    for kind in KINDS:
        if kind.recognises(data):
            return kind.open(data) if condition is None else _where(kind, data, condition)
    raise DataError(
        f"data of type {type(data).__name__!r} ({shown(data)}) cannot be read{_advice(data)};"
        f" give one of these:\n" + "\n".join(f"  {kind.words}" for kind in KINDS if kind.words)
    )


def _where(kind: Kind, data: Any, condition: Condition) -> Table:
    """Open the rows that meet a condition: files look before they read."""
    if kind.open in (open_files, _open_dataset):
        table = kind.open(data, condition)
    else:
        table = filtered(kind.open(data), condition)
    before = f"({data.where}) and " if isinstance(data, Table) and data.where else ""
    return replace(table, where=f"{before}{condition.text}")


def open_files(
    data: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    condition: Condition | None = None,
) -> Table:
    """Open a path, a pattern, a folder, an address, or a list of them; ``-`` is standard input."""
    if isinstance(data, str | os.PathLike) and not is_many(text := os.fspath(data)):
        stream: Any = sys.stdin if text == "-" else _pipe(text)
        if stream is not None:
            table = open_stream(stream, "standard input" if text == "-" else text)
            return table if condition is None else filtered(table, condition)
    return open_selection(select(data), condition)


def open_selection(selection: Selection, condition: Condition | None = None) -> Table:
    """Open files of one format as one table; what else a folder holds does not count."""
    chosen = _formats(selection)
    first, kind = chosen[0]
    for origin, other in chosen:
        if other is not kind:
            pattern = f"{selection.label}/*{os.path.splitext(first.label)[1]}"
            advice = "" if selection.exact else f", by a pattern such as {pattern!r}"
            raise DataError(
                f"{selection.label!r} holds both {kind.name} ({first.label}) and {other.name}"
                f" ({origin.label}); give files of one format{advice}"
            )
        if not origin.stamp.size:
            advice = "" if len(chosen) == 1 else ", or leave it out"
            raise DataError(f"{origin.label} is empty (0 bytes); give it rows{advice}")
    origins = [origin for origin, _ in chosen]
    if kind.open is None:
        table = open_small_text(first) if len(origins) == 1 and not first.constants else None
        if table is not None:
            return table if condition is None else filtered(table, condition)
        return open_dataset([(o, open_text) for o in origins], selection.label, condition)
    origins = [_unpacked(origin) if origin.compression else origin for origin in origins]
    return open_dataset([(o, kind.open) for o in origins], selection.label, condition)


def _formats(selection: Selection) -> list[tuple[DataFile, Format]]:
    found: list[tuple[DataFile, Format]] = []
    for origin in selection.origins:
        try:
            compression, kind = format_of(origin.label)
            found.append((origin._replace(compression=compression), kind))
        except DataError:
            if selection.exact:
                raise
    if found:
        return found
    # Some writers leave files without an ending, so these are looked into.
    for origin in selection.origins:
        if not os.path.splitext(origin.label)[1]:
            with opened(origin) as source:
                head = source.read(8)
            found += [(origin, kind) for magic, kind in MAGIC if head.startswith(magic)][:1]
    if not found:
        names = [repr(origin.label) for origin in selection.origins[:NAMES_SHOWN]]
        more = ", …" if len(selection.origins) > NAMES_SHOWN else ""
        raise DataError(
            f"{selection.label!r} holds no file of a format that can be read, only"
            f" {', '.join(names)}{more}; supported are\n{format_table()}"
        )
    return found


def _unpacked(origin: DataFile) -> DataFile:
    """Return a compressed file as its content, which is unpacked into memory when it is opened."""
    import pyarrow as pa

    def open_unpacked() -> Any:
        with opened(origin) as source, reading(origin.label, str(origin.compression)):
            return pa.BufferReader(unpacking(source, str(origin.compression)).read())

    return origin._replace(open=open_unpacked, local="", compression=None)


def open_stream(data: Any, label: str) -> Table:
    """Open what an open file or pipe holds, known by its first bytes.

    What is short is read to its end. What is longer is read once and in blocks, if it is text or
    Arrow's stream format; other formats have their contents at their end, and are read whole.
    """
    stream = peeked(data, label)
    head = stream.peek(SMALL + 1)
    if not head:
        raise DataError(f"{label} is empty (0 bytes); give it rows")
    short = len(head) <= SMALL
    kind = next((kind for magic, kind in MAGIC if head.startswith(magic)), TEXT)
    if kind.open is None:
        return open_delimited(head, label) if short else open_text_stream(stream)
    if head.startswith(STREAM) and not short:
        return open_arrow_stream(stream, label)
    try:
        content = b"".join(iter(lambda: stream.read(SMALL), b""))
    except MemoryError as error:
        raise DataError(
            f"{label} does not fit into memory, which its format asks for; save it as a file"
            " and name that, or pipe CSV or Arrow's stream format"
        ) from error
    return open_dataset([(in_memory(content, label), kind.open)], label)


def _pipe(text: str) -> io.FileIO | None:
    """Open what is no file, and may be read long after; it is closed once nothing needs it."""
    place = Path(os.path.expanduser(text))
    try:
        if stat.S_ISREG(place.stat().st_mode):
            return None
        descriptor = os.open(place, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise DataError(_no_file(place, text)) from error
    except OSError as error:
        raise DataError(unreadable(text, error)) from error
    pipe = io.FileIO(descriptor, closefd=False)
    weakref.finalize(pipe, os.close, descriptor)
    return pipe


def _no_file(place: Path, text: str) -> str:
    if found := dangling(str(place), text):
        return found
    if not os.path.isdir(place.parent):  # a NUL in the name is no error here
        return f"there is no file {text!r}, for there is no folder {str(place.parent)!r}"
    with os.scandir(place.parent) as entries:
        near = [entry.name for entry in itertools.islice(entries, NAMES_LOOKED_AT)]
    hint = did_you_mean(place.name, near)
    return f"there is no file {text!r}; check its name and folder.{hint}"


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
    return not plain and any(kind.recognises(item) for kind in KINDS)


def _table(
    names: Sequence[object], fetch: Callable[[Sequence[int]], Sequence[object]], advice: str = ""
) -> Table:
    if not names:
        raise DataError(f"{LABEL} has no columns; give at least one, as in {{'x': x, 'y': y}}")
    for name in names:
        if not isinstance(name, str):
            raise DataError(f"{LABEL} has a column named {shown(name)}, which is no text; {advice}")
    return Table(clean_names(map(str, names)), LABEL, fetch)


def _open_mapping(data: Any, keys: Sequence[object] = ()) -> Table:
    keys = keys or list(data)
    advice = "name columns by text, as in {'x': x, 'y': y}"
    return _table(keys, lambda positions: [data[keys[place]] for place in positions], advice)


def _open_pandas(data: Any) -> Table:
    frame = data if hasattr(data, "columns") else data.to_frame(data.name or "c1")
    advice = "set frame.columns = ['x', 'y', …] first"
    columns = list(frame.columns)
    return _table(columns, lambda places: [frame.iloc[:, place] for place in places], advice)


def _open_polars(data: Any) -> Table:
    frame = data.to_frame() if hasattr(data, "to_frame") else data
    names = frame.collect_schema().names()

    def fetch(positions: Sequence[int]) -> list[object]:
        chosen = frame.select([names[place] for place in positions])
        chosen = chosen.collect() if hasattr(chosen, "collect") else chosen
        return list(chosen.get_columns())

    table = _table(names, fetch)
    if not hasattr(frame, "collect_batches"):
        return table
    return replace(table, dataset=lazy_frame(frame, names, LABEL))


def _open_arrow(data: Any) -> Table:
    import pyarrow as pa

    try:
        table = pa.table(data)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise DataError(
            f"{LABEL} of type {type(data).__name__!r} is no table of named columns; write"
            " {'x': x, 'y': y}"
        ) from error
    return _table(table.column_names, lambda places: [table.column(place) for place in places])


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


class Kind(NamedTuple):
    """What holds columns, in words, and what tells and opens it."""

    words: str
    recognises: Callable[[object], bool]
    open: Callable[..., Table]


KINDS = (
    Kind(
        "path of a file or folder (CSV, Parquet, Feather, Arrow, ORC), pattern such as"
        " data/*.parquet, address such as s3://bucket/folder, a list of them, or - for standard"
        " input",
        _is_files,
        open_files,
    ),
    Kind("", lambda data: isinstance(data, Table), lambda table: table),
    Kind("open file", _is_file, lambda data: open_stream(data, LABEL)),
    Kind(
        "NumPy structured array",
        lambda data: isinstance(data, np.ndarray) and data.dtype.names is not None,
        lambda data: _open_mapping(data, data.dtype.names),
    ),
    Kind("pandas DataFrame or Series", _belongs("pandas", "DataFrame", "Series"), _open_pandas),
    Kind(
        "Polars DataFrame, LazyFrame or Series",
        _belongs("polars", "DataFrame", "LazyFrame", "Series"),
        _open_polars,
    ),
    Kind("Arrow Dataset or Fragment", _is_dataset, _open_dataset),
    Kind(
        "Arrow Scanner",
        _belongs("pyarrow.dataset", "Scanner"),
        lambda data: open_reader(data.to_reader(), LABEL),
    ),
    Kind("Arrow table or batch", _is_arrow, _open_arrow),
    Kind("Arrow reader, or any Arrow C stream", _is_stream, lambda data: open_reader(data, LABEL)),
    Kind(
        "mapping of names to arrays, such as {'x': x, 'y': y}",
        lambda data: isinstance(data, Mapping),
        _open_mapping,
    ),
    Kind(
        "iterator of Arrow batches, frames or such mappings",
        lambda data: isinstance(data, Iterator),
        lambda data: open_batches(data, LABEL, open_table),
    ),
)
