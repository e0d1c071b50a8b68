"""Text -> a `Condition`, by recursive descent; nothing is ever executed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from sgdfit.data.conditions.condition import (
    Among,
    Arithmetic,
    Column,
    Comparison,
    Condition,
    Joined,
    Literal,
    Missing,
    Not,
)
from sgdfit.data.conditions.tokens import Token, tokens_of
from sgdfit.errors import FormulaError, UsageError

__all__ = ["read_condition"]

MAX_CHARACTERS = 100_000
MAX_NESTING = 25
MAX_SIGNS = 100
# Of an integer that Arrow can hold; longer ones are read as floats.
DIGITS = 18

COMPARISONS = ("==", "!=", "<=", ">=", "<", ">")


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
    reader = _Reader(text)
    tree = reader.alternatives()
    reader.finish()
    names = tuple(dict.fromkeys(_columns(tree)))
    if not names:
        raise UsageError(
            f'where={text!r} names no column; compare one, as in "x > 0" (what stands in quotation'
            " marks is text; a name with blanks is written in backticks, as in `my site`)"
        )
    return Condition(text, tree, names)


def _columns(node: Any) -> Iterable[str]:
    if isinstance(node, Column):
        yield node.name
    elif isinstance(node, tuple):
        for part in node:
            yield from _columns(part)


class _Reader:
    """Recursive descent, one method for each level of binding."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = tokens_of(text)
        self.index = 0
        self.depth = 0
        self.signs = 0

    @property
    def token(self) -> Token:
        return self.tokens[self.index]

    def refuse(self, message: str, token: Token | None = None) -> NoReturn:
        place = self.token if token is None else token
        raise FormulaError(message, self.text, place.position)

    def accept(self, *texts: str) -> str | None:
        """Step over the next token if it is one of these signs or words."""
        if self.token.kind in ("operator", "word") and self.token.text in texts:
            self.index += 1
            return self.tokens[self.index - 1].text
        return None

    def finish(self) -> None:
        if self.token.kind != "end":
            before = self.tokens[self.index - 1]
            words = f"`{before.text} {self.token.text}`"
            named = before.kind == self.token.kind == "name"
            self.refuse(
                f"{self.token.text!r} follows a condition that is complete; join conditions with"
                " and, or" + (f"; a name with blanks is written in backticks, {words}" * named)
            )

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > MAX_NESTING:
            self.refuse(f"the condition is nested more than {MAX_NESTING} deep")

    def alternatives(self) -> Any:
        return self.joined("or", lambda: self.joined("and", self.negation))

    def joined(self, word: str, part: Callable[[], Any]) -> Any:
        parts = [part()]
        while self.accept(word):
            parts.append(part())
        return parts[0] if len(parts) == 1 else Joined(word, tuple(parts))

    def negation(self) -> Any:
        if not self.accept("not"):
            return self.comparison()
        self.deeper()
        part = self.negation()
        self.depth -= 1
        return Not(part)

    def comparison(self) -> Any:
        left = self.sum()
        parts: list[Any] = []
        while sign := self.accept(*COMPARISONS):
            if self.token.text in ("null", "none") and self.token.kind == "word":
                self.refuse("nothing equals null; write is null, or is not null")
            right = self.sum()
            parts.append(Comparison(sign, left, right))
            left = right
        if parts:
            return parts[0] if len(parts) == 1 else Joined("and", tuple(parts))
        return self.membership(left)

    def membership(self, operand: Any) -> Any:
        if self.accept("is"):
            negative = self.accept("not")
            if not self.accept("null", "none"):
                self.refuse("after is, write null or not null; to compare values, write ==")
            return Not(Missing(operand)) if negative else Missing(operand)
        negative = self.accept("not")
        if self.accept("in"):
            found = Among(operand, self.listed())
            return Not(found) if negative else found
        if negative:
            self.refuse("after a value, not is followed by in")
        return operand

    def listed(self) -> tuple[Literal, ...]:
        closing = {"[": "]", "(": ")"}.get(self.accept("[", "(") or "")
        if closing is None:
            self.refuse("after in comes a list, such as ['A', 'B'] or [1, 2]")
        values: list[Literal] = []
        while not self.accept(closing):
            if values and not self.accept(","):
                self.refuse(f"a comma or {closing} is missing in this list")
            if values and self.accept(closing):
                break
            values.append(self.member())
        if not values:
            self.refuse("the list after in is empty; give it a value")
        return tuple(values)

    def member(self) -> Literal:
        start = self.token
        value = self.factor()
        if not isinstance(value, Literal):
            self.refuse("a list after in holds numbers or text in quotation marks", start)
        return value

    def sum(self) -> Any:
        return self.chain(self.product, "+", "-")

    def product(self) -> Any:
        return self.chain(self.factor, "*", "/")

    def chain(self, part: Callable[[], Any], *signs: str) -> Any:
        left = part()
        while sign := self.accept(*signs):
            self.signs += 1
            if self.signs > MAX_SIGNS:
                self.refuse(f"the condition has more than {MAX_SIGNS} signs of arithmetic")
            left = Arithmetic(sign, left, part())
        return left

    def factor(self) -> Any:
        sign = self.accept("-", "+")
        if sign is None:
            return self.atom()
        self.deeper()
        value = self.factor()
        self.depth -= 1
        if sign == "+":
            return value
        if isinstance(value, Literal) and isinstance(value.value, int | float):
            return Literal(-value.value)
        return Arithmetic("-", Literal(0), value)

    def atom(self) -> Any:
        if self.accept("("):
            self.deeper()
            inner = self.alternatives()
            if not self.accept(")"):
                self.refuse("a ')' is missing here")
            self.depth -= 1
            return inner
        token = self.token
        value = _atom(token)
        if value is None:
            self.refuse(_unexpected(token))
        self.index += 1
        return value


def _atom(token: Token) -> Any:
    if token.kind == "number":
        whole = token.text.isdecimal() and len(token.text) <= DIGITS
        return Literal(int(token.text) if whole else float(token.text))
    if token.kind == "text":
        return Literal(token.text)
    if token.kind == "name":
        return Column(token.text)
    if token.kind == "word" and token.text in ("true", "false"):
        return Literal(token.text == "true")
    return None


def _unexpected(token: Token) -> str:
    if token.kind == "end":
        return "the condition ends where a column, a number or a text should follow"
    return f"{token.text!r} stands where a column, a number or a text in quotation marks should"
