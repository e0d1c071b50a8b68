"""What one look at all rows tells, whatever the parameters: ranges of the columns, and moments."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from sgdfit.formula.evaluation import evaluate
from sgdfit.kernel.kernel import PANEL, Chunk
from sgdfit.kernel.moments import looked_through
from sgdfit.model.model import Model

__all__ = [
    "Survey",
    "joined",
    "look_at",
    "look_through",
    "read_back",
    "response_of",
    "written",
]


class Survey(NamedTuple):
    """What some rows tell; that of two parts adds up to that of both.

    Attributes
    ----------
    low, high : float64[c]
        The least and the largest value of each of the model's columns.
    about : float
        Near the response, so that its moments lose no digits.
    first, second : float
        Σ w (t − about) and Σ w (t − about)² of the response t.
    logs : float
        Σ ln w over the rows of nonzero weight.
    """

    low: np.ndarray
    high: np.ndarray
    about: float
    first: float
    second: float
    logs: float


def look_at(model: Model, chunk: Chunk, about: float | None = None) -> Survey:
    """Look at the rows of a chunk.

    Parameters
    ----------
    about : float, optional
        By default the response in the first row.

    Examples
    --------
    >>> from sgdfit.model.model import build
    >>> model = build("y = a*x", ["x", "y"])
    >>> found = look_at(model, Chunk((np.array([1.0, 2.0]), np.array([5.0, 7.0])), None))
    >>> found.low.tolist(), found.about, found.first, found.second
    ([1.0, 5.0], 5.0, 2.0, 4.0)
    """
    with np.errstate(all="ignore"):
        target = response_of(model, chunk)
        about = float(target[0]) if about is None else about
        low, high = np.array([(c.min(), c.max()) for c in chunk.columns], dtype=np.float64).T
        apart, weights = target - about, chunk.weights
        weighed = apart if weights is None else weights * apart
        second = float(np.einsum("i,i->", weighed, apart))
        logs = 0.0 if weights is None else float(np.log(weights).sum())
        return Survey(low, high, about, float(weighed.sum()), second, logs)


def look_through(model: Model, chunk: Chunk, about: float, *, compiled: bool) -> np.ndarray:
    """Look at each panel of a chunk; `read_back` makes surveys of the rows of this array.

    Parameters
    ----------
    compiled : bool
        Whether there are enough rows for compiled code to be worth loading.

    Returns
    -------
    numpy.ndarray
        float64[k, 2c + 4], a row a panel.
    """
    if not compiled:
        firsts = range(0, chunk.rows, PANEL)
        return written([look_at(model, chunk.part(k, k + PANEL), about) for k in firsts])
    with np.errstate(all="ignore"):
        target = response_of(model, chunk)
        ends, moments = looked_through(chunk.columns, target, chunk.weights, about)
    panels = len(moments)
    return np.hstack([ends.reshape(panels, -1), np.full((panels, 1), about), moments])


def written(surveys: Iterable[Survey]) -> np.ndarray:
    """Return surveys as rows of numbers, float64[k, 2c + 4]."""
    return np.array([np.concatenate([s.low, s.high, s[2:]]) for s in surveys])


def read_back(rows: np.ndarray) -> Survey:
    """Return the survey of all the rows that such an array tells of.

    Examples
    --------
    >>> survey = Survey(np.array([0.0]), np.array([1.0]), 0.0, 0.1, 1.0, 0.0)
    >>> read_back(written([survey, survey])).first
    0.2
    """
    columns = (rows.shape[1] - 4) // 2
    low, high, about = np.split(rows[:, :-3], [columns, 2 * columns], axis=1)
    totals = (_total(column.tolist()) for column in rows[:, -3:].T)
    return Survey(low.min(axis=0), high.max(axis=0), float(about[0, 0]), *totals)


def response_of(model: Model, chunk: Chunk) -> np.ndarray:
    """Return the left side of the formula in each row, float64[n].

    Examples
    --------
    >>> from sgdfit.model.model import build
    >>> model = build("log(y) = a*x", ["x", "y"])
    >>> response_of(model, Chunk((np.array([1.0, 2.0]), np.array([1.0, 1.0])), None)).tolist()
    [0.0, 0.0]
    """
    held = dict(zip(model.columns, chunk.columns, strict=True))
    needed = {n: held[n].astype(np.float64, copy=False) for n in model.formula.response_names}
    return np.asarray(evaluate(model.formula.response, needed))


def joined(parts: Iterable[Survey]) -> Survey:
    """Return the survey of all rows from those of parts, whose moments are about one point.

    Examples
    --------
    >>> low, high = np.array([0.0]), np.array([1.0])
    >>> one, two = Survey(low, high, 0.0, 0.1, 1.0, 0.0), Survey(low - 1, high, 0.0, 0.2, 1.0, 0.0)
    >>> both = joined([one, two])
    >>> both.low.tolist(), round(both.first, 12), both.second
    ([-1.0], 0.3, 2.0)
    """
    found = list(parts)
    if len(found) == 1:
        return found[0]
    return Survey(
        np.min([s.low for s in found], axis=0),
        np.max([s.high for s in found], axis=0),
        found[0].about,
        *(_total([getattr(s, name) for s in found]) for name in ("first", "second", "logs")),
    )


def _total(values: list[float]) -> float:
    """Return the sum, the same in any order."""
    return math.fsum(values) if np.isfinite(values).all() else float(np.sum(values))
