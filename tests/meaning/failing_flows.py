"""Trees in which things go wrong compiled to workflows, and played: direct, reloaded, killed, cancelled, sync and async."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import flowstmt as fl
from tests.meaning.failing_trees import (
    CAUGHT,
    RAISED,
    Attempt,
    Course,
    Deal,
    Flaws,
    Limited,
    Policy,
    Quit,
    Taking,
    Task,
    Undo,
    short,
    told,
)
from tests.meaning.flows import Compiler, Kill, Style, at
from tests.meaning.python_rounds import REASON, End
from tests.meaning.trees import Act, Await, Body, Call, Cond, Each, apply, nodes, number, plain_number

__all__ = ["Play", "Played", "played"]

RUN_ID = "run-1"
MOST_MOVES = 400


@dataclass
class Log:
    """What a run was seen to do. ``effects``: what each attempt did outside, by idempotency key."""

    trace: list[tuple[Any, ...]] = field(default_factory=list)
    effects: dict[tuple[str, int], tuple[Any, ...]] = field(default_factory=dict)
    conflicts: list[tuple[Any, ...]] = field(default_factory=list)

    def note(self, kind: str, name: str, *rest: Any) -> int:
        """Add an entry; how many of this kind there were of this statement."""
        before = sum(entry[:2] == (kind, name) for entry in self.trace)
        self.trace.append((kind, name, *rest))
        return before

    def affect(self, now: fl.Current, effect: tuple[Any, ...]) -> None:
        """An attempt has an effect outside; if it is made again, it must be the same one."""
        key = (now.idempotency_key, now.attempt)
        if self.effects.setdefault(key, effect) != effect:
            # Not raised: here that would be a failure like any other.
            self.conflicts.append((key, self.effects[key], effect))


def raise_if_scripted(faults: tuple[str, ...], calls: int, name: str) -> None:
    if calls < len(faults) and faults[calls]:
        raise RAISED[faults[calls]](f"call {calls} of {name}")


class FailingCompiler(Compiler):
    """Builds the statements of a tree."""

    def __init__(self, log: Log, style: Style, is_async: bool, w: Any = None) -> None:
        super().__init__(log, style, is_async, w)  # type: ignore[arg-type] # what is written into it is all written here
        self.log = log

    def act(self, node: Act) -> Any:
        faults = node.faults if isinstance(node, Task) else ()

        def does(w: Flaws, item: Any) -> Any:
            before = None if item is None else plain_number(item)
            apply(node.ops, w, item)
            now = fl.current()
            calls = self.log.note("action", now.position, now.thread_id, now.attempt, before, w.shown())
            self.log.affect(now, (node.name, before, w.shown()))
            raise_if_scripted(faults, calls, now.position)
            return number(node.result, w, item)

        return self.call(does, node.use, self.is_async and node.is_async)

    def seen(self, kind: str, w: Any, before: int | None) -> None:
        now = fl.current()
        self.log.note(kind, now.position, now.thread_id, now.attempt, before, w.shown())

    def compensation(self, name: str, undo: Undo) -> Any:
        def does(w: Flaws, result: Any, item: Any) -> None:
            now = fl.current()
            apply(undo.ops, w, None)
            found = (result, None if item is None else plain_number(item))
            calls = self.log.note("undo", name, now.thread_id, now.attempt, found, w.shown())
            raise_if_scripted(undo.faults, calls, name)

        if undo.takes == "":
            return self.call(lambda w, item: does(w, None, None), "")
        return self.taking(does, "int", undo.use if undo.takes == "item" else "")

    def cond(self, name: str, cond: Cond, traced: bool = True) -> Any:
        return super().cond(name, cond, traced=False)

    def items(self, node: Each) -> Any:
        items = node.items
        if items.kind == "range":
            return self.call(lambda w, item: range(number(items.val.expr, w, item)), items.val.use)

        def does(w: Any, item: Any) -> Any:
            return {"ints": w.items, "boxes": w.boxes, "const": list(items.const)}[items.kind]

        return does(self.w, None) if items.plain and self.style == "instance" else self.call(does, "")

    def make_task(self, node: Task) -> fl.Statement:
        return fl.Step(
            short(node.name),
            self.act(node),
            into=self.into(node.into),
            retry=None if node.policy is None else retry(node.policy),
            compensate=None if node.undo is None else self.compensation(node.name, node.undo),
        )

    def make_attempt(self, node: Attempt) -> fl.Statement:
        made = fl.Try(short(node.name), *self.body(node.body))
        for case in node.cases:
            made = made.catch(case.errors.given(), *self.body(case.body), into=self.caught(case))
        return made if node.last is None else made.finally_(*self.body(node.last))

    def caught(self, case: Taking) -> Any:
        def does(w: Flaws, error: Any, item: Any) -> None:
            w.x = error.attempts

        return {"": None, "field": "caught", "setter": self.taking(does, "", "")}[case.into]

    def make_quit(self, node: Quit) -> fl.Statement:
        val = node.val
        if val is None:
            return fl.Fail(short(node.name), "told to")

        def does(w: Flaws, item: Any) -> str:
            return f"told to by {number(val.expr, w, item)}"

        return fl.Fail(short(node.name), self.call(does, val.use))

    def make_deal(self, node: Deal) -> fl.Statement:
        return fl.Saga(short(node.name), *self.body(node.body))

    def make_limited(self, node: Limited) -> fl.Statement:
        cond = [] if node.cond is None else [self.cond(node.name, node.cond)]
        return fl.For(short(node.name), *cond, *self.body(node.body), max_iterations=node.most)


def retry(policy: Policy) -> fl.Retry:
    when = None if policy.when is None else CAUGHT[policy.when]
    return fl.Retry(
        policy.max_attempts,
        timedelta(seconds=policy.initial),
        policy.multiplier,
        timedelta(seconds=policy.max_delay),
        on=policy.on.given(),
        unless=policy.unless.given(),
        when=None if when is None else lambda error: isinstance(error, when),
        total=None if policy.total is None else timedelta(seconds=policy.total),
    )


def flow_class(tree: Body, course: Course, log: Log, style: Style, is_async: bool) -> type[Flaws]:
    """A workflow class with this tree as its definition. Both styles have one name: their snapshots must be the same."""

    def of_instance(self: Any) -> fl.Statement:
        return fl.S(*FailingCompiler(log, "instance", is_async, self).body(tree))

    def of_class(cls: type) -> fl.Statement:
        return fl.S(*FailingCompiler(log, "class", is_async).body(tree))

    definition: Any = of_instance if style == "instance" else classmethod(of_class)
    policy = {} if course.policy is None else {"retry": retry(course.policy)}
    return type("Flow", (Flaws,), {"definition": definition, **policy})


@dataclass(frozen=True)
class Played:
    """What flowstmt did."""

    trace: list[tuple[Any, ...]]
    end: End
    saves: list[str]
    blobs: list[bytes]
    effects: dict[tuple[str, int], tuple[Any, ...]]
    moments: int
    final: bytes
    plan: tuple[int, tuple[str, ...]] | None
    """How long the trace was when the run was cancelled, and what that would undo, as was said before."""


@dataclass
class Play:
    """How a run is played. ``kills(moment, kind)``: whether the process dies at this moment; then the last snapshot is loaded,
    and whoever called calls again. ``cancel_at``: how long the trace is when somebody cancels the run."""

    tree: Body
    course: Course
    limit: int
    style: Style = "instance"
    is_async: bool = False
    kills: Callable[[int, str], bool] = lambda moment, kind: False
    cancel_at: int | None = None


def played(play: Play) -> Played:
    """Play a run to its end, or until its trace is long enough."""
    return _Player(play).play()


class _Player:
    def __init__(self, play: Play) -> None:
        self.how = play
        self.log = Log()
        self.cls = flow_class(play.tree, play.course, self.log, play.style, play.is_async)
        self.w: Any = play.course.fresh(self.cls)
        self.state = fl.State.new(RUN_ID, "Flow", at(0))
        self.stored = fl.dump(self.w, self.state)
        self.now = at(0)
        self.seen = 0
        self.moments = 0
        self.stuck = False
        self.refused = False
        self.plan: tuple[int, tuple[str, ...]] | None = None
        self.saves: list[str] = []
        self.blobs: list[bytes] = []
        self.waits = {node.name: node for node in nodes(play.tree) if isinstance(node, Await)}

    def play(self) -> Played:
        work = self._play()
        if self.how.is_async:
            asyncio.run(work)
        else:
            try:
                work.send(None)
                raise AssertionError("a sync driver waited")
            except StopIteration:
                pass
        assert not self.log.conflicts, "one key, two different effects"
        trace, limit = self.log.trace, self.how.limit
        end = End("") if len(trace) >= limit else self._end()
        final = fl.dump(self.w, self.state)
        return Played(trace[:limit], end, self.saves, self.blobs, self.log.effects, self.moments, final, self.plan)

    def _end(self) -> End:
        state = self.state
        if self.stuck:
            return End("stuck")
        if state.status == "Waiting":
            return End("Waiting", data=self.w.shown())
        assert state.threads == []
        assert all("error" in record for record in state.undo)
        not_undone = sorted(record["step"] for record in state.undo)
        if state.error is not None and state.error.type == "Cancelled":
            state.error.step = ""
        return End(str(state.status), state.result, told(state.error), self.w.shown(), tuple(not_undone))

    async def _play(self) -> None:
        for _ in range(MOST_MOVES):
            try:
                if await self._moved():
                    return
            except Kill:
                del self.log.trace[self.seen :]
                self._reload()
            except fl.DefinitionError as error:
                self.stuck = "would start a second thread" in str(error)
                if not self.stuck:
                    raise
                return
            except fl.StepError as error:
                # Nothing was saved; what the action did outside is done. It is tried again by the next resume.
                self.log.trace.append(("StepError", error.step, type(error.__cause__).__name__))
                self.seen = len(self.log.trace)
                self._reload()
        raise AssertionError(f"no end after {MOST_MOVES} moves: {fl.dump(self.w, self.state)!r}")

    def _reload(self) -> None:
        self.w, self.state = fl.load(self.cls, self.stored)

    async def _moved(self) -> bool:
        """Do what comes next; whether nothing does any more."""
        happened = len(self.log.trace)
        if happened >= self.how.limit:
            return True
        if self._is_to_be_cancelled():
            self._cancel()
        limit = self.how.limit
        if self.how.cancel_at is not None and happened < self.how.cancel_at:
            limit = min(limit, self.how.cancel_at)
        # Never more: however often it is killed, it stops at the same place.
        status = await self._resume(limit - happened)
        if self._is_to_be_cancelled() and status in ("Resuming", "Waiting"):
            return False
        return status != "Resuming" and (status != "Waiting" or not await self._go_on())

    def _is_to_be_cancelled(self) -> bool:
        cancel_at = self.how.cancel_at
        if self.refused or cancel_at is None or len(self.log.trace) < cancel_at:
            return False
        return all(note["note"] != "cancelled" for note in self.state.notes)

    def _cancel(self) -> None:
        before = fl.dump(self.w, self.state)
        plan = tuple(step.step for step in fl.compensation_plan(self.w, self.state))
        assert fl.dump(self.w, self.state) == before, "a plan changed something"
        try:
            fl.cancel(self.w, self.state, REASON, now=self.now)
        except fl.ControlError:
            assert fl.dump(self.w, self.state) == before, "a refused control changed something"
            self.refused = True
        else:
            self.plan = len(self.log.trace), plan
            self._save("cancel")

    async def _go_on(self) -> bool:
        """Let an event fire, or time pass; whether anything can."""
        callbacks = [
            (thread, event)
            for thread in self.state.threads
            if thread.status == "WaitingEvent"
            for event in self.waits[thread.position].events
            if isinstance(event, Call)
        ]
        timers = self.state.wake_at is not None
        if not callbacks and not timers:
            return False
        pick = self.how.course.pick(len(self.log.trace), len(callbacks) + timers)
        if pick == len(callbacks):
            self._let_time_pass()
            return True
        thread, event = callbacks[pick]
        payload = 2 if event.handler is not None and event.handler.payload else None
        request = fl.CallbackRequest(event.name, thread_id=thread.id)
        if self.how.is_async:
            await fl.handle_callback_async(request, self.w, self.state, payload, now=self.now, invoke=self._invoke_async)
        else:
            fl.handle_callback(request, self.w, self.state, payload, now=self.now, invoke=self._invoke)
        self._save("callback")
        return True

    def _let_time_pass(self) -> None:
        assert self.state.wake_at is not None
        self.now = max(self.now, self.state.wake_at)

    async def _resume(self, most: int) -> str:
        if self.how.is_async:
            return await fl.resume_async(
                self.w, self.state, self._save, now=self.now, max_steps=most, invoke=self._invoke_async
            )
        return fl.resume(self.w, self.state, self._save, now=self.now, max_steps=most, invoke=self._invoke)

    def _save(self, kind: str) -> None:
        self._moment("before save")
        self.stored = fl.dump(self.w, self.state)
        self.seen = len(self.log.trace)
        self.saves.append(str(kind))
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
        if self.how.kills(self.moments, kind):
            raise Kill
