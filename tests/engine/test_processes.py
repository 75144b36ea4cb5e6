"""Engines in processes of their own: what one holds the other reaches, and takes over when that one is killed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from flowstmt import Engine, RefusedError, RemoteError, WorkflowFinishedError, WorkflowStatus
from tests.engine.databases import Database
from tests.engine.flows import PAID, Receipt
from tests.engine.running import SOON, run, until
from tests.engine.test_callbacks import posted
from tests.engine.worker_process import LEASE, Paced

ROOT = Path(__file__).parents[2]


@contextmanager
def worker(database: Database) -> Iterator[subprocess.Popen[str]]:
    """A worker process that has begun."""
    command = [sys.executable, "-m", "tests.engine.worker_process", database.url]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def web(database: Database) -> Engine:
    """An engine that moves nothing by itself."""
    return Engine(database.store(), [Paced], worker=False, lease=LEASE, poll=timedelta(milliseconds=100))


async def come(gate: Path) -> bool:
    return await asyncio.to_thread(Path(f"{gate}.come").exists)


def test_a_run_that_another_process_moves_takes_callbacks_and_controls(shared_database: Database, tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    async def main() -> None:
        async with web(shared_database) as engine:
            await engine.start(Paced(str(gate)), run_id="p-1")
            await until(lambda: come(gate), "the worker is at the first step")
            calls = [asyncio.create_task(engine.callback("p-1", PAID, amount)) for amount in (-1, 13)]
            changing = asyncio.create_task(engine.set_data("p-1", {"got": [7]}))
            await until(lambda: posted(engine, "p-1"), "the messages are in the inbox")
            gate.touch()
            with pytest.raises(RefusedError, match="that is not how paying works"):
                await calls[0]
            with pytest.raises(RemoteError, match="the till is jammed") as jammed:
                await calls[1]
            assert jammed.value.type == "OSError"
            await changing
            assert await engine.callback("p-1", PAID, 5) == Receipt(5)
            assert await engine.result("p-1", SOON) == [7, 5]
            with pytest.raises(WorkflowFinishedError):
                await engine.callback("p-1", PAID, 5)

    with worker(shared_database):
        run(main())


def test_a_killed_worker_loses_nothing_that_was_acknowledged_or_is_on_its_way(
    shared_database: Database, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"

    async def main(first: subprocess.Popen[str]) -> None:
        async with web(shared_database) as engine:
            await engine.start(Paced(str(gate)), run_id="p-1")
            await until(lambda: come(gate), "the worker is at the first step")
            calling = asyncio.create_task(engine.callback("p-1", PAID, 5))
            watching = asyncio.create_task(last_change(engine, "p-1"))
            await until(lambda: posted(engine, "p-1"), "the message is in the inbox")
            first.kill()
            gate.touch()
            with worker(shared_database):
                assert await calling == Receipt(5)
                assert await engine.result("p-1", SOON) == [5]
                assert await watching is WorkflowStatus.Finished

    with worker(shared_database) as first:
        run(main(first))
    keys = set(Path(f"{gate}.come").read_text().split())
    assert len(keys) == 1, "what was done again had the same idempotency key"


async def last_change(engine: Engine, run_id: str) -> WorkflowStatus:
    last = None
    async for change in engine.watch(run_id):
        last = change.status
    assert last is not None
    return last


def test_with_no_worker_left_an_engine_without_one_still_hands_in_a_callback(shared_database: Database, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    gate.touch()

    async def main(first: subprocess.Popen[str]) -> None:
        async with web(shared_database) as engine:
            await engine.start(Paced(str(gate)), run_id="p-1")
            await engine.await_status("p-1", "Waiting", SOON)
            first.kill()
            assert await engine.callback("p-1", PAID, 5) == Receipt(5)
            with worker(shared_database):
                assert await engine.result("p-1", SOON) == [5]

    with worker(shared_database) as first:
        run(main(first))
