"""Growing batches: random samples of the rows, each several times the last, then all of them."""

from __future__ import annotations

import math

import numpy as np

from sgdfit.fits.surface import FEW
from sgdfit.kernels.kernel import Chunk

__all__ = ["batch_sizes", "sample"]

# The first sample: enough to be steered by, small enough to cost nothing.
FIRST, SHARE = 4_096, 8
ROWS_A_PARAMETER = 50
# From one batch to the next the standard errors shrink at most fourfold, so that few steps lead
# from the optimum of one to that of the next. The last sample holds one row in so many.
GROWTH = LAST = 16
# Rows of a run.
RUN = 64


def batch_sizes(rows: int, parameters: int) -> list[int]:
    """Return how many rows to step on, one batch after another, ending with all.

    Examples
    --------
    >>> batch_sizes(20, 3), batch_sizes(20_000_000, 3)
    ([20], [4096, 27577, 185664, 1250000, 20000000])
    """
    if rows <= FEW:
        return [rows]
    first = max(min(FIRST, rows // SHARE), ROWS_A_PARAMETER * parameters)
    last = rows // LAST
    if last <= first:
        return [rows] if first * 2 > rows else [first, rows]
    stages = math.ceil(math.log(last / first, GROWTH))
    return [*(round(first * (last / first) ** (k / stages)) for k in range(stages + 1)), rows]


def sample(chunk: Chunk, rows: int, seed: int) -> Chunk:
    """Return a random sample of the rows, one from each of as many equal stretches.

    Rows that are sorted, by time or by a column, are so represented evenly. Larger samples take
    runs of neighbours.

    Examples
    --------
    >>> whole = Chunk((np.arange(100.0),), None)
    >>> (x,) = sample(whole, 4, seed=0).columns
    >>> (x // 25).tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    if rows >= chunk.rows:
        return chunk
    # Where lines of memory hold a row of the sample anyway, runs save most of the reading.
    length = RUN if rows > FEW and rows * RUN > chunk.rows else 1
    taken = _stretches(chunk.rows, -(-rows // length), length, seed)[:rows]
    weights = None if chunk.weights is None else chunk.weights[taken]
    return Chunk(tuple(column[taken] for column in chunk.columns), weights)


def _stretches(rows: int, count: int, length: int, seed: int) -> np.ndarray:
    """Return the rows of ``count`` runs, one at a random place in each equal stretch."""
    edges = np.linspace(0, rows, count + 1).astype(np.int64)
    places = np.maximum(np.diff(edges) - length + 1, 1)
    begin = edges[:-1] + np.floor(np.random.default_rng(seed).random(count) * places)
    runs = begin.astype(np.int64)[:, None] + np.arange(length)
    return np.asarray(np.minimum(runs.ravel(), rows - 1))
