"""Columns of any kind as float64: NumPy, Arrow, decimals, dates and what else holds numbers."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sgdfit.errors import DataError, reason_of

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


# Float64 holds every integer up to here, and powers of ten up to this one; a quotient of two
# numbers that it holds is rounded once.
WHOLE, TENS = 2**53, 22


def floats_of_decimals(array: Any) -> Array:
    """Return an Arrow array of decimals as float64, nulls as NaN.

    Examples
    --------
    >>> import decimal, pyarrow as pa
    >>> floats_of_decimals(pa.array([decimal.Decimal("0.07"), None]))
    array([0.07,  nan])
    """
    import pyarrow as pa

    whole = _unscaled(array)
    if whole is None:
        spelled = array.cast(pa.string()).cast(pa.float64()).fill_null(float("nan"))
        values = np.frombuffer(spelled.buffers()[1], np.float64)
        return values[spelled.offset : spelled.offset + len(spelled)].copy()
    floats = whole / 10.0**array.type.scale
    if array.null_count:
        floats[as_bools(array.is_null())] = np.nan
    return np.asarray(floats)


def _unscaled(array: Any) -> Array | None:
    """Return the digits as integers; None where these are too long for float64."""
    kind = array.type
    if not (0 <= kind.scale <= TENS and len(array)):
        return None
    width = kind.bit_width // 8
    words = np.frombuffer(array.buffers()[1], f"<i{min(width, 8)}").reshape(-1, max(1, width // 8))
    words = words[array.offset : array.offset + len(array)]
    low = words[:, 0].astype(np.int64)
    if array.null_count:
        valid = as_bools(array.is_valid())
        low, words = np.where(valid, low, 0), np.where(valid[:, None], words, 0)
    short = (words[:, 1:] == (low >> 63)[:, None]).all()
    return low if short and ((low <= WHOLE) & (low >= -WHOLE)).all() else None


# Ticks a second.
SECONDS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}


@dataclass(frozen=True)
class Place:
    """Where a column, or the part of it from row ``first``, stands: what messages name."""

    column: str
    label: str
    line: Callable[[int], str]
    decimal: str = "."
    first: int = 0

    def __str__(self) -> str:
        return f"column {self.column!r} of {self.label}"

    def row(self, index: int) -> str:
        """Name the row with ``index``, counted from 0 at ``first``."""
        return f"row {self.first + index + 1}{self.line(index)}"


def flat(array: Array, place: Place) -> Array:
    """Return ``array`` with shape (rows,) or (), where each row has one number.

    Raises
    ------
    DataError
        When rows have more than one.
    """
    if array.ndim < 2:
        return array
    if array.size == array.shape[0]:
        return array.reshape(-1)
    raise DataError(
        f"{place} has the shape {array.shape}; a column has one number a row, so give each"
        f" of its columns a name of its own (or pass {place.column}.ravel())"
    )


def floats_from_integers(array: Array, place: Place) -> Array:
    """Convert integers to float64.

    Raises
    ------
    DataError
        When an integer beyond 2**53 would lose digits.

    Examples
    --------
    >>> floats_from_integers(np.array([1, 2**60]), Place("x", "the data", lambda row: ""))
    array([1.0000000e+00, 1.1529215e+18])
    """
    floats = array.astype(np.float64)
    if array.dtype.itemsize < 8 or not array.size or np.abs(floats).max() < 2.0**53:
        return floats
    fits = floats < float(2**63 if array.dtype.kind == "i" else 2**64)
    exact = fits & (np.where(fits, floats, 0).astype(array.dtype) == array)
    if not exact.all():
        row = int(np.argmin(exact))
        raise DataError(
            f"{place} holds the integer {array.flat[row]} in {place.row(row)}, of which float64"
            " would lose digits (it is above 2**53); subtract an offset from the column, or"
            " convert it to float64 first"
        )
    return floats


def floats_from_times(array: Array, place: Place) -> Array:
    """Convert times to seconds since 1970-01-01 00:00 UTC, and durations to seconds.

    Raises
    ------
    DataError
        When a duration is in months, years or no unit, which are no number of seconds.

    Examples
    --------
    >>> minute = np.array(["1970-01-01T00:01", "NaT"], "datetime64[m]")
    >>> floats_from_times(minute, Place("t", "the data", lambda row: ""))
    array([60., nan])
    """
    unit = np.datetime_data(array.dtype)[0]
    if array.dtype.kind == "m" and unit in ("Y", "M", "generic"):
        raise DataError(f"{place} holds {array.dtype}, which is no number of seconds; convert it")
    if unit not in SECONDS:
        unit = "s" if unit in "YMWDhm" else "ns"
    kind = "datetime64" if array.dtype.kind == "M" else "timedelta64"
    ticks = array.astype(f"{kind}[{unit}]")
    return np.where(np.isnat(ticks), np.nan, ticks.astype(np.int64) / SECONDS[unit])


def shown(value: object, width: int = 40) -> str:
    """Return ``value`` as a message shows it, cut to ``width`` characters.

    Examples
    --------
    >>> shown("a" * 50, width=10)
    "'aa…aaa'"
    """
    short = reprlib.Repr()
    short.maxstring = short.maxlong = short.maxother = width
    short.fillvalue = "…"
    return " ".join(short.repr(value).split())


MISSING_SPELLINGS = (
    *("", "-", "NA", "N/A", "n/a", "#N/A", "<NA>"),
    *("NaN", "nan", "NAN", "-nan", "null", "Null", "NULL", "None"),
)
# RE2, which is what Arrow uses; underscores, hexadecimal digits and the like are text.
NUMBER = r"^(?i)[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf|infinity)$"
THOUSANDS = {
    ".": re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?"),
    ",": re.compile(r"[+-]?[1-9]\d{0,2}(\.\d{3})+(,\d*)?"),
}


def floats_from_arrow(column: Any, place: Place) -> Array:
    """Return an Arrow ``Array`` or ``ChunkedArray`` as an array of shape (rows,), nulls as NaN.

    Raises
    ------
    DataError
        When it is no column of numbers.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from sgdfit.data.floats import Place
    >>> floats_from_arrow(pa.array([1, None]), Place("x", "the data", lambda row: ""))
    array([ 1., nan])
    """
    import pyarrow as pa
    import pyarrow.types as kinds

    column = _plain(column)
    kind = column.type
    if kinds.is_null(kind):
        return np.full(len(column), np.nan)
    if kinds.is_floating(kind):
        return _numpy(column)
    if kinds.is_integer(kind) or kinds.is_boolean(kind):
        return _with_nulls(column.cast(pa.uint8()) if kinds.is_boolean(kind) else column, place)
    if kinds.is_decimal(kind):
        return floats_of_decimals(column.combine_chunks())
    if kinds.is_temporal(kind) and not kinds.is_interval(kind):
        return _seconds(column)
    if _is_text(kind):
        return _numbers(_decoded(column, place), place)
    raise DataError(f"{place} holds {kind}; a column holds one number a row")


def _plain(column: Any) -> Any:
    """Take off extension, dictionary and run-end encoding, in a column of chunks."""
    import pyarrow as pa
    import pyarrow.types as kinds

    if not isinstance(column, pa.ChunkedArray):
        column = pa.chunked_array([column])
    kind = column.type
    # pandas' own types store ordinals, whose meaning is not that of a number.
    if isinstance(kind, pa.BaseExtensionType) and not kind.extension_name.startswith("pandas."):
        parts = [chunk.storage for chunk in column.chunks]
        return _plain(pa.chunked_array(parts, kind.storage_type))
    if kinds.is_dictionary(kind):
        parts = [_decode(chunk) for chunk in column.chunks]
        return _plain(pa.chunked_array(parts, None if parts else kind.value_type))
    if kinds.is_run_end_encoded(kind):
        # Few columns are of this kind, and the import takes as long as a small fit.
        import pyarrow.compute as pc

        parts = [pc.run_end_decode(chunk) for chunk in column.chunks]
        return _plain(pa.chunked_array(parts, kind.value_type))
    return column


def _decode(chunk: Any) -> Any:
    import pyarrow as pa

    values = chunk.dictionary
    if values.type == pa.string_view():
        # Arrow 26 cannot take from views, which is what Polars exports.
        values = values.cast(pa.large_string())
    return values.take(chunk.indices)


def _numpy(column: Any) -> Array:
    """Return a column of numbers or truth values as an array; nulls, of floats alone, as NaN.

    Arrow's own ``to_numpy`` would import pandas wherever it is installed, which takes longer than
    a small fit.
    """
    import pyarrow as pa

    array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    if array.null_count:
        array = array.fill_null(float("nan"))
    if array.type == pa.bool_():
        return _numpy(pa.chunked_array([array.cast(pa.uint8())])).astype(bool)
    dtype = np.dtype(array.type.to_pandas_dtype())
    if len(array) == 0:
        return np.empty(0, dtype)
    values = np.frombuffer(array.buffers()[1], dtype)
    return values[array.offset : array.offset + len(array)]


def _with_nulls(column: Any, place: Place) -> Array:
    """Convert integers through NumPy, which checks that none loses digits; nulls -> NaN."""
    floats = floats_from_integers(_numpy(column.fill_null(0)), place)
    if column.null_count:
        floats[_numpy(column.is_null())] = np.nan
    return floats


def _seconds(column: Any) -> Array:
    import pyarrow as pa
    import pyarrow.types as kinds

    if kinds.is_date32(column.type):
        column = column.cast(pa.timestamp("s"))
    unit = "ms" if kinds.is_date64(column.type) else column.type.unit
    is_time32 = kinds.is_time32(column.type)
    ticks = column.cast(pa.int32() if is_time32 else pa.int64())
    floats = _numpy(ticks.fill_null(0)) / SECONDS[unit]
    floats[_numpy(column.is_null())] = np.nan
    return np.asarray(floats)


def _is_text(kind: Any) -> bool:
    import pyarrow.types as kinds

    tests = (
        *(kinds.is_string, kinds.is_large_string, kinds.is_string_view),
        *(kinds.is_binary, kinds.is_large_binary, kinds.is_binary_view),
        kinds.is_fixed_size_binary,
    )
    return any(test(kind) for test in tests)


def _decoded(column: Any, place: Place) -> Any:
    import pyarrow as pa
    import pyarrow.types as kinds

    if kinds.is_fixed_size_binary(column.type):
        column = column.cast(pa.binary())
    try:
        return column.cast(pa.large_string())
    except pa.ArrowInvalid as error:
        row, value = _first_not_utf8(column)
        raise DataError(
            f"{place} is not UTF-8: {place.row(row)} holds {value!r}; save the data again as"
            " UTF-8 (in a spreadsheet: CSV UTF-8), or leave the column out of the formula"
        ) from error


def _first_not_utf8(column: Any) -> tuple[int, bytes]:
    for row, scalar in enumerate(column):
        value = scalar.as_py() or b""
        try:
            value.decode()
        except UnicodeDecodeError:
            return row, value[:40]
    return 0, b""


def _numbers(text: Any, place: Place) -> Array:
    """Parse a column of text; name the first that is no number."""
    import pyarrow as pa
    import pyarrow.compute as pc

    text = pc.utf8_trim_whitespace(text)
    absent = pc.is_in(text, value_set=pa.array(MISSING_SPELLINGS, pa.large_string()))
    text = pc.if_else(absent, pa.scalar(None, pa.large_string()), text)
    spelled = text
    if place.decimal != ".":
        # A point is no decimal sign here: make it something that no number contains.
        spelled = pc.replace_substring(text, ".", "_")
        spelled = pc.replace_substring(spelled, place.decimal, ".")
    row = pc.index(pc.match_substring_regex(spelled, NUMBER), pa.scalar(False)).as_py()
    if row >= 0:
        raise DataError(_text_sentence(text[row].as_py(), row, place))
    return _numpy(spelled.cast(pa.float64()))


def _text_sentence(value: str, row: int, place: Place) -> str:
    return (
        f"{place} holds text: {place.row(row)} is {shown(value)}, which is no number"
        f"{_hint(value, place)}; correct it, leave it empty if it is missing, or"
        " leave the column out of the formula"
    )


def _hint(value: str, place: Place) -> str:
    if THOUSANDS[place.decimal].fullmatch(value):
        between = "commas" if place.decimal == "." else "points"
        sign = "point" if place.decimal == "." else "comma"
        return (
            f" (the decimal sign here is the {sign}; take out {between} between thousands, or put a"
            f" {sign} where they are decimal signs)"
        )
    bare = value.lstrip("+-").replace(place.decimal, "")
    if place.decimal == "." and bare.replace(",", "", 1).isdecimal():
        return f" (the decimal sign here is the point{_point(value)})"
    if place.decimal == "," and bare.replace(".", "", 1).isdecimal():
        return " (the decimal sign of this file is the comma)"
    return ""


def _point(value: str) -> str:
    return f": write {value.replace(',', '.')}" if "." not in value else ""


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
    >>> from sgdfit.data.floats import Place
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
    >>> from sgdfit.data.floats import Place
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
