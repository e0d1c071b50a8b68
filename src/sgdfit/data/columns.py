"""One column of anything -> float32 or float64, without a copy where that is possible.

========================================  ==================================================
type                                      becomes
========================================  ==================================================
float64, float32                          the same numbers in the same memory
float16                                   float32
integers, booleans                        float64; an integer that it cannot hold is refused
decimal                                   float64
timestamp, date                           float64, seconds since 1970-01-01 00:00 UTC
duration                                  float64, seconds
time of day                               float64, seconds since midnight
dictionary, categorical                   what its values become
text                                      float64 if all of it is numbers, else refused
null, NaT, masked, a spelling of missing  NaN
shape (n, 1)                              shape (n,)
========================================  ==================================================

Numbers in delimited text are integers where all of a column are and fit int64; any other column,
one with longer integers too, holds floats, each read as the nearest float64.

Complex numbers, lists, structures and two-dimensional columns are refused.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sgdfit.data.arrow import floats_from_arrow
from sgdfit.data.numeric import Place, flat, floats_from_integers, floats_from_times, shown
from sgdfit.data.wording import reason_of
from sgdfit.errors import DataError

__all__ = ["as_floats", "raw_array"]

Array = np.ndarray[Any, Any]

# DLPack's kDLCPU and kDLCUDAHost: memory that the processor can read.
READABLE_DEVICES = (1, 3)


def as_floats(value: object, place: Place) -> Array:
    """Return ``value`` as a contiguous array of float32 or float64, shape (rows,) or ().

    Raises
    ------
    DataError
        When it is no column of numbers.

    Examples
    --------
    >>> from sgdfit.data.numeric import Place
    >>> as_floats([1, None, 3], Place("x", "the data", lambda row: ""))
    array([ 1., nan,  3.])
    """
    raw = raw_array(value, place)
    if not isinstance(raw, np.ndarray):
        raw = floats_from_arrow(raw, place)
    return np.require(_from_numpy(raw, place), requirements=["C", "A"])


def raw_array(value: Any, place: Place) -> Any:
    """Return a NumPy or an Arrow array over the same memory, if it can be had.

    Raises
    ------
    DataError
        When it cannot be read as an array, or lies on a device.

    Examples
    --------
    >>> from sgdfit.data.numeric import Place
    >>> raw_array([1, 2], Place("x", "the data", lambda row: ""))
    array([1, 2])
    """
    if type(value) is np.ndarray:
        return value
    if type(value).__module__.partition(".")[0] == "pandas":
        return _from_pandas(value)
    if hasattr(value, "__arrow_c_stream__") or hasattr(value, "__arrow_c_array__"):
        import pyarrow as pa

        streamed = hasattr(value, "__arrow_c_stream__")
        return pa.chunked_array(value) if streamed else pa.array(value)
    _refuse_device(value, place)
    if hasattr(value, "detach"):
        value = value.detach()
        value = value.float() if str(value.dtype) == "torch.bfloat16" else value
    if isinstance(value, np.ma.MaskedArray):
        return _filled(value, place)
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{place} cannot be read as an array ({reason_of(error)}); give one number a row"
        ) from error


def _from_pandas(value: Any) -> Any:
    kind = getattr(value, "dtype", None)
    if kind is None or isinstance(kind, np.dtype):
        return np.asarray(value)
    import pyarrow as pa

    try:
        return pa.array(value, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError):
        return np.asarray(value)


def _refuse_device(value: Any, place: Place) -> None:
    device = getattr(value, "__dlpack_device__", None)
    if device is None:
        return
    name = getattr(value, "device", "another device")
    try:
        readable = device()[0] in READABLE_DEVICES
    except (TypeError, ValueError, RuntimeError, BufferError):
        readable = str(name) == "cpu"
    if not readable:
        raise DataError(f"{place} lies on {name}, which NumPy cannot read; call .cpu() on it first")


def _filled(value: Any, place: Place) -> Array:
    floats = _from_numpy(np.ma.getdata(value), place).copy()
    floats[np.ma.getmaskarray(value).reshape(floats.shape)] = np.nan
    return floats


def _from_numpy(array: Array, place: Place) -> Array:
    """Convert by the kind of ``array``; the table stands at the top of this module."""
    array = flat(array, place)
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind == "f":
        return array.astype(np.float32 if size <= 4 else np.float64, copy=False)
    if kind == "b":
        return array.astype(np.float64)
    if kind in "iu":
        return floats_from_integers(array, place)
    if kind in "mM":
        return floats_from_times(array, place)
    if kind in "OUST":
        return _from_objects(array, place)
    raise DataError(_refusal(array.dtype, place))


def _refusal(dtype: np.dtype[Any], place: Place) -> str:
    if dtype.kind == "c":
        return f"{place} holds complex numbers; pass its real and imaginary parts as two columns"
    return f"{place} holds values of type {dtype}; a column holds one number a row"


def _from_objects(array: Array, place: Place) -> Array:
    """Let Arrow infer what a column of Python objects or text holds."""
    import pyarrow as pa

    shape = array.shape
    try:
        found = pa.array(array.reshape(-1).astype(object).tolist(), from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        return _one_by_one(array, place, error)
    return floats_from_arrow(found, place).reshape(shape)


def _one_by_one(array: Array, place: Place, error: Exception) -> Array:
    """Convert mixed Python numbers, or name the first value that is none."""
    floats = np.empty(array.shape, np.float64)
    for row, value in enumerate(array.flat):
        number = _number(value)
        if number is None:
            kind = "text" if isinstance(value, str | bytes) else f"of type {type(value).__name__!r}"
            raise DataError(
                f"{place} holds {shown(value)} in {place.row(row)}, which is {kind} and no number"
                " that float64 can hold; correct it, or leave the column out of the formula"
            ) from error
        floats.flat[row] = number
    return floats


def _number(value: Any) -> float | None:
    """Return ``value`` as a float, or None where that is not possible without loss."""
    if value is None:
        return np.nan
    if isinstance(value, str | bytes | complex) or not hasattr(value, "__float__"):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return None if isinstance(value, int) and int(number) != value else number
