"""Formula text cut into tokens, each with the place where it stands."""

from __future__ import annotations

import itertools
import re
import unicodedata
from typing import NamedTuple

from sgdfit.errors import FormulaError

MAX_CHARACTERS = 10_000
MAX_TOKENS = 3_000
MAX_NESTING = 25

SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹"
WORDS = {"and", "or", "not", "if", "else"}
SPELLINGS = {
    "^": "**", "−": "-", "–": "-", "·": "*", "×": "*", "⋅": "*", "÷": "/",
    "≤": "<=", "≥": ">=", "≠": "!=",
}  # fmt: skip

_PATTERN = re.compile(
    rf"""(?P<space>\s+)
    | (?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
    | (?P<name>[^\W\d{SUPERSCRIPTS}][^\W{SUPERSCRIPTS}]*)
    | (?P<quoted>`(?:[^`]|``)+`)
    | (?P<power>[{SUPERSCRIPTS}]+)
    | (?P<operator>\*\*|==|!=|<=|>=|//|[-+*/%^(),<>=~&|−–·×⋅÷≤≥≠])""",
    re.VERBOSE,
)

_ADVICE = {
    ".": "a formula has no attributes; write exp(x), not np.exp(x)",
    "[": "a formula has no subscripts; give each column a plain name",
    "]": "a formula has no subscripts; give each column a plain name",
    "{": "use round brackets",
    "}": "use round brackets",
    "'": "a formula holds no text; a name with blanks is written in backticks",
    '"': "a formula holds no text; a name with blanks is written in backticks",
    "`": "the backtick is never closed",
    ":": "a formula has no statements or slices",
    ";": "a formula is one expression",
    "@": "write a sum of products",
    "!": "write not, or != in a comparison",
}


class Token(NamedTuple):
    """One piece of a formula: its kind, its text as Python spells it, and where it stands."""

    kind: str  # "number", "name", "quoted" (a name in backticks), "word" or "operator"
    text: str
    position: int


def tokenize(text: str) -> list[Token]:
    """Cut ``text`` into tokens.

    Raises
    ------
    FormulaError
        When the text is too long or too deeply nested, a bracket is not closed, or a character
        has no meaning in a formula.

    Examples
    --------
    >>> [token.text for token in tokenize("a·x² + `my col`")]
    ['a', '*', 'x', '**', '2', '+', 'my col']
    """
    if len(text) > MAX_CHARACTERS:
        raise FormulaError(
            f"the formula has {len(text):,} characters; at most {MAX_CHARACTERS:,} are allowed"
        )
    tokens: list[Token] = []
    position = 0
    while position < len(text):
        match = _PATTERN.match(text, position)
        if match is None:
            raise _unknown_character(text, position)
        tokens += _from_match(match)
        position = match.end()
    if len(tokens) > MAX_TOKENS:
        raise FormulaError(
            f"the formula has {len(tokens):,} terms and signs; at most {MAX_TOKENS:,} are allowed"
        )
    _check_brackets(tokens, text)
    _check_neighbours(tokens, text)
    return tokens


def relation(tokens: list[Token]) -> int | None:
    """Return where the first ``=`` or binary ``~`` outside of brackets stands, if there is one.

    Examples
    --------
    >>> relation(tokenize("log(y) ~ a")), relation(tokenize("a == b"))
    (4, None)
    """
    depth = 0
    for index, token in enumerate(tokens):
        if token.kind != "operator":
            continue
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        before = tokens[index - 1] if index else None
        starts = before is None or (before.kind in ("operator", "word") and before.text != ")")
        if depth == 0 and (token.text == "=" or (token.text == "~" and not starts)):
            return index
    return None


def _from_match(match: re.Match[str]) -> list[Token]:
    kind, text, position = str(match.lastgroup), match.group(), match.start()
    if kind == "space":
        return []
    if kind == "name" and text in WORDS:
        return [Token("word", text, position)]
    if kind == "quoted":
        return [Token("quoted", text[1:-1].replace("``", "`"), position)]
    if kind == "name":
        return [Token("name", unicodedata.normalize("NFKC", text), position)]
    if kind == "power":
        digits = "".join(str(SUPERSCRIPTS.index(c)) for c in text)
        return [Token("operator", "**", position), Token("number", digits, position)]
    return [Token(kind, SPELLINGS.get(text, text), position)]


def _unknown_character(text: str, position: int) -> FormulaError:
    character = text[position]
    advice = _ADVICE.get(character, "allowed are names, numbers, + - * / ** ( ) and comparisons")
    shown = repr(character) if character.isprintable() else f"U+{ord(character):04X}"
    return FormulaError(f"the character {shown} has no place here: {advice}", text, position)


def _check_brackets(tokens: list[Token], text: str) -> None:
    opened: list[int] = []
    for token in tokens:
        if token.text == "(" and token.kind == "operator":
            opened.append(token.position)
            if len(opened) > MAX_NESTING:
                raise FormulaError(
                    f"brackets are nested more than {MAX_NESTING} deep", text, token.position
                )
        elif token.text == ")" and token.kind == "operator":
            if not opened:
                raise FormulaError("this ')' closes nothing", text, token.position)
            opened.pop()
    if opened:
        raise FormulaError("this '(' is never closed", text, opened[-1])


def _check_neighbours(tokens: list[Token], text: str) -> None:
    """Refuse two operands side by side: what 2x means is never guessed."""
    for left, right in itertools.pairwise(tokens):
        ends = left.kind in ("number", "name", "quoted") or left.text == ")"
        begins = right.kind in ("number", "name", "quoted")
        opens = right.text == "(" and right.kind == "operator"
        if ends and (begins or (opens and left.kind != "name")):
            raise FormulaError(_missing_sign(left, right), text, right.position)


def _missing_sign(left: Token, right: Token) -> str:
    python = left.kind == "number" and re.fullmatch(r"_[0-9_]+|[xXoObB][0-9a-fA-F]+", right.text)
    if python and (right.text[0] == "_" or left.text == "0"):
        return "numbers are written in plain decimals, such as 1000, 0.5 or 1.5e3"
    if left.text == ")" or right.text == "(":
        return f"a sign is missing before {right.text!r}; to multiply, write *"
    return (
        f"a sign is missing between {left.text!r} and {right.text!r};"
        f" to multiply, write {left.text}*{right.text}"
    )
