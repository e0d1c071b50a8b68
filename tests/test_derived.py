"""What follows from fits: derived quantities, draws of the estimates, fits beside one another."""

import mpmath
import numpy as np
import pytest
from scipy import stats

import sgdfit
from sgdfit.errors import FormulaError, UsageError

T = np.linspace(0.0, 5.0, 14)
NOISE = np.random.default_rng(4).normal(size=len(T))
DATA = {"t": T, "y": 5 * np.exp(-0.7 * T) + 1 + 0.05 * NOISE, "s": np.full(len(T), 0.05)}
DATA |= {"l": 2 * T + 1e-3 * NOISE, "site": np.array(["p", "q"] * 7)}
DECAY = "y = a*exp(-k*t) + c"


@pytest.fixture(scope="module")
def decay():
    return sgdfit.fit(DECAY, DATA)


QUANTITIES = {
    "log(2)/k": lambda a, k, c: mpmath.log(2) / k,
    "a/k + 5*c": lambda a, k, c: a / k + 5 * c,
    "gamma(k)*sqrt(a)": lambda a, k, c: mpmath.gamma(k) * mpmath.sqrt(a),
    "c": lambda a, k, c: c,
    "where(k > 1, a, -k**2)": lambda a, k, c: -(k**2),
}


def test_quantities_vary_as_linear_propagation_says(decay):
    at = [mpmath.mpf(decay[name].value) for name in "akc"]
    jacobian = np.array([
        [float(mpmath.diff(f, at, tuple(int(i == j) for j in range(3)))) for i in range(3)]
        for f in QUANTITIES.values()
    ])  # fmt: skip
    order = [decay.free.index(name) for name in "akc"]
    exact = jacobian @ decay.covariance[np.ix_(order, order)] @ jacobian.T
    found = decay.derive(*QUANTITIES, level=0.9)
    np.testing.assert_allclose(found.covariance, exact, rtol=1e-9)
    t = stats.t.ppf(0.95, decay.degrees_of_freedom)
    for name, f in QUANTITIES.items():
        one = found[name]
        assert one.value == pytest.approx(float(f(*at)), rel=1e-13)
        half = (one.interval[1] - one.interval[0]) / 2
        assert half == pytest.approx(t * one.stderr, rel=1e-9)


def test_the_standard_error_is_that_of_repeated_experiments():
    random, values = np.random.default_rng(8), []
    for _ in range(400):
        y = 5 * np.exp(-0.7 * T) + 1 + 0.05 * random.normal(size=len(T))
        values.append(sgdfit.fit(DECAY, {"t": T, "y": y}, start="a=5, k=0.7, c=1").derive("a/k"))
    errors = [one.stderr for one in values]
    scatter = np.std([one.value for one in values])
    assert np.mean(errors) == pytest.approx(scatter, rel=4 / np.sqrt(2 * 400))


@pytest.mark.parametrize(
    ("options", "same"),
    [
        ({"tied": {"c": "a/5"}}, "a/5"),
        ({"fixed": {"c": 1.0}}, "1 + 0*a"),
        ({"bounds": {"c": (1.2, 2.0)}}, "1.2 + 0*a"),
    ],
)
def test_what_is_tied_fixed_or_on_a_bound_follows(options, same):
    fit = sgdfit.fit(DECAY, DATA, **options)
    found = fit.derive("c", f"again = {same}")
    assert found["c"].value == pytest.approx(found["again"].value, rel=1e-12)
    assert found["c"].stderr == pytest.approx(found["again"].stderr, rel=1e-9)
    drawn = fit.sample(50)
    at = {"a": drawn["a"]}
    np.testing.assert_allclose(drawn["c"], eval(same, at), rtol=1e-12)


def test_what_the_data_leave_open_has_no_error_and_what_they_determine_has():
    fit = sgdfit.fit("y = a*b*exp(-k*t) + c", DATA)
    found = fit.derive("a", "1/k")
    assert found["a"].stderr is None
    assert found["1/k"].stderr > 0
    with pytest.raises(UsageError, match="no error of a and b"):
        fit.sample(3)


@pytest.mark.parametrize(
    ("quantities", "sentence"),
    [
        (("log(2)/kk",), "'kk' in 'log.*no parameter; there are a, k, c. Did you mean 'k'?"),
        (("log(-k)",), "no finite value at the estimates"),
        (("a*t",), "'t' in"),
        (("h = a", "h = k"), "two quantities are called 'h'"),
        (("log(h) = k",), "the left side of"),
        (("a*",), "cannot be read"),
        ((), "half_life"),
        ((3,), "a quantity is text"),
    ],
)
def test_a_quantity_that_cannot_be_gets_a_sentence(decay, quantities, sentence):
    with pytest.raises((UsageError, FormulaError), match=sentence):
        decay.derive(*quantities)


@pytest.mark.parametrize("absolute", [False, True])
def test_draws_have_the_covariance_and_the_intervals_of_the_fit(absolute):
    fit = sgdfit.fit(DECAY, DATA, sigma="s", absolute_sigma=absolute)
    drawn = fit.sample(200_000, seed=2)
    assert list(drawn) == ["a", "k", "c"]
    table = np.array([drawn[name] for name in fit.free])
    dof = np.inf if absolute else fit.degrees_of_freedom
    wider = 1.0 if absolute else dof / (dof - 2)
    np.testing.assert_allclose(np.cov(table), wider * fit.covariance, rtol=0.05)
    for name in fit.free:
        tails = np.quantile(drawn[name], [0.025, 0.975])
        np.testing.assert_allclose(tails, fit[name].interval, atol=0.03 * fit[name].stderr)
    np.testing.assert_array_equal(fit.sample(5, seed=2)["k"], fit.sample(5, seed=2)["k"])


NESTED = [
    ("y = a*exp(-k*t)", DECAY, True),
    ("y = p*2**(-t/h)", DECAY, True),
    ("y = a + b*t", "y = a + b*t + c*t**2", True),
    ("y = a + b*t", DECAY, False),
    ("y = a + b*t + c*t**2", "y = p + q*t + r*sqrt(t) + u*t**3", False),
    (DECAY, "y = a[site]*exp(-k*t) + c", True),
    # The fitted curve alone is one of the larger's, but for rounding.
    ("l = a*exp(-k*t) + c", "l = a + b*t + c*t**2 + d*t**3 + e*t**4", False),
    ("l = a*t/(k + t)", "l = a + b*t + c*t**2 + d*t**3", False),
    ("l = a*cos(b*t)", "l = a + b*t + c*t**2 + d*t**4", False),
]


@pytest.mark.parametrize(("smaller", "larger", "nested"), NESTED)
def test_nested_fits_are_known_and_tested_as_by_anova(smaller, larger, nested):
    one, other = (sgdfit.fit(formula, DATA) for formula in (smaller, larger))
    (test,) = sgdfit.compare(other, one).tests
    assert (test.smaller, test.larger, test.nested) == (2, 1, nested)
    if nested:
        rss, dof = zip(*((f.residual_sum_of_squares, f.degrees_of_freedom) for f in (one, other)),
                       strict=True)  # fmt: skip
        f = (rss[0] - rss[1]) / (dof[0] - dof[1]) / (rss[1] / dof[1])
        assert test.statistic == pytest.approx(f, rel=1e-12)
        assert test.p_value == pytest.approx(stats.f.sf(f, dof[0] - dof[1], dof[1]), rel=1e-9)


def test_known_variances_make_it_a_chi_square_test():
    given = {"sigma": "s", "absolute_sigma": True}
    one, other = (sgdfit.fit(f, DATA, **given) for f in (DECAY, f"{DECAY} + d*t"))
    (test,) = sgdfit.compare(one, other).tests
    gain = one.residual_sum_of_squares - other.residual_sum_of_squares
    assert test.p_value == pytest.approx(stats.chi2.sf(gain, 1), rel=1e-9)


def test_perfect_fits_are_not_told_apart_by_rounding():
    data = {"t": T, "y": 5 * np.exp(-0.7 * T)}
    found = sgdfit.compare(*(sgdfit.fit(f, data) for f in ("y = a*exp(-k*t)", DECAY)))
    assert "no test" in found.tests[0].text
    assert not np.isnan(found.delta).any()


def test_a_parameter_that_is_0_gains_nothing():
    data = {"x": np.arange(-3.0, 4), "y": [9.1, 4.0, 2.1, 0.9, 2.1, 4.0, 9.1]}
    fits = (sgdfit.fit(f, data) for f in ("y = a + c*x**2", "y = a + b*x + c*x**2"))
    assert sgdfit.compare(*fits).tests[0].p_value == pytest.approx(1)


def test_a_function_that_is_called_is_compared():
    def looped(t, a, k):
        return np.array([a * np.exp(-k * each) for each in t])

    one = sgdfit.fit(looped, DATA, response="y", start={"a": 4, "k": 0.5})
    assert sgdfit.compare(one, sgdfit.fit(DECAY, DATA)).tests[0].nested


def test_criteria_stand_beside_one_another(decay, tmp_path):
    decay.save(tmp_path / "fit.json")
    fits = [sgdfit.fit("y = a + b*t", DATA), sgdfit.load(tmp_path / "fit.json")]
    found = sgdfit.compare(*fits)
    np.testing.assert_allclose(found.delta, [fits[0].aicc - fits[1].aicc, 0])
    assert sum(found.weight) == pytest.approx(1)
    assert "was loaded" in str(found)
    assert found._repr_html_().count("<tr>") == 3


@pytest.mark.parametrize(
    ("formula", "data", "options", "sentence"),
    [
        ("y = a*t", {n: v[:9] for n, v in DATA.items()}, {}, "of 14 and 9 rows"),
        ("y = a*t", DATA | {"y": DATA["y"] + T}, {}, "their rows differ"),
        ("log(y) = a*t", DATA, {}, "one is of y, the other of log"),
        ("y = a*t", DATA, {"weights": "s"}, "weights is None in one and s in the other"),
        ("y = a*t", DATA, {"loss": "huber"}, "no likelihood"),
    ],
)
def test_fits_of_other_data_are_not_compared(decay, formula, data, options, sentence):
    with pytest.raises(UsageError, match=sentence):
        sgdfit.compare(decay, sgdfit.fit(formula, data, **options))
