"""The one table of functions and constants that a formula may use.

Each row holds the SymPy form (for derivatives), the NumPy form and the compiled form (source
text with ``{0}``, ``{1}``, … for the arguments). SymPy's own forms serve wherever their
derivatives are right for real data; the classes below stand where they are not: SymPy
differentiates ``abs``, ``sign``, ``Max`` and ``Min`` into Dirac deltas or real and imaginary
parts, and its ``Piecewise`` and ``cbrt`` reason about the complex plane.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import sympy
from sympy.codegen import cfunctions

__all__ = ["ALIASES", "CONSTANTS", "FUNCTIONS", "OPERATIONS", "Form", "by_class"]

Expr = Any  # SymPy ships no types


class _RealFunction(sympy.Function):  # type: ignore[misc]
    """A function of real arguments that is real."""

    def _eval_is_extended_real(self) -> bool:
        return True


def _numbers(*args: Expr) -> bool:
    return all(arg.is_number and arg.is_comparable for arg in args)


class Absolute(_RealFunction):
    """|x|; its derivative at 0 is 0, as in torch."""

    nargs = 1

    @classmethod
    def eval(cls, x: Expr) -> Expr | None:
        if x.could_extract_minus_sign():
            return cls(-x)
        return sympy.Abs(x) if _numbers(x) else None

    def fdiff(self, argindex: int = 1) -> Expr:
        return Sign(self.args[0])


class Sign(_RealFunction):
    """-1, 0 or 1; flat almost everywhere, so its derivative is 0."""

    nargs = 1

    @classmethod
    def eval(cls, x: Expr) -> Expr | None:
        return sympy.sign(x) if _numbers(x) else None

    def fdiff(self, argindex: int = 1) -> Expr:
        return sympy.S.Zero


class Floor(_RealFunction):
    """The largest whole number not above x; its derivative is 0."""

    nargs = 1

    def fdiff(self, argindex: int = 1) -> Expr:
        return sympy.S.Zero


class Ceil(_RealFunction):
    """The smallest whole number not below x; its derivative is 0."""

    nargs = 1

    def fdiff(self, argindex: int = 1) -> Expr:
        return sympy.S.Zero


class Cbrt(_RealFunction):
    """The real cube root, of negative numbers too."""

    nargs = 1

    def fdiff(self, argindex: int = 1) -> Expr:
        return 1 / (3 * self**2)


class Logistic(_RealFunction):
    """1/(1 + exp(-x)), without overflow on either side."""

    nargs = 1

    def fdiff(self, argindex: int = 1) -> Expr:
        return self * Logistic(-self.args[0])


class Logaddexp(_RealFunction):
    """log(exp(x) + exp(y)), without overflow."""

    nargs = 2

    def fdiff(self, argindex: int = 1) -> Expr:
        x, y = self.args
        return Logistic(x - y) if argindex == 1 else Logistic(y - x)


class Xlogy(_RealFunction):
    """x*log(y), and 0 where x is 0 (whatever y is)."""

    nargs = 2

    def fdiff(self, argindex: int = 1) -> Expr:
        x, y = self.args
        return sympy.log(y) if argindex == 1 else x / y


class Where(sympy.Function):  # type: ignore[misc]
    """The second argument where the first (a condition) holds, else the third."""

    nargs = 3

    def _eval_is_extended_real(self) -> bool:
        return True

    @classmethod
    def eval(cls, condition: Expr, yes: Expr, no: Expr) -> Expr | None:
        if condition in (sympy.true, sympy.false):
            return yes if condition == sympy.true else no
        return yes if yes == no else None

    def _eval_derivative(self, symbol: Expr) -> Expr:
        # A branch that is not taken must not reach the sum: 0 * nan is nan.
        condition, yes, no = self.args
        return Where(condition, yes.diff(symbol), no.diff(symbol))


class _Extreme(_RealFunction):
    """The larger or the smaller of two; ties share the derivative, as in torch."""

    nargs = 2

    @classmethod
    def eval(cls, x: Expr, y: Expr) -> Expr | None:
        if x == y:
            return x
        return cls.native(x, y) if _numbers(x, y) else None

    def _eval_derivative(self, symbol: Expr) -> Expr:
        x, y = self.args
        dx, dy = x.diff(symbol), y.diff(symbol)
        return Where(self.first(x, y), dx, Where(sympy.Eq(x, y), (dx + dy) / 2, dy))


class Maximum(_Extreme):
    """The larger of two."""

    native, first = sympy.Max, sympy.Gt


class Minimum(_Extreme):
    """The smaller of two."""

    native, first = sympy.Min, sympy.Lt


class Form(NamedTuple):
    """One function in its three forms, and how many arguments it takes."""

    symbolic: Callable[..., Expr]
    numpy: str
    compiled: str
    arity: int = 1


def _shared(symbolic: Callable[..., Expr], numpy: str, math: str | None = None) -> Form:
    return Form(symbolic, f"numpy.{numpy}({{0}})", f"math.{math or numpy}({{0}})")


def _hypot(x: Expr, y: Expr) -> Expr:
    return sympy.sqrt(x**2 + y**2)


FUNCTIONS: dict[str, Form] = {
    "exp": _shared(sympy.exp, "exp"),
    "expm1": _shared(cfunctions.expm1, "expm1"),
    "log": _shared(sympy.log, "log"),
    "log2": _shared(cfunctions.log2, "log2"),
    "log10": _shared(cfunctions.log10, "log10"),
    "log1p": _shared(cfunctions.log1p, "log1p"),
    "sqrt": _shared(sympy.sqrt, "sqrt"),
    "cbrt": Form(Cbrt, "numpy.cbrt({0})", "numpy.cbrt({0})"),
    "sin": _shared(sympy.sin, "sin"),
    "cos": _shared(sympy.cos, "cos"),
    "tan": _shared(sympy.tan, "tan"),
    "cot": Form(sympy.cot, "1.0/numpy.tan({0})", "1.0/math.tan({0})"),
    "asin": _shared(sympy.asin, "arcsin", "asin"),
    "acos": _shared(sympy.acos, "arccos", "acos"),
    "atan": _shared(sympy.atan, "arctan", "atan"),
    "atan2": Form(sympy.atan2, "numpy.arctan2({0}, {1})", "math.atan2({0}, {1})", 2),
    "sinh": _shared(sympy.sinh, "sinh"),
    "cosh": _shared(sympy.cosh, "cosh"),
    "tanh": _shared(sympy.tanh, "tanh"),
    "coth": Form(sympy.coth, "1.0/numpy.tanh({0})", "1.0/math.tanh({0})"),
    "asinh": _shared(sympy.asinh, "arcsinh", "asinh"),
    "acosh": _shared(sympy.acosh, "arccosh", "acosh"),
    "atanh": _shared(sympy.atanh, "arctanh", "atanh"),
    "erf": Form(sympy.erf, "special.erf({0})", "math.erf({0})"),
    "erfc": Form(sympy.erfc, "special.erfc({0})", "math.erfc({0})"),
    "abs": Form(Absolute, "numpy.abs({0})", "abs({0})"),
    "sign": Form(Sign, "numpy.sign({0})", "numpy.sign({0})"),
    "floor": Form(Floor, "numpy.floor({0})", "numpy.floor({0})"),
    "ceil": Form(Ceil, "numpy.ceil({0})", "numpy.ceil({0})"),
    "minimum": Form(Minimum, "numpy.minimum({0}, {1})", "numpy.minimum({0}, {1})", 2),
    "maximum": Form(Maximum, "numpy.maximum({0}, {1})", "numpy.maximum({0}, {1})", 2),
    "hypot": Form(_hypot, "numpy.hypot({0}, {1})", "math.hypot({0}, {1})", 2),
    "logistic": Form(Logistic, "special.expit({0})", "_logistic({0})"),
    "logaddexp": Form(Logaddexp, "numpy.logaddexp({0}, {1})", "_logaddexp({0}, {1})", 2),
    "xlogy": Form(Xlogy, "special.xlogy({0}, {1})", "_xlogy({0}, {1})", 2),
    "where": Form(Where, "numpy.where({0}, {1}, {2})", "({1} if {0} else {2})", 3),
    "pow": Form(sympy.Pow, "{0}**{1}", "{0}**{1}", 2),
}

ALIASES: dict[str, str] = {
    "ln": "log",
    "max": "maximum",
    "min": "minimum",
    "power": "pow",
    "expit": "logistic",
    "absolute": "abs",
    "fabs": "abs",
    "ceiling": "ceil",
    **{f"arc{name}": f"a{name}" for name in ("sin", "cos", "tan", "tan2", "sinh", "cosh", "tanh")},
}

CONSTANTS: dict[str, Expr] = {"pi": sympy.pi}

# Functions of one argument that NumPy offers and that are plain arithmetic to us.
OPERATIONS: dict[str, Callable[..., Expr]] = {
    "square": lambda x: x**2,
    "reciprocal": lambda x: 1 / x,
    "exp2": lambda x: sympy.S(2) ** x,
    "deg2rad": lambda x: x * sympy.pi / 180,
    "radians": lambda x: x * sympy.pi / 180,
    "rad2deg": lambda x: x * 180 / sympy.pi,
    "degrees": lambda x: x * 180 / sympy.pi,
}


def _classes() -> dict[type, str]:
    """Which SymPy class each function becomes, for those that become one of their own."""
    classes = {
        form.symbolic: name for name, form in FUNCTIONS.items() if isinstance(form.symbolic, type)
    }
    # What SymPy itself turns these into: sqrt(x**2) -> Abs(x).
    return classes | {sympy.Abs: "abs", sympy.sign: "sign"}


by_class: dict[type, str] = {cls: name for cls, name in _classes().items() if cls is not sympy.Pow}
