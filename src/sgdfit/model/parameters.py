"""Parameters: where each starts, within what bounds, fixed or tied to others."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import sympy

from sgdfit.errors import UsageError, did_you_mean
from sgdfit.formula.formula import Formula, symbol, to_text
from sgdfit.formula.parsing import parse_condition, parse_expression, tokenize

Expr = Any  # SymPy ships no types
Assignments = str | Iterable[str] | Mapping[str, Any] | None
Families = Mapping[str, tuple[str, ...]]
T = TypeVar("T")
Bounds = str | Iterable[str] | Mapping[str, tuple[float | None, float | None]] | None

DEFAULT_START = 1.0


@dataclass(frozen=True)
class Parameter:
    """One parameter of a model."""

    name: str
    # Where it starts; the value itself where it is fixed; NaN where it is tied.
    start: float
    # ``given``, ``default 1.0``, ``random``, ``bound`` (moved inside of its bounds), ``fixed`` or
    # ``tied``.
    origin: str
    low: float = -math.inf
    high: float = math.inf
    tie: str | None = None  # the expression of other parameters that it equals

    @property
    def role(self) -> str:
        """``free``, ``fixed`` or ``tied``."""
        return self.origin if self.origin in ("fixed", "tied") else "free"

    @property
    def is_named(self) -> bool:
        """Whether an option names it, so that it is meant: a start, bounds, a value or a tie."""
        bounded = math.isfinite(self.low) or math.isfinite(self.high)
        return bounded or self.origin in ("given", "fixed", "tied")


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

    The formula's own fixed values and starts (a function's bound arguments and defaults) stand
    where nothing else was said. ``start="random"`` draws standard normals from ``seed``; what is
    fixed or tied needs no start, and one that is given is passed over. What contradicts itself or
    the formula raises UsageError.

    Examples
    --------
    >>> from sgdfit.formula.reading import as_formula
    >>> line = as_formula("y = a*x + b")
    >>> declare(line, ["a", "b"], start="a=4", bounds="b > 0")["b"]
    Parameter(name='b', start=1.0, origin='default 1.0', low=0.0, high=inf, tie=None)
    """
    families = _families(formula)
    values = {n: v for n, v in formula.fixed.items() if n in names}
    values |= _numbers(fixed, "the fixed value", names, families)
    ties, limits = _ties(tied, names, values, families), _bounds(bounds, names, families)
    usual, origin = [DEFAULT_START] * len(names), f"default {DEFAULT_START}"
    if isinstance(start, str) and start.strip() == "random":
        usual, origin = np.random.default_rng(seed).standard_normal(len(names)).tolist(), "random"
        given = {}
    else:
        given = {**formula.start, **_numbers(start, "the start", names, families)}
    parameters = {}
    for name, value in zip(names, usual, strict=True):
        low, high = limits.get(name, (-math.inf, math.inf))
        if name in ties and name in limits:
            raise UsageError(
                f"the parameter {name!r} is tied ({name} = {ties[name]}) and bounded; a tie"
                " leaves it no room of its own, so bound what it is tied to"
            )
        said = values if name in values else given
        if name in said and name not in ties and not low <= said[name] <= high:
            raise UsageError(
                f"the {'fixed value' if name in values else 'start'} {name} = {said[name]:g} lies"
                f" outside of its bounds {low:g} to {high:g}"
            )
        if name in ties:
            parameters[name] = Parameter(name, math.nan, "tied", tie=ties[name])
        elif name in values:
            parameters[name] = Parameter(name, values[name], "fixed")
        elif name in given:
            parameters[name] = Parameter(name, given[name], "given", low, high)
        elif low < value < high:
            parameters[name] = Parameter(name, value, origin, low, high)
        else:  # well inside of the bounds
            if math.isfinite(low) and math.isfinite(high):
                value = low + (high - low) / 2
            else:
                value = low + 1 if math.isfinite(low) else high - 1
            parameters[name] = Parameter(name, value, "bound", low, high)
    return parameters


def _families(formula: Formula) -> dict[str, tuple[str, ...]]:
    """Return what stands for all parameters of a column's levels, as ``a`` and ``a[site]`` do."""
    found = formula.families
    return found | {formula.subscripts[name][0]: members for name, members in found.items()}


def _each(pairs: Mapping[str, T], families: Families) -> dict[str, T]:
    """Give what is said of all levels to each; what is said of one level stands."""
    found: dict[str, T] = {}
    for name, value in pairs.items():
        found |= dict.fromkeys(families.get(name, ()), value)
    return found | {name: value for name, value in pairs.items() if name not in families}


def _check_known(name: Any, names: Sequence[str], what: str) -> None:
    if name not in names:
        raise UsageError(
            f"{what} names {name!r}, which is no parameter of the formula (a column of the data is"
            f" none); its parameters are {', '.join(names) or 'none'}."
            f"{did_you_mean(str(name), names)}"
        )


def _pieces(given: Any, what: str) -> list[str]:
    """Cut "a=4, b=5" (or several such texts) at its commas outside of brackets."""
    if given is None:
        return []
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, Iterable):
        raise UsageError(f"{what} is {given!r}; write text such as 'a=4, b=5' or a dict")
    pieces, depth = [""], 0
    for character in ",".join(str(text) for text in texts):
        depth += {"(": 1, ")": -1, "[": 1, "]": -1}.get(character, 0)
        if character == "," and depth == 0:
            pieces.append("")
        else:
            pieces[-1] += character
    return [piece.strip() for piece in pieces if piece.strip()]


def _assignments(
    given: Assignments, what: str, names: Sequence[str], families: Families
) -> dict[str, Any]:
    pairs: dict[str, Any] = {}
    if isinstance(given, Mapping):
        pairs = dict(given)
    else:
        for piece in _pieces(given, what):
            found = re.fullmatch(r"((?:\[[^\]]*\]|[^=\[])*)=(.+)", piece, re.DOTALL)
            name, value = (part.strip() for part in found.groups()) if found else ("", "")
            if not value:
                raise UsageError(f"{what} has {piece!r}; write name=value, as in a=4")
            # As in a formula, what is no identifier stands in backticks.
            tokens = tokenize(name)
            if len(tokens) == 1 and tokens[0].kind != "operator":
                name = tokens[0].text
            if name in pairs:
                raise UsageError(f"{what} names {name!r} twice")
            pairs[name] = value
    known = {*names}
    for name in pairs:
        if name not in families:
            if name not in known:
                _check_known(name, names, what)
        elif [families.get(other) for other in pairs].count(families[name]) > 1:
            raise UsageError(f"{what} names {name!r} twice, with and without its brackets")
    return _each(pairs, families)


def _numbers(
    given: Assignments, what: str, names: Sequence[str], families: Families
) -> dict[str, float]:
    numbers = {}
    for name, value in _assignments(given, what, names, families).items():
        try:
            # A tensor that requires a gradient would warn.
            numbers[name] = float(value.detach() if hasattr(value, "detach") else value)
        except (TypeError, ValueError, OverflowError):
            raise UsageError(f"{what} of {name!r} is {value!r}; a number is needed") from None
        if not math.isfinite(numbers[name]):
            raise UsageError(f"{what} of {name!r} is {numbers[name]}; a finite number is needed")
    return numbers


def _ties(
    given: Assignments, names: Sequence[str], values: Mapping[str, float], families: Families
) -> dict[str, str]:
    ties = {}
    for name, text in _assignments(given, "the tie", names, families).items():
        if name in values:
            raise UsageError(f"the parameter {name!r} is both fixed and tied; keep one of them")
        expression, used = parse_expression(str(text))
        # What has a value for each level as well is meant at the same one.
        own = name.partition("[")[2]
        same = {n: m for n in used for m in families.get(n, ()) if m.partition("[")[2] == own}
        expression = expression.xreplace({symbol(n): symbol(m) for n, m in same.items()})
        used = tuple(same.get(n, n) for n in used)
        for other in used:
            if other in families:
                raise UsageError(
                    f"the tie {name} = {text} names {other!r}, which has a value for each level;"
                    f" name one of them, such as {families[other][0]}"
                )
            _check_known(other, names, f"the tie {name} = {text}")
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


def _bounds(
    given: Bounds, names: Sequence[str], families: Families
) -> dict[str, tuple[float, float]]:
    limits: dict[str, tuple[float, float]] = {}
    if isinstance(given, Mapping):
        pairs = [(n, *_pair(n, pair)) for n, pair in given.items()]
    else:
        pairs = [limit for piece in _pieces(given, "the bound") for limit in _comparisons(piece)]
    for name, low, high in pairs:
        if name not in families:
            _check_known(name, names, "the bound")
        before = limits.get(name, (-math.inf, math.inf))
        limits[name] = (max(low, before[0]), min(high, before[1]))
        if not limits[name][0] < limits[name][1]:  # NaN included
            raise UsageError(
                f"the bounds of {name!r} leave no room between {limits[name][0]:g} and"
                f" {limits[name][1]:g}; to hold it at a value, fix it"
            )
    return _each(limits, families)


def _pair(name: str, pair: Any) -> tuple[float, float]:
    try:
        low, high = pair
        low = -math.inf if low is None else float(low)
        high = math.inf if high is None else float(high)
    except (TypeError, ValueError):
        raise UsageError(
            f"the bound of {name!r} is {pair!r}; give (low, high), None where there is none"
        ) from None
    return low, high


def _comparisons(text: str) -> list[tuple[str, float, float]]:
    sentence, found = f"the bound '{text}' cannot be read; write '0 < b < 10' or 'b > 0'", []
    if "<" not in text and ">" not in text:
        raise UsageError(sentence)
    condition = parse_condition(text)
    for part in condition.args if isinstance(condition, sympy.And) else (condition,):
        compares = part.func in (sympy.Lt, sympy.Le, sympy.Gt, sympy.Ge)
        small, large = (part.lts, part.gts) if compares else (sympy.S.Zero, sympy.S.Zero)
        if small.is_number and large.is_Symbol:
            found.append((large.name, float(small), math.inf))
        elif large.is_number and small.is_Symbol:
            found.append((small.name, -math.inf, float(large)))
        else:
            raise UsageError(sentence)
    return found
