"""Equivalent optima of a model, and the one of them that is given.

Two peaks can be swapped, the width of a peak can change its sign, an amplitude can be negative
where its wave runs half a turn later: the predictions are the same, so that no data can tell.
A candidate moves nonlinear parameters; what that does to the basis functions of the linear ones
(see `sgdfit.model.separation`) says whether and how these go along.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, combinations, pairwise
from typing import Any, NamedTuple

import numpy as np
import sympy

from sgdfit.formula.evaluation import evaluate
from sgdfit.formula.formula import symbol
from sgdfit.model.model import Model
from sgdfit.model.separation import Component, separate

Expr = Any  # SymPy ships no types

# Six peaks can be swapped in 720 ways; nobody looks at more of them.
MOST = 400
# How many parameters may change their sign together, half turns of phases counted.
TOGETHER = 3
# Random points at which a mixture is looked for, and names of rates of absorption, which
# textbooks take for the larger one.
POINTS, ABSORPTION = 64, ("ka", "k_a", "k01")
WAVES = (sympy.sin, sympy.cos, sympy.tan, sympy.cot)


class Move(NamedTuple):
    """θ'[i] = signs[i]·θ[source[i]] + turns[i]·half a period."""

    source: tuple[int, ...]
    signs: tuple[int, ...]
    turns: tuple[int, ...]

    @property
    def exchanged(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The parameters that change places: those that go up, and those that come down."""
        up, down = (
            tuple(i for i, j in enumerate(self.source) if (j - i) * way > 0) for way in (1, -1)
        )
        return up, down


class Turn(NamedTuple):
    """A move beside which the linear parameters mix, or one parameter changes by a factor."""

    move: Move
    mixed: np.ndarray | None  # float64[k, k]: of the linear ones
    scaled: tuple[int, Expr] | None
    # The parameter that is positive, or the one that is larger than another, in what is given.
    positive: int | None
    larger: tuple[int, int] | None

    def is_usual(self, theta: np.ndarray) -> bool:
        """Whether parameters, float64[p], are given so."""
        if self.larger is not None:
            return bool(theta[self.larger[0]] >= theta[self.larger[1]])
        return self.positive is None or bool(theta[self.positive] >= 0)


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
        plain, parts = separate(prediction, names)[2:]
        # All linear parameters, also those that nothing nonlinear multiplies, and their terms.
        both = (plain, *parts)
        self.all_linear = [names.index(name) for part in both for name in part.linear]
        self.all_terms = [term for part in both for term in part.basis]
        self.all_offset = sympy.Add(*(part.offset for part in both))
        self.groups = [[names.index(name) for name in part.names] for part in parts]
        self.linear = [names.index(name) for part in parts for name in part.linear]
        self.terms = [_comparable(term) for part in parts for term in part.basis]
        self.offset = _comparable(sympy.Add(*(part.offset for part in parts)))
        nonlinear = list(chain(*self.groups))
        self.half_periods = [sympy.S.Zero] * len(names)  # of phases; else 0
        for i in nonlinear:
            self._find_half_period(i)
        halves = self.halves = np.array([float(half) for half in self.half_periods])
        # Which parameters decide first: nonlinear ones, phases, linear ones.
        self.order = sorted(range(len(names)), key=lambda i: (i not in nonlinear, halves[i] > 0, i))
        # Each change of sign by the parameter that it makes positive.
        self.flips = self._flips()
        self.exchanges = self._exchanges(parts)
        self.turns = [turn for pair in self.groups for turn in self._turns(pair)]
        self.swaps = list(chain(*self.exchanges))

    def moved(self, theta: np.ndarray, move: Move) -> np.ndarray:
        """Return the image of float64[..., p], phases within (−half, half] of a period."""
        image = theta[..., list(move.source)] * move.signs + np.multiply(move.turns, self.halves)
        period = np.where(self.halves > 0, 2 * self.halves, np.inf)
        with np.errstate(invalid="ignore"):
            turned = image - np.ceil((image - self.halves) / period) * 2 * self.halves
        return np.asarray(np.where((self.halves > 0) & np.isfinite(image), turned, image))

    def _find_half_period(self, i: int) -> None:
        """Take a parameter for a phase where waves are alike after a turn of it."""
        waves = sympy.Add(self.offset, *self.terms).atoms(*WAVES)
        rates = [abs(wave.args[0].diff(symbol(self.names[i]))) for wave in waves]
        rates = [rate for rate in rates if rate != 0]
        if rates and all(rate.is_comparable for rate in rates):
            turn = self.flip(())._replace(turns=tuple(2 * (k == i) for k in range(len(self.names))))
            # tan(x + c) and sin(x + c)**2 have half the period of sin(x + c).
            for share in (2, 1):
                self.half_periods[i] = sympy.pi / min(rates) / share
                if self._completed(turn) == turn:
                    return
        self.half_periods[i] = sympy.S.Zero

    def flip(self, row: Collection[int]) -> Move:
        """Return the change of sign of these parameters; from p on, numbers are half turns."""
        p = len(self.names)
        signs = tuple(-1 if i in row else 1 for i in range(p))
        return Move(tuple(range(p)), signs, tuple(int(p + i in row) for i in range(p)))

    def _flips(self) -> dict[int, Move]:
        """Return changes of sign that make up all, since they commute and undo themselves.

        Each is held by a parameter whose sign it alone decides: elimination over 0 and 1. Phases
        come last: by themselves they have no sign to settle.
        """
        p, rows, found = len(self.names), list[frozenset[int]](), dict[int, frozenset[int]]()
        for group in self.groups:
            choices = [*group, *(p + i for i in group if self.halves[i])]
            for some in chain(*(combinations(choices, k + 1) for k in range(TOGETHER))):
                move = self._completed(self.flip(some))
                if move is not None and move.source == tuple(range(p)):
                    along = (i for i, sign in enumerate(move.signs) if sign < 0)
                    rows.append(frozenset((*some, *along)))
        for lead in [*sorted(self.order, key=lambda i: self.halves[i] > 0), *range(p, 2 * p)]:
            row = next((row for row in rows if lead in row), None)
            if row is not None:
                rows = [other ^ row if lead in other else other for other in rows if other != row]
                found = {k: old ^ row if lead in old else old for k, old in found.items()}
                found[lead] = row
        return {i: self.flip(row) for i, row in found.items() if i < p and not self.halves[i]}

    def _exchanges(self, parts: Iterable[Component]) -> list[list[Move]]:
        """Return exchanges of two parameters within a component, and of components of one form."""
        pairs: list[list[tuple[list[int], list[int]]]] = []
        alike: dict[Any, list[list[int]]] = {}
        for part, group in zip(parts, self.groups, strict=True):
            pairs += [[([i], [j])] for i, j in combinations(group, 2)]
            alike.setdefault(part.shape, []).append(group)
        pairs += [list(pairwise(several)) for several in alike.values()]
        found: list[list[Move]] = []
        for several in pairs:
            moves = []
            for some, others in several:
                source = list(range(len(self.names)))
                for i, j in zip(some, others, strict=True):
                    source[i], source[j] = j, i
                move = self._completed(self.flip(())._replace(source=tuple(source)))
                moves += [] if move is None else [move]
            found += [moves] if moves else []
        return sorted(found, key=lambda moves: min(map(self.order.index, moves[0].exchanged[0])))

    def turned(self, theta: np.ndarray, turn: Turn) -> np.ndarray:
        """Return the image of float64[..., p]."""
        image = self.moved(theta, turn.move)
        if turn.mixed is not None:
            image[..., self.all_linear] = theta[..., self.all_linear] @ turn.mixed
        if turn.scaled is not None:
            i, factor = turn.scaled
            image[..., i] = theta[..., i] * self._values(factor, theta)
        return image

    def _values(self, expression: Expr, theta: np.ndarray, **columns: np.ndarray) -> np.ndarray:
        known = dict(zip(self.names, np.moveaxis(theta, -1, 0), strict=True))
        return np.broadcast_to(evaluate(expression, known | columns), theta.shape[:-1])

    def _turns(self, group: Sequence[int]) -> Iterator[Turn]:
        """Yield what else changes the sign of one of a group, or exchanges two of it.

        The ends of a logistic curve change places as its slope turns round; the rates of a
        one-compartment curve do while its volume or dose changes by their ratio.
        """
        for i in group:
            if i not in self.flips and not self.halves[i]:
                mixed = self._mixed(self.flip([i]))
                if mixed is not None:
                    yield Turn(self.flip([i]), mixed, None, i, None)
        known = {moves[0].exchanged: moves for moves in self.exchanges}
        for i, j in combinations(group, 2):
            source = list(range(len(self.names)))
            source[i], source[j] = j, i
            move = self.flip(())._replace(source=tuple(source))
            first = (i, j) if self.names[i].lower().startswith(ABSORPTION) else (j, i)
            if (moves := known.get(((i,), (j,)))) is None:
                yield from self._scaled(move, i, j)
            elif self.names[first[0]].lower().startswith(ABSORPTION):
                self.exchanges.remove(moves)
                yield Turn(moves[0], None, None, None, first)

    def _mixed(self, move: Move) -> np.ndarray | None:
        """Return what the linear parameters become, if each term becomes a fixed sum of them all.

        Values at random tell: those of rows as large as 1e8.
        """
        random, lead = np.random.default_rng(0), move.signs.index(-1)
        theta = random.uniform(0.5, 2.0, (POINTS, len(self.names)))
        parts = [self.all_offset, *self.all_terms]
        names = {s.name for part in parts for s in part.free_symbols}.difference(self.names)
        rows = {name: 10 ** random.uniform(-2.0, 2.0, POINTS) for name in sorted(names)}
        before, after = (
            np.stack([self._values(part, at, **rows) for part in parts])
            for at in (theta, self.moved(theta, move))
        )
        held = [*self.all_linear, lead]
        free = all(self.names[i] in self.movable for i in held)
        free &= all(self.bounds[i] == (-math.inf, math.inf) for i in held)
        if not free or not np.isfinite([before, after]).all() or not self.all_linear:
            return None
        mix = np.round(np.linalg.lstsq(before[1:].T, after[1:].T, rcond=None)[0])
        told = np.vstack([before[:1], mix.T @ before[1:]])
        is_same = np.allclose(told, after, rtol=1e-9, atol=1e-11)
        is_same &= math.isclose(abs(np.linalg.det(mix)), 1.0)
        # Where none mixes, the formula itself would tell.
        is_same &= bool((mix != np.diag(np.diag(mix))).any())
        return np.round(np.linalg.inv(mix).T) if is_same else None

    def _scaled(self, move: Move, i: int, j: int) -> Iterator[Turn]:
        """Yield an exchange of two that changes the one part they are in by a factor."""
        one, other = (symbol(self.names[k]) for k in (i, j))
        held = [p for p in (self.offset, *self.terms) if p.has(one) or p.has(other)]
        if len(held) != 1 or self.bounds[i] != self.bounds[j] or not held[0].is_Mul:
            return
        factor = sympy.factor(held[0].xreplace({one: other, other: one}) / held[0])
        if not factor.free_symbols <= {one, other}:
            return
        scales = [k for k, part in zip(self.linear, self.terms, strict=True) if part is held[0]]
        scales += [
            k
            for k, name in ((k, symbol(self.names[k])) for k in chain(*self.groups))
            if not (held[0] * name).has(name)
        ]
        first = (i, j) if sympy.fraction(factor)[1].has(one) else (j, i)
        if self.names[i].lower().startswith(ABSORPTION):
            first = (i, j)
        if factor == 1:
            yield Turn(move, None, None, None, first)
            return
        for k in scales[:1]:
            may = {self.names[m] for m in (i, j, k)} <= self.movable
            if may and self.bounds[k] in ((-math.inf, math.inf), (0.0, math.inf)):
                up = 1 / factor if k in self.linear else factor
                yield Turn(move, None, (k, up), None, first)

    def _completed(self, move: Move) -> Move | None:
        """Return a move with what linear parameters do, if it may leave the prediction as it is."""
        image = {
            symbol(name): sign * symbol(self.names[j]) + turn * half
            for name, j, sign, turn, half in zip(self.names, *move, self.half_periods, strict=True)
        }
        if _comparable(self.offset.xreplace(image)) != self.offset:
            return None
        source, signs = list(move.source), list(move.signs)
        for i, term in zip(self.linear, self.terms, strict=True):
            after = _comparable(term.xreplace(image))
            sign = 1 if after in self.terms else -1
            if sign * after not in self.terms:
                return None
            # a·f(θ') is a·(±g)(θ): g takes the amplitude of f over, with that sign.
            to = self.linear[self.terms.index(sign * after)]
            source[to], signs[to] = i, sign
        # All that moves may, and comes from one with the same bounds and period.
        for i, (j, sign, turn) in enumerate(zip(source, signs, move.turns, strict=True)):
            if (i, 1, 0) == (j, sign, turn):
                continue
            low, high = self.bounds[j]
            bounds = (low, high) if sign > 0 else (-high, -low)
            alike = bounds == self.bounds[i] and self.half_periods[i] == self.half_periods[j]
            room = not turn or bounds == (-math.inf, math.inf)
            if not (alike and room and self.names[i] in self.movable):
                return None
        alone = sorted(source) == list(range(len(source)))  # no two to one
        return Move(tuple(source), tuple(signs), move.turns) if alone else None


_symmetries = lru_cache(maxsize=256)(Symmetries)


def _of_model(model: Model, names: Collection[str]) -> Symmetries:
    bounds = tuple((model.parameters[n].low, model.parameters[n].high) for n in model.free)
    return _symmetries(model.prediction, model.free, bounds, frozenset(names))


def equivalents(model: Model, theta: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the free parameters that predict the same as ``theta``, float64[p], in every row.

    ``theta`` itself comes first; then its images under exchanges and changes of sign, phases in
    their canonical turn; at most 400.
    """
    found = _of_model(model, model.free)
    first = found.moved(np.array(theta, dtype=float), found.flip(()))
    # Two half turns may miss their start by rounding.
    queue, known = [first], {str([f"{value:.13g}" for value in first])}
    for point in queue:
        images = [found.moved(point, move) for move in (*found.flips.values(), *found.swaps)]
        for image in (*images, *(found.turned(point, turn) for turn in found.turns)):
            rounded = str([f"{value:.13g}" for value in image])
            if len(queue) < MOST and rounded not in known:
                known.add(rounded)
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
    """
    found = _of_model(model, names)

    def settled(theta: np.ndarray, move: Move) -> np.ndarray:
        """Return the image of ``theta`` with its signs as they are given."""
        theta = found.moved(theta, move)
        for turn in found.turns:
            theta = theta if turn.is_usual(theta[0]) else found.turned(theta, turn)
        for lead, flip in found.flips.items():
            flipped = [lead, *(i for i in found.order if flip.signs[i] < 0)]
            if next((value for value in theta[0, flipped] if value), 0.0) < 0:
                theta = found.moved(theta, flip)
        return theta

    best, improved = settled(np.atleast_2d(np.asarray(theta, dtype=float)), found.flip(())), True
    while improved:
        improved = False
        for move in found.swaps:
            image = settled(best, move)
            if image[0, found.order].tolist() < best[0, found.order].tolist():
                best, improved = image, True
    return best.reshape(np.shape(theta)), tuple(_sentences(found))


def _sentences(found: Symmetries) -> Iterator[str]:
    names = found.names
    for moves in found.exchanges:
        both = chain(*(move.exchanged for move in moves))
        parts, signs = list(dict.fromkeys(both)), _chosen(names, moves[0].signs, -1)
        said = " and ".join(", ".join(names[k] for k in part) for part in parts)
        along = f" while {_listed(signs)} {'change' if signs[1:] else 'changes'} sign"
        leads = _listed([names[min(part, key=found.order.index)] for part in parts])
        order = f"the smaller of {leads} comes first"
        if parts[2:]:
            order = f"{leads} come in ascending order"
        yield f"{said} can be exchanged{along if signs else ''}: {order}"
    for turn in found.turns:
        if turn.positive is not None:
            moved, sign = _listed([names[k] for k in found.all_linear]), names[turn.positive]
            yield f"{sign} can change sign while {moved} change along: the positive {sign} is given"
        elif turn.larger is not None:
            one, other = (names[k] for k in turn.larger)
            along = "" if turn.scaled is None else f" while {names[turn.scaled[0]]} changes along"
            yield f"{one} and {other} can be exchanged{along}: the larger of them is {one}"
    alone = [names[i] for i, move in found.flips.items() if move == found.flip([i])]
    if alone[1:]:
        yield f"the signs of {_listed(alone)} do not matter: the positive ones are given"
    elif alone:
        yield f"the sign of {alone[0]} does not matter: the positive one is given"
    for lead, move in found.flips.items():
        signs, turned = _chosen(names, move.signs, -1), _chosen(names, move.turns, 1)
        said = f"{_listed(signs)} can change sign" + (" together" if signs[1:] else "")
        if turned:
            said += f" while {_listed(turned)} {'move' if turned[1:] else 'moves'} by half a period"
        if signs[1:] or turned:
            yield f"{said}: the positive {names[lead]} is given"
    for half in sorted({*found.halves.tolist()} - {0.0}):
        phases = _chosen(names, found.halves, half)
        said = "are phases: they are" if phases[1:] else "is a phase: it is"
        angle = "π" if math.isclose(half, math.pi) else f"{half:.6g}"
        yield f"{_listed(phases)} {said} given within (−{angle}, {angle}]"


def _chosen(names: Sequence[str], values: Iterable[float], wanted: float) -> list[str]:
    return [name for name, value in zip(names, values, strict=True) if value == wanted]


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)


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
