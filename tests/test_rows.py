"""Row groups read ahead, counted and cut into chunks, against the same rows in NumPy."""

from __future__ import annotations

import itertools
import threading
import time

import numpy as np
import pyarrow as pa
import pytest

from sgdfit.data.opening import open_rows
from sgdfit.data.rows import (
    ChunkedRows,
    aligned,
    count_rows,
    dataset_table,
    read_ahead,
    read_batches,
)
from sgdfit.data.table import Dataset, RowGroup
from sgdfit.errors import DataError

F32, F64 = np.float32, np.float64
LENGTHS = {
    "one block": (23,),
    "blocks of a unit": (4,) * 6,
    "nothing is aligned": (3, 5, 7, 1, 9),
    "single rows": (1,) * 13,
    "empty ones among them": (0, 6, 0, 0, 2, 0),
    "only empty ones": (0, 0),
    "nothing": (),
    "long after short": (1, 40),
    "short after long": (40, 1),
}


@pytest.mark.parametrize("kinds", [(F64,), (F32, F64)])
@pytest.mark.parametrize("name", LENGTHS)
@pytest.mark.parametrize(("size", "unit"), [(4, None), (4, 4), (12, 4), (4 << 20, 4), (3, 1)])
def test_chunks_hold_all_rows_in_order_and_copy_only_across_edges(name, size, unit, kinds):
    edges = list(itertools.accumulate(LENGTHS[name], initial=0))
    pairs = zip(itertools.pairwise(edges), itertools.cycle(kinds), strict=False)
    blocks = [(np.arange(a, b).astype(kind), -np.arange(a, b)) for (a, b), kind in pairs]
    found = list(aligned(iter(blocks), size, unit))
    rows = [len(chunk[0]) for chunk in found]
    assert all(0 < count <= size for count in rows)
    assert all(count % (unit or size) == 0 for count in rows[:-1])
    for k, sign in enumerate((1, -1)):
        whole = np.concatenate([np.empty(0), *(chunk[k] for chunk in found)])
        np.testing.assert_array_equal(whole, sign * np.arange(edges[-1]))
    for chunk, _ in found:
        a, b = (np.searchsorted(edges, row, "right") for row in (chunk[0], chunk[-1]))
        assert any(np.shares_memory(chunk, block[0]) for block in blocks) == (a == b)


LAYOUTS = {
    "blocks of one row group": [[100, 300, 100]],
    "row groups": [[100], [250], [150]],
    "empty ones among them": [[], [100, 0], [], [0, 200], [200], []],
    "single rows": [[1]] * 60,
}
HOW = [(1, 0), (2, 0), (2, 1 << 30), (3, 1 << 30)]
how = pytest.mark.parametrize(("threads", "budget"), HOW)
layouts = pytest.mark.parametrize("layout", LAYOUTS)


def columns_of(layout):
    """Return the columns of all rows; some are not finite, in some w is 0."""
    rows = sum(map(sum, LAYOUTS[layout]))
    random = np.random.default_rng(5)
    x, w = random.uniform(-1, 1, rows), random.integers(0, 3, rows).astype(float)
    x[::7], w[3::11] = np.nan, np.inf
    return {"x": x, "w": w}


def dataset_of(columns, lengths, counted=True, kinds=(F64,), slow=0):
    """Return row groups in memory, each of some blocks; earlier ones are read slower."""
    groups, at = [], 0
    for number, blocks in enumerate(lengths):
        edges = list(itertools.accumulate(blocks, initial=at))
        kind = kinds[number % len(kinds)]

        def read(names, edges=edges, kind=kind, number=number):
            time.sleep(slow / (number + 1))
            for a, b in itertools.pairwise(edges):
                arrays = [pa.array(columns[n][a:b].astype(kind)) for n in names]
                yield pa.record_batch(arrays, list(names))

        groups.append(RowGroup("a.parquet", at, edges[-1] - at if counted else None, read))
        at = edges[-1]
    return Dataset(tuple(columns), "a.parquet", tuple(groups))


@pytest.fixture(autouse=True)
def no_threads_left():
    before = threading.enumerate()
    yield
    assert set(threading.enumerate()) <= set(before)  # those of other tests may end


@how
@pytest.mark.parametrize("counted", [True, False])
@layouts
def test_rows_are_counted_as_numpy_counts_them(layout, counted, threads, budget):
    columns, lengths = columns_of(layout), LAYOUTS[layout]
    finite = np.isfinite(columns["x"]) & np.isfinite(columns["w"])
    seen = []
    dataset = dataset_of(columns, lengths, counted)
    counts = count_rows(
        dataset,
        read_batches(dataset, ["x", "w"], "drop", threads, budget),
        lambda block: block[1] > 0,
        lambda group, offset, block: seen.append((group.first + offset, block)),
    )
    edges = np.cumsum([0, *map(sum, lengths)])
    chosen = finite & (columns["w"] > 0)
    kept = tuple(int(chosen[a:b].sum()) for a, b in itertools.pairwise(edges))
    assert counts == (kept, int((~finite).sum()), int(finite.sum()))
    assert [first for first, _ in seen] == sorted(first for first, _ in seen)
    for k, name in enumerate(("x", "w")):
        found = np.concatenate([block[k] for _, block in seen])
        np.testing.assert_array_equal(found, columns[name][finite])


@how
@layouts
def test_rows_come_in_order_from_any_row_on_whole_or_in_parts(layout, threads, budget):
    columns = columns_of(layout)
    table = dataset_table(dataset_of(columns, LAYOUTS[layout]))
    rows = open_rows(table, ["x", "w"], missing="drop", budget=0, threads=threads)
    rows = ChunkedRows(rows.dataset, rows.names, rows.counts, "drop", threads, budget)
    rows = rows.chosen(lambda block: block[1] > 0, lambda *_: None)
    finite = np.isfinite(columns["x"]) & np.isfinite(columns["w"])
    expected = columns["x"][finite & (columns["w"] > 0)]
    assert (rows.counted, rows.dropped) == (len(expected), int((~finite).sum()))
    for first in (0, 1, len(expected) // 2, len(expected) - 1, len(expected)):
        whole = [block[0] for block in rows.chunks(first)]
        np.testing.assert_array_equal(np.concatenate([np.empty(0), *whole]), expected[first:])
        parts = [(at, [x for x, _ in read()]) for at, read in rows.parts(first)]
        joined = [np.concatenate(blocks) for _, blocks in parts]
        np.testing.assert_array_equal(np.concatenate([np.empty(0), *joined]), expected[first:])
        for (at, _), part in zip(parts, joined, strict=True):
            np.testing.assert_array_equal(part, expected[at : at + len(part)])
    mixed = np.concatenate([block[0] for block in rows.mixed([3])])
    np.testing.assert_array_equal(np.sort(mixed), np.sort(expected))


@how
@pytest.mark.parametrize("lengths", [[[100, 100, 100, 100]], [[100], [100], [100], [100]]])
@pytest.mark.parametrize("weight", [50, 250])
def test_the_first_row_that_is_amiss_is_named_whoever_reads_it(lengths, weight, threads, budget):
    columns = {"x": np.zeros(400), "w": np.ones(400)}
    columns["x"][[150, 350]], columns["w"][weight] = np.nan, -1.0

    def visit(group, offset, block):
        if (block[1] < 0).any():
            raise DataError(f"weight in row {group.first + offset + int(np.argmin(block[1])) + 1}")

    dataset = dataset_of(columns, lengths, slow=0.02)
    said = "weight in row 51" if weight == 50 else "column 'x' row 151 of a.parquet is missing"
    batches = read_batches(dataset, ["x", "w"], "error", threads, budget)
    with pytest.raises(DataError, match=said):
        count_rows(dataset, batches, None, visit)


@pytest.mark.parametrize(("threads", "whole"), [(1, False), (1, True), (2, True), (3, True)])
def test_errors_come_in_turn_and_whoever_stops_leaves_nothing_open(threads, whole):
    closed = []

    def reading():
        try:
            yield from range(5)
        finally:
            closed.append(True)

    def broken():
        yield from (3, 4)
        raise OSError("cut off")

    found = []
    with pytest.raises(OSError, match="cut off"):
        found.extend(read_ahead([lambda: iter((1, 2)), broken, reading], threads, whole))
    assert found == [1, 2, 3, 4]
    each = read_ahead([reading] * 3, threads, whole)
    assert next(each) == 0
    each.close()
    assert closed


@pytest.mark.parametrize("kinds", [(F32,), (F32, F64), (F64, F32), (F32, F32, F64)])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    ("begin", "length"), [([0], 500), ([0, 90, 240, 499], 1), ([3, 95, 220], 90)]
)
def test_runs_are_taken_from_files_whose_numbers_differ(kinds, threads, begin, length):
    columns = {"x": np.arange(500.0) / 4}
    dataset = dataset_of(columns, [[100], [0], [50, 100], [50], [200]], kinds=kinds)
    rows = open_rows(dataset_table(dataset), ["x"], missing="error", budget=0, threads=threads)
    (found,) = rows.take(begin, length)
    np.testing.assert_array_equal(
        found, np.concatenate([columns["x"][b : b + length] for b in begin])
    )
    assert found.dtype == np.float32 or kinds != (F32,)
