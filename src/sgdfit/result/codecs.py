"""Facts to strict JSON values and back, each type with its two functions.

Numbers that JSON lacks are the strings "NaN", "Infinity" and "-Infinity". Whatever is read is
checked: a wrong type is a `DataError` that names the place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sgdfit.errors import DataError

__all__ = [
    "Codec",
    "Unfinite",
    "columns",
    "flag",
    "integer",
    "integers",
    "later",
    "mapping",
    "matrix",
    "optional",
    "real",
    "reals",
    "record",
    "sequence",
    "text",
]

_NAMED = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class Codec(NamedTuple):
    """How one type of fact is written to JSON values, and read from them.

    Attributes
    ----------
    encode : callable
        fact -> JSON value.
    decode : callable
        (JSON value, where it stands) -> fact.
    required : bool
        Whether a record without this fact is refused.
    """

    encode: Callable[[Any], Any]
    decode: Callable[[Any, str], Any]
    required: bool = True


def _wrong(value: object, where: str, wanted: str) -> DataError:
    shown = repr(value)
    shown = shown if len(shown) <= 40 else f"{shown[:40]}…"
    return DataError(f"{where} is {shown}, where {wanted} is needed")


def _plain(kind: type, wanted: str) -> Codec:
    """Make the codec of a type that JSON has; a bool is no number here."""

    def decode(value: Any, where: str) -> Any:
        if type(value) is not kind:
            raise _wrong(value, where, wanted)
        return value

    return Codec(kind, decode)


class Unfinite(str):
    """The name of a number that JSON lacks, told apart from a text that happens to read so."""

    __slots__ = ()


def _encode_real(value: Any) -> float | Unfinite:
    number = float(value)
    if math.isfinite(number):
        return number
    return Unfinite("NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity")


def _decode_real(value: Any, where: str) -> float:
    if type(value) is float:
        return value
    if isinstance(value, str) and value in _NAMED:
        return _NAMED[value]
    if type(value) is int and abs(value) <= 2**63:
        return float(value)
    raise _wrong(value, where, "a number")


text = _plain(str, "a text")
flag = _plain(bool, "true or false")
integer = _plain(int, "a whole number")
real = Codec(_encode_real, _decode_real)


def optional(codec: Codec) -> Codec:
    """Let None stand as null."""
    return Codec(
        lambda fact: None if fact is None else codec.encode(fact),
        lambda value, where: None if value is None else codec.decode(value, where),
    )


def later(codec: Codec) -> Codec:
    """Let a fact be absent, as in what an older sgdfit wrote: the record's own default stands."""
    return codec._replace(required=False)


def sequence(codec: Codec, length: int | None = None) -> Codec:
    """Write a tuple as a list, of a given length if there is one."""

    def decode(value: Any, where: str) -> tuple[Any, ...]:
        if length is not None and len(_list(value, where)) != length:
            raise DataError(f"{where} has {len(value)} entries, where {length} are needed")
        return tuple(codec.decode(x, f"{where}[{i}]") for i, x in enumerate(_list(value, where)))

    return Codec(lambda facts: [codec.encode(fact) for fact in facts], decode)


def mapping(codec: Codec) -> Codec:
    """Write a dict whose keys are texts."""

    def decode(value: Any, where: str) -> dict[str, Any]:
        pairs = _object(value, where).items()
        return {key: codec.decode(entry, f"{where}.{key}") for key, entry in pairs}

    return Codec(lambda facts: {str(k): codec.encode(fact) for k, fact in facts.items()}, decode)


def record(make: Callable[..., Any], parts: Mapping[str, Codec]) -> Codec:
    """Write an object's attributes by name; reading calls ``make`` with them as keywords.

    Keys that are not known are left aside, so that a later sgdfit may add some.
    """

    def encode(fact: Any) -> dict[str, Any]:
        return {name: codec.encode(getattr(fact, name)) for name, codec in parts.items()}

    def decode(value: Any, where: str) -> Any:
        found = _object(value, where)
        missing = [name for name, c in parts.items() if c.required and name not in found]
        if missing:
            raise DataError(f"{where} lacks {', '.join(map(repr, missing))}")
        prefix = f"{where}."
        present = {name: codec for name, codec in parts.items() if name in found}
        return make(**{name: c.decode(found[name], prefix + name) for name, c in present.items()})

    return Codec(encode, decode)


def _array(codec: Codec, dtype: type) -> Codec:
    items = sequence(codec)

    def encode(array: Any) -> list[Any]:
        return [codec.encode(x) for x in np.asarray(array).tolist()]

    def decode(value: Any, where: str) -> NDArray[Any]:
        try:
            return np.array(items.decode(value, where), dtype=dtype)
        except OverflowError:
            raise DataError(f"{where} holds a number that is too large") from None

    return Codec(encode, decode)


reals = _array(real, np.float64)
integers = _array(integer, np.int64)


def _decode_matrix(value: Any, where: str) -> NDArray[np.float64]:
    rows = [reals.decode(row, f"{where}[{i}]") for i, row in enumerate(_list(value, where))]
    if any(len(row) != len(rows) for row in rows):
        raise DataError(f"{where} is not a square matrix")
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(rows))


matrix = Codec(lambda rows: [reals.encode(row) for row in np.asarray(rows)], _decode_matrix)


def _decode_columns(value: Any, where: str) -> list[NDArray[np.float64]]:
    return [reals.decode(entry, f"{where}[{i}]") for i, entry in enumerate(_list(value, where))]


columns = Codec(lambda table: [reals.encode(c) for c in np.asarray(table).T], _decode_columns)


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong(value, where, "a list")
    return value


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(value, where, "an object")
    return value
