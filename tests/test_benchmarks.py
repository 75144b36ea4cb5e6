"""The benchmarks of the engine, with tiny sizes: they measure what they say, and their limits can be missed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import engine_latency, engine_processes, engine_resume, engine_steps
from benchmarks.databases import Databases
from benchmarks.measure import Figure, percentile, ratio
from benchmarks.peers.stores import folder
from benchmarks.run import print_table
from tests.postgres import Postgres


@pytest.fixture(scope="module")
def files() -> Iterator[Path]:
    with folder() as path:
        yield path


@pytest.fixture
def places(files: Path, postgres: Postgres) -> Databases:
    return Databases(files, postgres.server)


def test_steps_are_measured_in_both_databases_alone_and_beside_blocking_ones(places: Databases) -> None:
    found = engine_steps.figures(places, rounds=1, runs=1)
    assert [figure.what for figure in found if figure.limit] == [
        f"{database}: engine, {what}{beside}"
        for database in ("SQLite", "PostgreSQL")
        for beside in ("", ", blocking steps beside")
        for what in ("one run at a time", "64 runs at once")
    ]
    assert {figure.limit for figure in found} == {"", "1.5 x", "3.5 x", "3 x"}
    for figure in found:
        assert float(figure.measured.split()[0]) > 0
        if figure.limit:
            assert figure.met is (float(figure.measured.split()[-3]) <= float(figure.limit.split()[0]))


def test_worker_processes_share_the_runs(places: Databases) -> None:
    one, two = engine_processes.figures(places, processes=(1, 2), runs=4, rounds=1)
    assert one.what == "PostgreSQL: engine, 1 worker process, 4 runs"
    assert two.what == "the same, 2 worker processes"
    assert two.met is not None


def test_a_run_is_resumed_after_few_steps_and_many(places: Databases) -> None:
    few, many = engine_resume.figures(places, executed=(2, 9), rounds=1)
    assert few.what == "SQLite: callback to next step, after 2 steps"
    assert many.what == "the same after 9"
    assert many.met is not None


def test_callers_memory_and_first_steps_are_measured_beside_parked_runs(places: Databases) -> None:
    found = engine_latency.figures(places, runs=(3, 40), calls=5, starts=3)
    assert [figure.what.partition(":")[0] for figure in found] == [
        name for database in ("SQLite", "PostgreSQL") for name in (database, "the same, 40 parked runs", database, database)
    ]
    assert [figure.met is None for figure in found] == [True, False, False, False] * 2


def test_a_limit_that_is_missed_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([Figure("slow", "9 ms", "5 ms", met=False), Figure("fast", "1 ms", "5 ms", met=True), Figure("it", "1 ms")])
    assert capsys.readouterr().out.splitlines()[2:] == [
        "slow | 9 ms     | 5 ms  | MISSED",
        "fast | 1 ms     | 5 ms  | met",
        "it   | 1 ms     |       |",
    ]


def test_ratios_are_those_within_a_turn() -> None:
    assert ratio([10, 200, 3000], [5, 100, 1500]) == 2
    assert percentile([*range(101)], 99) == 99
