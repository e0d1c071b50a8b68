"""Folders called ``name=value``, as Hive has it: columns that are the same for a whole file."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

from sgdfit.data.files.origins import Origin
from sgdfit.data.scalars import scalar_of

__all__ = ["partitioned", "trailing"]

NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def partitioned(origins: Sequence[Origin], names: Sequence[str]) -> tuple[Origin, ...]:
    """Give each file the columns that the folders in its name stand for.

    Numbers become numbers where all values of a column are some, and text otherwise.

    Examples
    --------
    >>> from sgdfit.data.files.origins import in_memory
    >>> (origin,) = partitioned([in_memory(b"", "a")], ["site=A/year=2020/a"])
    >>> [(name, value.as_py()) for name, value in origin.constants]
    [('site', 'A'), ('year', 2020)]
    """
    texts = [_pairs(name) for name in names]
    keys = list(dict.fromkeys(key for pairs in texts for key in pairs))
    types = {key: _type([pairs[key] for pairs in texts if key in pairs]) for key in keys}
    return tuple(
        origin._replace(constants=tuple((key, types[key](value)) for key, value in pairs.items()))
        if pairs
        else origin
        for origin, pairs in zip(origins, texts, strict=True)
    )


def _pairs(name: str) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for part in name.split("/")[:-1]:
        key, sign, value = part.partition("=")
        if sign and key:
            found[unquote(key)] = None if value == NO_VALUE else unquote(value)
    return found


def _type(values: Sequence[str | None]) -> Any:
    """Return what makes an Arrow scalar of each value: numbers where all are, else text."""
    import pyarrow as pa

    known = [value for value in values if value is not None]
    if known and all(WHOLE.fullmatch(value) for value in known):
        return lambda value: scalar_of(None if value is None else int(value), pa.int64())
    if known and all(DECIMAL.fullmatch(value) for value in known):
        return lambda value: scalar_of(None if value is None else float(value), pa.float64())
    return lambda value: scalar_of(value, pa.string())


def trailing(path: str) -> str:
    """Keep of a path its last part, and the folders right above that are called ``name=value``.

    Examples
    --------
    >>> trailing("/data/site=A/year=2020/part-1.parquet")
    'site=A/year=2020/part-1.parquet'
    """
    parts = path.replace(os.sep, "/").split("/")
    start = len(parts) - 1
    while start > 0 and "=" in parts[start - 1]:
        start -= 1
    return "/".join(parts[start:])
