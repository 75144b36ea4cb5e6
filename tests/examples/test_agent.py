"""The agent: whatever is killed, each answer of the model counts once, and no tool does its work twice."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import strategies as st

from examples.agent import (
    PATIENCE,
    Agent,
    AssistantMessage,
    ToolCall,
    ToolMessage,
    UserMessage,
    World,
)
from examples.agent_show import live, stored
from examples.agent_world import SCRIPT, TASK, Book, ScriptedModel
from flowstmt import CallbackRequest, State, validate
from flowstmt.testing import Advance, Callback, explore
from flowstmt.testing.hunt import hunt

ROOT = Path(__file__).parent.parent.parent
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LAST = "Order 17 is refunded. For order 18 a person has to look at the price."


@dataclass
class Desk:
    """Who waits for a decision: by stop, as after a crash it is asked again."""

    requests: dict[tuple[str | None, int | None], CallbackRequest] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def ask(self, key: str, request: CallbackRequest, call: ToolCall) -> None:
        self.requests[request.birth, request.pc] = request
        self.asked.append(call.id)

    def take_back(self, request: CallbackRequest) -> None:
        self.requests.pop((request.birth, request.pc), None)


@pytest.fixture
def worlds() -> Iterator[list[tuple[Book, World]]]:
    made: list[tuple[Book, World]] = []
    yield made
    for book, _ in made:
        book.db.close()


@pytest.fixture
def world(worlds) -> Callable[[], World]:
    """Makes a new world in memory, with the scripted model."""

    def make() -> World:
        book = Book(":memory:")
        worlds.append((book, World(ScriptedModel(SCRIPT, book), book.tools(), Desk())))
        return worlds[-1][1]

    return make


def agent() -> Agent:
    return Agent([UserMessage(TASK)])


def decide(call_id: str, approved: bool, reason: str = "") -> Callback:
    return Callback(CallbackRequest("decide", f"tool:{call_id}"), {"approved": approved, "reason": reason})


def effects(book: Book) -> list[str]:
    return [what for (what,) in book.db.execute("SELECT what FROM effects ORDER BY rowid")]


DECIDED = [decide("2-c", False, "too much"), decide("2-a", True)]
DONE = ["refund 40 for order 17", "mail to ann: 40 for order 17 are on their way."]


def test_the_definition_is_sound():
    validate(agent())


# --- through the crash explorer ---


@pytest.mark.parametrize("concurrency", [1, 4])
def test_the_session_ends_the_same_wherever_it_is_killed(world, worlds, concurrency):
    def one_answer_a_turn(agent: Agent, state: State) -> bool:
        return sum(isinstance(message, AssistantMessage) for message in agent.messages) == agent.turns

    found = explore(agent, DECIDED, deps=world, concurrency=concurrency, invariant=one_answer_a_turn)
    assert found.undisturbed.result == LAST
    assert "at await 1 of action at 'run the tool' (thread tool:1-b)" in found.points
    assert len(worlds) == len(found.points) + 1
    for book, world_ in worlds:
        assert sorted(effects(book)) == sorted(DONE), "each effect once, and nothing that was denied"
        assert isinstance(world_.desk, Desk)
        assert world_.desk.requests == {}, "the desk is cleared"


def test_nobody_decides_and_nothing_dangerous_is_done(world, worlds):
    found = explore(agent, [Advance(PATIENCE)], deps=world, concurrency=4)
    assert found.undisturbed.result == LAST
    told = {m.call_id: m.text for m in found.undisturbed.workflow.messages if isinstance(m, ToolMessage)}
    assert told["2-a"] == told["2-c"] == "denied: nobody decided in time"
    assert all("refund" not in what for book, _ in worlds for what in effects(book))


def test_it_holds_whatever_is_decided_and_when(worlds):
    short = [AssistantMessage("", SCRIPT[1].calls), AssistantMessage("Done.")]

    def world() -> World:
        book = Book(":memory:")
        worlds.append((book, World(ScriptedModel(short, book), book.tools(), Desk())))
        return worlds[-1][1]

    callbacks = st.builds(decide, st.sampled_from(["2-a", "2-b", "2-c"]), st.booleans(), st.sampled_from(["", "no"]))
    found = hunt(agent, callbacks, st.just(PATIENCE / 2), deps=world, concurrency=2, length=3, examples=5)
    assert found.scripts == 5
    assert found.accepted["decide"] > 0
    assert found.refused["decide"] > 0


# --- real processes, killed by SIGKILL ---


def worker(folder: Path, die_at: str) -> None:
    """One process, which can't say anything but how it ended and how many points there were."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    points = asyncio.run(live(folder, die_at))
    (folder / "points").write_text(str(points))


# Forked by a server that has imported all of this once: a new interpreter for each of some 200 processes takes minutes.
_forked = multiprocessing.get_context("forkserver")
_forked.set_forkserver_preload(["tests.examples.test_agent"])


def run_worker(folder: Path, die_at: str) -> int | None:
    process = _forked.Process(target=worker, args=(folder, die_at))
    process.start()
    process.join(60)
    assert process.exitcode is not None, f"a process that was to die at {die_at!r} hangs"
    return process.exitcode


def the_same_but_for_moods(folder: Path) -> tuple[list[str], list[str]]:
    """What must be the same in all sessions: what was said, by whom, and what was done."""
    agent_, state = stored(folder)
    assert (state.status, state.result, agent_.results) == ("Finished", LAST, {})
    db = sqlite3.connect(folder / "world.db")
    done = [what for (what,) in db.execute("SELECT what FROM effects ORDER BY what")]
    assert db.execute("SELECT count(*) FROM desk").fetchone() == (0,)
    asked = dict(db.execute("SELECT what, count(*) FROM asked WHERE what LIKE 'answer%' GROUP BY what").fetchall())
    db.close()
    assert asked == {f"answer {turn}": 1 for turn in range(1, len(SCRIPT) + 1)}, "a turn has one key, however often it is asked"
    answers = [message for message in agent_.messages if isinstance(message, AssistantMessage)]
    results = [message.call_id for message in agent_.messages if isinstance(message, ToolMessage)]
    assert results == [call.id for answer in answers for call in answer.calls], "results belong to the answers that count"
    return [f"{message.role}: {message.text}" for message in agent_.messages], done


def test_it_ends_the_same_if_its_process_is_killed_between_any_two_calls(tmp_path):
    undisturbed = tmp_path / "undisturbed"
    undisturbed.mkdir()
    assert run_worker(undisturbed, "") == 0
    points = int((undisturbed / "points").read_text())
    assert points > 60
    expected = the_same_but_for_moods(undisturbed)
    assert expected[1] == sorted(DONE)
    for point in range(1, points + 1):
        folder = tmp_path / str(point)
        folder.mkdir()
        assert run_worker(folder, str(point)) == -signal.SIGKILL
        assert run_worker(folder, "") == 0
        assert the_same_but_for_moods(folder) == expected, f"killed at point {point}"


def test_it_ends_the_same_if_every_process_dies_a_little_later(tmp_path):
    lives = 0
    while run_worker(tmp_path, str(lives + 2)) == -signal.SIGKILL:
        lives += 1
    assert lives > 5
    assert the_same_but_for_moods(tmp_path)[1] == sorted(DONE)
