"""The symbolic gradient in numbers, beside two that know nothing of it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sgdfit.derivation.notation import DerivationStep, Math, name, number, spellings
from sgdfit.errors import UsageError
from sgdfit.formula.evaluation import DomainError, evaluate, find_domain_error
from sgdfit.formula.limits import evaluate_slope

if TYPE_CHECKING:
    from sgdfit.model.model import Model


Vector = np.ndarray[Any, np.dtype[np.float64]]

CANCELLED = 1e-3  # a derivative this small beside its rows' parts is compared with the parts
FIRST_STEP = float(np.finfo(float).eps) ** (1 / 9)  # wide, for derivatives that are tiny
SHRINK = 8.0  # from one trial step to the next
TRIALS = 7  # down to about the cube root of eps, for those that are steep
_CAUSES = {"nan": "has no real value", "pole": "is infinite", "overflow": "overflows"}


@dataclass(frozen=True)
class GradientCheck:
    """The mean loss's gradient at one place, computed in up to three ways."""

    names: tuple[str, ...]  # of the free parameters
    theta: tuple[float, ...]  # where the gradient is taken
    rows: int
    total_weight: float  # the number of rows where there are no weights
    loss: float  # the (weighted) mean
    symbolic: tuple[float, ...]  # from the derived expressions
    central: tuple[float, ...]  # from differences of the loss alone
    torch: tuple[float, ...] | None  # by torch's automatic differentiation, where there is one
    scale: tuple[float, ...]  # mean size of a row's part: what rounding errors are relative to
    trouble: DomainError | None = None  # the first row where something has no finite value
    limits: int = 0  # rows in which a slope's formula has no finite value but the slope a limit
    slopes: str = ""  # where those of a function that is called come from

    def differences(self, others: Sequence[float]) -> tuple[float, ...]:
        """Return the relative differences of `central` or `torch` from `symbolic`."""
        pairs = zip(self.symbolic, others, self.scale, strict=True)
        largest = [(a, b, max(abs(a), abs(b), CANCELLED * size)) for a, b, size in pairs]
        return tuple(abs(a - b) / size if size else 0.0 for a, b, size in largest)

    @property
    def step(self) -> DerivationStep:
        """The table, as a step of the derivation."""
        kind = "called" if self.slopes else "symbolic"
        table: list[list[str | Math]] = [["", kind]]
        for look, value in zip(spellings(self.names).values(), self.symbolic, strict=True):
            table.append([name(*look), number(value, 8)])
        for title, others in (("central difference", self.central), ("torch autograd", self.torch)):
            if others is None:
                continue
            table[0] += [title, "relative"]
            pairs = zip(others, self.differences(others), strict=True)
            for line, (value, difference) in zip(table[1:], pairs, strict=True):
                line += [number(value, 8), f"{difference:.1e}"]
        how = f" with slopes {self.slopes}" if self.slopes else ""
        says = (
            "The mean loss is ",
            number(self.loss, 8),
            f"; its derivatives{how}, and how far (relatively) the others are from the {kind} one:",
        )
        remark = []
        if self.limits:
            rows = "row, a slope is" if self.limits == 1 else "rows, slopes are"
            remark.append(
                f"In {self.limits} {rows} the limit of differences: the formula above gives no"
                " number there. "
            )
        if self.trouble is not None:
            row, part, _, kind, names = self.trouble
            where = ", ".join(f"{raw} = {value:g}" for raw, value in names.items())
            remark.append(
                f"Row {row + 1} is outside of the domain: {part} {_CAUSES[kind]} at {where}."
            )
        return DerivationStep("The gradient, checked", says, table=table, remark=remark)


def check_gradient(
    model: Model,
    columns: Mapping[str, Any],
    theta: Sequence[float] | None = None,
    weights: Any = None,
) -> GradientCheck:
    """Compute the gradient of the mean loss symbolically, by differences and by torch.

    ``theta`` are the free parameters' values, in the order of ``model.free``, else their start;
    ``weights`` one for each row.

    Examples
    --------
    >>> from sgdfit.model.model import build
    >>> model = build("y = a*x", ["x", "y"], start={"a": 3})
    >>> check = check_gradient(model, {"x": np.array([1.0, 2.0]), "y": np.array([2.0, 4.0])})
    >>> check.loss, check.symbolic
    (2.5, (5.0,))
    """
    data = {name: np.asarray(columns[name], dtype=float) for name in model.columns}
    rows = len(next(iter(data.values())))
    at = np.array(model.start if theta is None else theta, dtype=float)
    given = np.ones(rows) if weights is None else np.asarray(weights, dtype=float)
    total = float(given.sum())
    if not total > 0:
        raise UsageError(f"the weights sum to {total:g}; their sum must be above 0")
    share = given / total

    def spread(expression: Any, values: Mapping[str, Any]) -> Vector:
        return np.broadcast_to(np.asarray(evaluate(expression, values), dtype=float), rows)

    target = spread(model.formula.response, data)

    def named(theta: Vector) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what the prediction is made of, and what the loss is made of."""
        values = {**data, **dict(zip(model.free, theta, strict=True))}
        return values, model.loss.values(spread(model.prediction, values), target)

    def losses(theta: Vector) -> Vector:
        return spread(model.loss.expression, named(theta)[1])

    values, pair = named(at)
    slope = spread(model.loss_grad, pair)
    pairs = list(zip(model.free, model.gradient, strict=True))
    slopes = [evaluate_slope(model.prediction, part, name, values) for name, part in pairs]
    parts = [slope * limits for limits in slopes]
    known = np.isfinite([spread(part, values) for _, part in pairs]).all(axis=0)
    limited = np.isfinite(slopes).all(axis=0) & ~known

    def by_torch() -> tuple[float, ...] | None:
        """Let torch differentiate what it can: it knows no limits, and not every function."""
        rest = {name: column[~limited] for name, column in data.items()}
        try:
            slopes = _by_torch(model, rest, share[~limited], at)
        except (AttributeError, NotImplementedError):
            return None
        lacking = (float(share[limited] @ part[limited]) for part in parts)
        return tuple(a + b for a, b in zip(slopes, lacking, strict=True))

    # In the order of computation.
    searches: list[tuple[Any, ...]] = [(model.prediction, values)]
    searches += [(model.loss.expression, pair), (model.loss_grad, pair)]
    searches += [
        (part, values, limits) for part, limits in zip(model.gradient, slopes, strict=True)
    ]
    troubles = (find_domain_error(*search) for search in searches)
    return GradientCheck(
        names=model.free,
        theta=tuple(map(float, at)),
        rows=rows,
        total_weight=total,
        loss=float(share @ losses(at)),
        symbolic=tuple(float(share @ part) for part in parts),
        central=tuple(_central_difference(losses, share, at, k) for k in range(len(at))),
        torch=by_torch() if importlib.util.find_spec("torch") and not model.external else None,
        scale=tuple(float(share @ np.abs(part)) for part in parts),
        trouble=next((trouble for trouble in troubles if trouble), None),
        limits=int(limited.sum()),
        slopes=model.external.slopes if model.external else "",
    )


def _by_torch(
    model: Model, data: Mapping[str, Vector], share: Vector, theta: Vector
) -> tuple[float, ...]:
    """Gradient by torch, which differentiates the model by its own rules."""
    import torch

    leaves = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in theta.tolist()]
    values: dict[str, Any] = {n: torch.tensor(c.copy()) for n, c in data.items()}
    values |= dict(zip(model.free, leaves, strict=True))
    prediction = evaluate(model.prediction, values, "torch").expand(share.shape)
    pair = model.loss.values(prediction, evaluate(model.formula.response, values, "torch"))
    losses = evaluate(model.loss.expression, pair, "torch")
    mean = (torch.tensor(share) * losses).sum()
    slopes = torch.autograd.grad(mean, leaves, allow_unused=True)
    return tuple(0.0 if slope is None else float(slope) for slope in slopes)


def _central_difference(
    losses: Callable[[Vector], Vector], share: Vector, theta: Vector, k: int
) -> float:
    """Return the derivative to parameter ``k`` from values of the loss alone.

    Refined by one step of Richardson's extrapolation (Richardson and Gaunt 1927); of a few step
    lengths the one with the smallest estimated error is kept.
    """

    def difference(step: float) -> tuple[float, float]:
        """Central difference over ``step``, and the rounding error that it may bear."""
        up, down = theta.copy(), theta.copy()
        up[k] += step
        down[k] -= step
        distance = up[k] - down[k]  # what the sum left of the step, exactly
        above, below = losses(up), losses(down)
        # Differences first, sum after: rows with large losses do not drown the small changes.
        value = float(share @ (above - below)) / distance
        return value, float(np.finfo(float).eps * (share @ np.abs(above))) / distance

    # A small value may be near zero by chance, or small because its column is large: try both.
    sizes = sorted({max(abs(float(theta[k])), 1.0), abs(float(theta[k])) or 1.0})
    best = (np.inf, np.nan)
    with np.errstate(all="ignore"):  # a wide step may leave the domain: a shorter one is taken
        for step in (FIRST_STEP * size / SHRINK**i for size in sizes for i in range(TRIALS)):
            wide, rough = difference(step)
            narrow, rougher = difference(step / 2)
            better = (4 * narrow - wide) / 3
            best = min(best, (abs(better - narrow) + max(rough, rougher), better))
    return best[1]
