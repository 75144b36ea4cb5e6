"""A failed attempt that is kept leaves no trace in the data, in items, or in what belongs to its thread."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flowstmt import (
    Branch,
    ForEach,
    Go,
    Join,
    Map,
    Parallel,
    Retry,
    Return,
    S,
    State,
    Statement,
    Step,
    Try,
    WaitFor,
    dump,
    resume,
    resume_async,
)

START = datetime(2026, 6, 1, tzinfo=UTC)
AGAIN = Retry(max_attempts=3, initial=timedelta(minutes=1))


@dataclass
class Line:
    sku: str
    counts: list[int] = field(default_factory=list)


@dataclass
class Work:
    """Data of every kind that can be changed in place, or by setting a field."""

    n: int = 0
    lines: list[Line] = field(default_factory=lambda: [Line("tea"), Line("milk")])
    known: dict[str, list[str]] = field(default_factory=lambda: {"tea": ["green"]})

    def spoil(self) -> None:
        self.n += 1
        self.lines[0].counts.append(self.n)
        self.lines.append(Line("bread"))
        self.known["tea"].clear()
        self.known = {"other": []}
        raise OSError("no answer")

    async def spoil_async(self) -> None:
        await asyncio.sleep(0)
        self.spoil()

    def spoil_line(self, line: Line) -> None:
        line.sku = "changed"
        line.counts.append(1)
        self.spoil()

    def fine(self) -> None:
        self.n += 100


TREES: dict[str, Callable[[Any], Statement]] = {
    "tried again": lambda work: Step("a", work.spoil, retry=AGAIN),
    "tried again, async": lambda work: Step("a", work.spoil_async, retry=AGAIN),
    "caught": lambda work: Try("t", Step("a", work.spoil)).catch(OSError, Return("caught")),
    "tried again and caught": lambda work: Try("t", Step("a", work.spoil, retry=AGAIN)).catch(OSError, Return("caught")),
    "caught from a handler": lambda work: Try("t", WaitFor("a", True, work.spoil)).catch(OSError, Return("caught")),
    "with the item of a loop": lambda work: ForEach("each", work.lines, Step("a", work.spoil_line, retry=AGAIN)),
    "with the arg of a thread": lambda work: S(
        Go("go", Step("a", work.spoil_line, retry=AGAIN), arg=work.lines[0]), Join("all", "go")
    ),
    "tolerated": lambda work: S(
        Parallel("p", Branch("bad", Step("a", work.spoil)), Branch("good", Step("b", work.fine)), tolerate=1),
    ),
    "with the item of a branch": lambda work: Map("m", work.lines, Step("a", work.spoil_line, retry=AGAIN)),
    "while it is undone": lambda work: S(
        Step("b", lambda: None, compensate=work.spoil), Step("a", work.spoil, retry=Retry(max_attempts=1))
    ),
}


def kept(blob: bytes) -> tuple[dict[str, Any], dict[Any, Any]]:
    """What an action could have changed: the data, and what belongs to each thread and loop."""
    found = json.loads(blob)
    own: dict[Any, Any] = {}
    for thread in found["state"]["threads"]:
        own[thread["id"]] = thread.get("arg")
        own |= {(thread["id"], frame["statement"]): frame.get("item") for frame in thread.get("frames", [])}
    return found["data"], own


@pytest.mark.parametrize("name", TREES)
def test_a_failed_attempt_leaves_no_trace_in_the_data(name: str) -> None:
    cls: Any = type("OddWork", (Work,), {"definition": TREES[name]})
    work = cls()
    state = State.new("run-1", "Work", START)
    failures = 0
    last: list[bytes] = [dump(work, state)]

    def save(kind: str) -> None:
        nonlocal failures
        blob = dump(work, state)
        data, own = kept(blob)
        if kind == "afterFailure":
            failures += 1
            before, owned = kept(last[-1])
            assert data == before
            stay = own.keys() & owned.keys()  # others begin or end with the failure
            assert {key: own[key] for key in stay} == {key: owned[key] for key in stay}
        last.append(blob)

    now = START
    while state.wake_at is not None:
        now = max(now, state.wake_at)
        if "async" in name:
            asyncio.run(resume_async(work, state, save, now=now))
        else:
            resume(work, state, save, now=now)
    assert failures > 0
    assert work.n in (0, 100)
    assert work.known == {"tea": ["green"]}
    assert work.lines == [Line("tea"), Line("milk")]
