"""What has come for a run: callbacks and signals, from when they are brought until they have their answer.

Rules:

1. They are handed in one at a time, in the order in which they came: beside the running resume, or while there is none.
2. A callback that comes before the run has got to its Wait is kept as long as the run goes on by itself, and then refused. A
   signal is kept until a Wait takes it, or the run is over; also while the code does not fit the run.
3. What was too early is tried again when a thread waits for its event; of each event the first that came. What was refused
   at a revision is not tried at that again.

Theory: a checkpoint that says "a callback was taken" does not say which. A driver asks for the time once a handler has
returned, and saves before it lets the next one in; so what asked last is what is saved (``Delivery.clock``).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeAlias

from flowstmt.beside import cancelled
from flowstmt.core.events import NEEDS_TEARDOWN
from flowstmt.core.state import AFTER_CALLBACK, CallbackRequest, Thread
from flowstmt.engine.deliveries import Delivery
from flowstmt.engine.write_lane import UnknownOutcomeError
from flowstmt.errors import (
    AmbiguousCallbackError,
    ConflictError,
    DefinitionError,
    LeaseLostError,
    NotWaitingError,
    PausedError,
    PositionError,
    StaleCallbackError,
    StateError,
    WorkflowFinishedError,
    said,
)
from flowstmt.stores.protocol import MessageStatus, Taken

if TYPE_CHECKING:
    from flowstmt.engine.movers import Mover

__all__ = ["NotNowError", "Post"]

logger = logging.getLogger("flowstmt.engine")


_Kind: TypeAlias = tuple[Any, ...]
"""What a delivery is for: its event, and the thread or the stop that it names."""


class NotNowError(BaseException):
    """The moment for a delivery has passed before its task began."""


class Post:
    """The deliveries of one run. ``new`` wait for their turn, ``early`` and ``kept`` for a Wait.

    ``taking`` is the one that the next checkpoint of a callback is about.
    """

    __slots__ = ("_count", "_mover", "_postman", "early", "kept", "new", "taking")

    def __init__(self, mover: Mover) -> None:
        self._mover = mover
        self._postman: asyncio.Task[None] | None = None
        self.new: deque[Delivery] = deque()
        self.early: list[Delivery] = []
        # By what they are for, in the order in which they came: thousands may wait, and few kinds of them.
        self.kept: dict[_Kind, deque[Delivery]] = {}
        self.taking: Delivery | None = None
        self._count = 0

    def is_busy(self) -> bool:
        """Whether something has come that is not answered, and that the run could still take."""
        return bool(self.new or self.early) or self._postman is not None

    def wants_turn(self) -> bool:
        """Whether something has to be handed in while there is no resume."""
        return any(each.needs_its_output for each in self.new)

    # --- beside the running resume ---

    def bring(self, delivery: Delivery) -> None:
        """Something has come."""
        self._count += 1
        delivery.number = self._count
        self.new.append(delivery)
        self.send_postman()

    def send_postman(self) -> None:
        """Have what is new handed in beside the running resume, if there is one."""
        if self._postman is None and self.new and self._mover.takes_beside():
            self._postman = asyncio.get_running_loop().create_task(self._deliver_beside())

    async def _deliver_beside(self) -> None:
        try:
            while self.new and not self.new[0].needs_its_output and self._mover.takes_beside():
                await self.hand_in_next(beside=True)
        except (LeaseLostError, PositionError, DefinitionError):
            return  # the resume is told as well
        finally:
            self._postman = None

    async def until_postman_is_back(self, *, at_once: bool = False) -> None:
        """Wait until nothing is being handed in beside."""
        if self._postman is not None:
            await (cancelled([self._postman]) if at_once else asyncio.wait([self._postman]))

    async def take_back(self, delivery: Delivery) -> None:
        """Its caller does not wait any more. It changes nothing, unless its handler has returned."""
        if delivery in self.new:
            self.new.remove(delivery)
        if delivery in self.early:
            self.early.remove(delivery)
        if delivery.task is not None:
            await cancelled([delivery.task])

    # --- handing in ---

    async def hand_in_next(self, *, beside: bool) -> None:
        """Hand in what is next, and see to it that it is answered."""
        delivery = self.new.popleft()
        if delivery.is_given_up:
            return
        alike = self.kept.get(_kind(delivery)) if delivery.is_signal else None
        if alike and alike[0].number < delivery.number:
            self._keep(delivery)  # behind those that came before it
            return
        handing_in = self._mover.hand_in(delivery, beside=beside)
        task = delivery.task = asyncio.get_running_loop().create_task(handing_in, context=delivery.context)
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            await cancelled([task])
            if beside and not task.cancelled() and task.exception() is None:
                delivery.answer(task.result())  # it was saved
            else:
                self.new.appendleft(delivery)
            raise
        delivery.task = None
        if task.cancelled():
            if not delivery.is_given_up:
                await self._refuse_now(delivery, self._cancelled_by_itself(delivery))
            return
        error = task.exception()
        if error is not None:
            await self._not_taken(delivery, error, beside=beside)
            return
        if beside or await self._saved(delivery, task.result()):
            delivery.answer(task.result())

    def _cancelled_by_itself(self, delivery: Delivery) -> RuntimeError:
        return RuntimeError(
            f"run {self._mover.run_id!r}: the handler of event {delivery.request.name!r} was cancelled, by itself or by what "
            "it awaited: nothing that it did was saved. Let it raise something that says why"
        )

    async def _saved(self, delivery: Delivery, output: Any) -> bool:
        """Save what was handed in without a resume beside it; whether it stands."""
        try:
            delivery.keep_output(output)
        except StateError as unfit:
            self._mover.load()  # what it changed is dropped
            await self._refuse_now(delivery, unfit)
            return False
        self.taking = delivery
        try:
            saving = self._mover.save(AFTER_CALLBACK)
        except BaseException:
            if delivery.unfit is None:
                raise
            self._mover.load()
            await self._refuse_now(delivery, delivery.unfit)
            return False
        assert saving is not None  # no resume is under way
        try:
            await saving
        except BaseException as error:
            self._not_saved(delivery, error)
            raise
        return True

    def _not_saved(self, delivery: Delivery, error: BaseException | None) -> None:
        """Whoever waits is told, once the run is given up; to hand it in again is right unless it may have been saved."""
        if isinstance(error, UnknownOutcomeError) and delivery.message is None:
            delivery.refuse(error)
        else:
            self.new.appendleft(delivery)

    async def _not_taken(self, delivery: Delivery, error: BaseException, *, beside: bool) -> None:
        """It was refused, came too early, or the resume beside which it waited has ended."""
        if delivery.unfit is not None:
            await self._refuse_now(delivery, delivery.unfit)
        elif error is delivery.raised:
            await self._refuse_now(delivery, error)
        elif isinstance(error, NotNowError) or (beside and isinstance(error, ConflictError)):
            self._not_saved(delivery, error.__cause__)
        elif delivery.is_signal:
            await self._signal_not_taken(delivery, error)
        elif isinstance(error, NotWaitingError):
            delivery.refused = error
            self.early.append(delivery)
        else:
            await self._refuse_now(delivery, error)

    async def _signal_not_taken(self, signal: Delivery, error: BaseException) -> None:
        if isinstance(error, NotWaitingError | PausedError):
            self._keep(signal)
        elif isinstance(error, AmbiguousCallbackError):
            self._address(signal)
        elif isinstance(error, StaleCallbackError | WorkflowFinishedError):
            logger.debug("run %r: a signal came too late: %s", self._mover.run_id, error)
            self._drop(signal)
        elif isinstance(error, PositionError | DefinitionError):
            # The code does not fit the run, as after a bad deploy. That is no fault of the signal: it waits for code that does.
            self.new.appendleft(signal)
            raise error
        else:
            await self._refuse_now(signal, error)

    async def _refuse_now(self, delivery: Delivery, error: BaseException) -> None:
        self._refuse(delivery, error)
        await self._mover.checkpoints.answer()

    def _refuse(self, delivery: Delivery, error: BaseException) -> None:
        if delivery.is_signal:
            line = "run %r: a signal for event %r is a dead letter: %s"
            logger.warning(line, self._mover.run_id, delivery.request.name, said(error), exc_info=error)
        taken = delivery.refuse(error)
        if taken is not None:
            self._mover.checkpoints.taken.append(taken)

    # --- what came too early ---

    def _keep(self, signal: Delivery) -> None:
        """Nobody waits for it yet."""
        message = signal.message
        assert message is not None  # it is a signal
        if message.status is MessageStatus.new:
            self._mover.checkpoints.taken.append(Taken(message.id, MessageStatus.kept))
            message.status = MessageStatus.kept
        # It has lost its turn, but not its place. That is at one of the ends: they are handed in one after the other.
        alike = self.kept.setdefault(_kind(signal), deque())
        if alike and signal.number < alike[0].number:
            alike.appendleft(signal)
        else:
            alike.append(signal)

    def _address(self, signal: Delivery) -> None:
        """Of several threads that wait for it the one that has waited longest takes it."""
        waiting = [thread for thread in self._mover.state.threads if signal.request.name in _open_events(thread)]
        if waiting:
            first = min(waiting, key=lambda thread: thread.ready)
            signal.request = CallbackRequest(signal.request.name, first.id, run_id=self._mover.run_id)
            self.new.appendleft(signal)
        else:
            self._keep(signal)

    def offer_at_checkpoint(self) -> None:
        """Have those handed in again for whose event a thread waits now."""
        if (self.early or self.kept) and self._mover.takes_beside():
            self.offer({name for thread in self._mover.state.threads for name in _open_events(thread)})

    def offer(self, names: set[str] | None = None) -> bool:
        """Have those handed in again that came too early, the first of each kind; whether there are any.

        Only of these events, if ``names`` are given: others may have had another name when they were sent.
        """
        revision = self._mover.state.revision
        found = []
        seen: set[_Kind] = set()
        for early in self.early:
            kind = _kind(early)
            if kind not in seen and (names is None or kind[0] in names):
                seen.add(kind)
                if early.tried != revision:
                    found.append(early)
        for early in found:
            self.early.remove(early)
        for kind, alike in list(self.kept.items()):
            if kind not in seen and (names is None or kind[0] in names) and alike[0].tried != revision:
                found.append(self._unkept(kind, alike))
        if found:  # each goes to its place among those that came before it, and since
            self.new = deque(sorted((*found, *self.new), key=attrgetter("number")))
        self.send_postman()
        return bool(found)

    def _unkept(self, kind: _Kind, alike: deque[Delivery]) -> Delivery:
        first = alike.popleft()
        if not alike:
            del self.kept[kind]
        return first

    def refuse_early(self) -> None:
        """The run does not go on by itself: nobody will wait for these."""
        early, self.early = self.early, []
        for delivery in early:
            assert delivery.refused is not None  # that is why it is here
            self._refuse(delivery, delivery.refused)

    # --- the end ---

    def drop_signals(self) -> None:
        """The run is over: nobody takes these any more."""
        for each in (*chain.from_iterable(self.kept.values()), *self.new):
            if each.is_signal:
                self._drop(each)
        self.kept.clear()
        self.new = deque(each for each in self.new if not each.is_signal)

    def _drop(self, signal: Delivery) -> None:
        assert signal.message is not None  # it is a signal
        self._mover.checkpoints.taken.append(Taken(signal.message.id, MessageStatus.done))

    def refuse_callers(self, error: BaseException) -> None:
        """Tell those who wait in this process; messages stay where they are."""
        for each in (*self.new, *self.early):
            if each.message is None:
                each.refuse(each.unsure(error, self._mover.run_id))

    def clear(self) -> None:
        """The run was given up, or lost."""
        self.new.clear()
        self.early.clear()
        self.kept.clear()
        self.taking = None


def _kind(delivery: Delivery) -> _Kind:
    request = delivery.request
    return (request.name, request.thread_id, request.birth, request.pc)


def _open_events(thread: Thread) -> list[str]:
    return [event.name for event in thread.events if event.status not in NEEDS_TEARDOWN]
