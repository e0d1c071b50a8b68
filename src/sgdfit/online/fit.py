"""`Fit`: estimates that stay current as rows arrive."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from sgdfit.choice import whole
from sgdfit.data.readers import open_table
from sgdfit.data.table import Columns, Table, check_policy, handle_missing
from sgdfit.errors import DataError, UsageError
from sgdfit.fitting import entry
from sgdfit.fitting.uncertainty import (
    Uncertainty,
    at_bounds,
    correlations,
    estimates,
    undetermined_warning,
    without,
)
from sgdfit.fitting.weights import (
    CLASSICAL,
    SANDWICH,
    as_weighting,
    checked_weights,
    columns_of,
    surprise,
)
from sgdfit.formula.formula import Formula
from sgdfit.formula.reading import as_formula
from sgdfit.inference.covariance import classical, sandwich
from sgdfit.inference.estimable import determined
from sgdfit.inference.spectrum import root_spectrum
from sgdfit.inference.statistics import Goodness, goodness
from sgdfit.model.loss import Loss, as_loss
from sgdfit.model.model import Model, build
from sgdfit.model.parameters import Assignments, Bounds
from sgdfit.model.separation import stepped_names
from sgdfit.online.recursive import (
    NEAREST,
    OutsideError,
    Setting,
    StreamState,
    absorb,
    approximation_error,
    distance,
    factor_of,
    first_state,
    fitted,
    setting_of,
    walked,
)
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

    def __init__(
        self, setting: Setting, state: StreamState, warnings: tuple[str, ...] = ()
    ) -> None:
        self._setting, self._state, self.warnings = setting, state, warnings
        self.rows, self.dropped, self.effective_rows = state.rows, state.dropped, state.mass

    @cached_property
    def estimates(self) -> dict[str, float]:
        """Every parameter, in its own units; empty while the rows do not determine them."""
        root = self._state.whole.quadratic.root
        if not self._enough or not root_spectrum(root).positive.all():
            return {}
        return self._setting.model.values(self._state.theta.tolist())

    @cached_property
    def errors(self) -> dict[str, float | None]:
        """The standard error of every parameter; None where it is fixed or not known."""
        if not self.estimates:
            return {}
        table = estimates(self._setting.model, self._state.theta, self._uncertainty)
        return {name: estimate.stderr for name, estimate in table.items()}

    @property
    def loss(self) -> float | None:
        """The (weighted) mean over the rows, at the estimates; None without any."""
        return self._state.loss if self.estimates else None

    @property
    def distance(self) -> float | None:
        """From the optimum of all rows so far, in standard errors; None without estimates.

        Where a model is not linear, and the estimates have moved since earlier rows were last seen,
        that is an estimate by the newest rows.
        """
        return self._distance if self.estimates else None

    @property
    def status(self) -> str:
        """How the estimates stand.

        ``"waiting"`` (for rows that determine the parameters), ``"current"``, or ``"changed"``:
        these rows are farther from the curve that fitted those before than noise explains.
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
        return self._state.begun and self._state.used >= len(self._setting.model.free)

    @cached_property
    def _error(self) -> float:
        return approximation_error(self._setting, self._state)

    @cached_property
    def _distance(self) -> float:
        setting, state = self._setting, self._state
        if setting.quadratic:
            return 0.0  # solved to rounding
        left = distance(setting, state.theta, state.whole.quadratic, state.mass)
        return math.hypot(left, self._error)

    @cached_property
    def _uncertainty(self) -> Uncertainty:
        """How sure the estimates are.

        Squared residuals: 2σ²H⁻¹MH⁻¹, which without forgetting is σ²(JᵀWJ)⁻¹; rows that fade count
        with their weight in H = 2 Σ d·w·JJᵀ, and with its square in M = 2 Σ d²·w·JJᵀ. Other losses:
        the sandwich. What a parameter that drifts lags behind is in neither.
        """
        setting, state = self._setting, self._state
        quadratic, absolute = state.whole.quadratic, setting.weighting.absolute
        free = ~at_bounds(setting.model, state.theta, quadratic.gradient)
        names = [n for n, is_free in zip(setting.model.free, free, strict=True) if is_free]
        left = state.mass - fitted(setting, state.whole) + len(free) - len(names)
        scaled_by = np.inf if absolute else left
        why = ""
        if not names:
            why = "none: every parameter stands on a bound"
        elif scaled_by <= 0:
            why = "none: no degree of freedom is left"
        elif self._error > FAR:
            why = "none: the estimates may be far from the optimum"
        if why:
            return Uncertainty(None, why, (), scaled_by)
        spectrum, scores = root_spectrum(quadratic.root[:, free]), state.whole.scores
        scores, noise = scores[np.ix_(free, free)], 1.0 if absolute else quadratic.loss / left
        rest: tuple[Any, ...] = ()
        if setting.robust:
            found, open_ones = sandwich(state.whole.curvature[np.ix_(free, free)], scores, names)
        elif setting.factor < 1:
            found, open_ones = sandwich(spectrum, 2 * noise * scores, names)
        else:
            found, open_ones = classical(spectrum, 2 * noise, names)
            if open_ones:
                left += len(names) - int(spectrum.positive.sum())
                scaled_by = np.inf if absolute else left
                noise = 1.0 if absolute else quadratic.loss / left
                found, rest = determined(names, state.theta[free], spectrum, 2 * noise)
        if found is None:
            return Uncertainty(None, without(open_ones), open_ones, scaled_by)
        covariance = np.full((len(free), len(free)), np.nan)
        covariance[np.ix_(free, free)] = found
        method = SANDWICH if setting.robust else CLASSICAL
        return Uncertainty(covariance, method, open_ones, scaled_by, rest)


class Fit:
    """A fit that goes on: give it rows as they come, and ask it at any time what they tell.

    Where parameters enter linearly and the loss is ``mse``, this is recursive least squares: the
    estimates are those of a fit of all rows so far to rounding, in whatever batches they came.
    Otherwise the newest 32,768 rows at least are kept, and those before them by a quadratic of
    their loss; how far that may lead the estimates astray once they have moved is told in
    `distance`. Memory does not grow with the rows.

    Parameters
    ----------
    formula, response, loss, start, bounds, fixed, tied, weights, sigma, absolute_sigma
        See `sgdfit.fit`. A loss made of straight pieces, such as ``mae``, has no curvature to
        remember rows by and is refused. Which names are columns, the first batch decides.
    covariance : str
        See `sgdfit.fit`.
    missing : str
        See `sgdfit.fit`.
    forgetting : float or str, optional
        A factor a row in (0, 1]: a row that n others followed has the weight factorⁿ, so that about
        1/(1 − factor) rows have a say (Ljung & Söderström 1983, Theory and Practice of Recursive
        Identification, section 2.6; Haykin, Adaptive Filter Theory, on the RLS algorithm). Or a
        half-life in rows: ``"half_life=1000"``. None: no row is forgotten.
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
        loss: str | Callable[..., Any] | Loss = "mse",
        start: Assignments = None,
        bounds: Bounds = None,
        fixed: Assignments = None,
        tied: Assignments = None,
        weights: str | None = None,
        sigma: str | None = None,
        absolute_sigma: bool = False,
        covariance: str = "auto",
        missing: str = "error",
        forgetting: float | str | None = None,
        seed: int = 0,
    ) -> None:
        check_policy(missing)
        factor_of(forgetting)
        self._formula, self._loss = as_formula(formula, response), as_loss(loss)
        if Model(self._formula, self._loss, (), {}).bend == 0:
            raise UsageError(
                f"the loss {self._loss.name} is made of straight pieces, so nothing but the rows"
                " themselves tells it, and a stream does not keep them; use a smooth one, such as"
                " huber or log_cosh, or fit all rows at once with sgdfit.fit"
            )
        self._parameters: dict[str, Any] = {
            "start": start, "bounds": bounds, "fixed": fixed, "tied": tied,
        }  # fmt: skip
        self._weighting = as_weighting(weights, sigma, absolute_sigma, covariance, self._loss)
        self._missing, self._forgetting = missing, forgetting
        self._seed = whole(seed, "seed", 0)
        self._now: Update | None = None
        self._states: list[tuple[int, float, np.ndarray, np.ndarray]] = []
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
        table = open_table(data)
        now = self._now or self._begun(table.names)
        batch = _read(table, now._setting, self._missing)
        state, change = self._absorbed(now._setting, now._state, batch)
        # Before this line nothing has changed.
        self._now = told = Update(now._setting, state, (change,) if change else ())
        self._label = table.label if self._label in ("", table.label) else "several sources"
        self._updates += 1
        self._change = change or self._change
        if told._enough:
            self._states.append(self._stand(state))
            if len(self._states) > MOST_STATES:
                del self._states[1::2]
        self._seconds += time.perf_counter() - begun
        return told

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
            names = "the parameters" if now is None else ", ".join(now._setting.model.free)
            raise DataError(
                f"{0 if now is None else now.rows:,} row(s) do not determine {names}; update the"
                " fit with more of them, or fix some of the parameters"
            )
        if now._setting.quadratic:
            return self._composed(now)
        return self._composed(Update(now._setting, walked(now._setting, now._state, NEAREST)))

    def _begun(self, names: tuple[str, ...]) -> Update:
        """Return what follows from the formula and the columns of the first batch."""
        given = {**self._parameters}
        given["start"] = None if given["start"] == "search" else given["start"]
        model = build(self._formula, names, loss=self._loss, seed=self._seed, **given)
        setting = setting_of(model, self._weighting, self._forgetting)
        return Update(setting, first_state(setting))

    def _absorbed(
        self, setting: Setting, state: StreamState, batch: _Batch
    ) -> tuple[StreamState, str]:
        """Return what is known with a batch, taken in by parts, and what is strange about it."""
        before, changes = state.rows + state.dropped, []
        for first in range(0, len(batch.weights), STRIDE):
            some = slice(first, first + STRIDE)
            columns = tuple(column[some] for column in batch.columns)
            try:
                state, change = absorb(setting, state, columns, batch.weights[some])
            except OutsideError as error:
                place = int(batch.places[first + error.row])
                raise DataError(
                    "the formula or its gradient has no finite value on row"
                    f" {place + 1:,}{batch.line(place)} of this batch, row {before + place + 1:,}"
                    " since the beginning, at the estimates of the rows before it; correct the row,"
                    " bound the parameters, or leave the row out"
                ) from None
            changes += [] if change is None else [change]
            state = self._searched(setting, state)
        state = state._replace(rows=state.rows + batch.rows, dropped=state.dropped + batch.dropped)
        if not changes:
            return state, ""
        mean, usual = max(changes, key=lambda change: change[0] / change[1])
        last = before + batch.rows + batch.dropped
        rows = f"row {last:,} is" if last - before == 1 else f"rows {before + 1:,} to {last:,} are"
        cure = "if the process has changed, begin a new fit, or give a forgetting factor"
        return state, (
            f"{rows} farther from the curve than noise explains: a mean loss of {mean:.3g} where"
            f" {usual:.3g} is usual; look for outliers;"
            f" {'old rows are being forgotten' if setting.factor < 1 else cure}"
        )

    def _searched(self, setting: Setting, state: StreamState) -> StreamState:
        """Look for starting values, or for better ones, when it is their turn."""
        model, is_folded = setting.model, bool(state.past.quadratic.root.any())
        if setting.quadratic or is_folded or state.kept < max(state.turn, len(model.free) + 1):
            return state
        starts = (model.parameters[name] for name in model.free)
        if state.begun and not any(p.origin.startswith("default") for p in starts):
            return state._replace(turn=math.inf)  # they are the user's to choose
        found = self._fit(setting, state)
        if found is None:
            return state._replace(turn=(BETTER if state.begun else AGAIN) * state.kept)
        theta = np.array([found.estimates[name].value for name in model.free])
        later = state._replace(turn=BETTER * state.kept)
        try:
            other = walked(setting, later._replace(theta=theta, start=theta))
        except OutsideError:
            return later
        better = not state.begun or other.loss < state.loss - SAME * abs(state.loss)
        return other if better else later

    def _fit(self, setting: Setting, state: StreamState) -> Result | None:
        """Fit the rows that are kept as any others; None where that tells nothing sure."""
        model, (columns, weights) = setting.model, state.rows_kept()
        data = dict(zip(model.columns, columns, strict=True))
        weight = "weight" + "_" * max(map(len, (*data, *model.formula.names)))
        last = len(weights) >= HOPELESS and not state.begun
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = entry.fit(
                    model.formula,
                    {**data, weight: weights},
                    loss=model.loss,
                    weights=weight,
                    seed=self._seed,
                    **self._parameters,
                )
        except DataError:
            if last:
                raise
            return None
        if last and not found.status.ok:
            raise DataError(
                f"the first {len(weights):,} rows lead to no fit: {found.status.cause}; "
                f"{found.status.cure or 'give starting values or bounds'}"
            )
        # the first must determine every parameter, and leave something to tell the noise by
        sure = found.covariance is not None and not found.undetermined
        sure = sure and found.status.name in ("converged", "local_minimum")
        return found if sure or last or (state.begun and found.status.ok) else None

    def _stand(self, state: StreamState) -> tuple[int, float, np.ndarray, np.ndarray]:
        gradient = state.whole.quadratic.gradient / state.weight
        return self._updates, state.loss, state.theta, gradient

    def _composed(self, now: Update) -> Result:
        """Return the `Result` of all rows so far."""
        setting, state = now._setting, now._state
        model, weighting = setting.model, setting.weighting
        theta, error, found = state.theta, now._error, now._uncertainty
        merit, squares = _merit(setting, state), state.whole.quadratic.loss
        states = [s for s in self._states if s[0] < self._updates] + [self._stand(state)]
        table = estimates(model, theta, found)
        starts, origin = (theta, "solved") if setting.quadratic else (state.start, "search")
        for name, start in zip(model.free, starts.tolist(), strict=True):
            if table[name].start_origin.startswith("default"):
                table[name] = replace(table[name], start=start, start_origin=origin)
        if error > FAR:
            cause = (
                "the estimates moved to where what is kept of the rows does not tell the optimum"
            )
            status = status_of("stalled", cause=cause, cure=CURE)
        else:
            kept = "what is kept of the rows tells" if error > TOLD else "all rows so far tell"
            status = status_of("converged", cause=f"the estimates are the best that {kept}")
        moved = (
            "the estimates moved far from where earlier rows were last seen, and may be"
            f" {error:.2g} standard errors from those of a fit of all rows at once; {CURE}"
        )
        forgets = "" if setting.factor == 1 else f"(forgetting={self._forgetting})"
        return Result(
            **asdict(merit),
            formula=str(model.formula),
            free=model.free,
            loss_name=model.loss.name,
            optimizer=f"recursive{forgets}",
            learning_rate="",
            batch_size=None,
            seed=self._seed,
            kernel=setting.kernel.form,
            dtype="float64",
            steps=self._updates,
            epochs=0,
            seconds=self._seconds,
            trace=_trace(model.free, states),
            diagnosis=None,
            data_label=self._label,
            weights=weighting.text,
            sigma=weighting.sigma,
            absolute_sigma=weighting.absolute,
            estimates=table,
            covariance=found.covariance,
            correlation=correlations(found.covariance),
            covariance_method=found.method,
            loss=state.loss,
            residual_sum_of_squares=squares if setting.squared else state.whole.squares,
            rows=state.rows,
            rows_dropped=state.dropped,
            rows_visited=state.visited,
            status=status,
            distance=now._distance,
            warnings=(
                *((self._change,) if self._change else ()),
                *((moved,) if error > TOLD else ()),
                *undetermined_warning(found.undetermined, stepped_names(model.prediction)),
                *surprise(weighting, merit.reduced_chi_square, merit.degrees_of_freedom),
            ),
            noise_variance=1.0 if weighting.absolute else merit.reduced_chi_square,
            undetermined=found.undetermined,
            determined=found.determined,
        )


class _Batch(NamedTuple):
    """Rows of a batch that have a say."""

    columns: tuple[np.ndarray, ...]  # those of the model, in order, each float64[n]
    weights: np.ndarray  # as they were given, forgetting left aside; none is 0
    # Rows that could be used, be their weight 0 or not; and those left out.
    rows: int
    dropped: int
    places: np.ndarray  # int64[n]: the place of each in the batch as it was given, from 0
    line: Callable[[int], str]  # such a place -> words that say where it stands in a file


def _read(table: Table, setting: Setting, missing: str) -> _Batch:
    """Read the columns of a batch that a model and its weights need; there may be no rows."""
    model, weighting = setting.model, setting.weighting
    names = list(dict.fromkeys([*model.columns, *columns_of(weighting.given)]))
    table.positions(names)
    taken = [name for name in model.parameters if name in table.names]
    if taken:
        raise DataError(
            f"{table.label} has a column {taken[0]!r}, which is a parameter of this fit, since the"
            " first batch had no such column; rename the column, or begin a new fit"
        )
    columns = table.floats(names)
    good = np.logical_and.reduce([np.isfinite(column) for column in columns.values()])
    if good.all():
        source = Columns(columns, table.label)
    elif good.any() or missing == "error":
        source = handle_missing(columns, table.label, missing, table.line)
    else:
        source = Columns({name: np.empty(0) for name in names}, table.label, good.size)
    weights = np.ones(source.rows)
    if source.rows and weighting.given is not None:
        given = checked_weights(weighting, source.columns, source.label)
        weights = given if weighting.sigma is None else given**-2.0
    some = weights > 0
    kept = tuple(source.columns[name][some].astype(np.float64) for name in model.columns)
    places = np.flatnonzero(good)[some]
    return _Batch(kept, weights[some], source.rows, source.dropped, places, table.line)


def _trace(
    names: tuple[str, ...], states: list[tuple[int, float, np.ndarray, np.ndarray]]
) -> Trace:
    steps, losses, parameters, gradients = zip(*states, strict=True)
    k, p = len(states), len(names)
    return Trace(
        names=names,
        step=np.array(steps, dtype=np.int64),
        epoch=np.zeros(k, dtype=np.int64),
        learning_rate=np.full(k, np.nan),
        loss=np.array(losses),
        parameters=np.array(parameters).reshape(k, p),
        gradient=np.array(gradients).reshape(k, p),
    )


def _merit(setting: Setting, state: StreamState) -> Goodness:
    free, squares, total = len(setting.model.free), state.whole.quadratic.loss, state.variation
    if not setting.squared:
        return Goodness(round(state.mass - free), None, None, None, None, None)
    if setting.factor == 1:
        absolute = setting.weighting.absolute
        return goodness(squares, total, state.used, free, state.logs, absolute)
    left = state.mass - fitted(setting, state.whole)
    share = 1 - squares / total if total > 0 else None
    return Goodness(round(left), squares / left if left > 0 else None, share, None, None, None)
