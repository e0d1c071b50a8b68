"""Whether any text at all is either a formula or refused in a sentence, and at once.

``python benchmarks/fuzz.py`` writes random formulas, among them many of huge and tiny constants,
functions of functions and broken texts, and takes each as far as numbers: parsed, met with columns,
differentiated, written as source, evaluated on rows, and derived on paper. `SgdfitError` is an
answer; any other exception, more than `SECONDS` of work or more than `MEMORY` is a finding, which
is printed. Each process that dies or is killed for its time is followed by another.

The seed is fixed, so that two versions see the same texts; each text follows from a number alone.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import random
import resource
import time
import traceback
from collections.abc import Iterator
from multiprocessing.connection import Connection

import numpy as np

from sgdfit.derivation.derivation import derive
from sgdfit.errors import SgdfitError
from sgdfit.formula.functions import ALIASES, FUNCTIONS, OPERATIONS, lookup
from sgdfit.formula.parsing import parse
from sgdfit.kernel import forms
from sgdfit.kernel.kernel import Chunk
from sgdfit.model.model import build

# What one text may take.
SECONDS, MEMORY = 5.0, 2 << 30
NAMES = ("x", "x", "x", "a", "b", "c")
NUMBERS = (
    *("0", "1", "2", "3", "7", "10", "12", "0.5", "0.1", "1.5", "2.0", "1e-300", "1e300", "1e16"),
    *("10**300", "10**12", "1000", "1001", "999.5", "pi", "1e-16", "(-1)", "(-8)", "(1/3)"),
)
CALLS = [name for name in (*FUNCTIONS, *OPERATIONS, *ALIASES) if name != "where"]
SIGNS = ("+", "-", "*", "/", "**", "+", "-", "*", "/")
COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")
DAMAGE = "()+-*/^,=~<>&|'\"`.[]{}²−·e0 \n\x00"
ROWS = np.array([0.0, 0.5, 1.0, 2.5, -1.0, 1e6])


def written(number: int, seed: int = 0) -> str:
    """Return text ``number`` of a ``seed``."""
    source = random.Random(f"{seed}/{number}")
    text = f"y = {_grown(source, source.randint(1, 5))}"
    if source.random() < 0.15:
        at = source.randrange(len(text))
        text = text[:at] + source.choice(DAMAGE) + text[at + source.randint(0, 1) :]
    return text


def _grown(source: random.Random, depth: int) -> str:
    """Return an expression at most so deep."""
    kind = source.random() if depth else 1.0
    part = lambda: _grown(source, depth - 1)  # noqa: E731
    if kind < 0.4:
        return f"({part()}{source.choice(SIGNS)}{part()})"
    if kind < 0.75:
        name = source.choice(CALLS)
        return f"{name}({', '.join(part() for _ in range(lookup(name)[1]))})"
    if kind < 0.8:
        return f"where({part()} {source.choice(COMPARISONS)} {part()}, {part()}, {part()})"
    return source.choice(NAMES if source.random() < 0.5 else NUMBERS)


def take(text: str, *, paper: bool = True) -> None:
    """Take a text as far as numbers, and ``paper``; `SgdfitError` says that it is no formula."""
    formula = parse(text)
    again = parse(str(formula))
    assert again.expression == formula.expression, "its text reads otherwise"
    with np.errstate(all="ignore"):
        model = build(text, ["x", "y"])
        theta = np.linspace(0.5, 1.5, len(model.free))
        columns = dict.fromkeys(model.columns, ROWS)
        forms.make(model, None, "numpy").rows(theta, Chunk(tuple(columns.values()), None))
        if paper:
            derive(model, columns=columns, theta=theta).text()


def fault_of(text: str, *, paper: bool = True) -> str | None:
    """Return what is wrong with how a text is taken; None where nothing is."""
    began = time.process_time()
    with contextlib.suppress(SgdfitError):
        try:
            take(text, paper=paper)
        except SgdfitError:
            raise
        except Exception:  # what nobody foresaw is what is looked for
            return traceback.format_exc(limit=-3)
    took = time.process_time() - began
    return f"it takes {took:.1f} s" if took > SECONDS else None


def _worker(numbers: range, seed: int, answers: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for number in numbers:
        answers.send((number, fault_of(written(number, seed))))


def findings(numbers: range, seed: int) -> Iterator[tuple[int, str]]:
    """Yield the number of each text that is taken wrong, and how."""
    while numbers:
        ours, theirs = multiprocessing.Pipe(duplex=False)
        worker = multiprocessing.Process(target=_worker, args=(numbers, seed, theirs))
        worker.start()
        theirs.close()
        at = numbers[0]
        try:
            while ours.poll(4 * SECONDS):
                number, fault = ours.recv()
                at = number + 1
                if fault:
                    yield number, fault
        except EOFError:
            pass
        worker.kill()
        worker.join()
        if at in numbers:
            yield at, "it hangs or ends the process"
        numbers = numbers[numbers.index(at) + 1 :] if at in numbers else range(0)


def main() -> None:
    """Print what is found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100_000, help="texts")
    parser.add_argument("--first", type=int, default=0, help="number of the first text")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    found, began = 0, time.perf_counter()
    for number, fault in findings(
        range(options.first, options.first + options.count), options.seed
    ):
        found += 1
        print(f"{number}: {written(number, options.seed)!r}\n    {fault}", flush=True)
    print(f"{found} of {options.count} texts in {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
