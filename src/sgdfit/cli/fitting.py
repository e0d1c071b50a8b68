"""`sgdfit fit`: a fit of all rows at once, with progress, the report and the files asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sgdfit.cli.inputs import open_data
from sgdfit.cli.outcome import Wish, exit_status, keep, show_result
from sgdfit.cli.progress import progress_bar, steps_between
from sgdfit.cli.signals import ending_kindly, heeding
from sgdfit.cli.streams import warnings_told

__all__ = ["fit_all"]


def fit_all(
    data: str, where: str | None, formula: str, options: Mapping[str, Any], wish: Wish
) -> int:
    """Fit the rows of a file or of standard input, show and keep the result.

    Parameters
    ----------
    options : mapping
        Of `sgdfit.fit`, by its names.

    Returns
    -------
    int
        The exit status.
    """
    looks = steps_between(options["batch_size"], options["steps"], options["epochs"])
    with (
        progress_bar(not wish.quiet) as listener,
        warnings_told(listener.tell, not wish.quiet),
        ending_kindly(listener.tell) as asked,
    ):
        table = open_data(data, where, options["missing"])
        from sgdfit.fitting.fitting import fit

        result = fit(
            formula,
            listener.hearing(table),
            **options,
            tell=None if wish.quiet else listener.tell,
            callback=heeding(asked, listener.callback),
            callback_every=looks,
        )
    try:
        keep(result, table, wish)
    finally:  # a full disk must not cost the answer
        show_result(result, wish)
    return asked.status(exit_status(result))
