"""What a formula may say, its value by Python's reading of the text, and its own text."""

import functools
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import sympy
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from sgdfit.errors import FormulaError, UsageError
from sgdfit.formula import special
from sgdfit.formula.evaluation import evaluate
from sgdfit.formula.formula import ordered_names, symbol, to_text
from sgdfit.formula.functions import FUNCTIONS
from sgdfit.formula.parsing import parse, parse_condition, parse_expression
from sgdfit.formula.reading import as_formula

# Random formulas, of text that Python would read the same way.
NAMES = ("a", "b", "x", "x1", "β", "lambda", "S", "E", "I", "N", "in", "Q", "_", "gamma")
CALLS = [
    f"{name}({', '.join(['{}'] * form.arity)})"
    for name, form in FUNCTIONS.items()
    if name != "where"
]
TESTS = ["{} < {}", "{} >= {}", "{} == {}", "not ({} > {})", "({} <= {}) and ({} != {})",
         "({} < {}) or ({} > {})"]  # fmt: skip
GROWN = [*(f"({{}} {sign} {{}})" for sign in ("+", "-", "*", "/", "**") * 4), *["(-{})"] * 3,
         *CALLS, *(f"where({test}, {{}}, {{}})" for test in TESTS)]  # fmt: skip
decimals = st.floats(1e-3, 1e3).map(lambda value: repr(round(value, 4)))
leaves = st.one_of(st.sampled_from([*NAMES, "pi"]), st.integers(0, 12).map(str), decimals)


def grown(part):
    """Fill one of the patterns with smaller formulas."""
    filled = [st.builds(pattern.format, *[part] * pattern.count("{}")) for pattern in GROWN]
    return st.one_of(filled)


expressions = st.recursive(leaves, grown, max_leaves=12)

AT = {"a": 1.7, "b": -0.6, "c": 2.5, "x": 0.8}


@pytest.mark.parametrize(
    ("text", "response", "names"),
    [
        ("y = a*x**2 + b*x + c", "y", ("a", "x", "b", "c")),
        ("y ~ a*x + b", "y", ("a", "x", "b")),
        ("  y   =\n\ta ", "y", ("a",)),
        ("a*x + b", None, ("a", "x", "b")),
        ("y = lambda*x + is + as + def + in", "y", ("lambda", "x", "is", "as", "def", "in")),
        ("`my y` = a*`x [m/s]`", "my y", ("a", "x [m/s]")),
        ("y = `a``b` + `if` + `pi`", "y", ("a`b", "if", "pi")),
        ("y = `x\n'\"<b>`*a", "y", ("x\n'\"<b>", "a")),
        ("y = `^`*x", "y", ("^", "x")),
        ("{my y} = a*{x (m²/℃)}", "my y", ("a", "x (m2/°C)")),
        ("y = exp*exp(x)", "y", ("exp", "x")),
    ],
)
def test_sides_and_names(text, response, names):
    formula = parse(text)
    assert formula.response == (None if response is None else symbol(response))
    assert formula.names == names
    assert formula.text == text.strip()


@pytest.mark.parametrize(
    ("text", "columns"), [("log(y) = a", ("y",)), ("y/z ~ a", ("y", "z")), ("2 = a", ())]
)
def test_the_left_side_is_an_expression(text, columns):
    assert parse(text).response_names == columns


@pytest.mark.parametrize(
    ("text", "python"),
    [
        ("x^2", "x**2"),
        ("-x^2", "-(x**2)"),
        ("a·x² − b×c ÷ x", "a*x**2 - b*c/x"),
        ("x³ + x¹⁰", "x**3 + x**10"),
        (".5*x + 1.*a + 1e-3 + 2E2", "0.5*x + a + 0.001 + 200"),
        ("1if x>0 else 2", "1 if x > 0 else 2"),
        ("a if x > 1 else b if x > 0 else c", "b"),
        ("(x > 0) & (a > 2) | (b < 0)", "1"),
        ("where(x ≤ 0.8 and x ≥ 0.8 and x ≠ 1, a, b)", "a"),
        ("0 < x < a < c", "1"),
        ("pow(c, 2) + ln(c) + arcsin(x) + max(a, b) + min(a, b)",
         "c**2 + numpy.log(c) + numpy.arcsin(x) + a + b"),
        ("clip(c, 0, 1) + heaviside(b, 0.5) + sigmoid(0*x)", "1.5"),
    ],
)  # fmt: skip
def test_the_value(text, python):
    expression, _ = parse_expression(text)
    ours = evaluate(expression, AT | {"x": np.array([AT["x"]])})
    assert np.broadcast_to(ours, 1)[0] == pytest.approx(eval(python, {"numpy": np} | AT))


def test_whole_numbers_stay_exact():
    assert parse_expression("x**2.0")[0] == symbol("x") ** 2
    assert parse_expression("123456789012345678901*x")[0].args[0] == 123456789012345678901
    assert parse_expression("x/3")[0] == symbol("x") / 3


def test_conditions():
    b, c = symbol("b"), symbol("c")
    assert parse_condition("0 < b < 10") == sympy.And(sympy.Lt(0, b), b < 10)
    assert parse_condition("b > 0 and not c > 1") == sympy.And(b > 0, c <= 1)
    assert parse_condition("`b` >= 2*3") == (b >= 6)


@pytest.mark.parametrize("sign", ["-", "/"])
def test_long_sums_and_products_are_read_quickly(sign):
    names = tuple(f"k{i}" for i in range(1000))
    formula = parse("y = " + sign.join(names))
    assert formula.names == names
    assert len(formula.expression.args) == 1000


often = settings(
    max_examples=200,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def parsed(text):
    """Parse ``text``, or skip what has no finite value such as 1/0."""
    try:
        return parse(text)
    except FormulaError as error:
        assume("finite" not in str(error) and "too " not in str(error))
        assume("beyond" not in str(error))
        raise


@often
@given(expressions, expressions)
def test_formula_to_text_to_the_same_formula(left, right):
    formula = parsed(f"{left} = {right}")
    again = parse(str(replace(formula, text=None)))
    assert (again.response, again.expression) == (formula.response, formula.expression)
    assert set(ordered_names(again.expression)) <= set(formula.names)


# Python's own words for what a formula says.
PYTHON = {
    name: eval(
        f"lambda {', '.join('uvw'[: form.arity])}: {form.numpy.format('u', 'v', 'w')}",
        {"numpy": np, "special": special},
    )
    for name, form in FUNCTIONS.items()
    if name != "where"
} | {"where": lambda condition, yes, no: yes if condition else no, "pi": math.pi}
VALUES = {name: 0.4 + 0.17 * place for place, name in enumerate(NAMES)}


def by_python(text):
    return float(eval(text, PYTHON | {n: np.float64(v) for n, v in VALUES.items()}))


@often
@given(expressions)
def test_the_value_is_python_s(text):
    assume(not re.search(r"\b(in|lambda)\b", text))
    formula = parsed(text)
    try:
        with np.errstate(all="ignore", invalid="raise"):  # NaN is neither above nor below
            expected = by_python(text)
    except (ArithmeticError, TypeError):
        assume(False)
    assume(math.isfinite(expected) and abs(expected) < 1e12)
    ours = evaluate(formula.expression, {n: np.array([v]) for n, v in VALUES.items()})
    assert np.broadcast_to(ours, 1)[0] == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("y = a*x^2 + b*x + c", "y = a*x**2 + b*x + c"),
        ("-(a + b)/x", "-(a + b)/x"),
        ("a**b**c", "a**(b**c)"),
        ("(a**b)**c", "(a**b)**c"),
        ("1e-7*x + 1e22", "1e-07*x + 1e+22"),
        ("x if x > 0 else a", "where(x > 0, x, a)"),
        ("0 < x < 1", "where((0 < x) and (x < 1), 1, 0)"),
        ("not (x < 1 or x == 3)", "where(not ((x == 3) or (x < 1)), 1, 0)"),
        ("`my col`*`pi` + pi", "{my col}*{pi} + pi"),
        ("sqrt(x**2)", "abs(x)"),
        ("clip(x, 0, a)", "minimum(maximum(x, 0), a)"),
        ("ln(x) + power(x, a)", "x**a + log(x)"),
    ],
)
def test_canonical_text(written, canonical):
    formula = as_formula(written)
    assert str(replace(formula, text=None)) == canonical
    assert str(formula) == written
    again = as_formula(canonical)
    assert (again.expression, again.response) == (formula.expression, formula.response)


def test_a_response_is_added():
    formula = as_formula("a*x", response=" log(y) ")
    assert str(formula) == "log(y) = a*x"
    assert formula.response_names == ("y",)
    assert as_formula(formula) is formula
    assert as_formula("y = a*x", response="y").response == symbol("y")
    assert str(as_formula(lambda a, x: a * x, "y")) == "y = a*x"


def test_renamed_takes_the_names_everywhere():
    formula = as_formula(functools.partial(lambda a, x, b=2: a * x + b, 3), response="y")
    other = formula.renamed({"a": "slope", "x": "time", "y": "my col", "b": "offset"})
    assert str(other) == "{my col} = slope*time + offset"
    assert other.names == ("slope", "time", "offset")
    assert (other.fixed, other.start) == ({"slope": 3.0}, {"offset": 2.0})


@pytest.mark.parametrize(
    ("given_formula", "response", "sentence"),
    [
        (5, None, "a formula is text such as"),
        ("y = a*x", "z", "already names its response"),
        ("a*x", 5, "response=5 is no text"),
        ("a*x", "", "is empty"),
        ("a*x", "__import__('os').getcwd()", "has no place here"),
    ],
)
def test_what_is_no_formula_is_refused(given_formula, response, sentence):
    with pytest.raises((UsageError, FormulaError), match=sentence):
        as_formula(given_formula, response)


def test_an_unknown_function_has_no_text():
    with pytest.raises(FormulaError, match="'gamma' has no text form"):
        to_text(sympy.gamma(symbol("x")))


def test_two_readings_of_one_text_share_nothing_that_can_change():
    first = as_formula("y = a*x")
    first.start["a"] = 5.0
    first.fixed["a"] = 6.0
    second = as_formula("y = a*x")
    assert (second.start, second.fixed) == ({}, {})
    assert (second.expression, second.response) == (first.expression, first.response)
