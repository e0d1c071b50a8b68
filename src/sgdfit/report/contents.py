"""What a report says: every sentence and figure, before any layout.

The text, terminal and notebook reports all lay out these same strings, so that they cannot
disagree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from sgdfit.result.result import Estimate, Result
from sgdfit.result.rounding import duration, interval, number, plus_minus
from sgdfit.result.status import Rival, StartSearch

if TYPE_CHECKING:
    from sgdfit.inference.diagnosis import Diagnosis

# What stands before the status, by its level.
MARKS = {"good": "✓", "caution": "!", "bad": "✗"}
SHOWN_EIGENVALUES = 6
SHOWN_RIVALS = 3
STRONG_CORRELATION = 0.9
SHOWN_PAIRS = 6
RECURSIVE = "recursive"

_COVARIANCE = {
    "classical": "classical (residual variance × inverse curvature)",
    "sandwich": "sandwich (also right where the scatter differs from row to row)",
}


@dataclass(frozen=True)
class Section:
    """A heading and its lines of (label, text)."""

    title: str
    lines: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Facts:
    """A report without layout.

    Attributes
    ----------
    formula : str
        The title.
    level : str
        ``"good"``, ``"caution"`` or ``"bad"``.
    headline : str
        Status and distance to the optimum.
    advice : tuple of (str, str)
        Cause and cure, where there are any.
    header : tuple of str
        Heads of the table of estimates.
    estimates : tuple of tuples of str
        Its rows.
    sections : tuple of Section
        All else.
    """

    formula: str
    level: str
    headline: str
    advice: tuple[tuple[str, str], ...]
    header: tuple[str, ...]
    estimates: tuple[tuple[str, ...], ...]
    sections: tuple[Section, ...]


def facts(result: Result) -> Facts:
    """Say in words and rounded figures what a result holds."""
    header, estimates = _estimates(result)
    parts: list[tuple[str, Iterable[tuple[str, str]]]] = [
        ("Goodness of fit", _goodness(result)),
        ("Uncertainty", _uncertainty(result)),
        ("How it was found", _how(result)),
    ]
    if result.search is not None:
        parts.append(("Starting values", _search(result.search)))
    if result.diagnosis is not None:
        parts.append(_curvature(result.diagnosis, result.warnings))
    return Facts(
        formula=_clean(result.formula),
        level=_level(result),
        headline=f"{result.status.label}: {_distance(result)}",
        advice=_advice(result),
        header=header,
        estimates=estimates,
        sections=tuple(Section(title, _cleaned(lines)) for title, lines in parts),
    )


def _level(result: Result) -> str:
    if not result.status.ok:
        return "bad"
    return "good" if result.status.name == "converged" else "caution"


def _distance(result: Result) -> str:
    distance = result.distance
    if distance is None or np.isnan(distance):
        return "the distance to the optimum is not known"
    unit = "standard error" if distance == 1 else "standard errors"
    # Where all rows have their optimum is not known of a sample.
    of = "" if _saw_all(result) else f" of {_counted(result.rows, 'random row')}"
    return f"{number(distance, 2)} {unit} from the optimum{of}"


def _advice(result: Result) -> tuple[tuple[str, str], ...]:
    pair = (("cause", result.status.cause), ("cure", result.status.cure))
    warnings = (("warning", text) for text in result.warnings)
    return _cleaned((label, text) for label, text in (*pair, *warnings) if text)


def _estimates(result: Result) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    header = ("parameter", "estimate", "95% interval", "start", "note")
    rows = [_estimate(estimate) for estimate in result.estimates.values()]
    # a column that is empty in every row says nothing
    kept = [i for i in range(len(header)) if i < 2 or any(row[i] for row in rows)]
    return (
        tuple(header[i] for i in kept),
        tuple(tuple(_clean(row[i]) for i in kept) for row in rows),
    )


def _estimate(estimate: Estimate) -> tuple[str, ...]:
    span = ""
    if estimate.interval is not None:
        span = interval(*estimate.interval, estimate.value, estimate.stderr)
    return (
        estimate.name,
        plus_minus(estimate.value, estimate.stderr),
        span,
        _start(estimate),
        _note(estimate),
    )


def _start(estimate: Estimate) -> str:
    if estimate.role != "free":
        return ""
    origin = estimate.start_origin.partition(" ")[0]
    if origin == "solved":
        return "solved"
    return f"{number(estimate.start)} ({origin})"


def _note(estimate: Estimate) -> str:
    if estimate.role == "fixed":
        return "fixed"
    if estimate.role == "tied":
        return f"tied: {estimate.tie}"
    if not estimate.at_bound:
        return ""
    low_is_near = abs(estimate.value - estimate.low) <= abs(estimate.value - estimate.high)
    side, bound = ("lower", estimate.low) if low_is_near else ("upper", estimate.high)
    return f"at its {side} bound {number(bound)}"


def _goodness(result: Result) -> Iterator[tuple[str, str]]:
    mean = "the mean" if result.weights is None else "the weighted mean"
    mean += " over the rows" if result.drawn_from is None else " over the random rows"
    yield "loss", f"{number(result.loss)} ({result.loss_name}, {mean})"
    yield "residual sum of squares", number(result.residual_sum_of_squares)
    count = f"{_counted(result.rows, 'row')} − {_counted(len(result.free), 'free parameter')}"
    if _is_recursive(result) and "forgetting" in result.optimizer:
        count = f"what forgetting leaves of {count}"
    yield "degrees of freedom", f"{result.degrees_of_freedom:,} ({count})"
    if result.reduced_chi_square is not None:
        yield "reduced χ²", number(result.reduced_chi_square)
    if result.r_squared is not None:
        yield "R²", number(result.r_squared)
    criteria = (("AIC", result.aic), ("AICc", result.aicc), ("BIC", result.bic))
    known = [f"{name} {_criterion(value)}" for name, value in criteria if value is not None]
    if known:
        yield "information criteria", ", ".join(known)


def _criterion(value: float) -> str:
    """Write an information criterion: only differences of a few units tell models apart.

    Examples
    --------
    >>> _criterion(54.6550123), _criterion(-172322002.758)
    ('54.655', '-172,322,002.8')
    """
    return f"{value:,.1f}" if 1e5 <= abs(value) < 1e15 else number(value)


def _uncertainty(result: Result) -> Iterator[tuple[str, str]]:
    """Say by which method the standard errors came, what sets their scale, what correlates."""
    method, _, reason = result.covariance_method.partition(": ")
    if method == "none":
        yield "standard errors", f"not known: {reason}" if reason else "not known"
    elif method == "classical" and result.absolute_sigma:
        yield "standard errors", "classical (variance of the rows × inverse curvature)"
    else:
        yield "standard errors", _COVARIANCE.get(method, result.covariance_method)
    if result.covariance is not None:
        yield from _sample(result)
        yield from _scale(result, method)
    for combination in result.undetermined:
        yield "not determined", combination
    for known in result.determined:
        yield "determined", f"{known.text} = {plus_minus(known.value, known.stderr)}"
    if result.correlation is not None and len(result.free) > 1:
        yield f"correlations above {STRONG_CORRELATION}", _correlations(result)


def _sample(result: Result) -> Iterator[tuple[str, str]]:
    """Say of which rows the standard errors are, where that is not all of them."""
    if result.drawn_from is None:
        return
    smaller = number(np.sqrt(result.drawn_from / result.rows), 2)
    yield (
        "of a sample",
        f"of {result.rows:,} random rows; those of all {result.drawn_from:,} are about"
        f" {smaller} times smaller",
    )


def _scale(result: Result, method: str) -> Iterator[tuple[str, str]]:
    """Say where the size of the errors, and the width of the intervals, come from."""
    if result.absolute_sigma:
        given = f"sigma {result.sigma}" if result.sigma else f"the weights {result.weights}"
        yield "scale", f"absolute: from {given} as given"
    elif method == "classical":
        yield "scale", f"scaled by the residuals{_scatter(result)}"
    if any(estimate.interval is not None for estimate in result.estimates.values()):
        left = result.degrees_of_freedom
        plural = "degree" if left == 1 else "degrees"
        student = f"Student's t, {left:,} {plural} of freedom"
        usual = "normal" if result.absolute_sigma else student
        profiled = result.intervals == "profile"
        yield "95% intervals", f"profile likelihood, {usual}" if profiled else usual


def _scatter(result: Result) -> str:
    """Say by how much rows scatter about the curve, in units of the response."""
    variance = result.noise_variance
    variance = result.reduced_chi_square if variance is None else variance
    if variance is None:
        return ""
    row = "row" if result.weights is None else "row of weight 1"
    return f" (a {row} scatters by {number(np.sqrt(variance))})"


def _correlations(result: Result) -> str:
    matrix = np.asarray(result.correlation)
    strong = [
        (abs(matrix[i, j]), f"{result.free[i]} and {result.free[j]} {matrix[i, j]:.3f}")
        for i, j in zip(*np.triu_indices(len(result.free), 1), strict=True)
        if abs(matrix[i, j]) > STRONG_CORRELATION
    ]
    texts = [text for _, text in sorted(strong, key=lambda pair: -pair[0])]
    more = f", and {len(texts) - SHOWN_PAIRS} more" if len(texts) > SHOWN_PAIRS else ""
    return ", ".join(texts[:SHOWN_PAIRS]) + more or "none"


def _how(result: Result) -> Iterator[tuple[str, str]]:
    automatic = result.trace.rows is not None
    if _is_recursive(result):
        yield from _recursive(result)
    else:
        yield from _automatic(result) if automatic else _textbook(result)
    yield "data", _data(result)
    yield "arithmetic", f"{result.kernel} kernel, {result.dtype}"
    random = any(estimate.start_origin == "random" for estimate in result.estimates.values())
    if result.batch_size is not None or random or result.search is not None:
        yield "seed", str(result.seed)


def _counted(count: int, noun: str) -> str:
    """Write a number with its noun.

    Examples
    --------
    >>> _counted(1, "row"), _counted(2_000, "row")
    ('1 row', '2,000 rows')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _automatic(result: Result) -> Iterator[tuple[str, str]]:
    """Say how ``auto`` went: its batches, its steps and the rows that it saw."""
    yield "optimizer", f"{result.optimizer}: curvature-scaled steps on growing batches"
    yield "batch", _batches(result)
    yield "steps", f"{result.steps:,} in {duration(result.seconds)}"
    if result.rows_visited is not None and len(_sizes(result)) > 1:
        rows = result.drawn_from or result.rows
        data = "the data" if result.drawn_from is None else f"all {_counted(rows, 'row')}"
        times = f"{number(result.rows_visited / rows, 3)} times {data}"
        yield "rows visited", f"{result.rows_visited:,} by passes and by steps on samples, {times}"


def _saw_all(result: Result) -> bool:
    """Whether the estimates are of all rows, whatever else is of a sample."""
    return result.drawn_from is None or result.drawn_from in _sizes(result)


def _is_recursive(result: Result) -> bool:
    """Whether the rows came in batches, each of which was seen once."""
    return result.optimizer.partition("(")[0] == RECURSIVE


def _recursive(result: Result) -> Iterator[tuple[str, str]]:
    """Say how estimates were kept current."""
    yield "optimizer", f"{result.optimizer}: each batch joined to what is known of those before"
    yield "updates", f"{result.steps:,} in {duration(result.seconds)}"


def _sizes(result: Result) -> list[int]:
    rows = result.trace.rows
    return [] if rows is None else list(dict.fromkeys(rows.tolist()))


def _batches(result: Result) -> str:
    rows = result.drawn_from or result.rows
    whole = "the one row" if rows == 1 else f"all {_counted(rows, 'row')}"
    smaller = [f"{size:,}" for size in _sizes(result) if size != rows]
    if result.drawn_from is not None and not _saw_all(result):
        return f"{', '.join(smaller)} random rows, not yet {whole}"
    return f"{', '.join(smaller)}, then {whole}" if smaller else whole


def _textbook(result: Result) -> Iterator[tuple[str, str]]:
    yield "optimizer", f"{result.optimizer}, learning rate {_rate(result.learning_rate)}"
    size, rows = result.batch_size, _counted(result.drawn_from or result.rows, "row")
    whole = rows if result.rows == 1 else f"all {rows}"
    yield "batch", whole if size is None else f"{size:,} of {rows}"
    yield (
        "steps",
        (f"{result.steps:,} ({_counted(result.epochs, 'epoch')}) in {duration(result.seconds)}"),
    )


def _rate(text: str) -> str:
    """Round a constant rate; a schedule stays as it is."""
    try:
        return number(float(text))
    except ValueError:
        return text


def _data(result: Result) -> str:
    text = f"{_counted(result.rows, 'row')} of {result.data_label}"
    if result.sigma is not None:
        text += f", their standard deviations {result.sigma}"
    elif result.weights is not None:
        text += f", weighted by {result.weights}"
    if result.rows_dropped:
        text += f"; {_counted(result.rows_dropped, 'row')} with missing values dropped"
    return text


def _search(search: StartSearch) -> Iterator[tuple[str, str]]:
    """Say how starting values were searched for, and what else was found."""
    if search.points:
        tried = f"{_counted(search.points, 'point')} on {_counted(search.rows, 'row')}"
        minima = "1 minimum" if search.minima == 1 else f"{search.minima} minima"
        yield "searched", f"{tried}; the best {search.polished:,} led to {minima}"
    else:
        yield "solved", f"by least squares on {_counted(search.rows, 'row')}"
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


def _curvature(
    diagnosis: Diagnosis, warnings: tuple[str, ...]
) -> tuple[str, Iterator[tuple[str, str]]]:
    title = "Curvature at the start"
    if diagnosis.local:
        title += " (local: the model is not linear)"
    notes = [("note", note) for note in diagnosis.notes if note not in warnings]
    return title, chain(_diagnosis(diagnosis), notes)


def _diagnosis(diagnosis: Diagnosis) -> Iterator[tuple[str, str]]:
    yield "eigenvalues", _eigenvalues(diagnosis)
    yield "condition number", number(diagnosis.condition_number, 4)
    yield from _rates(diagnosis)
    if diagnosis.steps_per_digit is not None:
        yield "steps per decimal digit", _steps_per_digit(diagnosis)
    if diagnosis.growth_factor is not None:
        end = ", so that it diverges" if diagnosis.growth_factor > 1 else ""
        text = f"{number(diagnosis.growth_factor)} a step along the steepest direction{end}"
        yield "growth factor", text
    if diagnosis.best_momentum is not None:
        rate, momentum = (number(x) for x in diagnosis.best_momentum[:2])
        yield "fastest with momentum", f"rate {rate}, momentum {momentum}"
    yield from _noise(diagnosis)
    if diagnosis.undetermined:
        yield "not determined", "; ".join(diagnosis.undetermined)


def _eigenvalues(diagnosis: Diagnosis) -> str:
    values = sorted(float(value) for value in diagnosis.eigenvalues)
    if not values:
        return "none"
    if len(values) <= SHOWN_EIGENVALUES:
        return ", ".join(number(value) for value in values)
    return f"λmin {number(values[0])}, λmax {number(values[-1])} ({len(values)} in all)"


def _steps_per_digit(diagnosis: Diagnosis) -> str:
    assert diagnosis.steps_per_digit is not None  # the caller has looked
    text = f"{number(diagnosis.steps_per_digit, 3)} at the fastest rate"
    used = diagnosis.steps_per_digit_at_rate
    if used is None:
        return text
    shown = number(used, 3) if np.isfinite(used) else "no progress"
    return f"{text}, {shown} at the rate used"


def _rates(diagnosis: Diagnosis) -> Iterator[tuple[str, str]]:
    """Name the rates, with the formula where it is that of descent without momentum."""
    positive = [float(value) for value in diagnosis.eigenvalues if value > 0]
    low, top = min(positive, default=np.nan), max(positive, default=np.nan)
    limit, fastest = diagnosis.stability_limit, diagnosis.fastest_rate
    if limit is not None:
        plain = " = 2/λmax" if np.isclose(limit * top, 2, rtol=1e-9) else ""
        yield "stability limit", f"{number(limit)}{plain}; a larger constant rate diverges"
    if fastest is not None:
        plain = " = 2/(λmin + λmax)" if np.isclose(fastest * (low + top), 2, rtol=1e-9) else ""
        yield "fastest rate", f"{number(fastest)}{plain}"


def _noise(diagnosis: Diagnosis) -> Iterator[tuple[str, str]]:
    if diagnosis.noise_floor is None:
        return
    text = f"the loss hovers about {number(100 * diagnosis.noise_floor, 2)}% above its minimum"
    if diagnosis.noise_distance is not None:
        text += f", {number(diagnosis.noise_distance, 2)} standard errors from the optimum"
    yield "noise of the batches", text


def _cleaned(lines: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((_clean(label), _clean(text)) for label, text in lines)


def _clean(text: str) -> str:
    """Make one printable line: a file's name may hold line breaks or terminal commands."""
    return "".join(c if c.isprintable() else "�" for c in " ".join(text.split()))
