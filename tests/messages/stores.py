"""What can go wrong in the stores that need no server: the one in memory, and files of SQLite."""

from __future__ import annotations

import logging
import os
import resource
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

from flowstmt import MemoryStore, SQLiteStore
from flowstmt.stores.named_sql import Migration
from flowstmt.stores.protocol import Message, MessageKind, NewRun, Outcome, Publication, Save, Withdrawal
from tests.messages.foreign import call_it
from tests.messages.rows import Table

HOUR = timedelta(hours=1)
START = NewRun("o-1", "Order", 1, b"{}", "d")
HELD = NewRun("o-1", "Order", 1, b"{}", "d", worker="w-1", lease=HOUR)
SAVE = Save("o-1", 1, 1, b"{}")
ODD: Any = Save("o-1", 1, 1, None)
TOLD = Publication("o-1", b"{}")
SIGNAL = Message("m-1", "o-1", MessageKind.signal, b"{}")

MEMORY = Table("Stores: in memory")
FILES = Table("Stores: files of SQLite")
STEPS = Table("Stores: steps that write into a file of SQLite")
JOINING = Table("Stores: transactions in a file of SQLite that are joined")
TABLES = [MEMORY, FILES, STEPS, JOINING]


def raised(outcome: Outcome) -> None:
    """What an engine does with a write that was refused."""
    assert isinstance(outcome, Exception)
    raise outcome


@contextmanager
def talkative() -> Iterator[None]:
    """What is logged for those who look for it is told as well."""
    logger = logging.getLogger("flowstmt")
    level = logger.level
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.setLevel(level)


# --- in memory


MEMORY.add("a run that is not there", lambda: MemoryStore().claim_run("w-1", "o-1", HOUR))
MEMORY.add("a connection to some database", lambda: MemoryStore().join("a connection", [START]))


@MEMORY.row
def a_run_that_is_deleted_while_it_is_moved() -> None:
    store = MemoryStore()
    store.commit([HELD])
    store.delete("o-1")


@MEMORY.row
def a_publication_in_a_transaction() -> None:
    store = MemoryStore()
    with store.transaction() as transaction:
        store.join(transaction, [TOLD])


# --- files


@contextmanager
def folder() -> Iterator[str]:
    """An empty one; the page calls it by a name that it would have elsewhere."""
    with tempfile.TemporaryDirectory() as made:
        real = os.path.realpath(made)
        call_it(real, "/var/lib/shop")
        yield real


def unopened(path: str, **options: Any) -> closing[SQLiteStore]:
    return closing(SQLiteStore(f"{path}/orders.db", **{"busy_timeout": 0.01, **options}))


@contextmanager
def store_in(path: str, **options: Any) -> Iterator[SQLiteStore]:
    with unopened(path, **options) as store:
        store.open()
        yield store


def on_file(table: Table, title: str, call: Callable[[SQLiteStore], Any], **options: Any) -> None:
    """A row in which a store is called that has a run, ``o-1``, with a lease."""

    def provoke() -> None:
        with folder() as path, store_in(path, **options) as store:
            store.commit([HELD])
            call(store)

    table.add(title, provoke)


FILES.add("a store in memory", lambda: SQLiteStore(":memory:"))
FILES.add("a word that SQLite does not have", lambda: SQLiteStore("orders.db", synchronous="full"))
FILES.add("a prefix that can not be part of SQL", lambda: SQLiteStore("orders.db", prefix="flowstmt-"))
on_file(FILES, "a run that is not there", lambda store: store.claim_run("w-1", "o-2", HOUR))
on_file(FILES, "a run that is deleted while it is moved", lambda store: store.delete("o-1"))
on_file(FILES, "a write that can not be kept", lambda store: raised(store.commit([ODD])[0]))
on_file(FILES, "a withdrawal that can not be kept", lambda store: raised(store.commit([Withdrawal("\udcff")])[0]))


@FILES.row
def a_store_that_is_not_open() -> None:
    with folder() as path, unopened(path) as store:
        store.get("o-1")


def taken_away(store: SQLiteStore) -> None:
    os.rename(store.path, f"{store.path}.away")
    store.commit([START])


on_file(FILES, "a file that is taken away while it is open", taken_away)


@FILES.row
def a_folder_that_is_not_there() -> None:
    with folder() as path, store_in(f"{path}/data"):
        pass


@FILES.row
def a_file_of_another_kind() -> None:
    with folder() as path:
        Path(path, "orders.db").write_bytes(b"sku,amount\n" * 100)
        with store_in(path):
            pass


@FILES.row
def a_file_that_is_damaged() -> None:
    with folder() as path, store_in(path) as store:
        store.commit([NewRun(f"o-{number}", "Order", 1, b"{}", "d") for number in range(1000)])
        file = Path(path, "orders.db")
        with closing(sqlite3.connect(file)) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        written = file.read_bytes()
        file.write_bytes(written[:4096] + b"\xff" * (len(written) - 4096))
        store.get("o-500")


@FILES.row
def tables_that_are_missing() -> None:
    with folder() as path, store_in(path, migrate=False):
        pass


@FILES.row
def tables_that_are_older() -> None:
    with folder() as path:
        with store_in(path):
            pass
        with unopened(path, migrate=False) as store:
            store._migrations = [*store._migrations, Migration(2, "0002_more", "")]
            store.open()


@FILES.row
def tables_that_are_newer() -> None:
    with folder() as path:
        with store_in(path) as store, closing(sqlite3.connect(store.path)) as other, other:
            other.execute("INSERT INTO flowstmt_migrations VALUES (99, '0099_later', 0)")
        with store_in(path):
            pass


@FILES.row
def a_file_where_memory_can_not_be_shared() -> None:
    class WithoutWal(sqlite3.Connection):
        def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
            return super().execute(sql.replace("= WAL", "= DELETE"), parameters)

    opening = sqlite3.connect
    with (
        folder() as path,
        mock.patch.object(sqlite3, "connect", lambda *args, **options: opening(*args, **{**options, "factory": WithoutWal})),
        store_in(path),
    ):
        pass


def _locked(store: SQLiteStore) -> None:
    with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        store.commit([SAVE])


def _full(store: SQLiteStore) -> None:
    assert store._writer is not None
    (pages,) = store._writer.execute("PRAGMA page_count").fetchone()
    store._writer.execute(f"PRAGMA max_page_count = {pages}")
    store.commit([Save("o-1", 1, 1, b"x" * 100_000)])


def _failing(store: SQLiteStore) -> None:
    """Files may not grow past what there is: writing fails as on a disk that is broken."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize(f"{store.path}-wal"), hard))
    try:
        store.commit([Save("o-1", 1, 1, b"x" * 100_000)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _read_only(store: SQLiteStore) -> None:
    assert store._writer is not None
    store._writer.execute("PRAGMA query_only = 1")
    store.commit([SAVE])


def _deaf(store: SQLiteStore) -> None:
    assert store._writer is not None
    store._writer.set_authorizer(lambda *_: sqlite3.SQLITE_DENY)
    with talkative():
        store._version()


def _left_to_the_thread(store: SQLiteStore) -> None:
    with talkative(), closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert store.commit_at_once([SAVE]) is None


def _at_once_without_end(store: SQLiteStore) -> None:
    assert store._writer is not None
    store._writer.set_authorizer(_no_end)
    with talkative():
        assert store.commit_at_once([ODD, SIGNAL]) is None


def _busy_here(store: SQLiteStore) -> None:
    with store.transaction():
        store.commit([SAVE])


on_file(FILES, "a file in which somebody else writes", _locked)
on_file(FILES, "a full disk", _full)
on_file(FILES, "a disk that fails", _failing)
on_file(FILES, "a file that may not be written to", _read_only)
on_file(FILES, "a file of which is not known whether it has changed", _deaf)
on_file(FILES, "a step that takes long", _busy_here)
on_file(FILES, "a file in which somebody else writes just now", _left_to_the_thread)
on_file(FILES, "a commit of the event loop that does not end", _at_once_without_end)


# --- steps


def in_step(title: str, act: Callable[[Any], Any]) -> None:
    """A row in which an action does something with its connection."""

    def call(store: SQLiteStore) -> None:
        with store.transaction() as transaction:
            act(transaction.connection)
            transaction.commit(SAVE)

    on_file(STEPS, title, call)


in_step("a commit", lambda connection: connection.commit())
in_step("a rollback", lambda connection: connection.rollback())
in_step("a script", lambda connection: connection.executescript("DELETE FROM notes"))
in_step("a transaction that was ended in SQL", lambda connection: connection.execute("COMMIT"))


def _kept(store: SQLiteStore) -> None:
    with store.transaction() as transaction:
        kept = transaction.connection
    kept.execute("SELECT 1")


def _odd(store: SQLiteStore) -> None:
    with store.transaction() as transaction:
        transaction.commit(ODD)


def _no_end(action: int, argument: str | None, *_: Any) -> int:
    refused = action == sqlite3.SQLITE_TRANSACTION and argument == "ROLLBACK"
    return sqlite3.SQLITE_DENY if refused else sqlite3.SQLITE_OK


def _stuck(store: SQLiteStore) -> None:
    with talkative(), store.transaction() as transaction:
        transaction.connection.set_authorizer(_no_end)


on_file(STEPS, "a connection that was kept", _kept)
on_file(STEPS, "a checkpoint that can not be kept", _odd)
on_file(STEPS, "a transaction that does not end", _stuck)


# --- joining


def joining(title: str, connect: Callable[[str], sqlite3.Connection], *writes: Any, begins: bool = False) -> None:
    """A row in which a connection of the caller's is joined."""

    def call(store: SQLiteStore) -> None:
        with closing(connect(os.path.dirname(store.path))) as connection:
            if begins:
                connection.execute("BEGIN")
            store.join(connection, writes or [SIGNAL])

    on_file(JOINING, title, call)


joining("a write that is none of the caller's", lambda path: sqlite3.connect(f"{path}/orders.db"), SAVE)
joining("a file without runs", lambda path: sqlite3.connect(f"{path}/stock.db"), begins=True)
joining("a database in memory", lambda _: sqlite3.connect(":memory:"))
joining("no transaction", lambda path: sqlite3.connect(f"{path}/orders.db", isolation_level=None))
on_file(JOINING, "no connection", lambda store: store.join("orders.db", [START]))


def _behind(store: SQLiteStore) -> None:
    with closing(sqlite3.connect(store.path, isolation_level=None)) as mine:
        mine.execute("BEGIN")
        mine.execute("SELECT count(*) FROM flowstmt_runs").fetchone()
        store.commit([SAVE])
        store.join(mine, [SIGNAL])


on_file(JOINING, "a transaction that reads what is out of date", _behind)
