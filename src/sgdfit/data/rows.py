"""Rows in chunks that begin at the same places, however they are stored.

Row groups (of a file, batches, blocks of text) are read ahead, counted where rows are left out, and
cut into chunks whose edges depend on row numbers alone: that is why sums have the same bits
whatever holds the rows.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np

from sgdfit.data.floats import Place, as_floats
from sgdfit.data.table import Dataset, RowGroup, Table, batch_rows, finite_rows
from sgdfit.data.times import TimeScales
from sgdfit.errors import DataError

Array = np.ndarray[Any, Any]
Arrays = tuple[Array, ...]
Keep = Callable[[Arrays], "Array | None"]
T = TypeVar("T")

BYTES = 8
# Threads that read what all goes into memory, and the bytes that they may be ahead.
LOADING, LOADED_AHEAD = 2, 1 << 26
# Chunks begin at multiples of so many rows, whatever the row groups: what sums are added up over.
ALIGNED_ROWS = 65_536
# Row groups whose rows are mixed with one another, where memory allows. One that is open holds
# about three batches: two that were read ahead, and what they are decoded from.
MOST_OPENED, LEAST_OPENED, HELD = 4, 2, 3
# About a tenth of a second's reading, after which progress is told and an interrupt heard.
LONGEST_PART = 1 << 23


class Aligner:
    """Cuts blocks of any length into chunks of ``size`` rows; only what crosses an edge is copied.

    Where ``unit`` is given, a divisor of ``size``, chunks hold as many units as one block has of
    them, at most ``size`` rows; so less is copied.
    """

    def __init__(self, size: int, unit: int | None = None) -> None:
        self.size, self.unit, self.rows = size, unit or size, 0
        self.held: list[Arrays] = []

    def push(self, columns: Arrays) -> Iterator[Arrays]:
        """Yield the chunks that are complete with this block."""
        begin, length = 0, len(columns[0])
        while (there := self.rows + length - begin) >= self.unit:
            several = self.unit if self.held else min(self.size, there // self.unit * self.unit)
            end = begin + several - self.rows
            whole = [*self.held, tuple(column[begin:end] for column in columns)]
            self.held, self.rows, begin = [], 0, end
            yield _joined(whole)
        if begin < length:
            self.held.append(tuple(column[begin:] for column in columns))
            self.rows += length - begin

    def rest(self) -> Iterator[Arrays]:
        """Yield the last chunk, if one is left."""
        if self.held:
            yield _joined(self.held)


def aligned(blocks: Iterable[Arrays], size: int, unit: int | None = None) -> Iterator[Arrays]:
    """Cut blocks of any length into chunks of ``size`` rows, or of units, as `Aligner` says."""
    cut = Aligner(size, unit)
    for columns in blocks:
        yield from cut.push(columns)
    yield from cut.rest()


def aligned_batches(
    batches: Iterable[FloatBatch], size: int, kept: Sequence[str]
) -> Iterator[tuple[Arrays, Any]]:
    """Cut batches into chunks: which rows are finite and the numbers; and as an Arrow table.

    The latter holds the columns ``kept`` as they were read, and is None without any.
    """
    cut, waiting = Aligner(size), list[Any]()

    def chunks(blocks: Iterable[Arrays]) -> Iterator[tuple[Arrays, Any]]:
        for block in blocks:
            raw = None
            if kept:
                import pyarrow as pa

                # Numbers may turn out to have decimals in a later batch.
                whole = pa.concat_tables(waiting, promote_options="permissive")
                rows = len(block[0])
                raw, waiting[:] = whole.slice(0, rows), [whole.slice(rows)]
            yield block, raw

    for batch in batches:
        finite = np.ones(len(batch.columns[0]), bool) if batch.keep is None else batch.keep
        if kept:
            waiting.append(batch.raw.select(kept))
        yield from chunks(cut.push((finite, *batch.columns)))
    yield from chunks(cut.rest())


def _joined(parts: list[Arrays]) -> Arrays:
    if len(parts) == 1:
        return parts[0]
    return tuple(np.concatenate(columns) for columns in zip(*parts, strict=True))


def read_ahead(
    reads: Iterable[Callable[[], Iterator[T]]], threads: int, whole: bool
) -> Generator[T, None, None]:
    """Yield what all ``reads`` yield, in order, each begun before it is asked for.

    ``whole`` says that all that one of them yields may be held at once, and so many threads run
    them. If not, a single thread runs them one after the other, a block ahead.
    """
    blocks = (block for read in reads for block in read())
    single = (itertools.islice(blocks, 1) for _ in itertools.count())
    parts = (read() for read in reads) if whole else single
    ahead = threads if whole else 1
    waiting = deque[Future[tuple[list[T], BaseException | None]]]()
    pool = ThreadPoolExecutor(ahead, "sgdfit-read")
    try:
        while True:
            for part in itertools.islice(parts, 1 + ahead - len(waiting)):
                waiting.append(pool.submit(_read_all, part))
            if not waiting:
                return
            found, error = waiting.popleft().result()
            yield from found
            if error is not None:
                raise error
            if not whole and not found:
                return
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        blocks.close()


def _read_all(part: Iterator[T]) -> tuple[list[T], BaseException | None]:
    found: list[T] = []
    try:
        found.extend(part)
    except BaseException as error:
        return found, error
    return found, None


class FloatBatch(NamedTuple):
    """Consecutive rows as floating-point numbers."""

    offset: int  # the row of the row group at which they begin
    columns: Arrays
    keep: Array | None  # bool[n]: which of them are finite; None for all
    raw: Any = None  # as an Arrow table, where that was asked for

    @property
    def finite(self) -> Arrays:
        """The columns of the finite rows."""
        if self.keep is None:
            return self.columns
        return tuple(column[self.keep] for column in self.columns)


def float_batches(
    dataset: Dataset,
    group: RowGroup,
    names: Sequence[str],
    missing: str = "",
    further: Sequence[str] = (),
    keeps: bool = False,
) -> Iterator[FloatBatch]:
    """Yield the columns of a row group as they are read, as floating-point numbers.

    Unless ``missing`` is given, nobody looks for rows that are not finite. Errors name file, row
    and line. Columns named ``further`` are read beside them; all of
    them are kept as they are where a batch ``keeps`` that.
    """
    offset = 0
    for batch in group.read([*names, *further]):
        line = group.line_after(offset)
        first = group.first + offset
        known = (group.label, line, dataset.decimal, first, missing != "error", dataset.scales)
        columns = tuple(
            as_floats(batch.column(k), Place(name, *known)) for k, name in enumerate(names)
        )
        keep = None
        if missing:
            place = Place("", group.label, line, first=first)
            keep = finite_rows(dict(zip(names, columns, strict=True)), place, missing)
        raw = None
        if keeps:
            import pyarrow as pa

            raw = pa.Table.from_arrays(batch.columns, [*names, *further])
        yield FloatBatch(offset, columns, keep, raw)
        offset += batch.num_rows


def read_batches(
    dataset: Dataset, names: Sequence[str], missing: str, threads: int, budget: int
) -> Generator[tuple[int, FloatBatch], None, None]:
    """Yield the columns of all row groups, in order, each batch with the number of its group."""
    groups = dataset.row_groups

    def read(index: int) -> Iterator[tuple[int, FloatBatch]]:
        return ((index, b) for b in float_batches(dataset, groups[index], names, missing))

    if not dataset.again:  # iterators of others, such as cursors, may be bound to their thread
        return (item for index in range(len(groups)) for item in read(index))
    whole = fits_budget([group.rows for group in groups], len(names), threads, budget)
    return read_ahead([partial(read, index) for index in range(len(groups))], threads, whole)


def concatenate_blocks(blocks: Iterable[Arrays], rows: int | None) -> list[Array]:
    """Join blocks; where it is known how many rows there are, nothing is held twice."""
    if rows is None:
        return list(_joined(list(blocks)))
    columns: list[Array] = []
    begin = 0
    for block in blocks:
        columns = columns or [np.empty(rows, part.dtype) for part in block]
        for k, part in enumerate(block):
            if part.dtype != columns[k].dtype:
                columns[k] = columns[k].astype(np.float64, copy=False)
            columns[k][begin : begin + len(part)] = part
        begin += len(block[0])
    return columns


def dataset_table(dataset: Dataset, where: str = "") -> Table:
    """Return a table over ``dataset``, which reads all of it when its columns are asked for.

    The condition that its rows meet is named where there are none.
    """
    groups = dataset.row_groups
    several = len({group.label for group in groups}) > 1
    counts = [group.rows or 0 for group in groups]
    rows = None if any(group.rows is None for group in groups) else sum(counts)

    def blocks(names: Sequence[str]) -> Iterator[Arrays]:
        counts[:] = [0] * len(groups)
        for index, batch in read_batches(dataset, names, "", LOADING, LOADED_AHEAD):
            counts[index] += len(batch.columns[0])
            yield batch.columns

    def fetch(positions: Sequence[int]) -> list[Array]:
        if not positions:
            return []
        columns = concatenate_blocks(blocks([dataset.names[place] for place in positions]), rows)
        if where and not any(counts):
            raise DataError(no_row_meets(dataset.label, where))
        return columns or [np.empty(0) for _ in positions]

    def line(row: int) -> str:
        for group, rows in zip(groups, counts, strict=True):
            if row < rows:
                words = group.line(row).strip(" ()")
                if several and words.startswith("row"):
                    words = f"{words}; {group.label}"
                elif several:
                    here = f"row {group.first + row + 1}{words and ', ' + words}"
                    words = f"{here} of {group.label}"
                return words and f" ({words})"
            row -= rows
        return ""

    known = dataset.label, fetch, line, dataset.decimal, dataset
    return Table(dataset.names, *known, notes=dataset.notes)


def timed(table: Table, scales: TimeScales | None) -> Table:
    """Return a table whose times are counted by ``scales``."""
    if table.dataset is None:
        return replace(table, scales=scales)
    found = dataset_table(table.dataset._replace(scales=scales), table.where)
    return replace(found, where=table.where, files=table.files, scales=scales, origin=table.origin)


def see_first_times(dataset: Dataset, names: Sequence[str]) -> None:
    """Learn when times begin, before rows are read by several threads."""
    some = [name for name in names if name in dataset.times]
    blocks = (b for group in dataset.row_groups for b in float_batches(dataset, group, some))
    scales = dataset.scales
    while dataset.again and scales is not None and scales.learns and set(some) - set(scales):
        if next(blocks, None) is None:
            return


def no_row_meets(label: str, where: str) -> str:
    """Return the sentence that says so."""
    return f"no row of {label} meets where={where!r}; widen the condition"


def read_once(
    label: str, read: Callable[[Sequence[str]], Iterator[Any]]
) -> Callable[[Sequence[str]], Iterator[Any]]:
    """Return ``read``, which says on its second call that the data are gone."""
    left = [True]

    def reading(names: Sequence[str]) -> Iterator[Any]:
        if not left:
            raise DataError(
                f"{label} can be read once, and has been; save it as a file, or hand it over anew"
            )
        left.clear()
        return read(names)

    return reading


class RowCounts(NamedTuple):
    """How many rows there are."""

    kept: tuple[int, ...]  # of each row group, without those that are left out
    dropped: int  # rows without finite numbers that were left out
    rows: int  # the others, also those of weight 0


def count_rows(
    dataset: Dataset,
    batches: Iterable[tuple[int, FloatBatch]],
    keep: Keep | None = None,
    visit: Callable[[RowGroup, int, Arrays], object] | None = None,
) -> RowCounts:
    """Count the rows that are kept, by reading all of them.

    ``visit`` is called with the row group, the row of it at which a block begins, and the columns
    of the block, in order; ``keep`` is as in `ChunkedRows`.
    """
    kept, dropped, rows = [0] * len(dataset.row_groups), 0, 0
    for index, batch in batches:
        columns = batch.finite
        if visit is not None:
            visit(dataset.row_groups[index], batch.offset, columns)
        dropped += len(batch.columns[0]) - len(columns[0])
        rows += len(columns[0])
        kept[index] += len(apply_mask(columns, keep)[0])
    return RowCounts(tuple(kept), dropped, rows)


def fits_budget(rows: Iterable[int | None], columns: int, threads: int, budget: int) -> bool:
    """Whether row groups of so many rows may be read ahead as a whole, one on each thread."""
    counts = [math.inf if count is None else count for count in rows]
    return max(counts, default=0) * columns * BYTES * (threads + 1) <= budget


def apply_mask(columns: Arrays, keep: Keep | None) -> Arrays:
    """Return the rows of a block that ``keep`` chooses; without it, all of them."""
    chosen = None if keep is None else keep(columns)
    return columns if chosen is None else tuple(column[chosen] for column in columns)


@dataclass(frozen=True, eq=False)
class ChunkedRows:
    """Rows of a `Dataset` that can be read again, all of whose numbers are finite."""

    dataset: Dataset
    names: tuple[str, ...]
    counts: RowCounts
    missing: str = "error"
    threads: int = 1  # how many read at once
    budget: int = 1 << 26  # bytes that row groups may hold which are read ahead
    # Columns of a block -> which rows have a weight above 0, or None for all of them.
    keep: Keep | None = None

    @property
    def label(self) -> str:
        """How messages name the data."""
        return self.dataset.label

    @property
    def rows(self) -> int:
        """How many rows there are, also those of weight 0."""
        return self.counts.rows

    @property
    def counted(self) -> int:
        """How many rows are read, those of weight 0 left out."""
        return sum(self.counts.kept)

    @property
    def dropped(self) -> int:
        """Rows that ``missing="drop"`` left out."""
        return self.counts.dropped

    @property
    def chunk_rows(self) -> int:
        """The most rows of a chunk: 8 MB of numbers, or the least that is aligned."""
        return ALIGNED_ROWS * max(1, batch_rows(len(self.names)) // ALIGNED_ROWS)

    @property
    def has_parts(self) -> bool:
        """Whether there are several row groups, none so long that nothing would be heard of it."""
        counts = self.counts.kept
        return len(counts) > 1 and max(counts) <= LONGEST_PART

    def chunks(self, first: int = 0) -> Iterator[Arrays]:
        """Yield the columns of the rows from ``first`` on, in chunks that begin at panels."""
        reads = [read for _, read in self.parts(first)]
        sizes = zip(self.dataset.row_groups, self.counts.kept, strict=True)
        rows = [count if group.rows is None else group.rows for group, count in sizes]
        whole = fits_budget(rows, len(self.names), self.threads, self.budget)
        return aligned(read_ahead(reads, self.threads, whole), self.chunk_rows, ALIGNED_ROWS)

    def parts(self, first: int = 0) -> Iterator[tuple[int, Callable[[], Iterator[Arrays]]]]:
        """Yield the rows from ``first`` on by row groups: where each begins, and what reads it."""
        begin = 0
        for group, count in zip(self.dataset.row_groups, self.counts.kept, strict=True):
            skipped = max(first - begin, 0)
            if skipped < count:
                yield begin + skipped, partial(self.blocks, group, skipped)
            begin += count

    def chosen(self, keep: Keep, visit: Callable[[RowGroup, int, Arrays], object]) -> ChunkedRows:
        """Return the rows that ``keep`` chooses, which takes a look at all of them."""
        batches = read_batches(self.dataset, self.names, self.missing, self.threads, self.budget)
        counts = count_rows(self.dataset, batches, keep, visit)
        return replace(self, counts=counts, keep=keep)

    def mixed(self, seed: Sequence[int]) -> Iterator[Arrays]:
        """Yield all rows in blocks, those of a few row groups at a time, which come at random."""
        groups, columns = self.dataset.row_groups, len(self.names)
        order = np.random.Generator(np.random.PCG64(seed)).permutation(len(groups))
        left = (read_ahead([partial(self.blocks, groups[k])], 1, False) for k in order)
        room = self.budget // (HELD * batch_rows(columns) * columns * BYTES)
        opened = list(itertools.islice(left, min(MOST_OPENED, max(LEAST_OPENED, room))))
        try:
            while opened:
                current = opened.pop(0)
                block = next(current, None)
                if block is None:
                    opened.extend(itertools.islice(left, 1))
                else:
                    opened.append(current)
                    yield block
        finally:
            for reading in opened:
                reading.close()

    def blocks(self, group: RowGroup, skipped: int = 0) -> Iterator[Arrays]:
        """Yield the columns of a row group as they are read, without its first rows."""
        for batch in float_batches(self.dataset, group, self.names, self.missing):
            columns = apply_mask(batch.finite, self.keep)
            rows = len(columns[0])
            if skipped < rows:
                yield tuple(column[skipped:] for column in columns) if skipped > 0 else columns
            skipped -= rows

    def take(self, begin: Sequence[int] | Array, length: int) -> Arrays:
        """Return the rows of runs of ``length``, given where each begins, in ascending order.

        No run may reach into the next. Row groups that hold none of them are not read, and none
        farther than its last.
        """
        starts = np.asarray(begin)
        ends = np.cumsum(self.counts.kept)
        reads = []
        for group, end, count in zip(self.dataset.row_groups, ends, self.counts.kept, strict=True):
            first = int(end) - count
            a, b = np.searchsorted(starts, [first - length, int(end) - 1], side="right")
            if a < b and count:
                inside = [(int(s) - first, int(s) - first + length) for s in starts[a:b]]
                reads.append(partial(self.runs, group, inside))
        parts = list(read_ahead(reads, self.threads, True))
        release_unused()
        return _joined(parts) if parts else ()

    def runs(self, group: RowGroup, runs: list[tuple[int, int]]) -> Iterator[Arrays]:
        """Yield the rows of runs, each from a row of the group to before another, in order."""
        first, last = 0, runs[-1][1]
        for columns in self.blocks(group):
            end = first + len(columns[0])
            for a, b in runs:
                if max(a, first) < min(b, end):
                    yield tuple(c[max(a, first) - first : b - first].copy() for c in columns)
            first = end
            if first >= last:
                return


def release_unused() -> None:
    """Hand back to the system what Arrow keeps of the memory of threads that have ended."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()
