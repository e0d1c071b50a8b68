"""Fit curves to data, without learning rate or starting values, and see every step.

>>> import sgdfit
>>> fit = sgdfit.fit("y = a*exp(-b*x)", {"x": [0, 1, 2, 3], "y": [8, 4, 2, 1]})
>>> round(fit.estimates["a"].value, 6), round(fit.estimates["b"].value, 6)
(8.0, 0.693147)
"""

from __future__ import annotations

import importlib

__version__ = "0.1.0"

# As type checkers know it: typing would be a third of what is imported before the command looks
# after signals.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sgdfit import errors as errors
    from sgdfit import optimizers as optimizers
    from sgdfit import plot as plot
    from sgdfit.data.readers import open_table as open_table
    from sgdfit.fitting.comparison import compare as compare
    from sgdfit.fitting.entry import explain as explain
    from sgdfit.fitting.entry import fit as fit
    from sgdfit.fitting.many import fit_many as fit_many
    from sgdfit.formula.formula import Formula as Formula
    from sgdfit.model import loss as losses
    from sgdfit.model.model import Model as Model
    from sgdfit.online.fit import Fit as Fit
    from sgdfit.optimizers import schedule as schedules
    from sgdfit.result.fits import Fits as Fits
    from sgdfit.result.result import Result as Result
    from sgdfit.result.saved import load as load
    from sgdfit.scipy import curve_fit as curve_fit

# Imported on first use, so that `import sgdfit` costs next to nothing.
_PUBLIC = {
    "Fit": ("online.fit", "Fit"),
    "Fits": ("result.fits", "Fits"),
    "Formula": ("formula.formula", "Formula"),
    "Model": ("model.model", "Model"),
    "Result": ("result.result", "Result"),
    "compare": ("fitting.comparison", "compare"),
    "curve_fit": ("scipy", "curve_fit"),
    "errors": ("errors", None),
    "explain": ("fitting.entry", "explain"),
    "explore": ("page.widget", "explore"),
    "fit": ("fitting.entry", "fit"),
    "fit_many": ("fitting.many", "fit_many"),
    "load": ("result.saved", "load"),
    "losses": ("model.loss", None),
    "open_table": ("data.readers", "open_table"),
    "optimizers": ("optimizers", None),
    "plot": ("plot", None),
    "schedules": ("optimizers.schedule", None),
}

__all__ = [
    "Fit",
    "Fits",
    "Formula",
    "Model",
    "Result",
    "__version__",
    "compare",
    "curve_fit",
    "errors",
    "explain",
    "explore",
    "fit",
    "fit_many",
    "load",
    "losses",
    "open_table",
    "optimizers",
    "plot",
    "schedules",
]


# What things do by means of packages above their own, which they do not import.
_HIGHER = {
    "at_rows": "fitting.prediction",
    "as_html": "report",
    "as_latex": "report",
    "as_rich": "report",
    "as_text": "report",
    "derive": "derivation.derivation",
    "derive_quantities": "result.derived",
    "animate": "plot.animation",
    "plot_fit": "plot.views",
    "plot_fits": "plot.multiples",
    "plot_pairs": "plot.views",
    "plot_parameters": "plot.views",
    "plot_path": "plot.views",
    "plot_trace": "plot.views",
    "predict": "fitting.prediction",
    "sample": "result.derived",
    "trace_as_html": "report",
    "write_document": "document",
    "write_predictions": "fitting.prediction_files",
}


def higher(name: str) -> Callable[..., Any]:
    """Return a function of a higher package, which is imported now: for the package's own use."""
    found: Callable[..., Any] = getattr(importlib.import_module(f"sgdfit.{_HIGHER[name]}"), name)
    return found


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'sgdfit' has no attribute {name!r}")
    module, attribute = _PUBLIC[name]
    found = importlib.import_module(f"sgdfit.{module}")
    # From now on it is found without asking here.
    globals()[name] = found if attribute is None else getattr(found, attribute)
    return globals()[name]


def __dir__() -> list[str]:
    return __all__
