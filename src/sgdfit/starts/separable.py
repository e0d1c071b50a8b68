"""Separable least squares at many points at once: solved for what is linear, polished for the rest.

Linear parameters are solved exactly at each point (variable projection: Golub and Pereyra 1973, in
the form of Kaufman 1975); nonlinear ones are led to their minima by Levenberg-Marquardt steps on a
whole batch of points. Sums of squares are in units of the response's size.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sgdfit.formula.evaluation import count_poles
from sgdfit.formula.limits import slope_limit
from sgdfit.inference.quadratic import LARGEST
from sgdfit.kernel.numpy_kernel import evaluator
from sgdfit.model.model import Model
from sgdfit.model.separation import Separation
from sgdfit.starts.space import Observations

# A column whose part that no column before it holds is smaller than this counts as dependent.
DEPENDENT = 1e-11
# A slope of which less than this share is left by the linear parameters counts as 0.
UNDONE = 1e-12
POLISH_STEPS = 100
FIRST_DAMPING = 1e-3
# A step that promises to lower the sum of squares by less than this share of it is the last.
POLISH_TOLERANCE = 1e-13
# The sum of squares that rounding leaves of a perfect fit.
EXACT_SQUARES = 1e-31


class Local(NamedTuple):
    """The sum of squares around each of k points."""

    loss: np.ndarray  # float64[k]
    gradient: np.ndarray  # float64[k, q]: Jᵀr, the direction in which it falls, halved
    curvature: np.ndarray  # float64[k, q, q]: JᵀJ

    @staticmethod
    def of(residual: np.ndarray, slopes: np.ndarray) -> Local:
        """Return it from float64[k, n] and float64[k, q, n]."""
        squares = np.einsum("kn,kn->k", residual, residual)
        loss = np.where(np.isfinite(squares), squares, np.inf)
        gradient = np.matmul(slopes, residual[:, :, None])[:, :, 0]
        return Local(loss, gradient, np.matmul(slopes, slopes.transpose(0, 2, 1)))


def orthonormal(columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return Q and R of float64[k, m, n] columns: columns[k, i] = Σ_j R[k, j, i] Q[k, j].

    Gram-Schmidt, done twice. Dependent columns come out as 0, with 1 on R's diagonal.
    """
    k, m, _ = columns.shape
    Q, R = np.zeros_like(columns), np.zeros((k, m, m))
    for i in range(m):
        rest = columns[:, i]
        size = lengths(rest)
        for _ in range(2 if i else 0):
            along = np.matmul(Q[:, :i], rest[:, :, None])
            rest = rest - np.matmul(along.transpose(0, 2, 1), Q[:, :i])[:, 0]
            R[:, :i, i] += along[:, :, 0]
        norm = lengths(rest)
        kept = norm > DEPENDENT * size
        R[:, i, i] = np.where(kept, norm, 1.0)
        Q[:, i] = np.where(kept[:, None], rest / R[:, i, i, None], 0.0)
    return Q, R


def lengths(rows: np.ndarray) -> np.ndarray:
    """Return the length of each vector: float64[..., n] to float64[...]."""
    return np.asarray(np.sqrt(np.einsum("...n,...n->...", rows, rows)))


class Solved(NamedTuple):
    """The linear parameters at each point, what they leave over, and the span of their basis."""

    linear: np.ndarray
    residual: np.ndarray
    span: np.ndarray


class Whole:
    """The sum of squares as a function of parameters which stay inside their bounds."""

    def __init__(self, model: Model, names: tuple[str, ...], seen: Observations) -> None:
        self.model, self.names, self.seen = model, names, seen
        self.low, self.high = _bounds(model, names)

    def residuals(self, points: np.ndarray) -> np.ndarray:
        """Return target less prediction: float64[k, n]."""
        evaluate = evaluator((self.model.prediction,), self.names, self.seen.names)
        values = evaluate(points, self.seen.data)[:, 0] * self.seen.root
        return np.asarray(self.seen.target - values)

    def poles(self, points: np.ndarray, doubt: np.ndarray) -> np.ndarray:
        """Return how many parts of the formula have a pole at each point: int[k].

        A slope without a limit counts as one; ``doubt`` is that of `slopes`.
        """
        data = dict(zip(self.seen.names, self.seen.data, strict=True))
        found = (doubt > 1).astype(int)
        for k in np.flatnonzero(doubt):
            here = data | dict(zip(self.names, points[k], strict=True))
            values = self.model.values([here[name] for name in self.model.free])
            found[k] += count_poles(self.model.formula.expression, here | values)
        return found

    def local(self, points: np.ndarray) -> Local:
        """Return the sum of squares around each point."""
        residuals = self.residuals(points)
        return Local.of(residuals, self.slopes(points, self.names, residuals)[0])

    def slopes(
        self, points: np.ndarray, names: tuple[str, ...], residuals: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the slopes along the own parameters, where the points are of these ``names``.

        And of each point 1 if the formula of some has no value on some row, 2 if it has no limit
        either; such a slope is 0.
        """
        slopes = dict(zip(self.model.free, self.model.gradient, strict=True))
        own = tuple(slopes[name] for name in self.names)
        values = evaluator(own, names, self.seen.names)(points, self.seen.data)
        unknown, doubt = ~np.isfinite(values), np.zeros(len(points), dtype=int)
        if unknown.any():
            doubt += unknown.any(axis=(1, 2))
            unknown &= np.isfinite(residuals)[:, None]
            for k in np.flatnonzero(unknown.any(axis=(0, 2))).tolist():
                values[:, k][unknown[:, k]] = self._limits(points, names, k, unknown[:, k])
            unknown = ~np.isfinite(values)
            doubt += unknown.any(axis=(1, 2))
            values[unknown] = 0.0
        return np.asarray(values * self.seen.root), doubt

    def _limits(
        self, points: np.ndarray, names: tuple[str, ...], k: int, where: np.ndarray
    ) -> np.ndarray:
        """Return the slopes along parameter ``k`` at points and rows, by their limits."""
        data = (np.broadcast_to(column, where.shape[1]) for column in self.seen.data)
        point, row = np.nonzero(where)
        at = np.column_stack([points[point], *(column[row] for column in data)])
        curve = evaluator((self.model.prediction,), (*names, *self.seen.names), ())
        place = names.index(self.names[k])

        def along(value: np.ndarray) -> np.ndarray:
            at[:, place] = value
            return curve(at, ())[:, 0, 0]

        return slope_limit(along, at[:, place].copy())


class Projection(Whole):
    """The sum of squares as a function of the nonlinear parameters alone."""

    def __init__(self, model: Model, parts: Separation, seen: Observations) -> None:
        super().__init__(model, tuple(n for part in parts.components for n in part.names), seen)
        self.parts = parts
        pieces = (parts.plain, *parts.components)
        self.linear = tuple(name for piece in pieces for name in piece.linear)
        self.all_names = (*self.names, *self.linear)
        self.least, self.most = _bounds(model, self.linear)
        self.bounded = bool(np.isfinite([*self.least, *self.most]).any())
        offset = sum(piece.offset for piece in pieces)
        self._terms = (offset, *(term for piece in pieces for term in piece.basis))

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
        values[~(np.abs(values) <= LARGEST).all(axis=(1, 2))] = np.nan
        target, basis = self.seen.target - values[:, 0], values[:, 1:]
        span, R = orthonormal(basis)
        left, linear = target, np.zeros(span.shape[:2])
        for _ in range(2):
            share = np.matmul(span, left[:, :, None])
            left = left - np.matmul(share.transpose(0, 2, 1), span)[:, 0]
            linear += share[:, :, 0]
        linear = np.linalg.solve(R, linear[:, :, None])[:, :, 0]
        left[~(np.abs(linear).max(axis=1, initial=0.0) <= LARGEST)] = np.nan
        if self.bounded:
            linear = np.clip(linear, self.least, self.most)
            left = target - np.einsum("km,kmn->kn", linear, basis)
        return Solved(linear, left, span)

    def local(self, points: np.ndarray) -> Local:
        """Return the sum of squares around each point."""
        solved = self.solve(points)
        whole = np.hstack([points, solved.linear])
        slopes, _ = self.slopes(whole, self.all_names, solved.residual)
        along = np.matmul(slopes, solved.span.transpose(0, 2, 1))
        beyond = slopes - np.matmul(along, solved.span)
        # What the linear parameters can undo has no slope but that of rounding.
        undone = lengths(beyond) <= UNDONE * lengths(slopes)
        return Local.of(solved.residual, np.where(undone[:, :, None], 0.0, beyond))

    def whole(self, points: np.ndarray) -> np.ndarray:
        """Return all parameters, in the order of `all_names`."""
        return np.hstack([points, self.solve(points).linear])


def _bounds(model: Model, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    low = np.array([model.parameters[name].low for name in names], dtype=np.float64)
    high = np.array([model.parameters[name].high for name in names], dtype=np.float64)
    return low, high


def polish(problem: Whole, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Follow each point downhill, by damped steps as of Nielsen 1999, IMM-REP-1999-05.

    Returns the index of those with a finite sum of squares, where they came to, and that sum there.
    """
    points = points.copy()
    loss, gradient, curvature = problem.local(points)
    damping, growth = np.full(len(points), FIRST_DAMPING), np.full(len(points), 2.0)
    done = ~np.isfinite(loss)
    for _ in range(POLISH_STEPS):
        at = np.flatnonzero(~done)
        if not at.size:
            break
        here = Local(loss[at], gradient[at], curvature[at])
        move, promise = _steps(problem, points[at], here, damping[at])
        there = problem.local(points[at] + move)
        better = there.loss < here.loss
        went = at[better]
        points[went] += move[better]
        loss[went], gradient[went], curvature[went] = (array[better] for array in there)
        done[at] = (np.abs(promise) <= POLISH_TOLERANCE * here.loss) | (damping[at] > 1e14)
        done[at] |= loss[at] <= EXACT_SQUARES
        eased = np.clip(1.0 - (2.0 * (here.loss - there.loss) / promise - 1.0) ** 3, 0.2, 2.0)
        damping[at] = np.maximum(damping[at] * np.where(better, eased, growth[at]), 1e-12)
        growth[at] = np.where(better, 2.0, 2.0 * growth[at])
    found = np.flatnonzero(np.isfinite(loss))
    return found, points[found], loss[found]


def by_loss(losses: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return the points in the order of their loss; where that is equal but for rounding, of size.

    The size of a point is by how many decades its parameters differ from one, in all.
    """
    sizes = np.abs(points)
    decades = np.abs(np.log10(np.where(sizes > 0, sizes, 1.0))).sum(axis=1)
    with np.errstate(divide="ignore"):
        return np.lexsort((decades, np.round(np.log(losses), 9)))


def _steps(
    problem: Whole, points: np.ndarray, at: Local, damping: np.ndarray
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
