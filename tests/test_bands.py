"""Bands of curves and new observations, against closed forms and derivatives by differences."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import stdtrit
from scipy.stats import norm

import sgdfit
from sgdfit.errors import DataError, UsageError
from sgdfit.inference.intervals import around, curve_variance
from sgdfit.result.saving import from_dict

RNG = np.random.default_rng(7)
N = 40
X = np.linspace(0.2, 4, N)
S = np.linspace(0.5, 2, N)
NOISE = RNG.normal(0, 0.1, N)
NEW = np.array([-0.5, 0.0, 1.3, 2.1, 9.0])


def line(**options):
    return sgdfit.fit("y = a*x + b", {"x": X, "y": 2 * X + 1 + NOISE, "s": S}, **options)


def textbook_line(fit, new, extra=0.0, level=0.95):
    """Draper & Smith, Applied Regression Analysis, section 3.2: s²(1/n + (x − x̄)²/Sxx)."""
    v = fit.values
    s2 = np.sum((2 * X + 1 + NOISE - v["a"] * X - v["b"]) ** 2) / (N - 2)
    middle = X.mean()
    stderr = np.sqrt(s2 * (extra + 1 / N + (new - middle) ** 2 / np.sum((X - middle) ** 2)))
    half = stdtrit(N - 2, (1 + level) / 2) * stderr
    curve = v["a"] * new + v["b"]
    return curve, stderr, curve - half, curve + half


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
@pytest.mark.parametrize(("interval", "extra"), [("confidence", 0.0), ("prediction", 1.0)])
def test_a_straight_line_has_the_textbooks_bands(interval, extra, level):
    fit, new = line(), np.append(NEW, np.linspace(-5, 5, 40_001))  # of several strides
    band = fit.predict({"x": new}, interval=interval, level=level)
    for found, known in zip(band, textbook_line(fit, new, extra, level), strict=True):
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, known, rtol=1e-9, atol=1e-12)


def decay(a, k, c):
    return a * np.exp(-k * NEW) + c


CURVES = {
    "decay": ("y = a*exp(-k*x) + c", {}, "akc", decay),
    "tied": ("y = a*exp(-k*x) + d", {"tied": "d = a*k"}, "ak", lambda a, k: decay(a, k, a * k)),
    "fixed": ("y = a*exp(-k*x) + c", {"fixed": "c=0.5"}, "ak", lambda a, k: decay(a, k, 0.5)),
    "without a variable": ("y = m", {}, "m", lambda m: np.full(len(NEW), m)),
    "robust": ("y = a*exp(-k*x)", {"loss": "huber(delta=0.1)"}, "ak", lambda a, k: decay(a, k, 0)),
    "of an expression": ("log(y) = a*x + b", {}, "ab", lambda a, b: a * NEW + b),
}


@pytest.mark.parametrize(("formula", "options", "names", "curve"), CURVES.values(), ids=CURVES)
def test_a_curves_error_is_what_differences_give(formula, options, names, curve):
    data = {"x": X, "y": 2 * np.exp(-0.7 * X) + 0.5 + 0.3 * NOISE}
    start = {"a": 1.8, "k": 0.6} if "k" in names else None
    fit = sgdfit.fit(formula, data, start=start, **options)
    assert "".join(fit.free) == names
    theta = np.array([fit.values[name] for name in names])
    steps = 1e-6 * np.maximum(np.abs(theta), 1) * np.eye(len(theta))
    jacobian = np.stack(
        [(curve(*(theta + h)) - curve(*(theta - h))) / (2 * h.max()) for h in steps]
    )
    stderr = np.sqrt(np.diag(jacobian.T @ fit.covariance @ jacobian))
    band = fit.predict({"x": NEW}, interval="confidence")
    half = stdtrit(fit.degrees_of_freedom, 0.975) * stderr
    expected = (curve(*theta), stderr, curve(*theta) - half, curve(*theta) + half)
    np.testing.assert_allclose(band, expected, rtol=1e-6, atol=1e-12)


def test_a_new_observation_has_the_noise_of_its_own_weight():
    fit = line(weights="1/s**2")
    own = np.array([0.1, 1.0, 3.0])
    at = {"x": NEW[:3], "s": own}
    curve = fit.predict(at, interval="confidence").stderr
    residual = 2 * X + 1 + NOISE - fit.values["a"] * X - fit.values["b"]
    unit = np.sum((residual / S) ** 2) / (N - 2)
    found = fit.predict(at, interval="prediction").stderr
    np.testing.assert_allclose(found, np.sqrt(curve**2 + unit * own**2), rtol=1e-9)
    # where the column is not there, a row of weight one is meant
    found = fit.predict({"x": NEW[:3]}, interval="prediction").stderr
    np.testing.assert_allclose(found, np.sqrt(curve**2 + unit), rtol=1e-9)
    # a row of weight 0 says nothing
    nothing = replace(fit, weights="s").predict({"x": [1.0], "s": [0.0]}, interval="prediction")
    assert nothing.stderr.tolist() == [np.inf]
    with pytest.raises(DataError, match="weight 's' is -1 in row 1"):
        replace(fit, weights="s").predict({"x": [1.0], "s": [-1.0]}, interval="prediction")


def test_absolute_errors_give_normal_intervals():
    fit = line(sigma="s", absolute_sigma=True)
    new = {"x": NEW, "s": np.linspace(0.1, 2, len(NEW))}
    band = fit.predict(new, interval="prediction", level=0.9)
    curve = fit.predict(new, interval="confidence")
    np.testing.assert_allclose(band.stderr, np.sqrt(curve.stderr**2 + new["s"] ** 2))
    np.testing.assert_allclose(band.high, band.prediction + norm.ppf(0.95) * band.stderr)


def test_parameters_without_a_variance():
    data = {"x": X, "y": 2 * X + 1 + NOISE}
    bounded = sgdfit.fit("y = a*x + b", data, bounds="b < 0.5", optimizer="sgd", steps=2_000)
    assert bounded.estimates["b"].at_bound
    assert np.isnan(bounded.covariance[1, 1])
    # one on its bound counts as fixed
    band = bounded.predict({"x": NEW}, interval="confidence")
    np.testing.assert_allclose(band.stderr, np.abs(NEW) * bounded.estimates["a"].stderr, rtol=1e-9)
    # of one that is not determined nothing is known
    fit = line()
    covariance = fit.covariance.copy()
    covariance[0] = covariance[:, 0] = np.nan
    band = replace(fit, covariance=covariance).predict({"x": NEW}, interval="confidence")
    assert np.isnan(band.stderr).tolist() == (NEW != 0).tolist()
    np.testing.assert_allclose(band.stderr[NEW == 0], fit.estimates["b"].stderr)


def test_where_the_curve_has_no_value_the_band_has_none():
    fit = sgdfit.fit("y = a*log(x) + b", {"x": X, "y": np.log(X) + NOISE})
    for part in fit.predict({"x": [-1.0, 1.0]}, interval="confidence"):
        assert np.isnan(part).tolist() == [True, False]


@pytest.mark.parametrize(
    ("changed", "interval", "sentence"),
    [
        ({}, "predicton", "interval is 'predicton'; .* Did you mean 'prediction'"),
        (
            {"covariance": None, "covariance_method": "none: 2 rows are few"},
            "confidence",
            r"no band, since it has no covariance \(none: 2 rows are few\)",
        ),
        (
            {"loss_name": "huber(delta=1)"},
            "prediction",
            "loss huber.* does not take the noise for normal",
        ),
        (
            {"degrees_of_freedom": 0, "noise_variance": None},
            "prediction",
            "does not know how much its rows scatter",
        ),
        ({"degrees_of_freedom": 0}, "confidence", "no band, since its rows leave no degree of fre"),
    ],
)
def test_a_band_that_cannot_be_is_refused_with_the_reason(changed, interval, sentence):
    with pytest.raises(UsageError, match=sentence):
        replace(line(), **changed).predict({"x": NEW}, interval)
    with pytest.raises(UsageError, match="level is 95, but a confidence lies"):
        line().predict({"x": NEW}, "confidence", 95)


def test_a_fit_saved_before_there_was_a_noise_variance_gives_the_same_bands():
    fit = line()
    saved = fit.to_dict()
    for name in ("noise_variance", "sigma", "absolute_sigma"):
        del saved[name]
    old = from_dict(saved)
    assert (old.noise_variance, old.sigma, old.absolute_sigma) == (None, None, False)
    bands = (one.predict({"x": NEW}, interval="prediction") for one in (old, fit))
    np.testing.assert_allclose(*bands, rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-150, 1.0, 1e150])
def test_variance_is_the_quadratic_form_in_any_units(scale):
    root = RNG.normal(size=(3, 3))
    jacobian = RNG.normal(size=(3, 20))
    units = np.array([scale, 1.0, 1 / scale])
    covariance = root @ root.T * units[:, None] * units
    found = curve_variance(jacobian / units[:, None], covariance)
    np.testing.assert_allclose(found, np.square(root.T @ jacobian).sum(axis=0), rtol=1e-10)


def test_rounding_makes_no_variance_negative():
    # a + b is known to rounding, a − b not at all well
    covariance = np.array([[1.0, -1.0], [-1.0, 1.0 - 1e-16]])
    found = curve_variance(np.array([[1.0, 1.0], [1.0, 0.5]]), covariance)
    assert found[0] >= 0
    np.testing.assert_allclose(found, [0, 0.25], atol=1e-15)
    assert curve_variance(np.ones((2, 1)), np.zeros((2, 2))).tolist() == [0]
    assert around(np.zeros(1), np.ones(1), 0) is None
