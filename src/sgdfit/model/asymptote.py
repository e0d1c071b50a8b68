"""The curve that a model tends to as one of its parameters grows, or shrinks, without end.

A logistic curve becomes a step, a Hill curve too; an exponential with a rate near 0 becomes a line,
and so does a saturation with a large constant. Two ways lead there: parts that take no other values
than 0, 1 and −1 any more, and the first terms of a Taylor series.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import sympy

from sgdfit.formula.evaluation import evaluate
from sgdfit.formula.formula import symbol, to_text
from sgdfit.formula.parsing import parse_expression
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
def asymptote(model: Model, known: Mapping[str, Any], name: str, grows: bool) -> Asymptote | None:
    """Return what the curve tends to as ``name`` goes to ±∞ or, unless it ``grows``, to 0.

    Columns, and all parameters a good way along, are ``known``. None where that has no simple form.
    """
    found = _saturated(model, model.prediction, name, known)
    if symbol(name) not in found.free_symbols:
        return _asymptote(model, found, {})
    return _leading(model, name, grows)


def _asymptote(model: Model, curve: Expr, combinations: dict[Expr, Expr]) -> Asymptote:
    text, response = to_text(curve, model.formula.names), model.formula.response
    # Without a column it would be taken for a slip.
    if curve.free_symbols.isdisjoint(map(symbol, model.variables)):
        text += f" + 0*{to_text(symbol(model.variables[0]))}"
    text = text if response is None else f"{to_text(response)} = {text}"
    return Asymptote(text, curve, combinations)


def _saturated(model: Model, part: Expr, name: str, known: Mapping[str, Any]) -> Expr:
    """Replace what depends on a parameter and has become a constant, or a step of a column."""
    if symbol(name) not in part.free_symbols:
        return part
    if part.is_Add or part.is_Mul:
        rest, dependent = part.as_independent(symbol(name))
        level = _level(model, dependent, known)
        if level is not None:
            return part.func(rest, level)
    level = _level(model, part, known)
    if level is not None or not part.args:
        return part if level is None else level
    return part.func(*(_saturated(model, argument, name, known) for argument in part.args))


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
        return sympy.Integer(int(levels.flat[0]))
    if len(used) > 1:
        return None
    column = np.asarray(known[used[0]], dtype=float)
    order = np.argsort(column, kind="stable")
    steps = np.flatnonzero(np.diff(levels[order]))
    below, above = column[order][steps[0]], column[order][steps[0] + 1]
    if len(steps) > 1 or below == above:
        return None
    names = (s.name for s in part.free_symbols)
    breaks = (n for n in sorted(names) if n not in used and below < known[n] <= above)
    at = next((to_text(symbol(n)) for n in breaks), f"{below / 2 + above / 2:.6g}")
    low, high = (int(levels[order][i]) for i in (0, -1))
    step, _ = parse_expression(f"where({to_text(symbol(used[0]))} < {at}, {low}, {high})")
    return step


def _leading(model: Model, name: str, grows: bool) -> Asymptote | None:
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
        if any(t.has(sympy.nan, sympy.zoo, sympy.oo) for t in series):
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
        combinations[amplitude] = amplitude * symbol(name) ** (-k if grows else k)
    curve += sum((symbol(n) * b for b, n in fixed.items()), sympy.S.Zero)
    return _asymptote(model, curve, combinations)
