"""Values of an expression on whole columns, by walking its tree with NumPy or torch.

Slower than a kernel and made differently on purpose: it is the kernels' oracle, it lets torch
differentiate a model by itself, and it finds where a formula leaves its domain. A branch of
``where`` is computed for its own rows alone, so ``where(x > 0, log(x), 0)`` has no hidden NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
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

_COMPARISONS: dict[Any, Callable[[Array, Array], Array]] = {
    sympy.Gt: lambda a, b: a > b,
    sympy.Ge: lambda a, b: a >= b,
    sympy.Lt: lambda a, b: a < b,
    sympy.Le: lambda a, b: a <= b,
    sympy.Eq: lambda a, b: a == b,
    sympy.Ne: lambda a, b: a != b,
}


class DomainError(NamedTuple):
    """The first row in which an expression has no finite value.

    Attributes
    ----------
    row : int
        Counted from 0.
    subexpression : str
        The innermost part that is not finite although what it is made of is.
    arguments : tuple of float
        What that part was given.
    kind : str
        ``nan`` (log of a negative number), ``pole`` (division by zero, log of zero) or
        ``overflow`` (beyond about 1.8e308).
    names : dict of str to float
        The variables and parameters in that part, with their values in that row.

    Examples
    --------
    >>> find_domain_error(sympy.log(sympy.Symbol("x")), {"x": np.array([1.0, -2.0])})
    DomainError(row=1, subexpression='log(x)', arguments=(-2.0,), kind='nan', names={'x': -2.0})
    """

    row: int
    subexpression: str
    arguments: tuple[float, ...]
    kind: str
    names: dict[str, float]


def evaluate(expression: Expr, values: Mapping[str, Array], backend: str = "numpy") -> Array:
    """Return the value of ``expression`` in each row.

    Parameters
    ----------
    expression : sympy.Expr
        Made of the functions in `sgdfit.formula.functions.FUNCTIONS`.
    values : mapping of str to array or float
        One array of shape (rows,) for each variable, a number (or a scalar tensor) for each
        parameter.
    backend : {"numpy", "torch"}
        Whose arrays they are.

    Returns
    -------
    array of shape (rows,), or a scalar where no variable occurs

    Raises
    ------
    ValueError
        When a name has no value, or the expression holds something with no numeric form.

    Examples
    --------
    >>> x, a = sympy.symbols("x a")
    >>> evaluate(a * x**2 + 1, {"x": np.array([1.0, 2.0]), "a": 3.0})
    array([ 4., 13.])
    """
    if expression.is_Symbol:  # most responses
        return _named(expression, values)
    with np.errstate(all="ignore"):
        return _Walk(values, _library(backend)).value(expression)


def find_domain_error(
    expression: Expr, values: Mapping[str, np.ndarray[Any, Any] | float]
) -> DomainError | None:
    """Return the first row in which a part of ``expression`` is not finite, and why.

    A part counts only where everything that it is made of is finite, and, inside ``where``, only
    in the rows that take its branch.

    Parameters
    ----------
    expression : sympy.Expr
        As for `evaluate`.
    values : mapping of str to array or float
        NumPy arrays of shape (rows,) and numbers.

    Returns
    -------
    DomainError or None
        None where every row is finite, or where only the given values are not.
    """
    found: list[tuple[int, Expr, tuple[float, ...], float]] = []

    def observe(part: Expr, arguments: list[Array], result: Array, rows: Any) -> None:
        bad = ~np.isfinite(result)
        if not np.any(bad):
            return
        for argument in arguments:
            bad = bad & np.isfinite(argument)
        if not np.any(bad):
            return
        at = int(np.argmax(bad))
        row = at if rows is None else int(rows[at])
        if not found or row < found[0][0]:
            shown = arguments[:1] if part.is_Pow and part.exp.is_number else arguments
            given = tuple(_at(argument, at) for argument in shown)
            found[:] = [(row, part, given, _at(result, at))]

    with np.errstate(all="ignore"):
        _Walk(values, _library("numpy"), observe).value(expression)
    if not found:
        return None
    row, part, given, result = found[0]
    names = {s.name: _at(values[s.name], row) for s in part.free_symbols}
    return DomainError(
        row, to_text(part), given, _kind(part, given, result), dict(sorted(names.items()))
    )


def _at(value: Array, row: int) -> float:
    return float(value) if np.ndim(value) == 0 else float(value[row])


def _kind(part: Expr, arguments: tuple[float, ...], result: float) -> str:
    if np.isnan(result):
        return "nan"
    at_zero = part.is_Pow or part.func in (
        sympy.log, cfunctions.log2, cfunctions.log10, sympy.cot, sympy.coth
    )  # fmt: skip
    at_one = part.func in (sympy.atanh, cfunctions.log1p)
    if (at_zero and arguments[0] == 0) or (at_one and abs(arguments[0]) == 1):
        return "pole"
    return "pole" if part.func is real.Xlogy and arguments[1] == 0 else "overflow"


def _named(symbol: Expr, values: Mapping[str, Array]) -> Array:
    if symbol.name not in values:
        raise ValueError(f"{symbol.name!r} has no value; given are {', '.join(values)}")
    return values[symbol.name]


class Library(NamedTuple):
    """What the walk needs of an array library; each function by its name in a formula."""

    array: Callable[[Array], Array]
    sqrt: Callable[[Array], Array]
    join: Callable[[Array, Array, Array], Array]
    forms: dict[str, Callable[..., Array]]


class _Special:
    """SciPy's special functions, whose import takes as long as many a fit: at their first use."""

    def __getattr__(self, name: str) -> Any:
        from scipy import special

        return getattr(special, name)


def _forms(numpy: Any, special: Any) -> dict[str, Callable[..., Array]]:
    """Return every function of a formula as its text for NumPy says, by one library or another."""
    names = {"numpy": numpy, "special": special}
    return {
        name: eval(f"lambda x, y=None, z=None: {form.numpy.format('x', 'y', 'z')}", names)
        for name, form in FUNCTIONS.items()
    }


@lru_cache(maxsize=2)
def _library(backend: str) -> Library:
    return {"numpy": _numpy, "torch": _torch}[backend]()


def _numpy() -> Library:
    def join(holds: Array, yes: Array, no: Array) -> Array:
        out = np.empty(holds.shape)
        out[holds], out[~holds] = yes, no
        return out

    forms = _forms(np, _Special())
    return Library(lambda x: np.asarray(x, dtype=float), np.sqrt, join, forms)


def _torch() -> Library:
    import torch

    def array(x: Array) -> Array:
        return x if isinstance(x, torch.Tensor) else torch.tensor(x, dtype=torch.float64)

    def filled(mask: Array, value: Array) -> Array:
        return array(value).expand(int(mask.sum())).contiguous()

    def join(holds: Array, yes: Array, no: Array) -> Array:
        out = torch.zeros(holds.shape, dtype=torch.float64)
        return out.masked_scatter(holds, filled(holds, yes)).masked_scatter(
            ~holds, filled(~holds, no)
        )

    forms = _forms(torch, torch.special)
    forms["cbrt"] = lambda x: torch.sign(x) * torch.abs(x) ** (1 / 3)
    return Library(array, torch.sqrt, join, forms)


class _Walk:
    """One walk over a tree: equal parts are computed once."""

    def __init__(
        self,
        values: Mapping[str, Array],
        library: Library,
        observe: Observer | None = None,
        rows: Any = None,
    ) -> None:
        self.values, self.library, self.observe, self.rows = values, library, observe, rows
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
        arguments = [self.value(argument) for argument in self._arguments(part)]
        result = self._apply(part, arguments)
        if self.observe and not part.is_Boolean:
            self.observe(part, arguments, result, self.rows)
        return result

    @staticmethod
    def _arguments(part: Expr) -> tuple[Expr, ...]:
        return (part.base, part.exp) if part.is_Pow else part.args

    def _apply(self, part: Expr, arguments: list[Array]) -> Array:
        if part.is_Add or part.is_Mul:
            return self._fold(part, arguments)
        if part.is_Pow:
            return self._power(part.exp, *arguments)
        if part.func in _COMPARISONS:
            return _COMPARISONS[part.func](*arguments)
        if part.func in (sympy.And, sympy.Or, sympy.Not):
            return self._logic(part.func, arguments)
        name = by_class.get(part.func)
        if name is None:
            raise ValueError(f"{part.func.__name__!r} has no numeric form")
        return self.library.forms[name](*map(self.library.array, arguments))

    @staticmethod
    def _fold(part: Expr, arguments: list[Array]) -> Array:
        total = arguments[0]
        for argument in arguments[1:]:
            total = total + argument if part.is_Add else total * argument
        return total

    def _power(self, exponent: Expr, base: Array, value: Array) -> Array:
        base = self.library.array(base)
        if exponent == sympy.S.Half:
            return self.library.sqrt(base)
        if exponent == -sympy.S.Half:
            return 1.0 / self.library.sqrt(base)
        return base ** (int(exponent) if exponent.is_Integer else value)

    @staticmethod
    def _logic(kind: Any, arguments: list[Array]) -> Array:
        if kind is sympy.Not:
            (only,) = arguments
            return (not only) if isinstance(only, bool) else ~only
        total = arguments[0]
        for argument in arguments[1:]:
            total = total & argument if kind is sympy.And else total | argument
        return total

    def _where(self, condition: Expr, yes: Expr, no: Expr) -> Array:
        holds = self.value(condition)
        if not getattr(holds, "shape", ()):
            return self.value(yes if bool(holds) else no)
        return self.library.join(
            holds, *(self._branch(b, m) for b, m in ((yes, holds), (no, ~holds)))
        )

    def _branch(self, part: Expr, mask: Array) -> Array:
        """Value of ``part`` in the rows of ``mask`` alone."""
        values = {n: v[mask] if getattr(v, "shape", ()) else v for n, v in self.values.items()}
        rows = None
        if self.observe:
            rows = np.flatnonzero(mask) if self.rows is None else self.rows[mask]
        return _Walk(values, self.library, self.observe, rows).value(part) if mask.any() else 0.0
