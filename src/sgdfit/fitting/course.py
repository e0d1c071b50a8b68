"""How a descent went, from its first step to what ended it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sgdfit.kernel.kernel import State

__all__ = ["Course"]


class Course(NamedTuple):
    """How a descent went.

    Attributes
    ----------
    state : State
        Where it ended; after a halt the state whose loss was out of bounds.
    records : float64[k, 3 + 2 p]
        See `sgdfit.kernel.kernel.Outcome`.
    ending : str
        ``steps`` (all taken), ``tolerance``, ``halted`` (by a loss out of bounds), ``stopped`` (by
        the callback) or ``interrupted``.
    seconds : float
    """

    state: State
    records: np.ndarray
    ending: str
    seconds: float

    @property
    def theta(self) -> np.ndarray:
        """The estimates, float64[p]: the average of the iterates where one is kept."""
        kept = self.state.average if self.state.averaged else self.state.theta
        return np.asarray(kept, dtype=np.float64)
