"""Workers with older and newer code of a workflow share a database."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest

from flowstmt import Engine, On, Return, S, Statement, Step, Wait
from flowstmt.errors import UnknownEventError
from tests.engine.databases import Database
from tests.engine.flows import Counting
from tests.engine.running import SOON, engine_on, run, stored, until


def code(number: int) -> type[Any]:
    """One version of a workflow, which can read what the versions before it have saved."""

    @dataclass
    class Halting:
        version: ClassVar[int] = number
        moved_by: list[int] = field(default_factory=list)

        def definition(self) -> Statement:
            return S(
                Step("begin", self.note),
                Wait("first", On("go")),
                Step("go on", self.note),
                Wait("second", On("go")),
                Step("end", self.note),
                Return(self.moved_by),
            )

        def note(self) -> None:
            self.moved_by.append(number)

        @classmethod
        def migrate(cls, data: dict[str, Any], _: int) -> dict[str, Any]:
            return data

    return Halting


OLD, NEW = code(1), code(2)


def test_older_workers_leave_a_run_alone_that_newer_code_has_moved(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Else they would lease it, find that they can't load it, and give it back, over and over."""
    caplog.set_level(logging.WARNING, "flowstmt")

    async def main() -> None:
        async with engine_on(database, workflows=[OLD]) as older:
            await older.start(OLD(), run_id="h")
            await older.await_status("h", "Waiting")
            assert (await older.get("h")).version == 1
        async with engine_on(database, workflows=[NEW]) as newer:
            await newer.signal("h", "go")

            async def waits_again() -> bool:
                return bool((await newer.get("h")).position == "second")

            await until(waits_again, "the newer code has moved it")
            assert (await newer.get("h")).version == 2
        store = database.store()
        async with Engine(store, [OLD, Counting]) as older:
            before = await stored(store, "h")
            await older.signal("h", "go")
            await older.start(Counting(), run_id="later")
            await older.result("later", SOON)
            after = await stored(store, "h")
            assert (after.owner, after.fence, after.version) == (None, before.fence, 2), "it was due earlier, and not leased"
            assert (await older.health()).unknown == {("Halting", 2): 1}
            async with engine_on(database, workflows=[NEW]) as newer:
                assert await newer.result("h", SOON) == [1, 2, 2]

    run(main())
    assert caplog.records == []


def test_newer_code_that_only_looked_at_a_run_leaves_it_to_older_code(database: Database) -> None:
    """A callback that is refused saves nothing: the snapshot is still that of the older code."""

    async def main() -> None:
        async with engine_on(database, workflows=[OLD]) as older:
            await older.start(OLD(), run_id="h")
            await older.await_status("h", "Waiting")
            before = await older.get("h")
            async with engine_on(database, workflows=[NEW], worker=False) as newer:
                with pytest.raises(UnknownEventError):
                    await newer.callback("h", "stop")
            run = await older.get("h")
            assert (run.version, run.snapshot) == (1, before.snapshot)
            await older.signal("h", "go")
            await older.signal("h", "go")
            assert await older.result("h", SOON) == [1, 1, 1]

    run(main())
