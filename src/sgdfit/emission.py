"""SymPy expressions to source text, common subexpressions shared.

The text holds generated names alone (``x0``, ``p1``, ``s2``), so nothing that a user wrote ever
reaches the compiler. The same generator writes NumPy (whole columns) and the compiled form (one
row at a time); the table of functions says how each call is spelled in either.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import sympy
from sympy.core.relational import Relational

from sgdfit.functions import FUNCTIONS, by_class

__all__ = ["Dialect", "Emitter", "emit"]

Expr = Any  # SymPy ships no types
Dialect = Literal["numpy", "compiled"]

# Beyond this a power by multiplication is neither faster nor more accurate than pow.
LARGEST_PRODUCT = 16


def emit(
    expressions: Sequence[Expr],
    names: Mapping[str, str],
    targets: Sequence[str],
    dialect: Dialect,
    prefix: str = "s",
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

    Examples
    --------
    >>> from sgdfit.formula import as_formula
    >>> e = as_formula("a*exp(-b*x)").expression
    >>> emit([e], {"a": "p0", "b": "p1", "x": "x0"}, ["f"], "numpy")
    ['f = p0*numpy.exp(-p1*x0)']
    """
    shared, reduced = sympy.cse(
        list(expressions), symbols=sympy.numbered_symbols(f"{prefix}_", real=True), order="none"
    )
    emitter = Emitter(dict(names), dialect, prefix)
    for temporary, expression in shared:
        emitter.assign(temporary.name, expression)
        emitter.names[temporary.name] = temporary.name
    for target, expression in zip(targets, reduced, strict=True):
        emitter.assign(target, expression)
    return emitter.lines


class Emitter:
    """Prints one expression after another; integer powers become products of temporaries."""

    def __init__(self, names: dict[str, str], dialect: Dialect, prefix: str) -> None:
        self.names, self.dialect, self.prefix = names, dialect, prefix
        self.lines: list[str] = []
        self._powers: dict[tuple[str, int], str] = {}

    def assign(self, target: str, expression: Expr) -> None:
        """Append the lines that compute ``expression`` into ``target``."""
        self.lines.append(f"{target} = {_bare(self.text(expression))}")

    def text(self, expression: Expr) -> str:
        """Return the source of ``expression``: a name, a number, a call or bracketed text."""
        if expression.is_Symbol:
            return self.names[expression.name]
        if expression.is_number and expression.is_comparable:
            return _literal(expression)
        if expression.is_Add:
            return self._sum(expression.args)
        if expression.is_Mul:
            return self._product(expression)
        if expression.is_Pow:
            return self._power(expression.base, expression.exp)
        if isinstance(expression, Relational):
            left, right = map(self.text, expression.args)
            return f"({left} {expression.rel_op} {right})"
        if isinstance(expression, sympy.And | sympy.Or | sympy.Not):
            return self._logic(expression)
        if expression in (sympy.true, sympy.false):
            return str(bool(expression))
        form = FUNCTIONS[by_class[expression.func]]
        return getattr(form, self.dialect).format(*map(self.text, expression.args))  # type: ignore[no-any-return]

    def _sum(self, terms: Iterable[Expr]) -> str:
        # A positive term first, numbers after names: 1 - x, not -x + 1.
        ordered = sorted(terms, key=lambda t: (t.could_extract_minus_sign(), bool(t.is_number)))
        text = ""
        for term in ordered:
            negative = bool(text) and term.could_extract_minus_sign() and not term.is_Add
            piece = self.text(-term if negative else term)
            text += f" {'-' if negative else '+'} {piece}" if text else piece
        return f"({text})"

    def _product(self, product: Expr) -> str:
        number, rest = product.as_coeff_Mul()
        over, under = [], []
        for factor in sympy.Mul.make_args(rest):
            inverse = factor.is_Pow and factor.exp.is_number and factor.exp.is_negative
            (under if inverse else over).append(1 / factor if inverse else factor)
        numerator, denominator = number.as_numer_denom() if number.is_Rational else (number, 1)
        sign = "-" if numerator < 0 else ""
        top = [self.text(factor) for factor in over]
        if abs(numerator) != 1 or not top:
            top.insert(0, _literal(abs(numerator)))
        bottom = [self.text(factor) for factor in under]
        if denominator != 1:
            bottom.insert(0, _literal(denominator))
        text = sign + "*".join(top)
        if bottom:
            divisor = "*".join(bottom)
            text += f"/({divisor})" if len(bottom) > 1 else f"/{divisor}"
        return f"({text})" if sign or bottom else text if len(top) == 1 else f"({text})"

    def _power(self, base: Expr, exponent: Expr) -> str:
        whole = exponent.is_number and float(exponent).is_integer()
        if whole and 0 < abs(int(exponent)) <= LARGEST_PRODUCT:
            product = self._repeated(self._atom(base), abs(int(exponent)))
            return product if exponent > 0 else f"(1.0/{product})"
        root = "numpy.sqrt" if self.dialect == "numpy" else "math.sqrt"
        if exponent in (sympy.S.Half, 0.5):
            return f"{root}({self.text(base)})"
        if exponent in (-sympy.S.Half, -0.5):
            return f"(1.0/{root}({self.text(base)}))"
        return f"({self.text(base)}**{self.text(exponent)})"

    def _atom(self, expression: Expr) -> str:
        """Return a name that holds ``expression``, so that it can be used twice."""
        text = self.text(expression)
        return text if text.isidentifier() else self._named(text)

    def _named(self, text: str) -> str:
        name = f"{self.prefix}t{len(self.lines)}"
        self.lines.append(f"{name} = {_bare(text)}")
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
        parts = [self.text(arg) for arg in expression.args]
        if isinstance(expression, sympy.Not):
            return f"(~{parts[0]})" if self.dialect == "numpy" else f"(not {parts[0]})"
        words = {"numpy": ("&", "|"), "compiled": ("and", "or")}[self.dialect]
        word = words[0] if isinstance(expression, sympy.And) else words[1]
        return "(" + f" {word} ".join(parts) + ")"


def _literal(number: Expr) -> str:
    return f"({float(number)!r})" if number < 0 else repr(float(number))


def _bare(text: str) -> str:
    """Drop a pair of brackets around the whole of ``text``."""
    depth = 0
    for index, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0 and index < len(text) - 1:
            return text
    return text[1:-1] if text.startswith("(") and text.endswith(")") else text
