"""Text to formula: tokens with their places, read by precedence; nothing is ever executed."""

from __future__ import annotations

import functools
import itertools
import operator
import re
import unicodedata
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import sympy

from sgdfit.errors import FormulaError, did_you_mean
from sgdfit.formula.formula import Formula, symbol
from sgdfit.formula.functions import (
    ALIASES,
    CONSTANTS,
    FUNCTIONS,
    OPERATIONS,
    as_number,
    is_condition,
    lookup,
)
from sgdfit.formula.real import LARGEST, Where, finite, power

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
    """Cut ``text`` into tokens; raise `FormulaError` for what has no meaning in a formula.

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


def _relation(tokens: list[Token]) -> int | None:
    """Return where the first ``=`` or binary ``~`` outside of brackets stands, if there is one."""
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


Expr = Any  # SymPy ships no types

MAX_DEPTH = 60
EXACT_OPERATIONS = 8  # of a constant such as sqrt(2)/pi that stays as it is written
_COMPARISONS: dict[str, Callable[..., Expr]] = {
    "<": sympy.Lt, "<=": sympy.Le, ">": sympy.Gt, ">=": sympy.Ge, "==": sympy.Eq, "!=": sympy.Ne,
}  # fmt: skip
_LOGIC: dict[str, Callable[..., Expr]] = {
    "or": sympy.Or, "and": sympy.And, "|": sympy.Or, "&": sympy.And,
}  # fmt: skip
# How closely each sign binds, as in Python; all but ** go from left to right.
_LEVELS = {
    "or": 1, "and": 2, "not": 3, **dict.fromkeys(_COMPARISONS, 4), "|": 5, "&": 6, "+": 7, "-": 7,
    "*": 8, "/": 8, "%": 8, "//": 8,
}  # fmt: skip
_UNSUPPORTED = {
    "%": "the remainder % is not supported; write x - m*floor(x/m)",
    "//": "the whole division // is not supported; write floor(x/m)",
}


def parse(text: str) -> Formula:
    """Read a formula: ``response = expression``, ``response ~ expression`` or an expression.

    Raises
    ------
    FormulaError
        When it cannot be read; a caret points at the place.

    Examples
    --------
    >>> parse("log(y) ~ a - b*t").response_names
    ('y',)
    >>> parse("y = a*exo(-b*t)")
    Traceback (most recent call last):
        ...
    sgdfit.errors.FormulaError: there is no function 'exo'. Did you mean 'exp'?
      y = a*exo(-b*t)
            ^
    """
    return Formula(*_parts(text), text.strip())


# Text is read once: a loop over data sets fits the same formula again and again.
@functools.lru_cache(maxsize=256)
def _parts(text: str) -> tuple[Expr, Expr | None, tuple[str, ...]]:
    """Return the right side, the left side and the names on the right."""
    tokens = tokenize(text)
    split = _relation(tokens)
    if split is None:
        expression, names = _Reader(tokens, text, "the formula").number()
        return expression, None, names
    sign = tokens[split].text
    response, _ = _Reader(tokens[:split], text, f"the left side of {sign!r}").number()
    right = tokens[split + 1 :]
    again = _relation(right)
    if again is not None:
        raise FormulaError(
            "a formula has one '='; a comparison is written ==", text, right[again].position
        )
    expression, names = _Reader(right, text, f"the right side of {sign!r}").number()
    return expression, response, names


@functools.lru_cache(maxsize=256)
def parse_expression(text: str) -> tuple[Expr, tuple[str, ...]]:
    """Read one expression; return it and its names in the order in which they were written."""
    return _Reader(tokenize(text), text, "the expression").number()


def parse_condition(text: str) -> Expr:
    """Read a comparison such as ``0 < b < 10``; return SymPy's Boolean."""
    return _Reader(tokenize(text), text, "the condition").condition()


def _brief(value: Expr) -> Expr:
    """Return a long constant as its value: SymPy takes twice as long for each level of one."""
    long = value.is_number and not value.is_Atom and value.count_ops() > EXACT_OPERATIONS
    # SymPy may leave an imaginary part of rounding errors, as in log2 of a root.
    return sympy.Float(complex(value.evalf(17)).real) if long else value


class _Reader:
    """Reads one side's tokens, those that bind closest first; ``at`` is the next token."""

    def __init__(self, tokens: list[Token], text: str, what: str) -> None:
        self.tokens, self.text, self.what = [*tokens, Token("end", "", len(text))], text, what
        self.at = self.depth = 0
        self.names: dict[str, None] = {}

    def number(self) -> tuple[Expr, tuple[str, ...]]:
        """Return the whole as a number, and its names in the order of the text."""
        return as_number(self._whole()), tuple(self.names)

    def condition(self) -> Expr:
        """Return the whole as a condition."""
        return self._boolean(self._whole(), 0)

    def _whole(self) -> Expr:
        if len(self.tokens) == 1:
            self._fail(f"{self.what} is empty", 0)
        try:
            value = self._conditional()
        except RecursionError:
            raise FormulaError(f"{self.what} is nested too deeply") from None
        if self.tokens[self.at].kind != "end":
            self._unreadable()
        return value

    def _sign(self) -> str:
        token = self.tokens[self.at]
        return token.text if token.kind in ("operator", "word") else ""

    def _take(self, sign: str) -> bool:
        found = self._sign() == sign
        self.at += found
        return found

    def _need(self, sign: str) -> None:
        if not self._take(sign):
            self._unreadable()

    def _fail(self, message: str, at: int) -> NoReturn:
        raise FormulaError(message, self.text, self.tokens[at].position)

    def _unreadable(self) -> NoReturn:
        if self._sign() == "=":
            self._fail("no '=' can stand within an expression; a comparison is written ==", self.at)
        token = self.tokens[self.at]
        shown = "the end" if token.kind == "end" else repr(token.text)
        self._fail(f"{self.what} cannot be read at {shown}", self.at)

    def _boolean(self, value: Expr, at: int) -> Expr:
        if not is_condition(value):
            self._fail(
                "a condition such as x > 0 is needed here; beside & and | it stands in brackets,"
                " as in (x > 0) & (y > 0)",
                at,
            )
        return value

    def _made(self, at: int, make: Callable[..., Expr], *parts: Expr) -> Expr:
        """Return what SymPy makes of ``parts``, which begin at ``at``."""
        try:
            value = make(*parts)
            return value if is_condition(value) else _brief(finite(value))
        except FormulaError as error:
            self._fail(error.message, at)
        except (ArithmeticError, TypeError, ValueError, NotImplementedError, RecursionError):
            # SymPy gives up in as many ways, on floor(10**250*pi) for one.
            self._fail("this has no value that can be computed", at)

    def _nested(self, read: Callable[..., Expr], *arguments: Any) -> Expr:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self._fail(f"the formula is nested more than {MAX_DEPTH} deep", self.at)
        value = read(*arguments)
        self.depth -= 1
        return value

    def _conditional(self) -> Expr:
        start = self.at
        value = self._expression(0)
        if not self._take("if"):
            return value
        at = self.at
        condition = self._boolean(self._expression(0), at)
        self._need("else")
        no = self._nested(self._conditional)
        return self._made(start, Where, condition, as_number(value), as_number(no))

    def _expression(self, level: int) -> Expr:
        """Read as far as signs bind at least as closely as ``level``."""
        start = self.at
        if level <= _LEVELS["not"] and self._take("not"):
            part = self._boolean(self._nested(self._expression, _LEVELS["not"]), start + 1)
            return self._more(level, start, [sympy.Not(part)])
        negative = level <= _LEVELS["*"] and self._take("-")
        value = self._operand()
        if not negative:
            return self._more(level, start, [value])
        if _LEVELS.get(self._sign()) == _LEVELS["*"]:
            # -(a + b)/x stays a product of three, lest SymPy multiply it out.
            return self._more(level, start, [sympy.S.NegativeOne, value])
        return self._more(level, start, [self._made(start, operator.neg, as_number(value))])

    def _more(self, level: int, start: int, parts: list[Expr]) -> Expr:
        """Join what follows to ``parts``: all terms of a sum at once, all factors of a product."""
        while (own := _LEVELS.get(self._sign(), -1)) >= level:
            signs, places = [""] * len(parts), [start] * len(parts)
            while _LEVELS.get(self._sign()) == own:
                signs.append(self._sign())
                self.at += 1
                if signs[-1] in _UNSUPPORTED:
                    self._fail(_UNSUPPORTED[signs[-1]], self.at - 1)
                places.append(self.at)
                parts.append(self._expression(own + 1))
            if signs[-1] in _LOGIC:
                parts = [self._boolean(part, at) for part, at in zip(parts, places, strict=True)]
                parts = [self._made(start, _LOGIC[signs[-1]], *parts)]
            else:
                parts = [self._made(start, _joined, signs, list(map(as_number, parts)))]
        return parts[0]

    def _operand(self) -> Expr:
        """Read one number, name, call or bracket, with the signs before it and its exponent."""
        start = self.at
        if self._take("-"):
            return self._made(start, operator.neg, as_number(self._nested(self._operand)))
        if self._take("+"):
            return as_number(self._nested(self._operand))
        if self._take("~"):
            return sympy.Not(self._boolean(self._nested(self._operand), start))
        value = self._atom()
        if not self._take("**"):
            return value
        exponent = as_number(self._nested(self._operand))
        return self._made(start, power, as_number(value), exponent)

    def _atom(self) -> Expr:
        start, token = self.at, self.tokens[self.at]
        if self._take("("):
            value = self._conditional()
            self._need(")")
            return value
        if token.kind not in ("number", "name", "quoted"):
            self._unreadable()
        if token.kind == "number":
            if token.text.isdigit() and token.text.startswith("0") and token.text.strip("0"):
                self._unreadable()  # 07 is an error in one language and 7 in another
            if float(token.text) > LARGEST:
                self._fail("this number is too large for floating point", start)
            self.at += 1
            whole = token.text.isdigit()
            return sympy.Integer(int(token.text)) if whole else sympy.Float(float(token.text))
        self.at += 1
        if self._take("("):
            return self._call(token.text, start)
        if token.kind == "name" and token.text in CONSTANTS:
            return CONSTANTS[token.text]
        self.names[token.text] = None
        return symbol(token.text)

    def _call(self, written: str, start: int) -> Expr:
        known = lookup(written)
        if known is None:
            nearest = did_you_mean(written, [*FUNCTIONS, *ALIASES, *OPERATIONS])
            advice = nearest or (
                f" To multiply, write {written}*(…). Functions: {', '.join(sorted(FUNCTIONS))}."
            )
            self._fail(f"there is no function {written!r}.{advice}", start)
        form, arity = known
        first, values = self.at, []
        while not self._take(")"):
            values.append(self._conditional())
            if self._sign() != ")":
                self._need(",")
        if len(values) != arity:
            count = f"{arity} argument{'s' if arity > 1 else ''}"
            self._fail(f"{written} takes {count}, not {len(values)}", start)
        head = [self._boolean(values.pop(0), first)] if form is Where else []
        return self._made(start, form, *head, *map(as_number, values))


def _joined(signs: list[str], parts: list[Expr]) -> Expr:
    """Return the sum, the product or the chain of comparisons that ``signs`` make of ``parts``."""
    if signs[-1] in _COMPARISONS:
        pairs = zip(signs[1:], itertools.pairwise(parts), strict=True)
        return sympy.And(*(_COMPARISONS[sign](*pair) for sign, pair in pairs))
    signed = zip(signs, parts, strict=True)
    turned = [-part if sign == "-" else 1 / part if sign == "/" else part for sign, part in signed]
    return (sympy.Add if signs[-1] in "+-" else sympy.Mul)(*turned)
