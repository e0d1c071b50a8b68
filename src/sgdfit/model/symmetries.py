"""Equivalent optima of a model, and the one of them that is given.

Two peaks can be swapped, the width of a peak can change its sign, an amplitude can be negative
where its wave runs half a turn later: the predictions are the same, so that no data can tell.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache

import numpy as np

from sgdfit.model.invariance import Reflection, Symmetries, subject, within
from sgdfit.model.model import Model
from sgdfit.model.moves import Move, flip, then, wrapped

__all__ = ["canonical", "equivalents"]

# Six peaks can be swapped in 720 ways; nobody looks at more of them.
MOST = 400


def equivalents(model: Model, theta: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the parameters that predict the same as ``theta`` in every row.

    Parameters
    ----------
    model : Model
    theta : float64[p]
        The free parameters.

    Returns
    -------
    tuple of float64[p]
        ``theta`` itself first; then its images under exchanges and changes of sign, phases in
        their canonical turn; at most 400.

    Examples
    --------
    >>> from sgdfit.model.model import build
    >>> model = build("y = a*exp(-b*x) + c*exp(-d*x)", ["x", "y"])
    >>> [image.tolist() for image in equivalents(model, np.array([1.0, 2.0, 3.0, 4.0]))]
    [[1.0, 2.0, 3.0, 4.0], [3.0, 4.0, 1.0, 2.0]]
    """
    theta = np.asarray(theta, dtype=float)
    symmetries = within(subject(model), frozenset(model.free))
    start = theta.tolist()
    images: dict[tuple[float, ...], list[float]] = {}
    for move in _elements(symmetries):
        image = move.apply(start, symmetries.halves)
        # Two half turns may miss their start by rounding.
        images.setdefault(tuple(float(f"{value:.13g}") for value in image), image)
    rest = list(images.values())[1:]
    return (theta.copy(), *map(np.array, rest))


def canonical(
    model: Model, theta: np.ndarray, names: Collection[str]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the one of all equivalent parameters that is given, and what was there to choose.

    What can be exchanged comes in ascending order of its first nonlinear parameter; of what can
    change its sign, the first nonlinear parameter is positive; phases lie within (−π, π].

    Parameters
    ----------
    model : Model
    theta : float64[p]
        The free parameters.
    names : collection of str
        Those that may move; a symmetry that moves any other is left alone.

    Returns
    -------
    theta : float64[p]
    sentences : tuple of str
        One for each symmetry, whether or not it was used.

    Examples
    --------
    >>> from sgdfit.model.model import build
    >>> model = build("y = a*exp(-(x - m)**2/s**2)", ["x", "y"])
    >>> canonical(model, np.array([1.0, 2.0, -3.0]), model.free)
    (array([1., 2., 3.]), ('the sign of s does not matter: the positive one is given',))
    """
    symmetries = within(subject(model), frozenset(names))
    start = np.asarray(theta, dtype=float).tolist()
    find = _least if symmetries.is_tangled else _sorted
    return np.array(find(symmetries, start)), _sentences(symmetries)


def _sorted(symmetries: Symmetries, theta: list[float]) -> list[float]:
    """Settle the signs, and exchange as long as that brings a smaller value to the front."""
    best, improved = _settled(symmetries, theta), True
    while improved:
        improved = False
        for move in symmetries.exchanges:
            image = _settled(symmetries, move.apply(best, symmetries.halves))
            if _key(symmetries, image) < _key(symmetries, best):
                best, improved = image, True
    return best


def _least(symmetries: Symmetries, theta: list[float]) -> list[float]:
    """Look through all that is equivalent: phases that only count together have no order."""
    leads = [r.lead for r in symmetries.flips if not symmetries.halves[r.lead]]

    def key(image: list[float]) -> tuple[list[bool], list[float]]:
        # Half turns leave rounding behind.
        values = [float(f"{value:.12g}") for value in _key(symmetries, image)]
        return [image[lead] < 0 for lead in leads], values

    return min((m.apply(theta, symmetries.halves) for m in _elements(symmetries)), key=key)


def _key(symmetries: Symmetries, theta: Sequence[float]) -> list[float]:
    return [theta[i] for i in symmetries.order]


def _settled(symmetries: Symmetries, theta: list[float]) -> list[float]:
    """Return ``theta`` with its signs and phases as they are given."""
    halves = symmetries.halves
    if symmetries.has_phases:
        theta = [wrapped(value, half) for value, half in zip(theta, halves, strict=True)]
    for reflection in symmetries.flips:
        if _is_negative(symmetries, reflection, theta):
            theta = reflection.move.apply(theta, halves)
    return theta


def _is_negative(symmetries: Symmetries, reflection: Reflection, theta: Sequence[float]) -> bool:
    if theta[reflection.lead]:
        return theta[reflection.lead] < 0
    signs = reflection.move.signs
    flipped = (theta[i] for i in symmetries.order if signs[i] < 0)
    return next((value for value in flipped if value), 0.0) < 0


@lru_cache(maxsize=64)
def _elements(symmetries: Symmetries) -> tuple[Move, ...]:
    """Return the group that the symmetries generate, as far as `MOST` goes; first the identity."""
    p = len(symmetries.names)
    steps = [*(reflection.move for reflection in symmetries.flips), *symmetries.exchanges]
    found = {flip(p, 0): None}
    queue = list(found)
    for move in queue:
        for image in (then(move, step) for step in steps):
            if len(found) == MOST:
                return tuple(found)
            if image not in found:
                found[image] = None
                queue.append(image)
    return tuple(found)


@lru_cache(maxsize=256)
def _sentences(symmetries: Symmetries) -> tuple[str, ...]:
    flips = [r for r in symmetries.flips if _alone(r) is None]
    return (
        *_exchange_sentences(symmetries),
        *_sign_sentences(symmetries),
        *(_reflection(symmetries, reflection) for reflection in flips),
        *_phase_sentences(symmetries),
    )


def _alone(reflection: Reflection) -> int | None:
    """Return the parameter whose sign alone is changed, if it is one."""
    touched = reflection.move.touched
    return reflection.lead if len(touched) == 1 and not any(reflection.move.turns) else None


def _sign_sentences(symmetries: Symmetries) -> Iterator[str]:
    signs = [symmetries.names[i] for i in map(_alone, symmetries.flips) if i is not None]
    if len(signs) == 1:
        yield f"the sign of {signs[0]} does not matter: the positive one is given"
    elif signs:
        yield f"the signs of {_listed(signs)} do not matter: the positive ones are given"


def _phase_sentences(symmetries: Symmetries) -> Iterator[str]:
    for half in dict.fromkeys(half for half in symmetries.halves if half):
        every = zip(symmetries.names, symmetries.halves, strict=True)
        names = [name for name, own in every if own == half]
        said = "are phases: they are" if names[1:] else "is a phase: it is"
        yield f"{_listed(names)} {said} given within (−{_angle(half)}, {_angle(half)}]"


def _reflection(symmetries: Symmetries, reflection: Reflection) -> str:
    names, move = symmetries.names, reflection.move
    lead = names[reflection.lead]
    signs = [name for name, sign in zip(names, move.signs, strict=True) if sign < 0]
    turned = [name for name, turn in zip(names, move.turns, strict=True) if turn]
    parts = []
    if signs:
        parts.append(f"{_listed(signs)} can change sign" + (" together" if signs[1:] else ""))
    if turned:
        verb = "move" if turned[1:] else "moves"
        parts.append(f"{_listed(turned)} {verb} by half a period")
    choice = "smaller" if symmetries.halves[reflection.lead] else "positive"
    return f"{' while '.join(parts)}: the {choice} {lead} is given"


def _exchange_sentences(symmetries: Symmetries) -> Iterator[str]:
    """Yield one for each set of parts of which any two can be exchanged."""
    said: set[tuple[int, frozenset[int]]] = set()
    for i in symmetries.order:
        for size in sorted({len(move.touched) for move in symmetries.exchanges}):
            moves = [m for m in symmetries.exchanges if m.source[i] > i and len(m.touched) == size]
            every = frozenset[int]().union(*(move.touched for move in moves))
            if moves and not any(size == known and every <= whole for known, whole in said):
                said.add((size, every))
                yield _exchange(symmetries, moves)


def _exchange(symmetries: Symmetries, moves: Sequence[Move]) -> str:
    names, order = symmetries.names, symmetries.order
    first = [k for k, j in enumerate(moves[0].source) if j > k]
    parts = dict.fromkeys(
        [tuple(first), *(tuple(sorted(m.source[k] for k in first)) for m in moves)]
    )
    leads = [names[min(part, key=order.index)] for part in parts]
    said = " and ".join(", ".join(names[k] for k in part) for part in parts) + " can be exchanged"
    signs = [name for name, sign in zip(names, moves[0].signs, strict=True) if sign < 0]
    if signs:
        said += f" while {_listed(signs)} {'change' if signs[1:] else 'changes'} sign"
    return f"{said}: {_ranking(leads)}"


def _ranking(leads: Sequence[str]) -> str:
    if len(leads) == 2:
        return f"the smaller of {leads[0]} and {leads[1]} comes first"
    return f"{_listed(leads)} come in ascending order"


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _angle(half: float) -> str:
    return "π" if math.isclose(half, math.pi) else f"{half:.6g}"
