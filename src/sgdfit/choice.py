"""A choice written as text, such as ``adam(beta1=0.8)``: read, checked and spelled out again."""

from __future__ import annotations

import ast
import inspect
import math
import numbers
import re
import reprlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from sgdfit.errors import UsageError, did_you_mean

__all__ = ["choose", "number", "spell", "switch", "whole"]

T = TypeVar("T")

LONGEST_TEXT = 200
# A hyphen between letters belongs to a name (inverse-time, weight-decay), never to 1e-3 or =-1.
_HYPHEN_IN_NAME = re.compile(r"(?<=[A-Za-z_])-(?=[A-Za-z_])")

_PLAIN = re.compile(r"\b(float|int|bool)\b")


class _Request(NamedTuple, Generic[T]):
    """What is read, where names are looked up, and which options come from elsewhere."""

    text: str
    table: Mapping[str, Callable[..., T]]
    what: str
    given: Mapping[str, Any]


def choose(text: str, table: Mapping[str, Callable[..., T]], what: str, **given: Any) -> T:
    """Read a choice such as ``sgd(momentum=0.9, nesterov=True)`` and build what it names.

    The text is parsed, never executed: a name of ``table``, with or without options that are
    numbers, ``True``, ``False``, or again a choice from the same table (``averaged(adam)``).
    Hyphens in names are read as underscores.

    Parameters
    ----------
    text : str
        The choice, 200 characters at most.
    table : mapping of str to callable
        The factories, by name; their signatures say which options are allowed.
    what : str
        What is chosen, for messages: ``"optimizer"``, ``"schedule"``, ``"loss"``.
    **given
        Further options, passed to the factory and to those nested in it.

    Returns
    -------
    object
        What the named factory returns.

    Raises
    ------
    UsageError
        When the text cannot be read, a name or an option is not known, an option is set
        twice or missing.

    Examples
    --------
    >>> choose("scale(factor=-2)", {"scale": lambda factor, offset=0: (factor, offset)}, "map")
    (-2, 0)
    >>> choose("half", {"half": lambda rate: rate / 2}, "schedule", rate=0.2)
    0.1
    >>> choose("shale", {"scale": lambda factor: factor}, "map")
    Traceback (most recent call last):
    ...
    sgdfit.errors.UsageError: Unknown map 'shale'; known are scale. Did you mean 'scale'?
    """
    if not isinstance(text, str):
        raise UsageError(
            f"The {what} must be given as text, not {reprlib.repr(text)};"
            f" known are {_names(table)}."
        )
    if len(text) > LONGEST_TEXT:
        raise UsageError(
            f"The {what} {reprlib.repr(text)} is {len(text)} characters long;"
            f" at most {LONGEST_TEXT} are allowed."
        )
    request = _Request(_HYPHEN_IN_NAME.sub("_", text.strip()), table, what, given)
    return _build(_parse(request), request)


def _parse(request: _Request[T]) -> ast.expr:
    try:
        with warnings.catch_warnings():
            # Python warns about literals such as 1if; they are refused below anyway.
            warnings.simplefilter("ignore", SyntaxWarning)
            return ast.parse(request.text, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise _unreadable(request) from None


def _build(node: ast.expr, request: _Request[T]) -> T:
    """Call the factory that ``node`` names with the options that it sets."""
    call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
    if not isinstance(call.func, ast.Name):
        raise _unreadable(request)
    name = call.func.id
    if name not in request.table:
        raise UsageError(
            f"Unknown {request.what} {name!r}; known are {_names(request.table)}."
            f"{did_you_mean(name, request.table)}"
        )
    factory = request.table[name]
    parameters = inspect.signature(factory).parameters
    nodes = _named_options(call, name, parameters, request)
    values = {option: _value(nodes[option], parameters[option], name, request) for option in nodes}
    missing = [
        option
        for option, parameter in parameters.items()
        if parameter.default is parameter.empty and option not in {*values, *request.given}
    ]
    if missing:
        raise UsageError(
            f"The {request.what} {name!r} lacks {' and '.join(missing)};"
            f" write for example {name}({', '.join(f'{option}=…' for option in missing)})."
        )
    return factory(**values, **request.given)


def _named_options(
    call: ast.Call,
    name: str,
    parameters: Mapping[str, inspect.Parameter],
    request: _Request[T],
) -> dict[str, ast.expr]:
    """Return the node of each option, those without a name in the order of the signature."""
    allowed = [option for option in parameters if option not in request.given]
    listed = f"allowed are {', '.join(allowed)}" if allowed else "it takes no options"
    if len(call.args) > len(parameters):
        raise UsageError(
            f"The {request.what} {name!r} got {len(call.args)} options without a name; {listed}."
        )
    pairs = [*zip(parameters, call.args, strict=False)]
    for keyword in call.keywords:
        if keyword.arg is None:
            raise _unreadable(request)
        pairs.append((keyword.arg, keyword.value))
    nodes: dict[str, ast.expr] = {}
    for option, node in pairs:
        if option not in parameters:
            raise UsageError(
                f"Unknown option {option!r} of the {request.what} {name!r}; {listed}."
                f"{did_you_mean(option, allowed)}"
            )
        if option in nodes or option in request.given:
            where = "twice" if option in nodes else "in the text and outside of it"
            raise UsageError(
                f"The option {option!r} of the {request.what} {name!r} is set {where}; set it once."
            )
        nodes[option] = node
    return nodes


def _value(node: ast.expr, option: inspect.Parameter, name: str, request: _Request[T]) -> object:
    """Return the number, the boolean or the nested choice that ``node`` writes."""
    match node:
        case ast.Constant(value=bool() | int() | float() as value):
            return value
        case ast.UnaryOp(
            op=ast.USub() | ast.UAdd() as sign, operand=ast.Constant(value=int() | float() as value)
        ) if not isinstance(value, bool):
            return -value if isinstance(sign, ast.USub) else value
        case ast.Name(id=known) | ast.Call(func=ast.Name(id=known)) if (
            known in request.table or _is_nested(option)
        ):
            return _build(node, request)
    allowed = "a number, True or False"
    if _is_nested(option):
        allowed = f"again one of {_names(request.table)}"
    raise UsageError(
        f"The option {option.name!r} of the {request.what} {name!r} must be {allowed},"
        f" not {ast.unparse(node)!r}."
    )


def _is_nested(option: inspect.Parameter) -> bool:
    """Tell an option that is declared as something else than a number: as a nested choice."""
    declared = option.annotation
    return declared is not option.empty and not _PLAIN.search(str(declared))


def _unreadable(request: _Request[T]) -> UsageError:
    return UsageError(
        f"Cannot read the {request.what} {request.text!r}; write a name, or a name with options"
        f" in parentheses, such as name(option=0.5); known are {_names(request.table)}."
    )


def _names(table: Mapping[str, object]) -> str:
    return ", ".join(table)


def spell(name: str, factory: Callable[..., object], options: Mapping[str, object]) -> str:
    """Return the text from which `choose` builds ``factory(**options)``; defaults are left out.

    A value that is text already, such as a nested choice, is taken as it stands.

    Examples
    --------
    >>> def sgd(momentum=0.0, nesterov=False): ...
    >>> spell("sgd", sgd, {"momentum": 0.9, "nesterov": 1.0})
    'sgd(momentum=0.9, nesterov=True)'
    >>> spell("sgd", sgd, {"momentum": 0.0})
    'sgd'
    """
    parts = []
    for option, parameter in inspect.signature(factory).parameters.items():
        value = options.get(option, parameter.default)
        if value is parameter.default or value == parameter.default:
            continue
        shown = bool(value) if isinstance(parameter.default, bool) else value
        parts.append(f"{option}={shown if isinstance(shown, str) else repr(shown)}")
    return f"{name}({', '.join(parts)})" if parts else name


def number(value: Any, what: str) -> float:
    """Return ``value`` as a finite float, or say that ``what`` must be a number.

    Raises
    ------
    UsageError
        When it is not a real number, or not finite.

    Examples
    --------
    >>> number(np.float32(0.5), "momentum")
    0.5
    >>> number("0.5", "momentum")
    Traceback (most recent call last):
    ...
    sgdfit.errors.UsageError: momentum must be a finite number, not '0.5'.
    """
    scalar = isinstance(value, numbers.Real) or getattr(value, "shape", None) == ()
    if scalar and not isinstance(value, (bool, np.bool_)) and not np.iscomplexobj(value):
        try:
            result = float(value)
        except (TypeError, ValueError, OverflowError):
            result = math.nan
        if math.isfinite(result):
            return result
    raise UsageError(f"{what} must be a finite number, not {reprlib.repr(value)}.")


def whole(value: Any, what: str, least: int) -> int:
    """Return ``value`` as an int, or say that ``what`` must be a whole number from ``least`` on.

    Raises
    ------
    UsageError
        When it is not whole, or less than ``least``.

    Examples
    --------
    >>> whole(1e3, "steps", 1)
    1000
    """
    result = number(value, what)
    if result != int(result) or result < least:
        raise UsageError(f"{what} must be a whole number, {least} or more, not {value!r}.")
    return int(value)


def switch(value: Any, what: str) -> bool:
    """Return ``value`` as a bool, or say that ``what`` must be True or False.

    Raises
    ------
    UsageError
        When it is anything else.

    Examples
    --------
    >>> switch(np.True_, "nesterov")
    True
    """
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    raise UsageError(f"{what} must be True or False, not {reprlib.repr(value)}.")
