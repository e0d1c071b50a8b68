"""Dask's data frames and arrays: parts that are computed one by one, here or by workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from sgdfit.data.rows import dataset_table
from sgdfit.data.table import BATCH_ROWS, Dataset, RowGroup, Table
from sgdfit.errors import UsageError

LABEL = "the Dask data"


class Partitions(NamedTuple):
    """What a Dask collection holds, as parts in the order of its rows."""

    empty: Any  # a table without rows, with its columns
    parts: tuple[Any, ...]  # `dask.delayed` objects, each of a frame or a dict of arrays
    mark: str  # by which Dask tells these data from others

    def read(self, number: int) -> Any:
        """Compute a part in this process."""
        return self.parts[number].compute()


def is_dask(data: object) -> bool:
    """Whether ``data`` is a Dask data frame, a column of one, or a mapping of Dask arrays."""
    values = list(data.values()) if isinstance(data, Mapping) else [data]
    return any(type(value).__module__.partition(".")[0] == "dask" for value in values)


def partitions_of(data: Any) -> Partitions:
    """Return the parts of a Dask collection.

    Raises
    ------
    UsageError
        When it is of another kind, or its arrays are no columns of one length.
    """
    from dask.base import tokenize

    if hasattr(data, "to_frame"):
        data = data.to_frame()
    if hasattr(data, "to_delayed") and hasattr(data, "columns"):
        return Partitions(data._meta, tuple(data.to_delayed()), tokenize(data))
    if not isinstance(data, Mapping):
        raise UsageError(
            f"Dask's {type(data).__name__} has no named columns; give a data frame, or write"
            " {'x': x, 'y': y} of arrays"
        )
    import dask
    import dask.array as da

    columns = {name: da.asarray(array) for name, array in data.items()}
    shapes = {name: array.shape for name, array in columns.items()}
    first = next(iter(columns.values()))
    if first.ndim != 1 or len({*map(str, shapes.values())}) > 1:
        said = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise UsageError(f"Dask arrays have the shapes {said}; give columns, all of one length")
    blocks = [array.rechunk(first.chunks).to_delayed() for array in columns.values()]
    parts = (dict(zip(columns, some, strict=True)) for some in zip(*blocks, strict=True))
    empty = {name: array._meta for name, array in columns.items()}
    return Partitions(empty, tuple(map(dask.delayed, parts)), tokenize(columns))


def partitions_table(
    names: Sequence[str],
    count: int,
    part: Callable[[int], Any],
    open_table: Callable[[Any], Table],
    mark: str = "",
    times: frozenset[str] = frozenset(),
) -> Table:
    """Return a table over so many parts with these columns, of which ``part`` returns each."""
    groups = tuple(
        RowGroup(f"partition {k}", 0, None, partial(_read, part, open_table, k))
        for k in range(count)
    )
    return dataset_table(Dataset(tuple(names), LABEL, groups, True, mark, times=times))


def _read(
    part: Callable[[int], Any], open_table: Callable[[Any], Table], k: int, names: Sequence[str]
) -> Iterator[Any]:
    yield from open_table(part(k)).arrow(names).to_batches(BATCH_ROWS)
