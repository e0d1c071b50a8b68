"""Sums built one component at a time: a matching pursuit, and exchanges of what it chose.

Two peaks have four nonlinear parameters, and no number of random points fills four dimensions. So
each component is tabulated at many points by itself; a pursuit adds the component that lowers the
sum of squares most, with every linear parameter solved anew (orthogonal matching pursuit: Pati,
Rezaiifar and Krishnaprasad 1993), and keeps the best partial sums. A sum built greedily may hold
one wide peak where there are two that blend; taking components away, singly and in pairs, and
looking for the best ones instead finds them.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from sgdfit.formula.external import external_in
from sgdfit.kernel.numpy_kernel import evaluator
from sgdfit.model.separation import Component
from sgdfit.starts.space import Observations, Range, draw_points

# Points by the number of nonlinear parameters, and how many values a dictionary may hold (32 MB).
POINTS = (512, 4_096, 8_192, 12_288)
# At most so many calls of a function: 52 of 52 fits of 13 curves, written so that they cannot be
# traced, ended at the best minimum, as with 12,288.
MOST_CALLS = 1_024
MOST_VALUES = 4_000_000
# Rows differ in which side of a break they lie on: so many points to each gap between two.
PER_GAP = 4
# Waves differ once one has half a turn more over the data: so many points to each turn.
PER_TURN = 5
# A basis whose part that is new is smaller than this (squared, of length one) is no new basis.
NEW = 1e-7
# How finely two entries of a dictionary have to differ to be kept side by side.
CELLS = (48, 12, 7, 5, 4)
# How many partial sums are kept.
WIDTH = 32
# How many replacements of each component or pair are returned.
EACH = 6
# From so many of a dictionary's first entries pairs are made, by its number of parameters; any
# first entries of it fill the ranges evenly.
PAIRED = (192, 768)
# Two bases that differ by less (one less their squared cosine) make no pair.
APART = 1e-4


class Dictionary(NamedTuple):
    """One component's functions at k points."""

    points: np.ndarray  # float64[k, q]
    cube: np.ndarray  # float64[k, q]: where they stand in the unit cube that they were drawn from
    basis: np.ndarray  # float64[k, b, n]: scaled to length one; 0 where there is no value
    gram: np.ndarray  # float64[k, b, b]: the products of each point's basis functions
    offset: np.ndarray | None  # float64[k, n]: what the component adds without a linear parameter


def make_grid(
    part: Component, ranges: Mapping[str, Range], seen: Observations, seed: int
) -> Dictionary:
    """Return the `Dictionary` of ``part``; points without a finite value are left out."""
    count = POINTS[min(len(part.names), len(POINTS)) - 1]
    kinds = [ranges[name].role.kind for name in part.names]
    if kinds == ["position"]:
        count = max(count, PER_GAP * seen.rows)
    elif kinds in (["frequency"], ["period"]):
        count = max(count, round(PER_TURN * ranges[part.names[0]].knots[-1][1]))
    count = max(64, min(count, MOST_VALUES // (seen.rows * (1 + len(part.basis)))))
    count = count if external_in(part.offset) is None else min(count, MOST_CALLS)
    points, cube = draw_points([ranges[name] for name in part.names], count, seed)
    values = _values(part, points, seen)
    size = np.sqrt(np.einsum("kbn,kbn->kb", values, values))
    fit = np.isfinite(size).all(axis=1)
    values, size = values[fit], size[fit]
    basis = values[:, 1:] / np.where(size[:, 1:] > 0, size[:, 1:], 1.0)[:, :, None]
    gram = np.matmul(basis, basis.transpose(0, 2, 1))
    return Dictionary(
        points[fit], cube[fit], basis, gram, values[:, 0] if part.offset != 0 else None
    )


def _values(part: Component, points: np.ndarray, seen: Observations) -> np.ndarray:
    """Return the offset and the basis of a component at each point: float64[k, 1 + b, n]."""
    evaluate = evaluator((part.offset, *part.basis), part.names, seen.names)
    return np.asarray(evaluate(points, seen.data) * seen.root)


class Partial(NamedTuple):
    """A partial sum."""

    chosen: Mapping[int, np.ndarray]  # the nonlinear parameters of each component that is in it
    span: np.ndarray  # float64[m, n]: orthonormal, what their bases and the plain one span
    residual: np.ndarray  # float64[n]: what they leave of the target
    signs: Mapping[int, float] = {}  # of the amplitude of each, as it was when it came in

    @property
    def loss(self) -> float:
        """Its sum of squares."""
        return float(self.residual @ self.residual)

    def with_component(
        self, c: int, point: np.ndarray, basis: np.ndarray, offset: np.ndarray | None
    ) -> Partial:
        """Return the sum with one more component, whose basis is float64[b, n]."""
        residual = self.residual
        if offset is not None:
            residual = residual - (offset - self.span.T @ (self.span @ offset))
        span = _extended_span(self.span, basis)
        new = span[len(self.span) :]
        signs = {**self.signs, c: float(np.sign(basis[0] @ residual)) if len(basis) == 1 else 0.0}
        residual = residual - new.T @ (new @ residual)
        return Partial({**self.chosen, c: point}, span, residual, signs)

    def entry(self, c: int, dictionary: Dictionary, i: int) -> Partial:
        """Return the sum with one more component, an entry of its dictionary."""
        offset = None if dictionary.offset is None else dictionary.offset[i]
        return self.with_component(c, dictionary.points[i], dictionary.basis[i], offset)


def _extended_span(span: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Return orthonormal rows that span ``basis`` besides ``span``: float64[at most m + b, n]."""
    for column in basis:
        rest = column - span.T @ (span @ column)
        rest = rest - span.T @ (span @ rest)
        squares = rest @ rest
        if squares > NEW * 1e-7 * (column @ column):
            span = np.vstack([span, rest / np.sqrt(squares)])
    return span


def first_partial(target: np.ndarray, plain: np.ndarray) -> Partial:
    """Return the sum that nothing is chosen for yet: the basis ``plain`` is fitted in any case."""
    span = _extended_span(np.empty((0, len(target))), plain)
    return Partial({}, span, target - span.T @ (span @ target))


def best_per_cell(losses: np.ndarray, cube: np.ndarray, most: int, each: int) -> list[int]:
    """Return the best entries, best first, at most ``each`` of a cell of the unit cube."""
    count = min(20 * most, len(losses))
    first = np.argpartition(losses, count - 1)[:count]
    first = first[np.argsort(losses[first], kind="stable")]
    first = first[np.isfinite(losses[first])]
    cells = CELLS[min(cube.shape[1], len(CELLS)) - 1]
    at = np.minimum((cube[first] * cells).astype(np.int64), cells - 1)
    taken: Counter[int] = Counter()
    kept: list[int] = []
    for i, cell in zip(
        first.tolist(), (at @ cells ** np.arange(at.shape[1])).tolist(), strict=True
    ):
        taken[cell] += 1
        if taken[cell] <= each and len(kept) < most:
            kept.append(i)
    return kept


def residual_sums(
    beam: Sequence[Partial], dictionary: Dictionary, signs: Sequence[float] = ()
) -> np.ndarray:
    """Return the sum of squares that each entry would leave to each sum: float64[len(beam), k].

    An entry whose amplitude would not have the sign wanted, where one is, gains nothing.
    """
    k, b, n = dictionary.basis.shape
    # One product for the whole beam reads the dictionary once.
    ends = np.cumsum([1 + len(partial.span) for partial in beam])
    stacked = np.concatenate([[partial.residual, *partial.span] for partial in beam])
    products = (stacked @ dictionary.basis.reshape(k * b, n).T).reshape(len(stacked), k, b)
    found = []
    wanted = signs or [0.0] * len(beam)
    for partial, onto, sign in zip(beam, np.split(products, ends[:-1]), wanted, strict=True):
        residual, span, inner = partial.residual, partial.span, onto[0]
        loss = np.full(k, residual @ residual)
        if dictionary.offset is not None:
            shift = dictionary.offset - (dictionary.offset @ span.T) @ span
            inner = inner - np.einsum("kbn,kn->kb", dictionary.basis, shift)
            loss = loss - 2.0 * shift @ residual + np.einsum("kn,kn->k", shift, shift)
        if sign:
            inner = np.where(inner * sign > 0, inner, 0.0)
        found.append(loss - _gain(dictionary.gram, inner, onto[1:]) if b else loss)
    return np.array(found)


def _gain(gram: np.ndarray, inner: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Return hᵀ G⁻¹ h, where G is the Gram matrix less what is spanned already."""
    count = inner.shape[1]
    if count == 1:
        new = gram[:, 0, 0] - np.einsum("mk,mk->k", along[:, :, 0], along[:, :, 0])
        return np.where(new > NEW, inner[:, 0] ** 2 / np.maximum(new, NEW), 0.0)
    taken = along.transpose(1, 2, 0)
    new = gram - np.matmul(taken, taken.transpose(0, 2, 1)) + NEW * np.eye(count)
    solved = np.linalg.solve(new, inner[:, :, None])[:, :, 0]
    return np.asarray(np.einsum("kb,kb->k", solved, inner))


def pursue(
    start: Partial, dictionaries: Sequence[Dictionary], most: int, *, agree: bool = False
) -> list[Partial]:
    """Return the best sums, at most so many, with an entry of each dictionary, best first.

    There is a dictionary for each component; components of the same form share one. Each round
    extends every partial sum by every component that it lacks, and keeps the best of each make-up.
    Where they ``agree``, amplitudes of components of the same form have the same sign.
    """
    beam, forms = [start], [id(dictionary) for dictionary in dictionaries]
    for depth in range(len(dictionaries)):
        last = depth == len(dictionaries) - 1
        width, each = (most, 3) if last else (WIDTH, 2)
        options: list[tuple[float, int, int, int]] = []
        for c, dictionary in enumerate(dictionaries):
            # Of the components of one form that are not chosen yet, the first.
            able = [
                b
                for b, (chosen, *_) in enumerate(beam)
                if c not in chosen
                and not any(f == forms[c] and d not in chosen for d, f in enumerate(forms[:c]))
            ]
            signs = [
                next((beam[b].signs[d] for d in beam[b].chosen if forms[d] == forms[c]), 0.0)
                for b in able
                if agree
            ]
            losses = residual_sums([beam[b] for b in able], dictionary, signs) if able else ()
            for b, own in zip(able, losses, strict=True):
                best = best_per_cell(own, dictionary.cube, width, each)
                options += [(float(own[i]), b, c, i) for i in best]
        makeups = {
            (b, c): tuple(sorted(forms[d] for d in (*beam[b].chosen, c))) for _, b, c, _ in options
        }
        share = max(width // len(set(makeups.values())), 1) if makeups else 0
        made: dict[object, Partial] = {}
        counts: Counter[object] = Counter()
        for _, b, c, i in sorted(options):
            if counts[makeups[b, c]] < share:
                partial = beam[b].entry(c, dictionaries[c], i)
                # Two sums may differ in the order of like components only.
                key = tuple(sorted((forms[d], tuple(at)) for d, at in partial.chosen.items()))
                counts[makeups[b, c]] += key not in made
                made.setdefault(key, partial)
        beam = sorted(made.values(), key=lambda partial: partial.loss)
    return beam


def exchange(
    start: Partial,
    chosen: Mapping[int, np.ndarray],
    parts: Sequence[Component],
    dictionaries: Sequence[Dictionary],
    seen: Observations,
) -> list[Partial]:
    """Return sums like ``chosen`` with one or two components replaced by the best others."""
    values = {c: _values(parts[c], point[None], seen)[0] for c, point in chosen.items()}

    def without(*gone: int) -> Partial:
        rest = start
        for c, point in chosen.items():
            if c not in gone:
                rest = rest.with_component(c, point, values[c][1:], values[c][0])
        return rest

    made: list[Partial] = []
    for c, dictionary in enumerate(dictionaries):
        rest = without(c)
        best = best_per_cell(residual_sums([rest], dictionary)[0], dictionary.cube, EACH, 1)
        made += [rest.entry(c, dictionary, i) for i in best]
    simple = [
        c for c, one in enumerate(dictionaries) if one.basis.shape[1] == 1 and one.offset is None
    ]
    for c, d in itertools.combinations(simple, 2):
        left, right = dictionaries[c], dictionaries[d]
        rest = without(c, d)
        made += [
            rest.entry(c, left, i).entry(d, right, j) for i, j in _pairs(rest, left, right, EACH)
        ]
    return made


def _pairs(rest: Partial, left: Dictionary, right: Dictionary, most: int) -> list[tuple[int, int]]:
    """Return the best pairs of entries."""
    (u, g), (v, h) = (_projected(rest, dictionary) for dictionary in (left, right))
    cross = u @ v.T
    free = 1.0 - cross * cross
    gain = (g * g)[:, None] + h * h - (2.0 * g)[:, None] * h * cross
    gain = np.where(free > APART, gain / np.maximum(free, APART), 0.0)
    if left is right:
        gain = np.triu(gain)
    count = min(300, gain.size)
    best = np.argpartition(gain, gain.size - count, axis=None)[-count:]
    rows, columns = np.unravel_index(best, gain.shape)
    both = np.hstack([left.cube[rows], right.cube[columns]])
    kept = best_per_cell(-gain[rows, columns], both, most, 1)
    return [(int(rows[k]), int(columns[k])) for k in kept]


def _projected(rest: Partial, dictionary: Dictionary) -> tuple[np.ndarray, np.ndarray]:
    """Return what ``rest`` does not span of each basis, at length one, along its residual."""
    basis = dictionary.basis[: PAIRED[min(dictionary.points.shape[1], len(PAIRED)) - 1], 0]
    new = basis - (basis @ rest.span.T) @ rest.span
    size = np.sqrt(np.einsum("kn,kn->k", new, new))
    new = new / np.maximum(size, np.sqrt(NEW))[:, None]
    along = new @ (rest.residual / np.sqrt(rest.loss)) if rest.loss else np.zeros(len(new))
    # A ranking needs no more digits than these.
    return new.astype(np.float32), along.astype(np.float32)
