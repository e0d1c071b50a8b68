"""Which facts of a result are saved, by name and type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sgdfit.errors import DataError
from sgdfit.result.codecs import (
    Codec,
    columns,
    flag,
    integer,
    integers,
    later,
    mapping,
    matrix,
    optional,
    real,
    reals,
    record,
    sequence,
    text,
)
from sgdfit.result.result import Estimate, Result
from sgdfit.result.search import Rival, StartSearch
from sgdfit.result.status import Status
from sgdfit.result.trace import Trace

if TYPE_CHECKING:
    from sgdfit.inference.diagnosis import Diagnosis
    from sgdfit.inference.identifiability import Determined

__all__ = ["DIAGNOSIS", "ESTIMATE", "RESULT", "RESULT_PARTS", "STATUS", "TRACE"]


def _diagnosis(**parts: Any) -> Diagnosis:
    from sgdfit.inference.diagnosis import Diagnosis

    return Diagnosis(**parts)


def _determined(**parts: Any) -> Determined:
    from sgdfit.inference.identifiability import Determined

    return Determined(**parts)


def _trace(names: tuple[str, ...], step: Any, parameters: Any, gradient: Any, **rest: Any) -> Trace:
    """Set the columns of one list each beside one another again."""
    shape = (len(step), len(names))
    pair = []
    for table in (parameters, gradient):
        if len(table) != len(names):
            raise DataError(f"the trace has {len(table)} columns for {len(names)} parameters")
        if any(len(column) != len(step) for column in table):
            raise DataError(f"the trace has columns of other lengths than its {len(step)} steps")
        pair.append(np.array(table, dtype=np.float64).T.reshape(shape))
    return Trace(names, step=step, parameters=pair[0], gradient=pair[1], **rest)


STATUS = record(Status, {"name": text, "cause": text, "cure": text})

ESTIMATE = record(
    Estimate,
    {
        "name": text,
        "value": real,
        "stderr": optional(real),
        "interval": optional(sequence(real, length=2)),
        "start": real,
        "start_origin": text,
        "role": text,
        "low": real,
        "high": real,
        "tie": optional(text),
        "at_bound": flag,
    },
)

DIAGNOSIS = record(
    _diagnosis,
    {
        "names": sequence(text),
        "eigenvalues": reals,
        "eigenvectors": matrix,
        "condition_number": real,
        "stability_limit": optional(real),
        "fastest_rate": optional(real),
        "steps_per_digit": optional(real),
        "growth_factor": optional(real),
        "steps_per_digit_at_rate": optional(real),
        "best_momentum": optional(sequence(real, length=2)),
        "noise_floor": optional(real),
        "noise_distance": optional(real),
        "undetermined": sequence(text),
        "local": flag,
        "notes": sequence(text),
    },
)

TRACE = record(
    _trace,
    {
        "names": sequence(text),
        "step": integers,
        "epoch": integers,
        "learning_rate": reals,
        "loss": reals,
        "parameters": columns,
        "gradient": columns,
        "rows": later(optional(integers)),
        "damping": later(optional(reals)),
        "distance": later(optional(reals)),
    },
)

DETERMINED = record(_determined, {"text": text, "value": real, "stderr": optional(real)})

RIVAL = record(Rival, {"values": mapping(real), "loss": real})

SEARCH = record(
    StartSearch,
    {
        "points": integer,
        "polished": integer,
        "minima": integer,
        "rows": integer,
        "ranges": mapping(text),
        "solved": sequence(text),
        "loss": real,
        "rivals": sequence(RIVAL),
        "symmetries": sequence(text),
    },
)

RESULT_PARTS: dict[str, Codec] = {
    "formula": text,
    "loss_name": text,
    "optimizer": text,
    "learning_rate": text,
    "batch_size": optional(integer),
    "seed": integer,
    "kernel": text,
    "dtype": text,
    "estimates": mapping(ESTIMATE),
    "free": sequence(text),
    "covariance": optional(matrix),
    "correlation": optional(matrix),
    "covariance_method": text,
    "loss": real,
    "residual_sum_of_squares": real,
    "rows": integer,
    "rows_dropped": integer,
    "degrees_of_freedom": integer,
    "reduced_chi_square": optional(real),
    "r_squared": optional(real),
    "aic": optional(real),
    "aicc": optional(real),
    "bic": optional(real),
    "steps": integer,
    "epochs": integer,
    "seconds": real,
    "status": STATUS,
    "distance": optional(real),
    "diagnosis": optional(DIAGNOSIS),
    "trace": TRACE,
    "warnings": sequence(text),
    "data_label": text,
    "weights": optional(text),
    "noise_variance": later(optional(real)),
    "sigma": later(optional(text)),
    "absolute_sigma": later(flag),
    "rows_visited": later(optional(integer)),
    "drawn_from": later(optional(integer)),
    "search": later(optional(SEARCH)),
    "undetermined": later(sequence(text)),
    "determined": later(sequence(DETERMINED)),
    "intervals": later(text),
}

RESULT = record(Result, RESULT_PARTS)
