"""Functions of real arguments whose SymPy counterparts reason about the complex plane.

SymPy differentiates ``abs``, ``sign``, ``Max`` and ``Min`` into Dirac deltas or real and imaginary
parts, and takes the complex cube root of a negative number; those below have the derivatives and
values of real data.
"""

# ruff: noqa: D102 (eval and fdiff are SymPy's hooks: what an object is made into, its derivative)

from __future__ import annotations

import math
from typing import Any

import sympy

__all__ = [
    "Absolute",
    "Cbrt",
    "Ceil",
    "Floor",
    "Logaddexp",
    "Logistic",
    "Maximum",
    "Minimum",
    "Sign",
    "Where",
    "Xlogy",
]

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
        if x.func is Absolute:
            return x
        if x.could_extract_minus_sign():
            return cls(-x)
        return sympy.Abs(x) if _numbers(x) else None

    def fdiff(self, argindex: int = 1) -> Expr:
        return Sign(self.args[0])

    def _eval_power(self, exponent: Expr) -> Expr | None:
        # Differentiated as |x|*|x|, a square would have the curvature sign(x)**2: 0 at 0.
        return self.args[0] ** exponent if exponent.is_even else None


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

    @classmethod
    def eval(cls, x: Expr) -> Expr | None:
        return sympy.floor(x) if _numbers(x) else None

    def fdiff(self, argindex: int = 1) -> Expr:
        return sympy.S.Zero


class Ceil(_RealFunction):
    """The smallest whole number not below x; its derivative is 0."""

    nargs = 1

    @classmethod
    def eval(cls, x: Expr) -> Expr | None:
        return sympy.ceiling(x) if _numbers(x) else None

    def fdiff(self, argindex: int = 1) -> Expr:
        return sympy.S.Zero


class Cbrt(_RealFunction):
    """The real cube root, of negative numbers too."""

    nargs = 1

    @classmethod
    def eval(cls, x: Expr) -> Expr | None:
        third = sympy.Rational(1, 3)
        return sympy.sign(x) * sympy.Abs(x) ** third if _numbers(x) else None

    def fdiff(self, argindex: int = 1) -> Expr:
        return 1 / (3 * self**2)


class Logistic(_RealFunction):
    """1/(1 + exp(-x)), without overflow on either side."""

    nargs = 1

    @classmethod
    def eval(cls, x: Expr) -> Expr | None:
        if not _numbers(x):
            return None
        small = math.exp(-abs(float(x)))
        return sympy.Float((small if x < 0 else 1.0) / (1.0 + small))

    def fdiff(self, argindex: int = 1) -> Expr:
        return self * Logistic(-self.args[0])


class Logaddexp(_RealFunction):
    """log(exp(x) + exp(y)), without overflow."""

    nargs = 2

    @classmethod
    def eval(cls, x: Expr, y: Expr) -> Expr | None:
        if not _numbers(x, y):
            return None
        return sympy.Max(x, y) + sympy.Float(math.log1p(math.exp(-abs(float(x - y)))))

    def fdiff(self, argindex: int = 1) -> Expr:
        x, y = self.args
        return Logistic(x - y) if argindex == 1 else Logistic(y - x)


class Xlogy(_RealFunction):
    """x*log(y), and 0 where x is 0 (whatever y is)."""

    nargs = 2

    @classmethod
    def eval(cls, x: Expr, y: Expr) -> Expr | None:
        if x.is_zero:
            return sympy.S.Zero
        return x * sympy.log(y) if _numbers(x, y) else None

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
