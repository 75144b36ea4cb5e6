"""One call of a driver: what it was given, and the machine that it moves."""

from __future__ import annotations

from collections.abc import Callable, Generator
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from flowstmt.backup import Backup
from flowstmt.core.machine import Machine
from flowstmt.core.program import program_for
from flowstmt.core.state import CheckpointType, State, Thread, aware
from flowstmt.current import CURRENT, Ask, Caller, Current
from flowstmt.deadlines import Deadlines
from flowstmt.errors import DefinitionError, StateError, a_kind_of
from flowstmt.fields import FieldCodec

if TYPE_CHECKING:
    from flowstmt.beside import Beside

__all__ = ["CODEC", "Asks", "Now", "Run", "Save"]

Save: TypeAlias = Callable[[CheckpointType], Any]
Asks: TypeAlias = Generator[Ask, Any, Any]
"""The calls to be made: their results are sent back, their exceptions thrown in."""
Now: TypeAlias = datetime | Callable[[], datetime] | None
"""An instant, a clock, or the clock of this machine."""

CODEC = FieldCodec()


_now = partial(datetime.now, UTC)


class Run(Caller):
    """What one call of a driver was given.

    ``beside`` is what goes on beside a running ``resume_async``; ``tried`` and ``failures`` are the events whose setups and
    teardowns it has tried, and the setups among them that failed; ``deadlines`` keep the time of actions that have a timeout.
    ``stands_still`` says that no time passes while it goes on.
    """

    __slots__ = ("beside", "deadlines", "failures", "machine", "save", "stands_still", "tried")

    def __init__(self, workflow: Any, state: State, save: Save | None, now: Now, deps: Any) -> None:
        if not isinstance(state, State):
            raise StateError(f"expected a State, not {a_kind_of(state)}: make one with State.new, or get it from load")
        if save is not None and not callable(save):
            raise StateError(
                f"run {state.run_id!r}: save must be a callable that takes the checkpoint type, not {a_kind_of(save)}"
            )
        program, values = program_for(workflow, state.run_id)
        super().__init__(workflow, state, program, _now if now is None else _clock(now, state), deps)
        self.stands_still = now is not None and not callable(now)
        self.save = save
        self.beside: Beside | None = None
        self.tried: set[tuple[Any, ...]] = set()
        self.failures: list[tuple[str, Exception]] = []
        self.machine = Machine(program, values, workflow, state, CODEC)
        self.machine.call_setter = _call
        self.machine.backup = partial(_put_back, workflow)
        self.deadlines: Deadlines | None = None
        if program.has_timeouts:
            self.keep_time_with(Deadlines(state.run_id))

    def keep_time_with(self, deadlines: Deadlines) -> None:
        """Let these keep the time of actions."""
        self.deadlines = self.machine.in_time = deadlines

    def refuse_async(self) -> None:
        """For sync drivers: nothing may have to be awaited."""
        if self.program.async_places:
            raise DefinitionError(
                f"run {self.state.run_id!r}: {self.program.workflow_name} needs resume_async and handle_callback_async:",
                self.program.async_places,
            )

    def call_setter(self, setter: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        """Call a setter as a part of the call whose outcome it takes: it is told the same by ``current()``.

        For the async shell, which tells nothing between its calls; the sync one tells everything the same, so that its machine
        needs no reference to the run: the two would live, with the data, until the garbage collector comes.
        """
        current = Current(self)
        token = CURRENT.set(current)
        try:
            return setter(*arguments)
        finally:
            current.over = True
            CURRENT.reset(token)

    def seconds_until(self, instant: datetime | None) -> float | None:
        """How long to wait for an instant; None where waiting does not make it come."""
        if instant is None or self.stands_still:
            return None
        seconds: float = (instant - self.clock()).total_seconds()
        return max(0.0, seconds)

    def checkpoint(self, kind: CheckpointType, now: datetime, thread: Thread | None = None) -> Asks:
        """Bring the state up to date and save it."""
        self.machine.checkpoint(now)
        yield from self.saving(kind, now, thread)

    def saving(self, kind: CheckpointType, now: datetime | None, thread: Thread | None = None) -> Asks:
        """Save the state as it is."""
        if self.save is not None:
            self.kind = "save"
            self.thread = thread
            self.event = None
            self.instant = now
            yield self.save, (kind,)
            self.kind = ""


def _call(call: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    return call(*arguments)


def _put_back(workflow: Any, thread: Thread) -> Callable[[], None]:
    return Backup(workflow, thread).put_back


def _clock(now: Any, state: State) -> Callable[[], datetime]:
    if not callable(now):
        instant = aware(now, f"run {state.run_id!r}: now")
        return lambda: instant

    run_id = state.run_id

    def read() -> datetime:
        instant = now()
        if type(instant) is datetime and instant.tzinfo is UTC:  # as most clocks answer, and this is asked twice a step
            return instant
        return aware(instant, f"run {run_id!r}: what the clock given as now returned")

    return read
