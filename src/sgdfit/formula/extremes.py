"""Forms of an expression that neither overflow nor cancel where their value is plain.

``1/(1 + exp(800))`` is 0, yet its derivative is infinity over infinity in floating point. Each rule
below is an identity over all real numbers, so that no domain changes.
"""

from __future__ import annotations

from typing import Any

import sympy
from sympy.codegen.cfunctions import expm1, log1p

from sgdfit.formula.real import Logaddexp, Logistic

__all__ = ["stable"]

Expr = Any  # SymPy ships no types


def stable(expression: Expr) -> Expr:
    """Return an equal expression that keeps its digits at extreme arguments.

    Examples
    --------
    >>> from sgdfit.formula.formula import as_formula
    >>> stable(as_formula("a/(1 + exp(-(x - m)/s))").expression)
    a*Logistic((-m + x)/s)
    >>> stable(as_formula("a*(1 - exp(-k*x)) + log(1 + exp(b*x))").expression)
    -a*expm1(-k*x) + Logaddexp(0, b*x)
    """
    args = tuple(map(stable, expression.args))
    # Built anew, 2*(a - b) would be multiplied out.
    changed = expression if args == expression.args else expression.func(*args)
    for rule in (_logistic_power, _logistic_product, _hyperbolic, _logarithm, _difference):
        changed = rule(changed)
    return changed


def _exponent(expression: Expr) -> Expr | None:
    """Return u of exp(u), u*log(10) of 10**u, and None of anything else."""
    if isinstance(expression, sympy.exp):
        return expression.args[0]
    if expression.is_Pow and expression.exp.free_symbols and expression.base.is_positive:
        return expression.exp * sympy.log(expression.base) if expression.base.is_number else None
    return None


def _after_one(total: Expr) -> Expr | None:
    """Return v of 1 + v, and None of anything else."""
    if total.is_Add and total.args[0] in (1, 1.0):
        return sympy.Add(*total.args[1:])
    return None


def _softplus(total: Expr) -> Expr | None:
    """Return u of 1 + exp(u), and None of anything else."""
    rest = _after_one(total)
    return None if rest is None else _exponent(rest)


def _logistic_power(power: Expr) -> Expr:
    """``(1 + exp(u))**-n`` is ``logistic(-u)**n``."""
    if not (power.is_Pow and power.exp.could_extract_minus_sign()):
        return power
    u = _softplus(power.base)
    return power if u is None else Logistic(-u) ** -power.exp


def _logistic_product(product: Expr) -> Expr:
    """``exp(u)*logistic(-u)`` is ``logistic(u)``."""
    if not product.is_Mul:
        return product
    for part in product.args:
        u = _exponent(part)
        partner = None if u is None else Logistic(-u)
        for factor in product.args:
            base, count = factor.as_base_exp()
            if base == partner:
                rest = [f for f in product.args if f not in (part, factor)]
                return sympy.Mul(*rest, Logistic(u), base ** (count - 1))
    return product


def _hyperbolic(total: Expr) -> Expr:
    """``logistic(u) - logistic(-u)`` is ``tanh(u/2)``."""
    for term in total.args if total.is_Add else ():
        if isinstance(term, Logistic) and -Logistic(-term.args[0]) in total.args:
            rest = [t for t in total.args if t not in (term, -Logistic(-term.args[0]))]
            return sympy.Add(*rest, sympy.tanh(term.args[0] / 2))
    return total


def _logarithm(log: Expr) -> Expr:
    """``log(1 + exp(u))`` is ``logaddexp(0, u)``; ``log(1 + v)`` is ``log1p(v)``."""
    if not isinstance(log, sympy.log | log1p):
        return log
    inside = log.args[0] + (1 if isinstance(log, log1p) else 0)
    u = _softplus(inside)
    if u is not None:
        return Logaddexp(sympy.S.Zero, u)
    rest = _after_one(inside)
    return log if rest is None else log1p(rest)


def _difference(total: Expr) -> Expr:
    """``exp(u) - 1`` is ``expm1(u)``, and ``1 - exp(u)`` is ``-expm1(u)``."""
    if not (total.is_Add and total.args[0] in (1, 1.0, -1, -1.0)):
        return total
    one = sympy.sign(total.args[0])
    for term in total.args[1:]:
        u = _exponent(-one * term)
        if u is not None:
            rest = [t for t in total.args[1:] if t != term]
            return sympy.Add(*rest, -one * expm1(u))
    return total
