"""The tutorial's story: its listing, what it printed, and the run that reaches the answer."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sgdfit.demo import tutorial
from sgdfit.fitting.entry import fit
from sgdfit.inference.diagnosis import Diagnosis
from sgdfit.result.result import Result

__all__ = ["FORMULA", "Story", "tell"]

FORMULA = "y = a*x**2 + b*x + c"
WITHOUT_CONSTANT = "y = a*x**2 + b*x"

Columns = dict[str, np.ndarray[Any, Any]]


class Story(NamedTuple):
    """The runs that the demo tells of.

    Attributes
    ----------
    data : dict of str to float64[20]
        The points, as the listing makes them.
    listing : Result
        The listing as it stands, in float64.
    listing_as_printed, printed : Result
        The listing, and the model without c whose figures the tutorial prints, in float32.
    printed_exactly : Result
        The same as ``printed`` in float64.
    best : Result
        The listing at the recommended rate.
    solution : float64[3]
        The answer of linear least squares, by another way: numpy.linalg.lstsq.
    """

    data: Columns
    listing: Result
    listing_as_printed: Result
    printed: Result
    printed_exactly: Result
    best: Result
    solution: np.ndarray[Any, Any]


def tell() -> Story:
    """Run every fit of the story.

    Examples
    --------
    >>> story = tell()
    >>> story.listing.status.name, story.best.status.name
    ('diverged', 'converged')
    """
    data, bare = _columns(constant=True), _columns(constant=False)
    listing = _run(FORMULA, data)
    assert listing.diagnosis is not None  # sgd always has one
    return Story(
        data=data,
        listing=listing,
        listing_as_printed=_run(FORMULA, data, dtype="float32"),
        printed=_run(WITHOUT_CONSTANT, bare, dtype="float32"),
        printed_exactly=_run(WITHOUT_CONSTANT, bare),
        best=_run(
            FORMULA,
            data,
            learning_rate=listing.diagnosis.fastest_rate,
            steps=1_000,
            tolerance=1e-10,
        ),
        solution=_least_squares(**data),
    )


def _columns(*, constant: bool) -> Columns:
    points = tutorial.points(constant=constant)
    return {name: column.astype(np.float64) for name, column in points.items()}


def _run(formula: str, data: Columns, **options: Any) -> Result:
    names = "abc" if formula == FORMULA else "ab"
    start = {name: tutorial.START[name] for name in names}
    options = {"learning_rate": tutorial.RATE, "steps": tutorial.STEPS, **options}
    return fit(formula, data, start=start, announce=_nothing_more, **options)


def _nothing_more(diagnosis: Diagnosis) -> None:
    """No warning before the run: the story itself tells why it diverges."""


def _least_squares(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    design = np.stack([x**2, x, np.ones_like(x)], axis=1)
    return np.asarray(np.linalg.lstsq(design, y)[0])
