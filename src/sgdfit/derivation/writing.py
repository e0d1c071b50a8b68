"""SymPy expressions to notation: the order of terms, signs, brackets and fractions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import sympy
from sympy.codegen import cfunctions

from sgdfit.derivation.notation import (
    MINUS,
    Call,
    Cases,
    Exponential,
    Fence,
    Fraction,
    Junction,
    Name,
    Node,
    Number,
    Power,
    Product,
    Relation,
    Root,
    Terms,
    fenced,
    open_ended,
)
from sgdfit.formula import real

__all__ = ["Writer", "number"]

Expr = Any  # SymPy ships no types

_CALLED: dict[Any, Name] = {
    sympy.log: Name("ln"),
    cfunctions.log2: Name("log", sub="2"),
    cfunctions.log10: Name("log", sub="10"),
    sympy.asin: Name("arcsin"),
    sympy.acos: Name("arccos"),
    sympy.atan: Name("arctan"),
    sympy.asinh: Name("arsinh"),
    sympy.acosh: Name("arcosh"),
    sympy.atanh: Name("artanh"),
    real.Sign: Name("sgn"),
    sympy.sign: Name("sgn"),
    real.Maximum: Name("max"),
    real.Minimum: Name("min"),
    real.Logistic: Name("σ"),
}
_FENCES = {
    real.Absolute: ("|", "|"),
    sympy.Abs: ("|", "|"),
    real.Floor: ("⌊", "⌋"),
    real.Ceil: ("⌈", "⌉"),
}
_SIGNS = {
    sympy.Gt: ">",
    sympy.Ge: "≥",
    sympy.Lt: "<",
    sympy.Le: "≤",
    sympy.Eq: "=",
    sympy.Ne: "≠",
}
_ONE = Number("1")
_AFTER = 10**6  # ranks what was not named after everything that was


def number(value: float, digits: int = 6) -> Node:
    """Return a number rounded to ``digits`` significant ones, with its sign.

    Examples
    --------
    >>> number(-20.12431)
    Terms(items=(('−', Number(text='20.1243')),))
    """
    text = f"{abs(value):.{digits}g}"
    return _signed_node("-" if value < 0 else "+", Number(text))


def _signed_node(sign: str, node: Node) -> Node:
    return Terms(((MINUS, node),)) if sign == "-" else node


class Writer:
    """Writes expressions with one set of names.

    Parameters
    ----------
    names : mapping of symbol to Node
        How each symbol is written.
    order : iterable of symbol
        Terms follow the first of their symbols in this order.
    leading : iterable of symbol
        Symbols whose factors come before the others: the parameters.
    front : iterable of symbol
        Symbols that come before all others: the residual.
    logistic : Name, optional
        What the logistic function is called.
    """

    def __init__(
        self,
        names: Mapping[Expr, Node],
        order: Iterable[Expr],
        leading: Iterable[Expr] = (),
        front: Iterable[Expr] = (),
        logistic: Name = _CALLED[real.Logistic],
    ) -> None:
        self.names, self.leading = dict(names), set(leading)
        front = list(front)
        self.rank = {symbol: i - len(front) for i, symbol in enumerate([*front, *order])}
        self.called = {**_CALLED, real.Logistic: logistic}

    def write(self, expression: Expr) -> Node:
        """Return the notation of ``expression``."""
        return _signed_node(*self.signed(expression))

    def signed(self, expression: Expr) -> tuple[str, Node]:
        """Return the sign (``+`` or ``-``) and the notation of one term."""
        if expression.is_Mul:
            return self._product(expression)
        if expression.is_Number:
            return ("-" if expression.is_negative else "+"), self._number(abs(expression))
        if expression.is_Pow:
            return "+", self._power(expression)
        return "+", self._plain(expression)

    def _plain(self, expression: Expr) -> Node:
        if expression.is_Symbol:
            return self.names[expression]
        if expression.is_Add:
            return self._sum(expression)
        if expression.is_NumberSymbol:
            return Name({sympy.pi: "π", sympy.E: "e"}[expression])
        if expression.is_Relational:
            sides = [self.write(side) for side in expression.args]
            return Relation(sides[0], _SIGNS[expression.func], sides[1])
        if expression.func in (sympy.And, sympy.Or, sympy.Not):
            return self._junction(expression)
        return self._function(expression)

    @staticmethod
    def _number(value: Expr) -> Node:
        if value.is_Rational and not value.is_Integer:
            return Fraction(Number(str(value.p)), Number(str(value.q)))
        return Number(str(value) if value.is_Integer else f"{float(value):.6g}")

    def _junction(self, expression: Expr) -> Node:
        word = expression.func.__name__.lower()
        upper = (sympy.Lt, sympy.Le)  # x > 1 and x ≤ 2: the lower limit comes first
        parts = sorted(expression.args, key=lambda a: (self._first(a), a.func in upper, str(a)))
        return Junction(word, tuple(self.write(part) for part in parts))

    # Sums

    def _sum(self, expression: Expr) -> Node:
        terms = sorted(sympy.Add.make_args(expression), key=self._term_key)
        items = [self.signed(term) for term in terms]
        lead = next((i for i, (sign, _) in enumerate(items) if sign == "+"), 0)
        if items[0][0] == "-":
            items.insert(0, items.pop(lead))  # 1 − x rather than −x + 1
        # Cases last: they need no brackets there.
        return self.add(sorted(items, key=lambda item: open_ended(item[1])))

    @staticmethod
    def add(items: Iterable[tuple[str, Node]]) -> Node:
        """Join signed terms, opening those that are sums themselves."""
        flat: list[tuple[str, Node]] = []
        for sign, node in items:
            sign = MINUS if sign in ("-", MINUS) else "+"
            if isinstance(node, Terms) and sign == "+":
                flat += node.items
            else:
                flat.append((sign, node if open_ended(node) else fenced(node)))
        *before, last = flat
        closed = [(sign, Fence(node) if open_ended(node) else node) for sign, node in before]
        return Terms((*closed, last))

    def _term_key(self, term: Expr) -> tuple[int, int]:
        return (self._first(term), 0)

    def _first(self, expression: Expr) -> int:
        return min((self.rank.get(s, _AFTER) for s in expression.free_symbols), default=_AFTER + 1)

    def _starts_negative(self, expression: Expr) -> bool:
        """Whether the term that the order puts first bears a minus sign."""
        terms = sorted(expression.args, key=self._term_key)
        signs = [term.could_extract_minus_sign() for term in terms]
        return bool(signs[0]) and len(signs) == 2 and not signs[1]

    # Products

    def _product(self, expression: Expr) -> tuple[str, Node]:
        coefficient, rest = expression.as_coeff_Mul()
        negative = bool(coefficient.is_negative)
        factors = []
        for factor in sympy.Mul.make_args(rest):
            base, power = factor.as_base_exp() if factor.is_Pow else (factor, sympy.S.One)
            if base.is_Add and power.is_Integer and self._starts_negative(base):
                negative ^= bool(power.is_odd)
                factor = sympy.Pow(-base, power)
            factors.append(factor)
        factors.sort(key=self._factor_key)
        top = [self.write(f) for f in factors if not _is_divisor(f)]
        bottom = [self.write(1 / f) for f in factors if _is_divisor(f)]
        return ("-" if negative else "+"), self._over(abs(coefficient), top, bottom)

    def _over(self, coefficient: Expr, top: list[Node], bottom: list[Node]) -> Node:
        upper, lower = coefficient, sympy.S.One
        if coefficient.is_Rational:
            upper, lower = sympy.Integer(coefficient.p), sympy.Integer(coefficient.q)
        if upper != 1 or not top:
            top = [self._number(upper), *top]
        if lower != 1:
            bottom = [self._number(lower), *bottom]
        return Fraction(self.times(top), self.times(bottom)) if bottom else self.times(top)

    @staticmethod
    def times(factors: Iterable[Node]) -> Node:
        """Join factors, opening those that are products themselves, in brackets where needed."""
        flat: list[Node] = []
        for factor in factors:
            flat += factor.factors if isinstance(factor, Product) else [factor]
        flat = [factor for factor in flat if factor != _ONE] or [_ONE]
        if len(flat) == 1:
            return flat[0]
        *before, last = flat
        last = last if isinstance(last, Cases) else fenced(last)
        return Product((*map(fenced, before), last))

    def _factor_key(self, factor: Expr) -> tuple[int, int]:
        """Residual first; then parameters, variables, functions of them, and sums."""
        base = factor.as_base_exp()[0] if factor.is_Pow else factor
        first = self._first(factor)
        if base.is_NumberSymbol:
            return (0, -_AFTER)
        if first < 0:
            return (0, first)
        kind = 2 if base.is_Symbol else 4 if base.is_Add else 3
        return (1 if base in self.leading else kind, first)

    # Powers and functions

    def _power(self, expression: Expr) -> Node:
        base, exponent = expression.base, expression.exp
        if _is_divisor(expression):
            return Fraction(Number("1"), self.write(1 / expression))
        if exponent == sympy.S.Half:
            return Root(self.write(base))
        if base.is_Add and exponent.is_even and self._starts_negative(base):
            base = -base
        return Power(_base(self.write(base)), self.write(exponent))

    def _function(self, expression: Expr) -> Node:
        kind, args = expression.func, expression.args
        if kind is sympy.exp:
            return Exponential(self.write(args[0]))
        if kind is real.Where:
            return self._where(expression)
        nodes = tuple(self.write(arg) for arg in args)
        if kind in _FENCES:
            body = -args[0] if args[0].is_Add and self._starts_negative(args[0]) else args[0]
            return Fence(self.write(body), *_FENCES[kind])
        if kind is real.Cbrt:
            return Root(nodes[0], 3)
        if kind is cfunctions.expm1:
            return Terms((("+", Exponential(nodes[0])), (MINUS, Number("1"))))
        if kind is cfunctions.log1p:
            return Call(
                self.called[sympy.log], (self.add([("+", Number("1")), *_items(nodes[0])]),)
            )
        if kind is real.Logaddexp:
            powers = [("+", Exponential(node)) for node in nodes]
            return Call(self.called[sympy.log], (self.add(powers),))
        if kind is real.Xlogy:
            return self.times([nodes[0], Call(self.called[sympy.log], (nodes[1],))])
        return Call(self.called.get(kind, Name(kind.__name__)), nodes)

    def _where(self, expression: Expr) -> Node:
        """Cases, one below the other; Iverson's bracket for what is 1 or 0."""
        condition, yes, no = expression.args
        if (yes, no) in ((1, 0), (0, 1)):
            holds = condition if yes == 1 else sympy.Not(condition)
            return Fence(self.write(holds), "[", "]")
        branches: list[tuple[Node, Node | None]] = [(self.write(yes), self.write(condition))]
        while no.func is real.Where and (no.args[1], no.args[2]) not in ((1, 0), (0, 1)):
            condition, yes, no = no.args
            branches.append((self.write(yes), self.write(condition)))
        return Cases((*branches, (self.write(no), None)))


def _items(node: Node) -> list[tuple[str, Node]]:
    return list(node.items) if isinstance(node, Terms) else [("+", node)]


def _is_divisor(factor: Expr) -> bool:
    return bool(factor.is_Pow and factor.exp.is_number and factor.exp.is_negative)


def _base(node: Node) -> Node:
    plain = isinstance(node, Name | Call | Fence) or (
        isinstance(node, Number) and "e" not in node.text
    )
    return node if plain else Fence(node)
