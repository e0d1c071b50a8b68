"""sigma, absolute_sigma, covariance and sums of squares, against curve_fit and written out."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import curve_fit
from scipy.special import stdtrit
from scipy.stats import chi2, norm
from scipy.stats import f as f_distribution

import sgdfit
from sgdfit.errors import DataError, UsageError
from sgdfit.inference.statistics import expected_range, lack_of_fit, serial_correlation

RNG = np.random.default_rng(11)
N = 60
X = np.linspace(0, 4, N)
S = RNG.uniform(0.02, 0.2, N)
NOISE = RNG.normal(size=N)
DATA = {"x": X, "y": 2.5 * np.exp(-0.8 * X) + 0.4 + S * NOISE, "s": S, "half": S / 2}
FORMULA = "y = a*exp(-k*x) + c"
START = {"a": 2.0, "k": 1.0, "c": 0.3}


# Of neighbours that go together, each row with a deviation of its own.
JOINT = 0.7 ** np.abs(np.subtract.outer(np.arange(N), np.arange(N))) * np.outer(S, S)


def curve(x, a, k, c):
    return a * np.exp(-k * x) + c


def fitted(data=DATA, formula=FORMULA, **options):
    return sgdfit.fit(formula, data, start=START, **options)


def errors(fit):
    return np.array([fit.estimates[name].stderr for name in fit.free])


SIGMAS = {
    "a column": ("s", S),
    "an expression": ("3*s", 3 * S),
    "tiny": ("1e-120*s", 1e-120 * S),
    "a number": (2, np.full(N, 2.0)),
    "an array": (S, S),
}


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize(("sigma", "deviations"), SIGMAS.values(), ids=SIGMAS)
def test_every_figure_is_curve_fits(sigma, deviations, absolute):
    fit = fitted(sigma=sigma, absolute_sigma=absolute)
    # curve_fit's own sums overflow for tiny deviations, which scale its covariance exactly
    unit = deviations.max()
    theta, covariance = curve_fit(
        curve, X, DATA["y"], list(START.values()), sigma=deviations / unit,
        absolute_sigma=absolute, ftol=1e-15, xtol=1e-15, gtol=1e-15,
    )  # fmt: skip
    covariance = covariance * (unit**2 if absolute else 1)
    assert fit.free == ("a", "k", "c")
    np.testing.assert_allclose(list(fit.values.values()), theta, rtol=1e-6)
    np.testing.assert_allclose(fit.covariance, covariance, rtol=2e-5)
    np.testing.assert_allclose(errors(fit), np.sqrt(np.diag(covariance)), rtol=1e-5)
    assert fit.covariance_method == "classical"
    written = "sigma" if isinstance(sigma, np.ndarray) else str(sigma)
    assert (fit.sigma, fit.absolute_sigma) == (written, absolute)
    chi_square = np.sum(((DATA["y"] - curve(X, *theta)) / deviations) ** 2)
    assert fit.residual_sum_of_squares == pytest.approx(chi_square, rel=1e-9)
    assert fit.reduced_chi_square == pytest.approx(chi_square / (N - 3), rel=1e-9)
    assert fit.noise_variance == (1.0 if absolute else fit.reduced_chi_square)
    quantile = norm.ppf(0.975) if absolute else stdtrit(N - 3, 0.975)
    for estimate in fit.estimates.values():
        low, high = estimate.interval
        half = quantile * estimate.stderr
        ends = [estimate.value - half, estimate.value + half]
        np.testing.assert_allclose(
            [low, high], ends, rtol=1e-6 * half / abs(estimate.value) + 1e-15
        )


@pytest.mark.parametrize("absolute", [False, True])
def test_sigma_is_weights_of_inverse_variances(absolute):
    by_sigma = fitted(sigma="s", absolute_sigma=absolute)
    by_weights = fitted(weights="1/s**2", absolute_sigma=absolute)
    assert by_sigma.values == pytest.approx(by_weights.values, rel=1e-9)
    np.testing.assert_allclose(by_sigma.covariance, by_weights.covariance, rtol=1e-7)
    for name in ("reduced_chi_square", "r_squared", "aic", "bic", "noise_variance"):
        assert getattr(by_sigma, name) == pytest.approx(getattr(by_weights, name), rel=1e-9)
    assert (by_sigma.weights, by_weights.weights) == ("1/(s)**2", "1/s**2")
    assert by_weights.sigma is None


@pytest.mark.parametrize("where", [None, "x > 1", "sigma < 0.15"])
@pytest.mark.parametrize("kind", ["dict", "frame", "batches", "csv", "parquet"])
def test_arrays_stay_beside_their_rows(kind, where, tmp_path):
    frame = pd.DataFrame(DATA).rename(columns={"s": "S"})
    frame.loc[[3, 50], "y"] = np.nan
    files = {"csv": tmp_path / "rows.csv", "parquet": tmp_path / "rows.parquet"}
    frame.to_csv(files["csv"])
    frame.to_parquet(files["parquet"], row_group_size=7)
    sources = {"dict": dict(frame), "frame": frame, "batches": iter([frame[:9], frame[9:]])}
    kept = frame.assign(sigma=S).dropna().query(where or "x >= 0")
    for option, array in (("sigma", S), ("weights", 1 / S**2)):
        if option == "weights" and (kind == "batches" or "sigma" in (where or "")):
            continue  # what is read once; the name of an array is that of its option
        source = {**sources, **files}[kind]
        fit = fitted(source, where=where, missing="drop", **{option: array.tolist()})
        plain = fitted(kept, sigma="sigma")
        assert fit.values == pytest.approx(plain.values, rel=1e-9)
        np.testing.assert_allclose(errors(fit), errors(plain), rtol=1e-7)


def test_a_series_in_another_order_is_asked_about():
    frame = pd.DataFrame(DATA)
    with pytest.raises(UsageError, match="sigma is a Series whose index is not that of the data"):
        fitted(frame.sort_values("y"), sigma=frame["s"])
    assert fitted(frame, sigma=frame["s"]).values == fitted(sigma=S).values


def test_an_array_shadows_no_column_and_no_parameter():
    formula, data = "y = a*exp(-sigma*x) + c", {**DATA, "sigma_": X}
    fit = sgdfit.fit(formula, data, sigma=S)
    assert (fit.free, fit.sigma) == (("a", "sigma", "c"), "sigma__")
    assert fit.estimates["sigma"].value == pytest.approx(fitted(sigma="s").values["k"], rel=1e-7)


@pytest.mark.parametrize("sigma", [None, "s"])
def test_the_sandwich_is_whites(sigma):
    """HC1: n/(n − p) (JᵀWJ)⁻¹ (Σ w² r² j jᵀ) (JᵀWJ)⁻¹, MacKinnon and White 1985."""
    fit = fitted(sigma=sigma, covariance="sandwich")
    a, k, c = fit.values.values()
    J = np.stack([np.exp(-k * X), -a * X * np.exp(-k * X), np.ones(N)], axis=1)
    w = np.ones(N) if sigma is None else 1 / S**2
    residual = DATA["y"] - curve(X, a, k, c)
    bread = np.linalg.inv(J.T @ (w[:, None] * J))
    meat = J.T @ ((w * residual)[:, None] ** 2 * J)
    assert fit.covariance_method == "sandwich"
    np.testing.assert_allclose(fit.covariance, N / (N - 3) * bread @ meat @ bread, rtol=1e-7)
    low, high = fit.estimates["a"].interval
    half = stdtrit(N - 3, 0.975) * fit.estimates["a"].stderr
    np.testing.assert_allclose(high - low, 2 * half, rtol=1e-9)
    # the noise of a row of weight one is that of the residuals, whatever the errors come from
    assert fit.noise_variance == fit.reduced_chi_square


def test_auto_is_the_sandwich_for_other_losses():
    options = {"loss": "huber(delta=0.1)", "sigma": "s"}
    auto, asked = (fitted(covariance=c, **options) for c in ("auto", "sandwich"))
    assert auto.covariance_method == asked.covariance_method == "sandwich"
    np.testing.assert_allclose(auto.covariance, asked.covariance, rtol=1e-12)
    assert auto.noise_variance is None
    assert fitted(covariance="classical").covariance_method == "classical"


def test_as_many_rows_as_parameters_are_enough_where_sigma_is_absolute():
    data = {"x": [0.0, 2.0], "y": [1.0, 5.0], "s": [0.3, 0.4]}
    fit = sgdfit.fit("y = a + b*x", data, sigma="s", absolute_sigma=True)
    # a = y₀, b = (y₁ − y₀)/2
    assert errors(fit) == pytest.approx([0.3, 0.25], rel=1e-9)
    assert sgdfit.fit("y = a + b*x", data, sigma="s").covariance is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sigma": "s"}, None),
        ({"sigma": "s", "absolute_sigma": True}, None),
        ({"sigma": "half"}, None),
        (
            {"sigma": "half", "absolute_sigma": True},
            ("residuals are larger than sigma 'half' says", "sigma is too small (about"),
        ),
        (
            {"sigma": "10*s", "absolute_sigma": True},
            ("residuals are smaller than sigma '10*s' says", "sigma is too large"),
        ),
        (
            {"weights": "4/s**2", "absolute_sigma": True},
            ("larger than the weights '4/s**2' say", "deviations that they stand for are"),
        ),
    ],
)
def test_residuals_that_contradict_an_absolute_sigma_are_told(options, words):
    fit = fitted(**options)
    told = [text for text in fit.warnings if "residuals are" in text]
    assert len(told) == (words is not None)
    for word in words or ():
        assert word in told[0]
    if words:
        low, high = chi2.ppf([0.0005, 0.9995], N - 3) / (N - 3)
        figures = f"the reduced χ² is {fit.reduced_chi_square:.3g}, where {low:.3g} to {high:.3g}"
        assert figures in told[0]


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("function", [FORMULA, lambda x, a, k, c: curve(x[()], a, k, c)[:]])
def test_a_covariance_of_rows_is_that_of_whitened_ones(function, absolute, tmp_path):
    """Against curve_fit, and against least squares, R² and AIC of the whitened rows."""
    fit = fitted(formula=function, response="y" * callable(function) or None, sigma=JOINT,
                 absolute_sigma=absolute)  # fmt: skip
    theta, covariance = curve_fit(
        curve, X, DATA["y"], list(START.values()), sigma=JOINT, absolute_sigma=absolute,
        ftol=1e-15, xtol=1e-15, gtol=1e-15,
    )  # fmt: skip
    np.testing.assert_allclose(list(fit.values.values()), theta, rtol=1e-6)
    np.testing.assert_allclose(fit.covariance, covariance, rtol=2e-5)
    residual = DATA["y"] - curve(X, *theta)
    np.testing.assert_allclose(fit.residuals, residual, atol=1e-7)
    table = np.stack([residual, DATA["y"], np.ones(N)], axis=1)
    left, whole, one = np.linalg.solve(np.linalg.cholesky(JOINT), table).T
    square, apart = left @ left, whole - one * (one @ whole) / (one @ one)
    assert fit.residual_sum_of_squares == pytest.approx(square, rel=1e-9)
    assert fit.r_squared == pytest.approx(1 - square / (apart @ apart), rel=1e-9)
    variance = 1.0 if absolute else square / N
    deviance = N * np.log(2 * np.pi * variance) + np.linalg.slogdet(JOINT)[1] + square / variance
    assert fit.aic == pytest.approx(deviance + 2 * (4 - absolute), rel=1e-9)
    fit.save(tmp_path / "fit.json")
    assert str(sgdfit.load(tmp_path / "fit.json")) == str(fit)
    independent = fitted(formula=function, response="y" * callable(function) or None, sigma=S)
    with pytest.raises(UsageError, match="their rows are not correlated alike"):
        sgdfit.compare(fit, independent)


def test_what_a_curve_leaves_of_correlated_rows_is_what_r_squared_says():
    data = {"x": X, "y": 2 + np.linalg.cholesky(JOINT) @ NOISE}
    fit = sgdfit.fit("y = a*exp(-k*x)", data, start={"a": 2, "k": 0}, sigma=JOINT)
    assert f"leaves {100 * (1 - fit.r_squared):.4g}% of the variation" in fit.warnings[-1]


@pytest.mark.parametrize("dof", [1, 2, 17, 1_000, 10**9])
def test_the_usual_range_of_the_reduced_chi_square(dof):
    np.testing.assert_allclose(
        expected_range(dof), chi2.ppf([0.0005, 0.9995], dof) / dof, rtol=1e-6
    )


@pytest.mark.parametrize(
    ("options", "kind", "sentence"),
    [
        ({"sigma": "s", "weights": "s"}, UsageError, "both say what a row weighs; give one"),
        ({"sigma": S[1:]}, DataError, "columns 'x' and 'sigma' of the data have 60 and 59 rows"),
        ({"weights": np.diag(S)}, UsageError, r"weights is a matrix of shape \(60, 60\); a cov"),
        ({"sigma": JOINT - 0.01}, UsageError, "sigma is a matrix with -.* in row 1, column 1"),
        ({"sigma": np.ones((N, N))}, UsageError, "no covariance of noise: .* the eigenvalue"),
        ({"sigma": np.triu(JOINT)}, UsageError, "in row .* and 0 in row .* symmetric"),
        ({"sigma": JOINT, "where": "x > 1"}, UsageError, "a matrix of 60 rows, and 45 rows of"),
        ({"sigma": JOINT, "epochs": 3}, UsageError, "of all rows, but the optimizer sgd steps on"),
        ({"sigma": JOINT, "loss": "huber"}, UsageError, "of all rows, but the loss huber is a sum"),
        ({"sigma": np.nan}, UsageError, "sigma must be a finite number, not nan"),
        ({"sigma": 0}, DataError, "the sigma '0' is 0 in row 1"),
        ({"sigma": iter(S)}, UsageError, "sigma is iterator; give a number, a column, an expressi"),
        ({"sigma": "q"}, DataError, "no column 'q'"),
        (
            {"absolute_sigma": True},
            UsageError,
            "at their word, but there are none; give sigma='column'",
        ),
        ({"sigma": "s", "absolute_sigma": 1}, UsageError, "absolute_sigma is 1; it is True or F"),
        ({"covariance": "sandwhich"}, UsageError, "'sandwhich'; .* Did you mean 'sandwich'"),
        (
            {"covariance": "classical", "loss": "huber"},
            UsageError,
            "classical' holds for least squares alone, where the loss is mse, not for huber",
        ),
        (
            {"sigma": "s", "absolute_sigma": True, "loss": "soft_l1"},
            UsageError,
            "with the loss soft_l1.* come from the residuals of each row, so absolute_sigma",
        ),
        (
            {"sigma": "s", "absolute_sigma": True, "covariance": "sandwich"},
            UsageError,
            "with covariance='sandwich' the standard errors come from the residuals",
        ),
        (
            {"sigma": "s - s"},
            DataError,
            r"sigma 's - s' is 0 in row 1 of .* \(60 such rows\); a st",
        ),
        ({"sigma": "1/x"}, DataError, "sigma '1/x' is inf in row 1 of .*a finite number above 0"),
        ({"sigma": "x - 1"}, DataError, "sigma 'x - 1' is -1 in row 1"),
    ],
)
def test_what_cannot_be_is_refused(options, kind, sentence):
    with pytest.raises(kind, match=sentence):
        fitted(**options)


MANY = 9_000
DRAWN = np.random.default_rng(3).uniform(0, 3, MANY)
LOSSES = {
    "x": DRAWN,
    "y": 3 * np.exp(-DRAWN) + 1 + np.random.default_rng(4).standard_t(3, MANY) / 10,
    "w": np.random.default_rng(5).uniform(0.5, 2, MANY),
    "n": np.random.default_rng(6).poisson(2 * np.exp(-DRAWN)),
}


@pytest.mark.parametrize("form", ["numpy", "compiled"])
@pytest.mark.parametrize(
    ("formula", "options"),
    [
        (FORMULA, {"loss": "huber"}),
        (FORMULA, {"loss": "soft_l1", "weights": "w"}),
        ("n = exp(a - c*x)", {"loss": "poisson"}),
    ],
)
def test_squares_by_another_loss_are_those_of_the_predictions(formula, options, form):
    fit = sgdfit.fit(formula, LOSSES, kernel=form, **options)
    residual = LOSSES[formula[0]] - fit.predict({"x": LOSSES["x"]})
    expected = np.sum(LOSSES.get(options.get("weights"), 1.0) * residual**2)
    assert fit.residual_sum_of_squares == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("rows", "parameters"), [(20, 3), (120, 12), (400, 20)])
def test_residuals_of_noise_do_not_go_together(rows, parameters):
    """After a fit of polynomials; what a bump or a quick wave leaves is seen beside it."""
    random, x = np.random.default_rng(6), np.linspace(-1.0, 1.0, rows)
    slopes = np.polynomial.legendre.legvander(x, parameters - 1).T

    def beyond(y):
        residual = y - slopes.T @ np.linalg.lstsq(slopes.T, y)[0]
        return serial_correlation(residual, slopes, [x, random.permutation(rows)])[1]

    noise = [random.normal(size=rows) for _ in range(300)]
    found = [beyond(y) for y in noise]
    assert sum(value > 2.5 for value in found) <= 15
    assert max(found) < 5.0
    for missed in (np.exp(-((x * rows / 6) ** 2)), np.cos(np.pi * 0.9 * np.arange(rows))):
        assert min(beyond(0.1 * y + missed) for y in noise[:20]) > 2.5


@pytest.mark.parametrize("weighted", [False, True])
def test_replicates_off_a_line_are_seen_as_by_the_f_test(weighted):
    random = np.random.default_rng(4)
    x, z = np.repeat(np.arange(9.0), 4), np.tile([0.0, 0.0, 1.0, 1.0], 9)
    root = np.sqrt(1 + x) if weighted else np.ones(36)

    def least(y, columns):
        return root * y - columns.T @ np.linalg.lstsq(columns.T, root * y)[0]

    line = root * np.array([np.ones(36), x])
    means = root * ((x == np.arange(9)[:, None, None]) & (z == [[0], [1]])).reshape(18, 36)
    for bump in (0.0, 0.2, 0.5):
        y = bump * np.cos(x) * (1 - 2 * z) + 0.3 * random.normal(size=36) / root
        left, within = least(y, line), np.sum(least(y, means) ** 2)
        ratio = (left @ left - within) / 16 / (within / 18)
        told = lack_of_fit(left, 2, [x, z], root if weighted else None)
        assert told == pytest.approx(norm.isf(f_distribution.sf(ratio, 16, 18)), abs=0.05, rel=0.06)
    assert lack_of_fit(left, 2, [random.permutation(36)], None) == 0.0
    copies = np.repeat(left[::4], 4)
    assert lack_of_fit(copies, 2, [x], None) == 0.0


def test_a_start_that_leads_off_the_replicates_is_called_no_minimum():
    # From ones the slope stays above 0; the residuals of triples hardly go together.
    dose = np.repeat([0.0, *np.geomspace(0.05, 60, 8)], 3)
    with np.errstate(divide="ignore"):
        curve = 1 + 8 * (1 - np.exp(-((dose / 7) ** -1.0)))
    y = curve + 0.08 * np.random.default_rng(0).normal(size=27)
    formula = "y = c + (d - c)*(1 - exp(-exp(b*(log(dose) - log(m)))))"
    start = dict.fromkeys("cdbm", 1.0)
    fit = sgdfit.fit(formula, {"dose": dose, "y": y}, start=start)
    assert fit.status.name == "local_minimum"
    assert any("than their scatter allows" in text for text in fit.warnings)
