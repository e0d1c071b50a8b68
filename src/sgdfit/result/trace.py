"""Every step of a descent, as columns of numbers."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

import sgdfit
from sgdfit.errors import UsageError, require
from sgdfit.result.codec import Table
from sgdfit.result.table_file import writing_table

_WHOLE = ("step", "epoch", "rows")
_TABLES = ("parameters", "gradient")
_AUTOMATIC = ("rows", "damping", "distance")


@dataclass(frozen=True, eq=False, repr=False)
class Trace:
    """The path of a descent: row i of k is the state *before* the update of its step.

    The last row is the state at the end of the run; no update follows it, so its learning rate
    is NaN. Columns that differ in length are a `UsageError`.

    Attributes
    ----------
    names : the p free parameters
    step : updates made so far, shape (k,)
    epoch : passes through the data completed so far, shape (k,)
    learning_rate : of the update that follows, shape (k,)
    loss : in the units of the loss function, shape (k,)
    parameters : in their own units, shape (k, p)
    gradient : the derivative of the loss by each parameter, shape (k, p)
    rows : of the optimizer auto alone, as the next two: rows of the batch, which grows
    damping : λ of the step that led here, in units of the scaled curvature
    distance : how far the minimum of the batch's own loss is, in its standard errors

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
    parameters: Table
    gradient: Table
    rows: NDArray[np.int64] | None = None
    damping: NDArray[np.float64] | None = None
    distance: NDArray[np.float64] | None = None
    # Files that the run read, which none may be written over.
    inputs: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        count = len(self.step)
        for name in (field.name for field in fields(self) if field.name != "names"):
            if (values := getattr(self, name)) is None:
                continue
            kind = np.int64 if name in _WHOLE else np.float64
            shape = (count, len(self.names)) if name in _TABLES else (count,)
            column = shaped(f"the trace's {name}", values, kind, shape)
            object.__setattr__(self, name, column)

    def __len__(self) -> int:
        return len(self.step)

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return every column by name: step, epoch, learning_rate, loss, parameters, gradients.

        Of ``auto``, which has no learning rate, rows, damping and distance stand in its place.
        The gradient by ``a`` is called ``gradient_a``. A parameter whose own name is taken by
        another column is called ``parameter_`` and its name.
        """
        automatic = [name for name in _AUTOMATIC if getattr(self, name) is not None]
        rate = [] if automatic else ["learning_rate"]
        table = {n: getattr(self, n) for n in ("step", "epoch", *rate, "loss", *automatic)}
        gradients = [f"gradient_{name}" for name in self.names]
        taken = {*table, *gradients}
        for name, values in zip(self.names, self.parameters.T, strict=True):
            label = name
            while label in taken or (label != name and label in self.names):
                label = f"parameter_{label}"
            taken.add(label)
            table[label] = values
        return table | dict(zip(gradients, self.gradient.T, strict=True))

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
            When the ending is another one, or the file cannot be written or was fitted.
        """
        with writing_table(path, self.inputs) as write:
            write(self.columns())

    def __repr__(self) -> str:
        span = f", steps {self.step[0]} to {self.step[-1]}" if len(self) else ""
        return f"Trace({len(self)} rows{span}, parameters {', '.join(self.names)})"

    def _repr_html_(self) -> str:
        return str(sgdfit.higher("trace_as_html")(self))


def shaped(what: str, values: Any, dtype: type, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return values as an array of that shape, or raise a UsageError.

    Where there are none, as of no parameters, lists do not tell the shape.
    """
    array: NDArray[Any] = np.asarray(values, dtype=dtype)
    if array.size == 0 and 0 in shape:
        array = array.reshape(shape)
    if array.shape != shape:
        raise UsageError(f"{what} has shape {array.shape}, where {shape} is needed")
    return array
