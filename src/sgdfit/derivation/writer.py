"""SymPy expressions to notation: simplified, then their terms, signs, brackets and fractions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction as Rational
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
from sgdfit.formula.real import Absolute, Logistic, Sign, Where

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


RATIONAL_LIMIT = 40  # operations up to which fractions are brought together
DEGREE_LIMIT = 8  # of a polynomial that may be multiplied out on the way
FACTOR_LIMIT = 2000  # operations up to which common factors are looked for
LARGEST_DENOMINATOR = 1000  # of a fraction that a long decimal such as 0.333… is taken for
SHORT_DECIMAL = 10  # characters up to which a decimal is left as it is
_KNOWN = {float(e): e for e in (sympy.log(2), sympy.log(10), sympy.pi, sympy.sqrt(2), sympy.E)}


def operations(expression: Expr) -> int:
    """Return how many operations ``expression`` takes.

    Examples
    --------
    >>> x, y = sympy.symbols("x y")
    >>> operations(2 * x - 2 * y), operations(tidy(2 * x - 2 * y))
    (3, 2)
    """
    return int(sympy.count_ops(expression))


def tidy(expression: Expr) -> Expr:
    """Return an equal expression that is no longer, for reading.

    Examples
    --------
    >>> r = sympy.Symbol("r", real=True)
    >>> tidy(Absolute(r) * Sign(r)), tidy(1.0 * r**2 / r + 0.5 * r)
    (r, 1.5*r)
    """
    return _exact(_shortest(_rewrite(_exact(expression))))


def split_constant(expression: Expr, names: set[Expr]) -> tuple[Expr, Expr]:
    """Split a product into what is free of ``names`` and the rest.

    Examples
    --------
    >>> a, x = sympy.symbols("a x")
    >>> split_constant(2 * x**2 * a, {x})
    (2*a, x**2)
    """
    constant, rest = expression.as_independent(*names, as_Add=False)
    return constant, rest


def _exact(expression: Expr) -> Expr:
    """Write floats that are whole, simple fractions or known constants as such."""
    return expression.xreplace({f: _number(float(f)) for f in expression.atoms(sympy.Float)})


def _number(value: float) -> Expr:
    if abs(value) in _KNOWN:
        return _KNOWN[abs(value)] if value > 0 else -_KNOWN[abs(value)]
    if value.is_integer() and abs(value) < 1e6:
        return sympy.Integer(int(value))
    if abs(value) in (0.5, 0.25):
        return sympy.Rational(value)
    near = Rational(value).limit_denominator(LARGEST_DENOMINATOR)
    if len(repr(value)) > SHORT_DECIMAL and abs(near - Rational(value)) <= 4e-16 * abs(value):
        decimal = 1000 % near.denominator == 0  # 0.1 rather than 1/10
        return (
            sympy.Float(float(near))
            if decimal
            else sympy.Rational(near.numerator, near.denominator)
        )
    return sympy.Float(value)


def _rewrite(part: Expr) -> Expr:
    """Apply the rules from the leaves up."""
    if not part.args:
        return part
    if part.func is Where:
        condition, yes, no = part.args
        return _where(_condition(condition), tidy(yes), tidy(no))
    if part.is_Relational:
        return _relation(part)
    if part.is_Add:
        part = sympy.Add(*_paired_logistics(list(part.args)))
    arguments = [_rewrite(argument) for argument in part.args]
    if part.is_Mul or part.is_Pow:
        arguments = [_shortest(a) if a.is_Add else a for a in arguments]
    if part.is_Mul:
        arguments = _signed_absolutes(arguments)
    if part.is_Pow and arguments[0].func is Absolute and arguments[1].is_even:
        arguments[0] = arguments[0].args[0]
    if part.is_Function or part.func is sympy.exp:
        arguments = [_shortest(argument) for argument in arguments]
    return part.func(*arguments)


def _condition(condition: Expr) -> Expr:
    if condition.is_Relational:
        return _relation(condition)
    return condition.func(*map(_condition, condition.args)) if condition.args else condition


def _relation(relation: Expr) -> Expr:
    """``q*y - q*p > r*p - r*y`` is ``y > p``: gather, divide, and keep it where it is shorter."""
    difference = sympy.factor_terms(relation.lhs - relation.rhs)
    number, rest = difference.as_coeff_Mul()
    if number == 0 or not rest.free_symbols:
        return relation
    terms = sympy.Add.make_args(rest if number.is_positive else -rest)
    left = [term for term in terms if not term.could_extract_minus_sign()]
    right = [-term for term in terms if term.could_extract_minus_sign()]
    shorter = relation.func(sympy.Add(*left), sympy.Add(*right))
    better = shorter.is_Relational and operations(shorter) < operations(relation)
    return shorter if better else relation


def _where(condition: Expr, yes: Expr, no: Expr) -> Expr:
    """Pull a polynomial out of a branch whose other side is 0: it is defined in every row."""
    for inside, outside, holds in ((yes, no, condition), (no, yes, sympy.Not(condition))):
        if outside == 0 and inside.free_symbols and inside.is_polynomial():
            return inside * Where(holds, sympy.S.One, sympy.S.Zero)
    return Where(condition, yes, no)


def _signed_absolutes(factors: list[Expr]) -> list[Expr]:
    """``|u| sgn(u)`` is ``u``."""
    inner = {f.args[0] for f in factors if f.func is Absolute}
    inner &= {f.args[0] for f in factors if f.func is Sign}
    gone = {cls(u) for cls in (Absolute, Sign) for u in inner}
    return [f for f in factors if f not in gone] + sorted(inner, key=sympy.default_sort_key)


def _paired_logistics(terms: list[Expr]) -> list[Expr]:
    """``σ(u) - σ(-u)`` is ``tanh(u/2)``, and ``σ(u) + σ(-u)`` is 1."""
    for term in terms:
        if term.func is not Logistic:
            continue
        (u,) = term.args
        for partner, joined in ((-Logistic(-u), sympy.tanh(u / 2)), (Logistic(-u), 1)):
            if partner in terms:
                rest = [t for t in terms if t not in (term, partner)]
                return _paired_logistics([*rest, sympy.sympify(joined)])
    return terms


def _shortest(expression: Expr) -> Expr:
    """Return the shortest of a few equal forms; the first of those that are equally short."""
    length = operations(expression)
    candidates = [expression]
    if length <= FACTOR_LIMIT and not expression.has(sympy.core.relational.Relational):
        candidates.append(sympy.factor_terms(expression))
    if length <= RATIONAL_LIMIT and _is_small(expression):
        candidates += [sympy.together(expression), sympy.cancel(expression)]
    return min(candidates, key=operations)


def _is_small(expression: Expr) -> bool:
    """Whether fractions can be brought together without growing: few names, low powers."""
    # sympy.together turns exp(-u) under a fraction into exp(u) above: shorter, less familiar.
    if expression.has(sympy.core.relational.Relational, sympy.Float, sympy.exp):
        return False
    powers = [p.exp for p in expression.atoms(sympy.Pow)]
    if not all(p.is_Integer for p in powers):
        return False
    return len(expression.free_symbols) <= 6 and sum(map(abs, powers)) <= DEGREE_LIMIT
