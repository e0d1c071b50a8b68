"""Growing batches: random samples of the rows, each several times the last, then all of them."""

from __future__ import annotations

import math

import numpy as np

from sgdfit.kernel.kernel import Chunk

# Up to here rows are cheap enough for a QR decomposition of their Jacobian.
FEW = 8_192
# The first sample: enough to be steered by, small enough to cost nothing.
FIRST, SHARE = 4_096, 8
ROWS_A_PARAMETER = 50
# From one batch to the next the standard errors shrink at most fourfold, so that few steps lead
# from the optimum of one to that of the next. The last sample holds one row in so many.
GROWTH = LAST = 16
# All samples are drawn from one subsample. So few rows are all of it; of more at most so many, and
# so many numbers, are taken.
SUBSAMPLE_ALL, MOST_SUBSAMPLED, MOST_NUMBERS = 1 << 17, 1 << 20, 1 << 22
# Runs of neighbours save reading. Beyond so many rows they come from a disk as a rule, which hands
# out long runs only; then few of these must do.
MANY = 1 << 23
RUN, LONG_RUN = 64, 32_768
# A step that leads to the minimum from anywhere needs no more than a place to begin at.
STRAIGHT_RUNS, STRAIGHT_RUN = 4, 16_384
# Then so many single rows from all over are taken along in the first pass, to look at residuals.
SCATTERED = 1 << 16


def batch_sizes(rows: int, parameters: int, subsample: int | None = None) -> list[int]:
    """Return how many rows to step on, one batch after another, ending with all.

    No sample has more rows than ``subsample``.

    >>> batch_sizes(20, 3), batch_sizes(20_000_000, 3)
    ([20], [4096, 27577, 185664, 1250000, 20000000])
    """
    if rows <= FEW:
        return [rows]
    first = max(min(FIRST, rows // SHARE), ROWS_A_PARAMETER * parameters)
    last = min(rows // LAST, subsample or rows)
    if last <= first:
        return [rows] if first * 2 > rows else [first, rows]
    stages = math.ceil(math.log(last / first, GROWTH))
    return [*(round(first * (last / first) ** (k / stages)) for k in range(stages + 1)), rows]


def subsample_runs(
    rows: int, columns: int, seed: int, *, straight: bool = False
) -> tuple[np.ndarray, int]:
    """Return the rows that samples are drawn from: where their runs begin, and how long they are.

    It depends on these numbers alone, so that data in memory and on disk are sampled alike. Where
    the loss is ``straight``, its minimum is one step away.

    >>> begin, length = subsample_runs(10**8, 2, seed=0)
    >>> len(begin), length
    (32, 32768)
    >>> begin, length = subsample_runs(10**8, 2, seed=0, straight=True)
    >>> len(begin), length
    (4, 16384)
    """
    if rows <= SUBSAMPLE_ALL:
        return np.zeros(1, dtype=np.int64), rows
    if straight and rows > MANY:
        return stratified(rows, STRAIGHT_RUNS, STRAIGHT_RUN, seed), STRAIGHT_RUN
    most = min(MOST_SUBSAMPLED, MOST_NUMBERS // max(1, columns))
    count = min(max(rows // LAST, SUBSAMPLE_ALL), max(most, SUBSAMPLE_ALL))
    length = RUN if rows <= MANY else LONG_RUN
    return stratified(rows, -(-count // length), length, seed), length


def scattered(rows: int, seed: int) -> np.ndarray:
    """Return single rows from all over, int64[k], where the subsample has but few and long runs."""
    return stratified(rows, SCATTERED if rows > MANY else 0, 1, seed)


def sample(chunk: Chunk, rows: int, seed: int) -> Chunk:
    """Return a random sample of the rows, one from each of as many equal stretches.

    Rows that are sorted, by time or by a column, are so represented evenly. Larger samples take
    runs of neighbours.

    >>> whole = Chunk((np.arange(100.0),), None)
    >>> (x,) = sample(whole, 4, seed=0).columns
    >>> (x // 25).tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    if rows >= chunk.rows:
        return chunk
    # Where lines of memory hold a row of the sample anyway, runs save most of the reading.
    length = RUN if rows > FEW and rows * RUN > chunk.rows else 1
    begin = stratified(chunk.rows, -(-rows // length), length, seed)
    taken = (begin[:, None] + np.arange(length)).ravel()[:rows]
    return chunk.taken(taken)


def stratified(rows: int, count: int, length: int, seed: int) -> np.ndarray:
    """Return where ``count`` runs begin, one at a random place in each equal stretch of the rows.

    No run reaches beyond the last row.
    """
    edges = np.linspace(0, rows, count + 1).astype(np.int64)
    places = np.maximum(np.diff(edges) - length + 1, 1)
    ahead = np.floor(np.random.default_rng(seed).random(count) * places).astype(np.int64)
    return np.asarray(np.minimum(edges[:-1] + ahead, max(rows - length, 0)))
