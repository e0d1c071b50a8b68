"""Whether any text or file at all is either taken or refused in a sentence, and at once.

``python benchmarks/fuzz.py formulas`` writes random formulas, among them many of huge and tiny
constants, functions of functions and broken texts, and takes each as far as numbers: parsed, met
with columns, differentiated, written as source, evaluated on rows, and derived on paper. With
``files`` it damages files of every format of data, saved fits and checkpoints, and reads them.
`SgdfitError` is an answer; any other exception, more than `SECONDS` of work or more than `MEMORY`
is a finding, which is printed. Each process that dies or is killed for its time is followed by
another.

The seed is fixed, so that two versions see the same cases; each follows from a number alone.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gzip
import io
import multiprocessing
import random
import resource
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

import sgdfit
from sgdfit.derivation.derivation import derive
from sgdfit.errors import SgdfitError
from sgdfit.formula.functions import ALIASES, FUNCTIONS, OPERATIONS, lookup
from sgdfit.formula.parsing import parse
from sgdfit.kernel import forms
from sgdfit.kernel.kernel import Chunk
from sgdfit.model.model import build

# What one case may take.
SECONDS, MEMORY = 5.0, 1 << 29
# A process takes so many cases, since those of files use up addresses: some megabytes each.
CASES, ADDRESSES = 1_000, 8 << 30
NAMES = ("x", "x", "x", "a", "b", "c")
NUMBERS = (
    *("0", "1", "2", "3", "7", "10", "12", "0.5", "0.1", "1.5", "2.0", "1e-300", "1e300", "1e16"),
    *("10**300", "10**12", "1000", "1001", "999.5", "pi", "1e-16", "(-1)", "(-8)", "(1/3)"),
)
CALLS = [name for name in (*FUNCTIONS, *OPERATIONS, *ALIASES) if name != "where"]
SIGNS = ("+", "-", "*", "/", "**", "+", "-", "*", "/")
COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")
DAMAGE = "()+-*/^,=~<>&|'\"`.[]{}²−·e0 \n\x00"
ROWS = np.array([0.0, 0.5, 1.0, 2.5, -1.0, 1e6])


def written(number: int, seed: int = 0) -> str:
    """Return text ``number`` of a ``seed``."""
    source = random.Random(f"{seed}/{number}")
    text = f"y = {_grown(source, source.randint(1, 5))}"
    if source.random() < 0.15:
        at = source.randrange(len(text))
        text = text[:at] + source.choice(DAMAGE) + text[at + source.randint(0, 1) :]
    return text


def _grown(source: random.Random, depth: int) -> str:
    """Return an expression at most so deep."""
    kind = source.random() if depth else 1.0
    part = lambda: _grown(source, depth - 1)  # noqa: E731
    if kind < 0.4:
        return f"({part()}{source.choice(SIGNS)}{part()})"
    if kind < 0.75:
        name = source.choice(CALLS)
        return f"{name}({', '.join(part() for _ in range(lookup(name)[1][0]))})"
    if kind < 0.8:
        return f"where({part()} {source.choice(COMPARISONS)} {part()}, {part()}, {part()})"
    return source.choice(NAMES if source.random() < 0.5 else NUMBERS)


def take(text: str, *, paper: bool = True) -> None:
    """Take a text as far as numbers, and ``paper``; `SgdfitError` says that it is no formula."""
    formula = parse(text)
    again = parse(str(formula))
    assert again.expression == formula.expression, "its text reads otherwise"
    with np.errstate(all="ignore"):
        model = build(text, ["x", "y"])
        theta = np.linspace(0.5, 1.5, len(model.free))
        columns = dict.fromkeys(model.columns, ROWS)
        forms.make(model, None, "numpy").rows(theta, Chunk(tuple(columns.values()), None))
        if paper:
            derive(model, columns=columns, theta=theta).text()


ROW = np.random.default_rng(3)
TABLE = {"x": ROW.normal(size=40).round(3), "y": ROW.integers(-999, 999, 40).astype(float)}
FORMULA = "y = a + b*exp(x)"
FILES = ("csv", "csv.gz", "parquet", "plain.parquet", "feather", "arrow", "arrows", "orc", "xlsx",
         "json", "checkpoint")  # fmt: skip
PIECES = [
    *(bytes([code]) for code in b'0123456789.,-+e %;\t\n\r"#<\0\x7f'),
    *(b"\xe9", b"NA", b"0x", b"1,000", b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff\x07"),
]


@functools.cache
def whole(kind: str) -> bytes:
    """Return a file of a kind, undamaged."""
    import pandas
    import pyarrow as pa
    from pyarrow import csv, feather, orc, parquet

    table, made = pa.table({**TABLE, "name": [f"w{k % 7}" for k in range(40)]}), io.BytesIO()
    if kind in ("json", "checkpoint"):
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / kind
            fit = sgdfit.fit(FORMULA, TABLE, checkpoint=place if kind == "checkpoint" else None)
            if kind == "json":
                fit.save(place)
            return place.read_bytes()
    if "csv" in kind:
        csv.write_csv(table, made)
    elif kind == "xlsx":
        pandas.DataFrame(TABLE).to_excel(made, index=False)
    elif kind == "orc":
        orc.write_table(table, made)
    elif kind == "arrows":
        table = table.set_column(2, "name", table["name"].dictionary_encode())
        with pa.ipc.new_stream(made, table.schema) as writer:
            writer.write_table(table, max_chunksize=15)
    elif "parquet" in kind:
        packing = "none" if kind == "plain.parquet" else "snappy"
        parquet.write_table(table, made, row_group_size=15, compression=packing)
    else:
        packing = "uncompressed" if kind == "feather" else "lz4"
        feather.write_feather(table, made, chunksize=15, compression=packing)
    return gzip.compress(made.getvalue(), mtime=0) if kind == "csv.gz" else made.getvalue()


def damaged(content: bytes, source: random.Random) -> bytes:
    """Return bytes of which some are others, gone, twice there, or more than before."""
    found = bytearray(content)
    for _ in range(source.choice([1, 1, 2, 4])):
        at, length = source.randrange(len(found) + 1), source.randrange(1, 30)
        way = source.choice(["other", "over", "bit", "gone", "twice", "cut"])
        piece = source.choice(PIECES)
        if way in ("other", "over"):
            found[at : at + (1 if way == "other" else len(piece))] = piece
        elif way == "bit" and at < len(found):
            found[at] ^= 1 << source.randrange(8)
        elif way == "gone":
            del found[at : at + length]
        elif way == "twice":
            found[at:at] = found[at : at + length]
        elif way == "cut" and source.random() < 0.3:
            del found[at:]
    return bytes(found)


def read(kind: str, content: bytes, folder: Path) -> None:
    """Read a file of a kind as far as its numbers."""
    path = folder / f"bad.{kind}"
    path.write_bytes(content)
    if kind == "json":
        fit = sgdfit.load(path)
        fit.report(full=True)
        fit.predict({"x": [0.5]})
    elif kind == "checkpoint":
        sgdfit.fit(FORMULA, TABLE, checkpoint=path, resume=True)
    else:
        table = sgdfit.open_table(path)
        table.arrow(list(dict.fromkeys(table.names)))
        found = table.load(["x", "y"], missing="drop").columns
        assert all(np.isfinite(column).all() for column in found.values())
        sgdfit.open_table(path, "x > 0.5 and not name == 'w3'").load(["y"], missing="drop")


def fault_in(number: int, seed: int = 0) -> str | None:
    """Return what is wrong with how damaged file ``number`` is read; None where nothing is."""
    source, kind = random.Random(f"{seed}/{number}"), FILES[number % len(FILES)]
    content = damaged(whole(kind), source)
    with tempfile.TemporaryDirectory() as folder:
        return _fault(lambda: read(kind, content, Path(folder)))


def fault_of(text: str, *, paper: bool = True) -> str | None:
    """Return what is wrong with how a text is taken; None where nothing is."""
    return _fault(lambda: take(text, paper=paper))


def _fault(work: Callable[[], object]) -> str | None:
    began, before = time.process_time(), _held()
    with contextlib.suppress(SgdfitError):
        try:
            work()
        except SgdfitError:
            raise
        except Exception:  # what nobody foresaw is what is looked for
            return traceback.format_exc(limit=-3)
    took = time.process_time() - began
    if _held() > before + MEMORY:
        return f"it holds {(_held() - before) >> 20} MB"
    return f"it takes {took:.1f} s" if took > SECONDS else None


def _held() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def _worker(kind: str, numbers: range, seed: int, answers: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    for number in numbers:
        fault = fault_in(number, seed) if kind == "files" else fault_of(written(number, seed))
        answers.send((number, fault))


def findings(kind: str, numbers: range, seed: int) -> Iterator[tuple[int, str]]:
    """Yield the number of each case that is taken wrong, and how."""
    while numbers:
        ours, theirs = multiprocessing.Pipe(duplex=False)
        worker = multiprocessing.Process(target=_worker, args=(kind, numbers[:CASES], seed, theirs))
        worker.start()
        theirs.close()
        at = numbers[0]
        try:
            while ours.poll(4 * SECONDS):
                number, fault = ours.recv()
                at = number + 1
                if fault:
                    yield number, fault
        except EOFError:
            pass
        worker.kill()
        worker.join()
        if at in numbers[:CASES]:
            yield at, "it hangs or ends the process"
            at += 1
        numbers = range(at, numbers.stop)


def main() -> None:
    """Print what is found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=["formulas", "files"])
    parser.add_argument("--count", type=int, default=100_000, help="cases")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    found, began = 0, time.perf_counter()
    cases = range(options.first, options.first + options.count)
    for number, fault in findings(options.kind, cases, options.seed):
        found += 1
        formula = options.kind == "formulas"
        case = repr(written(number, options.seed)) if formula else FILES[number % len(FILES)]
        print(f"{number}: {case}\n    {fault}", flush=True)
    print(f"{found} of {options.count} cases in {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
