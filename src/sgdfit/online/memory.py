"""What is known of all rows so far, and what never changes about them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sgdfit.fitting.trust_region import Box
from sgdfit.fitting.weights import SANDWICH, Weighting
from sgdfit.kernel.kernel import Kernel, make
from sgdfit.model.loss import SQUARED
from sgdfit.model.model import Model
from sgdfit.online.batches import Batch
from sgdfit.online.buffer import Buffer
from sgdfit.online.expansion import Totals
from sgdfit.online.forgetting import Forgetting
from sgdfit.online.local import Local
from sgdfit.online.reservoir import Reservoir
from sgdfit.online.tally import Tally
from sgdfit.optimizers import sgd

__all__ = ["KEPT", "Memory", "Recursion", "fitted", "noise_of", "recursion_of"]

# Rows kept as they came.
KEPT = 16_384


class Memory(NamedTuple):
    """What is known of all rows so far. Nothing in it changes; a step returns another one.

    Attributes
    ----------
    tally : Tally
    kept : Buffer
        The newest rows.
    theta : float64[p] or None
        The estimates; None until there are any.
    whole : Local or None
        All rows, seen from there.
    past : Local or None
        Rows that are kept no more, seen from there.
    known : Local or None
        The first ``seen`` of the rows kept, seen from there.
    seen : int
    anchor : float64[p] or None
        Where these were looked at last.
    sample : Reservoir or None
        Of the past.
    totals : Totals or None
        The past, each row as it was seen when it was folded.
    doubt : float64[p, p] or None
        What the sample leaves open of the past's gradient: its mean square. None: nothing, since
        the estimates have not left where the past was folded.
    checked : float64[p] or None
        Where the sample was last asked.
    start : float64[p] or None
        The fit of the first rows, from where the recursion went on.
    steps, visited : int
        Steps of the descent, and rows looked at.
    """

    tally: Tally
    kept: Buffer
    theta: np.ndarray | None = None
    whole: Local | None = None
    past: Local | None = None
    known: Local | None = None
    seen: int = 0
    anchor: np.ndarray | None = None
    sample: Reservoir | None = None
    totals: Totals | None = None
    doubt: np.ndarray | None = None
    checked: np.ndarray | None = None
    start: np.ndarray | None = None
    steps: int = 0
    visited: int = 0

    @property
    def read(self) -> int:
        """How many rows have been read, those included that had no say."""
        return self.tally.rows + self.tally.dropped

    def with_counts(self, batch: Batch) -> Memory:
        """Return the same with the rows of a batch counted, those included that had no say."""
        rows, dropped = self.tally.rows + batch.rows, self.tally.dropped + batch.dropped
        return self._replace(tally=self.tally._replace(rows=rows, dropped=dropped))

    def aged(self, left: float) -> Memory:
        """Return what remains once forgetting has left a share of every weight."""
        if left == 1:
            return self
        return self._replace(
            past=None if self.past is None else self.past.aged(left),
            known=None if self.known is None else self.known.aged(left),
            totals=None if self.totals is None else self.totals.aged(left),
            doubt=None if self.doubt is None else self.doubt * left**2,
        )


class Recursion(NamedTuple):
    """What never changes.

    Attributes
    ----------
    model : Model
    kernel : Kernel
    box : Box
        The bounds.
    forgetting : Forgetting
    squared, quadratic, robust : bool
        Whether the loss is the squared residual; whether it is a quadratic of all parameters; and
        whether errors come from the rows' own gradients.
    seed : int
    """

    model: Model
    kernel: Kernel
    box: Box
    forgetting: Forgetting
    squared: bool
    quadratic: bool
    robust: bool
    seed: int

    @property
    def bounded(self) -> bool:
        """Whether any parameter has a bound."""
        return not (np.isinf(self.box.low).all() and np.isinf(self.box.high).all())


def recursion_of(
    model: Model, weighting: Weighting, forgetting: Forgetting, seed: int
) -> Recursion:
    """Return what follows from what is fitted and how rows count."""
    low, high = (
        np.array([getattr(model.parameters[name], side) for name in model.free])
        for side in ("low", "high")
    )
    squared = model.loss.name == SQUARED
    robust = not squared or weighting.covariance == SANDWICH
    return Recursion(
        model=model,
        kernel=make(model, sgd(), "numpy"),
        box=Box(low, high, np.zeros(len(low), dtype=bool)),
        forgetting=forgetting,
        squared=squared,
        quadratic=squared and model.is_linear and not robust,
        robust=robust,
        seed=seed,
    )


def noise_of(fixed: Recursion, local: Local, mass: float) -> float:
    """Return the variance of the gradient for a unit of curvature, twice that of a row of weight 1.

    The rows' losses at the minimum, over their number less that of what was fitted to them.
    """
    q = local.quadratic
    left = mass - fitted(fixed, local)
    total = 2 * q.least if fixed.squared else q.spread
    return max(total, q.blur) / left if left > 0 else np.inf


def fitted(fixed: Recursion, local: Local) -> float:
    """Return how many degrees of freedom the estimates take.

    With forgetting that is tr(H⁻¹M), M being Σ d²·w·JᵀJ beside H = Σ d·w·JᵀJ.
    """
    root = local.quadratic.root
    if fixed.robust or fixed.forgetting.factor == 1:
        return float(len(root))
    half = np.linalg.lstsq(root.T, local.middle, rcond=None)[0]
    return float(np.trace(np.linalg.lstsq(root, half.T, rcond=None)[0]))
