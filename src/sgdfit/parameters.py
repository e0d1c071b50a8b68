"""Parameters: where each starts, within what bounds, fixed or tied to others."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy

from sgdfit.errors import UsageError, did_you_mean
from sgdfit.formula import Formula, symbol, to_text
from sgdfit.parsing import parse_condition, parse_expression

__all__ = ["Parameter", "declare"]

Expr = Any  # SymPy ships no types
Assignments = str | Iterable[str] | Mapping[str, Any] | None
Bounds = str | Iterable[str] | Mapping[str, tuple[float | None, float | None]] | None

DEFAULT_START = 1.0


@dataclass(frozen=True)
class Parameter:
    """One parameter of a model.

    Attributes
    ----------
    name : str
        Its name in the formula.
    start : float
        Where it starts; the value itself where it is fixed; NaN where it is tied.
    origin : str
        Where the start came from: ``given``, ``default 1.0``, ``random``, ``fixed`` or ``tied``.
    low, high : float
        Bounds, infinite where there are none.
    tie : str or None
        The expression of other parameters that it equals.
    """

    name: str
    start: float
    origin: str
    low: float = -math.inf
    high: float = math.inf
    tie: str | None = None

    @property
    def role(self) -> str:
        """``free``, ``fixed`` or ``tied``."""
        return self.origin if self.origin in ("fixed", "tied") else "free"


def declare(
    formula: Formula,
    names: Sequence[str],
    *,
    start: Assignments = None,
    bounds: Bounds = None,
    fixed: Assignments = None,
    tied: Assignments = None,
    seed: int = 0,
) -> dict[str, Parameter]:
    """Return every parameter in ``names``, in that order, with what was said of it.

    Parameters
    ----------
    formula : Formula
        Its own fixed values and starts (a function's bound arguments and defaults) stand where
        nothing else was said.
    names : sequence of str
        The names of the formula that are no columns.
    start, fixed : mapping or text
        ``{"a": 4}`` or ``"a=4, b=5"``; ``start="random"`` draws standard normals from ``seed``.
    bounds : mapping or text
        ``{"b": (0, 10)}`` (None: no bound) or ``"0 < b < 10"``.
    tied : mapping or text
        ``{"d": "2*a"}`` or ``"d = 2*a"``.

    Raises
    ------
    UsageError
        When a name is no parameter, a value is no finite number, a parameter is both fixed and
        tied, a tie is circular, or a start lies outside of its bounds.

    Examples
    --------
    >>> from sgdfit.formula import as_formula
    >>> line = as_formula("y = a*x + b")
    >>> declare(line, ["a", "b"], start="a=4", bounds="b > 0")["b"]
    Parameter(name='b', start=1.0, origin='default 1.0', low=0.0, high=inf, tie=None)
    """
    values = {**formula.fixed, **_numbers(fixed, "fixed", names)}
    ties = _ties(tied, names, values)
    limits = _bounds(bounds, names)
    drawn = _random(names, seed) if start == "random" else {}
    given = {} if drawn else {**formula.start, **_numbers(start, "start", names)}
    parameters = {}
    for name in names:
        low, high = limits.get(name, (-math.inf, math.inf))
        if name in ties:
            parameters[name] = Parameter(name, math.nan, "tied", tie=ties[name])
        elif name in values:
            parameters[name] = Parameter(name, values[name], "fixed")
        elif name in given:
            _check_inside(name, given[name], low, high)
            parameters[name] = Parameter(name, given[name], "given", low, high)
        else:
            value = min(max(drawn.get(name, DEFAULT_START), low), high)
            origin = "random" if drawn else f"default {DEFAULT_START}"
            origin = origin if value in (drawn.get(name), DEFAULT_START) else "bound"
            parameters[name] = Parameter(name, value, origin, low, high)
    return parameters


def _random(names: Sequence[str], seed: int) -> dict[str, float]:
    normal = np.random.default_rng(seed).standard_normal(len(names))
    return dict(zip(names, map(float, normal), strict=True))


def _known(name: str, names: Sequence[str], what: str) -> None:
    if name not in names:
        raise UsageError(
            f"{what} names {name!r}, which is no parameter of the formula;"
            f" its parameters are {', '.join(names) or 'none'}.{did_you_mean(name, names)}"
        )


def _pieces(given: Assignments | Bounds) -> list[str]:
    """Cut "a=4, b=5" (or several such texts) at its commas outside of brackets."""
    texts = [given] if isinstance(given, str) else list(given or ())
    pieces, depth = [""], 0
    for character in ",".join(str(text) for text in texts):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and depth == 0:
            pieces.append("")
        else:
            pieces[-1] += character
    return [piece.strip() for piece in pieces if piece.strip()]


def _assignments(given: Assignments, what: str, names: Sequence[str]) -> dict[str, Any]:
    pairs: dict[str, Any] = {}
    if isinstance(given, Mapping):
        pairs = dict(given)
    else:
        for piece in _pieces(given):
            name, sign, value = (part.strip() for part in piece.partition("="))
            if not sign or not value:
                raise UsageError(f"{what} has {piece!r}; write name=value, as in a=4")
            if name in pairs:
                raise UsageError(f"{what} names {name!r} twice")
            pairs[name] = value
    for name in pairs:
        _known(name, names, what)
    return pairs


def _numbers(given: Assignments, what: str, names: Sequence[str]) -> dict[str, float]:
    return {
        name: _finite(value, f"{what} of {name!r}")
        for name, value in _assignments(given, what, names).items()
    }


def _finite(value: Any, what: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise UsageError(f"the {what} is {value!r}; a number is needed") from None
    if not math.isfinite(number):
        raise UsageError(f"the {what} is {number}; a finite number is needed")
    return number


def _ties(given: Assignments, names: Sequence[str], values: Mapping[str, float]) -> dict[str, str]:
    ties = {}
    for name, text in _assignments(given, "the tie", names).items():
        if name in values:
            raise UsageError(f"the parameter {name!r} is both fixed and tied; keep one of them")
        expression, used = parse_expression(str(text))
        for other in used:
            _known(other, names, f"the tie {name} = {text}")
        ties[name] = to_text(expression, used)
    resolve_ties(ties)
    return ties


def resolve_ties(ties: Mapping[str, str]) -> dict[str, Expr]:
    """Return each tie as an expression of parameters that are not tied themselves."""
    resolved = {symbol(name): parse_expression(text)[0] for name, text in ties.items()}
    for _ in resolved:
        resolved = {s: e.subs(resolved, simultaneous=True) for s, e in resolved.items()}
    circular = [s.name for s, e in resolved.items() if e.free_symbols & set(resolved)]
    if circular:
        raise UsageError(f"the ties of {', '.join(circular)} go round in a circle")
    return {s.name: e for s, e in resolved.items()}


def _bounds(given: Bounds, names: Sequence[str]) -> dict[str, tuple[float, float]]:
    limits: dict[str, tuple[float, float]] = {}
    if isinstance(given, Mapping):
        pairs = [(n, *_pair(n, pair)) for n, pair in given.items()]
    else:
        pairs = [limit for piece in _pieces(given) for limit in _comparison(piece)]
    for name, low, high in pairs:
        _known(name, names, "the bound")
        before = limits.get(name, (-math.inf, math.inf))
        limits[name] = (max(low, before[0]), min(high, before[1]))
        if not limits[name][0] < limits[name][1]:
            raise UsageError(
                f"the bounds of {name!r} leave no room between {limits[name][0]:g} and"
                f" {limits[name][1]:g}; to hold it at a value, fix it"
            )
    return limits


def _pair(name: str, pair: Any) -> tuple[float, float]:
    try:
        low, high = pair
    except (TypeError, ValueError):
        raise UsageError(f"the bound of {name!r} is {pair!r}; give (low, high)") from None
    low = -math.inf if low is None else float(low)
    high = math.inf if high is None else float(high)
    if math.isnan(low) or math.isnan(high):
        raise UsageError(f"the bound of {name!r} is {pair!r}; NaN is no bound")
    return low, high


def _comparison(text: str) -> list[tuple[str, float, float]]:
    condition = parse_condition(text)
    parts = condition.args if isinstance(condition, sympy.And) else (condition,)
    return [_one_comparison(part, text) for part in parts]


def _one_comparison(part: Expr, text: str) -> tuple[str, float, float]:
    if part.func in (sympy.Lt, sympy.Le, sympy.Gt, sympy.Ge):
        small, large = part.lts, part.gts
        if small.is_number and large.is_Symbol:
            return large.name, float(small), math.inf
        if large.is_number and small.is_Symbol:
            return small.name, -math.inf, float(large)
    raise UsageError(f"the bound '{text}' cannot be read; write '0 < b < 10' or 'b > 0'")


def _check_inside(name: str, start: float, low: float, high: float) -> None:
    if not low <= start <= high:
        raise UsageError(
            f"the start {name} = {start:g} lies outside of its bounds {low:g} to {high:g}"
        )
