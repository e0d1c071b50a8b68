"""Covariances against SciPy, NumPy, explicit inverses and finite differences."""

import numpy as np
import pytest
from scipy.special import stdtrit

from sgdfit.errors import UsageError
from sgdfit.inference.covariance import (
    classical,
    correlation,
    of_inverse,
    relative_offset,
    sandwich,
)
from sgdfit.inference.intervals import interval, quantile

X = np.linspace(0.1, 4, 40)
NAMES = ("a", "b", "c")
SCALES = [(1.0, 1.0, 1.0), (1e9, 1.0, 1e-12), (1e-120, 1e120, 1.0)]
in_any_units = pytest.mark.parametrize("scales", SCALES, ids=["plain", "mixed", "extreme"])


def decay(x, a, b, c):
    return a * np.exp(-b * x) + c


def decay_jacobian(x, a, b, c):
    return np.stack([np.exp(-b * x), -a * x * np.exp(-b * x), np.ones_like(x)], axis=1)


def line_problem(seed=0):
    rng = np.random.default_rng(seed)
    J = np.stack([X**2, X, np.ones_like(X)], axis=1)
    return J, J @ [2, 3, 4] + rng.normal(scale=0.3, size=len(X))


# --- classical


@pytest.mark.parametrize("weighted", [False, True])
def test_classical_agrees_with_curve_fit(weighted):
    from scipy.optimize import curve_fit

    rng = np.random.default_rng(1)
    sigma = np.linspace(0.5, 2, len(X)) if weighted else np.ones_like(X)
    y = decay(X, 5, 1.3, 0.5) + 0.1 * sigma * rng.normal(size=len(X))
    options = {"p0": (4, 1, 1), "jac": decay_jacobian, "ftol": 1e-15, "xtol": 1e-15}
    best, expected = curve_fit(decay, X, y, sigma=sigma, **options)
    weight = sigma**-2.0
    J = decay_jacobian(X, *best)
    variance = weight @ (y - decay(X, *best)) ** 2 / (len(X) - 3)
    covariance, undetermined = classical((J.T * weight) @ J, variance, NAMES)
    np.testing.assert_allclose(covariance, expected, rtol=1e-7)
    assert undetermined == ()


def test_classical_agrees_with_lstsq():
    J, y = line_problem()
    (ssr,) = np.linalg.lstsq(J, y)[1]
    variance = ssr / (len(X) - 3)
    expected = variance * np.linalg.inv(J.T @ J)
    covariance, _ = classical(J.T @ J, variance, NAMES)
    np.testing.assert_allclose(covariance, expected, rtol=1e-11)
    np.testing.assert_array_equal(covariance, covariance.T)


@in_any_units
def test_units_change_nothing_but_units(scales):
    J, _ = line_problem()
    weight = np.linspace(0.2, 3, len(X))
    plain, _ = classical(J.T @ J, 0.7, NAMES)
    plain_sandwich, _ = sandwich(J.T @ J, (J.T * weight) @ J, NAMES)
    S = J * scales
    scaled, _ = classical(S.T @ S, 0.7, NAMES)
    scaled_sandwich, _ = sandwich(S.T @ S, (S.T * weight) @ S, NAMES)
    outer = np.multiply.outer(scales, scales)
    np.testing.assert_allclose(scaled * outer, plain, rtol=1e-11)
    np.testing.assert_allclose(scaled_sandwich * outer, plain_sandwich, rtol=1e-10)
    np.testing.assert_allclose(correlation(scaled), correlation(plain), rtol=1e-11)
    g = J.T @ weight
    args = np.ones(3), 0.7
    assert relative_offset(g * scales, S.T @ S, args[0] / scales, args[1]) == pytest.approx(
        relative_offset(g, J.T @ J, *args), rel=1e-10
    )


@in_any_units
@pytest.mark.parametrize(
    ("columns", "blamed"),
    [
        ([X, X, X**2], ({"a", "b"},)),
        ([X, X**2, X + X**2], ({"a", "b", "c"},)),
        ([X, 0 * X, X**2], ({"b"},)),
        ([X, 0 * X, -X], ({"b"}, {"a", "c"})),
    ],
)
def test_undetermined_parameters_are_named(columns, blamed, scales):
    J = np.stack(columns, axis=1) * scales
    for covariance, names in (
        classical(J.T @ J, 1.0, NAMES),
        sandwich(J.T @ J, J.T @ J, NAMES),
    ):
        assert covariance is None
        found = sorted(sorted(set(text) & set(NAMES)) for text in names)
        assert found == sorted(sorted(b) for b in blamed)


def test_nearly_correlated_parameters_still_have_errors():
    t = np.linspace(1000, 1001, 50)
    J = np.stack([t, np.ones_like(t)], axis=1)
    covariance, undetermined = classical(J.T @ J, 1.0, ("m", "b"))
    centred = ((t - t.mean()) ** 2).sum()
    assert covariance[0, 0] == pytest.approx(1 / centred, rel=1e-4)
    assert undetermined == ()


@pytest.mark.parametrize("broken", [np.full((3, 3), np.nan), np.diag([1.0, np.inf, 1.0])])
def test_non_finite_sums_have_no_covariance(broken):
    assert classical(broken, 1.0, NAMES) == (None, ())
    assert sandwich(broken, np.eye(3), NAMES) == (None, ())
    assert sandwich(np.eye(3), broken, NAMES) == (None, ())
    assert classical(np.eye(3), np.nan, NAMES) == (None, ())


# --- sandwich


def huber_sums(J, y, theta, delta=0.3):
    r = J @ theta - y
    inside = np.abs(r) <= delta
    slope = np.where(inside, r, delta * np.sign(r))
    return J.T @ slope, (J.T * inside) @ J, (J.T * slope**2) @ J


def test_sandwich_is_the_product_of_inverses():
    J, y = line_problem()
    theta = np.linalg.lstsq(J, y)[0]
    _, H, S = huber_sums(J, y, theta)
    covariance, undetermined = sandwich(H, S, NAMES)
    expected = np.linalg.inv(H) @ S @ np.linalg.inv(H)
    np.testing.assert_allclose(covariance, expected, rtol=1e-10)
    np.testing.assert_array_equal(covariance, covariance.T)
    assert undetermined == ()


def test_sandwich_is_classical_where_noise_is_equal():
    J, _ = line_problem()
    robust, _ = sandwich(J.T @ J, 0.7 * J.T @ J, NAMES)
    plain, _ = classical(J.T @ J, 0.7, NAMES)
    np.testing.assert_allclose(robust, plain, rtol=1e-10)


def test_sandwich_is_the_infinitesimal_jackknife():
    """Σ (∂θ/∂w)² over the rows, the derivatives taken by refitting with changed weights."""
    J, y = line_problem()

    def fit(weight):
        return np.linalg.solve((J.T * weight) @ J, J.T @ (weight * y))

    ones, h = np.ones(len(X)), 1e-4
    derivative = np.array([(fit(ones + h * e) - fit(ones - h * e)) / (2 * h) for e in np.eye(40)])
    r = y - J @ fit(ones)
    covariance, _ = sandwich(J.T @ J, (J.T * r**2) @ J, NAMES)
    np.testing.assert_allclose(covariance, derivative.T @ derivative, rtol=1e-6)


def test_a_saddle_has_no_covariance():
    covariance, blamed = sandwich(np.diag([2.0, -1.0]), np.eye(2), ("a", "b"))
    assert covariance is None
    assert blamed == ("b",)


# --- correlation


def test_correlation_agrees_with_numpy():
    sample = np.random.default_rng(2).normal(size=(3, 50)) * [[1e-200], [1], [1e150]]
    sample[1] += sample[0] * 1e200
    with np.errstate(under="ignore"):
        scaled = np.cov(sample * [[1e200], [1], [1e-150]])
        covariance = np.cov(sample * [[1e60], [1], [1e-10]])
    np.testing.assert_allclose(correlation(covariance), correlation(scaled), rtol=1e-10)
    np.testing.assert_allclose(correlation(scaled), np.corrcoef(sample * [[1e200], [1], [1e-150]]))


def test_perfect_data_have_no_correlation():
    matrix = correlation(np.zeros((2, 2)))
    np.testing.assert_array_equal(matrix, [[1, np.nan], [np.nan, 1]])


# --- interval


@pytest.mark.parametrize(
    ("dof", "level", "quantile"),
    [(1, 0.95, 12.7062), (5, 0.99, 4.0321), (30, 0.9, 1.6973), (np.inf, 0.95, 1.9600)],
)
def test_interval_has_the_tabulated_width(dof, level, quantile):
    low, high = interval(3.0, 0.5, dof, level)
    assert (high - low) / 2 == pytest.approx(0.5 * quantile, abs=5e-5)
    assert (high + low) / 2 == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("stderr", "dof"), [(1.0, 0), (1.0, -2), (None, 9), (np.nan, 9), (np.inf, 9)]
)
def test_no_interval_without_an_error(stderr, dof):
    assert interval(1.0, stderr, dof) is None


@pytest.mark.parametrize("level", [0, 1, 95, -0.1, np.nan])
def test_level_is_a_probability(level):
    with pytest.raises(UsageError, match="between 0 and 1"):
        interval(1.0, 1.0, 5, level)


# --- relative offset


def test_offset_is_the_distance_in_standard_errors():
    J, y = line_problem()
    best, (ssr,) = np.linalg.lstsq(J, y)[:2]
    variance = ssr / (len(X) - 3)
    covariance, _ = classical(J.T @ J, variance, NAMES)
    theta = best + np.sqrt(np.diag(covariance)) * [0.5, -2, 1]
    offset = relative_offset(J.T @ (J @ theta - y), J.T @ J, theta, variance)
    gap = theta - best
    expected = np.sqrt(gap @ np.linalg.solve(covariance, gap) / 3)
    assert offset == pytest.approx(expected, rel=1e-9)


def test_one_parameter_one_standard_error():
    assert relative_offset(np.array([4.0]), np.array([[4.0]]), np.ones(1), 4.0) == pytest.approx(1)


def test_offset_equals_bates_and_watts():
    """|Qᵀr|/√p over |r − QQᵀr|/√(N − p), as their paper has it."""
    J, y = line_problem()
    theta = np.array([2.1, 2.8, 4.3])
    r = y - J @ theta
    Q = np.linalg.qr(J)[0]
    tangent = Q.T @ r
    expected = np.sqrt(tangent @ tangent / 3) / np.sqrt((r @ r - tangent @ tangent) / 37)
    variance = (r @ r - tangent @ tangent) / 37
    assert relative_offset(J.T @ r, J.T @ J, theta, variance) == pytest.approx(expected, rel=1e-10)


def test_offset_of_other_losses_uses_their_covariance():
    J, y = line_problem()
    theta = np.array([2.05, 2.9, 4.1])
    g, H, S = huber_sums(J, y, theta)
    covariance, _ = sandwich(H, S, NAMES)
    step = np.linalg.solve(H, g)
    expected = np.sqrt(step @ np.linalg.solve(covariance, step) / 3)
    assert relative_offset(g, H, theta, np.nan, scores=S) == pytest.approx(expected, rel=1e-8)
    half_a_step = theta - step / 2
    assert relative_offset(huber_sums(J, y, half_a_step)[0], H, theta, 0, S) < expected


@in_any_units
def test_perfect_data_at_and_off_the_optimum(scales):
    J, theta = line_problem()[0] * scales, np.array([2.0, 0.0, 4.0]) / scales
    y = J @ theta
    at = np.linalg.lstsq(J / np.linalg.norm(J, axis=0), y)[0] / np.linalg.norm(J, axis=0)
    off = theta * [1, 1, 1 + 1e-9]
    for variance in (0.0, 1e-40):
        assert relative_offset(J.T @ (J @ at - y), J.T @ J, at, variance) == 0.0
        assert relative_offset(J.T @ (J @ off - y), J.T @ J, off, variance) > 1e6
    assert relative_offset(J.T @ (J @ off - y), J.T @ J, off, 0.0) == np.inf
    zeros = np.zeros((3, 3))
    assert relative_offset(J.T @ (J @ off - y), J.T @ J, off, 0.0, scores=zeros) == np.inf


def test_undetermined_directions_do_not_count():
    J, y = line_problem()
    theta = np.array([2.1, 2.8, 4.3])
    g = J.T @ (J @ theta - y)
    double = np.stack([J[:, 0], J[:, 1], J[:, 2], J[:, 1]], axis=1)
    g4 = double.T @ (J @ theta - y)
    expected = relative_offset(g, J.T @ J, theta, 0.3)
    theta4 = np.array([2.1, 1.8, 4.3, 1.0])
    assert relative_offset(g4, double.T @ double, theta4, 0.3) == pytest.approx(expected, rel=1e-9)
    scores = 0.3 * double.T @ double
    offset = relative_offset(g4, double.T @ double, theta4, 0.0, scores)
    assert offset == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_offset_of_a_lost_run_is_infinite(bad):
    assert relative_offset(np.array([bad]), np.eye(1), np.ones(1), 1.0) == np.inf
    assert relative_offset(np.ones(1), np.full((1, 1), bad), np.ones(1), 1.0) == np.inf
    assert relative_offset(np.ones(1), np.eye(1), np.ones(1), bad) == np.inf
    assert relative_offset(np.ones(1), np.eye(1), np.ones(1), 1.0, np.full((1, 1), bad)) == np.inf


@pytest.mark.parametrize("level", [0.01, 0.5, 0.95, 0.99, 0.9999])
def test_quantiles_are_those_of_scipy(level):
    dof = np.array([*range(1, 303), 2.5, 1000, 10**9])
    found = [quantile(float(k), level) for k in dof]
    np.testing.assert_allclose(found, stdtrit(dof, (1 + level) / 2), rtol=2e-12)


@in_any_units
def test_the_inverse_of_a_root_gives_the_same_covariance(scales):
    J, _ = line_problem()
    root = np.linalg.qr(J, mode="r") * np.array(scales)
    found = of_inverse(np.linalg.inv(root), 0.3) * np.outer(scales, scales)
    np.testing.assert_allclose(found, 0.3 * np.linalg.inv(J.T @ J), rtol=1e-9)


def test_no_variance_gives_no_covariance():
    assert of_inverse(np.eye(2), np.inf) is None
