"""Text to formula: tokens with their places, Python's syntax tree, a list of what is allowed."""

from __future__ import annotations

import ast
import functools
import itertools
import re
import unicodedata
from bisect import bisect_right
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


Expr = Any  # SymPy ships no types

MAX_DEPTH = 60
EXACT_OPERATIONS = 8  # of a constant such as sqrt(2)/pi that stays as it is written
_COMPARISONS = {
    ast.Lt: sympy.Lt, ast.LtE: sympy.Le, ast.Gt: sympy.Gt, ast.GtE: sympy.Ge,
    ast.Eq: sympy.Eq, ast.NotEq: sympy.Ne,
}  # fmt: skip
_JOINS: dict[type, Callable[..., Expr]] = {
    ast.Add: sympy.Add, ast.Sub: sympy.Add, ast.Mult: sympy.Mul, ast.Div: sympy.Mul,
    ast.Pow: power, ast.BitAnd: sympy.And, ast.BitOr: sympy.Or,
}  # fmt: skip
_UNSUPPORTED = {
    ast.Mod: "the remainder % is not supported; write x - m*floor(x/m)",
    ast.FloorDiv: "the whole division // is not supported; write floor(x/m)",
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
    split = relation(tokens)
    if split is None:
        expression, names = _side(tokens, text, "the formula")
        return expression, None, names
    sign = tokens[split].text
    response, _ = _side(tokens[:split], text, f"the left side of {sign!r}")
    right = tokens[split + 1 :]
    again = relation(right)
    if again is not None:
        raise FormulaError(
            "a formula has one '='; a comparison is written ==", text, right[again].position
        )
    expression, names = _side(right, text, f"the right side of {sign!r}")
    return expression, response, names


@functools.lru_cache(maxsize=256)
def parse_expression(text: str) -> tuple[Expr, tuple[str, ...]]:
    """Read one expression; return it and its names in the order in which they were written."""
    return _side(tokenize(text), text, "the expression")


def parse_condition(text: str) -> Expr:
    """Read a comparison such as ``0 < b < 10``; return SymPy's Boolean."""
    return _Reader(tokenize(text), text).condition("the condition")


def _side(tokens: list[Token], text: str, what: str) -> tuple[Expr, tuple[str, ...]]:
    reader = _Reader(tokens, text)
    expression = reader.number(what)
    named = (t.text for t in tokens if t.kind in ("name", "quoted"))
    return expression, tuple(dict.fromkeys(name for name in named if name in reader.used))


def _brief(value: Expr) -> Expr:
    """Return a long constant as its value: SymPy takes twice as long for each level of one."""
    long = value.is_number and not value.is_Atom and value.count_ops() > EXACT_OPERATIONS
    return sympy.Float(float(value)) if long else value


class _Reader:
    """Turns one side's tokens into a SymPy expression."""

    def __init__(self, tokens: list[Token], text: str) -> None:
        self.tokens, self.text = tokens, text
        self.used: set[str] = set()
        self.starts: list[int] = []
        pieces, length = [], 0
        for index, token in enumerate(tokens):
            piece = f"_{index}" if token.kind in ("name", "quoted") else token.text
            self.starts.append(length)
            pieces.append(piece)
            length += len(piece) + 1
        self.spelled = " ".join(pieces)

    def number(self, what: str) -> Expr:
        tree = self._tree(what)
        return as_number(self._convert(tree, 0))

    def condition(self, what: str) -> Expr:
        tree = self._tree(what)
        return self._boolean(self._convert(tree, 0), tree)

    def _tree(self, what: str) -> ast.expr:
        if not self.tokens:
            raise FormulaError(f"{what} is empty", self.text, len(self.text))
        equal = next((t for t in self.tokens if t[:2] == ("operator", "=")), None)
        if equal is not None:
            raise FormulaError(
                "no '=' can stand within an expression; a comparison is written ==",
                self.text,
                equal.position,
            )
        try:
            return ast.parse(self.spelled, mode="eval").body
        except SyntaxError as error:
            # Python gives the place 0 where the text ends too early.
            token = self._token(error.offset - 1) if error.offset else None
            shown = "the end" if token is None else repr(token.text)
            position = len(self.text) if token is None else token.position
            raise FormulaError(f"{what} cannot be read at {shown}", self.text, position) from None
        except (RecursionError, MemoryError):
            raise FormulaError(f"{what} is nested too deeply") from None

    def _token(self, offset: int) -> Token | None:
        if offset >= len(self.spelled):
            return None
        return self.tokens[bisect_right(self.starts, offset) - 1]

    def _fail(self, message: str, node: ast.AST) -> NoReturn:
        token = self._token(getattr(node, "col_offset", 0))
        raise FormulaError(message, self.text, None if token is None else token.position)

    def _convert(self, node: ast.expr, depth: int) -> Expr:
        if depth > MAX_DEPTH:
            self._fail(f"the formula is nested more than {MAX_DEPTH} deep", node)
        handler = getattr(self, f"_{type(node).__name__.lower()}", None)
        if handler is None:
            self._fail("this is no arithmetic, comparison or call of a supported function", node)
        try:
            value = handler(node, depth + 1)
            return value if is_condition(value) else _brief(finite(value))
        except FormulaError as error:
            if error.text is not None:
                raise
            self._fail(error.message, node)
        except (ArithmeticError, TypeError, ValueError, NotImplementedError, RecursionError):
            # SymPy gives up in as many ways, on floor(10**250*pi) for one.
            self._fail("this has no value that can be computed", node)

    def _constant(self, node: ast.Constant, depth: int) -> Expr:
        value = node.value
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._fail(f"{value!r} is no number", node)
        if value > LARGEST:
            self._fail("this number is too large for floating point", node)
        return sympy.Integer(value) if isinstance(value, int) else sympy.Float(value)

    def _name(self, node: ast.Name, depth: int) -> Expr:
        token = self.tokens[int(node.id[1:])]
        if token.kind == "name" and token.text in CONSTANTS:
            return CONSTANTS[token.text]
        self.used.add(token.text)
        return symbol(token.text)

    def _unaryop(self, node: ast.UnaryOp, depth: int) -> Expr:
        operand = self._convert(node.operand, depth)
        if isinstance(node.op, ast.Not | ast.Invert):
            return sympy.Not(self._boolean(operand, node))
        operand = as_number(operand)
        return -operand if isinstance(node.op, ast.USub) else operand

    def _binop(self, node: ast.BinOp, depth: int) -> Expr:
        # A sum of a thousand terms is a thousand deep on its left: walk that side in a loop,
        # and join its terms at once, since SymPy sorts all of them each time one is added.
        spine = [node]
        while isinstance(spine[-1].left, ast.BinOp):
            spine.append(spine[-1].left)
        sides = self._signed(spine[-1], depth)
        for join, steps in itertools.groupby(reversed(spine), self._joining):
            sides = [self._joined(join, sides, list(steps), depth)]
        return sides[0]

    def _signed(self, node: ast.BinOp, depth: int) -> list[Expr]:
        """Return the left side; of -(a + b)/x as two factors, lest SymPy multiply them out."""
        first = node.left
        product = self._joining(node) is sympy.Mul
        if product and isinstance(first, ast.UnaryOp) and isinstance(first.op, ast.USub):
            return [sympy.S.NegativeOne, self._convert(first.operand, depth)]
        return [self._convert(first, depth)]

    def _joining(self, node: ast.BinOp) -> Callable[..., Expr]:
        if type(node.op) not in _JOINS:
            self._fail(_UNSUPPORTED.get(type(node.op), "this sign is not supported"), node.right)
        return _JOINS[type(node.op)]

    def _joined(
        self, join: Callable[..., Expr], left: list[Expr], steps: list[ast.BinOp], depth: int
    ) -> Expr:
        """Join ``left`` and the right sides of ``steps``, all sums, all products or all powers."""
        sides = [self._operand(join, side, steps[0]) for side in left]
        for step in steps:
            side = self._operand(join, self._convert(step.right, depth), step)
            subtract, divide = (isinstance(step.op, op) for op in (ast.Sub, ast.Div))
            sides.append(-side if subtract else 1 / side if divide else side)
        return functools.reduce(power, sides) if join is power else join(*sides)

    def _operand(self, join: Callable[..., Expr], value: Expr, node: ast.AST) -> Expr:
        return self._boolean(value, node) if join in (sympy.And, sympy.Or) else as_number(value)

    def _boolop(self, node: ast.BoolOp, depth: int) -> Expr:
        values = [self._boolean(self._convert(v, depth), v) for v in node.values]
        return (sympy.And if isinstance(node.op, ast.And) else sympy.Or)(*values)

    def _compare(self, node: ast.Compare, depth: int) -> Expr:
        sides = [as_number(self._convert(side, depth)) for side in (node.left, *node.comparators)]
        pairs = []
        for operator, left, right in zip(node.ops, sides, sides[1:], strict=False):
            if type(operator) not in _COMPARISONS:
                self._fail("compare with < <= > >= == or !=", node)
            pairs.append(_COMPARISONS[type(operator)](left, right))
        return sympy.And(*pairs)

    def _ifexp(self, node: ast.IfExp, depth: int) -> Expr:
        condition = self._boolean(self._convert(node.test, depth), node.test)
        yes, no = (as_number(self._convert(n, depth)) for n in (node.body, node.orelse))
        return Where(condition, yes, no)

    def _call(self, node: ast.Call, depth: int) -> Expr:
        written, form, arity = self._function(node)
        if len(node.args) != arity:
            count = f"{arity} argument{'s' if arity > 1 else ''}"
            self._fail(f"{written} takes {count}, not {len(node.args)}", node)
        values = [self._convert(argument, depth) for argument in node.args]
        conditions = 1 if form is Where else 0
        first = [self._boolean(v, node.args[0]) for v in values[:conditions]]
        return form(*first, *map(as_number, values[conditions:]))

    def _function(self, node: ast.Call) -> tuple[str, Callable[..., Expr], int]:
        """Return the name of the function called, its symbolic form and its number of arguments."""
        if not isinstance(node.func, ast.Name):
            self._fail("only a supported function can be called", node)
        written = self.tokens[int(node.func.id[1:])].text
        known = lookup(written)
        if known is None:
            self._unknown_function(written, node)
        if node.keywords:
            self._fail(f"{written} takes no named arguments", node)
        return written, *known

    def _unknown_function(self, name: str, node: ast.Call) -> NoReturn:
        nearest = did_you_mean(name, [*FUNCTIONS, *ALIASES, *OPERATIONS])
        advice = nearest or (
            f" To multiply, write {name}*(…). Functions: {', '.join(sorted(FUNCTIONS))}."
        )
        self._fail(f"there is no function {name!r}.{advice}", node)

    def _boolean(self, value: Expr, node: ast.AST) -> Expr:
        if not is_condition(value):
            self._fail(
                "a condition such as x > 0 is needed here; beside & and | it stands in brackets,"
                " as in (x > 0) & (y > 0)",
                node,
            )
        return value
