"""What a long run has found, in memory and on disk, so that a killed run can go on.

The file is NumPy's ``.npz`` without pickle: the first array is a JSON text that says what the run
is of and which of the other arrays, named 0, 1, …, belong to which record. Each array has the
checksum of its bytes.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
import stat
import struct
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sgdfit.checkpoint.atomic import cure, probe, remove_partial, replacing
from sgdfit.errors import CheckpointError, UsageError

Arrays = Mapping[str, NDArray[Any]]
Records = Mapping[str, Arrays]

VERSION = 2
_HEADER = "sgdfit checkpoint"
# A zip archive begins with these bytes, and 26 later with the name of its first member.
_ZIP, _NAME_AT, _NAME = b"PK\x03\x04", 30, f"{_HEADER}.npy".encode()
# What reading a file that was changed or made by hand may end in.
_MALFORMED = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, MemoryError),
    *(ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RuntimeError),
)
# Numbers of these widths are the same on all machines; a long double is not.
_NUMBERS = ["b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"]
_ANEW = "check its name, or begin anew without resume"
_LONGEST, _SHOWN = 200, 80
_DIGEST = re.compile(r"(\w+:)?[0-9a-f]{16,}")


class Contents(NamedTuple):
    """All that a checkpoint holds.

    Attributes
    ----------
    identity : mapping of str to str
        What the run is of: formula, data, options.
    records : mapping of str to mapping of str to array
        Arrays by the name of the record and their own.
    finished : bool
        Whether the run is over, so that nobody is to go on with it.
    written : float
        When, in seconds since 1970; NaN where that is not known.
    """

    identity: Mapping[str, str]
    records: Records
    finished: bool = False
    written: float = math.nan


class DamageError(ValueError):
    """The file is not what was written; the text says how that is seen."""


class NewerVersionError(ValueError):
    """The file is of a format that a later sgdfit writes; the text is its version."""


def read(path: str | os.PathLike[str]) -> Contents:
    """Return what a checkpoint holds.

    Raises
    ------
    OSError
        When the file cannot be read.
    NewerVersionError, DamageError
        When it is of a later version, or not what was written.
    """
    content = io.BytesIO(Path(path).read_bytes())
    try:
        with np.load(content, allow_pickle=False) as archive:
            facts = json.loads(archive[_HEADER].tobytes())
            if facts["version"] <= VERSION:
                records = {
                    key: {name: archive[place] for name, place in places.items()}
                    for key, places in facts["records"].items()
                }
                written = float(facts.get("written", math.nan))
                return Contents(dict(facts["identity"]), records, facts["finished"], written)
    except _MALFORMED as error:
        raise DamageError("it is cut off or was changed") from error
    raise NewerVersionError(str(facts["version"]))


class Checkpoint:
    """Records of a run by their names, written to a file every so often.

    It is made by `open_checkpoint`, and used by one thread. All records are written together: the
    file holds them as they were at one moment.

    Parameters
    ----------
    contents : Contents
        What is known when it is opened.
    path : path or None
        Where it is written; None for nowhere.
    every : float
        Seconds from the end of one write to the beginning of the next.
    announce : callable, optional
        Is given one sentence when a write has failed.
    """

    def __init__(
        self,
        contents: Contents,
        path: str | os.PathLike[str] | None,
        every: float,
        announce: Callable[[str], object] | None,
    ) -> None:
        self._identity, self._finished = contents.identity, contents.finished
        self._records = {key: dict(arrays) for key, arrays in contents.records.items()}
        self._path, self._every, self._announce = path, every, announce
        self._written = time.monotonic()
        self._changed = self._told = False

    def recall(self, key: str) -> dict[str, NDArray[Any]] | None:
        """Return the arrays that were kept under ``key``, bit for bit, or None."""
        arrays = self._records.get(key)
        if arrays is None:
            return None
        return {name: array.astype(array.dtype.newbyteorder("=")) for name, array in arrays.items()}

    @property
    def is_due(self) -> bool:
        """Whether what is kept now would be written, so that it is worth putting together."""
        return self._path is not None and time.monotonic() - self._written >= self._every

    def keep(self, key: str, arrays: Mapping[str, ArrayLike], *, now: bool = False) -> None:
        """Keep copies of ``arrays`` in the place of what ``key`` held.

        They are written if `now` is true or it is time to. A write that fails is announced once,
        and tried again with one of the next calls: a full disk is no reason to lose a run.

        Raises
        ------
        TypeError
            When an array holds neither numbers, truth values nor text.
        """
        if self._path is None:
            return
        self._records[key] = {name: _copied(array) for name, array in arrays.items()}
        self._changed = True
        if not (now or self.is_due):
            return
        try:
            self.flush()
        except CheckpointError as error:
            if self._announce is not None and not self._told:
                self._announce(f"{error} (the run goes on, and writing is tried again)")
            self._told = True

    def forget(self, key: str) -> None:
        """Drop what ``key`` held; the file follows with the next write."""
        if self._records.pop(key, None) is not None:
            self._changed = True

    def finish(self) -> None:
        """Mark the run as over, so that its file may make room for that of another run."""
        if self._path is not None and not self._finished:
            self._finished = self._changed = True

    def flush(self) -> None:
        """Write what has not been written.

        Raises
        ------
        CheckpointError
            When it cannot be; what was written before still stands.
        """
        if self._path is None or not self._changed:
            return
        try:
            _is_replaceable(self._path)
            self._write(self._path)
        except OSError as error:
            raise _unwritable(self._path, error) from error
        finally:
            self._written = time.monotonic()
        self._changed = self._told = False

    def _write(self, path: str | os.PathLike[str]) -> None:
        arrays: dict[str, NDArray[Any]] = {}
        places: dict[str, dict[str, str]] = {}
        for key, record in self._records.items():
            places[key] = {}
            for name, array in record.items():
                places[key][name] = str(len(arrays))
                arrays[str(len(arrays))] = array
        facts = {
            "version": VERSION,
            "written": time.time(),
            "finished": self._finished,
            "identity": dict(self._identity),
            "records": places,
        }
        header = np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8)
        with replacing(path) as file:
            np.savez(file, **{_HEADER: header}, **arrays)  # type: ignore[arg-type]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.flush()
        except CheckpointError as trouble:
            # What the run found, or what ended it, matters more.
            if self._announce is not None:
                self._announce(str(trouble))
            elif kind is None:
                raise


def open_checkpoint(
    path: str | os.PathLike[str] | None,
    identity: Mapping[str, str],
    *,
    resume: bool,
    every: float = 5.0,
    announce: Callable[[str], object] | None = None,
    how_far: Callable[[Records], str] = lambda _: "",
) -> Checkpoint:
    """Open the checkpoint of a run. Of two runs that have one file, the last write stands, whole.

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
        When the file cannot be written, or something stands there that is no checkpoint; with
        `resume`, also when it is missing, damaged, of a newer version or of another run; without,
        when it holds a run that was not finished.
    UsageError
        When `every` is not a number of seconds, or the path names no file.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "run.checkpoint"
    >>> with open_checkpoint(file, {"formula": "y = a*x"}, resume=False) as checkpoint:
    ...     checkpoint.keep("pass", {"theta": [0.5], "rows": 7})
    >>> with open_checkpoint(file, {"formula": "y = a*x"}, resume=True) as checkpoint:
    ...     checkpoint.recall("pass")
    {'theta': array([0.5]), 'rows': array(7)}
    """
    if not (isinstance(every, int | float) and every >= 0 and not math.isnan(every)):
        raise UsageError(f"every is {every!r}, where a number of seconds from 0 is needed")
    if path is None:
        return Checkpoint(Contents(identity, {}), None, every, announce)
    name = os.fsdecode(path)
    if not name or "\0" in name:
        raise UsageError(f"{name!r} cannot name a checkpoint; give the name of a file")
    try:
        # Before anything is written: a slip in the name should leave nothing behind.
        contents = _continued(name, identity) if resume else _anew(name, identity, how_far)
        remove_partial(name)
        probe(name)
    except OSError as error:
        raise _unwritable(name, error) from error
    return Checkpoint(contents, name, every, announce)


def _continued(path: str, identity: Mapping[str, str]) -> Contents:
    """Return what a run is to go on from."""
    refused = f"cannot resume from {path!r}:"
    try:
        begins = _first_bytes(path)
        if not begins:
            raise CheckpointError(f"{refused} the file is empty; {_ANEW}")
        if not _is_checkpoint(begins):
            raise CheckpointError(f"{refused} the file is no checkpoint of sgdfit; check its name")
        found = read(path)
    except FileNotFoundError:
        raise CheckpointError(f"{refused} there is no such file; {_ANEW}") from None
    except OSError as error:
        raise CheckpointError(
            f"cannot read the checkpoint {path!r}: {error.strerror}; check its permissions and its"
            " disk, or name another file"
        ) from error
    except DamageError as error:
        raise CheckpointError(
            f"{refused} the file is damaged ({error}); begin anew without resume"
        ) from error
    except NewerVersionError as error:
        raise CheckpointError(
            f"{refused} {_newer(error)}; update sgdfit, or name another file"
        ) from error
    other = differences(found.identity, identity)
    if other:
        anew = "begin anew without resume" if found.finished else "name another file"
        raise CheckpointError(
            f"{refused} the checkpoint is {'; '.join(other)}; run it with the same, or {anew}"
        )
    return found


def _anew(path: str, identity: Mapping[str, str], how_far: Callable[[Records], str]) -> Contents:
    """Refuse to begin where a run is kept that somebody may want to go on with."""
    fresh = Contents(identity, {})
    if not _is_replaceable(path):
        return fresh
    try:
        found = read(path)
    except DamageError:
        return fresh
    except NewerVersionError as error:
        raise CheckpointError(
            f"the checkpoint {path!r} may hold an unfinished run: {_newer(error)}; remove the file"
            " or name another"
        ) from error
    if not found.finished:
        raise CheckpointError(
            f"the checkpoint {path!r} holds an unfinished run{_described(found, how_far)}; go on"
            " with that by resume=True (--resume on the command line), or remove the file or name"
            " another"
        )
    return fresh


def _is_replaceable(path: str | os.PathLike[str]) -> bool:
    """Return whether a checkpoint stands there; refuse to write over anything else with content."""
    try:
        begins = _first_bytes(path)
    except FileNotFoundError:
        return False
    if begins and not _is_checkpoint(begins):
        raise CheckpointError(
            f"{os.fspath(path)!r} is no checkpoint of sgdfit, and is not written over; name another"
            " file for the checkpoint"
        )
    return bool(begins)


def _first_bytes(path: str | os.PathLike[str]) -> bytes:
    kind = os.stat(path).st_mode
    if not stat.S_ISREG(kind):  # a pipe would wait for someone at its other end
        what = "a folder" if stat.S_ISDIR(kind) else "no regular file"
        raise CheckpointError(
            f"{os.fspath(path)!r} is {what}, where a file is needed that can be replaced; name"
            " another file for the checkpoint"
        )
    with open(path, "rb") as file:
        return file.read(_NAME_AT + len(_NAME))


def _is_checkpoint(begins: bytes) -> bool:
    return begins.startswith(_ZIP) and begins[_NAME_AT:] == _NAME


def _unwritable(path: str | os.PathLike[str], error: OSError) -> CheckpointError:
    reason = error.strerror or type(error).__name__
    stands = "the previous one is intact; " if os.path.lexists(path) else ""
    return CheckpointError(
        f"cannot write the checkpoint {os.fspath(path)!r}: {reason}; {stands}{cure(error)}"
    )


def _copied(array: object) -> NDArray[Any]:
    given = np.asarray(array)
    if given.dtype.kind not in "SU" and given.dtype.str[1:] not in _NUMBERS:
        raise TypeError(f"arrays of {given.dtype} cannot be kept in a checkpoint")
    return np.array(given, order="C", copy=True, subok=False)


def _newer(error: NewerVersionError) -> str:
    return (
        f"it was written by a newer sgdfit (format version {error}, this one reads up to {VERSION})"
    )


def _described(found: Contents, how_far: Callable[[Records], str]) -> str:
    """Say what a run is of, when it was kept and how far it had come then."""
    formula = found.identity.get("formula", "")
    if len(formula) > _SHOWN:
        formula = f"{formula[:_SHOWN]}…"
    facts = []
    with suppress(OverflowError, ValueError, OSError):  # a file made by hand may hold any time
        moment = time.localtime(found.written)
        facts.append(f"written {time.strftime('%Y-%m-%d %H:%M:%S', moment)}")
    facts += [far for far in (how_far(found.records),) if far]
    return (f" of {formula!r}" if formula else "") + (f" ({', '.join(facts)})" if facts else "")


def differences(kept: Mapping[str, str], run: Mapping[str, str]) -> list[str]:
    """Name what differs, each as words that follow "the checkpoint is".

    Texts are quoted; of digests, and of texts too long to compare by eye, it is only said that
    they differ.

    Examples
    --------
    >>> differences({"formula": "y = a*x"}, {"formula": "y = a*x + b"})
    ["of the formula 'y = a*x', this run of 'y = a*x + b'"]
    >>> differences({"data": "0123456789abcdef"}, {"data": "fedcba9876543210"})
    ['of other data, or of other rows of them']
    """
    keys = [*run, *(key for key in kept if key not in run)]
    return [
        _difference(key, kept.get(key), run.get(key))
        for key in keys
        if kept.get(key) != run.get(key)
    ]


def _difference(key: str, kept: str | None, run: str | None) -> str:
    if kept is None:
        return f"of no {key}, this run of {key if _opaque(run) else f'{key} {run!r}'}"
    if run is None:
        return f"of the {key if _opaque(kept) else f'{key} {kept!r}'}, this run of none"
    if _opaque(kept) or _opaque(run):
        # a condition is part of what tells data from others
        return f"of other {key}" + (", or of other rows of them" if key == "data" else "")
    return f"of the {key} {kept!r}, this run of {run!r}"


def _opaque(text: str | None) -> bool:
    return not text or len(text) > _LONGEST or _DIGEST.fullmatch(text) is not None
