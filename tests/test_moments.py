"""Extremes and moments by compiled code, against NumPy and exact sums."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from sgdfit.fitting.reduce import look, stats_of
from sgdfit.kernel.kernel import PANEL, Chunk
from sgdfit.kernel.summation import looked_through
from sgdfit.model.model import build

TINY, HUGE = np.finfo(np.float64).smallest_subnormal, np.finfo(np.float64).max
RNG = np.random.default_rng(3)
COLUMNS = {
    "one": [2.5],
    "one that is negative": [-2.5],
    "ascending": np.arange(-5.0, 6.0),
    "descending": np.arange(6.0, -5.0, -1.0),
    "all alike": np.full(17, -1.25),
    "negative": -RNG.uniform(1, 2, 1001),
    "subnormal": [TINY, -TINY, 3 * TINY, 2 * TINY],
    "as large as can be": [HUGE, -HUGE, 1.0],
    "the largest first": [HUGE, 1.0, 2.0],
    "the least last": [1.0, 2.0, -HUGE],
    "drawn": RNG.standard_normal(70_001) * 10.0 ** RNG.integers(-300, 300, 70_001),
    "of both signs": RNG.standard_normal(65_536),
}


def extremes(column):
    found, _ = looked_through((column,), np.zeros(len(column)), None, 0.0)
    return found[:, 0, 0].min(), found[:, 1, 0].max()


def moments_of(target, weights, about):
    """Return the moments of rows that fill no panel."""
    _, ((first, second, logs),) = looked_through((target,), target, weights, about)
    return first, second, logs


@pytest.mark.parametrize("kind", [np.float64, np.float32])
@pytest.mark.parametrize("name", COLUMNS)
def test_extremes_are_those_of_numpy(name, kind):
    with np.errstate(over="ignore", under="ignore"):
        column = np.asarray(COLUMNS[name], dtype=kind)
    column = column[np.isfinite(column)]
    if len(column):
        assert extremes(column) == (column.min(), column.max())
        assert extremes(column[::-1]) == (column.min(), column.max())
        column.flags.writeable = False
        assert extremes(column) == (column.min(), column.max())


@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_extremes_tell_which_panel_holds_what_is_not_finite(value, kind):
    column, others = np.linspace(-1.0, 1.0, 3 * PANEL + 5).astype(kind), np.ones(3 * PANEL + 5)
    column[PANEL + 77] = value
    ends, _ = looked_through((others, column), others, None, 0.0)
    assert np.isfinite(ends).all(axis=1).tolist() == [[True, k != 1] for k in range(4)]


@pytest.mark.parametrize("zeros", [[0.0, -0.0], [-0.0, 0.0], [-0.0, 1.0], [-1.0, 0.0]])
def test_zeros_of_both_signs_are_one_number(zeros):
    assert extremes(np.array(zeros)) == (min(zeros), max(zeros))


MOMENTS = ["one", "all alike", "ascending", "negative", "of both signs"]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("about", [0.0, 1e6, -1.25])
@pytest.mark.parametrize("name", MOMENTS)
def test_moments_are_those_of_exact_arithmetic(name, about, weighted):
    target = np.asarray(COLUMNS[name])[:3000]
    weights = np.random.default_rng(1).uniform(0.1, 2, len(target)) if weighted else None
    ones = np.ones(len(target)) if weights is None else weights
    pairs = [
        (Fraction(w), Fraction(t) - Fraction(about)) for w, t in zip(ones, target, strict=True)
    ]
    first, second, logs = moments_of(target, weights, about)
    scale = float(sum(w * abs(t) for w, t in pairs))
    assert first == pytest.approx(float(sum(w * t for w, t in pairs)), abs=1e-13 * scale)
    assert second == pytest.approx(float(sum(w * t * t for w, t in pairs)), rel=1e-13)
    total = math.fsum(map(math.log, ones))
    assert logs == pytest.approx(total, abs=1e-13 * math.fsum(abs(math.log(w)) for w in ones))


@pytest.mark.parametrize(
    ("target", "expected"),
    [([1e200, 1.0], (1e200, math.inf)), ([HUGE, HUGE], (math.inf, math.inf))],
)
def test_what_is_too_large_for_floating_point_is_infinite(target, expected):
    found = moments_of(np.array(target), None, 0.0)
    assert found == (*expected, 0.0)
    assert moments_of(np.array(target), np.ones(2), 0.0)[:2] == expected


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("formula", ["y = a*x + b", "log(y) = a*x + b"])
def test_compiled_looks_tell_what_numpy_tells(formula, weighted):
    model, rows = build(formula, ["x", "y"]), 2 * PANEL + 700
    columns = RNG.uniform(1, 2, rows).astype(np.float32), RNG.uniform(1, 2, rows)
    chunk = Chunk(columns, RNG.uniform(0.5, 2, rows) if weighted else None)
    plain, looks = (look(model, chunk, 0.5, compiled=c) for c in (False, True))
    assert looks.shape == plain.shape == (3, 2 * 2 + 4)
    np.testing.assert_array_equal(looks[:, :5], plain[:, :5])
    np.testing.assert_allclose(looks[:, 5:], plain[:, 5:], rtol=1e-12)
    whole, seen = stats_of(look(model, chunk, 0.5)), stats_of(looks)
    np.testing.assert_array_equal(seen.low, whole.low)
    np.testing.assert_array_equal(seen.high, whole.high)
    assert seen[2:] == pytest.approx(whole[2:], rel=1e-12)


def test_looks_are_the_same_bits_however_rows_are_cut_and_ordered():
    model, rows = build("y = a*x + b", ["x", "y"]), 3 * PANEL + 5
    chunk = Chunk((RNG.uniform(1, 2, rows), RNG.uniform(1, 2, rows)), None)
    whole = look(model, chunk, 0.5, compiled=True)
    parts = [look(model, chunk.part(k, k + 2 * PANEL), 0.5, compiled=True) for k in (0, 2 * PANEL)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    for one, other in zip(stats_of(whole), stats_of(whole[::-1]), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("lengths", [[1, 1], [700, 4300], [5000]])
def test_surveys_of_parts_are_that_of_the_whole(lengths):
    model, rows = build("y = a*x + b", ["x", "y"]), sum(lengths)
    chunk = Chunk((RNG.uniform(1, 2, rows), RNG.uniform(1, 2, rows)), None)
    ends = np.cumsum(lengths)
    parts = [look(model, chunk.part(e - n, e), 0.5) for e, n in zip(ends, lengths, strict=True)]
    together, whole = stats_of(np.concatenate(parts)), stats_of(look(model, chunk, 0.5))
    np.testing.assert_array_equal(together.low, whole.low)
    assert together[2:] == pytest.approx(whole[2:], rel=1e-12)
    assert stats_of(np.concatenate(parts[::-1]))[2:] == together[2:]
