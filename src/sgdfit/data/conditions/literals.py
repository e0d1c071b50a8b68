"""What stands in a condition -> Arrow scalars that can be compared with a column."""

from __future__ import annotations

import datetime
from typing import Any

from sgdfit.data.conditions.condition import Literal
from sgdfit.data.kinds import kind_of, plain_type
from sgdfit.data.scalars import scalar_of

__all__ = ["literal_scalar"]

EPOCH = datetime.datetime(1970, 1, 1)


def literal_scalar(literal: Literal, kind: Any) -> Any:
    """Return ``literal`` as an Arrow scalar that can be compared with a column of type ``kind``.

    Raises
    ------
    TypeError
        When it is of another kind.
    ValueError
        When it is a text that is no time.

    Examples
    --------
    >>> import pyarrow as pa
    >>> literal_scalar(Literal(2), pa.float32()), literal_scalar(Literal("a"), pa.string())
    (<pyarrow.DoubleScalar: 2.0>, <pyarrow.StringScalar: 'a'>)
    """
    import pyarrow as pa
    import pyarrow.types as kinds

    value, kind = literal.value, plain_type(kind)
    held = kind_of(kind)
    if held == "nothing":
        return scalar_of(None, pa.null())
    if held == "truth values" and isinstance(value, bool):
        return scalar_of(value, pa.bool_())
    if held == "text" and isinstance(value, str):
        return scalar_of(value, pa.string() if kinds.is_string(kind) else pa.large_string())
    if held == "times" and isinstance(value, str):
        return _time(value, kind)
    if held == "numbers" and not isinstance(value, str):
        return _number(value, kind)
    raise TypeError(held)


def _number(value: float, kind: Any) -> Any:
    """Keep integers exact where both are; Arrow would round them to float32 beside one."""
    import pyarrow as pa
    import pyarrow.types as kinds

    if kinds.is_integer(kind) and isinstance(value, int):
        if kind == pa.uint64() and 0 <= value < 2**64:
            return scalar_of(value, pa.uint64())
        if kind != pa.uint64() and -(2**63) <= value < 2**63:
            return scalar_of(int(value), pa.int64())
    return scalar_of(float(value), pa.float64())


def _time(text: str, kind: Any) -> Any:
    """Read a time as ISO 8601; without a zone it stands in that of the column."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as kinds

    moment = datetime.datetime.fromisoformat(text.strip())
    zone = kind.tz if kinds.is_timestamp(kind) else None
    aware = moment.tzinfo is not None
    bare = moment.astimezone(datetime.UTC).replace(tzinfo=None) if aware else moment
    ticks = (bare - EPOCH) // datetime.timedelta(microseconds=1)
    if zone and not aware:
        return pc.assume_timezone(scalar_of(ticks, pa.timestamp("us")), zone)
    return scalar_of(ticks, pa.timestamp("us", zone))
