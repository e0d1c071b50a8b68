"""Python values as Arrow arrays, written by hand.

Where pandas is installed, pyarrow imports it as soon as it makes an array or a scalar of Python
values, which takes longer than a small fit and 50 MB.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["array_of", "as_bools", "bools_of", "numbers_of", "scalar_of"]

Array = np.ndarray[Any, Any]


def array_of(values: Sequence[Any], kind: Any) -> Any:
    """Return numbers, times in ticks or texts as an Arrow array of type ``kind``.

    Examples
    --------
    >>> import pyarrow as pa
    >>> array_of(["a", "bc"], pa.string()).to_pylist(), array_of([1], pa.float64()).to_pylist()
    (['a', 'bc'], [1.0])
    """
    import pyarrow as pa
    import pyarrow.types as kinds

    if kinds.is_boolean(kind):
        return bools_of(np.array(values, bool))
    if not (kinds.is_string(kind) or kinds.is_large_string(kind)):
        ticks = np.int64 if kinds.is_temporal(kind) else kind.to_pandas_dtype()
        content = pa.py_buffer(np.array(values, ticks))
        return pa.Array.from_buffers(kind, len(values), [None, content])
    texts = [value.encode() for value in values]
    width = np.int64 if kinds.is_large_string(kind) else np.int32
    ends = np.cumsum([0, *(len(text) for text in texts)], dtype=width)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(texts))]
    return pa.Array.from_buffers(kind, len(texts), buffers)


def scalar_of(value: Any, kind: Any) -> Any:
    """Return a number, a time in ticks, a text or None as an Arrow scalar of type ``kind``.

    Examples
    --------
    >>> import pyarrow as pa
    >>> scalar_of(2, pa.int64()).as_py(), scalar_of(None, pa.string()).as_py()
    (2, None)
    """
    import pyarrow as pa

    return (pa.nulls(1, kind) if value is None else array_of([value], kind))[0]


def numbers_of(array: Array) -> Any:
    """Return an array of numbers in native byte order as an Arrow array over the same memory."""
    import pyarrow as pa

    array = np.ascontiguousarray(array)
    content = pa.py_buffer(array)
    return pa.Array.from_buffers(pa.from_numpy_dtype(array.dtype), array.size, [None, content])


def bools_of(array: Array) -> Any:
    """Return truth values as an Arrow array.

    Examples
    --------
    >>> bools_of(np.array([True, False, True])).to_pylist()
    [True, False, True]
    """
    import pyarrow as pa

    content = pa.py_buffer(np.packbits(array, bitorder="little"))
    return pa.Array.from_buffers(pa.bool_(), array.size, [None, content])


def as_bools(array: Any) -> Array:
    """Return Arrow's truth values, none of them null, as an array.

    Examples
    --------
    >>> as_bools(bools_of(np.array([True, False]))).tolist()
    [True, False]
    """
    import pyarrow as pa

    if not len(array):
        return np.zeros(0, bool)
    bytewise = array.cast(pa.uint8())
    values = np.frombuffer(bytewise.buffers()[1], np.uint8)
    return values[bytewise.offset : bytewise.offset + len(array)].astype(bool)
