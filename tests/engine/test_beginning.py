"""What a new run does before it is written: the moves before its first action, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from flowstmt import Engine, If, MemoryStore, On, Retry, S, Statement, Step, Wait, load
from flowstmt.stores.protocol import NewRun, Outcome, Save, Write
from tests.engine.running import SOON, run

QUESTIONS: list[str] = []
BROKEN: set[str] = set()
STARTED: list[Any] = []


@dataclass
class Choosing:
    """Asks a question before its first step."""

    name: str
    done: list[str] = field(default_factory=list)

    def definition(self) -> Statement:
        return S(If("urgent", self.is_urgent, Step("fly", self.fly)), Step("pay", self.pay))

    def is_urgent(self) -> bool:
        QUESTIONS.append(self.name)
        if self.name in BROKEN:
            raise OSError("nobody knows")
        return True

    async def fly(self) -> None:
        self.done.append("fly")

    async def pay(self) -> None:
        self.done.append("pay")


@dataclass
class Asking:
    """Waits for an event that is set up outside."""

    def definition(self) -> Statement:
        return S(Wait("answer", On("answered", self.answered)))

    def answered(self) -> None: ...


@dataclass
class Starting:
    """Starts another run in its step."""

    def definition(self) -> Statement:
        return Step("start", self.start)

    async def start(self) -> None:
        await STARTED[0].start(Choosing("inner"), run_id="inner")


class Noting(MemoryStore):
    """A store that notes what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[Write] = []

    def commit(self, writes: Sequence[Write]) -> list[Outcome]:
        self.writes += writes
        return super().commit(writes)

    def born(self, cls: type[Any], run_id: str) -> Any:
        """The state with which a run was stored."""
        new, *_ = [write for write in self.writes if isinstance(write, NewRun) and write.run_id == run_id]
        return load(cls, new.snapshot)[1]

    def saves(self, run_id: str) -> int:
        """How many checkpoints there were."""
        return len([write for write in self.writes if isinstance(write, Save) and write.run_id == run_id])


def engine_on(store: Noting, **settings: Any) -> Engine:
    return Engine(store, [Choosing, Asking, Starting], poll=timedelta(milliseconds=50), **settings)


def test_a_run_is_stored_where_its_first_action_is_about_to_begin() -> None:
    async def main() -> None:
        QUESTIONS.clear()
        store = Noting()
        async with engine_on(store) as engine:
            mine = Choosing("one")
            await engine.start(mine, run_id="c")
            again = await engine.start(Choosing("one"), run_id="c")
            assert again.run_id == "c", "it is the same run, whatever it has done since"
            await engine.result("c", SOON)
            row = await engine.get("c")
        born = store.born(Choosing, "c")
        assert (born.revision, born.threads[0].position) == (1, "fly")
        assert store.saves("c") == 2, "one for each step"
        assert load(Choosing, row.snapshot or b"")[0].done == ["fly", "pay"]
        assert mine.done == [], "the data are a copy"
        assert QUESTIONS.count("one") <= 1 + 1, "once for each start: nobody asks again"

    run(main())


def test_a_run_that_has_something_to_do_outside_first_is_stored_as_it_was_born() -> None:
    async def main() -> None:
        store = Noting()
        async with engine_on(store) as engine:
            await engine.start(Asking(), run_id="a")
            await engine.await_status("a", "Waiting", SOON)
        assert store.born(Asking, "a").revision == 0

    run(main())


def test_what_is_wrong_with_a_run_is_met_by_who_moves_it() -> None:
    async def main() -> None:
        BROKEN.add("two")
        store = Noting()
        async with engine_on(store, retry=Retry(max_attempts=1)) as engine:
            await engine.start(Choosing("two"), run_id="c")
            paused = await engine.await_status("c", "Paused", SOON)
            assert paused.error is not None
            assert "nobody knows" in paused.error.message
            assert store.born(Choosing, "c").revision == 0
            BROKEN.clear()
            await engine.retry("c")
            await engine.result("c", SOON)

    run(main())


def test_a_run_that_another_process_is_to_move_is_stored_as_it_was_born() -> None:
    async def main() -> None:
        store = Noting()
        async with engine_on(store, worker=False) as engine:
            QUESTIONS.clear()
            await engine.start(Choosing("three"), run_id="c")
            assert QUESTIONS == []
            assert store.born(Choosing, "c").revision == 0

    run(main())


def test_a_run_that_is_started_inside_of_another_one_is_stored_as_it_was_born() -> None:
    async def main() -> None:
        store = Noting()
        async with engine_on(store) as engine:
            STARTED[:] = [engine]
            await engine.start(Starting(), run_id="outer")
            await engine.result("outer", SOON)
            await engine.result("inner", SOON)
            assert store.born(Choosing, "inner").revision == 0
            assert store.born(Starting, "outer").revision == 1

    run(main())
