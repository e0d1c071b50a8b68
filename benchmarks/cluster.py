"""What a Dask cluster takes and brings: measured on workers of this machine, foreseen for more.

Run it as ``python benchmarks/cluster.py --folder FOLDER``. One, two and four workers fit the same
Parquet file, beside as many processes that only decode it, and beside sgdfit without a cluster;
bytes are those that the loopback interface carried. Then an empty task is timed, and what the
client does with a result; from these figures a simulation of up to 10⁴ workers follows, which says
where one scheduler and one client become the limit.
"""

from __future__ import annotations

import argparse
import heapq
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import sgdfit
from sgdfit.fitting.cluster import AHEAD, Cluster, as_cluster, piece_rows
from sgdfit.fitting.worker import same
from sgdfit.kernel.summation import PANEL, length, sum_panels
from speed_data import CURVES, decode, parquet
from speed_tables import Line, Table, lined, written

WORKERS = (1, 2, 4)
EMPTY_TASKS = 2_000
# What a share of a scan is, in a process of its own.
SCAN = (
    "import sys; import pyarrow.parquet as pq\n"
    "path, mine, several = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])\n"
    "file = pq.ParquetFile(path)\n"
    "for k in range(mine, file.num_row_groups, several):\n"
    "    file.read_row_group(k, use_threads=False)\n"
)
FORESEEN_ROWS, PARAMETERS, PASSES = 10**12, 3, 2
FORESEEN_WORKERS = (10, 100, 1_000, 10_000)
# Of a simulated piece: how much longer the slow ones take (of the lognormal law).
SPREAD = 0.2


class Costs(NamedTuple):
    """What was measured, in seconds.

    Attributes
    ----------
    task : float
        Of the scheduler and the client, for a task that does nothing.
    result : float
        Of the client, to add up what a task returned.
    row : float
        Of a worker, for a row of a pass.
    """

    task: float
    result: float
    row: float


def loopback() -> int:
    """Return how many bytes the loopback interface has carried."""
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, counts = line.partition(":")
        if name.strip() == "lo":
            return int(counts.split()[0])
    return 0


@contextmanager
def workers_of(count: int) -> Iterator[Cluster]:
    """Start so many workers, all of which are there."""
    with as_cluster(f"local:{count}") as cluster:
        cluster.client.wait_for_workers(count)
        yield cluster


def scan_apart(path: Path, processes: int) -> None:
    """Decode a file by so many processes, which do nothing with it."""
    run = [
        subprocess.Popen([sys.executable, "-c", SCAN, str(path), str(k), str(processes)])
        for k in range(processes)
    ]
    for process in run:
        process.wait()


def timed(turn: Callable[[], Any], repeat: int) -> tuple[float, Any]:
    """Return the median of the seconds that a turn takes, and what the last brought."""
    seconds, found = [], None
    for _ in range(repeat):
        begun = time.perf_counter()
        found = turn()
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds), found


def fits(path: Path, formula: str, rows: int, repeat: int) -> tuple[Table, float]:
    """Fit a file by more and more workers; return the table, and the seconds of a row."""
    lines, bits = [], set()
    for threads in (1, 2):
        seconds, fit = timed(
            lambda threads=threads: sgdfit.fit(formula, path, threads=threads), repeat
        )
        bits.add(fit.values.__repr__())
        lines.append(Line(f"sgdfit, {threads} threads, no cluster", seconds, repeat))
    visits = fit.rows_visited / rows
    for count in WORKERS:
        scan, _ = timed(lambda count=count: scan_apart(path, count), repeat)
        lines.append(Line(f"decoding alone, {count} processes", scan, repeat))
        with workers_of(count) as cluster:
            turn = lambda: sgdfit.fit(formula, path, cluster=cluster.client)  # noqa: E731
            turn()  # compiles
            before = loopback()
            seconds, fit = timed(turn, repeat)
            sent = (loopback() - before) / repeat
        bits.add(fit.values.__repr__())
        note = f"{sent / 1e6:.2f} MB over the loopback, {seconds / scan:.2f} × decoding alone"
        lines.append(Line(f"sgdfit, {count} workers", seconds, repeat, note))
    title = f"A whole fit on a cluster, {formula}, {rows:,} rows of Parquet"
    told = "all fits have the same bits" if len(bits) == 1 else "FITS DIFFER IN THEIR BITS"
    table = Table(
        title, "seconds", lines, "decoding alone, 2 processes", "sgdfit, 2 workers", (), (told,)
    )
    decode(path, 1)
    return table, lined(table, "sgdfit, 1 workers") / (visits * rows)


def overhead(row: float) -> tuple[Table, Costs]:
    """Time tasks that do nothing, and what the client does with the sums of one."""
    with workers_of(2) as cluster:
        sums = np.ones((1, 2, length(PARAMETERS)))
        # All at once, so that no answer is waited for.
        turn = lambda: cluster.client.gather(  # noqa: E731
            cluster.client.map(same, [sums] * EMPTY_TASKS, pure=False)
        )
        turn()
        before = loopback()
        seconds, _ = timed(turn, 3)
        sent = (loopback() - before) / 3 / EMPTY_TASKS
        one, _ = timed(lambda: list(cluster.map(same, [[sums]])), 20)
    parts = [np.random.default_rng(k).standard_normal((2, 2, 11)) for k in range(EMPTY_TASKS)]
    added, _ = timed(lambda: sum_panels(parts, PANEL, PARAMETERS), 3)
    costs = Costs(seconds / EMPTY_TASKS, added / EMPTY_TASKS, row)
    lines = [
        Line("a round of one empty task", one, 20),
        Line("a task among many", costs.task, 3, f"{sent:,.0f} bytes over the loopback"),
        Line("the client adds up its sums", costs.result, 3, f"{parts[0].nbytes} bytes"),
    ]
    return Table("What a task costs that does nothing", "seconds", lines), costs


def simulate(costs: Costs, workers: int, rows: int, seed: int = 0) -> tuple[float, float]:
    """Return the seconds of a pass, and those of its client and scheduler alone.

    Tasks are handed out one after another; each worker runs its own in turn; the client takes
    results as they come, one after another.
    """
    piece = piece_rows(rows, workers)
    count = -(-rows // piece)
    lasting = costs.row * piece * np.random.default_rng(seed).lognormal(0, SPREAD, count)
    free = [(0.0, k) for k in range(workers)]
    running: list[float] = []
    clock = client = 0.0
    for seconds in lasting:
        # No more wait than each worker has room for.
        if len(running) >= AHEAD * workers:
            client = max(client, heapq.heappop(running)) + costs.result
            clock = max(clock, client)
        clock += costs.task
        begin, worker = heapq.heappop(free)
        end = max(begin, clock) + seconds
        heapq.heappush(free, (end, worker))
        heapq.heappush(running, end)
    while running:
        client = max(client, heapq.heappop(running)) + costs.result
    return client, count * (costs.task + costs.result)


def foreseen(costs: Costs) -> Table:
    """Simulate passes over 10¹² rows."""
    lines = []
    for workers in FORESEEN_WORKERS:
        seconds, serial = simulate(costs, workers, FORESEEN_ROWS)
        ideal = costs.row * FORESEEN_ROWS / workers
        piece = piece_rows(FORESEEN_ROWS, workers)
        note = (
            f"{ideal:,.0f} s of work on each, {-(-FORESEEN_ROWS // piece):,} tasks of {piece:,}"
            f" rows, {serial:,.0f} s of the scheduler and the client"
        )
        lines.append(Line(f"{workers:,} workers", seconds, 1, note))
    notes = (
        f"a worker takes {costs.row * 1e9:.2f} ns a row, a task {costs.task * 1e3:.2f} ms of the"
        f" scheduler and {costs.result * 1e6:.0f} µs of the client",
        "a tree of reductions would spare the client alone, whose share is the smaller one",
    )
    title = f"A pass over {FORESEEN_ROWS:.0e} rows of two columns, simulated from these figures"
    return Table(title, "seconds", lines, notes=notes)


def main() -> None:
    """Read the command line, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=float, default=1e8)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("benchmark-data"))
    given = parser.parse_args()
    rows, curve = int(given.rows), CURVES[0]
    path = parquet(curve, rows, given.folder)
    table, row = fits(path, curve.formula, rows, given.repeat)
    print(*written(table), sep="\n", flush=True)
    table, costs = overhead(row)
    print(*written(table), sep="\n", flush=True)
    print(*written(foreseen(costs)), sep="\n")


if __name__ == "__main__":
    main()
