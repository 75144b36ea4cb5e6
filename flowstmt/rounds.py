"""What a driver does, round by round: the rules, without anybody who calls or awaits.

``resume_rounds``, and ``callback_round`` in a file of its own, are generators. They ask the machine what is next and yield the
calls to be made: actions, handlers, setups, teardowns, and ``save`` where the design wants a checkpoint. They get the results
sent back, or the exceptions thrown in. ``drive.py`` makes the calls.

What they yield while ``run.kind`` is "" is no call of the user's but a wait: for an action in flight, for a callback that
has its turn (``beside.py``). Only ``resume_async`` has those.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any

from flowstmt.backup import Backup, Dumped
from flowstmt.core.children import CHILD_ENDED
from flowstmt.core.events import event_key
from flowstmt.core.machine import Machine
from flowstmt.core.outcomes import Verdict
from flowstmt.core.program import rebuild
from flowstmt.core.state import (
    AFTER_CALLBACK,
    AFTER_FAILURE,
    AFTER_RESUME,
    AFTER_SETUP,
    AFTER_TEARDOWN,
    OVER,
    PENDING_SETUP,
    RUN_PAUSED,
    RUN_RESUMING,
    SETUP_ERROR,
    ErrorInfo,
    State,
    Thread,
    WaitEvent,
    WorkflowStatus,
)
from flowstmt.current import Ask, Caller, Kind
from flowstmt.errors import FlowstmtError, SetupError, StateError, StepError, StepTimeoutError, message_of, said
from flowstmt.run import CODEC, Asks, Run
from flowstmt.twin import Twin

if TYPE_CHECKING:
    from datetime import datetime

    from flowstmt.beside import Beside

__all__ = ["resume_rounds"]

logger = logging.getLogger("flowstmt.rounds")


def resume_rounds(run: Run, max_steps: int) -> Asks:
    """All rounds that a run can do by itself, at most ``max_steps`` actions; returns its status.

    A round is entered after its action, so what changed outside meanwhile is seen before anything runs. A run that is paused
    stays as it is.
    """
    if run.state.status is RUN_PAUSED:
        return _nothing(run)
    return (_rounds_beside if run.program.has_concurrent else _rounds)(run, max_steps)


def _nothing(run: Run) -> Asks:
    return run.state.status
    yield


def _begin(run: Run) -> Asks:
    """What comes before the first action: the moves that no other save covers, setups and teardowns."""
    machine = run.machine
    machine.turn = None
    if run.state.status in OVER:
        machine.rename()
    else:
        machine.begin()
        now = run.clock()
        # What was done to the run from outside may have made a condition true: it is due, and here it turns out whether it is.
        if machine.settle(now) or (run.state.status is RUN_RESUMING and machine.turn is None):
            yield from run.checkpoint(AFTER_RESUME, now)
    if machine.outside_work(run.tried) is not None:
        yield from _outside(run)


def _status(run: Run) -> WorkflowStatus:
    """What ``resume`` returns. Raises ``SetupError`` now that all else is done."""
    if run.failures:
        raise _setups_failed(run.state, run.failures) from run.failures[0][1]
    return run.state.status


def _rounds(run: Run, max_steps: int) -> Asks:
    """One action after the other."""
    machine, state, save, beside = run.machine, run.state, run.save, run.beside
    program, workflow = run.program, run.workflow
    class_style, some_may_fail = program.class_style, program.some_may_fail
    yield from _begin(run)
    steps = 0
    while True:
        if beside is not None and beside.waiting:
            yield from _callbacks(run, beside)
        # From here to the return nothing is awaited: no callback can come too late.
        thread = machine.turn
        if thread is None or steps >= max_steps:
            return _status(run)
        run.kind = "action"
        run.thread = thread
        run.event = run.instant = None
        backup = Dumped(workflow, thread) if some_may_fail and machine.may_fail(thread) else None
        ask = machine.action(thread)
        try:
            result = yield ask
        except Exception as error:  # noqa: BLE001 what an action raises may be anything: it is kept, or raised with its place
            yield from _failed(run, thread, error, backup)
            steps += 1
            continue
        now = run.clock()
        kind = machine.complete(thread, result, now)
        run.kind = ""
        # The action has run: that is saved whatever its consequences are. (As in ``_completed``, spelt out where every step
        # passes.)
        stuck: FlowstmtError | None = None
        try:
            if not class_style:
                machine.values = rebuild(program, workflow, state.run_id)
            machine.settle(now)
        except FlowstmtError as error:
            stuck = error
        machine.checkpoint(now)
        if save is not None:
            run.kind = "save"
            run.instant = now
            yield save, (kind,)
            run.kind = ""
        if stuck is not None:
            raise stuck
        # A lone thread without events is what is mostly found.
        if (len(state.threads) != 1 or state.threads[0].events) and machine.outside_work(run.tried) is not None:
            yield from _outside(run)
        steps += 1


def _rounds_beside(run: Run, max_steps: int) -> Asks:
    """Actions of concurrent steps beside each other, and beside one other action; whose turn is next begins first.

    Outcomes are taken one at a time, while no action has the data to itself.
    """
    machine, beside = run.machine, run.beside
    yield from _begin(run)
    slots = 1
    if beside is not None:
        slots = beside.concurrency
        machine.in_flight = beside.births
    steps = 0
    while True:
        if run.deadlines is not None and run.deadlines.abandoned is not None and run.state.status not in OVER:
            raise _objects_lost(run.deadlines.abandoned) from run.deadlines.abandoned.__cause__
        if beside is not None and beside.waiting:
            yield from _callbacks(run, beside)
        alone: Thread | None = None
        for thread in machine.up_next(min(slots - len(machine.in_flight), max_steps - steps)):
            if beside is not None and slots > 1 and machine.is_concurrent(thread):
                _take_off(run, beside, thread)
            else:
                alone = thread
            steps += 1
        if alone is not None:
            yield from _alone(run, alone)
            if beside is not None and beside.flights and not beside.landed:
                yield beside.breathe, ()
        elif beside is None or not beside.flights:
            # Since the look at the callbacks nothing was awaited: none can come too late.
            return _status(run)
        else:
            yield beside.news, (run.seconds_until(machine.next_timer()),)
            if not beside.landed and not beside.waiting:
                yield from _timers(run)
        if beside is not None and beside.landed:
            yield from _land(run, beside)


def _alone(run: Run, thread: Thread) -> Asks:
    """An action beside which no other has the data; that of a concurrent step, too, where only one may run at once."""
    twin: Twin | None = None
    backup: Dumped | None = None
    run.thread = thread
    if run.machine.is_concurrent(thread):
        twin, ask = _with_copy(run, thread)
        run.workflow, run.thread = twin.workflow, twin.thread
    else:
        ask = run.machine.action(thread)
        backup = Dumped(run.workflow, thread) if run.machine.may_fail(thread) else None
    run.kind = "action"
    run.event = run.instant = None
    try:
        result = yield ask
    except Exception as error:  # noqa: BLE001 as in ``_rounds``
        run.workflow = run.machine.workflow
        yield from _failed(run, thread, error, backup)
        return
    finally:
        run.workflow = run.machine.workflow
    run.kind = ""
    if twin is not None:
        _refuse_changes(run.state, thread, twin)
    yield from _completed(run, thread, result)


def _failed(run: Run, thread: Thread, error: Exception, backup: Dumped | None) -> Asks:
    """An attempt has failed: kept and saved if somebody takes the failure, else raised."""
    run.kind = ""
    now = run.clock()
    verdict = _verdict(run, thread, error, now, run)
    if backup is not None:
        backup.put_back()
    yield from _kept(run, thread, verdict, now)


def _verdict(run: Run, thread: Thread, error: Exception, now: datetime, caller: Caller) -> Verdict:
    """Who takes the failure of an action. Raises it if nobody does."""
    if error is caller.not_awaited:
        raise error
    verdict = run.machine.verdict(thread, error, now)
    if verdict is None:
        raise _action_failed(run.state, thread, error) from _cause(run.state, thread, error)
    after = "that is final" if verdict.due_at is None else f"the next attempt is due at {verdict.due_at}"
    # What somebody catches is part of the plan; of all else the traceback is told here, or nowhere.
    level = logging.WARNING if verdict.exit_ is None or "catch" not in verdict.exit_ else logging.INFO
    step = _step_of(run.state, thread)
    logger.log(level, "%s: attempt %s raised %s; %s", step, thread.attempt, said(error), after, exc_info=error)
    return verdict


def _kept(run: Run, thread: Thread, verdict: Verdict, now: datetime) -> Asks:
    """What follows from a failure that somebody takes: all moves, and one save."""
    run.thread = thread
    run.machine.fail(thread, verdict, now)
    stuck = _move_on(run, partial(run.machine.settle, now))
    yield from run.checkpoint(AFTER_FAILURE, now, thread)
    if stuck is not None:
        raise stuck
    yield from _aftermath(run)


def _take_off(run: Run, beside: Beside, thread: Thread) -> None:
    """Let the action of a concurrent step begin, and go on."""
    twin, ask = _with_copy(run, thread)
    caller = Caller(twin.workflow, run.state, run.program, run.clock, run.deps)
    caller.kind = "action"
    caller.thread = twin.thread
    caller.outer = run.outer
    beside.start(thread, twin, caller, ask)


def _with_copy(run: Run, thread: Thread) -> tuple[Twin, Ask]:
    """The action of a concurrent step, with a copy of the data to read."""
    state, program, values = run.state, run.program, run.machine.values
    try:
        twin = Twin(run.workflow, thread)
    except StateError as error:
        raise StateError(f"{_step_of(state, thread)}: {error}") from error
    if not program.class_style:
        values = rebuild(program, twin.workflow, state.run_id)
    machine = Machine(program, values, twin.workflow, state, CODEC)
    machine.in_time = run.machine.in_time
    return twin, machine.action(twin.thread)


def _refuse_changes(state: State, thread: Thread, twin: Twin) -> None:
    unfit: StateError | None = None
    try:
        changed = ", ".join(twin.changed())
    except StateError as error:
        unfit = error
        changed = f"something, so that {error},"
    if changed:
        raise StepError(
            f"{_step_of(state, thread)}: the action of a concurrent step must not change data, but changed "
            f"{changed} in its copy, which would be lost. Return the value and keep it "
            "with into=, or leave out concurrent=True",
            step=thread.position,
            run_id=state.run_id,
            thread_id=thread.id,
        ) from unfit


def _land(run: Run, beside: Beside) -> Asks:
    """Take the outcomes of actions that have come to their end, in that order; a failure only after what can be saved."""
    failures: list[FlowstmtError] = []
    while beside.landed:
        flight = beside.landed.popleft()
        failed = flight.task.exception()
        if failed is not None and not isinstance(failed, Exception):
            raise failed
        run.event, run.instant = None, flight.caller.instant
        now = run.clock()
        verdict: Verdict | None = None
        try:
            if failed is None:
                _refuse_changes(run.state, flight.thread, flight.twin)
            else:
                verdict = _verdict(run, flight.thread, failed, now, flight.caller)
        except FlowstmtError as error:
            failures.append(error)
            continue
        beside.forget(flight)
        if verdict is None:
            yield from _completed(run, flight.thread, flight.task.result())
        else:
            yield from _kept(run, flight.thread, verdict, now)
    if not failures:
        return
    over = run.state.status in OVER
    why = "main has ended" if over else "another action failed first"
    for failure in failures if over else failures[1:]:
        logger.warning("not raised, since %s: %s", why, failure, exc_info=failure)
    if not over:
        raise failures[0]


def _completed(run: Run, thread: Thread, result: Any) -> Asks:
    """What follows from the outcome of an action: all moves, and one save."""
    now = run.clock()
    # A setter is a part of the action, but the data that it changes are the run's, not the copy that the action had.
    run.kind = "action"
    run.thread = thread
    kind = run.machine.complete(thread, result, now)
    run.kind = ""
    stuck = _move_on(run, partial(run.machine.settle, now))
    yield from run.checkpoint(kind, now, thread)
    if stuck is not None:
        raise stuck
    yield from _aftermath(run)


def _aftermath(run: Run) -> Asks:
    """What is to be done once a checkpoint is saved, before anything else runs."""
    beside = run.beside
    if beside is not None and beside.flights:
        gone = [flight for flight in beside.flights if flight.is_gone()]
        if gone:
            yield beside.drop, (gone,)
    if run.machine.outside_work(run.tried) is not None:
        yield from _outside(run)


def _timers(run: Run) -> Asks:
    """Let time move threads while nothing but actions in flight goes on."""
    now = run.clock()
    if run.machine.settle(now):
        yield from run.checkpoint(AFTER_RESUME, now)
        yield from _aftermath(run)


def _callbacks(run: Run, beside: Beside) -> Asks:
    """Take the callbacks that wait, each with a save of its own before its caller gets the answer."""
    machine = run.machine
    while beside.waiting:
        # It keeps its place until it has its answer: if this ends with an error, ``Beside`` gives it.
        waiting = beside.waiting[0]
        if not (yield waiting.take, ()):
            beside.waiting.popleft()
            # What was put back equals what was there, but they are other objects: closures of the last build hold the old ones.
            if not run.program.class_style:
                machine.values = rebuild(run.program, run.workflow, run.state.run_id)
            continue
        yield from run.saving(AFTER_CALLBACK, None)
        beside.waiting.popleft().taken()
        now = run.clock()
        stuck = _move_on(run, partial(machine.settle, now))
        if stuck is not None:
            raise stuck
        yield from run.checkpoint(AFTER_RESUME, now)
        yield from _aftermath(run)


def _move_on(run: Run, settle: Callable[[], Any]) -> FlowstmtError | None:
    """All moves that follow from an outcome; what keeps them from being made.

    The outcome is a fact: it is saved whatever its consequences are.
    """
    try:
        if not run.program.class_style:
            run.machine.values = rebuild(run.program, run.workflow, run.state.run_id)
        settle()
    except FlowstmtError as error:
        return error
    return None


def _step_of(state: State, thread: Thread) -> str:
    return f"run {state.run_id!r}, thread {thread.id!r}, step {thread.position!r}"


def _action_failed(state: State, thread: Thread, error: Exception) -> StepError:
    overdue = _is_overdue(state, thread, error)
    what = str(error) if overdue else f"raised {said(error)}"
    return (StepTimeoutError if overdue else StepError)(
        f"{_step_of(state, thread)}: its action {what}. Nothing was saved since the last checkpoint: discard the "
        "objects, mend the cause and resume from the last snapshot",
        step=thread.position,
        run_id=state.run_id,
        thread_id=thread.id,
    )


def _cause(state: State, thread: Thread, error: Exception) -> BaseException | None:
    """What is shown as the cause of an action's failure: of one whose time was over, where it was or how it ended."""
    return error.__cause__ if _is_overdue(state, thread, error) else error


def _is_overdue(state: State, thread: Thread, error: Exception) -> bool:
    """Whether it says that the time of this very action was over: one that resumes other runs may raise what they raised."""
    return isinstance(error, StepTimeoutError) and (error.run_id, error.thread_id) == (state.run_id, thread.id)


def _objects_lost(overdue: StepTimeoutError) -> StepTimeoutError:
    """The failure was taken, but the action goes on in a thread: whatever it does, it does to objects that nobody saves."""
    return StepTimeoutError(
        f"run {overdue.run_id!r}, thread {overdue.thread_id!r}, step {overdue.step!r}: its action {overdue}. That is saved: "
        "discard the objects, load the last snapshot and resume it; state.wake_at says from when on",
        step=overdue.step,
        run_id=overdue.run_id,
        thread_id=overdue.thread_id,
        saved=True,
    )


def _setups_failed(state: State, failures: list[tuple[str, Exception]]) -> SetupError:
    return SetupError(
        f"run {state.run_id!r}: setups failed: {len(failures)}; everything else is done and saved. The next resume tries them "
        f"again; state.wake_at says from when on:",
        [line for line, _ in failures],
    )


def _outside(run: Run) -> Asks:
    """Set up and tear down what is due, a save each. Failures are kept in the state, and never stop the run."""
    while (due := run.machine.outside_work(run.tried)) is not None:
        thread, event = due
        run.tried.add(event_key(thread, event))
        yield from _set_up_or_tear_down(run, thread, event)


def _set_up_or_tear_down(run: Run, thread: Thread, event: WaitEvent) -> Asks:
    machine = run.machine
    setting_up = event.status in (PENDING_SETUP, SETUP_ERROR)
    kind: Kind = "setup" if setting_up else "teardown"
    run.kind = kind
    run.thread = thread
    run.event = event
    run.instant = None
    backup: Backup | None = None
    try:
        backup = Backup(run.workflow, thread)
        call = machine.outside_call(event, kind)
        run.child = machine.child(thread, event) if setting_up and event.name == CHILD_ENDED.name else None
        # A copy: what user code does to it must not change which event this is.
        request = copy(event.request)
        found = yield call, (request,) if setting_up else (request, event.handled)
        if setting_up:
            machine.set_up(event, found)
        else:
            machine.torn_down(thread, event)
    except Exception as error:  # whatever the user's code raises is kept in the state and tried again
        if backup is not None:
            backup.put_back()
        machine.outside_failed(event, ErrorInfo(type(error).__name__, message_of(error), event.wait), run.clock())
        line = (
            f"run {run.state.run_id!r}, thread {thread.id!r}, wait {event.wait!r}: {kind} of event {event.name!r} raised "
            f"{said(error)}"
        )
        logger.warning("%s; it is tried again by the next resume, from %s on", line, event.due_at, exc_info=error)
        if setting_up:
            run.failures.append((line, error))
    run.kind = ""
    # It may have changed data: conditions are asked again, as after an action.
    stuck = None if run.state.status in OVER else _move_on(run, machine.settle_again)
    if stuck is not None:
        stuck.add_note(
            f"flowstmt: conditions were asked again after the {kind} of event {event.name!r} of Wait {event.wait!r}, which may "
            "have changed what they look at"
        )
    now = run.clock()
    machine.checkpoint(now)
    if stuck is not None:
        # All threads are parked, but not for good: whoever looks for runs that are due has to find it. The next resume settles
        # that, and saves what it finds, as it does for each run that is not Waiting.
        run.state.status = RUN_RESUMING
        run.state.wake_at = now
    yield from run.saving(AFTER_SETUP if setting_up else AFTER_TEARDOWN, now, thread)
    if stuck is not None:
        raise stuck
