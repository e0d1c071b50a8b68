"""Covariances against SciPy, NumPy, explicit inverses and finite differences."""

import math

import numpy as np
import pytest
from scipy.special import stdtrit

from sgdfit.errors import UsageError
from sgdfit.inference.covariance import (
    ROUNDING,
    correlation,
    determined,
    of_inverse,
    sandwich,
    sandwich_offset,
)
from sgdfit.inference.intervals import confidence_interval, t_quantile
from sgdfit.inference.spectrum import root_spectrum, scaled_spectrum
from sgdfit.kernel.kernel import Chunk
from sgdfit.kernel.numpy_kernel import make_numpy
from sgdfit.model.identifiability import parts_of
from sgdfit.model.model import build

X = np.linspace(0.1, 4, 40)
NAMES = ("a", "b", "c")
J = np.stack([X**2, X, np.ones_like(X)], axis=1)
Y = J @ [2, 3, 4] + np.random.default_rng(0).normal(scale=0.3, size=len(X))
BEST = np.linalg.lstsq(J, Y)[0]
OFF = np.array([2.1, 2.8, 4.3])
SCALES = [(1.0, 1.0, 1.0), (1e9, 1.0, 1e-12), (1e-120, 1e120, 1.0)]
in_any_units = pytest.mark.parametrize("scales", SCALES, ids=["plain", "mixed", "extreme"])


def spectrum_of(H):
    return scaled_spectrum(H, ROUNDING)


def covariance_of(H, middle):
    """Return the covariance of three parameters; ``middle`` is σ², or scores."""
    spectrum = spectrum_of(H)
    middle = sandwich(spectrum, middle) if np.ndim(middle) else middle
    return determined(NAMES, np.ones(3), spectrum, middle)[0]


@in_any_units
def test_units_change_nothing_but_units(scales):
    weight, S, outer = np.linspace(0.2, 3, len(X)), J * scales, np.multiply.outer(scales, scales)
    plain, scaled = (covariance_of(A.T @ A, 0.7) for A in (J, S))
    np.testing.assert_allclose(scaled * outer, plain, rtol=1e-11)
    np.testing.assert_allclose(plain, 0.7 * np.linalg.inv(J.T @ J), rtol=1e-10)
    np.testing.assert_allclose(correlation(scaled), correlation(plain), rtol=1e-11)
    robust, other = (covariance_of(A.T @ A, (A.T * weight) @ A) for A in (J, S))
    np.testing.assert_allclose(other * outer, robust, rtol=1e-10)
    inverse = np.linalg.inv(np.linalg.qr(J, mode="r") * np.array(scales))
    np.testing.assert_allclose(of_inverse(inverse, 0.7) * outer, plain, rtol=1e-9)
    here, there = (
        sandwich_offset(A.T @ weight, A.T @ A, np.ones(3) / s, 0.7 * A.T @ A)
        for A, s in ((J, 1), (S, scales))
    )
    assert there == pytest.approx(here, rel=1e-10)


# --- intervals


@pytest.mark.parametrize("level", [0.01, 0.5, 0.95, 0.9999])
def test_quantiles_are_those_of_scipy(level):
    dof = np.array([*range(1, 303), 2.5, 1000, 10**9])
    found = [t_quantile(float(k), level) for k in dof]
    np.testing.assert_allclose(found, stdtrit(dof, (1 + level) / 2), rtol=2e-12)
    assert confidence_interval(3.0, 0.5, 5, level) == (3 - found[4] / 2, 3 + found[4] / 2)


@pytest.mark.parametrize("level", [0, 1, 95, np.nan])
def test_level_is_a_probability(level):
    with pytest.raises(UsageError, match=r"between 0 and 1|a finite number"):
        confidence_interval(1.0, 1.0, 5, level)


# --- the distance to the optimum


def test_offset_is_that_of_bates_and_watts():
    """|Qᵀr|/√p over |r − QQᵀr|/√(N − p), as their paper has it: a distance in standard errors."""
    r, Q, H = Y - J @ OFF, np.linalg.qr(J)[0], J.T @ J
    tangent = Q.T @ r
    variance = (r @ r - tangent @ tangent) / 37
    offset = sandwich_offset(J.T @ r, H, OFF, variance * H)
    assert offset == pytest.approx(np.sqrt(tangent @ tangent / 3 / variance), rel=1e-9)
    gap = OFF - BEST
    expected = np.sqrt(gap @ np.linalg.solve(covariance_of(H, variance), gap) / 3)
    assert offset == pytest.approx(expected, rel=1e-9)


@in_any_units
def test_perfect_data_at_and_off_the_optimum(scales):
    A, theta = J * scales, np.array([2.0, 0.0, 4.0]) / scales
    y, norms, H = A @ theta, np.linalg.norm(A, axis=0), A.T @ A
    at = np.linalg.lstsq(A / norms, y)[0] / norms
    off = theta * [1, 1, 1 + 1e-9]
    for scores in (0.0 * H, 1e-40 * H):
        assert sandwich_offset(A.T @ (A @ at - y), H, at, scores) == 0.0
        assert sandwich_offset(A.T @ (A @ off - y), H, off, scores) > 1e6
    assert sandwich_offset(A.T @ (A @ off - y), H, off, 0.0 * H) == np.inf


def test_undetermined_directions_do_not_count():
    r, double = J @ OFF - Y, J[:, [0, 1, 2, 1]]
    expected = sandwich_offset(J.T @ r, J.T @ J, OFF, 0.3 * J.T @ J)
    H, theta = double.T @ double, np.array([2.1, 1.8, 4.3, 1.0])
    assert sandwich_offset(double.T @ r, H, theta, 0.3 * H) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_offset_of_a_lost_run_is_infinite(bad):
    one, lost = np.ones(1), np.full((1, 1), bad)
    assert sandwich_offset(np.array([bad]), np.eye(1), one, np.eye(1)) == np.inf
    assert sandwich_offset(one, lost, one, np.eye(1)) == np.inf
    assert sandwich_offset(one, np.eye(1), one, lost) == np.inf


# --- what is determined where not every parameter is

Z = np.cos(5 * X)


def solved(names, theta, jacobian, noise=0.04):
    J = np.stack([np.broadcast_to(column, len(X)) for column in jacobian], axis=1)
    spectrum = scaled_spectrum(J.T @ J, ROUNDING)
    theta = np.array(theta, dtype=float)
    return J, *determined(names, theta, spectrum, np.array(noise))[:2]


# Parameters, estimates, columns of the Jacobian; the combinations, their values and the columns
# of the model in which they are parameters.
LINEAR = {
    "(a + b)*x": ("ab", (1, 4), [X, X], {"a + b": (5, X)}),
    "(a - b)*x": ("ab", (1, 4), [X, -X], {"a − b": (-3, X)}),
    "(2*a + 3*b)*x": ("ab", (1, 4), [2 * X, 3 * X], {"2·a + 3·b": (14, X)}),
    "(a + b/4)*x": ("ab", (1, 4), [X, X / 4], {"4·a + b": (8, X / 4)}),
    "(a + pi*b)*x": ("ab", (1, 4), [X, math.pi * X], {"a + 3.14159·b": (1 + 4 * math.pi, X)}),
    "(a + b)*x + c": ("abc", (1, 4, 2), [X, X, 1], {"a + b": (5, X)}),
    "(a + b + c)*x": ("abc", (1, 4, 2), [X, X, X], {"a + b + c": (7, X)}),
    "(a + b)*x + (c + d)*z": ("abcd", (1, 4, 2, 3), [X, X, Z, Z],
                              {"a + b": (5, X), "c + d": (5, Z)}),
    "(a - d)*x + (b + c)*z + e": ("abcde", (1, 4, 2, 3, 9), [X, Z, Z, -X, 1],
                                  {"a − d": (-2, X), "b + c": (6, Z)}),
    "(a + b)*x + (a + c)*z": ("abc", (1, 4, 2), [X + Z, X, Z], {"a + b": (5, X), "a + c": (3, Z)}),
    "a*x, b without effect": ("ab", (1, 4), [X, 0], {}),
}  # fmt: skip


@pytest.mark.parametrize("case", LINEAR)
def test_combinations_have_the_errors_of_the_model_they_are_parameters_of(case):
    names, theta, jacobian, expected = LINEAR[case]
    J, covariance, found = solved(names, theta, jacobian)
    assert [one.text for one in found] == list(expected)
    free = [i for i in range(len(names)) if np.isfinite(covariance[i, i])]
    columns = [column for _, column in expected.values()]
    reduced = np.stack([*columns, *(J[:, i] for i in free)], axis=1)
    classic = 0.04 * np.linalg.inv(reduced.T @ reduced)
    for one, (value, _), variance in zip(
        found, expected.values(), np.diag(classic)[: len(columns)], strict=True
    ):
        assert one.value == pytest.approx(value, rel=1e-12)
        assert one.stderr == pytest.approx(math.sqrt(variance), rel=1e-9)
    rest = classic[len(columns) :, len(columns) :]
    np.testing.assert_allclose(covariance[np.ix_(free, free)], rest, rtol=1e-9)
    touched = {i for i, name in enumerate(names) if i not in free}
    assert all(np.isnan(covariance[i]).all() and np.isnan(covariance[:, i]).all() for i in touched)


# Parameters, estimates, and the combinations that are determined.
CURVED = {
    "a*c*x": ("ac", (2.0, 3.0), {"a*c": 6}),
    "a*x/(b + c*x)": ("abc", (2.0, 4.0, 5.0), {"a/c": 0.4, "b/c": 0.8}),
    "(a*x + b)/(c*x + d)": ("abcd", (2.0, 1.0, 3.0, 5.0), {"a/c": 2 / 3, "b/a": 0.5, "c/d": 0.6}),
    "a*exp(d*(x + b)) + c": ("adbc", (2.0, -0.3, 4.0, 1.0), {"a*exp(b*d)": 2 * math.exp(-1.2)}),
    "a*(1 - exp(-d*(x - b))) + c": (
        "adbc", (2.0, 0.3, 4.0, 1.0), {"a*exp(b*d)": 2 * math.exp(1.2), "a + c": 3},
    ),
    "a*exp((x - b)/s)": ("abs", (2.0, 4.0, 3.0), {"a*exp(-b/s)": 2 * math.exp(-4 / 3)}),
    "a*(b*(3 + x))**p": ("abp", (2.0, 4.0, 1.3), {"a*b**p": 2 * 4**1.3}),
    "(a + b)*x + c*d": ("abcd", (2.0, 3.0, 4.0, 5.0), {"a + b": 5, "c*d": 20}),
    "a + b*x + c*d": ("abcd", (2.0, 3.0, 4.0, 5.0), {"a + c*d": 22}),
    "a + log(b*(3 + x))": ("ab", (2.0, 3.0), {"a + log(b)": 2 + math.log(3)}),
    "a*sin(w*x + p) + b*cos(w*x + p)": ("awpb", (2.0, 3.0, 0.4, 1.0), {
        "a*cos(p) - b*sin(p)": 2 * math.cos(0.4) - math.sin(0.4),
        "a*sin(p) + b*cos(p)": 2 * math.sin(0.4) + math.cos(0.4)}),
    "a*exp(-(k + l)*x)*b": ("aklb", (2.0, 0.3, 0.5, 3.0), {"a*b": 6, "k + l": 0.8}),
    "where(x < b, p*q, (r + s)*x)": ("bpqrs", (2.02, 3.0, 0.5, 2.0, 1.0), {"p*q": 1.5, "r + s": 3}),
}  # fmt: skip


@pytest.mark.parametrize("case", CURVED)
@np.errstate(all="ignore")
def test_products_are_named_in_the_terms_of_the_model(case):
    """Each changes as much, for each parameter, as its error says: by the delta method."""
    names, theta, expected = CURVED[case]
    model = build(f"y = {case}", ["x", "y"])
    assert model.free == tuple(names)
    J = make_numpy(model, None).rows(np.array(theta), Chunk((X, 0 * X), None)).jacobian.T
    spectrum = root_spectrum(np.linalg.qr(J, mode="r"))
    parts = parts_of(model.prediction, model.free, ("x",), np.array(theta))
    _, found, _ = determined(names, np.array(theta), spectrum, np.array(0.04), parts)
    assert {one.text: pytest.approx(one.value) for one in found} == expected
    sides = [theta + h * e for h in (1e-6, -1e-6) for e in np.eye(len(theta))]
    scope = {"exp": math.exp, "log": math.log, "sin": math.sin, "cos": math.cos}
    for one in found:
        slopes = [eval(one.text, scope, dict(zip(names, at, strict=True))) for at in sides]
        slope = np.subtract(*np.split(np.array(slopes), 2)) / 2e-6
        spread = np.linalg.norm(slope / spectrum.scales @ spectrum.whitening)
        assert one.stderr == pytest.approx(0.2 * spread, rel=1e-5)


def test_a_product_is_determined_locally_and_the_rate_keeps_its_error():
    a, b, c = 0.5, -0.7, 2.9
    y = c * np.exp(a + b * X)
    J, covariance, (one,) = solved("abc", (a, b, c), [y, X * y, y / c])
    assert one.text == "a + 0.344828·c"
    assert one.value == pytest.approx(a + 1)
    # With k = ln c + a the model is exp(k + b*x), whose parameters are all determined.
    errors = np.sqrt(np.diag(0.04 * np.linalg.inv(J[:, :2].T @ J[:, :2])))
    assert one.stderr == pytest.approx(errors[0], rel=1e-9)
    assert math.sqrt(covariance[1, 1]) == pytest.approx(errors[1], rel=1e-9)
    assert np.isnan(covariance[0]).all()
    assert np.isnan(covariance[:, 2]).all()


@pytest.mark.parametrize(("noise", "error"), [(0.0, 0.0), (math.nan, None), (math.inf, None)])
def test_noise_that_is_zero_or_not_known(noise, error):
    _, covariance, (one,) = solved("abc", (1, 4, 2), [X, X, 1], noise)
    assert (one.text, one.stderr) == ("a + b", error)
    assert covariance[2, 2] == 0 if noise == 0 else np.isnan(covariance).all()


def test_a_variance_that_rounding_takes_below_zero_is_not_known():
    # Neither x nor y by itself, whose sum all scores leave where it is but for rounding.
    spectrum = scaled_spectrum(np.array([[1.0, 1.0], [1.0, 1.0]]))
    _, (found,), _ = determined(("x", "y"), np.ones(2), spectrum, np.array([[-1e-16]]))
    assert found.text == "x + y"
    assert found.stderr is None
