"""Directions in parameter space: their curvature, those without any, and what they are called."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

EPS = float(np.finfo(float).eps)
# Sums over many rows lose a few digits more than one operation does.
ROOT_ROUNDING = 1e4 * EPS


def normalized_columns(vectors: np.ndarray) -> np.ndarray:
    """Return columns at unit length, the largest component of each positive.

    Of components that are equally large to rounding, the first decides.
    """
    if not vectors.size:
        return np.array(vectors, dtype=float)
    length = column_norms(vectors)
    unit = vectors / np.where(length > 0, length, 1.0)
    size = np.abs(unit)
    near = size >= (1 - 1e-9) * size.max(axis=0)
    lead = unit[near.argmax(axis=0), np.arange(len(length))]
    # Adding zero turns −0.0 into 0.0.
    return np.asarray(unit * np.where(lead < 0, -1.0, 1.0) + 0.0)


def column_norms(matrix: np.ndarray) -> np.ndarray:
    """Return the norms of the columns, whose squares could leave the range of floating point."""
    # For so few numbers plain Python is as quick as a single operation on arrays.
    return np.array([math.hypot(*column) for column in matrix.T.tolist()])


def eigen(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the eigenvalues, ascending, and canonical eigenvectors of a symmetric matrix.

    LAPACK's error is relative to the largest eigenvalue, so that the small ones of a badly
    scaled matrix drown. Jacobi's rotations keep them to a relative accuracy that depends on
    the scaled matrix only (Demmel & Veselić 1992, SIAM J. Matrix Anal. Appl. 13, 1204-1245).
    """
    matrix = matrix / 2 + matrix.T / 2
    diagonal = np.abs(np.diag(matrix))
    if not diagonal.size or diagonal.max() <= 100 * diagonal.min():
        values, vectors = np.linalg.eigh(matrix)
    else:
        a, vectors = matrix.copy(), np.eye(len(matrix))
        # Until every off-diagonal entry is negligible beside *its own* diagonal entries.
        for _ in range(40):
            rotated = False
            for p, q in combinations(range(len(a)), 2):
                if abs(a[p, q]) > EPS * np.sqrt(abs(a[p, p])) * np.sqrt(abs(a[q, q])):
                    _rotate(a, vectors, p, q)
                    rotated = True
            if not rotated:
                break
        values = np.diag(a)
    order = np.argsort(values, kind="stable")
    return values[order], normalized_columns(vectors[:, order])


def _rotate(a: np.ndarray, vectors: np.ndarray, p: int, q: int) -> None:
    """Make ``a[p, q]`` zero in place (Golub & Van Loan, Matrix Computations, section 8.5)."""
    cross = a[p, q]
    with np.errstate(over="ignore", under="ignore"):
        tau = (a[q, q] / 2 - a[p, p] / 2) / cross
        t = np.copysign(1.0, tau) / (abs(tau) + np.hypot(1.0, tau))
        c = 1 / np.hypot(1.0, t)
        corner = a[p, p] - t * cross, a[q, q] + t * cross
        turn = np.array([[c, t * c], [-t * c, c]])
        a[:, [p, q]] = a[:, [p, q]] @ turn
        a[[p, q], :] = turn.T @ a[[p, q], :]
        vectors[:, [p, q]] = vectors[:, [p, q]] @ turn
    a[p, p], a[q, q] = corner
    a[p, q] = a[q, p] = 0.0


class ScaledSpectrum(NamedTuple):
    """The spectrum of R, where matrix = D·R·D and R has a unit diagonal."""

    scales: np.ndarray  # the diagonal of D, in units of 1/parameter; 1 where there is no effect
    values: np.ndarray  # eigenvalues of R, ascending
    vectors: np.ndarray  # eigenvectors of R, columns, of either sign
    tolerance: float  # eigenvalues of R up to this size cannot be told from zero

    @property
    def undetermined(self) -> np.ndarray:
        """Return bool[p]: which eigenvalues cannot be told from zero."""
        return np.asarray(np.abs(self.values) <= self.tolerance)

    @property
    def positive(self) -> np.ndarray:
        """Return bool[p]: which eigenvalues are positive beyond rounding."""
        return np.asarray(self.values > self.tolerance)

    @property
    def whitening(self) -> np.ndarray:
        """Return U of shape (p, k) with UᵀRU = 1, in the k directions that are determined."""
        kept = self.positive
        return np.asarray(self.vectors[:, kept] / np.sqrt(self.values[kept]))

    @property
    def inverse_root(self) -> np.ndarray:
        """Return U of shape (p, k) whose UUᵀ is the inverse of the matrix in these directions."""
        return np.asarray(self.whitening / self.scales[:, None])

    def null_rows(self) -> np.ndarray:
        """Return a sparse basis, shape (k, p), of the undetermined directions of R.

        Row reduction leaves as few parameters in each direction as there can be; entries
        at the level of rounding are cut, since unscaling could blow them up.
        """
        rows = self.vectors[:, self.undetermined].T.copy()
        for i, column in enumerate(row_echelon(rows)):
            others = np.arange(len(rows)) != i
            rows[others] -= np.outer(rows[others, column], rows[i])
        rows[np.abs(rows) < 1e-6] = 0.0
        return rows


def scaled_spectrum(matrix: np.ndarray, rounding: float = ROOT_ROUNDING) -> ScaledSpectrum:
    """Scale a symmetric matrix, which is finite, to a unit diagonal and return its spectrum.

    An eigenvalue up to ``p * rounding`` times the largest counts as zero.
    """
    scales = _scales(matrix)
    values, vectors = np.linalg.eigh(matrix / scales[:, None] / scales)
    largest = float(np.abs(values).max(initial=0.0))
    return ScaledSpectrum(scales, values, vectors, len(values) * rounding * largest)


def root_spectrum(root: np.ndarray, rounding: float = ROOT_ROUNDING) -> ScaledSpectrum:
    """Return the `ScaledSpectrum` of RᵀR from R, which keeps the digits that squaring loses.

    A singular value up to ``p * rounding`` times the largest counts as zero.
    """
    scales = column_norms(root)
    scales = np.where(scales > 0, scales, 1.0)
    _, found, right = np.linalg.svd(root / scales, full_matrices=True)
    sizes = np.zeros(len(scales))
    sizes[: len(found)] = found
    values, vectors = sizes[::-1] ** 2, right[::-1].T
    tolerance = (len(values) * rounding * float(sizes.max(initial=0.0))) ** 2
    return ScaledSpectrum(scales, values, vectors, tolerance)


def _scales(matrix: np.ndarray) -> np.ndarray:
    """Return d with |matrix[i, j]| ≤ d[i]·d[j], which is √diagonal unless it is indefinite.

    An indefinite matrix may have a small diagonal beside large entries; its rows are brought
    to a largest entry of 1 (Ruiz 2001, RAL-TR-2001-034), in logarithms so as not to overflow.
    """
    with np.errstate(divide="ignore"):
        logs, diagonal = np.log(np.abs(matrix)), np.log(np.abs(np.diag(matrix)))
    used = np.isfinite(logs).any(axis=1)
    half = np.where(np.isfinite(diagonal), diagonal, logs.max(axis=1, initial=-np.inf)) / 2
    half[~used] = 0.0
    for _ in range(60):
        largest = (logs - half[:, None] - half)[used].max(axis=1, initial=-np.inf)
        if np.abs(largest).max(initial=0.0) < 1e-6:
            break
        half[used] += largest / 2
    return np.asarray(np.exp(half))


def row_echelon(rows: np.ndarray) -> list[int]:
    """Bring rows to echelon form in place, with 1 at the pivots; return the pivots' columns."""
    columns = []
    for i in range(len(rows)):
        pivot, column = np.unravel_index(np.abs(rows[i:]).argmax(), rows[i:].shape)
        rows[[i, i + pivot]] = rows[[i + pivot, i]]
        rows[i] /= rows[i, column]
        rows[i + 1 :] -= np.outer(rows[i + 1 :, column], rows[i])
        columns.append(int(column))
    return columns


def linear_combination(
    names: Iterable[str], weights: Iterable[float], numbers: Sequence[str]
) -> str:
    """Write a sum of parameters; ``numbers`` are the sizes of the weights, empty for 1."""
    text = ""
    for name, weight, number in zip(names, weights, numbers, strict=True):
        text += (" − " if weight < 0 else " + ") if text else ("−" if weight < 0 else "")
        text += f"{number}·{name}" if number else name
    return text


def combination(names: Sequence[str], vector: np.ndarray, weights: np.ndarray | None = None) -> str:
    """Name a direction as a sum of parameters, at unit length and with its largest term positive.

    Components that matter less than 5% of the largest are left out, and equal coefficients are not
    written. ``weights`` tell how much each matters; without them the components themselves do,
    which is right where all parameters share one unit.
    """
    vector = normalized_columns(np.asarray(vector, dtype=float)[:, None])[:, 0]
    matter = np.abs(vector if weights is None else weights)
    kept = np.flatnonzero((matter >= 0.05 * matter.max()) & (vector != 0))
    if not kept.size:
        return "0"
    parts = vector[kept]
    sizes = np.abs(parts)
    equal = np.ptp(sizes) < 0.005 * sizes.max()
    # Where units differ, a coefficient that matters may be tiny.
    written = [f"{s:.2f}" if s >= 0.005 else f"{s:.2g}" for s in sizes.tolist()]
    numbers = ["" if equal or number == "1.00" else number for number in written]
    return linear_combination([names[i] for i in kept.tolist()], parts.tolist(), numbers)


def named(names: Sequence[str], rows: np.ndarray, scales: np.ndarray) -> tuple[str, ...]:
    """Name directions given in scaled coordinates, shape (k, p), in the user's parameters."""
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        directions = rows / scales
    # What the units carry out of range is named in scaled parameters.
    usable = np.isfinite(directions).all(axis=1, keepdims=True)
    directions = np.where(usable, directions, rows)
    return tuple(
        combination(names, direction, row) for direction, row in zip(directions, rows, strict=True)
    )
