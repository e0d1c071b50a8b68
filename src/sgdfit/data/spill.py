"""What is slow to read, kept as Arrow batches: in memory, and beyond that in a temporary file."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from sgdfit.data.floats import numbers_of
from sgdfit.data.rows import aligned, float_blocks
from sgdfit.data.table import BATCH_ROWS, Dataset, RowGroup
from sgdfit.errors import DataError, reason_of

Array = np.ndarray[Any, Any]

# What is left free on the disk: this share of it, or so many bytes if those are fewer.
RESERVED_SHARE = 0.05
RESERVED_BYTES = 200_000_000
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class NoRoomError(DataError):
    """The disk of the temporary folder is full."""


class SpillFolder:
    """A temporary folder that goes when nothing needs it any more, and at the latest at exit.

    Parameters
    ----------
    parent : str or path, optional
        Where it is made; by default what ``TMPDIR`` names.

    Raises
    ------
    DataError
        When none can be made there.

    Examples
    --------
    >>> folder = SpillFolder()
    >>> os.path.isdir(folder.path), folder.remove(), os.path.isdir(folder.path)
    (True, None, False)
    """

    def __init__(self, parent: str | os.PathLike[str] | None = None) -> None:
        place = os.fspath(parent) if parent else tempfile.gettempdir()
        try:
            self.path = tempfile.mkdtemp(prefix="sgdfit-", dir=place)
        except OSError as error:
            raise DataError(
                f"no temporary folder can be made in {place} ({error.strerror or error}); set"
                " TMPDIR to a folder that can be written to"
            ) from error
        self.remove = weakref.finalize(self, _remove, self.path, os.getpid())

    def check_room(self, wanted: int, written: int) -> None:
        """Refuse to write ``wanted`` bytes where they would fill the disk.

        Raises
        ------
        NoRoomError
            When they would; the message says how much is free.
        """
        disk = shutil.disk_usage(self.path)
        wanted += min(int(RESERVED_SHARE * disk.total), RESERVED_BYTES)
        if disk.free < wanted:
            raise self.no_room(wanted, written)

    def no_room(self, wanted: int, written: int) -> NoRoomError:
        """Return the error that says what is free, what is needed, and what to do."""
        free = shutil.disk_usage(self.path).free
        return NoRoomError(
            f"the temporary folder {self.path} has {free:,} bytes free where at least {wanted:,}"
            f" are needed, beside the {written:,} that were written; set TMPDIR to a folder with"
            " more room, use fewer columns, or convert the data to Parquet, which is read in place"
        )


def _remove(path: str, owner: int) -> None:
    """Remove a folder, unless this is a forked child, which only inherited it."""
    if os.getpid() == owner:
        shutil.rmtree(path, ignore_errors=True)


class Kept(NamedTuple):
    """A run of rows that is kept.

    Attributes
    ----------
    columns : tuple of numpy.ndarray
        Where they are in memory; empty where they are in a file.
    path : str
        The Arrow file that holds them.
    number : int
        Which of its batches they are.
    folder : SpillFolder or None
        Where the file is; it stays as long as this is referred to.
    """

    columns: tuple[Array, ...]
    path: str = ""
    number: int = 0
    folder: SpillFolder | None = None

    def read(self, places: Sequence[int], names: Sequence[str]) -> Any:
        """Return the columns at ``places`` as a record batch with other names.

        Raises
        ------
        DataError
            When the file is gone.
        """
        import pyarrow as pa

        if self.columns:
            return pa.record_batch([numbers_of(self.columns[k]) for k in places], list(names))
        try:
            return self._read_file(places, names)
        except (OSError, pa.ArrowException) as error:
            raise DataError(
                f"the temporary file {self.path} cannot be read any more ({reason_of(error)})"
                "; begin again, with TMPDIR set to a folder that nothing clears"
            ) from error

    def _read_file(self, places: Sequence[int], names: Sequence[str]) -> Any:
        import pyarrow as pa

        order = sorted(places)
        options = pa.ipc.IpcReadOptions(included_fields=order)
        with pa.OSFile(self.path) as file:
            batch = pa.ipc.open_file(file, options=options).get_batch(self.number)
        columns = [batch.column(order.index(place)) for place in places]
        return pa.record_batch(columns, list(names))


class Keeper:
    """Takes columns run by run, and keeps them.

    Parameters
    ----------
    names : sequence of str
    budget : int
        How many bytes may stay in memory.
    parent : str or path, optional
        Where the temporary folder is made.
    announce : callable
        Told what is written where.
    """

    def __init__(
        self,
        names: Sequence[str],
        budget: int,
        parent: str | os.PathLike[str] | None,
        announce: Callable[[str], object],
    ) -> None:
        self.names, self.room, self.parent, self.announce = names, budget, parent, announce
        self.folder: SpillFolder | None = None
        self.written = self.files = self.batches = 0
        self.path, self.schema = "", None
        self.writer: Any = None

    def keep(self, columns: tuple[Array, ...]) -> Kept:
        """Keep a run of rows.

        Raises
        ------
        NoRoomError
            When the disk is full.
        """
        size = sum(column.nbytes for column in columns)
        if self.folder is None and size <= self.room:
            self.room -= size
            # A view might keep all of a batch in memory, whose other columns nobody needs.
            return Kept(tuple(np.array(column) for column in columns))
        if self.folder is None:
            self.folder = SpillFolder(self.parent)
            self.announce(
                f"what does not fit into memory is kept in {self.folder.path} until the end"
            )
        self.folder.check_room(size, self.written)
        try:
            self._write(columns, self.folder)
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise self.folder.no_room(size, self.written) from error
        self.written += size
        return Kept((), self.path, self.batches - 1, self.folder)

    def _write(self, columns: tuple[Array, ...], folder: SpillFolder) -> None:
        import pyarrow as pa

        batch = pa.record_batch([numbers_of(column) for column in columns], list(self.names))
        if batch.schema != self.schema:
            # Numbers may become longer in the middle of the data; a file has one type a column.
            self._finish()
            self.files, self.batches, self.schema = self.files + 1, 0, batch.schema
            self.path = os.path.join(folder.path, f"columns-{self.files}.arrow")
            self.writer = pa.ipc.new_file(self.path, batch.schema)
        self.writer.write_batch(batch)
        self.batches += 1

    def _finish(self) -> None:
        if self.writer is not None:
            writer, self.writer = self.writer, None
            writer.close()

    def close(self) -> None:
        """Finish what was written.

        Raises
        ------
        NoRoomError
            When the disk is full.
        """
        if self.folder is None:
            return
        try:
            self._finish()
        except OSError as error:
            raise self.folder.no_room(0, self.written) from error
        self.announce(f"{self.written:,} bytes of columns were written to {self.folder.path}")

    def discard(self) -> None:
        """Remove what was written."""
        with contextlib.suppress(OSError):
            self._finish()
        if self.folder is not None:
            self.folder.remove()


def spilled(
    dataset: Dataset,
    names: Sequence[str],
    budget: int,
    folder: str | os.PathLike[str] | None = None,
    announce: Callable[[str], object] | None = None,
) -> Dataset:
    """Read the columns ``names`` once, and return them as a scan that can be read again.

    Rows stay as they are, those without finite numbers among them, and keep their place: messages
    name the file, the row and the line that they came from. A scan that could be read again anyway
    is returned itself where the disk has no room.

    Parameters
    ----------
    dataset : Dataset
    names : sequence of str
    budget : int
        How many bytes of columns may stay in memory; the rest goes to a temporary file.
    folder : str or path, optional
        Where the file is made; by default what ``TMPDIR`` names.
    announce : callable, optional
        Told in one line that the data are kept, and how much is written where.

    Raises
    ------
    DataError
        When a column does not hold numbers, or the disk has no room.

    Examples
    --------
    >>> import numpy as np
    >>> from sgdfit.data.readers import open_table
    >>> batches = ({"x": np.arange(2.0) + k} for k in range(2))
    >>> kept = spilled(open_table(batches).dataset, ["x"], budget=0)
    >>> [piece.rows for piece in kept.row_groups], kept.again
    ([4], True)
    >>> next(kept.row_groups[0].read(["x"])).to_pydict()
    {'x': [0.0, 1.0, 1.0, 2.0]}
    """
    names, say = tuple(names), announce or _silent
    if not dataset.again:
        say(f"{dataset.label} can be read once, so columns that are needed again are kept")
    keeper = Keeper(names, budget, folder, say)
    try:
        found = list(_runs(dataset, names, keeper))
        keeper.close()
    except BaseException as error:
        keeper.discard()
        if dataset.again and isinstance(error, NoRoomError):
            say(f"{dataset.label} is read anew for each pass: {error}")
            return dataset
        raise
    return _dataset(dataset, names, found)


def _silent(text: str) -> None:
    pass


def _runs(
    dataset: Dataset, names: Sequence[str], keeper: Keeper
) -> Iterator[tuple[RowGroup, int, int, Kept]]:
    """Yield what is kept: piece, the row of it at which it begins, how many rows, and where."""
    blocks = float_blocks(dataset, names)
    for index, group in itertools.groupby(blocks, key=lambda block: block[0]):
        first = 0
        for columns in aligned((block for _, block in group), BATCH_ROWS):
            rows = len(columns[0])
            yield dataset.row_groups[index], first, rows, keeper.keep(columns)
            first += rows


def _dataset(
    dataset: Dataset, names: tuple[str, ...], found: list[tuple[RowGroup, int, int, Kept]]
) -> Dataset:
    row_groups = tuple(
        RowGroup(g.label, g.first + first, rows, _reader(kept, names), _later(g.line, first))
        for g, first, rows, kept in found
    )
    return Dataset(names, dataset.label, row_groups, fingerprint=dataset.fingerprint)


def _later(line: Callable[[int], str], first: int) -> Callable[[int], str]:
    return lambda row: line(first + row)


def _reader(kept: Kept, names: tuple[str, ...]) -> Callable[[Sequence[str]], Iterator[Any]]:
    def read(wanted: Sequence[str]) -> Iterator[Any]:
        yield kept.read([names.index(name) for name in wanted], wanted)

    return read
