"""Samples of the rows: how large they grow, and that every row is as likely as every other."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sgdfit.fitting.gauss_newton import FEW
from sgdfit.fitting.sampling import FIRST, GROWTH, LAST, RUN, batch_sizes, sample
from sgdfit.kernel.kernel import Chunk


@settings(max_examples=300)
@given(st.integers(1, 10**12), st.integers(1, 60))
def test_batches_grow_to_all_rows(rows, parameters):
    sizes = batch_sizes(rows, parameters)
    assert sizes[-1] == rows
    assert all(a < b for a, b in pairwise(sizes))
    assert sizes == [rows] or sizes[0] >= min(rows, 50 * parameters)
    if rows <= FEW:
        assert sizes == [rows]
    # Between two samples standard errors shrink at most fourfold; the last holds 1 row in 16.
    assert all(b <= 1.001 * GROWTH * a for a, b in pairwise(sizes[:-1]))
    if len(sizes) > 2:
        assert abs(sizes[-2] - rows / LAST) < 1
    # Samples together are a small part of all rows, whatever is done on each.
    assert sum(sizes[:-1]) <= rows / 2 + 100 * parameters
    if rows > 10**6 and parameters < 20:
        assert sum(sizes[:-1]) <= 0.09 * rows
        assert sizes[0] <= max(FIRST, 50 * parameters)


@settings(max_examples=60)
@given(st.integers(2, 40_000), st.integers(1, 40_000), st.integers(0, 2**32), st.booleans())
def test_a_sample_holds_rows_of_every_stretch(rows, size, seed, weighted):
    index = np.arange(rows, dtype=np.float64)
    whole = Chunk((index, -index), index + 0.5 if weighted else None)
    some = sample(whole, size, seed)
    if size >= rows:
        assert some is whole
        return
    first, second = some.columns
    assert len(first) == size
    np.testing.assert_array_equal(second, -first)
    if weighted:
        np.testing.assert_array_equal(some.weights, first + 0.5)
    assert (np.diff(first) >= 0).all()
    if size <= FEW or size * RUN <= rows:
        assert (np.diff(first) > 0).all(), "no row is taken twice"
        # One of each of as many equal stretches, whose edges need not be whole rows.
        stretch = np.arange(size) * (rows / size)
        assert (first >= np.floor(stretch)).all()
        assert (first <= stretch + rows / size).all()
    np.testing.assert_array_equal(sample(whole, size, seed).columns[0], first)


@pytest.mark.parametrize(("rows", "size"), [(1_000, 100), (1_000, 500), (8_192, 64), (999, 333)])
def test_every_row_is_equally_likely(rows, size):
    """Every frequency within chance, which interleaved data notice; all of them by χ²."""
    index, times = Chunk((np.arange(rows),), None), 400
    taken = np.concatenate([sample(index, size, seed).columns[0] for seed in range(times)])
    share = size / rows
    excess = np.bincount(taken, minlength=rows) - times * share
    standard = excess / np.sqrt(times * share * (1 - share))
    assert np.abs(standard).max() < 7
    assert float(np.mean(standard**2)) == pytest.approx(1.0, abs=5 * np.sqrt(2 / rows))


@pytest.mark.parametrize(("rows", "size"), [(1_003, 100), (100_000, 6_250), (300_000, 18_750)])
def test_means_over_samples_are_means_over_the_rows(rows, size):
    """Rows that drift and oscillate, seldom in whole stretches, in runs where the rows are many."""
    rng = np.random.default_rng(0)
    drift = np.linspace(0, 1, rows) ** 2
    column = drift + 0.3 * rng.normal(size=rows) + np.sin(np.arange(rows) / 3)
    chunk = Chunk((column,), None)
    means = np.array([sample(chunk, size, seed).columns[0].mean() for seed in range(200)])
    error = means.std(ddof=1) / np.sqrt(len(means))
    assert abs(means.mean() - column.mean()) <= 4 * error


def test_runs_of_large_samples_are_read_in_one_piece():
    rows, size = 1_000_000, 100_032
    taken = sample(Chunk((np.arange(rows, dtype=np.float64),), None), size, 3).columns[0]
    breaks = np.count_nonzero(np.diff(taken) != 1)
    assert breaks <= size / RUN
    assert len(np.unique(taken)) == size
