"""``--engine ray`` on a real cluster of two nodes, with two cores each, on this machine."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from onellm_data.errors import MissingExtra, OnellmError, UsageError
from onellm_data.prepare.options import PrepareOptions
from onellm_data.prepare.pool import TIMEOUT, WORKER_DIED
from onellm_data.prepare.ray_crew import RayCrew, Reader
from onellm_data.prepare.report import Report
from onellm_data.prepare.worker import Reading
from onellm_data.shards.reader import load_manifest

pytestmark = pytest.mark.slow

Run = Callable[..., Report]
WriteTable = Callable[..., Path]
Outcome = Callable[[Path], tuple[dict[str, list[int]], list[tuple[int, str]]]]


@pytest.fixture(scope="module")
def cluster(toy_package: Path, repository: Path) -> Iterator[Any]:
    """Two nodes; this process is no part of them and finds them by their address."""
    cluster_utils = pytest.importorskip("ray.cluster_utils", reason="the extra 'ray' is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(toy_package), str(repository)]))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        nodes = {"num_cpus": 2, "object_store_memory": 80 << 20, "include_dashboard": False}
        cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=nodes)
        cluster.add_node(num_cpus=2, object_store_memory=80 << 20)
        patch.setenv("RAY_ADDRESS", cluster.address)
        yield cluster
        cluster.shutdown()


@pytest.mark.usefixtures("cluster")
def test_the_result_is_that_of_processes(
    run: Run, write_table: WriteTable, tmp_path: Path, contents: Callable[[Path], dict[str, bytes]]
) -> None:
    deeds = [*(f"number {n}" for n in range(30)), "reject x", "defect y", "number 32"]
    src = write_table(deeds, ["test" if n % 4 else "train" for n in range(len(deeds))])
    run(src, out=tmp_path / "local", given={"plus": 2})
    run(src, out=tmp_path / "ray", given={"plus": 2}, engine="ray", workers=None)
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")


@pytest.mark.usefixtures("cluster")
def test_workers_are_on_both_nodes() -> None:
    import ray

    crew = RayCrew(None, Reading())
    try:
        assert crew.workers == 4
        workers = [crew.hire() for _ in range(4)]
        assert [one.answer() for one in workers] == ["ready"] * 4
        told = [
            one._actor.__ray_call__.remote(lambda _: ray.get_runtime_context().get_node_id())
            for one in workers
        ]
        assert len(set(ray.get(told))) == 2
    finally:
        crew.close()
    assert not ray.is_initialized()


@pytest.mark.usefixtures("cluster")
def test_an_item_that_kills_workers_is_rejected(
    run: Run, write_table: WriteTable, out: Path, outcome: Outcome, tmp_path: Path
) -> None:
    src = write_table(["number 0", "crash SIGKILL", "number 2", "crash SIGSEGV", "number 4"])
    run(src, engine="ray", workers=2)
    assert outcome(out) == ({"train": [0, 2, 4]}, [(1, WORKER_DIED), (3, WORKER_DIED)])


@pytest.mark.usefixtures("cluster")
def test_an_item_that_never_ends(
    run: Run, write_table: WriteTable, out: Path, outcome: Outcome, pipe: object
) -> None:
    run(write_table(["number 0", f"wait {pipe}", "number 2"]), engine="ray", workers=2, item_timeout=2)
    assert outcome(out) == ({"train": [0, 2]}, [(1, TIMEOUT)])


@pytest.mark.usefixtures("cluster")
def test_a_missing_package_ends_the_run(run: Run, write_table: WriteTable, out: Path) -> None:
    with pytest.raises(MissingExtra, match="the package 'av' is not installed"):
        run(write_table(["missing av"]), engine="ray", workers=1)
    assert not out.exists()


def test_a_node_that_goes_away_costs_no_item(
    cluster: Any,
    run: Run,
    write_table: WriteTable,
    out: Path,
    outcome: Outcome,
    pipe: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two items are being read when one of two nodes is killed; both are begun again, or go on."""
    import threading

    import ray

    monkeypatch.setattr("onellm_data.prepare.pool._START_SECONDS", 15.0)
    extra = cluster.add_node(num_cpus=2, object_store_memory=80 << 20)
    reports: list[Report] = []
    deeds = [*(f"number {n}" for n in range(6)), f"wait {pipe}", *(f"number {n}" for n in range(7, 12))]
    src = write_table(deeds)
    thread = threading.Thread(target=lambda: reports.append(run(src, engine="ray", workers=6)))
    thread.start()
    descriptor = _opened(pipe.path)
    cluster.remove_node(extra, allow_graceful=False)
    os.write(descriptor, b"6\n")
    os.close(descriptor)
    while thread.is_alive():  # if the item was on that node, it is read again
        thread.join(1)
        if thread.is_alive() and (again := _reader(pipe.path)) is not None:
            os.write(again, b"6\n")
            os.close(again)
    assert not ray.is_initialized()
    assert outcome(out) == ({"train": list(range(12))}, [])


def _reader(path: Path) -> int | None:
    """The pipe, open for writing, if somebody reads it."""
    try:
        return os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None


def _opened(path: Path) -> int:
    """The pipe, open for writing, once somebody reads it."""
    deadline = time.monotonic() + 120
    while (descriptor := _reader(path)) is None:
        assert time.monotonic() < deadline, "no worker has begun with the item"
        time.sleep(0.05)
    return descriptor


@pytest.mark.usefixtures("cluster")
def test_more_workers_than_cores(
    run: Run, write_table: WriteTable, monkeypatch: pytest.MonkeyPatch, out: Path, outcome: Outcome
) -> None:
    """The run goes on with those for which there is room; an item given to another is not lost."""
    monkeypatch.setattr("onellm_data.prepare.pool._START_SECONDS", 10.0)
    run(write_table([f"number {n}" for n in range(60)]), engine="ray", workers=6)
    assert outcome(out) == ({"train": list(range(60))}, [])


@pytest.mark.usefixtures("cluster")
def test_no_room_at_all(
    toy: object, run: Run, write_table: WriteTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onellm_data.prepare.pool._START_SECONDS", 5.0)
    import ray

    ray.init(address="auto", log_to_driver=False)
    try:
        others = [ray.remote(num_cpus=1)(Reader).remote(Reading()) for _ in range(4)]
        ray.get([other.begin.remote() for other in others])
        with pytest.raises(
            OnellmError, match=r"did not start within 5 s; 0 of the cluster's 4 cores are free"
        ):
            run(write_table(["number 0"]), engine="ray", workers=1)
        assert ray.is_initialized(), "a connection that was there stays"
    finally:
        ray.shutdown()


def test_from_the_command_line(
    cluster: Any, call: Callable[..., tuple[int, str, str]], write_table: WriteTable, tmp_path: Path
) -> None:
    src = write_table(["number 0", "number 1"])
    code, stdout, stderr = call("--src", src, "--out", tmp_path / "out", "--engine", "ray", "--json")
    assert (code, json.loads(stdout)["kept"]) == (0, 2), stderr
    assert load_manifest(tmp_path / "out").kept == 2


def test_no_cluster(run: Run, write_table: WriteTable, monkeypatch: pytest.MonkeyPatch, out: Path) -> None:
    pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(UsageError, match="no Ray cluster was found: start one with"):
        run(write_table(["number 0"]), engine="ray", workers=1)
    assert not out.exists()


def test_an_unknown_engine(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown engine 'rey'; did you mean 'ray'\?"):
        PrepareOptions("toy", tmp_path, tmp_path / "out", engine="rey")
