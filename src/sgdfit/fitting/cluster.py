"""Rows that the workers of a Dask cluster read and add up; the client sees sums alone.

Since panels add up exactly, a pass over many machines has the bits of a pass on one. What the
client reads itself are the rows that samples are drawn from.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from sgdfit import __version__
from sgdfit.data.opening import check_rows, known_counts
from sgdfit.data.partitions import is_dask
from sgdfit.data.rows import Arrays, ChunkedRows, RowCounts, no_row_meets, see_first_times
from sgdfit.data.table import Columns, Table, check_policy, clean_names
from sgdfit.errors import (
    ClusterError,
    DataError,
    MissingDependencyError,
    UsageError,
    counted,
    reason_of,
)
from sgdfit.fitting.dataset import Added, Reduction, keep_of
from sgdfit.fitting.sampling import SUBSAMPLE_ALL
from sgdfit.fitting.weights import Weigher, Weighting
from sgdfit.fitting.worker import (
    Piece,
    Source,
    Task,
    add_up,
    count_groups,
    extremes_of,
    first_rows,
    read_rows,
    same,
    sweep,
    take_runs,
    weigh,
)
from sgdfit.kernel.summation import PANEL

Array = np.ndarray[Any, Any]

# Rows of a task: so few that a slow worker holds up little, so many that asking costs nothing.
LEAST_PIECE, PIECE = 1 << 18, 1 << 22
# A scheduler hands out some thousand tasks a second; of more rows each takes more.
MOST_TASKS = 20_000
# Tasks that wait at each thread of the workers.
AHEAD = 3
# Seconds after which a task is given to another worker too where nothing else is left to do, unless
# a task took a third as long: a worker that is stopped, or swaps, says nothing for minutes.
LATE = 5.0
# Bytes of a partition's graph that hold rows, as those of `dask.dataframe.from_pandas` do.
LARGE = 1 << 17
# Seconds for which it is believed how many workers there are.
ASKED = 1.0
# Seconds until an address that does not answer is given up, a cluster without a worker, and one
# that starts here; and until one that is left is closed.
ANSWER, PATIENCE, STARTING, CLOSING = 5.0, 20.0, 60.0, 2.0
LOST_PATIENCE = 60.0
# After which Dask itself gives up a worker that says nothing, and computes anew what it held.
SILENT = {"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "60s"}


# A command of Dask that ends with the process that began it, however that ends: then its standard
# input ends. The workers end with what keeps them alive.
WATCHED = """
import os, runpy, sys, threading
def watch():
    while os.read(0, 4096):  # by a buffer, its lock aborts a worker that ends by itself
        pass
    os._exit(1)
threading.Thread(target=watch, daemon=True).start()
del sys.argv[0]
runpy.run_module(f"distributed.cli.{sys.argv[0]}", run_name="__main__", alter_sys=True)
"""


class Cluster:
    """A Dask cluster: `map` runs functions of `sgdfit.fitting.worker` there."""

    def __init__(self, client: Any, *, owned: bool, label: str) -> None:
        self.client, self.owned, self.label = client, owned, label
        # Of a cluster of this machine: the scheduler, and what keeps its workers alive.
        self.processes: list[subprocess.Popen[bytes]] = []
        self.folder: tempfile.TemporaryDirectory[str] | None = None
        # Tasks that were given to others, and the worker that has each: as long, it gets no more.
        self._late: dict[Any, str] = {}
        self._workers: Mapping[str, Any] = {}
        self._asked = -math.inf

    def kept(self, value: Any) -> Any:
        """Return a value that many tasks take, as what is sent once and held by the workers."""
        return self.client.submit(same, value, pure=False)

    def held(self, parts: Sequence[Any]) -> Sequence[Any]:
        """Return partitions; those of rows that this process holds are sent to workers, once."""
        from distributed.protocol.pickle import dumps

        if not parts or len(dumps(dict(parts[0].dask))) < LARGE:
            return parts
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sending large graph")  # once, and not anew
            return list(self.client.persist(list(parts)))

    def start(self, command: list[str]) -> None:
        """Start a process of Dask, which nobody but this machine reaches."""
        run = [sys.executable, "-c", WATCHED, *command]
        # Without a dashboard there is still a server of HTTP, on all interfaces unless told.
        run += ["--host", "127.0.0.1", "--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
        assert self.folder is not None  # see _local
        how: dict[str, Any] = {"stdin": subprocess.PIPE, "env": {**SILENT, **os.environ}}
        with open(os.path.join(self.folder.name, "log"), "ab") as log:
            self.processes.append(subprocess.Popen(run, stdout=log, stderr=log, **how))

    def check_alive(self) -> None:
        """Refuse to go on where the scheduler is gone, whose last words stand in the error."""
        if all(process.poll() is None for process in self.processes):
            if self.client is None or self.client.status == "running":
                return
            raise self._lost(None)
        assert self.folder is not None  # see _local
        with open(os.path.join(self.folder.name, "log"), errors="replace") as log:
            last = (log.read().strip().splitlines() or [""])[-1]
        raise self._lost(OSError(last or "killed"))

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        if self.owned and self.client is not None:
            with contextlib.suppress(Exception):
                self.client.close(timeout=CLOSING)
        for process in self.processes[::-1]:
            process.terminate()
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=CLOSING)
            process.kill()
            process.wait()
            if process.stdin is not None:
                process.stdin.close()
        if self.folder is not None:
            self.folder.cleanup()

    @property
    def workers(self) -> int:
        """How many workers there are."""
        return len(self._known)

    @property
    def threads(self) -> int:
        """How many tasks they run at once."""
        return sum(worker["nthreads"] for worker in self._known.values())

    @property
    def _known(self) -> Mapping[str, Any]:
        """The workers, as they were a moment ago: to ask takes a message."""
        if time.monotonic() - self._asked > ASKED:
            with contextlib.suppress(OSError, TimeoutError):
                ask = self.client.scheduler.identity
                known = self.client.sync(ask, n_workers=-1, callback_timeout=ANSWER)
                self._workers = known["workers"]
            self._asked = time.monotonic()
        return self._workers

    def map(
        self, function: Callable[..., Any], tasks: Iterable[Sequence[Any]], *, held: bool = False
    ) -> Generator[Any, None, None]:
        """Yield what a function returns of the arguments of each task, in their order.

        Results are taken as they come, or ``held`` by the workers, of which futures are yielded.
        What a slow worker has at the end is given to another too.

        Raises
        ------
        ClusterError
            When the scheduler is lost, no worker is left, or tasks kill their workers.
        """
        left, ready, running = enumerate(tasks), dict[int, Any](), dict[Any, int]()
        begun, longest = dict[int, tuple[float, Sequence[Any]]](), 0.0
        patience = LATE
        done, following, alone = SimpleQueue[Any](), 0, time.monotonic()

        def send(number: int) -> None:
            future = self.client.submit(function, *begun[number][1], pure=False, **self.where)
            running[future] = number
            future.add_done_callback(done.put)

        try:
            while True:
                room = AHEAD * max(1, self.threads) - len(begun)
                for number, arguments in itertools.islice(left, max(0, room)):
                    begun[number] = time.monotonic(), arguments
                    send(number)
                if not begun:
                    return
                with contextlib.suppress(Empty):
                    future = done.get(timeout=1)
                    number = running.pop(future)
                    # Else another was faster.
                    found = self._result(future, held, patience) if number in begun else []
                    if found:
                        longest = max(longest, time.monotonic() - begun.pop(number)[0])
                        ready[number] = found[0]
                    elif number in begun:  # its worker ended, or stopped, before that was taken
                        patience += LATE
                        send(number)
                while following in ready:
                    yield ready.pop(following)
                    following += 1
                self.check_alive()
                if len(begun) < AHEAD * self.threads:  # no more are left to begin
                    latest = time.monotonic() - max(LATE, 3 * longest)
                    late = {f: n for f, n in running.items() if n in begun and f not in self._late}
                    for future, number in late.items():
                        place = self._place(future) if begun[number][0] < latest else None
                        if place is not None:
                            self._late[future] = place
                            begun[number] = time.monotonic(), begun[number][1]
                            send(number)
                if self.workers:
                    alone = time.monotonic()
                elif time.monotonic() - alone > LOST_PATIENCE:
                    raise ClusterError(
                        f"{self.label} has had no worker for {LOST_PATIENCE:.0f} s; start some, and"
                        " go on with resume=True where there is a checkpoint"
                    )
        finally:
            if running and self.client.status == "running":
                with contextlib.suppress(Exception):
                    self.client.cancel([future for future in running if future not in self._late])

    @property
    def where(self) -> dict[str, Any]:
        """How Dask is told to leave out workers whose tasks were given to others."""
        slow = self._slow
        others = [place for place in self._known if place not in slow]
        return {"workers": others, "allow_other_workers": True} if slow and others else {}

    @property
    def _slow(self) -> set[str]:
        self._late = {f: place for f, place in self._late.items() if f.status == "pending"}
        return set(self._late.values())

    def _place(self, future: Any) -> str | None:
        """Return the worker that has a task, where there is another to give it to."""
        held = dict[str, Sequence[Any]]()
        with contextlib.suppress(OSError, TimeoutError):
            ask = self.client.scheduler.processing
            held = self.client.sync(ask, workers=None, callback_timeout=ANSWER)
        has = next((place for place in held if future.key in held[place]), None)
        return has if {*self._known} - {*self._slow, has} else None

    def _result(self, future: Any, held: bool, patience: float) -> list[Any]:
        """Return what is there: the result, or its future, or nothing any more."""
        from distributed import KilledWorker

        if future.status == "cancelled":
            raise self._lost(None)
        if future.status == "lost":
            return []
        try:
            if held and future.status == "finished":
                return [future]
            return [future.result(timeout=patience)]
        except KilledWorker as error:
            raise ClusterError(
                f"workers of {self.label} die of the same task again and again"
                f" ({reason_of(error)}); see to their logs, or give them more memory"
            ) from error
        except (OSError, TimeoutError) as error:
            if self.client.status != "running":
                raise self._lost(error) from error
            if future.status == "error":
                raise
            return []

    def _lost(self, error: BaseException | None) -> ClusterError:
        why = f" ({reason_of(error)})" if error is not None else ""
        return ClusterError(
            f"the scheduler of {self.label} does not answer any more{why}; start it again, and go"
            " on with resume=True (--resume) where there is a checkpoint, here or elsewhere"
        )


def cluster_for(given: Any, data: object) -> contextlib.AbstractContextManager[Cluster | None]:
    """Return the cluster that an option names, for Dask's data the client that there is, if any."""
    if given is None and is_dask(data):
        import distributed

        with contextlib.suppress(ValueError):
            given = distributed.default_client()
    return contextlib.nullcontext() if given is None else as_cluster(given)


def as_cluster(given: Any) -> Cluster:
    """Return the cluster of an address, of a `distributed.Client`, or a new one of this machine.

    Raises
    ------
    ClusterError
        When nobody answers, it has no workers, or those have another version of sgdfit.
    UsageError
        When it is none of these.
    """
    try:
        import distributed
    except ImportError as error:
        raise MissingDependencyError(
            "a cluster needs dask and distributed, which are not installed; install sgdfit[dask]"
        ) from error
    if isinstance(given, distributed.Client):
        found = Cluster(given, owned=False, label=f"the cluster at {_address(given)}")
    elif isinstance(given, str) and (local := re.fullmatch(r"local(?::([1-9]\d{0,3}))?", given)):
        found = _local(int(local[1] or 0))
    elif isinstance(given, str) and re.fullmatch(r"[a-z]+://\S+|(?!local:)[\w.-]+:\d+", given):
        try:
            _knock(given)
            client = _client(given, timeout=PATIENCE)
        except (OSError, TimeoutError, ValueError) as error:
            raise ClusterError(
                f"no scheduler of Dask answers at {given} ({reason_of(error)}); see that it runs"
                " and that this machine reaches it, or take cluster='local'"
            ) from error
        found = Cluster(client, owned=True, label=f"the cluster at {given}")
    else:
        raise UsageError(
            f"cluster={given!r}: give the address of a scheduler, as 'tcp://host:8786', a"
            " distributed.Client, or 'local' ('local:4' for four workers) for processes of this"
            " machine"
        )
    try:
        _check(found)
    except BaseException:
        found.__exit__()
        raise
    return found


def _client(*given: Any, **options: Any) -> Any:
    """Return a client of our own, which is quiet about what is said in a sentence."""
    import distributed

    for name in ("distributed", "distributed.client"):  # which has a level of its own
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return distributed.Client(*given, **options, set_as_default=False)


def _knock(address: str) -> None:
    """Ask whether anybody listens: Dask itself would wait for long."""
    found = re.fullmatch(r"(?:(?:tcp|tls)://)?\[?([^\]]+?)\]?:(\d+)", address)
    if found:
        socket.create_connection((found[1], int(found[2])), timeout=ANSWER).close()


def _address(client: Any) -> str:
    return str(getattr(client.scheduler, "address", "") or "an unknown address")


def _local(workers: int) -> Cluster:
    """Start workers on this machine, which only this machine reaches."""
    affinity = getattr(os, "sched_getaffinity", None)
    workers = workers or (len(affinity(0)) if affinity else os.cpu_count() or 1)
    found = Cluster(None, owned=True, label=f"the local cluster of {counted(workers, 'worker')}")
    found.folder = tempfile.TemporaryDirectory(prefix="sgdfit-cluster-")
    place = os.path.join(found.folder.name, "scheduler.json")
    # Not by multiprocessing, which runs scripts again that do not guard their main part.
    scheduler = ["dask_scheduler", "--port", "0"]
    worker = ["dask_worker", "--nworkers", str(workers), "--nthreads", "1"]
    worker += ["--local-directory", found.folder.name]
    try:
        for command in (scheduler, worker):
            found.start([*command, "--scheduler-file", place])
        while not os.path.exists(place):
            found.check_alive()
            time.sleep(0.02)
        found.client = _client(scheduler_file=place, timeout=STARTING)
    except BaseException:
        found.__exit__()
        raise
    return found


def _check(cluster: Cluster) -> None:
    """Refuse a cluster without workers, or whose workers have another sgdfit."""
    try:
        # Those of this machine are on their way.
        cluster.client.wait_for_workers(1, timeout=STARTING if cluster.processes else PATIENCE)
    except TimeoutError as error:
        raise ClusterError(
            f"{cluster.label} has no workers; start some, as by"
            f" dask worker {_address(cluster.client)}"
        ) from error
    ask, found = cluster.client.scheduler.broadcast, dict[str, Any]()
    # A worker that says nothing now is asked by its tasks.
    with contextlib.suppress(OSError, TimeoutError):
        asked = {"op": "versions", "packages": ["sgdfit"]}
        found = cluster.client.sync(ask, msg=asked, on_error="ignore", callback_timeout=ANSWER)
    versions = {place: known["packages"].get("sgdfit") for place, known in found.items()}
    others = {place: v for place, v in versions.items() if v != __version__}
    if others:
        place, version = next(iter(others.items()))
        has = "have " if len(others) > 1 else "has "
        has += "no sgdfit" if version is None else f"sgdfit {version}"
        raise ClusterError(
            f"{counted(len(others), 'worker')} of {cluster.label} ({place}) {has}, and this is"
            f" {__version__}; install the same on all"
        )


@dataclass(frozen=True, eq=False)
class ClusterRows(ChunkedRows):
    """Rows that the workers of a cluster read; those of the client come one by one."""

    cluster: Cluster = field(kw_only=True)
    source: Source = field(kw_only=True)
    partitions: Sequence[Any] | None = field(kw_only=True)  # of a Dask collection

    @property
    def workers(self) -> int:
        """How many workers there are just now."""
        return self.cluster.workers

    def futures(self, groups: Iterable[int]) -> list[Any]:
        """Return futures of partitions, which their tasks need; none for files."""
        if self.partitions is None:
            return []
        parts = [self.partitions[k] for k in groups]
        return list(self.cluster.client.compute(parts, **self.cluster.where))

    def pieces(self, first: int = 0, shares: int | None = None) -> Iterator[tuple[Piece, range]]:
        """Yield the rows from ``first`` on, which begins a panel, in pieces for tasks.

        Or as at most so many ``shares`` of about as many rows, however many workers there are.
        With each come the row groups beyond its own that complete its last panel.
        """
        edges = np.concatenate([[0], np.cumsum(self.source.kept, dtype=np.int64)])
        rows = int(edges[-1])
        size = self._piece_rows(rows) if shares is None else -(-rows // shares)
        while first < rows:
            begin = int(np.searchsorted(edges, first, side="right")) - 1
            end = int(np.searchsorted(edges, min(first + size, rows)))
            last = min(rows, -(-int(edges[end]) // PANEL) * PANEL)
            needed = int(np.searchsorted(edges, last))
            yield Piece(first, last, range(begin, end)), range(end, needed)
            first = last

    def _piece_rows(self, rows: int) -> int:
        """Return about how many of so many rows a task takes."""
        return piece_rows(rows, self.cluster.threads)

    def tasks(self, *given: Any, first: int = 0) -> Iterator[list[Any]]:
        """Yield the arguments of a function for each piece: the source, those given, its rows."""
        for piece, rest in self.pieces(first):
            yield [self.source, *given, *self._slice(piece, rest)]

    def _slice(self, piece: Piece, rest: range) -> list[Any]:
        """Return a piece, how many arrays complete it, these, and its partitions, as futures."""
        if self.partitions is None:
            return [piece._replace(groups=range(piece.groups.start, rest.stop)), 0]
        kept, submit = self.source.kept, self.cluster.client.submit
        short = piece.last - sum(kept[: piece.groups.stop])
        tails = []
        for k, part in zip(rest, self.futures(rest), strict=True):
            some = min(short, kept[k])
            where = self.cluster.where
            tails.append(submit(first_rows, self.source, k, some, part, pure=False, **where))
            short -= some
        return [piece, len(tails), *tails, *self.futures(piece.groups)]

    def runs_of_groups(self, *, numbered: bool) -> Iterator[tuple[range, int]]:
        """Yield row groups in runs for tasks, and the number of the first row of each, from 1.

        Unless ``numbered``, it is 1 where to know better takes a look at all rows.
        """
        sizes: Sequence[int | None] = [group.rows for group in self.dataset.row_groups]
        if None in sizes and numbered:
            sizes = list(self.cluster.map(read_rows, ([*t] for t in self._each_group())))
        first, begin, rows = 1, 0, 0
        enough = self._piece_rows(sum(size or PIECE for size in sizes))
        for k, size in enumerate(sizes):
            rows += PIECE if size is None else size
            if rows >= enough or k == len(sizes) - 1:
                yield range(begin, k + 1), first if None not in sizes else 1
                first, begin, rows = first + rows, k + 1, 0

    def _each_group(self) -> Iterator[list[Any]]:
        for k in range(len(self.dataset.row_groups)):
            yield [self.source, k, *self.futures([k])]

    def counted_again(self) -> ClusterRows:
        """Return these rows with counts of them, for which the workers read all of them."""
        number, several = len(self.dataset.row_groups), 1
        if self.partitions is None:
            several = max(1, number // (64 * max(1, self.cluster.threads)))
        runs = [range(k, min(k + several, number)) for k in range(0, number, several)]
        tasks = ([self.source, run, *self.futures(run)] for run in runs)
        found = list(itertools.chain.from_iterable(self.cluster.map(count_groups, tasks)))
        kept, dropped, rows = zip(*found, strict=True)
        counts = RowCounts(tuple(kept), sum(dropped), sum(rows))
        return replace(self, counts=counts, source=self.source._replace(kept=counts.kept))

    def take(self, begin: Sequence[int] | Array, length: int) -> Arrays:
        """Return runs of rows as `ChunkedRows.take` does."""
        starts, edges = np.asarray(begin), np.concatenate([[0], np.cumsum(self.counts.kept)])
        tasks = []
        for k, (first, end) in enumerate(itertools.pairwise(edges.tolist())):
            a, b = np.searchsorted(starts, [first - length, end - 1], side="right")
            if a < b and first < end:
                inside = [(int(s) - first, int(s) - first + length) for s in starts[a:b]]
                tasks.append((k, inside))
        found = self.cluster.map(
            take_runs, ([self.source, k, inside, *self.futures([k])] for k, inside in tasks)
        )
        parts = list(itertools.chain.from_iterable(found))
        return tuple(map(np.concatenate, zip(*parts, strict=True)))

    def added(self, reduction: Reduction) -> Generator[Added, None, None]:
        """Yield the sums of a pass, piece by piece."""
        data, kernel = reduction.data, reduction.kernel
        if kernel.model is None:
            raise UsageError("this fit cannot be made on a cluster; leave out cluster")
        first = data.subsample.part(0, 1)
        task = Task(
            data.model,
            kernel.model,
            kernel.form,
            "cpu",
            first,
            reduction.theta,
            reduction.scores,
            reduction.is_first,
        )
        tasks = self.tasks(task, first=reduction.rows)
        yield from self.cluster.map(add_up, tasks)

    def weighed(self, weighting: Weighting) -> tuple[ClusterRows, Weigher]:
        """Return the rows of a weight above 0, and what weighs them."""
        known = Weigher(weighting, self.label)
        # The unit is the first weight above 0.
        for columns in self.chunks():
            known.look(dict(zip(self.names, columns, strict=True)), 0)
            if known.unit:
                break
        unit, sums, number = known.unit, list[float](), 0
        for some, several in self.cluster.map(weigh, self.tasks(weighting, unit)):
            sums += some
            number += several
        known.sums, known.counted = sums, number
        known.settle()
        known.sums = []
        rows = replace(
            self, keep=keep_of(weighting, self.names), source=self.source._replace(weigher=known)
        )
        # A sigma leaves no row out.
        return rows.counted_again() if weighting.sigma is None else rows, known

    def shares(self, most: int) -> int:
        """Return in how many shares the rows are stepped through, whatever workers there are."""
        return sum(1 for _ in self.pieces(shares=most))

    def swept(self, descent: Callable[[int, int], Any], shards: int) -> Iterator[Any]:
        """Yield what an epoch of textbook descent led to on each share of the rows."""
        tasks = (
            [self.source, descent(k, piece.last - piece.first), *self._slice(piece, rest)]
            for k, (piece, rest) in enumerate(self.pieces(shares=shards))
        )
        return self.cluster.map(sweep, tasks)

    def extremes(self, places: Sequence[int]) -> tuple[Array, Array]:
        """Return the least and the largest value of columns, float64[c] each."""
        ends = np.array(list(self.cluster.map(extremes_of, self.tasks(list(places)))))
        return ends[:, 0].min(axis=0), ends[:, 1].max(axis=0)


def piece_rows(rows: int, threads: int) -> int:
    """Return about how many of so many rows a task takes, where so many run at once.

    >>> [piece_rows(10**k, 1000) for k in (6, 8, 12)]
    [262144, 262144, 50000000]
    """
    size = min(PIECE, max(LEAST_PIECE, rows // (4 * max(1, threads))))
    return max(size, rows // MOST_TASKS)


def open_on_cluster(
    cluster: Cluster, table: Table, names: Sequence[str], *, missing: str, budget: int
) -> Columns | ClusterRows:
    """Return rows that the workers of a cluster read, or few rows in the client's memory.

    Raises
    ------
    UsageError
        When the workers cannot read these data by themselves.
    """
    if table.dataset is None and table.origin is not None:  # a file so small that it is in memory
        return table.load(names, missing=missing)
    rows = rows_on_cluster(cluster, table, names, missing=missing, budget=budget)
    counts = known_counts(rows.dataset) if missing == "error" else None
    if counts is None:
        rows = rows.counted_again()
    else:
        rows = replace(rows, counts=counts, source=rows.source._replace(kept=counts.kept))
    if table.where and not rows.counts.rows + rows.counts.dropped:
        raise DataError(no_row_meets(table.label, table.where))
    check_rows(rows.dataset, rows.counts)
    if rows.rows > SUBSAMPLE_ALL:
        return rows
    columns = rows.take(np.zeros(1, dtype=np.int64), rows.rows)
    return Columns(dict(zip(rows.names, columns, strict=True)), table.label, rows.counts.dropped)


def rows_on_cluster(
    cluster: Cluster, table: Table, names: Sequence[str], *, missing: str, budget: int = 0
) -> ClusterRows:
    """Return rows that the workers of a cluster read, of which nobody has counted how many."""
    check_policy(missing)
    dataset, origin = table.dataset, table.origin
    if origin is None or dataset is None or not dataset.again:
        raise UsageError(
            f"{table.label} are in this process alone, and workers of a cluster read data"
            " themselves: save them as files that all of them see, give a Dask data frame, or leave"
            " out cluster"
        )
    table.positions(names)
    wanted, parts = tuple(dict.fromkeys(clean_names(names))), origin.get("parts")
    see_first_times(dataset, wanted)
    source = Source(
        version=__version__,
        origin=origin if parts is None else {"count": len(parts)},
        where=table.where,
        scales=table.scales,
        mark=dataset.fingerprint,
        label=table.label,
        columns=table.names,
        names=wanted,
        missing=missing,
        kept=(0,) * len(dataset.row_groups),
    )
    held = None if parts is None else cluster.held(parts)
    how: dict[str, Any] = {"cluster": cluster, "source": source, "partitions": held}
    return ClusterRows(dataset, wanted, RowCounts(source.kept, 0, 0), missing, 1, budget, **how)
