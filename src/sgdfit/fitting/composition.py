"""What is known at the end of any descent, put together as a `Result`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from sgdfit.fitting.arguments import PROFILE, WALD
from sgdfit.fitting.assessment import Uncertainty, correlations, estimates
from sgdfit.fitting.squares import Squares
from sgdfit.fitting.task import Task
from sgdfit.fitting.weighting import surprise
from sgdfit.inference.diagnosis import Diagnosis
from sgdfit.inference.statistics import Goodness, goodness
from sgdfit.model.loss import SQUARED
from sgdfit.result.result import Estimate, Result
from sgdfit.result.search import StartSearch
from sgdfit.result.status import Status
from sgdfit.result.trace import Trace

__all__ = ["Landed", "Way", "compose", "undetermined_warning", "withheld"]

# Farther than this from the optimum, in standard errors, a 95% interval would miss it too often.
FAR = 1.0


class Way(NamedTuple):
    """How the estimates were found, in the words of `Result`."""

    optimizer: str
    learning_rate: str
    batch_size: int | None
    seed: int
    kernel: str
    dtype: str
    steps: int
    epochs: int
    seconds: float
    trace: Trace
    rows_visited: int
    diagnosis: Diagnosis | None = None
    search: StartSearch | None = None


class Landed(NamedTuple):
    """Where a descent came down.

    Attributes
    ----------
    theta : float64[p]
        The estimates.
    loss : float
        Summed over the rows.
    squares : Squares
    found : Uncertainty
    distance : float
        To the optimum, in standard errors; infinite where not known.
    status : Status
    warnings : tuple of str
    intervals : mapping of str to (float, float) or None, optional
        Of the free parameters by profile likelihood, where that was asked for.
    """

    theta: np.ndarray
    loss: float
    squares: Squares
    found: Uncertainty
    distance: float
    status: Status
    warnings: tuple[str, ...]
    intervals: Mapping[str, tuple[float, float] | None] | None = None


def compose(task: Task, landed: Landed, way: Way) -> Result:
    """Return the `Result` of what is known."""
    model, weighting = task.model, task.weighting
    found = withheld(_settled(landed), landed.status, landed.distance)
    merit = _merit(task, landed.squares)
    told = surprise(weighting, merit.reduced_chi_square, merit.degrees_of_freedom)
    known = weighting.absolute and model.loss.name == SQUARED
    return Result(
        formula=str(model.formula),
        loss_name=model.loss.name,
        **way._asdict(),
        estimates=_profiled(estimates(model, landed.theta, found), landed.intervals),
        free=model.free,
        covariance=found.covariance,
        correlation=correlations(found.covariance),
        covariance_method=found.method,
        loss=landed.loss / task.counted,
        residual_sum_of_squares=landed.squares.residual,
        rows=task.rows,
        rows_dropped=task.dropped,
        drawn_from=task.drawn_from,
        **vars(merit),
        status=landed.status,
        distance=landed.distance if np.isfinite(landed.distance) else None,
        warnings=(*task.warnings, *landed.warnings, *told),
        data_label=task.label,
        weights=task.weights,
        undetermined=found.undetermined,
        determined=found.determined,
        noise_variance=1.0 if known else merit.reduced_chi_square,
        sigma=weighting.sigma,
        absolute_sigma=weighting.absolute,
        intervals=WALD if landed.intervals is None else PROFILE,
    )


def _merit(task: Task, squares: Squares) -> Goodness:
    """Return the figures of merit; most take residuals for normal, which only one loss does."""
    merit = goodness(
        squares.residual,
        squares.total,
        rows=task.counted,
        free=len(task.model.free),
        sum_log_weights=squares.log_weights,
        known_variance=task.weighting.absolute,
    )
    if task.model.loss.name == SQUARED:
        return merit
    return Goodness(merit.degrees_of_freedom, None, None, None, None, None)


def _profiled(
    table: dict[str, Estimate], intervals: Mapping[str, tuple[float, float] | None] | None
) -> dict[str, Estimate]:
    """Return the estimates with the intervals that profiles gave; tied ones keep theirs."""
    known = {} if intervals is None else intervals
    return {
        name: replace(estimate, interval=known[name]) if name in known else estimate
        for name, estimate in table.items()
    }


def _settled(landed: Landed) -> Uncertainty:
    """Return no error at all where the residuals are nothing but rounding."""
    found = landed.found
    if found.covariance is None or found.degrees_of_freedom == np.inf:
        return found
    if not landed.squares.exact:
        # A variance below the range of floating point is not none.
        gone = found.covariance.diagonal() == 0
        if not gone.any():
            return found
        return found._replace(covariance=np.where(gone | gone[:, None], np.nan, found.covariance))
    return found._replace(covariance=found.covariance * 0.0)


def undetermined_warning(
    combinations: tuple[str, ...], stepped: Collection[str] = ()
) -> tuple[str, ...]:
    """Say that the data leave combinations of parameters open, if they do.

    Parameters
    ----------
    combinations : tuple of str
    stepped : collection of str
        Parameters within a condition or a rounding, whose effect comes in steps.
    """
    steps = [name for name in combinations if name in stepped]
    rest = [name for name in combinations if name not in stepped]
    told = []
    if steps:
        told.append(
            f"{', '.join(steps)} acts in steps: it may move between neighbouring rows without"
            " changing the fit, so it has no standard error"
        )
    if rest:
        told.append(
            f"the data do not determine {', '.join(rest)}: near these estimates any value of it"
            " fits as well, so the parameters in it have no standard errors; fix or tie one of them"
        )
    return tuple(told)


def withheld(found: Uncertainty, status: Status, distance: float) -> Uncertainty:
    """Take the errors back where the estimates are not those that they belong to."""
    if not status.ok:
        return found._replace(
            covariance=None, determined=(), method=f"none: the run ended as {status.label}"
        )
    if np.isfinite(distance) and distance > FAR:
        about = float(f"{distance:.2g}")  # 300, not 3e+02
        away = f"the estimates are still {about:,g} standard errors from the optimum"
        return _stripped(found, f"none: {away}")
    return found


def _stripped(found: Uncertainty, why: str) -> Uncertainty:
    return found._replace(covariance=None, determined=(), method=why)
