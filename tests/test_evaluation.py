"""The walk over an expression against formulas written in NumPy, and where a domain ends."""

import numpy as np
import pytest
from scipy import special

from sgdfit.formula.evaluation import evaluate, find_domain_error
from sgdfit.formula.formula import as_formula

X = np.array([-2.0, -0.5, 0.0, 0.25, 1.0, 3.0])
A = 1.5
CASES = {
    "a*x**2 - x/3 + 1": A * X**2 - X / 3 + 1,
    "exp(x) + expm1(a*x)": np.exp(X) + np.expm1(A * X),
    "log(x + 3) + log2(a) + log10(x + 4) + log1p(x + 2)": (
        np.log(X + 3) + np.log2(A) + np.log10(X + 4) + np.log1p(X + 2)
    ),
    "sqrt(x + 2) + cbrt(x) + 1/sqrt(a)": np.sqrt(X + 2) + np.cbrt(X) + A**-0.5,
    "sin(x)*cos(x) + tan(x) + cot(x + 5)": np.sin(X) * np.cos(X) + np.tan(X) + 1 / np.tan(X + 5),
    "asin(x/4) + acos(x/4) + atan(x)": np.arcsin(X / 4) + np.arccos(X / 4) + np.arctan(X),
    "atan2(x, a)": np.arctan2(X, A),
    "sinh(x) + cosh(x) + tanh(x) + coth(a)": np.sinh(X) + np.cosh(X) + np.tanh(X) + 1 / np.tanh(A),
    "asinh(x) + acosh(x + 4) + atanh(x/4)": np.arcsinh(X) + np.arccosh(X + 4) + np.arctanh(X / 4),
    "erf(x) + erfc(a*x)": special.erf(X) + special.erfc(A * X),
    "abs(x) + sign(x) + floor(x) + ceil(x)": np.abs(X) + np.sign(X) + np.floor(X) + np.ceil(X),
    "maximum(x, a) - minimum(x, 0)": np.maximum(X, A) - np.minimum(X, 0),
    "logistic(800*x) + logaddexp(x, a)": special.expit(800 * X) + np.logaddexp(X, A),
    "xlogy(x, x**2)": special.xlogy(X, X**2),
    "where(x > 0, log(x), a)": np.where(X > 0, np.log(np.abs(X) + (X == 0)), A),
    "where(x >= 0 and x < 1 or not (x != 3), 1/(x + 9), x)": np.where(
        ((X >= 0) & (X < 1)) | (X == 3), 1 / (X + 9), X
    ),
    "where(a > 1, x, log(-a))": X,
    "where(x > 0, where(x > 0.5, 1, 2), where(x == 0, 3, 4))*x": (
        np.select([X > 0.5, X > 0, X == 0], [1, 2, 3], 4) * X
    ),
    "2**x + abs(x)**a + pi": 2**X + np.abs(X) ** A + np.pi,
    "hypot(x, a)": np.hypot(X, A),
}


@pytest.mark.parametrize("formula", CASES)
def test_values_agree_with_numpy(formula):
    found = evaluate(as_formula(formula).expression, {"x": X, "a": A})
    np.testing.assert_allclose(found, CASES[formula], rtol=2e-15, atol=1e-15)


@pytest.mark.parametrize("formula", CASES)
def test_values_agree_with_numpy_by_torch(torch, formula):
    found = evaluate(as_formula(formula).expression, {"x": torch.tensor(X), "a": A}, "torch")
    np.testing.assert_allclose(found.numpy(), CASES[formula], rtol=2e-14, atol=1e-14)


def test_a_branch_not_taken_sends_no_nan_to_torchs_gradient(torch):
    a = torch.tensor(A, dtype=torch.float64, requires_grad=True)
    formula = as_formula("where(x > 0, sqrt(a*x), a)").expression
    evaluate(formula, {"x": torch.tensor(X), "a": a}, "torch").sum().backward()
    assert float(a.grad) == pytest.approx(3 + np.sqrt(X[X > 0] / A).sum() / 2)


@pytest.mark.parametrize(
    ("formula", "row", "part", "arguments", "kind"),
    [
        ("log(x)", 0, "log(x)", (-2.0,), "nan"),
        ("a*sqrt(x + 1)", 0, "sqrt(x + 1)", (-1.0,), "nan"),
        ("sqrt(3 - x - a)", 5, "sqrt(3 - a - x)", (-1.5,), "nan"),
        ("1/x", 2, "1/x", (0.0,), "pole"),
        ("x/(x - 1)", 4, "1/(x - 1)", (0.0,), "pole"),
        ("log(x + 2)", 0, "log(x + 2)", (0.0,), "pole"),
        ("log1p(x + 1)", 0, "log1p(x + 1)", (-1.0,), "pole"),
        ("atanh(x - 2)", 0, "atanh(x - 2)", (-4.0,), "nan"),
        ("exp(300*x)", 5, "exp(300*x)", (900.0,), "overflow"),
        ("abs(x)**a*x**-2", 2, "x**(-2)", (0.0,), "pole"),
        ("x**a", 0, "x**a", (-2.0, 1.5), "nan"),
        ("asin(x)", 0, "asin(x)", (-2.0,), "nan"),
        ("xlogy(x, x**2 - 1/8)", 3, "xlogy(x, x**2 - 1/8)", (0.25, -0.0625), "nan"),
        ("log(a - 2) + x", 0, "log(a - 2)", (-0.5,), "nan"),
        ("where(x > 0, log(x), a)", None, None, None, None),
        ("where(x >= 0, log(x), a)", 2, "log(x)", (0.0,), "pole"),
        ("where(x < 0, where(x > -1, log(x), 1), 1)", 1, "log(x)", (-0.5,), "nan"),
        ("where(log(x) > 0, 1, 2)", 0, "log(x)", (-2.0,), "nan"),
        ("a*x + 1", None, None, None, None),
    ],
)
def test_the_first_row_outside_of_the_domain_is_found(formula, row, part, arguments, kind):
    found = find_domain_error(as_formula(formula).expression, {"x": X, "a": A})
    if row is None:
        assert found is None
        return
    assert (found.row, found.kind) == (row, kind)
    assert found.subexpression == part
    assert found.arguments == pytest.approx(arguments)
    assert all(found.names[name] == value for name, value in (("x", X[row]), ("a", A))
               if name in found.names)  # fmt: skip
    assert found.names


def test_a_product_of_finite_numbers_may_overflow():
    expression = as_formula("cosh(200*x)*(a + cosh(200*x))").expression
    found = find_domain_error(expression, {"x": X[2:], "a": A})
    assert (found.row, found.kind, found.names) == (3, "overflow", {"a": A, "x": 3.0})


def test_values_that_are_not_finite_themselves_are_no_domain_error():
    expression = as_formula("a*x + log(x)").expression
    assert find_domain_error(expression, {"x": np.array([1.0, np.nan, np.inf]), "a": 1.0}) is None
    assert find_domain_error(expression, {"x": np.array([1.0, 2.0]), "a": np.nan}) is None


def test_a_name_without_a_value_is_named():
    with pytest.raises(ValueError, match="'b' has no value; given are x"):
        evaluate(as_formula("b*x").expression, {"x": X})
