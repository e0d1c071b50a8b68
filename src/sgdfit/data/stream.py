"""Rows that are read anew for every pass, in aligned chunks of floating-point numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sgdfit.data.alignment import aligned
from sgdfit.data.census import Census, Keep, finite_blocks, having_a_say, is_fine_grained
from sgdfit.data.prefetch import ahead
from sgdfit.data.scan import Piece, Scan, batch_rows

__all__ = ["Stream", "release_unused"]

Array = np.ndarray[Any, Any]
Columns = tuple[Array, ...]

# Chunks begin at multiples of so many rows, whatever the pieces are: what sums are added up over.
ALIGNED_ROWS = 65_536
# Pieces whose rows are mixed with one another, where memory allows. One that is open holds about
# three batches: two that were read ahead, and what they are decoded from.
MOST_OPENED, LEAST_OPENED, HELD = 4, 2, 3
BYTES = 8
# About a tenth of a second's reading, after which progress is told and an interrupt heard.
LONGEST_PART = 1 << 23


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
    def has_parts(self) -> bool:
        """Whether there are several pieces, none so long that nothing would be heard of it."""
        counts = self.census.kept
        return len(counts) > 1 and max(counts) <= LONGEST_PART

    def parts(self, first: int = 0) -> Iterator[tuple[int, Callable[[], Iterator[Columns]]]]:
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

    def blocks(self, piece: Piece) -> Iterator[tuple[Array, ...]]:
        """Yield the columns of a piece, in blocks as they are read."""
        for columns, _, _ in finite_blocks(self.scan, piece, self.names, self.missing):
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
    blocks: Callable[[Piece], Iterator[Columns]], piece: Piece, skipped: int
) -> Callable[[], Iterator[Columns]]:
    return lambda: _without(blocks(piece), skipped)


def _without(blocks: Iterator[tuple[Array, ...]], rows: int) -> Iterator[tuple[Array, ...]]:
    """Leave out the first ``rows`` rows."""
    for columns in blocks:
        if rows <= 0:
            yield columns
        elif rows < len(columns[0]):
            yield tuple(column[rows:] for column in columns)
        rows -= len(columns[0])
