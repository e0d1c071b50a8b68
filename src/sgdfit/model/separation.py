"""Which parameters enter a prediction linearly together, and into what parts the rest falls.

For any value of the others, linear parameters are solved exactly: only the nonlinear ones need a
search (Golub and Pereyra, "The differentiation of pseudo-inverses and nonlinear least squares
problems whose variables separate", SIAM J. Numer. Anal. 10 (1973) 413-432). A sum of peaks falls
into one small search a peak.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import sympy

from sgdfit.errors import FormulaError
from sgdfit.formula.formula import derivative, symbol
from sgdfit.formula.real import Absolute, Ceil, Floor, Maximum, Minimum, Sign

Expr = Any  # SymPy ships no types

WAVES = (sympy.sin, sympy.cos, sympy.tan, sympy.cot)
# What is flat between its steps: a slope of 0 does not say that a parameter within has no effect.
STEPS = (sympy.core.relational.Relational, Sign, Floor, Ceil)
# What has a kink where its argument is zero, or its arguments are equal.
KINKS = (Absolute, Maximum, Minimum)


class Component(NamedTuple):
    """Nonlinear parameters that occur together, and the terms that they occur in."""

    names: tuple[str, ...]  # the nonlinear parameters; none for the terms of data alone
    linear: tuple[str, ...]  # the linear parameters that multiply its basis
    basis: tuple[Expr, ...]  # one function of data and ``names`` a linear parameter
    offset: Expr  # what is added without a linear parameter

    @property
    def shape(self) -> tuple[Expr, ...]:
        """Its terms with the parameters numbered: equal for two peaks of the same form."""
        numbered = {
            symbol(name): sympy.Symbol(f"#{i}", real=True) for i, name in enumerate(self.names)
        }
        return tuple(term.xreplace(numbered) for term in (self.offset, *self.basis))

    def is_mirrored(self, name: str) -> bool:
        """Say whether the sign of ``name`` makes no difference, as that of a peak's width.

        A basis function may change its sign with it: its linear parameter takes that up.
        """
        turned = {symbol(name): -symbol(name)}
        return bool(self.offset.xreplace(turned) == self.offset) and all(
            term.xreplace(turned) in (term, -term) for term in self.basis
        )


class Separation(NamedTuple):
    """A prediction, written as offset + Σ linear · basis."""

    linear: tuple[str, ...]
    nonlinear: tuple[str, ...]
    plain: Component  # the terms without nonlinear parameters
    components: tuple[Component, ...]  # the others; no two share a nonlinear parameter


@lru_cache(maxsize=256)
def separate(prediction: Expr, names: tuple[str, ...]) -> Separation:
    """Return the `Separation` of ``prediction`` by its parameters ``names``.

    Every other symbol in it counts as data.

    Examples
    --------
    >>> from sgdfit.formula.reading import as_formula
    >>> peaks = as_formula("c + a*exp(-(x - m)**2) + b*exp(-(x - n)**2)").expression
    >>> parts = separate(peaks, ("c", "a", "m", "b", "n"))
    >>> parts.linear, [part.names for part in parts.components]
    (('c', 'a', 'b'), [('m',), ('n',)])
    """
    slopes = {}
    for name in names:
        try:
            slopes[name] = derivative(prediction, name)
        except FormulaError:  # without a finite slope it is not linear
            slopes[name] = symbol(name)
    linear = linear_set(names, tuple(slopes.values()), stepped_names(prediction))
    others = tuple(name for name in names if name not in linear)
    rest = prediction.xreplace({symbol(name): sympy.S.Zero for name in linear})
    offsets = sympy.Add.make_args(rest)

    def within(term: Expr) -> set[str]:
        return {s.name for s in term.free_symbols}.intersection(others)

    # No term holds names of two groups.
    groups = [{name} for name in others]
    for term in (*(slopes[name] for name in linear), *offsets):
        held = [group for group in groups if group & within(term)]
        if len(held) > 1:
            groups = [*(group for group in groups if group not in held), set[str]().union(*held)]
    groups.sort(key=lambda group: min(map(others.index, group)))

    def component(group: set[str]) -> Component:
        def own(term: Expr) -> bool:
            held = within(term)
            return bool(held & group) if group else not held

        chosen = tuple(name for name in linear if own(slopes[name]))
        basis = tuple(slopes[name] for name in chosen)
        kept = tuple(name for name in others if name in group)
        return Component(kept, chosen, basis, sympy.Add(*filter(own, offsets)))

    return Separation(linear, others, component(set()), tuple(map(component, groups)))


class Harmonic(NamedTuple):
    """An amplitude a and a phase p of a·f(p), where f'' = −κ²f."""

    amplitude: str
    phase: str
    rate: Expr  # κ, a number or of other parameters


@lru_cache(maxsize=256)
def harmonics(prediction: Expr, names: tuple[str, ...]) -> tuple[Expr, tuple[Harmonic, ...]]:
    """Return a prediction that is linear in its phases, and which these are, of the ``names``.

    a·f(p) is A·f(0) + B·f'(0)/κ with A = a cos κp and B = a sin κp, so that a wave of any phase is
    solved exactly. In the prediction returned A bears the name of the amplitude, B of the phase.

    Examples
    --------
    >>> from sgdfit.formula.reading import as_formula
    >>> wave = as_formula("c + a*sin(w*x + p)").expression
    >>> harmonics(wave, ("c", "a", "w", "p"))
    (a*sin(w*x) + c + p*cos(w*x), (Harmonic(amplitude='a', phase='p', rate=1),))
    """
    found = []
    for part in separate(prediction, names).components:
        for amplitude, basis in zip(part.linear, part.basis, strict=True):
            for phase in part.names:
                own, rest = symbol(phase), prediction.xreplace({symbol(amplitude): sympy.S.Zero})
                k, at = -normal_form(basis.diff(own, 2)) / normal_form(basis), {own: sympy.S.Zero}
                others = {symbol(name) for name in part.names if name != phase}
                # Either root will do.
                rate = sympy.powdenest(sympy.sqrt(k), force=True)
                if rate == 0 or rate.has(sympy.I) or rest.has(own) or k.free_symbols - others:
                    continue
                cosine, sine = basis.xreplace(at), (basis.diff(own) / rate).xreplace(at)
                if cosine != 0 and sine != 0:
                    prediction = rest + symbol(amplitude) * cosine + own * sine
                    found.append(Harmonic(amplitude, phase, rate))
                    break
    return prediction, tuple(found)


@lru_cache(maxsize=4096)
def normal_form(expression: Expr) -> Expr:
    """Write equal expressions alike: signs within powers, angles multiplied out."""
    written = {
        power: (-1) ** power.exp * (-power.base) ** power.exp
        for power in expression.atoms(sympy.Pow)
        if power.exp.is_Integer and power.base.could_extract_minus_sign()
    }
    written |= {wave: wave.func(wave.args[0].expand()) for wave in expression.atoms(*WAVES)}
    return expression.xreplace(written)


@lru_cache(maxsize=256)
def linear_set(
    names: tuple[str, ...], gradient: tuple[Expr, ...], stepped: frozenset[str] = frozenset()
) -> tuple[str, ...]:
    """Return parameters in which a prediction is linear together, the others held.

    Two go together where no second derivative links them: an independent set of the graph of
    those links, as large as taking the vertex with the fewest neighbours makes it.

    ``gradient`` is the derivative of the prediction to each of the ``names``; those ``stepped``
    stand within a step (see `stepped_names`), in which nothing is linear.
    """
    within = [{s.name for s in slope.free_symbols} for slope in gradient]
    found = dict(zip(names, within, strict=True))
    alone = [name for name in names if name not in found[name] and name not in stepped]
    graph = {
        name: {other for other in alone if other in found[name] or name in found[other]}
        for name in alone
    }
    chosen = set()
    while graph:
        least = min(graph, key=lambda name: len(graph[name]))
        chosen.add(least)
        gone = {least, *graph[least]}
        graph = {name: near - gone for name, near in graph.items() if name not in gone}
    return tuple(name for name in names if name in chosen)


@lru_cache(maxsize=256)
def stepped_names(prediction: Expr) -> frozenset[str]:
    """Return the names within a comparison, a sign or a rounding of ``prediction``."""
    return frozenset(s.name for part in prediction.atoms(*STEPS) for s in part.free_symbols)


@lru_cache(maxsize=256)
def break_names(prediction: Expr, names: tuple[str, ...]) -> frozenset[str]:
    """Return those of the parameters ``names`` by which a break lies somewhere among the data.

    The loss has a kink or a jump at each row that a break moves across, and as many minima.
    """
    parts = prediction.atoms(*STEPS, *KINKS)
    within = ({symbol.name for symbol in part.free_symbols} for part in parts)
    among = [held for held in within if held.difference(names)]
    return frozenset(names).intersection(set().union(*among))


class Root(NamedTuple):
    """Where a condition changes, as an expression of columns and other parameters."""

    value: Expr
    equal: bool  # whether it holds there alone


@lru_cache(maxsize=256)
def thresholds(prediction: Expr, name: str, smooth: bool = False) -> tuple[Root, ...]:
    """Return the values of ``name`` at which comparisons change sides, or ``smooth`` kinks lie.

    Nothing where one has no simple formula, as of a rounding, which steps at every whole number.

    Examples
    --------
    >>> from sgdfit.formula.reading import as_formula
    >>> thresholds(as_formula("where(2*x < exp(b), p, q)").expression, "b")
    (Root(value=log(2*x), equal=False),)
    """
    own, found = symbol(name), dict[Root, None]()
    for part in prediction.atoms(*STEPS, *(KINKS if smooth else ())):
        if not part.has(own):
            continue
        if isinstance(part, Floor | Ceil):
            return ()
        difference = part.args[0] - part.args[1] if len(part.args) > 1 else part.args[0]
        equal = isinstance(part, sympy.Eq | sympy.Ne)
        for side in sympy.fraction(sympy.together(difference)):
            values = solutions(sympy.expand(side), own, sympy.S.Zero) if side.has(own) else ()
            if values is None:
                return ()
            # exp(b*x) is never 0
            real = (v for v in values if not v.has(sympy.I, sympy.zoo, sympy.oo, -sympy.oo))
            found |= dict.fromkeys(Root(value, equal) for value in real)
    return tuple(found)


def solutions(left: Expr, own: Expr, right: Expr) -> tuple[Expr, ...] | None:
    """Return where ``left`` is ``right``, function by function from without; None: not so found."""
    rest, varying = sympy.collect(left, own).as_independent(own, as_Add=True)
    factor, inner = varying.as_independent(own, as_Add=False)
    right = (right - rest) / factor
    if inner == own:
        return (right,)
    if isinstance(inner, sympy.exp):
        return solutions(inner.args[0], own, sympy.log(right))
    if isinstance(inner, sympy.log):
        return solutions(inner.args[0], own, sympy.exp(right))
    if not inner.is_Pow or not inner.exp.is_Integer:
        return None
    # An even root has two signs, an odd one that of its number.
    even = inner.exp % 2 == 0
    size = (right if even else Absolute(right)) ** (1 / inner.exp)
    found = list[Expr]()
    for sign in (1, -1) if even else (Sign(right),):
        values = solutions(inner.base, own, sign * size)
        if values is None:
            return None
        found += values
    return tuple(found)
