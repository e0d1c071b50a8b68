"""How sure the estimates are, and how far the run still is, from sums over the rows.

All matrices are scaled to a unit diagonal before they are inverted, so that the units of
the parameters do not matter; what the data do not determine is named, never inverted.

Of y = (a + b)*x no data tell a from b, yet a + b is as well determined as any slope. A combination
w·θ is determined (estimable) where w is orthogonal to every direction without curvature; its
variance is then the same for whatever generalized inverse (Rao & Mitra 1971, Generalized Inverse
of Matrices and its Applications, section 7.2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sgdfit.inference.spectrum import (
    EPS,
    ScaledSpectrum,
    eliminated,
    linear_combination,
    named,
    scaled_spectrum,
)

# Sums over rows carry a few rounding errors; what is above them still is information.
ROUNDING = 64 * EPS
# Below this, in parameters scaled to equal effect, a component is rounding.
NEGLIGIBLE = 1e-6
LARGEST_WHOLE = 12


def classical(
    curvature: np.ndarray | ScaledSpectrum, residual_variance: float, names: Sequence[str]
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Return the covariance of least-squares estimates, σ²(JᵀWJ)⁻¹, of which Σ w JᵀJ is given.

    There is none where that is not finite or does not determine every parameter; in its place
    there are the combinations of parameters that are to blame.
    """
    inverse_root, undetermined = _inverse_root(curvature, names)
    if inverse_root is None:
        return None, undetermined
    return of_inverse(inverse_root, residual_variance), ()


def of_inverse(inverse: np.ndarray, residual_variance: float) -> np.ndarray | None:
    """Return σ²(JᵀWJ)⁻¹ from the inverse R⁻¹ of a root of JᵀWJ = RᵀR; None where σ² is infinite."""
    if not math.isfinite(residual_variance):
        return None
    root = inverse * math.sqrt(residual_variance)
    return np.asarray(root @ root.T)


def sandwich(
    hessian: np.ndarray | ScaledSpectrum, scores: np.ndarray, names: Sequence[str]
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Return the covariance H⁻¹SH⁻¹, right for any loss and for unequal noise.

    Huber 1967, Proc. 5th Berkeley Symposium 1, 221-233; White 1980, Econometrica 48(4),
    817-838 (there without a correction for few rows, as here). H = Σ w ℓ'' JᵀJ over the rows and
    S = Σ w² ℓ'² JᵀJ. There is none where H is not positive definite, so that this is no isolated
    minimum; in its place there are the combinations along which it is not.
    """
    inverse_root, undetermined = _inverse_root(hessian, names)
    if inverse_root is None or not np.isfinite(scores).all():
        return None, undetermined
    # H⁻¹ = UUᵀ; the product in the middle has no units, so nothing overflows.
    middle = inverse_root.T @ scores @ inverse_root
    covariance = inverse_root @ (middle / 2 + middle.T / 2) @ inverse_root.T
    return covariance / 2 + covariance.T / 2, ()


def _inverse_root(
    matrix: np.ndarray | ScaledSpectrum, names: Sequence[str]
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Return U with UUᵀ = matrix⁻¹, or None and the combinations that forbid it."""
    if not isinstance(matrix, ScaledSpectrum) and not np.isfinite(matrix).all():
        return None, ()
    spectrum = as_spectrum(matrix)
    if not spectrum.positive.all():
        negative = spectrum.vectors[:, spectrum.values < -spectrum.tolerance].T
        rows = np.concatenate([spectrum.null_rows(), negative])
        return None, named(names, rows, spectrum.scales)
    return spectrum.whitening / spectrum.scales[:, None], ()


def as_spectrum(matrix: np.ndarray | ScaledSpectrum) -> ScaledSpectrum:
    """Return the spectrum of a curvature that was summed over rows, or one as it is."""
    if isinstance(matrix, ScaledSpectrum):
        return matrix
    return scaled_spectrum(np.asarray(matrix, dtype=float), ROUNDING)


@np.errstate(invalid="ignore", divide="ignore")
def is_covariance(matrix: np.ndarray) -> bool:
    """Whether a square matrix is symmetric and has no negative eigenvalue, but for rounding.

    Parameters that are not known have NaN in their whole row and column.

    >>> [is_covariance(np.array([[4.0, x], [x, 1.0]])) for x in (1.0, 3.0)]
    [True, False]
    """
    known = np.isfinite(matrix.diagonal())
    some = matrix[np.ix_(known, known)]
    size = np.sqrt(np.maximum(some.diagonal(), 0.0))
    if not np.isfinite(some).all() or (some.diagonal() < 0).any():
        return False
    size = np.where(size > 0, size, 1.0)
    with np.errstate(over="ignore"):
        scaled = some / size[:, None] / size
    if not np.abs(scaled - scaled.T).max(initial=0.0) <= 1e-6:
        return False
    return bool(np.linalg.eigvalsh(scaled).min(initial=0.0) >= -1e-6 * len(some))


def correlation(covariance: np.ndarray) -> np.ndarray:
    """Return the correlation matrix; NaN where a variance is zero, as for perfect data."""
    errors = np.sqrt(covariance.diagonal())
    with np.errstate(invalid="ignore"):
        matrix = np.minimum(np.maximum(covariance / errors[:, None] / errors, -1.0), 1.0)
    matrix.flat[:: len(errors) + 1] = 1.0
    return np.asarray(matrix)


def sandwich_offset(
    gradient: np.ndarray, curvature: np.ndarray, estimates: np.ndarray, scores: np.ndarray
) -> float:
    """Return the distance to the optimum in standard errors, √(δᵀC⁻¹δ/p).

    δ is the remaining (Gauss-)Newton step H⁻¹g and C = H⁻¹SH⁻¹ the covariance of the parameters,
    both taken in the directions that the data determine. With H = JᵀJ and S = σ²H it is the
    relative offset of Bates & Watts 1981, Technometrics 23(2), 179-183.

    It is 0 where rounding of the estimates hides the step, as it does for perfect data at their
    optimum; infinite where there are no scores but a step, or where an argument is not finite.
    """
    g, H, S = gradient, curvature, scores
    if not all(np.isfinite(one).all() for one in (g, H, S)):
        return math.inf
    spectrum = scaled_spectrum(H, ROUNDING)
    d = spectrum.scales
    # A relative change of the parameters by 8 eps accounts for the gradient. That is the backward
    # form of |δ| ≤ 8 eps |θ|: δ itself is amplified where parameters are correlated.
    reach = np.abs(H / d[:, None] / d) @ np.abs(estimates * d)
    if np.abs(g / d).max(initial=0.0) <= 8 * EPS * reach.max(initial=0.0):
        return 0.0
    basis = spectrum.whitening
    whitened = basis.T @ (g / d)
    middle = basis.T @ (S / d[:, None] / d) @ basis
    # √(uᵀM⁻¹u/p), infinite where M leaves no room for u.
    size = float(np.abs(np.diag(middle)).max(initial=0.0))
    if size == 0 or not math.isfinite(size):
        return math.inf
    values, vectors = np.linalg.eigh(middle / size)
    along = vectors.T @ whitened / np.sqrt(size)
    room = values > len(values) * ROUNDING
    if np.abs(along[~room]).max(initial=0.0) > np.sqrt(EPS) * np.abs(along).max():
        return math.inf
    return float(np.linalg.norm(along[room] / np.sqrt(values[room])) / np.sqrt(len(values)))


class Determined(NamedTuple):
    """A linear combination of parameters that the data determine."""

    text: str  # such as ``a + b``
    value: float  # at the estimates
    stderr: float | None  # None where the noise is not known


def determined(
    names: Sequence[str], theta: np.ndarray, spectrum: ScaledSpectrum, noise: float
) -> tuple[np.ndarray, tuple[Determined, ...]]:
    """Return the covariance of what is determined, and the combinations that are.

    The ``spectrum`` is that of Σ w JᵀJ at ``theta``; ``noise`` is σ². The covariance is NaN in the
    rows and columns of parameters that are not determined by themselves. The combinations together
    say all that is known of those; each names as few as can be.
    """
    root, null = spectrum.whitening, spectrum.vectors[:, ~spectrum.positive]
    touched = np.flatnonzero(np.abs(null).max(axis=1, initial=0.0) > NEGLIGIBLE)
    half = root / spectrum.scales[:, None] * np.sqrt(noise if np.isfinite(noise) else np.nan)
    covariance = np.asarray(half @ half.T)
    covariance[touched, :] = covariance[:, touched] = np.nan
    found = []
    for row in _basis(null[touched].T):
        used = touched[row != 0]
        # What is said of θ holds for any multiple: the first parameter is counted once.
        weights = row[row != 0] * spectrum.scales[used]
        weights = _whole(weights / weights[0])
        spread = float(np.linalg.norm((weights / spectrum.scales[used]) @ root[used]))
        error = float(np.sqrt(noise)) * spread if np.isfinite(noise) else None
        numbers = ["" if (n := f"{abs(w):.6g}") == "1" else n for w in weights.tolist()]
        text = linear_combination([names[i] for i in used.tolist()], weights.tolist(), numbers)
        found.append(Determined(text, float(weights @ theta[used]), error))
    return covariance, tuple(found)


def _whole(weights: np.ndarray) -> np.ndarray:
    """Return the multiple of the weights that is of small whole numbers, if one is."""
    for factor in range(1, LARGEST_WHOLE + 1):
        whole = np.round(weights * factor)
        near = np.abs(weights * factor - whole) <= NEGLIGIBLE * np.abs(whole)
        if near.all() and np.abs(whole).max() <= LARGEST_WHOLE:
            return np.asarray(whole)
    return weights


def _basis(null: np.ndarray) -> np.ndarray:
    """Return rows, shape (m − k, m), orthogonal to the null rows, shape (k, m), and sparse.

    With k columns solved for the others, each row has one of the others and at most k more.
    """
    k, m = null.shape
    if not 0 < k < m:
        return np.zeros((0, m))
    columns = eliminated(null.copy())
    others = [j for j in range(m) if j not in columns]
    basis = np.zeros((m - k, m))
    basis[:, others] = np.eye(m - k)
    basis[:, columns] = -np.linalg.solve(null[:, columns], null[:, others]).T
    basis[np.abs(basis) <= NEGLIGIBLE * np.abs(basis).max(axis=1, keepdims=True)] = 0.0
    # Read from the first parameter on, which is positive.
    first = (basis != 0).argmax(axis=1)
    basis *= np.sign(basis[np.arange(m - k), first])[:, None]
    return np.asarray(basis[np.argsort(first, kind="stable")])
