"""How a run ended: a name, what caused it, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from sgdfit.errors import UsageError, did_you_mean


class StatusTemplate(NamedTuple):
    """One way in which a run can end; the run fills in what stands in braces in the cause."""

    meaning: str
    cause: str
    cure: str
    ok: bool


STATUSES: Mapping[str, StatusTemplate] = MappingProxyType(
    {
        "converged": StatusTemplate(
            meaning="the estimates have reached the optimum",
            cause="the remaining distance to the optimum is within the tolerance",
            cure="",
            ok=True,
        ),
        "local_minimum": StatusTemplate(
            meaning="the estimates are at a minimum of the loss, but there is a better one",
            cause="the start led to a minimum, and a search of other starts found a better one",
            cure="start from the better one, or leave out the start",
            ok=True,
        ),
        "step_limit": StatusTemplate(
            meaning="all the steps asked for were taken before the optimum was reached",
            cause="the limit of {steps} steps was reached before the optimum",
            cure="raise steps (or epochs), or change the learning rate",
            ok=True,
        ),
        "diverged": StatusTemplate(
            meaning="the loss grew without bound; the estimates are the last finite state",
            cause="the loss grew without bound and the run was stopped at step {step}",
            cure="lower the learning rate below the stability limit that the diagnosis names",
            ok=False,
        ),
        "stalled": StatusTemplate(
            meaning="the steps no longer move the estimates, and the optimum is not reached",
            cause="from step {step} on the estimates no longer moved",
            cure="raise the learning rate, or scale columns so that parameters are of like size",
            ok=True,
        ),
        "interrupted": StatusTemplate(
            meaning="the user pressed Ctrl-C; the estimates are the best until then",
            cause="interrupted by the user at step {step}",
            cure="start from these estimates to go on",
            ok=True,
        ),
        "stopped": StatusTemplate(
            meaning="a callback asked the run to stop",
            cause="a callback stopped the run at step {step}",
            cure="",
            ok=True,
        ),
        "domain_error": StatusTemplate(
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

    Examples
    --------
    >>> status = Status("step_limit", "the limit of 10 steps was reached", "raise steps")
    >>> status.label, status.ok
    ('step limit', True)
    """

    name: str  # one of the names in `STATUSES`, such as "step_limit"
    cause: str  # what happened, with the figures that prove it
    cure: str = ""  # what to do next; empty where nothing needs doing

    def __post_init__(self) -> None:
        _template(self.name)

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
    """Make a `Status` from the table, the default cause filled in with the ``facts`` it needs.

    >>> status_of("step_limit", steps=200).cause
    'the limit of 200 steps was reached before the optimum'
    """
    template = _template(name)
    try:
        cause = template.cause.format(**facts) if cause is None else cause
    except KeyError as missing:
        raise UsageError(
            f"the cause of status {name!r} needs {missing.args[0]}: {template.cause!r}"
        ) from None
    return Status(name, cause, template.cure if cure is None else cure)


def _template(name: str) -> StatusTemplate:
    if name not in STATUSES:
        raise UsageError(
            f"no status is called {name!r}; the statuses are {', '.join(STATUSES)}."
            + did_you_mean(name, STATUSES)
        )
    return STATUSES[name]


@dataclass(frozen=True)
class Rival:
    """Another minimum of the loss."""

    values: dict[str, float]  # the free parameters there
    loss: float  # the mean loss over the rows that it was looked for on


@dataclass(frozen=True)
class StartSearch:
    """A search for starting values."""

    points: int  # points of the parameters that were evaluated
    polished: int  # how many of them were followed to a minimum
    minima: int  # distinct minima among them
    rows: int  # that the search looked at
    ranges: dict[str, str]  # from where each searched parameter was drawn, in words
    solved: tuple[str, ...]  # those that enter linearly: at each point they were solved exactly
    loss: float  # the mean squared residual of the best minimum over these rows
    rivals: tuple[Rival, ...] = ()  # other minima whose loss is within a few percent of the best
    # Which parameters can be exchanged or change their sign, and which of these equivalent minima
    # is given; a sentence each.
    symmetries: tuple[str, ...] = ()
