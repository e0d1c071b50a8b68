"""What tells data from others, and from what they were before a change."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from sgdfit.data.files import Origin, Stamp, in_memory, origin_of, short_names, unchanged
from sgdfit.data.floats import kind_of, plain_type
from sgdfit.data.formats import (
    BUFFER,
    FORMATS,
    ColumnarFile,
    batches_of,
    reading,
)
from sgdfit.data.opening import gathered_table
from sgdfit.data.rows import scanned_table
from sgdfit.data.table import ColumnStatistics, Dataset, RowGroup, Table, batch_rows, clean_names
from sgdfit.data.where import Condition, extremes_of, filtered, filtered_row_group, may_match
from sgdfit.errors import DataError, reason_of


def fingerprint_of(columns: Mapping[str, np.ndarray[Any, Any]]) -> str:
    """Return a SHA-256 of names, shapes, types and all bytes of columns: about a second a gigabyte.

    Examples
    --------
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


def fingerprint_of_files(origins: Iterable[Origin], schemas: Iterable[str], where: str) -> str:
    """Return a SHA-256 of names, sizes, times and folder columns of files, and of what they hold.

    Examples
    --------
    >>> from sgdfit.data.files import in_memory
    >>> len(fingerprint_of_files([in_memory(b"abc", "data.parquet")], ["x: double"], "x > 0"))
    64
    """
    digest = hashlib.sha256()
    for origin in origins:
        base = origin.label.replace("\\", "/").rpartition("/")[2]
        constants = [(name, value.as_py()) for name, value in origin.constants]
        digest.update(repr((base, tuple(origin.stamp), constants)).encode())
    for schema in schemas:
        digest.update(schema.encode() + b"\0")
    digest.update(where.encode())
    return digest.hexdigest()


# Files whose beginnings are read at once; most of the time goes into waiting for them.
THREADS = 8
# Kinds of which a column may hold several, since all become numbers.
NUMBERS = ("numbers", "truth values")


class _Layout(NamedTuple):
    """The columns of a file: what they are called in it, and what they hold.

    Files of thousands mostly share one, so nothing else of them is kept.
    """

    label: str
    columns: dict[str, str]
    doubled: frozenset[str]
    types: dict[str, Any]


def open_dataset(
    origins: Sequence[Origin],
    open_file: Callable[[Origin], ColumnarFile],
    label: str,
    condition: Condition | None = None,
    declared: Any = None,
) -> Table:
    """Open files of columns.

    With a condition, files and row_groups of rows that can hold none that meets it are left out.
    A `pyarrow.Schema` that is ``declared`` says which columns there are; it does not change their
    types.

    Raises
    ------
    DataError
        When one is damaged, or the condition looks at something that is no column.
    """
    chosen = [o for o in origins if condition is None or _may_match(o, condition)] or origins[:1]
    layouts = [] if declared is None else [_declared(declared, label)]
    schemas: list[Any] = []
    check = _checker(layouts)
    row_groups: list[RowGroup] = []
    for opened in _opened(chosen, open_file):
        if not schemas or not _same(opened, schemas[-1]):
            schemas.append(opened)
            layouts.append(_layout(opened))
        for group in opened.row_groups:
            kept = _kept(opened.origin, layouts[-1], group, check, condition)
            row_groups += [] if kept is None else [kept]
        schemas[-1] = schemas[-1]._replace(row_groups=())
    texts = dict.fromkeys(str(opened.schema.remove_metadata()) for opened in schemas)
    # A Dataset may be of some row groups of a file only.
    texts[" ".join(str(group.first) for group in row_groups)] = None
    where = condition.text if condition else ""
    fingerprint = fingerprint_of_files(origins, texts, where)
    names = _names(layouts if declared is None else layouts[:1])
    dataset = Dataset(names, label, tuple(row_groups), True, fingerprint)
    if condition is not None:
        condition.check(dataset.names, dataset.label)
        return scanned_table(dataset, condition.text)
    known = all(group.rows is not None for group in row_groups)
    return (
        gathered_table(dataset, _narrow(layouts if declared is None else layouts[1:]))
        if known
        else scanned_table(dataset)
    )


def _opened(
    origins: Sequence[Origin], open_file: Callable[[Origin], ColumnarFile]
) -> Iterator[ColumnarFile]:
    if len(origins) == 1:
        yield open_file(origins[0])
        return
    with ThreadPoolExecutor(min(THREADS, len(origins)), "sgdfit-open") as pool:
        try:
            yield from pool.map(open_file, origins)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _same(one: ColumnarFile, other: ColumnarFile) -> bool:
    """Tell whether two files have the same columns, those of their folders among them."""
    constants, others = ([(n, v.type) for n, v in c.origin.constants] for c in (one, other))
    return constants == others and bool(one.schema.equals(other.schema))


def _layout(opened: ColumnarFile) -> _Layout:
    with reading(opened.origin.label, "columnar"):
        raw = opened.schema.names
    if not raw:
        raise DataError(f"{opened.origin.label} has no columns; give at least one")
    clean = clean_names(raw)
    constants = dict(opened.origin.constants)
    doubled = _doubled(clean) - constants.keys()
    columns = {c: r for c, r in zip(clean, raw, strict=True) if c not in constants}
    types = {
        c: kind for c, kind in zip(clean, opened.schema.types, strict=True) if c not in constants
    }
    types |= {name: value.type for name, value in constants.items()}
    return _Layout(opened.origin.label, columns, doubled, types)


def _declared(schema: Any, label: str) -> _Layout:
    clean = clean_names(schema.names)
    types = dict(zip(clean, schema.types, strict=True))
    return _Layout(f"the schema of {label}", {}, _doubled(clean), types)


def _doubled(names: Sequence[str]) -> frozenset[str]:
    return frozenset(name for name, count in Counter(names).items() if count > 1)


def _names(layouts: Sequence[_Layout]) -> tuple[str, ...]:
    """List the columns of the first file, then those that others have besides."""
    first = layouts[0]
    names = [name for name in first.types for _ in range(1 + (name in first.doubled))]
    for layout in layouts[1:]:
        names += [name for name in layout.types if name not in names]
    return tuple(names)


def _checker(layouts: Sequence[_Layout]) -> Callable[[Sequence[str]], None]:
    """Return what refuses columns that not all files have, or that differ in kind."""
    seen: set[str] = set()

    def check(names: Sequence[str]) -> None:
        for name in names:
            if name not in seen:
                _check_column(layouts, name)
                seen.add(name)

    return check


def _check_column(layouts: Sequence[_Layout], name: str) -> None:
    reference: _Layout | None = None
    for layout in layouts:
        if name in layout.doubled:
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
        if not _agree(kind, kind_of(before)):
            raise DataError(
                f"column {name!r} holds {kind_of(before)} ({before}) in {reference.label} and"
                f" {kind} ({layout.types[name]}) in {layout.label}; write it with one type in all"
                " files, or leave the column out of the formula"
            )


def _narrow(layouts: Sequence[_Layout]) -> Callable[[str], bool]:
    """Return what tells columns that are float32, or less, in all files."""
    import pyarrow.types as kinds

    def narrow(name: str) -> bool:
        types = [plain_type(layout.types[name]) for layout in layouts if name in layout.types]
        floats = [kind for kind in types if not kinds.is_null(kind)]
        return bool(floats) and all(kinds.is_float32(k) or kinds.is_float16(k) for k in floats)

    return narrow


def _agree(one: str, other: str) -> bool:
    return one == other or (one in NUMBERS and other in NUMBERS)


def _may_match(origin: Origin, condition: Condition) -> bool:
    return may_match(condition.tree, constant_statistics(origin)).some


def constant_statistics(origin: Origin) -> Callable[[str], ColumnStatistics | None]:
    """Return what the folders of a file tell of its columns."""
    known = {}
    for name, value in origin.constants:
        raw = value.as_py()
        known[name] = ColumnStatistics(extremes_of(raw, raw, value.type), raw is None, raw is None)
    return known.get


def _kept(
    origin: Origin,
    layout: _Layout,
    group: RowGroup,
    check: Callable[[Sequence[str]], None],
    condition: Condition | None,
) -> RowGroup | None:
    """Return the row group, filtered where needed; None where no row can meet the condition."""
    if group.rows == 0:
        return None
    checked = _checked(origin, layout, group, check)
    if condition is None:
        return checked
    constant = constant_statistics(origin)

    def known(name: str) -> ColumnStatistics | None:
        raw = layout.columns.get(name)
        return constant(name) if raw is None else group.statistics(raw)

    match = may_match(condition.tree, known)
    if not match.some:
        return None
    return checked if match.every else filtered_row_group(checked, condition)


def _checked(
    origin: Origin, layout: _Layout, group: RowGroup, check: Callable[[Sequence[str]], None]
) -> RowGroup:
    columns, first, announced = layout.columns, group.first, group.rows

    def read(names: Sequence[str]) -> Iterator[Any]:
        check(names)
        wanted = list(dict.fromkeys(columns[n] for n in names if n in columns))
        rows = 0
        with unchanged(origin):
            for batch in group.read(wanted):
                rows += batch.num_rows
                yield completed(batch, names, columns, origin)
            if announced is not None and rows != announced:
                raise DataError(
                    f"{origin.label} is damaged: {rows:,} rows follow row {first:,} where it"
                    f" announces {announced:,}; copy or write it again"
                )

    return group._replace(read=read)


def completed(batch: Any, names: Sequence[str], columns: dict[str, str], origin: Origin) -> Any:
    """Return a batch with the columns ``names``, also those that the file's folders name."""
    import pyarrow as pa

    if not names:
        return batch.select([])
    constants = dict(origin.constants)
    arrays = [
        pa.repeat(constants[name], batch.num_rows)
        if name in constants
        else batch.column(columns[name])
        for name in names
    ]
    return pa.RecordBatch.from_arrays(arrays, names=list(names))


# pyarrow would hold sixteen batches of four files, decoded.
BOUNDED = {"batch_readahead": 1, "fragment_readahead": 1, "use_threads": False}


def open_arrow_dataset(data: Any, label: str, condition: Condition | None = None) -> Table:
    """Open a `pyarrow.dataset.Dataset` of files, or a `pyarrow.dataset.Fragment` of one.

    Parameters
    ----------
    data : pyarrow.dataset.Dataset or pyarrow.dataset.Fragment
    label : str
        How messages name it.
    condition : Condition, optional
        Files and row groups that can hold no row that meets it are left out.

    Raises
    ------
    DataError
        When it has no files, one is damaged, or its columns are not of one kind in all of them.
    """
    with _reading(label):
        fragments, whole = _fragments(data)
        schema = _schema(data)
    if not fragments and not whole:
        raise DataError(f"{label} has no files; give a Dataset with at least one")
    if whole or not all(hasattr(fragment, "path") for fragment in fragments):
        table = _scanned(data, schema, fragments, label, whole=True)
        return table if condition is None else filtered(table, condition)
    openers = [_opener(fragment) for fragment in fragments]
    if not all(openers):
        table = _scanned(data, schema, fragments, label)
        return table if condition is None else filtered(table, condition)
    origins = _origins(fragments, schema)
    of = {origin.open: opener for origin, opener in zip(origins, openers, strict=True)}
    return open_dataset(origins, lambda origin: of[origin.open](origin), label, condition, schema)  # type: ignore[misc]


def _fragments(data: Any) -> tuple[list[Any], bool]:
    """Return the parts of a Dataset, and whether it is filtered, so that not all rows count."""
    if _is_fragment(data):
        return [data], False
    try:
        return list(data.get_fragments()), False
    except ValueError:  # how pyarrow tells
        return _files(data), True


def _files(data: Any) -> list[Any]:
    """Return the files of a filtered Dataset as fragments, which tell when they change."""
    if hasattr(data, "children"):
        return [file for child in data.children for file in _files(child)]
    paths = getattr(data, "files", ())
    return [data.format.make_fragment(path, data.filesystem) for path in paths]


def _schema(data: Any) -> Any:
    """Return the columns of a Dataset; of a Fragment, also those that its folders stand for."""
    import pyarrow as pa

    if not _is_fragment(data):
        return data.schema
    fields = dict(zip(data.physical_schema.names, data.physical_schema.types, strict=True))
    for name, value in _keys(data).items():
        fields[name] = pa.scalar(value).type
    return pa.schema(list(fields.items()))


def _keys(fragment: Any) -> dict[str, Any]:
    import pyarrow.dataset as ds

    return dict(ds.get_partition_keys(fragment.partition_expression))


def _is_fragment(data: Any) -> bool:
    import pyarrow.dataset as ds

    return isinstance(data, ds.Fragment)


def _opener(fragment: Any) -> Callable[[Origin], ColumnarFile] | None:
    """Return what opens the file of a fragment, and leaves its row groups; None for text."""
    ending = f".{fragment.format.default_extname}"
    open_file = next((kind.open for kind in FORMATS if ending in kind.endings), None)
    if open_file is None or not hasattr(type(fragment), "row_groups"):
        return open_file

    def open_some(origin: Origin) -> ColumnarFile:
        opened = open_file(origin)
        with _reading(origin.label):
            chosen = [group.id for group in fragment.row_groups]
        row_groups = opened.row_groups
        if len(chosen) == len(row_groups):
            return opened
        return opened._replace(row_groups=tuple(row_groups[k] for k in chosen))

    return open_some


def _origins(fragments: Sequence[Any], schema: Any) -> list[Origin]:
    """Return the files of fragments, with the columns that their folders stand for."""
    labels = iter(short_names([fragment.path for fragment in fragments]))
    found: list[Origin] = []
    for system, group in itertools.groupby(fragments, key=lambda fragment: fragment.filesystem):
        some = [(fragment, next(labels)) for fragment in group]
        if system is None:
            found += [in_memory(fragment.buffer, label.strip("<>")) for fragment, label in some]
            continue
        with _reading(some[0][1]):
            infos = system.get_file_info([fragment.path for fragment, _ in some])
        stamps = [Stamp(info.size or 0, info.mtime_ns or 0) for info in infos]
        found += [
            origin_of(system, fragment.path, label, stamp)
            for (fragment, label), stamp in zip(some, stamps, strict=True)
        ]
    return [
        origin._replace(constants=_constants(fragment, schema))
        for origin, fragment in zip(found, fragments, strict=True)
    ]


def _constants(fragment: Any, schema: Any) -> tuple[tuple[str, Any], ...]:
    """Return what the folders of a file stand for, in the types of the Dataset's columns."""
    import pyarrow as pa

    known = _keys(fragment).items()
    values = [(n, v) for n, v in known if schema.get_field_index(n) >= 0]
    names = clean_names(name for name, _ in values)
    types = [plain_type(schema.field(name).type) for name, _ in values]
    return tuple(
        (name, pa.scalar(value, kind))
        for name, (_, value), kind in zip(names, values, types, strict=True)
    )


def _scanned(
    data: Any, schema: Any, fragments: Sequence[Any], label: str, whole: bool = False
) -> Table:
    """Return a table that pyarrow reads: as one piece, or a piece a file."""
    named = [fragment for fragment in fragments if hasattr(fragment, "path")]
    origins = _origins(named, schema)
    names = clean_names(schema.names)
    if whole:
        scanner = functools.partial(data.scanner, **_sparing(named))
        parts = [(label, scanner, origins)]
    else:
        scanners = [functools.partial(fragment.scanner, schema=schema) for fragment in fragments]
        parts = [(o.label, read, [o]) for o, read in zip(origins, scanners, strict=True)]
    pieces = [
        RowGroup(name, 0, None, _reader(scanner, schema.names, name, some))
        for name, scanner, some in parts
    ]
    slow = any(_opener(fragment) is None for fragment in named)
    known = not whole and all(origin.stamp.time for origin in origins)
    fingerprint = fingerprint_of_files(origins, [str(schema)], "") if known else ""
    return scanned_table(Dataset(names, label, tuple(pieces), True, fingerprint, slow=slow))


def _sparing(fragments: Sequence[Any]) -> dict[str, Any]:
    """Return what keeps pyarrow from reading row groups ahead, which takes gigabytes."""
    import pyarrow.dataset as ds

    if any(fragment.format.default_extname != "parquet" for fragment in fragments):
        return {}
    options = ds.ParquetFragmentScanOptions(
        pre_buffer=False, use_buffered_stream=True, buffer_size=BUFFER
    )
    return {"fragment_scan_options": options}


def _reader(
    scanner: Callable[..., Any], raw: Sequence[str], label: str, origins: Sequence[Origin]
) -> Callable[[Sequence[str]], Iterator[Any]]:
    columns = dict(zip(clean_names(raw), raw, strict=True))

    def read(names: Sequence[str]) -> Iterator[Any]:
        wanted = [columns[name] for name in names]
        with contextlib.ExitStack() as stack:
            for origin in origins:
                stack.enter_context(unchanged(origin))
            with _reading(label):
                size = batch_rows(len(names))
                found = scanner(columns=wanted, batch_size=size, **BOUNDED)
                batches = found.to_batches()
            while True:
                with _reading(label):
                    batch = next(batches, None)
                if batch is None:
                    return
                yield from batches_of(batch.rename_columns(list(names)), names)

    return read


@contextlib.contextmanager
def _reading(label: str) -> Iterator[None]:
    """Say in one sentence what pyarrow stumbles over."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"{label} cannot be read as the Dataset says ({reason_of(error)}); correct it,"
            " or name the files instead of the Dataset"
        ) from error
