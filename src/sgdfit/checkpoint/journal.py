"""What a long run has found, in memory and on disk, so that a killed run can go on."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from numpy.typing import ArrayLike, NDArray

from sgdfit.checkpoint.hold import Hold, take
from sgdfit.checkpoint.place import (
    Place,
    place_of,
    probe,
    remove_leftovers,
    replace,
    replaceable,
    resumable,
)
from sgdfit.checkpoint.predecessor import HowFar, continued, make_room
from sgdfit.checkpoint.snapshot import Snapshot, encode, frozen
from sgdfit.errors import CheckpointError, UsageError

__all__ = ["Journal", "open_journal"]

Records = dict[str, dict[str, NDArray[Any]]]


class Journal:
    """Records of a run by their names, written to a file every so often.

    It is made by `open_journal`, and used by one thread. All records are written together: the
    file holds them as they were at one moment.

    Parameters
    ----------
    snapshot : Snapshot
        What is known when it is opened.
    place : Place or None
        Where it is written; None for nowhere.
    hold : Hold or None
        The lock of that place.
    every : float
        Seconds from the end of one write to the beginning of the next.
    announce : callable, optional
        Is given one sentence when a write has failed.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        place: Place | None,
        hold: Hold | None,
        every: float,
        announce: Callable[[str], object] | None,
    ) -> None:
        self._identity = dict(snapshot.identity)
        self._records: Records = {key: dict(arrays) for key, arrays in snapshot.records.items()}
        self._place = place
        self._hold = hold
        self._every = every
        self._announce = announce
        self._written = time.monotonic()
        self._finished = snapshot.finished
        self._changed = False
        self._told = False

    def recall(self, key: str) -> dict[str, NDArray[Any]] | None:
        """Return the arrays that were kept under ``key``, bit for bit, or None."""
        arrays = self._records.get(key)
        if arrays is None:
            return None
        return {name: array.astype(array.dtype.newbyteorder("=")) for name, array in arrays.items()}

    @property
    def is_due(self) -> bool:
        """Whether what is kept now would be written, so that it is worth putting together."""
        return self._place is not None and time.monotonic() - self._written >= self._every

    def keep(self, key: str, arrays: Mapping[str, ArrayLike], *, now: bool = False) -> None:
        """Keep copies of ``arrays`` in the place of what ``key`` held.

        They are written if `now` is true or it is time to. A write that fails is announced once,
        and tried again with one of the next calls: a full disk is no reason to lose a run.

        Raises
        ------
        TypeError
            When an array holds neither numbers, truth values nor text.
        """
        if self._place is None:
            return
        self._records[key] = {name: frozen(array) for name, array in arrays.items()}
        self._changed = True
        if now or time.monotonic() - self._written >= self._every:
            self._try()

    def forget(self, key: str) -> None:
        """Drop what ``key`` held; the file follows with the next write."""
        if self._records.pop(key, None) is not None:
            self._changed = True

    def finish(self) -> None:
        """Mark the run as over, so that its file may make room for that of another run."""
        if self._place is not None and not self._finished:
            self._finished = self._changed = True

    def flush(self) -> None:
        """Write what has not been written.

        Raises
        ------
        CheckpointError
            When it cannot be; what was written before still stands.
        """
        if self._place is None or not self._changed:
            return
        try:
            replace(self._place, encode(Snapshot(self._identity, self._records, self._finished)))
        finally:
            self._written = time.monotonic()
        self._changed = self._told = False

    def close(self) -> None:
        """Write what has not been written, and let others have the file.

        Raises
        ------
        CheckpointError
            When it cannot be written; the file is let go nevertheless.
        """
        try:
            self.flush()
        finally:
            if self._hold is not None:
                self._hold.release()
            self._place = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except CheckpointError as trouble:
            # What the run found, or what ended it, matters more.
            if self._announce is not None:
                self._announce(str(trouble))
            elif kind is None:
                raise

    def _try(self) -> None:
        try:
            self.flush()
        except CheckpointError as error:
            self._tell(f"{error} (the run goes on, and writing is tried again)")

    def _tell(self, sentence: str) -> None:
        if self._announce is not None and not self._told:
            self._announce(sentence)
        self._told = True


def open_journal(
    path: str | os.PathLike[str] | None,
    identity: Mapping[str, str],
    *,
    resume: bool,
    every: float = 5.0,
    announce: Callable[[str], object] | None = None,
    how_far: HowFar | None = None,
) -> Journal:
    """Open the journal of a run.

    Parameters
    ----------
    path : str or path, optional
        The file; None keeps nothing.
    identity : mapping of str to str
        What the run is of, such as its formula, its data and its options. A key is a noun that
        fits the sentence "the checkpoint is of the <key> '…', this run of '…'"; of values that
        are digests it is only said that they differ.
    resume : bool
        Whether to go on from the file. If not, the checkpoint of a finished run that stands there
        is replaced by the first write; an unfinished one is refused.
    every : float
        Seconds between writes.
    announce : callable, optional
        Is given one sentence when a write during the run has failed.
    how_far : callable, optional
        Says of the records of an unfinished run how far it had come, such as ``"step 7 of 10"``.

    Raises
    ------
    CheckpointError
        When the file cannot be written, another run holds it, or something stands there that is
        no checkpoint; with `resume`, also when it is missing, damaged, of a newer version or of
        another run; without, when it holds a run that was not finished.
    UsageError
        When `every` is not a number of seconds, or the path names no file.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "run.checkpoint"
    >>> with open_journal(file, {"formula": "y = a*x"}, resume=False) as journal:
    ...     journal.keep("pass", {"theta": [0.5], "rows": 7})
    >>> with open_journal(file, {"formula": "y = a*x"}, resume=True) as journal:
    ...     journal.recall("pass")
    {'theta': array([0.5]), 'rows': array(7)}
    """
    if not (isinstance(every, int | float) and every >= 0 and not math.isnan(every)):
        raise UsageError(f"every is {every!r}, where a number of seconds from 0 is needed")
    if path is None:
        return Journal(Snapshot(identity, {}), None, None, every, announce)
    place = place_of(path)
    # Before anything is written: a slip in the name should leave nothing behind.
    _check(place, resume)
    hold = take(place)
    try:
        snapshot = _begun(place, identity, resume, how_far)
        if hold.sure:
            remove_leftovers(place)
        probe(place)
        return Journal(snapshot, place, hold, every, announce)
    except BaseException:
        hold.release()
        raise


def _check(place: Place, resume: bool) -> None:
    if resume:
        resumable(place)
    else:
        replaceable(place)


def _begun(
    place: Place, identity: Mapping[str, str], resume: bool, how_far: HowFar | None
) -> Snapshot:
    """Return what the run begins with: what the file holds, or nothing."""
    if resume:
        return continued(place, identity)
    make_room(place, how_far or _untold)
    return Snapshot(identity, {})


def _untold(_: object) -> str:
    return ""
