"""How a run ended: a name, what caused it, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from sgdfit.errors import UsageError, did_you_mean


class StatusTemplate(NamedTuple):
    """One way in which a run can end; the run fills in what stands in braces in the cause."""

    cause: str
    cure: str = ""
    ok: bool = True  # whether the estimates can be used


STATUSES = {
    "converged": StatusTemplate("the remaining distance to the optimum is within the tolerance"),
    "local_minimum": StatusTemplate(
        "the start led to a minimum, and a search of other starts found a better one",
        "start from the better one, or leave out the start",
    ),
    "step_limit": StatusTemplate(
        "the limit of {steps} steps was reached before the optimum",
        "raise steps (or epochs), or change the learning rate",
    ),
    "diverged": StatusTemplate(
        "the loss grew without bound and the run was stopped at step {step}",
        "lower the learning rate below the stability limit that the diagnosis names",
        ok=False,
    ),
    "at_infinity": StatusTemplate(
        "the best curve is a limit that no values of the parameters reach",
        "fit a simpler formula, which has that limit for its optimum",
    ),
    "stalled": StatusTemplate(
        "from step {step} on the estimates no longer moved",
        "raise the learning rate, or scale columns so that parameters are of like size",
    ),
    "interrupted": StatusTemplate(
        "interrupted by the user at step {step}", "start from these estimates to go on"
    ),
    "stopped": StatusTemplate("a callback stopped the run at step {step}"),
    "domain_error": StatusTemplate(
        "the formula has no finite value on row {row} at step {step}",
        "bound the parameters, or choose a start where every row has a finite value",
        ok=False,
    ),
}


@dataclass(frozen=True)
class Status:
    """How a run ended.

    Attributes
    ----------
    name : a word such as "converged" or "step_limit"; docs/choosing.md explains each
    cause : what happened, with the figures that prove it
    cure : what to do next; empty where nothing needs doing

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
        if self.name not in STATUSES:
            raise UsageError(
                f"no status is called {self.name!r}; the statuses are {', '.join(STATUSES)}."
                + did_you_mean(self.name, STATUSES)
            )

    @property
    def ok(self) -> bool:
        """Whether the estimates can be used; False when the fit failed."""
        return STATUSES[self.name].ok

    @property
    def label(self) -> str:
        """The name in plain words."""
        return self.name.replace("_", " ")


def status_of(
    name: str, *, cause: str | None = None, cure: str | None = None, **facts: object
) -> Status:
    """Make a `Status` from the table, the default cause filled in with the ``facts`` it needs.

    >>> status_of("step_limit", steps=200).cause
    'the limit of 200 steps was reached before the optimum'
    """
    usual = STATUSES[name]
    cause = usual.cause.format(**facts) if cause is None else cause
    return Status(name, cause, usual.cure if cure is None else cure)


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
    loss: float  # the mean loss of the best one over these rows
    # Other minima whose loss is within a few percent of the best; first those that are lower, and
    # passed over since the formula divides by zero there on a row.
    rivals: tuple[Rival, ...] = ()
    # Which parameters can be exchanged or change their sign, and which of these equivalent minima
    # is given; a sentence each.
    symmetries: tuple[str, ...] = ()
