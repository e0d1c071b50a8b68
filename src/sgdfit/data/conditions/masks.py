"""Which rows of a batch meet a condition.

Comparisons have three values, as in SQL: with something missing, a null or NaN, they are not
known, and a row counts only where the whole condition is known to be true.
"""

from __future__ import annotations

import functools
from typing import Any

from sgdfit.data.conditions.condition import (
    Among,
    Arithmetic,
    Column,
    Comparison,
    Condition,
    Joined,
    Literal,
    Missing,
    Not,
)
from sgdfit.data.conditions.literals import literal_scalar
from sgdfit.data.decimals import floats_of_decimals
from sgdfit.data.kinds import kind_of
from sgdfit.data.scalars import array_of, numbers_of, scalar_of
from sgdfit.data.wording import reason_of
from sgdfit.errors import DataError

__all__ = ["mask_of"]

FUNCTIONS = {
    "==": "equal",
    "!=": "not_equal",
    "<": "less",
    "<=": "less_equal",
    ">": "greater",
    ">=": "greater_equal",
    "+": "add",
    "-": "subtract",
    "*": "multiply",
    "/": "divide",
}


def mask_of(condition: Condition, batch: Any) -> Any:
    """Return an Arrow array of truth values without nulls, one a row of ``batch``.

    Parameters
    ----------
    condition : Condition
        What rows have to meet.
    batch : pyarrow.RecordBatch
        Holds the columns ``condition.names`` by these names.

    Raises
    ------
    DataError
        When what is compared is not of one kind.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from sgdfit.data.conditions.parsing import read_condition
    >>> batch = pa.record_batch({"x": [1.0, None, 3.0], "s": ["A", "A", "B"]})
    >>> mask_of(read_condition("not x > 2 or s == 'B'"), batch).to_pylist()
    [True, False, True]
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = {name: _plain(batch.column(name)) for name in condition.names}
    try:
        found = _truth(condition.tree, columns, condition)
    except pa.ArrowException as error:
        raise DataError(
            f"where={condition.text!r} cannot be evaluated ({reason_of(error)}); compare"
            " numbers with numbers, text with text and times with text such as '2024-03-01'"
        ) from error
    if isinstance(found, pa.Scalar):
        return pa.repeat(scalar_of(bool(found.as_py()), pa.bool_()), batch.num_rows)
    return pc.fill_null(found, scalar_of(False, pa.bool_())) if found.null_count else found


def _plain(array: Any) -> Any:
    """Take off encodings, and choose of each kind a type that Arrow can compare."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as kinds

    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(array.storage)
    if kinds.is_dictionary(kind):
        return _plain(_plain(array.dictionary).take(array.indices))
    if kinds.is_run_end_encoded(kind):
        return _plain(pc.run_end_decode(array))
    if kind_of(kind) == "text" and not kinds.is_string(kind):
        array = array.cast(pa.binary()) if kinds.is_fixed_size_binary(kind) else array
        return array.cast(pa.large_string())
    if kinds.is_decimal(kind):
        return numbers_of(floats_of_decimals(array))
    if kinds.is_float16(kind):
        return array.cast(pa.float64())
    return array


def _truth(node: Any, columns: dict[str, Any], condition: Condition) -> Any:
    """Evaluate what is true, false or null for each row."""
    import pyarrow.compute as pc
    import pyarrow.types as kinds

    if isinstance(node, Not):
        return pc.invert(_truth(node.part, columns, condition))
    if isinstance(node, Joined):
        join = pc.and_kleene if node.word == "and" else pc.or_kleene
        found = _truth(node.parts[0], columns, condition)
        for part in node.parts[1:]:
            found = join(found, _truth(part, columns, condition))
        return found
    if isinstance(node, Missing):
        return pc.is_null(_value(node.operand, columns, condition), nan_is_null=True)
    if isinstance(node, Comparison):
        return _compared(node, columns, condition)
    if isinstance(node, Among):
        return _among(node, columns, condition)
    value = _value(node, columns, condition)
    if kinds.is_boolean(value.type):
        return value
    raise DataError(
        f"where={condition.text!r} takes {_words(node)} for true or false, but it holds"
        f" {kind_of(value.type)}; compare it, as in {_words(node)} > 0"
    )


def _value(node: Any, columns: dict[str, Any], condition: Condition) -> Any:
    """Evaluate an operand; truth values may be operands too, as in ``flag == true``."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(node, Column):
        return columns[node.name]
    if isinstance(node, Literal):
        return literal_scalar(node, _own_type(node))
    if not isinstance(node, Arithmetic):
        return _truth(node, columns, condition)
    sides = []
    for side in (node.left, node.right):
        value = _value(side, columns, condition)
        if kind_of(value.type) not in ("numbers", "nothing"):
            raise DataError(
                f"where={condition.text!r} computes with {_words(side)}, which holds"
                f" {kind_of(value.type)}; only numbers can be added, subtracted, multiplied"
                " and divided"
            )
        sides.append(value.cast(pa.float64(), safe=False))
    return pc.call_function(FUNCTIONS[node.sign], sides)


def _own_type(literal: Literal) -> Any:
    import pyarrow as pa

    if isinstance(literal.value, bool):
        return pa.bool_()
    return pa.string() if isinstance(literal.value, str) else pa.float64()


def _compared(node: Comparison, columns: dict[str, Any], condition: Condition) -> Any:
    import pyarrow.compute as pc

    left, right = _value(node.left, columns, condition), _value(node.right, columns, condition)
    if isinstance(node.right, Literal):
        left, right = _fitting(left, node.right, node.left, condition)
    elif isinstance(node.left, Literal):
        right, left = _fitting(right, node.left, node.right, condition)
    else:
        left, right = _alike(left, right, node, condition)
    return pc.call_function(FUNCTIONS[node.sign], [_known(left), _known(right)])


def _known(value: Any) -> Any:
    """Make NaN a null: Arrow calls it unequal to all, which would choose rows that are missing."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as kinds

    if isinstance(value, pa.Scalar) or not kinds.is_floating(value.type):
        return value
    lost = pc.is_nan(value)
    if not pc.any(lost).as_py():
        return value
    return pc.if_else(lost, pa.scalar(None, value.type), value)


def _fitting(value: Any, literal: Literal, node: Any, condition: Condition) -> tuple[Any, Any]:
    """Bring a column and a literal to types that Arrow compares exactly."""
    import pyarrow as pa
    import pyarrow.types as kinds

    if kinds.is_boolean(value.type) and not isinstance(literal.value, bool | str):
        value = value.cast(pa.int8())
    try:
        scalar = literal_scalar(literal, value.type)
    except (TypeError, ValueError) as error:
        raise DataError(_mismatch(value.type, literal, node, condition)) from error
    if scalar.type == pa.float64() and not isinstance(value, pa.Scalar):
        value = value.cast(pa.float64(), safe=False)
    return value, scalar


def _among(node: Among, columns: dict[str, Any], condition: Condition) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    value = _known(_value(node.operand, columns, condition))
    fitted = [_fitting(value, literal, node.operand, condition) for literal in node.values]
    if kind_of(value.type) not in ("numbers", "text"):
        equal = [pc.equal(column, scalar) for column, scalar in fitted]
        return functools.reduce(pc.or_kleene, equal)
    # Where one of the numbers is no integer, all are compared as float64.
    common = next((s.type for _, s in fitted if s.type == pa.float64()), fitted[0][1].type)
    values = array_of([scalar.cast(common, safe=False).as_py() for _, scalar in fitted], common)
    found = pc.is_in(value.cast(common, safe=False), value_set=values)
    return pc.if_else(pc.is_valid(value), found, scalar_of(None, pa.bool_()))


def _alike(left: Any, right: Any, node: Comparison, condition: Condition) -> tuple[Any, Any]:
    """Refuse a comparison of columns of different kinds."""
    import pyarrow as pa

    kinds = kind_of(left.type), kind_of(right.type)
    if kinds[0] != kinds[1] and "nothing" not in kinds:
        raise DataError(
            f"where={condition.text!r} compares {_words(node.left)}, which holds {kinds[0]}, with"
            f" {_words(node.right)}, which holds {kinds[1]}; compare columns of one kind"
        )
    if left.type != right.type and kinds == ("numbers", "numbers"):
        return left.cast(pa.float64(), safe=False), right.cast(pa.float64(), safe=False)
    return left, right


def _mismatch(kind: Any, literal: Literal, node: Any, condition: Condition) -> str:
    held = kind_of(kind)
    advice = {
        "numbers": "compare it with a number, without quotation marks",
        "text": f"write {str(literal.value)!r} in quotation marks",
        "times": "write a date or time in quotation marks, such as '2024-03-01' or"
        " '2024-03-01T12:30'",
        "truth values": "compare it with true or false",
    }.get(held, "it cannot be compared")
    return (
        f"where={condition.text!r} compares {_words(node)}, which holds {held}, with"
        f" {literal.value!r}; {advice}"
    )


def _words(node: Any) -> str:
    if isinstance(node, Column):
        return f"column {node.name!r}"
    if isinstance(node, Literal):
        return repr(node.value)
    return "an expression"
