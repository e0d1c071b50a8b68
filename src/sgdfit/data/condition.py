"""Conditions on rows, such as ``x > 0 and site == 'A'``: text -> a tree.

The text is cut into tokens, and each becomes a line of Python in which a single name stands for all
columns, numbers and texts: Python's own parser tells what binds how, and nothing is ever executed.
"""

from __future__ import annotations

import ast
import re
import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

from sgdfit.errors import DataError, FormulaError, UsageError, did_you_mean, listed

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


class Condition(NamedTuple):
    """Which rows count.

    Attributes
    ----------
    text : str
        As the user wrote it.
    tree : ast.expr
        What it says: `ast.Name` is a column, `ast.Constant` a number, a text or a truth value, and
        ``is None`` asks for what is missing.
    names : tuple of str
        The columns that it looks at, in Unicode's form NFKC, in order of appearance.
    """

    text: str
    tree: ast.expr
    names: tuple[str, ...]

    def check(self, names: Sequence[str], label: str) -> None:
        """Refuse columns that are not among ``names``, or that two bear.

        Raises
        ------
        DataError
            With the names that there are.

        Examples
        --------
        >>> read_condition("tmie > 2").check(["time", "dose"], "data.csv")
        Traceback (most recent call last):
        sgdfit.errors.DataError: where='tmie > 2' looks at 'tmie', which is no column of data.csv;
        its columns are 'time', 'dose'. Did you mean 'time'?...
        """
        for name in self.names:
            count = list(names).count(name)
            if count > 1:
                raise DataError(
                    f"{label} has {count} columns named {name!r}; rename all but one of them"
                )
            if not count:
                quote = f" (If {name!r} is text, write it in quotation marks.)"
                raise DataError(
                    f"where={self.text!r} looks at {name!r}, which is no column of {label};"
                    f" its columns are {listed(names)}.{did_you_mean(name, names)}"
                    f"{quote * name.isidentifier()}"
                )


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
    tokens = _tokens(text)
    tree = _Reader(text, tokens).tree()
    names = tuple(dict.fromkeys(token.value for token in tokens if token.kind == "name"))
    if not names:
        raise UsageError(
            f'where={text!r} names no column; compare one, as in "x > 0" (what stands in quotation'
            " marks is text; a name with blanks is written in backticks, as in `my site`)"
        )
    return Condition(text, tree, names)


class _Token(NamedTuple):
    kind: str  # a key of PYTHON, or the word or operator itself
    text: str
    position: int
    value: Any = None


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
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
            found.append(_token(str(match.lastgroup), match.group(), position))
        position = match.end()
    return [*found, _Token("end", "", len(text))]


def _token(kind: str, text: str, position: int) -> _Token:
    if kind == "number":
        whole = text.isdecimal() and len(text) <= DIGITS
        return _Token(kind, text, position, int(text) if whole else float(text))
    if kind == "text":
        return _Token(kind, text, position, text[1:-1].replace(text[0] * 2, text[0]))
    if kind == "quoted":
        text = text[1:-1].replace("``", "`").strip()
    if kind in ("quoted", "name"):
        return _Token("name", text, position, unicodedata.normalize("NFKC", text))
    word = " ".join(text.lower().split())
    if word in ("true", "false"):
        return _Token("truth", text, position, word == "true")
    return _Token(SPELLINGS.get(word, word), text, position)


class _Reader:
    """What Python's parser makes of the tokens, with columns and constants in place of names."""

    def __init__(self, text: str, tokens: Sequence[_Token]) -> None:
        self.text = text
        self.tokens = tokens

    def refuse(self, message: str, place: int) -> NoReturn:
        raise FormulaError(message, self.text, self.tokens[place].position)

    def tree(self) -> ast.expr:
        lines = [PYTHON.get(token.kind, token.kind) for token in self.tokens]
        try:
            # The line of a node or an error is then the number of a token, counted from 1.
            whole = ast.parse(" \\\n".join(lines) + "\n", mode="eval").body
        except SyntaxError as error:
            place = min(max(error.lineno or 1, 1), len(self.tokens)) - 1
            self.refuse(self.advice(place, error.msg), place)
        except (MemoryError, RecursionError):
            self.refuse(TOO_DEEP, 0)
        return self.node(whole)

    def advice(self, place: int, reason: str) -> str:
        token, before = self.tokens[place], self.tokens[place - 1] if place else None
        if token.kind == "end":
            return "the condition ends where a column, a number or a text should follow"
        if "closed" in reason:
            return f"the bracket {token.text!r} is never closed"
        if before and before.kind == token.kind == "name":
            return (
                f"{token.text!r} follows another name; join conditions with and, or; a name with"
                f" blanks is written in backticks, `{before.text} {token.text}`"
            )
        return f"{token.text!r} cannot stand here; {ALLOWED}"

    def node(self, node: ast.expr, depth: int = 0) -> ast.expr:
        place = node.lineno - 1
        if depth > MAX_DEPTH:
            self.refuse(TOO_DEEP, place)
        if isinstance(node, ast.Name):
            token = self.tokens[place]
            named = token.kind == "name"
            return ast.Name(token.value, ast.Load()) if named else ast.Constant(token.value)
        if isinstance(node, ast.BoolOp):
            return ast.BoolOp(node.op, [self.node(part, depth + 1) for part in node.values])
        if isinstance(node, ast.BinOp):
            sides = self.node(node.left, depth + 1), self.node(node.right, depth + 1)
            return ast.BinOp(sides[0], node.op, sides[1])
        if isinstance(node, ast.UnaryOp):
            return _signed(node.op, self.node(node.operand, depth + 1))
        if isinstance(node, ast.Compare):
            return self.comparison(node, depth)
        if isinstance(node, ast.Constant):
            self.refuse("nothing equals null; write is null, or is not null", place)
        self.refuse(f"{self.tokens[place].text!r} cannot stand here; {ALLOWED}", place)

    def comparison(self, node: ast.Compare, depth: int) -> ast.Compare:
        sides: list[ast.expr] = []
        for operator, side in zip(node.ops, node.comparators, strict=True):
            place = side.lineno - 1
            if len(node.ops) > 1 and isinstance(operator, ast.In | ast.NotIn | ast.Is | ast.IsNot):
                self.refuse("in and is stand in no chain of comparisons; join them by and", place)
            if isinstance(operator, ast.In | ast.NotIn):
                sides.append(self.constants(side))
            elif not isinstance(operator, ast.Is | ast.IsNot):
                sides.append(self.node(side, depth + 1))
            elif isinstance(side, ast.Constant):
                sides.append(side)
            else:
                words = "after is, write null or not null; to compare values, write =="
                self.refuse(words, place)
        return ast.Compare(self.node(node.left, depth + 1), node.ops, sides)

    def constants(self, side: ast.expr) -> ast.List:
        place = side.lineno - 1
        if isinstance(side, ast.List | ast.Tuple):
            items = side.elts
        elif self.tokens[place - 1].kind == "(":
            items = [side]
        else:
            self.refuse("after in comes a list, such as ['A', 'B'] or [1, 2]", place)
        if not items:
            self.refuse("the list after in is empty; give it a value", place)
        values = [self.node(item) for item in items]
        for value, item in zip(values, items, strict=True):
            if not isinstance(value, ast.Constant):
                words = "a list after in holds numbers or text in quotation marks"
                self.refuse(words, item.lineno - 1)
        return ast.List(values, ast.Load())


def _signed(sign: ast.unaryop, operand: ast.expr) -> ast.expr:
    if isinstance(sign, ast.Not):
        return ast.UnaryOp(sign, operand)
    if isinstance(sign, ast.UAdd):
        return operand
    if isinstance(operand, ast.Constant) and not isinstance(operand.value, str):
        return ast.Constant(-operand.value)  # type: ignore[operator]
    return ast.BinOp(ast.Constant(0), ast.Sub(), operand)
