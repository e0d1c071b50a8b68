"""The curve that a model tends to as one of its parameters grows, or shrinks, without end.

A logistic curve becomes a step, a Hill curve too; an exponential with a rate near 0 becomes a line,
and so does a saturation with a large constant. Two ways lead there: parts that take no other values
than 0, 1 and −1 any more, and the first terms of a Taylor series.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import sympy

from sgdfit.formula.evaluation import evaluate
from sgdfit.formula.formula import symbol, to_text
from sgdfit.formula.parsing import parse_expression
from sgdfit.formula.real import Logistic
from sgdfit.model.model import Model
from sgdfit.model.separation import separate

Expr = Any  # SymPy ships no types

# Values that differ by less are the same level; so many derivatives are looked at.
LEVEL, ORDERS = 1e-6, 2


class Asymptote(NamedTuple):
    """A simpler curve."""

    text: str  # as a formula
    curve: Expr
    # What its parameters are of the model's, where they are not those themselves.
    combinations: dict[Expr, Expr]

    def values(self, known: Mapping[str, Any]) -> np.ndarray:
        """Return the curve in each row, where the model has the parameters that are ``known``."""
        return np.asarray(evaluate(self.curve.xreplace(self.combinations), known), dtype=float)

    def described(
        self, names: Sequence[str], known: Mapping[str, float]
    ) -> Iterator[tuple[str, float, np.ndarray]]:
        """Yield what its parameters are of the model's: in words, its value and its slopes."""
        for whole in self.combinations.values():
            slopes = [float(evaluate(whole.diff(symbol(name)), known)) for name in names]
            yield to_text(whole, tuple(names)), float(evaluate(whole, known)), np.array(slopes)


@np.errstate(all="ignore")
def asymptote(
    model: Model, known: Mapping[str, Any], name: str, grows: bool, apart: float
) -> Asymptote | None:
    """Return what the curve tends to as ``name`` goes to ±∞ or, unless it ``grows``, to 0.

    Columns, and all parameters a good way along, are ``known``; there it is at most ``apart`` from
    the curve of the model. None where it has no simple form.
    """
    here = evaluate(model.prediction, known)
    for find in (_saturated, _dominated, _leading, _merged):
        try:
            found = find(model, known, name, grows)
        except TypeError:  # SymPy does not compare with infinity
            continue
        if found is not None and np.abs(found.values(known) - here).max() <= apart:
            return found
    return None


def _saturated(model: Model, known: Mapping[str, Any], name: str, grows: bool) -> Asymptote | None:
    """Replace parts that have become constant, or a step."""
    curve = _shortened(model, model.prediction, name, known)
    return None if symbol(name) in curve.free_symbols else _asymptote(model, curve, {})


def _dominated(model: Model, known: Mapping[str, Any], name: str, grows: bool) -> Asymptote | None:
    """Leave out terms that are nothing beside others; linear parameters take the rest up."""
    parts = separate(model.prediction, model.free)
    curve, combinations = sympy.S.Zero, dict[Expr, Expr]()
    for part in (parts.plain, *parts.components):
        curve += part.offset
        for linear, basis in zip(part.linear, part.basis, strict=True):
            alone, factor = basis, sympy.S.One
            if symbol(name) in basis.free_symbols:
                # By its value in the row in which it is largest, it may have become a step.
                row = int(np.argmax(np.abs(evaluate(basis, known))))
                there = {symbol(n): sympy.nsimplify(float(known[n][row])) for n in model.variables}
                factor = basis.xreplace(there)
                alone = _level(model, basis / factor, known)
            if alone is None:
                short = _shortened(model, basis, name, known)
                usable = (short.subs(symbol(name), k) for k in (0, 1))
                alone = next(filter(_is_usable, usable), sympy.S.One)
                factor = sympy.simplify(short / alone)
            if not factor.free_symbols.isdisjoint(map(symbol, model.variables)):
                return None
            curve += symbol(linear) * alone
            if factor != 1:
                combinations[symbol(linear)] = symbol(linear) * factor
    return None if symbol(name) in curve.free_symbols else _asymptote(model, curve, combinations)


def _is_usable(part: Expr) -> bool:
    return part != 0 and not part.has(sympy.nan, sympy.zoo, sympy.oo)


def _shortened(model: Model, part: Expr, name: str, known: Mapping[str, Any]) -> Expr:
    """Replace what has become a constant or a step, and sums by a term beside which all is nothing.

    What does not depend on the parameter stays.
    """
    if symbol(name) not in part.free_symbols:
        return part
    level = _level(model, part, known)
    if level is not None or not part.args:
        return part if level is None else level
    if part.is_Add or part.is_Mul:
        rest, dependent = part.as_independent(symbol(name))
        level = _level(model, dependent, known)
        if level is not None and part.is_Mul and not any(v.is_positive for v in level.args[1:]):
            rest, level = -rest, _level(model, -dependent, known)
        if level is not None:
            return part.func(rest, level)
    if part.is_Add:
        sizes = [np.abs(np.asarray(evaluate(term, known), dtype=float)) for term in part.args]
        for term, size in zip(part.args, sizes, strict=True):
            if all((other <= LEVEL * size).all() for other in sizes if other is not size):
                return _shortened(model, term, name, known)
    if isinstance(part, Logistic) and (np.asarray(evaluate(part, known)) <= LEVEL).all():
        return sympy.exp(part.args[0])
    return part.func(*(_shortened(model, argument, name, known) for argument in part.args))


def _asymptote(model: Model, curve: Expr, combinations: dict[Expr, Expr]) -> Asymptote:
    text, response = to_text(curve, model.formula.names), model.formula.response
    # Without a column it would be taken for a slip.
    if curve.free_symbols.isdisjoint(map(symbol, model.variables)):
        text += f" + 0*{to_text(symbol(model.variables[0]))}"
    text = text if response is None else f"{to_text(response)} = {text}"
    return Asymptote(text, curve, combinations)


def _level(model: Model, part: Expr, known: Mapping[str, Any]) -> Expr | None:
    """Return the constant −1, 0 or 1 that a part has become, or a step between two of them."""
    held = {s.name for s in part.free_symbols}
    used = [n for n in model.variables if n in held]
    # A level that depends on a linear parameter is one by chance.
    if not used or not held.isdisjoint(model.linear):
        return None
    values = np.asarray(evaluate(part, known), dtype=float)
    levels = np.round(values)
    if not (np.abs(values - levels) <= LEVEL).all() or not (np.abs(levels) <= 1).all():
        return None
    if (levels == levels.flat[0]).all():
        # What is small everywhere may be multiplied by what is large.
        return sympy.Integer(int(levels.flat[0])) or None
    if len(used) > 1:
        return None
    column = np.asarray(known[used[0]], dtype=float)
    order = np.argsort(column, kind="stable")
    steps, column = np.flatnonzero(np.diff(levels[order])), column[order]
    below, above = column[steps[0]], column[steps[0] + 1]
    own, (low, *middle, high) = to_text(symbol(used[0])), levels[order][[0, *steps[1:], -1]]
    if len(middle) == 1 and low == high and above == column[steps[1]] < column[steps[1] + 1]:
        text = f"where({own} == {float(above)!r}, {int(middle[0])}, {int(low)})"
        return parse_expression(text)[0]
    if middle or below == above:
        return None
    names = (s.name for s in part.free_symbols)
    breaks = (n for n in sorted(names) if n not in used and below < known[n] <= above)
    at = next((to_text(symbol(n)) for n in breaks), f"{below / 2 + above / 2:.6g}")
    return parse_expression(f"where({own} < {at}, {int(low)}, {int(high)})")[0]


def _leading(model: Model, known: Mapping[str, Any], name: str, grows: bool) -> Asymptote | None:
    """Return what is left of the Taylor series of a component about 0, or about ∞."""
    parts, small = separate(model.prediction, model.free), sympy.Symbol("#", positive=True)
    part = next((part for part in parts.components if name in part.names), None)
    if part is None or symbol(name) in part.offset.free_symbols:
        return None
    others = [other for other in (parts.plain, *parts.components) if other is not part]
    curve = part.offset + sum((other.offset for other in others), sympy.S.Zero)
    fixed = {b: n for other in others for n, b in zip(other.linear, other.basis, strict=True)}
    combinations: dict[Expr, Expr] = {}
    for linear, basis in zip(part.linear, part.basis, strict=True):
        term = basis.xreplace({symbol(name): 1 / small if grows else small})
        term = sympy.cancel(sympy.together(term)) if grows else term
        series = [term.diff(small, k).subs(small, 0) for k in range(ORDERS + 1)]
        if not all(term == 0 or _is_usable(term) for term in series):
            return None
        k = next((k for k in range(1, ORDERS + 1) if series[k] != 0), None)
        amplitude = symbol(linear)
        along = 1 if series[0] == 0 else next((b for b in fixed if (series[0] / b).is_number), None)
        if k is None or along is None:
            curve += amplitude * series[0]
            continue
        if series[0] != 0:
            intercept = symbol(fixed[along])
            combinations[intercept] = intercept + series[0] / along * amplitude
        curve += amplitude * series[k]
        power = symbol(name) ** (-k if grows else k)
        combinations[amplitude] = amplitude * power / sympy.factorial(k)
    curve += sum((symbol(n) * b for b, n in fixed.items()), sympy.S.Zero)
    return _asymptote(model, curve, combinations)


def _merged(model: Model, known: Mapping[str, Any], name: str, grows: bool) -> Asymptote | None:
    """Return what is left of two terms of one form whose nonlinear parameters become equal."""
    parts = separate(model.prediction, model.free).components
    for one, other in itertools.combinations(parts, 2):
        if one.shape != other.shape or len(one.names) != 1 or len(one.linear) != 1 or one.offset:
            continue
        (k, a), (m, b) = ((symbol(p.names[0]), symbol(p.linear[0])) for p in (one, other))
        basis = one.basis[0]
        curve = model.prediction - b * other.basis[0] + b * basis.diff(k)
        return _asymptote(model, curve, {a: a + b, b: (b - a) * (m - k) / 2, k: (k + m) / 2})
    return None
