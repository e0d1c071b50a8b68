"""`Fit`: estimates that stay current as rows arrive."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from typing import Any

import numpy as np

from sgdfit.choice import whole
from sgdfit.data.readers import open_table
from sgdfit.data.table import check_policy
from sgdfit.errors import DataError, UsageError
from sgdfit.fitting import entry
from sgdfit.fitting.nonsmooth import has_kink
from sgdfit.fitting.uncertainty import (
    Uncertainty,
    at_bounds,
    correlations,
    estimates,
    undetermined_warning,
    without,
)
from sgdfit.fitting.weights import CLASSICAL, SANDWICH, Weighting, as_weighting, surprise
from sgdfit.formula.formula import Formula, as_formula
from sgdfit.inference.covariance import classical, sandwich
from sgdfit.inference.estimable import determined
from sgdfit.inference.spectrum import EPS, root_spectrum
from sgdfit.inference.statistics import Goodness, goodness
from sgdfit.model.loss import SQUARED, Loss, as_loss
from sgdfit.model.model import Model, build
from sgdfit.model.parameters import Assignments, Bounds
from sgdfit.model.separation import stepped_names
from sgdfit.online.batch import Batch, plain, read
from sgdfit.online.forgetting import as_forgetting
from sgdfit.online.recursive import (
    NEAREST,
    OutsideError,
    Setting,
    State,
    absorbed,
    bent,
    distance,
    doubt,
    fitted,
    setting_of,
    walked,
)
from sgdfit.result.result import Estimate, Result
from sgdfit.result.rounding import plus_minus
from sgdfit.result.status import Status, status_of
from sgdfit.result.trace import Trace

# Rows of one step of the recursion.
STRIDE = 4_096
OPTIMIZER = "recursive"
# So many states of the past are remembered for the trace.
MOST_STATES = 2_048
# Starting values are looked for when so many times the rows have come than were last looked at: at
# first until they are found, then in case more rows tell of a better minimum, one whose loss is
# lower by a share. So many rows without a fit are an error.
AGAIN, BETTER, SAME, HOPELESS = 1.5, 4.0, 1e-6, 16_384
# A quadratic is solved to rounding; what looks like a distance is rounding too.
ROUNDING, FEW_ROUNDINGS = 1e-6, 32
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
        self, setting: Setting, weighting: Weighting, state: State, warnings: tuple[str, ...] = ()
    ) -> None:
        self._setting, self._weighting, self._state = setting, weighting, state
        self.rows, self.dropped, self.effective_rows = state.rows, state.dropped, state.mass
        self.warnings = warnings

    @cached_property
    def estimates(self) -> dict[str, float]:
        """Every parameter, in its own units; empty while the rows do not determine them."""
        state = self._state
        if state.theta is None or not self._has_estimates or state.whole is None:
            return {}
        q = state.whole.quadratic
        if not (q.regular or root_spectrum(q.root).positive.all()):
            return {}
        return self._setting.model.values(state.theta.tolist())

    @cached_property
    def errors(self) -> dict[str, float | None]:
        """The standard error of every parameter; None where it is fixed or not known."""
        if not self.estimates or self._state.theta is None:
            return {}
        table = estimates(self._setting.model, self._state.theta, self._certainty)
        return {name: estimate.stderr for name, estimate in table.items()}

    @property
    def loss(self) -> float | None:
        """The (weighted) mean over the rows, at the estimates; None without any."""
        if not self.estimates or self._state.whole is None:
            return None
        return self._state.whole.quadratic.loss / self._state.weight

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
    def _has_estimates(self) -> bool:
        """Whether there are as many rows as parameters, and estimates."""
        return self._state.theta is not None and self._state.used >= len(self._setting.model.free)

    @cached_property
    def _doubt(self) -> float:
        return doubt(self._setting, self._state)

    @cached_property
    def _distance(self) -> float:
        setting, state = self._setting, self._state
        if setting.quadratic and not setting.bounded:
            return 0.0
        assert state.theta is not None  # the caller has looked
        assert state.whole is not None
        found = distance(setting, state.theta, state.whole.quadratic, state.mass)
        if setting.quadratic:
            return 0.0 if found < ROUNDING else found
        return math.hypot(found, self._doubt)

    @cached_property
    def _certainty(self) -> Uncertainty:
        """How sure the estimates are.

        Squared residuals: 2σ²H⁻¹MH⁻¹, which without forgetting is σ²(JᵀWJ)⁻¹; rows that fade count
        with their weight in H = 2 Σ d·w·JJᵀ, and with its square in M = 2 Σ d²·w·JJᵀ. Other losses:
        the sandwich. What a parameter that drifts lags behind is in neither.
        """
        setting, state = self._setting, self._state
        assert state.theta is not None  # the caller has looked
        assert state.whole is not None
        q = state.whole.quadratic
        free = ~at_bounds(setting.model, state.theta, q.gradient)
        names = [n for n, is_free in zip(setting.model.free, free, strict=True) if is_free]
        held = len(free) - len(names)
        left = state.mass - fitted(setting, state.whole) + held
        left = np.inf if self._weighting.absolute else left
        if not names:
            return Uncertainty(None, "none: every parameter stands on a bound", (), left)
        if left <= 0:
            return Uncertainty(None, "none: no degree of freedom is left", (), left)
        if self._doubt > FAR:
            return Uncertainty(None, "none: the estimates may be far from the optimum", (), left)
        found = self._of_the_free(left, free, names)
        if found.covariance is None:
            return found
        covariance = np.full((len(free), len(free)), np.nan)
        covariance[np.ix_(free, free)] = found.covariance
        size = state.variation + state.weight * state.mean**2
        if q.loss <= (FEW_ROUNDINGS * EPS) ** 2 * size:
            covariance *= 0.0  # residuals that are nothing but rounding tell no error
        return found._replace(covariance=covariance)

    def _of_the_free(self, left: float, free: np.ndarray, names: list[str]) -> Uncertainty:
        setting, state = self._setting, self._state
        assert state.theta is not None
        assert state.whole is not None
        absolute, fades = self._weighting.absolute, setting.forgetting.factor < 1
        spectrum = root_spectrum(bent(setting, state).quadratic.root[:, free])
        loss, middle = state.whole.quadratic.loss, state.whole.middle[np.ix_(free, free)]
        noise = 1.0 if absolute else loss / left
        if setting.robust:
            covariance, open_ones = sandwich(spectrum, middle, names)
        elif fades:
            covariance, open_ones = sandwich(spectrum, 2 * noise * middle, names)
        else:
            covariance, open_ones = classical(spectrum, 2 * noise, names)
        method = SANDWICH if setting.robust else CLASSICAL
        if covariance is not None:
            return Uncertainty(covariance, method, (), left)
        if setting.robust or fades or not open_ones:
            return Uncertainty(None, without(open_ones), open_ones, left)
        left = left if absolute else left + len(names) - int(spectrum.positive.sum())
        noise = noise if absolute else loss / left
        covariance, rest = determined(names, state.theta[free], spectrum, 2 * noise)
        return Uncertainty(covariance, method, open_ones, left, rest)


class Fit:
    """A fit that goes on: give it rows as they come, and ask it at any time what they tell.

    Where parameters enter linearly, have no bounds and the loss is ``mse``, this is recursive least
    squares: the estimates are those of a fit of all rows so far to rounding, in whatever batches
    they came. Otherwise the newest 32,768 rows at least are kept, and those before them by a
    quadratic of their loss; how far that may lead the estimates astray once they have moved is told
    in `distance`. Memory does not grow with the rows.

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
        self._formula, self._loss = as_formula(formula, response), as_loss(loss)
        if has_kink(Model(self._formula, self._loss, (), {})):
            raise UsageError(
                f"the loss {self._loss.name} is made of straight pieces, so nothing but the rows"
                " themselves tells it, and a stream does not keep them; use a smooth one, such as"
                " huber or log_cosh, or fit all rows at once with sgdfit.fit"
            )
        self._parameters = {"start": start, "bounds": bounds, "fixed": fixed, "tied": tied}
        self._weighting = as_weighting(weights, sigma, absolute_sigma, covariance, self._loss)
        self._missing, self._forgetting = missing, as_forgetting(forgetting)
        self._seed = whole(seed, "seed", 0)
        self._setting: Setting | None = None
        self._state = State()
        self._past_states: list[tuple[int, float, np.ndarray, np.ndarray]] = []
        self._every = 1
        self._label = ""
        self._names: tuple[str, ...] = ()
        self._updates, self._seconds, self._change = 0, 0.0, ""

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
        setting, batch, label, names = self._read(data)
        state, change = self._absorbed(setting, batch)
        # Before this line nothing has changed.
        self._setting, self._state, self._names = setting, state, names
        self._label = label if self._label in ("", label) else "several sources"
        self._updates += 1
        self._change = change or self._change
        told = Update(setting, self._weighting, state, (change,) if change else ())
        if told._has_estimates:
            self._remember(self._state_now(state))
        self._seconds += time.perf_counter() - begun
        return told

    def __repr__(self) -> str:
        """Return the formula and the estimates so far."""
        if self._now() is None:
            return f"Fit({self._formula}: {self._state.rows:,} rows, which do not determine it yet)"
        return f"Fit({self.result()!r})"

    def result(self) -> Result:
        """Return all that is known now as the result of a fit.

        Raises
        ------
        DataError
            When the rows so far do not determine the parameters.
        """
        now, state = self._now(), self._state
        if now is None:
            free = () if self._setting is None else self._setting.model.free
            raise DataError(
                f"{state.rows:,} row(s) do not determine {', '.join(free) or 'the parameters'};"
                " update the fit with more of them, or fix some of the parameters"
            )
        setting = now._setting
        if not setting.quadratic:
            near = walked(setting, state, NEAREST)
            now = now if near is None else Update(setting, self._weighting, near)
        return self._composed(setting, now)

    def _now(self) -> Update | None:
        """Return what is known; None without estimates."""
        if self._setting is None:
            return None
        now = Update(self._setting, self._weighting, self._state)
        return now if now._has_estimates else None

    def _read(self, data: object) -> tuple[Setting, Batch, str, tuple[str, ...]]:
        """Return the rows of a batch, its label, and its columns where it was a plain dict."""
        setting = self._setting
        if setting is not None and self._names:
            batch = plain(data, self._names, setting.model.columns)
            if batch is not None:
                return setting, batch, self._label, self._names
        table = open_table(data)
        setting = setting or self._settled(table.names)
        batch = read(table, setting.model, self._weighting, self._missing)
        is_plain = type(data) is dict and tuple(data) == table.names and not self._weighting.given
        return setting, batch, table.label, table.names if is_plain else ()

    def _settled(self, names: tuple[str, ...]) -> Setting:
        """Return what follows from the formula and the columns of the first batch."""
        given: dict[str, Any] = {**self._parameters}
        given["start"] = None if given["start"] == "search" else given["start"]
        model: Model = build(self._formula, names, loss=self._loss, seed=self._seed, **given)
        self._forgetting.check(model.free)
        return setting_of(model, self._weighting, self._forgetting)

    def _absorbed(self, setting: Setting, batch: Batch) -> tuple[State, str]:
        """Return what is known with a batch, taken in by parts, and what is strange about it."""
        state, before = self._state, self._state.rows + self._state.dropped
        changes = []
        for first in range(0, len(batch.weights), STRIDE):
            some = slice(first, first + STRIDE)
            columns = tuple(column[some] for column in batch.columns)
            try:
                state, change = absorbed(setting, state, columns, batch.weights[some])
            except OutsideError as error:
                raise DataError(
                    "the formula or its gradient has no finite value on"
                    f" {batch.called(first + error.row, before)} at the estimates of the rows"
                    " before it; correct the row, bound the parameters, or leave the row out"
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
            f" {'old rows are being forgotten' if setting.forgetting.factor < 1 else cure}"
        )

    def _searched(self, setting: Setting, state: State) -> State:
        """Look for starting values, or for better ones, when it is their turn."""
        model = setting.model
        if setting.quadratic or state.past or state.kept < max(state.turn, len(model.free) + 1):
            return state
        starts = (model.parameters[name] for name in model.free)
        if state.theta is not None and not any(p.origin.startswith("default") for p in starts):
            return state._replace(turn=math.inf)  # they are the user's to choose
        columns, weights = state.rows_kept()
        found = self._fit(setting, columns, weights)
        hopeless = state.kept >= HOPELESS
        if found is None or not (hopeless or state.theta is not None or _is_sure(found)):
            factor = AGAIN if state.theta is None else BETTER
            return state._replace(turn=factor * state.kept)
        later = state._replace(turn=BETTER * state.kept)
        theta = np.array([found.estimates[name].value for name in model.free])
        other = walked(setting, later._replace(theta=theta, start=theta))
        if other is None or other.whole is None:
            return later
        if state.whole is not None:
            here, there = state.whole.quadratic.loss, other.whole.quadratic.loss
            if not there < here - SAME * abs(here):
                return later
        return other

    def _fit(
        self, setting: Setting, columns: tuple[np.ndarray, ...], weights: np.ndarray
    ) -> Result | None:
        data = dict(zip(setting.model.columns, columns, strict=True))
        name = "weight_of_row"
        while name in setting.model.formula.names or name in data:
            name += "_"
        uneven = bool((weights != weights[0]).any())
        hopeless = len(weights) >= HOPELESS
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = entry.fit(
                    setting.model.formula,
                    {**data, name: weights} if uneven else data,
                    loss=setting.model.loss,
                    weights=name if uneven else None,
                    seed=self._seed,
                    **self._parameters,  # type: ignore[arg-type]
                )
        except DataError:
            if hopeless:
                raise
            return None
        if hopeless and not found.status.ok:
            raise DataError(
                f"the first {len(weights):,} rows lead to no fit: {found.status.cause}; "
                f"{found.status.cure or 'give starting values or bounds'}"
            )
        return found if found.status.ok else None

    def _state_now(self, state: State) -> tuple[int, float, np.ndarray, np.ndarray]:
        assert state.theta is not None  # the caller has looked
        assert state.whole is not None
        q = state.whole.quadratic
        return self._updates, q.loss / state.weight, state.theta, q.gradient / state.weight

    def _remember(self, now: tuple[int, float, np.ndarray, np.ndarray]) -> None:
        """Take down every state, from some number on every second, then every fourth and so on."""
        if now[0] % self._every:
            return
        self._past_states.append(now)
        if len(self._past_states) > MOST_STATES:
            self._every *= 2
            self._past_states = [s for s in self._past_states if s[0] % self._every == 0]

    def _trace(self, names: Sequence[str], state: State) -> Trace:
        states = [s for s in self._past_states if s[0] < self._updates] + [self._state_now(state)]
        k, p = len(states), len(names)
        return Trace(
            names=tuple(names),
            step=np.array([s[0] for s in states], dtype=np.int64),
            epoch=np.zeros(k, dtype=np.int64),
            learning_rate=np.full(k, np.nan),
            loss=np.array([s[1] for s in states]),
            parameters=np.array([s[2] for s in states]).reshape(k, p),
            gradient=np.array([s[3] for s in states]).reshape(k, p),
        )

    def _composed(self, setting: Setting, now: Update) -> Result:
        """Return the `Result` of all rows so far."""
        state, model, weighting = now._state, setting.model, self._weighting
        assert state.theta is not None  # the caller has looked
        assert state.whole is not None
        sure, merit = now._certainty, _merit(setting, state, weighting)
        forgets, squares = self._forgetting.text, state.whole.quadratic.loss
        found = (self._change,) if self._change else ()
        return Result(
            **asdict(merit),
            formula=str(model.formula),
            free=model.free,
            loss_name=model.loss.name,
            optimizer=f"{OPTIMIZER}(forgetting={forgets})" if forgets else OPTIMIZER,
            learning_rate="",
            batch_size=None,
            seed=self._seed,
            kernel=setting.kernel.form,
            dtype="float64",
            steps=self._updates,
            epochs=0,
            seconds=self._seconds,
            trace=self._trace(model.free, state),
            diagnosis=None,
            data_label=self._label,
            weights=weighting.text,
            sigma=weighting.sigma,
            absolute_sigma=weighting.absolute,
            estimates=_with_origins(setting, state, estimates(model, state.theta, sure)),
            covariance=sure.covariance,
            correlation=correlations(sure.covariance),
            covariance_method=sure.method,
            loss=squares / state.weight,
            residual_sum_of_squares=squares if setting.squared else state.whole.squares,
            rows=state.rows,
            rows_dropped=state.dropped,
            rows_visited=state.visited,
            status=_status(now._doubt),
            distance=now._distance,
            warnings=(*found, *_warnings(model, weighting, now._doubt, sure, merit)),
            noise_variance=1.0 if weighting.absolute else merit.reduced_chi_square,
            undetermined=sure.undetermined,
            determined=sure.determined,
        )


def _is_sure(found: Result) -> bool:
    """Whether rows determine every parameter, and leave something to tell the noise by."""
    known = found.covariance is not None and not found.undetermined
    return known and found.status.name in ("converged", "local_minimum")


def _status(open_part: float) -> Status:
    if open_part > FAR:
        cause = "the estimates moved to where what is kept of the rows does not tell the optimum"
        return status_of("stalled", cause=cause, cure=CURE)
    kept = "the estimates are the best that what is kept of the rows tells"
    best = "the estimates are the best for all rows so far"
    return status_of("converged", cause=kept if open_part > TOLD else best)


def _warnings(
    model: Model, weighting: Weighting, open_part: float, sure: Uncertainty, merit: Goodness
) -> tuple[str, ...]:
    """Return what the user should know of all rows together."""
    moved: tuple[str, ...] = ()
    if open_part > TOLD:
        moved = (
            "the estimates moved far from where earlier rows were last seen, and may be"
            f" {open_part:.2g} standard errors from those of a fit of all rows at once; {CURE}",
        )
    open_ones = undetermined_warning(sure.undetermined, stepped_names(model.prediction))
    told = surprise(weighting, merit.reduced_chi_square, merit.degrees_of_freedom)
    return (*moved, *open_ones, *told)


def _with_origins(
    setting: Setting, state: State, table: dict[str, Estimate]
) -> dict[str, Estimate]:
    """Say where parameters began whose start nobody gave."""
    theta = state.theta if state.start is None else state.start
    assert theta is not None  # the caller has looked
    starts = dict(zip(setting.model.free, theta.tolist(), strict=True))
    origin = "solved" if setting.quadratic else "search"
    return {
        name: replace(estimate, start=starts[name], start_origin=origin)
        if estimate.role == "free" and estimate.start_origin.startswith("default")
        else estimate
        for name, estimate in table.items()
    }


def _merit(setting: Setting, state: State, weighting: Weighting) -> Goodness:
    assert state.whole is not None  # the caller has looked
    free, squares, total = len(setting.model.free), state.whole.quadratic.loss, state.variation
    if setting.model.loss.name != SQUARED:
        return Goodness(round(state.mass - free), None, None, None, None, None)
    if setting.forgetting.factor == 1:
        return goodness(squares, total, state.used, free, state.logs, weighting.absolute)
    left = state.mass - fitted(setting, state.whole)
    share = 1 - squares / total if total > 0 else None
    return Goodness(round(left), squares / left if left > 0 else None, share, None, None, None)
