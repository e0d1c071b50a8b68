"""Counting and reading rows of pieces on several threads, against the same rows in NumPy."""

from __future__ import annotations

import itertools
import threading
import time

import numpy as np
import pyarrow as pa
import pytest

from sgdfit.data.opening import open_rows, without_weightless
from sgdfit.data.rows import ChunkedRows, count_rows, dataset_table, fits_budget, prefetch
from sgdfit.data.table import Dataset, RowGroup
from sgdfit.errors import DataError

LAYOUTS = {
    "one piece": [[500]],
    "blocks of one piece": [[100, 300, 100]],
    "pieces": [[100], [250], [150]],
    "empty pieces among them": [[], [100, 0], [], [0, 200], [200], []],
    "single rows": [[1]] * 60,
}
NAN = float("nan")
F32, F64 = pa.float32(), pa.float64()


def columns_of(layout):
    """Return the columns of all rows; some are not finite, in some w is 0."""
    rows = sum(map(sum, LAYOUTS[layout]))
    random = np.random.default_rng(5)
    x, w = random.uniform(-1, 1, rows), random.integers(0, 3, rows).astype(float)
    return {"x": x, "w": w}


def scan_of(columns, lengths, counted=True, kinds=(F64,), slow=0):
    """Return pieces over columns in memory, each of some blocks; earlier ones are read slower."""
    pieces, at = [], 0
    for number, blocks in enumerate(lengths):
        first, edges = at, [at]
        for rows in blocks:
            edges.append(edges[-1] + rows)
        kind = kinds[number % len(kinds)]

        def read(names, edges=edges, kind=kind, number=number):
            time.sleep(slow / (number + 1))
            for a, b in itertools.pairwise(edges):
                arrays = [pa.array(columns[n][a:b]).cast(kind) for n in names]
                yield pa.record_batch(arrays, list(names))

        at = edges[-1]
        pieces.append(RowGroup("data.parquet", first, at - first if counted else None, read))
    return Dataset(tuple(columns), "data.parquet", tuple(pieces))


def threads_left():
    return [t.name for t in threading.enumerate() if t is not threading.main_thread()]


MEANS = [(1, 0), (2, 0), (2, 1 << 30), (3, 1 << 30)]


@pytest.mark.parametrize(("threads", "budget"), MEANS)
@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_census_counts_what_numpy_counts(layout, counted, threads, budget):
    columns, lengths = columns_of(layout), LAYOUTS[layout]
    columns["x"][::7] = NAN
    columns["w"][3::11] = np.inf
    finite = np.isfinite(columns["x"]) & np.isfinite(columns["w"])
    seen = []
    census = count_rows(
        scan_of(columns, lengths, counted),
        ["x", "w"],
        "drop",
        lambda block: block[1] > 0,
        lambda piece, offset, block: seen.append((piece.first + offset, block)),
        threads=threads,
        budget=budget,
    )
    edges = np.cumsum([0, *map(sum, lengths)])
    chosen = finite & (columns["w"] > 0)
    counts = [int(chosen[a:b].sum()) for a, b in itertools.pairwise(edges)]
    assert census == (tuple(counts), int((~finite).sum()), int(finite.sum()))
    assert [first for first, _ in seen] == sorted(first for first, _ in seen)
    for k, name in enumerate(("x", "w")):
        found = np.concatenate([block[k] for _, block in seen])
        np.testing.assert_array_equal(found, columns[name][finite])
    assert not threads_left()


@pytest.mark.parametrize(("threads", "budget"), MEANS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_come_in_order_from_any_row_on_whole_or_in_parts(layout, threads, budget):
    columns, lengths = columns_of(layout), LAYOUTS[layout]
    columns["x"][::7] = NAN
    scan = scan_of(columns, lengths)
    stream = open_rows(dataset_table(scan), ["x", "w"], missing="drop", budget=0, threads=threads)
    assert isinstance(stream, ChunkedRows)
    stream = ChunkedRows(scan, ("x", "w"), stream.counts, "drop", threads, budget)
    stream = without_weightless(stream, lambda block: block[1] > 0, lambda *_: None)
    expected = columns["x"][np.isfinite(columns["x"]) & (columns["w"] > 0)]
    assert (stream.counted, stream.dropped) == (len(expected), int(np.isnan(columns["x"]).sum()))
    for first in (0, 1, len(expected) // 2, len(expected) - 1, len(expected)):
        whole = [block[0] for block in stream.chunks(first)]
        np.testing.assert_array_equal(np.concatenate([np.empty(0), *whole]), expected[first:])
        parts = [(at, [x for x, _ in read()]) for at, read in stream.parts(first)]
        joined = [np.concatenate(blocks) for _, blocks in parts]
        np.testing.assert_array_equal(np.concatenate([np.empty(0), *joined]), expected[first:])
        for (at, _), rows in zip(parts, joined, strict=True):
            np.testing.assert_array_equal(rows, expected[at : at + len(rows)])
    assert not threads_left()


@pytest.mark.parametrize(("threads", "budget"), MEANS)
@pytest.mark.parametrize("lengths", [[[100, 100, 100, 100]], [[100], [100], [100], [100]]])
@pytest.mark.parametrize("weight", [50, 250])
def test_the_first_row_that_is_amiss_is_named_whoever_reads_it(lengths, weight, threads, budget):
    columns = {"x": np.zeros(400), "w": np.ones(400)}
    columns["x"][[150, 350]], columns["w"][weight] = NAN, -1.0

    def visit(piece, offset, block):
        if (block[1] < 0).any():
            raise DataError(f"weight in row {piece.first + offset + int(np.argmin(block[1])) + 1}")

    scan = scan_of(columns, lengths, slow=0.02)
    said = "weight in row 51" if weight == 50 else "column 'x' row 151 of data.parquet is missing"
    with pytest.raises(DataError, match=said):
        count_rows(scan, ["x", "w"], "error", None, visit, threads=threads, budget=budget)
    assert not threads_left()


@pytest.mark.parametrize(("threads", "small"), [(1, False), (1, True), (2, True), (3, True)])
def test_what_was_read_before_an_error_comes_before_it(threads, small):
    def broken():
        yield from (3, 4)
        raise OSError("cut off")

    reads = [lambda: iter((1, 2)), broken, lambda: iter((5,))]
    found, each = [], prefetch(reads, threads, small)
    with pytest.raises(OSError, match="cut off"):
        found.extend(each)
    assert found == [1, 2, 3, 4]
    assert not threads_left()


@pytest.mark.parametrize(("threads", "small"), [(1, False), (2, True)])
def test_whoever_stops_asking_leaves_nothing_open(threads, small):
    closed = []

    def reading():
        try:
            yield from range(5)
        finally:
            closed.append(True)

    each = prefetch([reading] * 3, threads, small)
    assert next(each) == 0
    each.close()
    assert closed
    assert not threads_left()


@pytest.mark.parametrize("kinds", [(F32,), (F64,), (F32, F64), (F64, F32), (F32, F32, F64)])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    ("begin", "length"), [([0], 500), ([0, 90, 240, 499], 1), ([3, 95, 220], 90)]
)
def test_runs_are_taken_from_files_whose_numbers_differ(kinds, threads, begin, length):
    columns = {"x": np.arange(500.0) / 4}
    scan = scan_of(columns, [[100], [0], [50, 100], [50], [200]], kinds=kinds)
    stream = open_rows(dataset_table(scan), ["x"], missing="error", budget=0, threads=threads)
    assert isinstance(stream, ChunkedRows)
    (found,) = stream.take(begin, length)
    expected = np.concatenate([columns["x"][b : b + length] for b in begin])
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.float32 or kinds != (F32,)


@pytest.mark.parametrize(
    ("rows", "columns", "threads", "budget", "fine"),
    [
        ([100, 200], 3, 2, 3 * 8 * 200 * 3, True),
        ([100, 200], 3, 2, 3 * 8 * 200 * 3 - 1, False),
        ([100, None], 1, 1, 1 << 40, False),
        ([], 1, 1, 0, True),
        ([0], 1, 8, 0, True),
    ],
)
def test_pieces_are_read_as_a_whole_where_all_that_are_held_fit(
    rows, columns, threads, budget, fine
):
    assert fits_budget(rows, columns, threads, budget) is fine
