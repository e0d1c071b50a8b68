"""Data opened for a fit: in memory, or in chunks; what is slow to read is kept in temporary files.

What can be read once or slowly alone is read into memory. Where it does not fit, an Arrow file is
written for each run of rows.
"""

from __future__ import annotations

import contextlib
import glob
import itertools
import os
import shutil
import tempfile
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from operator import itemgetter
from typing import Any

import numpy as np

from sgdfit.data.floats import numbers_of
from sgdfit.data.rows import (
    BYTES,
    Arrays,
    ChunkedRows,
    FloatBatch,
    RowCounts,
    aligned,
    concatenate_blocks,
    count_rows,
    read_batches,
    see_first_times,
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

# A file that a run holds locked as long as it needs its folder.
LOCK = "lock"
COPY, COPIED = "copy", 1 << 23  # of a stream: its file, and bytes at a time

Announce = Callable[[str], object]


def open_rows(
    table: Table,
    names: Sequence[str],
    *,
    missing: str,
    budget: int,
    threads: int = 1,
    announce: Announce | None = None,
    checked: bool = True,
) -> Columns | ChunkedRows:
    """Load the columns ``names`` where they fit into ``budget`` bytes; else return a `ChunkedRows`.

    Where it is not known how many rows there are, they are read once: sources that can be read
    only once, or slowly, into memory or else onto a disk; others to count them. ``announce`` is
    told what is kept where. Of ``checked`` see `Table.load`.
    """
    check_policy(missing)
    dataset = table.dataset
    if dataset is None:
        return table.load(names, missing=missing, checked=checked)
    table.positions(names)
    wanted, say = tuple(dict.fromkeys(clean_names(names))), announce or (lambda text: None)
    see_first_times(dataset, wanted)
    counts = known_counts(dataset)
    keep = not dataset.again or (dataset.slow and counts is None)
    fits = counts is None or counts.rows * len(wanted) * BYTES <= budget
    if counts is not None and not keep:
        if fits:
            return table.load(names, missing=missing, checked=checked)
        if missing == "error":
            return ChunkedRows(dataset, wanted, counts, missing, threads, budget)
    if not dataset.again:
        say(f"{dataset.label} can be read once, so columns that are needed again are kept")
    batches = read_batches(dataset, wanted, missing, threads, budget)
    held: deque[tuple[int, FloatBatch]] = deque()
    room = budget if fits else -1
    for index, batch in batches:
        # A view might keep all of a batch in memory, whose other columns nobody needs.
        copies = tuple(np.array(column) for column in batch.columns)
        held.append((index, batch._replace(columns=copies)))
        room -= sum(column.nbytes for column in copies)
        if room < 0:
            break
    else:
        counts = count_rows(dataset, held)
        check_rows(dataset, counts)
        columns = concatenate_blocks((batch.finite for _, batch in _emptied(held)), counts.rows)
        for column in columns:
            column.flags.writeable = False
        return Columns(dict(zip(wanted, columns, strict=True)), dataset.label, counts.dropped)
    rest: Iterator[tuple[int, FloatBatch]] = itertools.chain(_emptied(held), batches)
    if keep:
        dataset = spilled(dataset, wanted, rest, say)
        rest = read_batches(dataset, wanted, missing, threads, budget)
        counts = known_counts(dataset)
    if counts is None or missing == "drop":
        counts = count_rows(dataset, rest)
    check_rows(dataset, counts)
    return ChunkedRows(dataset, wanted, counts, missing, threads, budget)


def known_counts(dataset: Dataset) -> RowCounts | None:
    """Return how many rows there are, where that is known before they are read."""
    counts = [group.rows for group in dataset.row_groups]
    if None in counts:
        return None
    return RowCounts(tuple(count or 0 for count in counts), 0, sum(count or 0 for count in counts))


def _emptied(held: deque[tuple[int, FloatBatch]]) -> Iterator[tuple[int, FloatBatch]]:
    while held:
        yield held.popleft()


def check_rows(dataset: Dataset, counts: RowCounts) -> None:
    """Refuse data of which no row is left."""
    if counts.rows:
        return
    raise DataError(
        f"no row of {dataset.label} remains: each of its {counts.dropped:,} rows lacks a finite"
        " number; check its columns"
        if counts.dropped
        else f"no row of {dataset.label} is left; give at least one, and check what chooses them"
    )


def spilled(
    dataset: Dataset, names: Sequence[str], batches: Iterable[tuple[int, FloatBatch]], say: Announce
) -> Dataset:
    """Write batches to temporary files, and return them as a dataset that can be read again.

    Rows stay as they are, those without finite numbers among them, and keep their place: messages
    name the file, the row and the line that they came from.
    """
    groups: list[RowGroup] = []
    folder = SpillFolder()
    say(f"{dataset.label} does not fit into memory and is kept in {folder.path} until the end")
    try:
        for index, some in itertools.groupby(batches, key=itemgetter(0)):
            group, first = dataset.row_groups[index], 0
            for columns in aligned((batch.columns for _, batch in some), BATCH_ROWS):
                read = partial(_read_file, folder, folder.write(columns), names)
                begin, rows = group.first + first, len(columns[0])
                groups.append(RowGroup(group.label, begin, rows, read, group.line_after(first)))
                first += rows
    except BaseException:
        folder.remove()
        raise
    say(f"{folder.written:,} bytes of columns were written to {folder.path}")
    return Dataset(tuple(names), dataset.label, tuple(groups), fingerprint=dataset.fingerprint)


class SpillFolder:
    """A temporary folder that goes when nothing needs it any more, and at the latest at exit."""

    def __init__(self) -> None:
        try:
            self.path = tempfile.mkdtemp(prefix="sgdfit-")
        except OSError as error:
            raise DataError(
                f"no temporary folder can be made in {tempfile.gettempdir()}"
                f" ({error.strerror or error}); set TMPDIR to a folder that can be written to"
            ) from error
        _remove_abandoned(self.path)
        lock = os.open(os.path.join(self.path, LOCK), os.O_CREAT | os.O_RDWR)
        _is_free(lock)
        self.written = self.files = 0
        self.remove = weakref.finalize(self, _remove, self.path, os.getpid(), lock)

    def write(self, columns: Arrays) -> str:
        """Write columns to an Arrow file, and return its path."""
        import pyarrow as pa

        self.files += 1
        path = os.path.join(self.path, f"{self.files}.arrow")
        names = [str(k) for k in range(len(columns))]
        batch = pa.record_batch([numbers_of(column) for column in columns], names)
        with self._writing(), pa.ipc.new_file(path, batch.schema) as writer:
            writer.write_batch(batch)
        self.written += batch.nbytes
        return path

    def copy(self, read: Callable[[int], bytes]) -> int:
        """Write what ``read`` returns of a stream to its end, and return how many bytes it is."""
        with self._writing(), open(os.path.join(self.path, COPY), "wb") as file:
            while part := read(COPIED):
                self.written += file.write(part)
        return self.written

    def open_copy(self) -> Any:
        """Open what was copied, as a `pyarrow.NativeFile`."""
        import pyarrow as pa

        return pa.OSFile(os.path.join(self.path, COPY))

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DataError(
                f"the temporary folder {self.path} takes no more than the {self.written:,} bytes"
                f" that were written ({error.strerror or reason_of(error)}); set TMPDIR to a folder"
                " with more room, use fewer columns, or save the data as a Parquet file, which is"
                " read in place"
            ) from error


def _remove(path: str, owner: int, lock: int) -> None:
    """Remove a folder, unless this is a forked child, which only inherited it."""
    if os.getpid() == owner:
        os.close(lock)
        shutil.rmtree(path, ignore_errors=True)


def _remove_abandoned(path: str) -> None:
    """Remove the folders that killed runs left: nobody holds their locks."""
    for found in glob.glob(os.path.join(os.path.dirname(path), f"sgdfit-*/{LOCK}")):
        with contextlib.suppress(OSError), open(found) as lock:
            if _is_free(lock.fileno()):
                shutil.rmtree(os.path.dirname(found), ignore_errors=True)


def _is_free(lock: int) -> bool:
    """Lock a file, unless another process does, or the system has no such locks."""
    try:
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (ImportError, OSError):
        return False
    return True


def _read_file(
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
