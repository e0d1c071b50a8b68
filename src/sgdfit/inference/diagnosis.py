"""What gradient descent will do, read from the curvature of the loss before it runs.

The curvature is the Hessian G of the mean loss over all rows, or its Gauss-Newton form; for
mean squared error G = (2/N) JᵀJ. Along each of its eigenvectors descent is a scalar
recursion (see ``stability``), so that the eigenvalues say whether a run diverges, how fast
it converges at best, and what the data leave open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sgdfit.errors import UsageError
from sgdfit.inference.directions import ScaledSpectrum, eigen, scaled_spectrum
from sgdfit.inference.naming import combination, named
from sgdfit.inference.notes import Circumstances, allowed_rates, write_notes
from sgdfit.inference.stability import Descent, best_heavy_ball, steps_per_digit

__all__ = ["Diagnosis", "diagnose", "explain_divergence", "rate_advice"]


@dataclass(frozen=True)
class Diagnosis:
    """What the curvature at one point says about a run of gradient descent.

    Figures of rates count the weight decay as curvature; directions that are not determined
    and negative curvatures are left out of ``fastest_rate`` and what follows from it.

    Attributes
    ----------
    names : tuple of str, length p
        The free parameters.
    eigenvalues : array, shape (p,)
        Of the curvature, ascending, in units of loss/parameter²; those that cannot be told
        from zero are 0.0; NaN where the curvature is not finite.
    eigenvectors : array, shape (p, p)
        Columns of unit length, the largest component positive.
    condition_number : float
        Largest over smallest eigenvalue; ``inf`` unless all are positive.
    stability_limit : float or None
        The largest constant learning rate with which full-batch descent does not diverge;
        steps on few rows can need less. None for adaptive optimizers, without positive
        curvature, and where the momentum alone diverges.
    fastest_rate : float or None
        The constant rate that converges fastest at the given momentum.
    steps_per_digit : float or None
        Steps for one decimal digit of parameter error at ``fastest_rate``; 0 when a single
        step lands on the minimum, None also where the loss is not convex.
    growth_factor : float or None
        Factor by which a step at the given rate multiplies the error along the steepest
        direction, in the long run: |1 − ηλmax| without momentum. Above 1 the run diverges.
    steps_per_digit_at_rate : float or None
        The same as ``steps_per_digit`` at the given rate; ``inf`` if it does not converge.
    best_momentum : (float, float) or None
        The (rate, momentum) of heavy ball that converges fastest (Polyak 1964).
    noise_floor : float or None
        Roughly the excess of the mean loss over its minimum, as a fraction of the minimum,
        at which steps on batches hover; exact for mean squared error with rows drawn
        independently and small steps, smaller when rows are shuffled. None for a full batch.
    noise_distance : float or None
        The same as a distance in standard errors, the root mean square over parameters.
    undetermined : tuple of str
        Combinations of parameters along which the data leave the loss unchanged.
    local : bool
        The model is not linear in its parameters, so the figures hold near this point only.
    notes : tuple of str
        Sentences, the most important first; may be empty.
    """

    names: tuple[str, ...]
    eigenvalues: np.ndarray
    eigenvectors: np.ndarray
    condition_number: float
    stability_limit: float | None = None
    fastest_rate: float | None = None
    steps_per_digit: float | None = None
    growth_factor: float | None = None
    steps_per_digit_at_rate: float | None = None
    best_momentum: tuple[float, float] | None = None
    noise_floor: float | None = None
    noise_distance: float | None = None
    undetermined: tuple[str, ...] = ()
    local: bool = False
    notes: tuple[str, ...] = ()


def diagnose(
    curvature: np.ndarray,
    names: Sequence[str],
    *,
    momentum: float = 0.0,
    dampening: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    adaptive: bool = False,
    learning_rate: float | None = None,
    batch_size: int | None = None,
    rows: int,
    loss: float,
    local: bool,
) -> Diagnosis:
    """Say what gradient descent will do from here.

    Parameters
    ----------
    curvature : array, shape (p, p)
        G, of the mean loss over all rows, in units of loss/parameter².
    names : sequence of str, length p
        The free parameters.
    momentum, dampening, nesterov, weight_decay
        As in ``torch.optim.SGD``.
    adaptive : bool
        The optimizer rescales the gradient (adagrad, rmsprop, adam, adamw).
    learning_rate : float, optional
        The constant rate of the run; without it nothing is said of a particular rate.
    batch_size : int, optional
        Rows of one step; None for all.
    rows : int
        Rows of the data, N.
    loss : float
        The mean loss at this point.
    local : bool
        The model is not linear in its parameters.

    Raises
    ------
    UsageError
        When the shapes differ, or Nesterov's momentum is given a dampening.

    Examples
    --------
    >>> x = np.linspace(-2, 2, 20)
    >>> J = np.stack([x**2, x, np.ones(20)], axis=1)
    >>> d = diagnose(2 / 20 * J.T @ J, "abc", learning_rate=0.23, rows=20, loss=41.75, local=False)
    >>> print(d.notes[0])
    learning rate 0.23 is above the stability limit 2/λmax = 0.2215: each step multiplies the
    error along 0.92·a + 0.39·c by |1 − ηλmax| = 1.076, so the run diverges; use at most
    0.2215, best 0.2042.
    """
    names = tuple(names)
    G = _checked(curvature, names, nesterov, dampening)
    update = Descent(momentum, 1 - dampening if momentum else 1.0, nesterov)
    about = Circumstances(G, update, weight_decay, adaptive, learning_rate, batch_size, rows, loss)
    if not np.isfinite(G).all():
        unknown = np.full(len(names), np.nan)
        bare = Diagnosis(names, unknown, np.full(G.shape, np.nan), float("inf"), local=local)
        return replace(bare, notes=write_notes(bare, about, None))
    spectrum = scaled_spectrum(G)
    found = _spectral_facts(G, names, spectrum, local)
    if not adaptive and found.eigenvalues.max(initial=0.0) > 0:
        found = _with_rates(found, about)
        found = _with_noise(found, about)
    return replace(found, notes=write_notes(found, about, spectrum))


def _checked(
    curvature: np.ndarray, names: tuple[str, ...], nesterov: bool, dampening: float
) -> np.ndarray:
    G = np.array(curvature, dtype=float)
    if G.shape != (len(names), len(names)):
        raise UsageError(
            f"the curvature has shape {G.shape}, but the {len(names)} parameters"
            f" {', '.join(names)} need ({len(names)}, {len(names)})"
        )
    if nesterov and dampening:
        raise UsageError(f"Nesterov's momentum takes no dampening, not {dampening}; set it to 0")
    return G / 2 + G.T / 2


def _spectral_facts(
    G: np.ndarray, names: tuple[str, ...], spectrum: ScaledSpectrum, local: bool
) -> Diagnosis:
    values, vectors = eigen(G)
    rows = spectrum.null_rows() if G.any() else np.zeros((0, len(names)))
    values[_nearest(vectors, rows / spectrum.scales)] = 0.0
    order = np.argsort(values, kind="stable")
    values, vectors = values[order], vectors[:, order]
    with np.errstate(over="ignore"):
        positive = values.size > 0 and values[0] > 0
        condition = float(values[-1] / values[0]) if positive else float("inf")
    undetermined = named(names, rows, spectrum.scales)
    return Diagnosis(names, values, vectors, condition, undetermined=undetermined, local=local)


def _nearest(vectors: np.ndarray, null_rows: np.ndarray) -> np.ndarray:
    """Return which columns of ``vectors`` span the null rows.

    Beside a large eigenvalue rounding leaves a zero one larger than an honest small one, so
    that size alone cannot tell.
    """
    if not len(null_rows):
        return np.zeros(0, dtype=int)
    unit = null_rows / np.abs(null_rows).max(axis=1, keepdims=True)
    basis, _ = np.linalg.qr((unit / np.linalg.norm(unit, axis=1, keepdims=True)).T)
    return np.argsort(-np.linalg.norm(basis.T @ vectors, axis=0))[: len(null_rows)]


def _with_rates(found: Diagnosis, about: Circumstances) -> Diagnosis:
    effective = found.eigenvalues + about.weight_decay
    smallest, largest = float(effective[effective > 0].min()), float(effective.max())
    found = replace(found, best_momentum=best_heavy_ball(smallest, largest))
    if about.learning_rate is not None:
        found = _at_rate(found, about.update, about.learning_rate, effective)
    if not about.update.converges:
        return found
    fastest = about.update.fastest(smallest, largest)
    # Both ends balance; the small one keeps its digits where the large one rounds to 1.
    growth = about.update.log_radius(np.array([fastest * smallest]))[0]
    return replace(
        found,
        stability_limit=about.update.limit(largest),
        fastest_rate=fastest,
        steps_per_digit=None if (effective < 0).any() else steps_per_digit(float(growth)),
    )


def _at_rate(found: Diagnosis, update: Descent, rate: float, effective: np.ndarray) -> Diagnosis:
    with np.errstate(over="ignore"):
        logs = update.log_radius(rate * effective[effective != 0])
        growth = float(np.exp(logs[-1]))
    slowest = steps_per_digit(float(logs.max()))
    return replace(found, growth_factor=growth, steps_per_digit_at_rate=slowest)


def _with_noise(found: Diagnosis, about: Circumstances) -> Diagnosis:
    """Noise of variance 2σ²λ(1 − B/N)/B sustains an excess loss in units of σ², the minimum."""
    rate, batch, rows = about.learning_rate, about.batch_size, about.rows
    stable = found.growth_factor is not None and found.growth_factor < 1
    if rate is None or batch is None or batch >= rows or not stable or not about.update.converges:
        return found
    curvature = found.eigenvalues[found.eigenvalues > 0]
    excess = about.update.excess(rate, curvature, about.weight_decay)
    floor = float(excess.sum()) / batch * (1 - batch / rows)
    # In standard errors SE² = 2σ²/(Nλ), so each excess counts N times.
    distance = float(np.sqrt(rows * floor / len(curvature)))
    return replace(found, noise_floor=floor, noise_distance=distance)


def explain_divergence(diagnosis: Diagnosis, displacement: np.ndarray) -> str:
    """Say along which combination of parameters a diverged run left, and which rate to use.

    Parameters
    ----------
    diagnosis : Diagnosis
        From the start of the run, with its learning rate.
    displacement : array, shape (p,)
        The last finite parameters less the first, or one of the last steps.

    Returns
    -------
    str
        One or two sentences.

    Examples
    --------
    >>> d = diagnose(
    ...     np.diag([1.0, 9.0]), "ab", learning_rate=0.3, rows=20, loss=1.0, local=False
    ... )
    >>> print(explain_divergence(d, np.array([0.01, 1e9])))
    The run left along b, which makes up 100% of its displacement and has curvature 9: each step
    multiplies the error along it by 1.7. Use a learning rate of at most 0.2222, best 0.2.
    """
    displacement = np.asarray(displacement, dtype=float)
    size = np.abs(displacement).max(initial=0.0)
    usable = np.isfinite(diagnosis.eigenvectors).all() and np.isfinite(size) and size > 0
    if not usable:
        return (
            f"The run diverged at once, before a direction could be told. {rate_advice(diagnosis)}"
        )
    shares = (diagnosis.eigenvectors.T @ (displacement / size)) ** 2
    main = int(shares.argmax())
    where = combination(diagnosis.names, diagnosis.eigenvectors[:, main])
    value = diagnosis.eigenvalues[main]
    advice = rate_advice(diagnosis)
    return (
        f"The run left along {where}, which makes up {shares[main] / shares.sum():.0%} of its"
        f" displacement and has curvature {value:.4g}{_reason(diagnosis, main)} {advice}"
    )


def _reason(diagnosis: Diagnosis, main: int) -> str:
    growth = diagnosis.growth_factor
    if diagnosis.eigenvalues[main] < 0:
        return ": the loss is not convex there, and descent runs away from the start along it."
    if growth is not None and growth > 1 and main == len(diagnosis.names) - 1:
        return f": each step multiplies the error along it by {growth:.4g}."
    if not diagnosis.local:
        cause = "single batches are steeper than all rows together"
        cause = (
            cause if diagnosis.noise_floor is not None else "the optimizer's steps were too long"
        )
        return f", which did not foresee this: {cause}."
    return " at the start, which did not foresee this: the loss is steeper further out."


def rate_advice(diagnosis: Diagnosis) -> str:
    """Say in one sentence which learning rate to use after a run that diverged."""
    rates = allowed_rates(diagnosis)
    if not rates:
        return "Use a learning rate ten times smaller."
    foreseen = diagnosis.growth_factor is None or diagnosis.growth_factor > 1
    if foreseen:
        return f"Use a learning rate of {rates}."
    if not diagnosis.local and diagnosis.noise_floor is not None:
        return "Use larger batches, or a learning rate ten times smaller."
    return (
        f"The limit at the start, {diagnosis.stability_limit:.4g}, does not hold on the way:"
        " use a learning rate ten times smaller, or start nearer to the answer."
    )
