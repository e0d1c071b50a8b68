"""Columns of any kind as float64: NumPy, Arrow, decimals, dates and what else holds numbers.

=================  =======================================================
a column of        becomes
=================  =======================================================
floats             itself; halves become float32, longer ones float64
integers           float64, refused where one would lose digits
truth values       0 and 1
decimals           the nearest float64
times              in units since the first of them, as `sgdfit.data.times` says; without a
                   fit seconds since 1970-01-01 00:00 UTC, or since 0:00
levels             of a column that indexes parameters: their codes, as `sgdfit.data.levels` says
text               the numbers that it spells; the usual words for nothing
                   become NaN, as nulls of all kinds do
=================  =======================================================
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import re
import reprlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from sgdfit.data.levels import Levels
from sgdfit.data.times import CLOCK, DATE, DURATION, ZONED, TimeScale, TimeScales
from sgdfit.errors import DataError, reason_of, with_option

Array = np.ndarray[Any, Any]

# Arrow's types by what they hold, as messages name it.
KINDS = {
    "nothing": ("null",),
    "truth values": ("boolean",),
    "numbers": ("integer", "floating", "decimal"),
    "times": ("timestamp", "date"),
    "text": ("string", "large_string", "string_view", "binary", "large_binary", "binary_view"),
}
# Ticks a second.
A_DAY = 86_400
SECONDS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
# Float64 holds every integer up to here, and powers of ten up to this one; a quotient of two
# numbers that it holds is rounded once.
WHOLE, TENS = 2**53, 22
# Digits of whole decimals that are compared, one less than Arrow's for their differences.
LONGEST = 75
# What NumPy leaves to Arrow to infer.
INFERRED = "OUST"

MISSING_SPELLINGS = (
    *("", "-", "NA", "N/A", "n/a", "#N/A", "<NA>"),
    *("NaN", "nan", "NAN", "-nan", "null", "Null", "NULL", "None"),
    *("#DIV/0!", "#VALUE!", "#REF!", "#NUM!", "#NAME?", "#NULL!"),
)
# RE2, which is what Arrow uses; underscores, hexadecimal digits and the like are text.
NUMBER = r"^(?i)[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf|infinity)$"
# What holds another decimal sign, or separates thousands.
OTHER_SIGN = re.compile(r"[+-]?\d[\d.,]*")
DOUBTFUL = re.compile(r"[+-]?[1-9]\d{0,2}[.,]\d{3}")
DAY_OR_MONTH = re.compile(
    r"(\d\d?)[/.-](\d\d?)[/.-](\d{4}|\d\d)(?: +\d[\d:.]*(?: ?[AaPp]\.?[Mm]\.?)?)?"
)
# Dates of other forms, as Feb 13, 2024, with or without a time, and months, as Feb 2024, 2024-02.
MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
NAMED = "|".join(MONTHS)
MONTH, DAY_NAME = rf"(?:{NAMED})[a-z]*\.?", r"(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?"
OTHER_DATE = re.compile(
    rf"(?i){DAY_NAME},? .*\d.*|\d{{8}}T\d{{4,6}}Z?"
    rf"|(?:(?:\d\d?[-/. ]*)?{MONTH}[-/., ]*\d\d(?:\d\d)?|\d{{4}}[-/]\d\d?"
    rf"|{MONTH} *\d\d?,? +\d{{4}})(?:[ T,]+\d.*)?"
)
# A number between a sign of currency and a usual unit; letters that may be codes stand apart.
VALUE = r"([+-]?){} ?([+-]?\.?\d(?:[\d.,'’ ]*\d)?\.?(?:[eE][+-]?\d+)?){}"
UNIT = (
    r" ?(?:[$€£¥‰]|°[CF]?|[numckMGµμ]?(?:mol|eV|Hz|Pa|bar|[gmsLlVΩ])|min|hr?s?|days?|pp[mb]|dB|rpm)"
    r"| [numkM]?[AKNWJM]| d"
)
WITH_UNIT = re.compile(
    VALUE.format("([$€£¥]|(?:USD|EUR|GBP|CHF) )?", rf"((?:{UNIT})(?:[/·*^²³⁻]\S{{0,9}})?)?")
)
# Times of day as Arrow does not read them, and durations: 8:30, 08:30 PM, 08:30:01.5, 39:30:00;
# with minutes and seconds alone 1:30.5.
CLOCK_TEXT = re.compile(
    r"(\d{1,6}):([0-5]\d)(?:(\.\d+)|(?::([0-5]\d(?:\.\d+)?))?(?: ?([AaPp])\.?[Mm]\.?)?)"
)
# What pandas has besides, and what to write for it.
EXTENSIONS = {
    "pandas.period": "periods: pass their starts, as column.dt.to_timestamp() returns them",
    "pandas.interval": "intervals: pass their middles, as column.array.mid returns them",
}
# How a value begins of which only a bound is known, as in <5 or >LOD.
LIMITS = "<>≤≥"


class Place(NamedTuple):
    """Where a column, or the part of it from row ``first``, stands: what messages name."""

    column: str
    label: str
    line: Callable[[int], str]
    decimal: str = ""  # the decimal sign of a text file
    first: int = 0
    drop: bool = False  # whether values are missing of which only a bound is known
    scales: TimeScales | None = None  # how times are counted

    def __str__(self) -> str:
        return f"column {self.column!r} of {self.label}"

    def row(self, index: int) -> str:
        """Name the row with ``index``, counted from 0 at ``first``."""
        return f"row {self.first + index + 1}{self.line(index)}"


def as_floats(value: object, place: Place) -> Array:
    """Return ``value`` as a contiguous array of float32 or float64, shape (rows,) or ().

    >>> as_floats([1, None, 3], Place("x", "the data", lambda row: ""))
    array([ 1., nan,  3.])
    """
    if place.scales is not None and place.column in place.scales.levels:
        return _codes(value, place, place.scales.levels[place.column])
    raw = _raw_array(value, place)
    if not isinstance(raw, np.ndarray):
        floats = _from_arrow(raw, place)
    elif raw.dtype.kind == "f":
        floats = _float_dtype(raw)
    elif raw.dtype.kind in "biu":
        floats = _exact(raw, place)
    else:
        floats = _from_arrow(_to_arrow(raw, place), place)
        floats = floats if raw.ndim else floats.reshape(())
    is_plain = floats.flags.c_contiguous and floats.flags.aligned
    return floats if is_plain else np.require(floats, requirements=["C", "A"])


def as_arrow(value: Any, place: Place) -> Any:
    """Return a column as Arrow holds it, text as text; or a number that stands for every row."""
    import pyarrow as pa

    raw = _raw_array(value, place)
    if not isinstance(raw, np.ndarray):
        # Arrow cannot choose rows of views, which is what Polars exports.
        return raw.cast(pa.large_string()) if pa.types.is_string_view(raw.type) else raw
    if not raw.ndim:
        return float(as_floats(raw, place))
    return numbers_of(_float_dtype(raw)) if raw.dtype.kind == "f" else _to_arrow(raw, place)


def _raw_array(value: Any, place: Place) -> Any:
    """Return a NumPy or an Arrow array over the same memory, if it can be had."""
    raw = value
    if type(value).__module__.partition(".")[0] == "pandas":
        import pyarrow as pa

        raw, kind = None, getattr(value, "dtype", np.dtype(float))
        with contextlib.suppress(pa.ArrowException, TypeError, ValueError):
            raw = None if isinstance(kind, np.dtype) else pa.array(value, from_pandas=True)
        raw = np.asarray(value) if raw is None else raw
    elif hasattr(value, "__arrow_c_stream__") or hasattr(value, "__arrow_c_array__"):
        import pyarrow as pa

        streamed = hasattr(value, "__arrow_c_stream__")
        raw = pa.chunked_array(value) if streamed else pa.array(value)
    elif isinstance(value, np.ma.MaskedArray):
        raw = as_floats(np.ma.getdata(value), place).copy()
        raw[np.ma.getmaskarray(value).reshape(raw.shape)] = np.nan
    elif type(value) is not np.ndarray:
        try:
            if hasattr(value, "detach"):
                value = value.detach()
                value = value.float() if str(value.dtype) == "torch.bfloat16" else value
            raw = np.asarray(value)
        except (TypeError, ValueError, RuntimeError) as error:
            device = getattr(value, "device", "cpu")
            moved = (
                f" It lies on {device}: call .cpu() on it first." if str(device) != "cpu" else ""
            )
            raise DataError(
                f"{place} cannot be read as an array ({reason_of(error)}); give one number a row."
                f"{moved}"
            ) from error
    if not isinstance(raw, np.ndarray) or raw.ndim < 2:
        return raw
    if raw.size == raw.shape[0]:
        return raw.reshape(-1)
    raise DataError(
        f"{place} has the shape {raw.shape}; a column has one number a row, so give each"
        f" of its columns a name of its own (or pass {place.column}.ravel())"
    )


def _codes(value: object, place: Place, levels: Levels) -> Array:
    import pyarrow as pa

    if not np.ndim(value):  # type: ignore[arg-type]
        # It stands for every row.
        return levels.encode([np.asarray(value).item()], np.zeros(1), place).reshape(())
    try:
        column = as_arrow(value, place)
    except DataError as error:
        plain = getattr(value, "dtype", np.dtype(object))
        if plain is not np.dtype(object):
            raise
        raise DataError(
            f"{place} holds values of several kinds; what indexes a parameter is text, a category,"
            " a truth value or a whole number in every row, so write all of it as text"
        ) from error
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    column = as_comparable(column)
    held = kind_of(column.type)
    if held in ("text", "times") or pa.types.is_decimal(column.type):
        column = column.cast(pa.large_string())
    elif held not in ("numbers", "truth values", "nothing"):
        raise DataError(
            f"{place} holds {column.type}; what indexes a parameter is text, a category, a truth"
            " value or a whole number"
        )
    coded = column.dictionary_encode("encode")
    rows = _values(coded.indices)
    values = [None if v in MISSING_SPELLINGS else v for v in coded.dictionary.to_pylist()]
    return levels.encode(values, rows, place)[rows]


def _float_dtype(array: Array) -> Array:
    return array.astype(np.float32 if array.dtype.itemsize <= 4 else np.float64, copy=False)


def _to_arrow(array: Array, place: Place) -> Any:
    import pyarrow as pa

    kind, array = array.dtype.kind, array.reshape(-1)
    if kind in "biu":
        return numbers_of(array)
    if kind in "mM":
        unit = np.datetime_data(array.dtype)[0]
        if kind == "m" and unit in ("Y", "M", "generic"):
            raise DataError(
                f"{place} holds {array.dtype}, which is no number of seconds; convert it"
            )
        if unit not in SECONDS:
            name = "datetime64" if kind == "M" else "timedelta64"
            array = array.astype(f"{name}[{'s' if unit in 'YMWDhm' else 'ns'}]")
        return pa.array(array)
    if kind in INFERRED:
        try:
            return pa.array(array.astype(object).tolist(), from_pandas=True)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            return numbers_of(_one_by_one(array, place, error))
    if kind == "c":
        raise DataError(
            f"{place} holds complex numbers; pass its real and imaginary parts as two columns"
        )
    raise DataError(f"{place} holds values of type {array.dtype}; a column holds one number a row")


def _one_by_one(array: Array, place: Place, error: Exception) -> Array:
    floats = np.empty(array.shape, np.float64)
    for row, value in enumerate(array):
        number: float | None = None
        if not isinstance(value, str | bytes | complex):
            with contextlib.suppress(TypeError, ValueError, OverflowError):
                number = np.nan if value is None else float(value)
        if number is None or (isinstance(value, int) and int(number) != value):
            kind = "text" if isinstance(value, str | bytes) else f"of type {type(value).__name__!r}"
            raise DataError(
                f"{place} holds {shown(value)} in {place.row(row)}, which is {kind} and no number"
                " that float64 can hold; correct it, or leave the column out of the formula"
            ) from error
        floats[row] = number
    return floats


# Arrow: `pyarrow.array`, `pyarrow.scalar` and ``to_numpy`` import pandas wherever it is installed,
# which takes longer than a small fit, and 60 MB; hence buffers where numbers come and go.


def numbers_of(array: Array) -> Any:
    """Return numbers or truth values as an Arrow array, over the same memory if it can be."""
    import pyarrow as pa

    if array.dtype == bool:
        return numbers_of(array.view(np.uint8)).cast(pa.bool_())
    array = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    content = pa.py_buffer(array)
    return pa.Array.from_buffers(pa.from_numpy_dtype(array.dtype), array.size, [None, content])


def scalar_of(value: float | str | None, kind: Any = None) -> Any:
    """Return a number, ticks of a time, a text or None as an Arrow scalar of type ``kind``."""
    import pyarrow as pa

    if value is None:
        return pa.nulls(1, kind)[0]
    if isinstance(value, str):
        text = value.encode()
        buffers = [None, pa.py_buffer(np.array([0, len(text)], np.int64)), pa.py_buffer(text)]
        array = pa.Array.from_buffers(pa.large_string(), 1, buffers)
    else:
        array = numbers_of(np.array([value]))
    return array[0] if kind is None else array.cast(kind)[0]


def as_bools(array: Any) -> Array:
    """Return Arrow's truth values, none of them null, as an array."""
    import pyarrow as pa

    return _values(array.cast(pa.uint8())).astype(bool)


def plain_type(kind: Any) -> Any:
    """Take off dictionary encoding."""
    import pyarrow.types as kinds

    return plain_type(kind.value_type) if kinds.is_dictionary(kind) else kind


@functools.lru_cache(maxsize=256)
def kind_of(kind: Any) -> str:
    """Return ``numbers``, ``truth values``, ``times``, ``text``, ``nothing`` or the type's name."""
    import pyarrow.types as kinds

    kind = plain_type(kind)
    for name, types in KINDS.items():
        if any(getattr(kinds, f"is_{each}")(kind) for each in types):
            return name
    return str(kind)


def as_comparable(array: Any) -> Any:
    """Return an Arrow array without encodings, and of types that Arrow can compare."""
    import pyarrow as pa
    import pyarrow.types as kinds

    array = _decoded(array)
    if kinds.is_large_binary(array.type):
        return array.cast(pa.large_string())
    if kinds.is_decimal(array.type):
        if array.type.scale == 0 and array.type.precision < LONGEST:
            return array.cast(pa.decimal256(LONGEST))
        return numbers_of(_from_decimals(array))
    return array.cast(pa.float64()) if kinds.is_float16(array.type) else array


def _decoded(array: Any) -> Any:
    """Take off dictionary encoding; text becomes long text or bytes."""
    import pyarrow as pa
    import pyarrow.types as kinds

    kind = array.type
    if kinds.is_dictionary(kind):
        # Arrow cannot take from views, which is what Polars exports.
        return _decoded(_decoded(array.dictionary).take(array.indices))
    if kind_of(kind) != "text":
        return array
    text = kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_string_view(kind)
    return array.cast(pa.large_string() if text else pa.large_binary())


def _from_arrow(column: Any, place: Place) -> Array:
    """Return an Arrow ``Array`` or ``ChunkedArray`` as an array of shape (rows,), nulls as NaN."""
    import pyarrow as pa
    import pyarrow.types as kinds

    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    parts = [_decoded(chunk) for chunk in chunks]
    if not parts:
        return np.empty(0)
    array = parts[0] if len(parts) == 1 else pa.concat_arrays(parts)
    kind, held = array.type, kind_of(array.type)
    if held == "nothing":
        return np.full(len(array), np.nan)
    if kinds.is_decimal(kind):
        return _from_decimals(array)
    if held == "truth values":
        array = array.cast(pa.uint8())
    if held in ("numbers", "truth values"):
        floating = kinds.is_floating(kind)
        return _with_nulls(array, lambda v: _float_dtype(v) if floating else _exact(v, place))
    if kinds.is_temporal(kind) and not kinds.is_interval(kind):
        array = array.cast(pa.timestamp("s")) if kinds.is_date32(kind) else array
        unit = "ms" if kinds.is_date64(kind) else array.type.unit
        ticks = array.cast(pa.int32() if kinds.is_time32(kind) else pa.int64())
        what = DURATION if kinds.is_duration(kind) else CLOCK
        if held == "times":
            what = ZONED if getattr(kind, "tz", None) else DATE
        return _on_scale(ticks, what, int(SECONDS[unit]), place)
    if held == "text":
        return _from_text(array, place)
    cure = next((words for name, words in EXTENSIONS.items() if name in str(kind)), "")
    raise DataError(f"{place} holds {cure or kind}; a column holds one number a row")


def _on_scale(ticks: Any, kind: str, a_second: int, place: Place) -> Array:
    """Return times, whose ticks are Arrow's integers, in the unit of the column's scale."""
    scale = TimeScale(kind)
    if place.scales is not None:
        scale = place.scales.scale(kind, ticks, a_second, place)
        if kind == CLOCK:
            steps = np.diff(_values(ticks.drop_null()))
            back = np.flatnonzero(steps < 0)
            if back.size and steps[back].max() < -A_DAY * a_second / 2:
                place.scales.midnights.setdefault(
                    place.column,
                    f"{place} holds times of day that go back, as at midnight"
                    f" ({place.row(int(back[0]) + 1)}), where each day counts anew; give dates with"
                    " them if the time goes on",
                )
    begin, a_unit = scale.begin * a_second, scale.seconds * a_second
    return _with_nulls(ticks, lambda values: (values - begin) / a_unit)


def _from_clocks(text: Any, place: Place) -> Array | None:
    """Return times of day, or durations where one is of a day or more; None of other text."""
    coded = text.dictionary_encode()
    clocks = [CLOCK_TEXT.fullmatch(value.as_py()) for value in coded.dictionary]
    if not all(clocks):
        return None
    found = [clock for clock in clocks if clock]
    fraction, micros = any(clock[3] for clock in found), []
    for clock in found:
        hours, minutes, seconds = int(clock[1]), int(clock[2]), float(clock[4] or 0)
        if fraction and not clock[4]:
            hours, minutes, seconds = 0, hours, minutes + float(clock[3] or 0)
        elif (hours, minutes) > (24, 0) and not clock[4]:
            raise DataError(
                f"{place} holds {clock[0]!r}, which may be hours and minutes or minutes and"
                f" seconds; write all three, as {clock[0]}:00 or 0:{clock[0]}"
            )
        if clock[5]:
            hours = hours % 12 + 12 * (clock[5] in "pP")
        micros.append(round((3_600 * hours + 60 * minutes + seconds) * 1e6))
    kind = DURATION if fraction or max(micros) >= A_DAY * 1e6 else CLOCK
    return _on_scale(numbers_of(np.array(micros)).take(coded.indices), kind, 10**6, place)


def _exact(array: Array, place: Place) -> Array:
    """Return integers as float64; refuse one that would lose digits."""
    floats = array.astype(np.float64)
    if array.dtype.itemsize < 8 or not array.size or np.abs(floats).max() < WHOLE:
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


def _values(array: Any) -> Array:
    """Return Arrow's numbers as an array over the same memory; what is null is anything."""
    dtype = np.dtype(array.type.to_pandas_dtype())
    if not len(array):
        return np.empty(0, dtype)
    return np.frombuffer(array.buffers()[1], dtype, len(array), array.offset * dtype.itemsize)


def _with_nulls(array: Any, convert: Callable[[Array], Array]) -> Array:
    values = _values(array)
    if not array.null_count:
        return convert(values)
    missing = as_bools(array.is_null())
    floats = convert(np.where(missing, values.dtype.type(0), values)).copy()
    floats[missing] = np.nan
    return floats


def _from_decimals(array: Any) -> Array:
    """Return the nearest float64: of the digits as integers, or where these are long of text."""
    import pyarrow as pa

    kind = array.type
    if 0 <= kind.scale <= TENS:
        whole = getattr(pa, f"decimal{kind.bit_width}")(kind.precision, 0)
        digits = pa.Array.from_buffers(whole, len(array), array.buffers(), offset=array.offset)
        with contextlib.suppress(pa.ArrowInvalid):
            floats = _with_nulls(digits.cast(pa.int64()), lambda values: values.astype(np.float64))
            if not np.nanmax(np.abs(floats), initial=0.0) > WHOLE:
                return np.asarray(floats / 10.0**kind.scale)
    spelled = array.cast(pa.string()).cast(pa.float64())
    return _with_nulls(spelled, lambda values: values)


def _from_text(array: Any, place: Place) -> Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        text = pc.utf8_trim_whitespace(array.cast(pa.large_string()))
    except pa.ArrowInvalid:
        for row, scalar in enumerate(array.cast(pa.large_binary())):
            value = scalar.as_py() or b""
            try:
                value.decode()
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{place} is not UTF-8: {place.row(row)} holds {value[:40]!r}; save the data"
                    " again as UTF-8 (in a spreadsheet: CSV UTF-8), or leave the column out of the"
                    " formula"
                ) from error
        raise
    absent = pc.is_in(text, value_set=pa.array(MISSING_SPELLINGS, pa.large_string()))
    text = pc.if_else(absent, scalar_of(None, pa.large_string()), text)
    spelled = text
    if place.decimal == ",":
        # A point is no decimal sign here: make it something that no number contains.
        spelled = pc.replace_substring(text, ".", "_")
        spelled = pc.replace_substring(spelled, ",", ".")
    if place.drop:
        bounds = pc.match_substring_regex(spelled, f"^[{LIMITS}]")
        row = pc.index(bounds, scalar_of(True)).as_py()
        if row >= 0 and place.scales is not None:
            place.scales.limits.setdefault(place.column, text[row].as_py()[:40])
        spelled = pc.if_else(bounds, scalar_of(None, pa.large_string()), spelled)
    row = pc.index(pc.match_substring_regex(spelled, NUMBER), scalar_of(False)).as_py()
    if row >= 0:
        alike = _is_date
        if CLOCK_TEXT.fullmatch(text[row].as_py()):
            clocks, alike = _from_clocks(spelled, place), _is_clock
            if clocks is not None:
                return clocks
        for zone, what in ((None, DATE), ("UTC", ZONED)) if _is_date(text[row].as_py()) else ():
            with contextlib.suppress(pa.ArrowInvalid):
                ticks = text.cast(pa.timestamp("us", zone)).cast(pa.int64())
                return _on_scale(ticks, what, 10**6, place)
        # Among times the one that is none, or of another order, is to blame.
        others = (k for k in range(row, len(text)) if not alike(text[k].as_py()))
        worst = next(others, row)
        value = text[worst].as_py()
        advice = _advice(value, place)
        if worst > row and not DAY_OR_MONTH.fullmatch(value):
            advice = "is no such time as in rows before it; correct it, or leave it empty"
        raise DataError(f"{place} holds text: {place.row(worst)} is {shown(value)}, which {advice}")
    return _with_nulls(spelled.cast(pa.float64()), lambda values: values)


def unit_around(value: str) -> tuple[str, str]:
    """Return what stands before and behind a number, of which one is empty, or both are.

    >>> unit_around("$5.50"), unit_around("12 mg/L"), unit_around("7")
    (('$', ''), ('', ' mg/L'), ('', ''))
    """
    found = WITH_UNIT.fullmatch(value.replace("−", "-"))
    return (found[2] or "", found[4] or "") if found else ("", "")


def _is_clock(value: str | None) -> bool:
    return value is None or bool(CLOCK_TEXT.fullmatch(value))


def _is_date(value: str | None) -> bool:
    """Whether it is nothing, or a day as in 2024-02-13, with or without a time."""
    try:
        return value is None or (value[4:5] == "-" and bool(datetime.datetime.fromisoformat(value)))
    except ValueError:
        return False


def _advice(value: str, place: Place) -> str:
    if value[0] in LIMITS:
        return (
            "is a limit and no number; pass missing='drop' (--missing drop on the command line) to"
            " leave such rows out"
        )
    if place.decimal and DOUBTFUL.fullmatch(value) and place.decimal not in value:
        return (
            f"may have a decimal sign or one of thousands; {with_option('decimal', ',')} or"
            " decimal='.'"
        )
    date = DAY_OR_MONTH.fullmatch(value)
    if place.decimal and date:
        # Of one order alone such a date would have been read.
        day = f"{date[3]:2>4}-{{:0>2}}-{{:0>2}}".format
        order = [k for k in (1, 2) if _is_date(day(date[3 - k], date[k]))]
        if not order:
            return "is a day that no calendar has; correct it"
        if len(order) == 1:
            return (
                f"begins with the {'day' if order == [1] else 'month'}, where other dates have the"
                " other order; write all as in 2024-02-13"
            )
        return f"may begin with the day or the month; {with_option('dates', 'dmy')} or dates='mdy'"
    if sign := "".join(unit_around(value)).strip():
        way = f"sed 's|{re.escape(sign)}||'"
        way = way if place.decimal else f"frame[{place.column!r}].str.replace({sign!r}, '')"
        return f"has a unit; write all rows in one unit, and the numbers alone, as {way} does"
    if OTHER_DATE.fullmatch(value):
        return (
            "looks like a date; write it as in 2024-02-13, or leave the column out of the formula"
        )
    if date or re.match(r"(?:\d{4}-\d\d-\d\d|\d\d?([/.-])\d\d?\1(?:\d\d){1,2})(\D|$)", value):
        return (
            "is a date of another form than 2024-02-13, or than others beside it; convert them, as"
            " pandas.to_datetime does"
        )
    sign = "comma" if place.decimal == "," else "point"
    hint = f" (the decimal sign here is the {sign})" if OTHER_SIGN.fullmatch(value) else ""
    other = f", {with_option('comment', '#')} if it begins a comment"
    other *= bool(place.decimal) and value[0] == "#"
    absent = "leave it empty if it is missing"
    if place.decimal and len(value) < 40 and not re.search(r"\d", value):
        absent = f"or {with_option('na', value)} and --missing drop if it is missing"
    return (
        f"is no number{hint}; correct it, {absent}{other}, or leave the column out of the formula"
    )


def shown(value: object, width: int = 40) -> str:
    """Return ``value`` as a message shows it, cut to ``width`` characters."""
    short = reprlib.Repr()
    short.maxstring = short.maxlong = short.maxother = width
    short.fillvalue = "…"
    return " ".join(short.repr(value).split())
