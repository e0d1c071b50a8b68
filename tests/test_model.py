"""Models: what is a variable, what enters linearly, and derivatives that stay finite."""

import functools
import html
import re

import mpmath
import numpy as np
import pytest
import sympy

from sgdfit.errors import FormulaError, SgdfitError, UsageError
from sgdfit.formula.evaluation import evaluate
from sgdfit.formula.formula import stable, symbol, to_text
from sgdfit.formula.reading import as_formula
from sgdfit.kernel.forms import make
from sgdfit.kernel.kernel import Chunk
from sgdfit.model.model import build


@pytest.mark.parametrize(
    ("formula", "columns", "variables", "free", "read"),
    [
        ("y = a*x + b", "xyz", ("x",), ("a", "b"), ("x", "y")),
        ("log(y) = a*x + b*z", "xyz", ("x", "z"), ("a", "b"), ("x", "z", "y")),
        ("y/z ~ a*x", "xyz", ("x",), ("a",), ("x", "y", "z")),
        ("y/z = a + y*x", "xyz", ("y", "x"), ("a",), ("y", "x", "z")),
        ("y = S*x + E*I + lambda", "xy", ("x",), ("S", "E", "I", "lambda"), ("x", "y")),
        ("y = a*x + x0*p0 + numpy", "xy", ("x",), ("a", "x0", "p0", "numpy"), ("x", "y")),
        ("y = a", "xy", (), ("a",), ("y",)),
        ("y = a + 0*x", "xy", ("x",), ("a",), ("x", "y")),
        ("y - x = a + b*(x + y)/2", "xy", ("x", "y"), ("a", "b"), ("x", "y")),
        ("y = a + b*c**x + d*e**x", "xy", ("x",), ("a", "b", "c", "d", "e"), ("x", "y")),
        ("y = c + d/(1 + (x/e)**b)", "xy", ("x",), ("c", "d", "e", "b"), ("x", "y")),
        ("y = a*`pi` + b", ("pi", "y"), ("pi",), ("a", "b"), ("pi", "y")),
        ("y = a*spin", ("spin", "pi", "y"), ("spin",), ("a",), ("spin", "y")),
    ],
)
def test_columns_are_variables_and_the_rest_parameters(formula, columns, variables, free, read):
    model = build(formula, list(columns))
    assert (model.variables, model.free, model.columns) == (variables, free, read)


def test_fixed_and_tied_parameters_are_put_in():
    model = build(
        "y = a*x**n + b*x + c", ["x", "y"], fixed="n=2, c=0.5", tied="b = 2*a", start="a=4"
    )
    a, x = symbol("a"), symbol("x")
    assert model.prediction == a * x**2 + 2 * a * x + sympy.Float(0.5)
    assert model.gradient == (x**2 + 2 * x,)
    assert (model.free, model.start, model.is_linear) == (("a",), [4.0], True)
    assert model.values([3]) == {"a": 3.0, "n": 2.0, "b": 6.0, "c": 0.5}
    assert str(model.formula) == "y = a*x**n + b*x + c"


def test_a_partial_function_is_a_model():
    def quadratic(a, b, c, x):
        return a * x**2 + b * x + c

    model = build(functools.partial(quadratic, 2, c=5), ["x", "y"], response="y")
    assert model.free == ("b",)
    assert model.values([1.0]) == {"a": 2.0, "b": 1.0, "c": 5.0}
    # The formula keeps the user's form.
    model = build("y = a/(1 + exp(-x))", ["x", "y"])
    assert str(model.formula) == "y = a/(1 + exp(-x))"
    assert to_text(model.prediction) == "a*logistic(x)"


EXTREME = [-1e4, -800.0, -40.0, -1e-9, 0.0, 1e-9, 40.0, 800.0, 1e4]

# The formula, and mpmath's value of it at u = x.
STABLE = {
    "1/(1 + exp(x))": lambda u: 1 / (1 + mpmath.exp(u)),
    "1/(1 + exp(-x))": lambda u: 1 / (1 + mpmath.exp(-u)),
    "1/sqrt(1 + exp(x))": lambda u: 1 / mpmath.sqrt(1 + mpmath.exp(u)),
    "(1 + exp(x))**-0.7": lambda u: (1 + mpmath.exp(u)) ** mpmath.mpf(-0.7),
    "1/(1 + 10**(x/10))": lambda u: 1 / (1 + mpmath.mpf(10) ** (u / 10)),
    "exp(x)/(1 + exp(x))": lambda u: mpmath.exp(u) / (1 + mpmath.exp(u)),
    "exp(x)/(1 + exp(x))**2": lambda u: mpmath.exp(u) / (1 + mpmath.exp(u)) ** 2,
    "log(1 + exp(x))": lambda u: mpmath.log1p(mpmath.exp(u)),
    "logistic(x) - logistic(-x)": lambda u: mpmath.tanh(u / 2),
    "1 - exp(-abs(x))": lambda u: -mpmath.expm1(-abs(u)),
    "exp(-abs(x)) - 1": lambda u: mpmath.expm1(-abs(u)),
    "log(1 + x**2)": lambda u: mpmath.log1p(u**2),
    "where(x > 0, 1/(1 + exp(-x)), exp(x)/(1 + exp(x)))": lambda u: 1 / (1 + mpmath.exp(-u)),
}


@pytest.mark.parametrize("text", STABLE)
def test_values_at_extreme_arguments(text):
    expression = stable(as_formula(text).expression)
    with mpmath.workdps(50):
        expected = [float(STABLE[text](mpmath.mpf(u))) for u in EXTREME]
    ours = evaluate(expression, {"x": np.array(EXTREME)})
    np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-150)


LOGISTIC = [
    "y = a/(1 + exp(-(x - m)/s)) + c",
    "y = a/(1 + exp((m - x)/s))**g + c*s",
    "y = a*exp((x - m)/s)/(1 + exp((x - m)/s)) + c",
    "y = c + (a - c)/(1 + 10**((m - x)*s))",
    "y = a*log(1 + exp((x - m)/s)) + c",
    "y = a*(1 - exp(-abs(s)*abs(x - m))) + c",
    "y = a*tanh((x - m)/s) + c",
]


@pytest.mark.parametrize(
    ("form", "formula"),
    [*(("numpy", formula) for formula in LOGISTIC), *(("compiled", f) for f in LOGISTIC[::4])],
)
def test_gradients_at_extreme_arguments_are_finite(formula, form):
    model = build(formula, ["x", "y"])
    values = {"a": 2.0, "m": 1.0, "s": 0.5, "g": 1.5, "c": -0.3}
    theta = np.array([values[name] for name in model.free])
    x = np.array(EXTREME)
    sums = make(model, None, form).sums(theta, Chunk((x, np.zeros_like(x)), None))
    assert np.isfinite(sums.loss)
    assert np.isfinite(sums.gradient).all()
    assert np.isfinite(sums.curvature).all()


@pytest.mark.parametrize(
    ("formula", "theta"),
    [
        ("y = a*x**b", [2.0, 1.5]),
        ("y = a*(x/k)**b", [2.0, 3.0, 1.5]),
        ("y = a*x**n/(k**n + x**n)", [2.0, 2.5, 3.0]),
        ("y = a*abs(x)**b", [2.0, 1.5]),
    ],
)
def test_derivatives_of_powers_at_zero_are_finite(formula, theta):
    model = build(formula, ["x", "y"])
    chunk = Chunk((np.array([0.0, 1.0]), np.array([0.0, 1.0])), None)
    sums = make(model, None, "numpy").sums(np.array(theta), chunk)
    assert np.isfinite(sums.gradient).all()
    assert np.isfinite(sums.curvature).all()


# Columns that someone may really have, and some that someone may try.
COLUMNS = [
    "x0", "numpy", "__import__", "prediction", "target", "theta", "columns", "exp", "lambda", "if",
    "None", "β", "μ", "my col", "weird ` name", "``", "a\"b'c", "line\nbreak",
    "<script>alert(1)</script>", "__import__('os').system('true')", "{x}", "%s", "1st", "x\\n",
    "💥", "-",
]  # fmt: skip


@pytest.mark.parametrize("name", COLUMNS)
def test_any_column_can_be_used_and_none_reaches_the_source(name):
    quoted = "`" + name.replace("`", "``") + "`"
    model = build(f"y = slope*{quoted} + offset", [name, "y"])
    assert (model.variables, model.free) == ((name,), ("slope", "offset"))
    assert as_formula(str(model.formula)).expression == model.formula.expression
    assert as_formula(to_text(model.formula.expression)).expression == model.formula.expression
    kernel = make(model, None, "numpy")
    x, y = np.array([1.0, 2.0]), np.array([3.0, 5.0])
    assert kernel.sums(np.array([2.0, 1.0]), Chunk((x, y), None)).loss == 0.0
    response = make(build(f"{quoted} = 2*a*u", ["u", name]), None, "numpy")
    assert response.sums(np.array([1.0]), Chunk((x, 2 * x), None)).loss == 0.0
    plain = make(build("y = k*q + m", ["q", "y"]), None, "numpy")
    assert set(re.findall(r"\w+", kernel.source)) == set(re.findall(r"\w+", plain.source))


def test_a_column_s_own_spelling_is_taken():
    micro, mu = "\u00b5", "\u03bc"
    for formula in (f"y = a*{micro}", f"y = a*{mu}", f"y = a*`{micro}`", f"y = a*{{ {micro}}}"):
        model = build(formula, [micro, "y"])
        assert model.variables == (micro,)
        assert as_formula(str(model.formula)).names in (("a", mu), ("a", micro))
        assert build(str(model.formula), [micro, "y"]).variables == (micro,)
    assert build(f"y = a*{mu}", [mu, micro, "y"]).variables == (mu,)


def test_html_in_names_is_escaped_in_a_notebook():
    model = build("y = a*`<script>alert(1)</script>`", ["<script>alert(1)</script>", "y"])
    shown = model._repr_html_()
    assert "<script>" not in shown
    assert "alert" in html.unescape(shown)


def line(x, a, b=1.0):
    return a * x + b


REFUSED = [
    ("a*x", "xy", {}, FormulaError, "does not say which column it describes; write 'y = a\\*x'"),
    ("q = a*x", "xy", {}, FormulaError, "'q', which is no column of the data.*'x', 'y'"),
    ("3 = a*x", "xy", {}, FormulaError, "left side of '3 = a\\*x' names no column"),
    ("y = a*exp", "xy", {}, FormulaError, r"'exp' is a function.*write exp\(…\)"),
    ("y = a*x + prediction", "xy", {}, FormulaError, "'prediction' is taken"),
    ("y = a*pi", ["pi", "y"], {}, FormulaError, "'pi' is a constant and a column.*{pi}"),
    ("pi = a*x", ["pi", "x"], {}, FormulaError, "constant and a column|names no column"),
    ("y = a*x + 0*b", "xy", {}, FormulaError, "'b' has no effect on 'y = a\\*x \\+ 0\\*b'"),
    (lambda a, b, x: a * x, "xy", {"response": "y"}, FormulaError, "'b' has no effect"),
    (functools.partial(line, 2.0), "xy", {"response": "y"}, FormulaError, "'x' is bound"),
    ("y = a/(x*c)", "xy", {"fixed": "c=0"}, UsageError, "put in, 'y = .*' has no finite value"),
    ("y = xlogy(a, -2)*x", "xy", {}, FormulaError, "derivative of .* to 'a' has no finite"),
    ("y = a*e**(-k*x)", "xy", {}, FormulaError, r"'e' in .* write exp\(-k\*x\), or hold"),
    ("y = a/e^x + c + b", "xy", {}, FormulaError, r"number write exp\(-x\), or hold it"),
    ("y = a*e(x)", "xy", {}, FormulaError, "there is no function 'e'. Write exp"),
    ("y = polyval(a, x)", "xy", {}, FormulaError, "'polyval'. Write the polynomial out"),
    ("y = a*E**(k*x)", "xy", {}, FormulaError, r"'E' in .* write exp\(k\*x\), or hold"),
    ("y = scipy.special.erf(a*x)", "xy", {}, FormulaError, "write erf without the module"),
    ("y = np.polynomial.polyval(x, a)", "xy", {}, FormulaError, "write the polynomial out"),
    ("y = a.*exp(-k.*x)", "xy", {}, FormulaError, "write \\*, / and \\^ without a point"),
    ("y = a*I(x^2)", "xy", {}, FormulaError, "Write what is in the brackets alone"),
    ("y = np.piecewise(x, a)", "xy", {}, FormulaError, "has no place here: write where\\(cond"),
    ("a*u + b", None, {}, UsageError, "not known which names of 'a\\*u \\+ b' are variables"),
]  # fmt: skip


@pytest.mark.parametrize(("formula", "columns", "options", "error", "sentence"), REFUSED)
def test_what_is_refused(formula, columns, options, error, sentence):
    with pytest.raises(error, match=sentence) as caught:
        build(formula, columns if columns is None else list(columns), **options)
    assert isinstance(caught.value, SgdfitError)


@pytest.mark.parametrize(
    ("formula", "variables"),
    [
        ("y = a*x + b", ("x",)),
        ("y = a*exp(-t/tau)", ("t",)),
        ("log(y) = a*x1 + b*x2", ("x1", "x2")),
        ("rate*time", ("time",)),
        (lambda a, x, T: a * x + T, ("x", "T")),
    ],
)
def test_without_data_the_usual_names_are_variables(formula, variables):
    assert build(formula).variables == variables


def test_a_function_written_anew_under_the_same_name_is_read_anew():
    def curve(a, x):
        return a * x

    def loss(prediction, target):
        return (prediction - target) ** 2

    def model():
        made = build(curve, ["x", "y"], response="y", loss=loss)
        return to_text(made.prediction), to_text(made.loss.expression)

    assert model() == ("a*x", "(prediction - target)**2")
    curve.__code__ = (lambda a, x: a * x**2).__code__
    loss.__code__ = (lambda prediction, target: (prediction - target) ** 4).__code__
    assert model() == ("a*x**2", "(prediction - target)**4")
