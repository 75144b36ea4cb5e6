"""The agent: whatever is killed, each answer of the model counts once, and no tool does its work twice."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import re
import signal
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import strategies as st
from pydantic import Field

from examples.agent import (
    PATIENCE,
    Agent,
    AssistantMessage,
    Decision,
    Message,
    ToolCall,
    ToolMessage,
    UserMessage,
    World,
)
from examples.agent_sessions import PAUSE, Sessions
from examples.agent_show import live, stored
from examples.agent_tools import Tool, fault
from examples.agent_world import SCRIPT, TASK, Book, ScriptedModel
from flowstmt import (
    CallbackRequest,
    ConflictError,
    InvalidPayloadError,
    NotWaitingError,
    StaleCallbackError,
    State,
    StepError,
    WorkflowStatus,
    resume_async,
    validate,
)
from flowstmt.testing import Advance, Callback, Harness, explore
from flowstmt.testing.hunt import hunt
from tests.examples.processes import python

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


class Model:
    """Gives these answers in turn, one for each time that it is asked."""

    def __init__(self, *answers: AssistantMessage | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[list[Message]] = []

    async def answer(self, messages: list[Message], key: str) -> AssistantMessage:
        self.asked.append(messages)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


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
    found = hunt(agent, callbacks, st.just(PATIENCE / 2), deps=world, concurrency=2, length=3, examples=3)
    assert found.scripts == 3
    assert found.accepted["decide"] > 0
    assert found.refused["decide"] > 0


# --- what the model is told ---


def results(agent: Agent) -> dict[str, tuple[str, bool]]:
    return {m.call_id: (m.text, m.failed) for m in agent.messages if isinstance(m, ToolMessage)}


def told(calls: list[ToolCall], **tools: Tool) -> dict[str, tuple[str, bool]]:
    """What the model reads after it wanted these calls."""
    harness = Harness(agent(), deps=World(Model(AssistantMessage("", calls), AssistantMessage("Done.")), tools, Desk()))
    assert (harness.run(), harness.result) == (WorkflowStatus.Finished, "Done.")
    return results(harness.workflow)


async def add(key: str, a: int, b: int = 0) -> str:
    return str(a + b)


def test_results_come_in_the_order_of_the_calls_whichever_is_ready_first():
    async def last_first(key: str, turns: int) -> str:
        for _ in range(turns):
            await asyncio.sleep(0)
        finished.append(turns)
        return str(turns)

    finished: list[int] = []
    calls = [ToolCall(f"c{turns}", "wait", {"turns": turns}) for turns in (9, 6, 3)]
    world = World(Model(AssistantMessage("", calls), AssistantMessage("Done.")), {"wait": Tool(last_first)}, Desk())
    harness = Harness(agent(), deps=world, concurrency=3)
    harness.run()
    assert finished == [3, 6, 9]
    assert list(results(harness.workflow)) == ["c9", "c6", "c3"]


def test_the_model_is_told_of_a_tool_that_does_not_exist():
    assert told([ToolCall("c1", "fly", {})]) == {"c1": ("there is no tool 'fly'", True)}


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({}, "a: Missing required argument"),
        ({"a": "one"}, "a: Input should be a valid integer, unable to parse string as an integer"),
        ({"a": 1, "c": 2}, "c: Unexpected keyword argument"),
        ({"a": 1, "key": "mine"}, "key: Got multiple values for argument"),
    ],
)
def test_the_model_is_told_of_wrong_arguments_and_the_tool_is_not_called(arguments, fault):
    assert told([ToolCall("c1", "add", arguments)], add=Tool(add)) == {"c1": (f"wrong arguments: {fault}", True)}
    assert told([ToolCall("c1", "add", {"a": 1, "b": 2})], add=Tool(add)) == {"c1": ("3", False)}


def test_nobody_is_asked_to_approve_what_can_not_work():
    model = Model(AssistantMessage("", [ToolCall("c1", "add", {"a": "one"})]), AssistantMessage("Sorry."))
    desk = Desk()
    harness = Harness(agent(), deps=World(model, {"add": Tool(add, dangerous=True)}, desk))
    assert (harness.run(), desk.asked) == ("Finished", [])
    assert results(harness.workflow)["c1"][0].startswith("wrong arguments: a: Input should be a valid integer")


def test_what_could_not_work_does_not_run_unapproved_if_a_later_release_could():
    async def session() -> None:
        model = Model(AssistantMessage("", [ToolCall("c1", "launch", {"a": 1})]), AssistantMessage("Sorry."))
        work, state = agent(), State.new("s1", "Agent", NOON)
        await resume_async(work, state, now=NOON, deps=World(model, {}, Desk()), max_steps=1)
        later = World(model, {"launch": Tool(add, dangerous=True)}, Desk())
        assert await resume_async(work, state, now=NOON, deps=later) == "Finished"
        assert results(work) == {"c1": ("there is no tool 'launch'", True)}

    asyncio.run(session())


def test_the_model_is_told_what_a_tool_does_and_what_it_takes():
    async def pay(key: str, order: int, cents: Annotated[int, Field(gt=0)] = 100) -> str:
        """Pay back."""
        raise NotImplementedError

    assert Tool(pay).description() == "Pay back."
    assert Tool(pay).schema()["required"] == ["order"]
    assert Tool(pay).schema()["properties"]["cents"]["exclusiveMinimum"] == 0
    assert set(Tool(pay).schema()["properties"]) == {"order", "cents"}
    assert fault({"pay": Tool(pay)}, "pay", {"order": 1}) == ""
    assert (
        fault({"pay": Tool(pay)}, "pay", {"order": 1, "cents": 0}) == "wrong arguments: cents: Input should be greater than 0"
    )


def test_the_model_is_told_why_a_call_was_denied(world):
    harness = Harness(agent(), deps=world())
    harness.run()
    for step in DECIDED:
        harness.callback(step.request, step.payload)
    assert results(harness.workflow)["2-c"] == ("denied: too much", True)
    assert results(harness.workflow)["2-b"] == ("there is no order 19", True)
    assert results(harness.workflow)["2-a"] == ("40 refunded", False)


def test_the_budget_is_kept():
    model = Model(*[AssistantMessage("", [ToolCall(f"c{turn}", "add", {"a": turn})]) for turn in range(5)])
    harness = Harness(Agent([UserMessage("Count.")], budget=3), deps=World(model, {"add": Tool(add)}, Desk()))
    assert harness.run() == "Finished"
    assert (harness.result, len(model.asked), len(results(harness.workflow))) == ("gave up after 3 turns", 3, 3)


# --- what fails is asked again, and nothing else is ---


@pytest.mark.parametrize("ids", [("c1", "c1"), ("c1", "")])
def test_calls_without_an_id_of_their_own_are_refused_before_they_are_kept(ids):
    model = Model(AssistantMessage("", [ToolCall(call_id, "add", {"a": 1}) for call_id in ids]), AssistantMessage("Sorry."))
    harness = Harness(agent(), deps=World(model, {"add": Tool(add)}, Desk()))
    with pytest.raises(StepError, match="their threads could not be told apart"):
        harness.run()
    harness.reload()
    assert (harness.run(), harness.result) == (WorkflowStatus.Finished, "Sorry.")


def test_a_tool_that_fails_is_tried_again_and_the_model_is_not_asked_again(tmp_path, caplog):
    async def flaky(key: str) -> str:
        keys.append(key)
        if len(keys) == 1:
            raise OSError("no route to host")
        return "done"

    async def session() -> None:
        model = Model(AssistantMessage("", [ToolCall("c1", "flaky", {})]), AssistantMessage("Done."))
        sessions = Sessions(tmp_path / "sessions.db", World(model, {"flaky": Tool(flaky)}, Desk()))
        sessions.start("s1", agent(), NOON)
        assert await sessions.go_on("s1", NOON) == "Resuming"
        assert "s1 can't go on now" in caplog.text
        assert sessions.due(NOON) == [], "not in a busy loop"
        later = NOON + PAUSE
        assert sessions.due(later) == ["s1"]
        assert await sessions.go_on("s1", later) == "Finished"
        assert (sessions.due(later), len(model.asked)) == ([], 2)
        sessions.db.close()

    keys: list[str] = []
    asyncio.run(session())
    assert keys == [keys[0]] * 2


def test_a_session_that_can_not_be_read_keeps_nobody_from_the_others(tmp_path, caplog):
    async def look() -> None:
        sessions = Sessions(tmp_path / "sessions.db", World(Model(AssistantMessage("Done.")), {}, Desk()))
        sessions.db.execute("INSERT INTO sessions VALUES ('s0', 0, 0, x'7B7D')")
        sessions.start("s1", agent(), NOON)
        assert [await sessions.go_on(run_id, NOON) for run_id in sessions.due(NOON)] == ["Resuming", "Finished"]
        assert sessions.due(NOON) == []
        assert sessions.due(NOON + PAUSE) == ["s0"]
        sessions.db.close()

    asyncio.run(look())
    assert "s0 can't go on now" in caplog.text


# --- decisions, while the session moves and while it doesn't ---


def gated() -> tuple[asyncio.Event, asyncio.Event, dict[str, Tool]]:
    """A slow tool that says when it has begun and waits to be let go, and a dangerous one."""
    begun, let_go = asyncio.Event(), asyncio.Event()

    async def slow(key: str) -> str:
        begun.set()
        await let_go.wait()
        return "slept well"

    async def launch(key: str) -> str:
        launched.append(key)
        return "launched"

    launched: list[str] = []
    return begun, let_go, {"slow": Tool(slow), "launch": Tool(launch, dangerous=True)}


def in_a_session(tmp_path: Path, play: Callable[[Sessions, Desk], Awaitable[None]], tools: Any, calls: list[ToolCall]) -> None:
    async def session() -> None:
        desk = Desk()
        world = World(Model(AssistantMessage("", calls), AssistantMessage("Done.")), tools, desk)
        sessions = Sessions(tmp_path / "sessions.db", world)
        sessions.start("s1", agent(), NOON)
        try:
            await asyncio.wait_for(play(sessions, desk), 20)
        finally:
            sessions.db.close()

    asyncio.run(session())


CALLS = [ToolCall("c1", "slow", {}), ToolCall("c2", "launch", {})]


def test_a_decision_is_taken_and_followed_while_another_tool_is_under_way(tmp_path):
    begun, let_go, tools = gated()

    async def play(sessions: Sessions, desk: Desk) -> None:
        moving = asyncio.create_task(sessions.go_on("s1", NOON))
        await begun.wait()
        (request,) = desk.requests.values()
        assert await sessions.decide(request, b'{"approved": true}', NOON) == "launch approved"
        stored_agent, state = sessions.load("s1")
        assert [thread.id for thread in state.threads if thread.position == "approval"] == [], "it is saved already"
        while "c2" not in stored_agent.results:  # the launch goes on beside the slow tool
            await asyncio.sleep(0)
            stored_agent, _ = sessions.load("s1")
        assert not moving.done()
        let_go.set()
        assert await moving == "Finished"
        assert list(results(sessions.load("s1")[0])) == ["c1", "c2"]
        assert desk.requests == {}

    in_a_session(tmp_path, play, tools, CALLS)


def test_a_decision_reaches_a_session_that_nobody_moves(tmp_path):
    _, let_go, tools = gated()
    let_go.set()

    async def play(sessions: Sessions, desk: Desk) -> None:
        assert await sessions.go_on("s1", NOON) == "Waiting"
        assert sessions.due(NOON) == []
        (request,) = desk.requests.values()
        with pytest.raises(InvalidPayloadError, match="approved: Field required"):
            await sessions.decide(request, b"{}", NOON)
        assert await sessions.decide(request, Decision(approved=False), NOON) == "launch denied"
        assert sessions.due(NOON) == ["s1"]
        with pytest.raises((StaleCallbackError, NotWaitingError)):
            await sessions.decide(request, Decision(approved=True), NOON)
        with pytest.raises(LookupError, match="there is no session None"):
            await sessions.decide(CallbackRequest("decide"), Decision(approved=True), NOON)
        assert await sessions.go_on("s1", NOON) == "Finished"
        assert results(sessions.load("s1")[0])["c2"] == ("denied: no reason given", True)

    in_a_session(tmp_path, play, tools, CALLS)


def test_a_decision_is_not_lost_if_the_session_fails_while_it_waits_for_its_turn(tmp_path):
    begun, let_go = asyncio.Event(), asyncio.Event()

    async def fail(key: str) -> str:
        begun.set()
        await let_go.wait()
        raise OSError("no route to host")

    async def launch(key: str) -> str:
        return "launched"

    async def play(sessions: Sessions, desk: Desk) -> None:
        moving = asyncio.create_task(sessions.go_on("s1", NOON))
        await begun.wait()
        (request,) = desk.requests.values()
        let_go.set()
        await asyncio.sleep(0)
        try:
            await sessions.decide(request, Decision(approved=True), NOON)
        except ConflictError:
            assert await moving == "Resuming"
            await sessions.decide(request, Decision(approved=True), NOON)
        await moving
        with pytest.raises((StaleCallbackError, NotWaitingError)):  # it was taken once
            await sessions.decide(request, Decision(approved=True), NOON)

    tools = {"slow": Tool(fail), "launch": Tool(launch, dangerous=True)}
    in_a_session(tmp_path, play, tools, CALLS)


def test_a_session_is_due_when_nobody_decided_in_time(tmp_path):
    _, let_go, tools = gated()
    let_go.set()

    async def play(sessions: Sessions, desk: Desk) -> None:
        await sessions.go_on("s1", NOON)
        assert sessions.due(NOON + PATIENCE - timedelta(seconds=1)) == []
        assert sessions.due(NOON + PATIENCE) == ["s1"]
        assert await sessions.go_on("s1", NOON + PATIENCE) == "Finished"
        assert results(sessions.load("s1")[0])["c2"] == ("denied: nobody decided in time", True)

    in_a_session(tmp_path, play, tools, CALLS)


def test_of_two_who_move_a_session_the_slower_one_is_told_so(tmp_path):
    _, let_go, tools = gated()
    let_go.set()

    async def play(sessions: Sessions, desk: Desk) -> None:
        slow, state = sessions.load("s1")
        await sessions.go_on("s1", NOON)
        with pytest.raises(ConflictError, match="s1 was moved by somebody else since revision 0"):
            await sessions.saver(slow, state)()

    in_a_session(tmp_path, play, tools, CALLS)


# --- real processes, killed by SIGKILL ---


def worker(folder: Path, die_at: str) -> None:
    """One process, which can't say anything but how it ended and how many points there were."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    points = asyncio.run(live(folder, die_at))
    (folder / "points").write_text(str(points))


# Forked by a server that has imported all of this once: a new interpreter for each of some 130 processes takes minutes.
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


# --- the show ---


def test_the_show_kills_four_processes_and_ends_well():
    done = python("examples/agent.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(re.findall("KILLED    by SIGKILL", done.stdout)) == 4
    assert "world     refund 40 for order 17: seen before under this key, not done again" in done.stdout
    assert re.findall(r"done once (\w+)", done.stdout) == ["refund", "mail"]
    assert done.stdout.endswith(f": {LAST}\n")
