"""Records as values of strict JSON and back, as the types of their fields declare them.

Every number is written with as many digits as it takes to read back the same float; what JSON has
no number for (infinities, not a number) is written as text. A wrong value is named with its place.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import cache
from types import UnionType
from typing import Annotated, Any, TypeAlias, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from sgdfit.errors import DataError

# A table whose columns, not rows, are the lists in a file.
Table: TypeAlias = Annotated[NDArray[np.float64], "by column"]

INT64_LIMIT = 2**63
_UNFINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_WANTED = {
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "a list",
    dict: "an object",
}


@cache
def declared(kind: type) -> dict[str, tuple[Any, bool]]:
    """Return the type of each field of a dataclass or NamedTuple, and whether it has a default."""
    hints = get_type_hints(kind, include_extras=True)
    parameters = inspect.signature(kind).parameters.values()
    return {p.name: (hints[p.name], p.default is not p.empty) for p in parameters}


def unfinite_name(value: float) -> str:
    """Return the text that stands for a number that JSON lacks."""
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def encode(value: Any, kind: Any, unfinite: Callable[[float], Any] = unfinite_name) -> Any:
    """Return a fact of the type ``kind`` as JSON values; ``unfinite`` writes NaN and infinities."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return encode(np.asarray(value).T, inner[0], unfinite)
    if origin in (UnionType, Union):
        return None if value is None else encode(value, inner[0], unfinite)
    if origin is tuple:
        kinds = _kinds(inner, len(value))
        return [encode(v, k, unfinite) for v, k in zip(value, kinds, strict=True)]
    if origin is dict:
        return {str(key): encode(v, inner[1], unfinite) for key, v in value.items()}
    if np.ndarray in (origin, kind):
        array: NDArray[Any] = np.asarray(value, dtype=_item(kind))
        odd = ~np.isfinite(array)
        if odd.any():
            named = array.astype(object)
            named[odd] = [unfinite(x) for x in array[odd].tolist()]
            array = named
        return array.tolist()
    if kind is float:
        return float(value) if math.isfinite(value) else unfinite(value)
    if kind in _WANTED:
        return kind(value)
    facts = declared(kind).items()
    return {name: encode(getattr(value, name), part, unfinite) for name, (part, _) in facts}


def decode(value: Any, kind: Any, where: str) -> Any:
    """Return the fact of the type ``kind`` that JSON values hold.

    Keys that are not known are left aside, so that a later sgdfit may add some; a field that has a
    default may be absent, as in what an older one wrote. A value of another type is a `DataError`
    that names its place.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return decode(value, inner[0], where).T
    if origin in (UnionType, Union):
        return None if value is None else decode(value, inner[0], where)
    if origin is tuple:
        values = _typed(value, list, where)
        # numbers of the right type need no look at each
        if inner[0] in (int, float) and inner[-1] is ... and set(map(type, values)) <= {inner[0]}:
            return tuple(values)
        kinds = _kinds(inner, len(values))
        if len(values) != len(kinds):
            raise DataError(f"{where} has {len(values)} entries, where {len(kinds)} are needed")
        return tuple(decode(values[i], k, f"{where}[{i}]") for i, k in enumerate(kinds))
    if origin is dict:
        entries = _typed(value, dict, where).items()
        return {key: decode(entry, inner[1], f"{where}.{key}") for key, entry in entries}
    if np.ndarray in (origin, kind):
        return _array(value, _item(kind), where)
    if kind is float:
        return _number(value, where)
    if kind in _WANTED:
        return _typed(value, kind, where)
    return _record(_typed(value, dict, where), kind, where)


def _record(found: dict[str, Any], kind: Any, where: str) -> Any:
    facts = declared(kind)
    missing = [n for n, (_, optional) in facts.items() if n not in found and not optional]
    if missing:
        raise DataError(f"{where} lacks {', '.join(map(repr, missing))}")
    known = {name: part for name, (part, _) in facts.items() if name in found}
    return kind(**{name: decode(found[name], k, f"{where}.{name}") for name, k in known.items()})


def _array(value: Any, item: type, where: str) -> NDArray[Any]:
    lists: Any = tuple[item, ...]  # type: ignore[valid-type]
    first = next(iter(_typed(value, list, where)), None)
    try:
        kind = tuple[lists, ...] if isinstance(first, list) else lists
        return np.array(decode(value, kind, where), dtype=item)
    except OverflowError:
        raise DataError(f"{where} holds a number that is too large") from None
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{where} has lists of different lengths") from None


def _number(value: Any, where: str) -> float:
    if isinstance(value, str) and value in _UNFINITE:
        return _UNFINITE[value]
    if type(value) is float or (type(value) is int and abs(value) <= INT64_LIMIT):
        return float(value)
    raise _wrong(value, where, float)


def _typed(value: Any, kind: type, where: str) -> Any:
    if type(value) is not kind:  # so that a bool is no number
        raise _wrong(value, where, kind)
    if isinstance(value, int) and abs(value) > INT64_LIMIT:
        raise DataError(f"{where} is a number of {len(str(abs(value)))} digits, which is too large")
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:  # half of a pair, which JSON can write as \ud800
            odd = error.object[error.start]
            raise DataError(f"{where} holds {odd!a}, which is no letter") from error
    return value


def _wrong(value: object, where: str, kind: type) -> DataError:
    shown = repr(value)
    shown = shown if len(shown) <= 40 else f"{shown[:40]}…"
    return DataError(f"{where} is {shown}, where {_WANTED[kind]} is needed")


def _kinds(inner: tuple[Any, ...], count: int) -> tuple[Any, ...]:
    return (inner[0],) * count if inner[-1] is ... else inner


def _item(kind: Any) -> type:
    return int if "int64" in str(kind) else float
