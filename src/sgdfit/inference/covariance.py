"""How sure the estimates are, and how far the run still is, from sums over the rows.

All matrices are scaled to a unit diagonal before they are inverted, so that the units of
the parameters do not matter; what the data do not determine is named, never inverted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sgdfit.inference.spectrum import EPS, ScaledSpectrum, named, scaled_spectrum

__all__ = [
    "as_spectrum",
    "classical",
    "correlation",
    "of_inverse",
    "reduction",
    "relative_offset",
    "sandwich",
]

# Sums over rows carry a few rounding errors; what is above them still is information.
ROUNDING = 64 * EPS


def classical(
    curvature: np.ndarray | ScaledSpectrum, residual_variance: float, names: Sequence[str]
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Return the covariance of least-squares estimates, σ²(JᵀWJ)⁻¹.

    Parameters
    ----------
    curvature : array, shape (p, p), or ScaledSpectrum
        Σ w JᵀJ over the rows.
    residual_variance : float
        σ², the weighted residual sum of squares over the degrees of freedom.
    names : sequence of str, length p
        The free parameters.

    Returns
    -------
    covariance : array, shape (p, p), or None
        In units of parameter²; None where the data do not determine every parameter,
        or the curvature is not finite.
    undetermined : tuple of str
        The combinations of parameters that are to blame; empty where there is a covariance.

    Examples
    --------
    >>> covariance, _ = classical(np.diag([4.0, 25.0]), 1.0, ("a", "b"))
    >>> covariance.round(12).tolist()
    [[0.25, 0.0], [0.0, 0.04]]
    >>> classical(np.ones((2, 2)), 1.0, ("a", "b"))
    (None, ('a − b',))
    """
    inverse_root, undetermined = _inverse_root(curvature, names)
    if inverse_root is None or not np.isfinite(residual_variance):
        return None, undetermined
    root = inverse_root * np.sqrt(residual_variance)
    return root @ root.T, ()


def of_inverse(inverse: np.ndarray, residual_variance: float) -> np.ndarray | None:
    """Return σ²(JᵀWJ)⁻¹ from the inverse of a root R of JᵀWJ = RᵀR.

    Parameters
    ----------
    inverse : array, shape (p, p)
        R⁻¹.
    residual_variance : float
        σ².

    Examples
    --------
    >>> of_inverse(np.diag([0.5, 0.2]), 1.0).round(12).tolist()
    [[0.25, 0.0], [0.0, 0.04]]
    """
    if not math.isfinite(residual_variance):
        return None
    root = inverse * math.sqrt(residual_variance)
    return np.asarray(root @ root.T)


def sandwich(
    hessian: np.ndarray | ScaledSpectrum, scores: np.ndarray, names: Sequence[str]
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Return the covariance H⁻¹SH⁻¹, right for any loss and for unequal noise.

    Huber 1967, Proc. 5th Berkeley Symposium 1, 221-233; White 1980, Econometrica 48(4),
    817-838 (there without a correction for few rows, as here).

    Parameters
    ----------
    hessian : array, shape (p, p), or ScaledSpectrum
        H = Σ w ℓ'' JᵀJ over the rows.
    scores : array, shape (p, p)
        S = Σ w² ℓ'² JᵀJ over the rows.
    names : sequence of str, length p
        The free parameters.

    Returns
    -------
    covariance : array, shape (p, p), or None
        None where H is not positive definite, so that this is no isolated minimum.
    undetermined : tuple of str
        The combinations along which H is not positive.

    Examples
    --------
    >>> covariance, _ = sandwich(np.diag([2.0, 4.0]), np.diag([1.0, 16.0]), ("a", "b"))
    >>> covariance.round(12).tolist()
    [[0.25, 0.0], [0.0, 1.0]]
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
    return spectrum.vectors / np.sqrt(spectrum.values) / spectrum.scales[:, None], ()


def as_spectrum(matrix: np.ndarray | ScaledSpectrum) -> ScaledSpectrum:
    """Return the spectrum of a curvature that was summed over rows, or one as it is."""
    if isinstance(matrix, ScaledSpectrum):
        return matrix
    return scaled_spectrum(np.asarray(matrix, dtype=float), ROUNDING)


@np.errstate(invalid="ignore", divide="ignore")
def correlation(covariance: np.ndarray) -> np.ndarray:
    """Return the correlation matrix, shape (p, p), of a covariance, without unit.

    Where a variance is zero, as for perfect data, the correlations are NaN.

    Examples
    --------
    >>> correlation(np.array([[4.0, -3.0], [-3.0, 9.0]])).tolist()
    [[1.0, -0.5], [-0.5, 1.0]]
    """
    errors = np.sqrt(covariance.diagonal())
    matrix = np.minimum(np.maximum(covariance / errors[:, None] / errors, -1.0), 1.0)
    matrix.flat[:: len(errors) + 1] = 1.0
    return np.asarray(matrix)


def relative_offset(
    gradient: np.ndarray,
    curvature: np.ndarray,
    estimates: np.ndarray,
    residual_variance: float,
    scores: np.ndarray | None = None,
) -> float:
    """Return the distance to the optimum in standard errors, √(δᵀC⁻¹δ/p).

    δ is the remaining (Gauss-)Newton step and C the covariance of the parameters, both
    taken in the directions that the data determine (Bates & Watts 1981, Technometrics
    23(2), 179-183; theirs is this with C = σ²(JᵀJ)⁻¹).

    Parameters
    ----------
    gradient : array, shape (p,)
        g = Σ w J r over the rows (for other losses Σ w ℓ' J), so that δ = curvature⁻¹·g.
    curvature : array, shape (p, p)
        Σ w JᵀJ (for other losses H = Σ w ℓ'' JᵀJ).
    estimates : array, shape (p,)
        The parameters, which tell how small a step rounding can hide.
    residual_variance : float
        σ²; not used where ``scores`` are given.
    scores : array, shape (p, p), optional
        S = Σ w² ℓ'² JᵀJ, for C = H⁻¹SH⁻¹ in place of σ²(JᵀJ)⁻¹.

    Returns
    -------
    float
        0.0 where rounding of the parameters hides the step, as it does for perfect data at
        their optimum; ``inf`` where the residuals are zero but the step is not, or where an
        argument is not finite.

    Examples
    --------
    >>> relative_offset(np.array([2.0]), np.array([[4.0]]), np.array([1.0]), 1.0)
    1.0
    """
    g, H = np.asarray(gradient, dtype=float), np.asarray(curvature, dtype=float)
    finite = np.isfinite(g).all() and np.isfinite(H).all()
    if not finite or (scores is not None and not np.isfinite(scores).all()):
        return float("inf")
    spectrum = scaled_spectrum(H, ROUNDING)
    if _at_rounding(g, H, np.asarray(estimates, dtype=float), spectrum):
        return 0.0
    kept = spectrum.positive
    basis = spectrum.vectors[:, kept] / np.sqrt(spectrum.values[kept])
    # Whitened, S is σ² times the unit matrix in the classical case.
    whitened = basis.T @ (g / spectrum.scales)
    middle = np.eye(len(whitened)) * residual_variance
    if scores is not None:
        middle = basis.T @ (scores / spectrum.scales[:, None] / spectrum.scales) @ basis
    return _length(whitened, middle)


def reduction(gradient: np.ndarray, curvature: np.ndarray) -> float:
    """Return gᵀH⁻¹g, by which the remaining step lowers Σ w r², in the determined directions.

    Parameters
    ----------
    gradient : array, shape (p,)
        g = Σ w J r over the rows.
    curvature : array, shape (p, p)
        H = Σ w JᵀJ.

    Examples
    --------
    >>> reduction(np.array([2.0]), np.array([[4.0]]))
    1.0
    """
    spectrum = scaled_spectrum(np.asarray(curvature, dtype=float), ROUNDING)
    kept = spectrum.positive
    basis = spectrum.vectors[:, kept] / np.sqrt(spectrum.values[kept])
    whitened = basis.T @ (np.asarray(gradient, dtype=float) / spectrum.scales)
    return float(whitened @ whitened)


def _at_rounding(g: np.ndarray, H: np.ndarray, theta: np.ndarray, spectrum: ScaledSpectrum) -> bool:
    """Whether a relative change of the parameters by 8 eps accounts for the gradient.

    The backward form of |δ| ≤ 8 eps |θ|: that much of g rounding alone leaves, whereas
    δ itself is amplified where parameters are correlated.
    """
    d = spectrum.scales
    reach = np.abs(H / d[:, None] / d) @ np.abs(theta * d)
    return bool(np.abs(g / d).max(initial=0.0) <= 8 * EPS * reach.max(initial=0.0))


def _length(whitened: np.ndarray, middle: np.ndarray) -> float:
    """√(uᵀM⁻¹u/p), infinite where M leaves no room for u."""
    size = float(np.abs(np.diag(middle)).max(initial=0.0))
    if size == 0 or not np.isfinite(size):
        return float("inf")
    values, vectors = np.linalg.eigh(middle / size)
    along = vectors.T @ whitened / np.sqrt(size)
    room = values > len(values) * ROUNDING
    if np.abs(along[~room]).max(initial=0.0) > np.sqrt(EPS) * np.abs(along).max():
        return float("inf")
    return float(np.linalg.norm(along[room] / np.sqrt(values[room])) / np.sqrt(len(values)))
