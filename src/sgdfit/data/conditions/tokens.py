"""The text of a condition cut into tokens, each with the place where it stands."""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

from sgdfit.errors import FormulaError

__all__ = ["Token", "tokens_of"]

SPELLINGS = {"=": "==", "<>": "!=", "≤": "<=", "≥": ">=", "≠": "!=", "−": "-", "·": "*", "×": "*",
             "÷": "/"}  # fmt: skip
WORDS = ("and", "or", "not", "in", "is", "null", "none", "true", "false")

_PATTERN = re.compile(
    r"""(?P<space>\s+)
    | (?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
    | (?P<name>[^\W\d]\w*)
    | (?P<quoted>`(?:[^`]|``)+`)
    | (?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*")
    | (?P<operator>==|!=|<=|>=|<>|[-+*/()\[\],<>=≤≥≠−·×÷])""",
    re.VERBOSE,
)
_ADVICE = {
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


class Token(NamedTuple):
    """One piece of a condition: its kind, its text, and where it stands."""

    kind: str  # "number", "text", "name", "word", "operator" or "end"
    text: str
    position: int


def tokens_of(text: str) -> list[Token]:
    """Cut ``text`` into tokens; the last one is its end.

    Raises
    ------
    FormulaError
        When a character has no meaning in a condition.

    Examples
    --------
    >>> [token.text for token in tokens_of("x ≥ 0 AND `my site` = 'A'")]
    ['x', '>=', '0', 'and', 'my site', '==', 'A', '']
    """
    found: list[Token] = []
    position = 0
    while position < len(text):
        match = _PATTERN.match(text, position)
        if match is None:
            character = text[position]
            advice = _ADVICE.get(character, "allowed are comparisons of columns, and, or, not")
            shown = repr(character) if character.isprintable() else f"U+{ord(character):04X}"
            raise FormulaError(
                f"the character {shown} has no place in a condition: {advice}", text, position
            )
        kind, piece = str(match.lastgroup), match.group()
        if kind != "space":
            found.append(_token(kind, piece, position))
        position = match.end()
    return [*found, Token("end", "", len(text))]


def _token(kind: str, piece: str, position: int) -> Token:
    if kind == "name" and piece.lower() in WORDS:
        return Token("word", piece.lower(), position)
    if kind == "name":
        return Token("name", unicodedata.normalize("NFKC", piece), position)
    if kind == "quoted":
        bare = piece[1:-1].replace("``", "`")
        return Token("name", unicodedata.normalize("NFKC", bare).strip(), position)
    if kind == "text":
        return Token("text", piece[1:-1].replace(piece[0] * 2, piece[0]), position)
    return Token(kind, SPELLINGS.get(piece, piece), position)
