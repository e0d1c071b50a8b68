"""Anything that holds columns -> a `Table`: arrays, frames, paths, folders, addresses, streams.

Streams, readers and Datasets of Arrow, and iterators of batches, are read once.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import stat
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sgdfit.data.datasets import constant_statistics, open_dataset
from sgdfit.data.delimited import open_delimited
from sgdfit.data.dialect import FOUND_OUT, TextOptions, text_options
from sgdfit.data.files import (
    DECIMAL,
    DataFile,
    Selection,
    Stamp,
    absolute,
    dangling,
    data_file,
    is_many,
    select,
    stamp_of,
    unreadable,
)
from sgdfit.data.floats import Place, as_arrow, as_comparable, kind_of, plain_type, scalar_of, shown
from sgdfit.data.formats import (
    BOUNDED,
    FORMATS,
    MANY_ROW_GROUPS,
    TEXT,
    WORKBOOK,
    ColumnarFile,
    Format,
    batches_of,
    format_at,
    format_of,
    format_table,
    open_parquet,
    reading,
)
from sgdfit.data.opening import SpillFolder
from sgdfit.data.partitions import is_dask, partitions_of, partitions_table
from sgdfit.data.rows import dataset_table, read_once
from sgdfit.data.table import (
    BATCH_ROWS,
    ColumnStatistics,
    Dataset,
    RowGroup,
    Table,
    arrow_table,
    batch_rows,
    clean_names,
)
from sgdfit.data.text_files import (
    SMALL,
    open_small_text,
    open_text,
    open_text_stream,
    peeked,
)
from sgdfit.data.where import Condition, filtered, may_match, read_condition
from sgdfit.errors import DataError, UsageError, did_you_mean, listed, reason_of

LABEL = "the data"
NAMES_SHOWN, NAMES_LOOKED_AT = 3, 2_000
# What can be read, in words.
KINDS = (
    "path of a file or folder (CSV, Parquet, Feather, Arrow, ORC, .xlsx), pattern such as"
    " data/*.parquet, address such as s3://bucket/folder, a list of them, or - for standard input",
    "open file",
    "NumPy structured array",
    "pandas DataFrame or Series",
    "Polars DataFrame, LazyFrame or Series",
    "xarray Dataset or DataArray",
    "Arrow Dataset or Scanner",
    "Arrow table, batch or reader, or any Arrow C stream",
    "mapping of names to arrays, such as {'x': x, 'y': y}, or Astropy table",
    "iterator of Arrow batches, frames or such mappings",
    "Dask data frame, or mapping of names to Dask arrays",
)


def open_table(
    data: Any,
    where: str | None = None,
    *,
    rename: Mapping[str, str] | None = None,
    na: str | float | Sequence[str | float] | None = None,
    skip_rows: int | None = None,
    encoding: str | None = None,
    delimiter: str | None = None,
    decimal: str | None = None,
    dates: str | None = None,
    comment: str | None = None,
    sheet: str | None = None,
) -> Table:
    """Open ``data``, anything that `KINDS` lists, and learn its column names.

    What it returns can be given to `sgdfit.fit` and wherever else data are taken. The options from
    ``skip_rows`` on are for text and workbooks alone, which mostly tell by themselves.

    Parameters
    ----------
    data : dict of arrays, data frame, Arrow table, path, …
        What holds the columns.
    where : str, optional
        Which rows count, such as ``"x > 0 and site == 'A'"``; see
        `sgdfit.data.where.read_condition`. Files and row groups that can hold none of them are not
        read.
    rename : mapping, optional
        New names of columns: ``{"t": "Time (s)"}`` calls ``Time (s)`` t.
    na : str, float, or a list of them, optional
        What is missing besides the usual words for it, such as -999.
    skip_rows : int, optional
        Lines at the top that do not count.
    encoding, delimiter : str, optional
        Such as ``"cp1252"`` and ``";"``; ``"space"`` stands for any run of blanks.
    decimal : "." or ",", optional
        The decimal sign; the other one may then separate thousands.
    dates : "dmy" or "mdy", optional
        Whether 03/04/2024 is in April or in March.
    comment : str, optional
        How lines below the header begin that do not count.
    sheet : str, optional
        The sheet of a workbook, the first one unless given.

    Raises
    ------
    DataError, UsageError
        When the data cannot be read, or an option is not known.

    Examples
    --------
    >>> table = open_table({"x": [1, 2], "y": [3.0, 4.0]}, where="y > 3")
    >>> table.names, table.load(["x"]).rows
    (('x', 'y'), 1)
    """
    condition = None if where is None else read_condition(where)
    given = {k: v for k, v in locals().items() if k in TextOptions._fields and v is not None}
    options, opener = text_options(given) if given else FOUND_OUT, _opener(data)
    if opener is None:
        raise DataError(
            f"data of type {type(data).__name__!r} ({shown(data)}) cannot be read{_advice(data)};"
            " give one of these:\n" + "\n".join(f"  {words}" for words in KINDS)
        )
    if opener is _open_files:
        table = _open_files(data, condition if rename is None else None, options)
    elif isinstance(opener, partial) and opener.func is open_stream:
        table = replace(opener(data, options=options), files=_on_disk([_path_of(data)]))
    else:
        _refuse(given, f"data of type {type(data).__name__!r}")
        table = opener(data)
    if rename or options.na:
        table = _revised(table, rename or {}, options.na)
    shared = not isinstance(data, str | os.PathLike) or "://" in os.fspath(data)
    if opener is _open_files and (table.files or shared):  # a pipe is of this process alone
        revised = {"rename": rename, "na": na, **given}
        said = {name: value for name, value in revised.items() if value is not None}
        table = replace(table, origin={"data": absolute(data), **said})
    if condition is None:
        return table
    before = f"({table.where}) and " if table.where else ""
    chosen = filtered(table, condition)
    where = f"{before}{condition.text}"
    return replace(chosen, where=where, files=table.files, origin=table.origin)


def _path_of(stream: Any) -> object:
    """Return the path of an open file, which some of them know only by its descriptor."""
    name = getattr(stream, "name", None)
    with contextlib.suppress(AttributeError, OSError, ValueError):
        return name if isinstance(name, str) else os.path.realpath(f"/dev/fd/{stream.fileno()}")
    return name


def _on_disk(names: Sequence[object]) -> tuple[str, ...]:
    """Return those of the names that files of this machine have, which no output may replace."""
    return tuple(name for name in names if isinstance(name, str) and os.path.isfile(name))


def _refuse(given: Mapping[str, Any], what: str) -> None:
    if names := [name for name in given if name != "na"]:
        raise UsageError(f"{listed(names)}: only for text and workbooks, which {what} is not")


def _revised(table: Table, rename: Mapping[str, str], na: Sequence[str]) -> Table:
    """Return a table whose columns have other names, or further words and numbers for nothing."""
    olds = clean_names(rename.values())
    table.positions(olds)
    new: dict[str, str] = {}
    for old_name, name in zip(olds, clean_names(rename), strict=True):
        if new.setdefault(old_name, name) != name:
            raise UsageError(
                f"rename gives the column {old_name!r} both the names {new[old_name]!r} and"
                f" {name!r}; give it one"
            )
    names = tuple(new.get(name, name) for name in table.names)
    old = dict(zip(names, table.names, strict=True))

    def revised(group: RowGroup) -> RowGroup:
        def read(wanted: Sequence[str]) -> Iterator[Any]:
            for batch in group.read([old[name] for name in wanted]):
                yield _without(batch, na).rename_columns(list(wanted))

        def statistics(name: str) -> ColumnStatistics | None:
            known = group.statistics(old[name])
            return known and known._replace(nulls=known.nulls or bool(na))

        return group._replace(read=read, statistics=statistics)

    def fetch(places: Sequence[int]) -> Sequence[object]:
        if not na:
            return table.fetch(places)
        return list(_without(table.arrow([table.names[k] for k in places]), na).columns)

    if table.dataset is None:
        return replace(table, names=names, fetch=fetch)
    dataset = table.dataset
    groups = tuple(map(revised, dataset.row_groups))
    mark = dataset.fingerprint and f"{dataset.fingerprint}\n{new}{na}"
    found = dataset_table(dataset._replace(names=names, row_groups=groups, fingerprint=mark))
    return replace(found, files=table.files)


def _without(columns: Any, na: Sequence[str]) -> Any:
    """Return an Arrow table or batch in which the words and numbers of ``na`` are null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    numbers = pa.array([float(word) for word in na if DECIMAL.fullmatch(word)], pa.float64())
    for place, name in enumerate(columns.schema.names if na else ()):
        column = columns.column(place)
        whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        values, kind = as_comparable(whole), kind_of(column.type)
        if kind == "text":
            values = pc.utf8_trim_whitespace(values)
            found = pc.is_in(values, value_set=pa.array(na, values.type))
        elif kind == "numbers":
            found = pc.is_in(values.cast(pa.float64(), safe=False), value_set=numbers)
        else:
            continue
        values = pc.if_else(found, scalar_of(None, values.type), values)
        columns = columns.set_column(place, name, values)
    return columns


def _opener(data: Any) -> Callable[..., Table] | None:
    kind = type(data)
    package = kind.__module__.partition(".")[0]
    if isinstance(data, type):
        return None
    if isinstance(data, Table):
        return replace
    if is_dask(data):
        return _open_dask
    several = data if isinstance(data, list | tuple) and data else [data]
    if all(isinstance(path, str | os.PathLike) for path in several):
        return _open_files
    if package == "pyarrow":
        # Its ParquetFile and the like have methods of other meanings.
        if hasattr(data, "read") and hasattr(data, "readable"):
            return partial(open_stream, label=LABEL)
        if hasattr(data, "get_fragments"):
            return _open_arrow_dataset
        if hasattr(data, "projected_schema"):
            return _open_scanner
        if not hasattr(data, "read_next_batch") and hasattr(data, "__arrow_c_stream__"):
            return _open_arrow
    elif hasattr(data, "read") and not (_is_mapping(data) or hasattr(data, "get_chunk")):
        return partial(open_stream, label=LABEL)
    if package == "xarray" and hasattr(data, "sizes"):
        return _open_xarray
    if any(base.__module__.partition(".")[0] in ("pandas", "polars") for base in kind.__mro__):
        if hasattr(kind, "collect_batches"):
            size = {"chunk_size": BATCH_ROWS, "maintain_order": True}
            return lambda data: open_batches(data.collect_batches(**size), LABEL)
        if hasattr(kind, "columns") or hasattr(data, "to_frame"):
            return _open_frame
    if isinstance(data, np.ndarray) and data.dtype.names is not None:
        return _open_columns
    if hasattr(data, "__arrow_c_array__"):
        return _open_arrow
    if hasattr(data, "__arrow_c_stream__"):
        return _open_reader
    if _is_mapping(data):
        return _open_columns
    return partial(open_batches, label=LABEL) if isinstance(data, Iterator) else None


def _is_mapping(data: object) -> bool:
    """Whether data map names to columns by what they do, as Astropy's tables, which also `read`."""
    return hasattr(data, "keys") and hasattr(data, "__getitem__")


def _advice(data: object) -> str:
    if isinstance(data, list | tuple) and data:
        first = data[0]
        plain = first is None or isinstance(first, str | bytes | int | float | list | tuple)
        if not plain and _opener(first):
            return " as a whole: pass iter(…) of it, to read its parts one after another"
    if isinstance(data, np.ndarray | list | tuple):
        return ", for its columns have no names: write {'x': x, 'y': y}"
    if type(data).__module__.partition(".")[0] == "pyarrow":
        return ": name its file, or pass a pyarrow.dataset.Dataset"
    return ""


def _open_files(
    data: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    condition: Condition | None,
    options: TextOptions,
) -> Table:
    """Open a path, a pattern, a folder, an address, or a list of them; ``-`` is standard input.

    Of a folder, files of a known format count; with a condition, those whose folders do not tell
    that no row meets it.
    """
    if isinstance(data, str | os.PathLike) and not is_many(text := os.fspath(data)):
        stream: Any = sys.stdin if text == "-" else _pipe(text)
        if stream is not None:
            return open_stream(stream, "standard input" if text == "-" else text, options)
    selection = select(data)
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
    origins, notes = [origin for origin, _ in chosen], dict[str, None]()
    if kind is WORKBOOK:
        from sgdfit.data.workbook import sheet_as_text

        origins = [sheet_as_text(origin, options.sheet, notes) for origin in origins]
        options = options._replace(delimiter=",", encoding="utf-8")
    elif options.sheet is not None:
        raise UsageError(f"sheet={options.sheet!r}: only workbooks have sheets, not {kind.name}")
    paths = tuple(origin.local for origin in origins if origin.local)
    if kind.open is not None:
        _refuse(options.given(), kind.name)
    elif len(origins) == 1 and not first.constants:
        small = open_small_text(origins[0], options=options)
        if small is not None:
            return replace(small, files=paths, notes=(*notes, *small.notes))
    if condition is not None:
        tree = condition.tree
        some = [o for o in origins if may_match(tree, constant_statistics(o).get)]
        origins = some or origins[:1]
    opener = kind.open or partial(open_text, options=options)
    files, given = [(origin, opener) for origin in origins], options.given() or None
    found = open_dataset(files, selection.label, given)
    if notes and found.dataset is not None:
        found = dataset_table(found.dataset._replace(notes=(*notes, *found.notes)))
    return replace(found, files=paths)


def _formats(selection: Selection) -> list[tuple[DataFile, Format]]:
    found: list[tuple[DataFile, Format]] = []
    for origin in selection.origins:
        try:
            compression, kind = format_of(origin.label)
            found.append((origin._replace(compression=compression), kind))
        except DataError:
            if selection.exact:
                raise
    if not found:
        names = [repr(origin.label) for origin in selection.origins[:NAMES_SHOWN]]
        more = ", …" if len(selection.origins) > NAMES_SHOWN else ""
        raise DataError(
            f"{selection.label!r} holds no file of a format that can be read, only"
            f" {', '.join(names)}{more}; supported are\n{format_table()}"
        )
    return found


def open_stream(data: Any, label: str, options: TextOptions = FOUND_OUT) -> Table:
    """Open what an open file or pipe holds, known by its first bytes.

    What is short is read to its end. Of what is longer, text is read once and in blocks; files of
    columns are copied to a temporary file, for they are read in other places at once.
    """
    import pyarrow as pa

    stream = peeked(data, label)
    head = stream.peek(SMALL + 1)
    if not head:
        raise DataError(f"{label} is empty (0 bytes); give it rows")
    short = len(head) <= SMALL
    kind = format_at(head)
    if kind is None or kind.open is None:
        if short:
            return open_delimited(head, label, options)
        return open_text_stream(stream, options=options)
    _refuse(options.given(), kind.name)
    source: Callable[[], Any] = partial(pa.BufferReader, head)
    size, path = len(head), ""
    if not short:
        folder = SpillFolder()
        size, source, path = folder.copy(stream.read), folder.open_copy, folder.path
    stamp = Stamp(size, 0)
    origin = DataFile(label, stamp, lambda: stamp, source, local=path)
    return open_dataset([(origin, kind.open)], label)


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


def _table(names: Sequence[object], column: Callable[[int], object]) -> Table:
    if not names:
        raise DataError(f"{LABEL} has no columns; give at least one, as in {{'x': x, 'y': y}}")
    for name in names:
        if not isinstance(name, str):
            raise DataError(
                f"{LABEL} has a column named {shown(name)}, which is no text; name columns by"
                " text, as in {'x': x, 'y': y}, or set frame.columns = ['x', 'y', …] first"
            )
    return Table(clean_names(map(str, names)), LABEL, lambda places: [*map(column, places)])


def _open_columns(data: Any) -> Table:
    names = list(data.dtype.names if isinstance(data, np.ndarray) else data.keys())
    return _table(names, lambda place: data[names[place]])


def _open_frame(data: Any) -> Table:
    if hasattr(data, "to_frame"):
        data = data.to_frame(data.name or "c1")
    names = list(data.columns)
    index = getattr(data, "index", None)
    named = enumerate(getattr(index, "names", ()))
    # What set_index(…, drop=False) keeps twice is the column.
    levels = {k: name for k, name in named if isinstance(name, str) and name not in names}
    # Times without a name are called as pandas' reset_index calls them.
    if getattr(index, "name", names) is None and hasattr(index, "freq") and "index" not in names:
        levels = {0: "index"}

    def column(place: int) -> object:
        if place < len(names):
            return data[names[place]]
        return index.get_level_values([*levels][place - len(names)]).array  # type: ignore[union-attr]

    return _table([*names, *levels.values()], column)


def _open_dask(data: Any) -> Table:
    parts = partitions_of(data)
    shape = open_table(parts.empty)
    schema = shape.arrow(shape.names).schema
    times = frozenset(n for n in shape.names if kind_of(schema.field(n).type) == "times")
    known = shape.names, len(parts.parts), parts.read, open_table, f"dask {parts.mark}", times
    return replace(partitions_table(*known), origin={"parts": parts.parts})


def _open_xarray(data: Any) -> Table:
    """Open all variables and coordinates, a row for each point of the grid, in C order."""
    if not data.sizes:
        raise DataError(f"{LABEL} have no dimension, so they hold no rows; give some with rows")
    axes = [*data.sizes]
    if hasattr(data, "to_dataset"):
        data = data.to_dataset(name=data.name or "c1")
    return _open_frame(data.to_dataframe(axes))


def _open_arrow(data: Any) -> Table:
    import pyarrow as pa

    try:
        table = pa.table(data)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise DataError(_no_table(data)) from error
    return _table(table.column_names, table.column)


def _open_reader(data: Any) -> Table:
    import pyarrow as pa

    try:
        reader = pa.RecordBatchReader.from_stream(data)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise DataError(_no_table(data)) from error
    return _reader_table(reader, LABEL)


def _open_scanner(data: Any) -> Table:
    """Open a Scanner, which tells of which file each batch is, but not before it is read."""
    import pyarrow as pa

    files = dict[str, None]()

    def batches() -> Iterator[Any]:
        for tagged in data.scan_batches():
            path = getattr(tagged.fragment, "path", None)
            if path not in files:
                files.update(dict.fromkeys(_on_disk([path])))
            yield tagged.record_batch

    reader = pa.RecordBatchReader.from_batches(data.projected_schema, batches())
    return replace(_reader_table(reader, LABEL), files=files.keys())


def _no_table(data: object) -> str:
    return (
        f"{LABEL} of type {type(data).__name__!r} is no table of named columns; write"
        " {'x': x, 'y': y}"
    )


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

    return _stream_table(reader.schema.names, label, parts)


def _stream_table(
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


def _file_of(
    fragment: Any, schema: Any, chosen: Any
) -> tuple[DataFile, Callable[[DataFile], ColumnarFile]] | None:
    """Return the file that a part of a Dataset is, and what opens it, if it is read here."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    ending = f".{fragment.format.default_extname}" if hasattr(fragment, "format") else ""
    kind = next((kind for kind in FORMATS if ending in kind.endings), TEXT)
    if kind.open is None or fragment.filesystem is None:
        return None
    if any(f.name not in schema.names or f.type != schema.field(f.name).type
           for f in fragment.physical_schema):  # fmt: skip
        return None
    opener = kind.open
    if isinstance(fragment, ds.ParquetFileFragment):
        # Arrow keeps what it learns of each row group.
        few = chosen is not None and fragment.num_row_groups <= MANY_ROW_GROUPS
        some = fragment.subset(chosen) if few else fragment
        if some.num_row_groups < fragment.metadata.num_row_groups:
            opener = partial(open_parquet, only={group.id for group in some.row_groups})
    info = fragment.filesystem.get_file_info(fragment.path)
    origin = data_file(fragment.filesystem, fragment.path, fragment.path, stamp_of(info))
    constants = tuple(
        (clean_names([name])[0], pa.scalar(value, plain_type(schema.field(name).type)))
        for name, value in ds.get_partition_keys(fragment.partition_expression).items()
    )
    return origin._replace(constants=constants), opener


def _open_arrow_dataset(data: Any) -> Table:
    import pyarrow as pa
    import pyarrow.dataset as ds

    whole = ds.UnionDataset(data.schema, [data])  # without the filter, which pyarrow keeps apart
    chosen = data._scanner_options({}).get("filter")
    try:
        looked_at = () if chosen is None else _looked_at(chosen, data.schema)
        files = [_file_of(part, data.schema, chosen) for part in whole.get_fragments(chosen)]
    except pa.ArrowException:  # what is damaged, or no filter, is said once it is read
        files = []
    known = [file for file in files if file is not None]
    parts = getattr(data, "children", [data])  # of several Datasets as one
    paths = _on_disk([path for part in parts for path in getattr(part, "files", ())])
    with reading(LABEL, "columnar"):
        names, clean = data.schema.names, clean_names(data.schema.names)
    if known and len(known) == len(files) and (chosen is None or clean == (*names,)):
        table = open_dataset(known, LABEL)
        if chosen is not None:
            table = filtered(table, Condition(str(chosen), chosen, looked_at))
        return replace(table, files=paths)

    def read(wanted: Sequence[str]) -> Iterator[Any]:
        columns, path = [names[clean.index(name)] for name in wanted], ""
        # Else it would hold row groups; and read in steps, what a damaged page claims.
        parquet = {"fragment_scan_options": ds.ParquetFragmentScanOptions(pre_buffer=False)}
        options = {"batch_size": batch_rows(len(wanted)), "filter": chosen, **BOUNDED}
        try:
            for fragment in whole.get_fragments(chosen):
                path = getattr(fragment, "path", "")
                more = parquet if isinstance(fragment, ds.ParquetFileFragment) else {}
                for batch in fragment.to_batches(data.schema, columns, **options, **more):
                    yield from batches_of(batch.rename_columns(list(wanted)), wanted)
        except (pa.ArrowException, OSError, EOFError, ValueError) as error:
            place = "" if path in str(error) else f"{path}: "
            raise DataError(
                f"{LABEL} cannot be read as the Dataset says ({place}{reason_of(error)}); correct"
                " it, or name the files instead of the Dataset"
            ) from error

    group = RowGroup(LABEL, 0, None, read)
    return replace(dataset_table(Dataset(clean, LABEL, (group,), slow=True)), files=paths)


def _looked_at(chosen: Any, schema: Any) -> tuple[str, ...]:
    """Return the columns without which Arrow cannot say which rows a filter chooses."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    def fails(without: int) -> bool:
        try:
            ds.dataset(schema.remove(without).empty_table()).to_table(filter=chosen)
        except pa.ArrowException:
            return True
        return False

    ds.dataset(schema.empty_table()).to_table(filter=chosen)  # raises where it is no filter
    return tuple(name for place, name in enumerate(schema.names) if fails(place))


def open_batches(items: Iterator[Any], label: str) -> Table:
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
    names = _opened(first, 1, label).names

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
            table = _opened(item, number, label)
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

    return _stream_table(names, label, parts)


def _opened(item: Any, number: int, label: str) -> Table:
    named = isinstance(item, str | bytes | os.PathLike) or hasattr(item, "read")
    named = named and not _is_mapping(item)
    if named or (isinstance(item, Iterator) and not hasattr(item, "__arrow_c_stream__")):
        raise DataError(
            f"batch {number} of {label} is {shown(item)}, which is no table; yield Arrow batches,"
            " frames, or dicts of arrays"
        )
    return open_table(item)
