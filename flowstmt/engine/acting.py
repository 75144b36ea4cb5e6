"""What an engine does to runs: starts them, hands in callbacks and signals, controls and deletes them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Collection, Mapping
from datetime import datetime
from functools import partial
from time import monotonic
from typing import Any, TypeAlias
from uuid import uuid4

import orjson

from flowstmt.core.children import parent_of
from flowstmt.core.program import program_for
from flowstmt.core.state import OVER, CallbackRequest, WorkflowStatus, aware, is_text
from flowstmt.core.statements import Event, On
from flowstmt.current import CURRENT, Current
from flowstmt.engine.beginning import Begun, begin
from flowstmt.engine.children import waits_for
from flowstmt.engine.elsewhere import join
from flowstmt.engine.looking import Looking
from flowstmt.engine.messages import ControlBody, EventBody, encode_output, encode_payload, typed_output
from flowstmt.engine.movers import Mover
from flowstmt.engine.requests import Ask, Requests, not_found, why_paused
from flowstmt.engine.runs import RunInfo, new_run_info, outcome_in, outcome_of, run_info
from flowstmt.engine.starting import settled
from flowstmt.engine.surroundings import Surroundings
from flowstmt.engine.watching import Change
from flowstmt.engine.worker import Worker
from flowstmt.errors import (
    CallbackError,
    ConflictError,
    ControlError,
    FlowstmtError,
    StateError,
    UnknownEventError,
    WorkflowFinishedError,
    a_kind_of,
    did_you_mean,
    listed,
    message_of,
    quoted,
)
from flowstmt.handlers import validate_payload
from flowstmt.snapshot import load
from flowstmt.stores.protocol import Claimed, Message, MessageKind, NewRun, Posted, Release, Started, StoredRun

__all__ = ["Acting", "Request"]

_log = logging.getLogger("flowstmt.engine")

Request: TypeAlias = CallbackRequest | Event[Any, Any] | str

_PURGED_AT_ONCE = 500
"""Others write between two transactions of a purge."""


class Acting:
    """Acts upon the runs of an engine."""

    def __init__(self, shared: Surroundings, worker: Worker, requests: Requests, looking: Looking) -> None:
        self._shared = shared
        self._store = shared.store
        self._lane = shared.writes
        self._reader = shared.reads
        self._catalogue = shared.catalogue
        self._clock = shared.clock
        self._settings = shared.settings
        self._worker = worker
        self._requests = requests
        self._looking = looking
        self._events: dict[type[Any], frozenset[str]] = {}

    # --- start ---

    async def start(self, run: NewRun, connection: Any) -> RunInfo:
        """Store a new run; one that this process may move begins at once."""
        if connection is not None:
            return self._started(run, await join(self._store, connection, run))
        stored: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        begun: Begun | None = None
        if run.queue is None and run.start_at is None and self._worker.reserve():
            run.worker, run.lease = self._settings.worker_id, self._settings.lease
        try:
            if run.worker is not None:
                begun = await begin(self._shared, run)
                if begun is not None:
                    run.snapshot = begun.snapshot
            self._lane.submit(run, partial(self._stored, run, begun, stored))
        except BaseException:
            if run.worker is not None:
                self._worker.unreserve()
            raise
        return self._started(run, await stored)

    def _stored(self, run: NewRun, begun: Begun | None, caller: asyncio.Future[Any], outcome: Any) -> None:
        """The database has answered, and its caller may have been cancelled meanwhile.

        A run that is stored with our lease must get to the worker, or nobody moves it until the lease has run out.
        """
        if run.worker is not None:
            if isinstance(outcome, Started) and outcome.created:
                self._worker.adopt(Claimed(run.run_id, run.workflow, 1, 0, run.snapshot), begun)
            else:
                self._worker.unreserve()
                self._look_for_lost_lease(run, outcome)
        if caller.done():
            return
        if isinstance(outcome, Exception):
            caller.set_exception(outcome)
        else:
            caller.set_result(outcome)

    def _look_for_lost_lease(self, run: NewRun, outcome: Any) -> None:
        """It was stored when it was handed in before, perhaps, and the answer was lost: nobody knows that its lease is ours."""
        there = outcome.existing if isinstance(outcome, Started) else None
        if there is None or (there.run_id, there.owner, there.fence) != (run.run_id, self._settings.worker_id, 1):
            return
        if self._worker.held(run.run_id) is None:
            self._lane.submit(Release(run.run_id, 1), lambda _: self._worker.wake())

    def _started(self, run: NewRun, started: Any) -> RunInfo:
        existing = settled(run, started)
        return new_run_info(run, self._clock()) if existing is None else run_info(existing)

    # --- callbacks and signals ---

    async def callback(self, run_id: str, event: Request, payload: Any, thread_id: str | None, seconds: float | None) -> Any:
        """Hand in a callback where the run is moved; its output."""
        request = _request(run_id, event, thread_id)
        _refuse_inside(run_id, "callback")
        blob = encode_payload(payload, request.name, run_id)

        async def of_mover(mover: Mover) -> bytes:
            return encode_output(await mover.callback(request, blob), request.name, run_id)

        body = EventBody(request, blob).write()
        ask = Ask(run_id, f"the callback {request.name!r}", MessageKind.callback, body, of_mover)
        output = await self._requests.ask(ask, seconds)
        wanted = event.output if isinstance(event, Event) else None
        return typed_output(output, wanted, request.name, run_id)

    async def signal(
        self, run_id: str, event: Request, payload: Any, key: str | None, thread_id: str | None, connection: Any
    ) -> bool:
        """Leave an event in the inbox of a run; whether it is new."""
        message = await self._new_signal(run_id, event, payload, key, thread_id, joins=connection is not None)
        if connection is None:
            posted = await self._lane.write(message)
        else:
            posted = await join(self._store, connection, message)
        if posted is Posted.unknown:
            raise not_found(run_id)
        if posted is Posted.over:
            raise _over(run_id, "the signal", "over")
        if connection is None and self._worker.held(run_id) is not None:
            self._worker.wake()  # and not handed over here: it would overtake what others have sent before
        return posted is Posted.posted

    async def _new_signal(
        self, run_id: str, event: Request, payload: Any, key: str | None, thread_id: str | None, *, joins: bool
    ) -> Message:
        """The message of a signal. What can be refused now is: later nobody would be there to be told."""
        request = _request(run_id, event, thread_id)
        if key is not None and (not is_text(key) or not key):
            raise StateError(f"run {run_id!r}: the key of a signal must be a text that is not empty, not {quoted(key)}")
        blob = encode_payload(payload, request.name, run_id)
        if isinstance(event, Event) and event.payload is not None:
            validate_payload(blob, event.payload, event.name, run_id)
        try:
            row = await self._looking.row(run_id)
        except FlowstmtError:
            if not joins:
                raise
            # Started in the same transaction, perhaps, which nobody else can see.
        else:
            if key is None and row.status in OVER:
                raise _over(run_id, f"the signal {request.name!r}", row.status)
            self._refuse_unknown_event(request, row)
        return Message(uuid4().hex, run_id, MessageKind.signal, EventBody(request, blob).write(), key=key)

    def _refuse_unknown_event(self, request: CallbackRequest, row: StoredRun) -> None:
        """Raise ``UnknownEventError`` for an event that the workflow's class does not have, if the class is known here."""
        if not self._requests.knows(row):
            return
        cls = self._catalogue.class_of(row.workflow)
        events = self._events.get(cls)
        if events is None:
            try:
                workflow, _ = load(cls, row.snapshot or b"")
                program, _ = program_for(workflow, row.run_id)
            except FlowstmtError:
                return  # why the run can't be moved is told elsewhere; once it can, the signal will be looked at
            names = {name for name, nodes in program.events.items() if any(node.kind is On for node in nodes)}
            if program.renames is not None:
                names.update(old for olds in program.renames.events.values() for old in olds)
            events = self._events[cls] = frozenset(names)
        if request.name not in events:
            has = listed([repr(each) for each in sorted(events)]) or "none"
            raise UnknownEventError(
                f"run {row.run_id!r}: {row.workflow} has no event {quoted(request.name)} that can be called from outside; it "
                f"has {has}{did_you_mean(request.name, events)}"
            )

    # --- controls ---

    async def control(
        self, run_id: str, action: str, arguments: Mapping[str, Any], seconds: float | None, called: str | None = None
    ) -> None:
        """Pause, cancel, goto ... a run, where it is moved. Errors say what was ``called``."""
        called = called or action
        _refuse_inside(run_id, called)
        if action == "unpause":
            row = await self._looking.row(run_id)
            if row.status == WorkflowStatus.Paused and not _is_paused_by_hand(row):
                raise ControlError(
                    f"run {run_id!r}: unpause is refused: nobody paused the run. It is Paused because {why_paused(row)}"
                )
        body = ControlBody(action, arguments).write(run_id, called)

        async def of_mover(mover: Mover) -> bytes:
            await mover.control(action, arguments)
            return b"null"

        ask = Ask(run_id, called, MessageKind.control, body, of_mover, ends=action == "cancel")
        try:
            await self._requests.ask(ask, seconds)
        except ControlError as error:
            if called == action:
                raise
            # Whoever moves the run, in whatever process, knows it by the name of the function.
            raise ControlError(message_of(error).replace(f"{action} refused", f"{called} refused", 1)) from None

    async def retry(self, run_id: str, thread: str | None, by: str, reason: str, seconds: float | None) -> None:
        """Make a run due that could not be moved, or threads of it that wait for another attempt."""
        _refuse_inside(run_id, "retry")
        row = await self._looking.row(run_id)
        if row.status == WorkflowStatus.Paused and _is_paused_by_hand(row):
            raise ControlError(
                f"run {run_id!r}: retry is refused: the run has not failed, it was paused{_by_whom(row)}. unpause lets it go on"
            )
        is_set_back = thread is None and row.owner is None and (row.status == WorkflowStatus.Paused or row.attempts > 0)
        if is_set_back and await self._lane.write(Release(run_id)):
            _log.info("run %r was released by %s: %s", run_id, by or "somebody", reason or "no reason given")
            return
        arguments = {"thread": thread, "by": by, "reason": reason}
        await self.control(run_id, "retry_now", arguments, seconds, called="retry")

    # --- the rest ---

    async def result(self, run_id: str, seconds: float | None) -> Any:
        """What ``main`` returned, once the run is over."""
        _refuse_inside(run_id, "result")
        began = monotonic()
        if self._is_moved_here(run_id):
            snapshot = await self._looking.last_checkpoint(run_id, seconds)
            if snapshot is not None:
                return outcome_in(snapshot)
            seconds = None if seconds is None else max(0.0, seconds - (monotonic() - began))
        return outcome_of(await self._looking.until(run_id, OVER, "result", seconds, moves=False))

    async def until(self, run_id: str, statuses: Collection[str], what: str, seconds: float | None) -> StoredRun:
        """The run, once it has come to rest with one of these statuses."""
        _refuse_inside(run_id, what)
        return await self._looking.until(run_id, statuses, what, seconds, moves=self._is_moved_here(run_id))

    def _is_moved_here(self, run_id: str) -> bool:
        """Whether this process moves a run, and will tell when it comes to rest."""
        mover = self._worker.held(run_id)
        return mover is not None and not mover.checkpoints.rested

    def watch(self, run_id: str, published_after: int) -> AsyncGenerator[Change]:
        """What a run is, and all that becomes of it."""
        _refuse_inside(run_id, "watch")
        return self._looking.watch(run_id, published_after)

    async def delete(self, run_id: str) -> bool:
        """Delete a run that nobody moves, and for which nobody waits."""
        await self._refuse_if_awaited(run_id)
        deleted: bool = await self._lane.call(self._store.delete, run_id)
        return deleted

    async def _refuse_if_awaited(self, run_id: str) -> None:
        """Raise ``ConflictError`` for a child that is not over and whose parent waits for its end, which nobody would tell.

        A look, and no transaction, is enough: a parent begins to wait in the write that starts the child.
        """
        stop = parent_of(run_id)
        if stop is None:
            return
        parent_id, _, _ = stop
        child, parent = [await self._reader.call(self._store.get, each) for each in (run_id, parent_id)]
        if child is None or child.status in OVER or parent is None or parent.status in OVER:
            return
        if waits_for(parent.snapshot or b"", run_id):
            raise ConflictError(
                f"run {run_id!r} can't be deleted: it is {child.status}, and the run {parent_id!r} waits for its end, which it "
                "would never hear of. Cancel it first: that undoes what it has done, and its parent is told. If it can't be "
                "cancelled, cancel the parent, or move that on with goto; then delete it"
            )

    async def purge(self, finished_before: datetime) -> int:
        """Delete runs that were over before an instant."""
        before = aware(finished_before, "purge: finished_before")
        purged = 0
        while True:
            found: int = await self._lane.call(self._store.purge, before, _PURGED_AT_ONCE)
            purged += found
            if found < _PURGED_AT_ONCE:
                return purged


def _request(run_id: str, event: Any, thread_id: Any) -> CallbackRequest:
    if isinstance(event, CallbackRequest):
        request = event
        if request.run_id is not None and request.run_id != run_id:
            raise CallbackError(f"run {run_id!r}: the request is for the run {quoted(request.run_id)}: hand it in there")
    elif isinstance(event, Event | str):
        request = CallbackRequest(event if isinstance(event, str) else event.name)
    else:
        raise CallbackError(
            f"run {run_id!r}: expected a CallbackRequest, an Event or the name of an event, not {a_kind_of(event)}"
        )
    if thread_id is None:
        thread_id = request.thread_id
    for what, text in (("name of the event", request.name), ("thread_id", thread_id)):
        if text is not None and not is_text(text):
            raise CallbackError(f"run {run_id!r}: the {what} must be a text, not {quoted(text)}")
    return CallbackRequest(request.name, thread_id, request.pc, request.birth, run_id)


def _refuse_inside(run_id: str, what: str) -> None:
    """Whoever waits for a run from inside of its own call waits for ever."""
    inside = CURRENT.get()
    while inside is not None:
        if inside.state.run_id == run_id and inside.kind and not (isinstance(inside, Current) and inside.over):
            raise ConflictError(
                f"run {run_id!r}: {what} was called from inside of the run's own {inside.kind}, which would wait for itself. "
                "Nothing was changed: leave a signal instead, or let the definition say what comes next"
            )
        inside = inside.outer


def _is_paused_by_hand(row: StoredRun) -> bool:
    """Whether it was ``pause``: then the snapshot says so, else only the row does."""
    try:
        return bool(orjson.loads(row.snapshot or b"")["state"]["status"] == WorkflowStatus.Paused)
    except (ValueError, KeyError, TypeError):
        return False


def _by_whom(row: StoredRun) -> str:
    notes = orjson.loads(row.snapshot or b"")["state"].get("notes", [])
    paused = [note for note in notes if note.get("note") == "paused"]
    if not paused:
        return ""
    last = paused[-1]
    by = f" by {last['by']}" if last.get("by") else ""
    reason = f" ({last['reason']})" if last.get("reason") else ""
    return f"{by} at {last['at']}{reason}"


def _over(run_id: str, what: str, status: str) -> WorkflowFinishedError:
    return WorkflowFinishedError(f"run {run_id!r}: {what} is refused: the run is {status}, and nothing is kept for it")
