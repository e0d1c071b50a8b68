"""Losses: plain functions (prediction, target) -> loss of each row, averaged over the rows.

They are written in NumPy, as a user would write one, and traced into symbols like any user's
function; called with arrays they compute. A robust loss equals half the squared residual near
zero (`huber`, `log_cosh`) or the squared residual (`soft_l1`, `cauchy`), as its source has it.

What counts as a large residual depends on the scale of the others, in units of the response: a
robust loss turns from squares at ``delta`` times ``scale``, which a fit takes from its residuals
unless it is given (Huber 1981, Robust Statistics, section 7.7). The defaults of ``delta`` are 95%
as efficient as least squares where the noise is normal: 1.345, 1.205 and 2.385 (Holland & Welsch
1977, Communications in Statistics A6(9), 813-827, table 1), and for `soft_l1`, which their table
lacks, 1.287 by the same integral, (E ψ')²/E ψ².
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from sgdfit.choice import choose, number
from sgdfit.errors import FormulaError, UsageError, did_you_mean

Array = Any  # an array, a number or a traced quantity

PREDICTION, TARGET, SCALE = "prediction", "target", "scale"
# The word for a scale of one unit of the response.
ABSOLUTE = "absolute"
# The loss of least squares, which has theory of its own.
SQUARED = "mse"


def mse(prediction: Array, target: Array) -> Array:
    """Squared residual; its mean is the mean squared error."""
    return (prediction - target) ** 2


def mae(prediction: Array, target: Array) -> Array:
    """Absolute residual; its mean is least where half of the residuals are positive."""
    return np.abs(prediction - target)


def huber(prediction: Array, target: Array, delta: float = 1.345, scale: float = 1.0) -> Array:
    """Half the squared residual up to ``delta * scale``, linear beyond (Huber 1964, p. 75).

    Examples
    --------
    >>> float(huber(0.5, 0.0, delta=1)), float(huber(3.0, 0.0, delta=1))
    (0.125, 2.5)
    """
    residual, reach = prediction - target, delta * scale
    far = np.abs(residual)
    return np.where(far <= reach, residual**2 / 2, reach * (far - reach / 2))


def soft_l1(prediction: Array, target: Array, delta: float = 1.287, scale: float = 1.0) -> Array:
    """Smooth form of the absolute residual: ``2 s² (sqrt(1 + (r/s)²) - 1)``, s = delta * scale.

    The rho of `scipy.optimize.least_squares` with ``f_scale=s``.
    """
    reach = delta * scale
    return 2 * reach**2 * (np.sqrt(1 + ((prediction - target) / reach) ** 2) - 1)


def cauchy(prediction: Array, target: Array, delta: float = 2.385, scale: float = 1.0) -> Array:
    """Lorentzian loss ``s² log(1 + (r/s)²)``, s = delta * scale: far outliers hardly count.

    The rho of `scipy.optimize.least_squares` with ``f_scale=s``.
    """
    reach = delta * scale
    return reach**2 * np.log1p(((prediction - target) / reach) ** 2)


def log_cosh(prediction: Array, target: Array, delta: float = 1.205, scale: float = 1.0) -> Array:
    """``s² log(cosh(r/s))``, s = delta * scale, without overflow: quadratic, linear far out."""
    reach = delta * scale
    residual = (prediction - target) / reach
    return reach**2 * (np.logaddexp(residual, -residual) - np.log(2))


def quantile(prediction: Array, target: Array, q: float = 0.5) -> Array:
    """Pinball loss of the quantile ``q`` (Koenker and Bassett 1978, p. 38)."""
    residual = target - prediction
    return np.maximum(q * residual, (q - 1) * residual)


def poisson(prediction: Array, target: Array) -> Array:
    """Negative log-likelihood of a Poisson count, less the constant ``log(target!)``.

    `torch.nn.PoissonNLLLoss` with ``log_input=False``; the prediction must be positive.
    """
    return prediction - target * np.log(prediction)


LOSSES: dict[str, Callable[..., Array]] = {
    f.__name__: f for f in (mse, mae, huber, soft_l1, cauchy, log_cosh, quantile, poisson)
}


@dataclass(frozen=True)
class Loss:
    """A loss as an expression (of SymPy) of ``prediction``, ``target``, and maybe ``scale``."""

    name: str
    expression: Any
    # What stands for its second derivative to the prediction; None: that itself.
    hess: Any = None
    # Of the residuals of a row of weight 1, in units of the response, those of a row of weight w
    # scattering by 1/√w of it; None where the expression has none, or until it is known.
    scale: float | None = None

    @cached_property
    def is_relative(self) -> bool:
        """Whether the scale of the residuals stands in the expression."""
        return any(symbol.name == SCALE for symbol in self.expression.free_symbols)

    def scaled(self, scale: float) -> Loss:
        """Return the loss of residuals that scatter by ``scale``."""
        return replace(self, scale=scale)

    def scale_of(self, weights: Array) -> Array:
        """Return the scale of rows of such ``weights``, NaN until it is known; None: of 1 each."""
        scale = math.nan if self.scale is None else self.scale
        return scale if weights is None else scale / np.sqrt(np.where(weights > 0, weights, 1.0))

    def values(self, prediction: Array, target: Array, weights: Array = None) -> dict[str, Array]:
        """Return by their names what the expression and its derivatives are made of."""
        return {PREDICTION: prediction, TARGET: target, SCALE: self.scale_of(weights)}


def as_loss(loss: str | Callable[..., Array] | Loss) -> Loss:
    """Return a `Loss` from a name in `LOSSES`, with options, a formula or a function.

    A formula or a function is one of ``prediction`` and ``target``; a formula also of ``scale``,
    the robust scale of the residuals.

    Raises
    ------
    UsageError
        When the name or an option is unknown; the sentence lists what is there.

    Examples
    --------
    >>> as_loss("huber(delta=2)").name, as_loss("huber(delta=2, scale=absolute)").is_relative
    ('huber(delta=2.0)', False)
    >>> as_loss("abs(prediction - target)**1.5").expression
    Absolute(prediction - target)**1.5
    """
    if isinstance(loss, Loss):
        return loss
    if callable(loss):
        return _traced(loss)
    if not isinstance(loss, str):
        raise UsageError(f"a loss is a name, a formula or a function, not {type(loss).__name__!r}")
    return _read(loss)


@functools.lru_cache(maxsize=64)
def _read(text: str) -> Loss:
    if PREDICTION in text or TARGET in text:
        return Loss(text.strip(), _formula(text))
    return _traced(choose(text, {name: _factory(loss) for name, loss in LOSSES.items()}, "loss"))


def _factory(loss: Callable[..., Array]) -> Callable[..., Callable[..., Array]]:
    """Return a function of the options of a loss that returns the loss with them set."""

    def build(**options: Any) -> Callable[..., Array]:
        return functools.partial(loss, **options)

    options = [
        each.replace(annotation=float | str if each.name == SCALE else each.annotation)
        for each in list(inspect.signature(loss).parameters.values())[2:]
    ]
    build.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    return build


def as_absolute(name: str) -> str:
    """Return the name of a loss whose options were in units of the response, as they once were.

    >>> as_absolute("huber(delta=2.0)"), as_absolute("mse")
    ("huber(delta=2.0, scale='absolute')", 'mse')
    """
    kind, _, options = name.rstrip(")").partition("(")
    loss = LOSSES.get(kind)
    if loss is None or SCALE in options or SCALE not in inspect.signature(loss).parameters:
        return name
    return f"{kind}({options}{', ' if options else ''}scale={ABSOLUTE!r})"


def with_window(loss: Loss, width: float, curvature: float) -> Loss:
    """Return a loss with a kink whose second derivative counts residuals in a window about zero.

    The window reaches ``width`` to both sides; within it the second derivative is ``curvature``.
    """
    text = f"where(abs({PREDICTION} - {TARGET}) <= {width!r}, {curvature!r}, 0)"
    return Loss(loss.name, loss.expression, _formula(text))


def _traced(loss: Callable[..., Array]) -> Loss:
    from sgdfit.formula.formula import symbol, to_text
    from sgdfit.formula.reading import trace_call

    bound = functools.partial(loss)  # with what is bound already
    bare, options = bound.func, bound.keywords
    name = str(getattr(bare, "__name__", type(bare).__name__))
    known = LOSSES.get(name) is bare
    if known and bound.args:
        raise UsageError(f"bind the options of the loss {name} by name, as in '{name}(delta=2)'")
    free: tuple[str, ...] = (PREDICTION, TARGET)
    if known:
        options = {option: _option(name, option, value) for option, value in options.items()}
        loss = functools.partial(bare, **options)
        if SCALE in options:
            # Without a word on delta it is one such scale.
            held = {"delta": 1} | options
            held[SCALE] = 1 if options[SCALE] == ABSOLUTE else options[SCALE]
            loss = functools.partial(bare, **held)
        elif SCALE in inspect.signature(bare).parameters:
            free = (*free, SCALE)
    try:
        # By name, or in this order.
        parameters = inspect.signature(loss).parameters
        by_name = {PREDICTION, TARGET} <= set(parameters)
        names = {PREDICTION: None, TARGET: None} if by_name else {}
        inspect.signature(loss).bind(*(() if by_name else (None, None)), **names)
    except (TypeError, ValueError):
        raise UsageError(
            f"the loss {name!r} cannot be called with a prediction and a target;"
            " write a function such as lambda prediction, target: (prediction - target)**2"
        ) from None

    def called(prediction: Array, target: Array, *scale: Array) -> Array:
        if by_name:
            named = zip(free, (prediction, target, *scale), strict=True)
            return loss(**dict(named))
        return loss(prediction, target)

    try:
        expression = trace_call(called, {n: symbol(n) for n in free})
    except FormulaError as error:
        raise UsageError(f"the loss {name!r} cannot be used: {error}") from error
    _check_names(expression, (), name)
    if not known:
        return Loss(to_text(expression, (PREDICTION, TARGET)), expression)
    shown = ", ".join(f"{key}={value!r}" for key, value in options.items())
    return Loss(f"{name}({shown})" if shown else name, expression)


def _option(loss: str, name: str, given: Any) -> float | str:
    if name == SCALE and isinstance(given, str):
        if given == ABSOLUTE:
            return ABSOLUTE
        raise UsageError(
            f"scale of the loss {loss} is {given!r}; leave it out to take it from the residuals, or"
            " give a number in units of the response, or 'absolute', which is 1 of these"
        )
    value: float = number(given, f"{name} of the loss {loss}")
    if name in ("delta", "scale") and not value > 0:
        raise UsageError(f"{name} of the loss {loss} is {value:g}; it must be above 0")
    if name == "q" and not 0 < value < 1:
        raise UsageError(f"q of the loss {loss} is {value:g}; a quantile lies between 0 and 1")
    return value


def _formula(text: str) -> Any:
    from sgdfit.formula.parsing import parse_expression

    expression, names = parse_expression(text)
    _check_names(expression, names, text.strip())
    return expression


def _check_names(expression: Any, names: Iterable[str], loss: str) -> None:
    allowed = (PREDICTION, TARGET, SCALE)
    for other in sorted({*names} - {*allowed}):
        raise UsageError(
            f"the loss '{loss}' uses {other!r}; a loss is a formula of 'prediction' and 'target',"
            f" and of 'scale', that of the residuals.{did_you_mean(other, allowed)}"
        )
    for missing in sorted({PREDICTION, TARGET} - {s.name for s in expression.free_symbols}):
        raise UsageError(
            f"the loss '{loss}' does not depend on the {missing}; a loss says how far the"
            " prediction is from the target"
        )
