"""Only the rows that meet a condition, such as ``x > 0 and site == 'A'``.

The text is cut into tokens, and each becomes a line of Python in which a single name stands for all
columns, numbers and texts: Python's own parser tells what binds how, and nothing is ever executed.
As in SQL, a comparison with something missing, a null or NaN, chooses no row, and its negation
neither: ``not`` is therefore carried down to the comparisons, each of which has a reverse.
"""

from __future__ import annotations

import ast
import datetime
import functools
import math
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, NoReturn

import numpy as np

from sgdfit.data.floats import (
    as_bools,
    comparable,
    kind_of,
    plain_type,
    scalar_of,
)
from sgdfit.data.rows import dataset_table, no_row_meets
from sgdfit.data.table import BATCH_ROWS, ColumnStatistics, RowGroup, Table, column_positions
from sgdfit.errors import DataError, FormulaError, UsageError, reason_of

MAX_CHARACTERS = 100_000
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
    | (?P<quoted>`(?:[^`]|``)+`)
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
    ".": "a name with points or blanks is written in backticks, as in `my.column`",
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
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
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
    """A comparison: its function, an operand with a column, and what that is compared with."""

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
    tree: Joined | Comparison
    names: tuple[str, ...]

    def check(self, names: Sequence[str], label: str) -> None:
        """Refuse columns that are not among ``names``, or that two bear."""
        for name in self.names:
            quote = f" (If {name!r} is text in where={self.text!r}, write it in quotation marks.)"
            column_positions(names, [name], label, quote * name.isidentifier())


def read_condition(text: str) -> Condition:
    """Read ``text``.

    Comparisons are ``== != < <= > >=``, also chained; ``in [1, 2]``, ``not in``, ``is null`` and
    ``is not null``; they are joined by ``and``, ``or``, ``not`` and brackets. Operands are
    columns, numbers, text in quotation marks (doubled to stand in a text), ``true`` and
    ``false``, and sums, differences, products and quotients of columns and numbers. Times are
    compared with text, as in ``t >= '2024-03-01'``. A name that is no plain word is written in
    backticks. As in SQL, a comparison with a missing value, NaN among them, chooses no row.

    Raises
    ------
    FormulaError
        When it cannot be read; the place is shown.
    UsageError
        When it is no text, or empty.

    Examples
    --------
    >>> read_condition("0 < x <= 2 and `my site` in ['A', 'B']").names
    ('x', 'my site')
    """
    if not isinstance(text, str) or not text.strip():
        raise UsageError(f'where={text!r} is no condition; write text such as "x > 0 and y < 3"')
    if len(text) > MAX_CHARACTERS:
        raise UsageError(
            f"where has {len(text):,} characters; at most {MAX_CHARACTERS:,} are allowed"
        )
    parser = _Parser(text)
    names = tuple(dict.fromkeys(token.value for token in parser.tokens if token.kind == "name"))
    whole = parser.python()
    if not names:
        raise UsageError(
            f'where={text!r} names no column; compare one, as in "x > 0" (what stands in quotation'
            " marks is text; a name with blanks is written in backticks, as in `my site`)"
        )
    return Condition(text, parser.condition(whole, negated=False), names)


class _Token(NamedTuple):
    kind: str  # a key of PYTHON, or the word or operator itself
    text: str
    position: int
    value: Any = None


def _tokens(text: str) -> list[_Token]:
    found, position = [], 0
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
            found.append(_token(str(match.lastgroup), match.group(), position))
        position = match.end()
    return [*found, _Token("end", "", len(text))]


def _token(kind: str, text: str, position: int) -> _Token:
    word = " ".join(text.lower().split())
    if kind == "number":
        whole = text.isdecimal() and len(text) <= DIGITS
        return _Token(kind, text, position, int(text) if whole else float(text))
    if kind == "text":
        return _Token(kind, text, position, text[1:-1].replace(text[0] * 2, text[0]))
    if kind == "quoted":
        text = text[1:-1].replace("``", "`").strip()
    if kind in ("quoted", "name"):
        return _Token("name", text, position, unicodedata.normalize("NFKC", text))
    if word in ("true", "false"):
        return _Token("truth", text, position, word == "true")
    return _Token(SPELLINGS.get(word, word), text, position)


class _Parser:
    def __init__(self, text: str) -> None:
        self.text, self.tokens = text, _tokens(text)

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
                    f" with blanks is written in backticks, `{before.text} {token.text}`"
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
            return self.compared("equal", node, ast.Constant(not negated))
        sides = [node.left, *node.comparators]
        links = zip(node.ops, sides, node.comparators, strict=False)
        return Joined(not negated, [self.comparison(*link, negated) for link in links])

    def comparison(
        self, operator: ast.cmpop, left: ast.expr, right: ast.expr, negated: bool
    ) -> Comparison:
        function, place = COMPARISONS[type(operator)][negated], right.lineno - 1
        if isinstance(operator, ast.In | ast.NotIn):
            items = right.elts if isinstance(right, ast.List | ast.Tuple) else [right]
            if items == [right] and self.tokens[place - 1].kind != "(":
                self.refuse(place, "after in comes a list, such as ['A', 'B'] or [1, 2]")
            values = [self.operand(item) for item in items]
            if not values or not all(isinstance(value, ast.Constant) for value in values):
                self.refuse(place, "a list after in holds numbers or text in quotation marks")
            return self.compared(function, left, ast.List(values))
        if isinstance(operator, ast.Is | ast.IsNot):
            if not isinstance(right, ast.Constant):
                self.refuse(place, "after is, write null or not null; to compare values, write ==")
            return self.compared(function, left, right)
        one = self.operand(left)
        if isinstance(one, ast.Constant):
            return self.compared(MIRRORED.get(function, function), right, one)
        return Comparison(function, one, self.operand(right))

    def compared(self, function: str, left: ast.expr, right: ast.expr) -> Comparison:
        one = self.operand(left)
        if isinstance(one, ast.Constant):
            self.refuse(left.lineno - 1, f"no column is compared here; {ALLOWED}")
        return Comparison(function, one, right)

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

    try:
        columns = {name: comparable(batch.column(name)) for name in condition.names}
        found = _Rows(columns, f"where={condition.text!r}").truth(condition.tree)
    except pa.ArrowException as error:
        raise DataError(
            f"where={condition.text!r} cannot be evaluated ({reason_of(error)}); compare"
            " numbers with numbers, text with text and times with text such as '2024-03-01'"
        ) from error
    return pc.fill_null(found, scalar_of(False, pa.bool_())) if found.null_count else found


class _Rows:
    """What a condition is for each row of some columns: Arrow's true, false or null."""

    def __init__(self, columns: Mapping[str, Any], named: str) -> None:
        self.columns, self.named = columns, named

    def truth(self, tree: Joined | Comparison) -> Any:
        import pyarrow as pa
        import pyarrow.compute as pc

        if isinstance(tree, Joined):
            join = pc.and_kleene if tree.all else pc.or_kleene
            return functools.reduce(join, map(self.truth, tree.parts))
        function, left, right = tree
        one = self.value(left)
        if function in ("missing", "there"):
            missing = pc.is_null(one, nan_is_null=True)
            return missing if function == "missing" else pc.invert(missing)
        if kind_of(one.type) == "nothing":
            return pa.nulls(len(one), pa.bool_())
        other = [] if isinstance(right, ast.Constant | ast.List) else [self.value(right)]
        if isinstance(right, ast.List):
            found = self.among(one, left, right)
            found = found if function == "in" else pc.invert(found)
        elif isinstance(right, ast.Constant):
            found = pc.call_function(function, self.fitted(one, left, right.value))
        else:
            sides = [one, *other]
            if one.type != other[0].type and {kind_of(side.type) for side in sides} == {"numbers"}:
                sides = [side.cast(pa.float64(), safe=False) for side in sides]
            found = pc.call_function(function, sides)
        if function in ("not_equal", "not in"):
            # Arrow calls NaN unequal to all, which would choose rows that are missing.
            for side in (one, *other):
                found = pc.and_kleene(found, pc.equal(side, side))
        return found

    def value(self, node: ast.expr) -> Any:
        import pyarrow as pa
        import pyarrow.compute as pc

        if isinstance(node, ast.Name):
            return self.columns[node.id]
        if isinstance(node, ast.Constant):
            return scalar_of(float(node.value))  # type: ignore[arg-type]  # text is not computed with
        assert isinstance(node, ast.BinOp)  # an operand is nothing else
        sides = [self.value(side) for side in (node.left, node.right)]
        for side, value in zip((node.left, node.right), sides, strict=True):
            if kind_of(value.type) not in ("numbers", "nothing"):
                raise DataError(
                    f"{self.named} computes with {_words(side)}, which holds"
                    f" {kind_of(value.type)}; only numbers can be added, subtracted, multiplied"
                    " and divided"
                )
        wide = [value.cast(pa.float64(), safe=False) for value in sides]
        return pc.call_function(ARITHMETIC[type(node.op)], wide)

    def fitted(self, value: Any, node: ast.expr, constant: Any) -> list[Any]:
        """Bring a column and a constant to types that Arrow compares exactly."""
        import pyarrow as pa

        held = kind_of(value.type)
        if isinstance(constant, bool) and held != "truth values":
            raise DataError(
                f"{self.named} takes {_words(node)} for true or false, but it holds {held};"
                f" compare it, as in {_words(node)} > 0"
            )
        if held == "truth values" and isinstance(constant, int | float):
            value, constant, held = value.cast(pa.int8()), constant + 0, "numbers"
        if isinstance(constant, str) != (held in ("text", "times")):
            self.mismatch(node, held, constant)
        if held == "times":
            try:
                return [value, _time(constant, value.type)]
            except ValueError:
                self.mismatch(node, held, constant)
        scalar = _scalar(constant, pa.types.is_integer(value.type), value.type == pa.uint64())
        wide = value.cast(pa.float64(), safe=False) if scalar.type == pa.float64() else value
        return [wide, scalar]

    def mismatch(self, node: ast.expr, held: str, constant: Any) -> NoReturn:
        advice = KINDS.get(held, "it cannot be compared").format(constant)
        raise DataError(
            f"{self.named} compares {_words(node)}, which holds {held}, with {constant!r}; {advice}"
        )

    def among(self, value: Any, node: ast.expr, constants: ast.List) -> Any:
        """Look a value up among constants, type by type."""
        import pyarrow as pa
        import pyarrow.compute as pc

        pairs = [self.fitted(value, node, constant.value) for constant in constants.elts]  # type: ignore[attr-defined]
        if kind_of(value.type) not in ("numbers", "text"):
            return functools.reduce(pc.or_kleene, (pc.equal(*pair) for pair in pairs))
        found = []
        for kind in dict.fromkeys(scalar.type for _, scalar in pairs):
            some = [pa.repeat(scalar, 1) for _, scalar in pairs if scalar.type == kind]
            wide = next(column for column, scalar in pairs if scalar.type == kind)
            found.append(pc.is_in(wide.cast(kind, safe=False), value_set=pa.concat_arrays(some)))
        return functools.reduce(pc.or_, found)


def _words(node: ast.expr) -> str:
    return f"column {node.id!r}" if isinstance(node, ast.Name) else "an expression"


@functools.lru_cache(maxsize=1024, typed=True)
def _scalar(value: Any, among_integers: bool, unsigned: bool) -> Any:
    """Keep integers exact where both are; one beyond the type's range compares as infinity does."""
    import pyarrow as pa

    if isinstance(value, bool | str):
        return scalar_of(value)
    if among_integers and isinstance(value, int):
        least, most = (0, 2**64 - 1) if unsigned else (-(2**63), 2**63 - 1)
        if least <= value <= most:
            return scalar_of(value, pa.uint64() if unsigned else pa.int64())
        value = math.copysign(math.inf, value)
    return scalar_of(float(value))


def _time(text: str, kind: Any) -> Any:
    """Read a time as ISO 8601; without a zone it stands in that of the column."""
    import pyarrow as pa
    import pyarrow.compute as pc

    moment, zone = datetime.datetime.fromisoformat(text.strip()), getattr(kind, "tz", None)
    aware = moment.tzinfo is not None
    bare = moment.astimezone(datetime.UTC).replace(tzinfo=None) if aware else moment
    ticks = (bare - datetime.datetime(1970, 1, 1)) // datetime.timedelta(microseconds=1)
    if zone and not aware:
        return pc.assume_timezone(scalar_of(ticks, pa.timestamp("us")), zone)
    return scalar_of(ticks, pa.timestamp("us", zone))


def extremes_of(low: Any, high: Any, kind: Any) -> Any:
    """Return two values of a column of type ``kind`` as an Arrow array; None if they are no use."""
    import pyarrow as pa

    kind = plain_type(kind)
    if low is None or high is None or kind_of(kind) not in KINDS:
        return None
    plain = isinstance(low, bool | int | float | str)
    scalars = [scalar_of(v, kind) if plain else pa.scalar(v, kind) for v in (low, high)]
    return comparable(pa.concat_arrays([pa.repeat(scalar, 1) for scalar in scalars]))


class Match(NamedTuple):
    """Whether some rows may meet a condition, and whether all are certain to."""

    some: bool
    every: bool


UNKNOWN = Match(True, False)
Statistics = Callable[[str], ColumnStatistics | None]


def may_match(tree: Joined | Comparison, statistics: Statistics) -> Match:
    """Say whether rows whose columns lie within ``statistics`` may meet a condition.

    Examples
    --------
    >>> import pyarrow as pa
    >>> known = {"x": ColumnStatistics(extremes_of(1, 5, pa.int64()), nulls=False)}
    >>> may_match(read_condition("x > 7 and y == 2").tree, known.get)
    Match(some=False, every=False)
    >>> may_match(read_condition("x < 7").tree, known.get)
    Match(some=True, every=True)
    """
    if isinstance(tree, Joined):
        parts = [may_match(part, statistics) for part in tree.parts]
        join = all if tree.all else any
        return Match(join(part.some for part in parts), join(part.every for part in parts))
    function, left, right = tree
    known = statistics(left.id) if isinstance(left, ast.Name) else None
    if known is None or not isinstance(left, ast.Name):
        return UNKNOWN
    if function == "missing":
        return Match(known.nulls, known.empty)
    if function == "there":
        return Match(not known.empty, not known.nulls)
    if isinstance(right, ast.List):
        equal = "equal" if function == "in" else "not_equal"
        each = [Comparison(equal, left, constant) for constant in right.elts]
        return may_match(Joined(function == "not in", each), statistics)
    if known.empty:
        return Match(False, False)
    if known.extremes is None or not isinstance(right, ast.Constant):
        return UNKNOWN
    rows = _Rows({left.id: known.extremes}, "")
    try:
        some, every = _at_extremes(lambda f: rows.truth(Comparison(f, left, right)), function)
    except (DataError, ValueError, TypeError, NotImplementedError):
        return UNKNOWN
    return Match(some, every and not known.nulls)


def _at_extremes(compare: Callable[[str], Any], function: str) -> tuple[bool, bool]:
    """Say whether some value, and every value, between two is so; ValueError for null or NaN."""
    if function not in ("equal", "not_equal"):
        low, high = as_bools(compare(function))
        return bool(low or high), bool(low and high)
    low_below, high_below = as_bools(compare("less_equal"))
    low_above, high_above = as_bools(compare("greater_equal"))
    inside, single = bool(low_below and high_above), bool(high_below and low_above)
    return (inside, single) if function == "equal" else (not single, not inside)


def filtered(table: Table, condition: Condition) -> Table:
    """Return a table of the rows of ``table`` that meet ``condition``."""
    condition.check(table.names, table.label)
    dataset = table.dataset
    if dataset is not None:
        groups: list[RowGroup] = []
        for group in dataset.row_groups:
            match = may_match(condition.tree, group.statistics)
            if match.some:
                chosen = filtered_row_group(group, condition, dataset.again)
                groups.append(group if match.every else chosen)
        fingerprint = f"{dataset.fingerprint}\n{condition.text}" if dataset.fingerprint else ""
        rest = dataset._replace(row_groups=tuple(groups), fingerprint=fingerprint)
        return dataset_table(rest, condition.text)

    def read(names: Sequence[str]) -> Iterator[Any]:
        return iter(table.arrow(names).to_batches(BATCH_ROWS))

    group = filtered_row_group(RowGroup(table.label, 0, None, read, table.line), condition)

    def fetch(positions: Sequence[int]) -> list[Any]:
        import pyarrow as pa

        batches = list(group.read([table.names[k] for k in positions]))
        if not batches:
            raise DataError(no_row_meets(table.label, condition.text))
        return list(pa.Table.from_batches(batches).columns)

    return replace(table, fetch=fetch, line=group.line)


def filtered_row_group(group: RowGroup, condition: Condition, again: bool = True) -> RowGroup:
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
