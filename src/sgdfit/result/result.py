"""What a fit found: declared facts only."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from sgdfit.result.rounding import plus_minus
from sgdfit.result.status import Status
from sgdfit.result.trace import Trace

if TYPE_CHECKING:
    from sgdfit.fitting.prediction import Written
    from sgdfit.inference.diagnosis import Diagnosis
    from sgdfit.inference.estimable import Determined
    from sgdfit.inference.intervals import Band
    from sgdfit.result.status import StartSearch

__all__ = ["Estimate", "Result"]


@dataclass(frozen=True)
class Estimate:
    """One parameter: its value, how sure it is, and where it came from.

    Attributes
    ----------
    name : str
        The parameter's name in the formula.
    value : float
        The estimate, in the parameter's own units.
    stderr : float or None
        Standard error in the same units; None for a fixed parameter, or where it is not known.
    interval : tuple of two floats, or None
        The 95% confidence interval; infinite on a side where a profile excludes no value.
    start : float
        Where the descent began.
    start_origin : str
        Where the start came from: ``"given"``, ``"default 1.0"``, ``"random"``, ``"fixed"`` or
        ``"tied"``.
    role : str
        ``"free"``, ``"fixed"`` or ``"tied"``.
    low, high : float
        Bounds; infinite where there is none.
    tie : str or None
        The expression that a tied parameter follows, such as ``"2*a"``.
    at_bound : bool
        Whether the estimate stands on one of its bounds.
    """

    name: str
    value: float
    stderr: float | None = None
    interval: tuple[float, float] | None = None
    start: float = 1.0
    start_origin: str = "default 1.0"
    role: str = "free"
    low: float = -np.inf
    high: float = np.inf
    tie: str | None = None
    at_bound: bool = False

    def __str__(self) -> str:
        return f"{self.name} = {plus_minus(self.value, self.stderr)}"


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """What a fit found, how sure it is, and how it got there.

    ``print(result)`` gives the report, `save` writes a JSON file that `sgdfit.load` reads on any
    machine, since the formula is text.

    Attributes
    ----------
    formula : str
        The formula; it parses to the same formula again.
    loss_name : str
        The loss averaged over the rows, such as ``"mse"``, ``"huber(delta=1.5)"`` or a formula
        of prediction and target.
    optimizer : str
        The optimizer and its options.
    learning_rate : str
        A number, or a schedule such as ``"cosine(rate=0.2, steps=1000)"``.
    batch_size : int or None
        Rows of one step; None for all.
    seed : int
        Seed of the shuffling and of random starts.
    kernel : str
        ``"numpy"`` or ``"compiled"``.
    dtype : str
        Arithmetic of the descent: ``"float64"`` or ``"float32"``.
    estimates : dict of str to Estimate
        Every parameter, free, fixed or tied, in the order of the formula.
    free : tuple of str
        The p free parameters, in the order of the rows of ``covariance``.
    covariance, correlation : ndarray of float64, shape (p, p), or None
        Of the free parameters; None where they are not known.
    covariance_method : str
        ``"classical"``, ``"sandwich"``, or ``"none: …"`` with the reason.
    loss : float
        Loss at the estimates.
    residual_sum_of_squares : float
        Σ w (y − prediction)², in squared units of the response.
    rows, rows_dropped : int
        Rows used, and rows left out for a missing value.
    degrees_of_freedom : int
        Rows less free parameters.
    reduced_chi_square, r_squared, aic, aicc, bic : float or None
        Figures of merit as `sgdfit.inference.statistics.goodness` defines them; None where
        undefined.
    steps, epochs : int
        Updates made, and passes through the data completed.
    seconds : float
        Time that the descent took.
    status : Status
        How the run ended, with cause and cure.
    distance : float or None
        Remaining distance to the optimum, in standard errors: the relative offset of Bates and
        Watts, Technometrics 23 (1981) 179.
    diagnosis : Diagnosis or None
        Curvature of the loss at the start, and the learning rates that it allows.
    trace : Trace
        Every step.
    warnings : tuple of str
        What the user should know, one sentence each.
    data_label : str
        Where the rows came from.
    weights : str or None
        What weighs the rows: a column, or an expression of columns; ``1/(sigma)**2`` where
        ``sigma`` was given.
    noise_variance : float or None
        Variance of a row of weight one, in squared units of the response: the reduced χ² where the
        residuals tell it, 1.0 where ``absolute_sigma``; None for losses other than ``mse``.
    sigma : str or None
        What gave each row's standard deviation: a column, or an expression of columns.
    absolute_sigma : bool
        Whether standard deviations (or weights, as inverse variances) were taken at their word,
        rather than scaled by the residuals.
    rows_visited : int or None
        How many rows passes and steps have looked at, each as often as they did. What is read to
        count rows and to draw samples is not counted.
    drawn_from : int or None
        How many rows the rows used were drawn from, where the run ended before it had seen all of
        them; None where all were used.
    search : StartSearch or None
        How starting values were searched for, where they were.
    undetermined : tuple of str
        Combinations of parameters that the data leave open, such as ``a − b``.
    determined : tuple of Determined
        Combinations of the same parameters that the data determine, each with its value and
        standard error; where the model is not linear, near the estimates.
    intervals : str
        Whence the 95% intervals of free parameters are: ``"wald"``, by Student's t, or
        ``"profile"``, by profile likelihood.
    """

    formula: str
    loss_name: str
    optimizer: str
    learning_rate: str
    batch_size: int | None
    seed: int
    kernel: str
    dtype: str
    estimates: dict[str, Estimate]
    free: tuple[str, ...]
    covariance: NDArray[np.float64] | None
    correlation: NDArray[np.float64] | None
    covariance_method: str
    loss: float
    residual_sum_of_squares: float
    rows: int
    rows_dropped: int
    degrees_of_freedom: int
    reduced_chi_square: float | None
    r_squared: float | None
    aic: float | None
    aicc: float | None
    bic: float | None
    steps: int
    epochs: int
    seconds: float
    status: Status
    distance: float | None
    diagnosis: Diagnosis | None
    trace: Trace
    warnings: tuple[str, ...] = field(default=())
    data_label: str = "data in memory"
    weights: str | None = None
    noise_variance: float | None = None
    sigma: str | None = None
    absolute_sigma: bool = False
    rows_visited: int | None = None
    drawn_from: int | None = None
    search: StartSearch | None = None
    undetermined: tuple[str, ...] = ()
    determined: tuple[Determined, ...] = ()
    intervals: str = "wald"

    @property
    def values(self) -> dict[str, float]:
        """The value of every parameter by name."""
        return {name: estimate.value for name, estimate in self.estimates.items()}

    @overload
    def predict(
        self, data: Any, interval: None = None, level: float = 0.95
    ) -> NDArray[np.float64]: ...
    @overload
    def predict(
        self, data: Any, interval: Literal["confidence", "prediction"], level: float = 0.95
    ) -> Band: ...
    @overload
    def predict(
        self, data: Any, interval: str | None, level: float = 0.95
    ) -> NDArray[np.float64] | Band: ...
    def predict(
        self, data: Any, interval: str | None = None, level: float = 0.95
    ) -> NDArray[np.float64] | Band:
        """Return the fitted curve on the rows of ``data``, which holds the formula's variables.

        Parameters
        ----------
        data : dict of arrays, data frame, file, …
        interval : str, optional
            ``"confidence"`` for the band of the curve, ``"prediction"`` for that of new
            observations of weight 1, or of their own weights where ``data`` hold the columns that
            weighted the fit.
        level : float
            The confidence of the interval in each single row.

        Returns
        -------
        float64[n], or Band
            The `sgdfit.inference.intervals.Band` of prediction, stderr, low and high where an
            ``interval`` was asked for; see `sgdfit.fitting.prediction.predict`.

        Raises
        ------
        DataError
            When a column is missing or cannot be read.
        UsageError
            When the fit does not tell the interval; the sentence says why.
        """
        from sgdfit.fitting.prediction import predict

        return predict(self, data, interval, level)

    def write_predictions(
        self,
        data: Any,
        path: str | os.PathLike[str],
        interval: str | None = None,
        level: float = 0.95,
        *,
        missing: str = "error",
        where: str | None = None,
        memory: int | str | None = None,
        threads: int | None = None,
    ) -> Written:
        """Write the fitted curve on any number of rows to a file, of which few are held at a time.

        See `sgdfit.fitting.prediction.write_predictions`.
        """
        from sgdfit.fitting.prediction import write_predictions

        return write_predictions(
            self, data, path, interval, level,
            missing=missing, where=where, memory=memory, threads=threads,
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Return all facts, the trace included, as JSON values."""
        from sgdfit.result.saving import to_dict

        return to_dict(self)

    def to_json(self) -> str:
        """Return all facts, the trace included, as strict JSON text."""
        from sgdfit.result.saving import to_json

        return to_json(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all facts to a JSON file, from which `sgdfit.load` restores them exactly.

        Raises
        ------
        UsageError
            When the file cannot be written.
        """
        from sgdfit.result.saving import write

        write(self, path)

    def __str__(self) -> str:
        from sgdfit.report.layouts import as_text

        return as_text(self)

    def __repr__(self) -> str:
        estimates = ", ".join(str(estimate) for estimate in self.estimates.values())
        return f"Result({self.formula}: {self.status.label}, {estimates})"

    def __rich__(self) -> Any:
        from sgdfit.report.layouts import as_rich

        return as_rich(self)

    def _repr_html_(self) -> str:
        from sgdfit.report.layouts import as_html

        return as_html(self)
