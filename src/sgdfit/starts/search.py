"""Starting values from nothing but the formula and the data.

Linear parameters are solved exactly, nonlinear ones drawn in the data's own scale, sums built one
component at a time, and the best points polished by least squares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from sgdfit.kernel.kernel import Chunk
from sgdfit.model.model import Model
from sgdfit.model.roles import derived_columns, roles_of
from sgdfit.model.separation import separate
from sgdfit.starts.components import Dictionary, Partial, exchanged, first_partial, pursue, tabulate
from sgdfit.starts.separable import Projection, Whole, by_loss, polish
from sgdfit.starts.space import Range, observe, range_of

# How many sums are polished, each time.
POLISHED = 8
KEPT = 8
# Of how many minima components are exchanged.
EXCHANGED = 2
# A minimum at which parts of the formula are infinite on some row, as in 0**-p, is passed over for
# one with fewer unless it is so many times lower: who writes exp(-k*t**p) means p > 0.
POLE = 1.5
# Two curves that differ by less than this share of the residuals (squared) are one minimum.
SAME, PERFECT = 1e-6, 1e-24


class Candidate(NamedTuple):
    """One minimum of the sum of squares."""

    start: np.ndarray  # float64[p]: what it was polished from, in the order of `Model.free`
    theta: np.ndarray  # float64[p]: the minimum
    loss: float  # the mean weighted squared residual there, over the rows that were given


class Search(NamedTuple):
    """What a search found, and how it went."""

    candidates: tuple[Candidate, ...]  # distinct minima, best first; none without a finite value
    points: int  # how many were evaluated
    polished: int  # how many of them were polished
    ranges: dict[str, str]  # from where each nonlinear parameter was drawn, in words
    linear: tuple[str, ...]  # the parameters that were solved exactly


@np.errstate(all="ignore")
def find_starts(model: Model, chunk: Chunk, given: Mapping[str, float], seed: int) -> Search:
    """Return the best minima of the mean squared residual over a few hundred rows.

    The loss of ``model`` is passed over: the candidates are those of least squares. ``given`` free
    parameters are held; ``seed`` shifts the points that are drawn.

    Examples
    --------
    >>> from sgdfit.model.model import build
    >>> x = np.linspace(0.0, 5.0, 30)
    >>> model = build("y = a*exp(-b*x)", ["x", "y"])
    >>> found = find_starts(model, Chunk((x, 4.0 * np.exp(-0.5 * x)), None), {}, seed=0)
    >>> found.linear, found.candidates[0].theta.round(6).tolist()
    (('a',), [4.0, 0.5])
    """
    prediction, derived = derived_columns(model.prediction, model.variables)
    seen = observe(model, chunk, given, derived)
    parts = separate(model.prediction, tuple(name for name in model.free if name not in given))
    roles = roles_of(prediction, model.free, (*model.variables, *derived))
    ranges = dict[str, Range]()
    for part in parts.components:
        for name in part.names:
            known = model.parameters[name]
            at = range_of(roles[name], known.low, known.high, seen)
            ranges[name] = at._replace(negative=0.0) if part.is_mirrored(name) else at
    words = {name: at.text for name, at in ranges.items()}
    if not seen.rows:
        return Search((), 0, 0, words, parts.linear)
    projection = Projection(model, parts, seen)
    # One dictionary serves all components of the same form and ranges.
    made: dict[object, Dictionary] = {}
    dictionaries = []
    for part in parts.components:
        key = (part.shape, *(ranges[name].form for name in part.names))
        if key not in made:
            made[key] = tabulate(part, ranges, seen, seed + len(made))
        dictionaries.append(made[key])
    paths = _descended(projection, dictionaries)
    drawn = sum(len(dictionary.points) for dictionary in made.values())
    return Search(_minima(projection, paths, given), drawn, paths.polished, words, parts.linear)


class _Paths(NamedTuple):
    """Nonlinear points, where each led to, and how many set out."""

    starts: np.ndarray
    ends: np.ndarray
    losses: np.ndarray
    polished: int


def _descended(projection: Projection, dictionaries: Sequence[Dictionary]) -> _Paths:
    """Build sums, polish them, and polish what exchanging their components makes."""
    first, parts = first_partial(*projection.plain()), projection.parts.components
    if not dictionaries:
        return _Paths(np.empty((1, 0)), np.empty((1, 0)), np.array([first.loss]), 0)
    usable = all(len(dictionary.points) for dictionary in dictionaries)
    paths = _polished(projection, pursue(first, dictionaries, POLISHED) if usable else [])
    if len(parts) == 1 or not len(paths.ends):
        return paths
    places = np.cumsum([len(part.names) for part in parts])[:-1]
    order = np.argsort(paths.losses, kind="stable")
    apart = np.diff(paths.losses[order], prepend=-np.inf) > 1e-6 * paths.losses[order]
    made: list[Partial] = []
    for end in paths.ends[order[apart][:EXCHANGED]]:
        chosen = dict(enumerate(np.split(end, places)))
        made += exchanged(first, chosen, parts, dictionaries, projection.seen)
    more = _polished(projection, sorted(made, key=lambda partial: partial.loss)[:POLISHED])
    return _Paths(
        np.concatenate([paths.starts, more.starts]),
        np.concatenate([paths.ends, more.ends]),
        np.concatenate([paths.losses, more.losses]),
        paths.polished + more.polished,
    )


def _polished(projection: Projection, sums: Sequence[Partial]) -> _Paths:
    """Polish the nonlinear parameters of ``sums``."""
    ordered = [np.concatenate([p.chosen[c] for c in sorted(p.chosen)]) for p in sums]
    starts = np.array(ordered).reshape(len(sums), len(projection.names))
    followed, ends, losses = polish(projection, starts)
    return _Paths(starts[followed], ends, losses, len(sums))


def _minima(
    projection: Projection, paths: _Paths, given: Mapping[str, float]
) -> tuple[Candidate, ...]:
    """Return the distinct minima, with all parameters, best first.

    The same curve is the same minimum, however its parameters are exchanged.
    """
    first, last = projection.whole(paths.starts), projection.whole(paths.ends)
    names = (*projection.names, *projection.linear)
    whole = Whole(projection.model, names, projection.seen)
    if projection.bounded:
        followed, last, _ = polish(whole, last)
        first = first[followed]
    residual = whole.residuals(last)
    losses = np.einsum("kn,kn->k", residual, residual)
    infinite = np.unique(whole.infinite_parts(last), return_inverse=True)[1]
    kept: list[int] = []
    for i in by_loss(losses * POLE**infinite, last).tolist():
        near = residual[kept] - residual[i]
        same = np.einsum("kn,kn->k", near, near) <= SAME * losses[i] + PERFECT
        if np.isfinite(losses[i]) and not same.any():
            kept.append(i)
    kept = [i for i in kept if infinite[i] <= infinite[kept[0]]]

    def full(values: np.ndarray) -> np.ndarray:
        known = {**dict(zip(names, values, strict=True)), **given}
        return np.array([known[name] for name in projection.model.free])

    scale = float(np.square(projection.seen.unit) / projection.seen.rows)
    return tuple(
        Candidate(full(first[i]), full(last[i]), float(losses[i]) * scale) for i in kept[:KEPT]
    )
