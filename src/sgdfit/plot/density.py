"""How densely rows lie, of any number: counted on grids that grow, in one pass."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]

# So many are counted in, so that after some doublings there are as many as are drawn.
CELLS, DRAWN = (768, 432), (96, 54)


class Grid:
    """Counts of points in cells of equal size, which double where points lie beyond.

    It begins with the extent of some points; on a logarithmic axis cells are equal there.
    """

    def __init__(self, x: Array, y: Array, log: str = "") -> None:
        self.log, self.counts = log, np.zeros(CELLS, dtype=np.int64)
        self.low, self.size = np.zeros(2), np.ones(2)
        for k, values in enumerate(self._places(x, y)):
            span = np.ptp(values) if len(values) else 0.0
            span = span or abs(values[:1].sum()) or 1.0
            self.size[k] = 1.02 * span / CELLS[k]
            self.low[k] = values.min(initial=np.inf) - 0.01 * span if len(values) else 0.0

    def _places(self, x: Array, y: Array) -> list[Array]:
        """Return the points that can be drawn, in units of the axes."""
        with np.errstate(divide="ignore", invalid="ignore"):
            pair = [np.log10(v) if n in self.log else v for n, v in zip("xy", (x, y), strict=True)]
        known = np.logical_and(*(np.abs(values) < 1e150 for values in pair))
        return [values[known] for values in pair]

    def add(self, x: Array, y: Array) -> None:
        """Count points."""
        pair, cells = self._places(x, y), list[Array]()
        if not len(pair[0]):
            return
        for k, values in enumerate(pair):
            while values.min() < self.low[k]:
                self._double(k, downwards=True)
            while values.max() >= self.low[k] + CELLS[k] * self.size[k]:
                self._double(k, downwards=False)
            cell = ((values - self.low[k]) / self.size[k]).astype(np.int64)
            cells.append(np.minimum(cell, CELLS[k] - 1))
        found = np.bincount(cells[0] * CELLS[1] + cells[1], minlength=CELLS[0] * CELLS[1])
        self.counts += found.reshape(CELLS)

    def _double(self, k: int, downwards: bool) -> None:
        """Make cells twice as long along an axis, two to one."""
        half, counts = CELLS[k] // 2, np.moveaxis(self.counts, k, 0)
        pairs = counts[0::2] + counts[1::2]
        counts[:] = 0
        counts[half if downwards else 0 :][:half] = pairs
        self.low[k] -= CELLS[k] * self.size[k] if downwards else 0.0
        self.size[k] *= 2

    def shown(self) -> tuple[Array, Array, Array]:
        """Return the cells that are drawn: their edges along both axes, and their counts."""
        counts, edges = self.counts, list[Array]()
        for k in (0, 1):
            filled = np.flatnonzero(counts.any(axis=1 - k))
            first, count = filled[0], filled[-1] + 1 - filled[0]
            joined = max(1, count // DRAWN[k])
            begins = np.arange(first, first + count, joined)
            counts = np.add.reduceat(counts, begins, axis=k)
            ends = self.low[k] + self.size[k] * np.append(begins, begins[-1] + joined)
            edges.append(10.0**ends if "xy"[k] in self.log else ends)
        return edges[0], edges[1], counts


class Density(NamedTuple):
    """What is drawn of all rows in place of points."""

    rows: int
    curve: Grid  # the response over the variable, or the prediction over the response
    residual: Grid  # residuals over the variable, or over the prediction
    squares: float  # the sum of squared residuals
