"""The curve that a model tends to as one of its parameters grows, or shrinks, without end.

Or that it is on the edge of its domain, where the root of a row is 0.

A logistic curve becomes a step, a Hill curve too; an exponential with a rate near 0 becomes a line,
and so does a saturation with a large constant. Two ways lead there: parts that take no other values
than 0, 1 and −1 any more, and the first terms of a Taylor series.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import sympy
from sympy.codegen.cfunctions import log1p

from sgdfit.formula.evaluation import evaluate
from sgdfit.formula.formula import symbol, to_text
from sgdfit.formula.parsing import parse_expression
from sgdfit.formula.real import Erfcx, Logistic, Where
from sgdfit.model.model import Model
from sgdfit.model.separation import separate, solutions

Expr = Any  # SymPy ships no types

# Values that differ by less are the same level, or may be, which a fit of it shows; so many
# derivatives are looked at.
LEVEL, LIKE_LEVEL, ORDERS = 1e-6, 1e-2, 2
# What goes to 0 on the way to a limit.
VANISHING = sympy.Symbol("#", positive=True)
ANY, OTHER = sympy.symbols("ANY, OTHER", cls=sympy.Wild)


class Asymptote(NamedTuple):
    """A simpler curve."""

    text: str  # as a formula
    curve: Expr
    # What its parameters are of the model's, where they are not those themselves.
    combinations: dict[Expr, Expr]

    def whole(self, name: str) -> Expr:
        """Return what a parameter is of the model's."""
        return self.combinations.get(symbol(name), symbol(name))

    def values(self, known: Mapping[str, Any]) -> np.ndarray:
        """Return the curve in each row, where the model has the parameters that are ``known``."""
        return np.asarray(evaluate(self.curve.xreplace(self.combinations), known), dtype=float)


@np.errstate(all="ignore")
def asymptote(
    model: Model, known: Mapping[str, Any], name: str, apart: float, level: float = LEVEL
) -> Asymptote | None:
    """Return what the curve tends to as ``name`` goes on, where parts become constants or steps.

    Columns, and all parameters a good way along, are ``known``; there it is at most ``apart`` from
    the curve of the model. Values that differ by less than ``level`` are the same.
    """
    here = evaluate(model.prediction, known)
    for find in (_saturated, _dominated):
        try:
            found = find(_Place(model, known, level), name)
        except TypeError:  # SymPy does not compare with infinity
            continue
        if found is not None and np.abs(found.values(known) - here).max() <= apart:
            return found
    return None


class _Place(NamedTuple):
    model: Model
    known: Mapping[str, Any]  # the columns and parameters there
    level: float  # values that differ by less are the same


def _saturated(place: _Place, name: str) -> Asymptote | None:
    """Replace parts that have become constant, or a step."""
    curve = _shortened(place, place.model.prediction, name)
    return None if symbol(name) in curve.free_symbols else _asymptote(place.model, curve, {})


def _dominated(place: _Place, name: str) -> Asymptote | None:
    """Leave out terms that are nothing beside others; linear parameters take the rest up."""
    model, known = place.model, place.known
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
                alone = _level(place, basis / factor)
            if alone is None:
                short = _shortened(place, basis, name)
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
    return part != 0 and _is_finite(part)


def _is_finite(part: Expr) -> bool:
    return not sympy.sympify(part).has(sympy.nan, sympy.zoo, sympy.oo)


def _shortened(place: _Place, part: Expr, name: str) -> Expr:
    """Replace what has become a constant or a step, and sums by a term beside which all is nothing.

    What does not depend on the parameter stays.
    """
    if symbol(name) not in part.free_symbols:
        return part
    level = _level(place, part)
    if level is not None or not part.args:
        return part if level is None else level
    if part.is_Add or part.is_Mul:
        rest, dependent = part.as_independent(symbol(name))
        level = _level(place, dependent)
        if level is not None and part.is_Mul and not any(v.is_positive for v in level.args[1:]):
            rest, level = -rest, _level(place, -dependent)
        if level is not None:
            return part.func(rest, level)
    if part.is_Add:
        sizes = [np.abs(np.asarray(evaluate(term, place.known), dtype=float)) for term in part.args]
        for term, size in zip(part.args, sizes, strict=True):
            if all((other <= place.level * size).all() for other in sizes if other is not size):
                return _shortened(place, term, name)
    if isinstance(part, Logistic) and np.max(evaluate(part, place.known)) <= place.level:
        return sympy.exp(part.args[0])
    return part.func(*(_shortened(place, argument, name) for argument in part.args))


def _asymptote(model: Model, curve: Expr, combinations: dict[Expr, Expr]) -> Asymptote:
    text, response = to_text(curve, model.formula.names), model.formula.response
    # Without a column it would be taken for a slip.
    if curve.free_symbols.isdisjoint(map(symbol, model.variables)):
        text += f" + 0*{to_text(symbol(model.variables[0]))}"
    text = text if response is None else f"{to_text(response)} = {text}"
    return Asymptote(text, curve, combinations)


def _level(place: _Place, part: Expr) -> Expr | None:
    """Return the constant −1, 0 or 1 that a part has become, or a step between two of them."""
    model, known = place.model, place.known
    held = {s.name for s in part.free_symbols}
    used = [n for n in model.variables if n in held]
    # A level that depends on a linear parameter is one by chance.
    if not used or not held.isdisjoint(model.linear):
        return None
    values = np.asarray(evaluate(part, known), dtype=float)
    levels = np.round(values)
    if not (np.abs(values - levels) <= place.level).all() or not (np.abs(levels) <= 1).all():
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


def leading(model: Model, way: Way) -> Asymptote | None:
    """Return what is left, along a way, of the Laurent series of a component."""
    parts = separate(model.prediction, model.free)
    moving = {s.name for s in way.at}
    part = next((part for part in parts.components if moving.issubset(part.names)), None)
    if part is None:
        return None
    others = [other for other in (parts.plain, *parts.components) if other is not part]
    curve = sum((other.offset for other in others), sympy.S.Zero)
    fixed = {b: n for other in others for n, b in zip(other.linear, other.basis, strict=True)}
    combinations = dict(way.combinations)
    amplitudes = [*map(symbol, part.linear), sympy.S.One]
    for amplitude, basis in zip(amplitudes, (*part.basis, part.offset), strict=True):
        for size, shape in _terms(model, basis, way) if basis != 0 else ():
            along = next((b for b in fixed if (shape / b).is_number), None)
            whole = way.back(amplitude * size)
            if along is None:
                if amplitude == 1 and size.has(VANISHING):
                    return None
                combinations[amplitude] = whole
                curve += (size if amplitude == 1 else amplitude) * shape
                break
            taken = symbol(fixed[along])
            combinations[taken] = combinations.get(taken, taken) + shape / along * whole
        else:
            if basis != 0:
                return None
    curve += sum((symbol(n) * b for b, n in fixed.items()), sympy.S.Zero)
    curve = _as_powers(curve)
    # To a constant, or to no parameter, a curve tends on flat ground.
    if any(curve.free_symbols.isdisjoint(map(symbol, n)) for n in (model.free, model.variables)):
        return None
    changed = {n: whole for n, whole in combinations.items() if n.is_Symbol and whole != n}
    # What is reached where something is 0 is no limit.
    if not changed and _is_finite(model.prediction.xreplace(dict.fromkeys(way.at, sympy.S.Zero))):
        return None
    return _asymptote(model, curve, changed)


def _terms(model: Model, basis: Expr, way: Way) -> list[tuple[Expr, Expr]]:
    """Return a basis function as its largest terms, each a size times a function of columns."""
    columns = [symbol(n) for n in model.variables]
    part = sympy.expand_mul(_analytic(basis.xreplace(way.at)), deep=False)
    constant, part = part.as_independent(*columns, as_Add=True)
    factor, part = part.as_independent(*columns, as_Add=False)
    terms = list[tuple[Expr, Expr]]()
    rest, exponent = sympy.S.One, sympy.S.Zero
    for power in sympy.Mul.make_args(part):
        if isinstance(power, sympy.exp):
            exponent += power.args[0]
        else:
            rest *= power
    # What of an exponent does not depend on the columns may grow: it is a factor.
    for origin in (0, *(exponent.subs(dict.fromkeys(columns, value)) for value in (0, 1))):
        powers = _coefficients(exponent - origin) if _is_finite(origin) else None
        if powers is not None and min(powers, default=0) >= 0:
            break
    else:
        return []
    tidied = (sympy.factor(c) * VANISHING**k for k, c in powers.items())
    rest *= sympy.exp(sum(tidied, sympy.S.Zero))
    for k, coefficient in sorted((_coefficients(rest) or {}).items()):
        tidy = sympy.factor if coefficient.is_Add else sympy.factor_terms
        size, shape = tidy(coefficient).as_independent(*columns, as_Add=False)
        size *= factor * sympy.exp(origin) * VANISHING**k
        if shape == 1 and not size.has(VANISHING):
            constant += size  # of 1 - 1/(1 + x*#) nothing is left
        else:
            terms.append((size, shape))
    return [(constant, sympy.S.One), *terms] if sympy.expand(constant) != 0 else terms


def _coefficients(part: Expr) -> dict[int, Expr] | None:
    """Return the first terms of a Laurent series that are not 0, None where it has none."""
    terms = sympy.Add.make_args(_distributed(part))
    for pole in range(ORDERS + 1):
        raised, found = sympy.Add(*(term * VANISHING**pole for term in terms)), dict[int, Expr]()
        for k in range(pole + ORDERS + 1):
            try:
                value = raised.subs(VANISHING, 0)
            except TypeError:  # SymPy does not compare with infinity
                return None
            if not _is_finite(value):
                break
            found[k - pole] = value / sympy.factorial(k)
            raised = raised.diff(VANISHING)
        else:
            return {k: term for k, term in found.items() if sympy.expand(term) != 0}
    return None


def _distributed(part: Expr) -> Expr:
    """Multiply the numerators of a sum out, and nothing within."""
    fractions = map(sympy.fraction, sympy.Add.make_args(part))
    split = ((sympy.expand_mul(above, deep=False), below) for above, below in fractions)
    return sympy.Add(*(t / below for above, below in split for t in sympy.Add.make_args(above)))


def _analytic(part: Expr) -> Expr:
    """Write powers, logarithms and roots so that they have a Laurent series in what vanishes."""
    if isinstance(part, Logistic):
        part = 1 / (1 + sympy.exp(-part.args[0]))
    elif isinstance(part, log1p):
        part = sympy.log(1 + part.args[0])
    elif part.is_Pow and part.exp.free_symbols:
        part = sympy.exp(_analytic(part.exp) * _analytic(sympy.log(part.base)))
    args = [_analytic(arg) for arg in part.args]
    if isinstance(part, sympy.exp):
        # Of the square of a sum with a pole only some terms have one.
        return sympy.exp(_distributed(sympy.expand_multinomial(args[0])))
    if isinstance(part, sympy.erfc | Erfcx):
        for k in range(1, ORDERS + 1):
            finite = sympy.cancel(sympy.together(args[0] * VANISHING**k))
            if _is_usable(finite.subs(VANISHING, 0)):
                # Abramowitz & Stegun 7.1.23, where the argument is above 0, which a fit shows.
                tail = VANISHING**k / finite / sympy.sqrt(sympy.pi)
                is_scaled = isinstance(part, Erfcx)
                return tail if is_scaled else tail * sympy.exp(sympy.expand(-(args[0] ** 2)))
    is_log = isinstance(part, sympy.log)
    if is_log:
        if isinstance(args[0], sympy.exp):
            return args[0].args[0]
        split = sympy.expand_log(sympy.log(args[0]), force=True)
        if split.is_Add:
            return sympy.Add(*map(_analytic, split.args))
    if is_log or (part.is_Pow and not (part.exp.is_integer and part.exp.is_positive)):
        for k in sorted(range(-ORDERS, ORDERS + 1), key=abs):
            finite = sympy.cancel(sympy.together(args[0] * VANISHING**k)) if k else args[0]
            if not _is_usable(finite.subs(VANISHING, 0)):
                continue
            if is_log:
                return sympy.log(finite) - k * sympy.log(VANISHING)
            return finite**part.exp * VANISHING ** (-k * part.exp)
    return part.func(*args) if args else part


class Way(NamedTuple):
    """How parameters go to a limit together, as something vanishes."""

    at: dict[Expr, Expr]  # what they are on the way
    vanishing: Expr  # what vanishes, of the model's parameters
    ends: dict[str, str]  # whereto they go: another, 0 or ∞
    combinations: dict[Expr, Expr]  # what those that stay finite are of the model's

    def told(self, known: Mapping[str, Any]) -> tuple[str, ...]:
        """Say whereto parameters go, which are ``known`` on the way."""
        minus = {n: "−" if end == "∞" and known[n] < 0 else "" for n, end in self.ends.items()}
        return tuple(f"{n} → {minus[n]}{end}" for n, end in self.ends.items())

    def back(self, part: Expr) -> Expr:
        """Return the same, of the model's parameters."""
        own = {VANISHING: self.vanishing, **self.combinations}
        part = sympy.expand_log(part.subs(own, simultaneous=True), force=True)
        part = sympy.powsimp(part, force=True)
        return _as_powers(part)


def _as_powers(part: Expr) -> Expr:
    return part.replace(sympy.exp(ANY * sympy.log(OTHER)), OTHER**ANY)


def along(model: Model, powers: Mapping[str, int]) -> list[Way]:
    """Return ways on which parameters are these powers of one that grows, or with -1 shrinks.

    That one is the first, with the power 1 or -1; all others stay as they are. Or, where it is
    itself raised to a power, that shrinks.
    """
    if not powers:
        return []
    lead, *others = powers
    own, small = symbol(lead), symbol(lead) ** -powers[lead]
    ends = {n: "∞" if power > 0 else "0" for n, power in powers.items()}
    at = {symbol(n): symbol(n) * VANISHING ** -powers[n] for n in others}
    finite = {symbol(n): symbol(n) * small ** powers[n] for n in others}
    ways = [Way({own: VANISHING ** -powers[lead], **at}, small, ends, finite)]
    exponents = {part.exp for part in model.formula.expression.atoms(sympy.Pow) if not others}
    for p in exponents.intersection(map(symbol, model.free)) - {own}:
        ways += [Way({own: VANISHING ** (s / p)}, own ** (s * p), ends, {}) for s in (-1, 1)]
    return ways


def merging(one: str, other: str) -> Way:
    """Return the way on which two parameters become equal."""
    first, last = symbol(one), symbol(other)
    middle = {last: (first + last) / 2}
    return Way({first: last + VANISHING}, first - last, {one: other}, middle)


@np.errstate(all="ignore")
def on_edge(
    model: Model,
    columns: Mapping[str, np.ndarray],
    here: Mapping[str, float],
    there: Mapping[str, float],
) -> Model | None:
    """Return the model with one parameter tied so that a row's root is 0, which has no slope there.

    It is the smallest root ``here`` that has no value ``there``; None where there is no such one,
    or no unbounded parameter can be solved for.

    Examples
    --------
    >>> from sgdfit.model.model import build
    >>> model = build("y = a*sqrt(x - m)", ["x", "y"])
    >>> x, here = {"x": np.array([1.0, 2.0])}, {"a": 1.0, "m": 0.9}
    >>> found = on_edge(model, x, here, here | {"m": 1.1})
    >>> found.parameters["m"].tie, str(found.formula)
    ('1.0', 'y = a*where(x == 1.0, 0, sqrt(x - m))')
    """
    formula, known = model.formula, {**columns, **here}
    rows, crossed = len(next(iter(columns.values()))), list[tuple[float, int, Expr]]()
    for part in formula.expression.atoms(sympy.Pow):
        if part.exp.is_Integer or not np.all(evaluate(part.exp, known) > 0):
            continue
        near, far = (evaluate(part.base, at) for at in (known, {**columns, **there}))
        gaps = np.broadcast_to(np.where((near >= 0) & (far <= 0), near, np.inf), rows)
        crossed.append((float(gaps.min()), int(gaps.argmin()), part))
    least, row, root = min(crossed, key=lambda one: one[0], default=(np.inf, 0, sympy.S.One))
    if not np.isfinite(least):
        return None
    held = {symbol(n): sympy.Float(float(columns[n][row])) for n in columns}
    held = {column: held[column] for column in held if root.base.has(column)}
    found = list[tuple[int, float, str, Expr]]()
    for name in model.free:
        own, parameter = symbol(name), model.parameters[name]
        if root.base.has(own) and parameter.low == -np.inf and parameter.high == np.inf:
            solved = solutions(root.base.xreplace(held), own, sympy.S.Zero) or ()
            apart = (abs(float(evaluate(value, known)) - here[name]) for value in solved)
            found += [(len(solved), gap, name, v) for gap, v in zip(apart, solved, strict=True)]
    if not found:
        return None
    _, _, name, value = min(found, key=lambda one: one[:2])
    on_row = sympy.And(*(sympy.Eq(column, number) for column, number in held.items()))
    masked = formula.expression.xreplace({root: Where(on_row, sympy.S.Zero, root)})
    tied = replace(model.parameters[name], start=np.nan, origin="tied", tie=to_text(value))
    formula = replace(formula, text=None, expression=masked)
    return replace(model, formula=formula, parameters=model.parameters | {name: tied})
