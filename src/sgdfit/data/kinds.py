"""What columns of an Arrow type hold: numbers, text, times, truth values."""

from __future__ import annotations

from typing import Any

__all__ = ["kind_of", "plain_type"]


def plain_type(kind: Any) -> Any:
    """Take off dictionary, run-end and extension encoding.

    Examples
    --------
    >>> import pyarrow as pa
    >>> plain_type(pa.dictionary(pa.int8(), pa.string()))
    DataType(string)
    """
    import pyarrow as pa
    import pyarrow.types as kinds

    if isinstance(kind, pa.BaseExtensionType):
        return plain_type(kind.storage_type)
    if kinds.is_dictionary(kind) or kinds.is_run_end_encoded(kind):
        return plain_type(kind.value_type)
    return kind


def kind_of(kind: Any) -> str:
    """Return ``numbers``, ``truth values``, ``times``, ``text``, ``nothing`` or the type's name.

    Examples
    --------
    >>> import pyarrow as pa
    >>> [kind_of(kind) for kind in (pa.int8(), pa.date32(), pa.large_string(), pa.null())]
    ['numbers', 'times', 'text', 'nothing']
    """
    import pyarrow.types as kinds

    kind = plain_type(kind)
    if kinds.is_null(kind):
        return "nothing"
    if kinds.is_boolean(kind):
        return "truth values"
    if kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_decimal(kind):
        return "numbers"
    if kinds.is_timestamp(kind) or kinds.is_date(kind):
        return "times"
    text = (kinds.is_string, kinds.is_large_string, kinds.is_string_view)
    binary = (kinds.is_binary, kinds.is_large_binary, kinds.is_binary_view)
    if any(test(kind) for test in (*text, *binary, kinds.is_fixed_size_binary)):
        return "text"
    return str(kind)
