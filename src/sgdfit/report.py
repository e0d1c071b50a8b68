"""The report of a fit: what it says, then as plain text, for a terminal by Rich, and as HTML.

It begins with what a scientist asks: the estimates with their errors, how good the fit is, and in
one line how it ended. All else is in the full report, in HTML folded away. Every layout shows the
same strings, those of `facts`, so that they cannot disagree.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, TypeAlias

import numpy as np

from sgdfit.errors import counted, require
from sgdfit.inference.diagnosis import Diagnosis
from sgdfit.model.loss import SQUARED
from sgdfit.result.result import Estimate, Result
from sgdfit.result.rounding import duration, interval_text, number, plus_minus
from sgdfit.result.trace import Trace

Lines: TypeAlias = Iterator[tuple[str, str]]

# What stands before the status, by its level.
MARKS = {"good": "✓", "caution": "!", "bad": "✗"}
SHOWN_EIGENVALUES = 6
SHOWN_RIVALS = 3
# Of a parameter with many levels, unless the report is a full one: the first and the last.
SHOWN_LEVELS = 9, 1
STRONG_CORRELATION = 0.9
SHOWN_PAIRS = 6
RECURSIVE = "recursive"
IN_MEMORY = ("the data", "data in memory")
# Nearer to the optimum than this is as good as there.
ARRIVED_DISTANCE = 0.01

_ORIGINS = {"search": "found", "default": "by default"}
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
    """A report without layout."""

    formula: str  # the title
    level: str  # "good", "caution" or "bad"
    header: tuple[str, ...]  # of the table of estimates
    estimates: tuple[tuple[str, ...], ...]  # its rows
    summary: tuple[tuple[str, str], ...]  # how good the fit is, and of what
    headline: str  # how the run ended
    advice: tuple[tuple[str, str], ...]  # cause and cure, where there are any, and warnings
    sections: tuple[Section, ...]  # all else: what a full report adds


def facts(result: Result) -> Facts:
    """Say in words and rounded figures what a result holds."""
    status = result.status
    arrived = status.name == "converged"
    # The headline says already that all steps are taken.
    cause = "" if status.name in ("converged", "step_limit") else status.cause
    advice = [("cause", cause), ("cure", status.cure)]
    advice += [("warning", text) for text in result.warnings]
    kind = "interval" if result.intervals == "wald" else f"{result.intervals} interval"
    header = ("parameter", "estimate", f"{percent(result.level)} {kind}", "note")
    rows = [_estimate(estimate) for estimate in result.estimates.values()]
    # a column that is empty in every row says nothing
    kept = [i for i in range(len(header)) if i < 2 or any(row[i] for row in rows)]
    sections = [
        ("Goodness of fit", _goodness(result) if status.ok else ()),
        ("Uncertainty", _uncertainty(result)),
        ("How it was found", _how(result)),
        ("Starting values", _starts(result)),
    ]
    if result.diagnosis is not None:
        local = " (local: the model is not linear)" if result.diagnosis.local else ""
        lines = _curvature(result.diagnosis, result.warnings)
        sections.append((f"Curvature at the start{local}", lines))
    cleaned = ((title, _cleaned(lines)) for title, lines in sections)
    return Facts(
        formula=_clean(result.formula),
        level="bad" if not status.ok else "good" if arrived else "caution",
        header=tuple(header[i] for i in kept),
        estimates=tuple(tuple(_clean(row[i]) for i in kept) for row in rows),
        summary=_cleaned(_summary(result)),
        headline=_headline(result),
        advice=_cleaned(pair for pair in advice if pair[1]),
        sections=tuple(Section(title, lines) for title, lines in cleaned if lines),
    )


def percent(level: float) -> str:
    """Write a confidence as people say it.

    >>> percent(0.95), percent(0.6827)
    ('95%', '68.27%')
    """
    return f"{number(100 * level)}%"


def _headline(result: Result) -> str:
    """Say how the run ended, and how far from the optimum where that is worth a word."""
    unit = "update" if _is_recursive(result) else "step"
    taken = f"{counted(result.steps, unit)} in {duration(result.seconds)}"
    distance = result.distance
    far = result.status.ok and distance is not None and distance >= ARRIVED_DISTANCE
    told = f", {_distance(result)}" if far else ""
    return f"{result.status.label}: {taken}{told}"


def _distance(result: Result) -> str:
    distance = result.distance
    if distance is None or np.isnan(distance):
        return "the distance to the optimum is not known"
    unit = "standard error" if distance == 1 else "standard errors"
    # Where all rows have their optimum is not known of a sample.
    of = "" if _saw_all(result) else f" of {counted(result.rows, 'random row')}"
    return f"{number(distance, 2)} {unit} from the optimum{of}"


def _estimate(estimate: Estimate) -> tuple[str, ...]:
    span = note = ""
    if estimate.interval is not None:
        span = interval_text(*estimate.interval, estimate.value, estimate.stderr)
    if estimate.role != "free":
        note = "fixed" if estimate.role == "fixed" else f"tied: {estimate.tie}"
    if estimate.at_bound:
        to_low, to_high = (abs(estimate.value - x) for x in (estimate.low, estimate.high))
        side, bound = ("lower", estimate.low) if to_low <= to_high else ("upper", estimate.high)
        note = note or f"at its {side} bound {number(bound)}"
    return estimate.name, plus_minus(estimate.value, estimate.stderr), span, note


def _summary(result: Result) -> Lines:
    """Say how well the curve fits, and which rows: what a scientist asks first."""
    freedom = f"on {counted(result.degrees_of_freedom, 'degree')} of freedom"
    variance = result.reduced_chi_square
    if not result.status.ok:
        pass  # a run that failed has no fit to praise
    elif result.loss_name != SQUARED:
        yield "loss", _loss(result)
        if result.loss_scale is not None:
            response = result.formula.partition("=")[0].strip()
            unit = f"times {result.sigma}" if result.sigma else f"in units of {response}"
            unit += " in a row of weight 1" if result.weights and not result.sigma else ""
            yield "residual scale", f"{number(result.loss_scale, 3)} {unit}"
    elif variance is not None and result.sigma is not None:
        yield "reduced χ²", f"{number(variance, 4)} {freedom}"
    elif variance is not None:
        row = "" if result.weights is None else "of a row of weight 1, "
        yield "residual standard error", f"{number(np.sqrt(variance), 4)} {row}{freedom}"
    if result.r_squared is not None and result.status.ok:
        # what rounding leaves of a constant is no share
        share = result.r_squared if abs(result.r_squared) > 1e-12 else 0.0
        # only exact data have a share of 1
        digits = (k for k in (4, 6, 8) if share > 1 - 1e-12 or number(share, k) != "1")
        yield "R²", number(share, next(digits, 12))
    yield "data", _data(result)
    if result.called is not None:
        missed = "; calls tell no scales, so the search for starts may have missed a better minimum"
        yield "function", result.called + (missed if result.search else "")
    if result.has_covariance and result.drawn_from is not None:
        smaller = number(np.sqrt(result.drawn_from / result.rows), 2)
        theirs = f"those of all {result.drawn_from:,} are about {smaller} times smaller"
        yield "standard errors", f"of {result.rows:,} random rows; {theirs}"
    method, _, reason = result.covariance_method.partition(": ")
    lacking = method == "none" and reason and result.free and not result.undetermined
    if lacking and result.status.ok and _distance(result) not in _headline(result):
        yield "standard errors", f"not known: {reason}"
    # A warning, or a runaway's cause, says it with what follows.
    told = any(" determine " in text or " acts in steps" in text for text in result.warnings)
    for combination in () if told or result.status.name == "at_infinity" else result.undetermined:
        yield "not determined", combination
    for known in result.determined:
        yield "determined", f"{known.text} = {plus_minus(known.value, known.stderr)}"
    if result.search is not None:
        for note in result.search.symmetries:
            yield "note", note


def _loss(result: Result) -> str:
    mean = "the mean" if result.weights is None else "the weighted mean"
    mean += " over the rows" if result.drawn_from is None else " over the random rows"
    return f"{number(result.loss)} ({result.loss_name}, {mean})"


def _goodness(result: Result) -> Lines:
    if result.loss_name == SQUARED:
        yield "loss", _loss(result)
    yield "residual sum of squares", number(result.residual_sum_of_squares)
    count = f"{counted(result.rows, 'row')} − {counted(len(result.free), 'free parameter')}"
    spared = result.degrees_of_freedom - result.rows + len(result.free)
    if spared > 0:
        count += f", {spared} of them on a bound or not determined"
    elif spared < 0 and result.weights is not None:
        count += f" − {counted(-spared, 'row')} of weight 0"
    if _is_recursive(result) and "forgetting" in result.optimizer:
        count = f"what forgetting leaves of {count}"
    yield "degrees of freedom", f"{result.degrees_of_freedom:,} ({count})"
    criteria = (("AIC", result.aic), ("AICc", result.aicc), ("BIC", result.bic))
    known = [
        # only differences of a few units tell models apart
        f"{name} {value:,.1f}" if 1e5 <= abs(value) < 1e15 else f"{name} {number(value)}"
        for name, value in criteria
        if value is not None
    ]
    if known:
        yield "information criteria", ", ".join(known)


def _uncertainty(result: Result) -> Lines:
    """Say by which method the standard errors came, what sets their scale, what correlates."""
    method, _, reason = result.covariance_method.partition(": ")
    if method == "none":
        yield "standard errors", f"not known: {reason}" if reason else "not known"
    elif method == "classical" and result.absolute_sigma:
        yield "standard errors", "classical (variance of the rows × inverse curvature)"
    else:
        yield "standard errors", _COVARIANCE.get(method, result.covariance_method)
    if result.has_covariance:
        yield from _scale(result, method)
    if result.correlation is not None and len(result.free) > 1:
        yield f"correlations above {STRONG_CORRELATION}", _correlations(result)


def _scale(result: Result, method: str) -> Lines:
    """Say where the size of the errors, and the width of the intervals, come from."""
    if result.absolute_sigma:
        given = f"sigma {result.sigma}" if result.sigma else f"the weights {result.weights}"
        yield "scale", f"absolute: from {given} as given"
    elif method == "classical":
        variance = result.noise_variance
        variance = result.reduced_chi_square if variance is None else variance
        row = "row" if result.weights is None else "row of weight 1"
        by = "" if variance is None else f" (a {row} scatters by {number(np.sqrt(variance))})"
        seen = result.reduced_chi_square
        rounded = variance is not None and seen is not None and variance > seen * (1 + 1e-9)
        what = "what rounding does to the response" if rounded else "the residuals"
        yield "scale", f"scaled by {what}{by}"
    if any(estimate.interval is not None for estimate in result.estimates.values()):
        student = f"Student's t, {counted(result.degrees_of_freedom, 'degree')} of freedom"
        usual = "normal" if result.absolute_sigma else student
        refitted = {"wald": usual, "bootstrap": f"bootstrap, BCa, {result.bootstrap}"}
        text = refitted.get(result.intervals, f"profile likelihood, {usual}")
        yield f"{percent(result.level)} intervals", text


def _correlations(result: Result) -> str:
    matrix, names = np.asarray(result.correlation), result.free
    pairs = sorted(zip(*np.triu_indices(len(names), 1), strict=True), key=lambda p: -abs(matrix[p]))
    texts = [
        f"{names[i]} and {names[j]} {matrix[i, j]:.3f}"
        for i, j in pairs
        if abs(matrix[i, j]) > STRONG_CORRELATION
    ]
    more = f", and {len(texts) - SHOWN_PAIRS} more" if len(texts) > SHOWN_PAIRS else ""
    return ", ".join(texts[:SHOWN_PAIRS]) + more or "none"


def _how(result: Result) -> Lines:
    rows = result.drawn_from or result.rows
    if _is_recursive(result):
        yield "optimizer", f"{result.optimizer}: each batch joined to what is known of those before"
    elif result.trace.rows is not None:
        yield "optimizer", f"{result.optimizer}: curvature-scaled steps on growing batches"
        whole = "the one row" if rows == 1 else f"all {counted(rows, 'row')}"
        smaller = ", ".join(f"{size:,}" for size in _sizes(result) if size != rows)
        batches = f"{smaller}, then {whole}" if smaller else whole
        if not _saw_all(result):
            batches = f"{smaller} random rows, not yet {whole}"
        yield "batch", batches
        if result.rows_visited is not None and len(_sizes(result)) > 1:
            data = "the data" if result.drawn_from is None else f"all {counted(rows, 'row')}"
            times = f"{number(result.rows_visited / rows, 3)} times {data}"
            text = f"{result.rows_visited:,} by passes and by steps on samples, {times}"
            yield "rows visited", text
    else:
        rate = result.learning_rate
        with contextlib.suppress(ValueError):  # a schedule stays as it is
            rate = number(float(rate))
        yield "optimizer", f"{result.optimizer}, learning rate {rate}"
        whole, size = counted(rows, "row"), result.batch_size
        everything = whole if result.rows == 1 else f"all {whole}"
        batches = everything if size is None else f"{size:,} of {whole}"
        yield "batch", f"{batches}, {counted(result.epochs, 'epoch')}"
        if result.shards is not None:
            shards = f"{result.shards} shares of the rows, averaged after each epoch"
            yield "in parallel", f"on {shards} (Zinkevich et al. 2010)"
    if not (result.distance is not None and result.distance >= ARRIVED_DISTANCE):
        yield "end", _distance(result)
    yield "arithmetic", f"{result.kernel} kernel, {result.dtype}"
    random = any(estimate.start_origin == "random" for estimate in result.estimates.values())
    if result.batch_size is not None or random or result.search is not None:
        yield "seed", str(result.seed)


def _is_recursive(result: Result) -> bool:
    """Whether the rows came in batches, each of which was seen once."""
    return result.optimizer.partition("(")[0] == RECURSIVE


def _sizes(result: Result) -> list[int]:
    rows = result.trace.rows
    return [] if rows is None else list(dict.fromkeys(rows.tolist()))


def _saw_all(result: Result) -> bool:
    """Whether the estimates are of all rows, whatever else is of a sample."""
    return result.drawn_from is None or result.drawn_from in _sizes(result)


def _data(result: Result) -> str:
    text, label = counted(result.rows, "row"), result.data_label
    for memory in IN_MEMORY:
        label = label.removeprefix(memory)
    text += label if not label or label.startswith((" where ", " (")) else f" of {label}"
    if result.sigma is not None:
        text += f", with standard deviations {result.sigma}"
        text += " and correlations" if result.correlations else ""
    elif result.weights is not None:
        text += f", weighted by {result.weights}"
    if result.rows_dropped:
        text += f"; {counted(result.rows_dropped, 'row')} with missing values dropped"
    return text


def _starts(result: Result) -> Lines:
    """Say where the parameters started and why there, and what else a search found."""
    origins = dict[str, list[str]]()
    for estimate in result.estimates.values():
        if estimate.role == "free":
            origin = estimate.start_origin.partition(" ")[0]
            value = "" if origin == "solved" else f" = {number(estimate.start)}"
            origins.setdefault(origin, []).append(f"{estimate.name}{value}")
    for origin, told in origins.items():
        yield _ORIGINS.get(origin, origin), ", ".join(told)
    search = result.search
    if search is None:
        return
    if search.points:
        tried = f"{counted(search.points, 'point')} on {counted(search.rows, 'row')}"
        minima = "1 minimum" if search.minima == 1 else f"{search.minima} minima"
        yield "searched", f"{tried}; the best {search.polished:,} led to {minima}"
    else:
        yield "solved", f"by least squares on {counted(search.rows, 'row')}"
    yield from search.ranges.items()
    if search.solved:
        yield "solved at each point", ", ".join(search.solved)
    for rival in search.rivals[:SHOWN_RIVALS]:
        values = ", ".join(f"{name} = {number(value)}" for name, value in rival.values.items())
        above = "as good"
        if search.loss > 0:
            share = rival.loss / search.loss - 1
            above = f"loss {number(100 * abs(share), 2)}% {'lower' if share < 0 else 'higher'}"
        yield "rival minimum", f"{values}: {above}"
    if len(search.rivals) > SHOWN_RIVALS:
        yield "rival minimum", f"and {len(search.rivals) - SHOWN_RIVALS} more"


def _curvature(found: Diagnosis, warnings: tuple[str, ...]) -> Lines:
    values = sorted(float(value) for value in found.eigenvalues)
    told = ", ".join(number(value) for value in values) or "none"
    if len(values) > SHOWN_EIGENVALUES:
        told = f"λmin {number(values[0])}, λmax {number(values[-1])} ({len(values)} in all)"
    yield "eigenvalues", told
    yield "condition number", number(found.condition_number, 4)
    positive = [value for value in values if value > 0]
    low, top = min(positive, default=np.nan), max(positive, default=np.nan)
    # The formulas are those of descent without momentum.
    if (limit := found.stability_limit) is not None:
        plain = " = 2/λmax" if np.isclose(limit * top, 2, rtol=1e-9) else ""
        yield "stability limit", f"{number(limit)}{plain}; a larger constant rate diverges"
    if (fastest := found.fastest_rate) is not None:
        plain = " = 2/(λmin + λmax)" if np.isclose(fastest * (low + top), 2, rtol=1e-9) else ""
        yield "fastest rate", f"{number(fastest)}{plain}"
    if found.steps_per_digit is not None:
        text = f"{number(found.steps_per_digit, 3)} at the fastest rate"
        if (used := found.steps_per_digit_at_rate) is not None:
            shown = number(used, 3) if np.isfinite(used) else "no progress"
            text += f", {shown} at the rate used"
        yield "steps per decimal digit", text
    if (growth := found.growth_factor) is not None:
        end = ", so that it diverges" if growth > 1 else ""
        yield "growth factor", f"{number(growth)} a step along the steepest direction{end}"
    if found.best_momentum is not None:
        rate, momentum = (number(x) for x in found.best_momentum)
        yield "fastest with momentum", f"rate {rate}, momentum {momentum}"
    if found.noise_floor is not None:
        text = f"the loss hovers about {number(100 * found.noise_floor, 2)}% above its minimum"
        if found.noise_distance is not None:
            text += f", {number(found.noise_distance, 2)} standard errors from the optimum"
        yield "noise of the batches", text
    if found.undetermined:
        yield "not determined", "; ".join(found.undetermined)
    for note in found.notes:
        if note not in warnings:
            yield "note", note


def _cleaned(lines: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((_clean(label), _clean(text)) for label, text in lines)


def _clean(text: str) -> str:
    """Make one printable line: a file's name may hold line breaks or terminal commands."""
    return "".join(c if c.isprintable() else "�" for c in " ".join(text.split()))


NARROWEST = 40
SHOWN_ROWS = 5  # at each end of a trace
# What words, and figures, are in LaTeX.
_LATEX = str.maketrans(
    {c: f"\\{c}" for c in "&%#_{}$"}
    | {"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}"}
    | {"<": "$<$", ">": "$>$"}
)
_COMMANDS = ("±", r"\pm"), ("…", r"\ldots"), ("inf", r"\infty"), ("nan", r"\mathrm{nan}")
_COLOURS = {"good": "green", "caution": "yellow", "bad": "red"}


def as_text(result: Result, width: int = 80, full: bool = False) -> str:
    """Lay out the report as plain Unicode text, at most ``width`` columns wide.

    A ``full`` one adds how it was found. Widths below 40 are taken as 40. There are no colours and
    no terminal commands in it.
    """
    return "\n".join(line for _, line in _styled(facts(result), width, full))


def _styled(said: Facts, width: int, full: bool) -> Lines:
    """Yield the lines of a report, each after its style."""
    width = max(width, NARROWEST)
    title = [("bold", line) for line in _wrapped(said.formula, width, "    ")]
    title.append(("", "─" * min(width, len(said.formula))))
    style = f"bold {_COLOURS[said.level]}"
    headline = _wrapped(f"{MARKS[said.level]} {said.headline}", width, "  ")
    ending = [(style, line) for line in headline]
    ending += [("", line) for line in _labelled(said.advice, width)]
    estimates = said.estimates if full else _abridged(said.estimates)
    head, *rows = _table([said.header, *estimates], width)
    answer = [("bold", head), *(("", row) for row in (*rows, ""))]
    answer += [("", line) for line in _labelled(said.summary, width)]
    yield from title
    # what failed gives no answer, and says so first
    first, second = (ending, answer) if said.level == "bad" else (answer, ending)
    yield from (*first, ("", ""), *second)
    for section in said.sections if full else ():
        yield "", ""
        yield from (("bold", line) for line in _wrapped(section.title, width, "  "))
        yield from (("", line) for line in _labelled(section.lines, width))


def _abridged(rows: Sequence[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """Yield the rows of estimates, of a parameter with many levels the first and the last ones."""
    for _, several in itertools.groupby(rows, key=lambda row: re.sub(r"\[.*\]$", "[", row[0])):
        some = list(several)
        left = len(some) - sum(SHOWN_LEVELS)
        if left < 2:
            yield from some
            continue
        yield from some[: SHOWN_LEVELS[0]]
        yield f"… {left:,} more in the full report", *[""] * (len(some[0]) - 1)
        yield from some[-SHOWN_LEVELS[1] :]


def _wrapped(text: str, width: int, indent: str) -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent=indent, break_on_hyphens=False)


def _labelled(lines: Sequence[tuple[str, str]], width: int) -> Iterator[str]:
    """Write (label, text) lines, the texts below one another; labels that are long stand above."""
    column = max((len(label) for label, _ in lines), default=0)
    column = min(column, 2 * width // 5)
    for label, text in lines:
        if len(label) > column:
            yield from _wrapped(f"  {label}", width, "  ")
            label = ""
        head = f"  {label:<{column}}  "
        yield from _wrapped(head + text, width, " " * len(head)) or [head.rstrip()]


def _table(rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """Write rows in aligned columns; columns that do not fit stand below their row, labelled."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    # the first column always stands
    reach = list(itertools.accumulate(2 + each for each in widths))
    shown = max(1, sum(used <= width for used in reach))
    for i, row in enumerate(rows):
        cells = (f"{cell:<{w}}" for cell, w in zip(row[:shown], widths, strict=False))
        yield from _wrapped("  " + "  ".join(cells).rstrip(), width, "    ")
        if i:
            for head, cell in zip(rows[0][shown:], row[shown:], strict=True):
                if cell:
                    yield from _wrapped(f"      {head}: {cell}", width, "        ")


def as_rich(result: Result, full: bool = False) -> Any:
    """Return the lines of `as_text` for Rich, as wide as the terminal and in its own colours.

    Nothing in the user's texts is taken as markup.

    Raises
    ------
    MissingDependencyError
        When Rich is not installed.
    """
    require("rich", "a report in colour")
    return _RichReport(facts(result), full)


class _RichReport:
    def __init__(self, said: Facts, full: bool) -> None:
        self._said, self._full = said, full

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        from rich.text import Text

        for style, line in _styled(self._said, options.max_width, self._full):
            yield Text(line, style=style, no_wrap=True)


_BLOCK = "color:inherit;background:transparent;line-height:1.45"
_PROSE = f"{_BLOCK};max-width:60em"
_TABLE = f"{_BLOCK};border-collapse:collapse;font-size:inherit;margin:.4em 0"
# notebooks paint every second row and align right unless told otherwise
_ROW = "background:transparent;border:0"
_CELL = "text-align:left;padding:.15em 1.2em .15em 0;vertical-align:top;background:transparent"
_HEAD = f"{_CELL};border-bottom:1px solid currentColor;font-weight:600"
_LABEL = f"{_CELL};font-weight:normal;opacity:.75;white-space:nowrap"
_FIGURE = f"{_CELL};font-variant-numeric:tabular-nums;white-space:nowrap"
_NUMBER = _FIGURE.replace("text-align:left", "text-align:right")
_NUMBER_HEAD = _HEAD.replace("text-align:left", "text-align:right")
_SCROLL = "overflow-x:auto"  # a wide table scrolls by itself, not with the report
_CODE = "font-family:monospace;font-size:1.1em;background:transparent;color:inherit"
_EDGES = {"good": "#2f9e5f", "caution": "#c98a1b", "bad": "#d6453d"}


def as_html(result: Result) -> str:
    """Lay out the report as one self-contained HTML element; every text is escaped."""
    said = facts(result)
    edge = f"border-left:.3em solid {_EDGES[said.level]};padding-left:.8em"
    headline = _element("strong", "", escape(f"{MARKS[said.level]} {said.headline}"))
    ending = _element("div", "", headline)
    ending += _labelled_rows(said.advice) if said.advice else ""
    bold = f"{_CELL};font-weight:600"
    rows = [_cells("th", _HEAD, said.header, 'scope="col"')]
    for name, *figures in _abridged(said.estimates):
        rows.append(_cells("th", bold, [name], 'scope="row"') + _cells("td", _FIGURE, figures))
    answer = _element("div", _SCROLL, _rows(rows)) + _labelled_rows(said.summary)
    parts = [ending, answer] if said.level == "bad" else [answer, ending]
    title = _element("div", "", _element("code", _CODE, escape(said.formula)))
    shown = _element("div", edge, "".join([title, *parts]))
    more = _element("summary", "cursor:pointer;margin-top:.6em", "how it was found")
    for section in said.sections:
        heading = escape(section.title)
        more += _element("div", "font-weight:600;margin-top:.6em", heading)
        more += _labelled_rows(section.lines)
    return _element("div", _PROSE, shown + _element("details", "", more))


def as_latex(result: Result) -> str:
    """Lay out the table of estimates in LaTeX, with the rules of the package booktabs."""
    from sgdfit.derivation.notation import name, spellings

    said, spelled = facts(result), spellings(result.estimates)
    lines = [" & ".join(map(_in_latex, said.header))]
    for estimate, (_, *figures) in zip(result.estimates, said.estimates, strict=True):
        lines.append(" & ".join([f"${name(*spelled[estimate]).latex}$", *map(_in_latex, figures)]))
    head, *rows = (f"{line} \\\\\n" for line in lines)
    kinds = "l" + "c" * (len(said.header) - 1)
    body = f"\\toprule\n{head}\\midrule\n{''.join(rows)}\\bottomrule\n"
    return f"\\begin{{tabular}}{{{kinds}}}\n{body}\\end{{tabular}}"


def _in_latex(text: str) -> str:
    r"""Write rounded figures as mathematics, and words as they are.

    >>> print(_in_latex("(2.075 ± 0.023)e-12"), _in_latex("-inf … 3"), _in_latex("5% of y_1"))
    $(2.075 \pm 0.023) \times 10^{-12}$ $-\infty \ldots 3$ 5\% of y\_1
    """
    if not re.search(r"[±…]|^[-\d.e]+$", text):
        return text.translate(_LATEX)
    text = re.sub(r"(?<=[\d)])e(-?\d+)", r" \\times 10^{\1}", text)
    for plain, command in _COMMANDS:
        text = text.replace(plain, command)
    return f"${text}$"


def trace_as_text(trace: Trace, width: int = 80) -> str:
    """Lay out all rows of a trace as plain text."""
    columns = trace.columns()
    rows = zip(*(map(number, column.tolist()) for column in columns.values()), strict=True)
    return "\n".join(_table([list(columns), *map(list, rows)], max(width, NARROWEST)))


def trace_as_html(trace: Trace) -> str:
    """Lay out the first and last rows of a trace as one HTML table."""
    columns, count = trace.columns(), len(trace)
    shown: list[int | None] = list(range(count))
    if count > 2 * SHOWN_ROWS + 1:
        shown = [*range(SHOWN_ROWS), None, *range(count - SHOWN_ROWS, count)]
    rows = [_cells("th", _NUMBER_HEAD, columns, 'scope="col"')]
    for i in shown:
        figures = ["⋮" if i is None else number(c[i].item()) for c in columns.values()]
        rows.append(_cells("td", _NUMBER, figures))
    caption = _element("div", "", escape(repr(trace)))
    return _element("div", _BLOCK, caption + _element("div", _SCROLL, _rows(rows)))


def _labelled_rows(lines: Iterable[tuple[str, str]]) -> str:
    return _rows(
        _cells("th", _LABEL, [label], 'scope="row"') + _cells("td", _CELL, [text])
        for label, text in lines
    )


def _rows(rows: Iterable[str]) -> str:
    return _element("table", _TABLE, "".join(_element("tr", _ROW, row) for row in rows))


def _cells(tag: str, style: str, texts: Iterable[str], attribute: str = "") -> str:
    return "".join(_element(tag, style, escape(text), attribute) for text in texts)


def _element(tag: str, style: str, content: str, attribute: str = "") -> str:
    styled = f' style="{style}"' if style else ""
    return f"<{tag}{' ' + attribute if attribute else ''}{styled}>{content}</{tag}>"
