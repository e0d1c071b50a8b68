"""How sure the estimates are, and how far the run still is, from sums over the rows.

All matrices are scaled to a unit diagonal before they are inverted, so that the units of
the parameters do not matter; what the data do not determine is named, never inverted.

Of y = (a + b)*x no data tell a from b, yet a + b is as well determined as any slope. A combination
w·θ is determined (estimable) where w is orthogonal to every direction without curvature; its
variance is then the same for whatever generalized inverse (Rao & Mitra 1971, Generalized Inverse
of Matrices and its Applications, section 7.2).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sgdfit.errors import enumerated
from sgdfit.inference.intervals import square_root
from sgdfit.inference.spectrum import (
    EPS,
    ScaledSpectrum,
    linear_combination,
    named,
    row_echelon,
    scaled_spectrum,
)

# Sums over rows carry a few rounding errors; what is above them still is information.
ROUNDING = 64 * EPS
# Below this, in parameters scaled to equal effect, a component is rounding.
NEGLIGIBLE_COMPONENT = 1e-6
LARGEST_WHOLE = 12
# What a combination may have, as a share, along what is open: slopes and sums are rounded.
OPEN_SHARE = 1e-5


def of_inverse(inverse: np.ndarray, residual_variance: float) -> np.ndarray | None:
    """Return σ²(JᵀWJ)⁻¹ from the inverse R⁻¹ of a root of JᵀWJ = RᵀR; None where σ² is infinite."""
    if not math.isfinite(residual_variance):
        return None
    root = inverse * math.sqrt(residual_variance)
    return np.asarray(root @ root.T)


def sandwich(hessian: ScaledSpectrum, scores: np.ndarray) -> np.ndarray:
    """Return UᵀSU, float64[k, k], with which U(UᵀSU)Uᵀ = H⁻¹SH⁻¹ is right for any loss and noise.

    Huber 1967, Proc. 5th Berkeley Symposium 1, 221-233; White 1980, Econometrica 48(4), 817-838.
    H = Σ w ℓ'' JᵀJ over the rows, UUᵀ its inverse, and S = Σ w² ℓ'² JᵀJ the ``scores``. The product
    has no units, so nothing overflows.
    """
    middle = hessian.inverse_root.T @ scores @ hessian.inverse_root
    return np.asarray(middle / 2 + middle.T / 2)


class BlockCovariance(NamedTuple):
    """The covariance of parameters that groups have of their own and of c common ones, in factors.

    Groups are correlated through the common ones alone, whose covariance U is: that of all p is
    S U Sᵀ, of the slopes S with which each follows the common ones, and within a group what it has
    of its own besides. NaN slopes are of what is not known.
    """

    common: NDArray[np.float64]  # U, float64[c, c]
    slopes: NDArray[np.float64]  # S, float64[p, c]
    group: NDArray[np.int64]  # int64[p]: the group of each; -1: common
    member: NDArray[np.int64]  # int64[p]: the how manieth of its group's q it is
    own: NDArray[np.float64]  # float64[p, q]: with each of its group's; 0 of a common one

    def diagonal(self) -> NDArray[np.float64]:
        """Return the variances, float64[p]."""
        places = np.arange(len(self.group))
        return self.variance(places[None], np.ones((1, len(places))))

    def dense(self, places: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the covariance of some parameters, float64[k, k]."""
        slopes, group = self.slopes[places], self.group[places]
        own = self.own[places][:, self.member[places]]
        whole = slopes @ self.common @ slopes.T + np.where(group[:, None] == group, own, 0.0)
        return np.asarray((whole + whole.T) / 2)

    def variance(
        self, places: NDArray[np.int64], jacobian: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return JᵀCJ of n rows, float64[n], each of k parameters, of common ones and one group's.

        ``places``, int64[k, n], are the numbers of these parameters, and J is of that shape.
        """
        acts = jacobian != 0
        along = np.where(acts[..., None], jacobian[..., None] * self.slopes[places], 0.0).sum(
            axis=0
        )
        variance = np.square(along @ square_root(self.common)).sum(axis=1)
        for one, slope in zip(places, jacobian, strict=True):
            for other, across in zip(places, jacobian, strict=True):
                together = self.group[one] == self.group[other]
                variance += slope * across * together * self.own[one, self.member[other]]
        return np.asarray(variance)

    def draws(self, random: np.random.Generator, count: int) -> NDArray[np.float64]:
        """Return normal draws with this covariance, float64[p, count]."""
        inside, q = self.group >= 0, self.own.shape[1]
        own = np.zeros((int(self.group.max()) + 1, q, q))
        own[self.group[inside], self.member[inside]] = self.own[inside]
        sizes, vectors = np.linalg.eigh(own)
        roots = vectors * np.sqrt(np.maximum(sizes, 0.0))[:, None]
        common = square_root(self.common)
        drawn = self.slopes @ (common @ random.standard_normal((len(common), count)))
        beside = roots @ random.standard_normal((len(own), q, count))
        drawn[inside] += beside[self.group[inside], self.member[inside]]
        return np.asarray(drawn)


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
    if not np.isnan(matrix[~known]).all() or not np.isnan(matrix[:, ~known]).all():
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
    # √(uᵀM⁻¹u/p). Where the rows that tell a direction are met exactly, M has no more room along it
    # than rounding leaves.
    size = float(np.abs(np.diag(middle)).max(initial=0.0))
    if size == 0 or not math.isfinite(size):
        return math.inf
    values, vectors = np.linalg.eigh(middle / size)
    along = vectors.T @ whitened / np.sqrt(size)
    room = np.maximum(values, len(values) * ROUNDING)
    return float(np.linalg.norm(along / np.sqrt(room)) / np.sqrt(len(values)))


class Determined(NamedTuple):
    """A combination of parameters that the data determine."""

    text: str  # such as ``a + b`` or ``a*exp(b*d)``
    value: float  # at the estimates
    stderr: float | None  # None where the noise is not known


class Combination(NamedTuple):
    """A combination of parameters in a formula."""

    text: str
    value: float  # at the estimates
    gradient: np.ndarray  # float64[p]: its derivative to each parameter


def determined(
    names: Sequence[str],
    theta: np.ndarray,
    spectrum: ScaledSpectrum,
    middle: np.ndarray | float,
    parts: Iterable[Combination] = (),
) -> tuple[np.ndarray | None, tuple[Determined, ...], tuple[str, ...]]:
    """Return the covariance of what is determined, the combinations that are, and what is open.

    The ``spectrum`` is that of the curvature at ``theta``, and ``middle`` the covariance along its
    whitened directions: σ² of least-squares estimates, whose covariance is σ²(JᵀWJ)⁻¹, or a
    `sandwich`. The covariance is NaN in the rows and columns of parameters that are not determined
    by themselves. All that is known of these the combinations say together: the ``parts`` of the
    formula that are determined, and for what these leave out sums of parameters. What is open are
    the parameters, in one text those that only act together. Where the curvature is negative along
    some combinations these are open, and nothing is known.
    """
    negative = spectrum.vectors[:, spectrum.values < -spectrum.tolerance].T
    if len(negative):
        rows = np.concatenate([spectrum.null_rows(), negative])
        return None, (), named(names, rows, spectrum.scales)
    root, null = spectrum.whitening, spectrum.vectors[:, ~spectrum.positive]
    middle = np.where(np.isfinite(middle), middle, np.nan)
    middle = middle if middle.ndim else middle * np.eye(root.shape[1])
    covariance = spectrum.inverse_root @ middle @ spectrum.inverse_root.T
    covariance = covariance / 2 + covariance.T / 2
    if not null.size:
        return covariance, (), ()
    touched = np.flatnonzero(np.abs(null).max(axis=1) > NEGLIGIBLE_COMPONENT)
    covariance[touched, :] = covariance[:, touched] = np.nan
    basis = _basis(null[touched].T)
    found, known = list[Determined](), np.zeros((0, len(touched)))
    sums = (_sum(names, theta, touched, row * spectrum.scales[touched]) for row in basis)
    for part in itertools.chain(parts, sums):
        if len(known) == len(basis):
            break
        row = part.gradient / spectrum.scales
        size = float(np.linalg.norm(row))
        usable = 0 < size < np.inf and math.isfinite(part.value)
        if not usable or np.linalg.norm(row @ null) > OPEN_SHARE * size:
            continue
        # What the others do not say already.
        more = row[touched] - known.T @ (known @ row[touched])
        if np.linalg.norm(more) > OPEN_SHARE * size:
            known = np.vstack([known, more / np.linalg.norm(more)])
            along = row @ root
            variance = float(along @ middle @ along)
            # Not known, or below 0 where rounding is all that is left of it.
            error = math.sqrt(variance) if variance >= 0 else None
            found.append(Determined(part.text, part.value, error))
    return covariance, tuple(found), _together(names, spectrum.null_rows())


def _sum(
    names: Sequence[str], theta: np.ndarray, places: np.ndarray, weights: np.ndarray
) -> Combination:
    """Return a weighted sum of the parameters in such places, in small whole numbers if it can be.

    What is said of a sum holds for any multiple.
    """
    used, weights = places[weights != 0], weights[weights != 0]
    weights = weights / weights[0]
    for factor in range(1, LARGEST_WHOLE + 1):
        whole = np.round(weights * factor)
        near = np.abs(weights * factor - whole) <= NEGLIGIBLE_COMPONENT * np.abs(whole)
        if near.all() and np.abs(whole).max() <= LARGEST_WHOLE:
            weights = whole
            break
    gradient = np.zeros(len(theta))
    gradient[used] = weights
    numbers = ["" if (n := f"{abs(w):.6g}") == "1" else n for w in weights.tolist()]
    text = linear_combination([names[i] for i in used.tolist()], weights.tolist(), numbers)
    return Combination(text, float(gradient @ theta), gradient)


def _together(names: Sequence[str], rows: np.ndarray) -> tuple[str, ...]:
    """Return the parameters of open directions, in one text those of directions that share some."""
    found = []
    while len(rows):
        touched, before = rows[0] != 0, 0
        while before != np.count_nonzero(touched):
            before = int(np.count_nonzero(touched))
            touched |= (rows[(rows[:, touched] != 0).any(axis=1)] != 0).any(axis=0)
        found.append(enumerated([names[i] for i in np.flatnonzero(touched).tolist()]))
        rows = rows[(rows[:, touched] == 0).all(axis=1)]
    return tuple(found)


def _basis(null: np.ndarray) -> np.ndarray:
    """Return rows, shape (m − k, m), orthogonal to the null rows, shape (k, m), and sparse.

    With k columns solved for the others, each row has one of the others and at most k more.
    """
    k, m = null.shape
    if not 0 < k < m:
        return np.zeros((0, m))
    columns = row_echelon(null.copy())
    others = [j for j in range(m) if j not in columns]
    basis = np.zeros((m - k, m))
    basis[:, others] = np.eye(m - k)
    basis[:, columns] = -np.linalg.solve(null[:, columns], null[:, others]).T
    basis[np.abs(basis) <= NEGLIGIBLE_COMPONENT * np.abs(basis).max(axis=1, keepdims=True)] = 0.0
    # Read from the first parameter on, which is positive.
    first = (basis != 0).argmax(axis=1)
    basis *= np.sign(basis[np.arange(m - k), first])[:, None]
    return np.asarray(basis[np.argsort(first, kind="stable")])
