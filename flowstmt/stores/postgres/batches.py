"""Writes of one commit, sent all at once as one transaction, and only then are the results read.

Checkpoints, which are most of what is written, go first, those that are nothing else as one statement; the others follow in
their order. That changes no answer: only the first write about a run goes ahead, and past others only a mere snapshot does.
"""

from __future__ import annotations

import selectors
from collections.abc import Generator, Sequence
from operator import attrgetter
from typing import TypeAlias, TypeGuard

import psycopg

from flowstmt.errors import StoreError
from flowstmt.stores.postgres.connections import CONTENT, Connection, Statements, is_about_content, result_of, told
from flowstmt.stores.postgres.exchanges import Conversation, Dialogue
from flowstmt.stores.postgres.wire import Sent
from flowstmt.stores.postgres.writes import Call, Result, Steps, Writes, extras, is_news, target, was_saved
from flowstmt.stores.protocol import Outcome, Save, Withdrawal, Write

__all__ = ["Batches"]

_LookedUp: TypeAlias = Generator[Sequence[Sent], Sequence[Result], Outcome]

_Selector: type[selectors.BaseSelector] = getattr(selectors, "PollSelector", selectors.SelectSelector)
"""The one that is made with the least ado."""

_EXTRAS = ("take", "add_history", "new_run", "post")
"""What comes with a checkpoint, in this order: messages look for children."""


class Batches:
    """Commits writes on a connection that is in no transaction."""

    def __init__(self, sql: Statements, writes: Writes, channel: str) -> None:
        self._sql = sql
        self._writes = writes
        self._channel = channel

    def commit(self, connection: Connection, prepared: dict[str, bytes], writes: Sequence[Write]) -> list[Outcome]:
        """Make all writes in one transaction; the answer of each."""
        try:
            return _waited_for(connection, prepared, self.dialogue(writes))
        except CONTENT as error:
            if not is_about_content(error):
                raise
            outcomes = self._each_for_itself(connection, writes)
            self._writes.succeeded()
            return outcomes

    def run(self, connection: Connection, steps: Steps) -> Outcome:
        """Make the calls of one write, in whatever transaction there is."""
        try:
            call = next(steps)
            while True:
                call = steps.send(result_of(self._sql.execute(connection, call.name, call.parameters)))
        except StopIteration as stop:
            outcome: Outcome = stop.value
            return outcome

    # -- all at once

    def dialogue(self, writes: Sequence[Write]) -> Dialogue:
        """All writes in one transaction, which is the first; those that follow look further. It returns the answer of each."""
        if _are_mere(writes):
            [result] = yield [self._sql.saves(writes)]
            return [True] * len(writes) if result.changed == len(writes) else (yield from self._standing(writes))
        ahead, rest = _parted(writes)
        sent, checkpoints = self._sent_ahead(ahead, writes)
        firsts: dict[int, int] = {}
        for number in rest:
            firsts[number] = len(sent)
            sent += [self._sql.sent(call) for call in self._writes.calls(writes[number])]
        if any(map(is_news, writes)):
            sent.append(self._sql.sent(Call("notify", {"channel": self._channel})))
        results = yield sent
        outcomes: list[Outcome] = [True] * len(writes)
        if sum(result.changed for result in results[:checkpoints]) < len(ahead):
            lost = [write for write in (writes[number] for number in ahead) if isinstance(write, Save)]
            for number, saved in zip(ahead, (yield from self._standing(lost)), strict=True):
                outcomes[number] = saved
        for number, first in firsts.items():
            outcome = self._writes.answer(writes[number], results[first])
            outcomes[number] = (yield from self._looked_up(writes[number], results[first])) if outcome is None else outcome
        self._writes.succeeded()
        return outcomes

    def _sent_ahead(self, ahead: Sequence[int], writes: Sequence[Write]) -> tuple[list[Sent], int]:
        """The checkpoints that go first, with all that comes with them; how many of these are the checkpoints themselves."""
        mere: list[Save] = []
        resting: list[Save] = []
        calls: dict[str, list[Call]] = {name: [] for name in _EXTRAS}
        for number in ahead:
            save = writes[number]
            assert isinstance(save, Save)
            (mere if save.rest is None else resting).append(save)
            for call in extras(save):
                calls[call.name].append(call)
        # In the order of their rows, as those of one statement: so that batches of several workers don't deadlock.
        resting.sort(key=attrgetter("run_id"))
        sent = [self._sql.saves(mere)] if mere else []
        sent += [self._sql.sent(self._writes.save(save)) for save in resting]
        return [*sent, *(self._sql.sent(call) for name in _EXTRAS for call in calls[name])], len(sent)

    def _standing(self, saves: Sequence[Save]) -> Generator[Sequence[Sent], Sequence[Result], list[Outcome]]:
        """Which of several checkpoints are there, whoever made them."""
        [standing] = yield [self._sql.sent(Call("standing", {"run_ids": [save.run_id for save in saves]}))]
        return [was_saved(save, standing.rows) for save in saves]

    def _looked_up(self, write: Write, first: Result) -> _LookedUp:
        steps = self._writes.looked_up(write, first)
        outcome: Outcome | None
        try:
            call = next(steps)
            while True:
                [result] = yield [self._sql.sent(call)]
                call = steps.send(result)
        except StopIteration as stop:
            outcome = stop.value
        if outcome is not None:
            return outcome
        [outcome] = yield from self.dialogue([write])  # the run that was in the way has gone meanwhile
        return outcome

    # -- one by one

    def _each_for_itself(self, connection: Connection, writes: Sequence[Write]) -> list[Outcome]:
        """One of these can't be kept, whatever the reason: the others are, in one transaction as ever."""
        outcomes: list[Outcome] = []
        self._sql.execute(connection, "begin")
        for write in writes:
            self._sql.execute(connection, "savepoint")
            try:
                outcomes.append(self.run(connection, self._writes.steps(write)))
            except CONTENT as error:
                if not is_about_content(error):
                    raise
                self._sql.execute(connection, "rollback_to_savepoint")
                outcomes.append(_refused(write, error))
            self._sql.execute(connection, "release_savepoint")
        if any(map(is_news, writes)):
            self._sql.execute(connection, "notify", {"channel": self._channel})
        self._sql.execute(connection, "commit")
        return outcomes


def _are_mere(writes: Sequence[Write]) -> TypeGuard[Sequence[Save]]:
    """Whether these are checkpoints that are nothing else, of a run each, as most of what is written is."""
    for write in writes:
        if type(write) is not Save or not write.is_mere:
            return False
    return len(writes) == 1 or len({write.run_id for write in writes if type(write) is Save}) == len(writes)


def _parted(writes: Sequence[Write]) -> tuple[list[int], list[int]]:
    """Which writes may go ahead: checkpoints that are the first about their run."""
    ahead: list[int] = []
    rest: list[int] = []
    met = set[str | None]()
    for number, write in enumerate(writes):
        if isinstance(write, Save):
            # What it does besides must not get past a write that was handed in before it.
            overtakes = rest and (write.rest or write.taken or write.messages or write.children)
            (rest if overtakes or write.run_id in met else ahead).append(number)
            met.update(posted.run_id for posted in write.messages)
            met.update(child.run_id for child in write.children)
        else:
            rest.append(number)
        met.add(target(write))
    return ahead, rest


def _waited_for(connection: Connection, prepared: dict[str, bytes], dialogue: Dialogue) -> list[Outcome]:
    """What comes of a dialogue."""
    conversation = Conversation(connection, prepared, dialogue)
    descriptor = connection.pgconn.socket
    with _Selector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while True:
            if conversation.unsent:
                selector.modify(descriptor, selectors.EVENT_READ | selectors.EVENT_WRITE)
            selector.select()
            outcomes: list[Outcome] | None = conversation.outcome()
            if outcomes is not None:
                return outcomes
            selector.modify(descriptor, selectors.EVENT_READ)


def _refused(write: Write, error: BaseException) -> StoreError:
    retry = isinstance(error, psycopg.errors.LockNotAvailable)
    subject = f"of message {write.id!r}" if isinstance(write, Withdrawal) else f"of run {write.run_id!r}"
    what = f"the {type(write).__name__} {subject}"
    if retry:
        refusal = StoreError(
            f"{what} was not written: somebody else's open transaction is in its way ({told(error)}); keep those short. It may "
            "be made again",
            retry=True,
        )
    else:
        refusal = StoreError(f"{what} can't be written: {told(error)}")
    refusal.__cause__ = error
    return refusal
