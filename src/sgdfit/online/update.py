"""What is known after an update."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from sgdfit.fitting.uncertainty import estimates
from sgdfit.fitting.weights import Weighting
from sgdfit.online.known import certainty, distance_of, is_determined
from sgdfit.online.memory import Memory, Recursion
from sgdfit.result.rounding import plus_minus

__all__ = ["Update"]


class Update:
    """What is known after an update; it is worked out when it is asked for.

    Attributes
    ----------
    rows, dropped : int
        Rows that were used so far, and rows left out for a missing value.
    estimates : dict of str to float
        Every parameter, in its own units; empty while the rows do not determine them.
    errors : dict of str to (float or None)
        Their standard errors; None where a parameter is fixed or its error is not known.
    effective_rows : float
        What forgetting has left of the rows used: Σ factor^age, at most 1/(1 − factor).
    loss : float or None
        The (weighted) mean over the rows, at the estimates.
    distance : float or None
        From the optimum of all rows so far, in standard errors. Where a model is not linear, and
        the estimates have moved since earlier rows were last seen, it is no more than that in some
        nineteen cases of twenty.
    status : str
        ``"waiting"`` (for rows that determine the parameters), ``"current"``, or ``"changed"``:
        these rows are farther from the curve that fitted those before than noise explains.
    warnings : tuple of str
        What the user should know of this batch.
    """

    def __init__(
        self,
        fixed: Recursion,
        weighting: Weighting,
        counts: tuple[int, int],
        memory: Callable[[], Memory],
        warnings: Callable[[], tuple[str, ...]],
    ) -> None:
        self._fixed, self._weighting = fixed, weighting
        self.rows, self.dropped = counts
        self._recall, self._warn = memory, warnings

    @cached_property
    def _memory(self) -> Memory:
        return self._recall()

    @cached_property
    def estimates(self) -> dict[str, float]:
        """Every parameter, in its own units; empty while the rows do not determine them."""
        memory = self._memory
        if memory.theta is None or not is_determined(self._fixed, memory):
            return {}
        return self._fixed.model.values(memory.theta.tolist())

    @cached_property
    def errors(self) -> dict[str, float | None]:
        """The standard error of every parameter; None where it is fixed or not known."""
        memory = self._memory
        if not self.estimates or memory.theta is None:
            return {}
        sure = certainty(self._fixed, memory, self._weighting)
        table = estimates(self._fixed.model, memory.theta, sure)
        return {name: estimate.stderr for name, estimate in table.items()}

    @property
    def effective_rows(self) -> float:
        """What forgetting has left of the rows used."""
        return self._memory.tally.mass

    @property
    def loss(self) -> float | None:
        """The (weighted) mean over the rows, at the estimates."""
        memory = self._memory
        if not self.estimates or memory.whole is None:
            return None
        return memory.whole.quadratic.loss / memory.tally.weight

    @cached_property
    def distance(self) -> float | None:
        """From the optimum of all rows so far, in standard errors."""
        return distance_of(self._fixed, self._memory) if self.estimates else None

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know of this batch."""
        return self._warn()

    @property
    def status(self) -> str:
        """How the estimates stand: waiting, current or changed."""
        return "changed" if self.warnings else "current" if self.estimates else "waiting"

    def __repr__(self) -> str:
        """Return the estimates, with their errors."""
        values = ", ".join(
            f"{name} = {plus_minus(value, self.errors[name])}"
            for name, value in self.estimates.items()
        )
        return f"Update({self.rows:,} rows: {self.status}{', ' if values else ''}{values})"
