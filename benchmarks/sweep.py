"""How long a sweep takes a row, against a hand-written loop, a bare read, and other libraries.

Run it as ``python benchmarks/sweep.py [rows]``. All contenders take turns, so that whatever else
the machine does falls on all of them alike; the table gives medians in nanoseconds a row, and how
many times the prototype's the time is.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np

from sgdfit.errors import MissingDependencyError, require
from sgdfit.kernels.kernel import Chunk, Segment, State, make
from sgdfit.kernels.order import Order, in_order, shuffled
from sgdfit.models.model import build
from sgdfit.optimization.optimizer import sgd

ROWS = 4_000_000
TURNS = 7
BATCHES = (1, 64, 256, 4096)
START = (4.0, 5.0, 7.0)
RATE = 1e-4


class Contender(NamedTuple):
    """A name, the batch size (0: it has none), the rows that one turn covers, and the turn."""

    name: str
    batch: int
    rows: int
    turn: Callable[[], Any]


def prototype(x: Any, y: Any, a: float, b: float, c: float, size: int, rate: float) -> Any:
    """Fit a*x**2 + b*x + c as one would write the loop by hand: in order, nothing checked."""
    for first in range(0, len(x), size):
        last = min(first + size, len(x))
        da = db = dc = 0.0
        for i in range(first, last):
            residual = a * x[i] * x[i] + b * x[i] + c - y[i]
            da += residual * x[i] * x[i]
            db += residual * x[i]
            dc += residual
        step = 2.0 * rate / (last - first)
        a, b, c = a - step * da, b - step * db, c - step * dc
    return a, b, c


def read(x: Any, y: Any) -> float:
    """Add up both columns: what memory allows."""
    total = 0.0
    for i in range(len(x)):
        total += x[i] + y[i]
    return total


def ours(x: np.ndarray, y: np.ndarray) -> list[Contender]:
    kernel = make(build("y = a*x**2 + b*x + c", ["x", "y"]), sgd(), "compiled")
    chunk, start = Chunk((x, y), None), np.array(START)
    state = State(start, np.zeros((1, 3)), np.zeros(3), 0, 0, 0)
    bounds = np.full(3, np.inf)

    def sweep(order: Order, batch: int) -> Callable[[], Any]:
        rates = np.full(-(-len(x) // batch), RATE)
        segment = Segment(order, batch, rates, 1e300, 0, -bounds, bounds)
        return lambda: kernel.sweep(state, chunk, segment)

    orders = {"in order": in_order(len(x)), "shuffled": shuffled(len(x), 0, 0)}
    return [
        Contender(f"sgdfit, {name}", batch, len(x), sweep(order, batch))
        for batch in BATCHES
        for name, order in orders.items()
    ]


def by_hand(x: np.ndarray, y: np.ndarray) -> list[Contender]:
    """The loop as it stands and with sums in any order; which is faster depends on the batch."""
    found = []
    for name, fast in (("", False), (", fastmath", {"reassoc", "contract"})):
        loop = numba.njit(fastmath=fast, error_model="numpy")(prototype)
        found += [
            Contender(
                f"prototype{name}", batch, len(x), lambda f=loop, b=batch: f(x, y, *START, b, RATE)
            )
            for batch in BATCHES
        ]
    reading = numba.njit(fastmath=True)(read)
    return [Contender("reading alone", 0, len(x), lambda: reading(x, y)), *found]


def others(x: np.ndarray, y: np.ndarray) -> list[Contender]:
    """Steps of other libraries; those that are not installed are left out."""
    found = []
    try:
        found.append(scikit_learn(x[:200_000], y[:200_000]))
    except MissingDependencyError as error:
        print(error, file=sys.stderr)
    try:
        found += [torch_loop(x, y, batch, steps=200) for batch in BATCHES]
    except MissingDependencyError as error:
        print(error, file=sys.stderr)
    return found


def scikit_learn(x: np.ndarray, y: np.ndarray) -> Contender:
    linear = require("sklearn.linear_model", "this comparison", "scikit-learn")
    columns = np.column_stack([x * x, x])

    def turn() -> Any:
        fit = linear.SGDRegressor(penalty=None, learning_rate="constant", eta0=RATE)
        return fit.partial_fit(columns, y)

    return Contender("scikit-learn SGDRegressor", 1, len(x), turn)


def torch_loop(x: np.ndarray, y: np.ndarray, batch: int, steps: int) -> Contender:
    torch = require("torch", "this comparison")
    torch.set_num_threads(1)
    steps = min(steps, len(x) // batch)
    columns, targets = torch.from_numpy(x), torch.from_numpy(y)

    def turn() -> Any:
        a, b, c = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in START)
        optimizer = torch.optim.SGD([a, b, c], lr=RATE)
        for k in range(steps):
            u, v = columns[k * batch : (k + 1) * batch], targets[k * batch : (k + 1) * batch]
            optimizer.zero_grad()
            ((a * u * u + b * u + c - v) ** 2).mean().backward()
            optimizer.step()
        return a

    return Contender("torch loop", batch, steps * batch, turn)


def medians(contenders: list[Contender]) -> list[float]:
    """Return nanoseconds a row of each; they take turns, after one that compiles."""
    taken: list[list[float]] = [[] for _ in contenders]
    for turn in range(1 + TURNS):
        for times, contender in zip(taken, contenders, strict=True):
            begun = time.perf_counter()
            contender.turn()
            if turn:
                times.append((time.perf_counter() - begun) / contender.rows * 1e9)
    return [statistics.median(times) for times in taken]


def main(rows: int = ROWS) -> None:
    random = np.random.default_rng(0)
    x = random.uniform(-2.0, 2.0, rows)
    y = 2.0 * x * x + 3.0 * x + 4.0 + random.normal(size=rows)
    contenders = [*by_hand(x, y), *ours(x, y), *others(x, y)]
    found = medians(contenders)
    best = {
        batch: min(
            t
            for c, t in zip(contenders, found, strict=True)
            if c.batch == batch and "proto" in c.name
        )
        for batch in BATCHES
    }
    print(f"{rows:,} rows, two float64 columns, one thread, medians of {TURNS} turns")
    print(f"{'':28}{'batch':>6}{'ns a row':>12}{'/ best prototype':>18}")
    for contender, spent in sorted(
        zip(contenders, found, strict=True), key=lambda pair: pair[0].batch
    ):
        ratio = f"{spent / best[contender.batch]:18.2f}" if contender.batch else ""
        print(f"{contender.name:28}{contender.batch or '':>6}{spent:12.2f}{ratio}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
