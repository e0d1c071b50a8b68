"""Results as JSON and back, without losing a bit: what each field is, declared in one table.

Every number is written with as many digits as it takes to read back the same float; what JSON has
no number for (infinities, not a number) is written as text. A wrong value in a file is named with
its place.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sgdfit.checkpoint.atomic import replacing
from sgdfit.errors import DataError, FormulaError, SgdfitError, UsageError
from sgdfit.result.result import Estimate, Result
from sgdfit.result.status import Rival, StartSearch, Status
from sgdfit.result.trace import Trace

_NAMED = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class Codec(NamedTuple):
    """How one type of fact is written to JSON values, and read from them.

    Attributes
    ----------
    encode : callable
        fact -> JSON value.
    decode : callable
        (JSON value, where it stands) -> fact.
    required : bool
        Whether a record without this fact is refused.
    """

    encode: Callable[[Any], Any]
    decode: Callable[[Any, str], Any]
    required: bool = True


def _wrong(value: object, where: str, wanted: str) -> DataError:
    shown = repr(value)
    shown = shown if len(shown) <= 40 else f"{shown[:40]}…"
    return DataError(f"{where} is {shown}, where {wanted} is needed")


def _plain(kind: type, wanted: str) -> Codec:
    """Make the codec of a type that JSON has; a bool is no number here."""

    def decode(value: Any, where: str) -> Any:
        if type(value) is not kind:
            raise _wrong(value, where, wanted)
        return value

    return Codec(kind, decode)


class Unfinite(str):
    """The name of a number that JSON lacks, told apart from a text that happens to read so."""

    __slots__ = ()


def _encode_real(value: Any) -> float | Unfinite:
    number = float(value)
    if math.isfinite(number):
        return number
    return Unfinite("NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity")


def _decode_real(value: Any, where: str) -> float:
    if type(value) is float:
        return value
    if isinstance(value, str) and value in _NAMED:
        return _NAMED[value]
    if type(value) is int and abs(value) <= 2**63:
        return float(value)
    raise _wrong(value, where, "a number")


text = _plain(str, "a text")
flag = _plain(bool, "true or false")
integer = _plain(int, "a whole number")
real = Codec(_encode_real, _decode_real)


def optional(codec: Codec) -> Codec:
    """Let None stand as null."""
    return Codec(
        lambda fact: None if fact is None else codec.encode(fact),
        lambda value, where: None if value is None else codec.decode(value, where),
    )


def later(codec: Codec) -> Codec:
    """Let a fact be absent, as in what an older sgdfit wrote: the record's own default stands."""
    return codec._replace(required=False)


def sequence(codec: Codec, length: int | None = None) -> Codec:
    """Write a tuple as a list, of a given length if there is one."""

    def decode(value: Any, where: str) -> tuple[Any, ...]:
        if length is not None and len(_list(value, where)) != length:
            raise DataError(f"{where} has {len(value)} entries, where {length} are needed")
        return tuple(codec.decode(x, f"{where}[{i}]") for i, x in enumerate(_list(value, where)))

    return Codec(lambda facts: [codec.encode(fact) for fact in facts], decode)


def mapping(codec: Codec) -> Codec:
    """Write a dict whose keys are texts."""

    def decode(value: Any, where: str) -> dict[str, Any]:
        pairs = _object(value, where).items()
        return {key: codec.decode(entry, f"{where}.{key}") for key, entry in pairs}

    return Codec(lambda facts: {str(k): codec.encode(fact) for k, fact in facts.items()}, decode)


def record(make: Callable[..., Any], parts: Mapping[str, Codec]) -> Codec:
    """Write an object's attributes by name; reading calls ``make`` with them as keywords.

    Keys that are not known are left aside, so that a later sgdfit may add some.
    """

    def encode(fact: Any) -> dict[str, Any]:
        return {name: codec.encode(getattr(fact, name)) for name, codec in parts.items()}

    def decode(value: Any, where: str) -> Any:
        found = _object(value, where)
        missing = [name for name, c in parts.items() if c.required and name not in found]
        if missing:
            raise DataError(f"{where} lacks {', '.join(map(repr, missing))}")
        prefix = f"{where}."
        present = {name: codec for name, codec in parts.items() if name in found}
        return make(**{name: c.decode(found[name], prefix + name) for name, c in present.items()})

    return Codec(encode, decode)


def _array(codec: Codec, dtype: type) -> Codec:
    items = sequence(codec)

    def encode(array: Any) -> list[Any]:
        return [codec.encode(x) for x in np.asarray(array).tolist()]

    def decode(value: Any, where: str) -> NDArray[Any]:
        try:
            return np.array(items.decode(value, where), dtype=dtype)
        except OverflowError:
            raise DataError(f"{where} holds a number that is too large") from None

    return Codec(encode, decode)


reals = _array(real, np.float64)
integers = _array(integer, np.int64)


def _decode_matrix(value: Any, where: str) -> NDArray[np.float64]:
    rows = [reals.decode(row, f"{where}[{i}]") for i, row in enumerate(_list(value, where))]
    if any(len(row) != len(rows) for row in rows):
        raise DataError(f"{where} is not a square matrix")
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(rows))


matrix = Codec(lambda rows: [reals.encode(row) for row in np.asarray(rows)], _decode_matrix)


def _decode_columns(value: Any, where: str) -> list[NDArray[np.float64]]:
    return [reals.decode(entry, f"{where}[{i}]") for i, entry in enumerate(_list(value, where))]


columns = Codec(lambda table: [reals.encode(c) for c in np.asarray(table).T], _decode_columns)


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong(value, where, "a list")
    return value


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(value, where, "an object")
    return value


if TYPE_CHECKING:
    from sgdfit.inference.diagnosis import Diagnosis
    from sgdfit.inference.estimable import Determined


def _diagnosis(**parts: Any) -> Diagnosis:
    from sgdfit.inference.diagnosis import Diagnosis

    return Diagnosis(**parts)


def _determined(**parts: Any) -> Determined:
    from sgdfit.inference.estimable import Determined

    return Determined(**parts)


def _trace(names: tuple[str, ...], step: Any, parameters: Any, gradient: Any, **rest: Any) -> Trace:
    """Set the columns of one list each beside one another again."""
    shape = (len(step), len(names))
    pair = []
    for table in (parameters, gradient):
        if len(table) != len(names):
            raise DataError(f"the trace has {len(table)} columns for {len(names)} parameters")
        if any(len(column) != len(step) for column in table):
            raise DataError(f"the trace has columns of other lengths than its {len(step)} steps")
        pair.append(np.array(table, dtype=np.float64).T.reshape(shape))
    return Trace(names, step=step, parameters=pair[0], gradient=pair[1], **rest)


STATUS = record(Status, {"name": text, "cause": text, "cure": text})

ESTIMATE = record(
    Estimate,
    {
        "name": text,
        "value": real,
        "stderr": optional(real),
        "interval": optional(sequence(real, length=2)),
        "start": real,
        "start_origin": text,
        "role": text,
        "low": real,
        "high": real,
        "tie": optional(text),
        "at_bound": flag,
    },
)

DIAGNOSIS = record(
    _diagnosis,
    {
        "names": sequence(text),
        "eigenvalues": reals,
        "eigenvectors": matrix,
        "condition_number": real,
        "stability_limit": optional(real),
        "fastest_rate": optional(real),
        "steps_per_digit": optional(real),
        "growth_factor": optional(real),
        "steps_per_digit_at_rate": optional(real),
        "best_momentum": optional(sequence(real, length=2)),
        "noise_floor": optional(real),
        "noise_distance": optional(real),
        "undetermined": sequence(text),
        "local": flag,
        "notes": sequence(text),
    },
)

TRACE = record(
    _trace,
    {
        "names": sequence(text),
        "step": integers,
        "epoch": integers,
        "learning_rate": reals,
        "loss": reals,
        "parameters": columns,
        "gradient": columns,
        "rows": later(optional(integers)),
        "damping": later(optional(reals)),
        "distance": later(optional(reals)),
    },
)

DETERMINED = record(_determined, {"text": text, "value": real, "stderr": optional(real)})

RIVAL = record(Rival, {"values": mapping(real), "loss": real})

SEARCH = record(
    StartSearch,
    {
        "points": integer,
        "polished": integer,
        "minima": integer,
        "rows": integer,
        "ranges": mapping(text),
        "solved": sequence(text),
        "loss": real,
        "rivals": sequence(RIVAL),
        "symmetries": sequence(text),
    },
)

RESULT_PARTS: dict[str, Codec] = {
    "formula": text,
    "loss_name": text,
    "optimizer": text,
    "learning_rate": text,
    "batch_size": optional(integer),
    "seed": integer,
    "kernel": text,
    "dtype": text,
    "estimates": mapping(ESTIMATE),
    "free": sequence(text),
    "covariance": optional(matrix),
    "correlation": optional(matrix),
    "covariance_method": text,
    "loss": real,
    "residual_sum_of_squares": real,
    "rows": integer,
    "rows_dropped": integer,
    "degrees_of_freedom": integer,
    "reduced_chi_square": optional(real),
    "r_squared": optional(real),
    "aic": optional(real),
    "aicc": optional(real),
    "bic": optional(real),
    "steps": integer,
    "epochs": integer,
    "seconds": real,
    "status": STATUS,
    "distance": optional(real),
    "diagnosis": optional(DIAGNOSIS),
    "trace": TRACE,
    "warnings": sequence(text),
    "data_label": text,
    "weights": optional(text),
    "noise_variance": later(optional(real)),
    "sigma": later(optional(text)),
    "absolute_sigma": later(flag),
    "rows_visited": later(optional(integer)),
    "drawn_from": later(optional(integer)),
    "search": later(optional(SEARCH)),
    "undetermined": later(sequence(text)),
    "determined": later(sequence(DETERMINED)),
    "intervals": later(text),
}

RESULT = record(Result, RESULT_PARTS)


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
