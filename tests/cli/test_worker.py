"""``flowstmt worker``: it moves runs, goes when it is told to, and says what is wrong with what it was given."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest

from flowstmt import Engine, MemoryStore, SQLiteStore, SyncEngine
from flowstmt.__main__ import main
from flowstmt.stores.protocol import Store
from tests.cli import shop
from tests.cli.commands import flowstmt, worker
from tests.cli.shop import Asking, LastOrder, Order
from tests.engine.databases import Database, SQLiteDatabase
from tests.engine.running import SOON

MOVES = r"INFO +flowstmt\.worker: worker \S+ moves runs of Order, LastOrder, Asking in (SQLiteStore|PostgresStore)\("
TARGET = "tests.cli.shop:make_engine"


@pytest.fixture
def file(tmp_path: Path) -> SQLiteDatabase:
    return SQLiteDatabase(tmp_path / "runs.db")


def web(database: Database) -> SyncEngine:
    """An engine that moves nothing by itself."""
    return SyncEngine(database.store(), [Order, LastOrder, Asking], worker=False, poll=timedelta(milliseconds=100))


def await_file(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not come"
        time.sleep(0.01)


# --- what it does ---


def test_it_moves_runs_and_ends_well_when_it_is_told_to(shared_database: Database) -> None:
    with worker(TARGET, SHOP=shared_database.url) as process, web(shared_database) as engine:
        process.says(MOVES)
        engine.start(Order(), run_id="o-1")
        assert engine.result("o-1", timeout=SOON) == "packed"
        process.process.send_signal(signal.SIGTERM)
        assert process.ended() == 0
    assert "SIGTERM: what is under way is finished or handed back; SIGTERM once more ends this at once" in process.log[-2]
    assert re.search(r"worker \S+ has stopped$", process.log[-1].rstrip())


def test_what_can_end_in_time_is_finished_before_it_goes(file: SQLiteDatabase, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with worker(TARGET, SHOP=file.url) as process, web(file) as engine:
        engine.start(Order(str(gate)), run_id="o-1")
        await_file(Path(f"{gate}.come"))
        process.process.send_signal(signal.SIGINT)
        process.says("SIGINT: what is under way")
        gate.touch()
        assert process.ended() == 0
        run = engine.get("o-1")
        assert (run.owner, run.lease_until, run.revision) == (None, None, 3), "the step was saved, and the run given back"


def test_what_takes_too_long_is_handed_back_and_another_worker_does_it(shared_database: Database, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with web(shared_database) as engine:
        engine.start(Order(str(gate)), run_id="o-1")
        with worker(TARGET, SHOP=shared_database.url, SHOP_SHUTDOWN="0.2") as process:
            await_file(Path(f"{gate}.come"))
            assert engine.get("o-1").owner is not None
            process.process.terminate()
            assert process.ended() == 0
        run = engine.get("o-1")
        assert (run.owner, run.lease_until) == (None, None), "nobody has to wait for the lease"
        gate.touch()
        with worker(TARGET, SHOP=shared_database.url):
            assert engine.result("o-1", timeout=SOON) == "packed"


def test_a_second_signal_ends_it_at_once(file: SQLiteDatabase, tmp_path: Path) -> None:
    with worker(TARGET, SHOP=file.url, SHOP_SHUTDOWN="60") as process, web(file) as engine:
        engine.start(Order(str(tmp_path / "gate")), run_id="o-1")
        await_file(tmp_path / "gate.come")
        process.process.send_signal(signal.SIGINT)
        process.says("SIGINT: what is under way")
        deadline = time.monotonic() + 30
        while process.process.poll() is None:  # those that follow the first one closely count as the same
            assert time.monotonic() < deadline
            process.process.send_signal(signal.SIGTERM)
            time.sleep(0.05)
        assert process.ended() == -signal.SIGTERM
        assert engine.get("o-1").owner is not None, "nobody has handed anything back"


@pytest.mark.parametrize("maker", ["make_engine", "make_sync_engine", "make_engine_later", "engine_and_its_deps"])
def test_each_way_to_name_an_engine_works(maker: str, file: SQLiteDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP", file.url)
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with web(file) as engine:
        engine.start(LastOrder() if maker != "engine_and_its_deps" else Asking(), run_id="last")
        assert main(["worker", f"tests.cli.shop:{maker}", "--log-level", "warning"]) == 0
        assert engine.result("last", timeout=SOON) == "stopped"
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert not [thread.name for thread in threading.enumerate() if thread.name == "flowstmt worker, engine"]
    assert [deps.is_open for deps in shop.closed] == [False] * (maker == "engine_and_its_deps")
    shop.closed.clear()


def test_it_ends_when_it_is_told_to_while_the_database_is_away(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        "from flowstmt import Engine, PostgresStore, SyncEngine\n"
        "store = PostgresStore('postgresql://ann:hush-hush@127.0.0.1:1/orders')\n"
        "engine, sync_engine = Engine(store, []), SyncEngine(store, [])\n"
    )
    for name in ("engine", "sync_engine"):
        with worker(f"shop:{name}", tmp_path) as process:
            process.says(r"WARNING flowstmt\.engine: .*orders at 127\.0\.0\.1:1.*tried again in")
            process.process.terminate()
            assert process.ended() == 0
        assert "before the engine could begin" in "".join(process.log)
        assert "hush-hush" not in "".join(process.log)


def test_a_module_that_sets_up_logging_keeps_it(tmp_path: Path, file: SQLiteDatabase) -> None:
    (tmp_path / "shop.py").write_text(
        "import logging\n"
        "from tests.cli.shop import make_engine\n"
        "logging.basicConfig(format='MINE %(message)s', level=logging.INFO)\n"
    )
    with worker("shop:make_engine", tmp_path, SHOP=file.url) as process:
        process.says(r"^MINE worker \S+ moves runs")


# --- what is wrong with it ---

MODULES = {
    "shop/__init__.py": "",
    "shop/orders.py": """
from dataclasses import dataclass
from flowstmt import Engine, MemoryStore, SQLiteStore, Step

@dataclass
class Order:
    def definition(self):
        return Step("pack", print)

engine = Engine(MemoryStore(), [Order])
quiet = Engine(MemoryStore(), [Order], worker=False)
old = Engine(SQLiteStore("old.db", migrate=False), [Order])
app = {"routes": []}

def make(shard):
    return engine

def broken():
    raise OSError("no vault here")

async def broken_later():
    raise OSError("no vault there")

def nothing():
    return None
""",
    "shop/broken.py": "import nothing_of_this_name",
    "shop/raising.py": "import os\nos.environ['NO_SUCH_VARIABLE']",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    for name, text in MODULES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("shop", "name the engine too, as in shop:engine"),
        ("shop.orders", "name the engine too, as in shop.orders:engine"),
        ("shop/orders.py:engine", "name the module as Python imports it, as in shop.orders:engine"),
        ("./shop/orders.py", "name the module as Python imports it, as in shop.orders:engine"),
        (":engine", "name a module as Python imports it, and its engine, as in shop.orders:engine"),
        ("shap.orders:engine", "there is no module 'shap': it was looked for here, in {folder}, too"),
        ("shop.nowhere:engine", "there is no module 'shop.nowhere': it was looked for here, in {folder}, too"),
        ("shop.orders:engin", "shop.orders has no 'engin'; did you mean 'engine'?"),
        ("shop.orders:engine.nothing", "an Engine has no 'nothing'"),
        ("shop.orders:Order", "is the class Order, not an engine, nor a function that gives one"),
        ("shop.orders:app", "is a dict, not an engine, nor a function that gives one"),
        ("shop.orders:nothing", "is None, not an engine, nor a function that gives one"),
        ("shop.orders:make", "is a function that can't be called without arguments: missing a required argument: 'shard'"),
        (
            "shop.orders:quiet",
            "has worker=False, so that it moves no runs: name an engine without that, or a function that makes one",
        ),
    ],
)
def test_a_target_that_is_no_engine_is_said_to_be_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], target: str, said: str
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    assert main(["worker", target]) == 2
    assert capsys.readouterr() == ("", f"flowstmt worker: {target}: {said.format(folder=folder)}\n")


@pytest.mark.parametrize(
    ("target", "said", "where"),
    [
        ("shop.broken:engine", "can't import 'shop.broken': ModuleNotFoundError: No module named 'nothing_of_", "broken.py"),
        ("shop.raising:engine", "can't import 'shop.raising': KeyError: 'NO_SUCH_VARIABLE'", "raising.py"),
        ("shop.orders:broken", "calling it to get an engine raised OSError: no vault here", "in broken"),
        ("shop.orders:broken_later", "waiting for it to get an engine raised OSError: no vault there", "in broken_later"),
    ],
)
def test_what_the_users_own_code_raises_is_shown_with_its_traceback(folder: Path, target: str, said: str, where: str) -> None:
    done = flowstmt(folder, "worker", target)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Traceback (most recent call last):\n")
    assert where in done.stderr
    assert f"flowstmt worker: {target}: {said}" in done.stderr.splitlines()[-1]


def test_tables_that_do_not_fit_end_it_with_what_to_do(folder: Path) -> None:
    done = flowstmt(folder, "worker", "shop.orders:old")
    assert done.returncode == 1
    assert "ERROR   flowstmt.worker: the engine shop.orders:old could not begin: SchemaError: the tables in" in done.stderr
    assert "run `flowstmt migrate`" in done.stderr
    assert "Traceback" not in done.stderr
    assert flowstmt(folder, "migrate", "shop.orders:old").stdout.startswith("done: 0001_")
    with worker("shop.orders:old", folder) as process:
        process.says("moves runs of Order")
    store = SQLiteStore(folder / "old.db")
    store._cursor_of_writer().execute("INSERT INTO flowstmt_migrations VALUES (9999, '9999_later', 0)")
    store.close()
    newer = flowstmt(folder, "worker", "shop.orders:old")
    assert newer.returncode == 1
    assert "newer than this version of flowstmt" in newer.stderr


@pytest.mark.parametrize("kind", [Engine, SyncEngine])
def test_whatever_keeps_an_engine_from_beginning_is_logged_and_ends_it(
    kind: type[Engine | SyncEngine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Odd(MemoryStore):
        def open(self) -> None:
            raise RuntimeError("nobody has thought of this")

    stores: dict[str, Store] = {"old": SQLiteStore(tmp_path / "runs.db", migrate=False), "odd": Odd()}
    for name, store in stores.items():
        monkeypatch.setattr(shop, name, kind(store, [Order]), raising=False)
        assert main(["worker", f"tests.cli.shop:{name}"]) == 1
    old, odd = [record for record in caplog.records if record.name == "flowstmt.worker"]
    assert old.getMessage().startswith("the engine tests.cli.shop:old could not begin: SchemaError: the tables in")
    assert (odd.getMessage(), odd.exc_info is None) == ("the engine tests.cli.shop:odd failed", False)


def test_an_engine_that_is_in_use_already_is_refused(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    with SyncEngine(MemoryStore(), [Order]) as engine:
        monkeypatch.setattr(shop, "used", engine, raising=False)
        assert main(["worker", "tests.cli.shop:used"]) == 1
    assert "could not begin: FlowstmtError: this engine is in use already" in caplog.text


def test_wrong_arguments_show_the_usage(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["worker"], ["worker", "shop:engine", "--log-level", "loud"], ["worker", "--nothing"]):
        with pytest.raises(SystemExit, match="2"):
            main(arguments)
        assert "usage: flowstmt worker [-h] [--log-level" in capsys.readouterr().err


def test_ctrl_c_before_there_is_an_engine_is_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(shop, "interrupted", interrupted, raising=False)
    assert main(["worker", "tests.cli.shop:interrupted"]) == 130


def test_modules_are_found_in_the_folder_in_which_the_command_is_given(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.path", [path for path in sys.path if path not in ("", os.getcwd())])
    assert main(["worker", "shop.orders:app"]) == 2
    assert "is a dict" in capsys.readouterr().err
