"""What the outcome of an action does to the state: it completed, it is to be tried again, or it has failed for good.

Theory: an action that raised is a failure only if somebody takes it: a policy, a catch around it, or a join that tolerates it.
Else it is an error of whoever called the driver, and nothing has happened. ``verdict`` decides that from the exception itself
and changes nothing; ``fail`` carries it out, when the data are again what they were before the attempt.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from inspect import iscoroutine
from typing import Any, TypeAlias

from flowstmt.core.calls import annotation, parameters
from flowstmt.core.exits import Exit, failure_exit
from flowstmt.core.limits import timeout_fault
from flowstmt.core.moves import Moves
from flowstmt.core.nodes import Compensation, Node
from flowstmt.core.program import rebuild
from flowstmt.core.state import (
    AFTER_CONDITION,
    AFTER_STEP,
    RESUMING,
    WAITING_TIME,
    CheckpointType,
    ErrorInfo,
    Frame,
    Thread,
)
from flowstmt.core.statements import Step
from flowstmt.errors import DefinitionError, message_of, said

__all__ = ["Outcomes", "Verdict"]

Call: TypeAlias = Callable[[Callable[..., Any], tuple[Any, ...]], Any]
"""Calls what it is given, with the arguments."""

_MISSING: Any = object()


@dataclass(slots=True)
class Verdict:
    """What is to become of a failed attempt: another one at ``due_at``, or ``exit_``."""

    error: ErrorInfo
    due_at: datetime | None = None
    exit_: Exit | None = None


class Outcomes(Moves):
    """Actions, and what comes of them."""

    __slots__ = ("backup",)
    backup: Callable[[Thread], Callable[[], None]]
    """How to keep the data, and what is a thread's own, before a setter may change them; answers how to put them back."""

    def action(self, thread: Thread) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """What an executing thread is to run."""
        node = self.program.by_name[thread.position]
        statement = self.values[node.index]
        if node.kind is Step:
            call = statement.action
            if statement.timeout is not None:
                return self._limited(thread, node, call, statement.timeout), self._with_item(thread, node, call)
        elif node.kind is Compensation:
            return self._compensation_call(thread, node)
        else:
            call = statement.handler
        return call, self._base if node.item is None or node.ignores_item else self._with_item(thread, node, call)

    def _with_item(self, thread: Thread, node: Node, call: Callable[..., Any]) -> tuple[Any, ...]:
        """The arguments of an action: the item too, if it takes one more."""
        if node.item is None or parameters(call).required != len(self._base) + 1:
            return self._base
        self._frames = thread.frames
        return (*self._base, self._item(thread, node))

    def _limited(self, thread: Thread, node: Node, call: Callable[..., Any], timeout: timedelta) -> Callable[..., Any]:
        """An action in its time. Raises ``DefinitionError`` if data have made it one that nothing could end."""
        fault: str | None = "it has a timeout now, but had none when its class was linked"
        if node.timed:
            fault = timeout_fault(timeout, call, node.concurrent)
        if fault is not None:
            raise DefinitionError(
                f"{self._where(thread)}: {node.label}: {fault}. Data may settle how long a timeout is, but not whether there "
                "is one, nor whether the action is async"
            )
        assert self.in_time is not None  # whoever runs a program with timeouts has put it there
        return self.in_time(thread, call, timeout)

    def may_fail(self, thread: Thread) -> bool:
        """Whether somebody may take the failure of a thread's action, so that the data have to be put back."""
        return self.program.by_name[thread.position].may_fail

    def complete(self, thread: Thread, result: Any, now: datetime) -> CheckpointType:
        """The action returned: its result goes where the step says, and the thread is past its position."""
        node = self.program.by_name[thread.position]
        if node.kind is Step:
            kind = AFTER_STEP
            into = self.values[node.index].into
            if into is not None:
                try:
                    self.store(thread, node, into, result)
                except Exception as error:
                    raise self._failed(thread, node, f"its into raised {said(error)}") from error
            if node.leaves_result:
                if node.compensation is not None:
                    self._record(thread, node, result)
                join = None if node.go is None else node.go.join
                if join is not None and self.values[join.index].into is not None:
                    self._keep_result(thread, result, moving=False)
        elif node.kind is Compensation:
            kind = AFTER_STEP
            self._undone(thread)
        else:
            kind = AFTER_CONDITION
        if thread.attempt != 1:
            thread.attempt = 1
            thread.error = None
        thread.status = RESUMING
        thread.since = now
        if self._agenda is not None:
            self._agenda.wake(thread)
        return kind

    # --- failures ---

    def verdict(self, thread: Thread, error: Exception, now: datetime) -> Verdict | None:
        """Who takes the failure of an action, and what for; None if nobody does. Changes nothing."""
        node = self.program.by_name[thread.position]
        if not node.may_fail:
            return None
        info = ErrorInfo(type(error).__name__, message_of(error), thread.position, thread.attempt)
        policy = self.program.policy(node, self.values[node.index])
        if policy is not None and thread.attempt < policy.max_attempts:
            try:
                again = policy.retries(error)
            except Exception as raised:
                raise self._failed(thread, node, f"a predicate of its retry policy raised {said(raised)}") from raised
            seed = f"{self.state.run_id}/{thread.birth}/{thread.pc}/"
            due_at = now + policy.delay_after(thread.attempt, seed)
            if again and (policy.total is None or due_at <= (thread.since or now) + policy.total):
                return Verdict(info, due_at=due_at)
        catch = None if node.kind is Compensation else self._catch_for(thread, node, error, "")
        if catch is None and policy is None and not self._would_tolerate(thread, info):
            return None
        return Verdict(info, exit_=failure_exit(info, catch))

    def fail(self, thread: Thread, verdict: Verdict, now: datetime) -> None:
        """Carry a verdict out: the thread waits for its next attempt, or is past its position with a failure."""
        if verdict.due_at is not None:
            thread.status = WAITING_TIME
            thread.due_at = verdict.due_at
            thread.attempt += 1
            thread.error = verdict.error
            if self._agenda is not None:
                self._agenda.wake(thread)
            return
        self._journal = []
        self._now = now
        if self.program.by_name[thread.position].kind is Compensation:
            self._not_undone(thread, verdict.error)
        else:
            thread.frames = [*thread.frames, Frame(thread.position, exit=verdict.exit_)]
        thread.attempt = 1
        thread.error = None
        thread.status = RESUMING
        thread.since = now
        if self._agenda is not None:
            self._agenda.wake(thread)

    # --- results ---

    def store(self, thread: Thread, node: Node, into: Any, value: Any) -> None:
        """Put a value into the field, or hand it to the setter, that a statement names."""
        self._frames = thread.frames
        if isinstance(into, str):
            setattr(self.workflow, into, value)
        else:
            self._set(thread, node, into, value)

    def _set(self, thread: Thread, node: Node, into: Callable[..., Any], value: Any) -> None:
        returned = self.call_setter(into, self._arguments(thread, node, into, (*self._base, value)))
        if iscoroutine(returned):
            returned.close()
            raise TypeError("a setter can't be async: nothing awaits it")

    def _store_moving(self, thread: Thread, node: Node, into: Any, value: Any) -> None:
        """Keep what a move has brought: the error of a catch, the results of a join. The moves that follow see it."""
        values = self.values
        try:
            if isinstance(into, str):
                workflow = self.workflow
                before = getattr(workflow, into, _MISSING)
                setattr(workflow, into, self._adapt.for_field(value, workflow, into))
                if before is not _MISSING:  # noted once it is set: what can't be set can't be put back
                    self._journal.append((None, setattr, workflow, into, before))
            else:
                self._journal.append((None, self.backup(thread)))
                names = parameters(into).names[len(self._base) :]
                wanted = annotation(into, names[0]) if names else Any
                self._set(thread, node, into, value if wanted is Any else self._adapt.adapt(value, wanted))
        except Exception as error:
            raise self._failed(thread, node, f"its into raised {said(error)}") from error
        if not self.program.class_style:
            self._journal.append((None, setattr, self, "values", values))
            self.values = rebuild(self.program, self.workflow, self.state.run_id)
