"""The world that the agent of ``agent_show.py`` lives in: a model that answers from a script, tools, a person at a desk.

All that they do is in one SQLite file: an effect once per key, and how often it was asked for. So it can be told afterwards
what was done twice.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from dataclasses import asdict, replace
from pathlib import Path

from examples.agent import AssistantMessage, Decision, Message, ToolCall
from examples.agent_sessions import Sessions
from examples.agent_tools import Tool, ToolError
from flowstmt import CallbackError, CallbackRequest

TASK = "Orders 17 and 18 came broken, says Ann. Look into it, pay back what is fair, and write to her."
SCRIPT = [
    AssistantMessage("I look both up.", [ToolCall("1-a", "look_up", {"order": 17}), ToolCall("1-b", "look_up", {"order": 18})]),
    AssistantMessage(
        "Both were broken by the carrier.",
        [
            ToolCall("2-a", "refund", {"order": 17, "amount": 40}),
            ToolCall("2-b", "look_up", {"order": 19}),
            ToolCall("2-c", "refund", {"order": 18, "amount": 900}),
        ],
    ),
    AssistantMessage("", [ToolCall("3-a", "send_mail", {"to": "ann", "text": "40 for order 17 are on their way."})]),
    AssistantMessage("Order 17 is refunded. For order 18 a person has to look at the price."),
]
ORDERS = {17: "a lamp, 40", 18: "a sofa, 900"}
LIMIT = 100


def say(who: str, text: str) -> None:
    # Written at once, for the next instant may be the last.
    print(f"  {who:<9} {text}", flush=True)


class Book:
    """What was asked of the world, and what was done."""

    def __init__(self, path: str | Path) -> None:
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.executescript(
            "PRAGMA synchronous = OFF;"  # a killed process loses nothing, only a power cut would
            "CREATE TABLE IF NOT EXISTS asked (key TEXT PRIMARY KEY, what TEXT, times INTEGER) STRICT;"
            "CREATE TABLE IF NOT EXISTS effects (key TEXT PRIMARY KEY, what TEXT) STRICT;"
            "CREATE TABLE IF NOT EXISTS desk (stop TEXT PRIMARY KEY, request TEXT, call TEXT) STRICT"
        )

    def note(self, key: str, what: str) -> int:
        """How often this was asked for under this key, this time included."""
        insert = "INSERT INTO asked VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET times = times + 1 RETURNING times"
        return int(self.db.execute(insert, (key, what)).fetchone()[0])

    def once(self, key: str, what: str) -> None:
        self.note(key, what)
        if self.db.execute("INSERT OR IGNORE INTO effects VALUES (?, ?)", (key, what)).rowcount == 0:
            say("world", f"{what}: seen before under this key, not done again")

    def tools(self) -> dict[str, Tool]:
        async def look_up(key: str, order: int) -> str:
            self.note(key, f"look up {order}")
            await asyncio.sleep(0)
            if order not in ORDERS:
                raise ToolError(f"there is no order {order}")
            return f"order {order}: {ORDERS[order]}, broken by the carrier"

        async def refund(key: str, order: int, amount: int) -> str:
            self.once(key, f"refund {amount} for order {order}")
            await asyncio.sleep(0)
            return f"{amount} refunded"

        async def send_mail(key: str, to: str, text: str) -> str:
            self.once(key, f"mail to {to}: {text}")
            await asyncio.sleep(0)
            return "sent"

        return {"look_up": Tool(look_up), "refund": Tool(refund, dangerous=True), "send_mail": Tool(send_mail)}


class ScriptedModel:
    """Gives the n-th answer in the n-th turn. A moody one has other ids in it whenever it is asked again, as real ones do."""

    def __init__(self, script: list[AssistantMessage], book: Book, *, moody: bool = False) -> None:
        self.script = script
        self.book = book
        self.moody = moody

    async def answer(self, messages: list[Message], key: str) -> AssistantMessage:
        turn = sum(isinstance(message, AssistantMessage) for message in messages)
        times = self.book.note(key, f"answer {turn + 1}")
        await asyncio.sleep(0)  # a real one thinks
        answer = self.script[turn]
        mood = f"-{times}" if self.moody else ""
        return replace(answer, calls=[replace(call, id=call.id + mood) for call in answer.calls])


class Office:
    """The desk, and the person at it, who approves what costs up to ``LIMIT``."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self.news = asyncio.Event()
        self.decided = asyncio.Event()

    def ask(self, key: str, request: CallbackRequest, call: ToolCall) -> None:
        # Once per stop: after a crash it is asked again.
        row = (_stop(request), json.dumps(asdict(request)), json.dumps(asdict(call)))
        self.book.db.execute("INSERT OR IGNORE INTO desk VALUES (?, ?, ?)", row)
        self.news.set()

    def take_back(self, request: CallbackRequest) -> None:
        self.book.db.execute("DELETE FROM desk WHERE stop = ?", (_stop(request),))

    async def work(self, sessions: Sessions) -> None:
        """Decide whatever lies on the desk, while the session moves."""
        while True:
            self.news.clear()
            for request_json, call_json in self.book.db.execute("SELECT request, call FROM desk ORDER BY call").fetchall():
                request, call = CallbackRequest(**json.loads(request_json)), ToolCall(**json.loads(call_json))
                cheap = call.arguments["amount"] <= LIMIT
                decision = Decision(approved=cheap, reason="" if cheap else f"more than {LIMIT}")
                try:
                    say("person", f"{await sessions.decide(request, decision)}: {call.arguments}")
                except CallbackError as error:
                    say("person", f"decided before: {type(error).__name__}")
                self.decided.set()
            await self.news.wait()


def _stop(request: CallbackRequest) -> str:
    return f"{request.run_id}/{request.birth}/{request.pc}"
