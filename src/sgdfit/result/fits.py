"""The fits of many groups of rows, as a table with a row for each."""

from __future__ import annotations

import html
import json
import math
import mmap
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import sgdfit
from sgdfit.data.table import Table
from sgdfit.errors import UsageError, did_you_mean, require
from sgdfit.model.model import Model
from sgdfit.result.rounding import plus_minus
from sgdfit.result.table_file import writing_table
from sgdfit.result.tables import html_table, text_table

# Groups that are shown.
SHOWN = 8


class Source(NamedTuple):
    """What each group was fitted from."""

    table: Table
    model: Model
    names: tuple[str, ...]  # of the columns of numbers
    missing: str
    budget: int  # bytes that rows may take
    options: dict[str, Any]  # of `sgdfit.fit`


@dataclass(frozen=True, eq=False, repr=False)
class Fits:
    """What `sgdfit.fit_many` found: one row for each of g groups, in the order of the data.

    Attributes
    ----------
    formula : as text
    groups : what tells the groups apart, a column for each name in ``by``: a pyarrow.Table
    names : the p parameters that were estimated
    values : the estimates, in units of the parameters, shape (g, p)
    stderr : their standard errors, shape (g, p); NaN where not known
    loss : the mean loss at the estimates, shape (g,)
    residual_standard_error : √(Σ w (y − prediction)² / degrees of freedom), in units of the
        response, shape (g,)
    rows : that each group has, shape (g,)
    status : how each fit ended, as in `Status.name`, or "error" where there is none; shape (g,)
    cause : what is behind a status other than "converged", or empty; shape (g,)
    first : at which row of the data each group begins, counted from 0; shape (g,)
    notes : how times are counted, one sentence each
    inputs : files that were read, which none may be written over
    shape : of the array that had the groups side by side, without its last axis; else ()
    source : the rows, for plots; None once the table was pickled
    """

    formula: str
    groups: Any
    names: tuple[str, ...]
    values: NDArray[np.float64]
    stderr: NDArray[np.float64]
    loss: NDArray[np.float64]
    residual_standard_error: NDArray[np.float64]
    rows: NDArray[np.int64]
    status: NDArray[np.object_]
    cause: NDArray[np.object_]
    first: NDArray[np.int64]
    notes: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    source: Source | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: the table, not the rows."""
        return vars(self) | {"source": None}

    def __len__(self) -> int:
        return len(self.rows)

    def columns(self) -> dict[str, Any]:
        """Return every column by name: the groups', rows, status, estimates, errors, loss, cause.

        The standard error of ``a`` is called ``a_stderr``. A name that is taken by another column
        gets an underscore.
        """
        table = dict[str, Any](zip(self.groups.column_names, self.groups.columns, strict=True))
        own: list[tuple[str, Any]] = [("rows", self.rows), ("status", self.status)]
        for name, values, errors in zip(self.names, self.values.T, self.stderr.T, strict=True):
            own += [(name, values), (f"{name}_stderr", errors)]
        more = ("residual_standard_error", "loss", "cause")
        for name, column in (*own, *((name, getattr(self, name)) for name in more)):
            while name in table:
                name += "_"
            table[name] = column
        return table

    def image(self, name: str) -> NDArray[Any]:
        """Return a column in the shape in which the groups came, as (height, width).

        Raises
        ------
        UsageError
            When there is no such column.
        """
        columns = self.columns()
        if name not in columns:
            raise UsageError(f"there is no column {name!r}.{did_you_mean(name, columns)}")
        return np.asarray(columns[name]).reshape(self.shape or len(self))

    def plot(
        self,
        groups: str | Sequence[Any] = "first",
        *,
        log: str | None = None,
        style: str = "light",
    ) -> Any:
        """Draw groups side by side, each with its rows and its curve, 16 at most.

        Parameters
        ----------
        groups : "first", "worst" or list
            The first of the data; those that could not be fitted and those with the largest
            residual standard error; or those named, as in ``["A", "B"]``, with several columns
            ``[("A", 1), ("B", 2)]``.
        log, style
            As for `Result.plot`.

        Returns
        -------
        array of Axes

        Raises
        ------
        UsageError
            When there is no such group, or the rows could be read once only.
        """
        return sgdfit.higher("plot_fits")(self, groups, log=log, style=style)

    def to_arrow(self) -> Any:
        """Return the table as a pyarrow.Table."""
        columns = self.columns()
        return require("pyarrow", "a table of fits").table(list(columns.values()), list(columns))

    def to_pandas(self) -> Any:
        """Return the table as a pandas DataFrame.

        Raises
        ------
        MissingDependencyError
            When pandas is not installed.
        """
        require("pandas", "a table of fits as a data frame")
        return self.to_arrow().to_pandas()

    def to_json(self) -> str:
        """Return the table as JSON: the formula, and an object for each group; null for NaN."""
        rows = [
            {n: v if not isinstance(v, float) or math.isfinite(v) else None for n, v in row.items()}
            for row in self.to_arrow().to_pylist()
        ]
        return json.dumps({"formula": self.formula, "groups": rows}, default=str)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the table to a file, as its ending says: ``.csv``, ``.tsv`` or ``.parquet``.

        Raises
        ------
        UsageError
            When the ending is another one, or the file cannot be written or was fitted.
        """
        table = self.to_arrow()
        with writing_table(path, self.inputs) as write:
            write(dict(zip(table.column_names, table.columns, strict=True)))

    def lines(self) -> list[tuple[str, ...]]:
        """Return the head of the table as text: names, then some of the rows."""
        table = [(*self.groups.column_names, "rows", *self.names, "status")]
        for i, keys in enumerate(self.groups.slice(0, SHOWN).to_pylist()):
            errors = (None if np.isnan(e) else float(e) for e in self.stderr[i])
            figures = map(plus_minus, map(float, self.values[i]), errors)
            # A line of the table each, whatever a name holds.
            names = (t if (t := str(key)).isprintable() else repr(t) for key in keys.values())
            table.append((*names, f"{self.rows[i]:,}", *figures, self.status[i]))
        return table

    @property
    def summary(self) -> str:
        """One sentence: how many groups, and how their fits ended."""
        ends = Counter(self.status)
        said = ", ".join(f"{count:,} {name}" for name, count in ends.most_common())
        rows = "; ".join([f"{int(self.rows.sum()):,} rows", *self.notes])
        return f"{self.formula}: {len(self):,} groups, {rows}; {said}"

    def __str__(self) -> str:
        more = [f"… {len(self) - SHOWN:,} more"] if len(self) > SHOWN else []
        return "\n".join([self.summary, "", text_table(self.lines()), *more])

    def __repr__(self) -> str:
        return f"Fits({self.summary})"

    def _repr_html_(self) -> str:
        more = f"<p>… {len(self) - SHOWN:,} more</p>" if len(self) > SHOWN else ""
        return f"<p>{html.escape(self.summary)}</p>{html_table(self.lines())}{more}"


def blank(formula: str, names: tuple[str, ...], keys: Any, rows: Any, first: Any) -> Fits:
    """Return the table of fits that are still to be made."""
    count = len(rows)
    values, stderr = _unknown(count, len(names)), _unknown(count, len(names))
    loss, error = _unknown(count), _unknown(count)
    status, cause = np.full((2, count), "", dtype=object)
    return Fits(formula, keys, names, values, stderr, loss, error, rows, status, cause, first)


def _unknown(*shape: int) -> NDArray[np.float64]:
    """Return an array of NaN whose memory goes back to the system, as that of few MB does not."""
    array = np.frombuffer(mmap.mmap(-1, max(1, 8 * math.prod(shape))), count=math.prod(shape))
    array[:] = np.nan
    return array.reshape(shape)


def joined(parts: Sequence[Fits]) -> Fits:
    """Return the fits of several parts of the groups, in the order of the data.

    The parts give up their columns, lest all be held twice.
    """
    one, *others = parts
    if not others:
        return one
    columns, first = [vars(part) for part in parts], [part.first for part in parts]
    order = np.argsort(np.concatenate(first))
    places = np.split(np.argsort(order), np.cumsum([len(some) for some in first])[:-1])
    arrays = {n: value for n, value in vars(one).items() if isinstance(value, np.ndarray)}
    rest = {name: value for name, value in vars(one).items() if name not in arrays}
    for name, value in arrays.items():
        arrays[name] = np.empty((len(order), *value.shape[1:]), value.dtype)
        for own, some in zip(columns, places, strict=True):
            arrays[name][some] = own.pop(name)
    keys = require("pyarrow", "a table of fits").concat_tables([own["groups"] for own in columns])
    return Fits(**rest | arrays | {"groups": keys.take(order)})
