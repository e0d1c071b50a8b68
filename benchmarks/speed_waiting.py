"""Steps by one row whose function holds a parameter: what they wait for, and how long."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from sgdfit.kernel.forms import make
from sgdfit.kernel.kernel import Chunk, Segment, State
from sgdfit.kernel.shuffle import shuffled
from sgdfit.model.model import build
from sgdfit.optimizers import sgd
from speed_clock import Contender, lines, race
from speed_tables import Table

__all__ = ["waiting_tables"]

ROWS = 300_000
RATE = 1e-3
# Functions, and formulas in which they hold the parameter b.
WAITED_FOR = {
    "exp": "y = a*exp(-b*x) + c",
    "log": "y = a*log(x + b) + c",
    "sin": "y = a*sin(b*x) + c",
}
LIMIT = "{} of the value before, by libm"


def waiting_tables(repeat: int, rows: int = ROWS) -> list[Table]:
    """Time steps that cannot begin with their function before the step before has ended."""
    random = np.random.default_rng(0)
    x = random.uniform(0.1, 1.1, rows)
    y = 0.5 + 0.5 * x + random.normal(0.0, 0.05, rows)
    contenders = []
    for name, formula in WAITED_FOR.items():
        contenders.append(Contender(LIMIT.format(name), _chained(name, x), rows))
        contenders.append(Contender(formula, _stepping(formula, x, y), rows))
    note = (
        "  a step needs the parameters that the step before leaves, and a parameter within the"
        " function\n  makes the step wait for it: the limit is the latency of the function, not how"
        " many a second\n  can be computed; what else is in the chain are five sums and products, 5"
        " to 6 ns"
    )
    title = f"Textbook descent, batches of 1, a parameter within the function; {rows:,} rows"
    return [Table(title, "ns a row", lines(race(contenders, repeat)), notes=(note,))]


def _chained(name: str, x: np.ndarray) -> Callable[[], float]:
    """Return a loop of which each value waits for the one before."""
    function = getattr(math, name)

    @numba.njit
    def chain(x: Any) -> float:
        value = 0.5
        for i in range(len(x)):
            value = function(x[i] + 1e-9 * value)
        return value

    return lambda: chain(x)


def _stepping(formula: str, x: np.ndarray, y: np.ndarray) -> Callable[[], Any]:
    """Return an epoch of steps by one row each."""
    model = build(formula, ["x", "y"])
    kernel, start = make(model, sgd(), "compiled"), np.array([1.0, 0.7, 0.3])
    state = State(start, np.zeros((1, 3)), np.zeros(3), 0, 0, 0)
    bound, order = np.full(3, np.inf), shuffled(len(x), 0, 0)
    segment = Segment(order, 1, np.full(len(x), RATE), 1e300, 0, -bound, bound)

    def turn() -> Any:
        outcome = kernel.sweep(state, Chunk((x, y), None), segment)
        if outcome.halted:
            raise ArithmeticError(f"the steps diverged after {outcome.state.step} of them")
        return outcome

    return turn
