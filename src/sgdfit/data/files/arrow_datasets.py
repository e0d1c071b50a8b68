"""Datasets of `pyarrow.dataset`: their files are read as other files are, where that is possible.

==========================================  ==============================================
a Dataset of                                is read
==========================================  ==============================================
Parquet, Arrow or Feather, ORC files        as these files, in their pieces; the Dataset says
                                            which they are, what its columns are called, and
                                            what folders stand for
CSV, JSON and other files                   by pyarrow, file by file, as the Dataset says
anything, with ``Dataset.filter``           by pyarrow, as one piece
tables in memory                            as these tables
==========================================  ==============================================
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sgdfit.data.condition import Condition
from sgdfit.data.files.columnar import Contents, batches_of
from sgdfit.data.files.datasets import open_dataset
from sgdfit.data.files.folders import origin_of, short_names
from sgdfit.data.files.formats import FORMATS
from sgdfit.data.files.origins import Origin, Stamp, in_memory, unchanged
from sgdfit.data.files.row_groups import BUFFER
from sgdfit.data.fingerprints import fingerprint_of_files
from sgdfit.data.kinds import plain_type
from sgdfit.data.scan import Piece, Scan, batch_rows
from sgdfit.data.scanned import scanned_table
from sgdfit.data.table import Table, clean_names
from sgdfit.data.where import filtered
from sgdfit.data.wording import reason_of
from sgdfit.errors import DataError

__all__ = ["open_arrow_dataset"]

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


def _opener(fragment: Any) -> Callable[[Origin], Contents] | None:
    """Return what opens the file of a fragment, and leaves its row groups; None for text."""
    ending = f".{fragment.format.default_extname}"
    open_file = next((kind.open for kind in FORMATS if ending in kind.endings), None)
    if open_file is None or not hasattr(type(fragment), "row_groups"):
        return open_file

    def open_some(origin: Origin) -> Contents:
        contents = open_file(origin)
        with _reading(origin.label):
            chosen = [group.id for group in fragment.row_groups]
        stretches = contents.stretches
        if len(chosen) == len(stretches):
            return contents
        return contents._replace(stretches=tuple(stretches[k] for k in chosen))

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
        Piece(name, 0, None, _reader(scanner, schema.names, name, some))
        for name, scanner, some in parts
    ]
    slow = any(_opener(fragment) is None for fragment in named)
    known = not whole and all(origin.stamp.time for origin in origins)
    fingerprint = fingerprint_of_files(origins, [str(schema)], "") if known else ""
    return scanned_table(Scan(names, label, tuple(pieces), True, fingerprint, slow=slow))


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
