"""The estimates after each update, thinned so that memory stays bounded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sgdfit.result.trace import Trace

__all__ = ["History"]

MOST = 2_048


class History:
    """States after updates: at first every one, then every second, every fourth and so on."""

    def __init__(self) -> None:
        self._states: list[tuple[int, float, np.ndarray, np.ndarray]] = []
        self._every = 1

    def record(self, update: int, loss: float, theta: np.ndarray, gradient: np.ndarray) -> None:
        """Take down a state, or pass it over."""
        if update % self._every:
            return
        self._states.append((update, loss, theta, gradient))
        if len(self._states) > MOST:
            self._every *= 2
            self._states = [state for state in self._states if state[0] % self._every == 0]

    def trace(self, names: Sequence[str], last: tuple[int, float, np.ndarray, np.ndarray]) -> Trace:
        """Return the states that were kept, and the last one."""
        states = [state for state in self._states if state[0] < last[0]] + [last]
        k, p = len(states), len(names)
        return Trace(
            names=tuple(names),
            step=np.array([state[0] for state in states], dtype=np.int64),
            epoch=np.zeros(k, dtype=np.int64),
            learning_rate=np.full(k, np.nan),
            loss=np.array([state[1] for state in states]),
            parameters=np.array([state[2] for state in states]).reshape(k, p),
            gradient=np.array([state[3] for state in states]).reshape(k, p),
        )
