"""What a parameter is in the data's own scale: a position, a width, a rate, an exponent or a size.

Multiplying a column by a constant multiplies the parameters by powers of it; which powers follows
from the expression as dimensions do in physics: what is added has one dimension, what stands in
a function or in an exponent has none. A search in these units finds the same curve in any units.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache, reduce
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
# Functions that keep the dimension of their arguments, and those that lose it.
_KEEPING = (Absolute, Maximum, Minimum)
_LOSING = (Sign, Floor, Ceil)


class Role(NamedTuple):
    """What one parameter is: how to draw it, and in what units."""

    kind: Kind
    variable: str | None  # whose scale it has, where that is the scale of one column
    # The power of each column's scale (and of `RESPONSE`'s) that it is measured in.
    powers: tuple[tuple[str, Fraction], ...]
    zero: Expr | None = None  # of a position and an intercept: what makes the sum 0 that it is in
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
    powers = dimensions(prediction, parameters, variables)
    return {name: _role(prediction, name, powers[name], variables) for name in parameters}


def _role(
    prediction: Expr, name: str, powers: dict[str, Fraction], variables: tuple[str, ...]
) -> Role:
    owner = next(iter(powers), None)
    single = owner if len(powers) == 1 and owner in variables and abs(powers[owner]) == 1 else None
    own = symbol(name)
    waves = [part.args[0] for part in prediction.atoms(*_PERIODIC) if part.has(own)]
    zero = _zero(prediction, own, variables)
    units = tuple(powers.items())
    if single is not None and waves:
        kind: Kind = "period" if powers[single] == 1 else "frequency"
        return Role(kind, single, units, None, _turns(waves[0], own, symbol(single)))
    if single is not None:
        length: Kind = "length" if zero is None else "position"
        return Role("rate" if powers[single] < 0 else length, single, units, zero)
    if powers:
        return Role("magnitude", None, units)
    if zero is not None:
        return Role("phase" if waves else "intercept", None, (), zero)
    raises = any(own in power.exp.free_symbols for power in prediction.atoms(sympy.Pow))
    return Role("exponent" if raises else "magnitude", None, ())


def _zero(prediction: Expr, own: Expr, variables: Iterable[str]) -> Expr | None:
    """Return the value of ``own`` that makes the sum 0 that it is a term of, as x of (x - m).

    A sum counts where its other terms hold a variable and do not hold the parameter itself; what
    is compared (x < k) counts as a difference.
    """
    data = {symbol(name) for name in variables}
    compared = prediction.atoms(sympy.core.relational.Relational, Maximum, Minimum)
    sums = prediction.atoms(sympy.Add) | {part.args[0] - part.args[1] for part in compared}
    for total in sorted(sums, key=lambda part: (part.count_ops(), str(part))):
        factor = total.coeff(own)
        rest = total - factor * own
        seen = rest.free_symbols
        if factor.is_number and factor != 0 and not (own in seen or data.isdisjoint(seen)):
            return -rest / factor
    return None


def _turns(argument: Expr, own: Expr, variable: Expr) -> float:
    """Return the turns of the wave at ``own`` = ``variable`` = 1, where they are a number."""
    turns = (argument.diff(variable) / (2 * sympy.pi)).xreplace({own: sympy.S.One})
    return abs(float(turns)) or 1.0 if turns.is_number and turns.is_finite else 1 / (2 * math.pi)


def dimensions(
    prediction: Expr, parameters: Sequence[str], variables: Sequence[str]
) -> dict[str, dict[str, Fraction]]:
    """Return, for each parameter, the powers of the columns' scales that it is measured in.

    A condition that contradicts those before it (as ``log(x)`` does, of a column with a scale) is
    passed over: the formula is not closed under that change of units.

    Examples
    --------
    >>> from sgdfit.formula.reading import as_formula
    >>> ratio = as_formula("exp(-b*x)/(c + d*x)").expression
    >>> powers = dimensions(ratio, ("b", "c", "d"), ("x",))
    >>> {name: {column: int(power) for column, power in p.items()} for name, p in powers.items()}
    {'b': {'x': -1}, 'c': {'(response)': -1}, 'd': {'(response)': -1, 'x': -1}}
    """
    unknown: dict[str, Form] = {name: {f"?{name}": Fraction(1)} for name in parameters}
    known: dict[str, Form] = {column: {column: Fraction(1)} for column in variables}
    system = _System(known | unknown)
    system.equal(system.dimension(prediction), {RESPONSE: Fraction(1)})
    return {name: system.solved(f"?{name}") for name in parameters}


class _System:
    """Linear equations between dimensions, each solved for an unknown that those before leave."""

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

    def solved(self, unknown: str) -> Form:
        """Return what an unknown is; those that nothing determines count as none."""
        form = self.reduced({unknown: Fraction(1)})
        return {key: power for key, power in form.items() if not key.startswith("?")}

    def dimension(self, expression: Expr) -> Form:
        """Return the dimension of ``expression``, demanding what its parts demand."""
        if expression.is_Symbol:
            return self.known.get(expression.name, {})
        if expression.is_number or not expression.args:
            return {}
        if isinstance(expression, Where):
            self.dimension(expression.args[0])
            return self._alike(expression.args[1:])
        if expression.is_Add or isinstance(expression, _KEEPING):
            return self._alike(expression.args)
        if expression.is_Mul:
            forms = map(self.dimension, expression.args)
            return reduce(lambda total, form: _combined(total, form, Fraction(1)), forms)
        if expression.is_Pow or isinstance(expression, Cbrt):
            return self._power(expression)
        return self._call(expression)

    def _alike(self, terms: Iterable[Expr]) -> Form:
        first, *others = (self.dimension(term) for term in terms if term != 0)
        for other in others:
            self.equal(first, other)
        return first

    def _power(self, power: Expr) -> Form:
        base, exponent = power.args if power.is_Pow else (power.args[0], sympy.Rational(1, 3))
        inner = self.dimension(base)
        if exponent.is_Rational or exponent.is_Float:
            count = Fraction(str(exponent)).limit_denominator(1000)
            return {key: value * count for key, value in inner.items()}
        self.equal(self.dimension(exponent), {})
        if not self.reduced(inner):
            return {}
        # x**b is measured in what no column is: whatever multiplies it takes that up.
        self.fresh += 1
        return {f"?{self.fresh}": Fraction(1)}

    def _call(self, call: Expr) -> Form:
        inner = [self.dimension(argument) for argument in call.args]
        relation = isinstance(call, sympy.core.relational.Relational | sympy.atan2)
        if relation and len(inner) == 2:
            self.equal(inner[0], inner[1])
        elif not isinstance(call, _LOSING):
            for form in inner:
                self.equal(form, {})
        return {}


def _combined(left: Form, right: Form, factor: Fraction) -> Form:
    total = dict(left)
    for key, value in right.items():
        total[key] = total.get(key, Fraction(0)) + factor * value
    return {key: value for key, value in total.items() if value}
