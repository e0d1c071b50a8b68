"""The types of a text's columns: settled over its first block, widened where a later one asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sgdfit.data.text.delimited import parsed
from sgdfit.data.text.dialect import Dialect

__all__ = ["Types", "columns_of", "first_unlike", "settled"]

Types = Mapping[int, Any]


def settled(text: bytes, dialect: Dialect) -> Types:
    r"""Return the types of all columns of some whole rows, by position.

    Rows that cannot be read settle nothing: what is wrong with them is said once they are needed.

    Examples
    --------
    >>> from sgdfit.data.text.dialect import find_dialect
    >>> text = b"1,2.5\n3,4\n"
    >>> settled(text, find_dialect(text, "data.csv", []))
    {0: DataType(int64), 1: DataType(double)}
    """
    import pyarrow as pa

    places = range(len(dialect.names))
    try:
        table = parsed(text, dialect, places, size=len(text))
    except pa.ArrowInvalid:
        return {}
    return _known(dict(zip(places, table.schema.types, strict=True)))


def columns_of(
    text: bytes, dialect: Dialect, positions: Sequence[int], types: Types
) -> tuple[Any, Types]:
    """Return the columns at ``positions`` as an Arrow table, and their types from now on.

    Raises
    ------
    pyarrow.ArrowInvalid
        When a row has too few or too many fields.
    """
    import pyarrow as pa

    wanted = {place: types[place] for place in positions if place in types}
    try:
        table = parsed(text, dialect, positions, wanted, size=len(text), threads=False)
    except pa.ArrowInvalid:
        found = parsed(text, dialect, positions, size=len(text), threads=False)
        wanted = _wider(wanted, _named(found, positions))
        table = parsed(text, dialect, positions, wanted, size=len(text), threads=False)
    return table, {**types, **_known(_named(table, positions))}


def _named(table: Any, positions: Sequence[int]) -> dict[int, Any]:
    return {place: table.schema.field(str(place)).type for place in positions}


def _known(types: dict[int, Any]) -> dict[int, Any]:
    """Leave out columns that are empty so far."""
    import pyarrow.types as kinds

    return {place: kind for place, kind in types.items() if not kinds.is_null(kind)}


def _wider(types: Types, found: Types) -> dict[int, Any]:
    wide = {place: _both(types.get(place), kind) for place, kind in found.items()}
    return _known(wide)


def _both(kind: Any, found: Any) -> Any:
    """Return a type that holds the values of two; text where there is none."""
    import pyarrow as pa
    import pyarrow.types as kinds

    if kind is None or kind == found or kinds.is_null(found):
        return found if kind is None else kind
    for test, wide in (
        (kinds.is_binary, pa.binary()),
        (lambda t: kinds.is_integer(t) or kinds.is_floating(t), pa.float64()),
        (lambda t: kinds.is_date32(t) or t == pa.timestamp("s"), pa.timestamp("s")),
        (lambda t: kinds.is_date32(t) or _is_local(t), pa.timestamp("ns")),
    ):
        either = any if wide == pa.binary() else all
        if either(test(t) for t in (kind, found)):
            return wide
    return pa.string()


def _is_local(kind: Any) -> bool:
    import pyarrow.types as kinds

    return bool(kinds.is_timestamp(kind)) and kind.tz is None


def first_unlike(column: Any, kind: Any) -> int | None:
    """Return the first row of ``column`` that is no time, where ``kind`` is one and it is text.

    Examples
    --------
    >>> import pyarrow as pa
    >>> first_unlike(pa.chunked_array([["2020-01-01", "1.5"]]), pa.date32())
    1
    """
    import pyarrow as pa
    import pyarrow.types as kinds

    if kind is None or not kinds.is_temporal(kind) or not kinds.is_string(column.type):
        return None
    wide = kind if kinds.is_time(kind) else pa.timestamp("ns", getattr(kind, "tz", None))
    low, high = 0, len(column)
    while low < high:
        middle = (low + high) // 2
        if _casts(column.slice(0, middle + 1), wide):
            low = middle + 1
        else:
            high = middle
    return low if low < len(column) else None


def _casts(column: Any, kind: Any) -> bool:
    import pyarrow as pa

    try:
        column.cast(kind)
    except pa.ArrowInvalid:
        return False
    return True
