"""Moments of columns, by compiled code and by NumPy, against exact sums."""

import math
from fractions import Fraction

import numpy as np
import pytest

from sgdfit.fitting.dataset import panel_moments
from sgdfit.kernel.kernel import Chunk
from sgdfit.kernel.summation import PANEL, column_moments
from sgdfit.model.model import build

RNG = np.random.default_rng(3)
COLUMNS = {
    "one that is negative": [-2.5],
    "ascending": np.arange(-5.0, 6.0),
    "all alike": np.full(17, -1.25),
    "negative": -RNG.uniform(1, 2, 1001),
}


@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_totals_tell_which_panel_holds_what_is_not_finite(value, kind):
    column, others = np.linspace(-1.0, 1.0, 3 * PANEL + 5).astype(kind), np.ones(3 * PANEL + 5)
    column[PANEL + 77] = value
    totals = column_moments((others, column), others, None, 0.0)[:, 0]
    assert np.isfinite(totals).tolist() == [k != 1 for k in range(4)]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("about", [0.0, 1e6, -1.25])
@pytest.mark.parametrize("name", COLUMNS)
def test_moments_are_those_of_exact_arithmetic(name, about, weighted):
    target = np.asarray(COLUMNS[name])
    weights = np.random.default_rng(1).uniform(0.1, 2, len(target)) if weighted else None
    ones = np.ones(len(target)) if weights is None else weights
    pairs = [
        (Fraction(w), Fraction(t) - Fraction(about)) for w, t in zip(ones, target, strict=True)
    ]
    ((total, first, second, logs),) = column_moments((target,), target, weights, about)
    assert total == pytest.approx(math.fsum(target), abs=1e-13 * math.fsum(abs(target)))
    scale = float(sum(w * abs(t) for w, t in pairs))
    assert first == pytest.approx(float(sum(w * t for w, t in pairs)), abs=1e-13 * scale)
    assert second == pytest.approx(float(sum(w * t * t for w, t in pairs)), rel=1e-13)
    total = math.fsum(map(math.log, ones))
    assert logs == pytest.approx(total, abs=1e-13 * math.fsum(abs(math.log(w)) for w in ones))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("formula", ["y = a*x + b", "log(y) = a*x + b"])
def test_compiled_moments_are_those_of_numpy_however_rows_are_cut(formula, weighted):
    model, rows = build(formula, ["x", "y"]), 2 * PANEL + 700
    columns = RNG.uniform(1, 2, rows).astype(np.float32), RNG.uniform(1, 2, rows)
    chunk = Chunk(columns, RNG.uniform(0.5, 2, rows) if weighted else None)
    plain, found = (panel_moments(model, chunk, 0.5, compiled=c) for c in (False, True))
    np.testing.assert_allclose(found, plain, rtol=1e-12)
    cut = [(0, PANEL), (PANEL, rows)]
    parts = [panel_moments(model, chunk.part(a, b), 0.5, compiled=True) for a, b in cut]
    np.testing.assert_array_equal(np.concatenate(parts), found)
