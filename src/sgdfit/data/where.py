"""Only the rows that meet a condition, such as ``x > 0 and site == 'A'``.

The text is cut into tokens, and each becomes a line of Python in which a single name stands for all
columns, numbers and texts: Python's own parser tells what binds how, and nothing is ever executed.
As in SQL, a comparison with something missing, a null or NaN, chooses no row, and its negation
neither: ``not`` is therefore carried down to the comparisons, each of which has a reverse.
"""

from __future__ import annotations

import ast
import contextlib
import datetime
import functools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, NoReturn

import numpy as np

from sgdfit.data.floats import LONGEST, as_bools, as_comparable, kind_of, plain_type, scalar_of
from sgdfit.data.rows import dataset_table, no_row_meets
from sgdfit.data.table import (
    BATCH_ROWS,
    ColumnStatistics,
    RowGroup,
    Table,
    clean_names,
    column_positions,
)
from sgdfit.errors import DataError, FormulaError, UsageError, reason_of

Array = np.ndarray[Any, Any]

MAX_CONDITION_CHARACTERS = 100_000
MAX_DEPTH = 100
# Longer integers are read as floats: Python refuses them from some length on.
DIGITS = 300

SPELLINGS = {"=": "==", "<>": "!=", "≤": "<=", "≥": ">=", "≠": "!=", "−": "-", "·": "*", "×": "*",
             "÷": "/", "none": "null"}  # fmt: skip
PYTHON = {**dict.fromkeys(("name", "text", "number", "truth"), "_"), "null": "None", "end": ""}
TOKEN = re.compile(
    r"""(?P<space>\s+)
    | (?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
    | (?P<word>(?i:not\s+in|is\s+not|and|or|not|in|is|null|none|true|false)\b)
    | (?P<name>[^\W\d]\w*)
    | (?P<quoted>`(?:[^`]|``)+`|\{[^{}]+\})
    | (?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*")
    | (?P<operator>==|!=|<=|>=|<>|[-+*/()\[\],<>=≤≥≠−·×÷])""",
    re.VERBOSE,
)
ADVICE = {
    "&": "write and",
    "|": "write or",
    "!": "write not, or != in a comparison",
    "~": "write not",
    "'": "the quotation mark is never closed",
    '"': "the quotation mark is never closed",
    "`": "the backtick is never closed",
    ".": "a name with points or blanks is written in curly brackets, as in {my.column}",
    "^": "a condition has no powers; write x*x",
    "%": "a condition has no remainders",
}
ALLOWED = (
    "a condition compares columns, numbers and text in quotation marks, as in x > 0, in [1, 2] or"
    " is null, and joins comparisons with and, or, not"
)
TOO_DEEP = f"the condition is nested more than {MAX_DEPTH} deep; write it with fewer signs"

# What Arrow, or this module, calls a comparison and its negation.
COMPARISONS: dict[type[ast.cmpop], tuple[str, str]] = {
    ast.Eq: ("equal", "not_equal"),
    ast.NotEq: ("not_equal", "equal"),
    ast.Lt: ("less", "greater_equal"),
    ast.LtE: ("less_equal", "greater"),
    ast.Gt: ("greater", "less_equal"),
    ast.GtE: ("greater_equal", "less"),
    ast.In: ("equal", "not_equal"),  # with each of a list
    ast.NotIn: ("not_equal", "equal"),
    ast.Is: ("missing", "there"),
    ast.IsNot: ("there", "missing"),
}
# A comparison whose sides are exchanged.
MIRRORED = {"less": "greater", "less_equal": "greater_equal", "greater": "less",
            "greater_equal": "less_equal"}  # fmt: skip
# What can be compared, and with what.
KINDS = {
    "numbers": "compare it with a number, without quotation marks",
    "text": "write '{}' in quotation marks",
    "times": "write a date or time in quotation marks, as '2024-03-01' or '2024-03-01T12:30'",
    "truth values": "compare it with true or false",
}
ARITHMETIC: dict[type[ast.operator], str] = {
    ast.Add: "add",
    ast.Sub: "subtract",
    ast.Mult: "multiply",
    ast.Div: "divide",
}


class Comparison(NamedTuple):
    """A comparison: its function, an operand with a column, and what that is compared with.

    Operands are names of columns, constants, and arithmetic with these.
    """

    function: str
    left: ast.expr
    right: ast.expr


class Joined(NamedTuple):
    """Conditions of which all have to be met, or one."""

    all: bool
    parts: Sequence[Joined | Comparison]


class Condition(NamedTuple):
    """Which rows count: as the user wrote it, what it says, and the columns that it looks at."""

    text: str
    tree: Any  # of `Joined` and `Comparison`, or a `pyarrow.dataset.Expression`
    names: tuple[str, ...]


def read_condition(text: str) -> Condition:
    """Read ``text``.

    Comparisons are ``== != < <= > >=``, also chained; ``in [1, 2]``, ``not in``, ``is null`` and
    ``is not null``; they are joined by ``and``, ``or``, ``not`` and brackets. Operands are
    columns, numbers, text in quotation marks (doubled to stand in a text), ``true`` and
    ``false``, and sums, differences, products and quotients of columns and numbers. Times are
    compared with text, as in ``t >= '2024-03-01'``. A name that is no plain word is written
    ``{in brackets}`` or backticks. As in SQL, a comparison with a missing value, NaN among them,
    chooses no row.

    >>> read_condition("0 < x <= 2 and `my site` in ['A', 'B']").names
    ('x', 'my site')
    """
    if not isinstance(text, str) or not text.strip():
        raise UsageError(f'where={text!r} is no condition; write text such as "x > 0 and y < 3"')
    if len(text) > MAX_CONDITION_CHARACTERS:
        raise UsageError(
            f"where has {len(text):,} characters; at most {MAX_CONDITION_CHARACTERS:,} are allowed"
        )
    parser = _Parser(text)
    names = tuple(dict.fromkeys(token.value for token in parser.tokens if token.kind == "name"))
    whole = parser.python()
    if not names:
        raise UsageError(
            f'where={text!r} names no column; compare one, as in "x > 0" (what stands in quotation'
            " marks is text; a name with blanks is written {my site})"
        )
    return Condition(text, parser.condition(whole, negated=False), names)


class _Token(NamedTuple):
    kind: str  # a key of PYTHON, or the word or operator itself
    text: str
    position: int
    value: Any = None


def _token(kind: str, text: str, position: int) -> _Token:
    word = " ".join(text.lower().split())
    if kind == "number":
        whole = text.isdecimal() and len(text) <= DIGITS
        return _Token(kind, text, position, int(text) if whole else float(text))
    if kind == "text":
        return _Token(kind, text, position, text[1:-1].replace(text[0] * 2, text[0]))
    if kind in ("quoted", "name"):
        if kind == "quoted":
            text = text[1:-1].replace("``", "`") if text[0] == "`" else text[1:-1]
        return _Token("name", text, position, clean_names([text])[0])
    if word in ("true", "false"):
        return _Token("truth", text, position, word == "true")
    return _Token(SPELLINGS.get(word, word), text, position)


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[_Token] = []
        position = 0
        while position < len(text):
            match = TOKEN.match(text, position)
            if match is None:
                character = text[position]
                advice = ADVICE.get(character, "allowed are comparisons of columns, and, or, not")
                shown = repr(character) if character.isprintable() else f"U+{ord(character):04X}"
                raise FormulaError(
                    f"the character {shown} has no place in a condition: {advice}", text, position
                )
            if match.lastgroup != "space":
                self.tokens.append(_token(str(match.lastgroup), match.group(), position))
            position = match.end()
        self.tokens.append(_Token("end", "", len(text)))

    def refuse(self, place: int, message: str = "") -> NoReturn:
        token = self.tokens[place]
        message = message or f"{token.text!r} cannot stand here; {ALLOWED}"
        raise FormulaError(message, self.text, token.position)

    def python(self) -> ast.expr:
        """Parse the tokens, a line each: the line of a node or an error tells which it is."""
        lines = [PYTHON.get(token.kind, token.kind) for token in self.tokens]
        try:
            whole = ast.parse(" \\\n".join(lines) + "\n", mode="eval").body
        except SyntaxError as error:
            place = min(max(error.lineno or 1, 1), len(self.tokens)) - 1
            token, before = self.tokens[place], self.tokens[max(place - 1, 0)]
            message = ""
            if token.kind == "end":
                message = "the condition ends where a column, a number or a text should follow"
            elif "closed" in error.msg:
                message = f"the bracket {token.text!r} is never closed"
            elif place and before.kind == token.kind == "name":
                message = (
                    f"{token.text!r} follows another name; join conditions with and, or; a name"
                    f" with blanks is written in curly brackets, {{{before.text} {token.text}}}"
                )
            self.refuse(place, message)
        except (MemoryError, RecursionError):
            self.refuse(0, TOO_DEEP)
        level: list[ast.AST] = [whole]
        for _ in range(MAX_DEPTH + 1):
            level = [child for node in level for child in ast.iter_child_nodes(node)]
        if level:
            self.refuse(0, TOO_DEEP)
        return whole

    def condition(self, node: ast.expr, negated: bool) -> Joined | Comparison:
        """Return what a node says, or its negation."""
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return self.condition(node.operand, not negated)
        if isinstance(node, ast.BoolOp):
            parts = [self.condition(part, negated) for part in node.values]
            return Joined(isinstance(node.op, ast.And) != negated, parts)
        if not isinstance(node, ast.Compare):
            return Comparison("equal", self.column(node), ast.Constant(not negated))
        sides = [node.left, *node.comparators]
        links = zip(node.ops, sides, node.comparators, strict=False)
        return Joined(not negated, [self.comparison(*link, negated) for link in links])

    def comparison(
        self, operator: ast.cmpop, left: ast.expr, right: ast.expr, negated: bool
    ) -> Joined | Comparison:
        function, place = COMPARISONS[type(operator)][negated], right.lineno - 1
        if isinstance(operator, ast.In | ast.NotIn):
            items = right.elts if isinstance(right, ast.List | ast.Tuple) else [right]
            if items == [right] and self.tokens[place - 1].kind != "(":
                self.refuse(place, "after in comes a list, such as ['A', 'B'] or [1, 2]")
            values = [self.operand(item) for item in items]
            if not values or not all(isinstance(value, ast.Constant) for value in values):
                self.refuse(place, "a list after in holds numbers or text in quotation marks")
            column = self.column(left)
            each = [Comparison(function, column, value) for value in values]
            return Joined(function == "not_equal", each)
        if isinstance(operator, ast.Is | ast.IsNot):
            if not isinstance(right, ast.Constant):
                self.refuse(place, "after is, write null or not null; to compare values, write ==")
            return Comparison(function, self.column(left), right)
        one, other = self.operand(left), self.operand(right)
        if isinstance(one, ast.Constant):
            return Comparison(MIRRORED.get(function, function), self.column(right), one)
        return Comparison(function, one, other)

    def column(self, node: ast.expr) -> ast.expr:
        """Return an operand that is no constant."""
        found = self.operand(node)
        if isinstance(found, ast.Constant):
            self.refuse(node.lineno - 1, f"no column is compared here; {ALLOWED}")
        return found

    def operand(self, node: ast.expr) -> ast.expr:
        place = node.lineno - 1
        if isinstance(node, ast.Name):
            token = self.tokens[place]
            return ast.Name(token.value) if token.kind == "name" else ast.Constant(token.value)
        if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
            sides = [self.operand(side) for side in (node.left, node.right)]
            if any(isinstance(getattr(side, "value", 0), str) for side in sides):
                self.refuse(place, "only numbers can be added, subtracted, multiplied, divided")
            return ast.BinOp(sides[0], node.op, sides[1])
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.UAdd | ast.USub):
            inner = self.operand(node.operand)
            if isinstance(node.op, ast.UAdd):
                return inner
            if isinstance(inner, ast.Constant) and isinstance(inner.value, int | float):
                return ast.Constant(-inner.value)
            return ast.BinOp(ast.Constant(0), ast.Sub(), inner)
        null = "nothing equals null; write is null, or is not null"
        self.refuse(place, null if isinstance(node, ast.Constant) else "")


def mask_of(condition: Condition, batch: Any) -> Any:
    """Return an Arrow array of truth values without nulls, one a row of a record batch."""
    import pyarrow as pa
    import pyarrow.compute as pc

    named = f"where={condition.text!r}"
    try:
        if isinstance(condition.tree, Joined | Comparison):
            columns = {name: as_comparable(batch.column(name)) for name in condition.names}
            found = _truth(condition.tree, columns)
        else:
            import pyarrow.dataset as ds

            rows = ds.dataset(pa.Table.from_batches([batch.select(condition.names)]))
            found = rows.to_table({"": condition.tree}, use_threads=False)[""].combine_chunks()
    except DataError as error:
        raise DataError(f"{named} {error}") from error
    except pa.ArrowException as error:
        raise DataError(
            f"{named} cannot be evaluated ({reason_of(error)}); compare"
            " numbers with numbers, text with text and times with text such as '2024-03-01'"
        ) from error
    return pc.fill_null(found, scalar_of(False, pa.bool_())) if found.null_count else found


def _is_whole(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(kind) or pa.types.is_decimal(kind))


def _truth(tree: Joined | Comparison, columns: Mapping[str, Any]) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(tree, Joined):
        join = pc.and_kleene if tree.all else pc.or_kleene
        return functools.reduce(join, [_truth(part, columns) for part in tree.parts])
    function, left, right = tree
    one = _value(left, columns)
    if function in ("missing", "there"):
        missing = pc.is_null(one, nan_is_null=True)
        return missing if function == "missing" else pc.invert(missing)
    if kind_of(one.type) == "nothing":
        return pa.nulls(len(one), pa.bool_())
    if isinstance(right, ast.Constant):
        sides = _with_constant(one, _words(left), right.value)
    else:
        sides = [one, _value(right, columns)]
        if one.type != sides[1].type and {kind_of(side.type) for side in sides} == {"numbers"}:
            sides = _exactly(sides)
    found = pc.call_function(function, sides)
    if function == "not_equal":
        # Arrow calls NaN unequal to all, which would choose rows that are missing.
        for side in sides:
            found = pc.and_kleene(found, pc.equal(side, side))
    return found


def _exactly(sides: Sequence[Any]) -> list[Any]:
    """Bring two columns of numbers to one type, integers beyond 2**53 exactly: as decimals."""
    import pyarrow as pa
    import pyarrow.compute as pc

    one, other = sides
    decimal = pa.decimal256(LONGEST)
    if _is_whole(one.type) == _is_whole(other.type):
        wide = decimal if _is_whole(one.type) else pa.float64()
        return [side.cast(wide) for side in sides]
    if _is_whole(other.type):
        return _exactly([other, one])[::-1]
    near, other = as_comparable(one).cast(pa.float64(), safe=False), other.cast(pa.float64())
    if not pc.any(pc.greater_equal(pc.abs(near), scalar_of(2.0**53))).as_py():
        return [near, other]
    same = pc.if_else(pc.equal(near, other), other, scalar_of(None, pa.float64()))
    rest = pc.subtract(one.cast(decimal), same.cast(decimal))
    return _difference(near, other, rest.cast(pa.float64()))


def _difference(near: Any, other: Any, rest: Any) -> list[Any]:
    """Return a difference and 0: of floats, and where these are equal what rounding left out."""
    import pyarrow.compute as pc

    zero, found = scalar_of(0.0), pc.subtract(near, other)
    return [pc.if_else(pc.equal(found, zero), rest, found), zero]


def _value(node: ast.expr, columns: Mapping[str, Any]) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(node, ast.Name):
        return columns[node.id]
    if isinstance(node, ast.Constant):
        return scalar_of(float(node.value))  # type: ignore[arg-type]  # text is not computed with
    assert isinstance(node, ast.BinOp)  # an operand is nothing else
    wide = []
    for side in (node.left, node.right):
        value = _value(side, columns)
        if kind_of(value.type) not in ("numbers", "nothing"):
            raise DataError(
                f"computes with {_words(side)}, which holds {kind_of(value.type)}; only numbers can"
                " be added, subtracted, multiplied and divided"
            )
        wide.append(value.cast(pa.float64(), safe=False))
    return pc.call_function(ARITHMETIC[type(node.op)], wide)


def _words(node: ast.expr) -> str:
    return f"column {node.id!r}" if isinstance(node, ast.Name) else "an expression"


def _with_constant(value: Any, words: str, constant: Any) -> list[Any]:
    import pyarrow as pa

    held = kind_of(value.type)
    if isinstance(constant, bool) and held != "truth values":
        raise DataError(
            f"takes {words} for true or false, but it holds {held}; compare it, as in {words} > 0"
        )
    if held == "truth values" and isinstance(constant, int | float):
        value, constant, held = value.cast(pa.int8()), constant + 0, "numbers"
    scalar = None
    if held == "times" and isinstance(constant, str):
        with contextlib.suppress(ValueError):
            moment = datetime.datetime.fromisoformat(constant.strip())
            scalar = _time(moment, getattr(value.type, "tz", None))
        if scalar is not None and moment.tzinfo and not getattr(value.type, "tz", None):
            raise DataError(
                f"compares {words}, whose times have no zone, with {constant!r}; leave its zone out"
            )
    elif held == "text" and isinstance(constant, str):
        scalar = scalar_of(constant)
    elif held not in ("times", "text") and not isinstance(constant, str):
        if isinstance(constant, float) and constant.is_integer():
            constant = int(constant)
        # Integers stay exact where both are; one beyond the type's range compares as infinity does.
        wide, least, most = pa.int64(), -(2**63), 2**63 - 1
        if value.type == pa.uint64():
            wide, least, most = value.type, 0, 2**64 - 1
        elif pa.types.is_decimal(value.type):
            wide, most = value.type, 10**LONGEST - 1
            least = -most
        if not isinstance(constant, int) or not _is_whole(value.type):
            scalar = scalar_of(float(constant))
            if left_out := isinstance(constant, int) and int(float(constant)) - constant:
                near = value.cast(pa.float64())
                return _difference(near, scalar, scalar_of(math.copysign(1.0, left_out)))
        elif least <= constant <= most:
            scalar = scalar_of(str(constant), wide)
        else:
            scalar = scalar_of(math.copysign(math.inf, constant))
        value = value.cast(pa.float64(), safe=False) if scalar.type == pa.float64() else value
    if scalar is None:
        advice = KINDS.get(held, "it cannot be compared").format(constant)
        raise DataError(f"compares {words}, which holds {held}, with {constant!r}; {advice}")
    return [value, scalar]


def _time(moment: datetime.datetime, zone: str | None) -> Any:
    """Return a time; without a zone it stands in that of the column."""
    import pyarrow as pa
    import pyarrow.compute as pc

    aware = moment.tzinfo is not None
    bare = moment.astimezone(datetime.UTC).replace(tzinfo=None) if aware else moment
    ticks = (bare - datetime.datetime(1970, 1, 1)) // datetime.timedelta(microseconds=1)
    if zone and not aware:
        return pc.assume_timezone(scalar_of(ticks, pa.timestamp("us")), zone)
    return scalar_of(ticks, pa.timestamp("us", zone))


def as_extremes(low: Any, high: Any, kind: Any) -> Any:
    """Return two values of a column of type ``kind`` as an Arrow array; None if they are no use."""
    import pyarrow as pa

    kind = plain_type(kind)
    if low is None or high is None or kind_of(kind) not in KINDS:
        return None
    plain = isinstance(low, bool | int | float | str)
    scalars = [scalar_of(v, kind) if plain else pa.scalar(v, kind) for v in (low, high)]
    return as_comparable(pa.concat_arrays([pa.repeat(scalar, 1) for scalar in scalars]))


def may_match(tree: Any, statistics: Callable[[str], ColumnStatistics | None]) -> bool:
    """Say whether rows whose columns lie within ``statistics`` may meet a condition.

    >>> import pyarrow as pa
    >>> known = {"x": ColumnStatistics(as_extremes(1, 5, pa.int64()), nulls=False)}
    >>> may_match(read_condition("x > 7 and y == 2").tree, known.get)
    False
    """
    if isinstance(tree, Joined):
        join = all if tree.all else any
        return join(may_match(part, statistics) for part in tree.parts)
    if not isinstance(tree, Comparison):
        return True  # Arrow has looked itself
    function, left, right = tree
    known = statistics(left.id) if isinstance(left, ast.Name) else None
    if known is None or not isinstance(left, ast.Name):
        return True
    if function == "missing":
        return known.nulls
    if known.empty:
        return False
    if known.extremes is None or not isinstance(right, ast.Constant) or function == "there":
        return True
    columns = {left.id: known.extremes}

    def at_extremes(function: str) -> Array:
        return as_bools(_truth(Comparison(function, left, right), columns))

    try:
        if function in ("equal", "not_equal"):
            (low_below, high_below) = at_extremes("less_equal")
            (low_above, high_above) = at_extremes("greater_equal")
            if function == "equal":
                return bool(low_below and high_above)
            return not (high_below and low_above)
        return bool(at_extremes(function).any())
    except (DataError, ValueError, TypeError, NotImplementedError):
        return True  # as for null or NaN


def filtered(table: Table, condition: Condition) -> Table:
    """Return a table of the rows of ``table`` that meet ``condition``."""
    for name in condition.names:
        quote = f" (If {name!r} is text in where={condition.text!r}, write it in quotation marks.)"
        column_positions(table.names, [name], table.label, quote * name.isidentifier())
    dataset = table.dataset
    if dataset is not None:
        groups = [
            _filtered_row_group(group, condition, dataset.again)
            for group in dataset.row_groups
            if may_match(condition.tree, group.statistics)
        ]
        fingerprint = f"{dataset.fingerprint}\n{condition.text}" if dataset.fingerprint else ""
        rest = dataset._replace(row_groups=tuple(groups), fingerprint=fingerprint)
        return dataset_table(rest, condition.text)

    def read(names: Sequence[str]) -> Iterator[Any]:
        return iter(table.arrow(names).to_batches(BATCH_ROWS))

    group = _filtered_row_group(RowGroup(table.label, 0, None, read, table.line), condition)

    def fetch(positions: Sequence[int]) -> list[Any]:
        import pyarrow as pa

        batches = list(group.read([table.names[k] for k in positions]))
        if not batches:
            raise DataError(no_row_meets(table.label, condition.text))
        return list(pa.Table.from_batches(batches).columns)

    return replace(table, fetch=fetch, line=group.line)


def _filtered_row_group(group: RowGroup, condition: Condition, again: bool = True) -> RowGroup:
    """Return a row group of the rows that meet ``condition``; how many is not known."""

    def read(names: Sequence[str]) -> Iterator[Any]:
        extra = [name for name in condition.names if name not in names]
        for batch in group.read([*names, *extra]):
            mask = mask_of(condition, batch)
            chosen = batch.select(range(len(names)))
            if mask.true_count:
                yield chosen.filter(mask) if mask.false_count else chosen

    def line(row: int) -> str:
        """Look at the rows again."""
        seen = 0
        for batch in group.read(condition.names) if again else ():
            places = np.flatnonzero(as_bools(mask_of(condition, batch)))
            if row < places.size:
                before = seen + int(places[row])
                words = group.line(before).strip(" ()")
                return f" (row {group.first + before + 1} of all{words and ', ' + words})"
            row -= places.size
            seen += batch.num_rows
        return ""

    return group._replace(rows=None, read=read, line=line)
