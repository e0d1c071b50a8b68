"""A run that is watched while it goes: `sgdfit fit … --watch`. Its views steer nothing."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sgdfit.errors import SgdfitError
from sgdfit.fitting.callbacks import Callback, Progress
from sgdfit.fitting.problem import Problem, kernel_of
from sgdfit.page import drawing
from sgdfit.page.server import Page, served
from sgdfit.page.view import ROOM, Emit, View, finite, rounded_range, usual_range
from sgdfit.page.words import report_html
from sgdfit.result.result import Result

Array = np.ndarray[Any, Any]

# Seconds between two frames, and the most of a core's time that frames, or contours, may take.
SECONDS_A_FRAME, SHARE = 0.1, 0.01
# Points of the loss curve and of the path that are drawn, and steps that wait for it.
MOST_DRAWN, MOST_HEARD = 1_000, 100_000
# Seconds that a run which has ended waits for its views to have heard of it.
PATIENCE = 3.0
TOLD = "This page watches a run of sgdfit fit. Nothing here steers it."


class Seat(NamedTuple):
    """One of the views of a run, as the server knows it."""

    watch: Watch
    emit: Emit

    def handle(self, message: Mapping[str, Any]) -> None:
        """Take a message: contours over other parameters; what would steer is passed over."""
        if message.get("type") == "slice" and "scene" in self.watch.last:
            self.watch.look_at(message, self.emit)

    def close(self) -> None:
        """Leave."""
        self.watch.leave(self.emit)


class Watch(View):
    """The views of one run. As a callback of `sgdfit.fit` it hears of the steps.

    Frames are drawn in a thread of its own, so that a callback costs the run a few microseconds.

    Parameters
    ----------
    formula : str
    describe : callable
        Says how far a run is.
    """

    def __init__(self, formula: str, describe: Callable[[Progress], str]) -> None:
        super().__init__(self._broadcast)
        self.formula, self.describe = formula, describe
        self.then: Callback = lambda _: None  # called after this
        self.invitation = TOLD
        self.trace = drawing.Trace(MOST_DRAWN)
        self.lock, self.woken = threading.Condition(), threading.Event()
        self.seats: list[Emit] = []
        # The last message of each kind, which a view that comes later is told first.
        self.last: dict[str, tuple[dict[str, Any], Sequence[Array]]] = {}
        # What the run has told and the thread has not yet seen; a run does not wait for it.
        self.heard: deque[Progress] = deque(maxlen=MOST_HEARD)
        self.progress: Progress | None = None
        self.is_told = True  # whether the views know of it
        self.contours_at = 0.0
        self.ended: Result | str | None = None  # or why there is none
        self._tell({"type": "watch", "text": f"{TOLD} Its data are being read."})
        self.worker = threading.Thread(target=self._work, name="sgdfit-watch", daemon=True)
        self.worker.start()

    # What the run calls.

    def begin(self, problem: Problem) -> None:
        """Hear what is fitted, before the first step."""
        self.problem, self.points = problem, drawing.points_of(problem)
        self.columns = problem.model.columns
        self.units = [f"{name} in {scale}" for name, scale in problem.scales.items()]
        own = () if problem.groups is None else problem.groups.names
        starts = dict(zip(problem.model.free, problem.model.start, strict=True))
        self.theta = self._theta_of({n: v for n, v in starts.items() if n not in own})
        known = [name for name in starts if name not in own]
        self.slice = (known[0], known[1]) if len(known) > 1 else None
        self.ranges = {name: usual_range(value) for name, value in self.values.items()}
        self._tell_scene()
        # From now on some rows do, by a kernel that no other thread uses.
        options = problem.options._replace(kernel="numpy", device="cpu")
        rows = problem.data.sample(min(drawing.MOST_POINTS, problem.rows), problem.seed)
        some = problem.on_rows(rows)._replace(options=options, callback=None)
        self.problem = some._replace(kernel=kernel_of(some.model, some.data, options))

    def __call__(self, progress: Progress) -> object:
        """Hear how far the run is."""
        self.heard.append(progress)
        return self.then(progress)

    def before(self, callback: Callback) -> Watch:
        """Return this as a callback, which calls another one after itself."""
        self.then = callback
        return self

    def end(self, ended: Result | str) -> None:
        """Hear how the run ended, or why it has no result."""
        if self.ended is None:
            self.ended = ended
            self.woken.set()

    def close(self) -> None:
        """Wait until the views, which leave once they know the end, have done so."""
        until = time.monotonic() + PATIENCE
        self.worker.join(PATIENCE)
        with self.lock:
            self.lock.wait_for(lambda: not self.seats, max(0.0, until - time.monotonic()))

    # What the server calls.

    def join(self, emit: Emit) -> Seat:
        """Take in a view; it is told what the others know."""
        with self.lock:
            for message, arrays in self.last.values():
                emit(message, arrays)
            self.seats.append(emit)
        self.woken.set()
        return Seat(self, emit)

    def leave(self, emit: Emit) -> None:
        """Forget a view."""
        with self.lock:
            self.seats.remove(emit)
            self.lock.notify_all()

    def look_at(self, message: Mapping[str, Any], emit: Emit) -> None:
        """Draw the loss over two other parameters."""
        try:
            self._take_slice(message)
        except SgdfitError as error:
            emit({"type": "error", "where": "slice", "text": str(error), "arrays": []}, ())
        self.contours_at, self.is_told = 0.0, False
        self.woken.set()

    def _broadcast(self, message: dict[str, Any], arrays: Sequence[Array]) -> None:
        with self.lock:
            self.last[message["type"]] = message, arrays
            for emit in self.seats:
                emit(message, arrays)

    # What is drawn.

    @property
    def values(self) -> dict[str, float]:
        """The parameters that are known; those that each group has of its own are not."""
        known = super().values.items()
        return {name: value for name, value in known if math.isfinite(value)}

    def _theta_of(self, parameters: Mapping[str, float]) -> Array:
        return np.array([parameters.get(name, math.nan) for name in self.model.free])

    def _work(self) -> None:
        """Draw where the run stands now and then, as long as there are views, and how it ends."""
        while self.ended is None:
            begun = time.thread_time()
            self._take_down()
            if self.seats and not self.is_told:
                self._try(self._draw)
            spent = time.thread_time() - begun
            self._try(self._draw_contours)
            self.woken.wait(max(SECONDS_A_FRAME, spent / SHARE))
            self.woken.clear()
        if self.seats or isinstance(self.ended, str):
            self._try(self._draw_end)

    def _take_down(self) -> None:
        """Take down the steps that the run has told of."""
        while self.heard:
            self.progress, self.is_told = self.heard.popleft(), False
            step, loss, steps = self.progress.step, self.progress.loss, self.trace.steps
            if steps and step < steps[-1]:  # it is walked anew
                self.trace = drawing.Trace(MOST_DRAWN)
            known = bool(steps) and step - steps[-1] < self.trace.every
            if not known and math.isfinite(loss):
                self.trace.add(step, loss, self._theta_of(self.progress.parameters))

    def _try(self, draw: Callable[[], None]) -> None:
        """Draw; whatever comes of it, the run goes on."""
        try:
            with np.errstate(all="ignore"):
                draw()
        except Exception as error:
            self._tell({"type": "error", "where": "drawing", "text": str(error)})

    def _draw(self) -> None:
        """Send where the run stands."""
        progress, self.is_told = self.progress, True
        if progress is not None:
            self.theta = self._theta_of(progress.parameters)
            told = {"level": "good", "text": self.describe(progress)}
            self._tell_frame(progress.step, progress.loss, told, running=True)

    def _tell_frame(self, step: int, loss: float, told: dict[str, str], *, running: bool) -> None:
        facts: dict[str, Any] = {
            "type": "frame",
            "step": step,
            "values": self.values,
            "loss": finite(loss),
            "gradient": {},
            "gradient_norm": None,
            "running": running,
            "ended": "",
            "undo": 0,
            "options": self.settings._asdict(),
            "rate": None,
            "verdict": told,
            "zones": {"limit": None, "note": ""},
        }
        self._tell(facts, self._lines([self.theta]) | self._way(self.trace, ""))

    def _draw_contours(self) -> None:
        """Send the loss around the path, as often as it may take time."""
        if self.seats and "scene" in self.last and "typeset" not in self.last:
            self._tell_typeset()
        if not self.seats or self.slice is None or time.monotonic() < self.contours_at:
            return
        if self.progress is None and self.ended is None:
            return
        begun = time.thread_time()
        for name in self.slice:
            self.ranges[name] = self._range_of(name)
        deque(self._landscape(), maxlen=0)
        self.contours_at = time.monotonic() + (time.thread_time() - begun) / SHARE

    def _range_of(self, name: str) -> tuple[float, float]:
        """Return what of a parameter the contours show: its way, its answer, and room beside."""
        place = self.model.free.index(name)
        seen = [float(theta[place]) for theta in (*self.trace.thetas, self.theta)]
        if self.best is not None:
            answer = self.best.estimates[name]
            reach = 3 * answer.stderr if answer.stderr is not None else 0.0
            seen += [answer.value - reach, answer.value + reach]
        seen = [value for value in seen if math.isfinite(value)]
        low, high = min(seen, default=0.0), max(seen, default=0.0)
        room = ROOM * (high - low)
        return rounded_range(low - room, high + room) if room else usual_range(low)

    def _draw_end(self) -> None:
        """Send the report, or why there is none."""
        found = self.ended
        if not isinstance(found, Result):
            self._tell({"type": "error", "where": "run", "text": str(found)})
            return
        arrived = found.status.name == "converged"
        self.best = found if arrived else None
        estimates = found.estimates
        self.theta = self._theta_of({name: one.value for name, one in estimates.items()})
        self._take_down()
        self.trace.add(found.steps, found.loss, self.theta)
        level = "good" if arrived else "caution" if found.status.ok else "bad"
        told = {"level": level, "text": f"The run has ended: {found.status.label}."}
        self._tell_frame(found.steps, found.loss, told, running=False)
        self.contours_at = 0.0
        self._try(self._draw_contours)
        self._tell({"type": "result", "html": report_html(found)})


@contextlib.contextmanager
def watched(
    formula: str, describe: Callable[[Progress], str], begun: Callable[[str], object]
) -> Iterator[Watch]:
    """Serve the views of a run while the block runs; ``begun`` is called with their link."""
    watch = Watch(formula, describe)
    with served(Page(watch.join), begun):
        try:
            yield watch
        except BaseException as error:
            watch.end(str(error) if isinstance(error, SgdfitError) else "The run was interrupted.")
            raise
        finally:
            watch.end("The run has ended.")
            watch.close()
