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
from collections.abc import Callable, Sequence
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
# A weight is said to be a parameter's where it is as near as this.
NEAR = 1e-5
# Powers in a product that differ more are none.
UNEQUAL = 100.0


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
    """A combination of parameters that the data determine."""

    text: str  # such as ``a + b`` or ``a*exp(d*b)``
    value: float  # at the estimates
    stderr: float | None  # None where the noise is not known


def determined(
    names: Sequence[str],
    theta: np.ndarray,
    spectrum: ScaledSpectrum,
    noise: float,
    logs: np.ndarray | None = None,
) -> tuple[np.ndarray, tuple[Determined, ...]]:
    """Return the covariance of what is determined, and the combinations that are.

    The ``spectrum`` is that of Σ w JᵀJ at ``theta``; ``noise`` is σ². The covariance is NaN in the
    rows and columns of parameters that are not determined by themselves. The combinations together
    say all that is known of those; each names as few as can be. They are sums, but of parameters
    that ``logs``, bool[p], marks the logarithm is taken: see `logarithmic`.
    """
    root, null = spectrum.whitening, spectrum.vectors[:, ~spectrum.positive]
    touched = np.flatnonzero(np.abs(null).max(axis=1, initial=0.0) > NEGLIGIBLE)
    half = root / spectrum.scales[:, None] * np.sqrt(noise if np.isfinite(noise) else np.nan)
    covariance = np.asarray(half @ half.T)
    covariance[touched, :] = covariance[:, touched] = np.nan
    found, logs = [], np.zeros(len(theta), dtype=bool) if logs is None else logs
    for row in _basis(null[touched].T):
        used = touched[row != 0]
        weights = np.zeros(len(theta))
        weights[used] = row[row != 0] * spectrum.scales[used] * np.where(logs, theta, 1.0)[used]
        one = _combined(names, theta, weights, logs)
        spread = float(np.linalg.norm((one.slope / spectrum.scales) @ root))
        error = float(np.sqrt(noise)) * spread if np.isfinite(noise) else None
        if math.isfinite(one.value) and math.isfinite(error or 0.0):
            found.append(Determined(one.text, one.value, error))
    return covariance, tuple(found)


def open_combinations(
    names: Sequence[str], theta: np.ndarray, spectrum: ScaledSpectrum, logs: np.ndarray
) -> tuple[str, ...]:
    """Return what is open, where the logarithms of some parameters are taken."""
    rows = spectrum.null_rows() / spectrum.scales / np.where(logs, theta, 1.0)
    # A logarithm and what is none have no combination that anyone would write.
    mixed = (rows[:, logs] != 0).any(axis=1) & (rows[:, ~logs] != 0).any(axis=1)
    return tuple(
        " with ".join(name for name, part in zip(names, row, strict=True) if part)
        if is_mixed
        else _combined(names, theta, row, logs).text
        for row, is_mixed in zip(rows, mixed, strict=True)
    )


def logarithmic(
    theta: np.ndarray, spectrum: ScaledSpectrum, same: Callable[[np.ndarray], bool]
) -> np.ndarray:
    """Return bool[p]: of which parameters logarithms run straight through what is open.

    Of y = a*b*x one may be doubled as the other is halved: log a − log b is open, as log a − d*b is
    of y = a*exp(d*(x + b)). Whether the curve stays the ``same`` at other parameters tells. None
    are marked where sums of the parameters themselves are open, or nothing simple is.
    """
    rows, found = spectrum.null_rows() / spectrum.scales, np.zeros(len(theta), dtype=bool)
    while len(rows):
        # Rows that share parameters belong together.
        touched, before = rows[0] != 0, 0
        while before != np.count_nonzero(touched):
            before = int(np.count_nonzero(touched))
            touched |= (rows[(rows[:, touched] != 0).any(axis=1)] != 0).any(axis=0)
        together = (rows[:, touched] != 0).any(axis=1)
        found |= _logarithmic(theta, rows[together], touched, same)
        rows = rows[~together]
    return np.asarray(found)


def _logarithmic(
    theta: np.ndarray, rows: np.ndarray, touched: np.ndarray, same: Callable[[np.ndarray], bool]
) -> np.ndarray:
    """Return the same for rows that belong together, and the parameters that they touch."""
    none = np.zeros(len(theta), dtype=bool)
    places = np.flatnonzero(touched)
    if len(places) < 2 or (theta[places] == 0).any():
        return none
    for logs in (touched, none, *(touched & (np.arange(len(theta)) != i) for i in places)):
        ways = rows / np.where(logs, theta, 1.0)
        sizes = np.where(logs, 1.0, np.abs(theta))[places]
        powers = np.abs(ways[:, logs & touched])
        if (powers.max(axis=1, initial=0.0, keepdims=True) > UNEQUAL * powers)[powers > 0].any():
            continue
        if all(
            same(carried(theta, way * stretch / np.abs(way[places] / sizes).max(), logs))
            for way in ways
            for stretch in (1.0, -0.5)
        ):
            return np.asarray(logs)
    return none


def carried(theta: np.ndarray, way: np.ndarray, logs: np.ndarray) -> np.ndarray:
    """Return where a way leads, float64[p], that changes some parameters by factors."""
    return np.asarray(np.where(logs, theta * np.exp(np.where(logs, way, 0.0)), theta + way))


class _Combination(NamedTuple):
    text: str
    value: float
    slope: np.ndarray  # float64[p]: its derivatives


def _combined(
    names: Sequence[str], theta: np.ndarray, weights: np.ndarray, logs: np.ndarray
) -> _Combination:
    """Return a sum of weighted parameters; where it holds logarithms, the product that it is of."""
    used = np.flatnonzero(weights)
    # What is said of a sum holds for any multiple: the first parameter is counted once.
    first = next((i for i in used if logs[i]), used[0])
    weights = weights / weights[first]
    near = np.round(weights)
    weights = np.where(np.abs(weights - near) <= NEGLIGIBLE * np.abs(near), near, weights)
    others = [i for i in range(len(names)) if i not in used and logs[used].any()]
    if any(w != round(w) and _rate(names, theta, w, others)[1] is None for w in weights.tolist()):
        weights[used] = _whole(weights[used])
    if not logs[used].any():
        numbers = ["" if (n := f"{abs(w):.6g}") == "1" else n for w in weights[used].tolist()]
        text = linear_combination(
            [names[i] for i in used.tolist()], weights[used].tolist(), numbers
        )
        return _Combination(text, float(weights @ theta), weights)
    slope, text, under, exponent, value = np.zeros(len(theta)), "", "", "", 1.0
    for i in used.tolist():
        weight = float(weights[i])
        rate, other, change = _rate(names, theta, weight, others)
        is_minus = bool(weight < 0) != bool(other is not None and theta[other] < 0)
        if logs[i]:
            power = "" if rate == "1" else f"**{rate}" if rate.isalnum() else f"**({rate})"
            if not is_minus:
                text += f"{'*' if text else ''}{names[i]}{power}"
            else:
                under += f"/{names[i]}{power}"
            value *= theta[i] ** weight
            slope[i] += weight / theta[i]
        else:
            exponent += f" {'-' if is_minus else '+'} " if exponent else "-"[: int(is_minus)]
            exponent += names[i] + rate[1:] if rate[0] == "1" else f"{rate}*{names[i]}"
            value *= float(np.exp(weight * theta[i]))
            slope[i] += weight
        if other is not None:
            slope[other] += change * (math.log(abs(theta[i])) if logs[i] else theta[i])
    text += under + (f"*exp({exponent})" if exponent else "")
    return _Combination(text, float(value), value * slope)


def _rate(
    names: Sequence[str], theta: np.ndarray, weight: float, others: Sequence[int]
) -> tuple[str, int | None, float]:
    """Return the size of a weight in words: a number, or a multiple of one of the ``others``.

    With these that parameter, and the derivative of the weight to it.
    """
    for k in others if weight != round(weight) else ():
        for inverse in (False, True) if theta[k] else ():
            ratio = weight * theta[k] if inverse else weight / theta[k]
            size = abs(whole := round(ratio))
            if abs(ratio - whole) <= NEAR * size and 0 < size <= LARGEST_WHOLE:
                if inverse:
                    return f"{size}/{names[k]}", k, -weight / theta[k]
                return names[k] if size == 1 else f"{size}*{names[k]}", k, float(whole)
    return f"{abs(weight):.6g}", None, 0.0


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
