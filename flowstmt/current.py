"""What the code that a driver calls may know of the run: ``current()``.

An action gets its data from ``self`` and its item as an argument. Everything else it might need, an idempotency key
above all, is here, so that it need not be threaded through every function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Literal, TypeAlias

from flowstmt.codec import Codec
from flowstmt.core.calls import is_async
from flowstmt.core.children import CHILD_ENDED, child_of
from flowstmt.core.names import in_scope
from flowstmt.core.nodes import Node
from flowstmt.core.open_waits import taken_here
from flowstmt.core.program import Program
from flowstmt.core.state import Frame, State, Thread, WaitEvent
from flowstmt.core.statements import ForEach
from flowstmt.errors import FlowstmtError

__all__ = ["CURRENT", "Ask", "Caller", "Current", "Kind", "Saving", "current"]

Ask: TypeAlias = tuple[Callable[..., Any], tuple[Any, ...]]
"""A call to be made, with its arguments."""

Kind = Literal["", "action", "handler", "setup", "teardown", "save"]

_codec = Codec()


class Caller:
    """What a driver has in hand, and the call that it is making: ``kind`` is "" while it makes none.

    It is filled in for every call, so it is only references; a ``Current`` is made of it when somebody asks.
    """

    __slots__ = (
        "child",
        "clock",
        "deps",
        "event",
        "instant",
        "kind",
        "not_awaited",
        "outer",
        "program",
        "state",
        "thread",
        "workflow",
    )

    def __init__(self, workflow: Any, state: State, program: Program, clock: Callable[[], datetime], deps: Any) -> None:
        self.workflow = workflow
        self.state = state
        self.program = program
        self.clock = clock
        self.deps = deps
        self.kind: Kind = ""
        self.thread: Thread | None = None
        self.event: WaitEvent | None = None
        # The workflow object of the child that is to be started by the setup that is called.
        self.child: Any = None
        self.instant: datetime | None = None
        # The call, of another run, from inside of which the driver was called.
        self.outer: Caller | Current | Saving | None = None
        # The error that says so if what was called gave something that can't be awaited: it is no failure of its own.
        self.not_awaited: FlowstmtError | None = None


class Current:
    """The call that is being made, as ``current()`` gives it, and as ``invoke`` gets it.

    Attributes:
        workflow: The workflow object; in a concurrent step the copy that its action reads.
        thread_id: The id of the thread for which the call is made; empty where it is for none, as in some saves.
        kind: ``action``, ``handler``, ``setup``, ``teardown`` or ``save``.
        position: The name of the statement at which the thread stands; in a handler, setup or teardown that of its Wait.
        attempt: Counts the attempts at a step, from 1.
        now: The instant of the call, aware and in UTC: what was given to the driver as ``now``, or what the clock said.

    An ``invoke`` hook may set ``connection`` and ``publisher`` before it makes the call: what is called sees them, also in a
    thread that the hook calls it in.
    """

    __slots__ = (
        "_arg",
        "_by_name",
        "_call",
        "_child",
        "_child_run_id",
        "_connection",
        "_deps",
        "_event",
        "_frames",
        "_go",
        "_taken",
        "attempt",
        "birth",
        "kind",
        "now",
        "outer",
        "over",
        "pc",
        "position",
        "publisher",
        "state",
        "thread_id",
        "workflow",
    )

    publisher: Callable[[Any], Any] | None
    """What ``publish`` hands its value to: set by an ``invoke`` hook. It may be called from any thread."""

    def __init__(self, caller: Caller, call: Callable[..., Any] | None = None) -> None:
        # One is made for each call: what only a hook sets costs nothing here, what is asked for next to nothing.
        if caller.instant is None:
            caller.instant = caller.clock()
        self.workflow = caller.workflow
        self.state = caller.state
        self.kind = caller.kind
        self.now: datetime = caller.instant
        self.outer = caller.outer
        # Whether the call has returned: a task that it left behind is not inside of it any more.
        self.over = False
        self.publisher = None
        self._call = call
        self._deps = caller.deps
        self._event = ""
        self._taken = 0
        self._by_name: Mapping[str, Node] = caller.program.by_name
        thread = caller.thread
        if thread is None:
            self.thread_id = self.position = self.birth = self._go = ""
            self.pc = 0
            self.attempt = 1
            self._arg = None
            self._frames: Sequence[Frame] = ()
            return
        self.thread_id = thread.id
        self.birth = thread.birth
        self.attempt = thread.attempt
        self.position = thread.position
        self.pc = thread.pc
        self._go = thread.name
        self._arg = thread.arg
        self._frames = thread.frames  # which is replaced, never changed
        if caller.event is not None:
            self._stand_at(caller.event, caller, thread)

    def _stand_at(self, event: WaitEvent, caller: Caller, thread: Thread) -> None:
        """A handler, setup or teardown is called at the Wait of its event."""
        # The name that it had when the thread got here: a call made again after a renaming has the same key.
        self._event = event.request.name
        self.position = event.wait
        if caller.kind == "handler":
            # That of an event which stays may be called more than once at one stop.
            self._taken = taken_here(thread)
        else:
            # A setup or teardown bears the name of the stop that it belongs to, which may have passed.
            self.pc = event.request.pc or 0
            if event.name == CHILD_ENDED.name:
                self._child, self._child_run_id = caller.child, child_of(event.request)
            if caller.kind == "teardown" and self.pc != thread.pc:
                self._by_name, self._frames = {}, ()  # it has no place any more
                return
        # The thread may be deep in the body of a case that stays: what is in there is none of its Wait's.
        if self._frames and (node := self._node) is not None:
            self._frames = self._frames[: len(node.frames)]

    @property
    def _node(self) -> Node | None:
        """What the call stands at."""
        return self._by_name.get(self.position)

    @property
    def run_id(self) -> str:
        """The id of the run."""
        return self.state.run_id

    @property
    def idempotency_key(self) -> str:
        """Names this call for ever: the same when it is made again after a crash, another for every other call.

        Hand it to the service that you call, so that it does the work once.
        """
        event = f":{self._event}" if self._event else ""
        taken = f":{self._taken}" if self._taken else ""
        return f"{self.run_id}:{self.birth}:{self.pc}:{self.kind}{event}{taken}"

    @property
    def deps(self) -> Any:
        """What was given to the driver as ``deps``. Raises ``FlowstmtError`` if nothing was."""
        if self._deps is None:
            raise FlowstmtError(
                f"run {self.run_id!r}: {self.kind} at {self.position!r} asked for deps, but none were given: pass "
                "deps= to resume and handle_callback"
            )
        return self._deps

    @property
    def is_async(self) -> bool:
        """Whether the signature of what is called shows that it has to be awaited: for ``invoke`` hooks that use threads."""
        return self._call is not None and is_async(self._call)

    @property
    def inline(self) -> bool:
        """Whether it is the action of a step with ``inline=True``: short, and it does not block."""
        return self.kind == "action" and self._node is not None and self._node.inline

    @property
    def transactional(self) -> bool:
        """Whether it is the action of a step with ``transactional=True``, or what undoes one: it gets a ``connection``."""
        return self.kind == "action" and self._node is not None and self._node.transactional

    @property
    def connection(self) -> Any:
        """What an action writes with so that it commits together with the checkpoint: what the ``invoke`` hook has set.

        Raises ``FlowstmtError`` if nothing was set. It is not for setters: these are called when ``invoke`` has returned.
        """
        found = getattr(self, "_connection", None)
        if found is None:
            what = f"run {self.run_id!r}: {self.kind} at {self.position!r} asked for a connection, but has none: "
            if not self.transactional:
                raise FlowstmtError(
                    f"{what}an engine gives one to the actions of steps with transactional=True, and to what undoes them"
                )
            raise FlowstmtError(
                f"{what}let an Engine move the run, or hand the drivers an invoke= that sets current.connection before it calls"
            )
        return found

    @connection.setter
    def connection(self, connection: Any) -> None:
        self._connection = connection

    @property
    def child_run_id(self) -> str:
        """In the setup and teardown of a ``Call`` the id of its child run, else "": for ``invoke`` hooks that start runs.

        Such a hook does not call ``call()``, which only says that nobody starts children. In a setup it starts ``child`` under
        this id, unless there is a run of it, and returns None, or a text to be kept; in a teardown it cancels that run.
        """
        return getattr(self, "_child_run_id", "")

    @property
    def child(self) -> Any:
        """In the setup of a ``Call`` the workflow object of its child run, else None."""
        return getattr(self, "_child", None)

    def publish(self, value: Any) -> None:
        """Tell those who watch the run, at once: they get ``value`` as JSON holds it, also if the call fails later.

        Raises ``FlowstmtError`` if nobody has set a ``publisher``, or if the value has no JSON form.
        """
        what = f"run {self.run_id!r}: {self.kind} at {self.position!r} published"
        publisher = self.publisher
        if publisher is None:
            raise FlowstmtError(
                f"{what} a value, but nobody takes it: let an Engine move the run, or hand the drivers an invoke= that sets "
                "current.publisher before it calls"
            )
        try:
            plain = _codec.adapt(value, Any)
        except ValueError as error:
            raise FlowstmtError(f"{what} what JSON can't hold: {error}") from error
        publisher(plain)

    def item(self, name: str | None = None) -> Any:
        """The innermost item, or that of the ForEach or Go called ``name``. Raises ``FlowstmtError`` if there is none.

        Inside a ``Scope`` a name means that of the scope first, then those outside.
        """
        known = dict(self._items())
        if name is None and known:
            return next(reversed(known.values()))
        full = in_scope("" if self._node is None else self._node.scope, name, known)
        if full is not None:
            return known[full]
        wanted = "an item" if name is None else f"the item of {name!r}"
        raise FlowstmtError(
            f"run {self.run_id!r}: {self.kind} at {self.position!r} asked for {wanted}; it has "
            f"{', '.join(map(repr, known)) or 'none'}"
        )

    def _items(self) -> Iterator[tuple[str, Any]]:
        node = self._node
        if node is not None and node.go is not None and node.go.own_item is not None:
            yield self._go, self._arg
        for frame in self._frames:
            if frame.item is not None or _is_loop(self._by_name.get(frame.statement)):
                yield frame.statement, frame.item


def _is_loop(node: Node | None) -> bool:
    """Whether the frame of a statement holds an item, be it None."""
    return node is not None and node.kind is ForEach


class Saving:
    """What ``CURRENT`` holds while the async shell saves: every step passes there, and next to no ``save`` asks."""

    __slots__ = ("over", "run")

    def __init__(self, run: Caller) -> None:
        self.run = run
        self.over = False

    @property
    def state(self) -> State:
        """The run's."""
        return self.run.state

    @property
    def kind(self) -> Kind:
        """That of a call that is being made; once ``save`` has returned, what it left behind is in none."""
        return "" if self.over else "save"

    @property
    def outer(self) -> Caller | Current | Saving | None:
        """The call, of another run, from inside of which the driver was called."""
        return self.run.outer


CURRENT: ContextVar[Caller | Current | Saving | None] = ContextVar("flowstmt.current", default=None)


def current() -> Current:
    """The call that is being made, for actions, handlers, setups, teardowns and ``save``.

    It holds ``workflow``, ``run_id``, ``thread_id``, ``kind`` ("action", "handler", "setup", "teardown"; "save" inside
    ``save``), ``position``, ``attempt``, ``idempotency_key``, ``item(name=None)``, ``now`` and ``deps``.
    A setter given as ``into`` belongs to the action or handler, and is told the same.
    Raises ``FlowstmtError`` outside of such a call, in conditions too.

    >>> from dataclasses import dataclass
    >>> from flowstmt import State, Step, resume
    >>> @dataclass
    ... class Charge:
    ...     def definition(self):
    ...         return Step("charge", self.charge)
    ...
    ...     def charge(self):
    ...         print(current().position, current().attempt)
    >>> resume(Charge(), State.new("r1", "Charge"))
    charge 1
    <WorkflowStatus.Finished: 'Finished'>
    """
    found = CURRENT.get()
    if isinstance(found, Current):
        return found
    if found is None or not found.kind:
        raise FlowstmtError(
            "current() is valid inside actions, handlers, setups, teardowns and save, while a driver calls them; "
            "not in conditions, and not in threads that these start"
        )
    return Current(found.run if isinstance(found, Saving) else found)
