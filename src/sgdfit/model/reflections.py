"""Changes of sign that leave an expression as it is: a*tanh(b*x) is (-a)*tanh((-b)*x).

Such changes, and half turns of phases, are their own inverses and commute: they are a vector space
over the numbers 0 and 1, so that a few of them, found by elimination, make up all. The change of
one term of a sum cannot be undone by that of another with other parameters (made twice, it would
not be undone), so that each group of terms that share parameters is looked at by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, combinations
from math import comb
from typing import Any, NamedTuple

import numpy as np
import sympy

from sgdfit.formula.formula import symbol
from sgdfit.formula.real import Absolute, Ceil, Floor, Maximum, Minimum, Sign
from sgdfit.model.moves import FEWEST, Move, Probe, flip, probe

__all__ = ["Block", "blocks", "half_periods", "reduced", "sign_changes", "signed_exchange"]

Expr = Any  # SymPy ships no types

# What is one formula here and another there: points drawn at random may miss one of them.
_STEPS = (sympy.core.relational.Relational, Sign, Floor, Ceil, Absolute, Maximum, Minimum)
_WAVES = (sympy.sin, sympy.cos, sympy.tan, sympy.cot)
# Combinations of signs that are tried at most.
MOST = 4096


class Block(NamedTuple):
    """Terms of a sum that share parameters, and those parameters by number."""

    probe: Probe
    parameters: tuple[int, ...]


def blocks(expression: Expr, names: Sequence[str]) -> list[Block]:
    """Split a sum into terms without common parameters."""
    rank = {symbol(name): i for i, name in enumerate(names)}
    groups: list[tuple[set[int], list[Expr]]] = []
    for term in sympy.Add.make_args(expression):
        touched = {rank[s] for s in term.free_symbols if s in rank}
        joined = [group for group in groups if group[0] & touched]
        groups = [group for group in groups if group not in joined]
        every = touched.union(*(group[0] for group in joined))
        groups.append((every, [term, *chain.from_iterable(group[1] for group in joined)]))
    return [
        Block(probe(sympy.Add(*terms), names), tuple(sorted(every)))
        for every, terms in groups
        if every
    ]


def half_periods(expression: Expr, names: Sequence[str]) -> list[float]:
    """Return half the period of each parameter that is a phase of sines and cosines, else 0.

    Examples
    --------
    >>> from sgdfit.formula.formula import as_formula
    >>> wave = as_formula("a*sin(b*x + 2*c) + cos(2*pi*(x - d))").expression
    >>> [round(half, 3) for half in half_periods(wave, "abcd")]
    [0.0, 0.0, 1.571, 0.5]
    """
    waves = expression.atoms(*_WAVES)
    without = expression.xreplace({wave: sympy.Dummy() for wave in _outermost(waves)})
    return [_half_period(symbol(name), waves, without) for name in names]


def _outermost(waves: set[Expr]) -> list[Expr]:
    return [wave for wave in waves if not any(other is not wave and other.has(wave)
                                              for other in waves)]  # fmt: skip


def _half_period(phase: Expr, waves: set[Expr], without: Expr) -> float:
    if phase in without.free_symbols:
        return 0.0
    arguments = [wave.args[0] for wave in waves if phase in wave.free_symbols]
    rates = [argument.diff(phase) for argument in arguments]
    if not rates or not all(rate.is_number and rate.is_comparable for rate in rates):
        return 0.0
    least = min(abs(float(rate)) for rate in rates)
    if not least or any(abs(float(r)) / least % 1 for r in rates):
        return 0.0
    return float(np.pi / least)


def sign_changes(block: Block, may_flip: Sequence[bool], halves: Sequence[float]) -> list[int]:
    """Return bit masks (see `moves.flip`) that together make up all changes of sign of a block.

    Parameters
    ----------
    block : Block
    may_flip : sequence of bool, length p
        Whether the bounds allow a parameter's sign to change.
    halves : sequence of float, length p
        Half the period of each phase, else 0.
    """
    p = len(may_flip)
    bits = [1 << i for i in block.parameters if may_flip[i]]
    bits += [1 << (p + i) for i in block.parameters if halves[i]]
    survivors = [mask for mask in _sieved(block, bits, halves) if mask]
    rows = [mask for _, mask in reduced(survivors, range(2 * p))]
    return [mask for mask in rows if holds(block.probe, flip(p, mask), halves)]


def signed_exchange(
    block: Block, pair: tuple[int, int], linear: Sequence[int], halves: Sequence[float]
) -> Move | None:
    """Return the exchange of a pair under which linear parameters change sign, if there is one.

    That is b and c in a*(exp(-b*x) - exp(-c*x)).
    """
    p = len(halves)
    source = list(range(p))
    source[pair[0]], source[pair[1]] = pair[1], pair[0]
    bits = [1 << i for i in linear if i in block.parameters]
    for mask in _sieved(block, bits, halves, source):
        move = flip(p, mask, source)
        if holds(block.probe, move, halves):
            return move
    return None


def _sieved(
    block: Block, bits: Sequence[int], halves: Sequence[float], source: Sequence[int] | None = None
) -> list[int]:
    """Return the sums of bits that leave the expression unchanged at a few points."""
    if not block.probe.is_usable or not bits:
        return []
    p, size = len(halves), len(bits)
    while size > 1 and sum(comb(len(bits), k) for k in range(size + 1)) > MOST:
        size -= 1
    chosen = chain.from_iterable(combinations(bits, k) for k in range(size + 1))
    masks = [sum(some) for some in chosen]
    images = block.probe.images([flip(p, mask, source) for mask in masks], halves, FEWEST)
    values = block.probe.values[:FEWEST]
    alike = (np.abs(images - values) <= 1e-9 * np.abs(values).max()).all(axis=1)
    return [mask for mask, same in zip(masks, alike.tolist(), strict=True) if same]


def reduced(masks: Sequence[int], order: Sequence[int]) -> list[tuple[int, int]]:
    """Eliminate over 0 and 1: each row leads in a bit, the earliest in ``order``, of its own.

    Examples
    --------
    >>> reduced([0b011, 0b110], [0, 1, 2])
    [(0, 5), (1, 6)]
    """
    rows, found = list(dict.fromkeys(masks)), list[tuple[int, int]]()
    for bit in order:
        lead = next((row for row in rows if row >> bit & 1), None)
        if lead is None:
            continue
        rows = [row ^ lead if row >> bit & 1 else row for row in rows if row != lead]
        found = [(at, row ^ lead if row >> bit & 1 else row) for at, row in found]
        found.append((bit, lead))
    return found


def holds(points: Probe, move: Move, halves: Sequence[float]) -> bool:
    """Whether a move leaves the expression unchanged, by its value and by its form.

    Where the form alone does not tell, the value does, unless steps or constants of another size
    than the points could hide a difference.
    """
    if not points.agrees([move], halves, near=True)[0]:
        return False
    expression = points.expression
    if (
        not expression.has(*_STEPS)
        and all(n == 0 or 1e-3 <= abs(float(n)) <= 1e3 for n in expression.atoms(sympy.Number))
        and points.agrees([move], halves)[0]
    ):
        return True
    return bool(_tidied(_moved(points, move)) == _tidied(expression))


def _moved(points: Probe, move: Move) -> Expr:
    symbols = [symbol(name) for name in points.names]
    image = {
        s: sign * symbols[i] for s, i, sign in zip(symbols, move.source, move.signs, strict=True)
    }
    return points.expression.xreplace({s: other for s, other in image.items() if s != other})


def _tidied(expression: Expr) -> Expr:
    """Write every sum within a power or a product with the sign that SymPy prefers."""
    if not expression.args:
        return expression
    args = [_tidied(argument) for argument in expression.args]
    if not (expression.is_Mul or (expression.is_Pow and args[1].is_Integer)):
        return expression.func(*args)
    sign = sympy.S.One
    for i, argument in enumerate(args[:1] if expression.is_Pow else args):
        if argument.is_Add and argument.could_extract_minus_sign():
            args[i] = -argument
            sign = -sign if not expression.is_Pow or args[1].is_odd else sign
    return sign * expression.func(*args)
