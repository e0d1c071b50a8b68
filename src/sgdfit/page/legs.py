"""Legs of a run, each one call of `sgdfit.fit`, and the run written down as files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sgdfit.errors import UsageError
from sgdfit.fitting.sgd import DescentRun
from sgdfit.model.model import Model
from sgdfit.page.drawing import Trace

Array = np.ndarray[Any, Any]


class Settings(NamedTuple):
    """How the descent steps; None where the library decides."""

    optimizer: str = "sgd"
    rate: float | None = None
    batch: int | None = None  # rows of one step; None for all
    seed: int = 0
    speed: int = 1  # steps a frame


class Leg(NamedTuple):
    """Steps from one place by the same settings: what one call of `sgdfit.fit` repeats."""

    start: dict[str, float]
    settings: Settings
    rate: float  # that was used
    steps: int
    by_auto: bool = False


@dataclass
class Rival:
    """A descent beside the first one, with another batch or by another optimizer."""

    run: DescentRun
    settings: Settings
    begun: int  # the step of the first one where it set out
    theta: Array
    trace: Trace
    seen: Trace  # its loss over all rows
    ended: str = ""


def advance(
    run: DescentRun, count: int, trace: Trace, step: int, theta: Array
) -> tuple[str, Array]:
    """Take steps, and take them down from ``step`` on; return how they ended, and where."""
    before, p = run.state.step, len(theta)
    run.steps = before + count
    ended = run.take_steps()
    records = run.trace()
    run.records = run.records[:1]
    for record in records[records[:, 0] >= before]:
        trace.add(step + int(record[0]) - before, record[2], record[3 : 3 + p])
    if ended != "halted":
        return ended, np.asarray(run.state.theta, dtype=np.float64)
    # The last place whose loss was within bounds.
    good = records[np.isfinite(records[:, 2])]
    return ended, good[-1, 3 : 3 + p].copy() if len(good) else theta


class Way(NamedTuple):
    """A run so far."""

    formula: str
    model: Model
    where: str  # what rows meet
    fixed: dict[str, float]
    kernel: str  # by whose form the steps were taken
    legs: tuple[Leg, ...]
    trace: Trace


def exported(way: Way, kind: str) -> tuple[str, str]:
    """Return the name of a file and its text.

    Raises
    ------
    UsageError
        When there is no such kind.
    """
    kinds: dict[str, Callable[[Way], tuple[str, str]]]
    kinds = {"python": _python, "notebook": _notebook, "tex": _tex, "csv": _trace}
    if kind not in kinds:
        raise UsageError(f"a run is written as {', '.join(kinds)}, not as {kind!r}")
    return kinds[kind](way)


def _python(way: Way) -> tuple[str, str]:
    """Write a call of `sgdfit.fit` for each leg, which begins where the last one ended."""
    lines = ["import sgdfit", "", 'data = "data.csv"  # the file with your data', ""]
    for leg in way.legs:
        if leg.steps or leg.by_auto:
            lines += [*_call(way, leg), ""]
    return "run.py", "\n".join([*lines, "print(fit)", ""])


def _notebook(way: Way) -> tuple[str, str]:
    """Write the same as a notebook, with the plot of where it ended."""
    code = _python(way)[1].rstrip().removesuffix("print(fit)").rstrip()
    cells = [f"# A run of sgdfit: {way.formula}", code, "fit", "fit.plot().flat[0].figure"]
    kinds = ("markdown", "code", "code", "code")
    book = {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {},
        "cells": [
            {"id": f"cell{k}", "cell_type": kind, "metadata": {}, "source": text}
            | ({} if kind == "markdown" else {"outputs": [], "execution_count": None})
            for k, (kind, text) in enumerate(zip(kinds, cells, strict=True))
        ],
    }
    return "run.ipynb", json.dumps(book, indent=1, ensure_ascii=False) + "\n"


def _call(way: Way, leg: Leg) -> list[str]:
    given: dict[str, Any] = {"start": leg.start, "missing": "drop", "seed": leg.settings.seed}
    if way.where:
        given["where"] = way.where
    if way.fixed:
        given["fixed"] = way.fixed
    if not leg.by_auto:
        given |= {
            "optimizer": leg.settings.optimizer,
            "learning_rate": leg.rate,
            "steps": leg.steps,
            "kernel": way.kernel,
        }
        if leg.settings.batch is not None:
            given["batch_size"] = leg.settings.batch
    options = (f"    {name}={value!r}," for name, value in given.items())
    return ["fit = sgdfit.fit(", f"    {way.formula!r},", "    data,", *options, ")"]


def _tex(way: Way) -> tuple[str, str]:
    from sgdfit.derivation.derivation import derive

    return "derivation.tex", derive(way.model).latex()


def _trace(way: Way) -> tuple[str, str]:
    trace = way.trace
    lines = [",".join(["step", "loss", *way.model.free])]
    for step, loss, theta in zip(trace.steps, trace.losses, trace.thetas, strict=True):
        lines.append(",".join([str(step), repr(float(loss)), *map(repr, theta.tolist())]))
    return "trace.csv", "\n".join([*lines, ""])
