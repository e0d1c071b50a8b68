"""Exchanges of parameters that leave an expression as it is: swapped peaks, swapped exponentials.

An expression is read as a tree in which the terms of a sum and the factors of a product have no
order. An exchange is an involution of the parameters that maps the tree onto itself, found by
backtracking from one pair of nonlinear parameters; it holds by construction.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

from sympy import exp
from sympy.codegen.cfunctions import expm1

__all__ = ["swaps"]

Expr = Any  # SymPy ships no types
Swap = dict[int, int]

# Steps of the search for one exchange. Fifty peaks need some thousand; what needs more is no
# sum of like terms.
BUDGET = 20_000


class _Node(NamedTuple):
    """A part of the tree: its shape (equal where only parameters differ) and its parts."""

    shape: int
    parameter: int
    parts: tuple[_Node, ...]
    is_ordered: bool
    touches: frozenset[int]


def swaps(
    expression: Expr, kinds: Mapping[str, Hashable], seeds: Sequence[str]
) -> list[tuple[int, ...]]:
    """Return permutations of the parameters, each its own inverse, that leave the value unchanged.

    Parameters
    ----------
    expression : sympy.Expr
        Any names that are no parameters are variables.
    kinds : mapping of str to hashable
        The parameters, in order; only those of equal kind are exchanged.
    seeds : sequence of str
        One pair of them is exchanged in every permutation.

    Returns
    -------
    list of tuple of int, each of length p
        Together they generate every exchange that was found.

    Examples
    --------
    >>> from sgdfit.formula.formula import as_formula
    >>> peaks = as_formula("a*exp(-b*x) + c*exp(-d*x)").expression
    >>> swaps(peaks, dict.fromkeys("abcd"), ["b", "d"])
    [(2, 3, 0, 1)]
    """
    # A difference written with expm1 hides that it is made of equal terms.
    if expression.has(expm1):
        expression = expression.replace(expm1, lambda u: exp(u) - 1)
    rank = {name: i for i, name in enumerate(kinds)}
    tree = _Reader(rank, kinds).read(expression)
    found: list[tuple[int, ...]] = []
    for one, other in combinations([rank[name] for name in seeds], 2):
        if any(known[one] == other for known in found):
            continue
        swap = _search(tree, {one: other, other: one})
        if swap is not None:
            found.append(tuple(swap.get(i, i) for i in range(len(rank))))
    return found


class _Reader:
    """Turn an expression into a tree; equal shapes get equal numbers."""

    def __init__(self, rank: Mapping[str, int], kinds: Mapping[str, Hashable]) -> None:
        self.rank, self.kinds = rank, kinds
        self.shapes: dict[Hashable, int] = {}
        self.known: dict[Expr, _Node] = {}

    def read(self, part: Expr) -> _Node:
        if part not in self.known:
            self.known[part] = self._made(part)
        return self.known[part]

    def _made(self, part: Expr) -> _Node:
        if part.is_Symbol and part.name in self.rank:
            i = self.rank[part.name]
            return _Node(self._number(("parameter", self.kinds[part.name])), i, (), True,
                         frozenset({i}))  # fmt: skip
        parts = tuple(map(self.read, part.args))
        touches: frozenset[int] = frozenset().union(*(p.touches for p in parts))
        if not touches:
            return _Node(self._number(part), -1, (), True, touches)
        ordered = not (part.is_Add or part.is_Mul)
        shapes = [p.shape for p in parts]
        shape = self._number((part.func, *(shapes if ordered else sorted(shapes))))
        return _Node(shape, -1, parts, ordered, touches)

    def _number(self, key: Hashable) -> int:
        return self.shapes.setdefault(key, len(self.shapes))


class _BudgetError(Exception):
    pass


def _search(tree: _Node, seed: Swap) -> Swap | None:
    try:
        return next(_matches(tree, tree, seed, [BUDGET]), None)
    except (_BudgetError, RecursionError):
        return None


def _matches(left: _Node, right: _Node, swap: Swap, budget: list[int]) -> Iterator[Swap]:
    """Yield each extension of ``swap`` that maps ``left`` onto ``right``."""
    budget[0] -= 1
    if budget[0] < 0:
        raise _BudgetError
    if left.shape != right.shape:
        return
    if left.parameter >= 0:
        yield from _joined(left.parameter, right.parameter, swap)
    elif left.is_ordered:
        yield from _in_order(left.parts, right.parts, swap, budget)
    else:
        # What is settled already prunes most.
        parts = sorted(left.parts, key=lambda part: swap.keys().isdisjoint(part.touches))
        yield from _in_any_order(parts, right.parts, swap, budget)


def _joined(one: int, other: int, swap: Swap) -> Iterator[Swap]:
    if swap.get(one) == other:
        yield swap
    elif one not in swap and other not in swap:
        yield {**swap, one: other, other: one}


def _in_order(
    lefts: Sequence[_Node], rights: Sequence[_Node], swap: Swap, budget: list[int]
) -> Iterator[Swap]:
    if not lefts:
        yield swap
        return
    for longer in _matches(lefts[0], rights[0], swap, budget):
        yield from _in_order(lefts[1:], rights[1:], longer, budget)


def _in_any_order(
    lefts: Sequence[_Node], rights: Sequence[_Node], swap: Swap, budget: list[int]
) -> Iterator[Swap]:
    if not lefts:
        yield swap
        return
    first = lefts[0]
    # As few parameters as possible shall move: a part is matched with itself first.
    for i in sorted(range(len(rights)), key=lambda i: rights[i] is not first):
        rest = (*rights[:i], *rights[i + 1 :])
        for longer in _matches(first, rights[i], swap, budget):
            yield from _in_any_order(lefts[1:], rest, longer, budget)
