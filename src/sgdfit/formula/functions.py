"""The one table of functions and constants that a formula may use.

Each row holds the SymPy form (for derivatives), the NumPy form and the compiled form (source
text with ``{0}``, ``{1}``, … for the arguments; ``elementary`` is `sgdfit.kernel.elementary`).
SymPy's own forms serve wherever their values and derivatives are right for real data; those of
`sgdfit.formula.real` where they are not.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import sympy
from sympy.codegen import cfunctions
from sympy.logic.boolalg import Boolean

from sgdfit.formula import real
from sgdfit.formula.real import Maximum, Minimum, Where

Expr = Any  # SymPy ships no types


class FunctionForms(NamedTuple):
    """One function in its three forms, and how many arguments it takes."""

    symbolic: Callable[..., Expr]
    numpy: str
    compiled: str
    arity: int = 1


def _shared(symbolic: Callable[..., Expr], numpy: str, math: str | None = None) -> FunctionForms:
    return FunctionForms(symbolic, f"numpy.{numpy}({{0}})", f"math.{math or numpy}({{0}})")


def _own(symbolic: Callable[..., Expr], numpy: str, own: str | None = None) -> FunctionForms:
    return FunctionForms(symbolic, f"numpy.{numpy}({{0}})", f"elementary.{own or numpy}({{0}})")


_PLACES = "{0}, {1}, {2}, {3}, {4}"

FUNCTIONS: dict[str, FunctionForms] = {
    "exp": _own(sympy.exp, "exp"),
    "expm1": _own(cfunctions.expm1, "expm1"),
    "log": _own(sympy.log, "log"),
    "log2": _own(cfunctions.log2, "log2"),
    "log10": _own(cfunctions.log10, "log10"),
    "log1p": _own(cfunctions.log1p, "log1p"),
    "sqrt": _shared(sympy.sqrt, "sqrt"),
    "cbrt": _own(real.Cbrt, "cbrt"),
    "sin": _own(sympy.sin, "sin"),
    "cos": _own(sympy.cos, "cos"),
    "tan": _own(sympy.tan, "tan"),
    "cot": FunctionForms(sympy.cot, "1.0/numpy.tan({0})", "1.0/elementary.tan({0})"),
    "asin": _shared(sympy.asin, "arcsin", "asin"),
    "acos": _shared(sympy.acos, "arccos", "acos"),
    "atan": _own(sympy.atan, "arctan", "atan"),
    "atan2": FunctionForms(sympy.atan2, "numpy.arctan2({0}, {1})", "math.atan2({0}, {1})", 2),
    "sinh": _own(sympy.sinh, "sinh"),
    "cosh": _own(sympy.cosh, "cosh"),
    "tanh": _own(sympy.tanh, "tanh"),
    "coth": FunctionForms(sympy.coth, "1.0/numpy.tanh({0})", "1.0/elementary.tanh({0})"),
    "asinh": _shared(sympy.asinh, "arcsinh", "asinh"),
    "acosh": _shared(sympy.acosh, "arccosh", "acosh"),
    "atanh": _shared(sympy.atanh, "arctanh", "atanh"),
    "erf": FunctionForms(sympy.erf, "special.erf({0})", "elementary.erf({0})"),
    "erfc": FunctionForms(sympy.erfc, "special.erfc({0})", "math.erfc({0})"),
    "abs": FunctionForms(real.Absolute, "numpy.abs({0})", "abs({0})"),
    "sign": FunctionForms(real.Sign, "numpy.sign({0})", "numpy.sign({0})"),
    "floor": FunctionForms(real.Floor, "numpy.floor({0})", "numpy.floor({0})"),
    "ceil": FunctionForms(real.Ceil, "numpy.ceil({0})", "numpy.ceil({0})"),
    "minimum": FunctionForms(Minimum, "numpy.minimum({0}, {1})", "numpy.minimum({0}, {1})", 2),
    "maximum": FunctionForms(Maximum, "numpy.maximum({0}, {1})", "numpy.maximum({0}, {1})", 2),
    "hypot": FunctionForms(
        lambda x, y: sympy.sqrt(x**2 + y**2), "numpy.hypot({0}, {1})", "math.hypot({0}, {1})", 2
    ),
    "logistic": FunctionForms(real.Logistic, "special.expit({0})", "elementary.logistic({0})"),
    "logaddexp": FunctionForms(
        real.Logaddexp, "numpy.logaddexp({0}, {1})", "elementary.logaddexp({0}, {1})", 2
    ),
    "xlogy": FunctionForms(real.Xlogy, "special.xlogy({0}, {1})", "elementary.xlogy({0}, {1})", 2),
    "where": FunctionForms(Where, "numpy.where({0}, {1}, {2})", "({1} if {0} else {2})", 3),
    "pow": FunctionForms(real.power, "{0}**{1}", "elementary.power({0}, {1})", 2),
}
# What derivatives of special functions are made of besides, as text that can be read again.
SLOPES = {"trigamma", "erfcx_slope", "sinc_slope", "jv", "iv", "voigt_slope"}
_SPECIAL = {
    name: FunctionForms(kind, text, text, kind.arity)
    for name, kind in real.SPECIAL.items()
    for text in [f"special.{name}({_PLACES[: 5 * kind.arity - 2]})"]
}
FUNCTIONS |= {name: forms for name, forms in _SPECIAL.items() if name not in SLOPES}
FORMS = FUNCTIONS | _SPECIAL

ALIASES: dict[str, str] = {
    "ln": "log",
    "max": "maximum",
    "min": "minimum",
    "power": "pow",
    "expit": "logistic",
    "sigmoid": "logistic",
    "absolute": "abs",
    "fabs": "abs",
    **dict.fromkeys(("gammaln", "loggamma"), "lgamma"),
    "psi": "digamma",
    "voigt_profile": "voigt",
    **{f"bessel_{name}": name for name in ("j0", "j1", "y0", "y1")},
    **{f"modified_bessel_{name}": name for name in ("i0", "i1", "k0", "k1")},
    "ceiling": "ceil",
    **{f"arc{name}": f"a{name}" for name in ("sin", "cos", "tan", "tan2", "sinh", "cosh", "tanh")},
}

CONSTANTS: dict[str, Expr] = {"pi": sympy.pi}

# Functions that are made of others here, most of them NumPy's.
OPERATIONS: dict[str, Callable[..., Expr]] = {
    "square": lambda x: x**2,
    "reciprocal": lambda x: 1 / x,
    "exp2": lambda x: real.power(sympy.S(2), x),
    "deg2rad": lambda x: x * sympy.pi / 180,
    "radians": lambda x: x * sympy.pi / 180,
    "rad2deg": lambda x: x * 180 / sympy.pi,
    "degrees": lambda x: x * 180 / sympy.pi,
    "clip": lambda x, low, high: Minimum(Maximum(x, low), high),
    "heaviside": lambda x, at_zero: Where(x < 0, sympy.S.Zero, Where(x > 0, sympy.S.One, at_zero)),
    "gaussian": lambda x, s: sympy.exp(-((x / s) ** 2) / 2) / (sympy.sqrt(2 * sympy.pi) * s),
    "lorentzian": lambda x, gamma: gamma / (sympy.pi * (x**2 + gamma**2)),
}
# Peaks of unit area, which may have their centre as second argument.
PEAKS = ("gaussian", "lorentzian", "voigt")

_PIECES = "write np.where(condition, a, b), one within another for more pieces"
# What to write instead of what is made of plain arithmetic or conditions.
INSTEAD = {
    **dict.fromkeys(("polyval", "poly"), "write the polynomial out, as in (a*x + b)*x + c"),
    **dict.fromkeys(("piecewise", "select", "choose", "if", "IF", "ifelse"), _PIECES),
    "I": "write what is in the brackets alone, as in x^2",
    **dict.fromkeys(("mod", "remainder", "fmod"), "write x - m*np.floor(x/m)"),
    "floor_divide": "write np.floor(x/m)",
    "interp": "a table of values is no formula: pass what it gives as a column of the data",
}  # fmt: skip


by_class: dict[type, str] = {
    form.symbolic: name for name, form in FORMS.items() if isinstance(form.symbolic, type)
} | {sympy.Abs: "abs", sympy.sign: "sign"}


def lookup(name: str) -> tuple[Callable[..., Expr], tuple[int, ...]] | None:
    """Return a function's symbolic form, by any of its names, and how many arguments it takes."""
    name = ALIASES.get(name, name)
    if name in FORMS:
        form, arity = FORMS[name].symbolic, FORMS[name].arity
    elif name in OPERATIONS:
        form, arity = OPERATIONS[name], len(inspect.signature(OPERATIONS[name]).parameters)
    else:
        return None
    return (_centred(form, arity), (arity, arity + 1)) if name in PEAKS else (form, (arity,))


def _centred(form: Callable[..., Expr], arity: int) -> Callable[..., Expr]:
    """Return a peak at 0 as one that may have its centre after x."""
    return lambda x, *more: form(x - more[0], *more[1:]) if len(more) == arity else form(x, *more)


def apply(form: Callable[..., Expr], *values: Expr) -> Expr:
    """Return a function's value; of large numbers in floating point.

    SymPy would find every digit before the point of ``ceil(exp(690))``.
    """
    if isinstance(form, type) and form is not Where and all(v.is_number for v in values):
        large = any(abs(value) > real.MAX_EXPONENT for value in values)
        values = tuple(sympy.Float(float(v)) for v in values) if large else values
        found = form(*values)
        # atan2(1, erfc(3)) is the arc tangent of a large number to SymPy.
        other = type(found) is not form and found.is_Function
        return apply(type(found), *found.args) if other else found
    return form(*values)


def is_condition(value: Expr) -> bool:
    """Tell a comparison from a number (SymPy's symbols may stand for either)."""
    return isinstance(value, Boolean) and not isinstance(value, sympy.Symbol)


def as_number(value: Expr) -> Expr:
    """Return a condition as 1 where it holds and 0 elsewhere; a number as it is."""
    return Where(value, sympy.S.One, sympy.S.Zero) if is_condition(value) else value
