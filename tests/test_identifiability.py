"""Combinations that are determined, against closed forms and pseudo-inverses."""

import math

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from sgdfit.inference.covariance import determined
from sgdfit.inference.spectrum import scaled_spectrum

X = np.linspace(0.2, 3.0, 40)
Z = np.cos(5 * X)
ROUNDING = 64 * float(np.finfo(float).eps)


def solved(names, theta, jacobian, noise=0.04):
    J = np.stack([np.broadcast_to(column, len(X)) for column in jacobian], axis=1)
    spectrum = scaled_spectrum(J.T @ J, ROUNDING)
    return J, *determined(names, np.array(theta, dtype=float), spectrum, noise)


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


@given(
    st.integers(2, 7).flatmap(
        lambda p: st.lists(
            st.lists(st.integers(-2, 2), min_size=p, max_size=p), min_size=1, max_size=p - 1
        )
    ),
    st.integers(0, 10**6),
)
@settings(max_examples=150, deadline=None)
def test_combinations_and_determined_parameters_span_all_that_is_determined(directions, seed):
    p = len(directions[0])
    seen = [
        list(row * sympy.ilcm(*(v.q for v in row))) for row in sympy.Matrix(directions).nullspace()
    ]
    # Whole numbers: what is zero is exactly zero.
    J = np.random.default_rng(seed).integers(-9, 10, (5 * p, len(seen))) @ np.array(
        seen, dtype=float
    )
    null = np.array(directions, dtype=float).T
    spectrum = scaled_spectrum(J.T @ J, ROUNDING)
    names = [f"k{i}" for i in range(p)]
    unit = [determined(names, one, spectrum, 1.0)[1] for one in np.eye(p)]
    covariance, found = determined(names, np.zeros(p), spectrum, 1.0)
    # A combination's value at the unit vectors is its weights.
    weights = np.array([[at[i].value for at in unit] for i in range(len(found))]).reshape(-1, p)
    size = max(1.0, np.abs(weights).max(initial=0))
    np.testing.assert_allclose(weights @ null, 0, atol=1e-9 * size)
    alone = np.isfinite(np.diag(covariance))
    assert not weights[:, alone].any()
    assert len(found) + alone.sum() == len(seen)
    if len(found):
        assert np.linalg.matrix_rank(weights) == len(found)
    inverse = np.linalg.pinv(J.T @ J, rcond=1e-10)
    for one, w in zip(found, weights, strict=True):
        assert one.stderr == pytest.approx(math.sqrt(w @ inverse @ w), rel=1e-7)
    np.testing.assert_allclose(np.diag(covariance)[alone], np.diag(inverse)[alone], rtol=1e-7)
