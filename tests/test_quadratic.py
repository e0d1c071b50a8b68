"""The quadratic around a point, and steps within a region, against dense linear algebra."""

import tracemalloc

import mpmath
import numpy as np
import pytest
from scipy.optimize import brentq

from sgdfit.inference.quadratic import (
    eliminate,
    from_rows,
    from_sums,
    linear_step,
    step_within,
    sum_quadratics,
)


def rows(seed=0, n=40, p=4, units=(1.0,), weighted=False, flat=False):
    """Return the Jacobian, slope, curvature and weight of some rows, and their loss."""
    rng = np.random.default_rng(seed)
    jacobian = rng.normal(size=(p, n)) * np.resize(units, p)[:, None]
    residual = rng.normal(size=n)
    curvature = rng.uniform(0.5, 3.0, n)
    if flat:
        curvature[::3] = 0.0
    weight = rng.uniform(0.1, 2.0, n) if weighted else None
    w = np.ones(n) if weight is None else weight
    return jacobian, curvature * residual, curvature, weight, float(w @ (curvature * residual**2))


CASES = {
    "plain": {},
    "weights": {"weighted": True},
    "rows without curvature": {"flat": True},
    "one parameter": {"p": 1},
    "as many rows as parameters": {"n": 4},
    "fewer rows than parameters": {"n": 2},
    "one row": {"n": 1, "p": 1},
    "units 1e-9 and 1e9": {"units": (1e-9, 1.0, 1e9)},
    "units 1e-150 and 1e150": {"units": (1e-150, 1.0, 1e150)},
    "units 1e150": {"units": (1e150,)},
    "rows of several blocks": {"n": 3_000, "p": 6},
}
TABLE = [pytest.param(options, id=name) for name, options in CASES.items()]
DETERMINED = [c for c in TABLE if c.id != "fewer rows than parameters"]
OF_FOUR = [c for c in TABLE if not {"parameter", "parameters", "row"} & set(c.id.split())]


def dense(case):
    """Return W½C½Jᵀ and W½C½ r, whose normal equations are those of the rows."""
    jacobian, slope, curvature, weight, _ = case
    root = np.sqrt(curvature * (1.0 if weight is None else weight))
    residual = np.divide(slope, curvature, out=np.zeros_like(slope), where=curvature > 0)
    return root[:, None] * jacobian.T, root * residual


@pytest.mark.parametrize("options", TABLE)
def test_it_is_half_the_sum_of_squares_of_the_rows(options):
    case = rows(**options)
    A, b = dense(case)
    found = from_rows(*case)
    assert (found.exact, found.loss) == (True, case[-1])
    norms = np.abs(A).max(axis=0)
    norms = np.linalg.norm(A / norms, axis=0) * norms
    np.testing.assert_allclose(found.gradient / norms, (A / norms).T @ b, atol=1e-12)
    root = found.root / norms
    np.testing.assert_allclose(root.T @ root, (A / norms).T @ (A / norms), atol=1e-12)
    here, best = float(b @ b) / 2, np.linalg.lstsq(A / norms, -b, rcond=None)[0]
    left = float(np.sum((A / norms @ best + b) ** 2)) / 2
    least = case[-1] - here + left
    assert found.least == pytest.approx(least, rel=1e-10, abs=1e-13 * case[-1])
    if options.get("n") == 2:
        return  # the minimum is not one point
    move = np.random.default_rng(5).normal(size=len(norms)) / norms
    there = float(np.sum((A @ move + b) ** 2)) / 2
    assert found.change(move) == pytest.approx(there - here, rel=1e-12, abs=1e-12 * here)
    after = found.after(move)
    assert after.loss == pytest.approx(case[-1] + there - here, rel=1e-12)
    np.testing.assert_allclose(after.gradient / norms, (A / norms).T @ (A @ move + b), atol=1e-10)


@pytest.mark.parametrize("first", [[0], [2], [1, 3], [3, 0], [0, 1, 2, 3]])
@pytest.mark.parametrize("options", OF_FOUR)
def test_projected_and_solved_are_partial_least_squares(options, first):
    case = rows(**options)
    linear = np.array(first)
    A, b = dense(case)
    norms = np.abs(A).max(axis=0)
    L = A[:, linear] / norms[linear]
    others = np.setdiff1d(np.arange(A.shape[1]), linear)
    found = from_rows(*case, linear)
    best = np.linalg.lstsq(L, -b, rcond=None)[0]
    np.testing.assert_allclose(linear_step(found, linear) * norms[linear], best, atol=1e-11)
    reduced = eliminate(found, linear)
    beyond = np.eye(len(b)) - L @ np.linalg.pinv(L)
    rest, left = beyond @ A[:, others] / norms[others], beyond @ b
    assert reduced.loss == pytest.approx(
        case[-1] - float(b @ b) / 2 + float(left @ left) / 2, rel=1e-12
    )
    np.testing.assert_array_equal(reduced.gradient[linear], 0.0)
    np.testing.assert_allclose(reduced.gradient[others] / norms[others], rest.T @ left, atol=1e-11)
    root = reduced.root[:, others] / norms[others]
    np.testing.assert_allclose(root.T @ root, rest.T @ rest, atol=1e-11)


@pytest.mark.parametrize("exponent", [0, 4, 8, 10])
def test_the_root_keeps_what_squares_lose(exponent):
    """The step of nearly parallel columns against 60-digit normal equations."""
    rng = np.random.default_rng(exponent)
    x, bump = rng.uniform(1, 2, 30), rng.normal(size=30)
    J = np.array([x, x + 10.0**-exponent * bump])
    r = rng.normal(size=30)
    found = from_rows(J, 2 * r, np.full(30, 2.0), None, float(r @ r))
    move = step_within(found, np.ones(2), np.ones(2, dtype=bool), np.inf).move
    with mpmath.workdps(60):
        A = mpmath.matrix(J.T.tolist())
        b = mpmath.matrix(r.tolist())
        exact = -mpmath.lu_solve(A.T * A, A.T * b)
        predicted = float(sum(v * v for v in A * exact + b))
        exact = np.array([float(v) for v in exact])
    # Sums of products would lose all digits of it at 1e8, where κ² is 1e16.
    condition = np.linalg.cond(J.T)
    assert np.linalg.norm(move - exact) <= 1e-14 * condition * np.linalg.norm(exact)
    assert found.least == pytest.approx(predicted, rel=1e-15 * condition)


@pytest.mark.parametrize("options", DETERMINED)
def test_from_sums_is_the_same_quadratic(options):
    case = rows(**options)
    A, b = dense(case)
    norms = np.abs(A).max(axis=0)
    # What squares cannot hold, sums cannot either: in units of 1e150 they would be 1e300.
    if norms.max() > 1e100 or norms.min() < 1e-100:
        A = A / norms
        norms = np.ones(A.shape[1])
    found = from_sums(A.T @ b, A.T @ A, case[-1], 7.0)
    assert not found.exact
    np.testing.assert_allclose(found.gradient / norms, (A / norms).T @ b, atol=1e-10)
    move = np.linalg.lstsq(A / norms, -b, rcond=None)[0] / norms
    step = step_within(found, norms, np.ones(len(norms), dtype=bool), np.inf)
    np.testing.assert_allclose(step.move * norms, move * norms, rtol=1e-7, atol=1e-8)
    left = float(np.sum((A @ move + b) ** 2) - b @ b) / 2
    assert found.least == pytest.approx(case[-1] + left, rel=1e-9, abs=1e-12)
    assert found.noise_sum == 7.0


def test_a_thousand_parts_are_joined_as_they_come_in_the_memory_of_a_few():
    whole = rows(n=400_000, p=3)
    jacobian, slope, curvature, _, loss = whole
    tracemalloc.start()
    together = sum_quadratics(
        from_rows(*(a[..., k : k + 400] for a in (jacobian, slope, curvature)), None, loss / 1_000)
        for k in range(0, 400_000, 400)
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    once = from_rows(jacobian, slope, curvature, None, loss)
    assert peak < 1_000_000  # all of them would be 12.8 MB
    assert together.loss == pytest.approx(once.loss, rel=1e-12)
    assert together.least == pytest.approx(once.least, rel=1e-9)
    np.testing.assert_allclose(together.gradient, once.gradient, rtol=1e-9)
    np.testing.assert_allclose(together.root.T @ together.root, once.root.T @ once.root, rtol=1e-12)


FREE = {"all": [True] * 4, "some": [True, False, True, True], "one": [False, False, True, False]}


@pytest.mark.parametrize("free", FREE.values(), ids=FREE)
@pytest.mark.parametrize("share", [0.9, 0.5, 0.1, 1e-3, 1e-8])
@pytest.mark.parametrize("units", [(1.0,), (1e-9, 1.0, 1e9), (1e-140, 1.0, 1e140)], ids=str)
def test_a_step_within_solves_the_secular_equation(units, share, free):
    """λ by brentq on ‖D δ(λ)‖ = length, δ by the damped normal equations."""
    A, b = dense(rows(units=units))
    D = np.abs(A).max(axis=0) * np.array([1.0, 2.0, 0.5, 3.0])
    free = np.array(free)
    found = from_rows(*rows(units=units))
    S = (A / D)[:, free]

    def damped(damping):
        return np.linalg.solve(S.T @ S + damping * np.eye(free.sum()), -S.T @ b)

    whole = float(np.linalg.norm(damped(0.0)))
    step = step_within(found, D, free, share * whole)
    np.testing.assert_array_equal(step.move[~free], 0.0)
    assert step.length == pytest.approx(np.linalg.norm(D * step.move), rel=1e-9)
    # Moré's rule: the region may be missed by a tenth of its radius, and a step may be whole.
    assert step.length <= 1.1 * share * whole * (1 + 1e-9)
    if step.damping == 0:
        assert whole <= 1.1 * share * whole
        return
    assert step.length >= 0.9 * share * whole * (1 - 1e-9)
    exact = brentq(lambda v: np.linalg.norm(damped(v)) - step.length, 0, 1e14, rtol=1e-12)
    assert step.damping == pytest.approx(exact, rel=1e-6)
    np.testing.assert_allclose((step.move * D)[free], damped(exact), rtol=1e-6, atol=1e-9 * whole)
