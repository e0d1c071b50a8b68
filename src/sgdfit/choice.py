"""A choice written as text, such as ``adam(beta1=0.8)``: read, checked and spelled out again."""

from __future__ import annotations

import ast
import contextlib
import inspect
import math
import numbers
import re
import reprlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from sgdfit.errors import UsageError, did_you_mean

T = TypeVar("T")

LONGEST_TEXT = 200
# A hyphen between letters belongs to a name (inverse-time, weight-decay), never to 1e-3 or =-1.
_HYPHEN_IN_NAME = re.compile(r"(?<=[A-Za-z_])-(?=[A-Za-z_])")
_PLAIN = re.compile(r"\b(float|int|bool)\b")


def choose(text: str, table: Mapping[str, Callable[..., T]], what: str, **given: Any) -> T:
    """Read a choice such as ``sgd(momentum=0.9, nesterov=True)`` and build what it names.

    The text is parsed, never executed: a name of ``table``, with or without options that are
    numbers, ``True``, ``False``, words or again a choice (``averaged(adam)``). The signatures
    of the factories say which options are allowed; others that are ``given`` go to the factory and
    to those nested in it. ``what`` names the kind of choice in messages.

    >>> choose("scale(factor=-2)", {"scale": lambda factor, offset=0: (factor, offset)}, "map")
    (-2, 0)
    >>> choose("half", {"half": lambda rate: rate / 2}, "schedule", rate=0.2)
    0.1
    """
    known = ", ".join(table)
    if not isinstance(text, str):
        raise UsageError(
            f"The {what} must be given as text, not {reprlib.repr(text)}; known are {known}."
        )
    if len(text) > LONGEST_TEXT:
        raise UsageError(
            f"The {what} {reprlib.repr(text)} is {len(text)} characters long;"
            f" at most {LONGEST_TEXT} are allowed."
        )
    text = _HYPHEN_IN_NAME.sub("_", text.strip())
    unreadable = UsageError(
        f"Cannot read the {what} {text!r}; write a name, or a name with options in parentheses,"
        f" such as name(option=0.5); known are {known}."
    )

    def build(node: ast.expr) -> Any:
        call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
        if not isinstance(call.func, ast.Name) or None in [each.arg for each in call.keywords]:
            raise unreadable from None
        name = call.func.id
        if name not in table:
            raise UsageError(
                f"Unknown {what} {name!r}; known are {known}.{did_you_mean(name, table)}"
            )
        parameters = inspect.signature(table[name]).parameters
        nodes = _options(call, f"the {what} {name!r}", parameters, given)
        values = {key: value(each, parameters[key], name) for key, each in nodes.items()}
        missing = [
            key
            for key, parameter in parameters.items()
            if parameter.default is parameter.empty and key not in {*values, *given}
        ]
        if missing:
            raise UsageError(
                f"The {what} {name!r} lacks {' and '.join(missing)};"
                f" write for example {name}({', '.join(f'{key}=…' for key in missing)})."
            )
        return table[name](**values, **given)

    def value(node: ast.expr, option: inspect.Parameter, name: str) -> object:
        declared = option.annotation
        # what is declared as something else than a number
        nested = declared is not option.empty and not _PLAIN.search(str(declared))
        worded = "str" in str(declared)
        with contextlib.suppress(ValueError, TypeError):
            found = ast.literal_eval(node)
            if isinstance(found, bool | int | float) or (worded and isinstance(found, str)):
                return found
        match node:
            case ast.Name(id="true" | "false" as word):
                return word == "true"
            case ast.Name(id=str() as word) if worded:
                return word
            case ast.Name(id=inner) | ast.Call(func=ast.Name(id=inner)) if inner in table or nested:
                return build(node)
        allowed = f"again one of {known}" if nested else "a number, True or False"
        raise UsageError(
            f"The option {option.name!r} of the {what} {name!r} must be {allowed},"
            f" not {ast.unparse(node)!r}."
        )

    try:
        with warnings.catch_warnings():
            # Python warns about literals such as 1if; they are refused below anyway.
            warnings.simplefilter("ignore", SyntaxWarning)
            tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise unreadable from None
    return build(tree)  # type: ignore[no-any-return]


def _options(
    call: ast.Call,
    what: str,
    parameters: Mapping[str, inspect.Parameter],
    given: Mapping[str, Any],
) -> dict[str, ast.expr]:
    """Return the node of each option, those without a name in the order of the signature."""
    allowed = [key for key in parameters if key not in given]
    listed = f"allowed are {', '.join(allowed)}" if allowed else "it takes no options"
    if len(call.args) > len(parameters):
        raise UsageError(
            f"{what[:1].upper()}{what[1:]} got {len(call.args)} options without a name; {listed}."
        )
    nodes: dict[str, ast.expr] = {}
    unnamed = zip(parameters, call.args, strict=False)
    for key, node in (*unnamed, *((str(each.arg), each.value) for each in call.keywords)):
        if key not in parameters:
            hint = did_you_mean(key, allowed)
            raise UsageError(f"Unknown option {key!r} of {what}; {listed}.{hint}")
        if key in nodes or key in given:
            where = "twice" if key in nodes else "in the text and outside of it"
            raise UsageError(f"The option {key!r} of {what} is set {where}; set it once.")
        nodes[key] = node
    return nodes


def spell(name: str, factory: Callable[..., object], options: Mapping[str, object]) -> str:
    """Return the text from which `choose` builds ``factory(**options)``; defaults are left out.

    A value that is text already, such as a nested choice, is taken as it stands.
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
    """Return ``value`` as a finite float, or say that ``what`` must be a number."""
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
    """Return ``value`` as an int, or say that ``what`` must be a whole number from ``least`` on."""
    result = number(value, what)
    if result != int(result) or result < least:
        raise UsageError(f"{what} must be a whole number, {least} or more, not {value!r}.")
    return int(value)


def switch(value: Any, what: str) -> bool:
    """Return ``value`` as a bool, or say that ``what`` must be True or False."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    raise UsageError(f"{what} must be True or False, not {reprlib.repr(value)}.")


def one_of(value: Any, what: str, allowed: Sequence[str]) -> str:
    """Return ``value``, or say which words ``what`` may be."""
    if isinstance(value, str) and value in allowed:
        return value
    *most, last = map(repr, allowed)
    raise UsageError(
        f"{what} is {reprlib.repr(value)}; it is {', '.join(most)} or {last}."
        + did_you_mean(str(value), allowed)
    )
