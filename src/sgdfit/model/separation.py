"""Which parameters enter a prediction linearly together, and into what parts the rest falls.

For any value of the others, linear parameters are solved exactly: only the nonlinear ones need a
search (Golub and Pereyra, "The differentiation of pseudo-inverses and nonlinear least squares
problems whose variables separate", SIAM J. Numer. Anal. 10 (1973) 413-432). A sum of peaks falls
into one small search a peak.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import sympy

from sgdfit.errors import FormulaError
from sgdfit.formula.formula import derivative, symbol
from sgdfit.formula.real import Ceil, Floor, Sign

Expr = Any  # SymPy ships no types

# What is flat between its steps: a slope of 0 does not say that a parameter within has no effect.
STEPS = (sympy.core.relational.Relational, Sign, Floor, Ceil)


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
        basis = ((term, term.xreplace(turned)) for term in self.basis)
        return bool(self.offset.xreplace(turned) == self.offset) and all(
            image in (term, -term) for term, image in basis
        )


class Separation(NamedTuple):
    """A prediction, written as offset + Σ linear · basis."""

    linear: tuple[str, ...]
    nonlinear: tuple[str, ...]
    plain: Component  # the terms without nonlinear parameters
    components: tuple[Component, ...]  # the others; no two share a nonlinear parameter

    @property
    def order(self) -> tuple[str, ...]:
        """The linear parameters as the components take them: those of the plain terms first."""
        return sum((part.linear for part in (self.plain, *self.components)), ())


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
    slopes = {name: _slope(prediction, name) for name in names}
    linear = linear_set(names, [slopes[name] for name in names], stepped_names(prediction))
    others = tuple(name for name in names if name not in linear)
    offset = prediction.xreplace({symbol(name): sympy.S.Zero for name in linear})
    offsets = sympy.Add.make_args(offset)

    groups = _groups(others, (*(slopes[name] for name in linear), *offsets))

    def component(group: tuple[str, ...]) -> Component:
        def own(term: Expr) -> bool:
            return _holds(term, group) if group else not _holds(term, others)

        chosen = tuple(name for name in linear if own(slopes[name]))
        basis = tuple(slopes[name] for name in chosen)
        return Component(group, chosen, basis, sympy.Add(*filter(own, offsets)))

    plain, *components = map(component, ((), *groups))
    return Separation(linear, others, plain, tuple(components))


def _holds(term: Expr, names: Collection[str]) -> bool:
    return any(symbol.name in names for symbol in term.free_symbols)


def _slope(prediction: Expr, name: str) -> Expr:
    """Return the derivative to a parameter; without a finite one it is not linear."""
    try:
        return derivative(prediction, name)
    except FormulaError:
        return symbol(name)


def _groups(names: tuple[str, ...], terms: Sequence[Expr]) -> list[tuple[str, ...]]:
    """Return the names in groups such that no term holds names of two groups."""
    groups = [{name} for name in names]
    for term in terms:
        joined = [group for group in groups if _holds(term, group)]
        if len(joined) > 1:
            groups = [*(g for g in groups if g not in joined), set().union(*joined)]
    ordered = [tuple(name for name in names if name in group) for group in groups]
    return sorted(ordered, key=lambda group: names.index(group[0]))


def linear_set(
    names: Sequence[str], gradient: Sequence[Expr], stepped: Collection[str] = ()
) -> tuple[str, ...]:
    """Return parameters in which a prediction is linear together, the others held.

    Two go together where no second derivative links them: an independent set of the graph of
    those links, as large as taking the vertex with the fewest neighbours makes it.

    ``gradient`` is the derivative of the prediction to each of the ``names``; those ``stepped``
    stand within a step (see `stepped_names`), in which nothing is linear.

    Examples
    --------
    >>> a, b, c, x = sympy.symbols("a b c x")
    >>> slopes = [(c * (a + b * x)).diff(s) for s in (c, a, b)]
    >>> linear_set(["c", "a", "b"], slopes)
    ('a', 'b')
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
