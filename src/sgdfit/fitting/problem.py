"""What ``auto`` is to solve, the states that it passes, and how its walk went."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sgdfit.fitting.descent import Callback
from sgdfit.fitting.growth import batch_sizes
from sgdfit.fitting.population import Population
from sgdfit.fitting.trust_region import Box
from sgdfit.inference.quadratic import Quadratic
from sgdfit.kernel.kernel import Kernel

__all__ = ["Course", "Misfit", "Problem", "Stand"]

# Neighbouring residuals correlate so many standard deviations beyond chance, or the curve leaves so
# much of the variation, that it is worth looking further for a better minimum.
DOUBTFUL, UNEXPLAINED = 3.0, 0.5


class Problem(NamedTuple):
    """What ``auto`` is to solve.

    Attributes
    ----------
    kernel : Kernel
    names : tuple of str
        The free parameters.
    population : Population
        All rows that have a say.
    box : Box
        The bounds.
    linear : int[k]
        Parameters that are solved exactly at every step.
    quadratic : bool
        Whether the loss is a quadratic of all parameters, so that one step leads to its minimum.
    squared : bool
        Whether the loss is the squared residual.
    kinked : bool
        Whether it is made of straight pieces, which only rows, not sums, tell anything of.
    seed : int
        Of the samples.
    steps : int
        The most to take.
    looks : int
        The most steps that look at all rows.
    tolerance : float
        The distance, in standard errors, at which to stop.
    callback : callable or None
        Called with `sgdfit.fitting.descent.Progress`; a true answer stops the run.
    callback_every : int
        Steps between two calls.
    visits : list of int
        Grows by the rows of samples that each walk visits, each as often as it does.
    windowed : bool
        Whether the kernel's curvature of a loss with a kink counts residuals in a window about
        zero, so that sums tell it.
    """

    kernel: Kernel
    names: tuple[str, ...]
    population: Population
    box: Box
    linear: np.ndarray
    quadratic: bool
    squared: bool
    kinked: bool
    seed: int
    steps: int
    looks: int
    tolerance: float
    callback: Callback | None
    callback_every: int
    visits: list[int]
    windowed: bool = False

    @property
    def rows(self) -> int:
        """How many rows have a say."""
        return self.population.rows

    @property
    def sizes(self) -> list[int]:
        """How many rows to step on, one batch after another."""
        return batch_sizes(self.rows, len(self.names), self.population.some.rows)


class Stand(NamedTuple):
    """One state on the way.

    Attributes
    ----------
    step : int
        Steps taken.
    rows : int
        Rows of the batch.
    loss : float
        Its mean.
    theta, gradient : float64[p]
        The parameters, and the derivative of the mean loss to each.
    damping : float
        λ of the step that led here, relative to the curvature in scaled units.
    distance : float
        From the batch's own minimum, in its standard errors.
    visited : int
        Rows visited until here, each as often as it was.
    """

    step: int
    rows: int
    loss: float
    theta: np.ndarray
    gradient: np.ndarray
    damping: float
    distance: float
    visited: int


class Misfit(NamedTuple):
    """What residuals tell.

    Attributes
    ----------
    correlation : float
        Of neighbours, in the order of a variable or of the prediction: the largest.
    beyond : float
        The same in standard deviations of what noise has, 1/sqrt(n).
    unexplained : float
        The share of the response's variation about its mean that is left.
    """

    correlation: float
    beyond: float
    unexplained: float

    @property
    def is_doubtful(self) -> bool:
        """Whether another minimum may well be better."""
        return self.beyond > DOUBTFUL or self.unexplained > UNEXPLAINED


class Course(NamedTuple):
    """How a walk went.

    Attributes
    ----------
    theta : float64[p]
        The estimates.
    quadratic : Quadratic or None
        Of all rows, there; None where the loss is not finite at the start.
    first : Quadratic or None
        Of the first batch, at the start.
    ending : str
        ``arrived``, ``rests`` (rounding hides the rest), ``steps``, ``stopped``, ``interrupted``
        or ``lost`` (no finite loss at the start).
    way : tuple of Stand
    distance : float
        Remaining, in standard errors of all rows.
    seconds : float
    beyond : float64[p] or None
        Where the walk rests at the edge of the formula's domain, a point beyond it.
    misfit : Misfit or None
        What the residuals tell, where they have been looked at.
    """

    theta: np.ndarray
    quadratic: Quadratic | None
    first: Quadratic | None
    ending: str
    way: tuple[Stand, ...]
    distance: float
    seconds: float
    beyond: np.ndarray | None = None
    misfit: Misfit | None = None

    @property
    def visited(self) -> int:
        """Rows visited, each as often as it was."""
        return self.way[-1].visited if self.way else 0
