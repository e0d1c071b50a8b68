"""How starting values were found, and what else was found on the way."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Rival", "StartSearch"]


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
