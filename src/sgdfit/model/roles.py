"""What a parameter is in the data's own scale: a position, a width, a rate, an exponent or a size.

Multiplying a column by a constant multiplies the parameters by powers of it; which powers follows
from the expression as dimensions do in physics: what is added has one dimension, what stands in
a function or in an exponent has none. A search in these units finds the same curve in any units.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import sympy

from sgdfit.formula.formula import symbol
from sgdfit.formula.real import Absolute, Cbrt, Ceil, Floor, Maximum, Minimum, Sign, Where

Expr = Any  # SymPy ships no types
Kind = Literal["position", "length", "period", "frequency", "rate", "phase", "intercept",
               "exponent", "magnitude"]  # fmt: skip
Form = dict[str, Fraction]

# What the response's scale is called; no column has this name.
RESPONSE = "(response)"

_PERIODIC = (sympy.sin, sympy.cos, sympy.tan, sympy.cot)


class Role(NamedTuple):
    """What one parameter is: how to draw it, and in what units."""

    kind: Kind
    variable: str | None  # whose scale it has, where that is the scale of one column
    # The power of each column's scale (and of `RESPONSE`'s) that it is measured in.
    powers: tuple[tuple[str, Fraction], ...]
    turns: float = 1.0  # of a frequency and a period: turns a unit of argument; 1 for sin(2π·f·x)


@lru_cache(maxsize=256)
def roles_of(
    prediction: Expr, parameters: tuple[str, ...], variables: tuple[str, ...]
) -> dict[str, Role]:
    """Return the `Role` of each of the ``parameters``.

    Examples
    --------
    >>> from sgdfit.formula.reading import as_formula
    >>> peak = as_formula("a*exp(-(x - m)**2/s**2) + exp(-k*x)*cos(w*x + p)").expression
    >>> roles = roles_of(peak, ("a", "m", "s", "k", "w", "p"), ("x",))
    >>> [(name, role.kind) for name, role in roles.items()]
    [('a', 'magnitude'), ('m', 'position'), ('s', 'length'), ('k', 'rate'), ('w', 'frequency'),
     ('p', 'phase')]
    """
    unknown: dict[str, Form] = {name: {f"?{name}": Fraction(1)} for name in parameters}
    known: dict[str, Form] = {column: {column: Fraction(1)} for column in variables}
    system = _Dimensions(known | unknown)
    system.equal(system.of(prediction), {RESPONSE: Fraction(1)})
    return {name: _role(prediction, name, system.solved(name), variables) for name in parameters}


def _role(prediction: Expr, name: str, powers: Form, variables: tuple[str, ...]) -> Role:
    owner = next(iter(powers), None)
    single = owner if len(powers) == 1 and owner in variables and abs(powers[owner]) == 1 else None
    own, units = symbol(name), tuple(powers.items())
    waves = [part.args[0] for part in prediction.atoms(*_PERIODIC) if part.has(own)]
    shifts = _shifts(prediction, own, variables)
    if single is not None and waves:
        # The turns of the wave where parameter and variable are 1, where they are a number.
        turns = (waves[0].diff(symbol(single)) / (2 * sympy.pi)).xreplace({own: sympy.S.One})
        known = turns.is_number and turns.is_finite
        each = abs(float(turns)) or 1.0 if known else 1 / (2 * math.pi)
        return Role("period" if powers[single] == 1 else "frequency", single, units, each)
    if single is not None and powers[single] < 0:
        return Role("rate", single, units)
    if single is not None:
        return Role("position" if shifts else "length", single, units)
    if powers:
        return Role("magnitude", None, units)
    if shifts:
        return Role("phase" if waves else "intercept", None, ())
    raises = any(own in power.exp.free_symbols for power in prediction.atoms(sympy.Pow))
    return Role("exponent" if raises else "magnitude", None, ())


def _shifts(prediction: Expr, own: Expr, variables: Iterable[str]) -> bool:
    """Whether ``own`` is a term of a sum beside a variable, as m in (x - m).

    The other terms may not hold the parameter itself; what is compared (x < k) is a difference.
    """
    data = {symbol(name) for name in variables}
    compared = prediction.atoms(sympy.core.relational.Relational, Maximum, Minimum)
    sums = prediction.atoms(sympy.Add) | {part.args[0] - part.args[1] for part in compared}
    for total in sums:
        factor = total.coeff(own)
        seen = (total - factor * own).free_symbols
        if factor.is_number and factor != 0 and own not in seen and not data.isdisjoint(seen):
            return True
    return False


class _Dimensions:
    """Linear equations between dimensions, each solved for an unknown that those before leave.

    A condition that contradicts those before it (as ``log(x)`` does, of a column with a scale) is
    passed over: the formula is not closed under that change of units.
    """

    def __init__(self, known: Mapping[str, Form]) -> None:
        self.known, self.rows, self.fresh = known, dict[str, Form](), 0

    def equal(self, left: Form, right: Form) -> None:
        """Demand that two dimensions agree, unless what was demanded before forbids it."""
        rest = self.reduced(_combined(left, right, Fraction(-1)))
        pivot = next((key for key in rest if key.startswith("?")), None)
        if pivot is not None:
            share = rest.pop(pivot)
            self.rows[pivot] = {key: -value / share for key, value in rest.items()}

    def reduced(self, form: Form) -> Form:
        """Return a dimension without the unknowns that are determined."""
        while (key := next((key for key in form if key in self.rows), None)) is not None:
            rest = {other: value for other, value in form.items() if other != key}
            form = _combined(rest, self.rows[key], form[key])
        return form

    def solved(self, name: str) -> Form:
        """Return the dimension of a parameter; unknowns that nothing determines count as none."""
        form = self.reduced({f"?{name}": Fraction(1)})
        return {key: power for key, power in form.items() if not key.startswith("?")}

    def of(self, expression: Expr) -> Form:
        """Return the dimension of ``expression``, demanding what its parts demand."""
        if expression.is_Symbol:
            return self.known.get(expression.name, {})
        if expression.is_number or not expression.args:
            return {}
        if expression.is_Pow or isinstance(expression, Cbrt):
            return self._power(expression)
        inner = [self.of(argument) for argument in expression.args if argument != 0]
        if expression.is_Mul:
            total: Form = {}
            for form in inner:
                total = _combined(total, form, Fraction(1))
            return total
        keeps = expression.is_Add or isinstance(expression, Absolute | Maximum | Minimum | Where)
        compares = isinstance(expression, sympy.core.relational.Relational | sympy.atan2)
        if isinstance(expression, Where):
            inner = inner[1:]
        if isinstance(expression, Sign | Floor | Ceil):
            return {}
        # What is added or compared is alike; what stands in any other function has no dimension.
        first = inner[0] if inner and (keeps or compares) else {}
        for form in inner:
            self.equal(first, form)
        return first if keeps else {}

    def _power(self, power: Expr) -> Form:
        base, exponent = power.args if power.is_Pow else (power.args[0], sympy.Rational(1, 3))
        inner = self.of(base)
        if exponent.is_Rational or exponent.is_Float:
            count = Fraction(str(exponent)).limit_denominator(1000)
            return {key: value * count for key, value in inner.items()}
        self.equal(self.of(exponent), {})
        if not self.reduced(inner):
            return {}
        # x**b is measured in what no column is: whatever multiplies it takes that up.
        self.fresh += 1
        return {f"?{self.fresh}": Fraction(1)}


def _combined(left: Form, right: Form, factor: Fraction) -> Form:
    total = dict(left)
    for key, value in right.items():
        total[key] = total.get(key, Fraction(0)) + factor * value
    return {key: value for key, value in total.items() if value}
