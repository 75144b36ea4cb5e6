"""One run in the hands of this process, from the moment it has the lease until it gives it up.

Rules:

1. Objects in memory are a draft of the next checkpoint. Whatever goes wrong, the draft is dropped, and the run is what was
   last committed (``checkpoints.py``).
2. A run comes to rest in the write of its last checkpoint, if nothing is left to do for it then. What comes while that write
   is under way is not taken any more: whoever brings it is told to take the run again (``MovedOnError``), and messages make
   the run due in the database.
3. Callbacks are taken beside a running resume. Controls change a run as nobody else may meanwhile: so a checkpoint after
   which one waits ends the resume, once it is committed, and another resume goes on behind it.
4. What the code of one run raises is the trouble of that run, whatever it is.
5. Nothing of a mover outlives it: neither its tasks nor a transaction. Threads do, if the engine is closing.

Theory: all but the write itself happens in one event loop. What is decided between two awaits holds until the next one.

What this module must not know: how leases are got and renewed, and who calls.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from flowstmt import control
from flowstmt.beside import running_loop
from flowstmt.core.state import (
    AFTER_CALLBACK,
    AFTER_RESUME,
    OVER,
    RUN_PAUSED,
    RUN_RESUMING,
    CallbackRequest,
    CheckpointType,
    State,
)
from flowstmt.drive import handle_callback_async, resume_async
from flowstmt.engine.beginning import Begun
from flowstmt.engine.calling import Calling
from flowstmt.engine.checkpoints import Checkpoints
from flowstmt.engine.children import end_of
from flowstmt.engine.deliveries import Control, Delivery, MovedOnError
from flowstmt.engine.failures import NewerRunError, failure_of, log_failure
from flowstmt.engine.messages import ControlBody, EventBody, read_retry_at, write_error_info
from flowstmt.engine.post import NotNowError, Post
from flowstmt.engine.resting import goes_on_by_itself, is_due, is_quiet, position_of, rest_of
from flowstmt.engine.surroundings import Surroundings
from flowstmt.errors import (
    ControlError,
    FlowstmtError,
    LeaseLostError,
    PausedError,
    SetupError,
    StateError,
    StepTimeoutError,
    quoted,
    said,
)
from flowstmt.snapshot import dump, load, version_of
from flowstmt.stores.protocol import Claimed, Message, MessageKind, Rest

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
    """Ends a resume behind what was committed last: something has to be done for which no resume may run.

    No ``Exception``: nothing in between may take it for a failure.
    """


class Mover:
    """Moves one run. ``ended`` is done once it has given the run up, or lost it.

    With ``goes_on`` it moves the run as far as it gets; without, it only takes what was brought, and gives the run back.
    """

    __slots__ = (
        "_abandoned",
        "_around",
        "_begun",
        "_calling",
        "_controls",
        "_ids",
        "_leaving",
        "_lost",
        "_not_before",
        "_resuming",
        "_row_error",
        "_row_status",
        "_set_back",
        "_task",
        "_told_to_end",
        "_workflow",
        "checkpoints",
        "clock",
        "ended",
        "goes_on",
        "is_deserted",
        "post",
        "run_id",
        "state",
        "workflow",
    )

    def __init__(self, around: Surroundings, claimed: Claimed, *, goes_on: bool = True, begun: Begun | None = None) -> None:
        self._around = around
        # The objects of what was claimed, if there are any yet.
        self._begun = begun
        self.clock = around.clock
        self.run_id = claimed.run_id
        self.goes_on = goes_on
        self.checkpoints = Checkpoints(around, claimed)
        self.post = Post(self)
        self.workflow: Any = None
        self.state: State
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._calling = Calling(around, self.checkpoints)
        self._workflow = claimed.workflow
        self._row_status, self._row_error = claimed.status, claimed.error
        # It is paused in its row only: it could not be moved, and nobody has let it go on.
        self._set_back = False
        # What it failed at is not tried again before, whatever is brought to it meanwhile.
        self._not_before = read_retry_at(claimed.error)
        self._controls: deque[Control] = deque()
        self._ids: set[str] = set()
        self._task: asyncio.Task[None] | None = None
        self._resuming = False
        self._leaving = self._lost = self._abandoned = self._told_to_end = self.is_deserted = False
        for message in claimed.messages:
            self.deliver(message)

    def begin(self) -> None:
        """Start moving, in a task of its own."""
        if not self.ended.done():
            self._task = asyncio.get_running_loop().create_task(self._move(), name=f"flowstmt run {self.run_id}")

    # --- what is brought ---

    async def callback(self, request: CallbackRequest, payload: Any, patience: float | None = None) -> Any:
        """Hand in a callback; what its handler returned, once that is saved. Raises what refuses it.

        One that comes before the run has reached its Wait waits as long as the run goes on by itself, but not longer than
        ``patience`` seconds. Raises ``MovedOnError`` if the run is given up first: then nothing was done.
        """
        if self.ended.done():
            raise self._moved_on()
        delivery = Delivery(self, request, payload)
        assert delivery.caller is not None  # it has no message
        self.post.bring(delivery)
        try:
            async with asyncio.timeout(patience):
                return await delivery.caller
        except TimeoutError:
            if not delivery.is_given_up:
                raise
            await self.post.take_back(delivery)
            if delivery.refused is not None:
                raise delivery.refused from None
            raise
        except asyncio.CancelledError:
            await self.post.take_back(delivery)
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
        if message.id in self._ids or self.ended.done():
            return
        self._ids.add(message.id)
        try:
            if message.kind == MessageKind.control:
                body = ControlBody.read(message.body)
                self._controls.append(Control(body.action, body.arguments, message))
                return
            event = EventBody.read(message.body, self.run_id)
        except Exception as error:
            logger.exception("run %r: message %r can't be read; it is a dead letter", self.run_id, message.id)
            self.checkpoints.taken.append(Control.unreadable(message, StateError(f"the message can't be read: {said(error)}")))
            return
        self.post.bring(Delivery(self, event.request, event.payload, message))

    def leave(self) -> None:
        """Give the run back after the next checkpoint."""
        self._leaving = True

    def lose(self) -> None:
        """The lease is lost: drop everything. One that is being given up is not: what was written last says what came of it."""
        if not self.checkpoints.resting and not self._lost:
            self._lost = True
            logger.warning("%s", self.checkpoints.lease_lost())
            self._end_now()

    def abandon(self) -> None:
        """Give the run back as it is in the database; threads of actions are left alone."""
        self._abandoned = self._calling.leaves_threads = True
        self._end_now()

    def desert(self) -> None:
        """Give the run back though its action goes on: it does not let itself be cancelled."""
        if not self._lost and not self.checkpoints.rested:
            logger.warning("run %r: its action swallows its cancellation, and is left alone", self.run_id)
            self.checkpoints.release()
        self._lost = self.is_deserted = True

    def _end_now(self) -> None:
        self._told_to_end = True
        if self._task is not None:
            self._task.cancel()
        elif not self.ended.done():
            if not self._lost:
                self.checkpoints.release()
            self._finish(None)

    def _moved_on(self) -> MovedOnError:
        return MovedOnError(f"run {self.run_id!r}: this worker has given it up; nothing was done")

    # --- moving ---

    async def _move(self) -> None:
        reason: BaseException | None = None
        try:
            await self._go()
        except GeneratorExit as error:
            if running_loop() is None or asyncio.current_task() is not self._task:
                raise  # nobody awaits this any more, so it can't await either
            reason = error
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
            logger.info("run %r was dropped; its lease runs out by itself", self.run_id)
        except LeaseLostError as error:
            logger.warning("%s", error)
        except BaseException:
            logger.exception("run %r could not be given up; its lease runs out by itself", self.run_id)
        finally:
            self._finish(reason)

    async def _go(self) -> None:
        self.load()
        # Without an error it was let go on, and whoever did died before it came to rest.
        self._set_back = self._row_status == RUN_PAUSED and self._row_error is not None and self.state.status is not RUN_PAUSED
        checkpoints, post = self.checkpoints, self.post
        while not checkpoints.rested:
            if self._controls:
                await self._control(self._controls.popleft())
            elif self._set_back:
                await self._stay_set_back()
            elif post.new:
                await post.hand_in_next(beside=False)
            elif self._is_backing_off():
                await self._back_off()
            elif self._leaving or not self.goes_on:
                await self._give_back()
            else:
                await self._resume()

    async def _resume(self) -> None:
        """One resume, and what is left to do when it has ended."""
        state, post = self.state, self.post
        before = state.revision
        if not await self._resumed() or self.checkpoints.rested:
            return
        if self._controls or post.new or self._leaving or state.status is RUN_RESUMING or post.offer():
            return
        post.refuse_early()
        if not is_due(state, self.clock()) or state.revision == before:
            await self._give_back()

    async def _resumed(self) -> bool:
        """Resume; whether the objects are still those of the last checkpoint. If not, they are loaded again."""
        settings = self._around.settings
        loaded = True
        self._resuming = True
        try:
            self.post.send_postman()
            await resume_async(
                self.workflow,
                self.state,
                self.save,
                now=self.clock,
                deps=settings.deps,
                invoke=self._calling.invoke,
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
        self.checkpoints.roll_back()
        await self.post.until_postman_is_back()
        if not loaded and not self.checkpoints.rested:
            self.load()
        return loaded

    def load(self) -> None:
        """The objects, as they were saved last."""
        if self._begun is not None:
            self.workflow, self.state, _ = self._begun
            self._calling.workflow = self.workflow
            self._begun = None
            return
        cls = self._around.catalogue.class_of(self._workflow)
        try:
            self.workflow, self.state = load(cls, self.checkpoints.blob)
        except StateError as error:
            if _version_in(self.checkpoints.blob) > version_of(cls):
                raise NewerRunError(str(error)) from error
            raise
        self._calling.workflow = self.workflow
        if self.state.run_id != self.run_id:
            raise StateError(f"run {self.run_id!r}: its snapshot is that of run {quoted(self.state.run_id)}")

    # --- checkpoints ---

    def save(self, kind: CheckpointType) -> asyncio.Future[None] | None:
        """Write a checkpoint. What this returns is done when it is committed; None if it is, as it may be inside a resume."""
        state, post = self.state, self.post
        taking: Delivery | None = None
        try:
            blob = dump(self.workflow, state)
        except StateError as unfit:
            if kind is AFTER_CALLBACK and post.taking is not None:
                # What its handler has done to the data is dropped with them, and it is refused: the run goes on without it.
                post.taking.unfit, post.taking = unfit, None
                raise _TurnError from unfit
            raise
        if kind is AFTER_CALLBACK and post.taking is not None:
            taken = post.taking.taken()
            if taken is not None:
                self.checkpoints.taken.append(taken)
            taking, post.taking = post.taking, None
        if state.status in OVER:
            told = end_of(state)
            if told is not None:
                self.checkpoints.messages.append(told)
        parked = state.status is not RUN_RESUMING or self._leaving or not self.goes_on or self._set_back or self._is_let_go()
        rest = self._rest(kind) if parked else None
        if rest is not None:
            rest.version = version_of(type(self.workflow))
        # The answer to a callback that was taken beside a resume must not be an error.
        turn = self._turn if self._resuming and kind is not AFTER_CALLBACK else None
        calm = self._resuming and rest is None and taking is None and not (post.early or post.kept)
        saving = self.checkpoints.save(kind, state.revision, blob, rest, turn, calm=calm)
        if taking is not None:
            taking.saving = saving
        if post.early or post.kept:
            post.offer_at_checkpoint()
        return saving

    def _turn(self) -> BaseException | None:
        """After a checkpoint: what ends the resume."""
        if self.checkpoints.rested:
            return _TurnError() if self.state.status is RUN_RESUMING else None
        return _TurnError() if self._controls or self._leaving or self.post.wants_turn() else None

    def _rest(self, kind: CheckpointType) -> Rest | None:
        """What the run is at rest, if it can come to rest with the checkpoint that is to be written."""
        if self._is_let_go():
            rest = self._at_rest()
            if self.state.status not in OVER:
                rest.wake_at = self.clock()  # for what was kept for it, too
            return rest
        if self._controls or (self._resuming and kind is AFTER_CALLBACK):
            return None
        if self._set_back:
            return Rest(RUN_PAUSED.value, position_of(self.state), None, self._row_error)
        if self._leaving:
            return self._at_rest()
        post = self.post
        if post.is_busy() or (self.goes_on and not is_quiet(self.state, self.clock())):
            return None
        if post.kept and self.state.status not in OVER:
            return None
        return self._at_rest()

    def _is_let_go(self) -> bool:
        """Whether its row says that it is Paused, and it is so no more.

        Only coming to rest changes that word. With it the run would stay Paused if it failed, or was given back as it is.
        """
        return self._row_status == RUN_PAUSED and not self._set_back and self.state.status is not RUN_PAUSED

    def _at_rest(self) -> Rest:
        if self.state.status in OVER:
            self.post.drop_signals()
        return rest_of(self.state)

    async def _give_back(self) -> None:
        """Nothing is left to do, or somebody else is to do it."""
        rest = self._at_rest()
        if self.goes_on and not self._leaving and is_due(self.state, self.clock()):
            # What is due does not get done. That must not keep everybody busy.
            rest.wake_at = self.clock() + self._around.settings.poll
        elif not self.goes_on and not goes_on_by_itself(self.state, self.clock()):
            # Else whoever moves the run gets these: callers are told to try again, messages stay new.
            self.post.refuse_early()
        await self.checkpoints.rest(self.state.revision, rest)

    async def _stay_set_back(self) -> None:
        """The run was paused because it could not be moved, and nobody has let it go on."""
        self.post.refuse_callers(
            PausedError(
                f"run {self.run_id!r}: the callback was refused: the run is Paused, since it could not be moved; its error "
                "says why. Mend that, let the run go on with engine.retry, then hand the callback in once more"
            )
        )
        await self.checkpoints.set_back(self.checkpoints.attempts, self._row_error or b"null", None)

    def _is_backing_off(self) -> bool:
        """Whether it waits for its next try, and nothing has changed it since it failed."""
        return self._not_before is not None and self.checkpoints.attempts > 0 and self.clock() < self._not_before

    async def _back_off(self) -> None:
        """It was got before its time, for what was brought to it."""
        self.post.refuse_early()
        await self.checkpoints.set_back(self.checkpoints.attempts, self._row_error or b"null", self._not_before)

    async def hand_in(self, delivery: Delivery, *, beside: bool) -> Any:
        """Hand a callback or signal to the drivers."""
        # The task that does this may begin in another world than it was made in.
        if beside is not self._resuming or self.checkpoints.resting:
            raise NotNowError
        # Before its turn comes: when it has been refused the run may be elsewhere, where it would be taken.
        delivery.tried = self.state.revision
        return await handle_callback_async(
            delivery.request,
            self.workflow,
            self.state,
            delivery.payload,
            now=delivery.clock,
            deps=self._around.settings.deps,
            invoke=delivery.invoke,
        )

    def takes_beside(self) -> bool:
        """Whether callbacks can be handed in beside a running resume."""
        return self._resuming and not self.checkpoints.resting

    @property
    def invoke(self) -> Callable[..., Any]:
        """The hook of the drivers."""
        return self._calling.invoke

    # --- controls ---

    async def _control(self, wanted: Control) -> None:
        """Do to the run what was asked for, and save it."""
        if wanted.caller is not None and wanted.caller.cancelled():
            return
        taken = self.checkpoints.taken
        try:
            self._apply(wanted)
        except Exception as error:  # noqa: BLE001 told to who asked
            refused = wanted.refuse(error)
            if refused is not None:
                taken.append(refused)
            await self.checkpoints.answer()
            return
        answer = wanted.taken()
        if answer is not None:
            taken.append(answer)
        try:
            wanted.saving = self.save(AFTER_RESUME)
            assert wanted.saving is not None  # no resume is under way
            await wanted.saving
        except BaseException:
            self._controls.appendleft(wanted)  # whoever waits is told
            raise
        wanted.answer()

    def _apply(self, wanted: Control) -> None:
        action = _CONTROLS.get(wanted.action)
        if action is None:
            raise ControlError(f"run {self.run_id!r}: {quoted(wanted.action)} is nothing that can be done to a run")
        if self._set_back and wanted.action in ("pause", "unpause"):
            raise ControlError(
                f"run {self.run_id!r}: {wanted.action} refused: the run is Paused, since it could not be moved; its error says "
                "why. Mend the cause; then retry lets it go on"
            )
        is_held_up = self._set_back or self._is_backing_off()
        if is_held_up and wanted.action == "retry_now" and wanted.arguments.get("thread") is None:
            self._set_back, self._not_before = False, None
            return
        action(self.workflow, self.state, **wanted.arguments, now=self.clock())
        if wanted.action == "cancel":
            self._set_back = False

    # --- the end ---

    async def _end(self, reason: BaseException | None) -> None:
        """Give up the lease, whatever has happened."""
        checkpoints = self.checkpoints
        checkpoints.roll_back()
        await self.post.until_postman_is_back(at_once=True)
        if self._lost:
            return
        if reason is None:
            if not checkpoints.rested:
                checkpoints.release()
        elif not checkpoints.rested or await checkpoints.take_again():
            # It had come to rest, perhaps, and what follows from its last checkpoint has failed.
            failure = failure_of(reason, checkpoints.attempts, self._around.settings.retry, self.run_id, self.clock)
            log_failure(self.run_id, reason, failure)
            self.post.refuse_early()
            await checkpoints.set_back(failure.attempts, write_error_info(failure.info, failure.retry_at), failure.retry_at)
            self._around.watchers.tell(self.run_id)

    def _finish(self, reason: BaseException | None) -> None:
        """Nobody waits for this mover from here on."""
        error = reason if self.workflow is None and isinstance(reason, FlowstmtError) else self._moved_on()
        self.post.refuse_callers(error)
        for wanted in self._controls:
            if wanted.message is None:
                wanted.refuse(wanted.unsure(error, self.run_id))
        self.post.clear()
        self._controls.clear()
        self._task = None
        if not self.ended.done():
            self.ended.set_result(None)


def _version_in(blob: bytes) -> int:
    """The version of the code that has written a snapshot; 0 if nobody can read it."""
    try:
        return int(orjson.loads(blob)["version"])
    except (ValueError, TypeError, KeyError):
        return 0
