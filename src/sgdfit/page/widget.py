"""The live view in a notebook: the bundle of the page, over a widget's own messages."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from sgdfit.errors import MissingDependencyError, require
from sgdfit.formula.formula import Formula
from sgdfit.page.session import Session

Array = np.ndarray[Any, Any]


def explore(formula: str | Formula | None = None, data: object = None) -> Any:
    """Show a fit that is watched and steered, in a Jupyter notebook, VS Code or marimo.

    Parameters
    ----------
    formula : str, optional
        Such as ``"y = a*exp(-k*t) + c"``.
    data : dict of arrays, data frame, Arrow table, path, …, optional
        As for `sgdfit.fit`. Without, the tutorial's noisy quadratic.

    Returns
    -------
    anywidget.AnyWidget
        Its ``session`` has the parameters as they stand, and ``session.best``, the last fit.

    Raises
    ------
    FormulaError, DataError, UsageError
        When the formula or the data cannot be used.
    MissingDependencyError
        When anywidget is not installed.

    Examples
    --------
    >>> view = explore("y = a*x + b", {"x": [0, 1, 2], "y": [1.1, 2.9, 5.2]})
    >>> view.session.values
    {'a': 1.0, 'b': 1.0}
    >>> view.close()
    """
    made = _widget_class()()
    emit = _sender(weakref.ref(made))
    made.session = Session(emit, data, None if formula is None else str(formula))
    made.on_msg(_receiver(made.session))
    weakref.finalize(made, made.session.close)
    return made


def _sender(widget: Callable[[], Any]) -> Callable[[dict[str, Any], Sequence[Array]], None]:
    """Return what sends a session's messages to the view, as long as there is one."""

    def emit(message: dict[str, Any], arrays: Sequence[Array]) -> None:
        known = widget()
        if known is not None and known.comm is not None:
            known.send(message, [array.tobytes() for array in arrays])

    return emit


def _receiver(session: Session) -> Callable[[Any, Mapping[str, Any], Sequence[Any]], None]:
    def receive(_: Any, message: Mapping[str, Any], buffers: Sequence[Any]) -> None:
        content = {"content": bytes(buffers[0])} if buffers else {}
        session.handle({**message, **content})

    return receive


@cache
def _widget_class() -> Any:
    anywidget = require("anywidget", "the live view in a notebook", "sgdfit[notebook]")
    static = files("sgdfit.page").joinpath("static")
    if not static.joinpath("view.js").is_file():
        raise MissingDependencyError(
            "sgdfit was installed without its live view; install it again without SGDFIT_NO_VIEW"
        )

    class View(anywidget.AnyWidget):  # type: ignore[misc,name-defined]
        """A live view of a fit."""

        _esm = static.joinpath("view.js").read_text("utf-8")
        _css = static.joinpath("style.css").read_text("utf-8")

    return View
