"""The loss near a point as a quadratic of the parameters, and its steps within a trust region.

loss + gᵀδ + ½ δᵀHδ = least + ½‖Rδ + q‖², with H = RᵀR and g = Rᵀq. R and q come from a QR
decomposition of the rows, where they keep all their digits, or from sums over them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache
from operator import mul
from typing import NamedTuple

import numpy as np

from sgdfit.inference.covariance import ROUNDING
from sgdfit.inference.spectrum import (
    EPS,
    ROOT_ROUNDING,
    ScaledSpectrum,
    column_norms,
    root_spectrum,
    scaled_spectrum,
)

# So many roundings an elementary function of a formula may be off by; directions whose part of the
# scaled root is smaller are not determined.
ROUNDINGS = 16
# By what share of it the roundings of a term of a formula change that, some four of them.
TERM = 2 * EPS
# Squares of what is larger, summed over many rows, overflow; of parameters, those of slopes that
# balance them vanish.
LARGEST = 1e140
# A column of the triangle whose own part is larger than this share has a margin to dependence.
REGULAR = 1e-8
# The square of what is larger may be out of range when rows add it up.
STEEPEST = 1e150
# Roots of parts of the rows that are decomposed together.
STACKED = 256
# Of tables of more numbers OpenBLAS shares each product of a decomposition among threads, which
# wait for one another: on a busy machine 24 ms of CPU in place of 0.1, at 8,192 x 8.
BLOCK = 1 << 13
# A step is short enough when it is not longer than the radius by more than this.
SLACK = 1.1


class _Parts(NamedTuple):
    """What a `Quadratic` is made of."""

    loss: float  # sum over the rows, at the point
    root: np.ndarray  # R, float64[m, p]: of p rows, less those that were taken out
    offset: np.ndarray  # q, float64[m]
    # Σ w (∂loss/∂prediction)² over the mean curvature of a row's loss: divided by the degrees of
    # freedom, the variance that q has by noise alone. 2 Σ w r² for squared residuals.
    noise_sum: float
    least: float  # the minimum; from rows not the difference of large numbers
    exact: bool  # whether R came from the rows; else from their sums, with half the digits
    rounding: float  # what rounding may change the loss by: smaller differences say nothing
    # Whether R is known to be finite and of full rank by a margin, but for rows taken out.
    regular: bool = False
    taken: int = 0  # how many of its first rows `eliminate` took out
    # The columns in the order in which R is a triangle, where it is regular; empty: as they stand.
    order: tuple[int, ...] = ()


class Quadratic(_Parts):
    """The quadratic of p parameters."""

    @property
    def norms(self) -> np.ndarray:
        """The norms of the columns of R, float64[p]."""
        return column_norms(self.root)

    @property
    def gradient(self) -> np.ndarray:
        """The derivative of the summed loss, float64[p]."""
        return np.asarray(self.root.T @ self.offset)

    @property
    def columns(self) -> Sequence[int]:
        """The columns in the order in which R is a triangle."""
        return self.order or range(self.root.shape[1])

    @property
    def spectrum(self) -> ScaledSpectrum:
        """The spectrum of H, in scaled coordinates."""
        return self.spectrum_of(np.ones(self.root.shape[1], dtype=bool))

    def spectrum_of(self, chosen: np.ndarray) -> ScaledSpectrum:
        """Return the spectrum of H of the parameters ``chosen``, bool[p]."""
        root = self.root[:, chosen]
        return root_spectrum(root) if self.exact else scaled_spectrum(root.T @ root, ROUNDING)

    @cached_property
    def inverse(self) -> np.ndarray | None:
        """R⁻¹, float64[p, p], where all of R stands there and every parameter is determined."""
        if not self.regular or self.taken:
            return None
        inverse = np.linalg.inv(self.root)
        # In scaled parameters: the norm of the inverse is above that of its largest singular value.
        size = self.norms[:, None] * inverse
        least = 1 / math.sqrt(float(np.vdot(size, size)))
        p = len(inverse)
        return inverse if least > p * math.sqrt(p) * ROOT_ROUNDING else None

    def rounded(self, theta: np.ndarray, rows: int) -> Quadratic:
        """Return the same of so many rows, with the rounding error at its point ``theta`` added.

        Where terms of 1e16 cancel, or a row lies on a pole, that is all there is of a low loss.
        """
        moved = TERM * float(np.abs(theta) @ self.norms)
        by_chance = moved * math.sqrt(2 * abs(self.loss) / rows)
        return self._replace(rounding=self.rounding + by_chance + moved * moved / 2)

    def change(self, step: np.ndarray) -> float:
        """Return by how much a step changes the quadratic."""
        moved = self.root @ step
        return float(moved @ (self.offset + moved / 2))

    def after(self, step: np.ndarray) -> Quadratic:
        """Return the same quadratic seen from where a step leads."""
        offset = self.offset + self.root @ step
        return self._replace(offset=offset, loss=self.least + float(offset @ offset) / 2)


def from_rows(
    jacobian: np.ndarray,
    grad: np.ndarray,
    curvature: np.ndarray | float,
    weight: np.ndarray | None,
    loss: float,
    linear: np.ndarray | None = None,
    size: float = 0.0,
) -> Quadratic:
    """Return the quadratic of a sum over rows, of which ``loss`` is the weighted one.

    Of each row there are the derivatives of the prediction, float64[p, n], and the ``grad`` and
    the ``curvature`` of its loss to the prediction, float64[n]; the latter 0 or more, or one
    positive number for all. The columns of ``linear`` parameters, which `eliminate` is to take out,
    go first. ``size`` is the largest magnitude of prediction and target, which round like it.
    """
    p, n = jacobian.shape
    curved, pull = (curvature, grad) if weight is None else (weight * curvature, weight * grad)
    roots = math.sqrt(curved) if isinstance(curved, float) else np.sqrt(curved)
    columns, order, upper = _layout(() if linear is None else tuple(linear.tolist()), p)
    # What is left empty is zero.
    table = np.zeros((p + 1, max(n, p + 1)))
    np.multiply(jacobian.take(order, 0), roots, out=table[:p, :n])
    where = True if isinstance(roots, float) else roots > 0
    scaled = np.divide(pull, roots, out=table[p, :n], where=where)
    # Half the squares are the loss itself where that is a sum of squared residuals.
    halves = float(scaled @ scaled) / 2
    triangle = decompose(table.T)
    root = np.empty((p, p))
    root[:, order] = triangle[:p, :p].T * upper
    # A view would keep the whole table.
    offset, corner = triangle[p, :p].copy(), float(triangle[p, p])
    if isinstance(curved, float):
        noise_sum = 2 * halves
    else:
        total = float(curved.sum())
        count = n if weight is None else float(weight.sum())
        noise_sum = float(pull @ grad) * count / total if total > 0 else 0.0
    rest = corner * corner / 2
    least = rest + (loss - halves if abs(loss - halves) > ROUNDING * abs(loss) else 0.0)
    rounding = ROUNDING * abs(loss) + ROUNDINGS * EPS * size * float(np.add.reduce(np.abs(pull)))
    # Each column, whose square is finite, has a part of its own above rounding.
    regular = all(
        abs(column[i]) > REGULAR * (size := math.hypot(*column[: i + 1])) and size <= STEEPEST
        for i, column in enumerate(triangle[:p, :p].tolist())
    )
    return Quadratic(loss, root, offset, noise_sum, least, True, rounding, regular, 0, columns)


def decompose(table: np.ndarray) -> np.ndarray:
    """Return R of float64[n, p] as LAPACK leaves it: transposed, beside it what makes up Q."""
    height = max(BLOCK // table.shape[1], 2 * table.shape[1])
    while len(table) > height:
        whole = len(table) - len(table) % height
        blocks = table[:whole].reshape(-1, height, table.shape[1])
        triangles = np.asarray(np.linalg.qr(blocks, mode="r")).reshape(-1, table.shape[1])
        table = np.vstack([triangles, table[whole:]])
    return np.asarray(np.linalg.qr(table, mode="raw")[0])


@lru_cache(maxsize=256)
def _layout(first: tuple[int, ...], p: int) -> tuple[tuple[int, ...], np.ndarray, np.ndarray]:
    """Return the columns with some first, also as an index, and 1 above the diagonal, 0 below."""
    columns = (*first, *(i for i in range(p) if i not in first))
    return columns, np.array(columns, dtype=np.intp), np.triu(np.ones((p, p)))


def sum_quadratics(parts: Iterable[Quadratic]) -> Quadratic:
    """Return the quadratic of all rows together from those of some each, at one point.

    Demmel, Grigori, Hoemmen & Langou 2012, SIAM J. Sci. Comput. 34(1), A206-A239: the roots are
    stacked and decomposed again, some at a time as they come.
    """
    found: list[Quadratic] = []
    for part in parts:
        found.append(part)
        if len(found) == STACKED:
            found = [_stacked(found)]
    return found[0] if len(found) == 1 else _stacked(found)


def _stacked(found: list[Quadratic]) -> Quadratic:
    p = len(found[0].offset)
    stacked = np.vstack([np.column_stack([q.root, q.offset]) for q in found])
    triangle = np.triu(decompose(stacked)[: p + 1, : p + 1].T)
    loss, noise_sum = sum(q.loss for q in found), sum(q.noise_sum for q in found)
    corner = float(triangle[p, p])
    least = sum(q.least for q in found) + corner * corner / 2
    rounding = sum(q.rounding for q in found)
    return Quadratic(loss, triangle[:p, :p], triangle[:p, p], noise_sum, least, True, rounding)


def from_sums(gradient: np.ndarray, curvature: np.ndarray, loss: float, noise: float) -> Quadratic:
    """Return the quadratic of sums over rows, of shapes (p,) and (p, p)."""
    spectrum = scaled_spectrum(curvature, ROUNDING)
    kept = spectrum.positive
    sizes = np.sqrt(np.where(kept, spectrum.values, 0.0))
    root = sizes[:, None] * spectrum.vectors.T * spectrum.scales
    along = spectrum.vectors.T @ (gradient / spectrum.scales)
    offset = np.divide(along, sizes, out=np.zeros(len(sizes)), where=kept)
    least = loss - float(offset @ offset) / 2
    return Quadratic(loss, root, offset, noise, least, False, ROUNDING * abs(loss))


def eliminate(quadratic: Quadratic, linear: np.ndarray) -> Quadratic:
    """Return the quadratic of the other parameters, where the linear ones fit best to them.

    Kaufman 1975, BIT 15(1), 49-57: what the columns of the linear parameters span is taken out. In
    a root of `from_rows` with the same ``linear``, int[k], these are the first rows.
    """
    k = len(linear)
    offset = quadratic.offset[k:]
    least = quadratic.least + float(offset @ offset) / 2
    root = quadratic.root[k:]
    if not quadratic.regular:
        # Of a column that those of the linear parameters span rounding alone is left.
        rounding = ROUNDINGS * len(offset) * EPS * quadratic.norms
        root = np.where(column_norms(root) > rounding, root, 0.0)
    return quadratic._replace(loss=least, root=root, offset=offset, taken=k)


def linear_step(
    quadratic: Quadratic, linear: np.ndarray, after: np.ndarray | None = None
) -> np.ndarray:
    """Return the step of the linear parameters, float64[k], to where they fit best.

    The quadratic is one of `from_rows` with the same ``linear``; the step ``after`` of all
    parameters is taken before.
    """
    k = len(linear)
    root, offset = quadratic.root[:k], quadratic.offset[:k]
    if after is not None:
        offset = offset + root @ after
    if quadratic.regular:
        return np.array(_substituted(root, quadratic.columns[:k], offset))
    corner = root[:, linear]
    norms = np.abs(corner).max(axis=0, initial=0.0)
    norms = np.where(norms > 0, norms, 1.0)
    step = np.linalg.lstsq(corner / norms, -offset, rcond=ROUNDINGS * k * EPS)[0]
    return np.asarray(step / norms)


def _substituted(root: np.ndarray, columns: Sequence[int], offset: np.ndarray) -> list[float]:
    """Return the step in these columns, whose rows are a triangle, that takes ``offset`` away.

    By back substitution in plain numbers: 1.0 µs for three parameters, by LAPACK's solver 3.0.
    """
    rows, left = root.tolist(), offset.tolist()
    step = [0.0] * len(rows)
    for i in range(len(rows) - 1, -1, -1):
        row, rest = rows[i], -left[i]
        for j in range(i + 1, len(rows)):
            rest -= row[columns[j]] * step[j]
        step[i] = rest / row[columns[i]]
    return step


class Step(NamedTuple):
    """A step of the trust region."""

    move: np.ndarray  # δ, float64[p]: zero in the parameters that are held
    damping: float  # λ of (H + λD²)δ = −g; 0 where the region is wide enough for the whole step
    length: float  # ‖Dδ‖, at most the radius


def step_within(quadratic: Quadratic, scales: np.ndarray, free: np.ndarray, radius: float) -> Step:
    """Return the step of the parameters that are ``free`` to the minimum within ‖Dδ‖ ≤ radius.

    Moré 1978, The Levenberg-Marquardt algorithm, LNM 630, 105-116; here by singular values, which
    make every further radius cheap. ``scales`` is D, float64[p]; where it is 0, as for a parameter
    without effect, any number serves. The radius may be infinite.
    """
    if quadratic.regular and np.count_nonzero(free) == len(free) - quadratic.taken:
        # The whole step needs no singular values; nearly always it is short enough.
        columns, whole = quadratic.columns[quadratic.taken :], [0.0] * len(scales)
        found = _substituted(quadratic.root, columns, quadratic.offset)
        for column, size in zip(columns, found, strict=True):
            whole[column] = size
        length = math.hypot(*map(mul, [unit or 1.0 for unit in scales.tolist()], whole))
        if length <= radius * SLACK:
            return Step(np.array(whole), 0.0, length)
    scales = np.where(scales > 0, scales, 1.0)
    left, sizes, right = np.linalg.svd(quadratic.root[:, free] / scales[free], full_matrices=False)
    kept = sizes > ROUNDINGS * len(scales) * EPS * sizes[:1].max(initial=0.0)
    # Their squares could leave the range of floating point.
    unit = float(sizes[0]) if kept.any() else 1.0
    sizes, along = sizes[kept] / unit, (left.T @ quadratic.offset)[kept]
    damping = _damping(sizes, along, radius * unit)
    scaled = -right[kept].T @ (along * sizes / (sizes**2 + damping))
    move = np.zeros(len(scales))
    move[free] = scaled / unit / scales[free]
    return Step(move, damping * unit * unit, float(np.linalg.norm(scaled)) / unit)


def _damping(sizes: np.ndarray, along: np.ndarray, radius: float) -> float:
    """Return λ with ‖δ(λ)‖ = radius, 0 where the whole step is shorter.

    Newton's method on 1/‖δ‖, which is nearly linear in λ (Hebden 1973; Moré 1978, section 5).
    """
    length = float(np.linalg.norm(along / sizes)) if len(sizes) else 0.0
    if not length > radius * SLACK:
        return 0.0
    damping = 0.0
    for _ in range(30):
        parts = along * sizes / (sizes**2 + damping)
        length = float(np.linalg.norm(parts))
        if abs(length - radius) <= 0.1 * radius:
            break
        slope = float(((parts / length) ** 2 / (sizes**2 + damping)).sum())
        damping += (length - radius) / radius / slope
    return damping
