"""What is handed to a run that this process moves: callbacks, signals and controls, each until it has its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextvars import copy_context
from datetime import datetime
from typing import TYPE_CHECKING, Any

from flowstmt.core.approvals import APPROVE, REJECT
from flowstmt.core.state import CallbackRequest
from flowstmt.current import Current
from flowstmt.engine.messages import encode_output, refusal, success
from flowstmt.errors import FlowstmtError, RemoteError, StateError, said
from flowstmt.stores.protocol import Message, MessageKind, MessageStatus, Taken

if TYPE_CHECKING:
    from flowstmt.engine.movers import Mover

__all__ = ["Control", "Delivery", "MovedOnError"]


class MovedOnError(FlowstmtError):
    """The run came to rest, or was lost, before it could take what was handed to it: nothing of that was done.

    Whoever gets it takes the run again. It does not leave the engine.
    """


class _Brought:
    """What was handed to a run. ``saving`` is done when what it has changed is saved."""

    __slots__ = ("saving", "what")

    def __init__(self, what: str) -> None:
        self.what = what
        self.saving: asyncio.Future[None] | None = None

    def unsure(self, error: BaseException, run_id: str) -> BaseException:
        """What its caller is told when the run is given up: ``error``, unless its write may have been made."""
        saving = self.saving
        if saving is None or (saving.done() and not saving.cancelled() and saving.exception() is not None):
            return error
        return FlowstmtError(
            f"run {run_id!r}: this worker gave the run up before the database had said that {self.what} is saved. It may be "
            "applied all the same: look at the run before you hand it in again"
        )


class Delivery(_Brought):
    """A callback or a signal. Called in this process it has a ``caller`` who waits, else it is a ``message``."""

    __slots__ = (
        "_mover",
        "_output",
        "caller",
        "context",
        "message",
        "number",
        "payload",
        "raised",
        "refused",
        "request",
        "task",
        "tried",
        "unfit",
    )

    def __init__(self, mover: Mover, request: CallbackRequest, payload: Any, message: Message | None = None) -> None:
        super().__init__(f"the callback {request.name!r}")
        self._mover = mover
        self.request = request
        self.payload = payload
        self.message = message
        # Its handler is called by the run's task, but must see the variables of its caller.
        self.context = copy_context()
        self.caller: asyncio.Future[Any] | None = None
        if message is None:
            self.caller = asyncio.get_running_loop().create_future()
        self.task: asyncio.Task[Any] | None = None
        self._output: bytes | None = None
        self.raised: BaseException | None = None
        # Why what its handler has made of the data can't be saved.
        self.unfit: StateError | None = None
        # Why it could not be taken so far, and at which revision: it came too early.
        self.refused: FlowstmtError | None = None
        self.tried = -1
        self.number = 0

    @property
    def is_signal(self) -> bool:
        """Whether it waits for a Wait that takes it, however long."""
        return self.message is not None and self.message.kind == MessageKind.signal

    @property
    def needs_its_output(self) -> bool:
        """Whether what it gives is known only once it is taken, but has to be saved with it: that can't be beside a resume."""
        return not self.is_signal and self.message is not None and self.request.name in (APPROVE.name, REJECT.name)

    @property
    def is_given_up(self) -> bool:
        """Whether its caller does not wait any more."""
        return self.caller is not None and self.caller.cancelled()

    # -- for the drivers

    def clock(self) -> datetime:
        """The time; asked when its handler has returned: what is saved next is this."""
        self._mover.post.taking = self
        return self._mover.clock()

    def invoke(self, current: Current, call: Callable[[], Any]) -> Awaitable[Any]:
        """Call its handler, and keep what that says for whoever has sent the message."""
        return self._called(self._mover.invoke(current, call))

    async def _called(self, called: Awaitable[Any]) -> Any:
        try:
            output = await called
            if hasattr(type(output), "__await__"):
                output = await output  # called in a worker thread, it hands on what is still to be awaited
            if not self.is_signal:
                self._output = encode_output(output, self.request.name, self._mover.run_id)
        except BaseException as error:
            self.raised = error
            raise
        return output

    # -- answers

    def keep_output(self, output: Any) -> None:
        """What the driver returned, where no handler has said it."""
        if self._output is None and self.message is not None and not self.is_signal:
            self._output = encode_output(output, self.request.name, self._mover.run_id)

    def taken(self) -> Taken | None:
        """What is saved with it."""
        if self.message is None:
            return None
        if self.is_signal:
            return Taken(self.message.id, MessageStatus.done)
        return Taken(self.message.id, MessageStatus.done, success(self._output or b"null"))

    def answer(self, output: Any) -> None:
        """It is saved."""
        if self.caller is not None and not self.caller.done():
            self.caller.set_result(output)

    def refuse(self, error: BaseException) -> Taken | None:
        """It was refused; for a message: what is to be saved."""
        if self.message is not None:
            status = MessageStatus.dead if self.is_signal else MessageStatus.done
            return Taken(self.message.id, status, refusal(error))
        if self.caller is not None and not self.caller.done():
            self.caller.set_exception(error if isinstance(error, Exception) else _harmless(error))
        return None


class Control(_Brought):
    """Something that is to be done to a run: pause, cancel, goto ..."""

    __slots__ = ("action", "arguments", "caller", "message")

    def __init__(self, action: str, arguments: Mapping[str, Any], message: Message | None = None) -> None:
        super().__init__(action)
        self.action = action
        self.arguments = arguments
        self.message = message
        self.caller: asyncio.Future[None] | None = None
        if message is None:
            self.caller = asyncio.get_running_loop().create_future()

    @staticmethod
    def unreadable(message: Message, error: BaseException) -> Taken:
        """A message that says nothing is a dead letter."""
        return Taken(message.id, MessageStatus.dead, refusal(error))

    def taken(self) -> Taken | None:
        """What is saved with it."""
        return None if self.message is None else Taken(self.message.id, MessageStatus.done, success())

    def answer(self) -> None:
        """It is saved."""
        if self.caller is not None and not self.caller.done():
            self.caller.set_result(None)

    def refuse(self, error: BaseException) -> Taken | None:
        """It was refused; for a message: what is to be saved."""
        if self.message is not None:
            return Taken(self.message.id, MessageStatus.done, refusal(error))
        if self.caller is not None and not self.caller.done():
            self.caller.set_exception(error)
        return None


def _harmless(error: BaseException) -> RemoteError:
    """What would end the program of whoever handed the callback in, and is nothing but the trouble of its handler."""
    cause = error.__cause__ or error
    return RemoteError(said(cause), type=type(cause).__name__)
