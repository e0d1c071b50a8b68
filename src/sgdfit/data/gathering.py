"""All rows of a scan whose length is known, filled into arrays from two threads."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from sgdfit.data.scan import Piece, Scan
from sgdfit.data.scanned import float_blocks
from sgdfit.data.table import Table

__all__ = ["gathered_table"]

Array = np.ndarray[Any, Any]

THREADS = 2


def gathered_table(scan: Scan, narrow: Callable[[str], bool]) -> Table:
    """Return a table over ``scan``, all of whose pieces know how many rows they have.

    Its columns are filled piece by piece, so that no more than they and a few batches are held.

    Parameters
    ----------
    scan : Scan
    narrow : function of a column name
        Whether all of its numbers are float32.

    Examples
    --------
    >>> import pyarrow as pa
    >>> batch = pa.record_batch({"x": [1, 2], "y": [3, 4]})
    >>> piece = Piece("a.parquet", 0, 2, lambda names: iter([batch.select(list(names))]))
    >>> scan = Scan(("x", "y"), "a.parquet", (piece, piece))
    >>> table = gathered_table(scan, narrow=lambda name: False)
    >>> table.load(["y"]).columns["y"]
    array([3., 4., 3., 4.])
    """
    counts = [piece.rows or 0 for piece in scan.pieces]
    starts = [0, *itertools.accumulate(counts)]
    several = len({piece.label for piece in scan.pieces}) > 1

    def fetch(positions: Sequence[int]) -> list[Array]:
        names = [scan.names[place] for place in positions]
        return _filled(scan, names, narrow, starts) if names else []

    def line(row: int) -> str:
        for piece, start, rows in zip(scan.pieces, starts, counts, strict=False):
            if several and start <= row < start + rows:
                return f" (row {piece.first + row - start + 1} of {piece.label})"
        return ""

    return Table(scan.names, scan.label, fetch, line, scan.decimal, scan)


def _filled(
    scan: Scan, names: Sequence[str], narrow: Callable[[str], bool], starts: Sequence[int]
) -> list[Array]:
    columns = [np.empty(starts[-1], np.float32 if narrow(name) else np.float64) for name in names]

    def fill(piece: Piece, start: int) -> None:
        for _, blocks in float_blocks(scan._replace(pieces=(piece,)), names):
            end = start + len(blocks[0])
            for column, block in zip(columns, blocks, strict=True):
                column[start:end] = block
            start = end

    with ThreadPoolExecutor(THREADS, "sgdfit-load") as pool:
        try:
            list(pool.map(fill, scan.pieces, starts))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return columns
