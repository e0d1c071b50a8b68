"""Saved results: read back, and checked as a whole."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sgdfit.data.times import USUAL, as_time_unit
from sgdfit.errors import DataError, FormulaError, SgdfitError, UsageError
from sgdfit.inference.covariance import BlockCovariance, is_covariance
from sgdfit.result.codec import declared, decode, encode
from sgdfit.result.result import FORMAT, VERSION, Result
from sgdfit.result.trace import shaped

# Seconds of thirty thousand years.
LONG_AGO = 10**12
ROLES = ("free", "fixed", "tied")
# What is never below 0, if it is known.
COUNTS = (
    "rows", "rows_dropped", "drawn_from", "rows_visited", "steps", "epochs", "seconds",
    "reduced_chi_square", "noise_variance", "distance",
)  # fmt: skip


def load(path: str | os.PathLike[str], function: Callable[..., Any] | None = None) -> Result:
    """Read a result that was saved with `Result.save`.

    ``function`` is the one that was fitted, where that is called rather than written as a formula:
    no file holds it, and predictions need it.

    Raises
    ------
    DataError
        When the file is missing, cut off, not a saved fit, or of a newer version.
    UsageError
        When ``function`` has other arguments than the one that was fitted.

    Examples
    --------
    >>> import tempfile, sgdfit
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sgdfit.fit("y = a*x", {"x": [1, 2, 3], "y": [2, 4, 6]}).save(f"{folder}/fit.json")
    ...     load(f"{folder}/fit.json").predict({"x": [4]}).round(9)
    array([8.])
    """
    origin = repr(os.fspath(path))
    try:
        content = Path(path).read_text(encoding="utf-8")
        saved = json.loads(content, parse_constant=_refuse_constant)
    except OSError as error:
        raise DataError(f"cannot read {origin}: {error.strerror}") from error
    except json.JSONDecodeError as error:
        trouble = f"not a saved fit: it is not JSON (line {error.lineno}, {error.msg})"
        text = content.strip()
        if not text:
            trouble = "not a saved fit: the file is empty"
        elif text[0] == "{" and (text[-1] != "}" or error.pos >= len(content.rstrip())):
            trouble = "not a whole saved fit: the file is cut off"
        raise DataError(f"{origin} is {trouble}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{origin} is not a saved fit: it is not strict JSON text") from error
    result = from_dict(saved, origin)
    # What the fit writes must not take the place of the files that it was fitted to. Older fits
    # knew but a name: one here or beside the fit is taken for it.
    listed = saved.get("files")
    files = [name for name in listed if isinstance(name, str)] if type(listed) is list else []
    beside = (os.path.join(Path(path).parent, name) for name in (result.data_label, *files))
    places = filter(os.path.isfile, (result.data_label, *beside))
    object.__setattr__(result.trace, "inputs", tuple(map(os.path.abspath, places)))
    if function is not None:
        object.__setattr__(result, "callable", _given(function, result, origin))
    return result


def _given(function: Callable[..., Any], result: Result, origin: str) -> Any:
    """Return the formula of the function that a result was fitted with."""
    from sgdfit.formula.reading import as_formula  # imports SymPy

    if result.function is None:
        raise UsageError(f"{origin} holds the formula {result.formula!r}; leave out function")
    formula = as_formula(function, result.formula.partition(" = ")[0])
    if formula.names != _names(result.formula):
        raise UsageError(
            f"function has the arguments {', '.join(formula.names)}; {origin} was fitted with"
            f" {result.function}: {result.formula}"
        )
    return formula


def _names(call: str) -> tuple[str, ...]:
    """Return the arguments of the call that a formula is."""
    return tuple(name.strip("{}") for name in call.rpartition("(")[2].rstrip(")").split(", "))


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
        rate = float(result.learning_rate)
        facts["learning_rate"] = rate if np.isfinite(rate) else None
    return {**first, **facts}


def _agreeing(result: Result) -> Result:
    """Refuse facts that are well-formed one by one but do not belong together."""
    from sgdfit.formula.parsing import parse_expression  # imports SymPy
    from sgdfit.formula.reading import as_formula

    try:
        is_call, levels = result.function is not None, result.levels or {}
        read = None if is_call else as_formula(result.formula).with_levels(levels)
        known = {*(_names(result.formula) if read is None else read.names)}
    except FormulaError as error:
        raise DataError(f"the fit.formula cannot be read: {error.message}") from error
    for name in itertools.chain(*(read.families.values() if read else ())):
        if name not in result.estimates:
            raise DataError(f"the fit.levels make {name!r}, which the fit.estimates have not")
    for name, scale in (result.time_scales or {}).items():
        real = scale.kind in USUAL and as_time_unit(scale.unit) == scale.unit
        if not real or abs(scale.begin) > LONG_AGO:
            raise DataError(f"the fit.time_scales.{name} is no scale of times: {scale!r}")
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
        try:
            parse_expression(estimate.tie or "0")
        except FormulaError as error:
            raise DataError(f"{place}.tie cannot be read: {error.message}") from error
        if estimate.stderr is not None and estimate.stderr < 0:
            raise DataError(f"{place}.stderr is {estimate.stderr}, below 0")
        if result.status.ok and not np.isfinite(estimate.value):
            raise DataError(f"{place}.value is {estimate.value}, where a finite number is needed")
        if estimate.interval is not None and not estimate.interval[0] <= estimate.interval[1]:
            raise DataError(f"{place}.interval is {estimate.interval}, whose ends are not in order")
    for name in result.free:
        if name not in result.estimates:
            raise DataError(f"the fit.free names {name!r}, which has no estimate")
    square = (len(result.free), len(result.free))
    matrices: dict[str, Any] = {
        name: shaped(f"the fit.{name}", matrix, float, square)
        for name in ("covariance", "correlation")
        if (matrix := getattr(result, name)) is not None
    }
    if not 0 < result.level < 1:
        raise DataError(f"the fit.level is {result.level}, not between 0 and 1")
    if result.r_squared is not None and result.r_squared > 1:
        raise DataError(f"the fit.r_squared is {result.r_squared}, above 1")
    for name in COUNTS:
        count = getattr(result, name)
        # Of what diverged a figure may be infinite or none.
        if count is not None and (count < 0 or (name == "seconds" and not np.isfinite(count))):
            raise DataError(f"the fit.{name} is {count}, where a number from 0 on is needed")
    if result.covariance is not None and not is_covariance(matrices["covariance"]):
        raise DataError(
            "the fit.covariance is not one: it must be symmetric, without a combination of"
            " parameters whose variance is below 0"
        )
    blocks = result.block_covariance
    if blocks is not None:
        matrices["block_covariance"] = blocks = _checked(blocks, len(result.free))
    if result.has_covariance:
        variances = np.diag(matrices["covariance"]) if blocks is None else blocks.diagonal()
        errors = np.sqrt(variances)
        for name, deviation in zip(result.free, errors.tolist(), strict=True):
            told = result.estimates[name].stderr
            if (
                told is not None
                and not np.isnan(deviation)
                and not np.isclose(told, deviation, 1e-6, 0)
            ):
                raise DataError(
                    f"the fit.estimates.{name}.stderr is {told}, where its variance in the"
                    f" fit.covariance says {deviation:.6g}"
                )
    if result.loss_scale is None:
        # Losses were in units of the response before they had a scale.
        from sgdfit.model.loss import as_absolute

        matrices["loss_name"] = as_absolute(result.loss_name)
    elif not result.loss_scale > 0:
        raise DataError(f"the fit.loss_scale is {result.loss_scale}, not above 0")
    return replace(result, **matrices)


def _checked(blocks: BlockCovariance, count: int) -> BlockCovariance:
    """Return the covariance of so many parameters in factors, refused where these do not agree."""
    c, q = len(blocks.common), blocks.own.shape[-1]
    shapes, place = ((c, c), (count, c), (count,), (count,), (count, q)), "the fit.block_covariance"
    for name, factor, shape in zip(BlockCovariance._fields, blocks, shapes, strict=True):
        shaped(f"{place}.{name}", factor, float, shape)
    inside = (blocks.group >= -1) & (blocks.group < count)
    inside &= (blocks.member >= 0) & (blocks.member < q)
    if not (inside.all() and is_covariance(blocks.common) and np.isfinite(blocks.own).all()):
        raise DataError(f"{place} is none: a group, a place in it or a variance is out of range")
    return blocks


def _refuse_constant(name: str) -> float:
    raise ValueError(name)
