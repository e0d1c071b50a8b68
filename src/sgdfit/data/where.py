"""Only the rows that meet a condition: of batches, of tables, and of row groups by their extremes.

Comparisons have three values, as in SQL: with something missing, a null or NaN, they are not known,
and a row counts only where the whole condition is known to be true.
"""

from __future__ import annotations

import ast
import datetime
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from sgdfit.data.condition import Condition
from sgdfit.data.floats import (
    Place,
    array_of,
    as_bools,
    bools_of,
    floats_of_decimals,
    kind_of,
    numbers_of,
    plain_type,
    raw_array,
    scalar_of,
)
from sgdfit.data.rows import scanned_table
from sgdfit.data.table import BATCH_ROWS, ColumnStatistics, Dataset, RowGroup, Table
from sgdfit.errors import DataError, reason_of

Array = np.ndarray[Any, Any]

FUNCTIONS = {
    ast.Eq: "equal",
    ast.NotEq: "not_equal",
    ast.Lt: "less",
    ast.LtE: "less_equal",
    ast.Gt: "greater",
    ast.GtE: "greater_equal",
    ast.Add: "add",
    ast.Sub: "subtract",
    ast.Mult: "multiply",
    ast.Div: "divide",
}


def mask_of(condition: Condition, batch: Any) -> Any:
    """Return an Arrow array of truth values without nulls, one a row of ``batch``.

    Parameters
    ----------
    condition : Condition
        What rows have to meet.
    batch : pyarrow.RecordBatch
        Holds the columns ``condition.names`` by these names.

    Raises
    ------
    DataError
        When what is compared is not of one kind.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from sgdfit.data.condition import read_condition
    >>> batch = pa.record_batch({"x": [1.0, None, 3.0], "s": ["A", "A", "B"]})
    >>> mask_of(read_condition("not x > 2 or s == 'B'"), batch).to_pylist()
    [True, False, True]
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = {name: batch.column(name) for name in condition.names}
    try:
        found = _Rows(columns, condition.text).truth(condition.tree)
    except pa.ArrowException as error:
        raise DataError(
            f"where={condition.text!r} cannot be evaluated ({reason_of(error)}); compare"
            " numbers with numbers, text with text and times with text such as '2024-03-01'"
        ) from error
    if isinstance(found, pa.Scalar):
        return pa.repeat(scalar_of(bool(found.as_py()), pa.bool_()), batch.num_rows)
    return pc.fill_null(found, scalar_of(False, pa.bool_())) if found.null_count else found


class _Rows:
    """What a condition is for each row of some columns: Arrow's true, false or null."""

    def __init__(self, columns: Mapping[str, Any], text: str) -> None:
        self.columns = {name: _plain(column) for name, column in columns.items()}
        self.text = text

    def truth(self, node: ast.expr) -> Any:
        import pyarrow.compute as pc
        import pyarrow.types as kinds

        if isinstance(node, ast.UnaryOp):
            return pc.invert(self.truth(node.operand))
        if isinstance(node, ast.BoolOp):
            join = pc.and_kleene if isinstance(node.op, ast.And) else pc.or_kleene
            return functools.reduce(join, map(self.truth, node.values))
        if isinstance(node, ast.Compare):
            return functools.reduce(pc.and_kleene, itertools.starmap(self.compared, _links(node)))
        value = self.value(node)
        if kinds.is_boolean(value.type):
            return value
        raise DataError(
            f"where={self.text!r} takes {_words(node)} for true or false, but it holds"
            f" {kind_of(value.type)}; compare it, as in {_words(node)} > 0"
        )

    def value(self, node: ast.expr) -> Any:
        """Evaluate an operand; truth values may be operands too, as in ``flag == true``."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if isinstance(node, ast.Name):
            return self.columns[node.id]
        if isinstance(node, ast.Constant):
            own = {bool: pa.bool_(), str: pa.string()}.get(type(node.value), pa.float64())
            return _scalar(node.value, own)
        if not isinstance(node, ast.BinOp):
            return self.truth(node)
        sides = []
        for side in (node.left, node.right):
            value = self.value(side)
            if kind_of(value.type) not in ("numbers", "nothing"):
                raise DataError(
                    f"where={self.text!r} computes with {_words(side)}, which holds"
                    f" {kind_of(value.type)}; only numbers can be added, subtracted, multiplied"
                    " and divided"
                )
            sides.append(value.cast(pa.float64(), safe=False))
        return pc.call_function(FUNCTIONS[type(node.op)], sides)

    def compared(self, operator: ast.cmpop, left: ast.expr, right: ast.expr) -> Any:
        import pyarrow.compute as pc

        one = self.value(left)
        if isinstance(operator, ast.Is | ast.IsNot):
            missing = pc.is_null(one, nan_is_null=True)
            return missing if isinstance(operator, ast.Is) else pc.invert(missing)
        if isinstance(right, ast.List):
            among = self.among(one, left, right)
            return among if isinstance(operator, ast.In) else pc.invert(among)
        if isinstance(right, ast.Constant):
            sides = self.fitting(one, left, right)
        elif isinstance(left, ast.Constant):
            sides = self.fitting(self.value(right), right, left)[::-1]
        else:
            sides = self.alike(one, self.value(right), left, right)
        return pc.call_function(FUNCTIONS[type(operator)], [_known(side) for side in sides])

    def fitting(self, value: Any, node: ast.expr, constant: ast.Constant) -> tuple[Any, Any]:
        """Bring a column and a constant to types that Arrow compares exactly."""
        import pyarrow as pa
        import pyarrow.types as kinds

        if kinds.is_boolean(value.type) and not isinstance(constant.value, bool | str):
            value = value.cast(pa.int8())
        try:
            scalar = _scalar(constant.value, value.type)
        except (TypeError, ValueError) as error:
            held = kind_of(value.type)
            advice = {
                "numbers": "compare it with a number, without quotation marks",
                "text": f"write {str(constant.value)!r} in quotation marks",
                "times": "write a date or time in quotation marks, such as '2024-03-01' or"
                " '2024-03-01T12:30'",
                "truth values": "compare it with true or false",
            }.get(held, "it cannot be compared")
            raise DataError(
                f"where={self.text!r} compares {_words(node)}, which holds {held}, with"
                f" {constant.value!r}; {advice}"
            ) from error
        if scalar.type == pa.float64() and not isinstance(value, pa.Scalar):
            value = value.cast(pa.float64(), safe=False)
        return value, scalar

    def among(self, value: Any, node: ast.expr, constants: ast.List) -> Any:
        """Tell values that are one of several, which are looked up type by type."""
        import pyarrow as pa
        import pyarrow.compute as pc

        value = _known(value)
        fitted = [self.fitting(value, node, each) for each in constants.elts]  # type: ignore[arg-type]
        if kind_of(value.type) not in ("numbers", "text"):
            return functools.reduce(pc.or_kleene, itertools.starmap(pc.equal, fitted))
        found = []
        for kind in dict.fromkeys(scalar.type for _, scalar in fitted):
            some = [scalar.as_py() for _, scalar in fitted if scalar.type == kind]
            found.append(pc.is_in(value.cast(kind, safe=False), value_set=array_of(some, kind)))
        either = functools.reduce(pc.or_, found)
        return pc.if_else(pc.is_valid(value), either, scalar_of(None, pa.bool_()))

    def alike(self, one: Any, other: Any, left: ast.expr, right: ast.expr) -> tuple[Any, Any]:
        """Refuse a comparison of columns of different kinds."""
        import pyarrow as pa

        kinds = kind_of(one.type), kind_of(other.type)
        if kinds[0] != kinds[1] and "nothing" not in kinds:
            raise DataError(
                f"where={self.text!r} compares {_words(left)}, which holds {kinds[0]}, with"
                f" {_words(right)}, which holds {kinds[1]}; compare columns of one kind"
            )
        if one.type != other.type and kinds == ("numbers", "numbers"):
            return one.cast(pa.float64(), safe=False), other.cast(pa.float64(), safe=False)
        return one, other


def _links(node: ast.Compare) -> Iterator[tuple[ast.cmpop, ast.expr, ast.expr]]:
    """Yield the comparisons of a chain."""
    return zip(node.ops, [node.left, *node.comparators], node.comparators, strict=False)


def _words(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return f"column {node.id!r}"
    return repr(node.value) if isinstance(node, ast.Constant) else "an expression"


def _plain(array: Any) -> Any:
    """Take off encodings, and choose of each kind a type that Arrow can compare."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as kinds

    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(array.storage)
    if kinds.is_dictionary(kind):
        return _plain(_plain(array.dictionary).take(array.indices))
    if kinds.is_run_end_encoded(kind):
        return _plain(pc.run_end_decode(array))
    if kind_of(kind) == "text" and not kinds.is_string(kind):
        array = array.cast(pa.binary()) if kinds.is_fixed_size_binary(kind) else array
        return array.cast(pa.large_string())
    if kinds.is_decimal(kind):
        return numbers_of(floats_of_decimals(array))
    return array.cast(pa.float64()) if kinds.is_float16(kind) else array


def _known(value: Any) -> Any:
    """Make NaN a null: Arrow calls it unequal to all, which would choose rows that are missing."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as kinds

    if isinstance(value, pa.Scalar) or not kinds.is_floating(value.type):
        return value
    lost = pc.is_nan(value)
    if not pc.any(lost).as_py():
        return value
    return pc.if_else(lost, pa.scalar(None, value.type), value)


@functools.lru_cache(maxsize=1024, typed=True)
def _scalar(value: Any, kind: Any) -> Any:
    """Return a constant as an Arrow scalar that can be compared with a column of type ``kind``.

    It raises TypeError where it is of another kind, and ValueError for a text that is no time.
    """
    import pyarrow as pa
    import pyarrow.types as kinds

    kind = plain_type(kind)
    held = kind_of(kind)
    if held == "nothing":
        return scalar_of(None, pa.null())
    if held == "truth values" and isinstance(value, bool):
        return scalar_of(value, pa.bool_())
    if held == "text" and isinstance(value, str):
        return scalar_of(value, pa.string() if kinds.is_string(kind) else pa.large_string())
    if held == "times" and isinstance(value, str):
        return _time(value, kind)
    if held == "numbers" and not isinstance(value, str):
        return _number(value, kind)
    raise TypeError(held)


def _number(value: float, kind: Any) -> Any:
    """Keep integers exact where both are; one beyond the type's range compares as infinity does."""
    import pyarrow as pa
    import pyarrow.types as kinds

    if isinstance(value, int) and kinds.is_integer(kind):
        unsigned = kind == pa.uint64()
        least, most = (0, 2**64 - 1) if unsigned else (-(2**63), 2**63 - 1)
        if least <= value <= most:
            return scalar_of(int(value), pa.uint64() if unsigned else pa.int64())
        value = math.copysign(math.inf, value)
    return scalar_of(float(value), pa.float64())


def _time(text: str, kind: Any) -> Any:
    """Read a time as ISO 8601; without a zone it stands in that of the column."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as kinds

    moment = datetime.datetime.fromisoformat(text.strip())
    zone = kind.tz if kinds.is_timestamp(kind) else None
    aware = moment.tzinfo is not None
    bare = moment.astimezone(datetime.UTC).replace(tzinfo=None) if aware else moment
    ticks = (bare - datetime.datetime(1970, 1, 1)) // datetime.timedelta(microseconds=1)
    if zone and not aware:
        return pc.assume_timezone(scalar_of(ticks, pa.timestamp("us")), zone)
    return scalar_of(ticks, pa.timestamp("us", zone))


def extremes_of(low: Any, high: Any, kind: Any) -> Any:
    """Return two values of a column of type ``kind`` as an Arrow array; None if they are no use.

    Examples
    --------
    >>> import pyarrow as pa
    >>> extremes_of(1, 3, pa.int8()).to_pylist()
    [1, 3]
    """
    import pyarrow as pa
    import pyarrow.types as kinds

    kind = plain_type(kind)
    held = kind_of(kind)
    if low is None or high is None:
        return None
    if held == "text":
        both = isinstance(low, str) and isinstance(high, str)
        return array_of([low, high], pa.large_string()) if both else None
    if held == "times" or kinds.is_decimal(kind):
        return pa.array([low, high], kind)
    return array_of([low, high], kind) if held in ("numbers", "truth values") else None


class Possible(NamedTuple):
    """Whether a condition may be true, false or unknown for some row.

    What is not certain is taken to be possible.
    """

    true: bool
    false: bool
    null: bool

    @property
    def certain(self) -> bool:
        """Whether every row meets it."""
        return not self.false and not self.null


ANYTHING = Possible(True, True, True)
Statistics = Callable[[str], ColumnStatistics | None]


def possible_truth(tree: ast.expr, statistics: Statistics) -> Possible:
    """Say what ``tree`` may be in rows whose columns lie within ``statistics``.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from sgdfit.data.condition import read_condition
    >>> known = {"x": ColumnStatistics(extremes_of(1, 5, pa.int64()), nulls=False)}
    >>> possible_truth(read_condition("x > 7 or y == 2").tree, known.get).true
    True
    >>> possible_truth(read_condition("x > 7 and y == 2").tree, known.get).true
    False
    >>> possible_truth(read_condition("x < 7").tree, known.get).certain
    True
    """
    if isinstance(tree, ast.UnaryOp):
        return _opposite(possible_truth(tree.operand, statistics))
    if isinstance(tree, ast.BoolOp):
        parts = [possible_truth(part, statistics) for part in tree.values]
        return _joined(parts, isinstance(tree.op, ast.And))
    if isinstance(tree, ast.Compare):
        return _joined([_link(*link, statistics) for link in _links(tree)], True)
    return ANYTHING


def _opposite(part: Possible) -> Possible:
    return Possible(part.false, part.true, part.null)


def _joined(parts: Sequence[Possible], conjunction: bool) -> Possible:
    every, some = (all, any) if conjunction else (any, all)
    return Possible(
        every(p.true for p in parts), some(p.false for p in parts), any(p.null for p in parts)
    )


def _link(operator: ast.cmpop, left: ast.expr, right: ast.expr, statistics: Statistics) -> Possible:
    if isinstance(operator, ast.NotIn | ast.IsNot | ast.NotEq):
        same = {ast.NotIn: ast.In(), ast.IsNot: ast.Is(), ast.NotEq: ast.Eq()}[type(operator)]
        return _opposite(_link(same, left, right, statistics))
    column, other = (left, right) if isinstance(left, ast.Name) else (right, left)
    known = statistics(column.id) if isinstance(column, ast.Name) else None
    if known is None or not isinstance(column, ast.Name):
        return ANYTHING
    if isinstance(operator, ast.Is):
        return Possible(known.nulls, not known.empty, False)
    if isinstance(other, ast.List):
        equal = [_link(ast.Eq(), column, each, statistics) for each in other.elts]
        return _joined(equal, False)
    if not isinstance(other, ast.Constant):
        return ANYTHING
    if known.empty:
        return Possible(False, False, True)
    if known.extremes is None:
        return ANYTHING
    rows = _Rows({column.id: known.extremes}, "")
    try:
        if isinstance(operator, ast.Eq):
            below, above = (rows.compared(sign, column, other) for sign in (ast.LtE(), ast.GtE()))
            found = [below[0], above[1], below[1], above[0]]
        else:
            found = list(rows.compared(operator, left, right))
    except (DataError, ValueError, TypeError, NotImplementedError):
        return ANYTHING
    values = [value.as_py() for value in found]
    if None in values:
        return ANYTHING
    if isinstance(operator, ast.Eq):
        return Possible(values[0] and values[1], not (values[2] and values[3]), known.nulls)
    return Possible(any(values), not all(values), known.nulls)


def filtered(table: Table, condition: Condition) -> Table:
    """Return a table of the rows of ``table`` that meet ``condition``.

    Raises
    ------
    DataError
        When the condition looks at something that is no column.

    Examples
    --------
    >>> from sgdfit.data.readers import open_table
    >>> from sgdfit.data.condition import read_condition
    >>> table = open_table({"x": [1.0, 2.0, 3.0], "site": ["A", "B", "A"]})
    >>> filtered(table, read_condition("site == 'A'")).load(["x"]).columns["x"]
    array([1., 3.])
    """
    condition.check(table.names, table.label)
    if table.dataset is not None:
        return _filtered_dataset(table.dataset, condition)

    def place(name: str) -> Place:
        return Place(name, table.label, table.line, table.decimal)

    def fetch(positions: Sequence[int]) -> list[object]:
        mask = _mask(table, condition, place)
        names = [table.names[k] for k in positions]
        raw = table.fetch(positions)
        return [_chosen(v, mask, place(n)) for n, v in zip(names, raw, strict=True)]

    def line(row: int) -> str:
        before = int(np.flatnonzero(_mask(table, condition, place))[row])
        return f" (row {before + 1} of all{_inner(table.line(before))})"

    return replace(table, fetch=fetch, line=line)


def _inner(words: str) -> str:
    bare = words.strip(" ()")
    return f", {bare}" if bare else ""


def _mask(table: Table, condition: Condition, place: Callable[[str], Place]) -> Array:
    """Evaluate a condition on the columns of a table in memory, a batch at a time."""
    import pyarrow as pa

    raw = table.fetch([table.names.index(name) for name in condition.names])
    named = zip(condition.names, raw, strict=True)
    arrays = {name: _as_arrow(value, place(name)) for name, value in named}
    rows = max((len(array) for array in arrays.values()), default=0)
    if any(len(array) not in (1, rows) for array in arrays.values()):
        raise DataError(
            f"the columns {', '.join(map(repr, condition.names))} of {table.label}, which where"
            " compares, have different lengths; give all columns the same length"
        )
    whole = pa.table({n: a if len(a) == rows else pa.repeat(a[0], rows) for n, a in arrays.items()})
    parts = [as_bools(mask_of(condition, batch)) for batch in whole.to_batches(BATCH_ROWS)]
    mask = np.concatenate(parts) if parts else np.zeros(0, bool)
    if rows and not mask.any():
        raise DataError(
            f"no row of {table.label} meets where={condition.text!r}; widen the condition"
        )
    return mask


def _as_arrow(value: object, place: Place) -> Any:
    import pyarrow as pa

    raw = raw_array(value, place)
    if not isinstance(raw, np.ndarray):
        return raw
    raw = raw.reshape(-1)
    if raw.dtype.kind in "fiu" and raw.itemsize <= 8:
        return numbers_of(raw.astype(raw.dtype.newbyteorder("="), copy=False))
    if raw.dtype.kind == "b":
        return bools_of(raw)
    try:
        return pa.array(raw.tolist() if raw.dtype.kind in "OUST" else raw, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise DataError(
            f"{place} cannot be compared by where; give numbers, text or times"
        ) from error


def _chosen(value: object, mask: Array, place: Place) -> object:
    """Choose the rows of a column; a single number stands for any."""
    raw = raw_array(value, place)
    if isinstance(raw, np.ndarray) and raw.ndim == 0:
        return raw
    if len(raw) != mask.size:
        raise DataError(
            f"{place} has {len(raw)} rows, and what where compares has {mask.size}; give all"
            " columns the same length"
        )
    return raw[mask] if isinstance(raw, np.ndarray) else raw.filter(bools_of(mask))


def _filtered_dataset(dataset: Dataset, condition: Condition) -> Table:
    row_groups = tuple(
        filtered_row_group(group, condition, dataset.again) for group in dataset.row_groups
    )
    fingerprint = f"{dataset.fingerprint}\n{condition.text}" if dataset.fingerprint else ""
    return scanned_table(
        dataset._replace(row_groups=row_groups, fingerprint=fingerprint), condition.text
    )


def filtered_row_group(group: RowGroup, condition: Condition, again: bool = True) -> RowGroup:
    """Return a row group of the rows that meet ``condition``; how many is not known."""

    def read(names: Sequence[str]) -> Iterator[Any]:
        names = list(names)
        extra = [name for name in condition.names if name not in names]
        for batch in group.read([*names, *extra]):
            mask = mask_of(condition, batch)
            chosen = batch.filter(mask) if mask.false_count else batch
            if chosen.num_rows:
                yield chosen.select(range(len(names)))

    def line(row: int) -> str:
        """Look at the rows again."""
        seen = 0
        for batch in group.read(condition.names) if again else ():
            places = np.flatnonzero(as_bools(mask_of(condition, batch)))
            if row < places.size:
                before = seen + int(places[row])
                return f" (row {group.first + before + 1} of the file{_inner(group.line(before))})"
            row -= places.size
            seen += batch.num_rows
        return ""

    return group._replace(rows=None, read=read, line=line)
