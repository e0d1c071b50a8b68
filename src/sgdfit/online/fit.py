"""`Fit`: estimates that stay current as rows arrive."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from copy import copy
from functools import cached_property
from typing import Any

import numpy as np

from sgdfit.choice import switch, whole
from sgdfit.data.readers import open_table
from sgdfit.data.rows import timed
from sgdfit.data.table import check_policy, handle_missing
from sgdfit.data.times import TimeScales, as_time_unit, said_of_columns
from sgdfit.errors import DataError, UsageError
from sgdfit.fitting import entry
from sgdfit.fitting.assessment import Assessment, make_result
from sgdfit.fitting.multistart import with_starts
from sgdfit.fitting.trust_region import relative_offset
from sgdfit.fitting.uncertainty import (
    Uncertainty,
    estimates,
    uncertainty_of,
    undetermined_warnings,
)
from sgdfit.fitting.weights import CLASSICAL, as_weighting, checked_weights, columns_of
from sgdfit.formula.formula import Formula
from sgdfit.formula.reading import as_formula
from sgdfit.inference.intervals import confidence
from sgdfit.inference.spectrum import root_spectrum
from sgdfit.inference.statistics import Goodness, goodness
from sgdfit.model.loss import Loss, as_loss
from sgdfit.model.model import Model, build
from sgdfit.model.parameters import Assignments, Bounds
from sgdfit.online.recursive import NEAREST, OutsideError, Recursion, factor_of
from sgdfit.result.result import Result
from sgdfit.result.rounding import plus_minus
from sgdfit.result.status import status_of
from sgdfit.result.trace import Trace

# Rows of one step of the recursion, and about how many states of the past the trace remembers.
STRIDE, MOST_STATES = 4_096, 2_048
# Starting values are looked for when so many times the rows have come than were last looked at: at
# first until they are found, then in case more rows tell of a better minimum, one whose loss is
# lower by a share. So many rows without a fit are an error.
AGAIN, BETTER, SAME, HOPELESS = 1.5, 4.0, 1e-6, 16_384
# What the past leaves open is told beyond so many standard errors; none are given beyond `FAR`.
TOLD, FAR = 0.1, 1.0
CURE = (
    "fit all rows at once with sgdfit.fit, begin a new fit where the process changed, or give a"
    " forgetting factor"
)


class Update:
    """What is known after an update; it is worked out when it is asked for.

    Attributes
    ----------
    rows, dropped : int
        Rows that were used so far, and rows left out for a missing value.
    effective_rows : float
        What forgetting has left of the rows used: Σ factor^age, at most 1/(1 − factor).
    warnings : tuple of str
        What the user should know of this batch.
    """

    def __init__(self, stream: Recursion, warnings: tuple[str, ...] = ()) -> None:
        self._stream, self.warnings = stream, warnings
        self.rows, self.dropped, self.effective_rows = stream.rows, stream.dropped, stream.mass

    @cached_property
    def estimates(self) -> dict[str, float]:
        """Every parameter, in its own units; empty while the rows do not determine them."""
        if not self._enough or not root_spectrum(self._stream.whole.quadratic.root).positive.all():
            return {}
        return self._stream.model.values(self._stream.theta.tolist())

    @cached_property
    def errors(self) -> dict[str, float | None]:
        """The standard error of every parameter; None where it is fixed or not known."""
        if not self.estimates:
            return {}
        table = estimates(self._stream.model, self._stream.theta, self._uncertainty)
        return {name: estimate.stderr for name, estimate in table.items()}

    @property
    def loss(self) -> float | None:
        """The (weighted) mean over the rows, at the estimates; None without any."""
        return self._stream.loss if self.estimates else None

    @cached_property
    def distance(self) -> float | None:
        """From the optimum of all rows so far, in standard errors; None without estimates.

        Where a model is not linear, and the estimates have moved since earlier rows were last seen,
        that is an estimate by the newest rows.
        """
        stream = self._stream
        if stream.quadratic or not self.estimates:
            return 0.0 if self.estimates else None  # solved to rounding
        seen = stream.whole.quadratic
        left = relative_offset(seen, stream.theta, stream.box, round(stream.mass))
        return math.hypot(left, self._error)

    @property
    def status(self) -> str:
        """``"waiting"`` (for rows that determine the parameters), ``"current"``, or ``"changed"``.

        The last: these rows are farther from the curve that fitted those before than noise
        explains.
        """
        return "changed" if self.warnings else "current" if self.estimates else "waiting"

    def __repr__(self) -> str:
        """Return the estimates, with their errors."""
        values = ", ".join(
            f"{name} = {plus_minus(value, self.errors[name])}"
            for name, value in self.estimates.items()
        )
        return f"Update({self.rows:,} rows: {self.status}{', ' if values else ''}{values})"

    @property
    def _enough(self) -> bool:
        """Whether there are as many rows as parameters, and estimates."""
        return self._stream.begun and self._stream.used >= len(self._stream.model.free)

    @cached_property
    def _error(self) -> float:
        return self._stream.approximation_error()

    @cached_property
    def _uncertainty(self) -> Uncertainty:
        """How sure the estimates are.

        Squared residuals: 2σ²H⁻¹MH⁻¹, which without forgetting is σ²(JᵀWJ)⁻¹; rows that fade count
        with their weight in H = 2 Σ d·w·JJᵀ, and with its square in M = 2 Σ d²·w·JJᵀ. Other losses:
        the sandwich. What a parameter that drifts lags behind is in neither.
        """
        stream = self._stream
        seen, fades = stream.whole, stream.factor < 1
        near, left = seen.quadratic, stream.mass - stream.fitted
        known = 1.0 if stream.weighting.absolute else None

        def scores() -> np.ndarray:
            return seen.scores if stream.robust else 2 * (known or near.loss / left) * seen.scores

        found = uncertainty_of(
            stream.model,
            stream.theta,
            near,
            stream.mass,
            fitted=stream.fitted,
            variance=known,
            scores=scores if stream.robust or fades else None,
            curvature=seen.curvature if stream.robust else None,
        )
        if self._error > FAR:
            return found.withheld("the estimates may be far from the optimum")
        if fades and not stream.robust and found.covariance is not None:
            return found._replace(method=CLASSICAL)
        return found


class Fit:
    """A fit that goes on: give it rows as they come, and ask it at any time what they tell.

    Where parameters enter linearly and the loss is ``mse``, this is recursive least squares: the
    estimates are those of a fit of all rows so far to rounding, in whatever batches they came.
    Otherwise the newest 32,768 rows at least are kept, and those before them by a quadratic of
    their loss; how far that may lead the estimates astray once they have moved is told in
    `distance`. Memory does not grow with the rows.

    Parameters
    ----------
    formula, response, constant, loss, start, bounds, fixed, tied, weights, sigma, absolute_sigma
        See `sgdfit.fit`. A loss made of straight pieces, such as ``mae``, has no curvature to
        remember rows by and is refused. Which names are columns, the first batch decides.
    covariance, level, missing, time_unit
        See `sgdfit.fit`.
    forgetting : float or str, optional
        A factor a row in (0, 1]: a row that n others followed has the weight factorⁿ, so that about
        1/(1 − factor) rows have a say (Ljung & Söderström 1983, Theory and Practice of Recursive
        Identification, section 2.6). Or a half-life in rows: ``"half_life=1000"``. None: no row is
        forgotten.
    seed : int
        Of searches for starting values.

    Raises
    ------
    FormulaError, UsageError
        When the formula or an option cannot be used.

    Examples
    --------
    >>> import numpy as np
    >>> fit = Fit("y = a*x + b")
    >>> x = np.arange(4.0)
    >>> fit.update({"x": x, "y": 2 * x + 1}).rows
    4
    >>> told = fit.update({"x": x + 4, "y": 2 * x + 9})
    >>> told.rows, round(told.estimates["a"], 9), round(fit.result().estimates["b"].value, 9)
    (8, 2.0, 1.0)
    """

    def __init__(
        self,
        formula: str | Callable[..., Any] | Formula,
        *,
        response: str | None = None,
        constant: bool = False,
        loss: str | Callable[..., Any] | Loss = "mse",
        start: Assignments = None,
        bounds: Bounds = None,
        fixed: Assignments = None,
        tied: Assignments = None,
        weights: str | float | None = None,
        sigma: str | float | None = None,
        absolute_sigma: bool = False,
        covariance: str = "auto",
        level: float = 0.95,
        missing: str = "error",
        time_unit: str | None = None,
        forgetting: float | str | None = None,
        seed: int = 0,
    ) -> None:
        check_policy(missing)
        factor_of(forgetting)
        self._formula, self._loss = as_formula(formula, response), as_loss(loss)
        if Model(self._formula, self._loss, (), {}).loss_hess == 0:
            raise UsageError(
                f"the loss {self._loss.name} is made of straight pieces, so nothing but the rows"
                " themselves tells it, and a stream does not keep them; use a smooth one, such as"
                " huber or log_cosh, or fit all rows at once with sgdfit.fit"
            )
        self._parameters: dict[str, Any] = {
            "start": start, "bounds": bounds, "fixed": fixed, "tied": tied,
            "constant": switch(constant, "constant"),
        }  # fmt: skip
        self._weighting = as_weighting(weights, sigma, absolute_sigma, covariance, self._loss)
        self._missing, self._forgetting = missing, forgetting
        self._seed, self._level = whole(seed, "seed", 0), confidence(level, "level")
        self._scales = TimeScales(unit=as_time_unit(time_unit))
        self._now: Update | None = None
        # Of each update the number, the loss, the estimates, and the gradient of the loss.
        self._trace: list[tuple[int, float, np.ndarray, np.ndarray]] = []
        self._label, self._updates, self._seconds, self._change = "", 0, 0.0, ""

    def update(self, data: object) -> Update:
        """Take in further rows, and return what is known with them.

        Parameters
        ----------
        data : dict of arrays, data frame, Arrow batch, path, …
            What `sgdfit.fit` takes; no rows are fine and change nothing.

        Raises
        ------
        DataError
            When a column is missing or cannot be read, a number is not finite and ``missing`` is
            ``"error"``, or the formula has no finite value on a row. Nothing is changed then.
        """
        begun = time.perf_counter()
        table = timed(open_table(data), self._scales)
        if self._now is None:
            given = {**self._parameters}
            given["start"] = None if given["start"] == "search" else given["start"]
            model = build(self._formula, table.names, loss=self._loss, seed=self._seed, **given)
            stream = Recursion(model, self._weighting, self._forgetting)
        else:
            stream = copy(self._now._stream)
            model = stream.model
        needed = dict.fromkeys([*model.columns, *columns_of(self._weighting.given)])
        columns = table.floats(list(needed), self._missing)
        good = np.logical_and.reduce([np.isfinite(column) for column in columns.values()])
        if self._missing == "error" and not good.all():
            handle_missing(columns, table.label, self._missing, table.line)
        columns = {name: column[good] for name, column in columns.items()}
        rows, first = int(np.count_nonzero(good)), stream.rows + stream.dropped
        weights = np.ones(rows)
        if self._weighting.given is not None:
            weights = checked_weights(self._weighting, columns, table.label)
            weights = weights if self._weighting.sigma is None else weights**-2.0
        heavy = weights > 0
        places, weights = np.flatnonzero(good)[heavy], weights[heavy]
        used = tuple(columns[name][heavy].astype(np.float64) for name in model.columns)
        changes: list[tuple[float, float]] = []
        for k in range(0, len(weights), STRIDE):
            some = slice(k, k + STRIDE)
            try:
                change = stream.absorb(tuple(column[some] for column in used), weights[some])
            except OutsideError as error:
                place = int(places[k + error.args[0]])
                raise DataError(
                    "the formula or its gradient has no finite value on row"
                    f" {place + 1:,}{table.line(place)} of this batch, row {first + place + 1:,}"
                    " since the beginning, at the estimates of the rows before it; correct the row,"
                    " bound the parameters, or leave the row out"
                ) from None
            changes += [change] if change else []
            stream = self._searched(stream)
        stream.rows += rows
        stream.dropped += len(good) - rows
        told: tuple[str, ...] = ()
        if changes:
            mean, usual = max(changes, key=lambda change: change[0] / change[1])
            many = f"s {first + 1:,} to" if len(good) > 1 else ""
            told = (
                f"row{many} {first + len(good):,} {'are' if many else 'is'} farther from the curve"
                f" than noise explains: a mean loss of {mean:.3g} where {usual:.3g} is usual; look"
                " for outliers, and if the process has changed, begin a new fit or let old rows"
                " be forgotten",
            )
        # Before this line nothing has changed.
        self._now = found = Update(stream, told)
        self._label = table.label if self._label in ("", table.label) else "several sources"
        self._updates += 1
        self._change = told[0] if told else self._change
        if found._enough:
            gradient = stream.whole.quadratic.gradient / stream.weight
            self._trace.append((self._updates, stream.loss, stream.theta, gradient))
            if len(self._trace) > MOST_STATES:
                del self._trace[1::2]
        self._seconds += time.perf_counter() - begun
        return found

    def __repr__(self) -> str:
        """Return the formula and the estimates so far."""
        if self._now is None or not self._now._enough:
            return f"Fit({self._formula}, on rows that do not determine it yet)"
        return f"Fit({self.result()!r})"

    def result(self) -> Result:
        """Return all that is known now as the result of a fit.

        Raises
        ------
        DataError
            When the rows so far do not determine the parameters.
        """
        now = self._now
        if now is None or not now._enough:
            names = "the parameters" if now is None else ", ".join(now._stream.model.free)
            raise DataError(
                f"{0 if now is None else now.rows:,} row(s) do not determine {names}; update the"
                " fit with more of them, or fix some of the parameters"
            )
        stream = copy(now._stream)
        if not stream.quadratic:
            stream.walk(NEAREST)
            now = Update(stream)
        model, weighting = stream.model, stream.weighting
        error, found = now._error, now._uncertainty
        squares, left = stream.whole.quadratic.loss, found.degrees_of_freedom
        merit = Goodness(round(left))
        if stream.squared:
            fitted, logs, absolute = round(stream.fitted), stream.logs, weighting.absolute
            merit = goodness(squares, stream.variation, stream.used, fitted, logs, absolute)
        if stream.squared and stream.factor < 1:
            reduced = squares / left if left > 0 else None
            merit = Goodness(round(left), reduced, merit.r_squared)
        steps, losses, path, gradients = (np.array(part) for part in zip(*self._trace, strict=True))
        first, origin = (stream.theta, "solved") if stream.quadratic else (path[0], "search")
        kept = "what is kept of the rows tells" if error > TOLD else "all rows so far tell"
        status = status_of("converged", cause=f"the estimates are the best that {kept}")
        if error > FAR:
            cause = (
                "the estimates moved to where what is kept of the rows does not tell the optimum"
            )
            status = status_of("stalled", cause=cause, cure=CURE)
        moved = (
            "the estimates moved far from where earlier rows were last seen, and may be"
            f" {error:.2g} standard errors from those of a fit of all rows at once; {CURE}"
        )
        trace = Trace(
            names=model.free,
            step=steps,
            epoch=np.zeros(len(steps), dtype=np.int64),
            learning_rate=np.full(len(steps), np.nan),
            loss=losses,
            parameters=path,
            gradient=gradients,
        )
        forgets = "" if stream.factor == 1 else f"(forgetting={self._forgetting})"
        what_is_known = Assessment(
            theta=stream.theta,
            loss=stream.loss,
            residual=squares if stream.squared else stream.whole.squares,
            merit=merit,
            uncertainty=found,
            distance=math.inf if now.distance is None else now.distance,
            status=status,
            warnings=(
                *((self._change,) if self._change else ()),
                *((moved,) if error > TOLD else ()),
                *undetermined_warnings(found),
            ),
        )
        times = "; ".join(said_of_columns(self._scales))
        how = {
            "level": self._level,
            "optimizer": f"recursive{forgets}",
            "learning_rate": "",
            "batch_size": None,
            "seed": self._seed,
            "kernel": stream.kernel.form,
            "dtype": "float64",
            "steps": self._updates,
            "epochs": 0,
            "seconds": self._seconds,
            "trace": trace,
            "diagnosis": None,
            "data_label": f"{self._label} ({times})" if times else self._label,
            "rows": stream.rows,
            "rows_dropped": stream.dropped,
            "time_scales": dict(self._scales),
        }
        return make_result(with_starts(model, first, origin), weighting, what_is_known, how)

    def _searched(self, stream: Recursion) -> Recursion:
        """Fit the rows that are kept as any others, where it is time to, and go on from there.

        Until that tells every parameter for sure; then again, in case it finds a better minimum.
        """
        model, folded = stream.model, stream.past.quadratic.root.any()
        if stream.quadratic or folded or stream.kept < max(stream.turn, len(model.free) + 1):
            return stream
        columns, weights, _ = stream.rows_kept()
        data = dict(zip(model.columns, columns, strict=True))
        weight = "weight" + "_" * max(map(len, (*data, *model.formula.names)))
        data[weight] = weights
        stream.turn = (BETTER if stream.begun else AGAIN) * stream.kept
        last = len(weights) >= HOPELESS and not stream.begun
        options: dict[str, Any] = {"loss": model.loss, "weights": weight, "seed": self._seed}
        other = copy(stream)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = entry.fit(model.formula, data, **options, **self._parameters)
            sure = found.covariance is not None and not found.undetermined
            if not (last or (sure and found.status.name in ("converged", "local_minimum"))):
                return stream
            other.theta = np.array([found.estimates[name].value for name in model.free])
            if found.loss_scale is not None:
                other.take_scale(found.loss_scale)
            other.walk()
        except DataError:
            if last:
                raise
            return stream
        if not found.status.ok:
            raise DataError(
                f"the first {len(weights):,} rows lead to no fit: {found.status.cause};"
                f" {found.status.cure or 'give starting values or bounds'}"
            )
        better = not stream.begun or other.loss < stream.loss - SAME * abs(stream.loss)
        return other if better else stream
