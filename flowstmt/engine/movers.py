"""One run in the hands of this process, from the moment it has the lease until it gives it up.

Rules:

1. One write is one truth. The run is what was last committed with this lease; objects in memory are a draft of the next
   checkpoint. Whatever goes wrong, the draft is dropped.
2. What has come for the run is answered in the write that holds its consequence. Answered in another one, it could be
   lost, or taken twice.
3. A run comes to rest in the write of its last checkpoint, if nothing is left to do for it then. What comes while that write
   is under way is not taken any more: whoever brings it is told to take the run again (``MovedOnError``), and messages make
   the run due in the database.
4. Callbacks are taken beside a running resume. Controls change a run as nobody else may meanwhile: so a checkpoint after
   which one waits ends the resume, once it is committed, and another resume goes on behind it.
5. Nothing of a mover outlives it: neither its tasks nor a transaction. Threads do, if the engine is closing.

Theory: all but the write itself happens in one event loop. ``_save`` decides whether the run comes to rest, and from that
instant (``_resting``) nothing begins any more. The write may fail, which ends the mover; so there is no way back.

What this module must not know: how leases are got and renewed, and who calls.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Callable, Mapping
from datetime import timedelta
from time import monotonic
from typing import Any

import orjson

from flowstmt import control
from flowstmt.beside import cancelled
from flowstmt.core.events import NEEDS_TEARDOWN
from flowstmt.core.state import (
    AFTER_CALLBACK,
    AFTER_FAILURE,
    AFTER_RESUME,
    ENDED,
    MAIN,
    OVER,
    RUN_PAUSED,
    RUN_RESUMING,
    SET_UP,
    CallbackRequest,
    CheckpointType,
    State,
)
from flowstmt.current import Current
from flowstmt.drive import handle_callback_async, resume_async
from flowstmt.engine.deliveries import Control, Delivery, MovedOnError
from flowstmt.engine.failures import Failure, failure_of, log_failure
from flowstmt.engine.invoking import StepTransaction, guarded
from flowstmt.engine.messages import ControlBody, EventBody, write_error_info
from flowstmt.engine.surroundings import Surroundings
from flowstmt.errors import (
    AmbiguousCallbackError,
    ConflictError,
    ControlError,
    FlowstmtError,
    LeaseLostError,
    NotWaitingError,
    PausedError,
    SetupError,
    StaleCallbackError,
    StateError,
    StepTimeoutError,
    WorkflowFinishedError,
    quoted,
    said,
)
from flowstmt.snapshot import dump, load
from flowstmt.stores.protocol import (
    Claimed,
    HistoryRow,
    Message,
    MessageKind,
    MessageStatus,
    NewRun,
    Publication,
    Release,
    Rest,
    Save,
    Setback,
    Taken,
)

__all__ = ["Mover"]

logger = logging.getLogger("flowstmt.engine")

_CONTROLS: Mapping[str, Callable[..., None]] = {
    "pause": control.pause,
    "unpause": control.unpause,
    "cancel": control.cancel,
    "goto": control.goto,
    "retry_now": control.retry_now,
    "set_data": control.set_data,
}


class _TurnError(BaseException):
    """Ends a resume after a checkpoint that was committed: something has to be done for which no resume may run.

    No ``Exception``: nothing in between may take it for a failure.
    """


class _NotNowError(BaseException):
    """A delivery whose moment has passed before its task began."""


class Mover:
    """Moves one run. ``ended`` is done once it has given the run up, or lost it.

    With ``goes_on`` it moves the run as far as it gets; without, it only takes what was brought, and gives the run back.
    """

    __slots__ = (
        "_abandoned",
        "_around",
        "_attempts",
        "_blob",
        "_children",
        "_controls",
        "_deliveries",
        "_early",
        "_error",
        "_extra",
        "_fence",
        "_history",
        "_ids",
        "_kept",
        "_leaving",
        "_lost",
        "_messages",
        "_postman",
        "_resting",
        "_resuming",
        "_saving",
        "_set_back_before",
        "_taken",
        "_told_to_end",
        "_transaction",
        "_writing",
        "clock",
        "ended",
        "goes_on",
        "rested",
        "run_id",
        "state",
        "taking",
        "task",
        "wake_at",
        "workflow",
        "workflow_name",
    )

    def __init__(self, around: Surroundings, claimed: Claimed, *, goes_on: bool = True) -> None:
        self._around = around
        self.clock = around.clock
        self.run_id = claimed.run_id
        self.workflow_name = claimed.workflow
        self.goes_on = goes_on
        self._fence = claimed.fence
        self._attempts = claimed.attempts
        self._blob = claimed.snapshot
        # It was paused because it could not be moved: that is in its row only.
        self._set_back_before = claimed.status == RUN_PAUSED
        self._error = claimed.error
        self.workflow: Any = None
        self.state: State
        self.task: asyncio.Task[None] | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.rested = False
        self.wake_at: Any = None
        # What was brought, in the order in which it came.
        self._deliveries: deque[Delivery] = deque()
        self._controls: deque[Control] = deque()
        # Callbacks and signals for which nobody waits yet.
        self._early: list[Delivery] = []
        self._kept: list[Delivery] = []
        self._ids: set[str] = set()
        self._postman: asyncio.Task[None] | None = None
        self.taking: Delivery | None = None
        # What goes with the next write.
        self._taken: list[Taken] = []
        self._messages: list[Message] = []
        self._children: list[NewRun] = []
        self._history: list[tuple[str, str, int, Any, timedelta, str | None]] = []
        # The checkpoint that is being written, and what is known of it.
        self._saving: asyncio.Future[None] | None = None
        self._writing: tuple[CheckpointType, Rest | None, bytes] | None = None
        # A write beside the checkpoints that is under way.
        self._extra: asyncio.Future[Any] | None = None
        self._transaction: StepTransaction | None = None
        self._resuming = self._resting = False
        self._leaving = self._lost = self._abandoned = self._told_to_end = False
        for message in claimed.messages:
            self.deliver(message)

    @property
    def fence(self) -> int:
        """The fencing token of its lease."""
        return self._fence

    def begin(self) -> None:
        """Start moving, in a task of its own."""
        self.task = asyncio.get_running_loop().create_task(self._move(), name=f"flowstmt run {self.run_id}")

    # --- what is brought ---

    async def callback(self, request: CallbackRequest, payload: Any, timeout: float | None = None) -> Any:
        """Hand in a callback; what its handler returned, once that is saved. Raises what refuses it.

        One that comes before the run has reached its Wait waits as long as the run goes on by itself, but not longer than
        ``timeout``. Raises ``MovedOnError`` if the run is given up first.
        """
        if self.ended.done():
            raise self._moved_on()
        delivery = Delivery(self, request, payload)
        assert delivery.caller is not None  # it has no message
        self._bring(delivery)
        try:
            async with asyncio.timeout(timeout):
                return await delivery.caller
        except TimeoutError:
            if not delivery.is_given_up:
                raise
            await self._take_back(delivery)
            if delivery.refused is not None:
                raise delivery.refused from None
            raise
        except asyncio.CancelledError:
            await self._take_back(delivery)
            raise

    async def control(self, action: str, arguments: Mapping[str, Any]) -> None:
        """Do something to the run, between two checkpoints; returns once that is saved. Raises ``MovedOnError`` as above."""
        if self.ended.done():
            raise self._moved_on()
        wanted = Control(action, arguments)
        assert wanted.caller is not None  # it has no message
        self._controls.append(wanted)
        try:
            await wanted.caller
        except asyncio.CancelledError:
            if wanted in self._controls:
                self._controls.remove(wanted)
            raise

    def deliver(self, message: Message) -> None:
        """Take a message from the inbox; one that was handed in before is passed over."""
        if message.id in self._ids:
            return
        self._ids.add(message.id)
        try:
            if message.kind is MessageKind.control:
                body = ControlBody.read(message.body)
                self._controls.append(Control(body.action, body.arguments, message))
                return
            event = EventBody.read(message.body, self.run_id)
        except Exception as error:
            logger.exception("run %r: message %r can't be read; it is a dead letter", self.run_id, message.id)
            refused = Control("", {}, message).refuse(StateError(f"the message can't be read: {said(error)}"))
            assert refused is not None  # it has a message
            refused.status = MessageStatus.dead
            self._taken.append(refused)
            return
        self._bring(Delivery(self, event.request, event.payload, message))

    def leave(self) -> None:
        """Give the run back after the next checkpoint."""
        self._leaving = True

    def lose(self) -> None:
        """The lease is lost: drop everything."""
        if not self._lost and not self.ended.done():
            self._lost = True
            self._end_task()

    def abandon(self) -> None:
        """Give the run back as it is in the database; threads of actions are left alone."""
        self._abandoned = True
        self._end_task()

    def _end_task(self) -> None:
        self._told_to_end = True
        if self.task is not None:
            self.task.cancel()

    def _bring(self, delivery: Delivery) -> None:
        self._deliveries.append(delivery)
        self._send_postman()

    async def _take_back(self, delivery: Delivery) -> None:
        """Its caller does not wait any more. It changes nothing, unless its handler has returned."""
        for where in (self._deliveries, self._early):
            if delivery in where:
                where.remove(delivery)
        if delivery.task is not None:
            await cancelled([delivery.task])

    def _moved_on(self) -> MovedOnError:
        return MovedOnError(f"run {self.run_id!r}: this worker has given it up; nothing was done")

    # --- moving ---

    async def _move(self) -> None:
        reason: BaseException | None = None
        try:
            await self._go()
        except GeneratorExit:
            raise  # nobody awaits it any more, so it can't await either
        except asyncio.CancelledError as error:
            if not self._told_to_end:
                reason = error
        except LeaseLostError as error:
            if not self._lost:
                self._lost = True
                logger.warning("%s", error)
        except BaseException as error:  # noqa: BLE001 one run's trouble is its own
            reason = error
        try:
            await self._end(reason)
        except asyncio.CancelledError:
            pass
        except BaseException:
            logger.exception("run %r could not be given up; its lease runs out by itself", self.run_id)
        finally:
            self._finish(reason)

    async def _go(self) -> None:
        self._load()
        while not self.rested:
            if self._controls:
                await self._control(self._controls.popleft())
            elif self._set_back_before:
                await self._stay_paused()
            elif self._deliveries:
                await self._attempt(self._deliveries.popleft())
            elif self._leaving or not self.goes_on:
                await self._come_to_rest()
            else:
                await self._resume()

    async def _resume(self) -> None:
        """One resume, and what is left to do when it has ended."""
        state = self.state
        before = state.revision
        if await self._resumed() and not self.rested:
            if self._controls or self._deliveries or self._leaving or state.status is RUN_RESUMING:
                return
            if self._offer(None):
                return
            self._refuse_early()
            due = state.wake_at is not None and state.wake_at <= self.clock()
            if not due or state.revision == before:
                await self._come_to_rest()

    async def _resumed(self) -> bool:
        """Resume; whether the objects are still those of the last checkpoint. Else they are loaded again."""
        settings = self._around.settings
        self._resuming = True
        loaded = True
        try:
            self._send_postman()
            await resume_async(
                self.workflow,
                self.state,
                self._save,
                now=self.clock,
                deps=settings.deps,
                invoke=self.invoke,
                concurrency=settings.step_concurrency,
            )
        except _TurnError:
            loaded = False
        except SetupError as error:
            logger.info("%s", error)  # each failure was told when it happened
        except StepTimeoutError as error:
            if not error.saved:
                raise
            loaded = False
        finally:
            self._resuming = False
        if self._transaction is not None:
            self._transaction.roll_back()
            self._transaction = None
        if self._postman is not None:
            await asyncio.wait([self._postman])
        if not loaded and not self.rested:
            self._load()
        return loaded

    def _load(self) -> None:
        cls = self._around.catalogue.class_of(self.workflow_name)
        self.workflow, self.state = load(cls, self._blob)
        if self.state.run_id != self.run_id:
            raise StateError(f"run {self.run_id!r}: its snapshot is that of run {quoted(self.state.run_id)}")

    # --- checkpoints ---

    def _save(self, kind: CheckpointType) -> asyncio.Future[None]:
        """For the drivers: write a checkpoint. What this returns is done when it is committed."""
        return self._write(kind, dump(self.workflow, self.state))

    def _write(self, kind: CheckpointType, blob: bytes) -> asyncio.Future[None]:
        state = self.state
        if kind is AFTER_CALLBACK and self.taking is not None:
            taken = self.taking.taken()
            if taken is not None:
                self._taken.append(taken)
            self.taking = None
        rest = self._rest(kind) if state.status is not RUN_RESUMING or self._leaving or not self.goes_on else None
        save = Save(self.run_id, self._fence, state.revision, blob, rest)
        if self._taken:
            save.taken, self._taken = self._taken, []
        if self._messages:
            save.messages, self._messages = self._messages, []
        if self._children:
            save.children, self._children = self._children, []
        if self._history:
            save.history = self._history_rows(state.revision)
        self._blob = blob
        self._writing = kind, rest, blob
        future = self._saving = asyncio.get_running_loop().create_future()
        transaction = self._transaction
        if transaction is not None and kind is AFTER_FAILURE:
            transaction.roll_back()
            transaction = self._transaction = None
        if transaction is None:
            self._around.writes.submit(save, self._written)
        else:
            self._transaction = None
            transaction.commit(save, self._written)
        if self._early or self._kept:
            self._offer_beside()
        return future

    def _written(self, outcome: Any) -> None:
        """The database has answered."""
        future, writing = self._saving, self._writing
        assert future is not None and writing is not None  # it was asked
        self._saving = self._writing = None
        kind, rest, blob = writing
        error: BaseException | None = None
        if outcome is True:
            if rest is not None:
                self.rested = True
                self.wake_at = rest.wake_at
            self._attempts = 0
            self._around.watchers.tell(self.run_id, blob)
            if self._resuming and kind is not AFTER_CALLBACK and self._wants_turn():
                error = _TurnError()
        elif outcome is False:
            error = self._lease_lost()
        else:
            error = outcome
        if future.done():
            return
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    def _wants_turn(self) -> bool:
        """Whether the resume has to end after this checkpoint."""
        if self.rested:
            return self.state.status is RUN_RESUMING
        return bool(self._controls) or self._leaving or any(each.needs_its_output for each in self._deliveries)

    def _lease_lost(self) -> LeaseLostError:
        return LeaseLostError(
            f"run {self.run_id!r}: its lease (fence {self._fence}) was lost, so another worker moves it. What this one did since "
            "the last checkpoint was not saved, and is done again"
        )

    def _rest(self, kind: CheckpointType) -> Rest | None:
        """What the run is at rest, if it can come to rest with the checkpoint that is to be written."""
        state = self.state
        if self._controls or self._set_back_before or (self._resuming and kind is AFTER_CALLBACK):
            return None
        if not self.goes_on and not self._leaving:
            if self._deliveries:
                return None
        elif not self._leaving:
            if self._deliveries or self._early or self._postman is not None or not self._is_quiet():
                return None
            if self._kept and state.status not in OVER:
                return None
        self._resting = True
        return self._rest_now()

    def _is_quiet(self) -> bool:
        """Whether nothing is left to do for a run that is parked, in this resume or the next."""
        state = self.state
        for thread in state.threads:
            for event in thread.events:
                if event.status is not SET_UP:
                    return False
        return state.wake_at is None or state.wake_at > self.clock()

    def _rest_now(self) -> Rest:
        state = self.state
        error = None if state.error is None else write_error_info(state.error)
        main = next((thread for thread in state.threads if thread.id == MAIN and thread.status is not ENDED), None)
        if state.status in OVER:
            # Nobody takes these any more.
            for each in (*self._kept, *self._deliveries):
                if each.is_signal and each.message is not None:
                    self._taken.append(Taken(each.message.id, MessageStatus.done))
            self._kept.clear()
        return Rest(state.status.value, "" if main is None else main.position, state.wake_at, error)

    async def _come_to_rest(self) -> None:
        """Give the run up as it was saved last."""
        self._resting = True
        rest = self._rest_now()
        save = Save(self.run_id, self._fence, self.state.revision, self._blob, rest, self._all_taken())
        await self._write_extra(save)
        self.rested = True
        self.wake_at = rest.wake_at

    async def _stay_paused(self) -> None:
        """The run was paused because it could not be moved, and nobody has let it go on."""
        self._resting = True
        for delivery in self._deliveries:
            if delivery.message is None:
                delivery.refuse(
                    PausedError(
                        f"run {self.run_id!r}: event {delivery.request.name!r} refused: the run is Paused, since it could not be "
                        "moved; its error says why. Let it go on with engine.retry, then hand it in once more"
                    )
                )
        taken = self._all_taken()
        if taken:
            await self._write_extra(Save(self.run_id, self._fence, self.state.revision, self._blob, None, taken))
        setback = Setback(self.run_id, self._fence, self._attempts, self._error or b"null", None)
        if not await self._around.writes.write(setback):
            raise self._lease_lost()
        self.rested = True

    async def _tell_answers(self) -> None:
        """Save answers that belong to no checkpoint; the run stays as it is."""
        while self._saving is not None:
            await asyncio.wait([self._saving])
        # Answers go with the checkpoint that commits the transaction: what this writes could come behind that.
        if self._taken and self._transaction is None and not self._resting:
            await self._write_extra(Save(self.run_id, self._fence, self._known_revision(), self._blob, None, self._all_taken()))

    def _known_revision(self) -> int:
        revision: int = orjson.loads(self._blob)["state"]["revision"]
        return revision

    async def _write_extra(self, save: Save) -> None:
        extra = self._extra = asyncio.ensure_future(self._around.writes.write(save))
        try:
            saved = await extra
        finally:
            self._extra = None
        if not saved:
            raise self._lease_lost()

    def _all_taken(self) -> list[Taken]:
        taken, self._taken = self._taken, []
        return taken

    # --- callbacks and signals ---

    def _send_postman(self) -> None:
        """Have deliveries taken beside the running resume."""
        if self._postman is None and self._deliveries and self._resuming and not self._resting:
            self._postman = asyncio.get_running_loop().create_task(self._deliver_beside())

    async def _deliver_beside(self) -> None:
        try:
            while self._deliveries and self._resuming and not self._resting:
                if self._deliveries[0].needs_its_output:
                    return  # its turn comes when the resume has ended
                await self._attempt(self._deliveries.popleft())
        except LeaseLostError:
            return  # the resume is told as well
        finally:
            self._postman = None

    async def _attempt(self, delivery: Delivery) -> None:
        """Hand in a delivery, beside the running resume or alone."""
        if delivery.is_given_up:
            return
        beside = self._resuming
        loop = asyncio.get_running_loop()
        task = delivery.task = loop.create_task(self._hand_in(delivery, beside), context=delivery.context)
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            await cancelled([task])
            self._deliveries.appendleft(delivery)
            raise
        delivery.task = None
        if task.cancelled():
            if not delivery.is_given_up:
                self._refuse(delivery, RuntimeError("its handler was cancelled"))
            return
        error = task.exception()
        if error is not None:
            await self._not_taken(delivery, error, beside)
            return
        output = task.result()
        if not beside:
            try:
                delivery.keep_output(output)
            except StateError as unfit:
                # What it changed is dropped.
                self._refuse(delivery, unfit)
                self._load()
                return
            self.taking = delivery
            await self._save(AFTER_CALLBACK)
        delivery.answer(output)

    async def _hand_in(self, delivery: Delivery, beside: bool) -> Any:
        # The task may begin in another world than it was made in.
        if beside is not self._resuming or self._resting:
            raise _NotNowError
        return await handle_callback_async(
            delivery.request,
            self.workflow,
            self.state,
            delivery.payload,
            now=delivery.clock,
            deps=self._around.settings.deps,
            invoke=delivery.invoke,
        )

    async def _not_taken(self, delivery: Delivery, error: BaseException, beside: bool) -> None:
        """It was refused, came too early, or the resume beside which it waited has ended."""
        if isinstance(error, _NotNowError) or (beside and isinstance(error, ConflictError) and error is not delivery.raised):
            self._deliveries.appendleft(delivery)
            if beside:
                # Not before the resume has ended: until then it would be told the same.
                await asyncio.sleep(0)
            return
        delivery.tried = self.state.revision
        if isinstance(error, NotWaitingError | PausedError) and error is not delivery.raised:
            if delivery.is_signal:
                self._keep(delivery)
                return
            if isinstance(error, NotWaitingError):
                delivery.refused = error
                self._early.append(delivery)
                return
        if delivery.is_signal and error is not delivery.raised:
            if isinstance(error, AmbiguousCallbackError):
                self._pick_longest(delivery)
                return
            if isinstance(error, StaleCallbackError | WorkflowFinishedError):
                assert delivery.message is not None  # it is a signal
                logger.debug("run %r: signal %r came too late: %s", self.run_id, delivery.message.id, error)
                self._taken.append(Taken(delivery.message.id, MessageStatus.done))
                return
        self._refuse(delivery, error)
        await self._tell_answers()

    def _keep(self, delivery: Delivery) -> None:
        """Nobody waits for a signal yet."""
        message = delivery.message
        assert message is not None  # it is a signal
        if message.status is MessageStatus.new:
            self._taken.append(Taken(message.id, MessageStatus.kept))
            message.status = MessageStatus.kept
        self._kept.append(delivery)

    def _pick_longest(self, delivery: Delivery) -> None:
        """Of several threads that wait for a signal the one that has waited longest takes it."""
        name = delivery.request.name
        waiting = [
            thread
            for thread in self.state.threads
            if any(event.name == name and event.status not in NEEDS_TEARDOWN for event in thread.events)
        ]
        if not waiting:
            self._keep(delivery)
            return
        first = min(waiting, key=lambda thread: thread.ready)
        delivery.request = CallbackRequest(name, first.id, run_id=self.run_id)
        self._deliveries.appendleft(delivery)

    def _refuse(self, delivery: Delivery, error: BaseException) -> None:
        if delivery.is_signal and delivery.message is not None:
            line = "run %r: signal %r for event %r is a dead letter: %s"
            logger.warning(line, self.run_id, delivery.message.id, delivery.request.name, said(error), exc_info=error)
        taken = delivery.refuse(error)
        if taken is not None:
            self._taken.append(taken)

    def _offer_beside(self) -> None:
        """At a checkpoint: have those tried for whose event somebody waits now."""
        if self._resuming and not self._resting:
            threads = self.state.threads
            self._offer({event.name for thread in threads for event in thread.events if event.status not in NEEDS_TEARDOWN})

    def _offer(self, names: set[str] | None) -> bool:
        """Have those tried again that came too early, the first of each kind; whether there are any.

        With ``names`` only these events. What was refused at this very revision would be so again.
        """
        revision = self.state.revision
        seen: set[tuple[Any, ...]] = set()
        found = []
        for delivery in (*self._early, *self._kept):
            request = delivery.request
            kind = (request.name, request.thread_id, request.birth, request.pc)
            if kind in seen or (names is not None and request.name not in names):
                continue
            seen.add(kind)
            if delivery.tried != revision:
                found.append(delivery)
        for delivery in found:
            (self._kept if delivery.is_signal else self._early).remove(delivery)
            self._bring(delivery)
        return bool(found)

    def _refuse_early(self) -> None:
        """The run is parked: nobody will wait for these by itself."""
        early, self._early = self._early, []
        for delivery in early:
            assert delivery.refused is not None  # that is why it is here
            self._refuse(delivery, delivery.refused)

    # --- controls ---

    async def _control(self, wanted: Control) -> None:
        """Do to the run what was asked for, and save it."""
        if wanted.caller is not None and wanted.caller.cancelled():
            return
        try:
            self._apply(wanted)
        except Exception as error:  # noqa: BLE001 told to who asked
            refused = wanted.refuse(error)
            if refused is not None:
                self._taken.append(refused)
            await self._tell_answers()
            return
        taken = wanted.taken()
        if taken is not None:
            self._taken.append(taken)
        try:
            await self._save(AFTER_RESUME)
        except asyncio.CancelledError:
            self._controls.appendleft(wanted)
            raise
        wanted.answer()

    def _apply(self, wanted: Control) -> None:
        action = _CONTROLS.get(wanted.action)
        if action is None:
            raise ControlError(f"run {self.run_id!r}: {quoted(wanted.action)} is nothing that can be done to a run")
        if self._set_back_before:
            if wanted.action == "pause":
                raise ControlError(f"run {self.run_id!r}: pause refused: it is Paused, since it could not be moved")
            if wanted.action == "unpause":
                self._set_back_before = False
                return
        action(self.workflow, self.state, **wanted.arguments, now=self.clock())
        if wanted.action == "cancel":
            self._set_back_before = False

    # --- what users wrote is called ---

    def invoke(self, current: Current, call: Callable[[], Any]) -> Any:
        """The hook of the drivers: call in the event loop, in a thread, or in a transaction."""
        current.publisher = self._publish
        if current.is_async:
            # A twin's action, and a handler, have tasks of their own.
            alone = current.workflow is self.workflow and current.kind != "handler"
            called = call() if alone else guarded(call())
        elif current.inline:
            called = call()
        elif current.transactional:
            called = self._in_transaction(current, call)
        else:
            called = self._around.threads.call(call).outcome(self._leaves_threads)
        return self._timed(current, called) if self._around.settings.history and current.kind == "action" else called

    async def _in_transaction(self, current: Current, call: Callable[[], Any]) -> Any:
        # A write of the same run that comes out of the lane behind this would undo it.
        while self._extra is not None:
            await asyncio.wait([self._extra])
        transaction = StepTransaction(self._around.store, current, call)
        self._around.threads.begin(transaction.work)
        result = await transaction.outcome(self._leaves_threads)
        try:
            if hasattr(type(result), "__await__"):
                result = await result
        except BaseException:
            transaction.roll_back()
            raise
        self._transaction = transaction
        return result

    def _leaves_threads(self) -> bool:
        return self._abandoned

    async def _timed(self, current: Current, called: Any) -> Any:
        """Keep how long an attempt took, and how it ended."""
        started_at, began = self.clock(), monotonic()
        error: str | None = None
        try:
            result = await called
            if hasattr(type(result), "__await__"):
                result = await result
            return result
        except BaseException as raised:
            error = said(raised)
            raise
        finally:
            duration = timedelta(0, monotonic() - began)
            self._history.append((current.thread_id, current.position, current.attempt, started_at, duration, error))

    def _history_rows(self, revision: int) -> list[HistoryRow]:
        rows, self._history = self._history, []
        return [HistoryRow(revision, *row) for row in rows]

    def _publish(self, value: Any) -> None:
        """For actions, from any thread."""
        try:
            body = orjson.dumps(value)
        except TypeError:
            body = json.dumps(value).encode()  # a number past 64 bits
        self._around.writes.submit(Publication(self.run_id, body), self._published)

    def _published(self, outcome: Any) -> None:
        if outcome is True:
            self._around.watchers.tell(self.run_id)
        else:
            logger.warning("run %r: what it published was not kept: %s", self.run_id, outcome)

    def send(self, message: Message) -> None:
        """Post a message to another run with the next checkpoint."""
        self._messages.append(message)

    def start(self, child: NewRun) -> None:
        """Start another run with the next checkpoint."""
        self._children.append(child)

    # --- the end ---

    async def _end(self, reason: BaseException | None) -> None:
        """Give up the lease, whatever has happened."""
        self._resting = True
        if self._transaction is not None:
            self._transaction.roll_back()
            self._transaction = None
        if self._postman is not None:
            await cancelled([self._postman])
        if self._lost:
            return
        if reason is not None:
            await self._set_back(reason)
        elif not self.rested:
            self._around.writes.submit(Release(self.run_id, self._fence), _ignore)

    async def _set_back(self, reason: BaseException) -> None:
        """The run can't be moved."""
        around = self._around
        if self.rested and not await self._is_taken_again():
            return
        failure: Failure = failure_of(reason, self._attempts, around.settings.retry, self.run_id, self.clock)
        log_failure(self.run_id, reason, failure)
        self._refuse_early()
        taken = self._all_taken()
        if taken:
            await self._write_extra(Save(self.run_id, self._fence, self._known_revision(), self._blob, None, taken))
        setback = Setback(self.run_id, self._fence, failure.attempts, write_error_info(failure.info), failure.retry_at)
        setback.history = self._history_rows(self._known_revision() + 1)
        if not await around.writes.write(setback):
            logger.warning("%s", self._lease_lost())
            return
        self.rested = True
        self.wake_at = failure.retry_at
        around.watchers.tell(self.run_id)

    async def _is_taken_again(self) -> bool:
        """Whether the lease, given up with the last checkpoint, could be got again: what follows from that checkpoint failed."""
        settings = self._around.settings
        claims = await self._around.writes.call(self._around.store.claim_run, settings.worker_id, self.run_id, settings.lease)
        if not claims.runs:
            return False
        self._fence = claims.runs[0].fence
        self.rested = False
        return True

    def _finish(self, reason: BaseException | None) -> None:
        """Nobody waits for this mover from here on."""
        unreadable = reason if self.workflow is None and isinstance(reason, FlowstmtError) else None
        for each in (*self._deliveries, *self._early, *self._controls):
            if each.message is None:
                each.refuse(unreadable or self._moved_on())
        self._deliveries.clear()
        self._controls.clear()
        self._early.clear()
        self._kept.clear()
        self.task = None
        if not self.ended.done():
            self.ended.set_result(None)


def _ignore(_: Any) -> None:
    """For a write whose outcome changes nothing."""
