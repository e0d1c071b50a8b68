"""Growing batches, the loss around a point, and the walk through them."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import curve_fit

from sgdfit.fitting.dataset import TrainingData
from sgdfit.fitting.gauss_newton import FEW, Objective, steering, walk
from sgdfit.fitting.options import FORGETFUL, Options
from sgdfit.fitting.problem import Problem
from sgdfit.fitting.sampling import FIRST, GROWTH, LAST, RUN, batch_sizes, sample
from sgdfit.fitting.trust_region import box_of
from sgdfit.fitting.weights import Weighting
from sgdfit.kernel.forms import make
from sgdfit.kernel.kernel import Chunk, Rows
from sgdfit.model.model import build
from sgdfit.optimizers import sgd

NONE = np.arange(0)


# Growth


@settings(deadline=None, max_examples=300)
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


@settings(deadline=None, max_examples=60)
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


# The objective


def kernel_of(formula, columns, loss="mse"):
    return make(build(formula, columns, loss=loss), sgd(), "numpy")


def decay_chunk(rows, seed=0, weighted=False):
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 4, rows)
    y = 2 * np.exp(-0.7 * x) + 0.5 + 0.1 * rng.normal(size=rows)
    return Chunk((x, y), rng.uniform(0.2, 1.8, rows) if weighted else None)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", ["mse", "log_cosh", "huber(delta=0.1)", "cauchy(scale=0.2)"])
@pytest.mark.parametrize("rows", [10, 500, 3 * FEW + 5])
def test_rows_and_sums_tell_the_same(rows, loss, weighted):
    chunk = decay_chunk(rows, weighted=weighted)
    kernel = kernel_of("y = a*exp(-b*x) + c", ["x", "y"], loss)
    theta = np.array([1.9, 0.8, 0.52])
    found = Objective(kernel, chunk, NONE, None, True).quadratic(theta)
    sums = kernel.sums(theta, chunk)
    assert found.loss == pytest.approx(sums.loss, rel=1e-12)
    np.testing.assert_allclose(found.gradient, sums.gradient, rtol=1e-9, atol=1e-9 * sums.loss)
    if loss != "cauchy(scale=0.2)" and not loss.startswith("huber"):
        np.testing.assert_allclose(found.root.T @ found.root, sums.curvature, rtol=1e-9)
        other = Objective(kernel, chunk, NONE, found.spread / rows, False).quadratic(theta)
        np.testing.assert_allclose(other.gradient, found.gradient, atol=1e-8 * sums.loss)
        # In the mean over the rows, `spread` counts a weight of 1.
        assert other.spread == pytest.approx(found.spread, rel=1e-9)


@pytest.mark.parametrize("theta", [[1.9, 800.0, 0.5], [1e200, 0.7, 0.5], [np.inf, 1.0, 1.0]])
@pytest.mark.parametrize("by_rows", [False, True])
def test_what_is_not_finite_is_no_point(theta, by_rows):
    x = np.linspace(-4, 4, 30)
    kernel = kernel_of("y = a*exp(-b*x) + c", ["x", "y"])
    surface = Objective(kernel, Chunk((x, x), None), NONE, None, by_rows)
    with np.errstate(all="ignore"):
        assert surface.evaluate(np.array(theta)) is None


@pytest.mark.parametrize("start", [(0.0, 0.0), (1e9, -1e9), (1e-9, 3.0)])
@pytest.mark.parametrize("rate", [0.1, 0.7, 5.0])
def test_linear_parameters_are_where_they_fit_best(rate, start):
    chunk = decay_chunk(300, weighted=True)
    kernel = kernel_of("y = a*exp(-b*x) + c", ["x", "y"])
    surface = Objective(kernel, chunk, np.array([0, 2]), None, True)
    point = surface.evaluate(np.array([start[0], rate, start[1]]))
    x, y = chunk.columns
    w = np.sqrt(chunk.weights)
    A = np.column_stack([np.exp(-rate * x), np.ones(300)])
    best, left = np.linalg.lstsq(A * w[:, None], y * w, rcond=None)[:2]
    assert point.theta[1] == rate
    np.testing.assert_allclose(point.theta[[0, 2]], best, rtol=1e-7)
    assert point.reduced.loss == pytest.approx(float(left[0]), rel=1e-10)


@pytest.mark.parametrize("loss", ["mse", "mae", "huber", "soft_l1", "cauchy", "log_cosh"])
def test_steering_is_never_negative_and_never_below_what_bends(loss):
    y = np.concatenate([[0.0, 1e-9], np.linspace(-50, 50, 101)])
    kernel = kernel_of("y = a + 0*x", ["x", "y"], loss)
    rows = kernel.rows(np.array([0.0]), Chunk((y, y), None))
    found = steering(rows)
    assert (found >= 0).all()
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found[rows.bend > 0], rows.bend[rows.bend > 0])
    # Where a secant is taken, its quadratic lies above the loss between here and the target.
    secant = (rows.bend <= 0) & (rows.slope != 0)
    r = rows.prediction - rows.target
    for share in (0.5, 1.0, 1.5):
        there = kernel.rows(np.array([0.0]), Chunk((y, (1 - share) * y), None)).loss
        bound = rows.loss - rows.slope * share * r + found * (share * r) ** 2 / 2
        assert (there[secant] <= bound[secant] * (1 + 1e-12) + 1e-9).all()


def test_steering_of_no_residual_at_all():
    zero = np.zeros(4)
    rows = Rows(zero, zero, zero, zero, zero, np.ones((1, 4)))
    np.testing.assert_array_equal(steering(rows), zero)


# The walk


def problem(formula, chunk, loss="mse", linear=(), callback=None, form="numpy", **options):
    names = ["x", "y"]
    model = build(formula, names, loss=loss)
    facts = {
        "model": model,
        "label": "the data",
        "rows_read": chunk.rows,
        "dropped": 0,
        "mean_weight": 1.0,
        "weighting": Weighting(None),
        "options": Options(seed=options.pop("seed", 0)),
        "kernel": make(model, sgd(), form, weighted=chunk.weights is not None),
        "data": TrainingData(model, chunk, chunk, 1, FORGETFUL),
        "box": box_of(model),
        "linear": np.array(linear, dtype=int),
        "quadratic": False,
        "squared": loss == "mse",
        "steps": 500,
        "looks": 500,
        "tolerance": 1e-10,
        "callback": callback,
        "kinked": False,
        "visits": [],
    }  # fmt: skip
    return Problem(**(facts | options))


DECAY = "y = a*exp(-b*x) + c"


def curve(x, a, b, c):
    return a * np.exp(-b * x) + c


@pytest.mark.parametrize("linear", [(), (0, 2)], ids=["all at once", "linear solved"])
@pytest.mark.parametrize("start", [(1.0, 1.0, 0.0), (50.0, 1.0, 9.0), (-3.0, 3.0, 1.0)], ids=str)
def test_a_walk_ends_where_curve_fit_does(start, linear):
    chunk = decay_chunk(200)
    course = walk(problem(DECAY, chunk, linear=linear), np.array(start))
    theta, covariance = curve_fit(curve, *chunk.columns, (2, 0.7, 0.5), xtol=1e-15, ftol=1e-15)
    assert course.ending == "arrived"
    assert course.distance <= 1e-10
    errors = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose((course.theta - theta) / errors, 0, atol=1e-5)
    losses = [stand.loss for stand in course.path]
    assert all(b <= a * (1 + 1e-12) for a, b in pairwise(losses))
    assert [s.step for s in course.path] == list(range(len(course.path)))
    assert all(b.visited > a.visited for a, b in pairwise(course.path))


@pytest.mark.parametrize(
    ("formula", "start", "linear"),
    [("y = b*(1 - exp(-c*x))", (100.0, 0.75), (0,)), ("y = exp(-c*x) + 100", (0.3,), ())],
    ids=["one is solved", "one alone"],
)
def test_steps_that_shrink_evenly_are_extrapolated(formula, start, linear, monkeypatch):
    # NIST's BoxBOD, whose residuals are large.
    x = np.array([1.0, 2.0, 3.0, 5.0, 7.0, 10.0])
    y = np.array([109.0, 149.0, 149.0, 191.0, 213.0, 224.0])
    chunk = Chunk((x, y if linear else 100 + y[::-1] / 250), None)
    quick = walk(problem(formula, chunk, linear=linear, tolerance=1e-11), np.array(start))
    monkeypatch.setattr("sgdfit.fitting.trust_region.EVENLY", np.inf)
    plain = walk(problem(formula, chunk, linear=linear, tolerance=1e-11), np.array(start))
    assert quick.ending == plain.ending == "arrived"
    assert quick.step < plain.step
    np.testing.assert_allclose(quick.theta, plain.theta, rtol=1e-9)


def test_the_first_stand_is_the_start():
    chunk = decay_chunk(200)
    course = walk(problem(DECAY, chunk), np.array([1.0, 1.0, 0.0]))
    first, (x, y) = course.path[0], chunk.columns
    r = np.exp(-x) - y
    np.testing.assert_array_equal(first.theta, [1.0, 1.0, 0.0])
    assert first.loss == pytest.approx(float(np.mean(r**2)), rel=1e-12)
    J = np.array([np.exp(-x), -x * np.exp(-x), np.ones(200)])
    np.testing.assert_allclose(first.gradient, 2 * J @ r / 200, rtol=1e-10)
    assert (first.step, first.rows, first.visited) == (0, 200, 200)


def test_the_distance_is_that_of_bates_and_watts():
    """√(‖QᵀR‖²/p) / √(‖(1 − QQᵀ)R‖²/(n − p)), the relative offset."""
    chunk = decay_chunk(60)
    course = walk(problem(DECAY, chunk), np.array([1.5, 0.5, 0.4]))
    x, y = chunk.columns
    for stand in course.path[:4]:
        a, b, c = stand.theta
        e = np.exp(-b * x)
        Q = np.linalg.qr(np.column_stack([e, -a * x * e, np.ones(60)]))[0]
        r = a * e + c - y
        along = Q.T @ r
        apart = r - Q @ along
        expected = np.sqrt(along @ along / 3) / np.sqrt(apart @ apart / 57)
        assert stand.distance == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("form", ["numpy", "compiled"])
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
def test_a_walk_on_growing_batches(weighted, form):
    chunk = decay_chunk(100_000, weighted=weighted)
    course = walk(problem(DECAY, chunk, tolerance=1e-6, form=form), np.array([1.0, 1.0, 0.0]))
    x, y = chunk.columns
    sigma = None if chunk.weights is None else 1 / np.sqrt(chunk.weights)
    theta, covariance = curve_fit(
        curve, x, y, (2, 0.7, 0.5), sigma, xtol=1e-15, ftol=1e-15, gtol=1e-15
    )
    assert course.ending == "arrived"
    apart = (course.theta - theta) / np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(apart, 0, atol=1e-5)
    sizes = batch_sizes(100_000, 3)
    assert sorted({s.rows for s in course.path}) == sizes
    rows = [s.rows for s in course.path]
    assert rows == sorted(rows)
    # Only the last passes see every row.
    assert sum(s.rows == 100_000 for s in course.path) <= 4
    assert course.visited <= 3.5 * 100_000


def test_a_walk_tells_its_last_quadratic():
    chunk = decay_chunk(100_000)
    kernel = problem(DECAY, chunk)
    course = walk(kernel._replace(tolerance=1e-6), np.array([1.0, 1.0, 0.0]))
    sums = kernel.kernel.sums(course.theta, chunk)
    assert course.quadratic.loss == pytest.approx(sums.loss, rel=1e-12)
    found = course.quadratic.root.T @ course.quadratic.root
    np.testing.assert_allclose(found, sums.curvature, rtol=1e-2)


def test_a_quadratic_takes_one_pass():
    rng = np.random.default_rng(2)
    x = rng.uniform(-2, 2, 200_000)
    chunk = Chunk((x, 2 * x * x - x + 4 + rng.normal(size=x.size)), None)
    asked = problem("y = a*x**2 + b*x + c", chunk, quadratic=True, tolerance=1e-6)
    course = walk(asked, np.zeros(3), [200_000])
    assert course.visited == 200_000
    best = np.linalg.lstsq(np.vander(x, 3), chunk.columns[1], rcond=None)[0]
    np.testing.assert_allclose(course.theta, best, rtol=1e-9)


def test_steps_are_counted_to_their_limit():
    chunk = decay_chunk(300)
    for steps in (1, 2, 3):
        course = walk(problem(DECAY, chunk, steps=steps), np.array([50.0, 0.01, 9.0]))
        assert course.ending == "steps"
        assert course.path[-1].step == steps


@pytest.mark.parametrize("rows", [300, 100_000])
def test_a_walk_cut_short_speaks_of_all_rows(rows):
    chunk = decay_chunk(rows)
    course = walk(
        problem(DECAY, chunk, callback=lambda progress: True), np.array([50.0, 0.01, 9.0])
    )
    assert course.ending == "stopped"
    assert course.path[-1].step == 1
    assert course.path[-1].rows == rows
    (x, y), (a, b, c) = chunk.columns, course.theta
    assert course.quadratic.loss == pytest.approx(float(np.sum((curve(x, a, b, c) - y) ** 2)))


@pytest.mark.parametrize("rows", [300, 100_000])
def test_an_interrupt_keeps_what_was_reached(rows):
    def interrupt(progress):
        if progress.step == 2:
            raise KeyboardInterrupt

    chunk = decay_chunk(rows)
    course = walk(problem(DECAY, chunk, callback=interrupt), np.array([50.0, 0.01, 9.0]))
    assert course.ending == "interrupted"
    assert course.path[-1].step == 2
    np.testing.assert_array_equal(course.theta, course.path[-1].theta)


def test_no_finite_start_is_lost():
    x = np.linspace(1, 2, 20)
    course = walk(problem("y = log(a*x)", Chunk((x, x), None)), np.array([-1.0]))
    assert (course.ending, course.quadratic, course.path) == ("lost", None, ())
    assert course.distance == np.inf
    np.testing.assert_array_equal(course.theta, [-1.0])


def test_the_same_seed_walks_the_same_way():
    chunk = decay_chunk(100_000)
    asked = problem(DECAY, chunk, tolerance=1e-6)
    one, other = (walk(asked, np.array([1.0, 1.0, 0.0])) for _ in range(2))
    np.testing.assert_array_equal(
        np.array([s.theta for s in one.path]), np.array([s.theta for s in other.path])
    )
    third = walk(asked._replace(options=Options(seed=9)), np.array([1.0, 1.0, 0.0]))
    assert not np.array_equal(third.path[-2].theta, one.path[-2].theta)
    np.testing.assert_allclose(third.theta, one.theta, rtol=1e-8)


def test_a_sample_is_left_only_where_its_minimum_is_near():
    """From far away two steps tell little; a leap from there would throw all later ones."""
    chunk = decay_chunk(100_000)
    course = walk(problem(DECAY, chunk, tolerance=1e-6), np.array([1.0, 1.0, 0.0]))
    last = {s.rows: s for s in course.path}
    assert all(stand.distance <= 0.1 for stand in last.values())
    first = {s.rows: s for s in reversed(course.path)}
    # A sample's minimum is some of the next one's standard errors away: √16 is what to expect.
    assert all(stand.distance < 20 for rows, stand in first.items() if rows > min(first))
