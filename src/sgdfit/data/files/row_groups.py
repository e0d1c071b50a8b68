"""Parquet files, read one row group at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from sgdfit.data.files.columnar import Contents, Stretch, reading
from sgdfit.data.files.origins import Origin, opened
from sgdfit.data.kinds import kind_of
from sgdfit.data.scan import batch_rows
from sgdfit.data.where import Range, extremes_of
from sgdfit.data.wording import reason_of
from sgdfit.errors import DataError

__all__ = ["open_row_groups"]

# Compressed pages are read in steps of so many bytes, a column at a time. Without this, a column
# of a whole row group would be held.
BUFFER = 1 << 20
# Behind a network each step has to be waited for.
REMOTE_BUFFER = 1 << 23
# What a file says of itself is kept where it is short and serves several row groups. Where it is
# long, that of the last few files is: there may be thousands of them, and with each of thousands of
# row groups all of it would be read again.
KEPT_METADATA, LONG_KEPT = 1 << 18, 2


def open_row_groups(origin: Origin) -> Contents:
    """Read what a Parquet file says of itself; its row groups become stretches.

    Raises
    ------
    DataError
        When it is damaged or no Parquet file.
    """
    with opened(origin) as source, reading(origin.label, "Parquet"):
        file = _file(source, origin)
        metadata, schema = file.metadata, file.schema_arrow
        stretches, first = [], 0
        leaves = _leaves(metadata)
        again = _again(origin, metadata)
        for group in range(metadata.num_row_groups):
            rows = metadata.row_group(group).num_rows
            known = _ranges(metadata, group, schema, leaves)
            read = _reader(origin, again, group, first, rows)
            stretches.append(Stretch(first, rows, read, known))
            first += rows
    return Contents(origin, schema, tuple(stretches))


def _file(source: Any, origin: Origin, metadata: Any = None) -> Any:
    import pyarrow.parquet as pq

    return pq.ParquetFile(
        source,
        metadata=metadata,
        pre_buffer=False,
        buffer_size=BUFFER if origin.local else REMOTE_BUFFER,
        page_checksum_verification=True,
    )


def _again(origin: Origin, metadata: Any) -> Callable[[], Any]:
    """Return what hands out what a file says of itself once more; None to read it from there."""
    if metadata.num_row_groups == 1:
        return lambda: None
    if metadata.serialized_size <= KEPT_METADATA:
        return lambda: metadata
    return lambda: _long_metadata(origin)


@lru_cache(maxsize=LONG_KEPT)
def _long_metadata(origin: Origin) -> Any:
    with opened(origin) as source:
        return _file(source, origin).metadata


def _reader(
    origin: Origin, again: Callable[[], Any], group: int, first: int, rows: int
) -> Callable[[Sequence[str]], Iterator[Any]]:
    import pyarrow as pa

    def read(names: Sequence[str]) -> Iterator[Any]:
        with opened(origin) as source:
            try:
                file = _file(source, origin, again())
                batches = file.iter_batches(
                    batch_size=batch_rows(len(names)),
                    row_groups=[group],
                    columns=list(names),
                    use_threads=False,
                )
                for batch in batches:
                    yield batch.select(list(names))
            except (pa.ArrowException, OSError, EOFError, UnicodeDecodeError) as error:
                raise DataError(
                    f"{origin.label} is damaged in row group {group + 1} (rows {first + 1:,} to"
                    f" {first + rows:,}): {reason_of(error)}; copy or write it again"
                ) from error

    return read


def _leaves(metadata: Any) -> dict[str, int]:
    """Return where the columns stand that are not nested."""
    schema = metadata.schema
    return {schema.column(k).path: k for k in range(metadata.num_columns)}


def _ranges(
    metadata: Any, group: int, schema: Any, leaves: dict[str, int]
) -> Callable[[str], Range | None]:
    def known(name: str) -> Range | None:
        place = leaves.get(name)
        if place is None or schema.get_field_index(name) < 0:
            return None
        column = metadata.row_group(group).column(place)
        statistics = column.statistics if column.is_stats_set else None
        if statistics is None:
            return None
        kind = schema.field(name).type
        try:
            return _range(statistics, kind, column.num_values)
        except (ValueError, TypeError, OverflowError, NotImplementedError):
            return None

    return known


def _range(statistics: Any, kind: Any, rows: int) -> Range:
    import pyarrow.types as kinds

    count = statistics.null_count if statistics.has_null_count else None
    # NaN leaves no trace in the extremes, so a column of floats may always hold one.
    nulls = count != 0 or kinds.is_floating(kind)
    extremes = None
    if statistics.has_min_max and kind_of(kind) in ("numbers", "text", "times", "truth values"):
        extremes = extremes_of(statistics.min, statistics.max, kind)
    return Range(extremes, nulls, empty=count is not None and count == rows > 0)
