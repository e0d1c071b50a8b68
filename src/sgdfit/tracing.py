"""A Python function to a formula: call it once with symbols and keep what it computes.

The symbols answer NumPy's protocols (``__array_ufunc__``, ``__array_function__``: NEP 13 and
NEP 18) and torch's (``__torch_function__``), so ``np.exp(-k*x)`` or ``torch.where(…)`` works
as written.
"""

from __future__ import annotations

import functools
import inspect
import numbers
import operator
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np
import sympy
from sympy.logic.boolalg import Boolean

from sgdfit.errors import FormulaError
from sgdfit.formula import Formula, symbol
from sgdfit.functions import ALIASES, FUNCTIONS, OPERATIONS

__all__ = ["Traced", "trace", "trace_call"]

Expr = Any  # SymPy ships no types

# NumPy's, torch's and operator's names for what is written with a sign.
_OPERATORS: dict[str, Callable[..., Any]] = {
    "add": operator.add, "subtract": operator.sub, "sub": operator.sub,
    "multiply": operator.mul, "mul": operator.mul,
    "divide": operator.truediv, "true_divide": operator.truediv, "div": operator.truediv,
    "float_power": operator.pow, "negative": operator.neg, "neg": operator.neg,
    "positive": operator.pos,
    "greater": operator.gt, "gt": operator.gt, "greater_equal": operator.ge, "ge": operator.ge,
    "less": operator.lt, "lt": operator.lt, "less_equal": operator.le, "le": operator.le,
    "equal": sympy.Eq, "eq": sympy.Eq, "not_equal": sympy.Ne, "ne": sympy.Ne,
    "logical_and": sympy.And, "bitwise_and": sympy.And,
    "logical_or": sympy.Or, "bitwise_or": sympy.Or,
    "logical_not": sympy.Not, "bitwise_not": sympy.Not, "invert": sympy.Not,
}  # fmt: skip
_BRANCH = (
    "the function branches on its data (an if, and/or, min() or max() of an argument);"
    " write np.where(condition, a, b), np.minimum or np.maximum instead"
)
_LOOP = (
    "the function loops over or indexes the rows of an argument; write it for whole columns,"
    " as in a*x + b, and sgdfit runs it for each row"
)
_SCALAR = (
    "the function turns an argument into a plain number (math.exp or float());"
    " write np.exp(x) instead of math.exp(x)"
)


def trace(function: Callable[..., Any]) -> Formula:
    """Return what ``function`` computes as a `Formula` without a response.

    Argument names become the names of variables and parameters, whatever their order; a number
    as default becomes a starting value; arguments bound by `functools.partial` become fixed
    parameters.

    Raises
    ------
    FormulaError
        When the function cannot be traced; the sentence says what to write instead.

    Examples
    --------
    >>> import numpy as np
    >>> print(trace(lambda a, k, x: a * np.exp(-k * x)))
    a*exp(-k*x)
    >>> import functools
    >>> trace(functools.partial(lambda a, b, x: a * x + b, 2)).fixed
    {'a': 2.0}
    """
    inner = function
    values: tuple[Any, ...] = ()
    keywords: dict[str, Any] = {}
    while isinstance(inner, functools.partial):
        values, keywords = inner.args + values, {**inner.keywords, **keywords}
        inner = inner.func
    signature = _signature(inner)
    bound = signature.bind_partial(*values, **keywords).arguments
    parameters = signature.parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    settings = {n: v for n, v in {**defaults, **bound}.items() if not _is_number(v)}
    names = tuple(name for name in signature.parameters if name not in settings)
    result = trace_call(
        inner, {n: settings.get(n, symbol(n)) for n in signature.parameters}, signature
    )
    return Formula(
        expression=result,
        names=names,
        fixed={n: float(v) for n, v in bound.items() if n in names},
        start={n: float(v) for n, v in defaults.items() if n in names and n not in bound},
    )


def trace_call(
    function: Callable[..., Any],
    arguments: dict[str, Any],
    signature: inspect.Signature | None = None,
) -> Expr:
    """Call ``function`` with SymPy expressions in place of data; return the expression."""
    wrapped = {n: Traced(v) if isinstance(v, sympy.Basic) else v for n, v in arguments.items()}
    kinds = (signature or inspect.signature(function)).parameters
    positional = [v for n, v in wrapped.items() if kinds[n].kind is not kinds[n].KEYWORD_ONLY]
    named = {n: v for n, v in wrapped.items() if kinds[n].kind is kinds[n].KEYWORD_ONLY}
    try:
        result = function(*positional, **named)
    except FormulaError:
        raise
    except Exception as error:
        raise FormulaError(
            f"the function {_name(function)} cannot be followed: it raised"
            f" {type(error).__name__}: {error}; write it with arithmetic and NumPy functions"
        ) from error
    return _checked(result, function)


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        raise FormulaError(
            f"the arguments of {_name(function)} have no names to be read; wrap it:"
            " lambda a, x: a*f(x)"
        ) from None
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise FormulaError(
                f"the argument '*{parameter.name}' of {_name(function)} stands for any number of"
                " arguments; give each parameter and variable a name of its own"
            )
    return signature


def _checked(result: object, function: Callable[..., Any]) -> Expr:
    if isinstance(result, Traced):
        expression = _number(result.expression)
    elif _is_number(result):
        expression = sympy.sympify(float(result))  # type: ignore[arg-type]
    else:
        raise FormulaError(
            f"the function {_name(function)} returned {type(result).__name__}, not one number"
            " for each row; end it with 'return' and an expression of its arguments"
        )
    if expression.has(sympy.zoo, sympy.nan, sympy.oo, -sympy.oo, sympy.I):
        raise FormulaError(f"the function {_name(function)} has no finite real value")
    return expression


def _name(function: Callable[..., Any]) -> str:
    return repr(getattr(function, "__name__", type(function).__name__))


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real | np.number) and not isinstance(value, bool | np.bool_)


def _number(expression: Expr) -> Expr:
    if isinstance(expression, Boolean) and not isinstance(expression, sympy.Symbol):
        return FUNCTIONS["where"].symbolic(expression, sympy.S.One, sympy.S.Zero)
    return expression


def _unwrap(value: Any) -> Expr:
    """Return the SymPy form of an operand."""
    if isinstance(value, Traced):
        return value.expression
    if isinstance(value, bool | np.bool_):
        return sympy.true if value else sympy.false
    if _is_number(value):
        whole = isinstance(value, numbers.Integral)
        return sympy.Integer(int(value)) if whole else sympy.Float(float(value))
    array = np.asarray(value)
    if array.ndim == 0 and array.dtype.kind in "buif":
        return _unwrap(array.item())
    raise FormulaError(
        f"the function uses an array of {array.size} values from outside its arguments;"
        " pass it as a column of the data and name it as an argument"
    )


def _apply(name: str, operands: Sequence[Any]) -> Traced:
    """Apply NumPy's or torch's function ``name``."""
    values = [_unwrap(operand) for operand in operands]
    known = ALIASES.get(name, name)
    if name in _OPERATORS:
        logical = _OPERATORS[name] in (sympy.And, sympy.Or, sympy.Not)
        return Traced(_OPERATORS[name](*(values if logical else map(_number, values))))
    if known in FUNCTIONS and len(values) == FUNCTIONS[known].arity:
        head = values[:1] if known == "where" else []
        return Traced(FUNCTIONS[known].symbolic(*head, *map(_number, values[len(head) :])))
    if name in OPERATIONS and len(values) == 1:
        return Traced(OPERATIONS[name](_number(values[0])))
    raise FormulaError(
        f"the function uses {name!r}, which has no symbolic form; supported are"
        f" + - * / **, comparisons and {', '.join(sorted(FUNCTIONS))}"
    )


def _reflected(name: str) -> Callable[[Traced, Any], Traced]:
    return lambda self, other: _apply(name, (other, self))


def _direct(name: str) -> Callable[..., Traced]:
    return lambda self, *others: _apply(name, (self, *others))


class Traced:
    """A quantity in a function that is being traced: it records what is done to it."""

    __slots__ = ("expression",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, expression: Expr) -> None:
        self.expression = expression

    __add__, __radd__ = _direct("add"), _reflected("add")
    __sub__, __rsub__ = _direct("subtract"), _reflected("subtract")
    __mul__, __rmul__ = _direct("multiply"), _reflected("multiply")
    __truediv__, __rtruediv__ = _direct("divide"), _reflected("divide")
    __pow__, __rpow__ = _direct("float_power"), _reflected("float_power")
    __neg__, __pos__, __abs__ = _direct("negative"), _direct("positive"), _direct("abs")
    __lt__, __le__ = _direct("less"), _direct("less_equal")
    __gt__, __ge__ = _direct("greater"), _direct("greater_equal")
    __eq__, __ne__ = _direct("equal"), _direct("not_equal")  # type: ignore[assignment]
    __and__, __rand__ = _direct("logical_and"), _reflected("logical_and")
    __or__, __ror__ = _direct("logical_or"), _reflected("logical_or")
    __invert__ = _direct("logical_not")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Traced:
        if method != "__call__" or kwargs:
            self._refuse(f"NumPy's {ufunc.__name__}.{method} works across rows; {_LOOP}")
        return _apply(ufunc.__name__, inputs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Traced:
        if kwargs:
            self._refuse(f"NumPy's {func.__name__} takes no named arguments in a formula")
        return _apply(func.__name__, args)

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Traced:
        return _apply(func.__name__.strip("_"), args)

    def _refuse(self, message: str) -> NoReturn:
        raise FormulaError(message)

    def __bool__(self) -> bool:
        self._refuse(_BRANCH)

    def __float__(self) -> float:
        self._refuse(_SCALAR)

    __int__ = __index__ = __complex__ = __float__  # type: ignore[assignment]

    def __iter__(self) -> NoReturn:
        self._refuse(_LOOP)

    def __len__(self) -> int:
        self._refuse(_LOOP)

    def __getitem__(self, key: object) -> NoReturn:
        self._refuse(_LOOP)

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        self._refuse(
            f"the function uses the attribute or method '.{name}' of an argument;"
            " write it as arithmetic and NumPy functions of whole columns"
        )
