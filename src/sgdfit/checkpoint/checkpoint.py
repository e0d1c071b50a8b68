"""What a long run has found, in memory and on disk, so that a killed run can go on.

The file is NumPy's ``.npz`` without pickle: the first array is a JSON text that says what the run
is of and which of the other arrays, named 0, 1, …, belong to which record. It ends with the SHA-256
of all its other bytes, so that any damage is found. That is no seal: whoever edits a file can write
a new digest too, as no secret of the user's is kept anywhere that could be a key.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sgdfit.checkpoint.atomic import cure, probe, replacing
from sgdfit.errors import CheckpointError, UsageError

Record = Mapping[str, NDArray[Any]]
Records = Mapping[str, Record]
Shapes = Mapping[str, tuple[str, tuple[int, ...]]]
_NONE: NDArray[Any] = np.empty(0)

VERSION = 4
_HEADER = "sgdfit checkpoint"
_DIGEST_BYTES = 32
# A zip archive begins with these bytes, and 26 later with the name of its first member.
_ZIP, _NAME_AT, _NAME = b"PK\x03\x04", 30, f"{_HEADER}.npy".encode()
_OTHER_FILE = "name another file for the checkpoint"
_ANEW = "check its name, or begin anew without resume"
_NOT_RESUMED = {
    "missing": f"there is no such file; {_ANEW}",
    "empty": f"the file is empty; {_ANEW}",
    "other": "the file is no checkpoint of sgdfit; check its name",
}
# Values that are longer, or digests, are not compared by eye.
_LONGEST, _DIGEST = 200, re.compile(r"(\w+:)?[0-9a-f]{16,}")


class Contents(NamedTuple):
    """All that a checkpoint holds."""

    identity: Mapping[str, str]  # what the run is of: formula, data, options
    records: Records
    finished: bool = False  # whether the run is over, so that nobody is to go on with it


class DamageError(CheckpointError):
    """The file is not what was written."""


def read(path: str | os.PathLike[str]) -> Contents:
    """Return what a checkpoint holds; refuse one of a later version, or one that is damaged."""
    content = Path(path).read_bytes()
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            # Nothing that was written is packed.
            packed = any(member.compress_type for member in archive.zip.infolist())
            facts = json.loads("{}" if packed else archive[_HEADER].tobytes())
            version = int(facts["version"])
            digest = hashlib.sha256(memoryview(content)[:-_DIGEST_BYTES]).digest()
            if version == VERSION and content[-_DIGEST_BYTES:] == digest:
                records = {
                    key: {name: archive[place] for name, place in places.items()}
                    for key, places in facts["records"].items()
                }
                return Contents(dict(facts["identity"]), records, facts["finished"])
    except Exception:  # a file that was changed or made by hand may end in any
        version = VERSION
    if version == VERSION:
        raise DamageError(
            f"cannot resume from {os.fspath(path)!r}: the file is damaged (it is cut off or was"
            " changed); begin anew without resume"
        )
    raise CheckpointError(
        f"the checkpoint {os.fspath(path)!r} may hold an unfinished run: it was written by another"
        f" sgdfit (format version {version}, this one reads {VERSION}); go on with that, or remove"
        " the file or name another"
    )


class _Digested(io.RawIOBase):
    """A file that is written from one end to the other, and the digest of what was."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.digest = file, hashlib.sha256()

    def write(self, some: Any) -> int:
        self.digest.update(some)
        return self.file.write(some)


class Checkpoint:
    """Records of a run by their names, written to a file every so often, all of one moment.

    It is made by `open_checkpoint`, and used by one thread.
    """

    def __init__(
        self,
        contents: Contents,
        path: str | None,
        every: float,
        announce: Callable[[str], object] | None,
    ) -> None:
        self._identity, self._finished = contents.identity, contents.finished
        self._records = {key: dict(arrays) for key, arrays in contents.records.items()}
        self._path, self._every, self._announce = path, every, announce
        self._written = time.monotonic()
        self._changed = self._told = False

    def recall(self, key: str, shapes: Shapes | None = None) -> dict[str, NDArray[Any]] | None:
        """Return copies of the arrays that were kept under ``key``, bit for bit, or None.

        ``shapes`` says of arrays by their names what this run keeps: kind and shape, where -1 is
        any length. Those of another are refused, as are those that are missing.
        """
        arrays = self._records.get(key)
        if arrays is None:
            return None
        for name, (kind, shape) in (shapes or {}).items():
            array = arrays.get(name, _NONE)
            same = len(array.shape) == len(shape) and all(
                n in (-1, m) for n, m in zip(shape, array.shape, strict=True)
            )
            # Numbers of other sizes, or of another machine's order of bytes, no kernel takes.
            plain = array.dtype.isnative and (kind == "U" or array.dtype.itemsize in (4, 8))
            self.check(key, array is not _NONE and array.dtype.kind in kind and same and plain)
        return {name: np.array(a) for name, a in arrays.items()}

    def check(self, key: str, plausible: bool) -> None:
        """Refuse to go on from what ``key`` holds where this run cannot have written it."""
        if not plausible:
            raise DamageError(
                f"cannot resume from {self._path!r}: its record {key!r} is not what this run writes"
                " (the file was changed); begin anew without resume"
            )

    @property
    def is_due(self) -> bool:
        """Whether what is kept now would be written, so that it is worth putting together."""
        return self._path is not None and time.monotonic() - self._written >= self._every

    def keep(self, key: str, arrays: Mapping[str, ArrayLike], *, now: bool = False) -> None:
        """Keep copies of ``arrays`` in the place of what ``key`` held.

        They are written if `now` is true or it is time to. A write that fails is announced once,
        and tried again with one of the next calls: a full disk is no reason to lose a run.
        """
        if self._path is None:
            return
        self._records[key] = {name: np.array(array) for name, array in arrays.items()}
        self._changed = True
        if now or self.is_due:
            try:
                self.flush()
            except CheckpointError as error:
                if self._announce is not None and not self._told:
                    self._announce(f"{error} (the run goes on, and writing is tried again)")
                self._told = True

    def forget(self, key: str) -> None:
        """Drop what ``key`` held; the file follows with the next write."""
        self._changed |= self._records.pop(key, None) is not None

    def finish(self) -> None:
        """Mark the run as over, so that its file may make room for that of another run."""
        self._changed |= not self._finished
        self._finished = True

    def flush(self) -> None:
        """Write what has not been written; where that fails, what was written before stands."""
        if self._path is None or not self._changed:
            return
        arrays = [array for record in self._records.values() for array in record.values()]
        numbers = map(str, range(len(arrays)))
        facts = {
            "version": VERSION,
            "finished": self._finished,
            "identity": dict(self._identity),
            "records": {k: {name: next(numbers) for name in r} for k, r in self._records.items()},
        }
        header = np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8)
        named: dict[str, Any] = {_HEADER: header, **{str(i): a for i, a in enumerate(arrays)}}
        try:
            _refuse_other(self._path, _kind(self._path))
            with replacing(self._path) as file:
                digested = _Digested(file)
                np.savez(digested, **named)
                file.write(digested.digest.digest())
        except OSError as error:
            raise _unusable("write", self._path, error) from error
        finally:
            self._written = time.monotonic()
        self._changed = self._told = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
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
) -> Checkpoint:
    """Open the checkpoint of a run. Of two runs that have one file, the last write stands, whole.

    Without a path nothing is kept. The identity is what the run is of, such as its formula, its
    data and its options; a key is a noun that fits the sentence "the checkpoint is of the <key>
    '…', this run of '…'". Unless the run goes on by ``resume``, the checkpoint of a finished run is
    replaced by the first write, and an unfinished one is refused. So many seconds are from the end
    of one write to the beginning of the next as ``every`` says. When a write during the run has
    failed, ``announce`` is given one sentence.
    """
    if path is None:
        return Checkpoint(Contents(identity, {}), None, every, announce)
    name = os.fsdecode(path)
    if not name or "\0" in name:
        raise UsageError(f"{name!r} cannot name a checkpoint; give the name of a file")
    contents = Contents(identity, {})
    try:
        # Before anything is written: a slip in the name should leave nothing behind.
        kind = _kind(name)
        if resume:
            if kind in _NOT_RESUMED:
                raise CheckpointError(f"cannot resume from {name!r}: {_NOT_RESUMED[kind]}")
            contents = read(name)
            if other := _differences(contents.identity, identity):
                anew = "begin anew without resume" if contents.finished else "name another file"
                raise CheckpointError(
                    f"cannot resume from {name!r}: the checkpoint is {'; '.join(other)}; run it"
                    f" with the same, or {anew}"
                )
        else:
            _refuse_other(name, kind)
            if kind == "checkpoint":
                _refuse_unfinished(name)
        probe(name)
    except OSError as error:
        raise _unusable("read or write", name, error) from error
    return Checkpoint(contents, name, every, announce)


def _refuse_unfinished(path: str) -> None:
    """Refuse to begin where a run is kept that somebody may want to go on with."""
    try:
        found = read(path)
    except DamageError:
        return
    if found.finished:
        return
    formula = found.identity.get("formula", "")
    run = f" of {formula[:80] + '…' * (len(formula) > 80)!r}" if formula else ""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(os.stat(path).st_mtime))
    raise CheckpointError(
        f"the checkpoint {path!r} holds an unfinished run{run} (written {when}); go on with that by"
        " resume=True (--resume on the command line), or remove the file or name another"
    )


def _refuse_other(path: str, kind: str) -> None:
    if kind == "other":
        raise CheckpointError(
            f"{path!r} is no checkpoint of sgdfit, and is not written over; {_OTHER_FILE}"
        )


def _kind(path: str) -> str:
    """Return what stands there: ``missing``, ``empty``, ``checkpoint`` or ``other``."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return "missing"
    if not stat.S_ISREG(mode):  # a pipe would wait for someone at its other end
        what = "a folder" if stat.S_ISDIR(mode) else "no regular file"
        raise CheckpointError(
            f"{path!r} is {what}, where a file is needed that can be replaced; {_OTHER_FILE}"
        )
    with open(path, "rb") as file:
        begins = file.read(_NAME_AT + len(_NAME))
    if begins.startswith(_ZIP) and begins[_NAME_AT:] == _NAME:
        return "checkpoint"
    return "other" if begins else "empty"


def _unusable(doing: str, path: str, error: OSError) -> CheckpointError:
    stands = "the previous one is intact; " if os.path.lexists(path) else ""
    reason = f"{error.strerror or type(error).__name__}; {stands}{cure(error)}"
    return CheckpointError(f"cannot {doing} the checkpoint {path!r}: {reason}")


def _differences(kept: Mapping[str, str], run: Mapping[str, str]) -> list[str]:
    """Name what differs, each as words that follow "the checkpoint is".

    Texts are quoted; of digests, and of texts too long to compare by eye, it is only said that
    they differ.
    """
    found = []
    for key in {**run, **kept}:
        one, other = kept.get(key), run.get(key)
        opaque = any(t and (len(t) > _LONGEST or _DIGEST.fullmatch(t)) for t in (one, other))
        if one == other:
            continue
        if one is None:
            words = f"of no {key}, this run of {key if opaque else f'{key} {other!r}'}"
        elif other is None:
            words = f"of the {key if opaque else f'{key} {one!r}'}, this run of none"
        elif opaque:
            # a condition is part of what tells data from others
            words = f"of other {key}" + (", or of other rows of them" if key == "data" else "")
        else:
            words = f"of the {key} {one!r}, this run of {other!r}"
        found.append(words)
    return found
