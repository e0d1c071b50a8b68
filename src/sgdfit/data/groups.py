"""Rows by groups: those of each together, in memory, a part of the groups at a time."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from sgdfit.data.levels import Levels, check_levels
from sgdfit.data.opening import Announce, SpillFolder, spilled
from sgdfit.data.rows import dataset_table, float_batches, read_batches, see_first_times
from sgdfit.data.table import OR_DROP, Table, common_length
from sgdfit.errors import DataError, reason_of

Array = np.ndarray[Any, Any]

# Where all rows do not fit into memory, groups are shared out among so many files.
PARTS = 256


class Groups(NamedTuple):
    """Rows of groups, those of one after those of another."""

    keys: Any  # a pyarrow.Table, a row for each of g groups: what tells them apart
    offsets: Array  # int64[g + 1]: where the rows of each begin, and those of the last end
    rows: Array  # int64[n]: of the data, counted from 0, in ascending order within a group
    first: Array  # int64[g]: the first row of each, also where that is left out
    columns: dict[str, Array]  # float64[n] each
    is_part: bool = False  # whether there are others, which do not fit into memory beside them

    @property
    def sizes(self) -> Array:
        """How many rows each has, int64[g]."""
        return np.diff(self.offsets)

    def of(self, group: int) -> dict[str, Array]:
        """Return the columns of one group."""
        some = slice(self.offsets[group], self.offsets[group + 1])
        return {name: column[some] for name, column in self.columns.items()}

    def chosen(self, keep: Array) -> Groups:
        """Return these groups with some of their rows, bool[n]."""
        group = np.repeat(np.arange(len(self.offsets) - 1), self.sizes)[keep]
        counts = np.bincount(group, minlength=len(self.offsets) - 1)
        columns = {name: column[keep] for name, column in self.columns.items()}
        offsets = np.concatenate([[0], np.cumsum(counts)])
        return self._replace(offsets=offsets, rows=self.rows[keep], columns=columns)


def read_groups(
    table: Table, names: Sequence[str], by: Sequence[str], missing: str, budget: int
) -> Iterator[Groups]:
    """Yield the columns ``names`` of all rows, by groups of equal values in the columns ``by``.

    Of a group without a finite number in any row that is left out, its name is left.
    What takes more than ``budget`` bytes is shared out among files first, all rows of a group into
    one of them.

    Raises
    ------
    DataError
        When columns cannot be read, or a row that is not left out names no group.

    Examples
    --------
    >>> from sgdfit.data.readers import open_table
    >>> table = open_table({"site": ["B", "A", "B"], "x": [1.0, 2.0, 3.0]})
    >>> (groups,) = read_groups(table, ["x"], ["site"], "error", 10**6)
    >>> groups.keys.to_pydict(), groups.offsets.tolist(), groups.columns["x"].tolist()
    ({'site': ['B', 'A']}, [0, 2, 3], [1.0, 3.0, 2.0])
    """
    held, size, shared = list[Any](), 0, Partition(table.label)
    for block in keyed_blocks(table, names, by, missing):
        held.append(block)
        size += block.nbytes
        # To sort them takes as much again. What came in memory may do so.
        if table.dataset is not None and 2 * size > budget:
            shared.add(held)
            held, size = [], 0
    if not shared.writers:
        yield grouped(held, names, by)
        return
    shared.add(held)
    for some in shared.read():
        yield grouped(some, names, by)._replace(is_part=True)


def find_levels(
    table: Table,
    columns: Sequence[str],
    others: Sequence[str],
    missing: str,
    budget: int,
    announce: Announce | None,
) -> tuple[Table, dict[str, tuple[str, ...]]]:
    """Return the levels of ``columns``, as they first appear in the rows that are used.

    With them comes the table, which has codes in their place from then on; what can be read once
    is kept in temporary files, the ``others`` included. Rows that lack a number in any of these do
    not count where ``missing`` ones are dropped.

    Raises
    ------
    DataError
        When a column cannot index parameters, or has a single level.
    """
    scales, found, words = table.scales, dict[str, tuple[str, ...]](), dict[str, list[str]]()
    assert scales is not None, "levels are learned by what codes them"
    scales.levels |= {name: Levels() for name in columns}
    if table.dataset is not None and not table.dataset.again:
        if announce is not None:
            announce(f"{table.label} can be read once, so columns that are needed again are kept")
        table = _kept(table, [*columns, *others], budget)
        words = {name: [*scales.levels[name].codes] for name in columns}
        # From then on a code is what stands in the column.
        scales.levels |= {name: Levels() for name in columns}
    used = tuple(dict.fromkeys([*columns, *(others if missing == "drop" else ())]))
    seen: dict[str, dict[float, None]] = {name: {} for name in columns}
    for block in _number_blocks(table, used, missing):
        for name, column in zip(columns, block, strict=False):
            values, first = np.unique(column, return_index=True)
            seen[name] |= dict.fromkeys(values[np.argsort(first)].tolist())
    for name, codes in seen.items():
        known = [*scales.levels[name].codes]
        names = [known[int(code)] for code in codes]
        scales.levels[name] = Levels(names, drop=missing == "drop")
        found[name] = tuple(words[name][int(code)] if words else code for code in names)
        check_levels(found[name], name, table.label)
    return table, found


def _kept(table: Table, names: Sequence[str], budget: int) -> Table:
    """Return columns of what can be read once, as numbers in temporary files."""
    dataset = table.dataset
    assert dataset is not None, "what is in memory can be read again"
    table.positions(wanted := tuple(dict.fromkeys(names)))
    batches = read_batches(dataset, wanted, "", 1, budget)
    kept = spilled(dataset, wanted, batches, lambda text: None)
    kept = kept._replace(scales=table.scales, notes=table.notes)
    return replace(dataset_table(kept, table.where), where=table.where, scales=table.scales)


def _number_blocks(table: Table, names: Sequence[str], missing: str) -> Iterator[tuple[Array, ...]]:
    """Yield the finite rows of columns, as numbers, one row group after another."""
    if table.dataset is None:
        yield tuple(table.load(names, missing=missing).columns.values())
        return
    for group in table.dataset.row_groups:
        for batch in float_batches(table.dataset, group, names, missing):
            yield batch.finite


def keyed_blocks(
    table: Table, names: Sequence[str], by: Sequence[str], missing: str, first: int = 0
) -> Iterator[Any]:
    """Yield Arrow tables: the columns of groups, the rows' numbers, the columns ``names``.

    Rows are numbered from ``first`` on.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    for rows, columns, keys in _columns(table, names, by, missing):
        rows = rows + first
        keep = np.ones(len(rows), bool)
        for k, name in enumerate(by):
            column = keys.column(name)
            if pa.types.is_nested(column.type):
                raise DataError(
                    f"column {name!r} of {table.label} holds {column.type}; groups are told apart"
                    " by text, numbers, dates or categories"
                )
            if pa.types.is_floating(column.type):  # -0.0 is 0.0
                keys = keys.set_column(k, name, pc.add(column, pa.scalar(0.0, column.type)))
            unknown = np.asarray(pc.is_null(column, nan_is_null=True))
            if unknown.any() and missing == "error":
                raise DataError(
                    f"column {name!r} row {rows[unknown.argmax()] + 1:,} of {table.label} names no"
                    f" group; fill it in, {OR_DROP}"
                )
            keep &= ~unknown
        arrays = [*keys.columns, rows, *columns]
        block = pa.table(arrays, [str(k) for k in range(len(arrays))])
        yield block if keep.all() else block.filter(pa.array(keep))


def _columns(
    table: Table, names: Sequence[str], by: Sequence[str], missing: str
) -> Iterator[tuple[Array, tuple[Array, ...], Any]]:
    if table.dataset is None:
        keys, found = table.arrow(by), table.load(names, missing=missing)
        lengths = {by[0]: len(keys), names[0]: found.rows + found.dropped}
        common_length(lengths, table.label)
        columns = tuple(found.columns.values())
        if found.keep is not None:
            columns = tuple(np.full((len(columns), len(keys)), np.nan))
            for column, values in zip(columns, found.columns.values(), strict=True):
                column[found.keep] = values
        yield np.arange(len(keys)), columns, keys
        return
    see_first_times(table.dataset, names)
    first = 0
    for group in table.dataset.row_groups:
        for batch in float_batches(table.dataset, group, names, missing, by, keeps=True):
            rows = np.arange(first, first + batch.raw.num_rows)
            yield rows, batch.columns, batch.raw.select(list(by))
            first += batch.raw.num_rows
    if not first:
        raise DataError(f"{table.label} has no rows; give at least one")


def grouped(blocks: Sequence[Any], names: Sequence[str], by: Sequence[str]) -> Groups:
    """Return the rows of some blocks by groups, in the order in which these first appear."""
    import pyarrow as pa

    whole = concatenated(blocks).combine_chunks()
    keys = whole.select(range(len(by))).rename_columns(list(by))
    rows, *columns = (np.asarray(column) for column in whole.columns[len(by) :])
    codes = np.zeros(len(rows), np.int64)
    for column in keys.columns:
        found = column.combine_chunks().dictionary_encode()
        codes = codes * len(found.dictionary) + np.asarray(found.indices)
        # Numbers as they first appear, lest products of many columns overflow.
        codes = np.asarray(pa.array(codes).dictionary_encode().indices, dtype=np.int64)
    first = np.unique(codes, return_index=True)[1]
    count, begun = len(first), rows[first]
    floats = [np.asarray(column, dtype=np.float64) for column in columns]
    keep = np.logical_and.reduce([np.isfinite(column) for column in floats])
    ordered = (np.diff(codes) >= 0).all()
    if not (keep.all() and ordered):
        order = np.flatnonzero(keep)
        order = order if ordered else order[np.argsort(codes[order], kind="stable")]
        rows, codes = rows[order], codes[order]
        for k in range(len(floats)):  # one after another, lest all be held twice
            floats[k] = floats[k][order]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=count))])
    named = {name: np.ascontiguousarray(f) for name, f in zip(names, floats, strict=True)}
    return Groups(keys.take(first), offsets, rows, begun, named)


def concatenated(blocks: Sequence[Any]) -> Any:
    """Return Arrow tables one below the other, whatever the types of their keys."""
    import pyarrow as pa

    return pa.concat_tables(blocks, promote_options="permissive")


def share_out(block: Any, parts: int) -> list[Any]:
    """Return the rows of a block in so many parts, by the first of the columns of groups."""
    codes = block.column(0).combine_chunks().dictionary_encode()
    part = [zlib.crc32(repr(key).encode()) % parts for key in codes.dictionary.to_pylist()]
    of_row = np.array(part, dtype=np.int64)[np.asarray(codes.indices)]
    order = np.argsort(of_row, kind="stable")
    ends = np.cumsum(np.bincount(of_row, minlength=parts))
    return [block.take(some) for some in np.split(order, ends[:-1])]


class Partition:
    """Files that share out rows by the first of the columns that tell groups apart."""

    def __init__(self, label: str) -> None:
        self.label, self.writers, self.paths = label, list[Any](), list[str]()
        self.folder: SpillFolder | None = None

    def add(self, blocks: Sequence[Any]) -> None:
        """Append the rows of blocks to the files of their groups."""
        import pyarrow as pa

        for block in blocks:
            if self.folder is None:
                self.folder = SpillFolder()
                self.paths = [f"{self.folder.path}/{k}.arrows" for k in range(PARTS)]
                self.writers = [pa.ipc.new_stream(path, block.schema) for path in self.paths]
            for writer, some in zip(self.writers, share_out(block, PARTS), strict=True):
                if len(some):
                    self._write(writer, some)

    def _write(self, writer: Any, rows: Any) -> None:
        import pyarrow as pa

        assert self.folder is not None
        try:
            writer.write_table(rows.cast(writer.schema) if hasattr(writer, "schema") else rows)
        except (OSError, pa.ArrowException) as error:
            raise DataError(
                f"the temporary folder {self.folder.path} takes no more than the"
                f" {self.folder.written:,} bytes that were written ({reason_of(error)}); set TMPDIR"
                " to a folder with more room, or name fewer rows by where"
            ) from error
        self.folder.written += rows.nbytes

    def read(self) -> Iterator[list[Any]]:
        """Yield the rows of one file after another."""
        import pyarrow as pa

        for writer in self.writers:
            writer.close()
        for path in self.paths:
            with pa.OSFile(path) as file:
                table = pa.ipc.open_stream(file).read_all()
            if table.num_rows:
                yield [table]
