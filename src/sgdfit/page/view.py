"""What a live view shows, whoever leads the descent: points, curves, the way so far, contours."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from sgdfit.errors import UsageError
from sgdfit.fitting.problem import Problem
from sgdfit.fitting.robust import scale_at, scaled
from sgdfit.formula.formula import to_text
from sgdfit.model.model import Model
from sgdfit.optimizers import OPTIMIZERS
from sgdfit.page import drawing
from sgdfit.page.legs import Settings
from sgdfit.page.samples import SAMPLES
from sgdfit.page.words import formula_mathml
from sgdfit.result.result import Result

Array = np.ndarray[Any, Any]
Emit = Callable[[dict[str, Any], Sequence[Array]], None]

MENU = ("sgd", "sgd(momentum=0.9)", *(n for n in OPTIMIZERS if n not in ("sgd", "averaged")))
# Beside start and answer sliders, and contours beside the path, have this share of their distance.
ROOM = 0.4
# So often contours become twice as wide for a way that leaves them; one that diverges goes on.
DOUBLINGS = 4


class View:
    """A model over data, where the parameters stand and how they came there, told to a view."""

    problem: Problem
    points: drawing.Points
    theta: Array  # float64[p]
    trace: drawing.Trace
    formula: str
    columns: Sequence[str]  # of the data
    units: Sequence[str]  # in what times are counted
    invitation: str

    def __init__(self, emit: Emit) -> None:
        self.emit, self.settings = emit, Settings()
        self.sample: str | None = None
        self.where = ""  # what rows meet
        self.compared: tuple[str, Any] | None = None  # what a descent beside it changes
        self.locked: set[str] = set()
        self.slice: tuple[str, str] | None = None
        self.ranges: dict[str, tuple[float, float]] = {}
        self.shown: dict[str, tuple[float, float]] = {}  # by the contours
        self.best: Result | None = None

    @property
    def model(self) -> Model:
        """The formula over the data; parameters that are locked are fixed."""
        return self.problem.model

    @property
    def values(self) -> dict[str, float]:
        """All parameters as they are."""
        return self.model.values(self.theta.tolist())

    def _tell(self, message: dict[str, Any], arrays: Mapping[str, Array] | None = None) -> None:
        """Send a message; its ``arrays`` say what stands beside it."""
        held = [np.ascontiguousarray(values) for values in (arrays or {}).values()]
        named = [
            [name, str(values.dtype), int(values.size)]
            for name, values in zip(arrays or {}, held, strict=True)
        ]
        self.emit({**message, "arrays": named}, held)

    def _tell_scene(self) -> None:
        """Say what is fitted, and send the points."""
        model, points, colours = self.model, self.points, drawing.colours(self.model)
        parameters = [
            {
                "name": name,
                "value": value,
                "low": self.ranges[name][0],
                "high": self.ranges[name][1],
                "locked": name in self.locked,
                "colour": colours[name],
            }
            for name, value in self.values.items()
        ]
        self._tell(
            {
                "type": "scene",
                "formula": self.formula,
                "variables": list(model.variables),
                "response": to_text(model.formula.response),
                "columns": list(self.columns),
                "units": "; ".join(self.units),
                "compared": ":".join(str(part or "all") for part in self.compared or ()),
                "parameters": parameters,
                "options": self.settings._asdict(),
                "optimizers": list(MENU),
                "where": self.where,
                "levels": list(points.levels),
                "sample": self.sample,
                "samples": {name: sample.title for name, sample in SAMPLES.items()},
                "rows": self.problem.rows,
                "drawn": len(points.target),
                "dropped": self.problem.dropped,
                "label": self.problem.label,
                "slice": list(self.slice or ()),
                "invitation": self.invitation,
            },
            {"y": points.target} | ({} if points.axis is None else {"x": points.axis})
            | ({} if points.grid is None else {"grid": points.grid})
            | ({} if points.level is None else {"level": points.level}),
        )  # fmt: skip

    def _tell_typeset(self) -> None:
        self._tell({"type": "typeset", "mathml": formula_mathml(self.model)})

    def _tell_density(self) -> None:
        found = drawing.density(self.problem, self.points)
        if found is not None:
            facts = {"type": "density", "view": found.view, "across": drawing.WIDE}
            self._tell(facts, {"counts": found.counts})

    def _lines(self, thetas: Sequence[Array], prefix: str = "") -> dict[str, Array]:
        """Return the prediction where the parameters are, and where the next step leads."""
        model, points = self.model, self.points
        fitted = drawing.predictions(model, points, thetas[:1])[0]
        # That of a constant is one number.
        arrays = {"fitted": np.broadcast_to(fitted, len(points.target)).astype(np.float32)}
        if points.grid is not None:
            curves = drawing.curves(model, points, thetas)
            arrays |= zip(("curve", "ahead"), map(np.ravel, curves), strict=False)
        return {f"{prefix}{name}": values for name, values in arrays.items()}

    def _way(
        self, trace: drawing.Trace, prefix: str, seen: drawing.Trace | None = None
    ) -> dict[str, Array]:
        """Return the loss by steps, ``seen`` over all rows, and the way on the contours."""
        way = {
            f"{prefix}steps": np.array(trace.steps, dtype=np.float64),
            f"{prefix}losses": np.array(trace.losses, dtype=np.float64),
        }
        if seen is not None:
            way[f"{prefix}seen_steps"] = np.array(seen.steps, dtype=np.float64)
            way[f"{prefix}seen_losses"] = np.array(seen.losses, dtype=np.float64)
        for axis, name in zip("xy", self.slice or (), strict=False):
            place = self.model.free.index(name)
            way[f"{prefix}path_{axis}"] = np.array([theta[place] for theta in trace.thetas])
        return way

    def _take_slice(self, message: Mapping[str, Any]) -> None:
        """Look at the loss over two other parameters."""
        names = str(message.get("x")), str(message.get("y"))
        if len({*names} & {*self.model.free}) != 2:
            raise UsageError(f"the contours are over two free parameters, not {', '.join(names)}")
        self.slice = names

    def _scaled_problem(self) -> Problem:
        """Return the problem; of a robust loss with the scale of its residuals here."""
        if not self.model.loss.is_relative:
            return self.problem
        return scaled(self.problem, scale_at(self.problem, self.theta))

    def _range_shown(self, name: str) -> tuple[float, float]:
        """Return what the contours show: the slider's range, doubled until the way is within."""
        place, (low, high) = self.model.free.index(name), self.ranges[name]
        way = [float(theta[place]) for theta in (*self.trace.thetas, self.theta)]
        least, most = min(way), max(way)
        for _ in range(DOUBLINGS):
            if least < low:
                low -= high - low
            if most > high:
                high += high - low
        return low, high

    @property
    def _is_outside(self) -> bool:
        """Whether the way has left what the contours show."""
        return any(self._range_shown(name) != shown for name, shown in self.shown.items())

    def _landscape(self) -> Iterator[None]:
        """Send contours of the loss, and its minimum if that is known; yield in between."""
        assert self.slice is not None  # the caller has looked
        (x, y), theta = self.slice, self.theta.copy()
        self.shown = {name: self._range_shown(name) for name in self.slice}
        made = yield from drawing.landscape(
            self._scaled_problem(), theta, self.slice, (*self.shown[x], *self.shown[y])
        )
        free = self.model.free
        values = dict(zip(free, theta.tolist(), strict=True))
        others = [f"{name} = {values[name]:.4g}" for name in free if name not in (x, y)]
        facts = {
            "type": "landscape",
            "x": x,
            "y": y,
            "view": list(made.view),
            "levels": made.levels,
            "starts": made.starts,
            "of": made.of,
            "held": f"at {', '.join(others)}" if others else "",
        }
        arrays = {"lines": made.lines.ravel()}
        if self.best is not None:
            facts["star"] = [self.best.estimates[name].value for name in (x, y)]
            around = drawing.ellipse(self.best, (x, y))
            if around is not None:
                arrays["ellipse"] = around.ravel()
        self._tell(facts, arrays)


def usual_range(value: float) -> tuple[float, float]:
    """Return the range of a slider about a value: round numbers, some three times as wide."""
    size = 10.0 ** math.ceil(math.log10(max(abs(value), 0.3)))
    return value - size, value + size


def rounded_range(low: float, high: float) -> tuple[float, float]:
    """Return a range of two digits around a wider one."""
    unit = 10.0 ** (math.floor(math.log10(high - low)) - 1)
    return math.floor(low / unit) * unit, math.ceil(high / unit) * unit


def finite(value: float) -> float | None:
    """Return a number as JSON has it."""
    return float(value) if math.isfinite(value) else None
