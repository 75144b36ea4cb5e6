"""One run under a virtual clock, with everything that it does written down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

from flowstmt.core.children import CHILD_ENDED, ChildEnd, child_of
from flowstmt.core.program import program_for
from flowstmt.core.state import CallbackRequest, CheckpointType, ErrorInfo, State, ThreadStatus, WorkflowStatus
from flowstmt.core.statements import Event
from flowstmt.current import Current
from flowstmt.drive import handle_callback, handle_callback_async, resume, resume_async
from flowstmt.errors import CallbackError, SetupError, StepTimeoutError
from flowstmt.snapshot import dump, load
from flowstmt.testing.suspensions import AsyncCalls, Killed

__all__ = ["START", "Harness", "Killed", "Saved"]

W = TypeVar("W")

START = datetime(2030, 1, 1, tzinfo=UTC)
"""Where the clock of a harness, and of ``explore``, begins if not told otherwise: 2030-01-01, midnight UTC."""

_RUNNABLE = (ThreadStatus.Executing, ThreadStatus.Resuming)


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint of a harness.

    Attributes:
        kind: Why it was taken; ``afterCallback`` is the save that the harness makes after a callback, and after ``control``.
        snapshot: What was saved: hand it to ``flowstmt.load`` to look into it.
    """

    kind: CheckpointType
    snapshot: bytes


class Harness(Generic[W]):
    """Runs one workflow; the clock stands still unless you ``advance`` it.

    - ``workflow``, ``state``, ``status``, ``result``, ``now``: what is now.
    - ``snapshot``: what was saved last (at first: the run before it started); ``saves``: all of them.
    - ``children``: the workflow objects of the child runs that a ``Call`` has started, and for which it waits, by their ids.
      ``end_child`` ends one, and takes it off.
    - ``published``: what actions told with ``current().publish``.
    - ``trace``: what happened, a line each. ``calls``: (kind, position, idempotency key) of every action, handler, setup
      and teardown that returned. ``decisions``: where each thread stood at each of its stops.

    ``deps`` and ``connection`` are what ``current().deps`` and, in transactional steps, ``current().connection`` give. The
    harness neither commits nor rolls back.

    With ``round_trip`` the objects are replaced by loaded ones after every step, so that nothing can hide outside of the
    snapshot; ``reload`` does it once, and is also what a crash does. ``invariant(workflow, state)`` is called at every
    checkpoint; let it raise, or return False, when something is wrong. ``probe(label)`` is called before and after every
    save and every call, and wherever an async call suspends; it may raise ``Killed``: what was suspended then stays so, as in
    a dead process, until ``close``. Async workflows are driven by the async drivers, and so is every workflow with a
    ``concurrency`` of more than one; use the harness from plain (not async) tests.

    >>> from dataclasses import dataclass
    >>> from flowstmt import On, Timeout, Wait
    >>> @dataclass
    ... class Order:
    ...     paid: int = 0
    ...
    ...     def definition(self):
    ...         return Wait("payment", On("paid", into="paid"), Timeout("late", timedelta(days=3)))
    >>> harness = Harness(Order())
    >>> harness.run()
    <WorkflowStatus.Waiting: 'Waiting'>
    >>> harness.advance(timedelta(days=3))
    <WorkflowStatus.Finished: 'Finished'>
    """

    def __init__(
        self,
        workflow: W,
        *,
        run_id: str = "run",
        name: str | None = None,
        now: datetime = START,
        deps: Any = None,
        connection: Any = None,
        round_trip: bool = False,
        concurrency: int = 1,
        invariant: Callable[[W, State], Any] | None = None,
        probe: Callable[[str], None] | None = None,
    ) -> None:
        self.workflow = workflow
        self.now = now
        self.state = State.new(run_id, name or type(workflow).__name__, now)
        self.saves: list[Saved] = []
        self.trace: list[str] = []
        self.calls: list[tuple[str, str, str]] = []
        self.decisions: dict[tuple[str, str, int], str] = {}
        self._cls = type(workflow)
        self.published: list[Any] = []
        self.children: dict[str, Any] = {}
        self._deps = deps
        self._connection = connection
        self._round_trip = round_trip
        self._concurrency = concurrency
        self._invariant = invariant
        self._probe = probe
        self._async_calls = AsyncCalls()
        self.snapshot = dump(workflow, self.state)

    @property
    def status(self) -> WorkflowStatus:
        """The status of the run."""
        return self.state.status

    @property
    def result(self) -> Any:
        """What ``main`` returned."""
        return self.state.result

    def run(self) -> WorkflowStatus:
        """Resume until nothing is left to do at this instant.

        Setups that fail are left for the next ``run``: their errors are in the trace and in the state. When a plain function
        is left alone in its thread, and its failure was taken, the run is loaded and goes on, as a new process would.
        """
        while True:
            try:
                self._resume(self._concurrency if self._round_trip else 10_000)
            except SetupError as error:
                self.trace.append(f"SetupError: {'; '.join(error.failures)}")
            except StepTimeoutError as error:
                if not error.saved:
                    raise
                self.trace.append(f"StepTimeoutError: {error}")
                self.reload()
            if self._round_trip:
                self.reload()
            paused = self.state.status is WorkflowStatus.Paused
            if paused or not any(thread.status in _RUNNABLE for thread in self.state.threads):
                return self.state.status

    def callback(self, request: CallbackRequest | Event[Any, Any] | str, payload: Any = None) -> Any:
        """Hand in a callback, save, and run. Returns the handler's output; raises when the callback is refused."""
        output = self.deliver(request, payload)
        self.run()
        return output

    def deliver(self, request: CallbackRequest | Event[Any, Any] | str, payload: Any = None) -> Any:
        """Hand in a callback and save, but do not run yet."""
        name = request if isinstance(request, str) else request.name
        if name == CHILD_ENDED.name:
            request = self._pinned(request.thread_id if isinstance(request, CallbackRequest) else None)
        self.trace.append(f"callback {name}")
        try:
            output = self._call_back(request, payload)
        except CallbackError as error:
            self.trace.append(f"refused: {error}")
            raise
        if isinstance(request, CallbackRequest) and name == CHILD_ENDED.name:
            self.children.pop(child_of(request), None)
        self._save(CheckpointType.afterCallback)
        if self._round_trip:
            self.reload()
        return output

    def end_child(
        self, result: Any = None, *, error: ErrorInfo | None = None, cancelled: bool = False, thread_id: str | None = None
    ) -> None:
        """End a child run with a result, with an error, or as cancelled; then save, and run.

        It is the child for which the thread of this id waits, or else the first thread that stands at a ``Call``.
        """
        status: Any = "Cancelled" if cancelled else "Finished" if error is None else "Failed"
        self.callback(CallbackRequest(CHILD_ENDED.name, thread_id), ChildEnd(status, result, error))

    def control(self, action: Callable[..., None], *arguments: Any, **options: Any) -> None:
        """Do something to the run from outside (``pause``, ``cancel``, ``goto`` ...) now, and save, but do not run yet.

        What follows the workflow and its state goes on: ``harness.control(cancel, "out of stock", by="ann")``.
        """
        self.trace.append(f"control {action.__name__}")
        action(self.workflow, self.state, *arguments, now=self.now, **options)
        self._save(CheckpointType.afterCallback)
        if self._round_trip:
            self.reload()

    def advance(self, by: timedelta) -> WorkflowStatus:
        """Move the clock, stopping to run at each instant at which the run wants to wake."""
        return self.advance_to(self.now + by)

    def advance_to(self, instant: datetime) -> WorkflowStatus:
        """Move the clock to an instant, stopping to run at each instant at which the run wants to wake."""
        while self.now < instant:
            wake_at = self.state.wake_at
            # A wake_at that has passed is for what ``run`` has just tried: it does not hold the clock.
            self.now = wake_at if wake_at is not None and self.now < wake_at < instant else instant
            self.trace.append(f"clock {self.now.isoformat()}")
            self.run()
        return self.state.status

    def reload(self) -> None:
        """Drop the objects and go on with what was saved last."""
        self.workflow, self.state = load(self._cls, self.snapshot)
        if (again := dump(self.workflow, self.state)) != self.snapshot:
            raise AssertionError(
                "a loaded snapshot dumps to another one: does __init__, __post_init__ or a serializer change what was saved?\n"
                f"  saved {self.snapshot!r}\n  again {again!r}"
            )

    def close(self) -> None:
        """Unwind the async calls that a ``Killed`` left suspended. When the harness is collected, that is done too."""
        self._async_calls.close()

    def _pinned(self, thread_id: str | None) -> CallbackRequest:
        """The end of a child as whoever moves the child tells it: for one stop of its parent."""
        for thread in self.state.threads:
            for event in thread.events:
                if event.name == CHILD_ENDED.name and event.wait == thread.position and thread_id in (None, thread.id):
                    return event.request
        return CallbackRequest(CHILD_ENDED.name, thread_id)

    # --- what the drivers call ---

    def _save(self, kind: CheckpointType) -> None:
        # What is not saved by a driver, but by who called it, reads as such.
        by_hand = "control" if self.trace[-1:] and self.trace[-1].startswith("control ") else "callback"
        label = f"save after the {by_hand}" if kind is CheckpointType.afterCallback else f"save {kind}"
        self._point(f"before {label}")
        self.snapshot = dump(self.workflow, self.state)
        self.saves.append(Saved(kind, self.snapshot))
        threads = ", ".join(
            f"{thread.id} {thread.status} at {thread.position or 'its start'!r}" for thread in self.state.threads
        )
        self.trace.append(f"{label}: revision {self.state.revision}, {self.state.status}: {threads or 'no thread'}")
        for thread in self.state.threads:
            if thread.status is not ThreadStatus.Ended:
                stop = (thread.id, thread.birth, thread.pc)
                if self.decisions.setdefault(stop, thread.position) != thread.position:
                    raise AssertionError(
                        f"{label}: stop {thread.pc} of thread {thread.id!r} is {thread.position!r}, but was "
                        f"{self.decisions[stop]!r} before a reload: does a condition look at what is not saved?"
                    )
        if self._invariant is not None and self._invariant(self.workflow, self.state) is False:
            raise AssertionError(
                f"the invariant does not hold at {label}: it returned False. What led there is in harness.trace"
            )
        self._point(f"after {label}")

    def _save_if_alive(self, kind: CheckpointType) -> None:
        if self._async_calls.dead:
            raise Killed("the process is dead")  # it died in an action in flight
        self._save(kind)

    def _point(self, label: str) -> None:
        if self._probe is None:
            return
        try:
            self._probe(label)
        except Killed:
            self._async_calls.die()
            raise

    def _note(self, current: Current, stage: str) -> str:
        label = f"{current.kind} at {current.position!r} (thread {current.thread_id})"
        self.trace.append(f"{stage} {label}")
        current.publisher = self.published.append
        if current.child_run_id:
            self._child_changes(current)
        if current.transactional:
            current.connection = self._connection
        return label

    def _child_changes(self, current: Current) -> None:
        if current.kind == "setup":
            self.children[current.child_run_id] = current.child
        else:
            self.children.pop(current.child_run_id, None)

    def _returned(self, current: Current) -> None:
        self.calls.append((current.kind, current.position, current.idempotency_key))

    def _invoke(self, current: Current, call: Callable[[], Any]) -> Any:
        label = self._note(current, "call")
        self._point(f"before {label}")
        try:
            result = None if current.child_run_id else call()
        except Exception:
            # It may have taken effect before it raised.
            self._point(f"after the failure of {label}")
            raise
        self._point(f"after the effect of {label}")
        self._returned(current)
        return result

    async def _invoke_async(self, current: Current, call: Callable[[], Any]) -> Any:
        if self._async_calls.dead:
            raise Killed("the process is dead")  # this task was about to start when another one was killed
        label = self._note(current, "call")
        self._point(f"before {label}")
        try:
            result = None if current.child_run_id else await self._async_calls.watch(call, label, self._point)
        except Exception:
            self._point(f"after the failure of {label}")
            raise
        self._point(f"after the effect of {label}")
        self._returned(current)
        return result

    # --- the drivers ---

    def _resume(self, max_steps: int) -> None:
        # A test may have its workflows by a base class without a definition.
        workflow: Any = self.workflow
        if self._is_async():
            self._async_calls.run(
                resume_async(
                    workflow,
                    self.state,
                    self._save_if_alive,
                    now=self.now,
                    deps=self._deps,
                    max_steps=max_steps,
                    invoke=self._invoke_async,
                    concurrency=self._concurrency,
                )
            )
            return
        resume(workflow, self.state, self._save, now=self.now, deps=self._deps, max_steps=max_steps, invoke=self._invoke)

    def _call_back(self, request: Any, payload: Any) -> Any:
        workflow: Any = self.workflow
        if self._is_async():
            return self._async_calls.run(
                handle_callback_async(
                    request, workflow, self.state, payload, now=self.now, deps=self._deps, invoke=self._invoke_async
                )
            )
        return handle_callback(request, workflow, self.state, payload, now=self.now, deps=self._deps, invoke=self._invoke)

    def _is_async(self) -> bool:
        program, _ = program_for(self.workflow, self.state.run_id)
        return bool(program.async_places) or self._concurrency > 1
