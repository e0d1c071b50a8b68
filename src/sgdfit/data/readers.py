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
from typing import Any

import numpy as np

from sgdfit.data.datasets import completed, constant_statistics, open_arrow_dataset, open_dataset
from sgdfit.data.files import (
    Origin,
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
from sgdfit.data.formats import (
    MAGIC,
    STREAM,
    TEXT,
    Format,
    format_of,
    format_table,
    reading,
)
from sgdfit.data.one_pass import lazy_scan, open_arrow_stream, open_batches, open_reader
from sgdfit.data.rows import scanned_table
from sgdfit.data.table import Dataset, RowGroup, Table, clean_names
from sgdfit.data.text.delimited import open_delimited
from sgdfit.data.text.text_files import SMALL, TextPlace, file_place, held, scan_text, stream_place
from sgdfit.data.text.text_files import opened as text_opened
from sgdfit.data.where import Condition, filtered, may_match, read_condition
from sgdfit.errors import DataError, did_you_mean

NAMES_SHOWN = 3


def open_selection(selection: Selection, condition: Condition | None = None) -> Table:
    """Open files of one format as one table.

    Files of a folder whose ending is none of a supported format do not count.

    Raises
    ------
    DataError
        When they are of several formats, none is supported, or one cannot be read.
    """
    chosen = _formats(selection)
    first, kind, _ = chosen[0]
    for origin, other, _ in chosen:
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
    if kind is TEXT or kind.open is None:
        return _open_text([(o, c) for o, _, c in chosen], selection.label, condition)
    origins = [_unpacked(o, c) if c else o for o, _, c in chosen]
    if len(chosen) == 1 and chosen[0][2]:
        # Unpacked once rather than with each of its pieces.
        origins = [in_memory(origins[0].open().read_buffer(), first.label)]
    return open_dataset(origins, kind.open, selection.label, condition)


def _formats(selection: Selection) -> list[tuple[Origin, Format, str | None]]:
    found = []
    for origin in selection.origins:
        try:
            compression, kind = format_of(origin.label)
        except DataError:
            if selection.exact:
                raise
            continue
        found.append((origin, kind, compression))
    return found or _by_first_bytes(selection)


def _by_first_bytes(selection: Selection) -> list[tuple[Origin, Format, str | None]]:
    """Look into files without an ending, which is how some writers leave them."""
    bare = [o for o in selection.origins if not os.path.splitext(o.label)[1]]
    found: list[tuple[Origin, Format, str | None]] = []
    for origin in bare:
        with opened(origin) as source:
            head = source.read(8)
        found += [(origin, kind, None) for magic, kind in MAGIC if head.startswith(magic)][:1]
    if not found:
        names = [repr(origin.label) for origin in selection.origins[:NAMES_SHOWN]]
        more = ", …" if len(selection.origins) > NAMES_SHOWN else ""
        raise DataError(
            f"{selection.label!r} holds no file of a format that can be read, only"
            f" {', '.join(names)}{more}; supported are\n{format_table()}"
        )
    return found


def _unpacked(origin: Origin, compression: str) -> Origin:
    """Return a compressed file as its content, which is unpacked into memory when it is opened."""
    import pyarrow as pa

    def open_unpacked() -> Any:
        with opened(origin) as source, reading(origin.label, compression):
            return pa.BufferReader(unpacking(source, compression).read())

    return origin._replace(open=open_unpacked, local="")


def _open_text(
    files: Sequence[tuple[Origin, str | None]], label: str, condition: Condition | None
) -> Table:
    if condition is not None:
        files = [
            (o, c) for o, c in files if may_match(condition.tree, constant_statistics(o)).some
        ] or files[:1]
    places = [_place(origin, compression) for origin, compression in files]
    origins = [origin for origin, _ in files]
    if any(origin.constants for origin in origins):
        dataset = scan_text(places, label, small=0).dataset
        table = scanned_table(_with_constants(dataset, origins)) if dataset else None
    else:
        table = scan_text(places, label)
    if table is None:
        raise DataError(f"{label} has no rows; give at least one")
    return _chosen(table, condition)


def _place(origin: Origin, compression: str | None) -> TextPlace:
    if origin.local:
        return file_place(origin.local)._replace(label=origin.label)
    return TextPlace(origin.label, lambda: opened(origin), compression, True, origin.look)


def _with_constants(dataset: Dataset, origins: Sequence[Origin]) -> Dataset:
    """Add the columns that the folders of text files name."""
    extra = list(dict.fromkeys(name for origin in origins for name, _ in origin.constants))
    own = [name for name in dataset.names if name not in extra]
    fingerprint = dataset.fingerprint and "\n".join(
        [dataset.fingerprint, *(repr([(n, v.as_py()) for n, v in o.constants]) for o in origins)]
    )
    pairs = zip(dataset.row_groups, origins, strict=True)
    return dataset._replace(
        names=(*own, *extra),
        row_groups=tuple(_completed(group, own, origin) for group, origin in pairs),
        fingerprint=fingerprint,
    )


def _completed(piece: RowGroup, own: Sequence[str], origin: Origin) -> RowGroup:
    known = {name for name, _ in origin.constants}

    def read(names: Sequence[str]) -> Iterator[Any]:
        lacking = [name for name in names if name not in own and name not in known]
        if lacking:
            raise DataError(
                f"{origin.label} has no column {lacking[0]!r}, which the folders of other files"
                " name; sort all files into folders of the same kind"
            )
        wanted = [name for name in names if name in own] or own[:1]
        columns = {name: name for name in own}
        for batch in piece.read(wanted):
            yield completed(batch, names, columns, origin)

    return piece._replace(read=read)


NAMES_LOOKED_AT = 2_000


def open_files(
    data: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    condition: Condition | None = None,
) -> Table:
    """Open a path, a pattern, a folder, an address, or a list of them; ``-`` is standard input.

    Raises
    ------
    DataError
        When there is no such file, it may not be read, or its format is not supported.
    """
    if not isinstance(data, str | os.PathLike) or is_many(os.fspath(data)):
        return open_selection(select(data), condition)
    text = os.fspath(data)
    if text == "-":
        return _chosen(open_stream(sys.stdin, "standard input"), condition)
    place = Path(os.path.expanduser(text))
    if not stat.S_ISREG(_mode(place, text)):
        return _chosen(open_stream(_pipe(place, text), text), condition)
    return open_selection(select(data), condition)


def _chosen(table: Table, condition: Condition | None) -> Table:
    return table if condition is None else filtered(table, condition)


def open_stream(stream: Any, label: str) -> Table:
    """Open what an open file or pipe holds, known by its first bytes.

    What is short is read to its end. What is longer is read once and in blocks, if it is text or
    Arrow's stream format; other formats have their contents at their end, and are read whole.

    Raises
    ------
    DataError
        When it is empty, damaged, or of no format that can be read.
    """
    place, head, ended = held(stream_place(stream, label), SMALL + 1)
    if not head:
        raise DataError(f"{label} is empty (0 bytes); give it rows")
    for magic, kind in MAGIC:
        if head.startswith(magic):
            if not ended and magic == STREAM:
                return open_arrow_stream(place.open(), label)
            content = head if ended else _whole(place)
            if kind.open is not None:
                return open_dataset([in_memory(content, label)], kind.open, label)
    return open_delimited(head, label) if ended else scan_text([place], label, small=0)


def _whole(place: TextPlace) -> bytes:
    """Read a stream to its end."""
    parts = []
    try:
        with text_opened(place) as take:
            while part := take(SMALL):
                parts.append(part)
        return b"".join(parts)
    except MemoryError as error:
        raise DataError(
            f"{place.label} does not fit into memory, which its format asks for; save it as a file"
            " and name that, or pipe CSV or Arrow's stream format"
        ) from error


def _pipe(place: Path, text: str) -> io.FileIO:
    """Open what may be read long after; it is closed when nothing needs it any more."""
    try:
        descriptor = os.open(place, os.O_RDONLY)
    except OSError as error:
        raise DataError(unreadable(text, error)) from error
    pipe = io.FileIO(descriptor, closefd=False)
    weakref.finalize(pipe, os.close, descriptor)
    return pipe


def _mode(place: Path, text: str) -> int:
    try:
        return place.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise DataError(_no_file(place, text)) from error
    except OSError as error:
        raise DataError(unreadable(text, error)) from error


def _no_file(place: Path, text: str) -> str:
    if found := dangling(str(place), text):
        return found
    if not os.path.isdir(place.parent):  # a NUL in the name is no error here
        return f"there is no file {text!r}, for there is no folder {str(place.parent)!r}"
    with os.scandir(place.parent) as entries:
        near = [entry.name for entry in itertools.islice(entries, NAMES_LOOKED_AT)]
    hint = did_you_mean(place.name, near)
    return f"there is no file {text!r}; check its name and folder.{hint}"


LABEL = "the data"


def open_table(data: object, where: str | None = None) -> Table:
    """Open ``data`` and learn its column names.

    Parameters
    ----------
    data : anything of the table above
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
    return replace(table, dataset=lazy_scan(frame, names, LABEL))


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
