"""Files of columns as one table, datasets of pyarrow's, and what tells data from others."""

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

from sgdfit.data.files import DataFile, Stamp, data_file, in_memory, short_names, unchanged
from sgdfit.data.floats import kind_of, plain_type
from sgdfit.data.formats import BUFFER, FORMATS, ColumnarFile, batches_of, reading
from sgdfit.data.rows import dataset_table
from sgdfit.data.table import ColumnStatistics, Dataset, RowGroup, Table, batch_rows, clean_names
from sgdfit.data.where import Condition, extremes_of, filtered, filtered_row_group, may_match
from sgdfit.errors import DataError, reason_of

# Files whose beginnings are read at once; most of the time goes into waiting for them.
THREADS = 8
# Kinds of which a column may hold several, since all become numbers.
NUMBERS = ("numbers", "truth values")
# pyarrow would hold sixteen batches of four files, decoded.
BOUNDED = {"batch_readahead": 1, "fragment_readahead": 1, "use_threads": False}

Opener = Callable[[DataFile], ColumnarFile]


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


def fingerprint_of_files(origins: Iterable[DataFile], schemas: Iterable[str], where: str) -> str:
    """Return a SHA-256 of names, sizes, times and folder columns of files, and of their schemas."""
    digest = hashlib.sha256()
    for origin in origins:
        base = origin.label.replace("\\", "/").rpartition("/")[2]
        constants = [(name, value.as_py()) for name, value in origin.constants]
        digest.update(repr((base, tuple(origin.stamp), constants)).encode())
    for schema in schemas:
        digest.update(schema.encode() + b"\0")
    digest.update(where.encode())
    return digest.hexdigest()


class _Layout(NamedTuple):
    """The columns of a file; thousands of files mostly share one."""

    label: str
    columns: dict[str, str]  # what they are called in it
    doubled: frozenset[str]
    types: dict[str, Any]


def open_dataset(
    files: Sequence[tuple[DataFile, Opener]],
    label: str,
    condition: Condition | None = None,
    declared: Any = None,
) -> Table:
    """Open files of columns, each by what opens its format.

    With a condition, files and row groups that can hold no row that meets it are left out. A
    `pyarrow.Schema` that is ``declared`` says which columns there are; it does not change their
    types.

    Raises
    ------
    DataError
        When one is damaged, or the condition looks at something that is no column.
    """
    layouts = [] if declared is None else [_layout(f"the schema of {label}", declared)]
    check = functools.cache(functools.partial(_check_column, layouts))
    row_groups: list[RowGroup] = []
    before: list[Any] = []
    texts: dict[str, None] = {}
    decimal, slow = ".", False
    for opened in _opened(_possible(files, condition)):
        schema, origin, slow = opened.schema, opened.origin, slow or opened.slow
        decimal = max(decimal, opened.decimal, key=",".__eq__)
        if before != (columns := [schema, *((n, v.type) for n, v in origin.constants)]):
            with reading(origin.label, "columnar"):
                layouts.append(_layout(origin.label, schema, dict(origin.constants)))
            before, texts[str(schema.remove_metadata())] = columns, None
        for group in opened.row_groups:
            kept = _kept(origin, layouts[-1], group, check, condition)
            row_groups += [] if kept is None else [kept]
    # A Dataset may be of some row groups of a file only.
    texts[" ".join(str(group.first) for group in row_groups)] = None
    where = condition.text if condition else ""
    fingerprint = fingerprint_of_files([origin for origin, _ in files], texts, where)
    # The columns of the first file, then those that others have besides.
    first, *others = layouts if declared is None else layouts[:1]
    names = [name for name in first.types for _ in range(1 + (name in first.doubled))]
    names += dict.fromkeys(n for layout in others for n in layout.types if n not in first.types)
    dataset = Dataset(tuple(names), label, tuple(row_groups), True, fingerprint, decimal, slow)
    if condition is not None:
        condition.check(dataset.names, dataset.label)
        return dataset_table(dataset, condition.text)
    return dataset_table(dataset)


def _possible(
    files: Sequence[tuple[DataFile, Opener]], condition: Condition | None
) -> Sequence[tuple[DataFile, Opener]]:
    """Leave out files whose folders tell that no row meets the condition."""
    if condition is None:
        return files
    tree = condition.tree
    return [f for f in files if may_match(tree, constant_statistics(f[0])).some] or files[:1]


def _opened(files: Sequence[tuple[DataFile, Opener]]) -> Iterator[ColumnarFile]:
    if len(files) == 1:
        yield from (open_file(origin) for origin, open_file in files)
        return
    with ThreadPoolExecutor(min(THREADS, len(files)), "sgdfit-open") as pool:
        try:
            yield from pool.map(lambda file: file[1](file[0]), files)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _layout(label: str, schema: Any, constants: Mapping[str, Any] | None = None) -> _Layout:
    constants = constants or {}
    if not schema.names:
        raise DataError(f"{label} has no columns; give at least one")
    clean = clean_names(schema.names)
    doubled = frozenset(name for name, count in Counter(clean).items() if count > 1)
    own = [(c, r, t) for c, r, t in zip(clean, schema.names, schema.types, strict=True)
           if c not in constants]  # fmt: skip
    types = {c: kind for c, _, kind in own} | {n: value.type for n, value in constants.items()}
    return _Layout(label, {c: raw for c, raw, _ in own}, doubled - constants.keys(), types)


def _check_column(layouts: Sequence[_Layout], name: str) -> None:
    """Refuse a column that not all files have, or that differs in kind."""
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
        kinds = {kind_of(reference.types[name]), kind}
        if len(kinds) > 1 and not kinds <= {*NUMBERS}:
            before = reference.types[name]
            raise DataError(
                f"column {name!r} holds {kind_of(before)} ({before}) in {reference.label} and"
                f" {kind} ({layout.types[name]}) in {layout.label}; write it with one type in all"
                " files, or leave the column out of the formula"
            )


def constant_statistics(origin: DataFile) -> Callable[[str], ColumnStatistics | None]:
    """Return what the folders of a file tell of its columns."""
    known = {}
    for name, value in origin.constants:
        raw = value.as_py()
        known[name] = ColumnStatistics(extremes_of(raw, raw, value.type), raw is None, raw is None)
    return known.get


def _kept(
    origin: DataFile,
    layout: _Layout,
    group: RowGroup,
    check: Callable[[str], None],
    condition: Condition | None,
) -> RowGroup | None:
    """Return the row group, filtered where needed; None where no row can meet the condition."""
    import pyarrow as pa

    if group.rows == 0:
        return None
    constants = dict(origin.constants)

    def read(names: Sequence[str]) -> Iterator[Any]:
        for name in names:
            check(name)
        wanted = list(dict.fromkeys(layout.columns[n] for n in names if n in layout.columns))
        rows = 0
        with unchanged(origin):
            for batch in group.read(wanted):
                rows += batch.num_rows
                arrays = [
                    batch.column(layout.columns[name])
                    if name in layout.columns
                    else pa.repeat(constants[name], batch.num_rows)
                    for name in names
                ]
                yield pa.RecordBatch.from_arrays(arrays, list(names)) if names else batch.select([])
            if group.rows is not None and rows != group.rows:
                raise DataError(
                    f"{origin.label} is damaged: {rows:,} rows follow row {group.first:,} where it"
                    f" announces {group.rows:,}; copy or write it again"
                )

    checked = group._replace(read=read)
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


def open_arrow_dataset(data: Any, label: str, condition: Condition | None = None) -> Table:
    """Open a `pyarrow.dataset.Dataset` of files, or a `pyarrow.dataset.Fragment` of one.

    Files of formats that are read here are read as if they were named, so that those that can hold
    no row that meets the condition are left out; pyarrow reads all else.

    Raises
    ------
    DataError
        When it has no files, one is damaged, or its columns are not of one kind in all of them.
    """
    import pyarrow as pa
    import pyarrow.dataset as ds

    with _reading(label):
        whole = False
        if isinstance(data, ds.Fragment):
            fragments, own = [data], data.physical_schema
            kinds = {name: pa.scalar(value).type for name, value in _keys(data).items()}
            schema = pa.schema(list((dict(zip(own.names, own.types, strict=True)) | kinds).items()))
        else:
            schema = data.schema
            try:
                fragments = list(data.get_fragments())
            except ValueError:  # how pyarrow tells that a Dataset is filtered
                fragments, whole = _files(data), True
    if not fragments and not whole:
        raise DataError(f"{label} has no files; give a Dataset with at least one")
    files = [fragment for fragment in fragments if hasattr(fragment, "path")]
    origins, openers = _origins(files, schema), [_opener(fragment) for fragment in files]
    known = [(o, opener) for o, opener in zip(origins, openers, strict=True) if opener]
    if not whole and len(known) == len(fragments):
        return open_dataset(known, label, condition, schema)
    if whole or len(files) < len(fragments):
        scanner = functools.partial(data.scanner, **_sparing(files))
        row_groups = [RowGroup(label, 0, None, _reader(scanner, schema, label, origins))]
    else:
        row_groups = [
            RowGroup(o.label, 0, None,
                     _reader(functools.partial(f.scanner, schema=schema), schema, o.label, [o]))
            for f, o in zip(fragments, origins, strict=True)
        ]  # fmt: skip
    certain = len(row_groups) == len(origins) and all(o.stamp.time for o in origins) and not whole
    fingerprint = fingerprint_of_files(origins, [str(schema)], "") if certain else ""
    slow = len(known) < len(files)
    names = clean_names(schema.names)
    table = dataset_table(Dataset(names, label, tuple(row_groups), True, fingerprint, slow=slow))
    return table if condition is None else filtered(table, condition)


def _files(data: Any) -> list[Any]:
    """Return the files of a filtered Dataset as fragments, which tell when they change."""
    if hasattr(data, "children"):
        return [file for child in data.children for file in _files(child)]
    paths = getattr(data, "files", ())
    return [data.format.make_fragment(path, data.filesystem) for path in paths]


def _keys(fragment: Any) -> dict[str, Any]:
    """Return the columns that the folders of a fragment stand for."""
    import pyarrow.dataset as ds

    return dict(ds.get_partition_keys(fragment.partition_expression))


def _opener(fragment: Any) -> Opener | None:
    """Return what opens the file of a fragment, and leaves its row groups; None for text."""
    ending = f".{fragment.format.default_extname}"
    open_file = next((kind.open for kind in FORMATS if ending in kind.endings), None)
    if open_file is None or not hasattr(type(fragment), "row_groups"):
        return open_file

    def open_some(origin: DataFile) -> ColumnarFile:
        opened = open_file(origin)
        with _reading(origin.label):
            chosen = [group.id for group in fragment.row_groups]
        if len(chosen) == len(opened.row_groups):
            return opened
        return opened._replace(row_groups=tuple(opened.row_groups[k] for k in chosen))

    return open_some


def _origins(fragments: Sequence[Any], schema: Any) -> list[DataFile]:
    """Return the files of fragments, with their folders' columns in the types of the Dataset."""
    import pyarrow as pa

    labels = iter(short_names([fragment.path for fragment in fragments]))
    found: list[DataFile] = []
    for system, group in itertools.groupby(fragments, key=lambda fragment: fragment.filesystem):
        some = [(fragment, next(labels)) for fragment in group]
        if system is None:
            found += [in_memory(fragment.buffer, label.strip("<>")) for fragment, label in some]
            continue
        with _reading(some[0][1]):
            infos = system.get_file_info([fragment.path for fragment, _ in some])
        found += [
            data_file(system, fragment.path, label, Stamp(info.size or 0, info.mtime_ns or 0))
            for (fragment, label), info in zip(some, infos, strict=True)
        ]
    for place, fragment in enumerate(fragments):
        constants = tuple(
            (clean_names([name])[0], pa.scalar(value, plain_type(schema.field(name).type)))
            for name, value in _keys(fragment).items()
            if schema.get_field_index(name) >= 0
        )
        found[place] = found[place]._replace(constants=constants)
    return found


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
    scanner: Callable[..., Any], schema: Any, label: str, origins: Sequence[DataFile]
) -> Callable[[Sequence[str]], Iterator[Any]]:
    columns = dict(zip(clean_names(schema.names), schema.names, strict=True))

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
