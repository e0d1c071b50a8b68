"""What a pass of sums takes a row in torch, on the processor and on a GPU, beside compiled code.

Run it as ``python benchmarks/speed_torch.py``, where torch is installed; without a GPU its lines
are left out. Each row is read from memory in every pass, as a fit reads it. The limit of the
processor is a compiled loop that only reads, that of the GPU the bare copy of the columns to it,
from memory that is pinned already.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from sgdfit.kernel.forms import make
from sgdfit.kernel.kernel import Chunk
from sgdfit.model.model import build
from speed_clock import Contender, Timing, race
from speed_kernels import reading

# Rows of one turn of a thread, as in a fit.
TASK = 1 << 20
FORMULAS = {
    "y = a*x**2 + b*x + c": [0.3, -0.2, 0.1],
    "y = a*exp(-b*x) + c": [0.3, 0.4, 0.1],
    "y = a*exp(-b*x)*sin(c*x + d) + e*erf(f*x) + g*log(1 + x)": [0.3, 0.4, 2, 0.1, 1, 2, 0.5],
}


def passes(form: str, device: str, formula: str, chunk: Chunk, pool: Any) -> Callable[[], Any]:
    """Return a pass through all rows, on as many threads as there are cores."""
    kernel = make(build(formula, ["x", "y"]), None, form, device=device)
    theta = np.array(FORMULAS[formula], dtype=float)
    parts = [chunk.part(first, first + TASK) for first in range(0, chunk.rows, TASK)]
    return lambda: np.concatenate([*pool.map(lambda part: kernel.panel_sums(theta, part), parts)])


def moving(chunk: Chunk) -> Callable[[], None]:
    """Return the bare copy of the columns to a GPU."""
    pinned = [torch.tensor(column).pin_memory() for column in chunk.columns]

    def move() -> None:
        for column in pinned:
            column.to("cuda", non_blocking=True)
        torch.cuda.synchronize()

    return move


def main() -> None:
    """Print nanoseconds a row, and how many times the compiled kernel and the limit they are."""
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--rows", type=int, default=20_000_000)
    reader.add_argument("--repeat", type=int, default=5)
    asked = reader.parse_args()
    generator = np.random.default_rng(0)
    chunk = Chunk((generator.uniform(0, 3, asked.rows), generator.normal(size=asked.rows)), None)
    gpu = torch.cuda.is_available()
    print(f"torch {torch.__version__}, {os.cpu_count()} cores,",
          torch.cuda.get_device_name() if gpu else "no GPU")  # fmt: skip
    torch.set_num_threads(1)  # each of our threads is one
    for formula in FORMULAS:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            print(f"\n{formula}, {asked.rows:,} rows, ns a row")
            one = [Contender("reading alone, 1 thread", reading(*chunk.columns), asked.rows)]
            one += [Contender("copying to the GPU alone", moving(chunk), asked.rows)] if gpu else []
            names = [("compiled", "cpu"), ("torch", "cpu"), *([("torch", "cuda")] if gpu else [])]
            works = [passes(*name, formula, chunk, pool) for name in names]
            found = [work() for work in works]
            for other in found[1:]:
                apart = np.abs(other[:, 0] - found[0][:, 0]) / np.abs(found[0][:, 0]).max(axis=0)
                assert apart.max() < 1e-11, "these are not the same sums"
            one += [
                Contender(" on ".join(n), w, asked.rows) for n, w in zip(names, works, strict=True)
            ]
            shown(race(one, asked.repeat), 1 + gpu)


def shown(timings: list[Timing], limits: int) -> None:
    """Print a table, whose first lines are the limits."""
    took = [float(np.median(timing.seconds)) / timing.contender.rows * 1e9 for timing in timings]
    compiled = took[limits]
    for timing, each in zip(timings, took, strict=True):
        limit = took[1] if "cuda" in timing.contender.name else took[0]
        print(f"{timing.contender.name:26} {each:8.3f}   {each / compiled:6.2f} times compiled"
              f"   {each / limit:6.1f} times its limit")  # fmt: skip


if __name__ == "__main__":
    main()
