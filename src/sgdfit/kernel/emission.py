"""SymPy expressions to source text, common subexpressions shared.

The text holds generated names alone (``x0``, ``p1``, ``s_2``), so nothing that a user wrote ever
reaches the compiler. The same generator writes NumPy (whole columns) and the compiled form (one
row at a time); the table of functions says how each call is spelled in either.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

import sympy
from sympy.core.relational import Relational

from sgdfit.formula.functions import FUNCTIONS, by_class

__all__ = ["Dialect", "Emitter", "emit"]

Expr = Any  # SymPy ships no types
Dialect = Literal["numpy", "compiled"]

# Beyond this a power by multiplication is neither faster nor more accurate than pow.
LARGEST_PRODUCT = 16

# Where time is that of waiting, a longer sum is the sum of two that do not wait for each other.
LONGEST_CHAIN = 4

# How tightly the parts of an expression bind, in Python's order.
ANY, SUM, PRODUCT, POWER, NAME = range(5)


def emit(
    expressions: Sequence[Expr],
    names: Mapping[str, str],
    targets: Sequence[str],
    dialect: Dialect,
    prefix: str = "s",
    late: Iterable[str] = (),
) -> list[str]:
    """Return lines of source that assign each expression to its target.

    Parameters
    ----------
    expressions : sequence of sympy.Expr
        What to compute.
    names : mapping of str to str
        The Python name that holds each symbol.
    targets : sequence of str
        The Python names to assign to.
    dialect : "numpy" or "compiled"
        Which column of the table of functions to use.
    prefix : str
        What the names of temporaries begin with.
    late : iterable of str
        Symbols that are known later than all others. Sums and products begin with what is known
        first, so that little is left to do once these are.

    Raises
    ------
    ValueError
        When an expression holds a number that is not finite and real.

    Examples
    --------
    >>> from sgdfit.formula.formula import as_formula
    >>> e = as_formula("a*exp(-b*x)").expression
    >>> emit([e], {"a": "p0", "b": "p1", "x": "x0"}, ["f"], "numpy")
    ['f = p0*numpy.exp(-p1*x0)']
    """
    written = _written(
        tuple(expressions), tuple(names.items()), tuple(targets), dialect, prefix, tuple(late)
    )
    return list(written)


@lru_cache(maxsize=256)
def _written(
    expressions: tuple[Expr, ...],
    names: tuple[tuple[str, str], ...],
    targets: tuple[str, ...],
    dialect: Dialect,
    prefix: str,
    late: tuple[str, ...],
) -> tuple[str, ...]:
    shared, reduced = sympy.cse(
        list(expressions), symbols=sympy.numbered_symbols(f"{prefix}_", real=True), order="none"
    )
    emitter = Emitter(dict(names), dialect, prefix)
    emitter.waits |= dict.fromkeys(late, 1)
    for temporary, expression in shared:
        emitter.assign(temporary.name, expression)
        emitter.names[temporary.name] = temporary.name
        if late:
            emitter.waits[temporary.name] = emitter.wait(expression)
    for target, expression in zip(targets, reduced, strict=True):
        emitter.assign(target, expression)
    return tuple(emitter.lines)


class Emitter:
    """Prints one expression after another; integer powers become products of temporaries."""

    def __init__(self, names: dict[str, str], dialect: Dialect, prefix: str) -> None:
        self.names, self.dialect, self.prefix = names, dialect, prefix
        self.lines: list[str] = []
        # How many operations each name comes after that is known late, a function for ten.
        self.waits: dict[str, int] = {}
        self._powers: dict[tuple[str, int], str] = {}

    def assign(self, target: str, expression: Expr) -> None:
        """Append the lines that compute ``expression`` into ``target``."""
        text = self.text(expression)
        last = self.lines[-1] if self.lines else ""
        if (text not in self.names.values()) and last.startswith(f"{text} = "):
            # The power was named a moment ago: give it this name instead of a second one.
            self.lines[-1] = target + last.removeprefix(text)
            self._powers = {k: target if v == text else v for k, v in self._powers.items()}
        else:
            self.lines.append(f"{target} = {text}")

    def wait(self, expression: Expr) -> int:
        """Return after how many operations a value is known, 0 where none waits for late names."""
        if not self.waits or not expression.args:
            return self.waits.get(expression.name, 0) if expression.is_Symbol else 0
        longest = max(map(self.wait, expression.args))
        return longest and longest + (10 if expression.is_Function else 1)

    def text(self, expression: Expr, tightness: int = ANY) -> str:
        """Return the source of ``expression``, bracketed where it binds less tightly than asked."""
        text, binds = self._bound(expression)
        return f"({text})" if binds < tightness else text

    def _bound(self, expression: Expr) -> tuple[str, int]:
        """Return the source of ``expression`` and how tightly it binds."""
        if expression.is_Symbol:
            return self.names[expression.name], NAME
        if expression in (sympy.true, sympy.false):
            return str(bool(expression)), NAME
        if expression.is_number and (expression.is_comparable or not expression.is_Function):
            return _literal(expression)
        if expression.is_Add:
            return self._sum(expression.args), SUM
        if expression.is_Mul:
            return self._product(expression), PRODUCT
        if expression.is_Pow:
            return self._power(expression.base, expression.exp)
        if isinstance(expression, Relational):
            left, right = (self.text(arg, SUM) for arg in expression.args)
            return f"{left} {expression.rel_op} {right}", ANY
        if isinstance(expression, sympy.And | sympy.Or | sympy.Not):
            return self._logic(expression), ANY
        return self._call(expression)

    def _call(self, expression: Expr) -> tuple[str, int]:
        form = getattr(FUNCTIONS[by_class[expression.func]], self.dialect)
        text = form.format(*map(self.text, expression.args))
        plain = re.fullmatch(r"[\w.]*\(.*\)", form) is not None
        return text, NAME if plain else PRODUCT

    def _sum(self, terms: Iterable[Expr]) -> str:
        # A positive term first, numbers after names: 1 - x, not -x + 1.
        def rank(term: Expr) -> tuple[int, bool, bool]:
            return self.wait(term), term.could_extract_minus_sign(), bool(term.is_number)

        ordered = sorted(terms, key=rank)
        if self.waits and len(ordered) > LONGEST_CHAIN:
            return f"({self._sum(ordered[0::2])}) + ({self._sum(ordered[1::2])})"
        text = self.text(ordered[0], PRODUCT)
        for term in ordered[1:]:
            negative = term.could_extract_minus_sign() and not term.is_Add
            piece = self.text(-term if negative else term, PRODUCT)
            text += f" {'-' if negative else '+'} {piece}"
        return text

    def _product(self, product: Expr) -> str:
        number, rest = product.as_coeff_Mul()
        over: list[Expr] = []
        under: list[Expr] = []
        for factor in sympy.Mul.make_args(rest):
            inverse = factor.is_Pow and factor.exp.is_number and factor.exp.is_negative
            (under if inverse else over).append(1 / factor if inverse else factor)
        over.sort(key=self.wait)
        numerator, denominator = number.as_numer_denom() if number.is_Rational else (number, 1)
        top = [self.text(factor, PRODUCT if not i else POWER) for i, factor in enumerate(over)]
        bottom = [self.text(factor, POWER) for factor in under]
        if abs(numerator) != 1 or not top:
            top = [_literal(abs(numerator))[0], *(self.text(factor, POWER) for factor in over)]
        if denominator != 1:
            bottom.insert(0, _literal(denominator)[0])
        text = ("-" if numerator < 0 else "") + "*".join(top)
        if not bottom:
            return text
        return f"{text}/{bottom[0]}" if len(bottom) == 1 else f"{text}/({'*'.join(bottom)})"

    def _power(self, base: Expr, exponent: Expr) -> tuple[str, int]:
        root = "numpy.sqrt" if self.dialect == "numpy" else "math.sqrt"
        if exponent.is_number and float(exponent) in (0.5, -0.5):
            text = f"{root}({self.text(base)})"
            return (text, NAME) if exponent > 0 else (f"1.0/{text}", PRODUCT)
        if exponent.is_number and float(exponent).is_integer():
            count = abs(int(exponent))
            if 0 < count <= LARGEST_PRODUCT:
                product = self._repeated(self._held(base), count)
                return (product, NAME) if exponent > 0 else (f"1.0/{product}", PRODUCT)
        if self.dialect == "compiled":
            if (
                exponent.is_number
                and float(2 * exponent).is_integer()
                and abs(exponent) < LARGEST_PRODUCT
            ):
                held = self._held(base)
                text = f"{self._repeated(held, int(abs(exponent)))}*{root}({held})"
                return (text if exponent > 0 else f"1.0/({text})"), PRODUCT
            return f"elementary.power({self.text(base)}, {self.text(exponent)})", NAME
        return f"{self.text(base, NAME)}**{self.text(exponent, POWER)}", POWER

    def _held(self, expression: Expr) -> str:
        """Return a name that holds ``expression``, so that it can be used twice."""
        text = self.text(expression)
        return text if text.isidentifier() else self._named(text)

    def _named(self, text: str) -> str:
        name = f"{self.prefix}t{len(self.lines)}"
        self.lines.append(f"{name} = {text}")
        return name

    def _repeated(self, base: str, count: int) -> str:
        """Return base**count by repeated squaring, each square a name of its own."""
        if count == 1:
            return base
        if (base, count) not in self._powers:
            half = self._repeated(base, count // 2)
            text = f"{half}*{half}" + (f"*{base}" if count % 2 else "")
            self._powers[base, count] = self._named(text)
        return self._powers[base, count]

    def _logic(self, expression: Expr) -> str:
        parts = [self.text(arg, SUM) for arg in expression.args]
        if isinstance(expression, sympy.Not):
            return f"~{parts[0]}" if self.dialect == "numpy" else f"not {parts[0]}"
        words = {"numpy": ("&", "|"), "compiled": ("and", "or")}[self.dialect]
        return f" {words[0] if isinstance(expression, sympy.And) else words[1]} ".join(parts)


def _literal(number: Expr) -> tuple[str, int]:
    """Return a number as Python reads it back exactly; a negative one binds as a product does."""
    if not (number.is_comparable and number.is_finite):
        raise ValueError(f"{number} is no finite real number")
    return repr(float(number)), NAME if number >= 0 else PRODUCT
