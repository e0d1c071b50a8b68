"""What the data do determine where they do not determine every parameter.

Of y = (a + b)*x no data tell a from b, yet a + b is as well determined as any slope. A combination
w·θ is determined (estimable) where w is orthogonal to every direction without curvature; its
variance is then the same for whatever generalized inverse (Rao & Mitra 1971, Generalized Inverse
of Matrices and its Applications, section 7.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sgdfit.inference.spectrum import ScaledSpectrum, eliminated, linear_combination

# Below this, in parameters scaled to equal effect, a component is rounding.
NEGLIGIBLE = 1e-6
LARGEST_WHOLE = 12


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
