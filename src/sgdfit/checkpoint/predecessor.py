"""The run whose checkpoint stands where another is to be kept: gone on from, or made room by."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from sgdfit.checkpoint.identity import differences
from sgdfit.checkpoint.place import Place, content
from sgdfit.checkpoint.snapshot import (
    VERSION,
    DamageError,
    NewerVersionError,
    Records,
    Snapshot,
    decode,
)
from sgdfit.errors import CheckpointError

__all__ = ["HowFar", "continued", "make_room"]

HowFar = Callable[[Records], str]

_SHOWN = 80
_CURES = (
    "go on with that by resume=True (--resume on the command line), or remove the file or name"
    " another"
)


def continued(place: Place, identity: Mapping[str, str]) -> Snapshot:
    """Return what a run is to go on from.

    Raises
    ------
    CheckpointError
        When there is nothing, it is damaged, of a newer version or of another run.
    """
    try:
        found = decode(content(place))
    except DamageError as error:
        raise CheckpointError(
            f"cannot resume from {place.shown}: the file is damaged ({error}); begin anew without"
            " resume"
        ) from error
    except NewerVersionError as error:
        raise CheckpointError(
            f"cannot resume from {place.shown}: {_newer(error)}; update sgdfit, or name another"
            " file"
        ) from error
    strange = differences(found.identity, identity)
    if strange:
        anew = "begin anew without resume" if found.finished else "name another file"
        raise CheckpointError(
            f"cannot resume from {place.shown}: the checkpoint is {'; '.join(strange)}; run it with"
            f" the same, or {anew}"
        )
    return found


def make_room(place: Place, how_far: HowFar) -> None:
    """Refuse to begin anew where a run is kept that somebody may want to go on with.

    One that is finished, and what is damaged beyond use, may be written over.

    Raises
    ------
    CheckpointError
        When the file holds an unfinished run, or one of which that cannot be told.
    """
    if not place.target.exists() or not place.target.stat().st_size:
        return
    try:
        found = decode(content(place))
    except DamageError:
        return
    except NewerVersionError as error:
        raise CheckpointError(
            f"the checkpoint {place.shown} may hold an unfinished run: {_newer(error)}; remove the"
            " file or name another"
        ) from error
    if not found.finished:
        raise CheckpointError(
            f"the checkpoint {place.shown} holds an unfinished run{_described(found, how_far)};"
            f" {_CURES}"
        )


def _newer(error: NewerVersionError) -> str:
    return (
        f"it was written by a newer sgdfit (format version {error}, this one reads up to {VERSION})"
    )


def _described(found: Snapshot, how_far: HowFar) -> str:
    """Say what a run is of, when it was kept and how far it had come then."""
    formula = found.identity.get("formula", "")
    if len(formula) > _SHOWN:
        formula = f"{formula[:_SHOWN]}…"
    of = f" of {formula!r}" if formula else ""
    facts = [f"written {when}" for when in _moment(found.written)]
    facts += [far for far in (how_far(found.records),) if far]
    return f"{of} ({', '.join(facts)})" if facts else of


def _moment(seconds: float) -> list[str]:
    """Return a time in the user's own zone; nothing where a file made by hand holds none."""
    with suppress(OverflowError, ValueError, OSError):
        return [time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))]
    return []
