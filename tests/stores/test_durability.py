"""What a store has acknowledged survives SIGKILL of whoever was told; what it has not is there whole, or not at all."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.examples.mortal import MEMORY
from tests.examples.processes import python


def killed(kind: str, address: object, kills: int, within: float) -> tuple[int, int, int]:
    found = python("-m", "tests.stores.killed", kind, str(address), str(kills), str(within), timeout=300)
    assert found.returncode == 0, found.stdout + found.stderr
    times, acknowledged, finished = map(int, found.stdout.split())
    return times, acknowledged, finished


# The process dies, and not the machine: nothing here needs a disk that syncs.
def test_what_sqlite_acknowledged_survives_the_death_of_the_process():
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        times, acknowledged, finished = killed("sqlite", Path(folder) / "runs.db", kills=60, within=0.1)
    assert times == 60
    assert acknowledged > 500
    assert finished > 50


def test_a_process_that_dies_while_it_makes_the_tables_of_sqlite_leaves_a_database_that_others_can_use():
    for _ in range(6):
        with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
            assert killed("sqlite", Path(folder) / "runs.db", kills=5, within=0.012)[0] == 5


def test_what_postgresql_acknowledged_survives_the_death_of_the_process(postgres):
    times, acknowledged, finished = killed("postgres", postgres("durable"), kills=40, within=0.3)
    assert times == 40
    assert acknowledged > 300
    assert finished > 30


@pytest.mark.parametrize("number", range(3))
def test_a_process_that_dies_while_it_makes_the_tables_of_postgresql_leaves_a_database_that_others_can_use(postgres, number):
    assert killed("postgres", postgres(f"dying{number}"), kills=5, within=0.06)[0] == 5
