"""`Fit`: estimates that stay current as rows arrive."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from sgdfit.choice import whole
from sgdfit.data.missing import check_policy
from sgdfit.data.readers import open_table
from sgdfit.errors import DataError, UsageError
from sgdfit.fits.assessment import SQUARED, estimates
from sgdfit.fits.kinks import has_kink
from sgdfit.fits.trust_region import Box
from sgdfit.fits.weighting import SANDWICH, Weighting, as_weighting
from sgdfit.kernels.kernel import Rows, make
from sgdfit.language.formula import Formula, as_formula
from sgdfit.models.loss import Loss, as_loss
from sgdfit.models.model import Model, build
from sgdfit.models.parameters import Assignments, Bounds
from sgdfit.optimization.optimizer import sgd
from sgdfit.results.result import Result
from sgdfit.results.rounding import plus_minus
from sgdfit.streams.alarm import Watch, watched
from sgdfit.streams.batches import Batch, arrived
from sgdfit.streams.beginning import begun
from sgdfit.streams.buffer import Buffer
from sgdfit.streams.forgetting import as_forgetting
from sgdfit.streams.history import History
from sgdfit.streams.known import (
    Journey,
    certainty,
    composed,
    distance_of,
    has_estimates,
    is_determined,
)
from sgdfit.streams.recursion import Memory, Recursion, absorbed, looked, polished
from sgdfit.streams.tally import Tally

__all__ = ["Fit", "Update"]

# Rows of one step of the recursion.
STRIDE = 8_192
# Starting values are looked for when so many times the rows have come than were last looked at:
# at first until they are found, then in case more rows tell of a better minimum.
AGAIN, BETTER = 1.5, 4.0
OPTIMIZER = "recursive"


class Update:
    """What is known after an update.

    Attributes
    ----------
    estimates : dict of str to float
        Every parameter, in its own units; empty while the rows do not determine them.
    rows, dropped : int
        Rows that were used so far, and rows left out for a missing value.
    effective_rows : float
        What forgetting has left of the rows used: Σ factor^age, at most 1/(1 − factor).
    loss : float or None
        The (weighted) mean over the rows, at the estimates.
    status : str
        ``"waiting"`` (for rows that determine the parameters), ``"current"``, or ``"changed"``:
        these rows are farther from the curve that fitted those before than noise explains.
    distance : float or None
        From the optimum of what is known, in standard errors.
    warnings : tuple of str
        What the user should know of this batch.
    """

    def __init__(
        self,
        fixed: Recursion,
        memory: Memory,
        weighting: Weighting,
        warnings: tuple[str, ...],
    ) -> None:
        tally = memory.tally
        self._known = (fixed, memory, weighting)
        self.estimates: dict[str, float] = {}
        self.loss: float | None = None
        self.distance: float | None = None
        self.rows, self.dropped, self.effective_rows = tally.rows, tally.dropped, tally.mass
        self.warnings = warnings
        if is_determined(fixed, memory):
            assert memory.whole is not None
            assert memory.theta is not None
            self.estimates = fixed.model.values(memory.theta.tolist())
            self.loss = memory.whole.quadratic.loss / tally.weight
            self.distance = distance_of(fixed, memory)
        self.status = "changed" if warnings else "current" if self.estimates else "waiting"

    @cached_property
    def errors(self) -> dict[str, float | None]:
        """The standard error of every parameter; None where it is fixed or not known.

        They are worked out when they are asked for.
        """
        fixed, memory, weighting = self._known
        if not self.estimates or memory.theta is None:
            return {}
        table = estimates(fixed.model, memory.theta, certainty(fixed, memory, weighting))
        return {name: estimate.stderr for name, estimate in table.items()}

    def __repr__(self) -> str:
        values = ", ".join(
            f"{name} = {plus_minus(value, self.errors[name])}"
            for name, value in self.estimates.items()
        )
        return f"Update({self.rows:,} rows: {self.status}{', ' if values else ''}{values})"


class Fit:
    """A fit that goes on: give it rows as they come, and ask it at any time what they tell.

    Where parameters enter linearly, have no bounds and the loss is ``mse``, this is recursive least
    squares: the estimates are those of a fit of all rows so far to rounding, in whatever batches
    they came. Otherwise the newest 16,384 rows are kept, and those before them by a quadratic of
    their loss, which a sample of 4,096 of them corrects where the estimates leave it; what that
    costs is a small share of a standard error. Memory does not grow with the rows.

    Parameters
    ----------
    formula, response, loss, start, bounds, fixed, tied, weights, sigma, absolute_sigma
        See `sgdfit.fit`. A loss made of straight pieces, such as ``mae``, has no curvature to
        remember rows by and is refused. Which names are columns, the first batch decides.
    covariance : str
        ``"auto"``, ``"classical"`` or ``"sandwich"``, as in `sgdfit.fit`.
    missing : "error" or "drop"
        What to do with rows that hold NaN, infinity or nothing.
    forgetting : float or str, optional
        A factor a row in (0, 1]: a row that n others followed has the weight factorⁿ, so that about
        1/(1 − factor) rows have a say (Ljung & Söderström 1983, Theory and Practice of Recursive
        Identification, section 2.6; Haykin, Adaptive Filter Theory, on the RLS algorithm). Or a
        half-life in rows: ``"half_life=1000"``. None: no row is forgotten.
    seed : int
        Of searches for starting values, and of the sample.

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
        self._fixed: Recursion | None = None
        self._memory: Memory | None = None
        self._history = History()
        self._next = 0.0
        self._updates, self._seconds, self._label = 0, 0.0, ""
        self._change = ""

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
        fixed = self._fixed or self._settled(table.names)
        batch = arrived(table, fixed.model, self._weighting, self._missing)
        memory = self._memory or Memory(Tally(), Buffer.empty(len(fixed.model.columns)))
        tally, first = memory.tally, _read(memory)
        turn, watches = self._next, []
        for begin in range(0, len(batch.weights), STRIDE):
            some = batch.slice(begin, begin + STRIDE)
            memory, turn, watch = self._step(fixed, memory, some, turn)
            watches.append(watch)
        memory = memory._replace(
            tally=memory.tally._replace(
                rows=tally.rows + batch.rows, dropped=tally.dropped + batch.dropped
            )
        )
        warnings = _changes(watches, first, first + len(batch.weights), fixed)
        self._commit(fixed, memory, turn, table.label)
        self._change = warnings[-1] if warnings else self._change
        told = Update(fixed, memory, self._weighting, warnings)
        self._seconds += time.perf_counter() - begun
        return told

    def __repr__(self) -> str:
        """Return the formula and the estimates so far."""
        fixed, memory = self._fixed, self._memory
        if fixed is None or memory is None or not has_estimates(fixed, memory):
            rows = 0 if memory is None else memory.tally.rows
            return f"Fit({self._formula}: {rows:,} rows, which do not determine it yet)"
        return f"Fit({self.result()!r})"

    def result(self) -> Result:
        """Return all that is known now as the result of a fit.

        Raises
        ------
        DataError
            When the rows so far do not determine the parameters.
        """
        fixed, memory = self._fixed, self._memory
        if fixed is None or memory is None or not has_estimates(fixed, memory):
            rows = 0 if memory is None else memory.tally.rows
            names = "the parameters" if fixed is None else ", ".join(fixed.model.free)
            raise DataError(
                f"{rows:,} row(s) do not determine {names}; update the fit with more of them, or"
                " fix some of the parameters"
            )
        memory = polished(fixed, memory)
        assert memory.whole is not None  # known
        assert memory.theta is not None
        q = memory.whole.quadratic
        weight = memory.tally.weight
        last = (self._updates, q.loss / weight, memory.theta, q.gradient / weight)
        forgets = self._forgetting.text
        journey = Journey(
            optimizer=f"{OPTIMIZER}(forgetting={forgets})" if forgets else OPTIMIZER,
            seed=self._seed,
            trace=self._history.trace(fixed.model.free, last),
            seconds=self._seconds,
            updates=self._updates,
            data_label=self._label,
            warnings=(self._change,) if self._change else (),
        )
        return composed(fixed, memory, self._weighting, journey, self._weighting.text)

    def _settled(self, names: tuple[str, ...]) -> Recursion:
        """Return what follows from the formula and the columns of the first batch."""
        given: dict[str, Any] = {**self._parameters}
        given["start"] = None if self._searches else given["start"]
        model: Model = build(self._formula, names, loss=self._loss, seed=self._seed, **given)
        low, high = (
            np.array([getattr(model.parameters[name], side) for name in model.free])
            for side in ("low", "high")
        )
        squared = model.loss.name == SQUARED
        robust = not squared or self._weighting.covariance == SANDWICH
        return Recursion(
            model=model,
            kernel=make(model, sgd(), "numpy"),
            box=Box(low, high, np.zeros(len(low), dtype=bool)),
            forgetting=self._forgetting,
            squared=squared,
            quadratic=squared and model.is_linear and not robust,
            robust=robust,
            seed=self._seed,
        )

    @property
    def _searches(self) -> bool:
        return self._parameters["start"] == "search"

    def _step(
        self, fixed: Recursion, memory: Memory, batch: Batch, turn: float
    ) -> tuple[Memory, float, Watch | None]:
        """Take in some rows; look for starting values when it is their turn."""
        rows = looked(fixed, memory, batch)
        if memory.theta is not None:
            _check_domain(rows, _read(memory))
        watch = watched(fixed, memory, rows, batch.weights)
        found = absorbed(fixed, memory, batch, rows)
        if found is None:
            raise _domain(_read(memory))
        if watch is not None and not watch.strange:
            found = found._replace(tally=found.tally.with_losses(watch.weight, watch.squares))
        p = len(fixed.model.free)
        if fixed.quadratic or found.past is not None or found.kept.filled < max(turn, p + 1):
            return found, turn, watch
        if found.theta is not None and not _may_search(fixed):
            return found, np.inf, watch
        started = begun(fixed, found, {**self._parameters, "seed": self._seed})
        turn = found.kept.filled * (AGAIN if started.theta is None else BETTER)
        return started, turn, watch

    def _commit(self, fixed: Recursion, memory: Memory, turn: float, label: str) -> None:
        """Make what an update found the state: before this line nothing has changed."""
        self._fixed, self._memory, self._next = fixed, memory, turn
        self._updates += 1
        self._label = label if self._label in ("", label) else "several sources"
        if has_estimates(fixed, memory):
            assert memory.whole is not None
            assert memory.theta is not None
            q, weight = memory.whole.quadratic, memory.tally.weight
            self._history.record(self._updates, q.loss / weight, memory.theta, q.gradient / weight)


def _read(memory: Memory) -> int:
    """Return how many rows have been read, those included that had no say."""
    return memory.tally.rows + memory.tally.dropped


def _may_search(fixed: Recursion) -> bool:
    """Whether starts are the library's to choose."""
    starts = (fixed.model.parameters[name] for name in fixed.model.free)
    return any(parameter.origin.startswith("default") for parameter in starts)


def _check_domain(rows: Rows, before: int) -> None:
    """Refuse rows on which the formula has no finite value, so that nothing is learned from them.

    Raises
    ------
    DataError
        With the row named.
    """
    bad = ~(np.isfinite(rows.loss) & np.isfinite(rows.jacobian).all(axis=0))
    if bad.any():
        raise _domain(before + int(np.argmax(bad)))


def _domain(row: int) -> DataError:
    return DataError(
        f"the formula or its gradient has no finite value on row {row + 1:,}, counted from the"
        " first of all, at the estimates of the rows before it; correct the row, bound the"
        " parameters, or leave the row out"
    )


def _changes(
    watches: list[Watch | None], first: int, last: int, fixed: Recursion
) -> tuple[str, ...]:
    """Say that rows are not like those before them."""
    strange = [watch for watch in watches if watch is not None and watch.strange]
    if not strange:
        return ()
    worst = max(strange, key=lambda watch: watch.mean / watch.usual)
    rows = f"row {last:,} is" if last - first == 1 else f"rows {first + 1:,} to {last:,} are"
    cure = (
        "old rows are being forgotten"
        if fixed.forgetting.factor < 1
        else "if the process has changed, begin a new fit, or give a forgetting factor"
    )
    return (
        f"{rows} farther from the curve than noise explains: a mean loss of {worst.mean:.3g}"
        f" where {worst.usual:.3g} is usual; look for outliers; {cure}",
    )
