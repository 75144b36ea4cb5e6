"""What ``docs/storing.md`` says of PostgreSQL, on a real server, and of SQLAlchemy; the guide itself runs as all guides do."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.orm.exc import StaleDataError

from flowstmt import ConflictError, State, dump, handle_callback, load, resume, resume_async
from tests.blocks import prose, sources

GUIDE = Path(__file__).parents[2] / "docs" / "storing.md"


@pytest.fixture
def guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The names that its blocks define."""
    module = ModuleType("guide_to_storing")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.chdir(tmp_path)
    for source in sources(GUIDE, "python"):
        exec(source, module.__dict__)
    yield module
    module.db.close()


@pytest.fixture
def db(guide: Any, postgres: Any) -> Iterator[psycopg.Connection]:
    with psycopg.connect(postgres("storing_guide")) as db:
        db.execute(guide.TABLE)
        db.commit()
        yield db
    with psycopg.connect(postgres.server, autocommit=True) as server:
        server.execute("DROP DATABASE storing_guide")


def inserted(db: psycopg.Connection, guide: Any, run_id: str) -> None:
    state = State.new(run_id, "Order")
    db.execute(guide.INSERT, guide.columns(guide.Order("tea"), state))
    db.commit()


def loaded(db: psycopg.Connection, guide: Any, run_id: str) -> tuple[Any, State]:
    row = db.execute(guide.SELECT, (run_id,)).fetchone()
    db.commit()
    assert row is not None
    return load(guide.WORKFLOWS[row[0]], row[1])


def test_a_run_in_a_table_of_postgresql(guide, db):
    inserted(db, guide, "order-1")
    workflow, snapshot = db.execute(guide.CLAIM).fetchone()
    db.commit()
    assert db.execute(guide.CLAIM).fetchone() is None  # it is leased
    order, state = load(guide.WORKFLOWS[workflow], snapshot)
    save = guide.postgres_saver(db, order, state)
    assert resume(order, state, save) == "Waiting"
    other, other_state = loaded(db, guide, "order-1")
    assert dump(other, other_state) == dump(order, state)
    handle_callback("paid", order, state, 42)
    save()
    late = guide.postgres_saver(db, other, other_state)
    handle_callback("paid", other, other_state, 43)
    with pytest.raises(ConflictError, match="order-1 was moved by somebody else since revision 1"):
        late()
    assert db.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    assert resume(order, state, save) == "Finished"
    assert loaded(db, guide, "order-1")[1].result == "shipped"

    queries = re.findall(r"`(?:SELECT id FROM runs )?(WHERE (?:\(snapshot #>>|snapshot @>)[^`]+)`", prose(GUIDE))
    assert len(queries) == 2
    for query in queries:
        assert db.execute(f"SELECT id FROM runs {query}").fetchall() == [("order-1",)]


def test_async_saves_to_postgresql(guide, db, postgres):
    class Pool:
        @asynccontextmanager
        async def connection(self) -> AsyncIterator[psycopg.AsyncConnection]:
            async with await psycopg.AsyncConnection.connect(db.info.dsn) as connection:
                yield connection

    async def play() -> None:
        for run_id in ("order-1", "order-2"):
            inserted(db, guide, run_id)
        order, state = loaded(db, guide, "order-1")
        late, late_state = loaded(db, guide, "order-1")
        assert await resume_async(order, state, guide.async_saver(Pool(), order, state)) == "Waiting"
        with pytest.raises(ConflictError, match="order-1 was moved by somebody else since revision 0"):
            await resume_async(late, late_state, guide.async_saver(Pool(), late, late_state))
        assert loaded(db, guide, "order-1")[1] == state
        assert loaded(db, guide, "order-2")[1].revision == 0

    asyncio.run(play())


def test_jsonb_refuses_the_character_zero(guide, db):
    with pytest.raises(psycopg.errors.UntranslatableCharacter):
        db.execute(guide.INSERT, guide.columns(guide.Order("\x00"), State.new("order-1", "Order")))
    db.rollback()


def test_after_a_commit_version_id_col_compares_with_what_others_have_written_since(tmp_path):
    class Base(DeclarativeBase):
        pass

    class Row(Base):
        __tablename__ = "runs"
        id: Mapped[int] = mapped_column(primary_key=True)
        revision: Mapped[int] = mapped_column()
        snapshot: Mapped[str]
        __mapper_args__ = {"version_id_col": revision, "version_id_generator": False}

    engine = create_engine(f"sqlite:///{tmp_path / 'runs.db'}")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        row = Row(id=1, revision=1, snapshot="mine")
        session.add(row)
        session.commit()
        somebody_else_writes(engine, revision=5)
        row.revision, row.snapshot = 2, "mine again"
        session.commit()  # nobody notices
        assert row.snapshot == "mine again"
        assert row.revision == 2
        somebody_else_writes(engine, revision=5)
        row.revision, row.snapshot = 3, "mine once more"
        with pytest.raises(StaleDataError):  # here what was read last was read before
            session.flush()
        session.rollback()
    engine.dispose()


def somebody_else_writes(engine: Any, revision: int) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE runs SET revision = ?, snapshot = 'theirs'", (revision,))
