"""How many rows a scan has that can be used: known once all of them have been read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from sgdfit.data.missing import keep_finite
from sgdfit.data.prefetch import ahead
from sgdfit.data.scan import Piece, Scan
from sgdfit.data.scanned import batch_floats

__all__ = ["Census", "Keep", "count_rows", "finite_blocks", "having_a_say", "is_fine_grained"]

Array = np.ndarray[Any, Any]

BYTES = 8

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


class _Block(NamedTuple):
    """Finite rows of a batch."""

    at: int
    offset: int
    columns: tuple[Array, ...]
    left_out: int


def count_rows(
    scan: Scan,
    names: Sequence[str],
    missing: str,
    keep: Keep | None,
    visit: Callable[..., object],
    *,
    threads: int = 1,
    budget: int = 0,
) -> Census:
    """Count the rows that are kept, by reading all of them.

    Parameters
    ----------
    scan : Scan
    names : sequence of str
        The columns that are needed.
    missing : {"error", "drop"}
    keep : function of the columns of a block, or None
        As in `sgdfit.data.stream.Stream`.
    visit : callable
        Called with the piece, the row of it at which a block begins, and the columns of the block,
        in order.
    threads, budget : int
        How many read at once, and the bytes that they may hold.
    """

    def read(at: int) -> Iterator[_Block]:
        for columns, left_out, offset in finite_blocks(scan, scan.pieces[at], names, missing):
            yield _Block(at, offset, columns, left_out)

    kept, dropped, rows = [0] * len(scan.pieces), 0, 0
    reads = [(lambda at=at: read(at)) for at in range(len(scan.pieces))]
    counts = [piece.rows for piece in scan.pieces]
    for block in ahead(reads, threads, is_fine_grained(counts, len(names), threads, budget)):
        visit(scan.pieces[block.at], block.offset, block.columns)
        dropped += block.left_out
        rows += len(block.columns[0])
        kept[block.at] += len(having_a_say(block.columns, keep)[0])
    return Census(tuple(kept), dropped, rows)


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
