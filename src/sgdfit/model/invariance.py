"""The symmetries of a model: exchanges, changes of sign and phases that no data can tell.

They are read off the expression, once for each formula, and put to the test at random points.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import combinations
from typing import Any, NamedTuple

from sgdfit.model.exchanges import swaps
from sgdfit.model.model import Model
from sgdfit.model.moves import Move, flip, probe
from sgdfit.model.reflections import (
    Block,
    blocks,
    half_periods,
    reduced,
    sign_changes,
    signed_exchange,
)

__all__ = ["Reflection", "Symmetries", "subject", "within"]

Expr = Any  # SymPy ships no types


class Subject(NamedTuple):
    """What symmetries depend on: an expression and its free parameters."""

    expression: Expr
    names: tuple[str, ...]
    linear: tuple[str, ...]
    bounds: tuple[tuple[float, float], ...]


class Reflection(NamedTuple):
    """A change of signs, and the parameter whose sign (or phase) it is used to settle."""

    lead: int
    move: Move


class Symmetries(NamedTuple):
    """Moves that leave the prediction unchanged.

    Attributes
    ----------
    names : tuple of str, length p
    order : tuple of int, length p
        Which parameters decide first: nonlinear ones, phases, linear ones.
    halves : tuple of float, length p
        Half the period of each phase, else 0.
    flips : tuple of Reflection
    exchanges : tuple of Move
    """

    names: tuple[str, ...]
    order: tuple[int, ...]
    halves: tuple[float, ...]
    flips: tuple[Reflection, ...]
    exchanges: tuple[Move, ...]

    @property
    def has_phases(self) -> bool:
        """Whether there is any phase."""
        return any(self.halves)

    @property
    def is_tangled(self) -> bool:
        """Whether phases can move with no other parameter to settle how."""
        return any(self.halves[reflection.lead] for reflection in self.flips)


def subject(model: Model) -> Subject:
    """Return of a model what its symmetries depend on."""
    parameters = [model.parameters[name] for name in model.free]
    return Subject(
        model.prediction, model.free, model.linear, tuple((p.low, p.high) for p in parameters)
    )


@lru_cache(maxsize=256)
def _found(subject: Subject) -> tuple[Symmetries, tuple[int, ...]]:
    """Return the exchanges and phases, and masks that make up the reflections."""
    expression, names, linear, bounds = subject
    free = [low == -math.inf and high == math.inf for low, high in bounds]
    halves = half_periods(expression, names)
    halves = [half if is_free else 0.0 for half, is_free in zip(halves, free, strict=True)]
    parts = blocks(expression, names)
    masks = list(_reflected(parts, [low == -high for low, high in bounds], halves))
    bent = [i for i, name in enumerate(names) if name not in linear]
    order = sorted(range(len(names)), key=lambda i: (i not in bent, halves[i] != 0, i))
    swaps = _exchanged(subject, parts, bent, halves)
    return Symmetries(names, tuple(order), tuple(halves), (), swaps), tuple(masks)


def _reflected(
    parts: Sequence[Block], may_flip: Sequence[bool], halves: list[float]
) -> Iterator[int]:
    """Yield masks; a phase that half a turn leaves as it is has half the period."""
    p = len(may_flip)
    for part in parts:
        masks = sign_changes(part, may_flip, halves)
        while idle := [i for i in range(p) if 1 << (p + i) in masks]:
            for i in idle:
                halves[i] /= 2
            masks = sign_changes(part, may_flip, halves)
        yield from masks


def _exchanged(
    subject: Subject, parts: Sequence[Block], bent: Sequence[int], halves: Sequence[float]
) -> tuple[Move, ...]:
    """Return exchanges of equal parts, then those of a pair for a sign."""
    expression, names, linear, bounds = subject
    p = len(names)
    kinds = dict(zip(names, zip(bounds, halves, strict=True), strict=True))
    seeds = [names[i] for i in bent]
    found = [flip(p, 0, source) for source in swaps(expression, kinds, seeds)]
    if found:
        agreed = probe(expression, names).agrees(found, halves, near=True)
        found = [move for move, same in zip(found, agreed, strict=True) if same]
    signs = [i for i, name in enumerate(names) if name in linear and bounds[i][0] == -bounds[i][1]]
    for part in parts:
        for one, other in combinations([i for i in bent if i in part.parameters], 2):
            same = kinds[names[one]] == kinds[names[other]]
            if same and not any(move.source[one] == other for move in found):
                move = signed_exchange(part, (one, other), signs, halves)
                found += [move] if move else []
    return tuple(found)


@lru_cache(maxsize=256)
def within(subject: Subject, names: frozenset[str]) -> Symmetries:
    """Return the symmetries that move none but ``names``."""
    whole, masks = _found(subject)
    p = len(whole.names)
    held = {i for i, name in enumerate(whole.names) if name not in names}
    order = [i for i in whole.order if not whole.halves[i]]
    order += [i for i in range(p) if whole.halves[i]]
    bits = [*order, *(p + i for i in range(p))]
    barred = [bit for bit in bits if bit % p in held]
    rows = reduced(masks, [*barred, *(bit for bit in bits if bit not in barred)])
    return whole._replace(
        halves=tuple(0.0 if i in held else half for i, half in enumerate(whole.halves)),
        flips=tuple(Reflection(bit % p, flip(p, mask)) for bit, mask in rows if bit not in barred),
        exchanges=tuple(move for move in whole.exchanges if not move.touched & held),
    )
