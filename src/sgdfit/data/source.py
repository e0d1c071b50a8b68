"""Where rows come from: columns in memory, read in chunks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sgdfit.errors import UsageError

__all__ = ["Source"]

# Three float64 columns of this many rows take 1.5 MB, which stays in a second-level cache.
CHUNK_ROWS = 65_536
FLOATS = (np.dtype(np.float64), np.dtype(np.float32))


@dataclass(frozen=True, eq=False)
class Source:
    """Rows in memory.

    Parameters
    ----------
    columns : dict of str to numpy.ndarray
        Each of shape (rows,), contiguous, float32 or float64 in native byte order.
    label : str
        How messages name the data: ``data.csv``, ``standard input``, ``the data``.
    dropped : int
        Rows that ``missing="drop"`` left out.
    keep : bool[rows + dropped], optional
        Which rows of the data these are, where some were left out and it is known.

    Raises
    ------
    UsageError
        When a column has another type, layout or length.

    Examples
    --------
    >>> source = Source({"x": np.array([1.0, 2.0, 3.0])}, "the data")
    >>> source.rows
    3
    >>> [x.tolist() for (x,) in source.chunks(["x"], size=2)]
    [[1.0, 2.0], [3.0]]
    """

    columns: dict[str, np.ndarray[Any, Any]]
    label: str
    dropped: int = 0
    keep: np.ndarray[Any, Any] | None = None

    def __post_init__(self) -> None:
        rows = self.rows
        for name, column in self.columns.items():
            if column.dtype not in FLOATS:
                raise UsageError(
                    f"column {name!r} of a Source is {column.dtype}; it must be float32 or"
                    " float64 in native byte order"
                )
            if column.shape != (rows,) or not column.flags.c_contiguous:
                raise UsageError(
                    f"column {name!r} of a Source has the shape {column.shape}; it must be"
                    f" one contiguous run of {rows} rows"
                )

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return next((column.size for column in self.columns.values()), 0)

    def chunks(
        self, names: Sequence[str], size: int = CHUNK_ROWS
    ) -> Iterator[tuple[np.ndarray[Any, Any], ...]]:
        """Yield consecutive views of the columns ``names``, at most ``size`` rows each.

        Raises
        ------
        UsageError
            When ``size`` is below 1.

        Examples
        --------
        >>> source = Source({"x": np.arange(3.0), "y": np.ones(3)}, "the data")
        >>> [(x.size, y.size) for x, y in source.chunks(["x", "y"], size=2)]
        [(2, 2), (1, 1)]
        """
        if size < 1:
            raise UsageError(f"a chunk of {size} rows cannot be read; size must be 1 or more")
        chosen = [self.columns[name] for name in names]
        for start in range(0, self.rows, size):
            yield tuple(column[start : start + size] for column in chosen)
