"""Rows that hold NaN, an infinity or nothing: refused, or left out and counted."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from sgdfit.data.source import Source
from sgdfit.data.wording import listed
from sgdfit.errors import DataError, UsageError, did_you_mean

__all__ = ["POLICIES", "check_policy", "keep_finite", "settle"]

Array = np.ndarray[Any, Any]

POLICIES = ("error", "drop")


def check_policy(missing: str) -> None:
    """Refuse anything but ``"error"`` and ``"drop"``.

    Raises
    ------
    UsageError
        For another word.

    Examples
    --------
    >>> check_policy("dorp")
    Traceback (most recent call last):
    sgdfit.errors.UsageError: missing='dorp' is not known; ... Did you mean 'drop'?
    """
    if missing in POLICIES:
        return
    hint = did_you_mean(missing, POLICIES) if isinstance(missing, str) else ""
    raise UsageError(
        f"missing={missing!r} is not known; write 'error' to refuse rows without finite"
        f" numbers, or 'drop' to leave them out.{hint}"
    )


def settle(
    columns: dict[str, Array], label: str, missing: str, line: Callable[[int], str]
) -> Source:
    """Turn equally long ``columns`` into a `Source` whose every number is finite.

    Parameters
    ----------
    columns : dict of str to numpy.ndarray
        Each of shape (rows,).
    label : str
        How messages name the data.
    missing : {"error", "drop"}
        What becomes of rows that are not finite.
    line : callable
        Row counted from 0 -> words that say where it stands in a file, or an empty string.

    Raises
    ------
    DataError
        When ``missing="error"`` and a number is not finite, or no row remains.

    Examples
    --------
    >>> source = settle({"x": np.array([1.0, np.nan])}, "the data", "drop", lambda row: "")
    >>> source.rows, source.dropped
    (1, 1)
    """
    masks = _masks(columns)
    if not masks:
        return Source(columns, label)
    keep = np.logical_and.reduce(list(masks.values()))
    if missing == "error":
        raise DataError(_sentence(columns, masks, keep, label, line))
    if not keep.any():
        raise DataError(
            f"no row of {label} remains: each of its {keep.size} rows lacks a finite number in"
            f" {listed(masks)}; check these columns"
        )
    kept = {name: column[keep] for name, column in columns.items()}
    return Source(kept, label, int(keep.size - np.count_nonzero(keep)), keep)


def keep_finite(
    columns: dict[str, Array], label: str, missing: str, line: Callable[[int], str], first: int
) -> Array | None:
    """Return which rows of a block to keep, bool[rows], or None for all of them.

    Parameters
    ----------
    columns : dict of str to numpy.ndarray
        Each of shape (rows,).
    label : str
        The file that holds the block.
    missing : {"error", "drop"}
    line : callable
        Row of the block, counted from 0 -> words that say where it stands, or an empty string.
    first : int
        The row of the file at which the block begins, counted from 0.

    Raises
    ------
    DataError
        When ``missing="error"`` and a number is not finite.

    Examples
    --------
    >>> x = np.array([1.0, np.inf])
    >>> keep_finite({"x": x}, "data.parquet", "drop", lambda row: "", 0)
    array([ True, False])
    >>> keep_finite({"x": x}, "data.parquet", "error", lambda row: "", 1000)
    Traceback (most recent call last):
    sgdfit.errors.DataError: column 'x' row 1002 of data.parquet is infinity; correct such rows, ...
    """
    masks = _masks(columns)
    if not masks:
        return None
    keep = np.asarray(np.logical_and.reduce(list(masks.values())))
    if missing == "drop":
        return keep
    row, name = min((int(np.argmin(mask)), name) for name, mask in masks.items())
    raise DataError(
        f"column {name!r} row {first + row + 1}{line(row)} of {label} is"
        f" {_word(columns[name][row])}; correct such rows, or pass missing='drop' (--missing drop"
        " on the command line) to leave them out"
    )


def _masks(columns: dict[str, Array]) -> dict[str, Array]:
    """Return which rows are finite, of the columns where not all are."""
    with np.errstate(over="ignore", invalid="ignore"):
        masks = {name: np.isfinite(c) for name, c in columns.items() if not _all_finite(c)}
    return {name: mask for name, mask in masks.items() if not mask.all()}


def _all_finite(column: Array) -> bool:
    """Look through the sum first: NaN and infinities survive it, and it needs no memory."""
    return math.isfinite(float(column.sum())) or bool(np.isfinite(column).all())


def _sentence(
    columns: dict[str, Array],
    masks: dict[str, Array],
    keep: Array,
    label: str,
    line: Callable[[int], str],
) -> str:
    bad = int(keep.size - np.count_nonzero(keep))
    firsts = sorted((int(np.argmin(mask)), name) for name, mask in masks.items())
    found = [
        f"column {name!r} row {row + 1}{line(row)} is {_word(columns[name][row])}"
        + (" (first)" if place == 0 and bad > 1 else "")
        for place, (row, name) in enumerate(firsts)
    ]
    has = "has" if bad == 1 else "have"
    return (
        f"{bad} of {keep.size} rows {has} no finite number in {label}: {', '.join(found)}; correct"
        " them, or pass missing='drop' (--missing drop on the command line) to leave them out"
    )


def _word(value: float) -> str:
    return "missing (NaN)" if math.isnan(value) else "infinity" if value > 0 else "-infinity"
