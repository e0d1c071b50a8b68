"""What compiled kernels take a row: a pass of sums, textbook steps, and elementary functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np

from peers_steps import BATCHES, RATE, START, pass_peers, step_peers
from sgdfit.kernel.forms import make
from sgdfit.kernel.kernel import Chunk, Kernel, Segment, State
from sgdfit.kernel.shuffle import Order, sequential, shuffled
from sgdfit.model.model import build
from sgdfit.optimizers import sgd
from speed_clock import Contender, Timing, lines, race
from speed_data import CURVES, observed
from speed_tables import Line, Table, Target, lined

__all__ = ["function_tables", "pass_tables", "reading", "step_tables"]

QUADRATIC = CURVES[1]
PANEL = 65_536
# More rows than caches hold, few enough that a slow peer's turn ends.
STEP_ROWS = 4_000_000
FUNCTION_ROWS = 1_000_000
FUNCTIONS = {
    "exp": ("a*exp(x)", 1),
    "sin": ("a*sin(x)", 1),
    "log": ("a*log(x)", 1),
    "exp, sin and log": ("a*exp(x) + d*sin(x) + e*log(x)", 3),
}
STEP_AIMS = {1: 9.0, 64: 2.0, 256: 1.8, 4096: 1.6}
FREELY = {"reassoc", "contract"}


@numba.njit(fastmath=FREELY, nogil=True)
def _read(x: Any, y: Any) -> float:
    """Add up both columns: what memory allows."""
    total = 0.0
    for i in range(len(x)):
        total += x[i] + y[i]
    return total


def reading(x: np.ndarray, y: np.ndarray) -> Callable[[], float]:
    """Return the compiled loop that only reads."""
    return lambda: _read(x, y)


def on_two(work: Callable[..., Any], x: np.ndarray, y: np.ndarray) -> Callable[[], Any]:
    """Return ``work`` on the two halves of the rows, each on a thread of its own."""
    middle = len(x) // 2 // PANEL * PANEL
    pool = ThreadPoolExecutor(2)
    halves = ((x[:middle], y[:middle]), (x[middle:], y[middle:]))
    return lambda: list(pool.map(lambda half: work(*half), halves))


def pass_tables(rows: int, repeat: int, peers: bool) -> list[Table]:
    """Time one pass of sums over a quadratic in memory."""
    x, y = observed(QUADRATIC, rows).values()
    kernel = _kernel(QUADRATIC.formula)
    panel_sums: Callable[..., Any] = getattr(kernel, "panel_sums", kernel.sums)
    theta = np.array(START)

    def sums(x: np.ndarray, y: np.ndarray) -> Any:
        return panel_sums(theta, Chunk((x, y), None))

    limit, ours = "reading alone, 1 thread", "sgdfit sums, 1 thread"
    contenders = [
        Contender(limit, reading(x, y), rows),
        Contender(ours, lambda: sums(x, y), rows),
        Contender("reading alone, 2 threads", on_two(_read, x, y), rows),
        Contender("sgdfit sums, 2 threads", on_two(sums, x, y), rows),
        *(pass_peers(x, y) if peers else ()),
    ]
    table = Table(
        f"One pass of loss, gradient and curvature, {QUADRATIC.formula}, {rows:,} rows in memory",
        "ns a row", lines(race(contenders, repeat)), limit, ours,
    )  # fmt: skip
    one, two = (lined(table, f"sgdfit sums, {n} thread{'s' * (n > 1)}") for n in (1, 2))
    free, both = lined(table, limit), lined(table, "reading alone, 2 threads")
    targets = (
        Target("speed of reading that one thread reaches", free / one, 0.8, at_least=True),
        Target("speed-up by the second thread", one / two, 1.8, at_least=True),
    )
    note = f"  reading itself gains {free / both:.2f}× by the second thread"
    return [table._replace(targets=targets, notes=(note,))]


def _kernel(formula: str) -> Kernel:
    return make(build(formula, ["x", "y"]), sgd(), "compiled")


def _sweeping(
    kernel: Kernel, x: np.ndarray, y: np.ndarray, order: Order, batch: int, count: int = 3
) -> Callable[[], Any]:
    """Return one epoch of textbook steps from the same start each time."""
    start = np.resize(np.array(START), count)
    state = State(start, np.zeros((1, count)), np.zeros(count), 0, 0, 0)
    bounds = np.full(count, np.inf)
    segment = Segment(order, batch, np.full(-(-len(x) // batch), RATE), 1e300, 0, -bounds, bounds)
    chunk = Chunk((x, y), None)

    def turn() -> Any:
        outcome = kernel.sweep(state, chunk, segment)
        if outcome.halted:
            raise ArithmeticError(f"the steps diverged after {outcome.state.step} of them")
        return outcome

    return turn


def _by_hand(x: Any, y: Any, order: Any, a: float, b: float, c: float, size: int) -> Any:
    """Fit the quadratic as one would write the loop by hand, nothing checked."""
    for first in range(0, len(x), size):
        last = min(first + size, len(x))
        da = db = dc = 0.0
        for k in range(first, last):
            i = order[k]
            residual = a * x[i] * x[i] + b * x[i] + c - y[i]
            da += residual * x[i] * x[i]
            db += residual * x[i]
            dc += residual
        step = 2.0 * RATE / (last - first)
        a, b, c = a - step * da, b - step * db, c - step * dc
    return a, b, c


def _by_hand_in_order(x: Any, y: Any, a: float, b: float, c: float, size: int) -> Any:
    """Do the same with rows as they stand."""
    for first in range(0, len(x), size):
        last = min(first + size, len(x))
        da = db = dc = 0.0
        for i in range(first, last):
            residual = a * x[i] * x[i] + b * x[i] + c - y[i]
            da += residual * x[i] * x[i]
            db += residual * x[i]
            dc += residual
        step = 2.0 * RATE / (last - first)
        a, b, c = a - step * da, b - step * db, c - step * dc
    return a, b, c


def step_tables(repeat: int, peers: bool, rows: int = STEP_ROWS) -> list[Table]:
    """Time an epoch of textbook descent, batch by batch."""
    x, y = observed(QUADRATIC, rows).values()
    kernel = _kernel(QUADRATIC.formula)
    permutation = np.random.default_rng(0).permutation(rows)
    sparse, dense = (numba.njit(fastmath=FREELY)(f) for f in (_by_hand, _by_hand_in_order))
    limit, ours, tables = "reading alone, in order", "sgdfit, shuffled", []
    for batch in BATCHES:
        contenders = [
            Contender(limit, reading(x, y), rows),
            Contender(ours, _sweeping(kernel, x, y, shuffled(rows, 0, 0), batch), rows),
            Contender("sgdfit, in order", _sweeping(kernel, x, y, sequential(rows), batch), rows),
            Contender(
                "numba by hand, shuffled",
                lambda b=batch: sparse(x, y, permutation, *START, b),
                rows,
            ),
            Contender("numba by hand, in order", lambda b=batch: dense(x, y, *START, b), rows),
            *(step_peers(x, y, permutation, batch) if peers else ()),
        ]
        title = (
            f"An epoch of textbook descent, {QUADRATIC.formula}, batches of {batch}, {rows:,} rows"
        )
        table = Table(title, "ns a row", lines(race(contenders, repeat)), limit, ours)
        aim = Target("ns a row, shuffled", lined(table, ours), STEP_AIMS[batch])
        tables.append(table._replace(targets=(aim,)))
    return tables


def function_tables(repeat: int, rows: int = FUNCTION_ROWS) -> list[Table]:
    """Time what an elementary function adds to a row of the bare polynomial."""
    x, y = observed(QUADRATIC, rows).values()
    x += 0.1
    made = {"bare": ("a*x**2", 0), **FUNCTIONS}
    contenders = [Contender("reading alone, a row", reading(x, y), rows)]
    for name, (term, _) in made.items():
        contenders += _works(name, f"y = {term} + b*x + c", x, y)
    libm = [Contender(f"libm {name}", _libm(name, x, y), rows) for name in ("exp", "sin", "log")]
    timings = {t.contender.name: t for t in race([*contenders, *libm], repeat)}
    works = [name.removeprefix("bare: ") for name in timings if name.startswith("bare: ")]
    limit = "reading alone, a row"
    found = [
        *lines([timings[limit]]),
        *(_libm_line(timings, name, limit) for name in ("exp", "sin", "log")),
        *(_added(timings, name, work) for work in works for name in made),
    ]
    added = {f"{work}: {name}" for work in works for name in FUNCTIONS}
    title = (
        "Elementary functions: what each adds to a row of y = a*x**2 + b*x + c, where it stands"
        f" in place of x**2; {rows:,} rows"
    )
    worst = max((line for line in found if line.name in added), key=lambda line: line.value or 0)
    target = Target(f"ns a function a row, the worst ({worst.name})", worst.value or math.nan, 3.0)
    return [Table(title, "ns", found, limit, "", (target,))]


def _works(name: str, formula: str, x: np.ndarray, y: np.ndarray) -> list[Contender]:
    model = build(formula, ["x", "y"])
    kernel, count = make(model, sgd(), "compiled"), len(model.free)
    chunk, order = Chunk((x, y), None), shuffled(len(x), 0, 0)
    theta = np.resize(np.array(START), count)
    sums = Contender(f"{name}: sums", lambda: kernel.sums(theta, chunk), len(x))
    return [
        sums,
        *(
            Contender(
                f"{name}: batch {batch}", _sweeping(kernel, x, y, order, batch, count), len(x)
            )
            for batch in BATCHES
        ),
    ]


def _libm(name: str, x: np.ndarray, y: np.ndarray) -> Callable[[], float]:
    """Return a compiled loop that adds up libm's function of x, and y."""
    function = getattr(math, name)

    @numba.njit(fastmath=FREELY)
    def add(x: Any, y: Any) -> float:
        total = 0.0
        for i in range(len(x)):
            total += function(x[i]) + y[i]
        return total

    return lambda: add(x, y)


def _libm_line(timings: dict[str, Timing], name: str, limit: str) -> Line:
    found, read = timings[f"libm {name}"], timings[limit]
    return Line(f"libm {name}", found.nanoseconds - read.nanoseconds, len(found.seconds))


def _added(timings: dict[str, Timing], name: str, work: str) -> Line:
    """Return what a function adds, and for the bare polynomial all of it."""
    found, bare = timings[f"{name}: {work}"], timings[f"bare: {work}"]
    runs = len(found.seconds)
    if name == "bare":
        return Line(f"bare polynomial, a row: {work}", found.nanoseconds, runs)
    added = (found.nanoseconds - bare.nanoseconds) / FUNCTIONS[name][1]
    note = "each" if FUNCTIONS[name][1] > 1 else ""
    return Line(f"{work}: {name}", added, runs, note)
