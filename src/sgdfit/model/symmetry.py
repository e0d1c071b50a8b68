"""Equivalent optima of a model, and the one of them that is given.

Two peaks can be swapped, the width of a peak can change its sign, an amplitude can be negative
where its wave runs half a turn later: the predictions are the same, so that no data can tell.
A candidate moves nonlinear parameters; what that does to the basis functions of the linear ones
(see `sgdfit.model.separation`) says whether and how these go along.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from itertools import chain, combinations, pairwise
from typing import Any, NamedTuple

import numpy as np
import sympy

from sgdfit.formula.formula import symbol
from sgdfit.model.model import Model
from sgdfit.model.separation import separate

Expr = Any  # SymPy ships no types

# Six peaks can be swapped in 720 ways; nobody looks at more of them.
MOST = 400
# How many parameters may change their sign together, half turns of phases counted.
TOGETHER = 3
WAVES = (sympy.sin, sympy.cos, sympy.tan, sympy.cot)


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


Part = tuple[int, ...]  # numbers of parameters
# Parts of a model of which any two can be exchanged, and the moves that do.
Exchange = tuple[list[Part], list[Move]]


class Symmetries:
    """Moves that leave a prediction unchanged."""

    def __init__(
        self,
        prediction: Expr,
        names: tuple[str, ...],
        bounds: tuple[tuple[float, float], ...],
        movable: frozenset[str],
    ) -> None:
        self.names, self.bounds, self.movable = names, bounds, movable
        self.parts = separate(prediction, names)
        nonlinear = list(map(names.index, self.parts.nonlinear))
        self._halves = [sympy.S.Zero] * len(names)
        for i in nonlinear:
            self._halves[i] = self._half_period(prediction, i)
        # float64[p]: half the period of each phase, else 0.
        halves = self.halves = np.array([float(half) for half in self._halves])
        # Which parameters decide first: nonlinear ones, phases, linear ones.
        self.order = sorted(range(len(names)), key=lambda i: (i not in nonlinear, halves[i] > 0, i))
        # Each change of sign by the parameter that it makes positive.
        self.flips = self._flips()
        self.exchanges = sorted(
            self._exchanges(), key=lambda e: (min(map(self.order.index, e[0][0])), len(e[0][0]))
        )
        self.swaps = [move for _, moves in self.exchanges for move in moves]

    def _half_period(self, prediction: Expr, i: int) -> Expr:
        """Return half the period of a parameter that is a phase of sines and cosines, else 0."""
        phase, waves = symbol(self.names[i]), prediction.atoms(*WAVES)
        elsewhere = prediction.xreplace({wave: sympy.Dummy() for wave in waves}).free_symbols
        rates = [abs(wave.args[0].diff(phase)) for wave in waves if phase in wave.free_symbols]
        bounded = self.bounds[i] != (-math.inf, math.inf)
        if bounded or phase in elsewhere or not all(rate.is_comparable for rate in rates):
            return sympy.S.Zero
        if any(rate / min(rates) % 1 for rate in rates):
            return sympy.S.Zero
        self._halves[i] = sympy.pi / min(rates)
        # tan(x + c) and sin(x + c)**2 have half the period of sin(x + c).
        turn = self._flip([len(self.names) + i])
        while self._completed(turn) == turn:
            self._halves[i] /= 2
        return self._halves[i] if self.names[i] in self.movable else sympy.S.Zero

    def _flips(self) -> dict[int, Move]:
        """Return changes of sign that make up all, since they commute and undo themselves.

        Each is held by a parameter whose sign it alone decides: elimination over 0 and 1. Numbers
        from p on stand for half turns. Phases come last: by themselves they have no sign to settle.
        """
        p, rows, found = len(self.order), list(self._changes()), dict[int, frozenset[int]]()
        for lead in [*sorted(self.order, key=lambda i: self._halves[i] != 0), *range(p, 2 * p)]:
            row = next((row for row in rows if lead in row), None)
            if row is not None:
                rows = [other ^ row if lead in other else other for other in rows if other != row]
                found = {k: old ^ row if lead in old else old for k, old in found.items()}
                found[lead] = row
        return {i: self._flip(row) for i, row in found.items() if i < p and not self._halves[i]}

    def _flip(self, row: Collection[int]) -> Move:
        every = range(len(self.names))
        signs = tuple(-1 if i in row else 1 for i in every)
        return Move(tuple(every), signs, tuple(int(i + len(every) in row) for i in every))

    def _changes(self) -> Iterator[frozenset[int]]:
        p = len(self.names)
        for part in self.parts.components:
            ranks = [self.names.index(name) for name in part.names]
            choices = [*ranks, *(p + i for i in ranks if self._halves[i])]
            for some in chain(*(combinations(choices, k + 1) for k in range(TOGETHER))):
                move = self._completed(self._flip(some))
                if move is not None and move.source == tuple(range(p)):
                    yield frozenset(some) | {i for i, sign in enumerate(move.signs) if sign < 0}

    def _exchanges(self) -> list[Exchange]:
        """Return exchanges of components of one form, and of single parameters within one."""
        swaps: list[tuple[Sequence[str], Sequence[str]]] = []
        alike: dict[Any, list[tuple[str, ...]]] = {}
        for part in self.parts.components:
            alike.setdefault(part.shape, []).append(part.names)
        for several in alike.values():
            swaps += pairwise(several)
        for part in self.parts.components:
            swaps += combinations([(name,) for name in part.names], 2)
        found: list[Exchange] = []
        for some, others in swaps:
            source = list(range(len(self.names)))
            for one, other in zip(some, others, strict=True):
                i, j = self.names.index(one), self.names.index(other)
                source[i], source[j] = j, i
            move = self._completed(self._flip(())._replace(source=tuple(source)))
            if move is not None:
                _add(found, move)
        return found

    def _completed(self, move: Move) -> Move | None:
        """Return a move with what linear parameters do, if it leaves the prediction as it is."""
        image = {
            symbol(self.names[i]): move.signs[i] * symbol(self.names[move.source[i]])
            + move.turns[i] * self._halves[i]
            for i in move.touched
        }
        before = [_comparable(term) for part in self.parts.components for term in part.basis]
        linear = [self.names.index(n) for part in self.parts.components for n in part.linear]
        offset = sympy.Add(*(part.offset for part in self.parts.components))
        if _comparable(offset.xreplace(image)) != _comparable(offset):
            return None
        source, signs = list(move.source), list(move.signs)
        for i, term in zip(linear, before, strict=True):
            after = _comparable(term.xreplace(image))
            sign = 1 if after in before else -1
            if sign * after not in before:
                return None
            # a·f(θ') is a·(±g)(θ): g takes the amplitude of f over, with that sign.
            to = linear[before.index(sign * after)]
            source[to], signs[to] = i, sign
        whole = Move(tuple(source), tuple(signs), move.turns)
        return whole if sorted(source) == sorted(move.source) and self._may(whole) else None

    def _may(self, move: Move) -> bool:
        """Whether all may move, and come from one with the same bounds and period."""
        for i in move.touched:
            j = move.source[i]
            low, high = self.bounds[j]
            bounds = (low, high) if move.signs[i] > 0 else (-high, -low)
            if bounds != self.bounds[i] or self._halves[i] != self._halves[j]:
                return False
        return self.movable.issuperset(self.names[i] for i in move.touched)


def equivalents(model: Model, theta: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the free parameters that predict the same as ``theta``, float64[p], in every row.

    ``theta`` itself comes first; then its images under exchanges and changes of sign, phases in
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
    queue = [_wrapped(theta, found.halves)]
    known = {_rounded(queue[0])}
    for point in queue:
        for move in (*found.flips.values(), *found.swaps):
            image = move.apply(point, found.halves)
            if len(queue) < MOST and _rounded(image) not in known:
                known.add(_rounded(image))
                queue.append(image)
    return (theta, *queue[1:])


def canonical(
    model: Model, theta: np.ndarray, names: Collection[str]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the one of all equivalent parameters that is given, and a sentence each symmetry.

    What can be exchanged comes in ascending order of its first nonlinear parameter; of what can
    change its sign, the first nonlinear parameter is positive; phases lie within (−π, π].
    ``theta`` is float64[p], or float64[k, p] whose further rows are moved as the first is. A
    symmetry that moves any but ``names`` is left alone.

    Examples
    --------
    >>> from sgdfit.model.model import build
    >>> model = build("y = a*exp(-(x - m)**2/s**2)", ["x", "y"])
    >>> canonical(model, np.array([1.0, 2.0, -3.0]), model.free)
    (array([1., 2., 3.]), ('the sign of s does not matter: the positive one is given',))
    """
    found = _of_model(model, names)
    best, improved = _settled(found, np.atleast_2d(np.asarray(theta, dtype=float))), True
    while improved:
        improved = False
        for move in found.swaps:
            image = _settled(found, move.apply(best, found.halves))
            if image[0, found.order].tolist() < best[0, found.order].tolist():
                best, improved = image, True
    return best.reshape(np.shape(theta)), tuple(_sentences(found))


def _settled(found: Symmetries, theta: np.ndarray) -> np.ndarray:
    """Return ``theta`` with its signs and phases as they are given."""
    theta = _wrapped(theta, found.halves)
    for lead, move in found.flips.items():
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


_symmetries = lru_cache(maxsize=256)(Symmetries)


@lru_cache(maxsize=4096)
def _comparable(expression: Expr) -> Expr:
    """Write equal expressions alike: signs within powers, angles multiplied out."""
    written = {
        power: (-1) ** power.exp * (-power.base) ** power.exp
        for power in expression.atoms(sympy.Pow)
        if power.exp.is_Integer and power.base.could_extract_minus_sign()
    }
    written |= {wave: wave.func(wave.args[0].expand()) for wave in expression.atoms(*WAVES)}
    return expression.xreplace(written)


def _add(found: list[Exchange], move: Move) -> None:
    """Put an exchange of two parts to those of the same parts."""
    one = tuple(k for k, j in enumerate(move.source) if j > k)
    other = tuple(sorted(move.source[k] for k in one))
    for parts, moves in found:
        if one in parts or other in parts:
            parts.extend(part for part in (one, other) if part not in parts)
            moves.append(move)
            return
    found.append(([one, other], [move]))


def _sentences(found: Symmetries) -> Iterator[str]:
    names = found.names
    for parts, moves in found.exchanges:
        leads = [names[min(part, key=found.order.index)] for part in parts]
        said = " and ".join(", ".join(names[k] for k in part) for part in parts)
        said += " can be exchanged"
        signs = _flipped(names, moves[0])
        if signs:
            said += f" while {_listed(signs)} {'change' if signs[1:] else 'changes'} sign"
        several = f"{_listed(leads)} come in ascending order"
        yield f"{said}: {several if leads[2:] else f'the smaller of {_listed(leads)} comes first'}"
    alone = [names[lead] for lead, move in found.flips.items() if move.touched == [lead]]
    if alone[1:]:
        yield f"the signs of {_listed(alone)} do not matter: the positive ones are given"
    elif alone:
        yield f"the sign of {alone[0]} does not matter: the positive one is given"
    for lead, move in found.flips.items():
        signs = _flipped(names, move)
        turned = [name for name, turn in zip(names, move.turns, strict=True) if turn]
        said = f"{_listed(signs)} can change sign" + (" together" if signs[1:] else "")
        if turned:
            verb = "move" if turned[1:] else "moves"
            said += f" while {_listed(turned)} {verb} by half a period"
        if move.touched != [lead]:
            yield f"{said}: the positive {names[lead]} is given"
    for half in dict.fromkeys(found.halves[found.halves > 0].tolist()):
        turning = [name for name, own in zip(names, found.halves, strict=True) if own == half]
        said = "are phases: they are" if turning[1:] else "is a phase: it is"
        angle = "π" if math.isclose(half, math.pi) else f"{half:.6g}"
        yield f"{_listed(turning)} {said} given within (−{angle}, {angle}]"


def _flipped(names: Sequence[str], move: Move) -> list[str]:
    return [name for name, sign in zip(names, move.signs, strict=True) if sign < 0]


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)
