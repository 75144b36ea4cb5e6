"""What a growing conversation costs: ``examples/agent.py`` with messages of 1 kB, four tool calls a turn, and no disk."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from examples.agent import Agent, AssistantMessage, Message, ToolCall, UserMessage, World
from examples.agent_tools import Tool
from flowstmt import State, dump, resume_async

CALLS, TURNS = 4, 5


class Model:
    turn = 0

    async def answer(self, messages: list[Message], key: str) -> AssistantMessage:
        self.turn += 1
        return AssistantMessage("y" * 1000, [ToolCall(f"{self.turn}-{i}", "read", {"page": i}) for i in range(CALLS)])


async def read(key: str, page: int) -> str:
    return "x" * 1000


def measure(messages: int) -> tuple[float, int, float]:
    """Saves a turn, bytes of the last one, seconds of CPU time a turn."""
    agent, state = Agent([UserMessage("z" * 1000) for _ in range(messages)], budget=TURNS), State.new("a1", "Agent")
    sizes: list[int] = []

    def save(kind: Any) -> None:
        sizes.append(len(dump(agent, state)))

    nobody: Any = None
    world = World(Model(), {"read": Tool(read)}, desk=nobody)
    start = time.process_time()
    asyncio.run(resume_async(agent, state, save, deps=world, concurrency=CALLS))
    return len(sizes) / TURNS, sizes[-1], (time.process_time() - start) / TURNS


def main() -> None:
    measure(1)  # the first run of a process pays for what is made once
    print("| before | saved a turn | CPU time a turn |")
    print("|---|---|---|")
    for messages in (10, 100, 500, 1000):
        saves, size, seconds = min((measure(messages) for _ in range(3)), key=lambda found: found[2])
        print(f"| {messages} kB | {saves:.0f} x {size / 1000:.0f} kB | {seconds * 1000:.0f} ms |")


if __name__ == "__main__":
    main()
