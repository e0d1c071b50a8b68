"""A result as JSON and back: text that any machine reads, never a pickle."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from sgdfit.checkpoint.atomic import replacing
from sgdfit.errors import DataError, FormulaError, SgdfitError, UsageError
from sgdfit.result.codecs import Unfinite
from sgdfit.result.result import Estimate, Result
from sgdfit.result.schema import ESTIMATE, RESULT, RESULT_PARTS, STATUS

__all__ = ["from_dict", "read", "summary", "to_dict", "to_json", "write"]

FORMAT = "sgdfit"
VERSION = 1
ROLES = ("free", "fixed", "tied")

_SUMMARY = (
    "formula",
    "loss_name",
    "loss",
    "residual_sum_of_squares",
    "degrees_of_freedom",
    "reduced_chi_square",
    "r_squared",
    "aic",
    "aicc",
    "bic",
    "rows",
    "rows_dropped",
    "steps",
    "epochs",
    "rows_visited",
    "drawn_from",
    "seconds",
    "search",
    "distance",
    "covariance",
    "correlation",
    "covariance_method",
    "intervals",
    "undetermined",
    "determined",
    "noise_variance",
    "sigma",
    "absolute_sigma",
    "diagnosis",
    "warnings",
    "optimizer",
    "learning_rate",
    "batch_size",
    "seed",
)


def to_dict(result: Result) -> dict[str, Any]:
    """Return every fact, the trace included, as values of strict JSON.

    NaN and the infinities, which JSON lacks, are ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``.
    """
    return {"format": FORMAT, "version": VERSION, **RESULT.encode(result)}


def to_json(result: Result) -> str:
    """Return every fact, the trace included, as strict JSON text."""
    return json.dumps(to_dict(result), allow_nan=False, ensure_ascii=False) + "\n"


def from_dict(saved: Any, origin: str = "this object") -> Result:
    """Restore the result that `to_dict` wrote.

    Parameters
    ----------
    saved : dict
        What `to_dict` returned.
    origin : str
        What to call it in an error.

    Raises
    ------
    DataError
        When it is not such a dict, is of a newer version, or a fact is missing or of a wrong type.
    """
    _check_kind(saved, origin)
    try:
        result: Result = RESULT.decode(saved, "the fit")
        _check_agreement(result)
    except SgdfitError as error:
        raise DataError(f"{origin} is not a whole saved fit: {error}") from error
    return result


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


def write(result: Result, path: str | os.PathLike[str]) -> None:
    """Save a result as a JSON file, whole or not at all.

    Raises
    ------
    UsageError
        When the file cannot be written.
    """
    content = to_json(result)
    try:
        with replacing(path) as file:
            file.write(content.encode())
    except OSError as error:
        raise UsageError(f"cannot save to {os.fspath(path)!r}: {error.strerror}") from error


def summary(result: Result) -> dict[str, Any]:
    """Return what a program that asked for the fit wants to know: all facts but the trace.

    Values are those of strict JSON; a figure that is not finite, or not known, is None.
    """
    facts = {key: RESULT_PARTS[key].encode(getattr(result, key)) for key in _SUMMARY}
    return {
        "formula": facts.pop("formula"),
        "status": STATUS.encode(result.status),
        "parameters": {name: _parameter(e) for name, e in result.estimates.items()},
        **{key: _nulled(value) for key, value in facts.items()},
        "learning_rate": _constant(result.learning_rate),
    }


def _constant(rate: str) -> float | str:
    """Return a constant learning rate as a number, a schedule as its text."""
    try:
        return float(rate)
    except ValueError:
        return rate


def _parameter(estimate: Estimate) -> dict[str, Any]:
    encoded = ESTIMATE.encode(estimate)
    keys = ("value", "stderr", "interval", "start", "start_origin", "role", "at_bound")
    return {key: _nulled(encoded[key]) for key in keys}


def _nulled(value: Any) -> Any:
    """Put null for the names of numbers that are not finite."""
    if isinstance(value, list):
        return [_nulled(entry) for entry in value]
    if isinstance(value, dict):
        return {key: _nulled(entry) for key, entry in value.items()}
    return None if isinstance(value, Unfinite) else value


def _check_kind(saved: Any, origin: str) -> None:
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


def _check_agreement(result: Result) -> None:
    """Refuse facts that are well-formed one by one but do not belong together."""
    _check_estimates(result)
    strangers = [name for name in result.free if name not in result.estimates]
    if strangers:
        raise DataError(f"the fit.free names {strangers[0]!r}, which has no estimate")
    for name in ("covariance", "correlation"):
        table = getattr(result, name)
        if table is not None and len(table) != len(result.free):
            raise DataError(
                f"the fit.{name} is of {len(table)} parameters, where {len(result.free)} are free"
            )


def _check_estimates(result: Result) -> None:
    known = _names_of(result)
    for name, estimate in result.estimates.items():
        if name not in known or name != estimate.name:
            raise DataError(
                f"the fit.estimates has {name!r}, which the formula {result.formula!r} has not"
                if name not in known
                else f"the fit.estimates.{name}.name is {estimate.name!r}"
            )
        if estimate.role not in ROLES:
            raise DataError(
                f"the fit.estimates.{name}.role is {estimate.role!r}, where one of"
                f" {', '.join(ROLES)} is needed"
            )
        if estimate.stderr is not None and estimate.stderr < 0:
            raise DataError(f"the fit.estimates.{name}.stderr is {estimate.stderr}, below 0")


def _names_of(result: Result) -> set[str]:
    from sgdfit.formula.formula import as_formula

    try:
        return set(as_formula(result.formula).names)
    except FormulaError as error:
        raise DataError(f"the fit.formula cannot be read: {error.message}") from error


def _json_trouble(origin: str, content: str, error: json.JSONDecodeError) -> str:
    if not content.strip():
        return f"{origin} is not a saved fit: the file is empty"
    whole = content.rstrip().endswith("}") and error.pos < len(content.rstrip())
    if content.lstrip().startswith("{") and not whole:
        return f"{origin} is not a whole saved fit: the file is cut off"
    return f"{origin} is not a saved fit: it is not JSON (line {error.lineno}, {error.msg})"


def _refuse_constant(name: str) -> float:
    raise ValueError(name)
