"""Decimal numbers -> the nearest float64, which Arrow's own conversion misses by a last digit."""

from __future__ import annotations

from typing import Any

import numpy as np

from sgdfit.data.scalars import as_bools

__all__ = ["floats_of_decimals"]

Array = np.ndarray[Any, Any]

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
