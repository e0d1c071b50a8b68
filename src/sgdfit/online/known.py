"""What is known now, as a `Result`."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import Any, NamedTuple

import numpy as np

from sgdfit.fitting.uncertainty import (
    Uncertainty,
    at_bounds,
    correlations,
    estimates,
    undetermined_warning,
    without,
)
from sgdfit.fitting.weights import CLASSICAL, SANDWICH, Weighting, surprise
from sgdfit.inference.covariance import classical, sandwich
from sgdfit.inference.directions import EPS, root_spectrum
from sgdfit.inference.identifiability import determined
from sgdfit.inference.statistics import Goodness, goodness
from sgdfit.model.loss import SQUARED
from sgdfit.model.separation import stepped_names
from sgdfit.online.local import Local, both, expanded
from sgdfit.online.memory import Memory, Recursion, fitted
from sgdfit.online.past import in_doubt
from sgdfit.online.walk import distance
from sgdfit.result.result import Estimate, Result
from sgdfit.result.status import Status, status_of
from sgdfit.result.trace import Trace

__all__ = ["Journey", "certainty", "composed", "distance_of", "has_estimates", "is_determined"]

# A quadratic is solved to rounding; what looks like a distance is rounding too.
ROUNDING = 1e-6
FEW_ROUNDINGS = 32
# What a sample leaves open is told beyond so many standard errors; none are given beyond `FAR`.
TOLD, FAR = 0.1, 1.0
CURE = (
    "fit all rows at once with sgdfit.fit, begin a new fit where the process changed, or give a"
    " forgetting factor"
)


class Journey(NamedTuple):
    """How the estimates came about, in the words of `Result`."""

    optimizer: str
    seed: int
    trace: Trace
    seconds: float
    updates: int
    data_label: str
    warnings: tuple[str, ...]


def has_estimates(fixed: Recursion, memory: Memory) -> bool:
    """Whether there are as many rows as parameters, and estimates."""
    return memory.theta is not None and memory.tally.used >= len(fixed.model.free)


def is_determined(fixed: Recursion, memory: Memory) -> bool:
    """Whether the rows determine every parameter."""
    if not has_estimates(fixed, memory) or memory.whole is None:
        return False
    q = memory.whole.quadratic
    return q.regular or bool(root_spectrum(q.root).positive.all())


def certainty(fixed: Recursion, memory: Memory, weighting: Weighting) -> Uncertainty:
    """Return how sure the estimates are.

    Squared residuals: 2σ²H⁻¹MH⁻¹, which without forgetting is σ²(JᵀWJ)⁻¹; rows that fade count
    with their weight in H = 2 Σ d·w·JJᵀ, and with its square in M = 2 Σ d²·w·JJᵀ. Other losses: the
    sandwich. What a parameter that drifts lags behind is in neither.
    """
    theta, local = memory.theta, memory.whole
    assert theta is not None  # the caller has looked
    assert local is not None
    model, q = fixed.model, local.quadratic
    free = ~at_bounds(model, theta, q.gradient)
    names = [name for name, is_free in zip(model.free, free, strict=True) if is_free]
    held = len(theta) - len(names)
    left = np.inf if weighting.absolute else memory.tally.mass - fitted(fixed, local) + held
    if not names:
        return Uncertainty(None, "none: every parameter stands on a bound", (), left)
    if left <= 0:
        return Uncertainty(None, "none: no degree of freedom is left", (), left)
    if in_doubt(fixed, memory) > FAR:
        return Uncertainty(None, "none: the estimates may be far from the optimum", (), left)
    found = _inner(fixed, memory, local, weighting, left, free, names)
    if found.covariance is None:
        return found
    if _is_exact(memory):
        found = found._replace(covariance=found.covariance * 0.0)
    whole = np.full((len(theta), len(theta)), np.nan)
    whole[np.ix_(free, free)] = found.covariance
    return found._replace(covariance=whole)


def _is_exact(memory: Memory) -> bool:
    """Whether the residuals are nothing but rounding, which tells no error."""
    assert memory.whole is not None
    tally = memory.tally
    size = tally.variation + tally.weight * tally.mean**2
    return memory.whole.quadratic.loss <= (FEW_ROUNDINGS * EPS) ** 2 * size


def _inner(
    fixed: Recursion,
    memory: Memory,
    local: Local,
    weighting: Weighting,
    left: float,
    free: np.ndarray,
    names: list[str],
) -> Uncertainty:
    assert memory.theta is not None
    spectrum = root_spectrum(_bent(fixed, memory, local).quadratic.root[:, free])
    noise = 1.0 if weighting.absolute else local.quadratic.loss / left
    middle = local.middle[np.ix_(free, free)]
    if fixed.robust:
        covariance, open_ones = sandwich(spectrum, middle, names)
        method = SANDWICH
    elif fixed.forgetting.factor < 1:
        covariance, open_ones = sandwich(spectrum, 2 * noise * middle, names)
        method = CLASSICAL
    else:
        covariance, open_ones = classical(spectrum, 2 * noise, names)
        method = CLASSICAL
    if covariance is not None:
        return Uncertainty(covariance, method, (), left)
    if fixed.robust or fixed.forgetting.factor < 1 or not open_ones:
        return Uncertainty(None, without(open_ones), open_ones, left)
    left = left if weighting.absolute else left + len(names) - int(spectrum.positive.sum())
    noise = noise if weighting.absolute else local.quadratic.loss / left
    covariance, rest = determined(names, memory.theta[free], spectrum, 2 * noise)
    return Uncertainty(covariance, method, open_ones, left, rest)


def _bent(fixed: Recursion, memory: Memory, local: Local) -> Local:
    """Return all rows with the curvature of their loss."""
    if fixed.squared or memory.known is None or memory.theta is None:
        return local
    columns, weights = memory.kept.rows()
    weight = weights * fixed.forgetting.weights(len(weights))
    known = expanded(fixed.kernel, memory.theta, columns, weight, memory.known)
    return known if memory.past is None else both(memory.past, known)


def composed(
    fixed: Recursion, memory: Memory, weighting: Weighting, journey: Journey, weights: str | None
) -> Result:
    """Return the `Result` of all rows so far."""
    model, tally, local, theta = fixed.model, memory.tally, memory.whole, memory.theta
    assert theta is not None  # the caller has looked
    assert local is not None
    found = certainty(fixed, memory, weighting)
    merit = _merit(fixed, memory, local, found, weighting)
    return Result(
        **_asked(fixed, weighting, journey, weights),
        **asdict(merit),
        estimates=_with_origins(fixed, memory, estimates(model, theta, found)),
        covariance=found.covariance,
        correlation=correlations(found.covariance),
        covariance_method=found.method,
        loss=local.quadratic.loss / tally.weight,
        residual_sum_of_squares=local.quadratic.loss if fixed.squared else local.squares,
        rows=tally.rows,
        rows_dropped=tally.dropped,
        rows_visited=memory.visited,
        status=_status(fixed, memory),
        distance=distance_of(fixed, memory),
        warnings=(*journey.warnings, *_warnings(fixed, memory, weighting, found, merit)),
        noise_variance=1.0 if weighting.absolute else merit.reduced_chi_square,
        undetermined=found.undetermined,
        determined=found.determined,
    )


def _asked(
    fixed: Recursion, weighting: Weighting, journey: Journey, weights: str | None
) -> dict[str, Any]:
    """Return the facts that no row changes, and those of the journey."""
    return {
        "formula": str(fixed.model.formula),
        "free": fixed.model.free,
        "loss_name": fixed.model.loss.name,
        "optimizer": journey.optimizer,
        "learning_rate": "",
        "batch_size": None,
        "seed": journey.seed,
        "kernel": fixed.kernel.form,
        "dtype": "float64",
        "steps": journey.updates,
        "epochs": 0,
        "seconds": journey.seconds,
        "trace": journey.trace,
        "diagnosis": None,
        "data_label": journey.data_label,
        "weights": weights,
        "sigma": weighting.sigma,
        "absolute_sigma": weighting.absolute,
    }


def _status(fixed: Recursion, memory: Memory) -> Status:
    doubt = in_doubt(fixed, memory)
    if doubt > FAR:
        cause = "the estimates moved to where what is kept of the rows does not tell the optimum"
        return status_of("stalled", cause=cause, cure=CURE)
    kept = "the estimates are the best that what is kept of the rows tells"
    best = "the estimates are the best for all rows so far"
    return status_of("converged", cause=kept if doubt > TOLD else best)


def _warnings(
    fixed: Recursion, memory: Memory, weighting: Weighting, found: Uncertainty, merit: Goodness
) -> tuple[str, ...]:
    """Return what the user should know of all rows together."""
    doubt = in_doubt(fixed, memory)
    moved: tuple[str, ...] = ()
    if doubt > TOLD:
        moved = (
            "the estimates moved far from where earlier rows were last seen, and may be"
            f" {doubt:.2g} standard errors from those of a fit of all rows at once; {CURE}",
        )
    open_ones = undetermined_warning(found.undetermined, stepped_names(fixed.model.prediction))
    told = surprise(weighting, merit.reduced_chi_square, merit.degrees_of_freedom)
    return (*moved, *open_ones, *told)


def _with_origins(
    fixed: Recursion, memory: Memory, table: dict[str, Estimate]
) -> dict[str, Estimate]:
    """Say where parameters began whose start nobody gave."""
    theta = memory.theta if memory.start is None else memory.start
    assert theta is not None  # the caller has looked
    starts = dict(zip(fixed.model.free, theta.tolist(), strict=True))
    origin = "solved" if fixed.quadratic else "search"
    return {
        name: replace(estimate, start=starts[name], start_origin=origin)
        if estimate.role == "free" and estimate.start_origin.startswith("default")
        else estimate
        for name, estimate in table.items()
    }


def distance_of(fixed: Recursion, memory: Memory) -> float:
    """Return how far the estimates are from the optimum of what is known, in standard errors."""
    if fixed.quadratic and not fixed.bounded:
        return 0.0
    assert memory.theta is not None
    assert memory.whole is not None
    found = distance(fixed, memory.theta, memory.whole.quadratic, memory.tally.mass)
    # A quadratic was solved to rounding.
    if fixed.quadratic:
        return 0.0 if found < ROUNDING else found
    return math.hypot(found, in_doubt(fixed, memory))


def _merit(
    fixed: Recursion, memory: Memory, local: Local, found: Uncertainty, weighting: Weighting
) -> Goodness:
    tally, free, squares = memory.tally, len(fixed.model.free), local.quadratic.loss
    if fixed.model.loss.name != SQUARED:
        return Goodness(round(tally.mass - free), None, None, None, None, None)
    total = tally.variation
    if fixed.forgetting.factor == 1:
        return goodness(squares, total, tally.used, free, tally.logs, weighting.absolute)
    left = tally.mass - fitted(fixed, local)
    share = 1 - squares / total if total > 0 else None
    return Goodness(round(left), squares / left if left > 0 else None, share, None, None, None)
