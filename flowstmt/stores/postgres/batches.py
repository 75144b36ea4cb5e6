"""Writes of one commit, sent as one pipeline: BEGIN, all statements, COMMIT, and only then are the results read.

Checkpoints, which are most of what is written, go first, all with one prepared statement; the others follow in their order.
That changes no answer: only the first write about a run goes ahead, and past others only a mere snapshot does.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any, TypeAlias

import psycopg
from psycopg.rows import tuple_row

from flowstmt.errors import StoreError
from flowstmt.stores.postgres.connections import CONTENT, Connection, Statements, is_about_content, result_of, told
from flowstmt.stores.postgres.writes import Call, Result, Steps, Writes, extras, is_news, target, was_saved
from flowstmt.stores.protocol import Outcome, Save, Withdrawal, Write

__all__ = ["Batches"]

_Cursor: TypeAlias = psycopg.Cursor[tuple[Any, ...]]

_AHEAD = ("save", "rest", "take", "add_history", "new_run", "post")
"""In this order: what comes with a checkpoint asks whether it was saved, and messages look for children."""


class Batches:
    """Commits writes on a connection that is in no transaction."""

    def __init__(self, sql: Statements, writes: Writes, channel: str) -> None:
        self._sql = sql
        self._writes = writes
        self._channel = channel

    def commit(self, connection: Connection, writes: Sequence[Write]) -> list[Outcome]:
        """Make all writes in one transaction; the answer of each."""
        try:
            outcomes = self._checkpoint(connection, writes) or self._together(connection, writes)
        except CONTENT as error:
            if not is_about_content(error):
                raise
            connection.rollback()
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

    def _checkpoint(self, connection: Connection, writes: Sequence[Write]) -> list[Outcome] | None:
        """The short way for one checkpoint, which is what a lone run writes; None if it is none, or changes nothing."""
        [save, *others] = writes
        if (
            others
            or type(save) is not Save
            or save.rest is not None
            or save.taken
            or save.messages
            or save.children
            or save.history
        ):
            return None
        call = self._writes.save(save)
        saved = self._sql.execute(connection, call.name, call.parameters).rowcount
        return [True] if saved else None

    # -- all at once

    def _together(self, connection: Connection, writes: Sequence[Write]) -> list[Outcome]:
        ahead, rest = _parted(writes)
        calls: dict[str, list[dict[str, Any]]] = {name: [] for name in _AHEAD}
        for number in ahead:
            save = writes[number]
            assert isinstance(save, Save)
            for call in (self._writes.save(save), *extras(save)):
                calls[call.name].append(call.parameters)
        for name in ("save", "rest"):
            calls[name].sort(key=itemgetter("run_id"))  # so that batches of several workers don't deadlock
        later = {number: self._writes.calls(writes[number]) for number in rest}
        news = any(map(is_news, writes))
        if not news and sum(map(len, calls.values())) + sum(map(len, later.values())) == 1:
            saved, found = self._alone(connection, calls, later)
        else:
            saved, found = self._piped(connection, calls, later, news)
        outcomes: list[Outcome] = [True] * len(writes)
        if saved < len(ahead):
            lost = [write for write in (writes[number] for number in ahead) if isinstance(write, Save)]
            standing = self._sql.rows(connection, "standing", {"run_ids": [save.run_id for save in lost]})
            for number, save in zip(ahead, lost, strict=True):
                outcomes[number] = was_saved(save, standing)
        for number, cursor in found.items():
            result = result_of(cursor)
            outcome = self._writes.answer(writes[number], result)
            outcomes[number] = self._looked_up(connection, writes[number], result) if outcome is None else outcome
        return outcomes

    def _alone(
        self, connection: Connection, calls: dict[str, list[dict[str, Any]]], later: dict[int, list[Call]]
    ) -> tuple[int, dict[int, _Cursor]]:
        """One statement is a transaction by itself, in one round trip."""
        if later:
            [(number, [call])] = later.items()
            return 0, {number: self._sql.execute(connection, call.name, call.parameters)}
        [(name, [parameters])] = [(name, found) for name, found in calls.items() if found]
        return self._sql.execute(connection, name, parameters).rowcount, {}

    def _piped(
        self, connection: Connection, calls: dict[str, list[dict[str, Any]]], later: dict[int, list[Call]], news: bool
    ) -> tuple[int, dict[int, _Cursor]]:
        many: dict[str, _Cursor] = {}
        found: dict[int, _Cursor] = {}
        with connection.pipeline():
            self._sql.execute(connection, "begin")
            for name, parameters in calls.items():
                if parameters:
                    many[name] = psycopg.Cursor(connection, row_factory=tuple_row)
                    many[name].executemany(self._sql[name], parameters)
            for number, [first, *more] in later.items():
                found[number] = self._sql.execute(connection, first.name, first.parameters)
                for call in more:
                    self._sql.execute(connection, call.name, call.parameters)
            if news:
                self._sql.execute(connection, "notify", {"channel": self._channel})
            self._sql.execute(connection, "commit")
        return sum(many[name].rowcount for name in ("save", "rest") if name in many), found

    def _looked_up(self, connection: Connection, write: Write, first: Result) -> Outcome:
        outcome = self.run(connection, self._writes.looked_up(write, first))  # type: ignore[arg-type] # None: see below
        if outcome is not None:
            return outcome
        return self.commit(connection, [write])[0]  # the run that was in the way has gone meanwhile

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
