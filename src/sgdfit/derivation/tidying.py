"""Cheap, exact simplification for display: every step is bounded, so none can hang.

`sympy.simplify` may take minutes on a formula with a dozen parameters. Here each expression is
rewritten by a few rules, and the candidate with the fewest operations wins.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import sympy

from sgdfit.formula.real import Absolute, Logistic, Sign, Where

__all__ = ["operations", "split_constant", "tidy"]

Expr = Any  # SymPy ships no types

RATIONAL_LIMIT = 40  # operations up to which fractions are brought together
DEGREE_LIMIT = 8  # of a polynomial that may be multiplied out on the way
FACTOR_LIMIT = 2000  # operations up to which common factors are looked for
LARGEST_DENOMINATOR = 1000  # of a fraction that a long decimal such as 0.333… is taken for
SHORT_DECIMAL = 10  # characters up to which a decimal is left as it is
_KNOWN = {float(e): e for e in (sympy.log(2), sympy.log(10), sympy.pi, sympy.sqrt(2), sympy.E)}


def operations(expression: Expr) -> int:
    """Return how many operations ``expression`` takes.

    Examples
    --------
    >>> x, y = sympy.symbols("x y")
    >>> operations(2 * x - 2 * y), operations(tidy(2 * x - 2 * y))
    (3, 2)
    """
    return int(sympy.count_ops(expression))


def tidy(expression: Expr) -> Expr:
    """Return an equal expression that is no longer, for reading.

    Examples
    --------
    >>> r = sympy.Symbol("r", real=True)
    >>> tidy(Absolute(r) * Sign(r)), tidy(1.0 * r**2 / r + 0.5 * r)
    (r, 1.5*r)
    """
    return _exact(_shortest(_rewrite(_exact(expression))))


def split_constant(expression: Expr, names: set[Expr]) -> tuple[Expr, Expr]:
    """Split a product into what is free of ``names`` and the rest.

    Examples
    --------
    >>> a, x = sympy.symbols("a x")
    >>> split_constant(2 * x**2 * a, {x})
    (2*a, x**2)
    """
    constant, rest = expression.as_independent(*names, as_Add=False)
    return constant, rest


def _exact(expression: Expr) -> Expr:
    """Write floats that are whole, simple fractions or known constants as such."""
    return expression.xreplace({f: _number(float(f)) for f in expression.atoms(sympy.Float)})


def _number(value: float) -> Expr:
    if abs(value) in _KNOWN:
        return _KNOWN[abs(value)] if value > 0 else -_KNOWN[abs(value)]
    if value.is_integer() and abs(value) < 1e6:
        return sympy.Integer(int(value))
    if abs(value) in (0.5, 0.25):
        return sympy.Rational(value)
    near = Fraction(value).limit_denominator(LARGEST_DENOMINATOR)
    if len(repr(value)) > SHORT_DECIMAL and abs(near - Fraction(value)) <= 4e-16 * abs(value):
        decimal = 1000 % near.denominator == 0  # 0.1 rather than 1/10
        return (
            sympy.Float(float(near))
            if decimal
            else sympy.Rational(near.numerator, near.denominator)
        )
    return sympy.Float(value)


def _rewrite(part: Expr) -> Expr:
    """Apply the rules from the leaves up."""
    if not part.args:
        return part
    if part.func is Where:
        condition, yes, no = part.args
        return _where(_condition(condition), tidy(yes), tidy(no))
    if part.is_Relational:
        return _relation(part)
    if part.is_Add:
        part = sympy.Add(*_paired_logistics(list(part.args)))
    arguments = [_rewrite(argument) for argument in part.args]
    if part.is_Mul or part.is_Pow:
        arguments = [_shortest(a) if a.is_Add else a for a in arguments]
    if part.is_Mul:
        arguments = _signed_absolutes(arguments)
    if part.is_Pow and arguments[0].func is Absolute and arguments[1].is_even:
        arguments[0] = arguments[0].args[0]
    if part.is_Function or part.func is sympy.exp:
        arguments = [_shortest(argument) for argument in arguments]
    return part.func(*arguments)


def _condition(condition: Expr) -> Expr:
    if condition.is_Relational:
        return _relation(condition)
    return condition.func(*map(_condition, condition.args)) if condition.args else condition


def _relation(relation: Expr) -> Expr:
    """``q*y - q*p > r*p - r*y`` is ``y > p``: gather, divide, and keep it where it is shorter."""
    difference = sympy.factor_terms(relation.lhs - relation.rhs)
    number, rest = difference.as_coeff_Mul()
    if number == 0 or not rest.free_symbols:
        return relation
    terms = sympy.Add.make_args(rest if number.is_positive else -rest)
    left = [term for term in terms if not term.could_extract_minus_sign()]
    right = [-term for term in terms if term.could_extract_minus_sign()]
    shorter = relation.func(sympy.Add(*left), sympy.Add(*right))
    better = shorter.is_Relational and operations(shorter) < operations(relation)
    return shorter if better else relation


def _where(condition: Expr, yes: Expr, no: Expr) -> Expr:
    """Pull a polynomial out of a branch whose other side is 0: it is defined in every row."""
    for inside, outside, holds in ((yes, no, condition), (no, yes, sympy.Not(condition))):
        if outside == 0 and inside.free_symbols and inside.is_polynomial():
            return inside * Where(holds, sympy.S.One, sympy.S.Zero)
    return Where(condition, yes, no)


def _signed_absolutes(factors: list[Expr]) -> list[Expr]:
    """``|u| sgn(u)`` is ``u``."""
    inner = {f.args[0] for f in factors if f.func is Absolute}
    inner &= {f.args[0] for f in factors if f.func is Sign}
    gone = {cls(u) for cls in (Absolute, Sign) for u in inner}
    return [f for f in factors if f not in gone] + sorted(inner, key=sympy.default_sort_key)


def _paired_logistics(terms: list[Expr]) -> list[Expr]:
    """``σ(u) - σ(-u)`` is ``tanh(u/2)``, and ``σ(u) + σ(-u)`` is 1."""
    for term in terms:
        if term.func is not Logistic:
            continue
        (u,) = term.args
        for partner, joined in ((-Logistic(-u), sympy.tanh(u / 2)), (Logistic(-u), 1)):
            if partner in terms:
                rest = [t for t in terms if t not in (term, partner)]
                return _paired_logistics([*rest, sympy.sympify(joined)])
    return terms


def _shortest(expression: Expr) -> Expr:
    """Return the shortest of a few equal forms; the first of those that are equally short."""
    length = operations(expression)
    candidates = [expression]
    if length <= FACTOR_LIMIT and not expression.has(sympy.core.relational.Relational):
        candidates.append(sympy.factor_terms(expression))
    if length <= RATIONAL_LIMIT and _is_small(expression):
        candidates += [sympy.together(expression), sympy.cancel(expression)]
    return min(candidates, key=operations)


def _is_small(expression: Expr) -> bool:
    """Whether fractions can be brought together without growing: few names, low powers."""
    # sympy.together turns exp(-u) under a fraction into exp(u) above: shorter, less familiar.
    if expression.has(sympy.core.relational.Relational, sympy.Float, sympy.exp):
        return False
    powers = [p.exp for p in expression.atoms(sympy.Pow)]
    if not all(p.is_Integer for p in powers):
        return False
    return len(expression.free_symbols) <= 6 and sum(map(abs, powers)) <= DEGREE_LIMIT
