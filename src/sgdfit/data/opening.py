"""Data opened for a fit: in memory, kept in temporary files where they are slow to read, or anew.

What is kept stays in memory as far as it fits; the rest becomes an Arrow file for each run of rows.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from sgdfit.data.floats import numbers_of
from sgdfit.data.rows import (
    BYTES,
    Arrays,
    ChunkedRows,
    RowCounts,
    aligned,
    count_rows,
    float_batches,
)
from sgdfit.data.table import (
    BATCH_ROWS,
    Columns,
    Dataset,
    RowGroup,
    Table,
    check_policy,
    clean_names,
)
from sgdfit.errors import DataError, reason_of

# What is left free on the disk: this share of it, or so many bytes if those are fewer.
RESERVED_SHARE = 0.05
RESERVED_BYTES = 200_000_000
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def open_rows(
    table: Table,
    names: Sequence[str],
    *,
    missing: str,
    budget: int,
    threads: int = 1,
    announce: Callable[[str], object] | None = None,
    checked: bool = True,
) -> Columns | ChunkedRows:
    """Load the columns ``names`` where they fit into ``budget`` bytes; else return a `ChunkedRows`.

    Where it is not known how many rows there are, they are read once: sources that can be read
    only once, or slowly, into memory and beyond that onto a disk; others to count them. Of
    ``checked`` see `Table.load`.

    Examples
    --------
    >>> from sgdfit.data.readers import open_table
    >>> open_rows(open_table({"x": [1.0, 2.0]}), ["x"], missing="error", budget=0).rows
    2
    """
    check_policy(missing)
    dataset = table.dataset
    if dataset is None:
        return table.load(names, missing=missing, checked=checked)
    table.positions(names)
    wanted = tuple(dict.fromkeys(clean_names(names)))
    if not dataset.again or (dataset.slow and _rows(dataset) is None):
        dataset = materialize(dataset, wanted, budget, announce=announce)
    rows = _rows(dataset)
    fits = rows is None or rows * len(wanted) * BYTES <= budget
    if rows is not None and not fits and missing == "error":
        counts = RowCounts(tuple(group.rows or 0 for group in dataset.row_groups), 0, rows)
        return ChunkedRows(dataset, wanted, counts, missing, threads, budget)
    if rows is not None and fits and dataset is table.dataset:
        return table.load(names, missing=missing, checked=checked)
    held: list[Arrays] | None = []
    room = budget if fits else 0

    def hold(group: RowGroup, offset: int, columns: Arrays) -> None:
        nonlocal held, room
        room -= sum(column.nbytes for column in columns)
        if room < 0:
            held = None
        elif held is not None:
            held.append(columns)

    counts = count_rows(dataset, wanted, missing, None, hold, threads=threads, budget=budget)
    if not counts.rows:
        raise DataError(_no_rows(dataset, counts))
    if held is None:
        return ChunkedRows(dataset, wanted, counts, missing, threads, budget)
    joined = [np.concatenate(parts) for parts in zip(*held, strict=True)]
    for column in joined:
        column.flags.writeable = False
    return Columns(dict(zip(wanted, joined, strict=True)), dataset.label, counts.dropped)


def _rows(dataset: Dataset) -> int | None:
    """Return how many rows there are, if that is known."""
    counts = [group.rows for group in dataset.row_groups]
    return None if None in counts else sum(count or 0 for count in counts)


def _no_rows(dataset: Dataset, counts: RowCounts) -> str:
    if counts.dropped:
        return (
            f"no row of {dataset.label} remains: each of its {counts.dropped:,} rows lacks a"
            " finite number; check its columns"
        )
    if _rows(dataset) is None:
        return f"no row of {dataset.label} is left; check what chooses them"
    return f"{dataset.label} has no rows; give at least one"


class NoRoomError(DataError):
    """The disk of the temporary folder is full."""


class SpillFolder:
    """A temporary folder that goes when nothing needs it any more, and at the latest at exit."""

    def __init__(self, parent: str | os.PathLike[str] | None = None) -> None:
        place = os.fspath(parent) if parent else tempfile.gettempdir()
        try:
            self.path = tempfile.mkdtemp(prefix="sgdfit-", dir=place)
        except OSError as error:
            raise DataError(
                f"no temporary folder can be made in {place} ({error.strerror or error}); set"
                " TMPDIR to a folder that can be written to"
            ) from error
        self.written = self.files = 0
        self.remove = weakref.finalize(self, _remove, self.path, os.getpid())

    def write(self, columns: Arrays) -> str:
        """Write columns to an Arrow file, and return its path."""
        import pyarrow as pa

        size = sum(column.nbytes for column in columns)
        self.check_room(size)
        self.files += 1
        path = os.path.join(self.path, f"{self.files}.arrow")
        names = [str(k) for k in range(len(columns))]
        batch = pa.record_batch([numbers_of(column) for column in columns], names)
        try:
            with pa.ipc.new_file(path, batch.schema) as writer:
                writer.write_batch(batch)
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise self.no_room(size) from error
        self.written += size
        return path

    def check_room(self, wanted: int) -> None:
        """Refuse to write ``wanted`` bytes where they would fill the disk."""
        disk = shutil.disk_usage(self.path)
        wanted += min(int(RESERVED_SHARE * disk.total), RESERVED_BYTES)
        if disk.free < wanted:
            raise self.no_room(wanted)

    def no_room(self, wanted: int) -> NoRoomError:
        """Return the error that says what is free, what is needed, and what to do."""
        free = shutil.disk_usage(self.path).free
        return NoRoomError(
            f"the temporary folder {self.path} has {free:,} bytes free where at least {wanted:,}"
            f" are needed, beside the {self.written:,} that were written; set TMPDIR to a folder"
            " with more room, use fewer columns, or convert the data to Parquet, which is read in"
            " place"
        )


def _remove(path: str, owner: int) -> None:
    """Remove a folder, unless this is a forked child, which only inherited it."""
    if os.getpid() == owner:
        shutil.rmtree(path, ignore_errors=True)


def materialize(
    dataset: Dataset,
    names: Sequence[str],
    budget: int,
    parent: str | os.PathLike[str] | None = None,
    announce: Callable[[str], object] | None = None,
) -> Dataset:
    """Read the columns ``names`` once, and return them as a dataset that can be read again.

    Rows stay as they are, those without finite numbers among them, and keep their place: messages
    name the file, the row and the line that they came from. A dataset that could be read again
    anyway is returned itself where the disk has no room.
    So many bytes of columns stay in memory; the rest goes to temporary files, in a folder of
    ``parent`` or of what ``TMPDIR`` names. ``announce`` is told how much is written where.

    Examples
    --------
    >>> from sgdfit.data.readers import open_table
    >>> batches = ({"x": np.arange(2.0) + k} for k in range(2))
    >>> kept = materialize(open_table(batches).dataset, ["x"], budget=0)
    >>> [group.rows for group in kept.row_groups], kept.again
    ([4], True)
    >>> next(kept.row_groups[0].read(["x"])).to_pydict()
    {'x': [0.0, 1.0, 1.0, 2.0]}
    """
    names, say = tuple(names), announce or (lambda text: None)
    if not dataset.again:
        say(f"{dataset.label} can be read once, so columns that are needed again are kept")
    folder: SpillFolder | None = None
    groups: list[RowGroup] = []
    try:
        for group, first, columns in _runs(dataset, names):
            size = sum(column.nbytes for column in columns)
            if folder is None and size > budget:
                folder = SpillFolder(parent)
                say(f"what does not fit into memory is kept in {folder.path} until the end")
            if folder is None:
                budget -= size
                # A view might keep all of a batch in memory, whose other columns nobody needs.
                read = partial(_from_memory, tuple(np.array(c) for c in columns), names)
            else:
                read = partial(_from_file, folder, folder.write(columns), names)
            begin, rows = group.first + first, len(columns[0])
            groups.append(RowGroup(group.label, begin, rows, read, group.line_after(first)))
    except BaseException as error:
        if folder is not None:
            folder.remove()
        if dataset.again and isinstance(error, NoRoomError):
            say(f"{dataset.label} is read anew for each pass: {error}")
            return dataset
        raise
    if folder is not None:
        say(f"{folder.written:,} bytes of columns were written to {folder.path}")
    return Dataset(names, dataset.label, tuple(groups), fingerprint=dataset.fingerprint)


def _runs(dataset: Dataset, names: Sequence[str]) -> Iterator[tuple[RowGroup, int, Arrays]]:
    """Yield what is kept together: its row group, the row of it at which it begins, its columns."""
    for group in dataset.row_groups:
        first = 0
        blocks = (batch.columns for batch in float_batches(dataset, group, names))
        for columns in aligned(blocks, BATCH_ROWS):
            yield group, first, columns
            first += len(columns[0])


def _from_memory(columns: Arrays, names: Sequence[str], wanted: Sequence[str]) -> Iterator[Any]:
    import pyarrow as pa

    arrays = [numbers_of(columns[names.index(name)]) for name in wanted]
    yield pa.record_batch(arrays, list(wanted))


def _from_file(
    folder: SpillFolder, path: str, names: Sequence[str], wanted: Sequence[str]
) -> Iterator[Any]:
    """Read columns of a file, whose folder stays as long as this function is referred to."""
    import pyarrow as pa

    places = [names.index(name) for name in wanted]
    order = sorted(places)
    options = pa.ipc.IpcReadOptions(included_fields=order)
    try:
        with pa.OSFile(path) as file:
            batch = pa.ipc.open_file(file, options=options).get_batch(0)
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            f"the temporary file {path} cannot be read any more ({reason_of(error)}); begin again,"
            " with TMPDIR set to a folder that nothing clears"
        ) from error
    yield pa.record_batch([batch.column(order.index(place)) for place in places], list(wanted))
