"""Which combinations of parameters a formula depends on, such as a*b of a*b*x.

A curve of columns x and parameters θ is read as F(g(θ), x): the g are the parts that hold no
column, taken as large as they can be. Sums are expanded and grouped by what they hold of the
columns; a factor common to a sum is drawn out of powers and logarithms of it; exponentials and
waves of a sum are written as products. What g does not tell apart no data can.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import sympy
from sympy.codegen.cfunctions import expm1, log1p

from sgdfit.formula.evaluation import evaluate
from sgdfit.formula.formula import symbol, to_text
from sgdfit.inference.covariance import Combination

Expr = Any  # SymPy ships no types


@np.errstate(all="ignore")
def parts_of(
    prediction: Expr, names: tuple[str, ...], columns: tuple[str, ...], theta: np.ndarray
) -> Iterator[Combination]:
    """Yield the combinations of the parameters ``names`` in a ``prediction``, at ``theta``."""
    at = dict(zip(names, theta.tolist(), strict=True))
    for part in combinations(prediction, columns):
        slopes = [float(evaluate(part.diff(symbol(name)), at)) for name in names]
        yield Combination(to_text(part, names), float(evaluate(part, at)), np.array(slopes))


@lru_cache(maxsize=256)
def redundant(
    prediction: Expr, names: tuple[str, ...], columns: tuple[str, ...]
) -> tuple[str, ...]:
    """Return those of the ``names`` that may keep any value, whatever the curve, if others follow.

    Of names that will do alike the later ones are returned.

    Examples
    --------
    >>> from sgdfit.formula.reading import as_formula
    >>> redundant(as_formula("V*x/(K + x)*E").expression, ("V", "K", "E"), ("x",))
    ('E',)
    """
    theta = np.random.default_rng(0).uniform(0.5, 1.5, len(names))
    slopes = [part.gradient for part in parts_of(prediction, names, columns, theta)]
    rows = np.array([slope for slope in slopes if np.isfinite(slope).all()])
    kept, found = list[int](), list[int]()
    for i in range(len(names)):
        more = np.linalg.matrix_rank(rows[:, [*kept, i]], 1e-9) if len(rows) else len(kept) + 1
        (kept if more > len(kept) else found).append(i)
    return tuple(names[i] for i in found)


@lru_cache(maxsize=64)
def combinations(prediction: Expr, columns: tuple[str, ...]) -> tuple[Expr, ...]:
    """Return the parts of the ``prediction`` that hold none of the ``columns``, the short first.

    Examples
    --------
    >>> from sgdfit.formula.reading import as_formula
    >>> def parts(text):
    ...     return combinations(as_formula(text).expression, ("x",))
    >>> parts("(a*x + b)/(c*x + d)")
    (a/c, b/a, b/c, c/d, d/c)
    >>> parts("a*exp(-(x - x0)/d) + c*e")
    (d, c*e, a*exp(x0/d), c*e*exp(-x0/d)/a)
    """
    apart = frozenset(map(symbol, columns))
    # exp(k*x0) is drawn out of exp(-k*(x - x0)) - 1, not out of its stable form.
    prediction = prediction.replace(expm1, lambda u: sympy.exp(u) - 1)
    prediction = prediction.replace(log1p, lambda u: sympy.log(1 + u))
    parts = _parts(_monic(prediction, apart), apart)
    # A condition has no value to tell.
    found = dict.fromkeys(_bare(part) for part in parts if isinstance(part, sympy.Expr))
    named = [part for part in found if part.free_symbols]
    return tuple(sorted(named, key=lambda part: (part.count_ops(), str(part))))


def _bare(part: Expr) -> Expr:
    """Return what a part follows from: 2*exp(-a/b) from a/b."""
    part = part.as_coeff_Mul()[1]
    if isinstance(part, sympy.exp | sympy.log) or (part.is_Pow and part.exp.is_number):
        return _bare(part.args[0])
    return -part if part.could_extract_minus_sign() else part


def _terms(total: Expr, columns: frozenset[Expr]) -> dict[Expr, Expr]:
    """Return what multiplies each product of columns in a sum."""
    found = dict[Expr, Expr]()
    for product in sympy.Add.make_args(total):
        factors = map(sympy.Add.make_args, sympy.Mul.make_args(product))
        # SymPy's own way would multiply out denominators too.
        for term in itertools.starmap(sympy.Mul, itertools.product(*factors)):
            own, rest = term.as_independent(*columns, as_Add=False)
            found[rest] = found.get(rest, 0) + own
    return {rest: own for rest, own in found.items() if own != 0}


def _split(total: Expr, columns: frozenset[Expr]) -> tuple[Expr, Expr]:
    """Return the factor common to a sum, and the rest."""
    terms = _terms(total, columns)
    if any(own.is_number for own in terms.values()):
        return sympy.Integer(1), total
    pivot = next(own for rest, own in terms.items() if rest != 1)
    return pivot, sympy.Add(*(rest * (own / pivot) for rest, own in terms.items()))


def _monic(part: Expr, columns: frozenset[Expr]) -> Expr:
    """Return the same curve with factors without columns drawn out of what holds some."""
    if part.free_symbols.isdisjoint(columns) or not part.args:
        return part
    part = part.func(*(_monic(argument, columns) for argument in part.args))
    if part.is_Pow and part.exp.free_symbols.isdisjoint(columns):
        own, rest = _split(part.base, columns)
        return own**part.exp * rest**part.exp
    if isinstance(part, sympy.log):
        own, rest = _split(part.args[0], columns)
        return sympy.log(own) + sympy.log(rest)
    if isinstance(part, sympy.exp) or part.is_Pow:
        return sympy.expand_power_exp(sympy.expand_mul(part), deep=False)
    if isinstance(part, sympy.sin | sympy.cos):
        own, rest = sympy.expand_mul(part.args[0]).as_independent(*columns, as_Add=True)
        turned, sign = (sympy.cos, 1) if isinstance(part, sympy.sin) else (sympy.sin, -1)
        return part.func(rest) * sympy.cos(own) + sign * turned(rest) * sympy.sin(own)
    return part


def _parts(part: Expr, columns: frozenset[Expr]) -> Iterator[Expr]:
    if part.free_symbols.isdisjoint(columns):
        yield part
    elif isinstance(part, sympy.logic.boolalg.Boolean):
        for argument in part.args:
            yield from _parts(argument, columns)
    else:
        terms = _terms(part, columns)
        yield from terms.values()
        for one, other in itertools.combinations(terms.values(), 2):
            yield sympy.cancel(one / other)
        for factor in itertools.chain.from_iterable(map(sympy.Mul.make_args, terms)):
            for argument in factor.args:
                yield from _parts(argument, columns)
