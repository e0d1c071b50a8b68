"""Text to formula, through Python's syntax tree and a list of what is allowed.

Nothing is executed: names are replaced by placeholders before Python's parser sees the text (so
``lambda``, ``S`` or a name in backticks are ordinary names), and only the nodes handled below
become SymPy expressions.
"""

from __future__ import annotations

import ast
import math
from bisect import bisect_right
from typing import Any, NoReturn

import sympy
from sympy.logic.boolalg import Boolean

from sgdfit.errors import FormulaError, did_you_mean
from sgdfit.formula import Formula, symbol
from sgdfit.functions import ALIASES, CONSTANTS, FUNCTIONS, OPERATIONS
from sgdfit.tokens import Token, tokenize

__all__ = ["parse", "parse_condition", "parse_expression"]

Expr = Any  # SymPy ships no types

MAX_DEPTH = 120
MAX_EXPONENT = 1_000
LARGEST = 10**300

_COMPARISONS = {
    ast.Lt: sympy.Lt, ast.LtE: sympy.Le, ast.Gt: sympy.Gt, ast.GtE: sympy.Ge,
    ast.Eq: sympy.Eq, ast.NotEq: sympy.Ne,
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
    tokens = tokenize(text)
    split = _relation(tokens)
    if split is None:
        expression, names = _side(tokens, text, "the formula")
        return Formula(expression, None, names, text.strip())
    left, right = tokens[:split], tokens[split + 1 :]
    again = _relation(right)
    if again is not None:
        raise FormulaError(
            "a formula has one '='; a comparison is written ==", text, right[again].position
        )
    response, _ = _side(left, text, f"the left side of {tokens[split].text!r}")
    expression, names = _side(right, text, f"the right side of {tokens[split].text!r}")
    return Formula(expression, response, names, text.strip())


def parse_expression(text: str) -> tuple[Expr, tuple[str, ...]]:
    """Read one expression; return it and its names in the order in which they were written."""
    return _side(tokenize(text), text, "the expression")


def parse_condition(text: str) -> Expr:
    """Read a comparison such as ``0 < b < 10``; return SymPy's Boolean."""
    tokens = tokenize(text)
    return _Reader(tokens, text).condition("the condition")


def _is_condition(value: Expr) -> bool:
    """Tell a comparison from a number (SymPy's symbols may stand for either)."""
    return isinstance(value, Boolean) and not isinstance(value, sympy.Symbol)


def _relation(tokens: list[Token]) -> int | None:
    """Index of the first ``=`` or binary ``~`` outside of brackets."""
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


def _side(tokens: list[Token], text: str, what: str) -> tuple[Expr, tuple[str, ...]]:
    reader = _Reader(tokens, text)
    expression = reader.number(what)
    return expression, tuple(dict.fromkeys(t.text for t in tokens if t.text in reader.used))


class _Reader:
    """Turns one side's tokens into a SymPy expression."""

    def __init__(self, tokens: list[Token], text: str) -> None:
        self.tokens, self.text = tokens, text
        self.used: set[str] = set()
        self.starts: list[int] = []
        pieces, length = [], 0
        for index, token in enumerate(tokens):
            piece = f"_{index}" if token.kind == "name" else token.text
            self.starts.append(length)
            pieces.append(piece)
            length += len(piece) + 1
        self.spelled = " ".join(pieces)

    def number(self, what: str) -> Expr:
        tree = self._tree(what)
        return self._arithmetic(self._convert(tree, 0), tree)

    def condition(self, what: str) -> Expr:
        tree = self._tree(what)
        return self._boolean(self._convert(tree, 0), tree)

    def _tree(self, what: str) -> ast.expr:
        if not self.tokens:
            raise FormulaError(f"{what} is empty", self.text, len(self.text))
        try:
            return ast.parse(self.spelled, mode="eval").body
        except SyntaxError as error:
            token = self._token((error.offset or 1) - 1)
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
        value = handler(node, depth + 1)
        if _is_condition(value):
            return value
        if value.has(sympy.zoo, sympy.nan, sympy.oo, -sympy.oo, sympy.I):
            self._fail("this has no finite real value", node)
        return value

    def _constant(self, node: ast.Constant, depth: int) -> Expr:
        value = node.value
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._fail(f"{value!r} is no number", node)
        if isinstance(value, int) and value < 10**15:
            return sympy.Integer(value)
        if value > LARGEST:
            self._fail("this number is too large for floating point", node)
        return sympy.Float(float(value))

    def _name(self, node: ast.Name, depth: int) -> Expr:
        name = self.tokens[int(node.id[1:])].text
        if name in CONSTANTS:
            return CONSTANTS[name]
        self.used.add(name)
        return symbol(name)

    def _unaryop(self, node: ast.UnaryOp, depth: int) -> Expr:
        operand = self._convert(node.operand, depth)
        if isinstance(node.op, ast.Not | ast.Invert):
            return sympy.Not(self._boolean(operand, node))
        operand = self._arithmetic(operand, node)
        return -operand if isinstance(node.op, ast.USub) else operand

    def _binop(self, node: ast.BinOp, depth: int) -> Expr:
        # A sum of a thousand terms is a thousand deep on its left: walk that side in a loop.
        spine = [node]
        while isinstance(spine[-1].left, ast.BinOp):
            spine.append(spine[-1].left)
        value = self._convert(spine[-1].left, depth)
        for step in reversed(spine):
            value = self._operate(step, value, self._convert(step.right, depth))
        return value

    def _operate(self, node: ast.BinOp, left: Expr, right: Expr) -> Expr:
        if isinstance(node.op, ast.BitAnd | ast.BitOr):
            join = sympy.And if isinstance(node.op, ast.BitAnd) else sympy.Or
            return join(self._boolean(left, node), self._boolean(right, node))
        left, right = self._arithmetic(left, node), self._arithmetic(right, node)
        match node.op:
            case ast.Add():
                return left + right
            case ast.Sub():
                return left - right
            case ast.Mult():
                return left * right
            case ast.Div():
                return left / right
            case ast.Pow():
                return self._power(node, left, right)
        self._fail(_UNSUPPORTED.get(type(node.op), "this sign is not supported"), node.right)

    def _power(self, node: ast.AST, base: Expr, exponent: Expr) -> Expr:
        if exponent.is_number and abs(exponent) > MAX_EXPONENT:
            self._fail(f"the exponent is beyond {MAX_EXPONENT:,}", node)
        if base.is_number and exponent.is_number and base != 0:
            size = abs(float(exponent) * math.log10(abs(float(base))))
            if size > math.log10(LARGEST):
                self._fail("this power is beyond what floating point can hold", node)
        return base**exponent

    def _boolop(self, node: ast.BoolOp, depth: int) -> Expr:
        values = [self._boolean(self._convert(v, depth), v) for v in node.values]
        return (sympy.And if isinstance(node.op, ast.And) else sympy.Or)(*values)

    def _compare(self, node: ast.Compare, depth: int) -> Expr:
        sides = [self._convert(side, depth) for side in (node.left, *node.comparators)]
        sides = [self._arithmetic(side, node) for side in sides]
        pairs = []
        for operator, left, right in zip(node.ops, sides, sides[1:], strict=False):
            if type(operator) not in _COMPARISONS:
                self._fail("compare with < <= > >= == or !=", node)
            pairs.append(_COMPARISONS[type(operator)](left, right))
        return sympy.And(*pairs)

    def _ifexp(self, node: ast.IfExp, depth: int) -> Expr:
        condition = self._boolean(self._convert(node.test, depth), node.test)
        yes, no = (self._arithmetic(self._convert(n, depth), n) for n in (node.body, node.orelse))
        return FUNCTIONS["where"].symbolic(condition, yes, no)

    def _call(self, node: ast.Call, depth: int) -> Expr:
        name = self._function(node)
        values = [self._convert(arg, depth) for arg in node.args]
        kinds = [self._arithmetic] * len(values)
        if name == "where":
            kinds[0] = self._boolean
        values = [kind(v, arg) for kind, v, arg in zip(kinds, values, node.args, strict=True)]
        if name == "pow":
            return self._power(node, *values)
        form = FUNCTIONS[name].symbolic if name in FUNCTIONS else OPERATIONS[name]
        return form(*values)

    def _function(self, node: ast.Call) -> str:
        """Return the name in our tables of the function called, its arguments counted."""
        if not isinstance(node.func, ast.Name):
            self._fail("only a supported function can be called", node)
        written = self.tokens[int(node.func.id[1:])].text
        name = ALIASES.get(written, written)
        if name not in FUNCTIONS and name not in OPERATIONS:
            self._unknown_function(written, node)
        if node.keywords:
            self._fail(f"{written} takes no named arguments", node)
        arity = FUNCTIONS[name].arity if name in FUNCTIONS else 1
        if len(node.args) != arity:
            self._fail(f"{written} takes {arity} argument(s), not {len(node.args)}", node)
        return name

    def _unknown_function(self, name: str, node: ast.Call) -> NoReturn:
        known = [*FUNCTIONS, *ALIASES, *OPERATIONS]
        nearest = did_you_mean(name, known)
        advice = nearest or (
            f" To multiply, write {name}*(…). Functions: {', '.join(sorted(FUNCTIONS))}."
        )
        self._fail(f"there is no function {name!r}.{advice}", node)

    def _boolean(self, value: Expr, node: ast.AST) -> Expr:
        if not _is_condition(value):
            self._fail("a condition such as x > 0 is needed here", node)
        return value

    def _arithmetic(self, value: Expr, node: ast.AST) -> Expr:
        """A condition in a sum or product counts 1 where it holds and 0 elsewhere."""
        if _is_condition(value):
            return FUNCTIONS["where"].symbolic(value, sympy.S.One, sympy.S.Zero)
        return value
