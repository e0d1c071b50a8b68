"""One live view: a formula over data, and a descent that is watched and steered.

A `Session` knows of no browser. It takes messages, dicts whose ``type`` says what is wanted, and
answers by messages with arrays beside them. One thread of its own does all work, so that whoever
hands it messages never waits. Steps are those of
`sgdfit.fitting.sgd`, and of `sgdfit.fit` where it decides by itself: a run seen here is the run
that `sgdfit.page.export` writes down, to the last bit.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from sgdfit.choice import whole
from sgdfit.data.readers import open_table
from sgdfit.data.rows import timed
from sgdfit.data.table import Table
from sgdfit.data.times import TimeScales, said_of_columns
from sgdfit.errors import SgdfitError, UsageError
from sgdfit.fitting.callbacks import Progress
from sgdfit.fitting.entry import fit, levels_of
from sgdfit.fitting.options import Options, as_resources, settle
from sgdfit.fitting.problem import kernel_of, prepare
from sgdfit.fitting.sgd import DescentRun, diagnose_at
from sgdfit.fitting.weights import Weighting
from sgdfit.formula.formula import symbol, to_text
from sgdfit.formula.reading import as_formula
from sgdfit.inference.diagnosis import Diagnosis
from sgdfit.kernel.forms import choose_form
from sgdfit.kernel.summation import Sums
from sgdfit.model.model import build
from sgdfit.page import drawing, words
from sgdfit.page.legs import Leg, Rival, Settings, Way, advance, exported
from sgdfit.page.samples import FIRST, SAMPLES, sample_of
from sgdfit.page.uploads import first_formula, kept_rows, number, numbers, uploaded
from sgdfit.page.view import ROOM, Emit, View, finite, rounded_range, usual_range
from sgdfit.result.result import Result

Array = np.ndarray[Any, Any]

FRAMES_A_SECOND = 30
# Between contours of a run, and of one piece of them.
SECONDS_OF_CONTOURS, SECONDS_OF_A_PIECE = 0.5, 0.005
# A run is watched until it is paused: more steps than anyone waits for.
ENDLESS = 10**9
# Steps that Back remembers.
REMEMBERED = 1_000
LONGEST_FORMULA = 2_000
# Points of the loss curve and of the path that are drawn.
MOST_DRAWN = 2_000
MOST_SPEED = 10_000
ONE_DRAG = 1.0  # seconds between two moves of the same parameters
MOST_OF_LEVELS = 12  # parameters, where some have a value for each level
# Of no more rows is the answer looked for before anyone asks.
MOST_FITTED, LONGEST_SEARCH = 200_000, 2.0  # rows, seconds
# From so many rows on a pass of NumPy's takes longer than a frame, and compiling a second.
COMPILED_FROM = 500_000
# Three columns of ten million rows are kept in memory, or each frame would read the file.
HELD = as_resources(memory="1.3GB")
# So near an end, of its own width, sliders grow.
EDGE = 0.05


class Moment(NamedTuple):
    """What Back goes back to."""

    theta: Array
    step: int
    legs: tuple[Leg, ...]


class Session(View):
    """A formula over data, parameters that are dragged or stepped, and what is drawn of them.

    Parameters
    ----------
    emit : callable
        Called with each message and the arrays beside it, from the session's own thread.
    data : anything that `sgdfit.fit` takes, optional
        By default the tutorial's noisy quadratic.
    formula : str, optional
    """

    def __init__(self, emit: Emit, data: object = None, formula: str | None = None) -> None:
        super().__init__(emit)
        self.legs: list[Leg] = []
        self.history: deque[Moment] = deque(maxlen=REMEMBERED)
        self.run: DescentRun | None = None
        self.running, self.step = False, 0
        self.rival: Rival | None = None
        self.wanted = threading.Condition()
        self.queue: deque[dict[str, Any]] = deque()
        self.closed = False
        self.moved: tuple[tuple[Any, ...], float] | None = None  # by hand: what, and when
        self.pulled: list[str] = []  # with the curve
        self.stopping = threading.Event()
        self.drawn_at = self.contours_at = 0.0
        self.contours: Iterator[None] | None = None  # as far as they are computed
        self.contours_due = False
        self._open(data, formula)
        self.worker = threading.Thread(target=self._work, name="sgdfit-page", daemon=True)
        self.worker.start()

    def handle(self, message: Mapping[str, Any]) -> None:
        """Take a message; of several that set the same thing only the last counts."""
        with self.wanted:
            kind = message.get("type")
            for k in range(len(self.queue) - 1, -1, -1):
                last = self.queue[k]
                if last.get("type") != kind or kind not in (
                    "set",
                    "pull",
                    "options",
                    "slice",
                    "range",
                ):
                    break
                if last.get("name") == message.get("name"):
                    self.queue[k] = {**last, **message}
                    return
            self.queue.append(dict(message))
            if kind in ("pause", "reset", "formula", "data"):
                self.stopping.set()
            self.wanted.notify()

    def close(self) -> None:
        """End the session; its thread ends with the step that it takes."""
        with self.wanted:
            self.closed = True
            self.stopping.set()
            self.wanted.notify()
        if threading.current_thread() is not self.worker:
            self.worker.join(timeout=5)

    def _work(self) -> None:
        """Obey messages, one after another; in between step, and compute contours."""
        np.seterr(all="ignore")  # of this thread: what is not finite is told in words
        while True:
            with self.wanted:
                while not (self.queue or self.running or self.closed or self._has_contours):
                    self.wanted.wait()
                if self.closed:
                    return
                message = self.queue.popleft() if self.queue else None
            try:
                if message is not None:
                    self._obey(message)
                elif self.running:
                    self._advance(self.settings.speed)
                    self._pace()
                else:
                    self._compute_contours()
            except Exception as error:  # the view goes on whatever a message leads to
                self.running = False
                if not isinstance(error, SgdfitError):
                    traceback.print_exc()
                self._tell_error(message or {"type": "step"}, error)

    def _pace(self) -> None:
        """Draw what a step led to, at most so many times a second."""
        planned = self.drawn_at + 1 / FRAMES_A_SECOND
        self.contours_due |= self._is_sliced and time.perf_counter() >= self.contours_at
        while self._has_contours and not self.queue:
            self._compute_contours()
            if time.perf_counter() > planned - SECONDS_OF_A_PIECE:
                break
        left = planned - time.perf_counter()
        if left > 0:
            # A message ends the wait.
            with self.wanted:
                if not self.queue and not self.closed:
                    self.wanted.wait(left)
        begun = time.perf_counter()
        self._draw(landscape=not self.running)
        # What a frame is late is not added to all that follow.
        self.drawn_at = max(planned, begun - 1 / FRAMES_A_SECOND)

    def _compute_contours(self) -> None:
        """Compute a piece of the contours: they take the time that frames leave."""
        if self.contours is None:
            self._find_best()
            self.contours, self.contours_due = self._landscape(), False
        if next(self.contours, True):
            self.contours = None
            self.contours_at = time.perf_counter() + SECONDS_OF_CONTOURS

    @property
    def _has_contours(self) -> bool:
        """Whether there are contours to compute."""
        return self.contours_due or self.contours is not None

    @property
    def _is_sliced(self) -> bool:
        """Whether steps move parameters that the contours hold."""
        return self.slice is not None and len(self.model.free) > len(self.slice)

    def _obey(self, message: Mapping[str, Any]) -> None:
        """Do what a message says."""
        kind = str(message.get("type"))
        known: dict[Any, Callable[..., None]] = {
            "hello": self._hello,
            "formula": self._set_formula,
            "where": self._set_where,
            "data": self._set_data,
            "set": self._set,
            "pull": self._pull,
            "lock": self._lock,
            "range": self._set_range,
            "options": self._set_options,
            "step": self._one_step,
            "run": self._run,
            "pause": self._pause,
            "back": self._back,
            "reset": self._reset,
            "fit": self._fit,
            "slice": self._slice,
            "work": self._show_work,
            "compare": self._compare,
            "export": self._export,
        }
        if kind not in known:
            raise UsageError(f"there is no message {kind!r}; there are {', '.join(known)}")
        known[kind](message)

    # What is fitted.

    def _open(
        self, data: object, formula: str | None, start: Mapping[str, float] | None = None
    ) -> None:
        """Begin with data and a formula."""
        self.sample = FIRST if data is None else None
        if data is None:
            sample = SAMPLES[FIRST]
            data, formula = sample.columns(), formula or sample.formula
            start = sample.start if start is None and formula == sample.formula else start
        self.source = open_table(data)
        table = timed(self.source, TimeScales())
        self._build(table, first_formula(table.names) if formula is None else formula, start or {})

    def _build(
        self,
        table: Table,
        formula: str,
        values: Mapping[str, float],
        locked: Collection[str] = (),
    ) -> None:
        """Take a formula over data; nothing changes where either cannot be used."""
        if len(formula) > LONGEST_FORMULA:
            raise UsageError(
                f"the formula has {len(formula):,} characters, of which at most"
                f" {LONGEST_FORMULA:,} are taken"
            )
        read, levels, coded = as_formula(formula), None, table
        if read.subscripts:
            weighing = dict.fromkeys(("weights", "sigma"))
            coded, levels = levels_of(read, timed(table, TimeScales()), weighing, "drop")
        known = build(read, table.names, constant=False, levels=levels).parameters
        if levels and len(known) > MOST_OF_LEVELS:
            raise UsageError(
                f"'{formula}' has {len(known)} parameters, of which the view shows at most"
                f" {MOST_OF_LEVELS} where some have a value for each level; give sgdfit.fit the"
                " formula, or write fewer of them with brackets"
            )
        given = {n: float(v) for n, v in values.items() if n in known and math.isfinite(v)}
        fixed = {n: given.pop(n) for n in locked if n in given}
        model = build(read, table.names, start=given, fixed=fixed, constant=False, levels=levels)
        problem = prepare(model, coded, Weighting(None), "drop", HELD, Options(kernel="numpy"))
        if problem.rows >= COMPILED_FROM:  # a pass takes an eighth of the time
            form = choose_form("auto", ENDLESS, problem.rows, "float64")
            kernel = kernel_of(model, problem.data, Options(kernel=form))
            problem = problem._replace(kernel=kernel)
        self.table, self.problem, self.formula, self.where = table, problem, formula, table.where
        self.locked = set(fixed)
        self.theta = np.array(model.start)
        self.columns = [to_text(symbol(name)) for name in table.names]
        self.units, self.invitation = said_of_columns(table.scales), words.invitation(model.free)
        self.points = drawing.points_of(problem)
        self.best, self.sought, self.running = None, False, False
        self.unfit, self.shown = "", {}  # why there is no fit, wherever parameters are
        free = model.free
        if self.slice is None or not set(self.slice) <= set(free):
            self.slice = (free[0], free[1]) if len(free) > 1 else None
        self._restart()

    def _restart(self) -> None:
        """Forget the way so far."""
        self.legs, self.run, self.step, self.ended = [], None, 0, ""
        self.contours, self.contours_due = None, False
        self.trace, self.seen = drawing.Trace(MOST_DRAWN), drawing.Trace(MOST_DRAWN)
        self.history.clear()
        self.initial = self.values
        self.ranges = {name: usual_range(value) for name, value in self.values.items()} | {
            name: extent for name, extent in self.ranges.items() if name in self.values
        }

    # The descent.

    def _options(self) -> Options:
        """Return the options of the descent, checked."""
        chosen = self.settings
        batch = chosen.batch
        if batch is not None and batch >= self.problem.rows:
            batch = None
        return settle(
            Options()._asdict()
            | {
                "optimizer": chosen.optimizer,
                "learning_rate": chosen.rate,
                "batch_size": batch,
                "seed": chosen.seed,
                "steps": ENDLESS,
                "trace_every": 1,
                "kernel": self.problem.kernel.form,
                "announce": lambda _: None,
            }
        )

    def _leg(self) -> DescentRun:
        """Return the descent, begun anew from where the parameters are if it has to be."""
        if self.run is None:
            self.run = self._begun(self._options())
            start = dict(zip(self.model.free, self.theta.tolist(), strict=True))
            if self.legs and not (self.legs[-1].steps or self.legs[-1].by_auto):
                self.legs.pop()  # moved again before a step
            self.legs.append(Leg(start, self.settings, float(self.run.schedule(0)), 0))
            self._begin_rival()
        return self.run

    def _begun(self, options: Options) -> DescentRun:
        """Return a descent from where the parameters are."""
        model = self.model
        parameters = {
            name: replace(model.parameters[name], start=float(value), origin="given")
            for name, value in zip(model.free, self.theta, strict=True)
        }
        model = replace(model, parameters=model.parameters | parameters)
        kernel = kernel_of(model, self.problem.data, options)
        return DescentRun(
            self.problem._replace(
                model=model, options=options, kernel=kernel, steps=ENDLESS, tolerance=None
            )
        )

    def _advance(self, count: int) -> None:
        """Take steps of the descent."""
        run = self._leg()
        before = run.state.step
        self.history.append(Moment(self.theta.copy(), self.step, tuple(self.legs)))
        self.ended, self.theta = advance(run, count, self.trace, self.step, self.theta)
        taken = run.state.step - before
        self.step += taken
        self.legs[-1] = self.legs[-1]._replace(steps=self.legs[-1].steps + taken)
        if self.ended == "halted":
            self.running = False
        rival = self.rival
        if rival is not None and rival.ended != "halted":
            at = rival.begun + rival.run.state.step
            rival.ended, rival.theta = advance(rival.run, count, rival.trace, at, rival.theta)

    # Messages.

    def _hello(self, message: Mapping[str, Any]) -> None:
        """Show a view that has come what there is, and as much of its address as can be used."""
        trouble = None
        try:
            self._restore(message.get("state") or {})
        except (SgdfitError, TypeError, AttributeError) as error:
            trouble = error
        self._show()
        if trouble is not None:
            said = f"the address asks for what is not here; load the data it is for: {trouble}"
            self._tell_error(message, UsageError(said))

    def _restore(self, state: Mapping[str, Any]) -> None:
        """Take over what an address says; nothing of it where the formula cannot be used.

        What it does not say is as in a view that has just been opened.
        """
        if not state:
            return
        sample = sample_of(state["sample"]) if "sample" in state else None
        source = self.source if sample is None else open_table(sample.columns())
        table = kept_rows(source, state.get("where", ""))
        values = {
            **(self.values if sample is None else sample.start),
            **numbers(state.get("values")),
        }
        formula = str(state.get("formula", self.formula if sample is None else sample.formula))
        locked = [str(name) for name in state.get("locked", ())]
        kept, self.ranges, self.slice = (self.ranges, self.slice), {}, None
        try:
            self._build(table, formula, values, locked)
        except SgdfitError:
            self.ranges, self.slice = kept
            raise
        self.sample = self.sample if sample is None else str(state["sample"])
        self.source = source
        self._compare(state.get("compared", {}))
        if "slice" in state:
            self._take_slice(state["slice"])
        self._find_best()  # whose ranges give way to those that are asked for
        for name, ends in dict(state.get("ranges") or {}).items():
            self._take_range(name, *ends)
        self._set_options({**Settings()._asdict(), **state})

    def _set_formula(self, message: Mapping[str, Any]) -> None:
        kept = {**self.values, **numbers(message.get("values"))}
        self._build(self.table, str(message.get("text", "")), kept, self.locked)
        self._show()

    def _set_where(self, message: Mapping[str, Any]) -> None:
        """Keep the rows that meet a condition."""
        table = kept_rows(self.source, message.get("text", ""))
        self._build(table, self.formula, self.values, self.locked)
        self._show()

    def _set_data(self, message: Mapping[str, Any]) -> None:
        kind, formula, start = message.get("kind"), self.formula, self.values
        if kind == "sample":
            sample = sample_of(message.get("name"))
            data: object = sample.columns()
            formula, start = sample.formula, sample.start
        else:
            data = uploaded(message)
        source = open_table(data)
        table = timed(source, TimeScales())
        kept, self.ranges = self.ranges, {}
        try:
            self._build(table, formula, start)
        except SgdfitError:
            # Other columns take another formula.
            try:
                self._build(table, first_formula(table.names), {})
            except SgdfitError:
                self.ranges = kept
                raise
        self.source, self.sample = source, str(message["name"]) if kind == "sample" else None
        self._show()

    def _set(self, message: Mapping[str, Any]) -> None:
        """Move a parameter by hand, which pauses the run."""
        name, value = (
            str(message.get("name")),
            number(message.get("value"), str(message.get("name"))),
        )
        self.running = False
        self._move({name: value})
        self._draw(landscape=name not in (self.slice or ()))

    def _pull(self, message: Mapping[str, Any]) -> None:
        """Bring the curve to a point."""
        x, y = (number(message.get(axis), axis) for axis in "xy")
        level = whole(message.get("level", 0), "the level", 0)
        if self.points.grid is None or level >= len(self.points.codes):
            raise UsageError("there is no such curve to pull")
        self.running = False
        free = self.model.free
        there, shares = drawing.pulled(self.model, self.points, self.theta, x, y, level)
        if np.isfinite(there).all():
            self.pulled = [n for n, s in zip(free, shares, strict=True) if s > shares.max() / 4]
            if message.get("begins"):
                self.moved = None
            self._move(dict(zip(free, there.tolist(), strict=True)), within=math.inf)
        self._draw(landscape=True)
        self.pulled = []

    def _move(self, values: Mapping[str, float], within: float = ONE_DRAG) -> None:
        """Put parameters elsewhere; the next step begins a new leg there."""
        for name in values:
            self._check_name(name)
        if set(values) & self.locked:
            self._build(self.table, self.formula, {**self.values, **values}, self.locked)
            return
        now, before = time.monotonic(), self.moved
        self.moved = (self.step, *values), now
        # Back undoes a drag as a whole.
        if before is None or before[0] != self.moved[0] or now - before[1] > within:
            self.history.append(Moment(self.theta.copy(), self.step, tuple(self.legs)))
        for name, value in values.items():
            self.theta[self.model.free.index(name)] = value
        self.run, self.ended = None, ""

    def _check_name(self, name: str) -> None:
        if name not in self.values:
            raise UsageError(f"{name!r} is no parameter; there are {', '.join(self.values)}")

    def _lock(self, message: Mapping[str, Any]) -> None:
        name = str(message.get("name"))
        self._check_name(name)
        locked = self.locked | {name} if message.get("locked") else self.locked - {name}
        if len(locked) >= len(self.values):
            raise UsageError("every parameter would be locked; leave at least one free")
        self._build(self.table, self.formula, self.values, locked)
        self._show()

    def _set_range(self, message: Mapping[str, Any]) -> None:
        self._take_range(str(message.get("name")), message.get("low"), message.get("high"))
        self._draw(landscape=True)

    def _take_range(self, name: str, *ends: object) -> None:
        low, high = (number(end, "the range") for end in ends)
        if not low < high:
            raise UsageError(f"the range {low:g} to {high:g} holds nothing; give low < high")
        self._check_name(name)
        self.ranges[name], self.contours = (low, high), None

    def _set_options(self, message: Mapping[str, Any]) -> None:
        """Change how the descent steps; what is not named stays."""
        old, changes = self.settings, dict[str, Any]()
        checks: dict[str, Callable[[Any], Any]] = {
            "optimizer": str,
            "rate": lambda value: None if value is None else number(value, "the rate"),
            "batch": lambda value: None if value is None else whole(value, "the batch size", 1),
            "seed": lambda value: whole(value, "the seed", 0),
            "speed": lambda value: min(whole(value, "the speed", 1), MOST_SPEED),
        }
        for name, check in checks.items():
            if name in message:
                changes[name] = check(message[name])
        self.settings = old._replace(**changes)
        try:
            self._options()
        except SgdfitError:
            self.settings = old
            raise
        if self.settings._replace(speed=old.speed) != old:
            self.run, self.ended = None, ""
        self._draw()

    def _one_step(self, _: Mapping[str, Any]) -> None:
        self.running = False
        self._advance(1)
        self._draw(landscape=self._is_sliced)

    def _run(self, _: Mapping[str, Any]) -> None:
        self.running = True

    def _pause(self, _: Mapping[str, Any]) -> None:
        self.running = False
        self._draw(landscape=True)

    def _back(self, _: Mapping[str, Any]) -> None:
        """Go back to where the last step, or a hand, set out from."""
        self.running = False
        if self.history:
            moment = self.history.pop()
            self.theta, self.step, self.legs = moment.theta, moment.step, list(moment.legs)
            self.moved = None
            self.trace.cut(self.step)
            self.seen.cut(self.step)
            self.run, self.ended = None, ""
        self._draw(landscape=True)

    def _reset(self, _: Mapping[str, Any]) -> None:
        """Go back to the beginning."""
        values = self.initial
        self._build(self.table, self.formula, values, self.locked)
        self._show()

    def _slice(self, message: Mapping[str, Any]) -> None:
        self._take_slice(message)
        self.contours = None
        self._draw(landscape=True)

    def _fit(self, _: Mapping[str, Any]) -> None:
        """Let ``auto`` finish, from where the parameters are; its steps are drawn as they come."""
        self.running = False
        self.stopping.clear()
        self.history.append(Moment(self.theta.copy(), self.step, tuple(self.legs)))
        start = dict(zip(self.model.free, self.theta.tolist(), strict=True))
        begun = self.step

        def watch(progress: Progress) -> bool:
            if progress.reading is None and math.isfinite(progress.loss):
                self.theta = np.array([progress.parameters[name] for name in self.model.free])
                self.step = begun + progress.step
                self.trace.add(self.step, progress.loss, self.theta)
                if time.perf_counter() - self.drawn_at >= 1 / FRAMES_A_SECOND:
                    self._draw()
            return self.stopping.is_set()

        found = self._fitted(start, callback=watch)
        self.theta = np.array([found.estimates[name].value for name in self.model.free])
        self.step = begun + found.steps
        self.trace.add(self.step, found.loss, self.theta)
        self.legs.append(Leg(start, self.settings, math.nan, found.steps, by_auto=True))
        self.run, self.ended = None, ""
        self.best = found if found.status.ok else None
        self._reach_best()
        self._tell_scene()
        self._tell({"type": "result", "html": words.report_html(words.said_on_page(found))})
        self._draw(landscape=True)

    def _fitted(self, start: Mapping[str, float] | None = None, **options: Any) -> Result:
        """Return the fit of the formula, which finds its own way."""
        fixed = {name: self.values[name] for name in self.locked}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return fit(
                self.formula, self.table, start=start, fixed=fixed, missing="drop",
                seed=self.settings.seed, **options,
            )  # fmt: skip

    def _find_best(self) -> None:
        """Find the answer, where that takes no time to speak of; sliders reach it."""
        if self.best is not None or self.sought or self.problem.rows > MOST_FITTED:
            return
        self.sought, begun = True, time.perf_counter()

        def is_late(_: Progress) -> bool:
            return time.perf_counter() - begun > LONGEST_SEARCH

        with contextlib.suppress(SgdfitError):
            found = self._fitted(callback=is_late)
            self.best = found if found.status.ok else None
            if found.status.name == "domain_error":
                self.unfit = f"{found.status.cause}; {found.status.cure}"
        self._reach_best()

    def _reach_best(self) -> None:
        """Let the sliders reach the answer."""
        if self.best is None:
            return
        for name, value in self.values.items():
            low, high = self.ranges[name]
            answer = self.best.estimates[name].value
            if not low + EDGE * (high - low) < answer < high - EDGE * (high - low):
                ends = self.initial[name], value, answer
                least, most = min(ends), max(ends)
                margin = max(ROOM * (most - least), EDGE * (high - low))
                self.ranges[name] = rounded_range(least - margin, most + margin)

    def _compare(self, message: Mapping[str, Any]) -> None:
        """Step a second descent beside the first: with another batch, or by another optimizer."""
        kind, other = message.get("kind"), message.get("other")
        if kind not in (None, "batch", "optimizer"):
            raise UsageError(f"what is compared is 'batch' or 'optimizer', not {kind!r}")
        if kind == "batch" and other is not None:
            other = whole(other, "batch", 1)
        old, self.compared = self.compared, None if kind is None else (str(kind), other)
        try:
            self._begin_rival()
        except SgdfitError:
            self.compared = old
            raise
        self._draw()

    def _begin_rival(self) -> None:
        """Begin the descent beside the first one where that stands, by its settings but for one."""
        self.rival = None
        if self.compared is None:
            return
        kind, other = self.compared
        kept = self.settings
        self.settings = settings = kept._replace(rate=None, **{kind: other})
        try:
            run = self._begun(self._options())
        finally:
            self.settings = kept
        way, seen = drawing.Trace(MOST_DRAWN), drawing.Trace(MOST_DRAWN)
        self.rival = Rival(run, settings, self.step, self.theta.copy(), way, seen)

    def _show_work(self, message: Mapping[str, Any]) -> None:
        """Derive the gradient, and show the numbers of the step that comes next."""
        from sgdfit.derivation.derivation import StepAhead, derive

        run = self._leg()
        plain = self.settings.optimizer == "sgd" and run.batch_size >= self.problem.rows
        plain &= len(self.points.target) == self.problem.rows
        after = np.asarray(run.next_theta(), dtype=np.float64).tolist()
        ahead = StepAhead(float(run.schedule(run.state.step)), after, plain)
        theta, weights = self.theta.tolist(), self.points.weights
        paper = derive(self.model, self.points.columns, theta=theta, weights=weights, ahead=ahead)
        self._tell({"type": "work", "html": paper.html(), "latex": paper.latex()})

    def _export(self, message: Mapping[str, Any]) -> None:
        kind = str(message.get("kind"))
        if kind == "report":
            self._tell({"type": "answer", "kind": kind, "name": "fit.html", "text": self._report()})
            return
        fixed = {name: self.values[name] for name in self.locked}
        legs, form = tuple(self.legs), self.problem.kernel.form
        way = Way(self.formula, self.model, self.where, fixed, form, legs, self.trace)
        name, text = exported(way, kind)
        self._tell({"type": "answer", "kind": kind, "name": name, "text": text})

    def _report(self) -> str:
        """Return the page of `Result.report`, of the fit that this formula has."""
        self._find_best()
        if self.best is None:
            raise UsageError("there is no fit to report yet; press Fit for me")
        return words.report_page(self.best, self.table)

    # What is told.

    def _show(self) -> None:
        """Send everything anew; the plots do not wait for the typeset formula."""
        self._tell_scene()
        self._draw(landscape=True)
        self._tell_typeset()
        self._tell_density()

    def _tell_error(self, message: Mapping[str, Any], error: Exception) -> None:
        place = getattr(error, "position", None)
        told = {
            "type": "error",
            "where": str(message.get("type")),
            "text": words.on_page(str(error)),
        }
        self._tell(told if place is None else {**told, "caret": place})

    def _tell_scene(self) -> None:
        self._find_best()  # which the sliders reach
        super()._tell_scene()

    def _draw(self, *, landscape: bool = False) -> None:
        """Send where the descent stands."""
        model, problem = self.model, self.problem
        self.drawn_at = time.perf_counter()
        sums = problem.data.sums(problem.kernel, self.theta)
        loss, gradient = sums.loss / sums.weight, sums.gradient / sums.weight
        facts: dict[str, Any] = {
            "type": "frame",
            "step": self.step,
            "values": self.values,
            "loss": finite(loss),
            "gradient": {
                name: finite(slope) for name, slope in zip(model.free, gradient, strict=True)
            },
            "gradient_norm": finite(float(np.linalg.norm(gradient))),
            "running": self.running,
            "ended": self.ended,
            "undo": len(self.history),
            "pulled": self.pulled,
            "options": self.settings._asdict(),
        }
        thetas = [self.theta]
        rate = None
        if not self.running and self.ended != "halted":
            with contextlib.suppress(SgdfitError):
                run = self._leg()
                rate = float(run.schedule(run.state.step))
                thetas.append(np.asarray(run.next_theta(), dtype=np.float64))
        elif self.run is not None:
            rate = float(self.run.schedule(self.run.state.step))
        facts["rate"] = rate
        if len(thetas) > 1:
            facts["next"] = dict(zip(model.free, map(finite, thetas[1]), strict=True))
        options = self._options() if self.run is None else self.run.problem.options
        diagnosis = self._diagnosis(sums, rate, options)
        momentum = options.optimizer.chosen.get("momentum", 0.0) if options.optimizer else 0.0
        facts["verdict"] = words.verdict(diagnosis, rate, self.ended, self.unfit, momentum)
        facts["zones"] = words.zones(diagnosis, self.settings, momentum)
        self.seen.add(self.step, loss, self.theta)
        arrays = self._lines(thetas) | self._way(self.trace, "", self.seen)
        if self.rival is not None:
            facts["rival"], beside = self._told_of(self.rival)
            arrays |= beside
        self._tell(facts, arrays)
        self.contours_due |= self.slice is not None and (landscape or self._is_outside)

    def _told_of(self, rival: Rival) -> tuple[dict[str, Any], dict[str, Array]]:
        """Return what is said and drawn of the descent beside the first."""
        sums = self.problem.data.sums(self.problem.kernel, rival.theta)
        loss, thetas = sums.loss / sums.weight, [rival.theta]
        rival.seen.add(rival.begun + rival.run.state.step, loss, rival.theta)
        if not self.running and rival.ended != "halted":
            thetas.append(np.asarray(rival.run.next_theta(), dtype=np.float64))
        facts = {
            "optimizer": rival.settings.optimizer,
            "batch": rival.settings.batch,
            "rate": float(rival.run.schedule(rival.run.state.step)),
            "loss": finite(loss),
            "values": self.model.values(rival.theta.tolist()),
            "ended": rival.ended,
        }
        arrays = self._lines(thetas, "rival_") | self._way(rival.trace, "rival_", rival.seen)
        return facts, arrays

    def _diagnosis(self, sums: Sums, rate: float | None, options: Options) -> Diagnosis | None:
        """Return what the curvature here says of the learning rate."""
        if not (np.isfinite(sums.loss) and np.isfinite(sums.curvature).all()):
            return None
        problem = self.problem._replace(options=options)
        return diagnose_at(problem, options.batch_rows(problem.rows), sums, rate)
