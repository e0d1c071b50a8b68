"""Sums of panels: exact whatever the scales, the same bits in whatever pieces and order."""

import math
from fractions import Fraction
from functools import cache

import numpy as np
import pytest

from sgdfit.kernel.forms import make
from sgdfit.kernel.kernel import Chunk
from sgdfit.kernel.numpy_kernel import STRIDE
from sgdfit.kernel.summation import PANEL, length, sum_panels
from sgdfit.model.model import build
from sgdfit.optimizers import sgd

FORMS = ("numpy", "compiled")
ROUNDING = 2.0**-53


@cache
def kernel(form, formula="y = a*x"):
    return make(build(formula, ["x", "y"]), sgd(), form, weighted=True)


def ones(weights):
    """Return rows whose weight, loss, gradient and curvature are 1, 1, 2, 2 times ``weights``."""
    rows = len(weights)
    return Chunk((np.ones(rows), np.zeros(rows)), weights)


def flat(sums):
    return np.array([sums.weight, sums.loss, *sums.gradient, *sums.curvature.ravel()])


@pytest.mark.parametrize("form", FORMS)
def test_a_hundred_million_ill_scaled_rows_against_exact_arithmetic(form):
    """Whole numbers times 2⁻⁴⁰ … 2⁴⁰ (1e-12 … 1e12), cancelling in pairs; one scale for as many
    rows as a form adds up as one block.

    The sum of a block is exact here, and what adds up blocks and panels may lose no more than a
    rounding of the result and 2⁻¹⁰⁴ of the absolute values, however many rows there are. (Where
    the terms of one block differ in scale, rounding within it adds some roundings of that block's
    absolute values, 300 at most: the next test.) Plain addition loses a hundred times as much.
    """
    chunks = 24 if form == "compiled" else 4
    blocks = PANEL // STRIDE * 64
    random = np.random.default_rng(8)
    whole = random.integers(-(2**30), 2**30, (blocks, STRIDE))
    known = whole.sum(axis=1).tolist()
    size = np.abs(whole).sum(axis=1).tolist()
    exact, absolute, plain, panel_sums = Fraction(0), Fraction(0), 0.0, []
    chunk = ones(np.empty(blocks * STRIDE))
    for k in range(chunks):
        # The second of a pair takes away what the first brought, but half of the least block.
        if k % 2 == 0:
            scales = 2.0 ** random.integers(-40, 41, blocks)
            sign = 1.0
        else:
            sign, scales[np.argmin(scales)] = -1.0, scales.min() * 0.5
        np.multiply(whole, (sign * scales)[:, None], out=chunk.weights.reshape(whole.shape))
        panel_sums.append(kernel(form).panel_sums(np.ones(1), chunk))
        plain += float(np.sum(chunk.weights))
        exact += sum(Fraction(sign * s) * n for s, n in zip(scales, known, strict=True))
        absolute += sum(Fraction(s) * n for s, n in zip(scales, size, strict=True))
    rows = chunks * chunk.rows
    assert rows > (10**8 if form == "compiled" else 10**7)
    found = sum_panels(panel_sums, rows, 1)
    for value, factor in zip(flat(found), (1, 1, 2, 2), strict=True):
        bound = abs(exact) * Fraction(ROUNDING) + absolute / 2**104
        assert abs(Fraction(value) / factor - exact) <= bound
    assert found.rows == rows
    assert abs(Fraction(plain) - exact) > 100 * bound


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rows", [50, 5 * 10**4, 2 * 10**6])
def test_rows_of_every_scale_against_exact_sums(form, rows):
    """The error in units of the absolute values is that of one block, for any number of rows."""
    random = np.random.default_rng(9)
    weights = random.choice([-1.0, 1.0], rows) * 10.0 ** random.uniform(-12, 12, rows)
    sums = kernel(form).sums(np.ones(1), ones(weights))
    exact = math.fsum(weights.tolist())
    bound = 300 * ROUNDING * math.fsum(np.abs(weights).tolist())
    for value, factor in zip(flat(sums), (1, 1, 2, 2), strict=True):
        assert abs(value / factor - exact) <= bound


@cache
def problem():
    """Return rows of three panels and a bit, each column at another place of memory."""
    random = np.random.default_rng(10)
    rows = 3 * PANEL + 12_345
    x, y, w = (random.uniform(0.1, 3.0, rows + 8)[k : rows + k] for k in (1, 3, 2))
    return Chunk((x, y), w), np.array([1.3, 0.7, 0.2])


FORMULA = "y = a*exp(-b*x) + c*sin(x)"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("scores", [False, True])
def test_a_panel_is_the_same_bits_in_every_chunk(form, scores):
    chunk, theta = problem()
    panel_sums = kernel(form, FORMULA).panel_sums
    whole = panel_sums(theta, chunk, scores)
    assert whole.shape == (4, 2, length(3))
    for first, last in ((0, 1), (1, 2), (0, 3), (2, 4), (3, 4), (1, 4)):
        rows = slice(first * PANEL, last * PANEL)
        part = Chunk(tuple(column[rows] for column in chunk.columns), chunk.weights[rows])
        assert np.array_equal(panel_sums(theta, part, scores), whole[first:last])
        moved = Chunk(tuple(column.copy() for column in part.columns), part.weights.copy())
        assert np.array_equal(panel_sums(theta, moved, scores), whole[first:last])


@pytest.mark.parametrize("form", FORMS)
def test_neither_order_nor_grouping_of_panels_changes_a_bit(form):
    chunk, theta = problem()
    panel_sums = kernel(form, FORMULA).panel_sums(theta, chunk)
    whole = kernel(form, FORMULA).sums(theta, chunk)
    for pieces in ([panel_sums[k : k + 1] for k in (3, 1, 0, 2)], [panel_sums[2:], panel_sums[:2]]):
        assert np.array_equal(flat(sum_panels(iter(pieces), chunk.rows, 3)), flat(whole))


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ([1.0, np.inf], np.inf),
        ([-np.inf, 1e308], -np.inf),
        ([np.inf, -np.inf], np.nan),
        ([np.nan, 1.0, np.inf], np.nan),
        ([1.7e308, 1.7e308], np.inf),
        ([-1.7e308, -1.7e308], -np.inf),
        ([1.7e308, 1.7e308, -1.7e308], 1.7e308),
        ([1e16, 1.0, -1e16], 1.0),
        ([5e-324, 5e-324], 1e-323),
        ([], 0.0),
    ],
)
def test_panels_that_are_not_finite_follow_ieee(terms, expected):
    """In every order, and with the low part that an infinite high part leaves behind."""
    for turned in (terms, terms[::-1]):
        panels = [np.array([[[t, t], [0.0 if np.isfinite(t) else np.nan] * 2]]) for t in turned]
        found = sum_panels(panels, len(terms), 0)
        np.testing.assert_array_equal([found.weight, found.loss], expected)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bad", [np.inf, np.nan, 1e200])
def test_a_row_that_overflows_shows_in_the_sums(form, bad):
    chunk, theta = problem()
    y = chunk.columns[1].copy()
    y[PANEL + 5] = bad
    sums = kernel(form, FORMULA).sums(theta, Chunk((chunk.columns[0], y), chunk.weights))
    assert not np.isfinite(sums.loss)
    assert np.isfinite(sums.weight)
    assert np.isfinite(sums.curvature).all() or np.isnan(bad)


@pytest.mark.parametrize("form", FORMS)
def test_no_rows_have_sums_of_zero(form):
    empty = np.empty(0)
    sums = kernel(form).sums(np.ones(1), Chunk((empty, empty), empty))
    assert flat(sums).tolist() == [0.0] * 4
    assert sums.rows == 0
