"""The names of directions in parameter space, as sums of the user's own parameters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sgdfit.inference.directions import canonical

__all__ = ["combination", "named"]


def combination(
    names: Sequence[str],
    vector: np.ndarray,
    digits: int = 2,
    weights: np.ndarray | None = None,
) -> str:
    """Name a direction as a sum of parameters, at unit length and with its largest term positive.

    Parameters
    ----------
    names : sequence of str, length p
        The parameters.
    vector : array, shape (p,)
        Components along the parameters; its length does not matter.
    digits : int
        Decimals of each coefficient.
    weights : array, shape (p,), optional
        How much each component matters; those below 5% of the largest are left out.
        Without it the components themselves decide, which is right where all
        parameters share one unit.

    Returns
    -------
    str
        Equal coefficients are not written: ``a − b``.

    Examples
    --------
    >>> combination(("a", "b", "c"), np.array([-0.97, 0.01, -0.24]))
    '0.97·a + 0.24·c'
    >>> combination(("a", "b"), np.array([1.0, -1.0]))
    'a − b'
    """
    vector = canonical(np.asarray(vector, dtype=float)[:, None])[:, 0]
    matter = np.abs(vector if weights is None else np.asarray(weights, dtype=float))
    kept = np.flatnonzero((matter >= 0.05 * matter.max()) & (vector != 0))
    if not kept.size:
        return "0"
    parts = vector[kept]
    equal = np.ptp(np.abs(parts)) < 0.5 * 10.0**-digits * np.abs(parts).max()
    text = ""
    for index, part in zip(kept.tolist(), parts.tolist(), strict=True):
        text += (" − " if part < 0 else " + ") if text else ("−" if part < 0 else "")
        number = "" if equal else _coefficient(abs(part), digits)
        bare = not number or number == f"{1:.{digits}f}"
        text += names[index] if bare else f"{number}·{names[index]}"
    return text


def _coefficient(value: float, digits: int) -> str:
    # Where units differ, a coefficient that matters may be tiny.
    return f"{value:.{digits}f}" if value >= 0.5 * 10.0**-digits else f"{value:.{digits}g}"


def named(names: Sequence[str], rows: np.ndarray, scales: np.ndarray) -> tuple[str, ...]:
    """Name directions given in scaled coordinates, shape (k, p), in the user's parameters.

    Examples
    --------
    >>> named(("a", "b"), np.array([[1.0, -1.0]]), np.array([1e9, 1.0]))
    ('−1e-09·a + b',)
    """
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        directions = rows / scales
    # What the units carry out of range is named in scaled parameters.
    usable = np.isfinite(directions).all(axis=1, keepdims=True)
    directions = np.where(usable, directions, rows)
    return tuple(
        combination(names, direction, weights=row)
        for direction, row in zip(directions, rows, strict=True)
    )
