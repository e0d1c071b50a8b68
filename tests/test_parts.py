"""Rows that threads read and add up part by part, against the same rows added up in one go."""

from __future__ import annotations

import gc
import itertools
import threading
import time

import numpy as np
import pytest

from sgdfit.checkpoint.checkpoint import open_checkpoint
from sgdfit.fitting import dataset
from sgdfit.fitting.dataset import (
    Part,
    Reduction,
    TrainingData,
    WeightedStream,
    in_order,
)
from sgdfit.kernel.forms import make
from sgdfit.kernel.kernel import Chunk
from sgdfit.kernel.summation import PANEL
from sgdfit.model.model import build
from sgdfit.optimizers import sgd

MODEL = build("y = a*exp(-b*x) + c", ["x", "y"])
KERNEL = make(MODEL, sgd(), "numpy")
THETA = np.array([2.0, 1.0, 0.25])

LAYOUTS = {
    "a panel each": [PANEL] * 4,
    "a row less": [PANEL - 1] * 4,
    "several within a panel": [10_000] * 17,
    "empty ones among them": [0, 30_000, 0, PANEL, 0, 100_000, 0],
    "one within a panel, and many panels": [5, 3 * PANEL - 5, 7],
    "a part that ends what others began": [PANEL - 10, 10, PANEL, 1],
    "a thousand": [150] * 1000,
}


def columns_of(rows, weighted, seed=0):
    random = np.random.default_rng(seed)
    x = random.uniform(0, 3, rows)
    y = 3 * np.exp(-1.3 * x) + 0.1 * random.standard_normal(rows)
    return Chunk((x, y), random.uniform(0.5, 1.5, rows) if weighted else None)


def parts_of(chunk, lengths, first=0, block=40_000):
    """Yield the rows from ``first`` on in parts, each of which reads blocks of so many rows."""
    for a, b in itertools.pairwise(itertools.accumulate(lengths, initial=0)):
        begin = max(a, first)
        if begin < b:
            starts = range(begin, b, block)
            cuts = [chunk.part(k, min(k + block, b)) for k in starts]
            # As readers have them, at the beginning of what none of their rows met.
            yield Part(begin, lambda cuts=cuts: iter([chunk.part(0, 0), *cuts]))


class Rows:
    """What is read in pieces: by chunks, or in parts by threads."""

    def __init__(self, rows, chunks, parts):
        self.counted, self.has_parts = rows, parts is not None
        self.chunks, self.parts = chunks, parts


class Stream(WeightedStream):
    def chunk_of(self, chunk):
        return chunk


def streamed(chunk, some, chunks, parts, threads, journal):
    read = None
    if parts is not None:
        read = lambda first: (tuple(part) for part in parts(first))  # noqa: E731
    stream = Stream(Rows(chunk.rows, lambda first: chunks(first), read), [], None)
    return TrainingData(MODEL, some, stream, threads, journal)


def data(chunk, lengths, threads, journal, by_parts):
    def chunks(first):
        for k in range(first, chunk.rows, 2 * PANEL):
            yield chunk.part(k, k + 2 * PANEL)

    def parts(first):
        yield from parts_of(chunk, lengths, first)

    chosen = parts if by_parts else None
    return streamed(chunk, chunk.part(0, 100), chunks, chosen, threads, journal)


def bits(sums):
    return sums.rows, sums.weight, sums.loss, sums.gradient.tobytes(), sums.curvature.tobytes()


@pytest.fixture
def few(monkeypatch):
    """Let few rows be shared by threads, and few single rows be taken along."""
    monkeypatch.setattr(dataset, "WORTH_THREADS", 0)
    monkeypatch.setattr("sgdfit.fitting.sampling.MANY", 0)
    monkeypatch.setattr("sgdfit.fitting.sampling.SCATTERED", 1000)


def everything_of(data):
    sums = data.sums(KERNEL, THETA)
    taken = data._scattered
    assert taken.rows == 1000
    arrays = taken.columns if taken.weights is None else (*taken.columns, taken.weights)
    return bits(sums), [a.tobytes() for a in arrays], data.moments, data.visited


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_pass_by_parts_is_one_by_chunks(layout, weighted, threads, few):
    lengths = LAYOUTS[layout]
    if sum(lengths) < 2000:
        lengths = [10 * length for length in lengths]
    chunk = columns_of(sum(lengths), weighted)
    journal = open_checkpoint(None, {}, resume=False)
    found = everything_of(data(chunk, lengths, threads, journal, True))
    assert found == everything_of(data(chunk, lengths, threads, journal, False))
    assert found == everything_of(data(chunk, lengths, 1, journal, False))
    places = data(chunk, lengths, 1, journal, False).places
    assert found[1] == [
        c[places].tobytes() for c in (*chunk.columns, chunk.weights) if c is not None
    ]
    assert found[3] == chunk.rows


@pytest.mark.parametrize("by_parts", [False, True])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("at", [1, 2, 4])
def test_an_error_that_is_kept_keeps_no_thread(threads, by_parts, at, few, monkeypatch):
    chunk, calls, lock = columns_of(5 * PANEL, False), itertools.count(1), threading.Lock()
    closed, add = [], Reduction._add

    def failing(self, first, chunk):
        with lock:
            if next(calls) == at:
                raise ValueError("no more")
        return add(self, first, chunk)

    monkeypatch.setattr(Reduction, "_add", failing)

    def chunks(first):
        try:
            for k in range(first, chunk.rows, PANEL):
                yield chunk.part(k, k + PANEL)
        finally:
            closed.append(True)

    def parts(first):
        for k in range(first, chunk.rows, PANEL):
            yield Part(k, lambda k=k: iter([chunk.part(k, k + PANEL)]))

    journal = open_checkpoint(None, {}, resume=False)
    chosen = parts if by_parts else None
    everything = streamed(chunk, chunk, chunks, chosen, threads, journal)
    gc.disable()
    try:
        with pytest.raises(ValueError, match="no more") as kept:
            everything.sums(KERNEL, THETA)
        assert kept.value is not None
        # The first row is added up before anything is read.
        assert (by_parts and threads > 1) or closed == [True] * (at > 1)
        assert not [t for t in threading.enumerate() if t.name.startswith("sgdfit")]
    finally:
        gc.enable()


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_first_error_in_order_is_raised_though_a_later_one_is_sooner(threads):
    def work(k):
        if k >= 2:
            time.sleep(0.02 if k == 2 else 0)
            raise ValueError(k)
        return k

    found, things = [], (k for k in range(10))
    each = in_order(work, things, threads)
    with pytest.raises(ValueError, match=r"^2$"):
        found.extend(each)
    assert found == [0, 1]
    assert next(things, None) is None
    assert not [t for t in threading.enumerate() if t.name.startswith("sgdfit-sums")]
