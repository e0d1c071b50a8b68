"""Real numbers: functions of real arguments, and what floating point can hold.

SymPy differentiates ``abs``, ``sign``, ``Max`` and ``Min`` into Dirac deltas or real and imaginary
parts, and takes the complex cube root of a negative number; those below have the derivatives and
values of real data. Special functions are SciPy's. Numbers and powers that floating point cannot
hold are refused at once.
"""

# ruff: noqa: D102 (eval and fdiff are SymPy's hooks: what an object is made into, its derivative)

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import sympy

from sgdfit.errors import FormulaError

Expr = Any  # SymPy ships no types

LARGEST_REAL = int(sys.float_info.max)
MAX_EXPONENT = 1_000


class _RealFunction(sympy.Function):  # type: ignore[misc]
    """A real function of real arguments: its value where all of them are numbers."""

    nargs: int | None = 1

    def _eval_is_extended_real(self) -> bool:
        return True

    @classmethod
    def eval(cls, *args: Expr) -> Expr | None:
        numbers = all(arg.is_number and arg.is_comparable for arg in args)
        return cls.value(*args) if numbers else cls.simpler(*args)

    @classmethod
    def simpler(cls, *args: Expr) -> Expr | None:
        return None


class Absolute(_RealFunction):
    """|x|; its derivative at 0 is 0, as in torch."""

    value = sympy.Abs

    @classmethod
    def simpler(cls, x: Expr) -> Expr | None:
        if x.func is Absolute:
            return x
        return cls(-x) if x.could_extract_minus_sign() else None

    def fdiff(self, argindex: int = 1) -> Expr:
        return Sign(self.args[0])

    def _eval_power(self, exponent: Expr) -> Expr | None:
        # Differentiated as |x|*|x|, a square would have the curvature sign(x)**2: 0 at 0.
        return self.args[0] ** exponent if exponent.is_even else None


class Sign(_RealFunction):
    """-1, 0 or 1."""

    value = sympy.sign

    def fdiff(self, argindex: int = 1) -> Expr:
        return sympy.S.Zero


class Floor(Sign):
    """The largest whole number not above x."""

    value = sympy.floor


class Ceil(Sign):
    """The smallest whole number not below x."""

    value = sympy.ceiling


class Cbrt(_RealFunction):
    """The real cube root, of negative numbers too."""

    @staticmethod
    def value(x: Expr) -> Expr:
        return sympy.sign(x) * sympy.Abs(x) ** sympy.Rational(1, 3)

    def fdiff(self, argindex: int = 1) -> Expr:
        return 1 / (3 * self**2)


class Logistic(_RealFunction):
    """1/(1 + exp(-x)), without overflow on either side."""

    @staticmethod
    def value(x: Expr) -> Expr:
        small = math.exp(-abs(float(x)))
        return sympy.Float((small if x < 0 else 1.0) / (1.0 + small))

    def fdiff(self, argindex: int = 1) -> Expr:
        return self * Logistic(-self.args[0])


class Logaddexp(_RealFunction):
    """log(exp(x) + exp(y)), without overflow."""

    nargs = 2

    @staticmethod
    def value(x: Expr, y: Expr) -> Expr:
        return sympy.Max(x, y) + sympy.Float(math.log1p(math.exp(-abs(float(x - y)))))

    def fdiff(self, argindex: int = 1) -> Expr:
        x, y = self.args
        return Logistic(x - y) if argindex == 1 else Logistic(y - x)


class Xlogy(_RealFunction):
    """x*log(y), and 0 where x is 0 (whatever y is)."""

    nargs = 2

    @staticmethod
    def value(x: Expr, y: Expr) -> Expr:
        return sympy.S.Zero if x.is_zero else x * sympy.log(y)

    @classmethod
    def simpler(cls, x: Expr, y: Expr) -> Expr | None:
        return sympy.S.Zero if x.is_zero else None

    def fdiff(self, argindex: int = 1) -> Expr:
        x, y = self.args
        return sympy.log(y) if argindex == 1 else x / y


class Where(_RealFunction):
    """The second argument where the first (a condition) holds, else the third."""

    nargs = 3

    @classmethod
    def eval(cls, condition: Expr, yes: Expr, no: Expr) -> Expr | None:
        if condition in (sympy.true, sympy.false):
            return yes if condition == sympy.true else no
        return yes if yes == no else None

    def _eval_derivative(self, symbol: Expr) -> Expr:
        # A branch that is not taken must not reach the sum: 0 * nan is nan.
        condition, yes, no = self.args
        return Where(condition, yes.diff(symbol), no.diff(symbol))


class Select(_RealFunction):
    """Of values for the codes 0, 1, …, which follow the first argument, that of the code."""

    nargs = None

    @classmethod
    def eval(cls, code: Expr, *values: Expr) -> Expr | None:
        if code.is_Integer:
            return values[int(code)]
        return values[0] if len(set(values)) == 1 else None

    def _eval_derivative(self, symbol: Expr) -> Expr:
        code, *values = self.args
        cases = [(k, value.diff(symbol)) for k, value in enumerate(values) if value.has(symbol)]
        return sympy.Add(*(Where(sympy.Eq(code, k), slope, sympy.S.Zero) for k, slope in cases))


def select(codes: Any, *values: Any) -> Any:
    """Return for each row that one of the values that its code names; each may be an array."""
    index = np.asarray(codes).astype(np.intp)
    if all(np.ndim(value) == 0 for value in values):
        return np.array(values)[index]
    found = values[0]
    for k, value in enumerate(values[1:], 1):
        found = np.where(index == k, value, found)
    return found


class Maximum(_RealFunction):
    """The larger of two; ties share the derivative, as in torch."""

    nargs = 2
    value, first = sympy.Max, sympy.Gt

    @classmethod
    def simpler(cls, x: Expr, y: Expr) -> Expr | None:
        return x if x == y else None

    def _eval_derivative(self, symbol: Expr) -> Expr:
        x, y = self.args
        dx, dy = x.diff(symbol), y.diff(symbol)
        return Where(self.first(x, y), dx, Where(sympy.Eq(x, y), (dx + dy) / 2, dy))


class Minimum(Maximum):
    """The smaller of two."""

    value, first = sympy.Min, sympy.Lt


class Special(_RealFunction):
    """A special function: of numbers, what `sgdfit.formula.special` says."""

    called = ""
    slopes: tuple[Callable[..., Expr], ...] = ()  # its derivatives
    orders = 0  # how many whole numbers come before what it can be differentiated by
    parity = 0  # f(-x) is f(x) times that, if not 0

    @classmethod
    def eval(cls, *args: Expr) -> Expr | None:
        for order in args[: cls.orders]:
            if not (order.is_Integer and order >= 0):
                raise FormulaError(f"the order {order} of {cls.called} is no whole number")
        plain = tuple(-1 * (-arg) for arg in args)  # SymPy may leave -(m - x) for x - m
        return super().eval(*args) if plain == args else cls(*plain)

    @classmethod
    def value(cls, *args: Expr) -> Expr:
        from sgdfit.formula import special  # which takes as long to import as many a fit

        with np.errstate(all="ignore"):
            return sympy.Float(float(getattr(special, cls.called)(*map(float, args))))

    @classmethod
    def simpler(cls, *args: Expr) -> Expr | None:
        return cls.parity * cls(-args[0]) if cls.parity and _is_negative(args[0]) else None

    def fdiff(self, argindex: int = 1) -> Expr:
        return self.slopes[argindex - 1 - self.orders](*self.args)


def _is_negative(x: Expr) -> bool:
    """Whether each term has a minus sign: that of x - m is as good as that of m - x."""
    return all(term.could_extract_minus_sign() for term in sympy.Add.make_args(x))


SPECIAL: dict[str, Any] = {}  # by their names in a formula


def _special(called: str, *slopes: Callable[..., Expr], **given: Any) -> Any:
    """Return the class of a special function with these derivatives to its arguments."""
    arity, name = len(slopes) + given.get("orders", 0), called.title().replace("_", "")
    held = {"called": called, "slopes": slopes, "arity": arity, "nargs": arity, **given}
    made = type(name, (Special,), {"__module__": __name__, **held})
    return SPECIAL.setdefault(called, made)


EVEN: dict[str, Any] = {"parity": 1}
ODD: dict[str, Any] = {"parity": -1}
Gamma: Expr = _special("gamma", lambda x: Gamma(x) * Digamma(x))
Lgamma: Expr = _special("lgamma", lambda x: Digamma(x))
Digamma: Expr = _special("digamma", lambda x: Trigamma(x))
Trigamma: Expr = _special("trigamma", lambda x: sympy.polygamma(2, x))
Beta: Expr = _special(
    "beta",
    lambda a, b: Beta(a, b) * (Digamma(a) - Digamma(a + b)),
    lambda a, b: Beta(a, b) * (Digamma(b) - Digamma(a + b)),
)
Erfcx: Expr = _special("erfcx", lambda x: ErfcxSlope(x))
ErfcxSlope: Expr = _special("erfcx_slope", lambda x: 2 * Erfcx(x) + 2 * x * ErfcxSlope(x))
Erfinv: Expr = _special(
    "erfinv", lambda x: sympy.sqrt(sympy.pi) / 2 * sympy.exp(Erfinv(x) ** 2), **ODD
)
Sinc: Expr = _special("sinc", lambda x: SincSlope(x), **EVEN)
SincSlope: Expr = _special(
    "sinc_slope", lambda x: -(sympy.pi**2) * Sinc(x) - 2 * SincSlope(x) / x, **ODD
)
# Bessel's functions. Orders above 1 stand where a division by x would have no value at 0.
J0: Expr = _special("j0", lambda x: -J1(x), **EVEN)
J1: Expr = _special("j1", lambda x: (J0(x) - Jv(2, x)) / 2, **ODD)
Y0: Expr = _special("y0", lambda x: -Y1(x))
Y1: Expr = _special("y1", lambda x: Y0(x) - Y1(x) / x)
I0: Expr = _special("i0", lambda x: I1(x), **EVEN)
I1: Expr = _special("i1", lambda x: (I0(x) + Iv(2, x)) / 2, **ODD)
K0: Expr = _special("k0", lambda x: -K1(x))
K1: Expr = _special("k1", lambda x: -K0(x) - K1(x) / x)


def _next_order(bessel: Any, n: Expr, x: Expr, sign: int) -> Expr:
    below = {Jv: (J0, J1), Iv: (I0, I1)}[bessel]
    if n == 0:
        return sign * below[1](x)
    lower = below[n - 1](x) if n <= 2 else bessel(n - 1, x)
    return (lower + sign * bessel(n + 1, x)) / 2


Jv: Expr = _special("jv", lambda n, x: _next_order(Jv, n, x, -1), orders=1)
Iv: Expr = _special("iv", lambda n, x: _next_order(Iv, n, x, 1), orders=1)


def _even(cls: Any, *args: Expr) -> Expr | None:
    """Turn round what Voigt's profile is even in; its second slope to gamma is one to x."""
    *orders, x, sigma, gamma = args
    if orders and orders[1] > 1:
        return -cls(orders[0] + 2, orders[1] - 2, x, sigma, gamma)
    if _is_negative(x):
        return (-1) ** (orders or [0])[0] * cls(*orders, -x, sigma, gamma)
    return cls(*orders, x, -sigma, gamma) if _is_negative(sigma) else None


# By the equation of heat its slope to sigma is sigma times the second one to x, and by Laplace's
# the second one to gamma is that to x with the other sign.
Voigt: Expr = _special(
    "voigt",
    lambda x, s, g: VoigtSlope(1, 0, x, s, g),
    lambda x, s, g: s * VoigtSlope(2, 0, x, s, g),
    lambda x, s, g: VoigtSlope(0, 1, x, s, g),
    simpler=classmethod(_even),
)
VoigtSlope: Expr = _special(
    "voigt_slope",
    lambda n, m, x, s, g: VoigtSlope(n + 1, m, x, s, g),
    lambda n, m, x, s, g: s * VoigtSlope(n + 2, m, x, s, g),
    lambda n, m, x, s, g: VoigtSlope(n, m + 1, x, s, g),
    simpler=classmethod(_even),
    orders=2,
)


def as_real(expression: Expr) -> Expr:
    """Return ``expression`` in real functions; refuse numbers that floating point cannot hold."""
    if expression.has(sympy.Abs, sympy.sign):
        expression = expression.replace(sympy.Abs, Absolute).replace(sympy.sign, Sign)
    for part in sympy.preorder_traversal(expression):
        if part.is_Pow:
            _check_exponent(part.exp)
        trouble = _trouble(part) if part.is_number else None
        if trouble:
            raise FormulaError(trouble)
    return expression


@lru_cache(maxsize=4096)
def _trouble(number: Expr) -> str | None:
    """Say why floating point cannot hold ``number``; None where it can."""
    if number.is_Rational:
        fits = max(abs(number.p), number.q) <= LARGEST_REAL
        return None if fits else "this number is too large for floating point"
    try:
        value = complex(number.evalf(17))
    except (OverflowError, TypeError, ValueError):
        value = complex(math.nan)
    if abs(value.imag) > 1e-12 * abs(value.real) or not math.isfinite(value.real):
        return "this has no finite real value"
    if value == 0 and (number.is_Float or number.is_Pow) and not number.is_zero:
        return "this number is too small for floating point"
    is_large = abs(value.real) > float(LARGEST_REAL)
    return "this number is too large for floating point" if is_large else None


def power(base: Expr, exponent: Expr) -> Expr:
    """Return ``base**exponent``, which SymPy would compute however many digits it had."""
    _check_exponent(exponent)
    if exponent.is_Float and float(exponent).is_integer():
        exponent = sympy.Integer(int(exponent))
    if base.is_Rational and abs(exponent.as_coeff_Add()[0]) > MAX_EXPONENT:
        base = sympy.Float(float(base))  # SymPy takes 2**(10**300) out of 2**(x + 10**300)
    if base.is_number and exponent.is_number and not base.is_zero:
        digits = float(exponent) * math.log10(abs(complex(base)))
        if abs(digits) > math.log10(LARGEST_REAL):
            raise FormulaError(f"{base!s:.40}**{exponent!s:.40} is too large for floating point")
    return as_real(base**exponent)


def _check_exponent(exponent: Expr) -> None:
    if exponent.is_number and abs(exponent) > MAX_EXPONENT:
        raise FormulaError(f"the exponent {exponent!s:.40} is beyond {MAX_EXPONENT:,}")
