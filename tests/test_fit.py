"""`fit` as users call it: the examples, errors of the estimates, losses, default rates, misuse."""

import re

import numpy as np
import pytest

import sgdfit
from example_results import X, Y
from naming import name_of
from sgdfit.errors import DataError, FormulaError, SgdfitError, UsageError
from sgdfit.optimizers import Optimizer, sgd

optimize = pytest.importorskip("scipy.optimize", reason="SciPy is the oracle")

TUTORIAL = {"x": X, "y": Y}
ANSWER = {"a": 2.07485717, "b": 2.64455586, "c": 5.26174921}


def values(fit):
    return np.array([fit.estimates[name].value for name in fit.free])


def errors(fit):
    return np.array([fit.estimates[name].stderr for name in fit.free])


# --- the examples of the documentation, as they stand there


def quad(a, b, c, x):
    return a * x**2 + b * x + c


@pytest.mark.parametrize(
    "formula",
    [
        quad,
        lambda x, c, b, a: a * x**2 + b * x + c,
        lambda x, a, b, c: a * np.square(x) + np.multiply(b, x) + c,
        "y ~ a*x^2 + b*x + c",
        "a*x**2 + b*x + c",
        "y = a x^2 + b x + c".replace("a x", "a*x").replace("b x", "b*x"),
    ],
)
def test_the_same_curve_in_other_words(formula):
    response = None if isinstance(formula, str) and formula.startswith("y") else "y"
    fit = sgdfit.fit(formula, TUTORIAL, response=response, learning_rate=0.2, steps=200)
    for name, value in ANSWER.items():
        assert fit.estimates[name].value == pytest.approx(value, abs=2e-7)


# --- errors of the estimates

RANDOM = np.random.default_rng(12)
T = np.sort(RANDOM.uniform(0, 4, 60))
NOISE = RANDOM.normal(size=60)
S = RANDOM.uniform(0.05, 0.3, 60)
DECAY = {
    "t": T,
    "y": 3 * np.exp(-0.8 * T) + 0.5 + S * NOISE,
    "s": S,
    "w": 1 / S**2,
    "big": 0 * T + 1e307,
    "small": 0 * T + 1e-307,
}
START = {"a": 2.5, "k": 1.0, "c": 0.3}


def decay(t, a, k, c):
    return a * np.exp(-k * t) + c


def fit_decay(**options):
    options = {"learning_rate": 0.3, "steps": 8_000, "start": START, "trace_every": 0} | options
    return sgdfit.fit("y = a*exp(-k*t) + c", DECAY, **options)


def curve_fit(**options):
    return optimize.curve_fit(
        decay, T, DECAY["y"], p0=list(START.values()), xtol=1e-14, ftol=1e-14, **options
    )


def test_covariance_is_that_of_curve_fit():
    fit = fit_decay()
    best, covariance = curve_fit()
    assert fit.status.name == "converged"
    np.testing.assert_allclose(values(fit), best, rtol=1e-6)
    np.testing.assert_allclose(fit.covariance, covariance, rtol=1e-5)
    deviations = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(errors(fit), deviations, rtol=1e-5)
    np.testing.assert_allclose(
        fit.correlation, covariance / np.outer(deviations, deviations), rtol=1e-5
    )
    from scipy.stats import t

    half = t.ppf(0.975, 57) * deviations
    intervals = np.array([fit.estimates[name].interval for name in fit.free])
    np.testing.assert_allclose(intervals, np.stack([best - half, best + half], 1), rtol=1e-5)
    assert fit.covariance_method == "classical"


def test_the_size_of_weights_changes_nothing_but_the_sums_of_squares():
    one, seven = fit_decay(weights="w"), fit_decay(weights="7*w")
    np.testing.assert_allclose(values(seven), values(one), rtol=1e-13)
    np.testing.assert_allclose(seven.covariance, one.covariance, rtol=1e-11)
    assert seven.loss == pytest.approx(one.loss, rel=1e-13)
    assert seven.r_squared == pytest.approx(one.r_squared, rel=1e-12)
    assert seven.residual_sum_of_squares == pytest.approx(7 * one.residual_sum_of_squares)
    # The likelihood of data does not depend on the unit of the weights.
    assert seven.aic == pytest.approx(one.aic, rel=1e-10)


@pytest.mark.parametrize("weights", ["0*t + 3", "big", "small", "2"])
def test_equal_weights_are_none(weights):
    plain, weighted = fit_decay(steps=50), fit_decay(steps=50, weights=weights)
    np.testing.assert_allclose(values(weighted), values(plain), rtol=1e-12)
    np.testing.assert_allclose(weighted.loss, plain.loss, rtol=1e-12)


BAD_WEIGHTS = [
    ("t - 2", r"the weight 't - 2' is -1\.\d+ in row 1 of the data \(\d+ such rows\)"),
    ("log(t - 2)", "is nan in row 1 of the data"),
    ("0*t", r"every weight '0\*t' of the data is 0; nothing is left to fit"),
    ("tt", "the data has no column 'tt'; .* Did you mean 't'"),
    ("where(t < 0.1, 1, 0)", r"the data has [012] rows? of a weight above 0 for 3 free"),
]


@pytest.mark.parametrize(("weights", "sentence"), BAD_WEIGHTS)
def test_bad_weights(weights, sentence):
    with pytest.raises(DataError, match=sentence):
        fit_decay(weights=weights)


def test_tied_parameters_have_errors_by_the_delta_method():
    fit = fit_decay(tied="c = a/6 + 0*k", start="a=2.5, k=1")
    best, covariance = optimize.curve_fit(
        lambda t, a, k: decay(t, a, k, a / 6), T, DECAY["y"], (2, 1), xtol=1e-14, ftol=1e-14
    )
    np.testing.assert_allclose(values(fit), best, rtol=1e-6)
    tied = fit.estimates["c"]
    assert (tied.role, tied.tie) == ("tied", fit.estimates["c"].tie)
    assert tied.value == pytest.approx(best[0] / 6, rel=1e-6)
    assert tied.stderr == pytest.approx(np.sqrt(covariance[0, 0]) / 6, rel=1e-5)
    # A tie of two parameters: the slopes of k*a are (k, a).
    product = sgdfit.fit(
        "y = a*exp(-k*t) + m/10 + c",
        DECAY,
        tied="m = a*k",
        start=START,
        learning_rate=0.3,
        steps=8_000,
    )
    a, k, _ = values(product)
    slopes = np.array([k, a, 0])
    by_hand = np.sqrt(slopes @ product.covariance @ slopes)
    assert product.estimates["m"].stderr == pytest.approx(by_hand, rel=1e-12)


@pytest.mark.parametrize("bounds", ["c < -0.5", "0.7 < c < 0.8"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_estimate_stands_on_the_bound_exactly(bounds, dtype):
    fit = fit_decay(bounds=bounds, start="a=2.5, k=1", dtype=dtype, learning_rate=0.05)
    low, high = fit.estimates["c"].low, fit.estimates["c"].high
    assert fit.estimates["c"].value in (low, high)
    assert fit.estimates["c"].at_bound
    assert fit.estimates["c"].stderr is None
    assert fit.estimates["a"].stderr > 0


def test_every_parameter_on_a_bound():
    fit = sgdfit.fit("y = a + 0*t", DECAY, bounds="5 < a < 6", learning_rate=0.1)
    assert fit.status.name == "converged"
    assert fit.estimates["a"].value == 5
    assert fit.covariance_method == "none: every parameter stands on a bound"


@pytest.mark.parametrize(
    ("loss", "slope", "bend"),
    [
        ("soft_l1(scale=0.2)", lambda r: 2 * r / np.sqrt(1 + (r / 0.2) ** 2), None),
        ("log_cosh(scale=absolute)", np.tanh, lambda r: 1 / np.cosh(r) ** 2),
        (lambda prediction, target: (prediction - target) ** 4, lambda r: 4 * r**3, None),
    ],
    ids=["soft_l1", "log_cosh", "own"],
)
@pytest.mark.parametrize("weights", [None, "w"])
def test_other_losses_have_the_sandwich(loss, slope, bend, weights):
    fit = fit_decay(loss=loss, weights=weights, optimizer="sgd(momentum=0.9)", learning_rate=0.1)
    a, k, c = values(fit)
    J = np.stack([np.exp(-k * T), -a * T * np.exp(-k * T), np.ones_like(T)], axis=1)
    residual = decay(T, a, k, c) - DECAY["y"]
    w = np.ones_like(T) if weights is None else DECAY["w"] / DECAY["w"].mean()
    h = 1e-6
    second = bend(residual) if bend else (slope(residual + h) - slope(residual - h)) / (2 * h)
    H = np.linalg.inv(J.T @ (J * (w * second)[:, None]))
    scores = J * (w * slope(residual))[:, None]
    expected = len(T) / (len(T) - 3) * H @ scores.T @ scores @ H
    np.testing.assert_allclose(fit.covariance, expected, rtol=1e-4)
    assert fit.covariance_method == "sandwich"


# --- few rows, perfect rows, figures of merit


def test_as_many_rows_as_parameters_leave_no_errors():
    data = {"x": [0.0, 1.0], "y": [1.0, 3.0]}
    fit = sgdfit.fit("y = a*x + b", data, learning_rate=0.5, steps=500)
    np.testing.assert_allclose(values(fit), [2, 1], rtol=1e-10)
    assert fit.covariance is None
    assert fit.covariance_method == (
        "none: no degree of freedom is left, as there are 2 rows for 2 parameters"
    )
    assert (fit.degrees_of_freedom, fit.reduced_chi_square, fit.aicc) == (0, None, None)
    assert "2 rows" in str(fit)


def test_fewer_rows_than_parameters_are_refused():
    sentence = r"the data has 1 row for 2 free parameters \('a', 'b'\); give at least as many"
    with pytest.raises(DataError, match=sentence):
        sgdfit.fit("y = a*x + b", {"x": [1.0], "y": [2.0]})
    fit = sgdfit.fit("y = a*x + b", {"x": [1.0], "y": [2.0]}, fixed="b=1", learning_rate=0.5)
    assert fit.estimates["a"].value == pytest.approx(1)


def test_figures_of_merit_by_hand():
    """R: m <- lm(dist ~ speed, cars[1:10,]); AIC(m), BIC(m), summary(m)$r.squared, sigma^2."""
    speed = np.array([4, 4, 7, 7, 8, 9, 10, 10, 10, 11.0])
    dist = np.array([2, 10, 4, 22, 16, 10, 18, 26, 34, 17.0])
    fit = sgdfit.fit(
        "dist = a + b*speed", {"speed": speed, "dist": dist}, steps=20_000, tolerance=1e-9
    )
    J = np.stack([np.ones(10), speed], axis=1)
    best = np.linalg.lstsq(J, dist)[0]
    rss = np.sum((dist - J @ best) ** 2)
    deviance = 10 * (np.log(2 * np.pi * rss / 10) + 1)
    expected = {
        "residual_sum_of_squares": rss,
        "loss": rss / 10,
        "degrees_of_freedom": 8,
        "reduced_chi_square": rss / 8,
        "r_squared": 1 - rss / np.sum((dist - dist.mean()) ** 2),
        "aic": deviance + 2 * 3,
        "aicc": deviance + 2 * 3 + 2 * 3 * 4 / (10 - 3 - 1),
        "bic": deviance + 3 * np.log(10),
    }
    for name, value in expected.items():
        assert getattr(fit, name) == pytest.approx(value, rel=1e-9), name


@pytest.mark.parametrize(
    ("formula", "only"),
    [
        ("y = V*x/(K + x)*E", "E*V"),
        ("y = a*x**b*c + d", "a*c"),
        ("y = a*exp(-(x - x0)/d) + c", "a*exp(x0/d)"),
        ("y = p*q/(1 + exp(-(x - a)/b)) + c*d", "p*q"),
    ],
)
def test_products_of_parameters_stay_within_sight(formula, only):
    """Any share of a product will do; a*b = 2 shall not be 1e-13 times 2e13."""
    x = np.linspace(0.5, 5, 40)
    curve = 1 + 2 * x / (1 + x) if "exp" not in formula else 1 + 2 * np.exp(-0.5 * x)
    y = curve - ("c" not in formula) + np.random.default_rng(1).normal(0, 0.02, 40)
    fit = sgdfit.fit(formula, {"x": x, "y": y})
    assert fit.status.name == "converged"
    assert only in [one.text for one in fit.determined]
    assert max(map(abs, fit.values.values())) < 100
    assert only in fit.warnings[0].partition(", only ")[2]


def test_what_the_data_do_not_determine_is_named():
    fit = sgdfit.fit("y = a*x + b*x + c", TUTORIAL, learning_rate=0.1, steps=500)
    (combination,) = fit.determined
    assert (fit.undetermined, combination.text) == (("a and b",), "a + b")
    assert combination.value == pytest.approx(fit.values["a"] + fit.values["b"], rel=1e-12)
    line = sgdfit.fit("y = s*x + c", TUTORIAL)
    assert fit.degrees_of_freedom == line.degrees_of_freedom
    assert combination.stderr == pytest.approx(line.estimates["s"].stderr, rel=1e-9)
    errors = [fit.estimates[name].stderr for name in "abc"]
    assert errors == [None, None, pytest.approx(line.estimates["c"].stderr, rel=1e-9)]
    told = " ".join([*fit.warnings, *fit.diagnosis.notes])
    assert "a − b" in told
    assert len([w for w in (*fit.warnings, *fit.diagnosis.notes) if "a − b" in w]) == 1


def test_columns_that_do_not_vary_are_named():
    data = {"x": np.full(10, 2.0), "y": np.arange(10.0)}
    fit = sgdfit.fit("y = a*x", data, learning_rate=0.1)
    assert fit.warnings == (
        "the column 'x' is the same in every row (2), so it cannot tell parameters apart",
    )
    flat = sgdfit.fit(
        "y = a*x + b", {"x": np.arange(5.0), "y": np.full(5, 3.0)}, learning_rate=0.05
    )
    assert flat.warnings == ("the response 'y' is the same in every row",)
    assert flat.r_squared is None


# --- losses whose answers are known

COUNTS = np.array([3, 0, 2, 7, 4, 4, 1, 9, 2.0])


@pytest.mark.parametrize(
    ("loss", "answer"),
    [
        ("mse", COUNTS.mean()),
        ("mae", np.median(COUNTS)),
        ("quantile(q=0.5)", np.median(COUNTS)),
        ("quantile(q=0.2)", np.quantile(COUNTS, 0.2, method="inverted_cdf")),
        ("quantile(q=0.95)", COUNTS.max()),
        ("abs(prediction - target)", np.median(COUNTS)),
        ("poisson", COUNTS.mean()),
    ],
)
def test_a_constant_lands_on_what_the_loss_is_known_for(loss, answer):
    fit = sgdfit.fit(
        "y = m",
        {"y": COUNTS},
        constant=True,
        loss=loss,
        learning_rate=0.5,
        schedule="inverse_time(decay=0.05)",
        steps=20_000,
    )
    assert fit.estimates["m"].value == pytest.approx(answer, abs=2e-3)


# --- the learning rate when none is given


def linear_problem(scales, offset=0.0, rows=60, seed=3):
    random = np.random.default_rng(seed)
    columns = {f"x{i}": s * (random.normal(size=rows) + offset) for i, s in enumerate(scales)}
    truth = random.normal(size=len(scales))
    y = sum(t * c for t, c in zip(truth, columns.values(), strict=True))
    formula = "y = d + " + " + ".join(f"b{i}*x{i}" for i in range(len(scales)))
    return formula, columns | {"y": y + random.normal(size=rows)}


LINEAR = {
    "plain": linear_problem([1, 1, 1]),
    "one column": linear_problem([1.0]),
    "ill scaled": linear_problem([1, 30, 1e-2]),
    "very ill scaled": linear_problem([1e-4, 1e5]),
    "far from centre": linear_problem([1, 1], offset=50),
    "tiny": linear_problem([1e-6, 1e-6]),
    "huge": linear_problem([1e6, 1e6]),
    "repeated": ("y = a*x + b*x + c", TUTORIAL),
}


def rises(fit, data):
    """By how much each step changes the loss, from the moves: losses differ by their rounding."""
    ones = np.ones_like(data["y"])
    J = np.stack([data[f"x{n[1:]}"] if n not in "cd" else ones for n in fit.free], axis=1)
    steps = np.diff(fit.trace.parameters, axis=0) @ J.T
    residuals = fit.trace.parameters[:-1] @ J.T - data["y"]
    return np.mean(steps * (2 * residuals + steps), axis=1)


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize("optimizer", ["sgd", "sgd(weight_decay=0.1)"])
def test_default_rate_lowers_the_loss_at_each_step(name, optimizer):
    fit = sgdfit.fit(*LINEAR[name], optimizer=optimizer, steps=300)
    assert fit.status.ok
    if optimizer == "sgd":
        assert (rises(fit, LINEAR[name][1]) <= 1e-12 * fit.trace.loss[:-1]).all()
    assert fit.loss < fit.trace.loss[0] * (1 + 1e-12)
    if name in ("plain", "one column"):
        assert fit.status.name == "converged" or optimizer != "sgd"


def heavy(rows=400, freedom=1.5, seed=2):
    random = np.random.default_rng(seed)
    x = random.standard_t(freedom, rows)
    return {"x": x, "y": 2 * x + 1 + random.normal(size=rows)}


def outlier(rows=400):
    x = np.linspace(-1, 1, rows)
    x[7] = 300.0
    return {"x": x, "y": 2 * x + 1 + np.sin(37 * np.arange(rows))}


@pytest.mark.parametrize("size", [1, 32])
@pytest.mark.parametrize("optimizer", ["sgd(momentum=0.9)", "sgd(momentum=0.8, nesterov=True)"])
@pytest.mark.parametrize(
    ("formula", "data"),
    [
        ("y = a*x + b", heavy()),
        ("y = a*x + b", outlier()),
        LINEAR["plain"],
        LINEAR["ill scaled"],
        LINEAR["far from centre"],
    ],
    ids=["Cauchy-like x", "one outlier", "plain", "ill scaled", "far"],
)
def test_default_rate_of_small_batches_does_not_diverge(formula, data, optimizer, size):
    fit = sgdfit.fit(formula, data, optimizer=optimizer, batch_size=size, epochs=20, seed=4)
    assert fit.status.ok
    assert fit.loss < fit.trace.loss[0] or fit.loss < 10


NONLINEAR = [
    ("y = a*exp(-k*t) + c", DECAY, None),
    ("y = a*exp(-k*t) + c", DECAY, "k=0.1"),
    ("y = a/(1 + k*t)", DECAY, None),
    ("y = a*tanh(b*x) + c", TUTORIAL, None),
    ("y = a*sin(w*x) + c", {"x": X, "y": np.sin(1.5 * X)}, None),
    ("y = a*x**b", {"x": T + 0.1, "y": 2 * (T + 0.1) ** 0.7}, None),
]


@pytest.mark.parametrize(("formula", "data", "start"), NONLINEAR, ids=lambda v: name_of(v, 22))
@pytest.mark.parametrize("size", ["full", 4])
@pytest.mark.parametrize("loss", ["mse", "huber(delta=0.5)", "cauchy"])
def test_default_rate_of_other_models_does_not_diverge(formula, data, start, size, loss):
    fit = sgdfit.fit(formula, data, start=start, batch_size=size, loss=loss, steps=400, seed=1)
    assert fit.status.ok
    first = sgdfit.fit(formula, data, start=start, loss=loss, batch_size="full", steps=1)
    assert fit.loss < first.trace.loss[0]


U = np.linspace(0.1, 5, 60)
TEN = {
    "y = a*x + b": 2 * U - 1,
    "y = a*exp(-b*x) + c": 9 * np.exp(-1.2 * U) + 2,
    "y = a*exp(-(x - m)**2/(2*s**2)) + c": 5 * np.exp(-((U - 2.5) ** 2) / 0.98) + 1,
    "y = a/(1 + exp(-k*(x - m)))": 6 / (1 + np.exp(-3 * (U - 2))),
    "y = a*sin(w*x) + c": 2 * np.sin(1.3 * U) + 0.5,
    "y = a*x**p": 2 * U**0.7,
}


@pytest.mark.parametrize("optimizer", ["adagrad", "rmsprop", "averaged(adam)", "adamw"])
@pytest.mark.parametrize("formula", TEN)
def test_default_rates_of_the_other_optimizers_fit_the_units(formula, optimizer):
    """None diverges, and each run gets better, if y is in other units, or x."""
    y = TEN[formula] + 0.1 * np.random.default_rng(1).normal(size=len(U))
    for factor, other in ((1, 1), (1e-4, 1), (1, 1e3)):
        data = {"x": other * U, "y": factor * y}
        fit = sgdfit.fit(formula, data, optimizer=optimizer)
        assert fit.status.name != "diverged", (factor, other, fit.learning_rate)
        assert fit.loss < fit.trace.loss[0], (factor, other, fit.learning_rate)
        if factor == other == 1:
            share = fit.loss / fit.trace.loss[0]
            assert share < 0.7, share


def test_where_curvature_tells_no_rate_the_default_is_torchs():
    fit = sgdfit.fit("y = a*x", {"x": U, "y": U}, start={"a": 1}, optimizer="adam", steps=1)
    assert fit.learning_rate == "0.001"


def test_a_schedule_shapes_the_default_rate():
    plain = sgdfit.fit("y = a*x", TUTORIAL, optimizer="sgd", steps=20)
    cosine = sgdfit.fit("y = a*x", TUTORIAL, steps=20, schedule="cosine")
    rate = plain.trace.learning_rate[0]
    expected = rate * (1 + np.cos(np.pi * np.arange(20) / 20)) / 2
    np.testing.assert_allclose(cosine.trace.learning_rate[:-1], expected, rtol=1e-12)


def test_an_optimizer_of_ones_own_steps():
    def signed(theta, gradient, state, rate, step, options):
        return theta - rate * np.sign(gradient), state

    own = Optimizer("signed", sgd().init, signed, (), ())
    fit = sgdfit.fit(
        "y = a*x + b", TUTORIAL, optimizer=own, learning_rate=0.5, start="a=0, b=0", steps=3
    )
    np.testing.assert_array_equal(fit.trace.parameters, [[0, 0], [0.5, 0.5], [1, 1], [1.5, 1.5]])
    with pytest.raises(UsageError, match="the optimizer 'signed' has no default; give learning"):
        sgdfit.fit("y = a*x", TUTORIAL, optimizer=own)
    with pytest.raises(UsageError, match="the optimizer 'signed' is not compiled; use kernel="):
        sgdfit.fit("y = a*x", TUTORIAL, optimizer=own, learning_rate=1, kernel="compiled")


# --- misuse: every argument, with the sentence that names it

NAN, INF = float("nan"), float("inf")
MISUSE = [
    ({"formula": 5}, "5|int"),
    ({"formula": ""}, "empty"),
    ({"formula": "y = x"}, "every name in 'y = x' is a column"),
    ({"formula": "z = a*x"}, "uses 'z', which is no column of the data"),
    ({"formula": "a*x"}, "does not say which column it describes"),
    ({"data": None}, "data of type 'NoneType'"),
    ({"data": {}}, "the data has no columns"),
    ({"data": {"x": [], "y": []}}, "no rows"),
    ({"data": {"x": [1.0, 2], "y": [1.0, NAN]}}, "1 of 2 rows has no finite number"),
    ({"data": {"x": [1.0, 2], "y": [1.0]}}, "have 2 and 1 rows"),
    ({"data": X}, "write {'x': x, 'y': y}"),
    ({"response": "q"}, "q"),
    ({"loss": "hubber"}, "Did you mean 'huber'"),
    ({"loss": "huber(delta=-1)"}, "delta of the loss huber is -1; it must be above 0"),
    ({"start": {"q": 1}}, "names 'q', which is no parameter"),
    ({"start": {"a": NAN}}, "start of 'a' is nan; a finite number is needed"),
    ({"start": "randon"}, "write name=value|random"),
    ({"bounds": {"a": 5}}, r"give \(low, high\)"),
    ({"bounds": "a > 2, a < 1"}, "leave no room"),
    ({"fixed": {"a": INF}}, "a finite number is needed"),
    ({"fixed": "a=1,b=1,c=1"}, "every parameter of .* is fixed or tied"),
    ({"tied": "a = a"}, "circle"),
    ({"tied": "a = q"}, "names 'q', which is no parameter"),
    ({"weights": {"x": X}}, "weights is dict; give a number, a column, an expression"),
    ({"weights": X[1:]}, "columns 'x' and 'weights' of the data have 20 and 19 rows; give all col"),
    ({"optimizer": "sgdd"}, "Did you mean 'sgd'"),
    ({"optimizer": sgd}, "an optimizer is a name such as"),
    ({"optimizer": "sgd(momentum=-1)"}, "momentum of sgd must be 0 or more"),
    ({"learning_rate": 0}, "learning_rate is 0; it must be above 0"),
    ({"learning_rate": NAN}, "learning_rate must be a finite number, not nan"),
    ({"learning_rate": lambda step: -1}, "gives the learning rate -1.0 at step 0"),
    ({"learning_rate": lambda step: None}, "returns None at step 0"),
    ({"learning_rate": lambda s: 0.1, "schedule": "cosine"}, "leave out schedule"),
    ({"schedule": lambda s: 0.1, "learning_rate": 0.1}, "leave out learning_rate=0.1"),
    ({"schedule": "cosinus"}, "Did you mean 'cosine'"),
    ({"batch_size": 0}, "batch_size must be a whole number, 1 or more, not 0"),
    ({"steps": 0}, "steps must be a whole number, 1 or more, not 0"),
    ({"steps": 1e300}, r"1e\+300 steps would never end"),
    ({"shuffle": "yes"}, "shuffle must be True or False, not 'yes'"),
    ({"seed": -1}, "seed must be a whole number, 0 or more, not -1"),
    ({"tolerance": 0}, "tolerance is 0 standard errors; it must be above 0"),
    ({"callback": 5}, "callback must be a function, not 5"),
    ({"announce": "loud"}, "announce must be a function, not 'loud'"),
    ({"callback_every": 0}, "callback_every must be a whole number, 1 or more, not 0"),
    ({"trace_every": -1}, "trace_every must be a whole number, 0 or more, not -1"),
    ({"kernel": "compiled", "dtype": "float32"}, "use kernel='numpy' for float32"),
    ({"dtype": "float16"}, "dtype='float16' is neither 'float64' nor 'float32'"),
]


@pytest.mark.parametrize(("options", "sentence"), MISUSE, ids=lambda v: name_of(v, 40))
def test_misuse_is_named_before_a_row_is_read(options, sentence, monkeypatch):
    call = {"formula": "y = a*x**2 + b*x + c", "data": TUTORIAL} | options
    own_rate = callable(options.get("learning_rate"))
    if not (own_rate or options.keys() & {"data", "weights"}):
        monkeypatch.setattr("sgdfit.fitting.entry.prepare", None)
    with pytest.raises(SgdfitError, match=sentence):
        sgdfit.fit(**call)


@pytest.mark.parametrize(
    "options",
    [
        {"seed": 1e3, "batch_size": 4},
        {"seed": 2**70, "batch_size": 4},
        {"dtype": np.float32},
        {"learning_rate": np.float32(0.1)},
        {"shuffle": np.True_},
        {"trace_every": 10**30},
        {"callback": lambda p: None, "callback_every": 10**30},
        {"epochs": 2, "batch_size": 7},
    ],
    ids=name_of,
)
def test_numbers_of_other_types_are_numbers(options):
    fit = sgdfit.fit(
        "y = a*x + b",
        TUTORIAL,
        optimizer="sgd",
        **({"steps": 3} if "epochs" not in options else {}) | options,
    )
    assert fit.steps in (3, 6)
    assert fit.status.ok


FALL = {"t": np.linspace(0.0, 5.0, 30), "y": 2.0 * np.exp(-np.linspace(0.0, 5.0, 30)) + 0.1}


@pytest.mark.parametrize(
    ("formula", "columns", "sentence"),
    [
        ("y = a*exp(-k*T) + c", "ty", "the data hold 't', 'y' and not 'a', 'k', 'T', 'c'. Did you"),
        ("y = a*exp(-k*T) + c", "ty", "mean 't' where 'T' stands? For a constant on purpose pass"),
        ("y = a*exp(-k*time)", "ty", "Did you mean 't' where 'time' stands?"),
        ("y = a*exp(-k*t)", "xy", "Did you mean 'x' where 't' stands?"),
        ("y = a*time", ["Time (s)", "y"], "mean {Time (s)} where 'time' stands? For a constant"),
        (lambda t, a, k: a * np.exp(-k * t), "xy", "'y = a*exp(-k*t)', so it would fit a constant"),
        ("y = a", "ty", "it would fit a constant: the data hold 't', 'y' and not 'a'. For a cons"),
        ("y = a", "y", "For a constant on purpose pass constant=True (--constant)"),
        ("y = a + 0*T", "ty", "'T' has no effect on 'y = a + 0*T'; leave it out. Did you mean 't'"),
        ("y = a*y + b*t", "ty", "the response 'y' stands on both sides of 'y = a*y + b*t'"),
        ("log(y) = a*log(y)", "ty", "the response 'y' stands on both sides"),
    ],
    ids=name_of,
)
def test_a_right_side_that_misses_its_column_is_refused(formula, columns, sentence):
    data = dict(zip(columns, FALL.values(), strict=False))
    response = None if isinstance(formula, str) else "y"
    with pytest.raises(FormulaError, match=re.escape(sentence)):
        sgdfit.fit(formula, data, response=response)


@pytest.mark.parametrize(
    ("formula", "options"),
    [("y = a", {"constant": True}), ("y = a + 0*t", {}), (lambda t, a: a, {})],
)
def test_a_constant_on_purpose_is_the_mean(formula, options):
    response = None if isinstance(formula, str) else "y"
    fit = sgdfit.fit(formula, FALL, response=response, **options)
    assert fit.estimates["a"].value == pytest.approx(FALL["y"].mean(), rel=1e-12)


@pytest.mark.parametrize(
    ("formula", "columns", "start", "near"),
    [
        ("y = a*x + b*Temp", ("temp",), None, "temp"),
        ("y = a*x + b*tmep", ("temp",), None, "temp"),
        ("y = a*x + b*temps", ("temp",), None, "temp"),
        ("y = a*x + b*dose_mg", ("DoseMg",), None, "DoseMg"),
        ("y = a*x + b*x2", ("x3",), None, "x3"),
        ("y = a*x + b*T", ("t",), None, "t"),
        ("y = a*x + b*Temp", ("temp",), "Temp=2", None),  # a start says that it is meant
        ("y = A*exp(-k*x) + Y + X", (), None, None),  # of x it is a usual parameter
        ("y = a*exp(-k*(x - x0)) + b1", ("b", "x1", "z"), None, None),
        ("y = tau1*x + tau2", ("tau", "max", "i"), None, None),
        ("y = a*temp + temps + b*TEMP", ("temp",), None, "temp"),  # of what is used, by case alone
    ],
)
def test_a_parameter_that_resembles_a_column_is_asked_about(formula, columns, start, near):
    rows = np.linspace(1.0, 2.0, 9)
    data = {"x": rows, **dict.fromkeys(columns, rows**2), "y": 1 / rows}
    asked = [told for told in sgdfit.fit(formula, data, start=start).warnings if "mean" in told]
    assert len(asked) == (near is not None)
    assert not asked or f"it is a parameter. Did you mean {near!r}? If not, give it" in asked[0]
