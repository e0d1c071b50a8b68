"""Values of an expression on whole columns, by walking its tree with NumPy or torch.

Slower than a kernel and made differently on purpose: it is the kernels' oracle, it lets torch
differentiate a model by itself, and it finds where a formula leaves its domain. A branch of
``where`` is computed for its own rows alone, so ``where(x > 0, log(x), 0)`` has no hidden NaN.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from functools import cache, reduce
from typing import Any, NamedTuple

import numpy as np
import sympy

from sgdfit.formula import real
from sgdfit.formula.external import Call
from sgdfit.formula.formula import symbol, to_text
from sgdfit.formula.functions import FORMS, by_class

Expr = Any  # SymPy ships no types
Array = Any  # a NumPy array, a torch tensor or a number

_OPERATORS: dict[Any, Callable[[Array, Array], Array]] = {
    sympy.Add: operator.add, sympy.Mul: operator.mul,
    sympy.And: operator.and_, sympy.Or: operator.or_,
    sympy.Gt: operator.gt, sympy.Ge: operator.ge, sympy.Lt: operator.lt, sympy.Le: operator.le,
    sympy.Eq: operator.eq, sympy.Ne: operator.ne,
}  # fmt: skip
# Where functions are infinite, by their first argument; xlogy is by its last.
_POLES = {
    **dict.fromkeys(("log", "log2", "log10", "cot", "coth", "xlogy"), (0,)),
    **dict.fromkeys(("atanh", "erfinv"), (-1, 1)), "log1p": (-1,),
    **dict.fromkeys(("y0", "y1", "k0", "k1"), (0,)),
    **dict.fromkeys(("gamma", "lgamma", "digamma"), tuple(range(0, -200, -1))),
}  # fmt: skip


# Where they have a value, by their last argument.
_DOMAINS = {
    **dict.fromkeys(("log", "log2", "log10", "xlogy"), "{} > 0"), "log1p": "{} > -1",
    **dict.fromkeys(("asin", "acos"), "-1 <= {} <= 1"), "acosh": "{} >= 1",
    **dict.fromkeys(("atanh", "erfinv"), "-1 < {} < 1"),
    **dict.fromkeys(("cot", "coth"), "{} != 0"), "exp": "{} < 709",
    **dict.fromkeys(("lgamma", "digamma", "beta", "y0", "y1", "k0", "k1"), "{} > 0"),
    "gamma": "0 < {} < 171", **dict.fromkeys(("i0", "i1"), "-700 < {} < 700"), "erfcx": "{} > -26",
}  # fmt: skip
_POWER = re.compile(r"(`[^`]+`|\{[^{}]+\}|\w+|\([^()]*\))\*\*([2-9])(?![\d.])")


class DomainError(NamedTuple):
    """The first row in which an expression has no finite value."""

    row: int  # counted from 0
    part: Expr  # the innermost that is not finite although what it is made of is
    arguments: tuple[float, ...]  # what that part was given
    kind: str  # "nan" (log of a negative number), "pole" (1/0, log of 0) or "overflow"
    names: dict[str, float]  # the variables and parameters in that part, in that row

    @property
    def subexpression(self) -> str:
        """The part as text."""
        return to_text(self.part)


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
        return _Evaluator(values, backend).value(expression)


def find_domain_error(
    expression: Expr,
    values: Mapping[str, np.ndarray[Any, Any] | float],
    limits: Array | None = None,
) -> DomainError | None:
    """Return the first row in which ``expression`` is not finite, and the part that is why.

    A part counts only where everything that it is made of is finite, and, inside ``where``, only
    in the rows that take its branch. ``limits``, if given, are the values to go by.

    Examples
    --------
    >>> find_domain_error(sympy.log(sympy.Symbol("x")), {"x": np.array([1.0, -2.0])})
    DomainError(row=1, part=log(x), arguments=(-2.0,), kind='nan', names={'x': -2.0})
    """
    errors: list[DomainError] = []
    found = evaluate(expression, values) if limits is None else limits
    bad = np.flatnonzero(~np.isfinite(np.atleast_1d(found)))
    if not bad.size:
        return None
    with np.errstate(all="ignore"):
        _Evaluator(_rows_of(values, bad), "numpy", errors, bad).value(expression)
    return min(errors, key=lambda error: error.row, default=None)  # of several the innermost


def count_poles(expression: Expr, values: Mapping[str, Array]) -> int:
    """Return how many parts of ``expression`` have a pole on some row, such as 1/x at 0.

    The whole may be finite there: ``exp(-1/x)`` is 0.
    """
    errors: list[DomainError] = []
    with np.errstate(all="ignore"):
        _Evaluator(values, "numpy", errors).value(expression)
    return sum(error.kind == "pole" for error in errors)


def _rows_of(values: Mapping[str, Array], rows: Any) -> dict[str, Array]:
    return {name: value[rows] if np.size(value) > 1 else value for name, value in values.items()}


def mending_condition(fault: DomainError, columns: Mapping[str, Array]) -> str:
    """Return the condition on rows under which a part has a value; empty if parameters give it one.

    That of ``sqrt(1 - x**2)`` is ``1 - (x*x) >= 0``, that of ``log(a*x)`` is ``x > 0`` where x is 0
    or, on some rows of the ``columns``, has either sign; ``log(a + x)`` has none.
    """
    part = fault.part
    base, exponent = part.as_base_exp() if part.is_Pow else (part.args[-1], sympy.S.Zero)
    parameters = part.free_symbols - set(map(symbol, columns))
    free = bool(parameters)
    if base.free_symbols & parameters:
        base = base.as_independent(*parameters, as_Add=False)[0]
        signs = np.sign(evaluate(base, columns))
        if not base.free_symbols or (evaluate(base, fault.names) and np.ptp(signs) < 2):
            return ""
        free = bool(exponent.free_symbols & parameters)
    if free:
        # x**p has no value at a negative x, whatever p is; at 0 none for a p below 0.
        given = evaluate(base, fault.names)
        wanted = "{} >= 0" if given < 0 else "{} > 0" if given == 0 else ""
    elif exponent.is_Integer and exponent:
        wanted = "{} != 0"
    elif part.is_Pow:
        wanted = "{} >= 0" if exponent.is_positive else "{} > 0"
    else:
        wanted = _DOMAINS.get(by_class.get(part.func, ""), "")
    # Conditions have neither powers nor functions.
    written = _POWER.sub(lambda m: f"({'*'.join([m[1]] * int(m[2]))})", to_text(base))
    if wanted and base.free_symbols and not re.search(r"\*\*|\bpi\b|\w\(", written):
        return wanted.format(written)
    row = " and ".join(f"{to_text(symbol(n))} == {v!r}" for n, v in fault.names.items())
    return "" if free or not row else f"not ({row})"


def _at(value: Array, row: int) -> float:
    return float(value) if np.ndim(value) == 0 else float(value[row])


def _named(symbol: Expr, values: Mapping[str, Array]) -> Array:
    if symbol.name not in values:
        raise ValueError(f"{symbol.name!r} has no value; given are {', '.join(values)}")
    return values[symbol.name]


@cache
def _form(name: str, backend: str) -> Callable[..., Array]:
    """Return a function of a formula as its text for NumPy says, by one library or the other."""
    names = "uvxyz"[: FORMS[name].arity]
    text = FORMS[name].numpy.format(*names)
    space: dict[str, Any] = {"numpy": np}
    if backend == "torch":
        import torch

        if name == "cbrt":
            return lambda x: torch.sign(x) * torch.abs(x) ** (1 / 3)
        space = {"numpy": torch, "special": torch.special}
    elif "special" in text:  # whose import takes as long as many a fit
        from sgdfit.formula import special

        space["special"] = special
    return eval(f"lambda {', '.join(names)}: {text}", space)  # type: ignore[no-any-return]


class _Evaluator:
    """One walk over a tree: equal parts are computed once; ``errors`` takes what is not finite."""

    def __init__(
        self,
        values: Mapping[str, Array],
        backend: str,
        errors: list[DomainError] | None = None,
        rows: Any = None,
    ) -> None:
        self.values, self.backend, self.errors, self.rows = values, backend, errors, rows
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
        if part.is_Mul and self.errors is None:
            return self._product(part)
        arguments = [self.value(argument) for argument in part.args]
        if part.is_Pow:
            result = self._power(part.exp, *arguments)
        elif part.func in _OPERATORS:
            result = reduce(_OPERATORS[part.func], arguments)
        elif part.func is sympy.Not:
            result = (not arguments[0]) if isinstance(arguments[0], bool) else ~arguments[0]
        elif isinstance(part, Call):
            result = part.values(*arguments)
        elif part.func is real.Select:
            result = self._select(*arguments)
        elif part.func in by_class:
            result = _form(by_class[part.func], self.backend)(*map(self._array, arguments))
        else:
            raise ValueError(f"{part.func.__name__!r} has no numeric form")
        if self.errors is not None and not part.is_Boolean:
            self._look_at(part, arguments, result)
        return result

    def _array(self, value: Array) -> Array:
        if self.backend == "numpy":
            return np.asarray(value, dtype=float)
        import torch

        return (
            value if isinstance(value, torch.Tensor) else torch.tensor(value, dtype=torch.float64)
        )

    def _power(self, exponent: Expr, base: Array, value: Array) -> Array:
        base = self._array(base)
        if abs(exponent) == sympy.S.Half:
            root = _form("sqrt", self.backend)(base)
            return root if exponent == sympy.S.Half else 1.0 / root
        return base ** (int(exponent) if exponent.is_Integer else value)

    def _product(self, product: Expr) -> Array:
        """Divide once for each power, which may overflow where what it divides is as large."""
        powers = [f for f in product.args if f.is_Pow and f.exp.is_Integer and f.exp < -1]
        others = (self.value(factor) for factor in product.args if factor not in powers)
        result = reduce(operator.mul, others, 1.0)
        for power in powers:
            for _ in range(-int(power.exp)):
                result = result / self._array(self.value(power.base))
        return result

    def _where(self, condition: Expr, yes: Expr, no: Expr) -> Array:
        holds = self.value(condition)
        if not getattr(holds, "shape", ()):
            return self.value(yes if bool(holds) else no)
        if self.backend == "numpy":
            out = np.empty(holds.shape)
        else:
            import torch

            out = torch.zeros(holds.shape, dtype=torch.float64)
        for part, mask in ((yes, holds), (no, ~holds)):
            if mask.any():
                values = {
                    name: value[mask] if getattr(value, "shape", ()) else value
                    for name, value in self.values.items()
                }
                rows = None
                if self.errors is not None:
                    rows = np.flatnonzero(mask) if self.rows is None else self.rows[mask]
                out[mask] = _Evaluator(values, self.backend, self.errors, rows).value(part)
        return out

    def _select(self, codes: Array, *values: Array) -> Array:
        if self.backend == "numpy":
            return real.select(codes, *values)
        import torch

        found = self._array(values[0])
        for k, value in enumerate(values[1:], 1):
            found = torch.where(codes == k, value, found)
        return found

    def _look_at(self, part: Expr, arguments: list[Array], result: Array) -> None:
        """Note the first row in which ``part`` is not finite although its arguments are."""
        assert self.errors is not None
        bad = ~np.isfinite(result)
        for argument in arguments:
            bad = bad & np.isfinite(argument)
        if not np.any(bad):
            return
        at = int(np.argmax(bad))
        row = at if self.rows is None else int(self.rows[at])
        shown = arguments[:1] if part.is_Pow and part.exp.is_number else arguments
        given = tuple(_at(argument, at) for argument in shown)
        function = by_class.get(part.func, "")
        poles = (0,) if part.is_Pow else _POLES.get(function, ())
        pole = given[-1 if function == "xlogy" else 0] in poles
        kind = "nan" if np.isnan(_at(result, at)) else "pole" if pole else "overflow"
        names = {s.name: _at(self.values[s.name], at) for s in part.free_symbols}
        self.errors.append(DomainError(row, part, given, kind, dict(sorted(names.items()))))
