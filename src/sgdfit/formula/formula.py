"""A formula: what the response is, as an expression of variables and parameters."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import chain
from typing import Any

import sympy
from sympy.codegen.cfunctions import expm1, log1p
from sympy.printing.precedence import PRECEDENCE
from sympy.printing.str import StrPrinter

from sgdfit.errors import FormulaError
from sgdfit.formula.external import Call, external_in
from sgdfit.formula.functions import CONSTANTS, by_class
from sgdfit.formula.real import Logaddexp, Logistic, Select, as_real

Expr = Any  # SymPy ships no types

# A parameter of a column's level, or of all its levels, as it is named.
SUBSCRIPT = re.compile(r"[^\W\d]\w*\[[^\[\]{}`]+\]")


@lru_cache(maxsize=65_536)  # there may be thousands of levels
def symbol(name: str) -> Expr:
    """Return the SymPy symbol that stands for ``name``: every quantity in a formula is real."""
    return sympy.Symbol(name, real=True)


@dataclass(frozen=True)
class Formula:
    """A response and the expression that predicts it.

    Which names are variables and which are parameters is decided when it meets data: every name
    that is a column is a variable, every other one a parameter.

    Examples
    --------
    >>> from sgdfit.formula.reading import as_formula
    >>> formula = as_formula("y = a*x^2 + b*x + c")
    >>> formula.names
    ('a', 'x', 'b', 'c')
    >>> print(formula)
    y = a*x^2 + b*x + c
    """

    expression: Expr  # the right side
    response: Expr | None = None  # the left side, an expression of columns
    names: tuple[str, ...] = ()  # on the right side, in the order in which they were written
    text: str | None = None  # as the user wrote it, where it came from text
    fixed: Mapping[str, float] = field(default_factory=dict)  # bound by `functools.partial`
    start: Mapping[str, float] = field(default_factory=dict)  # defaults of a function's arguments
    # Of ``a[site]``: ("a", "site"), a parameter with a value for each level of a column.
    subscripts: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    # The levels of these columns, once they are known.
    levels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def families(self) -> dict[str, tuple[str, ...]]:
        """All parameters of each ``a[site]`` once levels are known, as ``a[A]`` and ``a[B]``."""
        return {
            name: tuple(f"{own}[{level}]" for level in self.levels[column])
            for name, (own, column) in self.subscripts.items()
            if column in self.levels
        }

    @property
    def response_names(self) -> tuple[str, ...]:
        """The columns that the left side is made of."""
        return () if self.response is None else ordered_names(self.response)

    def __str__(self) -> str:
        """Return text that parses back to the same formula: the user's own where there is one."""
        if self.text:
            return self.text
        right = to_text(self.expression, self.names)
        return right if self.response is None else f"{to_text(self.response)} = {right}"

    def renamed(self, names: Mapping[str, str]) -> Formula:
        """Return the same formula with other names in it; those not in ``names`` stay."""
        symbols = {symbol(old): symbol(new) for old, new in names.items()}
        return Formula(
            self.expression.xreplace(symbols),
            None if self.response is None else self.response.xreplace(symbols),
            tuple(names.get(name, name) for name in self.names),
            fixed={names.get(name, name): value for name, value in self.fixed.items()},
            start={names.get(name, name): value for name, value in self.start.items()},
            subscripts={
                names.get(name, name): (own, names.get(column, column))
                for name, (own, column) in self.subscripts.items()
            },
        )

    def with_levels(self, levels: Mapping[str, Sequence[str]]) -> Formula:
        """Return the same formula, each ``a[site]`` in it the parameter of the row's level.

        In data, columns that index parameters hold codes: how many levels come before.

        Examples
        --------
        >>> from sgdfit.formula.reading import as_formula
        >>> as_formula("y = a[site]*x").with_levels({"site": ["A", "B"]}).names
        ('a[A]', 'a[B]', 'x', 'site')
        """
        known = replace(self, levels={name: tuple(some) for name, some in levels.items()})
        families, put = known.families, {}
        for name, members in families.items():
            code = symbol(self.subscripts[name][1])
            put[symbol(name)] = Select(code, *map(symbol, members))
        names = chain.from_iterable(families.get(name, (name,)) for name in self.names)
        return replace(
            known,
            expression=self.expression.xreplace(put),
            names=tuple(dict.fromkeys((*names, *known.levels))),
        )

    def with_columns(self, columns: Collection[str]) -> Formula:
        """Return the same formula; a function that it calls knows which arguments are columns."""
        external = external_in(self.expression)
        if external is None:
            return self
        own = external.with_columns([k for k, name in enumerate(self.names) if name in columns])
        return replace(self, expression=own.symbol()(*map(symbol, self.names)))


@lru_cache(maxsize=256)
def ordered_names(expression: Expr) -> tuple[str, ...]:
    """Return the names in ``expression``, sorted."""
    return tuple(sorted(s.name for s in expression.free_symbols))


@lru_cache(maxsize=1024)
def derivative(expression: Expr, name: str) -> Expr:
    """Return the partial derivative of ``expression`` with respect to ``name``.

    Examples
    --------
    >>> from sgdfit.formula.reading import as_formula
    >>> derivative(as_formula("a*x**b").expression, "b")
    a*x**b*log(x)
    """
    return as_real(expression.diff(symbol(name)))


def stable(expression: Expr, parameters: frozenset[Expr] = frozenset()) -> Expr:
    """Return an equal expression that keeps its digits at extreme arguments.

    ``1/(1 + exp(800))`` is 0, yet its derivative is infinity over infinity in floating point.
    Each rule is an identity over all real numbers, so that no domain changes.
    """
    args = tuple(stable(arg, parameters) for arg in expression.args)
    # Built anew, 2*(a - b) would be multiplied out.
    changed = expression if args == expression.args else expression.func(*args)
    if changed.is_Pow and changed.exp.could_extract_minus_sign():
        # (1 + exp(u))**-n is logistic(-u)**n
        u = _exponent(_after_one(changed.base))
        if u is not None:
            return Logistic(-u) ** -changed.exp
    if changed.is_Pow and not changed.exp.free_symbols.isdisjoint(parameters):
        # (1 + v)**n: the sum is rounded, and its rounding counts n times. To a whole power, as in
        # a column, a negative number has a value.
        rest = _after_one(changed.base)
        return changed if rest is None else sympy.exp(changed.exp * log1p(rest))
    if isinstance(changed, sympy.log | log1p):
        # log(1 + exp(u)) is logaddexp(0, u); log(1 + v) is log1p(v)
        rest = _after_one(changed.args[0] + (1 if isinstance(changed, log1p) else 0))
        u = _exponent(rest)
        if u is not None:
            return Logaddexp(sympy.S.Zero, u)
        return changed if rest is None else log1p(rest)
    if changed.is_Mul:
        return _stable_product(changed)
    return _stable_sum(changed) if changed.is_Add else changed


def _exponent(expression: Expr) -> Expr:
    """Return u of exp(u), u*log(10) of 10**u, and None of anything else."""
    if isinstance(expression, sympy.exp):
        return expression.args[0]
    if isinstance(expression, sympy.Pow) and expression.exp.free_symbols:
        base = expression.base
        return expression.exp * sympy.log(base) if base.is_number and base.is_positive else None
    return None


def _after_one(total: Expr) -> Expr:
    """Return v of 1 + v, and None of anything else."""
    one = total.is_Add and total.args[0] in (1, 1.0)
    return sympy.Add(*total.args[1:]) if one else None


def _stable_product(product: Expr) -> Expr:
    """``exp(u)*logistic(-u)`` is ``logistic(u)``, as ``x**h/(x**h + c**h)`` is of logarithms."""
    for part in product.args:
        total = next((1 / f for f in product.args if (1 / f).is_Add and part in (1 / f).args), None)
        if total is not None and part.is_Pow and part.exp.free_symbols and len(total.args) == 2:
            (other,) = (term for term in total.args if term != part)
            if other.is_Pow and other.exp == part.exp:
                u = part.exp * (sympy.log(part.base) - sympy.log(other.base))
                return product * total / part * Logistic(u)
        u = _exponent(part)
        for factor in product.args if u is not None else ():
            base, count = factor.as_base_exp()
            if base == Logistic(-u):
                rest = [f for f in product.args if f not in (part, factor)]
                return sympy.Mul(*rest, Logistic(u), base ** (count - 1))
    return product


def _stable_sum(total: Expr) -> Expr:
    """``logistic(u) - logistic(-u)`` is ``tanh(u/2)``; ``exp(u) - 1`` is ``expm1(u)``."""
    for term in total.args:
        if isinstance(term, Logistic) and -Logistic(-term.args[0]) in total.args:
            rest = [t for t in total.args if t not in (term, -Logistic(-term.args[0]))]
            return stable(sympy.Add(*rest, sympy.tanh(term.args[0] / 2)))
    one = sympy.sign(total.args[0]) if total.args[0] in (1, 1.0, -1, -1.0) else 0
    for term in total.args[1:] if one else ():
        u = _exponent(-one * term)
        if u is not None:
            return sympy.Add(*(t for t in total.args[1:] if t != term), -one * expm1(u))
    return total


def to_text(expression: Expr, order: tuple[str, ...] = ()) -> str:
    """Return text that parses back to ``expression``, its terms in the ``order`` of names."""
    return str(_FormulaPrinter(order).doprint(expression))


class _FormulaPrinter(StrPrinter):  # type: ignore[misc]
    """SymPy's text, with our names of functions and terms in the order they were written."""

    def __init__(self, order: tuple[str, ...]) -> None:
        super().__init__({"full_prec": False})
        self._rank = {name: i for i, name in enumerate(order)}

    def _print_Symbol(self, expr: Expr) -> str:
        """Write a name, in braces where it is no identifier: shells execute backticks."""
        name: str = expr.name
        plain = name.isidentifier() and name == unicodedata.normalize("NFKC", name)
        reserved = name in CONSTANTS or name in {"if", "else", "and", "or", "not"}
        if (plain and not reserved) or SUBSCRIPT.fullmatch(name):
            return name
        braced = not {"{", "}"} & set(name)
        return f"{{{name}}}" if braced else "`" + name.replace("`", "``") + "`"

    def _print_Float(self, expr: Expr) -> str:
        return repr(float(expr))

    def _print_Exp1(self, expr: Expr) -> str:
        return "exp(1)"

    def _print_Function(self, expr: Expr) -> str:
        name = by_class.get(expr.func)
        if isinstance(expr, Call):
            name = "_".join(filter(None, [expr.external.label, expr.subscripts]))
        if name is None:
            raise FormulaError(f"the function {expr.func.__name__!r} has no text form")
        return f"{name}({', '.join(self._print(arg) for arg in expr.args)})"

    def _print_Select(self, expr: Expr) -> str:
        """Write ``a[site]``, or where its values are not named so the choice by its code."""
        code, *values = expr.args
        own = {str(value).partition("[")[0] for value in values}
        if len(own) == 1 and all(v.is_Symbol and SUBSCRIPT.fullmatch(v.name) for v in values):
            return f"{own.pop()}[{code.name}]"
        text = str(self._print(values[-1]))
        for k, value in reversed([*enumerate(values[:-1])]):
            text = f"where({self._print(code)} == {k}, {self._print(value)}, {text})"
        return text

    _print_Abs = _print_Function
    _print_log = _print_Function

    def _print_ExpBase(self, expr: Expr) -> str:
        return f"exp({self._print(expr.exp)})"

    def _print_Pow(self, expr: Expr, rational: bool = False) -> str:
        if expr.exp == sympy.S.Half:
            return f"sqrt({self._print(expr.base)})"
        if expr.exp == -sympy.S.Half:
            return f"1/sqrt({self._print(expr.base)})"
        return str(super()._print_Pow(expr, rational=rational))

    def _print_Relational(self, expr: Expr) -> str:
        left, right = (self.parenthesize(e, PRECEDENCE["Relational"]) for e in expr.args)
        return f"{left} {expr.rel_op} {right}"

    def _print_And(self, expr: Expr) -> str:
        word = f" {expr.func.__name__.lower()} "
        return word.join(f"({self._print(arg)})" for arg in sorted(expr.args, key=str))

    _print_Or = _print_And

    def _print_Not(self, expr: Expr) -> str:
        return f"not ({self._print(expr.args[0])})"

    def _as_ordered_terms(self, expr: Expr, order: Any = None) -> list[Expr]:
        def earliest(term: Expr) -> int:
            ranks = [self._rank.get(s.name, len(self._rank)) for s in term.free_symbols]
            return min(ranks, default=len(self._rank))

        # A stable sort: SymPy's order stays where names do not decide.
        terms = sorted(super()._as_ordered_terms(expr, order=order), key=earliest)
        # 1 - exp(-x), not -exp(-x) + 1
        lead = next((i for i, t in enumerate(terms) if not t.as_coeff_Mul()[0].is_negative), 0)
        return [terms.pop(lead), *terms]
