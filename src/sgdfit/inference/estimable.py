"""What the data do determine where they do not determine every parameter.

Of y = (a + b)*x no data tell a from b, yet a + b is as well determined as any slope. A combination
w·θ is determined (estimable) where w is orthogonal to every direction without curvature; its
variance is then the same for whatever generalized inverse (Rao & Mitra 1971, Generalized Inverse
of Matrices and its Applications, section 7.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import comb
from typing import NamedTuple

import numpy as np

from sgdfit.inference.spectrum import ScaledSpectrum

# Below this, in parameters scaled to equal effect, a component is rounding.
NEGLIGIBLE = 1e-6
# A basis that stands on nearly dependent columns blows rounding up.
INDEPENDENT = 1e-3
# Choices of a basis that are looked at.
MOST = 500
LARGEST_WHOLE = 12


class Determined(NamedTuple):
    """A linear combination of parameters that the data determine.

    Attributes
    ----------
    text : str
        Such as ``a + b``.
    value : float
        At the estimates.
    stderr : float or None
        Its standard error; None where the noise is not known.
    """

    text: str
    value: float
    stderr: float | None


def determined(
    names: Sequence[str], theta: np.ndarray, spectrum: ScaledSpectrum, noise: float
) -> tuple[np.ndarray, tuple[Determined, ...]]:
    """Return the covariance of what is determined, and the combinations that are.

    Where the model is not linear in its parameters, the combinations hold near ``theta``.

    Parameters
    ----------
    names : sequence of str, length p
        The free parameters.
    theta : float64[p]
        The estimates.
    spectrum : ScaledSpectrum
        Of Σ w JᵀJ over the rows. Directions whose curvature is not positive count as
        undetermined.
    noise : float
        σ², the weighted residual sum of squares over the degrees of freedom (which count the
        determined directions, not the parameters).

    Returns
    -------
    covariance : float64[p, p]
        In units of parameter²; NaN in the rows and columns of parameters that are not
        determined by themselves.
    combinations : tuple of Determined
        Together they say all that is known of those parameters; each names as few as can be.

    Examples
    --------
    >>> from sgdfit.inference.spectrum import scaled_spectrum
    >>> J = np.array([[1.0, 1.0, 1.0], [1.0, 1.0, -1.0]])
    >>> spectrum = scaled_spectrum(J.T @ J)
    >>> covariance, found = determined(("a", "b", "c"), np.array([1.0, 4.0, 2.0]), spectrum, 8.0)
    >>> found[0].text, round(found[0].value, 12), round(found[0].stderr, 12)
    ('a + b', 5.0, 2.0)
    >>> covariance.round(12).tolist()
    [[nan, nan, nan], [nan, nan, nan], [nan, nan, 4.0]]
    """
    kept = spectrum.positive
    root = spectrum.vectors[:, kept] / np.sqrt(spectrum.values[kept])
    null = spectrum.vectors[:, ~kept]
    touched = np.flatnonzero(np.abs(null).max(axis=1, initial=0.0) > NEGLIGIBLE)
    covariance = _covariance(root / spectrum.scales[:, None], noise)
    covariance[touched, :] = covariance[:, touched] = np.nan
    found = []
    for row in _basis(null[touched].T):
        scaled = np.zeros(len(names))
        scaled[touched] = row
        found.append(_combination(names, np.asarray(theta), scaled, spectrum.scales, root, noise))
    return covariance, tuple(found)


def _covariance(root: np.ndarray, noise: float) -> np.ndarray:
    if not np.isfinite(noise):
        return np.full((len(root), len(root)), np.nan)
    half = root * np.sqrt(noise)
    return np.asarray(half @ half.T)


def _combination(
    names: Sequence[str],
    theta: np.ndarray,
    scaled: np.ndarray,
    scales: np.ndarray,
    root: np.ndarray,
    noise: float,
) -> Determined:
    """Name a combination, given in scaled parameters, in those of the user."""
    used = np.flatnonzero(scaled)
    lead = used[0]
    # What is said of θ holds for any multiple: the first parameter is counted once.
    weights = scaled[used] / scaled[lead] * (scales[used] / scales[lead])
    factor = _whole(weights)
    weights = np.round(weights * factor) if factor else weights
    spread = float(np.linalg.norm((weights / scales[used]) @ root[used]))
    error = float(np.sqrt(noise)) * spread if np.isfinite(noise) else None
    chosen = [names[i] for i in used.tolist()]
    return Determined(_text(chosen, weights.tolist()), float(weights @ theta[used]), error)


def _whole(weights: np.ndarray) -> int:
    """Return what makes the weights whole numbers, small ones, or 0 where nothing does."""
    for factor in range(1, LARGEST_WHOLE + 1):
        whole = np.round(weights * factor)
        near = np.abs(weights * factor - whole) <= NEGLIGIBLE * np.abs(whole)
        if near.all() and np.abs(whole).max() <= LARGEST_WHOLE:
            return factor
    return 0


def _text(names: Sequence[str], weights: Sequence[float]) -> str:
    text = ""
    for name, weight in zip(names, weights, strict=True):
        text += (" − " if weight < 0 else " + ") if text else ("−" if weight < 0 else "")
        number = f"{abs(weight):.6g}"
        text += name if number == "1" else f"{number}·{name}"
    return text


def _basis(null: np.ndarray) -> np.ndarray:
    """Return rows, shape (m − k, m), orthogonal to the null rows, shape (k, m), and sparse.

    With k columns solved for the others, each row has one of the others and at most k more. Of
    all choices of these k, that with the fewest components is taken, then the fewest differences.
    """
    k, m = null.shape
    if not 0 < k < m:
        return np.zeros((0, m))
    choices = list(combinations(range(m), k)) if comb(m, k) <= MOST else []
    candidates = [basis for choice in choices if (basis := _solved(null, choice)) is not None]
    if not candidates:
        basis = _solved(null, _pivots(null), at_least=0.0)
        return np.zeros((0, m)) if basis is None else basis
    best = min(candidates, key=lambda basis: (int((basis != 0).sum()), int((basis < 0).sum())))
    return best[np.argsort((best != 0).argmax(axis=1), kind="stable")]


def _pivots(null: np.ndarray) -> tuple[int, ...]:
    """Return columns that are as independent as elimination finds them."""
    rows, chosen = null.copy(), []
    for i in range(len(rows)):
        at, column = np.unravel_index(np.abs(rows[i:]).argmax(), rows[i:].shape)
        rows[[i, i + at]] = rows[[i + at, i]]
        chosen.append(int(column))
        rows[i + 1 :] -= np.outer(rows[i + 1 :, column] / rows[i, column], rows[i])
    return tuple(chosen)


def _solved(
    null: np.ndarray, columns: Sequence[int], at_least: float = INDEPENDENT
) -> np.ndarray | None:
    """Return the basis in which each other column is combined with ``columns`` alone."""
    part = null[:, list(columns)]
    if np.linalg.svd(part, compute_uv=False)[-1] <= at_least:
        return None
    others = [j for j in range(null.shape[1]) if j not in columns]
    basis = np.zeros((len(others), null.shape[1]))
    basis[:, others] = np.eye(len(others))
    basis[:, list(columns)] = -np.linalg.solve(part, null[:, others]).T
    basis[np.abs(basis) <= NEGLIGIBLE * np.abs(basis).max(axis=1, keepdims=True)] = 0.0
    # Read from the first parameter on, which is positive.
    signs = np.sign(basis[np.arange(len(basis)), (basis != 0).argmax(axis=1)])
    return np.asarray(basis * signs[:, None])
