"""A condition on rows, such as ``x > 0 and site == 'A'``, as a tree of what it compares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sgdfit.data.wording import listed
from sgdfit.errors import DataError, did_you_mean

__all__ = [
    "Among",
    "Arithmetic",
    "Column",
    "Comparison",
    "Condition",
    "Joined",
    "Literal",
    "Missing",
    "Not",
]


class Condition(NamedTuple):
    """Which rows count.

    Attributes
    ----------
    text : str
        As the user wrote it.
    tree : Comparison, Among, Missing, Not, Joined, Column or Literal
        What it says.
    names : tuple of str
        The columns that it looks at, in Unicode's form NFKC, in order of appearance.
    """

    text: str
    tree: Any
    names: tuple[str, ...]

    def check(self, names: Sequence[str], label: str) -> None:
        """Refuse columns that are not among ``names``, or that two bear.

        Raises
        ------
        DataError
            With the names that there are.

        Examples
        --------
        >>> from sgdfit.data.conditions.parsing import read_condition
        >>> read_condition("tmie > 2").check(["time", "dose"], "data.csv")
        Traceback (most recent call last):
        sgdfit.errors.DataError: where='tmie > 2' looks at 'tmie', which is no column of data.csv;
        its columns are 'time', 'dose'. Did you mean 'time'?...
        """
        for name in self.names:
            count = list(names).count(name)
            if count > 1:
                raise DataError(
                    f"{label} has {count} columns named {name!r}; rename all but one of them"
                )
            if not count:
                raise DataError(
                    f"where={self.text!r} looks at {name!r}, which is no column of {label};"
                    f" its columns are {listed(names)}.{did_you_mean(name, names)}"
                    f"{_quotation(name)}"
                )


class Column(NamedTuple):
    """The values of a column."""

    name: str


class Literal(NamedTuple):
    """A number, a text or a truth value that stands in the condition."""

    value: float | str | bool


class Arithmetic(NamedTuple):
    """A sum, difference, product or quotient, in float64."""

    sign: str
    left: Any
    right: Any


class Comparison(NamedTuple):
    """Two values compared; not known where one is missing."""

    sign: str
    left: Any
    right: Any


class Among(NamedTuple):
    """Whether a value is one of several."""

    operand: Any
    values: tuple[Literal, ...]


class Missing(NamedTuple):
    """Whether a value is null or NaN."""

    operand: Any


class Not(NamedTuple):
    """The opposite; not known where that is not."""

    part: Any


class Joined(NamedTuple):
    """All of some parts (``and``), or at least one (``or``)."""

    word: str
    parts: tuple[Any, ...]


def _quotation(name: str) -> str:
    return f" (If {name!r} is text, write it in quotation marks.)" if name.isidentifier() else ""
