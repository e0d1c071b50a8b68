"""What a report says of how a descent began and which batches it took."""

from __future__ import annotations

from collections.abc import Iterator

from sgdfit.result.result import Result
from sgdfit.result.rounding import duration, number
from sgdfit.result.search import Rival, StartSearch

__all__ = [
    "automatic_lines",
    "counted",
    "is_recursive",
    "recursive_lines",
    "saw_all",
    "search_lines",
]

SHOWN_RIVALS = 3
RECURSIVE = "recursive"


def counted(count: int, noun: str) -> str:
    """Write a number with its noun.

    Examples
    --------
    >>> counted(1, "row"), counted(2_000, "row")
    ('1 row', '2,000 rows')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def automatic_lines(result: Result) -> Iterator[tuple[str, str]]:
    """Say how ``auto`` went: its batches, its steps and the rows that it saw."""
    yield "optimizer", f"{result.optimizer}: curvature-scaled steps on growing batches"
    yield "batch", _batches(result)
    yield "steps", f"{result.steps:,} in {duration(result.seconds)}"
    if result.rows_visited is not None and len(_sizes(result)) > 1:
        rows = result.drawn_from or result.rows
        data = "the data" if result.drawn_from is None else f"all {counted(rows, 'row')}"
        times = f"{number(result.rows_visited / rows, 3)} times {data}"
        yield "rows visited", f"{result.rows_visited:,} by passes and by steps on samples, {times}"


def saw_all(result: Result) -> bool:
    """Whether the estimates are of all rows, whatever else is of a sample."""
    return result.drawn_from is None or result.drawn_from in _sizes(result)


def is_recursive(result: Result) -> bool:
    """Whether the rows came in batches, each of which was seen once."""
    return result.optimizer.partition("(")[0] == RECURSIVE


def recursive_lines(result: Result) -> Iterator[tuple[str, str]]:
    """Say how estimates were kept current."""
    yield "optimizer", f"{result.optimizer}: each batch joined to what is known of those before"
    yield "updates", f"{result.steps:,} in {duration(result.seconds)}"


def _sizes(result: Result) -> list[int]:
    rows = result.trace.rows
    return [] if rows is None else list(dict.fromkeys(rows.tolist()))


def _batches(result: Result) -> str:
    rows = result.drawn_from or result.rows
    whole = "the one row" if rows == 1 else f"all {counted(rows, 'row')}"
    smaller = [f"{size:,}" for size in _sizes(result) if size != rows]
    if result.drawn_from is not None and not saw_all(result):
        return f"{', '.join(smaller)} random rows, not yet {whole}"
    return f"{', '.join(smaller)}, then {whole}" if smaller else whole


def search_lines(search: StartSearch) -> Iterator[tuple[str, str]]:
    """Say how starting values were searched for, and what else was found."""
    if search.points:
        tried = f"{counted(search.points, 'point')} on {counted(search.rows, 'row')}"
        minima = "1 minimum" if search.minima == 1 else f"{search.minima} minima"
        yield "searched", f"{tried}; the best {search.polished:,} led to {minima}"
    else:
        yield "solved", f"by least squares on {counted(search.rows, 'row')}"
    yield from search.ranges.items()
    if search.solved:
        yield "solved at each point", ", ".join(search.solved)
    for note in search.symmetries:
        yield "note", note
    for rival in search.rivals[:SHOWN_RIVALS]:
        yield "rival minimum", _rival(rival, search.loss)
    if len(search.rivals) > SHOWN_RIVALS:
        yield "rival minimum", f"and {len(search.rivals) - SHOWN_RIVALS} more"


def _rival(rival: Rival, best: float) -> str:
    values = ", ".join(f"{name} = {number(value)}" for name, value in rival.values.items())
    above = f"loss {number(100 * (rival.loss / best - 1), 2)}% higher" if best > 0 else "as good"
    return f"{values}: {above}"
