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
    INSTEAD,
    OPERATIONS,
    apply,
    as_number,
    is_condition,
    lookup,
)
from sgdfit.formula.real import LARGEST_REAL, Where, as_real, power

MAX_CHARACTERS = 10_000
MAX_TOKENS = 3_000
MAX_NESTING = 25

SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹"
OPERANDS = ("number", "name", "quoted", "indexed")
NAME = rf"[^\W\d{SUPERSCRIPTS}][^\W{SUPERSCRIPTS}]*"
WORDS = {"and", "or", "not", "if", "else"}
SPELLINGS = {
    "^": "**", "−": "-", "–": "-", "·": "*", "×": "*", "⋅": "*", "÷": "/",
    "≤": "<=", "≥": ">=", "≠": "!=",
}  # fmt: skip

_PATTERN = re.compile(
    rf"""(?P<space>\s+)
    | (?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
    | (?P<indexed>{NAME}[ ]?\[[^\[\]]*\])
    | (?P<name>{NAME})
    | (?P<quoted>`(?:[^`]|``)+`|\{{[^{{}}]+\}})
    | (?P<power>[{SUPERSCRIPTS}]+)
    | (?P<operator>\*\*|==|!=|<=|>=|//|[-+*/%^(),<>=~&|−–·×⋅÷≤≥≠])""",
    re.VERBOSE,
)

_ALLOWED = "allowed are names, numbers, + - * / ** ( ) and comparisons"
_ADVICE = {
    ".": "a formula has no attributes; write exp(x), not np.exp(x)",
    **dict.fromkeys("[]", "write a[site] for a parameter with a value for each level of a column"),
    **dict.fromkeys("{}", "a name with blanks stands in curly brackets, as in {Time (s)}"),
    **dict.fromkeys("'\"", "a formula holds no text; a name with blanks is written {so}"),
    **dict.fromkeys(":;", "a formula is one expression"),
    "`": "the backtick is never closed",
    "!": "write not, or != in a comparison",
    "√": "write sqrt(x)",
}


class Token(NamedTuple):
    """One piece of a formula: its kind, its text as Python spells it, and where it stands."""

    # "number", "name", "quoted" (a name in backticks or braces), "indexed" (a[site]), "word" or
    # "operator"
    kind: str
    text: str
    position: int


def tokenize(text: str) -> list[Token]:
    """Cut ``text`` into tokens; raise `FormulaError` for what has no meaning in a formula."""
    if len(text) > MAX_CHARACTERS:
        raise FormulaError(
            f"the formula has {len(text):,} characters; at most {MAX_CHARACTERS:,} are allowed"
        )
    tokens: list[Token] = []
    position = 0
    while position < len(text):
        match = _PATTERN.match(text, position)
        if match is None:
            character = text[position]
            shown = repr(character) if character.isprintable() else f"U+{ord(character):04X}"
            advice = _ADVICE.get(character, _ALLOWED)
            attribute = re.match(r"(?:\.\w+)*\.(\w+)", text[position:])
            if attribute and attribute[1] in INSTEAD:
                advice = INSTEAD[attribute[1]].replace("np.", "")
            elif attribute and (attribute[1] in CONSTANTS or lookup(attribute[1])):
                advice = f"write {attribute[1]} without the module before it"
            elif text[position : position + 2] in (".*", "./", ".^"):
                advice = (
                    "write *, / and ^ without a point, since a formula is of each row by itself"
                )
            raise FormulaError(f"the character {shown} has no place here: {advice}", text, position)
        kind, piece = str(match.lastgroup), match.group()
        if kind == "power":
            tokens.append(Token("operator", "**", position))
            kind, piece = "number", unicodedata.normalize("NFKC", piece)
        elif kind == "quoted":
            piece = unicodedata.normalize("NFKC", _unquoted(piece))
        elif kind == "indexed":
            own, _, inner = piece[:-1].partition("[")
            inner = inner.strip()
            quoted = inner[:1] + inner[-1:] in ("{}", "``") and len(inner) > 2
            inner = _unquoted(inner) if quoted else inner
            piece = f"{unicodedata.normalize('NFKC', own.strip())}[{inner}]"
        elif kind == "name" and piece in WORDS:
            kind = "word"
        elif kind == "name":
            piece = unicodedata.normalize("NFKC", piece)
        elif kind == "operator":
            piece = SPELLINGS.get(piece, piece)
        if kind != "space":
            tokens.append(Token(kind, piece, position))
        position = match.end()
    if len(tokens) > MAX_TOKENS:
        raise FormulaError(
            f"the formula has {len(tokens):,} terms and signs; at most {MAX_TOKENS:,} are allowed"
        )
    return tokens


def _unquoted(piece: str) -> str:
    """Return what stands in backticks or braces as the columns of data are named: stripped."""
    return (piece[1:-1].replace("``", "`") if piece[0] == "`" else piece[1:-1]).strip()


Expr = Any  # SymPy ships no types

EXACT_OPERATIONS = 8  # of a constant such as sqrt(2)/pi that stays as it is written
Subscripts = tuple[tuple[str, tuple[str, str]], ...]
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
    expression, response, names, subscripts = _parts(text)
    return Formula(expression, response, names, text.strip(), subscripts=dict(subscripts))


# Text is read once: a loop over data sets fits the same formula again and again.
@functools.lru_cache(maxsize=256)
def _parts(text: str) -> tuple[Expr, Expr | None, tuple[str, ...], Subscripts]:
    """Return the right side, the left side, and the names on the right, subscripts among them."""
    reader = _Reader(text, "the formula")
    value = reader.read()
    sign = next((sign for sign in "=~" if reader.take(sign)), "")
    if not sign:
        reader.end()
        return as_number(value), None, tuple(reader.names), tuple(reader.subscripts.items())
    reader.names, reader.subscripts, reader.what = {}, {}, f"the right side of {sign!r}"
    right = as_number(reader.whole())
    return right, as_number(value), tuple(reader.names), tuple(reader.subscripts.items())


@functools.lru_cache(maxsize=256)
def parse_expression(text: str) -> tuple[Expr, tuple[str, ...]]:
    """Read one expression; return it and its names in the order in which they were written."""
    reader = _Reader(text, "the expression")
    return as_number(reader.whole()), tuple(reader.names)


def parse_condition(text: str) -> Expr:
    """Read a comparison such as ``0 < b < 10``; return SymPy's Boolean."""
    reader = _Reader(text, "the condition")
    return reader.boolean(reader.whole(), 0)


def _brief(value: Expr) -> Expr:
    """Return a long constant as its value: SymPy takes twice as long for each level of one."""
    long = value.is_number and not value.is_Atom and value.count_ops() > EXACT_OPERATIONS
    # SymPy may leave an imaginary part of rounding errors, as in log2 of a root.
    return sympy.Float(complex(value.evalf(17)).real) if long else value


class _Reader:
    """Reads tokens, those that bind closest first; ``at`` is the next one."""

    def __init__(self, text: str, what: str) -> None:
        self.tokens = [*tokenize(text), Token("end", "", len(text))]
        self.text, self.what = text, what
        self.at = self.depth = 0
        self.names: dict[str, None] = {}
        self.subscripts: dict[str, tuple[str, str]] = {}

    def read(self) -> Expr:
        """Read as far as an expression goes."""
        sign = self._sign()
        if self.tokens[self.at].kind == "end" or sign == "=":
            self._fail(f"the left side of {sign!r} is empty" if sign else f"{self.what} is empty")
        try:
            return self._conditional()
        except RecursionError:
            raise FormulaError(f"{self.what} is nested too deeply") from None

    def end(self) -> None:
        """Refuse whatever is left."""
        if self.tokens[self.at].kind != "end":
            self._unreadable()

    def whole(self) -> Expr:
        """Read an expression that is all there is."""
        value = self.read()
        self.end()
        return value

    def _sign(self) -> str:
        token = self.tokens[self.at]
        return token.text if token.kind in ("operator", "word") else ""

    def take(self, sign: str) -> bool:
        """Go past ``sign`` if it is next."""
        found = self._sign() == sign
        self.at += found
        return found

    def _fail(self, message: str, at: int | None = None) -> NoReturn:
        position = self.tokens[self.at if at is None else at].position
        raise FormulaError(message, self.text, position)

    def _unreadable(self) -> NoReturn:
        left, right = self.tokens[self.at - 1], self.tokens[self.at]
        if self._sign() == "=":
            self._fail("a formula has one '=', outside of brackets; a comparison is written ==")
        if self._sign() == ")" and not self.depth:
            self._fail("this ')' closes nothing")
        ends = self.at and (left.kind in OPERANDS or left.text == ")")
        if not ends or (right.kind not in OPERANDS and self._sign() != "("):
            shown = "the end" if right.kind == "end" else repr(right.text)
            hint = {",": "; a decimal is written 1.5", "|": "; write abs(x)"}.get(right.text, "")
            self._fail(f"{self.what} cannot be read at {shown}{hint}")
        # Two operands side by side: what 2x means is never guessed.
        if left.kind == "number" and (
            right.text[0] == "_"
            or (left.text == "0" and re.match("[xXoObB][0-9a-fA-F]", right.text))
        ):
            self._fail("numbers are written in plain decimals, such as 1000, 0.5 or 1.5e3")
        if left.text == ")" or right.text == "(":
            self._fail(f"a sign is missing before {right.text!r}; to multiply, write *")
        call = lookup(left.text) if left.kind == "name" else None
        meant = f"write {left.text}({right.text})" if call else ""
        self._fail(
            f"a sign is missing between {left.text!r} and {right.text!r};"
            f" {meant or f'to multiply, write {left.text}*{right.text}'}"
        )

    def boolean(self, value: Expr, at: int) -> Expr:
        """Return ``value``, which begins at ``at``, if it is a condition."""
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
            return value if is_condition(value) else _brief(as_real(value))
        except FormulaError as error:
            self._fail(error.message, at)
        except (ArithmeticError, TypeError, ValueError, NotImplementedError, RecursionError):
            # SymPy gives up in as many ways, on floor(10**250*pi) for one.
            self._fail("this has no value that can be computed", at)

    def _nested(self, read: Callable[..., Expr], *arguments: Any) -> Expr:
        self.depth += 1
        if self.depth > MAX_NESTING:
            self._fail(f"{self.what} is nested more than {MAX_NESTING} deep")
        value = read(*arguments)
        self.depth -= 1
        return value

    def _conditional(self) -> Expr:
        start = self.at
        value = self._expression(0)
        if not self.take("if"):
            return value
        at = self.at
        condition = self.boolean(self._expression(0), at)
        if not self.take("else"):
            self._unreadable()
        no = self._nested(self._conditional)
        return self._made(start, Where, condition, as_number(value), as_number(no))

    def _expression(self, level: int) -> Expr:
        """Read as far as signs bind at least as closely as ``level``."""
        start = self.at
        if level <= _LEVELS["not"] and self.take("not"):
            part = self.boolean(self._nested(self._expression, _LEVELS["not"]), start + 1)
            return self._more(level, start, [sympy.Not(part)])
        negative = level <= _LEVELS["*"] and self.take("-")
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
                parts = [self.boolean(part, at) for part, at in zip(parts, places, strict=True)]
                parts = [self._made(start, _LOGIC[signs[-1]], *parts)]
            else:
                parts = [self._made(start, _joined, signs, list(map(as_number, parts)))]
        return parts[0]

    def _operand(self) -> Expr:
        """Read one number, name, call or bracket, with the signs before it and its exponent."""
        start = self.at
        if self.take("-"):
            return self._made(start, operator.neg, as_number(self._nested(self._operand)))
        if self.take("+"):
            return as_number(self._nested(self._operand))
        if self.take("~"):
            return sympy.Not(self.boolean(self._nested(self._operand), start))
        value = self._atom()
        if not self.take("**"):
            return value
        exponent = as_number(self._nested(self._operand))
        return self._made(start, power, as_number(value), exponent)

    def _bracketed(self, at: int, call: bool) -> list[Expr]:
        """Read what stands in the bracket at ``at``, the arguments of a ``call`` or one value."""
        values = [] if call and self._sign() == ")" else [self._nested(self._conditional)]
        while call and self.take(",") and self._sign() != ")":
            values.append(self._nested(self._conditional))
        if self.tokens[self.at].kind == "end":
            self._fail("this '(' is never closed", at)
        if not self.take(")"):
            self._unreadable()
        return values

    def _atom(self) -> Expr:
        start, token = self.at, self.tokens[self.at]
        if self.take("("):
            return self._bracketed(start, call=False)[0]
        if token.kind not in OPERANDS:
            self._unreadable()
        if token.kind == "number":
            whole = token.text.isdigit()
            if whole and token.text.startswith("0") and token.text.strip("0"):
                self._unreadable()  # 07 is an error in one language and 7 in another
            if float(token.text) > LARGEST_REAL:
                self._fail("this number is too large for floating point")
            self.at += 1
            return sympy.Integer(int(token.text)) if whole else sympy.Float(float(token.text))
        self.at += 1
        if token.kind == "name" and self.take("("):
            return self._call(token.text, start)
        if token.kind == "name" and token.text in CONSTANTS:
            return CONSTANTS[token.text]
        if token.kind == "indexed":
            own, _, inner = token.text[:-1].partition("[")
            if not inner:
                self._fail(f"these brackets are empty; name a column, as in {own}[site]", start)
            self.subscripts[token.text] = own, unicodedata.normalize("NFKC", inner)
        self.names[token.text] = None
        return symbol(token.text)

    def _call(self, written: str, start: int) -> Expr:
        known = lookup(written)
        if known is None:
            nearest = did_you_mean(written, [*FUNCTIONS, *ALIASES, *OPERATIONS])
            advice = nearest or (
                f" To multiply, write {written}*(…); the name of a column stands in braces,"
                f" {{{written} (…)}}. Functions: {', '.join(sorted(FUNCTIONS))}."
            )
            advice = " Write exp(…)." if written in ("e", "E") else advice
            if written in INSTEAD:
                words = INSTEAD[written].replace("np.", "")
                advice = f" {words[0].upper()}{words[1:]}."
            self._fail(f"there is no function {written!r}.{advice}", start)
        form, counts = known
        values = self._bracketed(start + 1, call=True)
        if len(values) not in counts:
            count = f"{' or '.join(map(str, counts))} argument{'s' if counts[-1] > 1 else ''}"
            self._fail(f"{written} takes {count}, not {len(values)}", start)
        head = [self.boolean(values.pop(0), start + 2)] if form is Where else []
        return self._made(start, apply, form, *head, *map(as_number, values))


def _joined(signs: list[str], parts: list[Expr]) -> Expr:
    """Return the sum, the product or the chain of comparisons that ``signs`` make of ``parts``."""
    if signs[-1] in _COMPARISONS:
        pairs = zip(signs[1:], itertools.pairwise(parts), strict=True)
        return sympy.And(*(_COMPARISONS[sign](*pair) for sign, pair in pairs))
    signed = zip(signs, parts, strict=True)
    turned = [-part if sign == "-" else 1 / part if sign == "/" else part for sign, part in signed]
    return (sympy.Add if signs[-1] in "+-" else sympy.Mul)(*turned)
