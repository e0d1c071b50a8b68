"""Blocks cut into chunks that begin where they should, against one column cut by NumPy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from sgdfit.data.rows import Aligner, aligned

LAYOUTS = {
    "one block": (23,),
    "blocks of a unit": (4,) * 6,
    "nothing is aligned": (3, 5, 7, 1, 9),
    "single rows": (1,) * 13,
    "empty ones among them": (0, 6, 0, 0, 2, 0),
    "only empty ones": (0, 0),
    "nothing": (),
    "a multiple of all": (12, 24, 12),
    "long after short": (1, 40),
    "short after long": (40, 1),
}


def blocks_of(lengths, kinds=(np.float64,)):
    """Return blocks whose first column counts the rows, the second backwards."""
    edges = list(itertools.accumulate(lengths, initial=0))
    return [
        (np.arange(a, b).astype(kind), -np.arange(a, b).astype(np.float64))
        for (a, b), kind in zip(itertools.pairwise(edges), itertools.cycle(kinds), strict=False)
    ]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("size", "unit"), [(4, None), (4, 4), (12, 4), (4 << 20, 4), (3, 1)])
def test_chunks_hold_all_rows_in_order_and_begin_at_units(layout, size, unit):
    lengths = LAYOUTS[layout]
    found = list(aligned(iter(blocks_of(lengths)), size, unit))
    for k, sign in enumerate((1, -1)):
        column = np.concatenate([chunk[k] for chunk in found]) if found else np.empty(0)
        np.testing.assert_array_equal(column, sign * np.arange(sum(lengths)))
    rows = [len(chunk[0]) for chunk in found]
    assert all(0 < count <= size for count in rows)
    assert all(count % (unit or size) == 0 for count in rows[:-1])
    if unit is None:
        assert all(count == size for count in rows[:-1])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_only_what_crosses_an_edge_is_copied(layout):
    blocks = blocks_of(LAYOUTS[layout])
    edges = np.cumsum([0, *LAYOUTS[layout]])
    for chunk, _ in aligned(iter(blocks), 12, 4):
        first, last = int(chunk[0]), int(chunk[-1])
        inside = np.searchsorted(edges, first, "right") == np.searchsorted(edges, last, "right")
        shared = any(np.shares_memory(chunk, block[0]) for block in blocks)
        assert shared == inside


def test_a_block_gives_as_many_units_as_it_holds():
    cut = Aligner(12, 4)
    rows = [len(chunk[0]) for block in blocks_of((2, 33, 6)) for chunk in cut.push(block)]
    assert rows == [4, 12, 12, 4, 4, 4]
    assert [len(chunk[0]) for chunk in cut.rest()] == [1]


def test_files_may_hold_numbers_of_two_lengths():
    blocks = blocks_of((5, 5, 5), (np.float32, np.float64))
    found = [chunk[0] for chunk in aligned(iter(blocks), 4)]
    np.testing.assert_array_equal(np.concatenate(found), np.arange(15))
    kinds = [column.dtype.name for column in found]
    assert kinds == ["float32", "float64", "float64", "float32"]
