"""Rows that are read anew for every pass, in aligned chunks of floating-point numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sgdfit.data.missing import keep_finite
from sgdfit.data.prefetch import ahead
from sgdfit.data.scan import Piece, Scan, batch_rows
from sgdfit.data.scanned import batch_floats

__all__ = ["Aligner", "Census", "Keep", "Stream", "aligned", "census"]

Array = np.ndarray[Any, Any]

# Chunks begin at multiples of so many rows, whatever the pieces are: what sums are added up over.
ALIGNED_ROWS = 65_536
BYTES = 8
# Pieces whose rows are mixed with one another.
OPENED = 4


Keep = Callable[[tuple[Array, ...]], "Array | None"]


class Census(NamedTuple):
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


@dataclass(frozen=True, eq=False)
class Stream:
    """Rows of a `Scan`, all of whose numbers are finite.

    Parameters
    ----------
    scan : Scan
        One that can be read again.
    names : tuple of str
        The columns to read.
    census : Census
    missing : {"error", "drop"}
        What becomes of rows that are not finite.
    threads : int
        How many read at once.
    budget : int
        Bytes that pieces may hold which are read ahead.
    keep : function of the columns of a block, optional
        Which rows have a say, bool[rows], or None for all of them; the others are left out.
    """

    scan: Scan
    names: tuple[str, ...]
    census: Census
    missing: str = "error"
    threads: int = 1
    budget: int = 1 << 26
    keep: Keep | None = None

    @property
    def label(self) -> str:
        """How messages name the data."""
        return self.scan.label

    @property
    def rows(self) -> int:
        """How many rows there are, also those that have no say."""
        return self.census.rows

    @property
    def counted(self) -> int:
        """How many rows have a say, and are read."""
        return sum(self.census.kept)

    @property
    def dropped(self) -> int:
        """Rows that ``missing="drop"`` left out."""
        return self.census.dropped

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
        while begin < len(self.scan.pieces) and skipped + self.census.kept[begin] <= first:
            skipped += self.census.kept[begin]
            begin += 1
        reads = [(lambda piece=piece: self.blocks(piece)) for piece in self.scan.pieces[begin:]]
        blocks = ahead(reads, self.threads, self._is_fine_grained)
        return aligned(_without(blocks, first - skipped), self.chunk_rows, ALIGNED_ROWS)

    @property
    def _is_fine_grained(self) -> bool:
        """Whether whole pieces may be read ahead, one on each thread."""
        counts = [count if p.rows is None else p.rows for p, count in self._counted]
        largest = max(counts, default=0) * len(self.names) * BYTES
        return largest * (self.threads + 1) <= self.budget

    @property
    def _counted(self) -> Iterator[tuple[Piece, int]]:
        return zip(self.scan.pieces, self.census.kept, strict=True)

    def mixed(self, seed: Sequence[int]) -> Iterator[tuple[Array, ...]]:
        """Yield all rows in blocks, those of a few pieces at a time, which come in random order.

        Parameters
        ----------
        seed : sequence of int
            Of the order.
        """
        random = np.random.Generator(np.random.PCG64(seed))
        left = [self.scan.pieces[k] for k in random.permutation(len(self.scan.pieces))]
        reads = [lambda piece=piece: self.blocks(piece) for piece in left]
        opened = [ahead([read], 1, False) for read in reads[:OPENED]]
        left_over = iter(reads[OPENED:])
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

    def blocks(self, piece: Piece) -> Iterator[tuple[Array, ...]]:
        """Yield the columns of a piece, in blocks as they are read."""
        for columns, _, _ in _finite(self.scan, piece, self.names, self.missing):
            yield _having_a_say(columns, self.keep)

    def take(self, begin: Sequence[int] | np.ndarray, length: int) -> tuple[Array, ...]:
        """Return the rows of runs of ``length``, given where each begins, in ascending order.

        Pieces that hold none of them are not read, and no piece farther than its last.
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
                if column.dtype != found[k].dtype:  # files may differ
                    found[k] = found[k].astype(np.float64)
                found[k][at : at + len(column)] = column
            at += len(part[0])
        return tuple(found or ())

    def _parts(
        self, piece: Piece, first: int, runs: list[tuple[int, int]]
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


def census(
    scan: Scan, names: Sequence[str], missing: str, keep: Keep | None, visit: Callable[..., object]
) -> Census:
    """Count the rows that are kept, by reading all of them.

    Parameters
    ----------
    scan : Scan
    names : sequence of str
        The columns that are needed.
    missing : {"error", "drop"}
    keep : function of the columns of a block, or None
        As in `Stream`.
    visit : callable
        Called with the piece, the row of it at which a block begins, and the columns of the block,
        in order.
    """
    kept, dropped, rows = [], 0, 0
    for piece in scan.pieces:
        count = 0
        for columns, left_out, offset in _finite(scan, piece, names, missing):
            visit(piece, offset, columns)
            dropped += left_out
            rows += len(columns[0])
            count += len(_having_a_say(columns, keep)[0])
        kept.append(count)
    return Census(tuple(kept), dropped, rows)


def _having_a_say(columns: tuple[Array, ...], keep: Keep | None) -> tuple[Array, ...]:
    chosen = None if keep is None else keep(columns)
    return columns if chosen is None else tuple(column[chosen] for column in columns)


def _finite(
    scan: Scan, piece: Piece, names: Sequence[str], missing: str
) -> Iterator[tuple[tuple[Array, ...], int, int]]:
    """Yield the finite rows of each batch, how many others it had, and where it begins."""
    offset = 0
    for batch in piece.read(names):
        line = _line_of(scan, piece, offset)
        columns = batch_floats(scan, piece, offset, names, batch)
        named = dict(zip(names, columns, strict=True))
        keep = keep_finite(named, piece.label, missing, line, piece.first + offset)
        if keep is None:
            yield columns, 0, offset
        else:
            left_out = len(keep) - int(np.count_nonzero(keep))
            yield tuple(column[keep] for column in columns), left_out, offset
        offset += batch.num_rows


def _line_of(scan: Scan, piece: Piece, offset: int) -> Callable[[int], str]:
    """Return what tells of a row, counted from ``offset`` of a piece, where it stands."""
    return lambda row: scan.line(piece, offset + row)


def _without(blocks: Iterator[tuple[Array, ...]], rows: int) -> Iterator[tuple[Array, ...]]:
    """Leave out the first ``rows`` rows."""
    for columns in blocks:
        if rows <= 0:
            yield columns
        elif rows < len(columns[0]):
            yield tuple(column[rows:] for column in columns)
        rows -= len(columns[0])


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
