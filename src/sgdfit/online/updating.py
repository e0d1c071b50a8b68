"""`Fit`: estimates that stay current as rows arrive."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from sgdfit.choice import whole
from sgdfit.data.missing import check_policy
from sgdfit.data.readers import open_table
from sgdfit.errors import DataError, UsageError
from sgdfit.fitting.nonsmooth import has_kink
from sgdfit.fitting.weights import as_weighting
from sgdfit.formula.formula import Formula, as_formula
from sgdfit.model.loss import Loss, as_loss
from sgdfit.model.model import Model, build
from sgdfit.model.parameters import Assignments, Bounds
from sgdfit.online.alarm import warning_of
from sgdfit.online.batches import Batch, arrived, plain
from sgdfit.online.beginning import searched
from sgdfit.online.buffer import Buffer
from sgdfit.online.forgetting import as_forgetting
from sgdfit.online.history import History
from sgdfit.online.intake import taken
from sgdfit.online.known import Journey, composed, has_estimates
from sgdfit.online.memory import Memory, Recursion, recursion_of
from sgdfit.online.pending import TOGETHER, Pending
from sgdfit.online.recursion import polished
from sgdfit.online.tally import Tally
from sgdfit.online.update import Update
from sgdfit.result.result import Result

__all__ = ["Fit", "Update"]

# Rows of one step of the recursion.
STRIDE = 8_192
OPTIMIZER = "recursive"


class Reading(NamedTuple):
    """How a batch was read.

    Attributes
    ----------
    label : str
        How messages name it.
    names : tuple of str
        Of its columns, where it was a plain dict that another may be like; else empty.
    """

    label: str
    names: tuple[str, ...]


class Fit:
    """A fit that goes on: give it rows as they come, and ask it at any time what they tell.

    Where parameters enter linearly, have no bounds and the loss is ``mse``, this is recursive least
    squares: the estimates are those of a fit of all rows so far to rounding, in whatever batches
    they came. Otherwise the newest 16,384 rows are kept, and those before them by a quadratic of
    their loss, which a sample of 16,384 of them corrects where the estimates leave it; what that
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
        self._pending: Pending | None = None
        self._reading = Reading("", ())
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
        fixed, batch, reading = self._read(data)
        told = self._held(fixed, batch) or self._joined(fixed, batch)
        self._reading = reading
        self._label = reading.label if self._label in ("", reading.label) else "several sources"
        self._seconds += time.perf_counter() - begun
        return told

    def __repr__(self) -> str:
        """Return the formula and the estimates so far."""
        fixed, memory = self._fixed, self._now
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
        fixed, memory = self._fixed, self._now
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
        change = (self._pending and self._pending.last_warning()) or self._change
        journey = Journey(
            optimizer=f"{OPTIMIZER}(forgetting={forgets})" if forgets else OPTIMIZER,
            seed=self._seed,
            trace=self._history.trace(fixed.model.free, last),
            seconds=self._seconds,
            updates=self._updates,
            data_label=self._label,
            warnings=(change,) if change else (),
        )
        return composed(fixed, memory, self._weighting, journey, self._weighting.text)

    def _settled(self, names: tuple[str, ...]) -> Recursion:
        """Return what follows from the formula and the columns of the first batch."""
        given: dict[str, Any] = {**self._parameters}
        given["start"] = None if self._searches else given["start"]
        model: Model = build(self._formula, names, loss=self._loss, seed=self._seed, **given)
        self._forgetting.check(model.free)
        return recursion_of(model, self._weighting, self._forgetting, self._seed)

    @property
    def _searches(self) -> bool:
        return self._parameters["start"] == "search"

    def _read(self, data: object) -> tuple[Recursion, Batch, Reading]:
        """Return the rows of a batch, and how they were read."""
        fixed, before = self._fixed, self._rows_read
        if fixed is not None and self._reading.names:
            found = plain(data, self._reading.names, fixed.model.columns)
            if found is not None:
                return fixed, found._replace(before=before), self._reading
        table = open_table(data)
        fixed = fixed or self._settled(table.names)
        batch = arrived(table, fixed.model, self._weighting, self._missing)
        simple = type(data) is dict and tuple(data) == table.names and not self._weighting.given
        reading = Reading(table.label, table.names if simple else ())
        return fixed, batch._replace(before=before), reading

    @property
    def _rows_read(self) -> int:
        """How many rows have been read, those included that had no say."""
        known = self._memory if self._pending is None else self._pending
        return 0 if known is None else known.read

    @property
    def _now(self) -> Memory | None:
        """What is known with the rows that wait."""
        pending = self._pending
        return self._memory if pending is None else pending.known(len(pending.batches))

    def _held(self, fixed: Recursion, batch: Batch) -> Update | None:
        """Let few rows wait for others; None where they are to be taken in at once."""
        if self._memory is None or len(batch.weights) > TOGETHER:
            return None
        if self._pending is None or not self._pending.hold(batch):
            memory = self._take_in()
            assert memory is not None  # there was one above
            fresh = Pending(fixed, memory, self._next)
            if not fresh.hold(batch):
                return None
            self._pending = fresh
        self._updates += 1
        return self._pending.update(self._weighting)

    def _take_in(self) -> Memory | None:
        """Make what waits part of what is known, and return that."""
        pending, self._pending = self._pending, None
        if pending is not None and pending.batches:
            self._change = pending.last_warning() or self._change
            self._commit(pending.fixed, pending.known(len(pending.batches)), self._next)
        return self._memory

    def _joined(self, fixed: Recursion, batch: Batch) -> Update:
        """Take in a batch at once, in parts that are not too long."""
        memory = self._take_in() or Memory(Tally(), Buffer.empty(len(fixed.model.columns)))
        options = {**self._parameters, "seed": self._seed}
        turn, strange = self._next, []
        for begin in range(0, len(batch.weights), STRIDE):
            some = batch.slice(begin, begin + STRIDE)
            memory, watch = taken(fixed, memory, some, [len(some.weights)])
            memory, turn = searched(fixed, memory, turn, options)
            if watch is not None and watch.strange[0]:
                strange.append((float(watch.means[0]), watch.usual))
        memory = memory.with_counts(batch)
        worst = max(strange, key=lambda found: found[0] / found[1], default=None)
        warnings = () if worst is None else (warning_of(*worst, batch, fixed),)
        self._change = warnings[-1] if warnings else self._change
        self._updates += 1
        self._commit(fixed, memory, turn)
        counts = memory.tally.rows, memory.tally.dropped
        return Update(fixed, self._weighting, counts, lambda: memory, lambda: warnings)

    def _commit(self, fixed: Recursion, memory: Memory, turn: float) -> None:
        """Make what an update found the state: before this line nothing has changed."""
        self._fixed, self._memory, self._next = fixed, memory, turn
        if has_estimates(fixed, memory):
            assert memory.whole is not None
            assert memory.theta is not None
            q, weight = memory.whole.quadratic, memory.tally.weight
            self._history.record(self._updates, q.loss / weight, memory.theta, q.gradient / weight)
