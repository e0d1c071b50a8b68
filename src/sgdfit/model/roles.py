"""What a parameter is in the data's own scale: a position, a width, a rate, an exponent or a size.

Multiplying a column by a constant multiplies the parameters by powers of it; which powers follows
from the expression as dimensions do in physics: what is added has one dimension, what stands in
a function or in an exponent has none. A search in these units finds the same curve in any units.
A number that multiplies counts like a column of that size: of ``exp(-x*s/1.6e-16)`` the argument is
about 1, so that s is about 1.6e-16 over the size of x.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import sympy

from sgdfit.formula import real
from sgdfit.formula.formula import symbol
from sgdfit.formula.real import Absolute, Cbrt, Ceil, Floor, Maximum, Minimum, Sign, Voigt, Where
from sgdfit.model.separation import WAVES

Expr = Any  # SymPy ships no types
Kind = Literal["position", "pole", "length", "period", "frequency", "rate", "phase", "intercept",
               "exponent", "magnitude"]  # fmt: skip
Powers = dict[str, Fraction]

# What the response's scale and a factor of ten are called; no column has these names. SPAN before
# the name of a column is its range over its size.
RESPONSE, TEN, SPAN = "(response)", "(ten)", "(span)"

# Functions that, as the logarithm, are singular at 0.
SINGULAR = [real.SPECIAL[n] for n in ["gamma", "lgamma", "digamma", "beta", "y0", "y1", "k0", "k1"]]


class Role(NamedTuple):
    """What one parameter is: how to draw it, and in what units."""

    kind: Kind
    variable: str | None  # whose scale it has, where that is the scale of one column
    # The power of each column's scale (and of `RESPONSE`'s) that it is measured in.
    powers: tuple[tuple[str, Fraction], ...]
    factor: float = 1.0  # times what the numbers in the formula make of it
    # The same of each column's range over its size: of (x - m)/m, where x is far from 0.
    spans: tuple[tuple[str, Fraction], ...] = ()


@lru_cache(maxsize=256)
def roles_of(
    prediction: Expr, parameters: tuple[str, ...], variables: tuple[str, ...]
) -> dict[str, Role]:
    """Return the `Role` of each of the ``parameters``, also by `derived_columns`.

    Examples
    --------
    >>> from sgdfit.formula.reading import as_formula
    >>> peak = as_formula("a*exp(-(x - m)**2/s**2) + exp(-k*x)*cos(w*x + p)").expression
    >>> roles = roles_of(peak, ("a", "m", "s", "k", "w", "p"), ("x",))
    >>> [(name, role.kind) for name, role in roles.items()]
    [('a', 'magnitude'), ('m', 'position'), ('s', 'length'), ('k', 'rate'), ('w', 'frequency'),
     ('p', 'phase')]
    """
    prediction, derived = derived_columns(prediction, variables)
    variables = (*variables, *derived)
    unknown: dict[str, Powers] = {name: {f"?{name}": Fraction(1)} for name in parameters}
    known: dict[str, Powers] = {column: {column: Fraction(1)} for column in variables}
    system = _Dimensions(known | unknown)
    for own in map(symbol, parameters):
        # N**(1 - exp(-k*x)) has the size of N where the exponent, which holds no column, is 1.
        exponent = prediction.exp if prediction.is_Pow and prediction.base == own else None
        if isinstance(prediction, sympy.exp):
            exponent = sympy.expand_mul(prediction.args[0]).coeff(sympy.log(own))
        if exponent and not exponent.is_number and not system.reduced(system.of(exponent)):
            system.equal(unknown[own.name], {RESPONSE: Fraction(1)})
    system.equal(system.of(prediction), {RESPONSE: Fraction(1)})
    return {name: _role(prediction, name, system.solved(name), variables) for name in parameters}


@lru_cache(maxsize=256)
def derived_columns(prediction: Expr, variables: tuple[str, ...]) -> tuple[Expr, dict[str, Expr]]:
    """Return a prediction in terms of what it makes of the data alone, and what that is.

    These are columns of their own: the place of a peak in ``x - 2440000`` lies in the range of
    that, the rate in ``exp(-b*log(x))`` counts in one over the range of ``log(x)``.

    Examples
    --------
    >>> from sgdfit.formula.reading import as_formula
    >>> transit = as_formula("exp(-(t - 2440000 - m)**2/s**2)").expression
    >>> derived_columns(transit, ("t",))[1]
    {'t - 2440000': t - 2440000}
    """
    data, found = {symbol(name) for name in variables}, dict[str, Expr]()

    def column(part: Expr) -> Expr:
        found[str(part)] = part
        return symbol(str(part))

    def of(part: Expr) -> Expr:
        own = part.free_symbols
        if part.is_Symbol or not own:
            return part
        monomial = part.is_Mul or (part.is_Pow and part.exp.is_number)
        if own <= data and not monomial:
            return column(part)
        if not part.is_Add:
            return part.func(*map(of, part.args))
        known = sympy.Add(*(term for term in part.args if term.free_symbols <= data))
        rest = [of(term) for term in part.args if not term.free_symbols <= data]
        return sympy.Add(column(known) if known.is_Add else of(known), *rest)

    return of(prediction), found


def _role(prediction: Expr, name: str, powers: Powers, variables: tuple[str, ...]) -> Role:
    factor = 10.0 ** float(powers.pop(TEN, 0))
    ratios = [key for key in powers if key.startswith(SPAN)]
    spans = tuple((key[len(SPAN) :], powers.pop(key)) for key in ratios)
    owner = next(iter(powers), None)
    single = owner if len(powers) == 1 and owner in variables and abs(powers[owner]) == 1 else None
    own, units = symbol(name), tuple(powers.items())
    waves = any(part.has(own) for part in prediction.atoms(*WAVES))
    shift = _shift(prediction, own, variables)
    kind: Kind
    if single is not None and waves:
        kind = "period" if powers[single] == 1 else "frequency"
    elif single is not None and powers[single] < 0:
        kind = "rate"
    elif single is not None:
        place: Kind = "pole" if _keeps_its_sign(prediction, own) else "position"
        kind = place if shift else "length"
        factor *= shift or 1
    elif powers:
        kind = "magnitude"
    elif shift:
        whole = any(part.has(own) for part in prediction.atoms(Floor, Ceil))
        kind = "phase" if waves or whole else "intercept"
    else:
        raises = any(own in power.exp.free_symbols for power in prediction.atoms(sympy.Pow))
        kind = "exponent" if raises else "magnitude"
    return Role(kind, single, units, factor, () if single else spans)


def _shift(prediction: Expr, own: Expr, variables: Iterable[str]) -> int:
    """Return whether ``own`` is a term of a sum beside a variable: 1 as in (x - m), -1 in (x + m).

    0: it is not. The other terms may not hold the parameter itself; what is compared (x < k) is a
    difference.
    """
    data = {symbol(name) for name in variables}
    compared = prediction.atoms(sympy.core.relational.Relational, Maximum, Minimum)
    sums = prediction.atoms(sympy.Add) | {part.args[0] - part.args[1] for part in compared}
    signs = set()
    for total in sums:
        factor = total.coeff(own)
        rest = total - factor * own
        seen = [term for term in rest.as_ordered_terms() if not data.isdisjoint(term.free_symbols)]
        if factor.is_number and factor != 0 and own not in rest.free_symbols and seen:
            signs.add(-1 if factor * seen[0].as_coeff_Mul()[0] > 0 else 1)
    return max(signs, default=0)


def _keeps_its_sign(prediction: Expr, own: Expr) -> bool:
    """Whether a sum with the term ``own`` may not be 0, as in 1/(x + k) and log(x - k)."""
    logarithms = prediction.atoms(sympy.log, *SINGULAR)
    parts = [f for part in logarithms for arg in part.args for f in sympy.Mul.make_args(arg)]
    for power in prediction.atoms(sympy.Pow):
        parts += [power.base] if power.exp.is_negative or not power.exp.is_integer else []
    return any(part.is_Add and part.coeff(own).is_number and part.coeff(own) != 0 for part in parts)


class _Dimensions:
    """Linear equations between dimensions, each solved for an unknown that those before leave.

    A condition that contradicts those before it (as ``log(x)`` does, of a column with a scale) is
    passed over: the formula is not closed under that change of units.
    """

    def __init__(self, known: Mapping[str, Powers]) -> None:
        self.known, self.rows, self.fresh = known, dict[str, Powers](), 0

    def equal(self, left: Powers, right: Powers) -> None:
        """Demand that two dimensions agree, unless what was demanded before forbids it."""
        rest = self.reduced(_combined(left, right, Fraction(-1)))
        pivot = next((key for key in rest if key.startswith("?")), None)
        if pivot is not None:
            share = rest.pop(pivot)
            self.rows[pivot] = {key: -value / share for key, value in rest.items()}

    def reduced(self, form: Powers) -> Powers:
        """Return a dimension without the unknowns that are determined."""
        while (key := next((key for key in form if key in self.rows), None)) is not None:
            rest = {other: value for other, value in form.items() if other != key}
            form = _combined(rest, self.rows[key], form[key])
        return form

    def solved(self, name: str) -> Powers:
        """Return the dimension of a parameter; unknowns that nothing determines count as none."""
        form = self.reduced({f"?{name}": Fraction(1)})
        return {key: power for key, power in form.items() if not key.startswith("?")}

    def of(self, expression: Expr) -> Powers:
        """Return the dimension of ``expression``, demanding what its parts demand."""
        if expression.is_Symbol:
            return self.known.get(expression.name, {})
        if expression.is_number:
            size = abs(complex(expression))
            ten = Fraction(math.log10(size)) if 0 < size < math.inf else Fraction(0)
            return {TEN: ten.limit_denominator(1000)} if ten else {}
        if not expression.args:
            return {}
        if expression.is_Pow or isinstance(expression, Cbrt):
            return self._power(expression)
        # A small number that is added, as in 1e-9 + x, tells of no size.
        parts = [a for a in expression.args if a != 0]
        plain = not expression.is_Mul
        inner = [{} if plain and a.is_number and abs(a) < 1 else self.of(a) for a in parts]
        if expression.is_Mul:
            total: Powers = {}
            for form in inner:
                total = _combined(total, form, Fraction(1))
            return total
        keeps = expression.is_Add or isinstance(expression, Absolute | Maximum | Minimum | Where)
        compares = isinstance(expression, sympy.core.relational.Relational | sympy.atan2)
        if isinstance(expression, Where):
            inner = inner[1:]
        if type(expression) is Sign:
            return {}
        if isinstance(expression, Voigt):  # three of one dimension, to an area of none
            for form in inner[1:]:
                self.equal(inner[0], form)
            return _combined({}, inner[0], Fraction(-1))
        # What is added or compared is alike; what stands in any other function has no dimension.
        first = inner[0] if inner and (keeps or compares) else {}
        for form in inner:
            self.equal(first, form)
        difference = self._difference(expression) if expression.is_Add else {}
        return _combined(first, difference, Fraction(1)) if keeps else {}

    def _difference(self, total: Expr) -> Powers:
        """Return that a sum spans the range of a column, if a parameter is taken from that."""
        terms = [term.as_coeff_Mul() for term in total.args]
        signs = {rest.name: factor for factor, rest in terms if rest.is_Symbol}
        known = [name for name in signs if name in self.known.get(name, {})]
        own = [name for name in signs if name not in known]
        if len(known) == 1 and any(signs[name] * signs[known[0]] < 0 for name in own):
            return {f"{SPAN}{known[0]}": Fraction(1)}
        return {}

    def _power(self, power: Expr) -> Powers:
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


def _combined(left: Powers, right: Powers, factor: Fraction) -> Powers:
    total = dict(left)
    for key, value in right.items():
        total[key] = total.get(key, Fraction(0)) + factor * value
    return {key: value for key, value in total.items() if value}
