"""What a formula may say: signs, names, numbers, calls, conditions."""

import numpy as np
import pytest
import sympy

from sgdfit.formula.evaluation import evaluate
from sgdfit.formula.formula import symbol
from sgdfit.formula.parsing import parse, parse_condition, parse_expression

VALUES = {"a": 1.7, "b": -0.6, "c": 2.5, "x": 0.8}


@pytest.mark.parametrize(
    ("text", "response", "names"),
    [
        ("y = a*x**2 + b*x + c", "y", ("a", "x", "b", "c")),
        ("y ~ a*x + b", "y", ("a", "x", "b")),
        ("y=a", "y", ("a",)),
        ("  y   =\n\ta ", "y", ("a",)),
        ("a*x + b", None, ("a", "x", "b")),
        ("y = S*E + I - N*O*Q", "y", ("S", "E", "I", "N", "O", "Q")),
        ("y = beta*x + gamma*zeta", "y", ("beta", "x", "gamma", "zeta")),
        ("y = lambda*x + is + as + def + in", "y", ("lambda", "x", "is", "as", "def", "in")),
        ("y = None + True*False", "y", ("None", "True", "False")),
        ("y = β*x + α₀", "y", ("β", "x", "α0")),
        ("y = class*import + __class__", "y", ("class", "import", "__class__")),
        ("`my y` = a*`x [m/s]`", "my y", ("a", "x [m/s]")),
        ("y = `a``b` + `if` + `pi`", "y", ("a`b", "if", "pi")),
        ("y = `x\n'\"<b>`*a", "y", ("x\n'\"<b>", "a")),
        ("y = exp*exp(x)", "y", ("exp", "x")),
        ("y = x0*p0 + numpy", "y", ("x0", "p0", "numpy")),
        ("y = where(x == a, 1, 2)", "y", ("x", "a")),
        ("y ~ where(~(x > a), 1, 2)", "y", ("x", "a")),
        ("y = `2`*x + 2", "y", ("2", "x")),
        ("y = 0*k + a", "y", ("k", "a")),
    ],
)
def test_sides_and_names(text, response, names):
    formula = parse(text)
    assert formula.response == (None if response is None else symbol(response))
    assert formula.names == names
    assert formula.text == text.strip()


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("log(y) = a", ("y",)),
        ("y/z ~ a", ("y", "z")),
        ("where(y > 0, y, -z) = a", ("y", "z")),
        ("2 = a", ()),
    ],
)
def test_the_left_side_is_an_expression(text, columns):
    assert parse(text).response_names == columns


@pytest.mark.parametrize(
    ("text", "python"),
    [
        ("a + b*x - c/x", "a + b*x - c/x"),
        ("x^2", "x**2"),
        ("2^3^2*x", "2**9*x"),
        ("-x^2", "-(x**2)"),
        ("2^-x", "2**-x"),
        ("a·x² − b×c ÷ x", "a*x**2 - b*c/x"),
        ("x³ + x¹⁰", "x**3 + x**10"),
        ("a – b", "a - b"),
        ("--x + +a", "x + a"),
        ("-(a + b)/x", "-(a + b)/x"),
        ("a/b/c*x", "a/b/c*x"),
        ("a - b - c", "a - b - c"),
        ("(a - (b - c))", "a - (b - c)"),
        ("(c^a)^b", "(c**a)**b"),
        ("c^a^x", "c**(a**x)"),
        (".5*x + 1.*a + 1e-3 + 2E2", "0.5*x + a + 0.001 + 200"),
        ("007.5*x", "7.5*x"),
        ("1if x>0 else 2", "1 if x > 0 else 2"),
        ("a if x > 1 else b if x > 0 else c", "b"),
        ("(x > 0)*a + (x < 0)*b", "a"),
        ("(x > 0) & (a > 2) | (b < 0)", "1"),
        ("not x > 0", "0"),
        ("where(x ≤ 0.8 and x ≥ 0.8 and x ≠ 1, a, b)", "a"),
        ("0 < x < a < c", "1"),
        ("where(x != 0.8, a, c)", "c"),
        ("pow(c, 2) + ln(c) + arcsin(x) + max(a, b) + min(a, b)",
         "c**2 + numpy.log(c) + numpy.arcsin(x) + a + b"),
        ("clip(c, 0, 1) + heaviside(b, 0.5) + sigmoid(0*x)", "1.5"),
        ("exp(a,)", "numpy.exp(a)"),
        ("1/3", "1/3"),
        ("0.1 + 0.2", "0.1 + 0.2"),
        ("pi*a", "numpy.pi*a"),
        ("x*10^20/10^20", "x"),
    ],
)  # fmt: skip
def test_the_value(text, python):
    expression, _ = parse_expression(text)
    ours = evaluate(expression, VALUES | {"x": np.array([VALUES["x"]])})
    assert np.broadcast_to(ours, 1)[0] == pytest.approx(eval(python, {"numpy": np} | VALUES))


def test_whole_numbers_stay_exact():
    assert parse_expression("x**2.0")[0] == symbol("x") ** 2
    assert parse_expression("123456789012345678901*x")[0].args[0] == 123456789012345678901
    assert parse_expression("x/3")[0] == symbol("x") / 3


def test_conditions():
    b, c = symbol("b"), symbol("c")
    assert parse_condition("0 < b < 10") == sympy.And(sympy.Lt(0, b), b < 10)
    assert parse_condition("b > 0 and not c > 1") == sympy.And(b > 0, c <= 1)
    assert parse_condition("`b` >= 2*3") == (b >= 6)


def test_equal_text_gives_equal_formulas():
    assert parse("y = a*x") == parse("y = a*x")
    assert parse("y = a*x").expression == parse("y ~ x*a").expression


@pytest.mark.parametrize(("sign", "count"), [("+", 1000), ("-", 1000), ("*", 1000), ("/", 1000)])
def test_long_sums_and_products_are_read_quickly(sign, count):
    formula = parse("y = " + sign.join(f"k{i}" for i in range(count)))
    assert formula.names == tuple(f"k{i}" for i in range(count))
    assert len(formula.expression.args) == count
