"""Expressions made short for reading: equal ones of which the shortest is kept."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import sympy
from sympy.core.relational import Relational

from sgdfit.formula.real import MAX_EXPONENT, Absolute, Where

Expr = Any  # SymPy ships no types

RATIONAL_LIMIT = 40  # operations up to which fractions are brought together
DEGREE_LIMIT = 8  # of a polynomial that may be multiplied out on the way
FACTOR_LIMIT = 2000  # operations up to which common factors are looked for
SHORT_DECIMAL = 10  # characters up to which a decimal is left as it is; 0.333… becomes 1/3
_KNOWN = {float(e): e for e in (sympy.log(2), sympy.log(10), sympy.pi, sympy.sqrt(2), sympy.E)}


def operations(expression: Expr) -> int:
    """Return how many operations ``expression`` takes."""
    return int(sympy.count_ops(expression))


def tidy(expression: Expr) -> Expr:
    """Return an equal expression that is no longer, for reading.

    Examples
    --------
    >>> r = sympy.Symbol("r", real=True)
    >>> tidy(Absolute(r)**2/r), tidy(1.0 * r**2 / r + 0.5 * r)
    (r, 1.5*r)
    """
    powers = expression.atoms(sympy.Pow)
    if any(p.base.is_number and abs(p.exp.as_coeff_Add()[0]) > MAX_EXPONENT for p in powers):
        return expression  # SymPy would take 2**(10**300) out of 2**(x + 10**300)
    short = _exact(_shortest(_rewrite(_exact(expression))))
    # SymPy takes i out of the root of what it sees to be negative.
    return expression if short.has(sympy.I) else short


def _exact(expression: Expr) -> Expr:
    """Write floats that are whole, simple fractions or known constants as such."""
    # What SymPy folds may lie beyond float64, as 1e300**2 and 1e-300**2 do.
    values = {number: float(number) for number in expression.atoms(sympy.Float)}
    within = [n for n, value in values.items() if math.isfinite(value) and (value or not n)]
    return expression.xreplace({n: _recognized(values[n]) for n in within})


def _recognized(value: float) -> Expr:
    if abs(value) in _KNOWN:
        return _KNOWN[abs(value)] if value > 0 else -_KNOWN[abs(value)]
    if value.is_integer() and abs(value) < 1e6:
        return sympy.Integer(int(value))
    if abs(value) in (0.5, 0.25):
        return sympy.Rational(value)
    near = Fraction(value).limit_denominator(1000)
    if len(repr(value)) <= SHORT_DECIMAL or abs(near - Fraction(value)) > 4e-16 * abs(value):
        return sympy.Float(value)
    decimal = 1000 % near.denominator == 0  # 0.1 rather than 1/10
    return sympy.Float(float(near)) if decimal else sympy.Rational(*near.as_integer_ratio())


def _rewrite(part: Expr) -> Expr:
    if not part.args:
        return part
    if part.func is Where:
        condition, yes, no = part.args
        return _where(_condition(condition), tidy(yes), tidy(no))
    if part.is_Relational:
        return _condition(part)
    arguments = [_rewrite(argument) for argument in part.args]
    if part.is_Pow and arguments[0].func is Absolute and arguments[1].is_even:
        arguments[0] = arguments[0].args[0]
    if not part.is_Add:
        whole = part.is_Function or part.func is sympy.exp
        arguments = [_shortest(a) if whole or a.is_Add else a for a in arguments]
    return part.func(*arguments)


def _condition(condition: Expr) -> Expr:
    """``q*y - q*p > r*p - r*y`` is ``y > p``: gather, divide, and keep it where it is shorter."""
    if not condition.is_Relational:
        parts = map(_condition, condition.args)
        return condition.func(*parts) if condition.args else condition
    number, rest = sympy.factor_terms(condition.lhs - condition.rhs).as_coeff_Mul()
    if number == 0 or not rest.free_symbols:
        return condition
    terms = sympy.Add.make_args(rest if number.is_positive else -rest)
    right = [term for term in terms if term.could_extract_minus_sign()]
    left = [term for term in terms if term not in right]
    shorter = condition.func(sympy.Add(*left), -sympy.Add(*right))
    better = shorter.is_Relational and operations(shorter) < operations(condition)
    return shorter if better else condition


def _where(condition: Expr, yes: Expr, no: Expr) -> Expr:
    """Pull a polynomial out of a branch whose other side is 0: it is defined in every row."""
    for inside, outside, holds in ((yes, no, condition), (no, yes, sympy.Not(condition))):
        if outside == 0 and inside.free_symbols and inside.is_polynomial():
            return inside * Where(holds, sympy.S.One, sympy.S.Zero)
    return Where(condition, yes, no)


def _shortest(expression: Expr) -> Expr:
    """Return the shortest of a few equal forms; the first of those that are equally short."""
    length = operations(expression)
    candidates = [expression]
    if length <= FACTOR_LIMIT and not expression.has(Relational):
        candidates.append(sympy.factor_terms(expression))
    if length <= RATIONAL_LIMIT and _is_small(expression):
        candidates += [sympy.together(expression), sympy.cancel(expression)]
    return min(candidates, key=operations)


def _is_small(expression: Expr) -> bool:
    """Whether fractions can be brought together without growing: few names, low powers."""
    # sympy.together turns exp(-u) under a fraction into exp(u) above: shorter, less familiar.
    if expression.has(Relational, sympy.Float, sympy.exp):
        return False
    powers = [power.exp for power in expression.atoms(sympy.Pow)]
    if not all(power.is_Integer for power in powers):
        return False
    return len(expression.free_symbols) <= 6 and sum(map(abs, powers)) <= DEGREE_LIMIT
