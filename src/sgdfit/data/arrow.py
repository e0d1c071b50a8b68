"""One Arrow column -> float32 or float64, without a copy where that is possible.

The conversions follow the table in `sgdfit.data.columns`.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from sgdfit.data.decimals import floats_of_decimals
from sgdfit.data.numeric import SECONDS, Place, floats_from_integers, shown
from sgdfit.errors import DataError

__all__ = ["MISSING_SPELLINGS", "floats_from_arrow"]

Array = np.ndarray[Any, Any]

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
    >>> from sgdfit.data.numeric import Place
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
