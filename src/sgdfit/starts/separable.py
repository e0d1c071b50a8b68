"""Separable least squares at many points at once: solved for what is linear, polished for the rest.

Linear parameters are solved exactly at each point (variable projection: Golub and Pereyra 1973, in
the form of Kaufman 1975); nonlinear ones are led to their minima by Levenberg-Marquardt steps on a
whole batch of points.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np

from sgdfit.kernel.numpy_kernel import evaluator
from sgdfit.model.model import Model
from sgdfit.model.separation import Separation
from sgdfit.starts.space import Observations

# A column whose part that no column before it holds is smaller than this counts as dependent.
DEPENDENT = 1e-11
# A slope of which less than this share is left by the linear parameters counts as 0.
UNDONE = 1e-12


class Local(NamedTuple):
    """The sum of squares around each of k points, in units of the response's size.

    Attributes
    ----------
    loss : float64[k]
    gradient : float64[k, q]
        Jᵀr: the direction in which the sum of squares falls, halved.
    curvature : float64[k, q, q]
        JᵀJ.
    """

    loss: np.ndarray
    gradient: np.ndarray
    curvature: np.ndarray


def orthonormal(columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return Q and R of float64[k, m, n] columns: columns[k, i] = Σ_j R[k, j, i] Q[k, j].

    Gram-Schmidt, done twice. Dependent columns come out as 0, with 1 on R's diagonal.

    Examples
    --------
    >>> Q, R = orthonormal(np.array([[[3.0, 4.0], [6.0, 8.0], [1.0, 0.0]]]))
    >>> Q.round(3).tolist(), R.round(3).tolist()
    ([[[0.6, 0.8], [0.0, 0.0], [0.8, -0.6]]],
     [[[5.0, 10.0, 0.6], [0.0, 1.0, 0.0], [0.0, 0.0, 0.8]]])
    """
    k, m, _ = columns.shape
    Q, R = np.zeros_like(columns), np.zeros((k, m, m))
    for i in range(m):
        rest = columns[:, i]
        size = np.sqrt(np.einsum("kn,kn->k", rest, rest))
        for _ in range(2 if i else 0):
            along = np.matmul(Q[:, :i], rest[:, :, None])
            rest = rest - np.matmul(along.transpose(0, 2, 1), Q[:, :i])[:, 0]
            R[:, :i, i] += along[:, :, 0]
        norm = np.sqrt(np.einsum("kn,kn->k", rest, rest))
        kept = norm > DEPENDENT * size
        R[:, i, i] = np.where(kept, norm, 1.0)
        Q[:, i] = np.where(kept[:, None], rest / R[:, i, i, None], 0.0)
    return Q, R


def back_substituted(R: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the solutions x of R x = right: float64[k, m]."""
    solution = np.zeros_like(right)
    for i in reversed(range(right.shape[1])):
        known = np.einsum("kj,kj->k", R[:, i, i + 1 :], solution[:, i + 1 :])
        solution[:, i] = (right[:, i] - known) / R[:, i, i]
    return solution


class Solved(NamedTuple):
    """The linear parameters at each point, what they leave over, and the span of their basis."""

    linear: np.ndarray
    residual: np.ndarray
    span: np.ndarray


class Projection:
    """The sum of squares as a function of the nonlinear parameters alone.

    Parameters
    ----------
    model : Model
    parts : Separation
        Of the model's prediction.
    seen : Observations
    """

    def __init__(self, model: Model, parts: Separation, seen: Observations) -> None:
        self.model, self.parts, self.seen = model, parts, seen
        self.names = tuple(name for part in parts.components for name in part.names)
        self.low, self.high = _bounds(model, self.names)
        self.least, self.most = _bounds(model, parts.order)
        self.bounded = bool(np.isfinite([*self.least, *self.most]).any())

    @cached_property
    def _terms(self) -> tuple[Any, ...]:
        pieces = (self.parts.plain, *self.parts.components)
        offset = sum(piece.offset for piece in pieces)
        return (offset, *(term for piece in pieces for term in piece.basis))

    def plain(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the target less what has no parameter, and the basis without nonlinear ones."""
        part = self.parts.plain
        evaluate = evaluator((part.offset, *part.basis), (), self.seen.names)
        values = evaluate(np.empty((1, 0)), self.seen.data)[0] * self.seen.root
        return self.seen.target - values[0], values[1:]

    def solve(self, points: np.ndarray) -> Solved:
        """Return the best linear parameters at each point, moved inside their bounds."""
        evaluate = evaluator(self._terms, self.names, self.seen.names)
        values = evaluate(points, self.seen.data) * self.seen.root
        values[~np.isfinite(values).all(axis=(1, 2))] = np.nan
        target, basis = self.seen.target - values[:, 0], values[:, 1:]
        solved = _least_squares(basis, target)
        return self._clamped(basis, target, solved) if self.bounded else solved

    def _clamped(self, basis: np.ndarray, target: np.ndarray, solved: Solved) -> Solved:
        """Hold linear parameters beyond a bound at it, one round after another."""
        held = np.zeros_like(solved.linear, dtype=bool)
        fixed = np.zeros_like(solved.linear)
        for _ in self.parts.order:
            inside = np.clip(solved.linear, self.least, self.most)
            out = (inside != solved.linear) & ~held
            if not out.any():
                break
            held |= out
            fixed = np.where(out, inside, fixed)
            rest = target - np.einsum("km,kmn->kn", fixed, basis)
            solved = _least_squares(np.where(held[:, :, None], 0.0, basis), rest)
            solved = solved._replace(linear=np.where(held, fixed, solved.linear))
        return solved

    def local(self, points: np.ndarray) -> Local:
        """Return the sum of squares around each point."""
        solved = self.solve(points)
        slopes = self._slopes(points, solved.linear)
        along = np.matmul(slopes, solved.span.transpose(0, 2, 1))
        beyond = slopes - np.matmul(along, solved.span)
        # What the linear parameters can undo has no slope but that of rounding.
        undone = _lengths(beyond) <= UNDONE * _lengths(slopes)
        return _around(solved.residual, np.where(undone[:, :, None], 0.0, beyond))

    def _slopes(self, points: np.ndarray, linear: np.ndarray) -> np.ndarray:
        slopes = dict(zip(self.model.free, self.model.gradient, strict=True))
        own = tuple(slopes[name] for name in self.names)
        evaluate = evaluator(own, (*self.names, *self.parts.order), self.seen.names)
        values = evaluate(np.hstack([points, linear]), self.seen.data) * self.seen.root
        return np.asarray(np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0))

    def whole(self, points: np.ndarray) -> np.ndarray:
        """Return all parameters, in the order of `names` and then the separation's."""
        return np.hstack([points, self.solve(points).linear])


class Whole:
    """The sum of squares as a function of all parameters, which stay inside their bounds."""

    def __init__(self, model: Model, names: tuple[str, ...], seen: Observations) -> None:
        self.model, self.names, self.seen = model, names, seen
        self.low, self.high = _bounds(model, names)

    def residuals(self, points: np.ndarray) -> np.ndarray:
        """Return target less prediction: float64[k, n]."""
        evaluate = evaluator((self.model.prediction,), self.names, self.seen.names)
        values = evaluate(points, self.seen.data)[:, 0] * self.seen.root
        return np.asarray(self.seen.target - values)

    def local(self, points: np.ndarray) -> Local:
        """Return the sum of squares around each point."""
        slopes = dict(zip(self.model.free, self.model.gradient, strict=True))
        own = tuple(slopes[name] for name in self.names)
        values = evaluator(own, self.names, self.seen.names)(points, self.seen.data)
        finite = np.nan_to_num(values * self.seen.root, nan=0.0, posinf=0.0, neginf=0.0)
        return _around(self.residuals(points), finite)


def _bounds(model: Model, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    low = np.array([model.parameters[name].low for name in names], dtype=np.float64)
    high = np.array([model.parameters[name].high for name in names], dtype=np.float64)
    return low, high


def _least_squares(basis: np.ndarray, target: np.ndarray) -> Solved:
    span, R = orthonormal(basis)
    share = np.matmul(span, target[:, :, None])
    left = target - np.matmul(share.transpose(0, 2, 1), span)[:, 0]
    again = np.matmul(span, left[:, :, None])
    left = left - np.matmul(again.transpose(0, 2, 1), span)[:, 0]
    linear = back_substituted(R, (share + again)[:, :, 0])
    return Solved(linear, left, span)


def _squares(residual: np.ndarray) -> np.ndarray:
    squares = np.einsum("kn,kn->k", residual, residual)
    return np.where(np.isfinite(squares), squares, np.inf)


def _lengths(columns: np.ndarray) -> np.ndarray:
    return np.asarray(np.sqrt(np.einsum("kqn,kqn->kq", columns, columns)))


def _around(residual: np.ndarray, slopes: np.ndarray) -> Local:
    gradient = np.matmul(slopes, residual[:, :, None])[:, :, 0]
    return Local(_squares(residual), gradient, np.matmul(slopes, slopes.transpose(0, 2, 1)))


# After so many steps so many points go on: the best by then.
CUTS = {5: 32, 10: 20, 20: 12, 40: 8}
FIRST_DAMPING, LAST_DAMPING = 1e-3, 1e-9
# A step that promises to lower the sum of squares by less than this share of it is the last.
SETTLED = 1e-13
# Points that are done and whose sums of squares differ by less than this share are in one minimum.
ARRIVED = 1e-9
# The sum of squares, in units of the response's size, that rounding leaves of a perfect fit.
EXACT = 1e-31


class Problem(Protocol):
    """What is polished: a sum of squares of some parameters between bounds."""

    low: np.ndarray
    high: np.ndarray

    def local(self, points: np.ndarray) -> Local:
        """Return the sum of squares around each point."""


class Polished(NamedTuple):
    """Where the points came to.

    Attributes
    ----------
    followed : int64[k]
        Which of the points those are that were followed to the end.
    points : float64[k, q]
    loss : float64[k]
    """

    followed: np.ndarray
    points: np.ndarray
    loss: np.ndarray


class _Batch(NamedTuple):
    """The points on their way, and what is known of each."""

    which: np.ndarray
    points: np.ndarray
    loss: np.ndarray
    gradient: np.ndarray
    curvature: np.ndarray
    damping: np.ndarray
    growth: np.ndarray
    done: np.ndarray

    def take(self, index: np.ndarray) -> _Batch:
        return _Batch(*(array[index] for array in self))


def polish(problem: Problem, points: np.ndarray, steps: int = 100) -> Polished:
    """Follow each point downhill, and give up those that fall behind."""
    at, ones = problem.local(points), np.ones(len(points))
    lost = ~np.isfinite(at.loss)
    index = np.arange(len(points))
    batch = _Batch(index, points.copy(), *at, FIRST_DAMPING * ones, 2.0 * ones, lost)
    for step in range(1, steps + 1):
        if step in CUTS:
            batch = batch.take(_ahead(batch, CUTS[step]))
        going = np.flatnonzero(~batch.done)
        if not going.size:
            break
        for old, new in zip(batch, _moved(problem, batch.take(going)), strict=True):
            old[going] = new
    batch = batch.take(np.isfinite(batch.loss))
    return Polished(batch.which, batch.points, batch.loss)


def unsettled(problem: Problem, points: np.ndarray) -> np.ndarray:
    """Return by what share of the loss a hardly damped step from each point would lower it."""
    at = problem.local(points)
    _, promise = _steps(problem, points, at, np.full(len(points), LAST_DAMPING))
    return np.asarray(promise / np.maximum(at.loss, EXACT))


def by_loss(losses: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return the points in the order of their loss; where that is equal but for rounding, of size.

    The size of a point is by how many decades its parameters differ from one, in all.
    """
    sizes = np.abs(points)
    decades = np.abs(np.log10(np.where(sizes > 0, sizes, 1.0))).sum(axis=1)
    with np.errstate(divide="ignore"):
        return np.lexsort((decades, np.round(np.log(losses), 9)))


def _ahead(batch: _Batch, most: int) -> np.ndarray:
    """Return which points are best; of those that have arrived in one minimum, the least extreme.

    Where the data do not determine the parameters, that keeps them from running off.
    """
    order = by_loss(batch.loss, batch.points)
    loss = batch.loss[order]
    apart = np.diff(loss, prepend=-np.inf) > ARRIVED * loss
    return np.asarray(order[apart | ~batch.done[order]][:most])


def _moved(problem: Problem, here: _Batch) -> _Batch:
    """Return the points after a step each, or where they were where it leads uphill."""
    at = Local(here.loss, here.gradient, here.curvature)
    move, promise = _steps(problem, here.points, at, here.damping)
    trial = here.points + move
    there = problem.local(trial)
    better = there.loss < here.loss
    eased = np.clip(1.0 - (2.0 * (here.loss - there.loss) / promise - 1.0) ** 3, 0.2, 2.0)
    damping = np.maximum(here.damping * np.where(better, eased, here.growth), 1e-12)
    growth = np.where(better, 2.0, 2.0 * here.growth)
    loss = np.where(better, there.loss, here.loss)
    done = (np.abs(promise) <= SETTLED * here.loss) | (here.damping > 1e14) | (loss <= EXACT)
    row, block = better[:, None], better[:, None, None]
    return _Batch(
        here.which,
        np.where(row, trial, here.points),
        loss,
        np.where(row, there.gradient, here.gradient),
        np.where(block, there.curvature, here.curvature),
        damping,
        growth,
        done,
    )


def _steps(
    problem: Problem, points: np.ndarray, at: Local, damping: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the damped step from each point, and by how much it promises to lower the loss."""
    gradient, curvature = at.gradient, at.curvature
    stuck = (points <= problem.low) & (gradient < 0) | (points >= problem.high) & (gradient > 0)
    size = np.sqrt(np.einsum("kii->ki", curvature))
    size = np.where(size > 0, size, 1.0)
    free = np.where(stuck, 0.0, 1.0 / size)
    scaled = curvature * free[:, :, None] * free[:, None, :]
    diagonal = np.einsum("kii->ki", scaled)
    diagonal += np.where(stuck | (diagonal == 0), 1.0, damping[:, None])
    step = np.linalg.solve(scaled, (gradient * free)[:, :, None])[:, :, 0] * free
    move = np.clip(points + step, problem.low, problem.high) - points
    bent = np.einsum("ki,kij,kj->k", move, curvature, move)
    return move, 2.0 * np.einsum("ki,ki->k", gradient, move) - bent
