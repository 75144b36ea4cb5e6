"""Rounds of chaos, short ones; longer ones, with other seeds, are played by ``make chaos``."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.databases import Postgres, SQLite
from tests.chaos.plan import Plan
from tests.chaos.planted import BUGS
from tests.chaos.play import Played, play

RUNS, SECONDS = 150, 15.0


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not pytest's own: the name of a socket in it must not be longer than a hundred characters.
    with tempfile.TemporaryDirectory(prefix="flowstmt-chaos-") as folder:
        yield Path(folder)


def unharmed(played: Played) -> str:
    """Nothing, or what is wrong, with the seed that plays the same plan."""
    return "\n".join([str(played), *played.faults, played.plan.again]) if played.faults else ""


def test_whatever_happens_to_processes_and_to_a_sqlite_file_every_run_ends_as_it_has_to(folder: Path):
    plan = Plan.of(1, "sqlite", runs=RUNS, seconds=SECONDS)
    played = asyncio.run(play(plan, SQLite(folder), folder))
    assert unharmed(played) == ""
    assert played.deaths > 10
    assert played.answers["acked"] > RUNS


def test_whatever_happens_to_processes_and_to_postgresql_every_run_ends_as_it_has_to(server: Any, folder: Path):
    plan = Plan.of(1, "postgres", runs=RUNS, seconds=SECONDS)
    played = asyncio.run(play(plan, Postgres(server, "chaos"), folder))
    assert unharmed(played) == ""
    assert played.deaths > 10
    assert played.answers["acked"] > RUNS


@pytest.mark.parametrize("bug", BUGS)
def test_a_round_finds_a_bug_that_was_planted(folder: Path, bug: str):
    planted = BUGS[bug]
    plan = Plan.of(2, "sqlite", runs=50, seconds=6.0, only=planted.cases, faults=planted.faults)
    played = asyncio.run(play(plan, SQLite(folder), folder, pace=0.02, calm=3.0, planted=bug))
    assert played.faults


def test_a_seed_makes_the_same_plan_each_time_and_another_one_another():
    def plan(seed: int) -> list[Any]:
        made = Plan.of(seed, "sqlite", runs=100, seconds=10.0)
        return [made.skews, made.disturbances, [(case.run_id, case.workflow, case.once, case.result) for case in made.cases]]

    assert plan(3) == plan(3)
    assert plan(3) != plan(4)
    assert {disturbance.fault for disturbance in Plan.of(3, "sqlite", runs=1, seconds=60.0).disturbances} == {
        "kill",
        "kill all",
        "freeze",
        "stop",
        "lock",
        "fill",
    }
