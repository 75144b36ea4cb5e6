"""What ``flowstmt.testing`` says of workflows, of scripts, and of those who call it."""

from __future__ import annotations

import asyncio
import runpy
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import strategies as st

import flowstmt.testing.hunt
from flowstmt import (
    CheckpointType,
    If,
    NotWaitingError,
    On,
    RefusedError,
    Retry,
    S,
    Statement,
    Step,
    UnknownEventError,
    Wait,
    current,
)
from flowstmt.testing import Advance, Callback, Harness, explore
from flowstmt.testing.hunt import hunt
from tests.messages.definitions import wrong
from tests.messages.rows import Table

HARNESS = Table("flowstmt.testing: the harness")
EXPLORER = Table("flowstmt.testing: explore and hunt")
TABLES = [HARNESS, EXPLORER]


@dataclass
class Order:
    paid: int = 0
    log: list[str] = field(default_factory=list)

    def definition(self) -> Statement:
        return S(Wait("payment", On("paid", into="paid"), On("cancelled")), Step("ship", self.ship))

    def ship(self) -> None:
        self.log.append("shipped")


@HARNESS.row
def an_invariant_that_does_not_hold() -> None:
    Harness(Order(), invariant=lambda order, state: False).run()


@HARNESS.row
def a_snapshot_that_does_not_come_back_the_same() -> None:
    harness = Harness(Order())
    harness.snapshot = harness.snapshot.replace(b'"version":1', b'"version": 1')
    harness.reload()


@HARNESS.row
def an_async_workflow_inside_an_event_loop() -> None:
    @dataclass
    class Later:
        def definition(self) -> Statement:
            return Step("charge", self.charge)

        async def charge(self) -> None: ...

    async def test() -> None:
        Harness(Later()).run()

    asyncio.run(test())


@HARNESS.row
def a_stop_that_is_another_one_after_a_reload() -> None:
    harness = Harness(Order())
    harness.run()
    harness.state.threads[0].position = "ship"
    harness._save(CheckpointType.afterStep)


@dataclass
class Forgetful:
    """Remembers outside of its fields."""

    reason: str = ""
    seen: list[str] = field(default_factory=list)
    cache: list[str] = field(default_factory=list, metadata={"transient": True})

    def definition(self) -> Statement:
        return S(
            Step("look", lambda: self.cache.append("tea")),
            Wait("payment", On("paid"), On("cancelled", into="reason")),
            Step("note", lambda: self.seen.extend(self.cache)),
        )


@EXPLORER.row
def a_crash_that_makes_a_difference() -> None:
    explore(Forgetful, [Advance(timedelta(seconds=2)), Callback("payed", refused=UnknownEventError), Callback("paid")])


@EXPLORER.row
def a_crash_after_which_the_run_fails() -> None:
    @dataclass
    class Failing:
        cache: list[str] = field(default_factory=list, metadata={"transient": True})

        def definition(self) -> Statement:
            return S(Step("look", lambda: self.cache.append("tea")), Step("note", lambda: self.cache[0]))

    explore(Failing)


@EXPLORER.row
def a_crash_after_an_attempt_that_failed() -> None:
    @dataclass
    class Charge:
        charged: int = 0

        def definition(self) -> Statement:
            return Step("charge", self.charge, into="charged", retry=Retry(initial=timedelta(0)))

        def charge(self) -> int:
            bank: list[str] = current().deps
            if current().attempt == 1:
                bank.append(current().idempotency_key)  # without a look whether it has this key already
                raise TimeoutError
            return len(bank)

    explore(Charge, deps=list)


@EXPLORER.row
def a_run_that_fails_without_a_crash() -> None:
    @dataclass
    class Failing:
        def definition(self) -> Statement:
            return Step("charge", lambda: dict[str, str]()["card"])

    explore(Failing)


@EXPLORER.row
def a_crash_of_an_async_workflow_that_makes_a_difference() -> None:
    @dataclass
    class Later:
        seen: list[str] = field(default_factory=list)
        cache: list[str] = field(default_factory=list, metadata={"transient": True})

        def definition(self) -> Statement:
            return S(Step("look", self.look), Step("note", lambda: self.seen.extend(self.cache)))

        async def look(self) -> None:
            await asyncio.create_task(asyncio.sleep(0))
            self.cache.append("tea")

    explore(Later, kill_at="before save afterStep #2")


@EXPLORER.row
def a_callback_that_should_be_refused() -> None:
    explore(Order, [Callback("paid", 5, refused=NotWaitingError)])


@EXPLORER.row
def a_callback_that_should_be_taken() -> None:
    explore(Order, [Callback("paid", "tea")])


@EXPLORER.row
def deps_that_are_no_function() -> None:
    explore(Order, deps=wrong({"bank": 1}))


@EXPLORER.row
def an_object_for_make() -> None:
    explore(wrong(Order()))


@EXPLORER.row
def one_object_for_all_runs() -> None:
    order = Order()
    explore(lambda: order, [Callback("paid", 5)])


@EXPLORER.row
def a_refusal_that_changes_something() -> None:
    @dataclass
    class Noting:
        def definition(self) -> Statement:
            return Wait("payment", On("paid", self.take))

        def take(self) -> None:
            current().state.notes.append("refused")
            raise RefusedError("not today")

    explore(Noting, [Callback("paid", refused=RefusedError)])


def _unlike(end: Callable[[bool], Coroutine[Any, Any, None]]) -> None:
    """A workflow that forgets what a crash takes; the plays after that was seen are not like those before."""
    seen: list[str] = []

    @dataclass
    class Unlike:
        notes: list[str] = field(default_factory=list)
        cache: list[str] = field(default_factory=list, metadata={"transient": True})

        def definition(self) -> Statement:
            return S(
                Step("look", lambda: self.cache.append("tea")),
                Step("note", self.note),
                Step("end", self.end),
            )

        def note(self) -> None:
            self.notes.extend(self.cache)
            if not self.cache:
                seen.append("a difference")

        async def end(self) -> None:
            await end(bool(seen))

    explore(Unlike)


@EXPLORER.row
def a_run_whose_data_differ_from_play_to_play() -> None:
    count = iter(range(1000))

    @dataclass
    class Counted:
        number: int

        def definition(self) -> Statement:
            return Step("charge", lambda: None)

    explore(lambda: Counted(next(count)))


@EXPLORER.row
def a_run_that_fails_in_a_later_play() -> None:
    async def end(later: bool) -> None:
        if later:
            raise OSError("port in use")

    _unlike(end)


@EXPLORER.row
def a_run_that_awaits_more_in_a_later_play() -> None:
    async def end(later: bool) -> None:
        for _ in range(1 + later):
            await asyncio.sleep(0)

    _unlike(end)


@EXPLORER.row
def a_run_that_goes_another_way_in_a_later_play() -> None:
    ways = iter([True] * 3 + [False] * 1000)

    @dataclass
    class Way:
        by_land: bool

        def definition(self) -> Statement:
            return If("by land", self.by_land, Step("drive", lambda: None)).else_(Step("sail", lambda: None))

    explore(lambda: Way(next(ways)))


@EXPLORER.row
def a_run_that_ends_earlier_in_a_later_play() -> None:
    ways = iter([True] * 7 + [False] * 1000)

    @dataclass
    class Way:
        longer: bool

        def definition(self) -> Statement:
            return S(Step("drive", lambda: None), If("longer", self.longer, Step("sail", lambda: None)))

    explore(lambda: Way(next(ways)))


@EXPLORER.row
def a_script_that_was_hunted_down() -> None:
    hunt(Forgetful, st.just(Callback("paid")), examples=5)


@EXPLORER.row
def no_hypothesis() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "hypothesis", None)
        runpy.run_path(flowstmt.testing.hunt.__file__)


@EXPLORER.row
def a_script_that_was_hunted_down_and_needs_no_crash() -> None:
    @dataclass
    class Failing:
        paid: int = 0

        def definition(self) -> Statement:
            return S(Wait("payment", On("paid", into="paid")), Step("divide", lambda: 1 / self.paid))

    hunt(Failing, st.builds(Callback, st.just("paid"), st.just(0)), examples=5)


@EXPLORER.row
def callbacks_that_are_no_strategy() -> None:
    hunt(Order, wrong([Callback("paid", 5)]))


@EXPLORER.row
def a_strategy_that_draws_something_else() -> None:
    hunt(Order, wrong(st.just("paid")), examples=5)


@EXPLORER.row
def a_strategy_that_draws_refusals() -> None:
    hunt(Order, st.just(Callback("paid", 5, refused=NotWaitingError)), examples=5)
