"""Every step of a descent, as columns of numbers."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sgdfit.errors import UsageError, require

__all__ = ["FORMATS", "Trace"]

_FIXED = ("step", "epoch", "learning_rate", "loss")
_AUTOMATIC = {"rows": np.int64, "damping": np.float64, "distance": np.float64}


@dataclass(frozen=True, eq=False, repr=False)
class Trace:
    """The path of a descent: row i is the state *before* the update of its step.

    The last row is the state at the end of the run; no update follows it, so its learning rate
    is NaN.

    Attributes
    ----------
    names : tuple of str
        The free parameters, in the order of the columns of ``parameters`` and ``gradient``.
    step : ndarray of int64, shape (k,)
        Updates made so far.
    epoch : ndarray of int64, shape (k,)
        Passes through the data completed so far.
    learning_rate : ndarray of float64, shape (k,)
        Rate of the update that follows.
    loss : ndarray of float64, shape (k,)
        Loss, in the units of the loss function.
    parameters, gradient : ndarray of float64, shape (k, p)
        Parameters, and the derivative of the loss by each.
    rows : ndarray of int64, shape (k,), or None
        Rows of the batch, where batches grow (the optimizer ``auto``).
    damping : ndarray of float64, shape (k,), or None
        λ of the step that led here, in units of the scaled curvature; only ``auto`` has one.
    distance : ndarray of float64, shape (k,), or None
        From the minimum of the batch's own loss, in its standard errors; only ``auto`` has one.

    Raises
    ------
    UsageError
        When the columns differ in length.

    Examples
    --------
    >>> trace = Trace(("a",), [0, 1], [0, 1], [0.1, np.nan], [4.0, 2.6], [[2.0], [1.6]],
    ...               [[4.0], [3.2]])
    >>> trace
    Trace(2 rows, steps 0 to 1, parameters a)
    >>> list(trace.columns())
    ['step', 'epoch', 'learning_rate', 'loss', 'a', 'gradient_a']
    """

    names: tuple[str, ...]
    step: NDArray[np.int64]
    epoch: NDArray[np.int64]
    learning_rate: NDArray[np.float64]
    loss: NDArray[np.float64]
    parameters: NDArray[np.float64]
    gradient: NDArray[np.float64]
    rows: NDArray[np.int64] | None = None
    damping: NDArray[np.float64] | None = None
    distance: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        rows = len(self.step)
        wide = (rows, len(self.names))
        self._settle("names", tuple(self.names))
        for name in ("step", "epoch"):
            self._settle(name, _shaped(name, getattr(self, name), np.int64, (rows,)))
        for name in ("learning_rate", "loss"):
            self._settle(name, _shaped(name, getattr(self, name), np.float64, (rows,)))
        for name, kind in _AUTOMATIC.items():
            if getattr(self, name) is not None:
                self._settle(name, _shaped(name, getattr(self, name), kind, (rows,)))
        for name in ("parameters", "gradient"):
            self._settle(name, _shaped(name, getattr(self, name), np.float64, wide))

    def _settle(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.step)

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return every column by name: step, epoch, learning_rate, loss, parameters, gradients.

        Of ``auto``, which has no learning rate, rows, damping and distance stand in its place.
        The gradient by ``a`` is called ``gradient_a``. A parameter whose own name is taken by
        another column is called ``parameter_`` and its name.
        """
        present = [name for name in _AUTOMATIC if getattr(self, name) is not None]
        names = [n for n in _FIXED if n != "learning_rate" or not present]
        table: dict[str, NDArray[Any]] = {name: getattr(self, name) for name in (*names, *present)}
        labels = _labels(self.names, table)
        table.update(zip(labels, self.parameters.T, strict=True))
        table.update((f"gradient_{n}", g) for n, g in zip(self.names, self.gradient.T, strict=True))
        return table

    def to_pandas(self) -> Any:
        """Return the trace as a pandas DataFrame.

        Raises
        ------
        MissingDependencyError
            When pandas is not installed.
        """
        return require("pandas", "a trace as a data frame").DataFrame(self.columns())

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the trace to a file, as its ending says: ``.csv``, ``.tsv`` or ``.parquet``.

        Numbers are written so that they read back exactly; the last learning rate is ``nan``.

        Raises
        ------
        UsageError
            When the ending is another one, or the file cannot be written.
        """
        path = Path(path)
        writer = FORMATS.get(path.suffix.lower())
        if writer is None:
            raise UsageError(
                f"cannot write a trace to {str(path)!r}: its ending must be one of"
                f" {', '.join(FORMATS)}"
            )
        try:
            writer(self.columns(), path)
        except OSError as error:
            raise UsageError(f"cannot write a trace to {str(path)!r}: {error.strerror}") from error

    def __repr__(self) -> str:
        span = f", steps {self.step[0]} to {self.step[-1]}" if len(self) else ""
        return f"Trace({len(self)} rows{span}, parameters {', '.join(self.names)})"

    def _repr_html_(self) -> str:
        from sgdfit.report.layouts import trace_as_html

        return trace_as_html(self)


def _shaped(name: str, values: Any, dtype: type, shape: tuple[int, ...]) -> NDArray[Any]:
    array: NDArray[Any] = np.asarray(values, dtype=dtype)
    if array.shape != shape:
        raise UsageError(f"the trace's {name} has shape {array.shape}, where {shape} is needed")
    return array


def _labels(names: tuple[str, ...], columns: Iterable[str]) -> list[str]:
    taken = {*columns, *(f"gradient_{name}" for name in names)}
    labels: list[str] = []
    for name in names:
        label = name
        while label in taken or label in labels or (label != name and label in names):
            label = f"parameter_{label}"
        labels.append(label)
    return labels


def _write_separated(table: dict[str, NDArray[Any]], path: Path, separator: str) -> None:
    # tolist() gives Python numbers, whose text is the shortest that reads back exactly
    rows = zip(*(column.tolist() for column in table.values()), strict=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(separator.join(table) + "\n")
        file.writelines(separator.join(map(repr, row)) + "\n" for row in rows)


def _write_csv(table: dict[str, NDArray[Any]], path: Path) -> None:
    _write_separated(table, path, ",")


def _write_tsv(table: dict[str, NDArray[Any]], path: Path) -> None:
    _write_separated(table, path, "\t")


def _write_parquet(table: dict[str, NDArray[Any]], path: Path) -> None:
    pyarrow = require("pyarrow", "writing Parquet")
    parquet = require("pyarrow.parquet", "writing Parquet")
    arrays = {name: np.ascontiguousarray(column) for name, column in table.items()}
    parquet.write_table(pyarrow.table(arrays), path)


FORMATS = {".csv": _write_csv, ".tsv": _write_tsv, ".parquet": _write_parquet}
