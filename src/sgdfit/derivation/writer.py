"""SymPy expressions on paper: made short, then their terms, signs, brackets and fractions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from functools import partial
from typing import Any

import sympy
from sympy.codegen import cfunctions
from sympy.core.relational import Relational

from sgdfit.derivation.notation import (
    Math,
    add,
    brackets,
    call,
    cases,
    exponential,
    figures,
    junction,
    name,
    negation,
    open_ended,
    over,
    power,
    relation,
    root,
    signed,
    times,
)
from sgdfit.formula import real
from sgdfit.formula.real import Absolute, Logistic, Where

Expr = Any  # SymPy ships no types

_ONE = figures("1")


def _named(function: str, sub: str = "") -> Callable[..., Math]:
    return lambda *arguments: call(function, arguments, sub)


_ln = _named("ln")
_FORMS: dict[Any, Callable[..., Math]] = {
    sympy.exp: exponential,
    sympy.log: _ln,
    cfunctions.log2: _named("log", "2"),
    cfunctions.log10: _named("log", "10"),
    cfunctions.expm1: lambda x: add([("+", exponential(x)), ("-", _ONE)]),
    cfunctions.log1p: lambda x: _ln(add([("+", _ONE), ("+", x)])),
    sympy.asin: _named("arcsin"),
    sympy.acos: _named("arccos"),
    sympy.atan: _named("arctan"),
    sympy.asinh: _named("arsinh"),
    sympy.acosh: _named("arcosh"),
    sympy.atanh: _named("artanh"),
    real.Sign: _named("sgn"),
    sympy.sign: _named("sgn"),
    real.Maximum: _named("max"),
    real.Minimum: _named("min"),
    real.Cbrt: partial(root, degree=3),
    real.Absolute: partial(brackets, left="|", right="|"),
    sympy.Abs: partial(brackets, left="|", right="|"),
    real.Floor: partial(brackets, left="⌊", right="⌋"),
    real.Ceil: partial(brackets, left="⌈", right="⌉"),
    real.Logaddexp: lambda x, y: _ln(add([("+", exponential(x)), ("+", exponential(y))])),
    real.Xlogy: lambda x, y: times([x, _ln(y)]),
}
_SIGNS = {
    sympy.Gt: ">", sympy.Ge: "≥", sympy.Lt: "<", sympy.Le: "≤", sympy.Eq: "=", sympy.Ne: "≠",
}  # fmt: skip
_AFTER = 10**6  # ranks what was not named after everything that was


class Writer:
    """Writes expressions: ``names`` says how each symbol is written.

    Terms follow the first of their symbols by ``rank``, the residual's below 0; factors that are
    ``leading`` symbols, the parameters, come before the others.
    """

    def __init__(
        self,
        names: Mapping[Expr, Math],
        rank: Mapping[Expr, int],
        leading: Iterable[Expr],
        logistic: str,
    ) -> None:
        self.names, self.rank, self.leading = names, rank, set(leading)
        self.forms = {**_FORMS, Logistic: _named(logistic)}

    def write(self, expression: Expr) -> Math:
        """Return ``expression`` as it is written."""
        return signed(*self.signed(expression))

    def signed(self, expression: Expr) -> tuple[str, Math]:
        """Return the sign (``+`` or ``-``) of one term, and how the rest is written."""
        if expression.is_Mul:
            return self._product(expression)
        if expression.is_Number:
            return ("-" if expression.is_negative else "+"), _number(abs(expression))
        return "+", self._plain(expression)

    def _plain(self, expression: Expr) -> Math:
        kind = expression.func
        if expression.is_Symbol:
            return self.names[expression]
        if expression.is_Add:
            return self._sum(expression)
        if expression.is_Pow:
            return self._power(expression)
        if expression.is_NumberSymbol:
            return name({sympy.pi: "π", sympy.E: "e"}[expression])
        if kind is Where:
            return self._where(*expression.args)
        if kind in (sympy.And, sympy.Or):
            upper = (sympy.Lt, sympy.Le)  # x > 1 and x ≤ 2: the lower limit comes first
            parts = sorted(expression.args, key=lambda a: (self._first(a), a.func in upper, str(a)))
            return junction(kind.__name__.lower(), [self.write(part) for part in parts])
        arguments = expression.args
        if kind in (Absolute, sympy.Abs) and self._starts_negative(arguments[0]):
            arguments = (-arguments[0],)
        parts = [self.write(argument) for argument in arguments]
        if kind in _SIGNS:
            return relation(parts[0], _SIGNS[kind], parts[1])
        if kind is sympy.Not:
            return negation(parts[0])
        return self.forms.get(kind, _named(kind.__name__))(*parts)

    def _sum(self, expression: Expr) -> Math:
        items = [self.signed(term) for term in sorted(expression.args, key=self._first)]
        lead = next((i for i, (sign, _) in enumerate(items) if sign == "+"), 0)
        if items[0][0] == "-":
            items.insert(0, items.pop(lead))  # 1 − x rather than −x + 1
        # Cases last: they need no brackets there.
        return add(sorted(items, key=lambda item: open_ended(item[1])))

    def _first(self, expression: Expr) -> int:
        return min((self.rank.get(s, _AFTER) for s in expression.free_symbols), default=_AFTER + 1)

    def _starts_negative(self, expression: Expr) -> bool:
        """Whether it is a difference whose term that the order puts first is taken away."""
        terms = sorted(expression.args, key=self._first) if expression.is_Add else []
        return [t.could_extract_minus_sign() for t in terms] == [True, False]

    def _product(self, expression: Expr) -> tuple[str, Math]:
        coefficient, rest = expression.as_coeff_Mul()
        negative = bool(coefficient.is_negative)
        factors = []
        for factor in sympy.Mul.make_args(rest):
            base, exponent = factor.as_base_exp() if factor.is_Pow else (factor, sympy.S.One)
            if exponent.is_Integer and self._starts_negative(base):
                negative ^= bool(exponent.is_odd)
                factor = sympy.Pow(-base, exponent)
            factors.append(factor)
        factors.sort(key=self._factor_key)
        top = [self.write(factor) for factor in factors if not _is_divisor(factor)]
        bottom = [self.write(1 / factor) for factor in factors if _is_divisor(factor)]
        upper, lower = abs(coefficient), sympy.S.One
        if upper.is_Rational:
            upper, lower = sympy.Integer(upper.p), sympy.Integer(upper.q)
        whole = times([_number(upper), *top])
        if lower != 1:
            bottom = [_number(lower), *bottom]
        return ("-" if negative else "+"), over(whole, times(bottom)) if bottom else whole

    def _factor_key(self, factor: Expr) -> tuple[int, int]:
        """Order factors: numbers, the residual; parameters, variables, functions of them, sums."""
        base = factor.as_base_exp()[0] if factor.is_Pow else factor
        first = self._first(factor)
        if base.is_NumberSymbol:
            return (0, -_AFTER)
        if first < 0:
            return (0, first)
        kind = 2 if base.is_Symbol else 4 if base.is_Add else 3
        return (1 if base in self.leading else kind, first)

    def _power(self, expression: Expr) -> Math:
        base, exponent = expression.base, expression.exp
        if _is_divisor(expression):
            return over(_ONE, self.write(1 / expression))
        if exponent == sympy.S.Half:
            return root(self.write(base))
        if exponent.is_even and self._starts_negative(base):
            base = -base
        return power(self.write(base), self.write(exponent))

    def _where(self, condition: Expr, yes: Expr, no: Expr) -> Math:
        """Write cases, one below the other; Iverson's bracket for what is 1 or 0."""
        if {yes, no} == {sympy.S.One, sympy.S.Zero}:
            return brackets(self.write(condition if yes == 1 else sympy.Not(condition)), "[", "]")
        branches: list[tuple[Math, Math | None]] = [(self.write(yes), self.write(condition))]
        while no.func is Where and set(no.args[1:]) != {sympy.S.One, sympy.S.Zero}:
            condition, yes, no = no.args
            branches.append((self.write(yes), self.write(condition)))
        return cases([*branches, (self.write(no), None)])


def _number(value: Expr) -> Math:
    if value.is_Rational and not value.is_Integer:
        return over(figures(str(value.p)), figures(str(value.q)))
    return figures(str(value) if value.is_Integer else f"{float(value):.6g}")


def _is_divisor(factor: Expr) -> bool:
    return bool(factor.is_Pow and factor.exp.is_number and factor.exp.is_negative)


RATIONAL_LIMIT = 40  # operations up to which fractions are brought together
DEGREE_LIMIT = 8  # of a polynomial that may be multiplied out on the way
FACTOR_LIMIT = 2000  # operations up to which common factors are looked for
SHORT_DECIMAL = 10  # characters up to which a decimal is left as it is; 0.333… becomes 1/3
_KNOWN = {float(e): e for e in (sympy.log(2), sympy.log(10), sympy.pi, sympy.sqrt(2), sympy.E)}


def operations(expression: Expr) -> int:
    """Return how many operations ``expression`` takes."""
    return int(sympy.count_ops(expression))


def tidy(expression: Expr) -> Expr:
    """Return an equal expression that is no longer, for reading.

    Examples
    --------
    >>> r = sympy.Symbol("r", real=True)
    >>> tidy(Absolute(r)**2/r), tidy(1.0 * r**2 / r + 0.5 * r)
    (r, 1.5*r)
    """
    return _exact(_shortest(_rewrite(_exact(expression))))


def _exact(expression: Expr) -> Expr:
    """Write floats that are whole, simple fractions or known constants as such."""
    return expression.xreplace({f: _recognized(float(f)) for f in expression.atoms(sympy.Float)})


def _recognized(value: float) -> Expr:
    if abs(value) in _KNOWN:
        return _KNOWN[abs(value)] if value > 0 else -_KNOWN[abs(value)]
    if value.is_integer() and abs(value) < 1e6:
        return sympy.Integer(int(value))
    if abs(value) in (0.5, 0.25):
        return sympy.Rational(value)
    near = Fraction(value).limit_denominator(1000)
    if len(repr(value)) <= SHORT_DECIMAL or abs(near - Fraction(value)) > 4e-16 * abs(value):
        return sympy.Float(value)
    decimal = 1000 % near.denominator == 0  # 0.1 rather than 1/10
    return sympy.Float(float(near)) if decimal else sympy.Rational(*near.as_integer_ratio())


def _rewrite(part: Expr) -> Expr:
    if not part.args:
        return part
    if part.func is Where:
        condition, yes, no = part.args
        return _where(_condition(condition), tidy(yes), tidy(no))
    if part.is_Relational:
        return _condition(part)
    arguments = [_rewrite(argument) for argument in part.args]
    if part.is_Pow and arguments[0].func is Absolute and arguments[1].is_even:
        arguments[0] = arguments[0].args[0]
    if not part.is_Add:
        whole = part.is_Function or part.func is sympy.exp
        arguments = [_shortest(a) if whole or a.is_Add else a for a in arguments]
    return part.func(*arguments)


def _condition(condition: Expr) -> Expr:
    """``q*y - q*p > r*p - r*y`` is ``y > p``: gather, divide, and keep it where it is shorter."""
    if not condition.is_Relational:
        parts = map(_condition, condition.args)
        return condition.func(*parts) if condition.args else condition
    number, rest = sympy.factor_terms(condition.lhs - condition.rhs).as_coeff_Mul()
    if number == 0 or not rest.free_symbols:
        return condition
    terms = sympy.Add.make_args(rest if number.is_positive else -rest)
    right = [term for term in terms if term.could_extract_minus_sign()]
    left = [term for term in terms if term not in right]
    shorter = condition.func(sympy.Add(*left), -sympy.Add(*right))
    better = shorter.is_Relational and operations(shorter) < operations(condition)
    return shorter if better else condition


def _where(condition: Expr, yes: Expr, no: Expr) -> Expr:
    """Pull a polynomial out of a branch whose other side is 0: it is defined in every row."""
    for inside, outside, holds in ((yes, no, condition), (no, yes, sympy.Not(condition))):
        if outside == 0 and inside.free_symbols and inside.is_polynomial():
            return inside * Where(holds, sympy.S.One, sympy.S.Zero)
    return Where(condition, yes, no)


def _shortest(expression: Expr) -> Expr:
    """Return the shortest of a few equal forms; the first of those that are equally short."""
    length = operations(expression)
    candidates = [expression]
    if length <= FACTOR_LIMIT and not expression.has(Relational):
        candidates.append(sympy.factor_terms(expression))
    if length <= RATIONAL_LIMIT and _is_small(expression):
        candidates += [sympy.together(expression), sympy.cancel(expression)]
    return min(candidates, key=operations)


def _is_small(expression: Expr) -> bool:
    """Whether fractions can be brought together without growing: few names, low powers."""
    # sympy.together turns exp(-u) under a fraction into exp(u) above: shorter, less familiar.
    if expression.has(Relational, sympy.Float, sympy.exp):
        return False
    powers = [power.exp for power in expression.atoms(sympy.Pow)]
    if not all(power.is_Integer for power in powers):
        return False
    return len(expression.free_symbols) <= 6 and sum(map(abs, powers)) <= DEGREE_LIMIT
