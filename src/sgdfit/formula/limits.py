"""What floating point can hold: numbers and powers that it cannot are refused at once."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import sympy

from sgdfit.errors import FormulaError
from sgdfit.formula.real import Absolute, Sign

__all__ = ["LARGEST", "MAX_EXPONENT", "finite", "power"]

Expr = Any  # SymPy ships no types

LARGEST = 10**300
MAX_EXPONENT = 1_000


def finite(expression: Expr) -> Expr:
    """Return ``expression`` in functions of real arguments, every number in it a finite real one.

    Raises
    ------
    FormulaError
        When a number in it is infinite, not real, beyond 1e300, or so small that it would be 0.

    Examples
    --------
    >>> x = sympy.Symbol("x", real=True)
    >>> finite(sympy.sqrt(x**2))
    Absolute(x)
    >>> finite(x * sympy.log(-1))
    Traceback (most recent call last):
        ...
    sgdfit.errors.FormulaError: this has no finite real value
    """
    if expression.has(sympy.Abs, sympy.sign):
        expression = expression.replace(sympy.Abs, Absolute).replace(sympy.sign, Sign)
    for part in sympy.preorder_traversal(expression):
        trouble = _trouble(part) if part.is_number else None
        if part.is_Pow and part.exp.is_number and abs(part.exp) > MAX_EXPONENT:
            trouble = f"the exponent {_short(part.exp)} is beyond {MAX_EXPONENT:,}"
        if trouble:
            raise FormulaError(trouble)
    return expression


@lru_cache(maxsize=4096)
def _trouble(number: Expr) -> str | None:
    """Say why floating point cannot hold ``number``; None where it can."""
    if number.is_Rational:
        fits = max(abs(number.p), number.q) <= LARGEST
        return None if fits else "this number is too large for floating point"
    try:
        value = complex(number.evalf(17))
    except (OverflowError, TypeError, ValueError):
        value = complex(math.nan)
    if abs(value.imag) > 1e-12 * abs(value.real) or not math.isfinite(value.real):
        return "this has no finite real value"
    if value == 0 and (number.is_Float or number.is_Pow) and not number.is_zero:
        return "this number is too small for floating point"
    return None if abs(value.real) <= LARGEST else "this number is too large for floating point"


def power(base: Expr, exponent: Expr) -> Expr:
    """Return ``base**exponent``, which SymPy would compute however many digits it had.

    Raises
    ------
    FormulaError
        When the exponent is beyond 1,000, or the value beyond what floating point can hold.

    Examples
    --------
    >>> power(sympy.Symbol("x"), sympy.Float(2.0))
    x**2
    >>> power(sympy.Integer(9), sympy.Integer(999))
    Traceback (most recent call last):
        ...
    sgdfit.errors.FormulaError: 9**999 is too large for floating point
    """
    if exponent.is_number and abs(exponent) > MAX_EXPONENT:
        raise FormulaError(f"the exponent {_short(exponent)} is beyond {MAX_EXPONENT:,}")
    if exponent.is_Float and float(exponent).is_integer():
        exponent = sympy.Integer(int(exponent))
    if base.is_number and exponent.is_number and not base.is_zero:
        digits = float(exponent) * math.log10(abs(complex(base)))
        if abs(digits) > math.log10(LARGEST):
            raise FormulaError(
                f"{_short(base)}**{_short(exponent)} is too large for floating point"
            )
    return finite(base**exponent)


def _short(number: Expr, width: int = 40) -> str:
    text = str(number)
    return text if len(text) <= width else f"{text[: width - 1]}…"
