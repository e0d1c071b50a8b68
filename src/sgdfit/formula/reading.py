"""What a user writes as a formula, be it text or a function, as a `Formula`.

A Python function is called once with symbols that keep what it computes. They answer NumPy's
protocols (``__array_ufunc__``, ``__array_function__``: NEP 13 and NEP 18) and torch's
(``__torch_function__``), so ``np.exp(-k*x)`` or ``torch.where(…)`` works.
"""

from __future__ import annotations

import functools
import inspect
import numbers
import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np
import sympy

from sgdfit.errors import FormulaError, UsageError
from sgdfit.formula.external import External
from sgdfit.formula.formula import Formula, symbol
from sgdfit.formula.functions import FUNCTIONS, INSTEAD, apply, as_number, is_condition, lookup
from sgdfit.formula.parsing import parse, parse_expression
from sgdfit.formula.real import Where, as_real, power
from sgdfit.formula.torch_function import ModuleFunction, is_module

Expr = Any  # SymPy ships no types

# NumPy's, torch's and operator's names for what is written with a sign.
_OPERATORS: dict[str, Callable[..., Any]] = {
    "add": operator.add, "subtract": operator.sub, "sub": operator.sub,
    "multiply": operator.mul, "mul": operator.mul,
    "divide": operator.truediv, "true_divide": operator.truediv, "div": operator.truediv,
    "pow": power, "power": power, "float_power": power,
    "negative": operator.neg, "neg": operator.neg, "positive": operator.pos,
    "greater": operator.gt, "gt": operator.gt, "greater_equal": operator.ge, "ge": operator.ge,
    "less": operator.lt, "lt": operator.lt, "less_equal": operator.le, "le": operator.le,
    "equal": sympy.Eq, "eq": sympy.Eq, "not_equal": sympy.Ne, "ne": sympy.Ne,
}  # fmt: skip
_LOGIC: dict[str, Callable[..., Any]] = {
    "logical_and": sympy.And, "bitwise_and": sympy.And, "and": sympy.And,
    "logical_or": sympy.Or, "bitwise_or": sympy.Or, "or": sympy.Or,
    "logical_not": sympy.Not, "bitwise_not": sympy.Not, "invert": sympy.Not,
}  # fmt: skip
_REDUCTIONS = {
    "all", "amax", "amin", "any", "argmax", "argmin", "average", "convolve", "cumprod", "cumsum",
    "diff", "dot", "einsum", "inner", "matmul", "max", "mean", "median", "min", "norm",
    "outer", "percentile", "prod", "quantile", "std", "sum", "tensordot", "trapezoid", "var",
}  # fmt: skip
# Those of torch.nn.functional, in each row.
_LOSSES: dict[str, Callable[..., Traced]] = {
    "mse_loss": lambda prediction, target: (prediction - target) ** 2,
    "l1_loss": lambda prediction, target: abs(prediction - target),
    "huber_loss": lambda prediction, target, delta=1.0: _huber(prediction - target, delta),
    "smooth_l1_loss": lambda prediction, target, beta=1.0: _huber(prediction - target, beta) / beta,
}
_BRANCH = (
    "the function branches on its data (an if, and/or, min() or max() of an argument);"
    " write np.where(condition, a, b), np.minimum or np.maximum instead"
)
_LOOP = (
    "the function loops over or indexes the rows of an argument; write it for whole columns,"
    " as in a*x + b, and sgdfit runs it for each row (a list of parameters p[0], p[1] becomes"
    " arguments p0, p1)"
)
_ACROSS = (
    " works across rows, and a formula says what one row gives; leave it out (sgdfit adds up"
    " and averages the rows itself), or np.maximum(a, b) for the larger of two"
)
_SCALAR = (
    "the function turns an argument into a plain number (math.exp or float());"
    " write np.exp(x) instead of math.exp(x)"
)


def as_formula(
    formula: str | Callable[..., Any] | Formula,
    response: str | None = None,
    jacobian: Callable[..., Any] | None = None,
) -> Formula:
    """Return a `Formula` from text, a Python function or a formula.

    ``response`` is the left side, where ``formula`` has none; with ``jacobian`` a function is
    called, and this for its slopes.

    Examples
    --------
    >>> print(as_formula(lambda k, t: 2**-(k*t), response="mass"))
    mass = 2**(-k*t)
    """
    if jacobian is not None and (isinstance(formula, str | Formula) or not callable(jacobian)):
        raise UsageError(
            "jacobian is a function, of the arguments of a function that is called; the slopes of a"
            " formula are derived: leave it out"
        )
    if isinstance(formula, str):
        parsed = parse(formula)
    elif isinstance(formula, Formula):
        parsed = formula
    elif callable(formula):
        parsed = _trace(formula, jacobian)
    else:
        raise UsageError(
            f"a formula is text such as 'y = a*x + b' or a Python function,"
            f" not {type(formula).__name__!r}"
        )
    if response is None:
        return parsed
    if not isinstance(response, str):
        raise UsageError(f"response={response!r} is no text; name a column, as in response='y'")
    left, _ = parse_expression(response)
    if parsed.response is None:
        text = None if parsed.text is None else f"{response.strip()} = {parsed.text}"
        return replace(parsed, response=left, text=text)
    if parsed.response != left:
        raise UsageError(
            f"the formula '{parsed}' already names its response;"
            f" leave out response={response!r} or the left side"
        )
    return parsed


def _trace(function: Callable[..., Any], jacobian: Callable[..., Any] | None = None) -> Formula:
    """Return what ``function`` computes as a `Formula` without a response.

    What cannot be followed is called (see `sgdfit.formula.external`).

    Argument names become the names of variables and parameters, whatever their order; a number
    as default becomes a starting value; arguments bound by `functools.partial` become fixed
    parameters.
    """
    if is_module(function):
        return _of_module(function, jacobian)
    values: tuple[Any, ...] = ()
    keywords: dict[str, Any] = {}
    while isinstance(function, functools.partial):
        values, keywords = function.args + values, {**function.keywords, **keywords}
        function = function.func
    if isinstance(function, np.vectorize) and function.signature is None:
        function = function.pyfunc
    called = _name(function)
    try:
        signature = None if isinstance(function, np.ufunc) else inspect.signature(function)
    except (TypeError, ValueError):
        signature = None
    if signature is None:
        raise FormulaError(
            f"the arguments of {called} have no names to be read; wrap it: lambda a, x: a*f(x)"
        )
    parameters = signature.parameters
    for parameter in parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise FormulaError(
                f"the argument '{parameter}' of {called} stands for any number of arguments;"
                " give each parameter and variable a name of its own"
            )
    try:
        bound = signature.bind_partial(*values, **keywords).arguments
    except TypeError as error:
        raise FormulaError(
            f"the arguments bound by functools.partial do not fit {called}: {error}"
        ) from None
    defaults = {n: p.default for n, p in parameters.items() if p.default is not p.empty}
    settings = {n: v for n, v in {**defaults, **bound}.items() if not _is_number(v)}
    names = tuple(name for name in parameters if name not in settings)
    arguments = {n: settings.get(n, symbol(n)) for n in parameters}
    try:
        if jacobian is not None:
            raise FormulaError("its jacobian is given")  # noqa: TRY301
        expression = _followed(function, arguments)
    except FormulaError as error:
        by_keyword = [n for n, p in parameters.items() if p.kind is p.KEYWORD_ONLY]
        external = External(function, arguments, by_keyword, error.message, jacobian)
        expression = external.symbol()(*map(symbol, names))
    return Formula(
        as_real(expression),
        names=names,
        fixed={n: float(v) for n, v in bound.items() if n in names},
        start={n: float(v) for n, v in defaults.items() if n in names and n not in bound},
    )


def _of_module(module: Any, jacobian: Callable[..., Any] | None) -> Formula:
    """Return the call of a module of torch's, which starts at its own parameters."""
    own = ModuleFunction(module)
    arguments = {name: symbol(name) for name in (*own.inputs, *own.start)}
    external = External(own, arguments, (), own.reason, jacobian)
    return Formula(
        external.symbol()(*arguments.values()),
        names=tuple(arguments),
        fixed={n: value for n, value in own.start.items() if n in own.fixed},
        start={n: value for n, value in own.start.items() if n not in own.fixed},
    )


def trace_call(function: Callable[..., Any], arguments: dict[str, Any]) -> Expr:
    """Call ``function`` with SymPy expressions in place of data; return the expression.

    Where it returns the mean over the rows, that is the expression of each row.
    """
    return as_real(_followed(function, arguments, averaged=True))


def _followed(
    function: Callable[..., Any], arguments: dict[str, Any], averaged: bool = False
) -> Expr:
    """Return what a function makes of expressions; refused where it does not take them."""
    parameters = inspect.signature(function).parameters
    given = {n: Traced(v) if isinstance(v, sympy.Basic) else v for n, v in arguments.items()}
    named = {n: given.pop(n) for n in arguments if parameters[n].kind is parameters[n].KEYWORD_ONLY}
    try:
        result = function(*given.values(), **named)
        if isinstance(result, Mean) and averaged:
            return as_number(result.of)
        if isinstance(result, Traced) or _is_number(result):
            return as_number(_unwrap(result))
    except FormulaError:
        raise
    except Exception as error:
        raise FormulaError(
            f"the function {_name(function)} cannot be followed: it raised"
            f" {type(error).__name__}: {error}; write it with arithmetic and NumPy functions"
        ) from error
    raise FormulaError(
        f"the function {_name(function)} returned {type(result).__name__}, not one number"
        " for each row; end it with 'return' and an expression of its arguments"
    )


def _name(function: Callable[..., Any]) -> str:
    return repr(getattr(function, "__name__", type(function).__name__))


def _is_number(value: object) -> bool:
    """Tell a plain number from a flag, an array or anything else."""
    return isinstance(value, numbers.Real | np.number) and not isinstance(value, bool | np.bool_)


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
    if array.ndim == 0 and (array.dtype.kind in "buif" or isinstance(array.item(), Traced)):
        return _unwrap(array.item())
    if array.ndim == 0:
        raise FormulaError(f"the function computes with {value!r}, which is no number")
    raise FormulaError(
        f"the function uses an array of {array.size} values from outside its arguments;"
        " pass it as a column of the data and name it as an argument"
    )


def _condition(value: Expr) -> Expr:
    """Return a number as the condition that it is not 0, as NumPy takes it."""
    return value if is_condition(value) else sympy.Ne(value, 0)


def _apply(name: str, *operands: Any) -> Traced:
    """Apply NumPy's or torch's function ``name``."""
    if name == "mean" and len(operands) == 1 and isinstance(operands[0], Traced):
        return operands[0].mean()
    if name in _REDUCTIONS:
        raise FormulaError(f"{name}{_ACROSS}")
    if name in INSTEAD:
        raise FormulaError(f"the function uses np.{name}; {INSTEAD[name]}")
    values = [_unwrap(operand) for operand in operands]
    if name in _LOGIC:
        return Traced(_LOGIC[name](*map(_condition, values)))
    if name in _OPERATORS:
        return Traced(_OPERATORS[name](*map(as_number, values)))
    form, counts = lookup(name) or (None, ())
    if form is None or len(values) not in counts:
        raise FormulaError(
            f"the function uses {name!r}, which has no symbolic form; supported are + - * / **,"
            f" comparisons and {', '.join(sorted(FUNCTIONS))}"
        )
    head = [_condition(values.pop(0))] if form is Where else []
    return Traced(apply(form, *head, *map(as_number, values)))


def _huber(residual: Traced, delta: float) -> Traced:
    far = abs(residual)
    return _apply("where", far <= delta, residual**2 / 2, delta * (far - delta / 2))


def _clip(x: Any, low: Any = None, high: Any = None, **named: Any) -> Traced:
    """Take the bounds by any name that NumPy and torch have for them; None stands for no bound."""
    for bound in (low, named.get("a_min"), named.get("min")):
        x = x if bound is None else _apply("maximum", x, bound)
    for bound in (high, named.get("a_max"), named.get("max")):
        x = x if bound is None else _apply("minimum", x, bound)
    return Traced(_unwrap(x))


def _direct(name: str) -> Callable[..., Traced]:
    return lambda self, *others: _apply(name, self, *others)


def _reflected(name: str) -> Callable[[Traced, Any], Traced]:
    return lambda self, other: _apply(name, other, self)


def _refused(message: str) -> Callable[..., NoReturn]:
    def refuse(*_: object) -> NoReturn:
        raise FormulaError(message)

    return refuse


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
    __mod__, __floordiv__ = _direct("remainder"), _direct("floor_divide")
    __pow__, __rpow__ = _direct("float_power"), _reflected("float_power")
    __neg__, __pos__, __abs__ = _direct("negative"), _direct("positive"), _direct("abs")
    __lt__, __le__ = _direct("less"), _direct("less_equal")
    __gt__, __ge__ = _direct("greater"), _direct("greater_equal")
    __eq__, __ne__ = _direct("equal"), _direct("not_equal")  # type: ignore[assignment]
    __and__, __rand__ = _direct("logical_and"), _reflected("logical_and")
    __or__, __ror__ = _direct("logical_or"), _reflected("logical_or")
    __invert__ = _direct("logical_not")
    __bool__ = _refused(_BRANCH)
    __float__ = __int__ = __index__ = __complex__ = _refused(_SCALAR)
    __iter__ = __len__ = __getitem__ = _refused(_LOOP)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Traced:
        if method != "__call__":
            raise FormulaError(f"{ufunc.__name__}.{method}{_ACROSS}")
        return self.__torch_function__(ufunc, (), inputs, kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Traced:
        return self.__torch_function__(func, types, args, kwargs)

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Traced:
        name = func.__name__.strip("_").removeprefix("special_")
        if name in ("clip", "clamp"):
            return _clip(*args, **(kwargs or {}))
        kwargs = {key: value for key, value in (kwargs or {}).items() if value is not None}
        averaged = name in _LOSSES and kwargs.pop("reduction", "mean") in ("mean", "none")
        if averaged and kwargs.keys() <= {"delta", "beta"}:
            return _LOSSES[name](*args, **kwargs)
        if name not in _REDUCTIONS and kwargs:
            raise FormulaError(
                f"the function calls {name} with the named argument {next(iter(kwargs))!r};"
                " a formula's functions take plain arguments alone"
            )
        return _apply(name, *args)

    def mean(self) -> Mean:
        """Return the mean over the rows."""
        return Mean(self.expression)

    def __getattr__(self, name: str) -> Callable[..., Traced]:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in ("clip", "clamp"):
            return functools.partial(_clip, self)
        if lookup(name) is not None:  # a tensor's methods, as in x.exp()
            return functools.partial(_apply, name, self)
        raise FormulaError(
            f"the function uses the attribute or method '.{name}' of an argument;"
            " write it as arithmetic and NumPy functions of whole columns"
        )


class Mean(Traced):
    """The mean over the rows, which is what a loss may return; nothing is computed with it."""

    __slots__ = ("of",)

    def __init__(self, of: Expr) -> None:
        self.of = of

    @property
    def expression(self) -> NoReturn:
        """What a formula would use of it."""
        raise FormulaError(f"mean{_ACROSS}")
