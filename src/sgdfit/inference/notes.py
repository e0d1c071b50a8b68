"""The sentences of a diagnosis: each a function that says one thing, or nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Context
from typing import TYPE_CHECKING

import numpy as np

from sgdfit.inference.directions import ScaledSpectrum
from sgdfit.inference.naming import combination, named
from sgdfit.inference.stability import Descent, steps_per_digit

if TYPE_CHECKING:
    from sgdfit.inference.diagnosis import Diagnosis

__all__ = ["Circumstances", "allowed_rates", "write_notes"]

SLOW = 1e5  # steps per decimal digit
ILL_CONDITIONED = 1e6
CORRELATED = 1e4
FAR_APART = 100.0  # a better unit must gain this much to be worth the trouble
NEGLIGIBLE = 0.01  # standard errors


@dataclass(frozen=True)
class Circumstances:
    """What is diagnosed: the curvature (p, p) and how the run will step."""

    curvature: np.ndarray
    update: Descent
    weight_decay: float
    adaptive: bool
    learning_rate: float | None
    batch_size: int | None
    rows: int
    loss: float

    @property
    def steepest(self) -> str:
        """How λmax is written, weight decay included."""
        return f"(λmax + {self.weight_decay:g})" if self.weight_decay else "λmax"

    @property
    def limit_formula(self) -> str:
        """How the stability limit is written for this update."""
        beta, gain = self.update.momentum, self.update.gain
        if beta == 0:
            return f"2/{self.steepest}"
        below = "(1 + 2β)" if self.update.nesterov else f"(1 − {1 - gain:g})" if gain != 1 else ""
        steepest = f"{below}{self.steepest}"
        return f"2(1 + β)/({steepest})" if below else f"2(1 + β)/{steepest}"


def allowed_rates(found: Diagnosis) -> str:
    """Return ``at most 0.2215, best 0.2042``, or an empty string where there is no limit."""
    limit, best = found.stability_limit, found.fastest_rate
    if limit is None or best is None:
        return ""
    return f"at most {_rounded_down(limit):.4g}, best {_rounded_down(best):.4g}"


def _rounded_down(value: float) -> float:
    """Round to 4 digits, down where rounding up would leave the allowed range."""
    rounded = float(f"{value:.4g}")
    # A value that is itself a short decimal, to rounding, stays what it is.
    if rounded <= value * (1 + 1e-9):
        return rounded
    return float(Context(prec=4, rounding=ROUND_FLOOR).create_decimal(value))


Note = Callable[["Diagnosis", Circumstances, ScaledSpectrum], str | None]


def write_notes(
    found: Diagnosis, about: Circumstances, spectrum: ScaledSpectrum | None
) -> tuple[str, ...]:
    """Return the notes that apply, the most important first.

    ``spectrum`` is None where the curvature is not finite, which then is the only note.
    """
    if spectrum is None:
        return (_not_finite(found, about),)
    if not about.curvature.any():
        return (_flat(found, about),)
    notes = (note(found, about, spectrum) for note in NOTES)
    return tuple(note for note in notes if note)


def _not_finite(found: Diagnosis, about: Circumstances) -> str:
    bad = ~np.isfinite(about.curvature).all(axis=0)
    alone = bad & ~np.isfinite(np.diag(about.curvature))
    blamed = np.flatnonzero(alone if alone.any() else bad).tolist()
    names = [found.names[i] for i in blamed]
    return (
        f"the curvature of the loss is not finite for {', '.join(names)} here, so nothing can"
        " be said of learning rates; start where the model can be computed on every row."
    )


def _flat(found: Diagnosis, about: Circumstances) -> str:
    if not found.names:
        return "no parameter is free, so there is nothing to descend along."
    return (
        "this loss has no curvature here (mean absolute error has none anywhere), so the limits"
        " of the learning rate do not apply; let the learning rate decay so that steps shrink."
    )


def _diverges(found: Diagnosis, about: Circumstances, spectrum: ScaledSpectrum) -> str | None:
    rate, limit, growth = about.learning_rate, found.stability_limit, found.growth_factor
    if rate is None or limit is None or growth is None or rate <= limit:
        return None
    if about.update.momentum:
        how, lasting = "by ", " in the long run"
    else:
        how, lasting = f"by |1 − η{about.steepest}| = ", ""
    end = "so the run diverges at first" if found.local else "so the run diverges"
    return (
        f"learning rate {rate:g} is above the stability limit {about.limit_formula} ="
        f" {limit:.4g}: each step multiplies the error along {_steepest(found)} {how}"
        f"{growth:.4g}{lasting}, {end}; use {allowed_rates(found)}."
    )


def _never_converges(
    found: Diagnosis, about: Circumstances, spectrum: ScaledSpectrum
) -> str | None:
    if about.adaptive or about.update.converges:
        return None
    if about.update.gain <= 0:
        taken = 1 - about.update.gain
        return f"dampening {taken:g} leaves no descent in the steps; use one below 1."
    return (
        f"momentum {about.update.momentum:g} is not below 1, so old steps never fade and no"
        " learning rate converges; use 0.9, say."
    )


def _not_convex(found: Diagnosis, about: Circumstances, spectrum: ScaledSpectrum) -> str | None:
    if not (spectrum.values < -spectrum.tolerance).any():
        return None
    where = combination(found.names, found.eigenvectors[:, 0])
    return (
        f"the loss is not convex here: its curvature along {where} is"
        f" {found.eigenvalues[0]:.4g}, so descent runs away from here along it until the"
        " curvature turns positive."
    )


def _without_effect(found: Diagnosis, about: Circumstances, spectrum: ScaledSpectrum) -> str | None:
    idle = _idle(found, about)
    if not idle:
        return None
    cure = "start elsewhere or fix" if found.local else "fix"
    which = "it" if len(idle) == 1 else "them"
    return f"the loss does not depend on {' and '.join(idle)} here; {cure} {which}."


def _idle(found: Diagnosis, about: Circumstances) -> list[str]:
    return [name for name, row in zip(found.names, about.curvature, strict=True) if not row.any()]


def _undetermined(found: Diagnosis, about: Circumstances, spectrum: ScaledSpectrum) -> str | None:
    idle = _idle(found, about)
    combinations = [name for name in found.undetermined if name not in idle]
    if not combinations:
        return None
    here = " here" if found.local else ""
    return (
        f"the data do not determine {' and '.join(combinations)}{here}: moving along"
        f" {'it' if len(combinations) == 1 else 'them'} leaves the loss unchanged; fix or tie"
        " one parameter of each."
    )


def _near_limit(found: Diagnosis, about: Circumstances, spectrum: ScaledSpectrum) -> str | None:
    rate, limit, growth = about.learning_rate, found.stability_limit, found.growth_factor
    if rate is None or limit is None or growth is None or not 0.95 * limit <= rate <= limit:
        return None
    return (
        f"learning rate {rate:g} is within 5% of the stability limit {about.limit_formula} ="
        f" {limit:.4g}: each step leaves {growth:.4g} of the error along {_steepest(found)};"
        f" best {found.fastest_rate:.4g}."
    )


def _too_slow(found: Diagnosis, about: Circumstances, spectrum: ScaledSpectrum) -> str | None:
    steps, best = found.steps_per_digit_at_rate, found.steps_per_digit
    rate, fastest = about.learning_rate, found.fastest_rate
    if steps is None or best is None or rate is None or fastest is None:
        return None
    if rate >= fastest or steps < max(SLOW, 2 * best):
        return None
    effective = found.eigenvalues + about.weight_decay
    slowest = found.eigenvectors[:, int(np.where(effective > 0, effective, np.inf).argmin())]
    return (
        f"learning rate {rate:g} is far too small: the error along"
        f" {combination(found.names, slowest)} needs {steps:.4g} steps for each decimal digit;"
        f" the best rate, {fastest:.4g}, needs {best:.4g}."
    )


def _spread(values: np.ndarray) -> float:
    """Largest over smallest of the positive ``values``."""
    positive = values[values > 0]
    with np.errstate(over="ignore"):
        return float(positive.max() / positive.min()) if positive.size else 1.0


def _is_ill_scaled(found: Diagnosis, spectrum: ScaledSpectrum) -> bool:
    raw, scaled = _spread(found.eigenvalues), _spread(spectrum.values[spectrum.positive])
    return raw > ILL_CONDITIONED and raw > FAR_APART * scaled


def _ill_scaled(found: Diagnosis, about: Circumstances, spectrum: ScaledSpectrum) -> str | None:
    if not _is_ill_scaled(found, spectrum):
        return None
    powers = np.log10(spectrum.scales)
    used = about.curvature.any(axis=0)
    # One parameter keeps its unit, and as many others as can.
    powers = np.where(used, np.round(powers - np.sort(powers[used])[(used.sum() - 1) // 2]), 0)
    changed = [(f"{10.0**p:g}·{n}", n) for n, p in zip(found.names, powers, strict=True) if p]
    columns = "" if found.local else " (divide the columns that they multiply by these factors)"
    return (
        f"the parameters are badly scaled: the condition number is"
        f" {_spread(found.eigenvalues):.4g}, but {_spread(spectrum.values[spectrum.positive]):.4g}"
        f" with each parameter in its own unit{_pace(found)}; rescale: fit"
        f" {', '.join(new for new, _ in changed)} in place of"
        f" {', '.join(old for _, old in changed)}{columns}."
    )


def _correlated(found: Diagnosis, about: Circumstances, spectrum: ScaledSpectrum) -> str | None:
    raw, scaled = _spread(found.eigenvalues), _spread(spectrum.values[spectrum.positive])
    if scaled <= CORRELATED or max(raw, scaled) <= ILL_CONDITIONED:
        return None
    pace = "" if _is_ill_scaled(found, spectrum) else _pace(found)
    weakest = spectrum.vectors[:, [int(spectrum.positive.argmax())]].T
    (where,) = named(found.names, weakest, spectrum.scales)
    return (
        f"the parameters are strongly correlated: even with each in its own unit the condition"
        f" number is {scaled:.4g}, and the data hardly determine {where}{pace}; centre"
        " the variables, or write the formula with fewer or less alike terms."
    )


def _pace(found: Diagnosis) -> str:
    if found.steps_per_digit is None or found.best_momentum is None:
        return ""
    rate, momentum = found.best_momentum
    pace = f", so that even the best rate needs {found.steps_per_digit:.4g} steps for each digit"
    if not 0 < momentum < 1 - 1e-6:  # nobody writes that many nines
        return pace
    with_momentum = steps_per_digit(float(np.log(momentum)) / 2)
    return f"{pace} ({with_momentum:.4g} with momentum {momentum:.6g} and rate {rate:.4g})"


def _noisy(found: Diagnosis, about: Circumstances, spectrum: ScaledSpectrum) -> str | None:
    floor, distance = found.noise_floor, found.noise_distance
    if floor is None or distance is None or distance < NEGLIGIBLE or about.loss == 0:
        return None
    return (
        f"steps on {about.batch_size} of {about.rows:,} rows hover above the minimum of the loss,"
        f" at a constant rate of {about.learning_rate:g} by roughly {100 * floor:.4g}% of it, or"
        f" {distance:.4g} standard errors of the parameters (less when rows are shuffled, not"
        " drawn); to get closer, average the iterates, let the learning rate decay, or take"
        " larger batches."
    )


def _adaptive(found: Diagnosis, about: Circumstances, spectrum: ScaledSpectrum) -> str | None:
    if not about.adaptive:
        return None
    return (
        "this optimizer rescales the gradient as it goes, so no stability limit follows from"
        " the curvature; its learning rate is the size of a step in units of the parameters."
    )


def _local(found: Diagnosis, about: Circumstances, spectrum: ScaledSpectrum) -> str | None:
    if not found.local:
        return None
    return "the model is not linear in its parameters, so these figures hold near here only."


def _steepest(found: Diagnosis) -> str:
    return combination(found.names, found.eigenvectors[:, -1])


NOTES: tuple[Note, ...] = (
    _diverges,
    _never_converges,
    _not_convex,
    _without_effect,
    _undetermined,
    _near_limit,
    _too_slow,
    _ill_scaled,
    _correlated,
    _noisy,
    _adaptive,
    _local,
)
