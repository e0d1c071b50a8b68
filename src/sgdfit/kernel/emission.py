"""SymPy expressions to source text, common subexpressions shared.

The text holds generated names alone (``x0``, ``p1``, ``s_2``), so nothing that a user wrote ever
reaches the compiler. There are three dialects: "numpy" computes whole columns, "fast" and "libm"
one row at a time in compiled code. "fast" calls `sgdfit.kernel.elementary`, which stays in vector
registers; "libm" calls the library of C, which knows the value for every argument.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

import sympy
from sympy.core.relational import Relational

from sgdfit.formula.functions import FUNCTIONS, by_class
from sgdfit.model.loss import PREDICTION, TARGET
from sgdfit.model.model import Model

Expr = Any  # SymPy ships no types
Dialect = Literal["numpy", "fast", "libm"]

# Beyond this a power by multiplication is neither faster nor more accurate than pow.
LARGEST_PRODUCT = 16

# What the table's compiled forms are in the library of C, where ``math`` has no such function.
LIBM = {
    "elementary.power({0}, {1})": "math.pow({0}, {1})",
    "elementary.cbrt({0})": "numpy.cbrt({0})",
    "elementary.logistic({0})": "1.0/(1.0 + math.exp(-({0})))",
    "elementary.logaddexp({0}, {1})": "numpy.logaddexp({0}, {1})",
    "elementary.xlogy({0}, {1})": "(({0})*math.log({1}) if {0} != 0.0 else 0.0)",
}

# How tightly the parts of an expression bind, in Python's order.
ANY, SUM, PRODUCT, POWER, NAME = range(5)


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
    dialect : "numpy", "fast" or "libm"
    prefix : str
        What the names of temporaries begin with.

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
    written = _written(tuple(expressions), tuple(names.items()), tuple(targets), dialect, prefix)
    return list(written)


def emitted(model: Model, dialect: Dialect) -> tuple[list[str], list[str]]:
    """Return the lines that compute prediction, target and Jacobian, and those of the loss.

    Columns are named ``x0``, … and free parameters ``p0``, …; the lines assign ``prediction``,
    ``target``, ``j0``, ``j1``, … and then ``loss``, ``slope`` and ``bend``.
    """
    names = {name: f"x{i}" for i, name in enumerate(model.columns)}
    names |= {name: f"p{i}" for i, name in enumerate(model.free)}
    values = [model.prediction, model.formula.response, *model.gradient]
    targets = [PREDICTION, TARGET, *(f"j{i}" for i in range(len(model.free)))]
    loss = [model.loss.expression, model.slope, model.bend]
    own = {PREDICTION: PREDICTION, TARGET: TARGET}
    return (
        emit(values, names, targets, dialect),
        emit(loss, own, ["loss", "slope", "bend"], dialect, prefix="r"),
    )


@lru_cache(maxsize=256)
def _written(
    expressions: tuple[Expr, ...],
    names: tuple[tuple[str, str], ...],
    targets: tuple[str, ...],
    dialect: Dialect,
    prefix: str,
) -> tuple[str, ...]:
    shared, reduced = sympy.cse(
        list(expressions), symbols=sympy.numbered_symbols(f"{prefix}_", real=True), order="none"
    )
    emitter = Emitter(dict(names), dialect, prefix)
    for temporary, expression in shared:
        emitter.assign(temporary.name, expression)
        emitter.names[temporary.name] = temporary.name
    for target, expression in zip(targets, reduced, strict=True):
        emitter.assign(target, expression)
    return tuple(emitter.lines)


class Emitter:
    """Prints one expression after another; integer powers become products of temporaries."""

    def __init__(self, names: dict[str, str], dialect: Dialect, prefix: str) -> None:
        self.names, self.dialect, self.prefix = names, dialect, prefix
        self.lines: list[str] = []
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
        function = FUNCTIONS[by_class[expression.func]]
        form = self._spelled(function.numpy if self.dialect == "numpy" else function.compiled)
        text = form.format(*map(self.text, expression.args))
        plain = re.fullmatch(r"[\w.]*\(.*\)", form) is not None
        return text, NAME if plain else PRODUCT

    def _spelled(self, form: str) -> str:
        if self.dialect != "libm":
            return form
        return LIBM.get(form) or form.replace("elementary.", "math.")

    def _sum(self, terms: Iterable[Expr]) -> str:
        # A positive term first, numbers after names: 1 - x, not -x + 1.
        def rank(term: Expr) -> tuple[bool, bool]:
            return term.could_extract_minus_sign(), bool(term.is_number)

        ordered = sorted(terms, key=rank)
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
        if self.dialect != "numpy":
            if (
                exponent.is_number
                and float(2 * exponent).is_integer()
                and abs(exponent) < LARGEST_PRODUCT
            ):
                held = self._held(base)
                text = f"{self._repeated(held, int(abs(exponent)))}*{root}({held})"
                return (text if exponent > 0 else f"1.0/({text})"), PRODUCT
            power = self._spelled("elementary.power({0}, {1})")
            return power.format(self.text(base), self.text(exponent)), NAME
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
        words = ("&", "|") if self.dialect == "numpy" else ("and", "or")
        return f" {words[0] if isinstance(expression, sympy.And) else words[1]} ".join(parts)


def _literal(number: Expr) -> tuple[str, int]:
    """Return a number as Python reads it back exactly; a negative one binds as a product does."""
    if not (number.is_comparable and number.is_finite):
        raise ValueError(f"{number} is no finite real number")
    return repr(float(number)), NAME if number >= 0 else PRODUCT
