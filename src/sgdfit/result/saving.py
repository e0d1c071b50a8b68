"""Results read back from JSON, checked as a whole, and the summary that programs ask for."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from sgdfit.errors import DataError, FormulaError, SgdfitError
from sgdfit.result.codec import declared, decode, encode
from sgdfit.result.result import FORMAT, ROLES, VERSION, Result
from sgdfit.result.trace import shaped


def read(path: str | os.PathLike[str]) -> Result:
    """Read a result that was saved with `Result.save`.

    Raises
    ------
    DataError
        When the file is missing, cut off, not a saved fit, or of a newer version.
    """
    origin = repr(os.fspath(path))
    try:
        content = Path(path).read_text(encoding="utf-8")
        saved = json.loads(content, parse_constant=_refuse_constant)
    except OSError as error:
        raise DataError(f"cannot read {origin}: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise DataError(_json_trouble(origin, content, error)) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{origin} is not a saved fit: it is not strict JSON text") from error
    return from_dict(saved, origin)


def from_dict(saved: Any, origin: str = "this object") -> Result:
    """Restore the result that `Result.to_dict` wrote.

    What is not such a dict, is of a newer version, or lacks a fact, is a `DataError` that calls it
    ``origin``.
    """
    if not isinstance(saved, dict) or saved.get("format") != FORMAT:
        raise DataError(f'{origin} is not a saved fit: it does not say "format": "{FORMAT}"')
    version = saved.get("version")
    if type(version) is not int or version < 1:
        raise DataError(f"{origin} is not a whole saved fit: its version is {version!r}")
    if version > VERSION:
        raise DataError(
            f"{origin} was saved by a newer sgdfit (format version {version}, this one reads up"
            f" to {VERSION}); update sgdfit to read it"
        )
    try:
        return _agreeing(decode(saved, Result, "the fit"))
    except SgdfitError as error:
        raise DataError(f"{origin} is not a whole saved fit: {error}") from error


def summary(result: Result) -> dict[str, Any]:
    """Return what a program that asked for the fit wants to know: all facts but the trace.

    Values are those of strict JSON; a figure that is not finite, or not known, is None.
    """
    facts = {
        name: encode(getattr(result, name), kind, unfinite=lambda _: None)
        for name, (kind, _) in declared(Result).items()
        if name != "trace"
    }
    first = {"formula": result.formula, "status": facts["status"]}
    first["parameters"] = facts.pop("estimates")
    with suppress(ValueError):  # a schedule
        facts["learning_rate"] = float(result.learning_rate)
    return {**first, **facts}


def _agreeing(result: Result) -> Result:
    """Refuse facts that are well-formed one by one but do not belong together."""
    from sgdfit.formula.reading import as_formula  # imports SymPy

    try:
        known = as_formula(result.formula).names
    except FormulaError as error:
        raise DataError(f"the fit.formula cannot be read: {error.message}") from error
    for name, estimate in result.estimates.items():
        place = f"the fit.estimates.{name}"
        if name not in known:
            raise DataError(
                f"the fit.estimates has {name!r}, which the formula {result.formula!r} has not"
            )
        if name != estimate.name:
            raise DataError(f"{place}.name is {estimate.name!r}")
        if estimate.role not in ROLES:
            raise DataError(
                f"{place}.role is {estimate.role!r}, where one of {', '.join(ROLES)} is needed"
            )
        if estimate.stderr is not None and estimate.stderr < 0:
            raise DataError(f"{place}.stderr is {estimate.stderr}, below 0")
    for name in result.free:
        if name not in result.estimates:
            raise DataError(f"the fit.free names {name!r}, which has no estimate")
    square = (len(result.free), len(result.free))
    matrices: dict[str, Any] = {
        name: shaped(f"the fit.{name}", matrix, float, square)
        for name in ("covariance", "correlation")
        if (matrix := getattr(result, name)) is not None
    }
    return replace(result, **matrices)


def _json_trouble(origin: str, content: str, error: json.JSONDecodeError) -> str:
    if not content.strip():
        return f"{origin} is not a saved fit: the file is empty"
    whole = content.rstrip().endswith("}") and error.pos < len(content.rstrip())
    if content.lstrip().startswith("{") and not whole:
        return f"{origin} is not a whole saved fit: the file is cut off"
    return f"{origin} is not a saved fit: it is not JSON (line {error.lineno}, {error.msg})"


def _refuse_constant(name: str) -> float:
    raise ValueError(name)
