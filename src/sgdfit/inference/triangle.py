"""The triangle of a QR decomposition, of tables so small that a call costs more than the work."""

from __future__ import annotations

import numpy as np

try:
    from numpy.linalg.lapack_lite import dgeqrf
except ImportError:  # NumPy does not promise to keep it
    dgeqrf = None  # type: ignore[assignment]

__all__ = ["decomposed"]

# Numbers of a table beyond which the checks of `numpy.linalg` no longer show.
SMALL = 4096
# Columns that LAPACK takes at a time.
BLOCK = 32


def decomposed(table: np.ndarray) -> np.ndarray:
    """Return R of the QR decomposition, with what makes up the rotation below its diagonal.

    Parameters
    ----------
    table : float64[k, n]
        The columns, k ≤ n, one after another, as LAPACK takes them. It may be overwritten.

    Returns
    -------
    float64[k, n]
        The columns of R; that of place i begins with its i + 1 numbers.

    Examples
    --------
    >>> found = decomposed(np.array([[3.0, 4.0], [6.0, 8.0]]))
    >>> np.abs(found[1].round(12)).tolist()
    [10.0, 0.0]
    """
    k, n = table.shape
    if dgeqrf is None or table.size > SMALL:
        return np.asarray(np.linalg.qr(table.T, mode="raw")[0])
    dgeqrf(n, k, table, n, np.empty(k), np.empty(BLOCK * k), BLOCK * k, 0)
    return table
