"""Options of `sgdfit.fit` as users write them, checked; and what a checkpoint says of them."""

from __future__ import annotations

import contextlib
import math
import os
import re
import reprlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from sgdfit import __version__
from sgdfit.checkpoint.checkpoint import Checkpoint, open_checkpoint
from sgdfit.checkpoint.identity import behaviour
from sgdfit.choice import choose, number, one_of, switch, whole
from sgdfit.errors import CheckpointWarning, UsageError
from sgdfit.fitting.callbacks import Callback
from sgdfit.fitting.weights import Weighting
from sgdfit.formula.formula import symbol
from sgdfit.inference.diagnosis import Diagnosis
from sgdfit.inference.intervals import confidence
from sgdfit.kernel.forms import choose_form
from sgdfit.model.loss import SQUARED
from sgdfit.model.model import Model
from sgdfit.model.separation import stepped_names
from sgdfit.optimizers import DEFAULT_RATES, OPTIMIZERS, Optimizer, describe
from sgdfit.optimizers.schedule import SCHEDULES, AnySchedule, Schedule, constant
from sgdfit.optimizers.schedule import describe as describe_schedule

AUTO = "auto"
WALD, PROFILE, BOOTSTRAP = "wald", "profile", "bootstrap"
FLOATS: tuple[np.dtype[Any], ...] = (np.dtype("float64"), np.dtype("float32"))
DEFAULT_STEPS = 1_000
TRACE_ROWS = 10_000
# Efron & Tibshirani 1993, An Introduction to the Bootstrap, p. 188, ask for 1,000 or more; an end
# of an interval is told by no fewer than so many resamples beyond it.
RESAMPLES, BEYOND = 2_000, 5
# More than a machine can take in a lifetime; beyond it, counters could overflow.
MOST_STEPS = 10**18


class Resampling(NamedTuple):
    """How rows are drawn anew for bootstrap intervals, and how often: ``pairs(2000)``."""

    kind: str = "pairs"  # or ``residuals``
    resamples: int = RESAMPLES

    def __str__(self) -> str:
        return f"{self.kind}({self.resamples})"


class Options(NamedTuple):
    """Options of `sgdfit.fit`, checked; None where that is left to it."""

    optimizer: Optimizer | None = None  # None: auto
    learning_rate: float | AnySchedule | None = None
    schedule: str | AnySchedule | None = None
    batch_size: int | str | None = None
    steps: int | None = None
    epochs: int | None = None
    shuffle: bool = True
    seed: int = 0
    tolerance: float | None = None  # in standard errors
    search: bool | None = None
    intervals: str = WALD
    bootstrap: Resampling | None = None
    level: float = 0.95
    announce: Callable[[Diagnosis], object] | None = None
    callback: Callback | None = None
    callback_every: int | None = None
    trace_every: int | None = None
    kernel: str = "auto"
    device: str = "cpu"
    dtype: np.dtype[Any] = np.dtype("float64")

    def batch_rows(self, rows: int) -> int:
        """Return how many rows one step takes, at most all."""
        return min(self.batch_size, rows) if isinstance(self.batch_size, int) else rows

    def length(self, rows: int) -> int:
        """Return how many steps textbook descent takes."""
        if self.epochs is None:
            return self.steps or DEFAULT_STEPS
        return _length(self.epochs * -(-rows // self.batch_rows(rows)), "steps")


def _positive(value: Any, what: str, unit: str = "") -> float:
    found = number(value, what)
    if found <= 0:
        raise UsageError(f"{what} is {found:g}{unit}; it must be above 0")
    return found


def _rate(value: Any, what: str) -> float | AnySchedule:
    return value if callable(value) else _positive(value, what)


def _batch_size(value: Any, what: str) -> int | str:
    if isinstance(value, str) and not value.isdecimal():
        if value != "full":
            raise UsageError(f"{what} is {value!r}; give a number of rows or 'full'")
        return value
    return whole(int(value) if isinstance(value, str) else value, what, 1)


def _length(value: Any, what: str) -> int:
    length = whole(value, what, 1)
    if length > MOST_STEPS:
        raise UsageError(f"{length:.3g} steps would never end; give at most {MOST_STEPS:.0e}")
    return length


def _function(value: Any, what: str) -> Callable[..., object]:
    if not callable(value):
        raise UsageError(f"{what} must be a function, not {reprlib.repr(value)}")
    return value  # type: ignore[no-any-return]


def _dtype(value: Any, what: str) -> np.dtype[Any]:
    with contextlib.suppress(TypeError):
        if value is not None and np.dtype(value).newbyteorder("=") in FLOATS:
            return FLOATS[FLOATS.index(np.dtype(value).newbyteorder("="))]
    raise UsageError(f"{what}={value!r} is neither 'float64' nor 'float32'")


def _bootstrap(value: Any, what: str) -> Resampling:
    if isinstance(value, str) and not value.strip().isdecimal():
        kinds = {kind: partial(Resampling, kind) for kind in ("pairs", "residuals")}
        return choose(value, kinds, what)
    return Resampling(resamples=int(value) if isinstance(value, str) else value)


# How each option is checked by itself; None may stand for those whose default it is.
CHECKS: dict[str, Callable[[Any, str], Any]] = {
    "learning_rate": _rate,
    "batch_size": _batch_size,
    "steps": _length,
    "epochs": partial(whole, least=1),
    "shuffle": switch,
    "seed": partial(whole, least=0),
    "tolerance": partial(_positive, unit=" standard errors"),
    "search": switch,
    "intervals": partial(one_of, allowed=(WALD, PROFILE, BOOTSTRAP)),
    "bootstrap": _bootstrap,
    "level": confidence,
    "announce": _function,
    "callback": _function,
    "callback_every": partial(whole, least=1),
    "trace_every": partial(whole, least=0),
    "dtype": _dtype,
}
DEFAULTS = Options._field_defaults


def settle(given: Mapping[str, Any]) -> Options:
    """Return the options of `sgdfit.fit`, given by their names, checked before data are opened."""
    found = {name: given[name] for name in Options._fields}
    for name, check in CHECKS.items():
        if found[name] is not DEFAULTS[name]:
            found[name] = check(found[name], name)
    options = Options(**found)
    if options.steps is not None and options.epochs is not None:
        raise UsageError(
            f"steps={options.steps} and epochs={options.epochs} are two lengths; give one of them"
        )
    options = _with_resampling(options)._replace(optimizer=_optimizer(options))
    form = choose_form(options.kernel, 1, 1, options.dtype, options.device)
    if options.optimizer is None:
        return options
    name, schedule, steps = options.optimizer.name, options.schedule, options.length(rows=1)
    if rates_asked_for(options.learning_rate, schedule, steps) is None:
        if name not in DEFAULT_RATES:
            raise UsageError(f"the optimizer {name!r} has no default; give learning_rate")
        scheduled(1.0, schedule, steps)
    if name in OPTIMIZERS:
        return options
    if options.kernel == "compiled":
        raise UsageError(f"the optimizer {name!r} is not compiled; use kernel='numpy'")
    return options._replace(kernel="torch" if form == "torch" else "numpy")


def _with_resampling(options: Options) -> Options:
    """Return the options with how rows are drawn anew, if they are."""
    if options.bootstrap is None and options.intervals != BOOTSTRAP:
        return options
    if options.intervals == PROFILE:
        raise UsageError("intervals='profile' and bootstrap are two kinds; give one of them")
    asked = options.bootstrap or Resampling()
    what = f"for the level {options.level:g} the resamples of bootstrap"
    count = whole(asked.resamples, what, math.ceil(2 * BEYOND / (1 - options.level)))
    return options._replace(intervals=BOOTSTRAP, bootstrap=asked._replace(resamples=count))


def _optimizer(options: Options) -> Optimizer | None:
    """Return what an optimizer's name stands for; None for ``auto``.

    Without a name that is sgd where an option is given that only textbook descent has.
    """
    optimizer: Any = options.optimizer
    if isinstance(optimizer, Optimizer):
        return optimizer
    given = ["learning_rate", "schedule", "batch_size", "epochs", "dtype", "shuffle"]
    given = [name for name in given if getattr(options, name) is not DEFAULTS[name]]
    if optimizer is None:
        return OPTIMIZERS["sgd"]() if given else None
    if not isinstance(optimizer, str):
        raise UsageError(
            f"an optimizer is a name such as 'sgd(momentum=0.9)', not {optimizer!r};"
            f" there are {', '.join((AUTO, *OPTIMIZERS))}"
        )
    if optimizer.strip() != AUTO:
        # Nothing wraps auto, so it is known where it stands alone.
        alone: dict[str, Callable[..., Any]] = {} if "(" in optimizer else {AUTO: dict}
        chosen: Optimizer = choose(optimizer, {**alone, **OPTIMIZERS}, "optimizer")
        return chosen
    if given:
        raise UsageError(
            f"the optimizer auto decides {' and '.join(given)} by itself; leave that out, or name"
            " another optimizer, such as 'sgd'"
        )
    return None


def check_with_model(options: Options, model: Model, weighting: Weighting) -> None:
    """Refuse options that do not go with the model, or with what rows weigh."""
    if model.external is not None and options.kernel in ("compiled", "torch"):
        raise UsageError(
            f"the function {model.external.label!r} is called and cannot be compiled, or written"
            f" in torch, since {model.external.why}; leave out kernel={options.kernel!r}"
        )
    if options.optimizer is not None:
        as_start(model.start, options.dtype, model.free)
    sandwich = weighting.covariance == "sandwich"
    if weighting.root is not None:
        _refuse("sigma is the covariance of all rows, but", _of_rows(options, model, sandwich))
    if options.intervals == WALD:
        return
    if options.optimizer is not None:
        raise UsageError(
            f"intervals={options.intervals!r} refits by the optimizer auto, not by"
            f" {options.optimizer.name}; leave out the optimizer and what belongs to it (learning"
            " rate, schedule, batch size, epochs), or keep intervals='wald'"
        )
    squared, response, asked = model.loss.name == SQUARED, model.formula.response, options.bootstrap
    if asked is None:
        loss = (
            f"compares sums of squares, which the loss {model.loss.name} is not; use the loss mse"
        )
        told = "takes the scatter of the rows from their weights, which covariance='sandwich' does"
        _refuse("intervals='profile'", [
            (not squared, f"{loss}, or keep intervals='wald'"),
            (sandwich, f"{told} not; give one of them"),
        ])  # fmt: skip
        return
    ties = response not in map(symbol, model.columns) or response in model.prediction.free_symbols
    draws = asked.kind == "residuals"
    _refuse(f"bootstrap={str(asked)!r} cannot be had:", [
        (weighting.root is not None, "rows that are correlated cannot be drawn one by one"),
        (weighting.absolute, "it takes the scatter from the rows, absolute_sigma from sigma"),
        (draws and ties, "residuals are added to a column that is the response; draw pairs"),
        (draws and not squared, f"the loss {model.loss.name} is of no residual; draw pairs"),
    ])  # fmt: skip


def _refuse(what: str, conflicts: Iterable[tuple[bool, str]]) -> None:
    for holds, why in conflicts:
        if holds:
            raise UsageError(f"{what} {why}")


def _of_rows(options: Options, model: Model, sandwich: bool) -> Iterator[tuple[bool, str]]:
    """Yield what takes rows one by one, and what to do where they are correlated."""
    if options.optimizer is not None:
        yield True, f"the optimizer {options.optimizer.name} steps on batches of rows; use auto"
    yield model.loss.name != SQUARED, f"the loss {model.loss.name} is a sum over rows; use mse"
    yield sandwich, "covariance='sandwich' takes residuals for independent; leave it at 'auto'"
    by_row = options.kernel in ("compiled", "torch") or options.device != "cpu"
    yield by_row, "kernels but NumPy's sum over rows one by one; leave out kernel and device"
    steps = not stepped_names(model.prediction).isdisjoint(model.free)
    yield steps, "parameters that act in steps are found row by row; give a deviation of each"


def rates_asked_for(
    learning_rate: float | AnySchedule | None, schedule: str | AnySchedule | None, steps: int
) -> AnySchedule | None:
    """Return the schedule that the arguments set; None where the rate is left to us."""
    if callable(learning_rate):
        if schedule is not None:
            raise UsageError("learning_rate is a function of the step already; leave out schedule")
        return learning_rate
    if callable(schedule):
        if learning_rate is not None:
            raise UsageError(
                "schedule is a function of the step, which sets the rate; leave out"
                f" learning_rate={learning_rate!r}"
            )
        return schedule
    return None if learning_rate is None else scheduled(learning_rate, schedule, steps)


def scheduled(rate: float, schedule: str | AnySchedule | None, steps: int) -> AnySchedule:
    """Return the schedule that ``schedule`` names; one that needs a length takes the run's."""
    if schedule is None:
        return constant(rate)
    table: dict[str, Any] = dict(SCHEDULES)
    table["cosine"] = partial(table["cosine"], steps=steps)
    table["warm_up"] = partial(table["warm_up"], steps=max(1, steps // 10))
    return choose(schedule, table, "schedule", rate=rate)  # type: ignore[arg-type,no-any-return]


def as_start(start: list[float], dtype: np.dtype[Any], names: Sequence[str]) -> np.ndarray:
    """Return where the parameters start, in the type of the steps."""
    with np.errstate(over="ignore"):
        begin = np.array(start, dtype=dtype)
    for name, value, held in zip(names, start, begin, strict=True):
        if not np.isfinite(held):
            raise UsageError(
                f"the start {name} = {value:g} does not fit {dtype.name}, whose largest number is"
                f" {np.finfo(dtype).max:.3g}; use dtype='float64'"
            )
    return begin


def trace_interval(trace_every: int | None, steps: int) -> tuple[int, bool]:
    """Return the steps between two records, and whether the trace is to keep them."""
    usual = -(-steps // TRACE_ROWS)
    if trace_every is None:
        return usual, True
    return min(trace_every, steps) or usual, trace_every > 0


UNITS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "ki": 2**10, "mi": 2**20, "gi": 2**30}
# Resident whatever the data: Python, NumPy, SymPy, Arrow, the compiler at work, and two row groups
# that are being decoded (measured: 424 MB at most with groups of 16 MB).
BASE = 400_000_000
DEFAULT_MEMORY = 500_000_000
# Below this nothing is left for rows.
LEAST_MEMORY = 450_000_000
# Of what is left, so much may hold columns for good; the rest is for reading and converting.
SHARE = 0.3


class Resources(NamedTuple):
    """What a fit may use."""

    memory: int  # bytes that the process may hold
    threads: int  # how many may compute at once
    checkpoint: str | None = None  # the file that remembers what a long run found
    resume: bool = False  # whether to go on from it
    # What the run is of, but for the data: see `sgdfit.checkpoint.checkpoint.open_checkpoint`.
    identity: Mapping[str, str] = MappingProxyType({})
    announce: Callable[[str], object] | None = None  # called with a sentence on what goes on
    cluster: Any = None  # a `sgdfit.fitting.cluster.Cluster`, whose workers read the rows

    @property
    def budget(self) -> int:
        """Bytes that columns may hold."""
        return int((self.memory - BASE) * SHARE)

    def open_checkpoint(self, fingerprint: str, label: str) -> Checkpoint:
        """Open the checkpoint of a run on the data of this ``fingerprint``."""
        if self.checkpoint is None:
            return FORGETFUL
        if not fingerprint:
            raise UsageError(
                f"{label} cannot be told from other data, so a run on it cannot be resumed; save it"
                " as a file first, or leave out checkpoint"
            )
        return open_checkpoint(
            self.checkpoint,
            {**self.identity, "data": fingerprint},
            resume=self.resume,
            announce=self.announce or _warn,
        )


# Remembers nothing.
FORGETFUL = open_checkpoint(None, {}, resume=False)


def _warn(sentence: str) -> None:
    warnings.warn(sentence, CheckpointWarning, stacklevel=2)


def as_resources(
    memory: int | str | None = None,
    threads: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    tell: Callable[[str], object] | None = None,
) -> Resources:
    """Return the `Resources` of these options of `sgdfit.fit`.

    Examples
    --------
    >>> as_resources("1.5 GB", threads=1).memory
    1500000000
    """
    if switch(resume, "resume") and checkpoint is None:
        raise UsageError(
            "resume goes on from a checkpoint, but none is named; give checkpoint (on the command"
            " line --checkpoint FILE)"
        )
    path = None if checkpoint is None else os.fspath(checkpoint)
    told = None if tell is None else _function(tell, "tell")
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    # More would hold more memory, and compute nothing sooner.
    several = cores if threads is None else min(whole(threads, "threads", 1), cores)
    return Resources(_memory(memory), several, path, resume, announce=told)


def _memory(memory: Any) -> int:
    """Return a number of bytes, which may be written as ``"2GB"`` or ``"800 MiB"``."""
    if memory is None:
        return DEFAULT_MEMORY
    text = str(memory).strip().lower().removesuffix("bytes").rstrip()
    found = re.fullmatch(r"(\d+\.?\d*|\.\d+)(e\d+)?\s*([kmgt]i?)?b?", text)
    if isinstance(memory, bool) or found is None:
        raise UsageError(f"memory is {memory!r}; write a number of bytes, such as '800MB' or '4GB'")
    number = float(found[1] + (found[2] or "")) * UNITS.get(found[3] or "", 1)
    if not LEAST_MEMORY <= number < 2**60:
        raise UsageError(
            f"memory is {memory!r}, and the program itself takes about {BASE // 10**6} MB; allow"
            f" {LEAST_MEMORY // 10**6} MB or more"
        )
    return int(number)


def identity_of(model: Model, weighting: Weighting, options: Mapping[str, Any]) -> dict[str, str]:
    """Return what changes a result, but for the data: nouns and what they are of this run."""
    said = {n.replace("_", " "): _words(n, v) for n, v in options.items() if v is not None}
    parameters = []
    for parameter in model.parameters.values():
        given = (
            f" = {parameter.start!r}" if parameter.origin in ("given", "random", "fixed") else ""
        )
        held = " (fixed)" if parameter.role == "fixed" else ""
        text = f"{parameter.name}{given}{held} in ({parameter.low!r}, {parameter.high!r})"
        tied = parameter.role == "tied"
        parameters.append(f"{parameter.name} = {parameter.tie}" if tied else text)
    external, own = model.external, ""
    if external is not None:
        own = f" by {behaviour([external.function, external.settings], 'formula')}"
    return {
        "formula": f"{model.formula}{own}",
        "loss": f"{model.loss.name}: {model.loss.expression}",
        "parameters": ", ".join(parameters),
        "weights": weighting.text or "one for each row",
        "sigma": weighting.sigma or "one for all rows",
        "correlations of rows": weighting.correlations or "none",
        **said,
        "version of sgdfit": __version__,
    }


def _words(name: str, value: Any) -> str:
    """Return a text that is the same in the next process, also for a function of the step."""
    if isinstance(value, Optimizer):
        known = OPTIMIZERS.get(value.name)
        own = "" if known and known().update is value.update else f" {behaviour(value, name)}"
        return describe(value) + own
    if not callable(value):
        return str(value)
    given = None if isinstance(value, Schedule) else getattr(value, "name", None)
    if isinstance(given, str):
        return given
    told, what = behaviour(value, name), name.replace("_", " ")
    if name in ("learning_rate", "schedule"):
        with contextlib.suppress(Exception):  # what it raises is told where the run calls it
            for step in range(2):
                value(step)
        if behaviour(value, name) != told:
            raise UsageError(
                f"the {what} {describe_schedule(value)} changes as it is called, which a resumed"
                " run could not know; let it depend on the step alone, say what it does by a name,"
                f" as in {name}.name = 'halved every 1,000 steps', or leave out checkpoint"
            )
    return told
