"""What the commands ``flowstmt worker`` and ``flowstmt migrate`` say of engines and databases that can't be used."""

from __future__ import annotations

import asyncio
import sys
from argparse import Namespace
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from flowstmt import Engine, MemoryStore
from flowstmt.cli import migrate, worker
from flowstmt.cli.targets import made, value_of
from tests.messages.rows import Table

ENGINES = Table("Commands: engines")
DATABASES = Table("Commands: databases")
TABLES = [ENGINES, DATABASES]

HERE = __name__
NUMBER = 3


def of_a_shard(shard: int) -> Engine:
    return Engine(MemoryStore(), [], worker_id=f"shard-{shard}")


def broken() -> Engine:
    raise OSError("no vault here")


@asynccontextmanager
async def broken_later() -> AsyncIterator[Engine]:
    raise OSError("no vault there")
    yield


async def _entered(target: str) -> None:
    async with made(value_of(target)):
        raise AssertionError("this is an engine")


def _database(name: str, **given: str) -> Any:
    return migrate._store(name, Namespace(**{"schema": None, "prefix": None, **given}))


for title, target in (
    ("an engine by its file", "shop/orders.py:engine"),
    ("an engine without its module", ":engine"),
    ("an engine without its name", HERE),
    ("an engine under another name", f"{HERE}:of_a_shart"),
    ("a class in place of an engine", f"{HERE}:Table"),
    ("a function for an engine that takes something", f"{HERE}:of_a_shard"),
    ("a function for an engine that raises", f"{HERE}:broken"),
):
    ENGINES.add(title, lambda target=target: value_of(target))


@ENGINES.row
def an_engine_in_a_module_that_is_not_there() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.getcwd", lambda: "/srv/shop")
        value_of("nothing_of_this_name:engine")


@contextmanager
def module(source: str) -> Iterator[str]:
    """A module that can be imported meanwhile, if its source can be executed."""

    class Loader:
        @staticmethod
        def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
            from importlib.util import spec_from_loader

            return spec_from_loader(name, Loader()) if name == "shop_of_this_page" else None

        @staticmethod
        def create_module(spec: Any) -> None:
            return None

        @staticmethod
        def exec_module(module: Any) -> None:
            exec(source, vars(module))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "meta_path", [Loader, *sys.meta_path])
        yield "shop_of_this_page"
        sys.modules.pop("shop_of_this_page", None)


def _importing(source: str) -> Callable[[], None]:
    def provoke() -> None:
        with module(source) as name:
            value_of(f"{name}:engine")

    return provoke


ENGINES.add("an engine whose module needs another one that is not there", _importing("import nothing_of_this_name"))
ENGINES.add("an engine whose module raises", _importing("raise OSError('no vault')"))


@ENGINES.row
def a_function_for_an_engine_that_raises_when_it_is_entered() -> None:
    asyncio.run(_entered(f"{HERE}:broken_later"))


@ENGINES.row
def something_else_in_place_of_an_engine() -> None:
    asyncio.run(_entered(f"{HERE}:NUMBER"))


@ENGINES.row
def an_engine_that_is_no_worker() -> None:
    asyncio.run(worker._work(Engine(MemoryStore(), [], worker=False)))


@DATABASES.row
def no_database_at_all() -> None:
    migrate._named(Namespace(database=None, env="NOTHING_OF_THIS_NAME"))


@DATABASES.row
def a_file_that_is_not_there_and_has_an_odd_name() -> None:
    _database("orders")


@DATABASES.row
def a_file_in_memory() -> None:
    _database("file::memory:.db")


@DATABASES.row
def a_url_that_can_not_be_read() -> None:
    _database("postgresql://ann:pass@word@db/orders")


@DATABASES.row
def an_option_that_is_not_for_this_database() -> None:
    _database("orders.db", schema="shop")


@DATABASES.row
def another_option_that_is_not_for_this_database() -> None:
    _database("postgresql://db/orders", prefix="shop_")


@DATABASES.row
def an_option_for_the_database_of_an_engine() -> None:
    migrate._refuse(Namespace(schema="shop"), "schema", by="an engine, whose store has its own")
