"""Parameters with a value for each level of a column: y = a[site]*exp(-b*x) + c."""

import numpy as np
import pytest
from scipy.optimize import least_squares

import sgdfit
from sgdfit.model.model import build

SITES = ("north", "S 2", "3")


def rows(levels=SITES, each=30, seed=0):
    """Return sites, in no order, a column x, and noise."""
    rng = np.random.default_rng(seed)
    site = rng.permutation(np.repeat(np.arange(len(levels)), each))
    return site, rng.uniform(0, 5, site.size), 0.02 * rng.standard_normal(site.size)


def by_dummies(curve, y, start, weights=1.0):
    """Return estimates and standard errors by SciPy, each level's parameters a stretch of theta."""
    root = np.sqrt(weights)
    close = {"xtol": 1e-15, "ftol": 1e-15, "gtol": 1e-15, "x_scale": "jac"}
    found = least_squares(lambda t: root * (curve(t) - y), start, jac="3-point", **close)
    inverse = np.linalg.inv(found.jac.T @ found.jac)
    noise = 2 * found.cost / (len(y) - len(start))
    return found.x, np.sqrt(np.diag(inverse) * noise)


# The formula, the curve of a level k with theta laid out by parameter, and what made the data.
# fmt: off
CURVES = {
    "amplitude": ("y = a[site]*exp(-b*x) + c",
        lambda t, k, x: t[k]*np.exp(-t[3]*x) + t[4], [3., 1., 2., .7, .5]),
    "rate": ("y = a*exp(-b[site]*x) + c",
        lambda t, k, x: t[0]*np.exp(-t[1 + k]*x) + t[4], [3., .4, 1., 2., .5]),
    "both": ("y = a[site]*exp(-b[site]*x) + c",
        lambda t, k, x: t[k]*np.exp(-t[3 + k]*x) + t[6], [3., 1., 2., .4, 1., 2., .5]),
    "all": ("y = V[site]*x/(K[site] + x)",
        lambda t, k, x: t[k]*x/(t[3 + k] + x), [3., 1., 2., .4, 1., 2.]),
    "peak": ("y = a[site]*exp(-((x - m[site])/s)**2) + c",
        lambda t, k, x: t[k]*np.exp(-((x - t[3 + k])/t[6])**2) + t[7],
        [3., 1., 2., 1., 2.5, 4., .3, .2]),
    "wave": ("y = a*sin(w*x + p[site]) + c[site]",
        lambda t, k, x: t[0]*np.sin(t[1]*x + t[2 + k]) + t[5 + k],
        [2., 4.3, 0., 1., -1., .5, 1., 0.]),
}
# fmt: on


@pytest.mark.parametrize("name", CURVES)
def test_estimates_and_errors_are_those_of_dummy_coded_parameters(name):
    formula, curve, truth = CURVES[name]
    site, x, noise = rows()
    y = curve(np.array(truth), site, x) + noise
    fit = sgdfit.fit(formula, {"site": np.array(SITES)[site], "x": x, "y": y})
    order = [SITES.index(level) for level in fit.levels["site"]]
    code = np.argsort(order)[site]
    families = build(formula, ["site", "x", "y"], levels=fit.levels).formula.families
    start = list(truth)
    for members in families.values():  # from the table's order of levels to that of the data
        first = fit.free.index(members[0])
        start[first : first + 3] = [truth[first + k] for k in order]
    theta, errors = by_dummies(lambda t: curve(t, code, x), y, start)
    assert fit.status.name == "converged"
    np.testing.assert_allclose([fit[n].value for n in fit.free], theta, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose([fit[n].stderr for n in fit.free], errors, rtol=1e-6)
