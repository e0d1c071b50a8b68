"""Equivalent optima of a model, and the one of them that is given.

Two peaks can be swapped, the width of a peak can change its sign, an amplitude can be negative
where its wave runs half a turn later: the predictions are the same, so that no data can tell.
A candidate moves nonlinear parameters; what that does to the basis functions of the linear ones
(see `sgdfit.model.separation`), at random points, says whether and how these go along.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from itertools import chain, combinations, groupby, pairwise
from math import comb
from typing import Any, NamedTuple

import numpy as np
import sympy

from sgdfit.formula.evaluation import evaluate
from sgdfit.formula.formula import symbol
from sgdfit.model.model import Model
from sgdfit.model.separation import STEPS, Component, separate

Expr = Any  # SymPy ships no types

# Six peaks can be swapped in 720 ways; nobody looks at more of them.
MOST = 400
ROWS, FEWEST = 64, 8
# Combinations of signs that are tried at most for one component.
TRIED = 512
_WAVES = (sympy.sin, sympy.cos, sympy.tan, sympy.cot)


class Move(NamedTuple):
    """θ'[i] = signs[i]·θ[source[i]] + turns[i]·half a period."""

    source: tuple[int, ...]
    signs: tuple[int, ...]
    turns: tuple[int, ...]

    @property
    def touched(self) -> list[int]:
        """The parameters that this changes."""
        return [i for i, row in enumerate(zip(*self, strict=True)) if row != (i, 1, 0)]

    def apply(self, theta: np.ndarray, halves: np.ndarray) -> np.ndarray:
        """Return the image of float64[..., p]."""
        image = theta[..., list(self.source)] * self.signs + np.multiply(self.turns, halves)
        return _wrapped(image, halves)


class Exchange(NamedTuple):
    """Parts of a model, as numbers of parameters, any two of which can be exchanged."""

    parts: tuple[tuple[int, ...], ...]
    moves: tuple[Move, ...]


class Symmetries(NamedTuple):
    """Moves that leave a prediction unchanged.

    Attributes
    ----------
    names : tuple of str, length p
    order : tuple of int, length p
        Which parameters decide first: nonlinear ones, phases, linear ones.
    halves : float64[p]
        Half the period of each phase, else 0.
    flips : tuple of (int, Move)
        Changes of sign, each with the parameter that it makes positive.
    exchanges : tuple of Exchange
    """

    names: tuple[str, ...]
    order: tuple[int, ...]
    halves: np.ndarray
    flips: tuple[tuple[int, Move], ...]
    exchanges: tuple[Exchange, ...]

    @property
    def swaps(self) -> list[Move]:
        """The exchanges of two parts each."""
        return [move for exchange in self.exchanges for move in exchange.moves]


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
    theta = np.array(theta, dtype=float)
    found = _of_model(model, model.free)
    moves = [*(move for _, move in found.flips), *found.swaps]
    queue = [_wrapped(theta, found.halves)]
    known = {_rounded(queue[0])}
    for point in queue:
        for image in (move.apply(point, found.halves) for move in moves):
            if len(queue) < MOST and _rounded(image) not in known:
                known.add(_rounded(image))
                queue.append(image)
    return (theta, *queue[1:])


def canonical(
    model: Model, theta: np.ndarray, names: Collection[str]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the one of all equivalent parameters that is given, and what was there to choose.

    What can be exchanged comes in ascending order of its first nonlinear parameter; of what can
    change its sign, the first nonlinear parameter is positive; phases lie within (−π, π].

    Parameters
    ----------
    model : Model
    theta : float64[p] or float64[k, p]
        The free parameters; further rows are moved as the first is.
    names : collection of str
        Those that may move; a symmetry that moves any other is left alone.

    Returns
    -------
    theta : float64[p] or float64[k, p]
    sentences : tuple of str
        One for each symmetry, whether or not it was used.

    Examples
    --------
    >>> from sgdfit.model.model import build
    >>> model = build("y = a*exp(-(x - m)**2/s**2)", ["x", "y"])
    >>> canonical(model, np.array([1.0, 2.0, -3.0]), model.free)
    (array([1., 2., 3.]), ('the sign of s does not matter: the positive one is given',))
    """
    found = _of_model(model, names)
    best, improved = _settled(found, np.atleast_2d(np.asarray(theta, dtype=float))), True
    order = list(found.order)
    while improved:
        improved = False
        for move in found.swaps:
            image = _settled(found, move.apply(best, found.halves))
            if image[0, order].tolist() < best[0, order].tolist():
                best, improved = image, True
    return best.reshape(np.shape(theta)), tuple(_sentences(found))


def _settled(found: Symmetries, theta: np.ndarray) -> np.ndarray:
    """Return ``theta`` with its signs and phases as they are given."""
    theta = _wrapped(theta, found.halves)
    for lead, move in found.flips:
        flipped = [lead, *(i for i in found.order if move.signs[i] < 0)]
        if next((value for value in theta[0, flipped] if value), 0.0) < 0:
            theta = move.apply(theta, found.halves)
    return theta


def _wrapped(theta: np.ndarray, halves: np.ndarray) -> np.ndarray:
    """Return phases within (−half, half]; a half of 0 stands for no phase."""
    period = np.where(halves > 0, 2 * halves, np.inf)
    with np.errstate(invalid="ignore"):
        turns = np.ceil((theta - halves) / period)
        return np.where((halves > 0) & np.isfinite(theta), theta - turns * 2 * halves, theta)


def _rounded(theta: np.ndarray) -> tuple[float, ...]:
    """Two half turns may miss their start by rounding."""
    return tuple(float(f"{value:.13g}") for value in theta.tolist())


def _of_model(model: Model, names: Collection[str]) -> Symmetries:
    bounds = tuple((model.parameters[n].low, model.parameters[n].high) for n in model.free)
    return _symmetries(model.prediction, model.free, bounds, frozenset(names))


@lru_cache(maxsize=256)
def _symmetries(
    prediction: Expr,
    names: tuple[str, ...],
    bounds: tuple[tuple[float, float], ...],
    movable: frozenset[str],
) -> Symmetries:
    p, separation = len(names), separate(prediction, names)
    components = separation.components
    search = _Search(prediction, names, bounds, movable, components)
    halves = search.halves
    bent = [i for i in range(p) if names[i] in separation.nonlinear]
    order = sorted(range(p), key=lambda i: (i not in bent, halves[i] != 0, i))
    bits = [*(i for i in order if not halves[i]), *np.flatnonzero(halves).tolist()]
    masks = list(chain.from_iterable(map(search.sign_changes, components)))
    rows = _reduced(masks, [*bits, *(p + i for i in range(p))])
    # Phases that only count together have no sign to settle.
    flips = tuple((bit, _flip(p, mask)) for bit, mask in rows if bit < p and not halves[bit])
    exchanges = sorted(
        search.exchanges(components),
        key=lambda e: (min(map(order.index, e.parts[0])), len(e.parts[0])),
    )
    return Symmetries(names, tuple(order), halves, flips, tuple(exchanges))


def _flip(p: int, mask: int) -> Move:
    """Return the move of a bit mask: bit i flips the sign of i, bit p + i turns its phase."""
    signs = tuple(-1 if mask >> i & 1 else 1 for i in range(p))
    return Move(tuple(range(p)), signs, tuple(mask >> (p + i) & 1 for i in range(p)))


def _reduced(masks: Sequence[int], order: Sequence[int]) -> list[tuple[int, int]]:
    """Eliminate over 0 and 1: each row leads in a bit, the earliest in ``order``, of its own.

    Changes of sign and half turns are their own inverses and commute, so that a few make up all.
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


class _Search:
    """The search for the moves of one prediction."""

    def __init__(
        self,
        prediction: Expr,
        names: tuple[str, ...],
        bounds: tuple[tuple[float, float], ...],
        movable: frozenset[str],
        components: Sequence[Component],
    ) -> None:
        self.names, self.bounds, self.movable = names, bounds, movable
        self.rank = {name: i for i, name in enumerate(names)}
        self.halves = np.zeros(len(names))
        unbounded = (-math.inf, math.inf)
        for part in components:
            for i in (self.rank[name] for name in part.names):
                if bounds[i] == unbounded and names[i] in movable:
                    self.halves[i] = _half_period(prediction, names[i])
                turn = _flip(len(names), 1 << (len(names) + i))
                # tan(x + c) and sin(x + c)**2 have half the period of sin(x + c).
                while self.halves[i] and self.kept(part, [turn]) == [turn]:
                    self.halves[i] /= 2

    def sign_changes(self, part: Component) -> list[int]:
        """Return the bit masks (see `_flip`) of all changes of sign of a component."""
        p, ranks = len(self.names), [self.rank[name] for name in part.names]
        bits = [1 << i for i in ranks] + [1 << (p + i) for i in ranks if self.halves[i]]
        size = len(bits)
        while size > 1 and sum(comb(len(bits), k) for k in range(size + 1)) > TRIED:
            size -= 1
        chosen = chain.from_iterable(combinations(bits, k) for k in range(1, size + 1))
        moves = self.kept(part, [_flip(p, sum(some)) for some in chosen])
        return [
            sum(1 << i for i in range(p) if move.signs[i] < 0)
            + sum(1 << (p + i) for i in range(p) if move.turns[i])
            for move in moves
            if move.source == tuple(range(p))
        ]

    def exchanges(self, components: Sequence[Component]) -> Iterator[Exchange]:
        """Yield exchanges of components of one form, and of single parameters within one."""
        known = set()
        alike = sorted(components, key=lambda part: str(part.shape))
        for _, equal in groupby(alike, key=lambda part: part.shape):
            group = sorted(equal, key=lambda part: self.rank[part.names[0]])
            moves = [
                move
                for one, other in pairwise(group)
                for move in self.kept(_joined([one, other]), [self._swap(one.names, other.names)])
            ]
            if moves and len(moves) == len(group) - 1:
                known |= {move.source for move in moves}
                parts = (
                    tuple(sorted(self.rank[name] for name in (*c.names, *c.linear))) for c in group
                )
                yield Exchange(tuple(parts), tuple(moves))
        bare = _joined([part for part in components if not part.linear])
        for part in (bare, *(part for part in components if part.linear)):
            pairs = combinations(part.names, 2)
            moves = self.kept(part, [self._swap((one,), (other,)) for one, other in pairs])
            yield from _grouped([move for move in moves if move.source not in known])

    def _swap(self, some: Sequence[str], others: Sequence[str]) -> Move:
        source = list(range(len(self.names)))
        for one, other in zip(some, others, strict=True):
            i, j = self.rank[one], self.rank[other]
            source[i], source[j] = j, i
        return _flip(len(self.names), 0)._replace(source=tuple(source))

    def kept(self, part: Component, moves: Sequence[Move]) -> list[Move]:
        """Return the moves that leave a component as it is, with what its linear parameters do."""
        linear = [self.rank[name] for name in part.linear]
        whole = []
        for move, (same, signs) in zip(moves, self._compared(part, moves), strict=False):
            # Every basis function must become another one, or its negative.
            sizes = np.abs(signs)
            if not (same and (sizes.sum(axis=0) == 1).all() and (sizes.sum(axis=1) == 1).all()):
                continue
            source, sign = list(move.source), list(move.signs)
            for k, at in zip(*np.nonzero(signs), strict=True):
                source[linear[k]], sign[linear[k]] = linear[at], int(signs[k, at])
            move = Move(tuple(source), tuple(sign), move.turns)
            if all(self._may(move, i) for i in move.touched):
                whole.append(move)
        return whole

    def _may(self, move: Move, i: int) -> bool:
        """Whether a parameter may move, and comes from one with the same bounds and period."""
        j = move.source[i]
        low, high = self.bounds[j]
        bounds = (low, high) if move.signs[i] > 0 else (-high, -low)
        alike = bounds == self.bounds[i] and self.halves[i] == self.halves[j]
        return alike and self.names[i] in self.movable

    def _compared(self, part: Component, moves: Sequence[Move]) -> list[tuple[bool, np.ndarray]]:
        """Return, for each move, whether the offset stays, and the sign of each pair of bases."""
        if not moves:
            return []
        terms = _generic((part.offset, *part.basis))
        others = {s.name for term in terms for s in term.free_symbols} - set(self.names)
        names = [*self.names, *sorted(others)]
        drawn = _points(len(names))
        known = dict(zip(names, drawn, strict=True))
        values = _values(terms, known, ROWS)
        usable = (np.abs(values) < 1e150).all(axis=0) & values.any(axis=0)
        if usable.sum() < FEWEST:
            return []
        theta = drawn[: len(self.names)].T
        moved = np.concatenate(
            [theta[:, list(m.source)] * m.signs + np.multiply(m.turns, self.halves) for m in moves]
        )
        known = {name: np.tile(known[name], len(moves)) for name in others}
        known |= dict(zip(self.names, moved.T, strict=True))
        images = _values(terms, known, len(moved)).reshape(len(terms), len(moves), ROWS)
        values, images = values[:, usable], images[:, :, usable]
        # images[k] against values[l], within rounding
        size = 1e-9 * np.maximum(np.abs(values), np.median(np.abs(values), axis=1, keepdims=True))
        same, opposite = (
            (np.abs(images[:, None] - sign * values[None, :, None]) <= size[None, :, None]).all(-1)
            for sign in (1, -1)
        )
        signs = same[1:, 1:].astype(int) - opposite[1:, 1:]
        return [(bool(same[0, 0, m]), signs[:, :, m]) for m in range(len(moves))]


def _joined(parts: Sequence[Component]) -> Component:
    names, linear, basis, offsets = zip(*parts, strict=True) if parts else ((), (), (), ())
    return Component(sum(names, ()), sum(linear, ()), sum(basis, ()), sympy.Add(*offsets))


def _grouped(swaps: Sequence[Move]) -> Iterator[Exchange]:
    """Gather swaps of two parameters (and of what goes along) into sets that all can be swapped."""
    rest = list(swaps)
    while rest:
        first = [k for k, j in enumerate(rest[0].source) if j > k]
        own = [m for m in rest if any(m.source[k] > k for k in first[:1])]
        parts = dict.fromkeys(
            [tuple(first), *(tuple(sorted(m.source[k] for k in first)) for m in own)]
        )
        every = set(chain.from_iterable(parts))
        moves = [m for m in rest if every.issuperset(i for i, j in enumerate(m.source) if i != j)]
        rest = [m for m in rest if m not in moves]
        yield Exchange(tuple(parts), tuple(moves))


def _half_period(expression: Expr, name: str) -> float:
    """Return half the period of a parameter that is a phase of sines and cosines, else 0."""
    phase, waves = symbol(name), expression.atoms(*_WAVES)
    if phase in expression.xreplace({wave: sympy.Dummy() for wave in waves}).free_symbols:
        return 0.0
    rates = [wave.args[0].diff(phase) for wave in waves if phase in wave.free_symbols]
    if not rates or not all(rate.is_number and rate.is_comparable for rate in rates):
        return 0.0
    least = min(abs(float(rate)) for rate in rates)
    return 0.0 if any(abs(float(rate)) / least % 1 for rate in rates) else math.pi / least


def _generic(terms: Sequence[Expr]) -> list[Expr]:
    """Draw anew what is far from 1, lest it hide a difference: what holds of any number does of it.

    A step at 1e6 or a term of 1e-20 would never be met at the random points.
    """
    limit = 2.0 if any(term.has(*STEPS) for term in terms) else 10.0
    numbers = {abs(n) for term in terms for n in term.atoms(sympy.Number) if n != 0}
    far = sorted(n for n in numbers if not 1 / limit <= float(n) <= limit)
    drawn = dict(zip(far, np.random.default_rng(21).uniform(0.3, 1.7, len(far)), strict=True))
    new = {sign * n: sign * sympy.Float(value) for n, value in drawn.items() for sign in (1, -1)}
    return [term.xreplace(new) for term in terms]


def _points(count: int) -> np.ndarray:
    """Draw points of about one and of less, where what saturates does not; a third of any sign."""
    random = np.random.default_rng(20)
    size = 10.0 ** random.uniform(-2, 0.3, (count, ROWS))
    return size * np.where(np.arange(ROWS) % 3 > 0, 1.0, random.choice([-1.0, 1.0], size.shape))


def _values(terms: Sequence[Expr], known: dict[str, np.ndarray], rows: int) -> np.ndarray:
    return np.array([np.broadcast_to(evaluate(term, known), rows) for term in terms])


def _sentences(found: Symmetries) -> Iterator[str]:
    names = found.names
    yield from (_exchange_sentence(found, exchange) for exchange in found.exchanges)
    alone = [names[lead] for lead, move in found.flips if move.touched == [lead]]
    if len(alone) == 1:
        yield f"the sign of {alone[0]} does not matter: the positive one is given"
    elif alone:
        yield f"the signs of {_listed(alone)} do not matter: the positive ones are given"
    for lead, move in found.flips:
        if move.touched != [lead]:
            yield f"{_flip_phrase(names, move)}: the positive {names[lead]} is given"
    for half in dict.fromkeys(found.halves[found.halves > 0].tolist()):
        turning = [name for name, own in zip(names, found.halves, strict=True) if own == half]
        said = "are phases: they are" if turning[1:] else "is a phase: it is"
        angle = "π" if math.isclose(half, math.pi) else f"{half:.6g}"
        yield f"{_listed(turning)} {said} given within (−{angle}, {angle}]"


def _flip_phrase(names: Sequence[str], move: Move) -> str:
    signs = [name for name, sign in zip(names, move.signs, strict=True) if sign < 0]
    turned = [name for name, turn in zip(names, move.turns, strict=True) if turn]
    said = f"{_listed(signs)} can change sign" + (" together" if signs[1:] else "")
    if turned:
        said += f" while {_listed(turned)} {'move' if turned[1:] else 'moves'} by half a period"
    return said


def _exchange_sentence(found: Symmetries, exchange: Exchange) -> str:
    names, parts = found.names, exchange.parts
    leads = [names[min(part, key=found.order.index)] for part in parts]
    said = " and ".join(", ".join(names[k] for k in part) for part in parts) + " can be exchanged"
    signs = [name for name, sign in zip(names, exchange.moves[0].signs, strict=True) if sign < 0]
    if signs:
        said += f" while {_listed(signs)} {'change' if signs[1:] else 'changes'} sign"
    if len(leads) == 2:
        return f"{said}: the smaller of {leads[0]} and {leads[1]} comes first"
    return f"{said}: {_listed(leads)} come in ascending order"


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
