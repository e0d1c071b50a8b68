"""Which parameters enter linearly together, read off the derivatives of the prediction."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any

import sympy

from sgdfit.formula.real import Ceil, Floor, Sign

__all__ = ["linear_set", "stepped_names"]

Expr = Any  # SymPy ships no types
Graph = dict[str, set[str]]

# What is flat between its steps: a slope of 0 does not say that a parameter within has no effect.
STEPS = (sympy.core.relational.Relational, Sign, Floor, Ceil)
# Up to as many parameters the largest set is found exactly, in far less than a millisecond.
EXACT = 32


def linear_set(
    names: Sequence[str], gradient: Sequence[Expr], stepped: Collection[str] = ()
) -> tuple[str, ...]:
    """Return a largest set of parameters in which a prediction is linear, the others held.

    Two parameters go together where no second derivative links them, so this is a largest
    independent set of the graph of those links (branching as Tarjan & Trojanowski 1977, p. 538).
    Of several that are largest, one is returned, the same each time.

    Parameters
    ----------
    names : sequence of str
        The parameters.
    gradient : sequence of sympy.Expr
        The derivative of the prediction to each of them.
    stepped : collection of str
        Names within a step (see `stepped_names`), in which nothing is linear.

    Returns
    -------
    tuple of str
        In the order of ``names``.

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
    graph: Graph = {
        name: {other for other in alone if other in found[name] or name in found[other]}
        for name in alone
    }
    chosen = set(_independent(graph))
    return tuple(name for name in names if name in chosen)


@lru_cache(maxsize=256)
def stepped_names(prediction: Expr) -> frozenset[str]:
    """Return the names within a comparison, a sign or a rounding of ``prediction``."""
    return frozenset(s.name for part in prediction.atoms(*STEPS) for s in part.free_symbols)


def _independent(graph: Graph) -> list[str]:
    """Return a largest set of vertices without an edge between them, or nearly so past `EXACT`."""
    chosen: list[str] = []
    while graph:
        least = min(graph, key=lambda name: len(graph[name]))
        if len(graph[least]) > 1 and len(graph) <= EXACT:
            return chosen + _branched(graph)
        # A vertex with one neighbour at most is in some largest set.
        chosen.append(least)
        graph = _without(graph, {least, *graph[least]})
    return chosen


def _branched(graph: Graph) -> list[str]:
    """Try the vertex with the most neighbours, in and out."""
    most = max(graph, key=lambda name: len(graph[name]))
    taken = [most, *_independent(_without(graph, {most, *graph[most]}))]
    left = _independent(_without(graph, {most}))
    return taken if len(taken) >= len(left) else left


def _without(graph: Graph, gone: set[str]) -> Graph:
    return {name: near - gone for name, near in graph.items() if name not in gone}
