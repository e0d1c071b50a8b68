"""Parameters with a value for each level of a column, of which there may be thousands."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import least_squares

import sgdfit
from sgdfit.errors import UsageError

DECAYS = "y = a[site]*exp(-k[site]*x) + c + d*x"


def decays(groups, rows, seed=0):
    """Return decays to a common line, with the standard deviation of each row."""
    random = np.random.default_rng(seed)
    x = np.tile(np.linspace(0, 4, rows), groups)
    site = np.repeat(np.arange(groups), rows)
    a, k = random.uniform(1, 10, groups), random.uniform(0.4, 1.2, groups)
    sd = random.uniform(0.05, 0.2, groups * rows)
    noise = sd * random.standard_normal(groups * rows)
    y = a[site] * np.exp(-k[site] * x) + 0.5 + 0.1 * x + noise
    return {"x": x, "y": y, "site": site, "sd": sd}


def values_of(fit, groups, what="value"):
    names = [f"{own}[{g}]" for own in "ak" for g in range(groups)] + ["c", "d"]
    return np.array([getattr(fit[name], what) for name in names], dtype=float)


@pytest.mark.parametrize("bounds", [None, "c < 0.2", "k > 0.6"])
@pytest.mark.parametrize("sigma", [None, "sd"])
def test_many_groups_are_fitted_as_all_parameters_together(bounds, sigma):
    groups, data = 20, decays(20, 15)
    fit = sgdfit.fit(
        DECAYS, data, start="a=3, k=0.7, c=0, d=0", bounds=bounds, sigma=sigma,
        absolute_sigma=sigma is not None,
    )  # fmt: skip
    found, weight = values_of(fit, groups), 1 / data["sd"] if sigma else 1.0
    names = [f"{own}[{g}]" for own in "ak" for g in range(groups)] + ["c", "d"]
    free = np.array([not fit[name].at_bound for name in names])

    def residuals(some):
        theta = found.copy()
        theta[free] = some
        a, k = theta[:groups], theta[groups : 2 * groups]
        curve = a[data["site"]] * np.exp(-k[data["site"]] * data["x"])
        return weight * (curve + theta[-2] + theta[-1] * data["x"] - data["y"])

    judge = least_squares(residuals, 1.01 * found[free], method="lm", xtol=1e-15, ftol=1e-15)
    rows = len(data["y"])
    left = rows - int(free.sum())
    variance = 1.0 if sigma else 2 * judge.cost / left
    covariance = variance * np.linalg.inv(judge.jac.T @ judge.jac)
    errors = np.sqrt(np.diag(covariance))
    assert fit.degrees_of_freedom == left
    assert (free.sum() < len(found)) == (bounds is not None)
    np.testing.assert_allclose(found[free], judge.x, atol=1e-6 * errors.max())
    np.testing.assert_allclose(values_of(fit, groups, "stderr")[free], errors, rtol=1e-5)
    places = [fit.free.index(name) for name, is_free in zip(names, free, strict=True) if is_free]
    np.testing.assert_allclose(
        fit.covariance[np.ix_(places, places)], covariance, atol=1e-5 * covariance.max()
    )


def test_thousands_of_groups_take_one_fit():
    random, groups = np.random.default_rng(1), 3_000
    a, x = random.uniform(1, 10, groups), np.tile(np.linspace(0, 4, 8), groups)
    site = np.repeat(np.arange(groups), 8)
    y = a[site] * np.exp(-0.7 * x) + 0.5 + 0.1 * random.standard_normal(len(x))
    data = {"x": x, "y": y, "site": np.char.add("s", site.astype(str))}
    fit = sgdfit.fit("y = a[site]*exp(-b*x) + c", data)
    assert fit.status.name == "converged"
    assert len(fit.free) == groups + 2
    # Amplitudes at these b and c are those of a line through the origin.
    curve = np.exp(-fit["b"].value * x)
    left = y - fit["c"].value
    usual = np.bincount(site, curve * left) / np.bincount(site, curve * curve)
    found = np.array([fit[f"a[s{g}]"].value for g in range(groups)])
    np.testing.assert_allclose(found, usual, rtol=1e-9)
    pulls = (found - a) / np.array([fit[f"a[s{g}]"].stderr for g in range(groups)])
    assert 0.94 < np.sqrt(np.mean(pulls**2)) < 1.06
    assert abs(fit["b"].value - 0.7) < 4 * fit["b"].stderr


def test_a_group_whose_rows_do_not_tell_its_parameters_is_named():
    data = decays(20, 15)
    keep = (data["site"] != 7) | (data["x"] == 0)
    data = {name: column[keep] for name, column in data.items()}
    fit = sgdfit.fit(DECAYS, data, start="a=3, k=0.7, c=0, d=0")
    assert fit["k[7]"].stderr is None
    assert fit["k[8]"].stderr > 0
    assert any("k[7]" in warning for warning in fit.warnings)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"optimizer": "sgd"}, "auto has to step"),
        ({"loss": "huber"}, "loss has to be mse"),
        ({"intervals": "profile"}, "'wald'"),
        ({"tied": "a[3] = 2*a[4]"}, "none may be tied"),
    ],
)
def test_of_very_many_parameters_it_is_said_what_they_take(options, said):
    with pytest.raises(UsageError, match=said):
        sgdfit.fit(DECAYS, decays(60, 8), start="a=3, k=0.7, c=0, d=0", **options)


def test_peaks_of_many_groups_are_found_without_a_start():
    random, groups = np.random.default_rng(2), 300
    x, site = np.tile(np.linspace(0, 6, 15), groups), np.repeat(np.arange(groups), 15)
    height, centre = random.uniform(1, 10, groups), random.uniform(1, 5, groups)
    y = height[site] * np.exp(-(((x - centre[site]) / 0.5) ** 2))
    y += 0.05 * random.standard_normal(len(x))
    fit = sgdfit.fit(
        "y = h[site]*exp(-((x - m[site])/w)^2)", {"x": x, "y": y, "site": site}, seed=1
    )
    assert fit.status.name == "converged"
    assert abs(fit["w"].value - 0.5) < 4 * fit["w"].stderr
    pulls = [(fit[f"m[{g}]"].value - centre[g]) / fit[f"m[{g}]"].stderr for g in range(groups)]
    assert np.abs(pulls).max() < 4.5
