"""The show of ``agent.py``: a session in processes that kill themselves with SIGKILL, and others that go on.

``python -m examples.agent_show worker <folder> <point>`` is one process. It moves the session until it is over, or dies at
the point: a label ("after save 3"), or a number that counts all of them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

from examples.agent import Agent, AssistantMessage, Message, ToolCall, ToolMessage, UserMessage, World
from examples.agent_sessions import Sessions
from examples.agent_tools import Tool
from examples.agent_world import SCRIPT, TASK, Book, Office, ScriptedModel, say
from flowstmt import CallbackRequest, State, WorkflowStatus, load

ROOT = Path(__file__).resolve().parent.parent
RUN = "session-1"
KILLS = {
    "after look_up order=18": "both tools are done, and the file knows of neither: they run again, with the same keys",
    "after save 9": "the decision on order 17 is taken for good; the person has no answer yet, and needs none",
    "after refund order=17, amount=40": "the money is on its way, and the file does not know",
    "after the model": "the answer is lost: the model is asked again, and what it says then counts",
    "": "",
}


class Mortal:
    """Counts the calls and the saves of this process, and kills it at one of them."""

    def __init__(self, die_at: str) -> None:
        self.die_at = die_at
        self.points = 0

    def reach(self, label: str) -> None:
        self.points += 1
        if self.die_at in (str(self.points), label):
            say("KILLED", f"by SIGKILL, {label}")
            os.kill(os.getpid(), signal.SIGKILL)

    def tool(self, name: str, tool: Tool) -> Tool:
        @wraps(tool.run)  # with its signature, against which the model's arguments are held
        async def run(key: str, **arguments: Any) -> str:
            said = f"{name} " + ", ".join(f"{key}={value!r}" for key, value in arguments.items() if key != "text")
            self.reach(f"before {said}")
            say("tool", said)
            result = await tool.run(key, **arguments)
            self.reach(f"after {said}")
            return result

        return replace(tool, run=run)


class MortalModel(ScriptedModel):
    def __init__(self, book: Book, mortal: Mortal) -> None:
        super().__init__(SCRIPT, book, moody=True)
        self.mortal = mortal

    async def answer(self, messages: list[Message], key: str) -> AssistantMessage:
        self.mortal.reach("before the model")
        answer = await super().answer(messages, key)
        calls = ", ".join(f"{call.name} [{call.id}]" for call in answer.calls)
        say("model", f"{len(messages)} messages -> {calls or answer.text}")
        self.mortal.reach("after the model")
        return answer


class MortalOffice(Office):
    def __init__(self, book: Book, mortal: Mortal) -> None:
        super().__init__(book)
        self.mortal = mortal

    def ask(self, key: str, request: CallbackRequest, call: ToolCall) -> None:
        self.mortal.reach(f"before asking for {call.id}")
        super().ask(key, request, call)
        say("desk", f"may it {call.name} {call.arguments}?")
        self.mortal.reach(f"after asking for {call.id}")

    def take_back(self, request: CallbackRequest) -> None:
        self.mortal.reach("before clearing the desk")
        super().take_back(request)
        self.mortal.reach("after clearing the desk")


class MortalSessions(Sessions):
    def __init__(self, path: Path, world: World, mortal: Mortal) -> None:
        super().__init__(path, world)
        self.db.execute("PRAGMA synchronous = OFF")  # many processes die here, and no power is cut
        self.mortal = mortal

    def write(self, revision: int, wake_at: float | None, snapshot: bytes, run_id: str, loaded: int) -> None:
        self.mortal.reach(f"before save {revision}")
        super().write(revision, wake_at, snapshot, run_id, loaded)
        say("saved", f"revision {revision}, {len(snapshot)} bytes")
        self.mortal.reach(f"after save {revision}")


async def live(folder: Path, die_at: str) -> int:
    """One process: start the session if there is none, and move it to its end. Returns how many points there were."""
    mortal, book = Mortal(die_at), Book(folder / "world.db")
    office = MortalOffice(book, mortal)
    tools = {name: mortal.tool(name, tool) for name, tool in book.tools().items()}
    sessions = MortalSessions(folder / "sessions.db", World(MortalModel(book, mortal), tools, office), mortal)
    if sessions.db.execute("SELECT count(*) FROM sessions").fetchone() == (0,):
        sessions.start(RUN, Agent([UserMessage(TASK)]))
    person = asyncio.create_task(office.work(sessions))
    while (status := await sessions.go_on(RUN)) is WorkflowStatus.Waiting:
        await office.decided.wait()
        office.decided.clear()
    person.cancel()
    sessions.db.close()
    book.db.close()
    if status is not WorkflowStatus.Finished:
        raise SystemExit("it ended too early")
    return mortal.points


def stored(folder: Path) -> tuple[Agent, State]:
    db = sqlite3.connect(folder / "sessions.db")
    blob = db.execute("SELECT snapshot FROM sessions").fetchone()[0]
    db.close()
    return load(Agent, blob)


def account(folder: Path) -> None:
    agent, state = stored(folder)
    print("\nThe conversation, as it is in sessions.db:")
    for message in agent.messages:
        text = f"{message.call_id}: {message.text}" if isinstance(message, ToolMessage) else message.text
        calls = [call.id for call in message.calls] if isinstance(message, AssistantMessage) else []
        say(message.role, f"{text} {calls or ''}".strip())
    print("\nWhat the world did, as it is in world.db:")
    world = sqlite3.connect(folder / "world.db")
    for what, times in world.execute("SELECT what, times FROM asked ORDER BY rowid"):
        say("asked", f"{'once ' if times == 1 else f'{times} times'}  {what}")
    for (what,) in world.execute("SELECT what FROM effects ORDER BY rowid"):
        say("done once", what)
    world.close()
    print(f"\n{state.status} at revision {state.revision}: {state.result}")


def main() -> None:
    if sys.argv[1:2] == ["worker"]:
        asyncio.run(live(Path(sys.argv[2]), sys.argv[3]))
        return
    with tempfile.TemporaryDirectory() as folder:
        for number, (die_at, why) in enumerate(KILLS.items(), 1):
            print(f"\nProcess {number}", flush=True)
            command = [sys.executable, "-m", "examples.agent_show", "worker", folder, die_at]
            code = subprocess.run(command, cwd=ROOT, check=False).returncode
            if code != (-signal.SIGKILL if die_at else 0):
                raise SystemExit(f"process {number} ended with {code}")
            if why:
                say("", why)
        account(Path(folder))


if __name__ == "__main__":
    main()
