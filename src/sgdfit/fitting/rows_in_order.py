"""All rows of data in their order, a block at a time and read once, with their numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sgdfit.data.alignment import aligned
from sgdfit.data.missing import check_policy, keep_finite
from sgdfit.data.prefetch import ahead
from sgdfit.data.scan import Piece, Scan
from sgdfit.data.scanned import batch_floats
from sgdfit.data.source import Source
from sgdfit.data.table import Table, clean_names
from sgdfit.fitting.options import Means

__all__ = ["BLOCK_ROWS", "Block", "blocks_of"]

Array = np.ndarray[Any, Any]

# Blocks begin at multiples of so many rows, however the data are stored.
BLOCK_ROWS = 131_072
BYTES = 8


class Block(NamedTuple):
    """Some rows that follow one another.

    Attributes
    ----------
    columns : dict of str to float64[n]
        By name; all finite.
    first : int
        How many rows of the data come before, also those that were left out.
    keep : bool[k] or None
        Which rows of the block these are; None: all of them.
    """

    columns: dict[str, Array]
    first: int
    keep: NDArray[np.bool_] | None

    @property
    def seen(self) -> int:
        """How many rows were read, also those that were left out."""
        return len(next(iter(self.columns.values()))) if self.keep is None else len(self.keep)

    @property
    def numbers(self) -> NDArray[np.int64]:
        """The number of each row in the data, counted from 1."""
        here = np.arange(self.seen) if self.keep is None else np.flatnonzero(self.keep)
        return np.asarray(here + (self.first + 1), dtype=np.int64)

    @property
    def dropped(self) -> NDArray[np.int64]:
        """The numbers of the rows that were left out."""
        here = np.arange(0) if self.keep is None else np.flatnonzero(~self.keep)
        return np.asarray(here + (self.first + 1), dtype=np.int64)


def blocks_of(table: Table, names: Sequence[str], missing: str, means: Means) -> Iterator[Block]:
    """Yield all rows; of files no more than a few blocks are held at once.

    Raises
    ------
    DataError
        When a column is unknown or not numeric, or numbers are not finite and ``missing="error"``.
    UsageError
        When ``missing`` is neither ``"error"`` nor ``"drop"``.

    Examples
    --------
    >>> from sgdfit.data.readers import open_table
    >>> from sgdfit.fitting.options import as_means
    >>> table = open_table({"x": [1.0, np.nan, 3.0]})
    >>> (block,) = blocks_of(table, ["x"], "drop", as_means())
    >>> block.columns["x"].tolist(), block.numbers.tolist(), block.dropped.tolist()
    ([1.0, 3.0], [1, 3], [2])
    """
    check_policy(missing)
    if table.scan is None:
        return _loaded(table.load(names, missing=missing))
    table.check(names)
    return _streamed(table.scan, tuple(dict.fromkeys(clean_names(names))), missing, means)


def _loaded(source: Source) -> Iterator[Block]:
    rows = source.rows if source.keep is None else len(source.keep)
    begin = 0
    for first in range(0, rows, BLOCK_ROWS):
        last = min(first + BLOCK_ROWS, rows)
        keep = None if source.keep is None else source.keep[first:last]
        end = begin + (last - first if keep is None else int(np.count_nonzero(keep)))
        columns = {name: _wide(column[begin:end]) for name, column in source.columns.items()}
        yield Block(columns, first, keep)
        begin = end


def _streamed(scan: Scan, names: tuple[str, ...], missing: str, means: Means) -> Iterator[Block]:
    reads = [(lambda piece=piece: _read(scan, piece, names, missing)) for piece in scan.pieces]
    first = 0
    blocks = ahead(reads, means.threads, _is_fine_grained(scan, names, means))
    try:
        for is_kept, *columns in aligned(blocks, BLOCK_ROWS):
            keep = None if is_kept.all() else is_kept
            chosen = columns if keep is None else [column[keep] for column in columns]
            named = {name: _wide(column) for name, column in zip(names, chosen, strict=True)}
            yield Block(named, first, keep)
            first += len(is_kept)
    finally:
        blocks.close()


def _is_fine_grained(scan: Scan, names: Sequence[str], means: Means) -> bool:
    """Whether whole pieces may be read ahead, one on each thread."""
    counts = [piece.rows for piece in scan.pieces]
    known = [count for count in counts if count is not None]
    largest = max(known, default=0) * (len(names) + 1) * BYTES
    return len(known) == len(counts) and largest * (means.threads + 1) <= means.budget


def _read(
    scan: Scan, piece: Piece, names: Sequence[str], missing: str
) -> Iterator[tuple[Array, ...]]:
    """Yield which rows are finite, and the columns, of each batch of a piece."""
    offset = 0
    for batch in piece.read(names):
        columns = batch_floats(scan, piece, offset, names, batch)
        named = dict(zip(names, columns, strict=True))

        def line(row: int, offset: int = offset) -> str:
            return scan.line(piece, offset + row)

        keep = keep_finite(named, piece.label, missing, line, piece.first + offset)
        yield (np.ones(batch.num_rows, dtype=bool) if keep is None else keep, *columns)
        offset += batch.num_rows


def _wide(column: Array) -> Array:
    return column.astype(np.float64, copy=False)
