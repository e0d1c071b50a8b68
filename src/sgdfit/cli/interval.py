"""How often a line is printed while rows arrive, and which options that does not go with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from sgdfit.errors import UsageError

__all__ = ["Interval", "as_interval", "check_follow"]

EVERY = "1s"
# What an option of a fit of all rows may be beside --follow, where it is not None alone.
USUAL: dict[str, tuple[Any, ...]] = {
    "intervals": ("wald",),
    "optimizer": (None, "auto"),
    "shuffle": (True,),
    "kernel": ("auto", "numpy"),
    "dtype": ("float64",),
    "resume": (False,),
}
OTHERWISE = {"shuffle": "no-shuffle"}
_INTERVAL = re.compile(r"(\d+(?:\.\d+)?(?:e\d+)?)\s*(|rows?|ms|s|min|h)")
_SECONDS = {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}


class Interval(NamedTuple):
    """Between two lines: so many rows, or so many seconds."""

    rows: int | None
    seconds: float | None


def as_interval(text: str | None) -> Interval:
    """Return the interval that a text such as ``1000 rows`` or ``2s`` names.

    Raises
    ------
    UsageError
        When it names none.

    Examples
    --------
    >>> as_interval("1000 rows"), as_interval("2s")
    (Interval(rows=1000, seconds=None), Interval(rows=None, seconds=2.0))
    """
    found = _INTERVAL.fullmatch((EVERY if text is None else text).strip())
    value = float(found[1]) if found else 0.0
    if found and found[2] in _SECONDS and value > 0:
        return Interval(None, value * _SECONDS[found[2]])
    if found and found[2] not in _SECONDS and value >= 1 and value == int(value):
        return Interval(int(value), None)
    raise UsageError(
        f"--every is {text!r}; give a number of rows, as in '1000 rows', or a time, as in '2s',"
        " '500ms' or '5min'"
    )


def check_follow(
    follow: bool, data: str, every: str | None, forgetting: str | None, others: Mapping[str, Any]
) -> None:
    """Refuse options that do not go together.

    Parameters
    ----------
    others : mapping of str to object
        Options of a fit of all rows at once, by Python's names.

    Raises
    ------
    UsageError
    """
    if not follow:
        for name, given in (("every", every), ("forgetting", forgetting)):
            if given is not None:
                raise UsageError(f"--{name} belongs to --follow, which fits rows as they arrive")
        return
    if data != "-":
        raise UsageError(
            f"--follow reads standard input, not {data!r}; for a file that grows write:"
            f' tail -n +1 -f {data} | sgdfit fit - "…" --follow'
        )
    wrong = [name for name, value in others.items() if value not in USUAL.get(name, (None,))]
    if wrong:
        options = [f"--{OTHERWISE.get(name, name).replace('_', '-')}" for name in wrong]
        raise UsageError(
            f"{' and '.join(options)} cannot be had with --follow, which sees each row once; leave"
            " that out, or fit all rows at once without --follow"
        )
