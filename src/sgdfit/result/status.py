"""How a run ended: a name, what caused it, and what to do about it."""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from sgdfit.errors import UsageError, did_you_mean


class Ending(NamedTuple):
    """One way in which a run can end; the run fills in what stands in braces in the cause."""

    meaning: str
    cause: str
    cure: str
    ok: bool


STATUSES: Mapping[str, Ending] = MappingProxyType(
    {
        "converged": Ending(
            meaning="the estimates have reached the optimum",
            cause="the remaining distance to the optimum is within the tolerance",
            cure="",
            ok=True,
        ),
        "local_minimum": Ending(
            meaning="the estimates are at a minimum of the loss, but there is a better one",
            cause="the start led to a minimum, and a search of other starts found a better one",
            cure="start from the better one, or leave out the start",
            ok=True,
        ),
        "step_limit": Ending(
            meaning="all the steps asked for were taken before the optimum was reached",
            cause="the limit of {steps} steps was reached before the optimum",
            cure="raise steps (or epochs), or change the learning rate",
            ok=True,
        ),
        "diverged": Ending(
            meaning="the loss grew without bound; the estimates are the last finite state",
            cause="the loss grew without bound and the run was stopped at step {step}",
            cure="lower the learning rate below the stability limit that the diagnosis names",
            ok=False,
        ),
        "stalled": Ending(
            meaning="the steps no longer move the estimates, and the optimum is not reached",
            cause="from step {step} on the estimates no longer moved",
            cure="raise the learning rate, or scale columns so that parameters are of like size",
            ok=True,
        ),
        "interrupted": Ending(
            meaning="the user pressed Ctrl-C; the estimates are the best until then",
            cause="interrupted by the user at step {step}",
            cure="start from these estimates to go on",
            ok=True,
        ),
        "stopped": Ending(
            meaning="a callback asked the run to stop",
            cause="a callback stopped the run at step {step}",
            cure="",
            ok=True,
        ),
        "domain_error": Ending(
            meaning="the formula has no finite value on some row, such as log of a negative number",
            cause="the formula has no finite value on row {row} at step {step}",
            cure="bound the parameters, or choose a start where every row has a finite value",
            ok=False,
        ),
    }
)


@dataclass(frozen=True)
class Status:
    """How a run ended.

    Attributes
    ----------
    name : str
        One of the names in `STATUSES`, such as ``"step_limit"``.
    cause : str
        What happened, with the figures that prove it.
    cure : str
        What to do next; empty where nothing needs doing.

    Raises
    ------
    UsageError
        When the name is not in `STATUSES`.

    Examples
    --------
    >>> status = Status("step_limit", "the limit of 10 steps was reached", "raise steps")
    >>> status.label, status.ok
    ('step limit', True)
    """

    name: str
    cause: str
    cure: str = ""

    def __post_init__(self) -> None:
        _ending(self.name)

    @property
    def ok(self) -> bool:
        """Whether the estimates can be used; False when the fit failed."""
        return STATUSES[self.name].ok

    @property
    def label(self) -> str:
        """The name in plain words."""
        return self.name.replace("_", " ")

    @property
    def meaning(self) -> str:
        """What this status says of any run."""
        return STATUSES[self.name].meaning


def status_of(
    name: str, *, cause: str | None = None, cure: str | None = None, **facts: object
) -> Status:
    """Make a `Status` from the table, the default cause filled in with ``facts``.

    Raises
    ------
    UsageError
        When the name is unknown, or the default cause needs a fact that is not given.

    Examples
    --------
    >>> status_of("step_limit", steps=200).cause
    'the limit of 200 steps was reached before the optimum'
    """
    ending = _ending(name)
    if cause is None:
        cause = _filled(name, ending.cause, facts)
    return Status(name, cause, ending.cure if cure is None else cure)


def _ending(name: str) -> Ending:
    if name not in STATUSES:
        raise UsageError(
            f"no status is called {name!r}; the statuses are {', '.join(STATUSES)}."
            + did_you_mean(name, STATUSES)
        )
    return STATUSES[name]


def _filled(name: str, template: str, facts: Mapping[str, object]) -> str:
    needed = [field for _, field, _, _ in string.Formatter().parse(template) if field]
    missing = [field for field in needed if field not in facts]
    if missing:
        raise UsageError(f"the cause of status {name!r} needs {', '.join(missing)}: {template!r}")
    return template.format(**facts)


@dataclass(frozen=True)
class Rival:
    """Another minimum of the loss.

    Attributes
    ----------
    values : dict of str to float
        The free parameters there.
    loss : float
        The mean loss over the rows that it was looked for on.
    """

    values: dict[str, float]
    loss: float


@dataclass(frozen=True)
class StartSearch:
    """A search for starting values.

    Attributes
    ----------
    points, polished : int
        Points of the parameters that were evaluated, and how many were followed to a minimum.
    minima : int
        Distinct minima among them.
    rows : int
        Rows that the search looked at.
    ranges : dict of str to str
        From where each searched parameter was drawn, in words.
    solved : tuple of str
        Parameters that enter linearly: at each point they were solved exactly.
    loss : float
        The mean squared residual of the best minimum over these rows.
    rivals : tuple of Rival
        Other minima whose loss is within a few percent of the best.
    symmetries : tuple of str
        Which parameters can be exchanged or change their sign, and which of these equivalent
        minima is given; a sentence each.
    """

    points: int
    polished: int
    minima: int
    rows: int
    ranges: dict[str, str]
    solved: tuple[str, ...]
    loss: float
    rivals: tuple[Rival, ...] = ()
    symmetries: tuple[str, ...] = ()
