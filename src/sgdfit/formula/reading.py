"""What a user writes as a formula, be it text or a function, as a `Formula`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sgdfit.errors import UsageError
from sgdfit.formula.formula import Formula
from sgdfit.formula.parsing import parse, parse_expression
from sgdfit.formula.tracing import trace


def as_formula(formula: str | Callable[..., Any] | Formula, response: str | None = None) -> Formula:
    """Return a `Formula` from text, a Python function or a formula.

    ``response`` is the left side, where ``formula`` has none.

    Examples
    --------
    >>> print(as_formula(lambda k, t: 2**-(k*t), response="mass"))
    mass = 2**(-k*t)
    """
    if isinstance(formula, str):
        parsed = parse(formula)
    elif isinstance(formula, Formula):
        parsed = formula
    elif callable(formula):
        parsed = trace(formula)
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
