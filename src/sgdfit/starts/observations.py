"""The rows that a search is judged by, and the scales of their columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sgdfit.kernel.candidates import evaluator
from sgdfit.kernel.kernel import Chunk
from sgdfit.model.model import Model
from sgdfit.model.roles import RESPONSE, Role

__all__ = ["Observations", "Scale", "observe"]


class Scale(NamedTuple):
    """How far a column reaches.

    Attributes
    ----------
    low, high : float
        Its smallest and largest value.
    spacing : float
        The median distance of two neighbouring values.
    """

    low: float
    high: float
    spacing: float

    @property
    def range(self) -> float:
        """From the smallest to the largest value; their size where they are the same."""
        return (self.high - self.low) or self.size

    @property
    def size(self) -> float:
        """The largest absolute value; 1 where there is none but 0."""
        return max(abs(self.low), abs(self.high)) or 1.0

    @property
    def steps(self) -> float:
        """The range in units of the spacing, at least 2."""
        return max(2.0, self.range / self.spacing) if self.spacing > 0 else 2.0


@dataclass(frozen=True)
class Observations:
    """Rows as the search takes them.

    Attributes
    ----------
    names : tuple of str
        The columns, then the parameters that are given: all that is no unknown.
    data : tuple of float64[n] or float
        Their values.
    target : float64[n]
        The response over its own size, times ``root``.
    root : float64[n]
        Square root of the weights, over the response's size: what a residual is multiplied by.
    unit : float
        The response's size.
    scales : dict of str to Scale
        Of each variable, and of the response under `RESPONSE`.
    """

    names: tuple[str, ...]
    data: tuple[np.ndarray | float, ...]
    target: np.ndarray
    root: np.ndarray
    unit: float
    scales: dict[str, Scale]

    @property
    def rows(self) -> int:
        """How many rows."""
        return len(self.target)

    def unit_of(self, role: Role) -> float:
        """Return what ``role``'s powers of the columns' sizes come to."""
        sizes = [np.float64(self.scales[name].size) ** float(count) for name, count in role.powers]
        return float(np.prod(sizes))


def observe(model: Model, chunk: Chunk, given: Mapping[str, float]) -> Observations:
    """Return the `Observations` of ``chunk``, rows with a value that is not finite left out."""
    columns = [np.asarray(column, dtype=np.float64) for column in chunk.columns]
    response = evaluator((model.formula.response,), (), model.columns)
    target = response(np.empty((1, 0)), columns)[0, 0]
    weights = np.ones(chunk.rows) if chunk.weights is None else chunk.weights
    fit = np.isfinite([target, weights, *columns]).all(axis=0)
    target, columns = target[fit], [column[fit] for column in columns]
    unit = float(np.abs(target).max(initial=0.0)) or 1.0
    root = np.sqrt(weights[fit]) / unit
    scales = dict(zip(model.columns, map(_scale, columns), strict=True))
    scales = {name: scales[name] for name in model.variables} | {RESPONSE: _scale(target)}
    data: tuple[np.ndarray | float, ...] = (*columns, *map(float, given.values()))
    return Observations((*model.columns, *given), data, target * root, root, unit, scales)


def _scale(column: np.ndarray) -> Scale:
    finite = np.unique(column[np.isfinite(column)])
    if not finite.size:
        return Scale(0.0, 0.0, 0.0)
    spacing = float(np.median(np.diff(finite))) if finite.size > 1 else 0.0
    return Scale(float(finite[0]), float(finite[-1]), spacing)
