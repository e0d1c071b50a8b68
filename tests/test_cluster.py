"""Rows on a cluster: the bits of one machine, whatever becomes of its workers."""

from __future__ import annotations

import asyncio
import itertools
import math
import multiprocessing
import os
import signal
import socket
import sys
import time
from functools import partial

import cloudpickle
import distributed
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import sgdfit
from sgdfit.errors import ClusterError, DataError, UsageError
from sgdfit.fitting import callbacks
from sgdfit.fitting import cluster as module
from sgdfit.fitting.cluster import Cluster, as_cluster
from sgdfit.fitting.worker import Source, rows_of
from sgdfit.kernel.summation import condensed

ROWS = 600_000
CURVE, LINE = "y = a*exp(-b*x) + c", "y = a*x + b"


# The module is none of those that workers import.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


def work(address):
    """Be a worker, without a nanny."""

    async def serve():
        where = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
        async with distributed.Worker(address, nthreads=1, name=os.getpid(), **where) as worker:
            await worker.finished()

    asyncio.run(serve())


@pytest.fixture(scope="module")
def cluster():
    """A scheduler in this process, with a worker."""
    where = {"host": "127.0.0.1", "protocol": "tcp://", "dashboard_address": "127.0.0.1:0"}
    with (
        distributed.LocalCluster(n_workers=0, processes=False, **where) as local,
        distributed.Client(local, set_as_default=False) as client,
    ):
        found = Cluster(client, owned=False, label="the cluster")
        begin(found)
        yield found
        client.retire_workers()


def begin(cluster, more=1):
    """Begin workers in no time, by a process that has imported what they need; return them."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["sgdfit.fitting.many", "distributed", "dask.dataframe"])
    address = cluster.client.scheduler.address
    begun = [context.Process(target=work, args=(address,), daemon=True) for _ in range(more)]
    for process in begun:
        process.start()
    while not {process.pid for process in begun} <= {w["name"] for w in cluster._known.values()}:
        cluster._asked = -math.inf
        time.sleep(0.01)
    return begun


@pytest.fixture(scope="module")
def local():
    with as_cluster("local:1") as found:
        yield found


@pytest.fixture(scope="module")
def columns():
    rng = np.random.default_rng(1)
    x = rng.uniform(0, 5, ROWS)
    y = 3 * np.exp(-1.3 * x) + 0.5 + 0.1 * rng.standard_normal(ROWS)
    return {"x": x, "y": y, "w": rng.integers(0, 3, ROWS).astype(float)}


@pytest.fixture(scope="module")
def folder(columns, tmp_path_factory):
    """Files whose row groups begin and end within panels, one of them tiny."""
    found = tmp_path_factory.mktemp("cluster")
    ends = [0, 200_001, 200_010, 450_000, ROWS]
    for k, (a, b) in enumerate(itertools.pairwise(ends)):
        part = pa.table({name: column[a:b] for name, column in columns.items()})
        pq.write_table(part, found / f"{k}.parquet", row_group_size=130_001)
    return f"{found}/*.parquet"


def facts(result):
    """Return what a fit found, to the last bit."""
    return [(e.value, e.stderr) for e in result.estimates.values()], result.loss, result.rows


def test_bits_do_not_depend_on_how_many_workers_there_are(cluster, folder):
    here = facts(sgdfit.fit(CURVE, folder))
    for workers in (1, 2, 4):
        begin(cluster, workers - cluster.workers)
        assert cluster.workers == workers
        assert facts(sgdfit.fit(CURVE, folder, cluster=cluster.client)) == here


@pytest.mark.parametrize(
    "options",
    [{"weights": "w", "where": "x < 4"}, {"loss": "huber", "covariance": "sandwich"}],
    ids=str,
)
def test_a_cluster_has_the_bits_of_one_machine(cluster, folder, options):
    options |= {"kernel": "numpy"}
    here = sgdfit.fit(CURVE, folder, **options)
    there = sgdfit.fit(CURVE, folder, cluster=cluster.client, **options)
    assert there.status.name == "converged"
    assert facts(there) == facts(here)


def test_text_of_unknown_length_is_counted_by_the_workers(cluster, columns, tmp_path):
    for k in range(3):
        part = {name: column[k::3] for name, column in columns.items()}
        part["y"] = np.where(np.arange(ROWS // 3) % 1000, part["y"], np.nan)
        pa.csv.write_csv(pa.table(part), tmp_path / f"{k}.csv")
    options = {"missing": "drop", "kernel": "numpy"}
    there = sgdfit.fit(LINE, tmp_path, cluster=cluster.client, **options)
    assert there.rows_dropped == ROWS // 1000
    assert facts(there) == facts(sgdfit.fit(LINE, tmp_path, **options))


# Dask's own reader warns so with pandas 3.1.
@pytest.mark.filterwarnings("ignore:The inplace keyword")
def test_partitions_of_a_dask_frame_are_the_order_of_the_rows(cluster, folder):
    dd = pytest.importorskip("dask.dataframe")
    frame = dd.read_parquet(folder)
    assert frame.npartitions == 4
    options = {"weights": "w", "where": "x < 4", "kernel": "numpy"}
    there = sgdfit.fit(LINE, frame, cluster=cluster.client, **options)
    assert facts(there) == facts(sgdfit.fit(LINE, folder, **options))


def test_dask_arrays_are_columns(cluster, columns, folder):
    da = pytest.importorskip("dask.array")
    chunks = {"x": 100_000, "y": 70_001}
    arrays = {name: da.from_array(columns[name], chunks=n) for name, n in chunks.items()}
    there = sgdfit.fit(LINE, arrays, cluster=cluster.client, kernel="numpy")
    assert facts(there) == facts(sgdfit.fit(LINE, folder, kernel="numpy"))
    with pytest.raises(UsageError, match=r"shapes x .600000,., y .10,."):
        sgdfit.fit(CURVE, {"x": arrays["x"], "y": arrays["y"][:10]})


def test_few_rows_come_to_the_client(cluster, tmp_path):
    x = np.linspace(0, 4, 50)
    pq.write_table(pa.table({"x": x, "y": 3 * np.exp(-x) + 1}), tmp_path / "few.parquet")
    there = sgdfit.fit(CURVE, tmp_path / "few.parquet", cluster=cluster.client)
    assert facts(there) == facts(sgdfit.fit(CURVE, tmp_path / "few.parquet"))


def test_descent_on_shares_of_the_rows_names_itself_and_repeats(cluster, folder):
    options = {"optimizer": "sgd", "batch_size": 500, "epochs": 6, "start": "a=1, b=1, c=1"}
    first, again = (sgdfit.fit(CURVE, folder, cluster=cluster.client, **options) for _ in "ab")
    assert first.shards is not None
    assert (first.epochs, first.steps) == (6, 7_200)
    assert "Zinkevich et al. 2010" in " ".join(first.report(full=True).split())
    assert facts(first) == facts(again)
    alone = sgdfit.fit(CURVE, folder, **options)
    best = sgdfit.fit(CURVE, folder)
    for one, other, exact in zip(
        first.estimates.values(), alone.estimates.values(), best.estimates.values(), strict=True
    ):
        # The noise of the batches is that of a single descent at most.
        assert abs(one.value - exact.value) < max(30 * exact.stderr, abs(other.value - exact.value))


def test_workers_write_predictions_to_a_folder_whole_or_not_at_all(cluster, folder, tmp_path):
    fit = sgdfit.fit(LINE, folder)
    options = {"interval": "confidence", "where": "x < 2", "missing": "drop"}
    written = fit.write_predictions(folder, tmp_path / "out", cluster=cluster.client, **options)
    here = fit.write_predictions(folder, tmp_path / "here.parquet", **options)
    assert written.rows == here.rows
    assert pq.read_table(tmp_path / "out").equals(pq.read_table(tmp_path / "here.parquet"))
    with pytest.raises(UsageError, match=r"'.*out'.*exists; name another"):
        fit.write_predictions(folder, tmp_path / "out", cluster=cluster.client)
    with pytest.raises(DataError, match="has no column 'q'"):
        fit.write_predictions(folder, tmp_path / "bad", cluster=cluster.client, where="q > 1")
    with pytest.raises(UsageError, match="name a folder, without an ending"):
        fit.write_predictions(folder, tmp_path / "bad.csv", cluster=cluster.client)
    assert sorted(os.listdir(tmp_path)) == ["here.parquet", "out"]


def test_groups_are_fitted_by_workers_as_they_are_here(cluster, tmp_path):
    rng = np.random.default_rng(3)
    site, x = np.repeat(np.arange(40), 12), np.tile(np.linspace(0, 3, 12), 40)
    order = rng.permutation(len(x))
    y = (1 + site) * x + rng.standard_normal(len(x))
    table = pa.table({"site": site, "x": x, "y": y}).take(order)
    pq.write_table(table, tmp_path / "g.parquet", row_group_size=70)
    here = sgdfit.fit_many(LINE, tmp_path / "g.parquet", "site")
    there = sgdfit.fit_many(LINE, tmp_path / "g.parquet", "site", cluster=cluster.client)
    assert there.groups.equals(here.groups)
    np.testing.assert_array_equal(there.first, here.first)
    np.testing.assert_allclose(there.values, here.values, rtol=1e-8)
    np.testing.assert_allclose(there.stderr, here.stderr, rtol=1e-8)
    levels = "y = a[site]*x + b"
    one = sgdfit.fit(levels, tmp_path / "g.parquet", cluster=cluster.client)
    assert facts(one) == facts(sgdfit.fit(levels, tmp_path / "g.parquet"))


@pytest.fixture
def told_at_once(monkeypatch):
    """A callback hears of each piece of a pass, however quickly they come."""
    monkeypatch.setattr(callbacks, "SECONDS_A_LOOK", 0.0)


class Killing:
    """A callback that kills a process in the middle of the pass that it is told of."""

    def __init__(self, pid, after):
        self.pid, self.left = pid, after

    def __call__(self, progress):
        if progress.reading is not None and progress.reading.rows < progress.reading.of:
            self.left -= 1
            if self.left == 0:
                os.kill(self.pid(), signal.SIGKILL)


def test_nothing_listens_but_on_this_machine(local: Cluster):
    """Nor a server of HTTP, of which Dask's addresses do not tell."""
    psutil = pytest.importorskip("psutil")
    places = [
        place.laddr.ip
        for process in local.processes
        for some in [psutil.Process(process.pid), *psutil.Process(process.pid).children(True)]
        for place in some.net_connections()
        if place.status == psutil.CONN_LISTEN
    ]
    assert len(places) > 3
    assert set(places) == {"127.0.0.1"}


@pytest.mark.usefixtures("told_at_once")
def test_a_worker_that_is_killed_is_begun_again_and_costs_its_pieces_alone(local, folder):
    def worker():
        return next(iter(local.client.run(os.getpid).values()))

    killing = Killing(worker, after=1)
    there = sgdfit.fit(LINE, folder, cluster=local.client, callback=killing)
    assert killing.left <= 0
    assert facts(there) == facts(sgdfit.fit(LINE, folder))


def predictions(path, at, folder):
    fit = sgdfit.fit("y = a*x", {"x": [1.0, 2.0], "y": [2.0, 4.5]})
    folder.mkdir()
    fit.write_predictions(path, folder / "written", cluster=at)
    assert os.listdir(folder) == ["written"]
    return pq.read_table(folder / "written")


def groups(path, at, folder):
    fits = sgdfit.fit_many(LINE, path, "w", cluster=at)
    return fits.groups.to_pydict(), fits.values.tolist(), fits.stderr.tolist()


def fitting(**options):
    return lambda path, at, folder: facts(sgdfit.fit(LINE, path, cluster=at, **options))


PHASES = {
    "count_groups": fitting(where="x < 4"),
    "take_runs": fitting(),
    "add_up": fitting(),
    "weigh": fitting(sigma="1 + w"),
    "sweep": fitting(optimizer="sgd", batch_size=9_000, epochs=2),
    "predict_groups": predictions,
    "_spread": groups,
    "_fit_share": groups,
}


def killed_once(function, mark, *given):
    """Do what a task does; the first of all is the end of its worker."""
    try:
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return function(*given)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("phase", PHASES)
def test_a_worker_may_be_killed_in_each_phase(cluster, folder, tmp_path, monkeypatch, phase):
    mark, every = tmp_path / "killed", Cluster.map

    def killing(self, function, tasks, **how):
        does = partial(killed_once, function, mark) if function.__name__ == phase else function
        return every(self, does, tasks, **how)

    begin(cluster)
    monkeypatch.setattr(Cluster, "map", killing)
    found = PHASES[phase](folder, cluster.client, tmp_path / "one")
    assert mark.exists()  # since then nobody is killed
    assert found == PHASES[phase](folder, cluster.client, tmp_path / "two")


def test_a_result_that_is_lost_with_its_worker_is_computed_again(cluster):
    found = cluster.map(pow, [(k, 2) for k in range(4)])
    assert next(found) == 0
    futures = cluster.client.futures.values()
    while any(future.status == "pending" for future in list(futures)):
        time.sleep(0.01)
    for pid in cluster.client.run(os.getpid).values():
        os.kill(pid, signal.SIGKILL)
    while not any(future.status == "lost" for future in list(futures)):
        time.sleep(0.01)
    begin(cluster)
    assert list(found) == [1, 4, 9]


@pytest.mark.usefixtures("told_at_once")
def test_a_lost_scheduler_is_said_and_the_checkpoint_goes_on_here(local, folder, tmp_path):
    path = tmp_path / "run.ckpt"
    killing = Killing(lambda: local.processes[0].pid, after=1)
    with pytest.raises(ClusterError, match=r"does not answer any more.*resume=True"):
        sgdfit.fit(LINE, folder, cluster=local.client, checkpoint=path, callback=killing)
    there = sgdfit.fit(LINE, folder, checkpoint=path, resume=True)
    assert facts(there) == facts(sgdfit.fit(LINE, folder))


def test_a_cluster_that_cannot_be_had_is_said_at_once(cluster, folder, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ClusterError, match=rf"no scheduler of Dask answers at {address}"):
        sgdfit.fit(CURVE, folder, cluster=address)
    with pytest.raises(UsageError, match=r"'lokal'.*'local:4' for four workers"):
        sgdfit.fit(CURVE, folder, cluster="lokal")
    with pytest.raises(UsageError, match=r"in this process alone.*save them as files"):
        sgdfit.fit("y = a*x", {"x": [1, 2], "y": [2, 4]}, cluster=cluster.client)
    monkeypatch.setattr(module, "__version__", "0.0.1")
    with pytest.raises(ClusterError, match=r"has sgdfit .*, and this is 0\.0\.1"):
        sgdfit.fit(CURVE, folder, cluster=cluster.client)


def test_files_that_a_worker_does_not_see_are_said(folder):
    source = Source(
        sgdfit.__version__, {"data": "/nowhere/a.parquet"}, "", None, "mark", "a.parquet",
        ("x",), ("x",), "error", (10,),
    )  # fmt: skip
    with pytest.raises(ClusterError, match=r"worker cannot open a.parquet.*where all of them see"):
        rows_of(source, {})
    with pytest.raises(ClusterError, match=r"a worker finds other data as a.parquet"):
        rows_of(source._replace(origin={"data": folder}), {})


def test_what_is_wrong_in_a_row_is_named(cluster, columns, tmp_path):
    y = columns["y"].copy()
    y[432_100] = np.nan
    pq.write_table(
        pa.table({"x": columns["x"], "y": y}), tmp_path / "d.parquet", row_group_size=9**6
    )
    with pytest.raises(DataError, match=r"column 'y' row 432101 of d.parquet is missing"):
        sgdfit.fit(CURVE, tmp_path / "d.parquet", cluster=cluster.client)


@pytest.mark.parametrize("seed", range(3))
def test_condensed_sums_lose_no_bit(seed):
    rng = np.random.default_rng(seed)
    terms = rng.standard_normal((300, 4)) * 10.0 ** rng.integers(-200, 200, (300, 4))
    terms[:, 1] = np.concatenate([terms[:150, 1], -terms[:150, 1]])
    few = condensed(terms)
    assert len(few) < 60
    others = rng.standard_normal(4) * 1e-30
    for column in range(4):
        whole = math.fsum([*terms[:, column], others[column]])
        assert math.fsum([*few[:, column], others[column]]) == whole


def test_a_worker_that_is_stopped_does_not_stop_the_rest(cluster, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LATE", 0.3)
    monkeypatch.setattr(module, "ANSWER", 0.5)
    here = facts(sgdfit.fit(LINE, folder))
    (own,) = begin(cluster)
    os.kill(own.pid, signal.SIGSTOP)
    try:
        assert facts(sgdfit.fit(LINE, folder, cluster=cluster.client)) == here
        given = folder, cluster.client, tmp_path
        assert groups(*given) == groups(*given)
    finally:
        own.kill()
        own.join()


def test_what_a_stopped_worker_holds_is_computed_again(cluster, monkeypatch):
    monkeypatch.setattr(module, "LATE", 0.3)
    (own,) = begin(cluster)
    found = cluster.map(pow, [(k, 2) for k in range(2 * cluster.workers)])
    assert next(found) == 0
    futures = cluster.client.futures.values()
    while any(future.status == "pending" for future in list(futures)):
        time.sleep(0.01)
    os.kill(own.pid, signal.SIGSTOP)
    try:
        assert list(found) == [k**2 for k in range(1, 2 * cluster.workers)]
    finally:
        own.kill()
        own.join()
