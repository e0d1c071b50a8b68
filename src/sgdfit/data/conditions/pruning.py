"""What is known of a condition before rows are read: from the extremes of their columns.

Everything here errs to one side: what is not certain is taken to be possible.
"""

from __future__ import annotations

import decimal
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from sgdfit.data.conditions.condition import (
    Among,
    Column,
    Comparison,
    Joined,
    Literal,
    Missing,
    Not,
)
from sgdfit.data.conditions.literals import literal_scalar
from sgdfit.data.kinds import kind_of

__all__ = ["Outlook", "Range", "comparable", "outlook"]

MIRRORED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "==": "==", "!=": "!="}


class Range(NamedTuple):
    """What is known of the values of a column in some rows.

    Attributes
    ----------
    type : pyarrow.DataType
        Of the column.
    low, high : number, text or None
        No value is below or above, as `comparable` writes them; None where that is not known.
    nulls : bool
        Whether values may be missing, as null or as NaN.
    empty : bool
        Whether all values are certain to be missing.
    """

    type: Any
    low: Any
    high: Any
    nulls: bool = True
    empty: bool = False


class Outlook(NamedTuple):
    """Whether a condition may be true, false or unknown for some row."""

    true: bool
    false: bool
    null: bool

    @property
    def certain(self) -> bool:
        """Whether every row meets it."""
        return not self.false and not self.null


ANYTHING = Outlook(True, True, True)


def comparable(value: Any, kind: Any) -> Any:
    """Return an extreme of a column of type ``kind`` as a number or a text; None if it is no use.

    Examples
    --------
    >>> import datetime, pyarrow as pa
    >>> comparable(datetime.date(1970, 1, 2), pa.date32())
    86400000000
    """
    if value is None:
        return None
    held = kind_of(kind)
    if held == "numbers":
        value = float(value) if isinstance(value, decimal.Decimal | float) else int(value)
        return None if isinstance(value, float) and math.isnan(value) else value
    if held == "truth values":
        return int(value)
    if held == "text":
        return value if isinstance(value, str) else None
    return _ticks(value, kind) if held == "times" else None


def _ticks(value: Any, kind: Any) -> int | None:
    """Count microseconds, which is how literals are held; finer times are of no use."""
    import pyarrow as pa
    import pyarrow.types as kinds

    scalar = value if isinstance(value, pa.Scalar) else pa.scalar(value, kind)
    zone = scalar.type.tz if kinds.is_timestamp(scalar.type) else None
    found = scalar.cast(pa.timestamp("us", zone)).cast(pa.int64()).as_py()
    return None if found is None else int(found)


def outlook(tree: Any, ranges: Callable[[str], Range | None]) -> Outlook:
    """Say what ``tree`` may be in rows whose columns lie within ``ranges``.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from sgdfit.data.conditions.parsing import read_condition
    >>> known = {"x": Range(pa.int64(), 1, 5, nulls=False)}
    >>> outlook(read_condition("x > 7 or y == 2").tree, known.get).true
    True
    >>> outlook(read_condition("x > 7 and y == 2").tree, known.get).true
    False
    >>> outlook(read_condition("x < 7").tree, known.get).certain
    True
    """
    if isinstance(tree, Not):
        part = outlook(tree.part, ranges)
        return Outlook(part.false, part.true, part.null)
    if isinstance(tree, Joined):
        parts = [outlook(part, ranges) for part in tree.parts]
        every, some = (all, any) if tree.word == "and" else (any, all)
        return Outlook(
            every(p.true for p in parts), some(p.false for p in parts), any(p.null for p in parts)
        )
    if isinstance(tree, Missing) and isinstance(tree.operand, Column):
        known = ranges(tree.operand.name)
        return Outlook(known.nulls, not known.empty, False) if known else ANYTHING
    if isinstance(tree, Among) and isinstance(tree.operand, Column):
        compared = [_compared("==", tree.operand, value, ranges) for value in tree.values]
        return Outlook(
            any(p.true for p in compared),
            all(p.false for p in compared),
            any(p.null for p in compared),
        )
    if isinstance(tree, Comparison):
        return _sides(tree, ranges)
    return ANYTHING


def _sides(node: Comparison, ranges: Callable[[str], Range | None]) -> Outlook:
    if isinstance(node.left, Column) and isinstance(node.right, Literal):
        return _compared(node.sign, node.left, node.right, ranges)
    if isinstance(node.right, Column) and isinstance(node.left, Literal):
        return _compared(MIRRORED[node.sign], node.right, node.left, ranges)
    return ANYTHING


def _compared(
    sign: str, column: Column, literal: Literal, ranges: Callable[[str], Range | None]
) -> Outlook:
    known = ranges(column.name)
    if known is None:
        return ANYTHING
    if known.empty:
        return Outlook(False, False, True)
    value = _value(literal, known.type)
    low, high = known.low, known.high
    if value is None or low is None or high is None:
        return ANYTHING
    if any(isinstance(number, float) for number in (low, high, value)):
        # Arrow rounds both sides to float64 then.
        low, high, value = float(low), float(high), float(value)
    return Outlook(*_possible(sign, low, high, value), known.nulls)


def _value(literal: Literal, kind: Any) -> Any:
    """Return a literal as `comparable` writes values of type ``kind``; None if it cannot be."""
    if kind_of(kind) == "truth values":
        return None if isinstance(literal.value, str) else literal.value
    try:
        scalar = literal_scalar(literal, kind)
        return comparable(scalar if kind_of(kind) == "times" else scalar.as_py(), scalar.type)
    except (TypeError, ValueError, OverflowError):
        return None


def _possible(sign: str, low: Any, high: Any, value: Any) -> tuple[bool, bool]:
    """Say whether a number between ``low`` and ``high`` may compare as true, and as false."""
    if sign in ("==", "!="):
        same, other = bool(low <= value <= high), not low == value == high
        return (same, other) if sign == "==" else (other, same)
    if sign in ("<", "<="):
        inside = (low < value, high >= value) if sign == "<" else (low <= value, high > value)
    else:
        inside = (high > value, low <= value) if sign == ">" else (high >= value, low < value)
    return bool(inside[0]), bool(inside[1])
