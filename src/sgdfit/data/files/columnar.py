"""What a columnar file holds: its columns, and the stretches of rows that it is read in."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from sgdfit.data.files.origins import Origin
from sgdfit.data.scan import BATCH_ROWS
from sgdfit.data.where import Range
from sgdfit.data.wording import reason_of
from sgdfit.errors import DataError

__all__ = ["Contents", "Stretch", "batches_of", "reading", "unknown"]


def unknown(name: str) -> Range | None:
    """Know nothing of the values of a column."""
    return None


class Stretch(NamedTuple):
    """Consecutive rows of a file.

    Attributes
    ----------
    first : int
        The row of the file at which they begin, counted from 0.
    rows : int or None
        How many, if that stands in the file.
    read : function of column names
        Yields these columns, in order, in record batches of at most `DECODED_ROWS` rows.
    range : function of a column name
        What the file says of its values.
    """

    first: int
    rows: int | None
    read: Callable[[Sequence[str]], Iterator[Any]]
    range: Callable[[str], Range | None] = unknown


class Contents(NamedTuple):
    """A file that is open: its `pyarrow.Schema`, and its rows."""

    origin: Origin
    schema: Any
    stretches: tuple[Stretch, ...]


@contextlib.contextmanager
def reading(label: str, kind: str) -> Iterator[None]:
    """Say in one sentence that a file is damaged."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(
            f"{label} is cut off, damaged or no {kind} file ({reason_of(error)}); copy or write it"
            " again"
        ) from error


def batches_of(batch: Any, names: Sequence[str]) -> Iterator[Any]:
    """Cut a record batch into pieces of at most `BATCH_ROWS` rows, and choose its columns."""
    batch = batch.select(list(names))
    for start in range(0, batch.num_rows, BATCH_ROWS):
        yield batch.slice(start, BATCH_ROWS)
