"""A run written down: Python that repeats it, TeX, and the trace as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sgdfit.derivation.derivation import derive
from sgdfit.errors import UsageError

if TYPE_CHECKING:
    from sgdfit.page.session import Leg, Session


def export(session: Session, kind: str) -> tuple[str, str]:
    """Return the name of a file and its text.

    Raises
    ------
    UsageError
        When there is no such kind.
    """
    kinds = {"python": _python, "tex": _tex, "csv": _trace}
    if kind not in kinds:
        raise UsageError(f"a run is written as {', '.join(kinds)}, not as {kind!r}")
    return kinds[kind](session)


def _python(session: Session) -> tuple[str, str]:
    """Write a call of `sgdfit.fit` for each leg, which begins where the last one ended."""
    lines = ["import sgdfit", "", 'data = "data.csv"  # the file with your data', ""]
    for leg in session.legs:
        if leg.steps:
            lines += [*_call(session, leg), ""]
    lines.append("print(fit)")
    return "run.py", "\n".join(lines) + "\n"


def _call(session: Session, leg: Leg) -> list[str]:
    fixed = {name: session.values[name] for name in session.locked}
    given = {"start": leg.start, **({"fixed": fixed} if fixed else {}), "missing": "drop"}
    if not leg.by_auto:
        given |= {
            "optimizer": leg.settings.optimizer,
            "learning_rate": leg.rate,
            "steps": leg.steps,
            "kernel": "numpy",
        }
        if leg.settings.batch is not None:
            given["batch_size"] = leg.settings.batch
    given["seed"] = leg.settings.seed
    return [
        "fit = sgdfit.fit(",
        f"    {session.formula!r},",
        "    data,",
        *(f"    {name}={value!r}," for name, value in given.items()),
        ")",
    ]


def _tex(session: Session) -> tuple[str, str]:
    return "derivation.tex", derive(session.model).latex()


def _trace(session: Session) -> tuple[str, str]:
    head = ",".join(["step", "loss", *session.model.free])
    rows = [
        ",".join([str(step), repr(float(loss)), *map(repr, theta.tolist())])
        for step, loss, theta in zip(
            session.trace.steps, session.trace.losses, session.trace.thetas, strict=True
        )
    ]
    return "trace.csv", "\n".join([head, *rows]) + "\n"
