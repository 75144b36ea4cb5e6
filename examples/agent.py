"""An agent that can be killed between any two calls: a model, tools side by side, a person who approves the dangerous ones.

Copy what you need: ``Agent`` is the workflow, and ``agent_tools.py`` has what it may call; ``Sessions`` in
``agent_sessions.py`` keeps its runs in a SQLite file, and hands them decisions, also while they move. ``python
examples/agent.py`` shows a session in processes that get killed; the show itself is in ``agent_show.py``, with a model that
answers from a script.

A real model fits in by one class with one method. What it raises ends the resume, and the next one asks again::

    class HostedModel:
        def __init__(self, client, tools):
            self.client = client  # of whatever provider; give it a timeout, and retries of its own if it has them
            self.tools = [translate_tool(name, tool.description(), tool.schema()) for name, tool in tools.items()]

        async def answer(self, messages, key):
            told = [translate(message) for message in messages]
            reply = await self.client.chat(told, tools=self.tools, idempotency_key=key)  # if it knows such keys
            return AssistantMessage(reply.text, [ToolCall(c.id, c.name, c.arguments) for c in reply.tool_calls])

(``translate`` and ``translate_tool`` are yours, since no two providers take the same form.)

The whole conversation is data, so every checkpoint writes all of it: a turn with n tool calls is n + 2 of them, and each
concurrent step begins with a copy. Up to some 100 kB that is a few milliseconds. Keep large results of tools elsewhere and put
their address into the message, and let a step shorten old messages: see docs/agents.md.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, TypeAlias

from pydantic import Field

from examples.agent_tools import Tool, ToolError, fault
from flowstmt import (
    CallbackRequest,
    For,
    ForEach,
    Go,
    If,
    Join,
    On,
    Return,
    S,
    Statement,
    Step,
    Timeout,
    Wait,
    current,
)

PATIENCE = timedelta(hours=8)


# --- the conversation: plain data ---


@dataclass
class ToolCall:
    id: str
    name: str
    arguments: dict[str, Any]
    dangerous: bool = False
    fault: str = ""


@dataclass
class UserMessage:
    text: str
    role: Literal["user"] = "user"


@dataclass
class AssistantMessage:
    text: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    role: Literal["assistant"] = "assistant"


@dataclass
class ToolMessage:
    call_id: str
    text: str
    failed: bool = False
    role: Literal["tool"] = "tool"


Message: TypeAlias = Annotated[UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")]


@dataclass
class Decision:
    approved: bool
    reason: str = ""


# --- the world outside ---


class Model(Protocol):
    async def answer(self, messages: list[Message], key: str) -> AssistantMessage: ...


class Desk(Protocol):
    """Where people see what waits for them. ``request`` names the very stop: whoever decides hands it back."""

    def ask(self, key: str, request: CallbackRequest, call: ToolCall) -> None: ...
    def take_back(self, request: CallbackRequest) -> None: ...


@dataclass
class World:
    """What the actions get as ``current().deps``."""

    model: Model
    tools: Mapping[str, Tool]
    desk: Desk


class Approval:
    """On the desk for as long as the call waits for a decision, and not a moment longer."""

    def setup(self, request: CallbackRequest) -> None:
        world: World = current().deps
        world.desk.ask(current().idempotency_key, request, current().item())

    def teardown(self, request: CallbackRequest, handled: bool) -> None:
        world: World = current().deps
        world.desk.take_back(request)


# --- the workflow ---


@dataclass
class Agent:
    messages: list[Message]
    budget: int = 10
    turns: int = 0
    results: dict[str, ToolMessage] = field(default_factory=dict)

    def definition(self) -> Statement:
        return S(
            For(
                "turns",
                self.turns < self.budget,
                Step("ask the model", self.ask_model, into=self.keep_answer, concurrent=True),
                If("done", lambda: not self.last_answer().calls, Return(lambda: self.last_answer().text)),
                ForEach(
                    "calls",
                    lambda: self.last_answer().calls,
                    Go(
                        "tool",
                        If(
                            "dangerous",
                            lambda call: call.dangerous,
                            Wait(
                                "approval",
                                On("decide", self.decide, via=Approval()),
                                Timeout("nobody decided", PATIENCE, Step("expire", self.expire)),
                            ),
                        ),
                        If(
                            "allowed",
                            lambda call: call.id not in self.results,
                            Step("run the tool", self.run_tool, into=self.keep_result, concurrent=True),
                        ),
                        id=lambda call: call.id,
                    ),
                ),
                Join("all have results", "tool"),
                Step("collect", self.collect),
            ),
            Return(lambda: f"gave up after {self.turns} turns"),
        )

    def last_answer(self) -> AssistantMessage:
        message = self.messages[-1]
        assert isinstance(message, AssistantMessage)
        return message

    # Concurrent: decisions are taken while these are under way. They read, and hand back.

    async def ask_model(self) -> AssistantMessage:
        world: World = current().deps
        answer = await world.model.answer(self.messages, current().idempotency_key)
        if len({call.id for call in answer.calls if call.id}) < len(answer.calls):
            raise ValueError("the model gave calls no id, or two of them the same: their threads could not be told apart")
        # Decided here and kept: a call that waits for approval when a new release changes the list still needs it. What can't
        # work is put on nobody's desk, and does not run either if a later release could.
        faults = {call.id: fault(world.tools, call.name, call.arguments) for call in answer.calls}
        calls = [
            replace(call, fault=faults[call.id], dangerous=not faults[call.id] and world.tools[call.name].dangerous)
            for call in answer.calls
        ]
        return replace(answer, calls=calls)

    async def run_tool(self, call: ToolCall) -> ToolMessage:
        world: World = current().deps
        try:
            if why := call.fault or fault(world.tools, call.name, call.arguments):
                raise ToolError(why)
            text = await world.tools[call.name].call(current().idempotency_key, call.arguments)
        except ToolError as error:
            return ToolMessage(call.id, str(error), failed=True)
        return ToolMessage(call.id, text)

    # These have the data to themselves.

    def keep_answer(self, answer: AssistantMessage) -> None:
        self.messages.append(answer)
        self.turns += 1

    def keep_result(self, result: ToolMessage, call: ToolCall) -> None:
        self.results[call.id] = result  # by id: they come in in any order

    def decide(self, decision: Decision, call: ToolCall) -> str:
        if not decision.approved:
            self.results[call.id] = ToolMessage(call.id, f"denied: {decision.reason or 'no reason given'}", failed=True)
        return f"{call.name} {'approved' if decision.approved else 'denied'}"

    def expire(self, call: ToolCall) -> None:
        self.results[call.id] = ToolMessage(call.id, "denied: nobody decided in time", failed=True)

    def collect(self) -> None:
        self.messages += [self.results[call.id] for call in self.last_answer().calls]
        self.results = {}


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    runpy.run_module("examples.agent_show", run_name="__main__")
