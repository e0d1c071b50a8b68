"""What a run is of, and how far it is, in words: by these a checkpoint tells of itself."""

from __future__ import annotations

import hashlib
from types import CodeType
from typing import Any

from sgdfit import __version__
from sgdfit.checkpoint.snapshot import Arrays, Records
from sgdfit.data.fingerprints import fingerprint_of
from sgdfit.errors import UsageError
from sgdfit.fitting.weighting import Weighting
from sgdfit.kernel.kernel import Chunk
from sgdfit.model.model import Model
from sgdfit.model.parameters import Parameter

__all__ = ["how_far", "identity_of", "marks_of"]


def identity_of(model: Model, weighting: Weighting, options: dict[str, Any]) -> dict[str, str]:
    """Return what changes a result, but for the data: nouns and what they are of this run.

    Examples
    --------
    >>> from sgdfit.model.model import build
    >>> model = build("y = a*x", ["x", "y"], bounds="a > 0")
    >>> found = identity_of(model, Weighting(), {"batch_size": 8, "steps": None})
    >>> found["formula"], found["parameters"], found["batch size"]
    ('y = a*x', 'a in (0.0, inf)', '8')
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


def how_far(records: Records) -> str:
    """Say how far a run had come that kept these records.

    Examples
    --------
    >>> import numpy as np
    >>> begun = {"rows": np.array(400)}
    >>> how_far({"begun": begun})
    'before its first pass through the rows'
    >>> done = {"rows": np.array(400), "gradient": np.zeros(2)}
    >>> how_far({"begun": begun, "sums a": done, "sums b": {"rows": np.array(100)}})
    '1 pass through 400 rows and 25% of another'
    """
    descent = records.get("descent")
    if descent is not None:
        return f"at step {int(descent['counts'][1]):,}"
    passes = [found for name, found in records.items() if name.startswith(("sums ", "scores "))]
    done = sum("gradient" in found for found in passes)
    rows = max((int(found["rows"]) for found in (*passes, *_begun(records))), default=0)
    part = sum(int(found["rows"]) for found in passes if "gradient" not in found)
    share = f"{100 * part / rows:.0f}% of " if part and rows else ""
    if not done:
        first = f"a pass through {rows:,} rows" if share else "its first pass through the rows"
        return f"{share or 'before '}{first}"
    whole = f"{done} {'pass' if done == 1 else 'passes'} through {rows:,} rows"
    return f"{whole} and {share}another" if share else whole


def marks_of(some: Chunk, whole: Chunk | None) -> dict[str, str]:
    """Return what tells values apart in files of the same names, sizes and times.

    Of rows that are not in memory it sees the random ones alone.

    Examples
    --------
    >>> import numpy as np
    >>> one, other = (Chunk((np.array([1.0, x]),), None) for x in (2.0, 3.0))
    >>> marks_of(one, None) == marks_of(other, None)
    False
    """
    marks = {"some": _mark(some)}
    return marks if whole is None else marks | {"whole": _mark(whole)}


def _mark(chunk: Chunk) -> str:
    return fingerprint_of({str(k): array for k, array in enumerate(chunk.arrays)})


def _begun(records: Records) -> list[Arrays]:
    return [records["begun"]] if "begun" in records else []


def _parameter(parameter: Parameter) -> str:
    if parameter.role == "tied":
        return f"{parameter.name} = {parameter.tie}"
    given = f" = {parameter.start!r}" if parameter.origin in ("given", "random", "fixed") else ""
    held = " (fixed)" if parameter.role == "fixed" else ""
    return f"{parameter.name}{given}{held} in ({parameter.low!r}, {parameter.high!r})"


def _words(value: Any) -> str:
    """Return a text that is the same in the next process, also for a function."""
    if callable(value) and hasattr(value, "__code__"):
        return f"{value.__qualname__} {_digest(value)}"
    name = getattr(value, "name", None)
    if name is not None:
        return f"{name}{getattr(value, 'options', '')}"
    if callable(value):
        raise UsageError(
            f"{type(value).__name__} is an object of your own, of which a checkpoint cannot tell"
            " whether it is the same in the next process; use a function, or leave out checkpoint"
        )
    return str(value)


def _digest(function: Any) -> str:
    """Return what tells one function from another: its code, and the values that it uses."""
    code = function.__code__
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    known = (code.co_code.hex(), _constants(code), function.__defaults__, cells)
    return hashlib.sha256(repr(known).encode()).hexdigest()[:16]


def _constants(code: CodeType) -> list[Any]:
    """Return the constants of a code, those of functions within it included."""
    return [
        _constants(c) if isinstance(c, CodeType) else c for c in (*code.co_consts, code.co_names)
    ]
