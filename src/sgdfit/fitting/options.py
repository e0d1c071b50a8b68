"""Options of `sgdfit.fit` as users write them, checked; and what a checkpoint says of them."""

from __future__ import annotations

import hashlib
import os
import re
import reprlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import CodeType, MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from sgdfit import __version__
from sgdfit.checkpoint.checkpoint import Arrays, Checkpoint, Records, open_checkpoint
from sgdfit.choice import choose, number, switch, whole
from sgdfit.data.datasets import fingerprint_of
from sgdfit.errors import CheckpointWarning, UsageError, did_you_mean
from sgdfit.fitting.callbacks import Callback
from sgdfit.fitting.weights import Weighting
from sgdfit.inference.diagnosis import Diagnosis
from sgdfit.kernel.kernel import Chunk, choose_form
from sgdfit.model.model import Model
from sgdfit.model.parameters import Parameter
from sgdfit.optimizers import DEFAULT_RATES, OPTIMIZERS, Optimizer
from sgdfit.optimizers.schedule import SCHEDULES, AnySchedule, constant

AUTO = "auto"
WALD, PROFILE = "wald", "profile"
DEFAULT_STEPS = 1_000
TRACE_ROWS = 10_000
# More than a machine can take in a lifetime; beyond it, counters could overflow.
MOST_STEPS = 10**18


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
    announce: Callable[[Diagnosis], object] | None = None
    callback: Callback | None = None
    callback_every: int | None = None
    trace_every: int | None = None
    kernel: str = "auto"
    dtype: np.dtype[Any] = np.dtype("float64")

    def batch_rows(self, rows: int) -> int:
        """Return how many rows one step takes, at most all."""
        return min(self.batch_size, rows) if isinstance(self.batch_size, int) else rows

    def length(self, rows: int) -> int:
        """Return how many steps textbook descent takes."""
        if self.epochs is None:
            return self.steps or DEFAULT_STEPS
        return _finite(self.epochs * -(-rows // self.batch_rows(rows)))


def settle(
    model: Model,
    *,
    covariance: str,
    optimizer: str | Optimizer | None,
    learning_rate: float | AnySchedule | None,
    schedule: str | AnySchedule | None,
    batch_size: int | str | None,
    steps: int | None,
    epochs: int | None,
    shuffle: bool,
    seed: int,
    tolerance: float | None,
    search: bool | None,
    intervals: str,
    announce: Callable[[Diagnosis], object] | None,
    callback: Callback | None,
    callback_every: int | None,
    trace_every: int | None,
    kernel: str,
    dtype: Any,
) -> Options:
    """Check every option before a row is read."""
    chosen = as_optimizer(
        optimizer,
        learning_rate=learning_rate,
        schedule=schedule,
        batch_size=batch_size,
        epochs=epochs,
        dtype=None if as_dtype(dtype) == "float64" else dtype,
        shuffle=None if shuffle in (True,) else shuffle,
    )
    if search not in (None, True, False):
        raise UsageError(f"search is {search!r}; it is True, False or None")
    if steps is not None and epochs is not None:
        raise UsageError(f"steps={steps} and epochs={epochs} are two lengths; give one of them")
    options = Options(
        optimizer=chosen,
        learning_rate=learning_rate,
        schedule=schedule,
        batch_size=as_batch_size(batch_size),
        steps=None if steps is None else _finite(whole(steps, "steps", 1)),
        epochs=None if epochs is None else whole(epochs, "epochs", 1),
        shuffle=switch(shuffle, "shuffle"),
        seed=seed,
        tolerance=as_tolerance(tolerance),
        search=search,
        intervals=as_intervals(intervals, chosen, model.loss.name, covariance),
        announce=as_callable(announce, "announce"),
        callback=as_callable(callback, "callback"),
        callback_every=None
        if callback_every is None
        else whole(callback_every, "callback_every", 1),
        trace_every=None if trace_every is None else whole(trace_every, "trace_every", 0),
        kernel=kernel,
        dtype=as_dtype(dtype),
    )
    choose_form(kernel, 1, 1, 1, options.dtype)
    if chosen is None:
        return options
    _check_rates(chosen, learning_rate, schedule, options.length(rows=1))
    as_start(model.start, options.dtype, model.free)
    return options._replace(kernel=_own_kernel(kernel, chosen))


def _check_rates(
    optimizer: Optimizer,
    learning_rate: float | AnySchedule | None,
    schedule: str | AnySchedule | None,
    steps: int,
) -> None:
    if rates_asked_for(learning_rate, schedule, steps) is None:
        if optimizer.name not in DEFAULT_RATES:
            raise UsageError(f"the optimizer {optimizer.name!r} has no default; give learning_rate")
        scheduled(1.0, schedule, steps)


def _own_kernel(kernel: str, optimizer: Optimizer) -> str:
    """Return the form of the kernel that was asked for; one's own optimizer needs NumPy's."""
    if optimizer.name in OPTIMIZERS:
        return kernel
    if kernel == "compiled":
        raise UsageError(f"the optimizer {optimizer.name!r} is not compiled; use kernel='numpy'")
    return "numpy"


def as_batch_size(batch_size: int | str | None) -> int | str | None:
    """Return the rows of one step, or ``"full"``."""
    if batch_size is None:
        return None
    if isinstance(batch_size, str):
        if batch_size == "full":
            return batch_size
        if not batch_size.isdecimal():
            raise UsageError(f"batch_size is {batch_size!r}; give a number of rows or 'full'")
        batch_size = int(batch_size)
    return whole(batch_size, "batch_size", 1)


def rates_asked_for(
    learning_rate: float | AnySchedule | None,
    schedule: str | AnySchedule | None,
    steps: int,
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
    if learning_rate is None:
        return None
    rate = number(learning_rate, "learning_rate")
    if rate <= 0:
        raise UsageError(f"learning_rate is {rate:g}; it must be above 0")
    return scheduled(rate, schedule, steps)


def scheduled(rate: float, schedule: str | AnySchedule | None, steps: int) -> AnySchedule:
    """Return the schedule that ``schedule`` names; one that needs a length takes the run's."""
    if schedule is None:
        return constant(rate)
    table: dict[str, Callable[..., AnySchedule]] = {
        **SCHEDULES,
        "cosine": partial(SCHEDULES["cosine"], steps=steps),
        "warm_up": partial(SCHEDULES["warm_up"], steps=max(1, steps // 10)),
    }
    return choose(schedule, table, "schedule", rate=rate)  # type: ignore[arg-type]


def as_optimizer(optimizer: str | Optimizer | None, **textbook: object) -> Optimizer | None:
    """Return an `Optimizer` from its name with options, or one as it is; None for ``auto``.

    Parameters
    ----------
    optimizer : str, Optimizer or None
        None: sgd where one of the options that only textbook descent has is given, else ``auto``.
    **textbook : object
        These options by name; None where one is not given.
    """
    if isinstance(optimizer, Optimizer):
        return optimizer
    given = [name for name, value in textbook.items() if value is not None]
    if optimizer is None:
        return OPTIMIZERS["sgd"]() if given else None
    if not isinstance(optimizer, str):
        raise UsageError(
            f"an optimizer is a name such as 'sgd(momentum=0.9)', not {optimizer!r};"
            f" there are {', '.join((AUTO, *OPTIMIZERS))}"
        )
    # Nothing wraps auto, so it is known where it stands alone.
    alone: dict[str, Callable[..., Optimizer | None]] = {} if "(" in optimizer else {AUTO: _none}
    chosen = choose(optimizer, {**alone, **OPTIMIZERS}, "optimizer")
    if chosen is None and given:
        raise UsageError(
            f"the optimizer auto decides {' and '.join(given)} by itself; leave that out, or name"
            " another optimizer, such as 'sgd'"
        )
    return chosen


def as_intervals(intervals: str, optimizer: Optimizer | None, loss: str, covariance: str) -> str:
    """Return ``wald`` or ``profile``, where that goes with the other options."""
    if intervals not in (WALD, PROFILE):
        raise UsageError(
            f"intervals is {intervals!r}; it is {WALD!r} or {PROFILE!r}."
            + did_you_mean(str(intervals), (WALD, PROFILE))
        )
    if intervals == WALD:
        return WALD
    if optimizer is not None:
        raise UsageError(
            f"intervals='profile' refits by the optimizer auto, not by {optimizer.name}; leave out"
            " the optimizer and what belongs to it (learning rate, schedule, batch size, epochs),"
            " or keep intervals='wald'"
        )
    if loss != "mse":
        raise UsageError(
            f"intervals='profile' compares sums of squares, which the loss {loss} is not; use the"
            " loss mse, or keep intervals='wald'"
        )
    if covariance == "sandwich":
        raise UsageError(
            "intervals='profile' takes the scatter of the rows from their weights, which"
            " covariance='sandwich' does not; give one of them"
        )
    return PROFILE


def _none() -> None:
    """Make no optimizer of the textbook's: auto is none of them."""


def as_callable(given: Callable[..., object] | None, what: str) -> Callable[..., object] | None:
    """Return a function, or None, as it is."""
    if given is not None and not callable(given):
        raise UsageError(f"{what} must be a function, not {reprlib.repr(given)}")
    return given


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


def as_dtype(dtype: Any) -> np.dtype[Any]:
    """Return the type of the steps' arithmetic."""
    try:
        found = np.dtype(dtype) if dtype is not None else None
    except TypeError:
        found = None
    if found is None or found.kind != "f" or found.itemsize not in (4, 8):
        raise UsageError(f"dtype={dtype!r} is neither 'float64' nor 'float32'")
    native: np.dtype[Any] = found.newbyteorder("=")
    return native


def _finite(length: int) -> int:
    if length > MOST_STEPS:
        raise UsageError(f"{length:.3g} steps would never end; give at most {MOST_STEPS:.0e}")
    return length


def as_tolerance(tolerance: float | None) -> float | None:
    """Return the distance, in standard errors, at which to stop; None: do not."""
    if tolerance is None:
        return None
    value = number(tolerance, "tolerance")
    if value <= 0:
        raise UsageError(f"tolerance is {value:g} standard errors; it must be above 0")
    return value


def trace_interval(trace_every: int | None, steps: int) -> tuple[int, bool]:
    """Return the steps between two records, and whether the trace is to keep them."""
    usual = -(-steps // TRACE_ROWS)
    if trace_every is None:
        return usual, True
    asked = min(whole(trace_every, "trace_every", 0), steps)
    return asked or usual, asked > 0


UNITS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "ki": 2**10, "mi": 2**20, "gi": 2**30}
# Resident without a row of data: Python, NumPy, SymPy, Arrow and the compiler.
BASE = 300_000_000
DEFAULT_MEMORY = 500_000_000
# Below this nothing is left for rows.
LEAST_MEMORY = 350_000_000
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

    @property
    def budget(self) -> int:
        """Bytes that columns may hold."""
        return int((self.memory - BASE) * SHARE)

    def journal(self, fingerprint: str, label: str) -> Checkpoint:
        """Open the journal of a run on the data of this ``fingerprint``."""
        if self.checkpoint is None:
            return FORGETFUL
        if not fingerprint:
            raise UsageError(
                f"{label} cannot be told from other data, so a run on it cannot be resumed; save it"
                " as a file first, or leave out checkpoint"
            )
        identity = {**self.identity, "data": fingerprint}
        return open_checkpoint(
            self.checkpoint,
            identity,
            resume=self.resume,
            announce=self.announce or _warn,
            how_far=how_far,
        )


# Remembers nothing.
FORGETFUL = open_checkpoint(None, {}, resume=False)


def _warn(sentence: str) -> None:
    warnings.warn(sentence, CheckpointWarning, stacklevel=2)


def as_means(
    memory: int | str | None = None,
    threads: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    announce: Callable[[str], object] | None = None,
) -> Resources:
    """Return the `Resources` of these options of `sgdfit.fit`.

    Examples
    --------
    >>> as_means("1GB", threads=1).memory
    1000000000
    """
    if not isinstance(resume, bool):
        raise UsageError(f"resume is {resume!r}; it is True or False")
    if resume and checkpoint is None:
        raise UsageError(
            "resume goes on from a checkpoint, but none is named; give checkpoint (on the command"
            " line --checkpoint FILE)"
        )
    path = None if checkpoint is None else os.fspath(checkpoint)
    return Resources(as_memory(memory), as_threads(threads), path, resume, announce=announce)


def as_memory(memory: Any) -> int:
    """Return a number of bytes, which may be written as ``"2GB"`` or ``"800 MiB"``.

    Examples
    --------
    >>> as_memory("1.5 GB"), as_memory(None)
    (1500000000, 500000000)
    """
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


def as_threads(threads: int | None) -> int:
    """Return how many threads to use: one for each core that this process may use, or fewer.

    Examples
    --------
    >>> as_threads(1)
    1
    """
    asked = None if threads is None else whole(threads, "threads", 1)
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    # More would hold more memory, and compute nothing sooner.
    return cores if asked is None else min(asked, cores)


def identity_of(model: Model, weighting: Weighting, options: dict[str, Any]) -> dict[str, str]:
    """Return what changes a result, but for the data: nouns and what they are of this run.

    Examples
    --------
    >>> from sgdfit.model.model import build
    >>> model = build("y = a*x", ["x", "y"], bounds="a > 0")
    >>> found = identity_of(model, Weighting(), {"batch_size": 8, "steps": None})
    >>> found["formula"], found["parameters"], found["batch size"]
    ('y = a*x', 'a in (0.0, inf)', '8')
    """
    said = {n.replace("_", " "): _words(v) for n, v in options.items() if v is not None}
    return {
        "formula": str(model.formula),
        "loss": f"{model.loss.name}: {model.loss.expression}",
        "parameters": ", ".join(map(_parameter, model.parameters.values())),
        "weights": weighting.text or "one for each row",
        **said,
        "version of sgdfit": __version__,
    }


def how_far(records: Records) -> str:
    """Say how far a run had come that kept these records.

    Examples
    --------
    >>> import numpy as np
    >>> begun = {"rows": np.array(400)}
    >>> how_far({"begun": begun})
    'before its first pass through the rows'
    >>> done = {"rows": np.array(400), "gradient": np.zeros(2)}
    >>> how_far({"begun": begun, "sums a": done, "sums b": {"rows": np.array(100)}})
    '1 pass through 400 rows and 25% of another'
    """
    descent = records.get("descent")
    if descent is not None:
        return f"at step {int(descent['counts'][1]):,}"
    passes = [found for name, found in records.items() if name.startswith(("sums ", "scores "))]
    done = sum("gradient" in found for found in passes)
    rows = max((int(found["rows"]) for found in (*passes, *_begun(records))), default=0)
    part = sum(int(found["rows"]) for found in passes if "gradient" not in found)
    share = f"{100 * part / rows:.0f}% of " if part and rows else ""
    if not done:
        first = f"a pass through {rows:,} rows" if share else "its first pass through the rows"
        return f"{share or 'before '}{first}"
    whole = f"{done} {'pass' if done == 1 else 'passes'} through {rows:,} rows"
    return f"{whole} and {share}another" if share else whole


def marks_of(some: Chunk, whole: Chunk | None) -> dict[str, str]:
    """Return what tells values apart in files of the same names, sizes and times.

    Of rows that are not in memory it sees the random ones alone.

    Examples
    --------
    >>> import numpy as np
    >>> one, other = (Chunk((np.array([1.0, x]),), None) for x in (2.0, 3.0))
    >>> marks_of(one, None) == marks_of(other, None)
    False
    """
    marks = {"some": _mark(some)}
    return marks if whole is None else marks | {"whole": _mark(whole)}


def _mark(chunk: Chunk) -> str:
    return fingerprint_of({str(k): array for k, array in enumerate(chunk.arrays)})


def _begun(records: Records) -> list[Arrays]:
    return [records["begun"]] if "begun" in records else []


def _parameter(parameter: Parameter) -> str:
    if parameter.role == "tied":
        return f"{parameter.name} = {parameter.tie}"
    given = f" = {parameter.start!r}" if parameter.origin in ("given", "random", "fixed") else ""
    held = " (fixed)" if parameter.role == "fixed" else ""
    return f"{parameter.name}{given}{held} in ({parameter.low!r}, {parameter.high!r})"


def _words(value: Any) -> str:
    """Return a text that is the same in the next process, also for a function."""
    if callable(value) and hasattr(value, "__code__"):
        return f"{value.__qualname__} {_digest(value)}"
    name = getattr(value, "name", None)
    if name is not None:
        return f"{name}{getattr(value, 'options', '')}"
    if callable(value):
        raise UsageError(
            f"{type(value).__name__} is an object of your own, of which a checkpoint cannot tell"
            " whether it is the same in the next process; use a function, or leave out checkpoint"
        )
    return str(value)


def _digest(function: Any) -> str:
    """Return what tells one function from another: its code, and the values that it uses."""
    code = function.__code__
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    known = (code.co_code.hex(), _constants(code), function.__defaults__, cells)
    return hashlib.sha256(repr(known).encode()).hexdigest()[:16]


def _constants(code: CodeType) -> list[Any]:
    """Return the constants of a code, those of functions within it included."""
    return [
        _constants(c) if isinstance(c, CodeType) else c for c in (*code.co_consts, code.co_names)
    ]
