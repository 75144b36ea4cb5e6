"""A database that fails in the middle of a transactional step: that is no failure of the step, and nobody takes it for one."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar

import psycopg

from flowstmt import ErrorInfo, Map, Retry, Return, S, Statement, Step, current
from tests.engine.databases import Database
from tests.engine.running import SOON, engine_on, run


@dataclass
class Bookings:
    """Each books once. The first attempt meets a database that fails; nobody minds the failure of a branch."""

    names: list[str] = field(default_factory=lambda: ["ann", "bob"])
    booked: list[str | ErrorInfo | None] = field(default_factory=list)

    failures: ClassVar[list[str]] = []
    fail: ClassVar[Any]
    mend: ClassVar[Any]

    def definition(self) -> Statement:
        return S(
            Map(
                "all",
                self.names,
                Step("book", self.book, transactional=True, retry=Retry(max_attempts=1)),
                tolerate=2,
                into="booked",
            ),
            Return(lambda: self.booked),
        )

    def book(self, name: str) -> str:
        connection = current().connection
        assert current().attempt == 1
        if len(Bookings.failures) < 2:
            Bookings.failures.append(name)
            Bookings.fail(connection)
        try:
            connection.execute(f"INSERT INTO bookings VALUES ('{name}', '{'x' * 10_000}')")
        finally:
            Bookings.mend(connection)
        return name


def test_a_step_whose_database_fails_under_it_is_run_again(shared_database: Database) -> None:
    url = shared_database.url.partition("#")[0]

    def end_session(connection: psycopg.Connection[Any]) -> None:
        with psycopg.connect(url, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s)", [connection.info.backend_pid])

    def fill_disk(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA max_page_count = 1")  # no less than it has, that is

    def make_room(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA max_page_count = 1000000")

    Bookings.failures.clear()
    is_postgres = url.startswith("postgres")
    Bookings.fail = end_session if is_postgres else fill_disk
    Bookings.mend = (lambda connection: None) if is_postgres else make_room
    with psycopg.connect(url) if is_postgres else sqlite3.connect(url) as db:
        db.execute("CREATE TABLE bookings (name TEXT, filling TEXT)")

    async def main() -> None:
        async with engine_on(
            shared_database, workflows=[Bookings], retry=Retry(max_attempts=1), lease=timedelta(seconds=5)
        ) as engine:
            await engine.start(Bookings(), run_id="b-1")
            assert await engine.result("b-1", SOON) == ["ann", "bob"]
        assert Bookings.failures == ["ann", "ann"]

    run(main())
    with psycopg.connect(url) if is_postgres else sqlite3.connect(url) as db:
        assert db.execute("SELECT name FROM bookings ORDER BY name").fetchall() == [("ann",), ("bob",)]
    db.close()
