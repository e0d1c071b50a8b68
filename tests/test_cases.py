"""Small inputs that once were fitted wrong, each with its least sum of squares and estimates.

The right values were found by SciPy's least squares from many starts, or by exhaustive search for
steps; a test that names no value asks SciPy itself.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pytest
from scipy.optimize import least_squares

import sgdfit

CASES = Path(__file__).parent / "cases"


class Case(NamedTuple):
    """A file, a formula, and what is right: sum of squares, estimates, their standard errors."""

    file: str
    formula: str
    squares: float
    estimates: Mapping[str, float] = MappingProxyType({})
    errors: Mapping[str, float] = MappingProxyType({})
    start: dict[str, float] | None = None


LOGISTIC = "c + (d - c)/"
PEAKS = " + ".join(f"a{i}*exp(-(x - m{i})**2/(2*s{i}**2))" for i in (1, 2, 3))
BROKEN = "y = where(x < x0, k1*x + y0 - k1*x0, k2*x + y0 - k2*x0)"

CHAPMAN = Case(
    "min_chapman_richards_t0",
    "y = a*(1 - exp(-k*t))**p",
    0.176212,
    {"a": 30.29046, "k": 0.207428, "p": 2.71701},
    {"a": 0.37505, "k": 0.010115, "p": 0.17057},
)
SHIFTED = Case("exp_shift", "y = a*exp(d*(x + b)) + c", 0.001686483)

LEAST_SQUARES = {
    "step": Case("min_step_over_512_rows", "y = where(x < p0, p1, p2)", 41.49615),
    "planck": Case(
        "min_planck_um",
        "B = s/lam**5/(exp(14387.77/(lam*T)) - 1)",
        8.82153e-5,
        {"s": 4.288484, "T": 5835.490},
        {"s": 0.037110, "T": 9.493},
    ),
    "electron": Case(
        "physical_constant",
        "y = offset + amp*exp(-x*sigma/1.6e-16)",
        np.nan,
        {"offset": 5223.2917, "amp": 2185.2390, "sigma": 4.224978e-16},
        {"offset": 160.7570, "amp": 155.1017, "sigma": 7.9892e-17},
    ),
    "chapman": CHAPMAN,
    "chapman from a start": CHAPMAN._replace(start={"a": 30.0, "k": 0.2, "p": 3.0}),
    "weibull": Case(
        "weibull_growth_t0",
        "y = A - D*exp(-exp(l)*t**p)",
        1.807794,
        {"A": 6.957357, "D": 4.342928, "l": -1.836884, "p": 1.880309},
    ),
    "dose": Case(
        "zero_dose_logistic",
        f"y = {LOGISTIC}(1 + (dose/e)**b)",
        0.0605938,
        {"c": 0.0607982, "d": 1.4610127, "e": 5.1425014, "b": 2.1863109},
    ),
    "log dose": Case(
        "min_ll4_dose0",
        f"r = {LOGISTIC}(1 + exp(b*(log(dose) - log(e))))",
        np.nan,
        {"c": 0.12317, "d": 9.89197, "b": 2.21659, "e": 4.94209},
        {"c": 0.08147, "d": 0.05040, "b": 0.07005, "e": 0.07899},
    ),
    "quadratic": Case(
        "min_exact_quadratic", "y = a*x**2 + b*x + c", 0.0, {"a": 6.0, "b": 2.0, "c": -4.0}
    ),
    "break from ones": Case(
        "piecewise_start_ones", BROKEN, 7.58788e-4, start=dict.fromkeys(("x0", "y0", "k1", "k2"), 1)
    ),
    "shift": SHIFTED,
    "shift from ones": SHIFTED._replace(start=dict.fromkeys("abcd", 1.0)),
    "peaks": Case("background_and_three_peaks", f"y = A*exp(-k*x) + {PEAKS}", 0.0852064),
}


@pytest.mark.parametrize("name", LEAST_SQUARES)
def test_least_squares(name: str) -> None:
    case = LEAST_SQUARES[name]
    result = sgdfit.fit(case.formula, CASES / f"{case.file}.csv", start=case.start)

    assert result.status.name == "converged"
    if np.isfinite(case.squares):
        assert result.residual_sum_of_squares == pytest.approx(case.squares, rel=2e-6, abs=1e-20)
    for parameter, value in case.estimates.items():
        assert result.estimates[parameter].value == pytest.approx(value, rel=2e-5, abs=5e-6), (
            parameter
        )
    for parameter, error in case.errors.items():
        assert result.estimates[parameter].stderr == pytest.approx(error, rel=2e-4)


def test_exact_data_are_not_called_a_misfit() -> None:
    case = LEAST_SQUARES["quadratic"]

    assert not sgdfit.fit(case.formula, CASES / f"{case.file}.csv").warnings


def survival(theta: np.ndarray, t: np.ndarray) -> np.ndarray:
    n0, k, m = theta
    return np.asarray(n0 + np.log10(1 - (1 - 10 ** (-k * t)) ** m))


def break_of_root(theta: np.ndarray, t: np.ndarray) -> np.ndarray:
    y0, k, t0 = theta
    return np.asarray(y0 + np.sqrt(np.maximum(k * (t - t0), 0)))


@pytest.mark.parametrize(
    ("file", "formula", "curve", "start"),
    [
        ("log_survival_t0", "y = n0 + log10(1 - (1 - 10**(-k*t))**m)", survival, (5, 0.35, 6)),
        ("sqrt_after_break", "y = y0 + sqrt(k*maximum(t - t0, 0))", break_of_root, (1.2, 1.7, 4)),
    ],
)
def test_a_slope_that_is_infinite_at_a_row_is_no_obstacle(file, formula, curve, start) -> None:
    t, y = np.loadtxt(CASES / f"{file}.csv", delimiter=",", skiprows=1, unpack=True)
    judge = least_squares(lambda p: curve(p, t) - y, start, x_scale="jac", xtol=1e-15)

    result = sgdfit.fit(formula, {"t": t, "y": y})

    assert result.status.name == "converged"
    assert result.residual_sum_of_squares <= 2 * judge.cost * (1 + 1e-6)


def test_a_logistic_that_is_a_step_is_told() -> None:
    data = CASES / "min_optimum_at_infinity.csv"
    result = sgdfit.fit("y = a + b/(1 + exp(-k*(x - m)))", data)

    assert result.estimates["a"].value == pytest.approx(1.0, abs=1e-4)
    assert result.estimates["b"].value == pytest.approx(1.998, abs=1e-4)
    assert 5 < result.estimates["m"].value < 6
    assert result.residual_sum_of_squares == pytest.approx(0.00248, rel=1e-4)
    assert "steps" not in result.status.cure
    assert "infinit" in str(result.status) + " ".join(result.warnings)


def test_a_profile_of_a_break_is_not_cut_short_by_a_local_minimum() -> None:
    formula = "y = b0 + x*s1 + maximum(0, x - delta)*s2"
    data = CASES / "changepoint_profile.csv"
    result = sgdfit.fit(formula, data, intervals="profile")

    assert result.estimates["b0"].interval[0] == pytest.approx(48.0772, abs=2e-3)


def test_huber_is_the_same_in_other_units() -> None:
    usual = sgdfit.fit("y = a + b*x", CASES / "outliers.csv", loss="huber")
    small = sgdfit.fit("y = a + b*x", CASES / "outliers_small_units.csv", loss="huber")

    assert small.estimates["b"].value == pytest.approx(1e-3 * usual.estimates["b"].value, rel=1e-6)
