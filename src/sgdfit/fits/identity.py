"""What a run is of, in words: by these a checkpoint tells one run from another."""

from __future__ import annotations

from typing import Any

from sgdfit import __version__
from sgdfit.fits.weighting import Weighting
from sgdfit.models.model import Model
from sgdfit.models.parameters import Parameter

__all__ = ["identity_of"]


def identity_of(model: Model, weighting: Weighting, options: dict[str, Any]) -> dict[str, str]:
    """Return what changes a result, but for the data: nouns and what they are of this run.

    Examples
    --------
    >>> from sgdfit.models.model import build
    >>> model = build("y = a*x", ["x", "y"], bounds="a > 0")
    >>> found = identity_of(model, Weighting(), {"batch_size": 8, "steps": None})
    >>> found["formula"], found["parameters"], found["batch size"]
    ('y = a*x', 'a in (0, inf)', '8')
    """
    said = {n.replace("_", " "): _words(v) for n, v in options.items() if v is not None}
    return {
        "formula": str(model.formula),
        "loss": f"{model.loss.name}: {model.loss.expression}",
        "parameters": ", ".join(map(_parameter, model.parameters.values())),
        "weights": weighting.text or "one for each row",
        **said,
        "version of sgdfit": __version__,
    }


def _parameter(parameter: Parameter) -> str:
    if parameter.role == "tied":
        return f"{parameter.name} = {parameter.tie}"
    given = f" = {parameter.start!r}" if parameter.origin in ("given", "random", "fixed") else ""
    held = " (fixed)" if parameter.role == "fixed" else ""
    return f"{parameter.name}{given}{held} in ({parameter.low:g}, {parameter.high:g})"


def _words(value: Any) -> str:
    """Return a text that is the same in the next process, also for a function."""
    name = getattr(value, "name", None) or getattr(value, "__qualname__", None)
    if name is None:
        return str(value)
    settings = getattr(value, "options", None)
    return f"{name}{settings}" if settings else str(name)
