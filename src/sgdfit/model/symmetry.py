"""Equivalent optima of a model, and the one of them that is given.

Two peaks can be swapped, the width of a peak can change its sign, an amplitude can be negative
where its wave runs half a turn later: the predictions are the same, so that no data can tell.
A candidate moves nonlinear parameters; what that does to the basis functions of the linear ones
(see `sgdfit.model.separation`) says whether and how these go along. What is exchanged may also be
rates such as ka and CL/V, in whatever parameters they are written, while others change along.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import chain, combinations, pairwise, permutations, product
from typing import Any, NamedTuple

import numpy as np
import sympy

from sgdfit.errors import enumerated
from sgdfit.formula.evaluation import evaluate
from sgdfit.formula.external import external_in
from sgdfit.formula.formula import symbol, to_text
from sgdfit.formula.real import Where
from sgdfit.model.model import Model
from sgdfit.model.separation import WAVES, Component, normal_form, separate

Expr = Any  # SymPy ships no types

# Six peaks can be swapped in 720 ways; nobody looks at more of them.
MOST_MOVES = 400
# How many parameters may change their sign together, half turns of phases counted.
TOGETHER = 3
# Random points at which a mixture is looked for.
POINTS = 64
# Names of rates of absorption, or their logarithms, which textbooks take for the larger ones.
ABSORPTION = re.compile(r"(l|ln|log)?_?k_?(a|01)", re.IGNORECASE)
# In names of rates or times, which one falls faster: alpha is that of distribution.
FASTER = (("alpha", "beta"), ("fast", "slow"), ("rise", "decay"), ("f", "s"))


class Move(NamedTuple):
    """θ'[i] = signs[i]·θ[source[i]] + turns[i]·half a period."""

    source: tuple[int, ...]
    signs: tuple[int, ...]
    turns: tuple[int, ...]

    @property
    def exchanged(self) -> tuple[tuple[int, ...], ...]:
        """The parameters that change places: those that go up, and those that come down."""
        places = list(enumerate(self.source))
        return tuple(tuple(i for i, j in places if (j - i) * way > 0) for way in (1, -1))


class Turn(NamedTuple):
    """A map by which parameters change into expressions of all of them, and back."""

    images: dict[int, Expr]
    positive: Expr  # what is, in what is given
    text: str
    usual: str  # what of it is given, in words


class Symmetries:
    """Moves that leave a prediction unchanged."""

    def __init__(
        self,
        prediction: Expr,
        names: tuple[str, ...],
        bounds: tuple[tuple[float, float], ...],
        movable: frozenset[str],
    ) -> None:
        self.prediction, self.names, self.bounds = prediction, names, bounds
        self.movable, self.symbols = movable, [symbol(name) for name in names]
        # Of a function that is called nothing is known that could be looked at.
        called = external_in(prediction) is not None
        parts = () if called else separate(prediction, names).components
        self.groups = [[names.index(name) for name in part.names] for part in parts]
        self.linear = [names.index(name) for part in parts for name in part.linear]
        self.terms = [normal_form(term) for part in parts for term in part.basis]
        self.offset = normal_form(sympy.Add(*(part.offset for part in parts)))
        nonlinear = list(chain(*self.groups))
        self.half_periods = [sympy.S.Zero] * len(names)  # of phases; else 0
        for i in nonlinear:
            self._find_half_period(i)
        halves = self.halves = np.array([float(half) for half in self.half_periods])
        # Which parameters decide first: nonlinear ones, phases, linear ones.
        self.order = sorted(range(len(names)), key=lambda i: (i not in nonlinear, halves[i] > 0, i))
        # Each change of sign by the parameter that it makes positive.
        self.flips = {} if called else self._flips()
        self.exchanges = self._exchanges(parts)
        # Of which parameters the larger one comes first: -1.
        self.ways = np.ones(len(names), dtype=int)
        for moves in self.exchanges:
            self._order_as_usual(moves)
        # What is found by values at random.
        self.rates = [] if called else list(self._exchanged_rates())
        self.turns = [] if called else [*self._mirrors(), *self.rates, *self._exchanged_shares()]
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
        rates = {abs(wave.args[0].diff(self.symbols[i])) for wave in waves} - {sympy.S.Zero}
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
        pairs = [[([i], [j])] for group in self.groups for i, j in combinations(group, 2)]
        alike: dict[Any, list[list[int]]] = {}
        for part, group in zip(parts, self.groups, strict=True):
            alike.setdefault(part.shape, []).append(group)
        found = []
        for several in (*pairs, *(pairwise(groups) for groups in alike.values())):
            moves = []
            for some, others in several:
                source = np.arange(len(self.names))
                source[[*some, *others]] = [*others, *some]
                moves.append(self._completed(self.flip(())._replace(source=tuple(source.tolist()))))
            found.append([move for move in moves if move is not None])
        found = [moves for moves in found if moves]
        return sorted(found, key=lambda moves: min(map(self.order.index, moves[0].exchanged[0])))

    def _order_as_usual(self, moves: list[Move]) -> None:
        """Let the larger of two come first where names, or a difference of exponentials, say so.

        Of a difference A*(exp(-t/u) - exp(-t/v)) the positive part is the one that falls slower.
        """
        parts = chain(*(move.exchanged for move in moves))
        leads = list(dict.fromkeys(min(part, key=self.order.index) for part in parts))
        differ = any(sign < 0 for sign in moves[0].signs)
        faster = _faster(self.names[leads[0]], self.names[leads[1]], FASTER[differ:])
        if (faster or -differ) * self._falls(leads[0]) > 0:
            self.ways[leads] = -1

    def _falls(self, i: int) -> int:
        """Return 1 where exponentials fall faster as a parameter grows, -1 where slower, else 0."""
        powers = (atom.args[-1] for atom in self.prediction.atoms(sympy.exp, sympy.Pow))
        slopes = [slope for power in powers if (slope := power.diff(self.symbols[i])) != 0]
        ones = np.ones((1, len(self.names)))
        rows = {s.name: np.full(1, 10.0) for slope in slopes for s in slope.free_symbols}
        signs = {-int(np.sign(self._values(slope, ones, **rows)[0])) for slope in slopes}
        return signs.pop() if len(signs) == 1 else 0

    def ordered(self, theta: np.ndarray) -> list[float]:
        """Return what decides between exchanges, of float64[p]: the least of these is given."""
        return list((theta * self.ways)[self.order])

    def turned(self, theta: np.ndarray, turn: Turn) -> np.ndarray | None:
        """Return the image of float64[..., p]; None where the first leaves its bounds."""
        image = theta.copy()
        for i, expression in turn.images.items():
            image[..., i] = self._values(expression, theta)
        first = image.reshape(-1, len(self.names))[0]
        inside = all(low <= x <= high for x, (low, high) in zip(first, self.bounds, strict=True))
        return image if inside and np.isfinite(image).all() else None

    def twin(self, theta: np.ndarray, turn: Turn) -> str:
        """Return in words what changes, and to what; nothing where it leaves its bounds."""
        if (image := self.turned(theta, turn)) is None:
            return ""
        return enumerated([f"{self.names[i]} = {image[i]:.6g}" for i in sorted(turn.images)])

    def is_usual(self, theta: np.ndarray, turn: Turn) -> bool:
        """Whether parameters, float64[p], are those that are given."""
        return not self._values(turn.positive, theta) < 0

    def _values(self, expression: Expr, theta: np.ndarray, **columns: np.ndarray) -> np.ndarray:
        known = dict(zip(self.names, np.moveaxis(theta, -1, 0), strict=True))
        return np.broadcast_to(evaluate(expression, known | columns), theta.shape[:-1])

    def _random(self, expression: Expr) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return parameters, float64[n, p], and what else an expression holds, by its name."""
        random = np.random.default_rng(0)
        theta = random.uniform(0.5, 2.0, (POINTS, len(self.names)))
        others = {s.name for s in expression.free_symbols}.difference(self.names)
        return theta, {name: 10 ** random.uniform(-2.0, 2.0, POINTS) for name in sorted(others)}

    def _mirrors(self) -> Iterator[Turn]:
        """Yield changes of one sign beside which each linear term becomes a sum of them all.

        The ends of a logistic curve change places as its slope turns round. Values at random tell.
        """
        theta, rows = self._random(self.prediction)
        # All linear parameters, also those that nothing nonlinear multiplies, and their terms.
        known = separate(self.prediction, self.names)
        both = (known.plain, *known.components)
        linear = [name for part in both for name in part.linear]
        parts = [sympy.Add(*(part.offset for part in both)), *(t for p in both for t in p.basis)]
        before = np.stack([self._values(part, theta, **rows) for part in parts])
        for i in chain(*self.groups):
            if i in self.flips or self.halves[i] or not linear:
                continue
            held = [self.names[i], *linear]
            there = self.moved(theta, self.flip([i]))
            after = np.stack([self._values(part, there, **rows) for part in parts])
            if not (self.movable.issuperset(held) and np.isfinite([before, after]).all()):
                continue
            # By the largest term of each row, lest one of exp(k*x) drown the others.
            size = np.abs([before, after]).max(axis=(0, 1))
            size[size == 0] = 1.0
            here, there = before / size, after / size
            mix = np.round(np.linalg.lstsq(here[1:].T, there[1:].T, rcond=None)[0])
            told = np.vstack([here[:1], mix.T @ here[1:]])
            is_same = np.allclose(told, there, rtol=1e-9, atol=1e-11)
            is_same &= math.isclose(abs(np.linalg.det(mix)), 1.0)
            # Where none mixes, the formula itself would tell.
            if not is_same or not (mix != np.diag(np.diag(mix))).any():
                continue
            back = sympy.Matrix(np.round(np.linalg.inv(mix)).astype(int))
            mixed = back * sympy.Matrix([symbol(name) for name in linear])
            images = {
                i: -self.symbols[i],
                **dict(zip(map(self.names.index, linear), mixed, strict=True)),
            }
            text = f"{held[0]} can change sign while {enumerated(linear)} change along"
            yield Turn(images, self.symbols[i], text, f"the positive {held[0]} is given")

    def _exchanged_rates(self) -> Iterator[Turn]:
        """Yield exchanges of two coefficients of data within functions, as in exp(-CL/V*t)."""
        data = self.prediction.free_symbols.difference(self.symbols)
        known = {moves[0].exchanged: moves for moves in self.exchanges}
        rates: dict[Any, dict[Expr, None]] = {}
        atoms = self.prediction.atoms(sympy.Function, sympy.Pow)
        for atom in sorted(atoms, key=sympy.default_sort_key):
            factors: dict[Expr, Expr] = {}
            for term in sympy.Add.make_args(sympy.expand_mul(atom.args[-1])):
                factor, of = term.as_independent(*data, as_Add=False)
                factors[of] = factors.get(of, 0) + factor
            factors.pop(sympy.S.One, None)
            for of, factor in factors.items() if len(factors) == 1 else ():
                minus = factor.could_extract_minus_sign()
                alike = rates.setdefault((atom.func, *atom.args[:-1], of, minus), {})
                if factor.free_symbols:
                    alike[-factor if minus else factor] = None
        for pair in chain(*(combinations(alike, 2) for alike in rates.values())):
            places = sorted(self.symbols.index(s) for rate in pair for s in rate.free_symbols)
            moves = known.get(tuple((i,) for i in places))
            if moves is None or any(ABSORPTION.match(self.names[i]) for i in places):
                turn = self._exchange(*sorted(pair, key=lambda rate: -len(rate.free_symbols)))
                if turn is not None:
                    self.exchanges = [each for each in self.exchanges if each is not moves]
                    yield turn

    def _exchange(self, one: Expr, other: Expr) -> Turn | None:
        """Return how two rates change places, and what changes along."""
        # A parameter of which a rate is a multiple is the better one to take it up.
        choices = [
            sorted(rate.free_symbols, key=lambda own: (rate.diff(own).has(own), own.name))
            for rate in (one, other)
        ]
        moving = one.free_symbols | other.free_symbols
        known = self.prediction.replace(Where, partial(_by_case, moving))
        for u, v in product(*choices):
            # From here on u and v stand for the rates themselves.
            v_of = _inverse(other, v)
            u_of = None if v_of is None else _inverse(one.xreplace({v: v_of}), u)
            if u_of is None or v_of is None or other.has(u):
                continue
            moved = known.xreplace({u: u_of, v: v_of})
            rest, whole = moved.as_independent(u, v, as_Add=True)
            part, new = sympy.factor_terms(whole), {u: other, v: one}
            factor = self._factor(part.xreplace({u: v, v: u}) / part)
            if factor is None:
                continue
            if factor != 1:
                held = {u, v, *rest.free_symbols}
                new |= self._scaled(part, factor.xreplace({u: one, v: other}), held)
                if len(new) == 2:
                    continue
            images = new | {u: u_of.xreplace(new), v: v_of.xreplace(new)}
            images = {own: images[own] for own in self.symbols if images.get(own, own) != own}
            if self.movable.issuperset(own.name for own in images):
                # What multiplies the whole is the rate of absorption.
                below = sympy.fraction(factor)[1]
                absorbs = [
                    (any(ABSORPTION.match(s.name) for s in rate.free_symbols), below.has(own))
                    for rate, own in ((one, u), (other, v))
                ]
                pair = (one, other) if absorbs[0] >= absorbs[1] else (other, one)
                return self._turn(*pair, images)
        return None

    def _factor(self, ratio: Expr) -> Expr | None:
        """Return a ratio in parameters alone; None where it depends on data."""
        theta, rows = self._random(ratio)
        values = self._values(ratio, np.broadcast_to(theta[0], theta.shape), **rows)
        values = values[np.isfinite(values)]
        if not len(values) or not np.allclose(values, values[0], rtol=1e-9, atol=0):
            return None
        factor = sympy.factor(ratio)
        return factor if factor.free_symbols.issubset(self.symbols) else None

    def _scaled(self, part: Expr, factor: Expr, held: Collection[Expr]) -> dict[Expr, Expr]:
        """Return what parameter takes up a factor of a part of the prediction, and how."""
        log = sympy.log(factor)
        for own in self.symbols:
            sizes = {own: own / factor, 1 / own: own * factor}
            sizes |= {sympy.exp(own): own - log, sympy.exp(-own): own + log}
            for size, image in sizes.items():
                if own not in held and part.has(own) and not (part / size).has(own):
                    return {own: image}
        return {}

    def _exchanged_shares(self) -> Iterator[Turn]:
        """Yield exchanges of two parts of a mixture, whose shares are f and 1 - f."""
        settled = {i for moves in self.exchanges for move in moves for i in chain(*move.exchanged)}
        settled |= {i for turn in self.rates for i in turn.images}
        atoms = self.prediction.atoms(sympy.Function, sympy.Pow)
        held = {atom: atom.free_symbols.intersection(self.symbols) for atom in atoms}
        tried = set[frozenset[int]]()
        for one, other in combinations(sorted(atoms, key=sympy.default_sort_key), 2):
            some, others = (
                sorted(map(self.symbols.index, mine - its))
                for mine, its in ((held[one], held[other]), (held[other], held[one]))
            )
            both = frozenset((*some, *others))
            if not 0 < len(some) == len(others) < 4 or both <= settled or both in tried:
                continue
            for order in permutations(others):
                swap = {self.symbols[i]: self.symbols[j] for i, j in zip(some, order, strict=True)}
                swap |= {b: a for a, b in swap.items()}
                moving = (atom for atom in atoms if not held[atom].isdisjoint(swap))
                if atoms.issuperset(atom.xreplace(swap) for atom in moving):
                    tried.add(both)
                    first = self.symbols[min(both)]
                    turn = self._share(first, swap[first], swap)
                    yield from () if turn is None else (turn,)

    def _share(self, first: Expr, last: Expr, swap: dict[Expr, Expr]) -> Turn | None:
        """Return an exchange of parameters and what changes along, such as f to 1 - f."""
        swapped = self.prediction.xreplace(swap)
        for own in self.symbols:
            slope = swapped.diff(own)
            if own in swap or slope == 0 or slope.has(own):
                continue
            # Multiplied out, lest a 1 in both drown the rest.
            change = sympy.expand_mul(self.prediction - swapped.xreplace({own: 0}))
            image = self._factor(change / slope)
            images = swap | {own: image}
            if image is None or not self.movable.issuperset(moved.name for moved in images):
                continue
            falls = _faster(first.name, last.name) * self._falls(self.symbols.index(first)) > 0
            return self._turn(*((first, last) if falls else (last, first)), images)
        return None

    def _turn(self, larger: Expr, smaller: Expr, images: dict[Expr, Expr]) -> Turn:
        said = [to_text(rate) for rate in (larger, smaller)]
        alone = [rate.free_symbols for rate in (larger, smaller) if len(rate.free_symbols) == 1]
        along = [own.name for own in images if {own} not in alone]
        text = f"{enumerated(said)} can be exchanged"
        if along:
            text += f" while {enumerated(along)} {'change' if along[1:] else 'changes'} along"
        places = {self.symbols.index(own): image for own, image in images.items()}
        return Turn(places, larger - smaller, text, f"the larger of them is {said[0]}")

    def _completed(self, move: Move) -> Move | None:
        """Return a move with what linear parameters do, if it may leave the prediction as it is."""
        image = {
            own: sign * self.symbols[j] + turn * half
            for own, j, sign, turn, half in zip(self.symbols, *move, self.half_periods, strict=True)
        }
        if normal_form(self.offset.xreplace(image)) != self.offset:
            return None
        source, signs = list(move.source), list(move.signs)
        for i, term in zip(self.linear, self.terms, strict=True):
            after = normal_form(term.xreplace(image))
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
    their canonical turn; at most 400. Of a model with levels ``theta`` alone is returned.
    """
    # Of a function that is called nothing can be read off.
    if model.formula.levels or model.external:
        return (theta,)
    found = _of_model(model, model.free)
    if not (found.flips or found.swaps or found.turns):
        return (theta,)
    first = found.moved(np.array(theta, dtype=float), found.flip(()))
    # Two half turns may miss their start by rounding.
    queue, known = [first], {str([f"{value:.13g}" for value in first])}
    for point in queue:
        images = [found.moved(point, move) for move in (*found.flips.values(), *found.swaps)]
        turned = [found.turned(point, turn) for turn in found.turns]
        for image in (*images, *(image for image in turned if image is not None)):
            rounded = str([f"{value:.13g}" for value in image])
            if len(queue) < MOST_MOVES and rounded not in known:
                known.add(rounded)
                queue.append(image)
    return (theta, *queue[1:])


def has_equivalents(model: Model, names: Collection[str]) -> bool:
    """Whether other values of the parameters ``names`` predict the same in every row."""
    found = _of_model(model, names)
    return bool(found.swaps or found.flips or found.turns or any(found.half_periods))


def canonical_theta(
    model: Model, theta: np.ndarray, names: Collection[str]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the one of all equivalent parameters that is given, and a sentence each symmetry.

    What can be exchanged comes in ascending order of its first nonlinear parameter, unless names or
    a difference of exponentials tell which one falls faster; of what can change its sign, the first
    nonlinear parameter is positive; phases lie within (−π, π].
    ``theta`` is float64[p], or float64[k, p] whose further rows are moved as the first is. A
    symmetry that moves any but ``names`` is left alone. Parameters of levels move as those of the
    formula of one level do, all levels alike or each by itself.
    """
    if model.formula.levels:
        return _canonical_by_level(model, np.array(theta, dtype=float), names)
    found = _of_model(model, names)

    def settled(theta: np.ndarray, move: Move) -> np.ndarray:
        """Return the image of ``theta`` with its signs as they are given."""
        theta = found.moved(theta, move)
        for turn in found.turns:
            twin = None if found.is_usual(theta[0], turn) else found.turned(theta, turn)
            theta = theta if twin is None else twin
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
            if found.ordered(image[0]) < found.ordered(best[0]):
                best, improved = image, True
    return best.reshape(np.shape(theta)), tuple(_sentences(found, best[0]))


def _canonical_by_level(
    model: Model, theta: np.ndarray, names: Collection[str]
) -> tuple[np.ndarray, tuple[str, ...]]:
    families, base = model.formula.families, model.base
    members = {model.formula.subscripts[name][0]: some for name, some in families.items()}
    if len(model.formula.levels) > 1:  # a parameter then belongs to several pairs of levels
        return theta, ()
    count = len(next(iter(members.values())))
    full = [[members.get(own, (own,) * count)[k] for own in base.free] for k in range(count)]
    # What is fixed or tied leaves no level like another.
    if {n for some in full for n in some} != set(model.free):
        return theta, ()
    places, points = [[model.free.index(n) for n in some] for some in full], np.atleast_2d(theta)
    common = np.array([own not in members for own in base.free])
    alike = {
        own
        for own, some in zip(base.free, zip(*full, strict=True), strict=True)
        if len({(model.parameters[n].low, model.parameters[n].high) for n in some}) == 1
    }
    movable = {own for k, own in enumerate(base.free) if {some[k] for some in full} <= {*names}}
    movable, told = movable & alike, dict[str, None]()
    for able in (movable, movable - members.keys()):
        stacked = points[:, places]
        moved, said = canonical_theta(base, stacked.reshape(-1, len(base.free)), able)
        moved = moved.reshape(stacked.shape)
        if (moved[:, :, common] == moved[:, :1, common]).all():
            points[:, places], told = moved, dict.fromkeys(said)
            break
    for place in places:
        points[:, place], said = canonical_theta(base, points[:, place], movable & members.keys())
        told |= dict.fromkeys(said)
    return points.reshape(np.shape(theta)), tuple(told)


def canonical_thetas(model: Model, thetas: np.ndarray, names: Collection[str]) -> np.ndarray:
    """Return the same of each of many points, float64[k, p]."""
    found, canonical = _of_model(model, names), np.empty_like(thetas)
    # Signs and orders decide, unless rates of several parameters change places.
    curved = thetas[:, list(chain(*found.groups))]
    seen = [np.sign(thetas), np.argsort(curved, axis=1), np.argsort(np.abs(curved), axis=1)]
    alike = [np.arange(len(thetas))[:, None]] if found.turns else seen
    _, which = np.unique(np.hstack(alike), axis=0, return_inverse=True)
    for pattern in range(which.max(initial=-1) + 1):
        some = which.ravel() == pattern
        canonical[some] = canonical_theta(model, thetas[some], names)[0]
    return canonical


def unusual(model: Model, theta: np.ndarray) -> str | None:
    """Return a sentence where rates can be exchanged, and are not in the order of textbooks."""
    if model.formula.levels or model.external:
        return None
    found = _of_model(model, model.free)
    for turn in found.rates:
        if not found.is_usual(theta, turn) and (twin := found.twin(theta, turn)):
            return f"{turn.text}; usually {turn.usual}, as with {twin}, which fit as well"
    return None


def _sentences(found: Symmetries, theta: np.ndarray) -> Iterator[str]:
    names = found.names
    for moves in found.exchanges:
        both = chain(*(move.exchanged for move in moves))
        parts, signs = list(dict.fromkeys(both)), _chosen(names, moves[0].signs, -1)
        said = " and ".join(", ".join(names[k] for k in part) for part in parts)
        along = f" while {enumerated(signs)} {'change' if signs[1:] else 'changes'} sign"
        first = [min(part, key=found.order.index) for part in parts]
        leads, falling = enumerated([names[i] for i in first]), found.ways[first[0]] < 0
        order = f"the {'larger' if falling else 'smaller'} of {leads} comes first"
        if parts[2:]:
            order = f"{leads} come in {'de' if falling else 'a'}scending order"
        yield f"{said} can be exchanged{along if signs else ''}: {order}"
    for turn in found.turns:
        if twin := found.twin(theta, turn):
            yield f"{turn.text}: {turn.usual}; {twin} fit as well"
    alone = [names[i] for i, move in found.flips.items() if move == found.flip([i])]
    if alone[1:]:
        yield f"the signs of {enumerated(alone)} do not matter: the positive ones are given"
    elif alone:
        yield f"the sign of {alone[0]} does not matter: the positive one is given"
    for lead, move in found.flips.items():
        signs, turned = _chosen(names, move.signs, -1), _chosen(names, move.turns, 1)
        said = f"{enumerated(signs)} can change sign" + (" together" if signs[1:] else "")
        if turned:
            said += (
                f" while {enumerated(turned)} {'move' if turned[1:] else 'moves'} by half a period"
            )
        if signs[1:] or turned:
            yield f"{said}: the positive {names[lead]} is given"
    for half in sorted({*found.halves.tolist()} - {0.0}):
        phases = _chosen(names, found.halves, half)
        said = "are phases: they are" if phases[1:] else "is a phase: it is"
        angle = "π" if math.isclose(half, math.pi) else f"{half:.6g}"
        yield f"{enumerated(phases)} {said} given within (−{angle}, {angle}]"


def _chosen(names: Sequence[str], values: Iterable[float], wanted: float) -> list[str]:
    return [name for name, value in zip(names, values, strict=True) if value == wanted]


def _faster(name: str, other: str, pairs: Sequence[tuple[str, str]] = FASTER) -> int:
    """Return 1 where names tell that the first falls faster, -1 that the other one does, else 0."""
    name, other = name.lower(), other.lower()
    one = sum(name.replace(fast, slow) == other != name for fast, slow in pairs)
    return one - sum(name.replace(slow, fast) == other != name for fast, slow in pairs)


def _inverse(expression: Expr, own: Expr) -> Expr | None:
    """Return ``own`` by the value of an expression of it, which bears its name then."""
    value = own
    while expression != own:
        rest, inner = expression.as_independent(own, as_Add=expression.is_Add)
        if expression.is_Add:
            value -= rest
        elif rest != 1:
            value /= rest
        elif expression.is_Pow and expression.exp == -1:
            value, inner = 1 / value, expression.base
        elif isinstance(expression, sympy.exp):
            value, inner = sympy.log(value), expression.args[0]
        if inner == expression:
            return None
        expression = inner
    return value


def _by_case(moving: set[Expr], condition: Expr, then: Expr, otherwise: Expr) -> Expr:
    """Write a choice as a sum, unless what moves decides it."""
    if condition.free_symbols & moving:
        return Where(condition, then, otherwise)
    return symbol(f"[{condition}]") * then + symbol(f"[not {condition}]") * otherwise
