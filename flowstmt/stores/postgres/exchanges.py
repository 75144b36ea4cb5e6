"""Statements that are sent all at once, and their results, which are read when they are there. Nothing here waits.

What is sent together is one transaction: in libpq's pipeline mode, up to a sync, or a lone statement, which is one by itself.
It needs no BEGIN and no COMMIT, and if one statement fails the server rolls all of it back.

Statements are prepared under names of our own as they are first sent on a connection. The driver, which knows nothing of these,
may deallocate all that is prepared; who is told that one is missing prepares them again.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from itertools import count
from typing import Any, TypeAlias

import psycopg
from psycopg.adapt import Transformer
from psycopg.errors import InvalidSqlStatementName, error_from_result
from psycopg.pq import DiagnosticField, ExecStatus
from psycopg.pq.abc import PGresult

from flowstmt.stores.postgres.connections import Connection
from flowstmt.stores.postgres.wire import Sent
from flowstmt.stores.postgres.writes import Result

__all__ = ["Conversation", "Dialogue"]

_SYNC = int(ExecStatus.PIPELINE_SYNC)
_COMMAND_OK = int(ExecStatus.COMMAND_OK)
_WELL = (_COMMAND_OK, int(ExecStatus.TUPLES_OK))

_numbers = count()


Dialogue: TypeAlias = Generator[Sequence[Sent], Sequence[Result], Any]
"""Yields what is to be sent, each time a transaction; is sent the results; returns what came of it."""


class Conversation:
    """A dialogue with the server, over a connection that nobody else uses meanwhile. ``unsent``: there is more to send.

    ``prepared`` are the statements that were prepared on the connection, and under which names. What the server refuses leaves
    the connection ready; after whatever else goes wrong it is closed, as its state isn't known.
    """

    __slots__ = ("_alone", "_connection", "_dialogue", "_finished", "_got", "_new", "_prepared", "_sent", "unsent")

    def __init__(self, connection: Connection, prepared: dict[str, bytes], dialogue: Dialogue) -> None:
        self._connection = connection
        self._prepared = prepared
        self._dialogue = dialogue
        self._send(next(dialogue))

    def outcome(self) -> Any:
        """Take in what has come, and send what that leads to: what came of the dialogue; None if it goes on.

        Raises ``psycopg.Error``: what the server refused something with, or that the connection is lost.
        """
        try:
            if not self._received():
                return None
            results = self._results()
        except InvalidSqlStatementName:
            self._prepared.clear()
            if all(one.name in self._new for one in self._sent):
                raise
            self._send(self._sent)
            return None
        except BaseException:
            if not self._finished:
                self._connection.close()
            raise
        try:
            self._send(self._dialogue.send(results))
        except StopIteration as stop:
            return stop.value
        return None

    def _send(self, sent: Sequence[Sent]) -> None:
        pgconn, prepared = self._connection.pgconn, self._prepared
        self._sent = sent
        self._got: list[PGresult] = []
        self._new: list[str] = []
        self._alone = len(sent) == 1 and sent[0].name in prepared
        self._finished = False
        try:
            if self._alone:
                name, _, values, formats, _ = sent[0]
                pgconn.send_query_prepared(prepared[name], values, formats)
            else:
                pgconn.enter_pipeline_mode()
                self._prepare(sent)
                for one in sent:
                    pgconn.send_query_prepared(prepared[one.name], one.values, one.formats)
                pgconn.pipeline_sync()
            self.unsent = pgconn.flush() != 0
        except BaseException:
            self._connection.close()
            raise

    def _received(self) -> bool:
        """Whether all results are there now."""
        pgconn = self._connection.pgconn
        try:
            pgconn.consume_input()
            if self.unsent:
                self.unsent = pgconn.flush() != 0
            while not pgconn.is_busy():
                result = pgconn.get_result()
                if result is None:
                    assert pgconn.socket >= 0  # it raises if the connection is lost: then there is nothing for ever
                    self._finished = self._alone
                elif result.status == _SYNC:
                    pgconn.exit_pipeline_mode()
                    self._finished = True
                else:
                    self._got.append(result)
                if self._finished:
                    return True
        except psycopg.OperationalError as error:
            raise self._last_words() or error from None
        return False

    def _last_words(self) -> psycopg.Error | None:
        """What the server has said before the connection was lost: it says more than that."""
        last = self._connection.pgconn.get_result()
        for result in (*self._got, *([] if last is None else [last])):
            if result.error_field(DiagnosticField.SQLSTATE) is not None:
                return error_from_result(result)
        return None

    def _prepare(self, sent: Sequence[Sent]) -> None:
        """Send what was not prepared on this connection."""
        for one in sent:
            if one.name not in self._prepared:
                self._prepared[one.name] = name = b"flowstmt_%d" % next(_numbers)
                self._connection.pgconn.send_prepare(name, one.text)
                self._new.append(one.name)

    def _results(self) -> Sequence[Result]:
        """What was received. Raises what the server refused, or was lost with."""
        got, new = self._got, self._new
        if new:
            for name, result in zip(new, got, strict=False):
                if result.status != _COMMAND_OK:
                    del self._prepared[name]
        for result in got:
            if result.status not in _WELL:
                raise self._last_words() or psycopg.OperationalError(result.get_error_message())
        return [*map(self._result, self._sent, got[len(new) :] if new else got)]

    def _result(self, sent: Sent, found: PGresult) -> Result:
        rows: Sequence[tuple[Any, ...]] = ()
        if sent.answers and found.ntuples:
            transformer = Transformer(self._connection)
            transformer.set_pgresult(found)
            rows = transformer.load_rows(0, found.ntuples, tuple)
        return Result(found.command_tuples or 0, rows)
