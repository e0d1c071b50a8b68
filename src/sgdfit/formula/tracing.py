"""A Python function to a formula: call it once with symbols and keep what it computes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import sympy

from sgdfit.errors import FormulaError
from sgdfit.formula.formula import Formula, symbol
from sgdfit.formula.limits import finite
from sgdfit.formula.traced import Traced, as_number, is_number, unwrap

__all__ = ["trace", "trace_call"]

Expr = Any  # SymPy ships no types


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
    inner, values, keywords = _opened(function)
    signature = _signature(inner)
    try:
        bound = signature.bind_partial(*values, **keywords).arguments
    except TypeError as error:
        raise FormulaError(
            f"the arguments bound by functools.partial do not fit {_name(inner)}: {error}"
        ) from None
    parameters = signature.parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    settings = {n: v for n, v in {**defaults, **bound}.items() if not is_number(v)}
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


def _opened(
    function: Callable[..., Any],
) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """Return the function inside of `functools.partial` and what is bound to it."""
    values: tuple[Any, ...] = ()
    keywords: dict[str, Any] = {}
    while isinstance(function, functools.partial):
        values, keywords = function.args + values, {**function.keywords, **keywords}
        function = function.func
    return function, values, keywords


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
        return _checked(function(*positional, **named), function)
    except FormulaError:
        raise
    except Exception as error:
        raise FormulaError(
            f"the function {_name(function)} cannot be followed: it raised"
            f" {type(error).__name__}: {error}; write it with arithmetic and NumPy functions"
        ) from error


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    try:
        signature = None if isinstance(function, np.ufunc) else inspect.signature(function)
    except (TypeError, ValueError):
        signature = None
    if signature is None:
        raise FormulaError(
            f"the arguments of {_name(function)} have no names to be read; wrap it:"
            " lambda a, x: a*f(x)"
        )
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise FormulaError(
                f"the argument '{parameter}' of {_name(function)} stands for any number of"
                " arguments; give each parameter and variable a name of its own"
            )
    return signature


def _checked(result: object, function: Callable[..., Any]) -> Expr:
    if isinstance(result, Traced):
        return finite(as_number(result.expression))
    if is_number(result):
        return finite(unwrap(result))
    raise FormulaError(
        f"the function {_name(function)} returned {type(result).__name__}, not one number"
        " for each row; end it with 'return' and an expression of its arguments"
    )


def _name(function: Callable[..., Any]) -> str:
    return repr(getattr(function, "__name__", type(function).__name__))
