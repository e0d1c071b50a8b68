"""Rows in chunks that begin at the same places, however they are stored.

Pieces (row groups, batches, blocks of text) are read ahead, counted where rows are left out, and
cut into chunks whose edges depend on row numbers alone: that is why sums have the same bits
whatever holds the rows.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np

from sgdfit.data.floats import Place, as_floats
from sgdfit.data.table import Dataset, RowGroup, Table, batch_rows, keep_finite
from sgdfit.errors import DataError

Array = np.ndarray[Any, Any]


class Aligner:
    """Cuts blocks of any length into chunks of one; only what crosses an edge is copied.

    Parameters
    ----------
    size : int
        Rows of a chunk.
    unit : int, optional
        A divisor of ``size``. Where it is given, chunks hold as many units as one block has of
        them, at most ``size`` rows; so less is copied.

    Examples
    --------
    >>> cut = Aligner(2)
    >>> [x.tolist() for (x,) in cut.push((np.arange(5.0),))], [x.tolist() for (x,) in cut.rest()]
    ([[0.0, 1.0], [2.0, 3.0]], [[4.0]])
    """

    def __init__(self, size: int, unit: int | None = None) -> None:
        self.size, self.unit, self.rows = size, unit or size, 0
        self.held: list[tuple[Array, ...]] = []

    def push(self, columns: tuple[Array, ...]) -> Iterator[tuple[Array, ...]]:
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

    def rest(self) -> Iterator[tuple[Array, ...]]:
        """Yield the last chunk, if one is left."""
        if self.held:
            yield _joined(self.held)


def aligned(
    blocks: Iterator[tuple[Array, ...]], size: int, unit: int | None = None
) -> Iterator[tuple[Array, ...]]:
    """Cut blocks of any length into chunks of ``size`` rows, or of units, as `Aligner` says.

    Examples
    --------
    >>> blocks = iter([(np.arange(3.0),), (np.arange(3.0, 7.0),)])
    >>> [x.tolist() for (x,) in aligned(blocks, 2)]
    [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [6.0]]
    """
    cut = Aligner(size, unit)
    for columns in blocks:
        yield from cut.push(columns)
    yield from cut.rest()


def _joined(parts: list[tuple[Array, ...]]) -> tuple[Array, ...]:
    if len(parts) == 1:
        return parts[0]
    return tuple(np.concatenate(columns) for columns in zip(*parts, strict=True))


T = TypeVar("T")

# Blocks that wait for their turn, where one thread reads one piece after another.
WAITING = 1


def ahead(
    reads: Sequence[Callable[[], Iterator[T]]], threads: int, small: bool
) -> Generator[T, None, None]:
    """Yield what all ``reads`` yield, in order, each begun before it is asked for.

    Parameters
    ----------
    reads : sequence of functions that return an iterator
    threads : int
        How many may run at once.
    small : bool
        Whether all that one of them yields may be held at once. If not, a single thread runs them
        one after the other, a few blocks ahead.

    Examples
    --------
    >>> list(ahead([lambda: iter([1, 2]), lambda: iter([3])], threads=2, small=True))
    [1, 2, 3]
    """
    return _in_parallel(reads, threads) if small else _in_turn(reads)


def _in_parallel(
    reads: Sequence[Callable[[], Iterator[T]]], threads: int
) -> Generator[T, None, None]:
    waiting: deque[Future[deque[T | _Failed]]] = deque()
    left = iter(reads)
    pool = ThreadPoolExecutor(threads, "sgdfit-read")
    try:
        for _ in range(threads):
            _submit(pool, left, waiting)
        while waiting:
            found = waiting.popleft().result()
            _submit(pool, left, waiting)
            while found:
                block = found.popleft()
                if isinstance(block, _Failed):
                    raise block.error
                yield block
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _submit(
    pool: ThreadPoolExecutor,
    left: Iterator[Callable[[], Iterator[T]]],
    waiting: deque[Future[deque[T | _Failed]]],
) -> None:
    read = next(left, None)
    if read is not None:
        waiting.append(pool.submit(_all, read))


class _Failed:
    """An exception on its way from the thread that reads."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


def _all(read: Callable[[], Iterator[T]]) -> deque[T | _Failed]:
    """Return what is read, up to an error: something may be amiss in what came before it."""
    found: deque[T | _Failed] = deque()
    try:
        found.extend(read())
    except BaseException as error:  # handed to the thread that waits for it
        found.append(_Failed(error))
    return found


_END = object()


def _in_turn(reads: Sequence[Callable[[], Iterator[T]]]) -> Generator[T, None, None]:
    blocks: queue.Queue[object] = queue.Queue(WAITING)
    left = threading.Event()
    thread = threading.Thread(target=_fill, args=(reads, blocks, left), daemon=True)
    thread.start()
    try:
        while (block := blocks.get()) is not _END:
            if isinstance(block, _Failed):
                raise block.error
            yield block  # type: ignore[misc]  # T, but for the two markers
    finally:
        left.set()
        while thread.is_alive():
            try:
                blocks.get(timeout=0.01)
            except queue.Empty:
                continue
        thread.join()


def _fill(
    reads: Sequence[Callable[[], Iterator[object]]],
    blocks: queue.Queue[object],
    left: threading.Event,
) -> None:
    try:
        for read in reads:
            for block in read():
                if left.is_set():
                    return
                blocks.put(block)
        blocks.put(_END)
    except BaseException as error:  # handed to the thread that waits for it
        blocks.put(_Failed(error))


Read = Callable[[Sequence[str]], Iterator[Any]]


def scanned_table(dataset: Dataset, where: str = "") -> Table:
    """Return a table over ``dataset``, which reads all of it when its columns are asked for.

    Parameters
    ----------
    dataset : Dataset
    where : str, optional
        The condition that its rows meet, which is named where there are none.

    Examples
    --------
    >>> import pyarrow as pa
    >>> batch = pa.record_batch({"x": [1, 2], "y": [3, 4]})
    >>> piece = RowGroup("data.csv", 0, 2, lambda names: iter([batch.select(list(names))]))
    >>> scanned_table(Dataset(("x", "y"), "data.csv", (piece,))).load(["y"]).columns["y"]
    array([3., 4.])
    """
    counts: list[int] = []

    def fetch(positions: Sequence[int]) -> list[Array]:
        names = [dataset.names[place] for place in positions]
        parts: list[list[Array]] = [[] for _ in names]
        found = [0] * len(dataset.row_groups)
        for index, columns in float_blocks(dataset, names) if names else ():
            found[index] += len(columns[0])
            for part, column in zip(parts, columns, strict=True):
                part.append(column)
        counts[:] = found
        if where and names and not any(found):
            raise DataError(no_row_meets(dataset.label, where))
        return [_concatenated(part) for part in parts]

    def line(row: int) -> str:
        for piece, rows in zip(dataset.row_groups, counts, strict=False):
            if row < rows:
                words = piece.line(row)
                return words if len(dataset.row_groups) == 1 else _in_file(piece, row, words)
            row -= rows
        return ""

    return Table(dataset.names, dataset.label, fetch, line, dataset.decimal, dataset)


def no_row_meets(label: str, where: str) -> str:
    """Return the sentence that says so."""
    return f"no row of {label} meets where={where!r}; widen the condition"


def _concatenated(part: list[Array]) -> Array:
    if len(part) == 1:
        return part[0]
    return np.concatenate(part) if part else np.empty(0)


def _in_file(piece: RowGroup, row: int, words: str) -> str:
    line = words.strip(" ()")
    if line.startswith("row"):
        return f" ({line}; {piece.label})"
    return f" (row {piece.first + row + 1}{line and ', ' + line} of {piece.label})"


def float_blocks(dataset: Dataset, names: Sequence[str]) -> Iterator[tuple[int, tuple[Array, ...]]]:
    """Yield the columns of each batch as floating-point numbers, and the index of their piece.

    Raises
    ------
    DataError
        When a column is not one of numbers; the message names file, row and line.
    """
    for index, piece in enumerate(dataset.row_groups):
        offset = 0
        for batch in piece.read(names):
            yield index, batch_floats(dataset, piece, offset, names, batch)
            offset += batch.num_rows


def batch_floats(
    dataset: Dataset, piece: RowGroup, offset: int, names: Sequence[str], batch: Any
) -> tuple[Array, ...]:
    """Convert the columns of a batch that begins at row ``offset`` of its piece.

    Raises
    ------
    DataError
        When a column is not one of numbers; the message names file, row and line.
    """

    def line(row: int) -> str:
        return piece.line(offset + row)

    def place(name: str) -> Place:
        return Place(name, piece.label, line, dataset.decimal, piece.first + offset)

    return tuple(as_floats(batch.column(k), place(name)) for k, name in enumerate(names))


def read_once(label: str, read: Read) -> Read:
    """Return ``read``, which says on its second call that the data are gone.

    Raises
    ------
    DataError
        On the second call.
    """
    left = [True]

    def reading(names: Sequence[str]) -> Iterator[Any]:
        if not left:
            raise DataError(
                f"{label} can be read once, and has been; save it as a file, or hand it over anew"
            )
        left.clear()
        return read(names)

    return reading


BYTES = 8

Keep = Callable[[tuple[Array, ...]], "Array | None"]


class RowCounts(NamedTuple):
    """How many rows there are.

    Attributes
    ----------
    kept : tuple of int
        Of each piece, without those that are left out.
    dropped : int
        Rows without finite numbers that were left out.
    rows : int
        The others, also those that have no say.
    """

    kept: tuple[int, ...]
    dropped: int
    rows: int


class _Block(NamedTuple):
    """Finite rows of a batch."""

    at: int
    offset: int
    columns: tuple[Array, ...]
    left_out: int


def count_rows(
    dataset: Dataset,
    names: Sequence[str],
    missing: str,
    keep: Keep | None,
    visit: Callable[..., object],
    *,
    threads: int = 1,
    budget: int = 0,
) -> RowCounts:
    """Count the rows that are kept, by reading all of them.

    Parameters
    ----------
    dataset : Dataset
    names : sequence of str
        The columns that are needed.
    missing : {"error", "drop"}
    keep : function of the columns of a block, or None
        As in `sgdfit.data.rows.ChunkedRows`.
    visit : callable
        Called with the piece, the row of it at which a block begins, and the columns of the block,
        in order.
    threads, budget : int
        How many read at once, and the bytes that they may hold.
    """

    def read(at: int) -> Iterator[_Block]:
        for columns, left_out, offset in finite_blocks(
            dataset, dataset.row_groups[at], names, missing
        ):
            yield _Block(at, offset, columns, left_out)

    kept, dropped, rows = [0] * len(dataset.row_groups), 0, 0
    reads = [(lambda at=at: read(at)) for at in range(len(dataset.row_groups))]
    counts = [piece.rows for piece in dataset.row_groups]
    for block in ahead(reads, threads, is_fine_grained(counts, len(names), threads, budget)):
        visit(dataset.row_groups[block.at], block.offset, block.columns)
        dropped += block.left_out
        rows += len(block.columns[0])
        kept[block.at] += len(having_a_say(block.columns, keep)[0])
    return RowCounts(tuple(kept), dropped, rows)


def is_fine_grained(rows: Iterable[int | None], columns: int, threads: int, budget: int) -> bool:
    """Whether pieces of so many rows may be read ahead as a whole, one on each thread.

    Examples
    --------
    >>> is_fine_grained([1000, 1000], 2, 2, 50_000), is_fine_grained([1000, None], 2, 2, 50_000)
    (True, False)
    """
    known = list(rows)
    if None in known:
        return False
    largest = max((count for count in known if count is not None), default=0)
    return largest * columns * BYTES * (threads + 1) <= budget


def having_a_say(columns: tuple[Array, ...], keep: Keep | None) -> tuple[Array, ...]:
    """Return the rows of a block that ``keep`` chooses; without it, all of them."""
    chosen = None if keep is None else keep(columns)
    return columns if chosen is None else tuple(column[chosen] for column in columns)


def finite_blocks(
    dataset: Dataset, piece: RowGroup, names: Sequence[str], missing: str
) -> Iterator[tuple[tuple[Array, ...], int, int]]:
    """Yield the finite rows of each batch, how many others it had, and where it begins."""
    offset = 0
    for batch in piece.read(names):
        line = _line_of(dataset, piece, offset)
        columns = batch_floats(dataset, piece, offset, names, batch)
        named = dict(zip(names, columns, strict=True))
        keep = keep_finite(named, piece.label, missing, line, piece.first + offset)
        if keep is None:
            yield columns, 0, offset
        else:
            left_out = len(keep) - int(np.count_nonzero(keep))
            yield tuple(column[keep] for column in columns), left_out, offset
        offset += batch.num_rows


def _line_of(dataset: Dataset, piece: RowGroup, offset: int) -> Callable[[int], str]:
    """Return what tells of a row, counted from ``offset`` of a piece, where it stands."""
    return lambda row: piece.line(offset + row)


Arrays = tuple[Array, ...]

# Chunks begin at multiples of so many rows, whatever the pieces are: what sums are added up over.
ALIGNED_ROWS = 65_536
# Pieces whose rows are mixed with one another, where memory allows. One that is open holds about
# three batches: two that were read ahead, and what they are decoded from.
MOST_OPENED, LEAST_OPENED, HELD = 4, 2, 3
# About a tenth of a second's reading, after which progress is told and an interrupt heard.
LONGEST_PART = 1 << 23


@dataclass(frozen=True, eq=False)
class ChunkedRows:
    """Rows of a `Dataset`, all of whose numbers are finite.

    Parameters
    ----------
    dataset : Dataset
        One that can be read again.
    names : tuple of str
        The columns to read.
    counts : RowCounts
    missing : {"error", "drop"}
        What becomes of rows that are not finite.
    threads : int
        How many read at once.
    budget : int
        Bytes that pieces may hold which are read ahead.
    keep : function of the columns of a block, optional
        Which rows have a say, bool[rows], or None for all of them; the others are left out.
    """

    dataset: Dataset
    names: tuple[str, ...]
    counts: RowCounts
    missing: str = "error"
    threads: int = 1
    budget: int = 1 << 26
    keep: Keep | None = None

    @property
    def label(self) -> str:
        """How messages name the data."""
        return self.dataset.label

    @property
    def rows(self) -> int:
        """How many rows there are, also those that have no say."""
        return self.counts.rows

    @property
    def counted(self) -> int:
        """How many rows have a say, and are read."""
        return sum(self.counts.kept)

    @property
    def dropped(self) -> int:
        """Rows that ``missing="drop"`` left out."""
        return self.counts.dropped

    @property
    def chunk_rows(self) -> int:
        """The most rows of a chunk: 8 MB of numbers, or the least that is aligned."""
        panels = batch_rows(len(self.names)) // ALIGNED_ROWS
        return ALIGNED_ROWS * max(1, panels)

    def chunks(self, first: int = 0) -> Iterator[tuple[Array, ...]]:
        """Yield the columns of consecutive rows in chunks that begin at multiples of a panel.

        Parameters
        ----------
        first : int
            The row to begin at.
        """
        skipped, begin = 0, 0
        while begin < len(self.dataset.row_groups) and skipped + self.counts.kept[begin] <= first:
            skipped += self.counts.kept[begin]
            begin += 1
        reads = [
            (lambda piece=piece: self.blocks(piece)) for piece in self.dataset.row_groups[begin:]
        ]
        blocks = ahead(reads, self.threads, self._is_fine_grained)
        return aligned(_without(blocks, first - skipped), self.chunk_rows, ALIGNED_ROWS)

    @property
    def has_parts(self) -> bool:
        """Whether there are several pieces, none so long that nothing would be heard of it."""
        counts = self.counts.kept
        return len(counts) > 1 and max(counts) <= LONGEST_PART

    def parts(self, first: int = 0) -> Iterator[tuple[int, Callable[[], Iterator[Arrays]]]]:
        """Yield the row at which each piece begins, and what reads its columns in blocks.

        Parameters
        ----------
        first : int
            The row to begin at.
        """
        at = 0
        for piece, count in self._counted:
            skipped, begin, at = max(first - at, 0), at, at + count
            if skipped < count:
                yield begin + skipped, _reader(self.blocks, piece, skipped)

    @property
    def _is_fine_grained(self) -> bool:
        counts = [count if p.rows is None else p.rows for p, count in self._counted]
        return is_fine_grained(counts, len(self.names), self.threads, self.budget)

    @property
    def _counted(self) -> Iterator[tuple[RowGroup, int]]:
        return zip(self.dataset.row_groups, self.counts.kept, strict=True)

    def mixed(self, seed: Sequence[int]) -> Iterator[tuple[Array, ...]]:
        """Yield all rows in blocks, those of a few pieces at a time, which come in random order.

        Parameters
        ----------
        seed : sequence of int
            Of the order.
        """
        random = np.random.Generator(np.random.PCG64(seed))
        left = [
            self.dataset.row_groups[k] for k in random.permutation(len(self.dataset.row_groups))
        ]
        reads = [lambda piece=piece: self.blocks(piece) for piece in left]
        opened = [ahead([read], 1, False) for read in reads[: self._at_once]]
        left_over = iter(reads[self._at_once :])
        try:
            while opened:
                current = opened.pop(0)
                block = next(current, None)
                if block is not None:
                    opened.append(current)
                    yield block
                elif (read := next(left_over, None)) is not None:
                    opened.append(ahead([read], 1, False))
        finally:
            for reading in opened:
                reading.close()

    @property
    def _at_once(self) -> int:
        columns = len(self.names)
        held = HELD * batch_rows(columns) * columns * BYTES
        return min(MOST_OPENED, max(LEAST_OPENED, self.budget // held))

    def blocks(self, piece: RowGroup) -> Iterator[tuple[Array, ...]]:
        """Yield the columns of a piece, in blocks as they are read."""
        for columns, _, _ in finite_blocks(self.dataset, piece, self.names, self.missing):
            yield having_a_say(columns, self.keep)

    def take(self, begin: Sequence[int] | np.ndarray, length: int) -> tuple[Array, ...]:
        """Return the rows of runs of ``length``, given where each begins, in ascending order.

        No run may reach into the next. Pieces that hold none of them are not read, and no piece
        farther than its last.
        """
        runs = [(int(b), int(b) + length) for b in begin]
        found: list[Array] | None = None
        jobs, last = [], 0
        for piece, count in self._counted:
            first, last = last, last + count
            a, b = np.searchsorted(begin, [first - length, last], side="right")
            inside = [run for run in runs[max(0, a - 1) : b] if run[0] < last and run[1] > first]
            jobs.append((piece, first, inside))
        reads = [(lambda job=job: self._parts(*job)) for job in jobs if job[2]]
        at = 0
        for part in ahead(reads, self.threads, True):
            if found is None:
                found = [np.empty(len(runs) * length, column.dtype) for column in part]
            for k, column in enumerate(part):
                # Files may differ.
                found[k] = _as_wide(found[k], at, column.dtype)
                found[k][at : at + len(column)] = column
            at += len(part[0])
        release_unused()
        return tuple(found or ())

    def _parts(
        self, piece: RowGroup, first: int, runs: list[tuple[int, int]]
    ) -> Iterator[tuple[Array, ...]]:
        """Yield what a piece that begins at row ``first`` holds of some runs of rows."""
        last = runs[-1][1]
        for columns in self.blocks(piece):
            rows = len(columns[0])
            for a, b in runs:
                begin, end = max(a - first, 0), min(b - first, rows)
                if begin < end:
                    yield tuple(column[begin:end].copy() for column in columns)
            first += rows
            if first >= last:
                return


def _as_wide(column: Array, filled: int, kind: np.dtype[Any]) -> Array:
    """Return a column that also holds numbers of another kind; beyond ``filled`` it has none."""
    wide = np.promote_types(column.dtype, kind)
    if wide == column.dtype:
        return column
    found = np.empty(len(column), wide)
    found[:filled] = column[:filled]
    return found


def release_unused() -> None:
    """Hand back to the system what Arrow keeps of the memory of threads that have ended."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()


def _reader(
    blocks: Callable[[RowGroup], Iterator[Arrays]], piece: RowGroup, skipped: int
) -> Callable[[], Iterator[Arrays]]:
    return lambda: _without(blocks(piece), skipped)


def _without(blocks: Iterator[tuple[Array, ...]], rows: int) -> Iterator[tuple[Array, ...]]:
    """Leave out the first ``rows`` rows."""
    for columns in blocks:
        if rows <= 0:
            yield columns
        elif rows < len(columns[0]):
            yield tuple(column[rows:] for column in columns)
        rows -= len(columns[0])
