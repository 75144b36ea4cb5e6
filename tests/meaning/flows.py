"""Abstract trees compiled to workflows, and scripts played on them: direct, reloaded, killed, sync and async."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Any, Literal, TypeAlias

import flowstmt as fl
from tests.meaning.interpreter import RUN_ID, Interpreter, RefusedError, StuckError, payload_type
from tests.meaning.trees import (
    Act,
    After,
    Await,
    Body,
    Box,
    Branch,
    Cond,
    Data,
    Each,
    Event,
    Gather,
    Handler,
    Into,
    Jump,
    Loop,
    Move,
    Nap,
    Node,
    Ret,
    Row,
    Script,
    Section,
    Spawn,
    Start,
    Timer,
    Until,
    Use,
    Val,
    Wrong,
    apply,
    number,
    plain_number,
    truth,
)

BASE = datetime(2030, 1, 1, tzinfo=UTC)
Style: TypeAlias = Literal["instance", "class"]


def at(seconds: int) -> datetime:
    """An instant of the virtual clock."""
    return BASE + timedelta(seconds=seconds)


def seconds(instant: datetime | None) -> int | None:
    """The inverse of ``at``."""
    return None if instant is None else round((instant - BASE).total_seconds())


# --- compiling -------------------------------------------------------------------------------------------------------


@dataclass
class Record:
    """What a run was seen to do. ``effects``: what each action did outside, by idempotency key."""

    trace: list[tuple[Any, ...]] = field(default_factory=list)
    effects: dict[str, tuple[Any, ...]] = field(default_factory=dict)


class Compiler:
    """Builds the statements of a tree: ``w`` is the workflow in instance style, None in class style."""

    def __init__(self, record: Record, style: Style, is_async: bool, w: Any = None) -> None:
        self.record = record
        self.style = style
        self.is_async = is_async
        self.w: Any = w

    # Callables of all the signatures that DESIGN allows.

    def call(self, does: Callable[[Any, Any], Any], use: Use, is_async: bool = False) -> Any:
        """A callable without a payload: does(workflow, item)."""
        own, call = self.w, None  # type: Any, Any
        if self.style == "instance":
            call = (lambda item: does(own, item)) if use else (lambda: does(own, None))
        else:
            call = does if use else (lambda w: does(w, None))
        return finished(call, is_async, item=use)

    def taking(self, does: Callable[[Any, Any, Any], Any], payload: str, use: Use, is_async: bool = False) -> Any:
        """A callable that takes a payload or result: does(workflow, payload, item)."""
        own, call = self.w, None  # type: Any, Any
        if self.style == "instance":
            call = (lambda payload, item: does(own, payload, item)) if use else (lambda payload: does(own, payload, None))
        else:
            call = does if use else (lambda w, payload: does(w, payload, None))
        return finished(call, is_async, payload=payload, item=use)

    # What the callables do.

    def act(self, node: Act) -> Any:
        def does(w: Data, item: Any) -> Any:
            before = None if item is None else plain_number(item)
            apply(node.ops, w, item)
            self.seen("action", w, before)
            return number(node.result, w, item)

        return self.call(does, node.use, self.is_async and node.is_async)

    def handler(self, node: Handler) -> Any:
        def does(w: Data, payload: Any, item: Any) -> Any:
            before = None if item is None else plain_number(item)
            apply(node.ops, w, item)
            self.seen("handler", w, before)
            if node.refuse is not None and truth(node.refuse, w, item):
                raise fl.RefusedError("not now")
            return number(node.result, w, item) + (plain_number(payload) if node.payload else 0)

        is_async = self.is_async and node.is_async
        if node.payload:
            return self.taking(does, node.payload, node.use, is_async)
        return self.call(lambda w, item: does(w, None, item), "", is_async)

    def seen(self, kind: str, w: Data, before: int | None) -> None:
        now = fl.current()
        key = now.idempotency_key
        entry = (kind, now.position, now.thread_id, key, seconds(now.now), before, w.shown())
        self.record.trace.append(entry)
        if kind == "action":
            assert self.record.effects.setdefault(key, entry) == entry, "one idempotency key, two different effects"

    def into(self, into: Into | None) -> Any:
        if into is None or into.kind == "field":
            return None if into is None else into.field
        name = into.field

        def does(w: Data, value: Any, item: Any) -> None:
            setattr(w, name, (plain_number(value) + (0 if item is None else plain_number(item))) % 5)

        return self.taking(does, "", into.use)

    def cond(self, name: str, cond: Cond, traced: bool = True) -> Any:
        if cond.val.plain and self.style == "instance":
            return truth(cond, self.w, None)

        def does(w: Data, item: Any) -> Any:
            found = truth(cond, w, item)
            if traced:
                self.record.trace.append(("cond", name, bool(found), cond.val.plain))
            return found

        return self.call(does, cond.val.use)

    def val(self, val: Val, turn: Callable[[int], Any] = lambda n: n) -> Any:
        if val.plain and (self.style == "instance" or val.expr.kind == "const"):
            return turn(number(val.expr, self.w, None))
        return self.call(lambda w, item: turn(number(val.expr, w, item)), val.use)

    def after(self, after: After) -> Any:
        return self.val(after.val, at if after.kind == "instant" else lambda n: timedelta(seconds=n))

    def items(self, node: Each) -> Any:
        items = node.items

        def does(w: Data, item: Any) -> Any:
            found: Any = {"ints": w.items, "boxes": w.boxes, "const": items.const}.get(items.kind)
            if found is None:
                found = range(number(items.val.expr, w, item))
            self.record.trace.append(("items", node.name, len(found), items.plain))
            return found

        if items.kind == "range":
            return self.call(does, items.val.use)
        if items.plain and self.style == "instance":
            return {"ints": self.w.items, "boxes": self.w.boxes, "const": list(items.const)}[items.kind]
        return self.call(does, "")

    # Statements.

    def body(self, body: Body) -> list[fl.Statement]:
        return [self.statement(node) for node in body]

    def statement(self, node: Node) -> fl.Statement:
        statement: fl.Statement = getattr(self, f"make_{type(node).__name__.lower()}")(node)
        return statement

    def make_act(self, node: Act) -> fl.Statement:
        return fl.Step(short(node.name), self.act(node), into=self.into(node.into))

    def make_row(self, node: Row) -> fl.Statement:
        return fl.S(*self.body(node.body))

    def make_section(self, node: Section) -> fl.Statement:
        return fl.Scope(short(node.name), *self.body(node.body))

    def make_branch(self, node: Branch) -> fl.Statement:
        if node.kind == "switch":
            cases = [fl.Case(short(name), self.cond(name, cond), *self.body(body)) for name, cond, body in node.cases]
            return fl.Switch(*cases, *([] if node.default is None else [fl.Default(*self.body(node.default))]))
        (name, cond, body), *others = node.cases
        made = fl.If(short(name), self.cond(name, cond), *self.body(body))
        for name, cond, body in others:
            made = made.else_if(short(name), self.cond(name, cond), *self.body(body))
        return made if node.default is None else made.else_(*self.body(node.default))

    def make_loop(self, node: Loop) -> fl.Statement:
        cond = [] if node.cond is None else [self.cond(node.name, node.cond)]
        return fl.For(short(node.name), *cond, *self.body(node.body))

    def make_each(self, node: Each) -> fl.Statement:
        return fl.ForEach(short(node.name), self.items(node), *self.body(node.body))

    def make_jump(self, node: Jump) -> fl.Statement:
        return fl.Break() if node.kind == "break" else fl.Continue()

    def make_ret(self, node: Ret) -> fl.Statement:
        return fl.Return() if node.val is None else fl.Return(self.val(node.val))

    def make_nap(self, node: Nap) -> fl.Statement:
        return fl.Sleep(short(node.name), self.after(node.after))

    def make_await(self, node: Await) -> fl.Statement:
        events: list[fl.On | fl.Timeout] = []
        for event in node.events:
            body = self.body(event.body)
            if isinstance(event, Timer):
                events.append(fl.Timeout(event.name, self.after(event.after), *body))
                continue
            handler = None if event.handler is None else self.handler(event.handler)
            events.append(fl.On(event.name, handler, *body, into=self.into(event.into)))
        return fl.Wait(short(node.name), *events)

    def make_until(self, node: Until) -> fl.Statement:
        # It is asked whenever anything moves: how often is nobody's business.
        cond = self.cond(node.name, node.cond, traced=False)
        return fl.WaitFor(short(node.name), cond, None if node.handler is None else self.act(node.handler))

    def make_spawn(self, node: Spawn) -> fl.Statement:
        arg = None
        if node.arg is not None:
            kind, val = node.arg
            arg = self.val(val, Box if kind == "box" else lambda n: n)
        return fl.Go(short(node.name), *self.body(node.body), id=None if node.id is None else self.val(node.id), arg=arg)

    def make_gather(self, node: Gather) -> fl.Statement:
        # As short as the scope of the Join allows: from the outside a name needs its scope.
        scope = node.name.removesuffix(short(node.name))
        return fl.Join(short(node.name), *(name.removeprefix(scope) for name in node.go_names))


def short(name: str) -> str:
    """The name as its scope has it."""
    return name.rsplit("/", 1)[-1]


def finished(call: Any, is_async: bool, **uses: str) -> Any:
    """``call`` with annotations where there are to be any, and async if wanted."""
    types: dict[str, Any] = {"int": int, "box": Box}
    call.__annotations__ = {name: types[use] for name, use in uses.items() if use in types}
    if not is_async:
        return call

    @wraps(call)
    async def waits(*arguments: Any) -> Any:
        await asyncio.sleep(0)
        return call(*arguments)

    return waits


def flow_class(tree: Body, record: Record, style: Style, is_async: bool = False) -> type[Data]:
    """A workflow class with this tree as its definition. Both styles have one name: their snapshots must be the same."""

    def of_instance(self: Any) -> fl.Statement:
        return fl.S(*Compiler(record, "instance", is_async, self).body(tree))

    def of_class(cls: type) -> fl.Statement:
        return fl.S(*Compiler(record, "class", is_async).body(tree))

    definition: Any = of_instance if style == "instance" else classmethod(of_class)
    return type("Flow", (Data,), {"definition": definition})


# --- scripts ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Resume:
    now: int
    max_steps: int


@dataclass(frozen=True)
class Callback:
    now: int
    request: dict[str, Any]
    payload: Any


@dataclass(frozen=True)
class Outcome:
    """What came of one call: what it returned or the name of the error, and how the run looks after it."""

    did: str
    value: Any
    view: Any
    data: Any


@dataclass(frozen=True)
class Expected:
    """What the interpreter says of a script: the calls that it came to, and all that has to happen."""

    calls: list[Resume | Callback]
    outcomes: list[Outcome]
    run: Interpreter
    stuck: bool

    def trace(self, style: Style) -> list[tuple[Any, ...]]:
        """What can be seen happen: in instance style conditions may be plain values, and nobody sees them asked."""
        shown = self.run.trace
        if style == "instance":
            shown = [entry for entry in shown if entry[0] not in ("cond", "items") or not entry[-1]]
        # When moving on fails, it is tried again by each resume.
        return [entry for entry in shown if entry[0] not in ("cond", "items")] if self.stuck else shown

    @property
    def saves(self) -> list[tuple[Any, ...]]:
        return [(save.kind, save.view, save.data) for save in self.run.saves]


def expected(tree: Body, start: Start, script: Script) -> Expected:
    """Run the interpreter, and find out which calls the script comes to."""
    run = Interpreter(tree, start.fresh(), start.born)
    done = Expected([], [], run, False)
    now = over = 0
    for part in script:
        call = _call(run, part, now)
        now = call.now
        did, value = "returned", None
        try:
            value = (
                run.resume(now, call.max_steps) if isinstance(call, Resume) else run.callback(call.request, call.payload, now)
            )
        except (RefusedError, StuckError) as error:
            did, value = "raised", str(error)
            if isinstance(error, StuckError):
                done = Expected(done.calls, done.outcomes, run, True)
        done.calls.append(call)
        done.outcomes.append(Outcome(did, value, run.view(), run.data.shown()))
        over += run.status == "Finished"
        if done.stuck or over > 2:
            break
    return done


def _call(run: Interpreter, part: Move | Event | Wrong, now: int) -> Resume | Callback:
    open_events = run.open_events()
    if isinstance(part, Event) and not open_events:
        return _call(run, Move(None, 25), now)
    if isinstance(part, Move):
        timer = run.next_timer()
        return Resume(max(now, timer or now) if part.later is None else now + part.later, part.max_steps)
    if isinstance(part, Event):
        t, event = open_events[part.pick % len(open_events)]
        whole = {"name": event.name, "thread_id": t.id, "birth": t.birth, "pc": t.pc, "run_id": RUN_ID}
        keys: Any = {"name": (), "thread": ("thread_id",), "stop": ("birth", "pc"), "all": tuple(whole)}[part.pins]
        return Callback(now, {key: whole[key] for key in ("name", *keys)}, part.payload if payload_type(event) else None)
    if part.kind == "stale" and run.past:
        birth, pc, thread_id, name = run.past[part.pick % len(run.past)]
        return Callback(now, {"name": name, "birth": birth, "pc": pc, "thread_id": thread_id}, part.payload)
    if part.kind == "name" or not open_events:
        return Callback(now, {"name": part.name}, part.payload)
    t, event = open_events[part.pick % len(open_events)]
    wrong: dict[str, dict[str, Any]] = {
        "stale": {"pc": t.pc + 1},
        "run": {"run_id": "run-2"},
        "thread": {"thread_id": f"{t.id}?"},
        "birth": {"birth": t.birth[::-1]},
        "pc": {"pc": t.pc - 1},
        "payload": {"thread_id": t.id},
    }
    return Callback(now, {"name": event.name, **wrong[part.kind]}, part.payload)


class Kill(BaseException):
    """The process dies here."""


@dataclass(frozen=True)
class Played:
    """What flowstmt did with the calls."""

    outcomes: list[Outcome]
    trace: list[tuple[Any, ...]]
    saves: list[tuple[Any, ...]]
    blobs: list[bytes]
    effects: dict[str, tuple[Any, ...]]
    moments: int
    final: bytes


class Player:
    """Plays calls on a workflow. ``kills(moment, kind)``: whether the process dies at this moment; then the last snapshot is
    loaded, and the call is made again."""

    def __init__(
        self,
        tree: Body,
        start: Start,
        style: Style,
        *,
        is_async: bool = False,
        kills: Callable[[int, str], bool] = lambda moment, kind: False,
    ) -> None:
        self.record = Record()
        self.is_async = is_async
        self.kills = kills
        self.cls = flow_class(tree, self.record, style, is_async)
        self.w: Any = start.fresh(self.cls)
        self.state = fl.State.new(RUN_ID, "Flow", None if start.born is None else at(start.born))
        self.stored = fl.dump(self.w, self.state)
        self.seen = 0
        self.steps = 0
        self.taken = False
        self.output: Any = None
        self.moments = 0
        self.saves: list[tuple[Any, ...]] = []
        self.blobs: list[bytes] = []

    def play(self, calls: Iterable[Resume | Callback], stuck: bool) -> Played:
        work = self._play(calls)
        if self.is_async:
            outcomes = asyncio.run(work)
        else:
            try:
                work.send(None)
                raise AssertionError("a sync driver waited")
            except StopIteration as stop:
                outcomes = stop.value
        trace = self.record.trace
        if stuck:
            trace = [entry for entry in trace if entry[0] not in ("cond", "items")]
        return Played(outcomes, trace, self.saves, self.blobs, self.record.effects, self.moments, fl.dump(self.w, self.state))

    async def _play(self, calls: Iterable[Resume | Callback]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for call in calls:
            did, value = "returned", None
            self.steps, self.taken = 0, False
            while True:
                try:
                    value = await self._resume(call) if isinstance(call, Resume) else await self._callback(call)
                except Kill:
                    del self.record.trace[self.seen :]
                    self.w, self.state = fl.load(self.cls, self.stored)
                    if not self.taken:
                        continue
                    value = self.output
                except fl.FlowstmtError as error:
                    did, value = "raised", type(error).__name__
                break
            self.seen = len(self.record.trace)
            outcomes.append(Outcome(did, value, view_of(self.state), self.w.shown()))
        return outcomes

    async def _resume(self, call: Resume) -> Any:
        now, steps = at(call.now), call.max_steps - self.steps
        if self.is_async:
            return await fl.resume_async(self.w, self.state, self._save, now=now, max_steps=steps, invoke=self._invoke_async)
        return fl.resume(self.w, self.state, self._save, now=now, max_steps=steps, invoke=self._invoke)

    async def _callback(self, call: Callback) -> Any:
        now, request = at(call.now), fl.CallbackRequest(**call.request)
        if len(call.request) == 1:
            request = call.request["name"]
        before = fl.dump(self.w, self.state)
        try:
            if self.is_async:
                output = await fl.handle_callback_async(
                    request, self.w, self.state, call.payload, now=now, invoke=self._invoke_async
                )
            else:
                output = fl.handle_callback(request, self.w, self.state, call.payload, now=now, invoke=self._invoke)
        except fl.CallbackError:
            assert fl.dump(self.w, self.state) == before, "a refused callback changed something"
            raise
        self.output = output
        self._save("callback")
        return output

    def _save(self, kind: str) -> None:
        self._moment("before save")
        self.stored = fl.dump(self.w, self.state)
        self.seen = len(self.record.trace)
        self.steps += kind in ("afterStep", "afterCondition")
        self.taken = kind == "callback"
        self.saves.append((str(kind), view_of(self.state), self.w.shown()))
        self.blobs.append(self.stored)
        self._moment("after save")

    def _invoke(self, current: fl.Current, call: Callable[[], Any]) -> Any:
        self._moment("before call")
        result = call()
        self._moment("after call")
        return result

    async def _invoke_async(self, current: fl.Current, call: Callable[[], Any]) -> Any:
        self._moment("before call")
        result = await call()
        self._moment("after call")
        return result

    def _moment(self, kind: str) -> None:
        self.moments += 1
        if self.kills(self.moments, kind):
            raise Kill


def view_of(state: fl.State) -> Any:
    """The state as ``Interpreter.view`` shows it."""
    threads = [
        (
            *(t.id, t.name, str(t.status), t.position, t.event, t.pc, t.birth, t.parent, t.ready, seconds(t.since)),
            seconds(t.due_at),
            None if t.arg is None else plain_number(t.arg),
            tuple((frame.statement, frame.index, plain_number(frame.item)) for frame in t.frames),
            tuple((event.name, seconds(event.due_at)) for event in t.events),
        )
        for t in state.threads
    ]
    return (str(state.status), state.revision, seconds(state.wake_at), state.result, threads)
