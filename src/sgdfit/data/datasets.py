"""Columnar files that are one table: opened, checked against each other, and cut into pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from sgdfit.data.columnar import Contents, Stretch, unknown
from sgdfit.data.conditions import Condition
from sgdfit.data.filtering import filtered_piece, located, selected_table
from sgdfit.data.fingerprints import fingerprint_of_files
from sgdfit.data.kinds import kind_of
from sgdfit.data.origins import Origin, unchanged
from sgdfit.data.pruning import Range, comparable, outlook
from sgdfit.data.scan import Piece, Scan
from sgdfit.data.scanned import scanned_table
from sgdfit.data.table import Table, clean_names
from sgdfit.errors import DataError

__all__ = ["completed", "constant_ranges", "open_dataset"]

# Files whose beginnings are read at once; most of the time goes into waiting for them.
THREADS = 8
# Kinds of which a column may hold several, since all become numbers.
NUMBERS = ("numbers", "truth values")


class _File(NamedTuple):
    """An open file, and what its columns are called in it."""

    contents: Contents
    columns: dict[str, str]
    doubled: frozenset[str]
    types: dict[str, Any]


def open_dataset(
    origins: Sequence[Origin],
    open_file: Callable[[Origin], Contents],
    label: str,
    condition: Condition | None = None,
) -> Table:
    """Open files of one format.

    With a condition, files and stretches of rows that can hold none that meets it are left out.

    Raises
    ------
    DataError
        When one is damaged, or the condition looks at something that is no column.
    """
    chosen = [o for o in origins if condition is None or _may_hold(o, condition)] or origins[:1]
    files = _opened(chosen, open_file)
    names = _names(files)
    if condition is not None:
        condition.check(names, label)
    check = _checker(files)
    pieces: list[Piece] = []
    filtered: dict[Piece, Piece] = {}
    for file in files:
        for stretch in file.contents.stretches:
            piece = _piece(file, stretch, check)
            outcome = _kept(file, stretch, piece, condition)
            if outcome is not None:
                pieces.append(outcome)
                if outcome is not piece:
                    filtered[outcome] = piece

    def line(piece: Piece, row: int) -> str:
        if condition is None or piece not in filtered:
            return ""
        return located(filtered[piece], condition, row, lambda *_: "")

    where = condition.text if condition else ""
    schemas = dict.fromkeys(str(file.contents.schema.remove_metadata()) for file in files)
    fingerprint = fingerprint_of_files(origins, schemas, where)
    scan = Scan(names, label, tuple(pieces), True, fingerprint, ".", line)
    return selected_table(scan, condition) if condition else scanned_table(scan)


def _opened(origins: Sequence[Origin], open_file: Callable[[Origin], Contents]) -> list[_File]:
    if len(origins) == 1:
        return [_file(open_file(origins[0]))]
    with ThreadPoolExecutor(min(THREADS, len(origins)), "sgdfit-open") as pool:
        try:
            return list(pool.map(lambda origin: _file(open_file(origin)), origins))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _file(contents: Contents) -> _File:
    raw = contents.schema.names
    clean = clean_names(raw)
    doubled = frozenset(name for name in clean if clean.count(name) > 1)
    constants = dict(contents.origin.constants)
    columns = {c: r for c, r in zip(clean, raw, strict=True) if c not in constants}
    types = {
        c: kind for c, kind in zip(clean, contents.schema.types, strict=True) if c not in constants
    }
    types |= {name: value.type for name, value in constants.items()}
    return _File(contents, columns, doubled - frozenset(constants), types)


def _names(files: Sequence[_File]) -> tuple[str, ...]:
    """List the columns of the first file, then those that others have besides."""
    first = files[0]
    own = set(first.types)
    names = [name for name in clean_names(first.contents.schema.names) if name in first.columns]
    names += [name for name in first.types if name not in first.columns]
    for file in files[1:]:
        if file.types.keys() - own:
            names += [name for name in file.types if name not in own]
            own |= file.types.keys()
    return tuple(names)


def _checker(files: Sequence[_File]) -> Callable[[Sequence[str]], None]:
    """Return what refuses columns that not all files have, or that differ in kind."""
    seen: set[str] = set()

    def check(names: Sequence[str]) -> None:
        for name in names:
            if name not in seen:
                _check_column(files, name)
                seen.add(name)

    return check


def _check_column(files: Sequence[_File], name: str) -> None:
    reference: _File | None = None
    for file in files:
        label = file.contents.origin.label
        if name in file.doubled:
            raise DataError(
                f"{label} has several columns named {name!r}; rename all but one of them"
            )
        if name not in file.types:
            owner = next(other for other in files if name in other.types)
            raise DataError(
                f"{label} has no column {name!r}, which {owner.contents.origin.label} has; give"
                " files with the same columns, or leave the column out of the formula"
            )
        kind = kind_of(file.types[name])
        if kind == "nothing":
            continue
        if reference is None:
            reference = file
        elif not _agree(kind, kind_of(reference.types[name])):
            raise DataError(
                f"column {name!r} holds {kind_of(reference.types[name])}"
                f" ({reference.types[name]}) in {reference.contents.origin.label} and"
                f" {kind} ({file.types[name]}) in {label}; write it with one type in all files,"
                " or leave the column out of the formula"
            )


def _agree(one: str, other: str) -> bool:
    return one == other or (one in NUMBERS and other in NUMBERS)


def _may_hold(origin: Origin, condition: Condition) -> bool:
    return outlook(condition.tree, constant_ranges(origin)).true


def constant_ranges(origin: Origin) -> Callable[[str], Range | None]:
    """Return what the folders of a file tell of its columns."""
    known = {}
    for name, value in origin.constants:
        extreme = comparable(value.as_py(), value.type)
        known[name] = Range(value.type, extreme, extreme, extreme is None, extreme is None)
    return known.get if known else unknown


def _kept(file: _File, stretch: Stretch, piece: Piece, condition: Condition | None) -> Piece | None:
    """Return the piece, filtered where it has to be; None where no row can meet the condition."""
    if stretch.rows == 0:
        return None
    if condition is None:
        return piece
    constant = constant_ranges(file.contents.origin)

    def known(name: str) -> Range | None:
        raw = file.columns.get(name)
        return constant(name) if raw is None else stretch.range(raw)

    seen = outlook(condition.tree, known)
    if not seen.true:
        return None
    return piece if seen.certain else filtered_piece(piece, condition)


def _piece(file: _File, stretch: Stretch, check: Callable[[Sequence[str]], None]) -> Piece:
    origin = file.contents.origin

    def read(names: Sequence[str]) -> Iterator[Any]:
        check(names)
        wanted = list(dict.fromkeys(file.columns[n] for n in names if n in file.columns))
        rows = 0
        with unchanged(origin):
            for batch in stretch.read(wanted):
                rows += batch.num_rows
                yield completed(batch, names, file.columns, origin)
            if stretch.rows is not None and rows != stretch.rows:
                raise DataError(
                    f"{origin.label} is damaged: {rows:,} rows follow row {stretch.first:,} where"
                    f" it announces {stretch.rows:,}; copy or write it again"
                )

    return Piece(origin.label, stretch.first, stretch.rows, read)


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
