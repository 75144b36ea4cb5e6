"""What abstract trees mean: a straightforward interpreter.

A thread is a Python generator that walks the tree by recursion, with Python's own ``if``, ``while`` and ``for`` and with
exceptions for the jumps; it yields at each stop. ``Interpreter`` moves these threads by the rules that the design states
for rounds. Nothing here is linked, nothing can be saved: that is what the machine is for.

It knows flowstmt only by the formula of ``birth``, so that it can foretell idempotency keys and requests.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

from flowstmt.core.state import birth_of
from tests.meaning.trees import (
    Act,
    After,
    Await,
    Body,
    Box,
    Branch,
    Call,
    Cond,
    Data,
    Each,
    Gather,
    Handler,
    Into,
    Items,
    Jump,
    Loop,
    Nap,
    Node,
    Ret,
    Row,
    Section,
    Spawn,
    Timer,
    Until,
    Val,
    apply,
    nodes,
    number,
    plain_number,
    truth,
)

RUN_ID = "run-1"
EPOCH = -1_893_456_000
"""The ``wake_at`` of a run born without a clock, in seconds of the virtual one: past, whatever the time is."""


class StuckError(Exception):
    """The tree asks for something that DESIGN calls an error: no progress, or two threads with one id."""


class RefusedError(Exception):
    """A callback is refused; the argument is the name of flowstmt's error."""


class _BreakError(Exception):
    pass


class _ContinueError(Exception):
    pass


class _ReturnError(Exception):
    pass


@dataclass(frozen=True)
class Frame:
    """A ForEach that a thread is inside of."""

    statement: str
    index: int
    item: Any


@dataclass
class Thread:
    id: str
    name: str
    birth: str
    parent: str | None
    since: int | None
    arg: Any = None
    status: str = "Resuming"
    position: str = ""
    event: str | None = None
    pc: int = 0
    ready: int = 0
    due_at: int | None = None
    stop: Node | None = None
    timers: dict[str, int] = field(default_factory=dict)
    frames: tuple[Frame, ...] = ()
    walk: Iterator[None] = field(default_factory=lambda: iter(()))

    @property
    def item(self) -> Any:
        """The innermost item."""
        return self.frames[-1].item if self.frames else self.arg


@dataclass(frozen=True)
class Saved:
    """A checkpoint: its kind, and everything that it should find."""

    kind: str
    view: Any
    data: Any


class Interpreter:
    """One run of a tree."""

    def __init__(self, tree: Body, data: Data, born: int | None) -> None:
        self.tree = tree
        self.data = data
        self.born = born
        self.trace: list[tuple[Any, ...]] = []
        self.saves: list[Saved] = []
        self.stats: Counter[str] = Counter()
        self.status = "Resuming"
        self.result: Any = None
        self.revision = 0
        self.wake_at: int | None = EPOCH if born is None else born
        self.now = 0
        self.past: list[tuple[str, int, str, str]] = []
        self.rounds = 0
        main = Thread("main", "main", birth_of("", 0, "main"), None, born)
        main.walk = self.run(main, tree)
        self.threads = [main]
        self.events = [event for node in nodes(tree) if isinstance(node, Await) for event in node.events]

    # --- walking ---

    def run(self, t: Thread, body: Body) -> Iterator[None]:
        try:
            yield from self.body(t, body)
        except _ReturnError:
            pass

    def body(self, t: Thread, body: Body) -> Iterator[None]:
        for node in body:
            yield from getattr(self, f"do_{type(node).__name__.lower()}")(t, node)

    def do_row(self, t: Thread, node: Row) -> Iterator[None]:
        yield from self.body(t, node.body)

    def do_section(self, t: Thread, node: Section) -> Iterator[None]:
        self.stats["Scope"] += 1
        yield from self.body(t, node.body)

    def do_act(self, t: Thread, node: Act) -> Iterator[None]:
        self.stand(t, node, "Executing")
        yield

    def do_branch(self, t: Thread, node: Branch) -> Iterator[None]:
        for name, cond, body in node.cases:
            if self.decide(t, name, cond):
                self.stats["branch taken"] += 1
                return (yield from self.body(t, body))
        yield from self.body(t, node.default or ())

    def do_loop(self, t: Thread, node: Loop) -> Iterator[None]:
        rounds, last = 0, None
        while True:
            if node.cond is not None and not self.decide(t, node.name, node.cond):
                return
            last = self.progress(t, last)
            rounds += 1
            self.stats["For: second round or later" if rounds > 1 else "For: first round"] += 1
            try:
                yield from self.body(t, node.body)
            except _BreakError:
                return
            except _ContinueError:
                pass

    def progress(self, t: Thread, last: Any) -> Any:
        """Refuse a loop that goes round twice in one round, if no time has passed for its thread meanwhile: it would spin."""
        instant = (self.rounds, t.since)
        if instant == last:
            self.stats["no progress"] += 1
            raise StuckError("DefinitionError")
        return instant

    def do_each(self, t: Thread, node: Each) -> Iterator[None]:
        outer, index = t.frames, 0
        try:
            while index < len(items := self.items(t, node)):
                t.frames = (*outer, Frame(node.name, index, deepcopy(items[index])))
                self.stats["ForEach: second item or later" if index else "ForEach: first item"] += 1
                try:
                    yield from self.body(t, node.body)
                except _ContinueError:
                    pass
                t.frames = outer
                index += 1
        except _BreakError:
            pass
        finally:
            t.frames = outer

    def items(self, t: Thread, node: Each) -> Any:
        items: Items = node.items
        found: Any = {"ints": self.data.items, "boxes": self.data.boxes, "const": items.const}.get(items.kind)
        if found is None:
            found = range(number(items.val.expr, self.data, t.item))
        self.trace.append(("items", node.name, len(found), items.plain))
        return found

    def do_jump(self, t: Thread, node: Jump) -> Iterator[None]:
        self.stats[node.kind] += 1
        raise _BreakError if node.kind == "break" else _ContinueError
        yield

    def do_ret(self, t: Thread, node: Ret) -> Iterator[None]:
        self.stats["Return"] += 1
        if t.name == "main" and node.val is not None:
            self.result = self.value(t, node.val)
        raise _ReturnError
        yield

    def do_nap(self, t: Thread, node: Nap) -> Iterator[None]:
        t.due_at = self.instant(t, node.after)
        self.stand(t, node, "WaitingTime")
        yield

    def do_await(self, t: Thread, node: Await) -> Iterator[None]:
        t.timers = {e.name: self.instant(t, e.after) for e in node.events if isinstance(e, Timer)}
        self.stand(t, node, "WaitingEvent")
        yield
        fired = t.event
        yield from self.body(t, next(event.body for event in node.events if event.name == fired))

    def do_until(self, t: Thread, node: Until) -> Iterator[None]:
        self.stand(t, node, "WaitingCondition")
        yield

    def do_gather(self, t: Thread, node: Gather) -> Iterator[None]:
        self.stand(t, node, "WaitingCondition")
        yield

    def do_spawn(self, t: Thread, node: Spawn) -> Iterator[None]:
        thread_id = node.name if node.id is None else f"{node.name}:{self.value(t, node.id)}"
        if any(other.id == thread_id and other.status != "Ended" for other in self.threads):
            self.stats["two threads with one id"] += 1
            raise StuckError("DefinitionError")
        arg = deepcopy(t.item)
        if node.arg is not None:
            kind, val = node.arg
            n = self.value(t, val)
            arg = Box(n) if kind == "box" else n
        new = Thread(thread_id, node.name, birth_of(t.birth, t.pc, thread_id), t.id, self.now, arg)
        new.walk = self.run(new, node.body)
        self.threads.append(new)
        self.stats["thread started"] += 1
        return
        yield

    def stand(self, t: Thread, node: Node, status: str) -> None:
        t.status, t.position, t.stop = status, node.name, node
        t.event = None
        t.pc += 1
        t.ready = self.revision + 1
        self.stats[f"stop: {status}"] += 1
        if isinstance(node, Await):
            self.past += [(t.birth, t.pc, t.id, event.name) for event in node.events]

    def decide(self, t: Thread, name: str, cond: Cond) -> bool:
        found = bool(truth(cond, self.data, t.item))
        self.trace.append(("cond", name, found, cond.val.plain))
        return found

    def value(self, t: Thread, val: Val) -> int:
        return number(val.expr, self.data, t.item)

    def instant(self, t: Thread, after: After) -> int:
        n = self.value(t, after.val)
        return n if after.kind == "instant" else (self.now if t.since is None else t.since) + n

    # --- rounds ---

    def resume(self, now: int, max_steps: int) -> str:
        """What ``resume`` does; raises ``StuckError``."""
        self.now = now
        if self.status == "Finished":
            return self.status
        if self.settle():
            self.checkpoint("afterResume")
        steps = 0
        while steps < max_steps and (t := self.next()) is not None:
            steps += 1
            kind = self.act(t)
            try:
                self.settle()
            except StuckError:
                self.checkpoint(kind)
                raise
            self.checkpoint(kind)
        return self.status

    def next(self) -> Thread | None:
        """Of the threads at an action the one that arrived first; of several, the one that was started first."""
        return min((t for t in self.threads if t.status == "Executing"), key=lambda t: t.ready, default=None)

    def act(self, t: Thread) -> str:
        kind, act = "afterStep", t.stop
        if isinstance(act, Until):
            kind, act = "afterCondition", act.handler
            self.stats["WaitFor handler"] += 1
        assert isinstance(act, Act)
        item = t.item if act.use else None
        before = None if item is None else plain_number(item)
        apply(act.ops, self.data, item)
        result = number(act.result, self.data, item)
        self.trace.append(("action", t.position, t.id, self.key(t, "action"), self.now, before, self.data.shown()))
        self.put(act.into, result, t.item)
        self.stats["action"] += 1
        t.status, t.since = "Resuming", self.now
        return kind

    def put(self, into: Into | None, value: Any, item: Any) -> None:
        if into is not None and into.kind == "field":
            setattr(self.data, into.field, value)
        elif into is not None:
            extra = plain_number(item) if into.use else 0
            setattr(self.data, into.field, (plain_number(value) + extra) % 5)

    def key(self, t: Thread, kind: str) -> str:
        return f"{RUN_ID}:{t.birth}:{t.pc}:{kind}"

    def settle(self) -> bool:
        """Move threads until nothing moves: pass after pass, each thread in the order of its start, to its next stop."""
        kept = [replace(t) for t in self.threads]
        try:
            return self.passes()
        except StuckError:
            # Everything is as it was before the move; nobody walks on from here.
            self.threads = kept
            raise

    def passes(self) -> bool:
        self.rounds += 1
        moved = again = False
        while self.status != "Finished":
            again = False
            for t in self.threads:
                if t.status == "Resuming" or self.wakes(t):
                    again = moved = True
                    if t.status == "Resuming":
                        self.move(t)
                    if self.status == "Finished":
                        break
            if not again:
                break
        self.threads = [t for t in self.threads if t.status != "Ended"]
        return moved

    def move(self, t: Thread) -> None:
        try:
            next(t.walk)
        except StopIteration:
            t.status = "Ended"
            if t.name != "main":
                self.stats["thread ended"] += 1
                return
            if any(other.status != "Ended" for other in self.threads):
                self.stats["other threads alive when main ends"] += 1
            self.stats["finished"] += 1
            self.status = "Finished"
            self.threads = []

    def wakes(self, t: Thread) -> bool:
        """Whether what a thread waits for has come."""
        node = t.stop
        if t.status == "WaitingEvent":
            due = [name for name, instant in t.timers.items() if instant <= self.now]
            if not due:
                return False
            self.stats["Timeout fired"] += 1
            self.fire(t, min(due, key=lambda name: t.timers[name]))
            return True
        if t.status == "WaitingTime":
            if t.due_at is None or t.due_at > self.now:
                return False
            self.stats["Sleep over"] += 1
        elif t.status != "WaitingCondition":
            return False
        elif isinstance(node, Gather):
            if any(other.name in node.go_names and other.status != "Ended" for other in self.threads):
                self.stats["Join: not yet"] += 1
                return False
            self.stats["Join holds"] += 1
        elif isinstance(node, Until):
            if not truth(node.cond, self.data, t.item):
                self.stats["WaitFor: not yet"] += 1
                return False
            self.stats["WaitFor holds"] += 1
        t.due_at, t.since = None, self.now
        if isinstance(node, Until) and node.handler is not None:
            t.status, t.ready = "Executing", self.revision + 1
        else:
            t.status = "Resuming"
        return True

    def fire(self, t: Thread, name: str) -> None:
        t.status, t.event, t.since, t.timers = "Resuming", name, self.now, {}

    def checkpoint(self, kind: str) -> None:
        runnable = any(t.status in ("Executing", "Resuming") for t in self.threads)
        if self.status != "Finished":
            self.status = "Resuming" if runnable else "Waiting"
        self.wake_at = self.now if runnable else self.next_timer()
        self.revision += 1
        self.saves.append(Saved(kind, self.view(), self.data.shown()))

    def next_timer(self) -> int | None:
        due = [instant for t in self.threads for instant in t.timers.values()]
        due += [t.due_at for t in self.threads if t.due_at is not None]
        return min(due, default=None)

    def view(self) -> Any:
        """The state, as ``flows.view_of`` shows it."""
        threads = [
            (
                *(t.id, t.name, t.status, t.position, t.event, t.pc, t.birth, t.parent, t.ready, t.since, t.due_at),
                None if t.arg is None else plain_number(t.arg),
                tuple((frame.statement, frame.index, plain_number(frame.item)) for frame in t.frames),
                tuple((e.name, t.timers.get(e.name)) for e in t.stop.events)
                if isinstance(t.stop, Await) and t.status == "WaitingEvent"
                else (),
            )
            for t in self.threads
        ]
        return (self.status, self.revision, self.wake_at, self.result if self.status == "Finished" else None, threads)

    # --- callbacks ---

    def open_events(self) -> list[tuple[Thread, Call]]:
        """What can be called now."""
        return [
            (t, event)
            for t in self.threads
            if t.status == "WaitingEvent" and isinstance(t.stop, Await)
            for event in t.stop.events
            if isinstance(event, Call)
        ]

    def callback(self, request: dict[str, Any], payload: Any, now: int) -> Any:
        """What ``handle_callback`` does; raises ``RefusedError``."""
        try:
            return self.taken(request, payload, now)
        except RefusedError as refused:
            self.stats[f"refused: {refused}"] += 1
            raise

    def taken(self, request: dict[str, Any], payload: Any, now: int) -> Any:
        self.now = now
        t, event = self.called(request)
        given = parsed(payload, payload_type(event))
        handler = event.handler
        if event.into is not None and event.into.kind == "field" and type(given) is not int:
            raise RefusedError("InvalidPayloadError")
        kept, items = deepcopy(self.data), deepcopy((t.arg, t.frames))
        self.put(event.into, given, t.item)
        output = None
        if handler is not None:
            try:
                output = self.handle(t, event, handler, given)
            except RefusedError:
                self.data, (t.arg, t.frames) = kept, items
                raise
        self.fire(t, event.name)
        self.stats["callback taken"] += 1
        self.checkpoint("callback")
        return output

    def handle(self, t: Thread, event: Call, handler: Handler, given: Any) -> Any:
        item = t.item if handler.use else None
        before = None if item is None else plain_number(item)
        apply(handler.ops, self.data, item)
        key = self.key(t, f"handler:{event.name}")
        self.trace.append(("handler", t.position, t.id, key, self.now, before, self.data.shown()))
        if handler.refuse is not None and truth(handler.refuse, self.data, item):
            raise RefusedError("RefusedError")
        return number(handler.result, self.data, item) + (plain_number(given) if handler.payload else 0)

    def called(self, request: dict[str, Any]) -> tuple[Thread, Call]:
        name, pins = request["name"], {key: request[key] for key in ("birth", "pc") if key in request}
        if request.get("run_id", RUN_ID) != RUN_ID:
            raise RefusedError("CallbackError")
        if self.status == "Finished":
            raise RefusedError("WorkflowFinishedError")
        if not any(isinstance(event, Call) and event.name == name for event in self.events):
            raise RefusedError("UnknownEventError")

        def meant(t: Thread) -> bool:
            pinned = all(getattr(t, key) == value for key, value in pins.items())
            return pinned and request.get("thread_id", t.id) == t.id

        found = [(t, event) for t, event in self.open_events() if event.name == name and meant(t)]
        if len(found) == 1:
            return found[0]
        if found:
            raise RefusedError("AmbiguousCallbackError")
        # At a stop where somebody waits, for whatever event, nothing is stale.
        somebody = any(t.status == "WaitingEvent" and meant(t) for t in self.threads)
        raise RefusedError("StaleCallbackError" if pins and not somebody else "NotWaitingError")


def payload_type(event: Call) -> str:
    """What a payload has to be: nothing (""), an "int" or "any"thing."""
    if event.handler is not None and event.handler.payload:
        return event.handler.payload
    if event.into is not None:
        return "int" if event.into.kind == "field" else "any"
    return ""


def parsed(payload: Any, wanted: str) -> Any:
    """A payload as its handler gets it."""
    if not wanted:
        if payload is not None:
            raise RefusedError("InvalidPayloadError")
        return None
    if isinstance(payload, bytes):
        try:
            payload = json.loads(payload)
        except ValueError:
            raise RefusedError("InvalidPayloadError") from None
    if wanted == "int" and type(payload) is not int:
        raise RefusedError("InvalidPayloadError")
    return payload
