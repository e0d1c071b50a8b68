"""Extremes and moments of columns, by compiled code and by NumPy, against exact sums."""

import math
from fractions import Fraction

import numpy as np
import pytest

from sgdfit.fitting.reduce import look, stats_of
from sgdfit.kernel.kernel import Chunk
from sgdfit.kernel.summation import PANEL, looked_through
from sgdfit.model.model import build

TINY, HUGE = np.finfo(np.float64).smallest_subnormal, np.finfo(np.float64).max
RNG = np.random.default_rng(3)
COLUMNS = {
    "one that is negative": [-2.5],
    "ascending": np.arange(-5.0, 6.0),
    "all alike": np.full(17, -1.25),
    "negative": -RNG.uniform(1, 2, 1001),
    "subnormal": [TINY, -TINY, 3 * TINY, 2 * TINY],
    "as large as can be": [HUGE, 1.0, -HUGE],
    "zeros": [0.0, -0.0],
    "drawn": RNG.standard_normal(70_001) * 10.0 ** RNG.integers(-300, 300, 70_001),
}


@pytest.mark.parametrize("kind", [np.float64, np.float32])
@pytest.mark.parametrize("name", COLUMNS)
def test_extremes_are_those_of_numpy(name, kind):
    with np.errstate(over="ignore", under="ignore"):
        column = np.asarray(COLUMNS[name], dtype=kind)
    column = column[np.isfinite(column)]
    for ordered in (column, column[::-1]):
        if len(column):
            found, _ = looked_through((ordered,), np.zeros(len(column)), None, 0.0)
            assert found[:, 0, 0].min() == column.min()
            assert found[:, 1, 0].max() == column.max()


@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_extremes_tell_which_panel_holds_what_is_not_finite(value, kind):
    column, others = np.linspace(-1.0, 1.0, 3 * PANEL + 5).astype(kind), np.ones(3 * PANEL + 5)
    column[PANEL + 77] = value
    ends, _ = looked_through((others, column), others, None, 0.0)
    assert np.isfinite(ends).all(axis=1).tolist() == [[True, k != 1] for k in range(4)]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("about", [0.0, 1e6, -1.25])
@pytest.mark.parametrize("name", ["one that is negative", "all alike", "ascending", "negative"])
def test_moments_are_those_of_exact_arithmetic(name, about, weighted):
    target = np.asarray(COLUMNS[name])
    weights = np.random.default_rng(1).uniform(0.1, 2, len(target)) if weighted else None
    ones = np.ones(len(target)) if weights is None else weights
    pairs = [
        (Fraction(w), Fraction(t) - Fraction(about)) for w, t in zip(ones, target, strict=True)
    ]
    _, ((first, second, logs),) = looked_through((target,), target, weights, about)
    scale = float(sum(w * abs(t) for w, t in pairs))
    assert first == pytest.approx(float(sum(w * t for w, t in pairs)), abs=1e-13 * scale)
    assert second == pytest.approx(float(sum(w * t * t for w, t in pairs)), rel=1e-13)
    total = math.fsum(map(math.log, ones))
    assert logs == pytest.approx(total, abs=1e-13 * math.fsum(abs(math.log(w)) for w in ones))


@pytest.mark.parametrize("weights", [None, np.ones(2)])
def test_what_is_too_large_for_floating_point_is_infinite(weights):
    _, moments = looked_through((np.ones(2),), np.array([1e200, 1.0]), weights, 0.0)
    assert moments.tolist() == [[1e200, math.inf, 0.0]]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("formula", ["y = a*x + b", "log(y) = a*x + b"])
def test_compiled_looks_tell_what_numpy_tells_however_rows_are_cut_and_ordered(formula, weighted):
    model, rows = build(formula, ["x", "y"]), 2 * PANEL + 700
    columns = RNG.uniform(1, 2, rows).astype(np.float32), RNG.uniform(1, 2, rows)
    chunk = Chunk(columns, RNG.uniform(0.5, 2, rows) if weighted else None)
    plain, looks = (look(model, chunk, 0.5, compiled=c) for c in (False, True))
    np.testing.assert_array_equal(looks[:, :5], plain[:, :5])
    np.testing.assert_allclose(looks[:, 5:], plain[:, 5:], rtol=1e-12)
    cut = [(0, PANEL), (PANEL, rows)]
    parts = [look(model, chunk.part(a, b), 0.5, compiled=True) for a, b in cut]
    np.testing.assert_array_equal(np.concatenate(parts), looks)
    for one, other in zip(stats_of(looks), stats_of(looks[::-1]), strict=True):
        np.testing.assert_array_equal(one, other)
