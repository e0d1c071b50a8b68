"""Values of an expression on whole columns, by walking its tree with NumPy or torch.

Slower than a kernel and made differently on purpose: it is the kernels' oracle, it lets torch
differentiate a model by itself, and it finds where a formula leaves its domain. A branch of
``where`` is computed for its own rows alone, so ``where(x > 0, log(x), 0)`` has no hidden NaN.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from functools import cache, reduce
from typing import Any, NamedTuple

import numpy as np
import sympy
from sympy.codegen import cfunctions

from sgdfit.formula import real
from sgdfit.formula.formula import to_text
from sgdfit.formula.functions import FUNCTIONS, by_class

Expr = Any  # SymPy ships no types
Array = Any  # a NumPy array, a torch tensor or a number
Observer = Callable[[Expr, list[Array], Array, Any], None]

_OPERATORS: dict[Any, Callable[[Array, Array], Array]] = {
    sympy.Add: operator.add, sympy.Mul: operator.mul,
    sympy.And: operator.and_, sympy.Or: operator.or_,
    sympy.Gt: operator.gt, sympy.Ge: operator.ge, sympy.Lt: operator.lt, sympy.Le: operator.le,
    sympy.Eq: operator.eq, sympy.Ne: operator.ne,
}  # fmt: skip
_ROOTS = {sympy.S.Half, -sympy.S.Half}
_POLE_AT_ZERO = (sympy.Pow, sympy.log, cfunctions.log2, cfunctions.log10, sympy.cot, sympy.coth)


class DomainError(NamedTuple):
    """The first row in which an expression has no finite value."""

    row: int  # counted from 0
    subexpression: str  # the innermost part that is not finite although what it is made of is
    arguments: tuple[float, ...]  # what that part was given
    kind: str  # "nan" (log of a negative number), "pole" (1/0, log of 0) or "overflow"
    names: dict[str, float]  # the variables and parameters in that part, in that row


def evaluate(expression: Expr, values: Mapping[str, Array], backend: str = "numpy") -> Array:
    """Return the value of ``expression`` in each row: shape (rows,), or a scalar.

    ``values`` has an array of shape (rows,) for each variable and a number (or a scalar tensor)
    for each parameter; ``backend`` says whose arrays they are, "numpy" or "torch".

    Examples
    --------
    >>> x, a = sympy.symbols("x a")
    >>> evaluate(a * x**2 + 1, {"x": np.array([1.0, 2.0]), "a": 3.0})
    array([ 4., 13.])
    """
    if expression.is_Symbol:  # most responses
        return _named(expression, values)
    with np.errstate(all="ignore"):
        return _Walk(values, backend).value(expression)


def find_domain_error(
    expression: Expr, values: Mapping[str, np.ndarray[Any, Any] | float]
) -> DomainError | None:
    """Return the first row in which a part of ``expression`` is not finite, and why.

    A part counts only where everything that it is made of is finite, and, inside ``where``, only
    in the rows that take its branch.

    Examples
    --------
    >>> find_domain_error(sympy.log(sympy.Symbol("x")), {"x": np.array([1.0, -2.0])})
    DomainError(row=1, subexpression='log(x)', arguments=(-2.0,), kind='nan', names={'x': -2.0})
    """
    found: list[DomainError] = []

    def observe(part: Expr, arguments: list[Array], result: Array, rows: Any) -> None:
        bad = ~np.isfinite(result)
        for argument in arguments:
            bad = bad & np.isfinite(argument)
        if not np.any(bad):
            return
        at = int(np.argmax(bad))
        row = at if rows is None else int(rows[at])
        if not found or row < found[0].row:
            shown = arguments[:1] if part.is_Pow and part.exp.is_number else arguments
            given = tuple(_at(argument, at) for argument in shown)
            names = {s.name: _at(values[s.name], row) for s in part.free_symbols}
            kind = _kind(part.func, given, _at(result, at))
            found[:] = [DomainError(row, to_text(part), given, kind, dict(sorted(names.items())))]

    with np.errstate(all="ignore"):
        _Walk(values, "numpy", observe).value(expression)
    return found[0] if found else None


def _at(value: Array, row: int) -> float:
    return float(value) if np.ndim(value) == 0 else float(value[row])


def _kind(function: Any, arguments: tuple[float, ...], result: float) -> str:
    if np.isnan(result):
        return "nan"
    pole = (
        (function in _POLE_AT_ZERO and arguments[0] == 0)
        or (function in (sympy.atanh, cfunctions.log1p) and abs(arguments[0]) == 1)
        or (function is real.Xlogy and arguments[1] == 0)
    )
    return "pole" if pole else "overflow"


def _named(symbol: Expr, values: Mapping[str, Array]) -> Array:
    if symbol.name not in values:
        raise ValueError(f"{symbol.name!r} has no value; given are {', '.join(values)}")
    return values[symbol.name]


@cache
def _form(name: str, backend: str) -> Callable[..., Array]:
    """Return a function of a formula as its text for NumPy says, by one library or the other."""
    text = FUNCTIONS[name].numpy.format("x", "y", "z")
    space: dict[str, Any] = {"numpy": np}
    if backend == "torch":
        import torch

        if name == "cbrt":
            return lambda x: torch.sign(x) * torch.abs(x) ** (1 / 3)
        space = {"numpy": torch, "special": torch.special}
    elif "special" in text:  # whose import takes as long as many a fit
        from scipy import special

        space["special"] = special
    return eval(f"lambda x, y=None, z=None: {text}", space)  # type: ignore[no-any-return]


def _array(value: Array, backend: str) -> Array:
    if backend == "numpy":
        return np.asarray(value, dtype=float)
    import torch

    return value if isinstance(value, torch.Tensor) else torch.tensor(value, dtype=torch.float64)


def _joined(holds: Array, yes: Array, no: Array, backend: str) -> Array:
    """Put ``yes`` where ``holds`` and ``no`` elsewhere, each made for its own rows."""
    if backend == "numpy":
        out = np.empty(holds.shape)
        out[holds], out[~holds] = yes, no
        return out
    import torch

    out = torch.zeros(holds.shape, dtype=torch.float64)
    for mask, value in ((holds, yes), (~holds, no)):
        filled = _array(value, backend).expand(int(mask.sum())).contiguous()
        out = out.masked_scatter(mask, filled)
    return out


class _Walk:
    """One walk over a tree: equal parts are computed once."""

    def __init__(
        self,
        values: Mapping[str, Array],
        backend: str,
        observe: Observer | None = None,
        rows: Any = None,
    ) -> None:
        self.values, self.backend, self.observe, self.rows = values, backend, observe, rows
        self.known: dict[Expr, Array] = {}

    def value(self, part: Expr) -> Array:
        if part not in self.known:
            self.known[part] = self._compute(part)
        return self.known[part]

    def _compute(self, part: Expr) -> Array:
        if part.is_Symbol:
            return _named(part, self.values)
        if part in (sympy.true, sympy.false):
            return bool(part)
        if part.is_number and not part.is_Function:
            return float(part)
        if part.func is real.Where:
            return self._where(*part.args)
        arguments = [self.value(argument) for argument in part.args]
        result = self._apply(part, arguments)
        if self.observe and not part.is_Boolean:
            self.observe(part, arguments, result, self.rows)
        return result

    def _apply(self, part: Expr, arguments: list[Array]) -> Array:
        if part.is_Pow:
            return self._power(part.exp, *arguments)
        if part.func in _OPERATORS:
            return reduce(_OPERATORS[part.func], arguments)
        if part.func is sympy.Not:
            return (not arguments[0]) if isinstance(arguments[0], bool) else ~arguments[0]
        name = by_class.get(part.func)
        if name is None:
            raise ValueError(f"{part.func.__name__!r} has no numeric form")
        return _form(name, self.backend)(*(_array(a, self.backend) for a in arguments))

    def _power(self, exponent: Expr, base: Array, value: Array) -> Array:
        base = _array(base, self.backend)
        if exponent in _ROOTS:
            root = _form("sqrt", self.backend)(base)
            return root if exponent == sympy.S.Half else 1.0 / root
        return base ** (int(exponent) if exponent.is_Integer else value)

    def _where(self, condition: Expr, yes: Expr, no: Expr) -> Array:
        holds = self.value(condition)
        if not getattr(holds, "shape", ()):
            return self.value(yes if bool(holds) else no)
        chosen, other = self._branch(yes, holds), self._branch(no, ~holds)
        return _joined(holds, chosen, other, self.backend)

    def _branch(self, part: Expr, mask: Array) -> Array:
        """Value of ``part`` in the rows of ``mask`` alone."""
        values = {n: v[mask] if getattr(v, "shape", ()) else v for n, v in self.values.items()}
        rows = None
        if self.observe:
            rows = np.flatnonzero(mask) if self.rows is None else self.rows[mask]
        return _Walk(values, self.backend, self.observe, rows).value(part) if mask.any() else 0.0
