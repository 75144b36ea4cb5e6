"""Runs the Python source of a tree, and moves its threads by the rules that the design states for rounds."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

from flowstmt import ErrorInfo
from tests.meaning.failing_trees import CAUGHT, Course, told
from tests.meaning.python_source import Source
from tests.meaning.python_world import Cancelled, Enough, Stop, Stops, Thread, World
from tests.meaning.trees import Body, Call, Timer

__all__ = ["REASON", "End", "in_python"]

REASON = "not wanted any more"


@dataclass(frozen=True)
class End:
    """How a run ended; "" if it was not watched to its end."""

    status: str
    result: Any = None
    error: Any = None
    data: Any = None
    not_undone: tuple[str, ...] = ()


@dataclass
class _Exit:
    """How ``main`` ended."""

    status: str
    result: Any = None
    error: ErrorInfo | None = None


class Rounds:
    """One run."""

    def __init__(self, world: World, main: Stops, cancel_at: int | None) -> None:
        self.world = world
        self.cancel_at = cancel_at
        self.main = Thread("main", "main", main, world.run_saga, world.run_saga)
        self.world.threads = [self.main]
        self.rounds = 0
        self.exit: _Exit | None = None

    def run(self) -> End:
        """Until the run is over, can't go on by itself, or has been watched for long enough."""
        try:
            status = self._run()
        except Enough:
            status = "stuck" if self.world.stuck else ""
        finally:
            self._abandon()
        if not status or len(self.world.trace) >= self.world.limit:
            return End("")
        if status == "stuck":
            return End("stuck")
        exit_ = self.exit or _Exit("Waiting")
        not_undone = tuple(sorted(self.world.not_undone))
        return End(status, exit_.result, told(exit_.error), self.world.data.shown(), not_undone)

    def _run(self) -> str:
        world = self.world
        while True:
            if self._is_to_be_cancelled():
                self._cancel()
            self._settle()
            while self.main.lives and not self._is_to_be_cancelled() and (acting := self._next()) is not None:
                self._advance(acting)
                if acting.stop.kind != "again":
                    self._settle()
            if not self.main.lives:
                assert self.exit is not None
                return self.exit.status
            if self._is_to_be_cancelled():
                continue
            callbacks = [
                (thread, event)
                for thread in world.threads
                if thread.lives and thread.stop.node is not None
                for event in thread.stop.node.events
                if isinstance(event, Call)
            ]
            instants = [thread.stop.due_at for thread in world.threads if thread.lives and thread.stop.due_at is not None]
            if not callbacks and not instants:
                return "Waiting"
            pick = world.course.pick(len(world.trace), len(callbacks) + bool(instants))
            if pick == len(callbacks):
                world.now = max(world.now, min(instants))
                continue
            world.fire(*callbacks[pick])

    def _is_to_be_cancelled(self) -> bool:
        return self.cancel_at is not None and len(self.world.trace) >= self.cancel_at

    def _cancel(self) -> None:
        """Somebody cancels the run; refused if it is about to fail anyway."""
        self.cancel_at = None
        error = ErrorInfo("Cancelled", REASON)
        if self.exit is not None and self.exit.status == "Finished":
            self.exit = _Exit("Cancelled", error=error)
        elif self.exit is not None or self.main.cancelled is not None:
            return
        else:
            self.world.tell(self.main, Cancelled("Cancelled", error))
        self._tell_others(self.main)

    def _next(self) -> Thread | None:
        acting = [thread for thread in self.world.threads if thread.lives and thread.stop.kind in ("act", "again")]
        return min(acting, key=lambda thread: thread.ready, default=None)

    def _settle(self) -> None:
        """Pass after pass, each thread in the order of its start, to its next stop."""
        moved = True
        while moved and self.main.lives:
            moved = False
            for thread in self.world.threads:
                if thread.lives and self._wakes(thread):
                    moved = True
                    self._advance(thread)
        self.world.threads = [thread for thread in self.world.threads if thread.lives]
        self.rounds += 1

    def _wakes(self, thread: Thread) -> bool:
        stop = thread.stop
        if stop.kind == "past" or (thread.told and not thread.shields):
            return True
        if stop.kind == "cond":
            return stop.holds()
        if stop.due_at is None or stop.due_at > self.world.now:
            return False
        if stop.node is not None:
            thread.event = next(event.name for event in stop.node.events if isinstance(event, Timer))
        return True

    def _advance(self, thread: Thread) -> None:
        """Go on with a thread, up to where it stands next."""
        self.world.thread = thread
        event, thread.event = thread.event, None
        try:
            if thread.told and not thread.shields:
                thread.told = False
                assert thread.cancelled is not None
                stop = thread.walk.throw(thread.cancelled)
            else:
                stop = thread.walk.send(event)
        except StopIteration as end:
            self._ended(thread, _Exit("Finished", end.value))
        except Cancelled as cancelled:
            self._ended(thread, _Exit(cancelled.status, error=cancelled.error))
        except Exception as error:
            self._ended(thread, _Exit("Failed", error=self.world.info(error)))
        else:
            thread.stop = stop
            if stop.kind == "act":
                thread.ready = self.rounds

    def _ended(self, thread: Thread, exit_: _Exit) -> None:
        if thread is not self.main:
            thread.lives = False
            if exit_.status == "Failed":
                self._fail(exit_)
        elif self.exit is not None:
            thread.lives = False
        else:
            self.exit = exit_
            self._tell_others(thread)
            thread.walk = self._end_of_run()
            self._advance(thread)

    def _end_of_run(self) -> Stops:
        """What ``main`` does when it has ended: it waits for the others, then undoes what has to be undone."""
        assert self.exit is not None
        yield Stop("cond", holds=lambda: not any(thread.lives for thread in self.world.threads if thread is not self.main))
        if self.exit.status != "Finished":
            yield from self.world.undo(self.world.run_saga)

    def _fail(self, exit_: _Exit) -> None:
        """A plain thread has failed, and with it the run."""
        if self.exit is None:
            self.world.tell(self.main, Cancelled("Failed", exit_.error))
        elif self.exit.status == "Finished":
            self.exit = exit_
        self._tell_others(self.main)

    def _tell_others(self, but: Thread) -> None:
        for thread in self.world.threads:
            if thread is not but and thread.lives:
                self.world.tell(thread, Cancelled())

    def _abandon(self) -> None:
        """Nobody goes on with what is left: each thread ends at the next thing that it asks of the world."""
        trace_limit, self.world.limit = self.world.limit, 0
        for thread in self.world.threads:
            self.world.thread = thread
            try:
                thread.walk.throw(Enough)
            except BaseException:  # whatever its finally bodies make of that
                continue
        self.world.limit = trace_limit


def in_python(tree: Body, course: Course, limit: int, cancel_at: int | None = None) -> tuple[World, End, str]:
    """Run a tree as Python; what happened, how it ended, and the source.

    ``cancel_at``: how long the trace is when somebody cancels the run.
    """
    source = Source(tree)
    world = World(course, limit)
    names: dict[str, Any] = {"world": world, "things": source.things, "Cancelled": Cancelled, **CAUGHT}
    with warnings.catch_warnings():
        # Newer Pythons don't like jumps in a finally, but do them.
        warnings.simplefilter("ignore", SyntaxWarning)
        exec(source.text, names)
    return world, Rounds(world, names["main"](), cancel_at).run(), source.text
