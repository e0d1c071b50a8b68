"""`fit_many`: the same formula fitted to each group of rows by itself.

Groups of few rows are fitted in compiled code, one after another (`sgdfit.kernel.grouped`). What
comes out of it counts where all is well: the walk arrived within the bounds, the normal equations
kept their digits, and nothing is suspicious by the measures that `fit` itself goes by. Every other
group is given to `fit`.
"""

from __future__ import annotations

import inspect
import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from operator import getitem
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sgdfit.data.groups import (
    Groups,
    concatenated,
    grouped,
    keyed_blocks,
    read_groups,
    share_out,
)
from sgdfit.data.readers import open_table
from sgdfit.data.rows import dataset_table, timed
from sgdfit.data.table import Table, check_policy
from sgdfit.data.times import TimeScales, as_time_unit, said_of_columns
from sgdfit.errors import DataError, UsageError, did_you_mean
from sgdfit.fitting.cluster import Cluster, cluster_for, rows_on_cluster
from sgdfit.fitting.entry import fit
from sgdfit.fitting.multistart import missing as missing_starts
from sgdfit.fitting.options import MOST_STEPS, Options, as_resources, settle
from sgdfit.fitting.problem import too_few
from sgdfit.fitting.processes import fit_groups, pickled
from sgdfit.fitting.weights import (
    Weighting,
    as_weighting,
    checked_weights,
    columns_of,
    is_array,
    with_column,
)
from sgdfit.fitting.worker import Source as RowSource
from sgdfit.fitting.worker import rows_of
from sgdfit.formula.formula import Formula
from sgdfit.kernel.forms import choose_form
from sgdfit.kernel.kernel import Chunk
from sgdfit.model.loss import SQUARED
from sgdfit.model.model import Model, build
from sgdfit.model.separation import break_names, stepped_names
from sgdfit.result.fits import Fits, Source, blank, joined

if TYPE_CHECKING:
    from sgdfit.fitting.small_groups import SmallGroups

Array = np.ndarray[Any, Any]

# Options under which compiled code gives the answer of `fit`; others send every group there.
PLAIN = {
    "start", "bounds", "fixed", "tied", "sigma", "weights", "absolute_sigma", "response",
    "constant", "seed", "level", "loss",
}  # fmt: skip
# Shares of the groups for each thread of a cluster.
GROUP_SHARES = 4
# Options of `fit` that speak of a single run.
SINGLE = (
    "callback", "callback_every", "trace_every", "checkpoint", "resume", "announce", "tell",
    "intervals", "bootstrap",
)  # fmt: skip
STATED = ("response", "jacobian", "loss", "start", "bounds", "fixed", "tied", "constant")
# Fewer groups are done by `fit` before the code is compiled, which takes some seconds.
FEWEST_GROUPS = 1_000
# Groups with more rows take so long each that `fit` by itself is as good.
MOST_ROWS = 4_096
# Without starts so many groups are fitted by a search, and lend theirs to all.
REFERENCES = 8
# A sum of squares is that of another minimum when it is larger by this share.
OTHER = 1e-4
# Said of what other processes cannot be told.
ONE_CORE = "on one core, since a function of yours is called in this process"
# The column that tells the groups of a stack of curves apart.
GROUP = "group"


class Task(NamedTuple):
    """What is done with each group."""

    model: Model
    weighting: Weighting
    options: dict[str, Any]  # of `fit`
    names: tuple[str, ...]  # the columns of numbers that are read
    small: SmallGroups | None  # None where only `fit` gives the answer
    starts: Array | None  # float64[k, p]: of which each group goes on with the best
    threads: int


def fit_many(
    formula: str | Callable[..., Any] | Formula,
    data: object,
    by: str | Sequence[str] | None = None,
    *,
    where: str | None = None,
    missing: str = "error",
    time_unit: str | None = None,
    memory: int | str | None = None,
    threads: int | None = None,
    progress: Callable[[int, int], object] | None = None,
    cluster: object = None,
    **options: Any,
) -> Fits:
    """Fit a formula to each group of rows by itself.

    Parameters
    ----------
    formula : str or callable
        As for `sgdfit.fit`.
    data : dict of arrays, data frame, Arrow table, path, …
        As for `sgdfit.fit`. In a dict of arrays, columns of shape (…, n) hold n rows for each
        group, as (height, width, n) those of each pixel of n images; columns of shape (n,) are
        common to all, and ``fits.image("a")`` has the shape of one image.
    by : str or list of str, optional
        The columns that tell groups apart, text or numbers; not needed for columns of shape (…, n).
    where, missing, time_unit, memory, threads : optional
        As for `sgdfit.fit`; times are counted from the first row of all groups. Data that do not
        fit into memory are parted on disk first.
    progress : callable, optional
        Called with how many groups are done, and of how many.
    cluster : str or distributed.Client, optional
        As for `sgdfit.fit`: its workers share the groups out among them, and fit each by itself.
    **options
        Those of `sgdfit.fit`, such as ``start``, ``bounds``, ``sigma`` or ``loss``. Without a
        start, a few groups are searched and lend theirs to the others.

    Returns
    -------
    Fits
        A row for each group, in the order in which they first appear. A group that cannot be
        fitted has its status and cause there.

    Raises
    ------
    FormulaError, DataError, UsageError
        When the formula, the data or an option cannot be used for any group.

    Examples
    --------
    >>> site = ["A"] * 4 + ["B"] * 4
    >>> data = {"site": site, "x": [0, 1, 2, 3] * 2, "y": [1, 3.1, 4.9, 7, 5, 4.1, 3, 1.9]}
    >>> fits = fit_many("y = a*x + b", data, by="site")
    >>> fits.values.round(3).tolist(), fits.status.tolist()
    ([[1.98, 1.03], [-1.04, 5.06]], ['converged', 'converged'])
    """
    known = inspect.signature(fit).parameters
    for name in options:
        if name in SINGLE:
            raise UsageError(f"{name!r} is for a single fit, not for those of many groups")
        if name not in known:
            raise UsageError(f"fit has no option {name!r}.{did_you_mean(name, known)}")
    # As the command line gives all of them.
    options = {n: v for n, v in options.items() if not np.array_equal(v, known[n].default)}
    check_policy(missing)
    resources = as_resources(memory, threads)
    data, columns, shape = _by(data, by)
    table = open_table(data, where)
    table.positions(columns)
    for what in ("sigma", "weights"):
        if is_array(options.get(what)):
            if where is not None:
                raise UsageError(
                    f"{what} is an array, of which where chooses no rows; add a column"
                )
            values = options[what]
            if shape and _spreads(values, shape):
                values = np.broadcast_to(values, shape).ravel()
            table, options[what] = with_column(table, what, values, data, columns)
    scales = TimeScales(unit=as_time_unit(time_unit))
    table = timed(table, scales)
    task, parts = _task(formula, table.names, options, resources.threads), list[Fits]()

    def tell(done: int, count: int) -> None:
        before = sum(map(len, parts))
        if progress is not None:
            progress(before + done, before + count)

    with cluster_for(cluster, data) as workers:
        if workers is not None:
            for fits in _fit_on_cluster(workers, task, table, columns, missing):
                tell(len(fits), len(fits))
                parts.append(fits)
        else:
            for groups in read_groups(table, task.names, columns, missing, resources.budget):
                task, fits = _fit_groups(task, groups, table.label, tell)
                parts.append(fits)
    notes = tuple(said_of_columns(scales))
    if workers is None and resources.threads > 1 and pickled(task.options) is None:
        notes += (ONE_CORE,)
    source = Source(table, task.model, task.names, missing, resources.budget, task.options)
    whole = replace(joined(parts), inputs=tuple(table.files), notes=notes, shape=shape[:-1])
    return replace(whole, source=source)


def _by(data: object, by: str | Sequence[str] | None) -> tuple[object, list[str], tuple[int, ...]]:
    """Return the data, laid out in rows, the columns of groups, and the shape (…, n) it had."""
    wide = {}
    if isinstance(data, Mapping):
        wide = {name: np.asarray(v) for name, v in data.items() if is_array(v) and np.ndim(v) > 1}
    if not wide:
        names = [by] if isinstance(by, str) else list(by) if isinstance(by, Sequence) else []
        if not names or not all(isinstance(name, str) for name in names):
            raise UsageError(
                f"by is {reprlib.repr(by)}; it names the columns that tell groups apart, as in"
                " by='site' or by=['site', 'day']; a dict of arrays may instead hold columns of"
                " shape (groups, rows), or (…, rows)"
            )
        return data, list(dict.fromkeys(names)), ()
    assert isinstance(data, Mapping)
    name, array = max(wide.items(), key=lambda item: item[1].size)
    shape = array.shape
    if by is not None:
        raise UsageError(f"by={by!r}: each row of {name!r} is a group already; leave it out")
    flat = {}
    for other, values in data.items():
        if not _spreads(values, shape):
            raise UsageError(
                f"the column {other!r} has the shape {np.shape(values)} where {name!r} has"
                f" {shape}; give it that one, or {shape[-1:]} for what all groups share"
            )
        values = values.astype(float).filled(np.nan) if np.ma.is_masked(values) else values
        flat[other] = np.broadcast_to(np.asarray(values), shape).ravel()
    key = GROUP
    while key in flat:
        key += "_"
    groups = np.repeat(np.arange(array.size // max(1, shape[-1])), shape[-1])
    return flat | {key: groups}, [key], shape


def _spreads(values: Any, shape: tuple[int, ...]) -> bool:
    """Whether values can be spread over groups of so many rows each, the last of ``shape``."""
    try:
        return np.broadcast_shapes(np.shape(values), shape) == shape
    except ValueError:
        return False


def _task(formula: Any, columns: Sequence[str], options: dict[str, Any], threads: int) -> Task:
    """Return what is done with each group, checked before a row is read."""
    stated = {name: options[name] for name in STATED if name in options}
    sought = stated.get("start") in ("search", "random")
    stated |= {"start": None} if sought else {}
    model = build(formula, columns, **stated, seed=options.get("seed", 0))
    weights, sigma = options.get("weights"), options.get("sigma")
    absolute, covariance = options.get("absolute_sigma", False), options.get("covariance", "auto")
    weighting = as_weighting(weights, sigma, absolute, covariance, model.loss)
    settle(Options()._asdict() | {n: v for n, v in options.items() if n in Options._fields})
    names = tuple(dict.fromkeys((*model.columns, *columns_of(weighting.given))))
    broken = break_names(model.prediction, model.free) | stepped_names(model.prediction)
    plain = PLAIN.issuperset(options) and not sought and model.loss.name == SQUARED
    may_compile = choose_form("auto", MOST_STEPS, 1, "float64") == "compiled"
    small = None
    if plain and model.free and not broken and may_compile:
        from sgdfit.fitting.small_groups import SmallGroups

        weighted = weighting.given is not None
        small = SmallGroups(model, weighted=weighted, absolute=absolute, threads=threads)
    options = options | {"formula": model.formula, "response": None}
    starts, unknown = np.array([model.start]), [n in missing_starts(model) for n in model.free]
    if model.is_linear:
        starts[:, unknown] = 0.0
    has_starts = model.is_linear or not any(unknown)
    known = starts if has_starts else None
    return Task(model, weighting, options, names, small, known, threads)


def _fit_on_cluster(
    cluster: Cluster, task: Task, table: Table, by: Sequence[str], missing: str
) -> Iterator[Fits]:
    """Yield the fits of groups that workers share out: first all rows, then the work."""
    rows = rows_on_cluster(cluster, table, task.names, missing=missing)
    submit, parts = cluster.client.submit, GROUP_SHARES * max(1, cluster.threads)
    each = (
        [rows.source, run, first - 1, list(by), parts, *rows.futures(run)]
        for run, first in rows.runs_of_groups(numbered=True)
    )
    spread = list(cluster.map(_spread, each, held=True))
    options = {name: value for name, value in task.options.items() if name != "formula"}
    given = task.options["formula"], table.names, options, list(by), table.label
    tasks = (
        [*given, *(submit(getitem, some, k, pure=False, **cluster.where) for some in spread)]
        for k in range(parts)
    )
    found = [fits for fits in cluster.map(_fit_share, tasks) if fits is not None]
    if not found:
        raise DataError(f"{table.label} has no rows; give at least one")
    yield from found


def _spread(
    source: RowSource, groups: range, first: int, by: list[str], parts: int, *partitions: Any
) -> list[Any]:
    """Return the rows of row groups in shares, each with all rows that it has of a group."""
    rows = rows_of(source, dict(zip(groups, partitions, strict=False)))
    some = tuple(rows.dataset.row_groups[k] for k in groups)
    table = dataset_table(rows.dataset._replace(row_groups=some), source.where)
    blocks = keyed_blocks(table, source.names, by, source.missing, first)
    shares = zip(*(share_out(block, parts) for block in blocks), strict=True)
    return [concatenated(share) for share in shares]


def _fit_share(
    formula: Formula, columns: Sequence[str], options: dict[str, Any], by: list[str], label: str,
    *blocks: Any,
) -> Fits | None:  # fmt: skip
    """Fit the groups of a share."""
    task = _task(formula, columns, options, 1)
    some = [block for block in blocks if block.num_rows]
    if not some:
        return None
    groups = grouped(some, task.names, by)
    return _fit_groups(task, groups, label, lambda done, count: None)[1]


def _fit_groups(
    task: Task, groups: Groups, label: str, tell: Callable[[int, int], None]
) -> tuple[Task, Fits]:
    """Fit each group, in compiled code where that gives the answer, else by `fit`.

    The task returned has the starts that were found, if none were given.
    """
    weights = None
    if task.weighting.given is not None:
        rows = groups.rows
        values = checked_weights(task.weighting, groups.columns, label, lambda k: int(rows[k]) + 1)
        weights = values if task.weighting.sigma is None else 1 / values**2
        groups, weights = groups.chosen(weights > 0), weights[weights > 0]
    count = len(groups.sizes)
    fits = blank(str(task.model.formula), task.model.free, groups.keys, groups.sizes, groups.first)
    done = groups.sizes < len(task.model.free)
    fits.status[done] = "error"
    for size in np.unique(groups.sizes[done]).tolist():
        some = done & (groups.sizes == size)
        fits.cause[some] = too_few("the group", size, task.model.free)

    def fit_singly(chosen: Array) -> None:
        free, given = task.model.free, chosen.tolist()
        with closing(fit_groups(given, groups.of, task.options, free, task.threads)) as found:
            for group, entries in found:
                for name, value in entries._asdict().items():
                    getattr(fits, name)[group] = value
                done[group] = True
                tell(int(done.sum()), count)

    left = np.flatnonzero(~done)
    several = len(left) >= (1 if groups.is_part else FEWEST_GROUPS)
    is_small = several and np.median(groups.sizes) <= MOST_ROWS
    if task.small is not None and is_small:
        references = np.zeros(0, dtype=np.int64)
        if task.starts is None:
            references = left[np.unique(np.linspace(0, len(left) - 1, REFERENCES).astype(int))]
            fit_singly(references)
            arrived = references[fits.status[references] == "converged"]
            task = task._replace(starts=fits.values[arrived] if len(arrived) else None)
        if task.starts is not None:
            _fit_compiled(task, task.starts, groups, weights, fits, references)
            done |= fits.status != ""
            tell(int(done.sum()), count)
    fit_singly(np.flatnonzero(~done))
    return task, fits


def _fit_compiled(
    task: Task, starts: Array, groups: Groups, weights: Array | None, fits: Fits, known: Array
) -> None:
    """Enter what compiled code finds of groups; ``known`` are those that `fit` has fitted."""
    from sgdfit.fitting.small_groups import GroupedRows

    assert task.small is not None
    columns = tuple(groups.columns[name] for name in task.model.columns)
    rows = GroupedRows(Chunk(columns, weights), groups.offsets)
    known = known[fits.status[known] == "converged"]
    lowest = (1 + OTHER) * fits.loss * rows.sums
    for search in (False, True):
        found = task.small.fit(rows, starts, search)
        # Where `fit` finds lower minima, no group is to be trusted.
        if not (found.loss > lowest + found.blur)[known].any():
            break
    else:
        return
    good = found.good & (fits.status == "")
    fits.values[good], fits.stderr[good] = found.theta[good], found.stderr[good]
    fits.loss[good] = found.loss[good] / rows.sums[good]
    fits.residual_standard_error[good] = np.sqrt(found.loss[good] / found.freedom[good])
    fits.status[good] = "converged"
