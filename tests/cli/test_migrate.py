"""``flowstmt migrate``: the tables of a database are brought up to date, whatever it is called by, and no secret is shown."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from flowstmt.__main__ import main
from tests.cli.commands import flowstmt
from tests.postgres import Postgres

DONE = r"(done: \d{4}_\w+\n)+"
NOTHING = "up to date: there was nothing to do\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FLOWSTMT_DATABASE", raising=False)
    return tmp_path


def tables(path: Path) -> set[str]:
    connection = sqlite3.connect(path)
    try:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    finally:
        connection.close()


def test_a_file_of_sqlite_is_migrated_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", "orders.db"]) == 0
    assert re.fullmatch(DONE, capsys.readouterr().out)
    assert "flowstmt_runs" in tables(folder / "orders.db")
    assert main(["migrate", "orders.db"]) == 0
    assert capsys.readouterr() == (NOTHING, "")
    assert main(["migrate", "orders.db", "--prefix", "shop_"]) == 0
    assert "shop_runs" in tables(folder / "orders.db")


def test_a_file_that_is_there_may_have_any_name(folder: Path) -> None:
    (folder / "orders").touch()
    assert main(["migrate", "orders"]) == 0
    assert main(["migrate", "./others"]) == 0
    assert tables(folder / "orders") == tables(folder / "others") > {"flowstmt_runs"}


def test_a_schema_of_postgresql_is_migrated_by_url_string_or_variable(
    folder: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = postgres("migrated")
    assert main(["migrate", url]) == 0
    assert re.fullmatch(DONE, capsys.readouterr().out)
    monkeypatch.setenv("FLOWSTMT_DATABASE", url)
    assert main(["migrate"]) == 0
    assert capsys.readouterr() == (NOTHING, "")
    assert main(["migrate", "--schema", "shop"]) == 0
    assert re.fullmatch(DONE, capsys.readouterr().out)
    monkeypatch.setenv("ORDERS_URL", psycopg.conninfo.make_conninfo(url))
    assert main(["migrate", "--env", "ORDERS_URL", "--schema", "shop"]) == 0
    assert capsys.readouterr() == (NOTHING, "")
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT table_schema FROM information_schema.tables WHERE table_name = 'runs' ORDER BY 1")
        assert found.fetchall() == [("flowstmt",), ("shop",)]


@pytest.mark.parametrize("target", ["engine", "make", "make_later", "quiet", "sync"])
def test_the_database_of_an_engine_is_migrated(folder: Path, target: str) -> None:
    (folder / "shop.py").write_text(
        "from flowstmt import Engine, SQLiteStore, SyncEngine\n"
        "store = SQLiteStore('mine.db', prefix='mine_', migrate=False)\n"
        "engine, quiet, sync = Engine(store, []), Engine(store, [], worker=False), SyncEngine(store, [])\n"
        "def make(): return engine\n"
        "async def make_later(): return engine\n"
    )
    done = flowstmt(folder, "migrate", f"shop:{target}")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(DONE, done.stdout)
    assert "mine_runs" in tables(folder / "mine.db")


def test_two_that_migrate_at_once_do_it_once(folder: Path, postgres: Postgres) -> None:
    for target in (str(folder / "orders.db"), postgres("migrated_at_once")):
        command = [sys.executable, "-m", "flowstmt", "migrate", target]
        root = Path(__file__).parents[2]
        both = [subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        said = sorted(process.communicate(timeout=60)[0] for process in both)
        assert [process.returncode for process in both] == [0, 0]
        assert re.fullmatch(DONE, said[0])
        assert said[1] == NOTHING


# --- what is wrong ---

URL = "postgresql://ann:hush@127.0.0.1:1/orders"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "the database: name one, or set FLOWSTMT_DATABASE; --help says how"),
        (["--env", "ORDERS_URL"], 2, "the database: name one, or set ORDERS_URL; --help says how"),
        (["orders"], 2, "orders: names neither an engine (module:name), nor a PostgreSQL URL, nor a file that is there; for a"),
        ([":memory:"], 2, ":memory:: names neither an engine"),
        (["file:/tmp/x.db"], 2, "file:/tmp/x.db: SQLiteStore('file:/tmp/x.db') needs the path of a file"),
        (["orders.db", "--schema", "shop"], 2, "orders.db: --schema is not for SQLite: --prefix is how"),
        (["orders.db", "--prefix", "a b"], 2, "orders.db: prefix='a b' can't be part of a table's name"),
        ([URL, "--prefix", "shop_"], 2, "the database: --prefix is not for PostgreSQL: --schema is where"),
        ([URL, "--schema", "a;b"], 2, "the database: schema='a;b' can't be part of a table's name"),
        (["postgresql://ann:hu@sh@db:x/orders"], 2, "the database: PostgresStore can't read its dsn"),
        (["postgresql://ann:hu/sh@db/orders"], 2, "the database: PostgresStore can't read its dsn"),
        (["dbname=orders password='hush"], 2, "the database: PostgresStore can't read its dsn"),
        (["shop:engine", "--schema", "shop"], 2, "shop:engine: --schema is not for an engine, whose store has its own"),
        (["nowhere:engine"], 2, "nowhere:engine: there is no module 'nowhere'"),
        ([URL], 1, "the database: StoreError: PostgreSQL (orders at 127.0.0.1:1) "),
        (["no/such/folder/orders.db"], 1, "no/such/folder/orders.db: StoreError: "),
    ],
)
def test_what_cant_be_migrated_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str
) -> None:
    assert main(["migrate", *arguments]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"flowstmt migrate: {said}")
    assert "hush" not in err
    assert "sh@" not in err
    assert not list(folder.iterdir()), "nothing was made"


def test_tables_that_are_newer_are_left_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", "orders.db"]) == 0
    connection = sqlite3.connect(folder / "orders.db")
    connection.execute("INSERT INTO flowstmt_migrations VALUES (9999, '9999_later', 0)")
    connection.commit()
    connection.close()
    assert main(["migrate", "orders.db"]) == 1
    assert "newer than this version of flowstmt" in capsys.readouterr().err


def test_without_psycopg_it_says_what_to_install(folder: Path) -> None:
    (folder / "psycopg.py").write_text("raise ModuleNotFoundError('No module named psycopg', name='psycopg')")
    done = flowstmt(folder, "migrate", URL)
    assert done.returncode == 2
    assert done.stderr == 'flowstmt migrate: the database: PostgresStore needs psycopg 3: pip install "flowstmt[postgres]"\n'


def test_help_says_what_a_database_is_called(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["migrate", "--help"])
    out = capsys.readouterr().out
    assert "what the environment variable FLOWSTMT_DATABASE says" in out
    assert "A password does not belong on a command line" in out
