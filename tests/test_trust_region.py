"""Steps within a trust region and a box, on functions whose minima scipy finds."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.optimize import least_squares, lsq_linear

from sgdfit.fitting.trust_region import Box, Point, advance, begin
from sgdfit.inference.quadratic import from_rows

NONE = np.arange(0)


def box(low, high, held=None):
    low, high = (np.asarray(v, dtype=float) for v in (low, high))
    return Box(low, high, np.zeros(len(low), dtype=bool) if held is None else np.array(held))


def unbounded(p):
    return box(np.full(p, -np.inf), np.full(p, np.inf))


def evaluator(residual, jacobian):
    """Return what evaluates Σ r² as a walk does; None where it is not finite."""

    def evaluate(theta):
        with np.errstate(all="ignore"):
            r, J = residual(theta), jacobian(theta)
        if not (np.isfinite(r).all() and np.isfinite(J).all()):
            return None
        size = float(np.abs(r).max())
        found = from_rows(J.T, 2 * r, np.full(len(r), 2.0), None, float(r @ r), None, size)
        return Point(np.array(theta, dtype=float), found, found, NONE)

    return evaluate


def descend(evaluate, start, limits, steps=400):
    iterate = begin(evaluate(np.asarray(start, dtype=float)))
    seen = [iterate]
    while not iterate.no_decrease and len(seen) <= steps:
        iterate = advance(iterate, evaluate, limits)
        seen.append(iterate)
    return seen


def rosenbrock(theta):
    a, b = theta
    return np.array([10 * (b - a * a), 1 - a])


def rosenbrock_slope(theta):
    return np.array([[-20 * theta[0], 10.0], [-1.0, 0.0]])


def powell(theta):
    a, b, c, d = theta
    return np.array([a + 10 * b, 5**0.5 * (c - d), (b - 2 * c) ** 2, 10**0.5 * (a - d) ** 2])


def powell_slope(theta):
    a, b, c, d = theta
    return np.array([
        [1, 10, 0, 0],
        [0, 0, 5**0.5, -(5**0.5)],
        [0, 2 * (b - 2 * c), -4 * (b - 2 * c), 0],
        [2 * 10**0.5 * (a - d), 0, 0, -2 * 10**0.5 * (a - d)],
    ])  # fmt: skip


def helix(theta):
    a, b, c = theta
    angle = np.arctan2(b, a) / (2 * np.pi)
    return np.array([10 * (c - 10 * angle), 10 * (np.hypot(a, b) - 1), c])


def helix_slope(theta):
    a, b, _ = theta
    square, length = a * a + b * b, np.hypot(a, b)
    turn = 100 / (2 * np.pi * square)
    return np.array([
        [turn * b, -turn * a, 10],
        [10 * a / length, 10 * b / length, 0],
        [0, 0, 1],
    ])  # fmt: skip


X = np.linspace(0, 3, 25)
Y = 3 * np.exp(-1.3 * X) + 0.5 + 0.05 * np.random.default_rng(1).normal(size=25)


def decay(theta):
    a, b, c = theta
    return a * np.exp(-b * X) + c - Y


def decay_slope(theta):
    a, b, _ = theta
    e = np.exp(-b * X)
    return np.column_stack([e, -a * X * e, np.ones(25)])


# Moré, Garbow & Hillstrom 1981 (ACM TOMS 7, 17-41), and a curve with noise.
PROBLEMS = {
    "Rosenbrock": (rosenbrock, rosenbrock_slope, [-1.2, 1.0]),
    "Rosenbrock from afar": (rosenbrock, rosenbrock_slope, [-120.0, 100.0]),
    "Powell singular": (powell, powell_slope, [3.0, -1.0, 0.0, 1.0]),
    "helical valley": (helix, helix_slope, [-1.0, 1e-3, 0.0]),
    "decay": (decay, decay_slope, [1.0, 0.1, 0.0]),
    "decay from afar": (decay, decay_slope, [100.0, 20.0, -50.0]),
}


@pytest.mark.parametrize(("residual", "slope", "start"), PROBLEMS.values(), ids=PROBLEMS)
def test_every_step_lowers_the_loss_to_the_minimum(residual, slope, start):
    seen = descend(evaluator(residual, slope), start, unbounded(len(start)))
    losses = [s.point.quadratic.loss for s in seen]
    blur = [s.point.quadratic.blur for s in seen]
    assert all(b <= a + c for a, b, c in zip(losses, losses[1:], blur, strict=False))
    expected = (
        2
        * least_squares(
            residual, start, slope, method="lm", xtol=1e-15, ftol=1e-15, gtol=1e-15
        ).cost
    )
    assert losses[-1] <= expected * (1 + 1e-12) + 1e-20
    assert seen[-1].no_decrease
    # The norms that scale the region never shrink.
    assert all((b.scales >= a.scales).all() for a, b in pairwise(seen))


@pytest.mark.parametrize("unit", [1e-12, 1e12])
def test_units_do_not_change_the_way(unit):
    scale = np.array([1.0, unit, 1 / unit])
    plain = descend(evaluator(decay, decay_slope), [1.0, 0.1, 0.3], unbounded(3))
    other = descend(
        evaluator(lambda t: decay(t * scale), lambda t: decay_slope(t * scale) * scale),
        np.array([1.0, 0.1, 0.3]) / scale,
        unbounded(3),
    )
    count = min(len(plain), len(other)) - 2
    assert count > 3
    for a, b in zip(plain[:count], other[:count], strict=True):
        np.testing.assert_allclose(b.point.theta * scale, a.point.theta, rtol=1e-6)


def bounded_problem(seed, linear):
    """Return a problem whose minimum lies on some of its bounds, and a start within."""
    rng = np.random.default_rng(seed)
    p, n = int(rng.integers(2, 6)), 30
    A, b = rng.normal(size=(n, p)) @ np.diag(10.0 ** rng.uniform(-3, 3, p)), rng.normal(size=n)
    best = np.linalg.lstsq(A, b, rcond=None)[0]
    width = np.abs(best) + 1e-3
    low = np.where(rng.random(p) < 0.4, best + rng.uniform(-1, 1, p) * width, -np.inf)
    high = np.where(rng.random(p) < 0.4, best + rng.uniform(-1, 1, p) * width, np.inf)
    low, high = np.minimum(low, high), np.maximum(low, high) + 1e-9 * width
    if linear:
        return (lambda t: A @ t - b), (lambda t: A), low, high, (A, b)
    return (
        (lambda t: A @ t - b + 0.1 * np.tanh(A @ t)),
        (lambda t: A * (1 + 0.1 / np.cosh(A @ t)[:, None] ** 2)),
        low, high, None,
    )  # fmt: skip


@pytest.mark.parametrize("where", ["inside", "on low", "on high"])
@pytest.mark.parametrize("linear", [True, False], ids=["linear", "nonlinear"])
@pytest.mark.parametrize("seed", range(12))
def test_the_minimum_within_a_box_is_scipys(seed, linear, where):
    residual, slope, low, high, plain = bounded_problem(seed, linear)
    start = np.clip(np.zeros(len(low)), low, high)
    start = np.where((where == "on low") & np.isfinite(low), low, start)
    start = np.where((where == "on high") & np.isfinite(high), high, start)
    seen = descend(evaluator(residual, slope), start, box(low, high))
    for iterate in seen:
        assert (iterate.point.theta >= low).all()
        assert (iterate.point.theta <= high).all()
    if plain is not None:
        expected = 2 * lsq_linear(*plain, (low, high), tol=1e-15, method="bvls").cost
    else:
        expected = 2 * least_squares(
            residual, np.clip(seen[-1].point.theta, low + 1e-12, high), slope, (low, high),
            x_scale="jac", xtol=1e-15, ftol=1e-15, gtol=1e-15,
        ).cost  # fmt: skip
    assert seen[-1].point.quadratic.loss <= expected * (1 + 1e-9)


def test_held_parameters_stay():
    held = box(np.full(3, -np.inf), np.full(3, np.inf), [False, True, False])
    last = descend(evaluator(decay, decay_slope), [1.0, 0.7, 0.0], held)[-1].point
    assert last.theta[1] == 0.7
    e = np.exp(-0.7 * X)
    best = np.linalg.lstsq(np.column_stack([e, np.ones(25)]), Y, rcond=None)
    assert last.quadratic.loss == pytest.approx(float(best[1][0]), rel=1e-12)


def test_nothing_free_is_at_rest():
    held = box(np.full(3, -np.inf), np.full(3, np.inf), [True] * 3)
    evaluate = evaluator(decay, decay_slope)
    first = begin(evaluate(np.array([1.0, 0.7, 0.0])))
    last = advance(first, evaluate, held)
    assert last.no_decrease
    np.testing.assert_array_equal(last.point.theta, first.point.theta)


def test_tries_outside_the_domain_are_shortened():
    """log(a) is not defined where the whole step leads."""
    evaluate = evaluator(
        lambda t: np.array([3 * (np.log(t[0]) + 4), t[0] - 1e-3]),
        lambda t: np.array([[3 / t[0]], [1.0]]),
    )
    seen = descend(evaluate, [20.0], unbounded(1))
    assert all(s.point.theta[0] > 0 for s in seen)
    r = least_squares(lambda t: [3 * (t[0] + 4), np.exp(t[0]) - 1e-3], [0.0], xtol=1e-15)
    assert seen[-1].point.theta[0] == pytest.approx(np.exp(r.x[0]), rel=1e-7)


def test_no_finite_try_rests():
    def evaluate(theta):
        return evaluator(decay, decay_slope)(theta) if theta[0] == 1.0 else None

    first = begin(evaluate(np.array([1.0, 0.1, 0.0])))
    last = advance(first, evaluate, unbounded(3))
    assert last.no_decrease
    np.testing.assert_array_equal(last.point.theta, first.point.theta)


@pytest.mark.parametrize("times", [2, 100])
def test_the_first_region_grows_with_the_rows(times):
    """The same rows many times over: every norm grows by the root, so does the radius."""
    single = evaluator(decay, decay_slope)
    many = evaluator(
        lambda t: np.tile(decay(t), times), lambda t: np.tile(decay_slope(t), (times, 1))
    )
    theta = np.array([1.0, 0.1, 0.0])
    one, other = begin(single(theta)), begin(many(theta))
    np.testing.assert_allclose(other.scales, one.scales * times**0.5, rtol=1e-12)
    assert other.radius == pytest.approx(one.radius * times**0.5, rel=1e-12)
    for _ in range(4):
        one, other = advance(one, single, unbounded(3)), advance(other, many, unbounded(3))
        np.testing.assert_allclose(other.point.theta, one.point.theta, rtol=1e-9)


@pytest.mark.parametrize("start", [(1.0, 0.0), (0.0, 0.0), (0.0, 1.0)], ids=str)
def test_derivatives_that_vanish_end_no_walk_badly(start):
    """From b = 0 on, steps lead to where the derivatives are 1e-150."""
    target = np.exp(-X)

    def residual(t):
        return t[0] * np.log(t[1] * X + 1) - target

    def slope(t):
        return np.column_stack([np.log(t[1] * X + 1), t[0] * X / (t[1] * X + 1)])

    seen = descend(evaluator(residual, slope), start, unbounded(2))
    losses = [s.point.quadratic.loss for s in seen]
    assert all(b <= a * (1 + 1e-9) for a, b in pairwise(losses))
    assert np.isfinite(seen[-1].point.theta).all()
