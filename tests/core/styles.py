"""One tree, written once, as a workflow in every style: what they do must be the same, event for event.

A tree of the tables is a function of a ``Build``, which turns functions of the workflow into what a style wants:

- ``class``: a class method; callables take the workflow.
- ``bound``: an instance method; callables are bound methods.
- ``plain``: an instance method; conditions and other values are plain values, computed at each build.

Each of them is there with sync and with async actions and handlers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import wraps
from types import MethodType
from typing import Any, Self

from flowstmt import State, Statement, Step
from flowstmt.testing import START, Advance, Callback, Harness

STYLES = ("class", "bound", "plain")

Tree = Callable[["Build"], Any]


@dataclass
class Data:
    """What every tree of the tables works on."""

    log: list[str] = field(default_factory=list)
    n: int = 0
    items: list[Any] = field(default_factory=list)
    kept: Any = None

    def keep(self, value: Any) -> None:
        self.kept = ["kept", value]


class Build:
    """Makes the callables of one tree, in one style."""

    def __init__(self, style: str, work: Any, is_async: bool) -> None:
        self.style = style
        self.work = work
        self.is_async = is_async

    def call(self, function: Callable[..., Any]) -> Any:
        """A callable: ``function`` takes the workflow first."""
        return function if self.work is None else MethodType(function, self.work)

    def value(self, function: Callable[..., Any]) -> Any:
        """A condition or another value of the workflow."""
        return function(self.work) if self.style == "plain" else self.call(function)

    def act(self, function: Callable[..., Any]) -> Any:
        """An action or handler."""
        if not self.is_async:
            return self.call(function)

        @wraps(function)
        async def later(*arguments: Any) -> Any:
            return function(*arguments)

        return self.call(later)

    def step(self, name: str, effect: Callable[..., Any] | None = None, **options: Any) -> Step:
        """A step that writes its name into the log."""

        def action(work: Any) -> Any:
            work.log.append(name)
            return effect(work) if effect is not None else None

        return Step(name, self.act(action), **options)

    def each(self, name: str, effect: Callable[..., Any] | None = None, **options: Any) -> Step:
        """A step that writes its name and its item into the log."""

        def action(work: Any, item: Any) -> Any:
            work.log.append(f"{name}({item})")
            return effect(work, item) if effect is not None else None

        return Step(name, self.act(action), **options)


def workflow_class(tree: Tree, style: str = "class", is_async: bool = False) -> type[Data]:
    """A workflow class, always of the same name: its snapshots are the same in every style."""
    if style == "class":

        @dataclass
        class Work(Data):
            @classmethod
            def definition(cls) -> Statement[Self]:
                return tree(Build(style, None, is_async))

        return Work

    @dataclass
    class InstanceWork(Data):
        def definition(self) -> Statement:
            return tree(Build(style, self, is_async))

    InstanceWork.__name__ = "Work"
    return InstanceWork


@dataclass(frozen=True)
class Case:
    """A tree, what happens to it from outside, and everything that must come of it.

    ``trace`` has a line for each call and each checkpoint (see ``short``); ``log`` the names of the steps that ran.
    """

    name: str
    tree: Tree
    trace: str
    log: str = ""
    script: Sequence[Callback | Advance] = ()
    start: dict[str, Any] = field(default_factory=dict)
    result: Any = None
    ends: dict[str, Any] = field(default_factory=dict)

    def make(self, style: str = "class", is_async: bool = False) -> Callable[[], Data]:
        cls: Callable[..., Data] = workflow_class(self.tree, style, is_async)
        start = self.start
        # A list of the table must not be shared by two runs.
        return lambda: cls(**{key: list(value) if isinstance(value, list) else value for key, value in start.items()})


def play(
    case: Case,
    style: str,
    *,
    is_async: bool = False,
    round_trip: bool = False,
    invariant: Callable[[Data, State], Any] | None = None,
) -> Harness[Data]:
    """Run a case to the end of its script."""
    harness = Harness(case.make(style, is_async)(), round_trip=round_trip, invariant=invariant)
    harness.run()
    for step in case.script:
        if isinstance(step, Advance):
            harness.advance(step.by)
        else:
            harness.callback(step.request, step.payload)
    return harness


_MARKS = {
    "Executing": "@",
    "Resuming": ">",
    "WaitingEvent": "?",
    "WaitingCondition": "~",
    "WaitingTime": "+",
    "Ended": ".",
}
_SAVE = re.compile(r"save (.*): revision \d+, \w+: (.*)")
_SAVED = re.compile(r"(Resume|Step|Failure|Condition|Setup|Teardown|Callback):|SetupError|refused")
_CALL = re.compile(r"call (\w+) at '(.*)' \(thread (.*)\)")


def short(trace: Sequence[str]) -> list[str]:
    """A harness' trace, short enough to be written into a table: a checkpoint a line, after what led to it.

    A call is its name, with thread and kind where these are not ``main`` and ``action``. A checkpoint is its kind and where
    each thread stands: ``@`` about to run, ``>`` past, ``?`` waiting for an event, ``~`` for a condition, ``+`` for an
    instant, ``.`` ended.
    """
    out: list[str] = []
    ends = True
    for line in map(_short, trace):
        if ends:
            out.append(line)
        else:
            out[-1] += f" | {line}"
        ends = _SAVED.match(line) is not None
    return out


def lines(text: str) -> list[str]:
    """The lines of a trace as it stands in a table."""
    return [line.strip() for line in text.strip().splitlines()]


def _short(line: str) -> str:
    if found := _SAVE.fullmatch(line):
        kind, threads = found[1].replace(" the callback", "Callback"), found[2]
        parts = [] if threads == "no thread" else threads.split(", ")
        return f"{kind.removeprefix('after')}: {' '.join(_thread(part) for part in parts)}".strip()
    if found := _CALL.fullmatch(line):
        kind, position, thread = found.groups()
        return f"{position}{'' if thread == 'main' else f' by {thread}'}{'' if kind == 'action' else f' {kind}'}"
    if line.startswith("clock "):
        return f"clock {datetime.fromisoformat(line.removeprefix('clock ')) - START}"
    return line


def _thread(text: str) -> str:
    thread_id, status, _, position = text.split(" ", 3)
    return f"{thread_id}{_MARKS[status]}{'' if 'its start' in position else position.strip(chr(39))}"


def check_invariant(work: Any, state: State) -> None:
    """What holds at every checkpoint of every run: status and ``wake_at`` follow from the threads."""
    statuses = [thread.status for thread in state.threads]
    runnable = "Executing" in statuses or "Resuming" in statuses
    if state.status in ("Finished", "Failed", "Cancelled"):
        assert set(statuses) <= {"Ended"}
    else:
        assert state.status == ("Resuming" if runnable else "Waiting")
        assert any(thread.id == "main" and thread.status != "Ended" for thread in state.threads)
    events = [event for thread in state.threads for event in thread.events]
    if runnable or any(event.status in ("PendingSetup", "PendingTeardown") for event in events):
        assert state.wake_at is not None
    else:
        due = [thread.due_at for thread in state.threads if thread.status == "WaitingTime"]
        # The timers of a Wait to which a thread will come back wake nobody before.
        due += [
            event.due_at
            for thread in state.threads
            for event in thread.events
            if event.status != "Setup" or (thread.status == "WaitingEvent" and thread.position == event.wait)
        ]
        assert state.wake_at == min((instant for instant in due if instant is not None), default=None)
    live = [thread.id for thread in state.threads if thread.status != "Ended"]
    assert len(live) == len(set(live))
    for thread in state.threads:
        assert thread.ready <= state.revision
        assert thread.status != "Ended" or thread.events
        assert thread.event is None or thread.status == "Resuming"
