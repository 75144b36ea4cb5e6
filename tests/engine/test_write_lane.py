"""Commits in the event loop's thread, and what goes to the other one: in order, once, and told to whoever waits."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

import pytest

from flowstmt.engine import at_once
from flowstmt.engine.write_lane import UnknownOutcomeError, WriteLane
from flowstmt.errors import StoreError
from flowstmt.stores.at_once import at_once_of
from flowstmt.stores.protocol import Publication, Save
from tests.engine.running import run, until

WHERE: ContextVar[str] = ContextVar("WHERE", default="outside")


class Sent:
    """A commit whose answer comes when it is told to."""

    def __init__(self, store: Sends, names: list[str]) -> None:
        self.store = store
        self.names = names
        self.door, self.ring = os.pipe()
        self.answer: Callable[[], list[Any] | None] = lambda: [True] * len(names)
        self.abandoned = False

    def fileno(self) -> int:
        return self.door

    def outcomes(self) -> list[Any] | None:
        os.read(self.door, 1)
        outcomes = self.answer()
        if outcomes is not None:
            self.store.commits.append(("sent", self.names))
        return outcomes

    def abandon(self) -> None:
        self.abandoned = True

    def come(self) -> None:
        os.write(self.ring, b".")


class Quick:
    """Commits where it is asked."""

    def __init__(self) -> None:
        self.commits: list[tuple[str, list[str]]] = []
        self.busy = False
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def commit(self, writes: Sequence[Any]) -> list[Any]:
        self.entered.set()
        assert self.gate.wait(10)
        self.commits.append(("thread", [write.run_id for write in writes]))
        return [not isinstance(write, Save) for write in writes]

    def commit_at_once(self, writes: Sequence[Any]) -> Any:
        if self.busy:
            return None
        self.commits.append((f"at once, {WHERE.get()}", [write.run_id for write in writes]))
        return [True] * len(writes)


class Sends(Quick):
    """Sends, and is answered later."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[Sent] = []

    def commit_at_once(self, writes: Sequence[Any]) -> Any:
        if self.busy:
            return None
        self.sent.append(Sent(self, [write.run_id for write in writes]))
        return self.sent[-1]


def write(name: str) -> Publication:
    return Publication(name, b"")


def lane_of(store: Quick) -> WriteLane:
    lane = WriteLane("lane", store)  # type: ignore[arg-type] # it needs no more of a store
    lane.start()
    return lane


def writing(lane: WriteLane, *names: str) -> list[asyncio.Future[Any]]:
    return [asyncio.ensure_future(lane.write(write(name))) for name in names]


def test_a_lone_write_is_committed_where_it_is_handed_in_and_told_outside() -> None:
    async def main() -> None:
        store = Quick()
        lane = lane_of(store)
        heard: list[str] = []
        WHERE.set("in a run")
        lane.submit(write("a"), lambda outcome: heard.append(f"{outcome}, {WHERE.get()}"))
        assert store.commits == [("at once, in a run", ["a"])]
        assert heard == [], "whoever hands it in is not told before it can wait"
        await until(lambda: _is(bool(heard)), "it is told")
        assert heard == ["True, outside"]
        await lane.stop(1)

    run(main())


def test_what_comes_together_is_committed_together_by_the_thread_and_a_lone_one_at_once_again() -> None:
    async def main() -> None:
        store = Quick()
        lane = lane_of(store)
        assert await asyncio.gather(*writing(lane, "a", "b", "c", "d", "e")) == [True] * 5
        assert store.commits == [("at once, outside", ["a"]), ("thread", ["b", "c", "d", "e"])]
        store.commits.clear()
        await asyncio.gather(*writing(lane, "a", "b", "c"))
        assert store.commits == [("thread", ["a", "b", "c"])], "those who were answered together come back together"
        store.commits.clear()
        await lane.write(write("a"))
        await lane.write(write("b"))
        assert store.commits == [("at once, outside", ["a"]), ("at once, outside", ["b"])]
        await lane.stop(1)

    run(main())


def test_who_writes_alone_need_not_wait_for_the_loop_but_the_loop_gets_its_turns() -> None:
    async def main() -> None:
        store = Quick()
        lane = lane_of(store)
        assert lane.commit_here(write("who knows")) is None, "there may be others"
        for name in "abcd":
            await lane.write(write(name))
        store.commits.clear()
        outcomes = [lane.commit_here(write(f"{number}")) for number in range(10)]
        assert outcomes == [True] * 8 + [None] * 2, "others wait for a turn of the loop"
        assert [names for _, names in store.commits] == [[f"{number}"] for number in range(8)]
        await lane.write(write("with a turn"))
        assert lane.commit_here(write("again")) is True
        lane._at_once.spent = 0.001
        assert lane.commit_here(write("that took long")) is None
        await lane.write(write("with a turn"))
        store.busy = True
        assert lane.commit_here(write("somebody else writes")) is None
        store.busy = False
        await asyncio.gather(*writing(lane, "one", "another"))
        assert lane.commit_here(write("no more")) is None, "another one writes"
        await lane.stop(1)

    run(main())


def test_who_writes_alone_waits_where_the_answer_comes_later_and_behind_the_thread() -> None:
    async def main() -> None:
        store = Sends()
        lane = lane_of(store)
        await _sent_alone(store, lane)
        lane._alone = 100
        assert lane.commit_here(write("a")) is None
        await lane.stop(1)
        store = Quick()  # type: ignore[assignment] # it has all of that
        lane = lane_of(store)
        lane._alone = 100
        store.gate.clear()
        calling = asyncio.ensure_future(lane.call(lambda: store.gate.wait(10)))
        await asyncio.sleep(0)
        assert lane.commit_here(write("a")) is None
        store.gate.set()
        assert await calling
        await lane.stop(1)

    run(main())


def test_nothing_overtakes_what_the_thread_has_in_hand() -> None:
    async def main() -> None:
        store = Quick()
        lane = lane_of(store)
        store.gate.clear()
        store.busy = True
        waiting = writing(lane, "first")
        assert await asyncio.to_thread(store.entered.wait, 10)
        store.busy = False
        waiting += writing(lane, "second")
        await asyncio.sleep(0)
        waiting.append(asyncio.ensure_future(lane.call(lambda: store.commits.append(("call", [])))))
        waiting += writing(lane, "third")
        await until(lambda: _is(lane.backlog() == 3), "they gather")
        store.gate.set()
        await asyncio.gather(*waiting)
        names = [names for _, names in store.commits]
        assert names == [["first"], ["second"], [], ["third"]]
        assert [where for where, _ in store.commits[:3]] == ["thread", "thread", "call"]
        await lane.stop(1)

    run(main())


def test_a_call_comes_behind_what_was_gathered_before_it() -> None:
    async def main() -> None:
        store = Sends()
        lane = lane_of(store)
        waiting = writing(lane, "sent", "a", "b")
        await asyncio.sleep(0)
        assert lane.backlog() == 2
        calling = asyncio.ensure_future(lane.call(lambda: store.commits.append(("call", []))))
        await calling  # the thread goes on meanwhile: it is up to a store to make it wait
        assert store.commits == [("thread", ["a", "b"]), ("call", [])]
        waiting += writing(lane, "c")
        await asyncio.sleep(0)
        assert lane.backlog() == 1
        store.sent[0].come()
        await until(lambda: _is(len(store.sent) == 2), "it is sent")
        store.sent[1].come()
        await asyncio.gather(*waiting)
        await lane.stop(1)

    run(main())


@pytest.mark.parametrize("slow", [True, False])
def test_while_the_disk_is_slow_the_thread_commits(slow: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        clock = [0.0]
        monkeypatch.setattr(at_once, "perf_counter", lambda: clock[0])
        store = Quick()
        quick = store.commit_at_once

        def commit_at_once(writes: Sequence[Any]) -> Any:
            outcomes = quick(writes)
            number = len(store.commits)
            clock[0] += 0.002 if slow or number % 10 == 0 else 0.0001
            return outcomes

        store.commit_at_once = commit_at_once  # type: ignore[method-assign] # its clock goes on
        lane = lane_of(store)
        for number in range(200):
            await lane.write(write(f"{number}"))
        by_thread = sum(where == "thread" for where, _ in store.commits)
        # One in ten is slow, as disks are: that changes nothing. Three in a row do; then it is looked after 16, 32 and 64 more.
        assert by_thread == (200 - 3 - 3 if slow else 0)
        await lane.stop(1)

    run(main())


def test_what_gathers_while_many_are_committed_goes_with_the_next_of_those() -> None:
    async def main() -> None:
        store = Sends()
        lane = lane_of(store)
        names = [f"{number}" for number in range(20)]
        waiting = writing(lane, *names)
        await until(lambda: _is(len(store.sent) == 1), "the first is sent")
        told: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        lane.submit(write("a run"), told.set_result)
        store.sent[0].come()
        await until(lambda: _is(len(store.sent) == 2), "the others are sent together")
        assert [sent.names for sent in store.sent] == [["0"], [*names[1:], "a run"]]

        async def again() -> None:
            await told
            await lane.write(write("again"))

        returning = asyncio.ensure_future(again())
        waiting += writing(lane, "meanwhile")
        await asyncio.sleep(0)
        store.sent[1].come()
        await until(lambda: _is(len(store.sent) == 3), "the next are sent")
        assert store.sent[2].names == ["meanwhile", "again"]
        store.sent[2].come()
        await asyncio.gather(*waiting, returning)
        await lane.stop(1)

    run(main())


async def _sent_alone(store: Sends, lane: WriteLane) -> None:
    [first] = writing(lane, "alone")
    await asyncio.sleep(0)
    store.sent[0].come()
    assert await first is True


def test_answers_that_are_not_all_there_are_waited_for() -> None:
    async def main() -> None:
        store = Sends()
        lane = lane_of(store)
        [waiting] = writing(lane, "a")
        await asyncio.sleep(0)
        [sent] = store.sent
        told = sent.answer
        looks: list[None] = []
        sent.answer = lambda: looks.append(None)
        sent.come()
        await until(lambda: _is(bool(looks)), "it is looked for")
        assert not waiting.done()
        sent.answer = told
        sent.come()
        assert await waiting is True
        assert store.commits == [("sent", ["a"])]
        sent.come()  # something comes that nobody has asked for: it is not looked at for ever
        await until(lambda: _is(lane._door == -1), "the lane looks away")
        await lane.stop(1)

    run(main())


def test_a_commit_that_is_cut_off_is_made_again_and_a_lost_lease_is_no_answer_then() -> None:
    async def main() -> None:
        store = Sends()
        lane = lane_of(store)
        saving = asyncio.ensure_future(lane.write(Save("r", 1, 7, b"{}")))
        await asyncio.sleep(0)
        behind = writing(lane, "behind")
        await asyncio.sleep(0)
        store.busy = True  # it has no connection

        def lost() -> None:
            raise StoreError("the connection was lost", retry=True)

        store.sent[0].answer = lost
        store.sent[0].come()
        with pytest.raises(UnknownOutcomeError, match=r"run 'r'.*revision 7"):
            await saving
        assert await asyncio.gather(*behind) == [True]
        assert store.commits == [("thread", ["r"]), ("thread", ["behind"])]
        store.busy = False
        again = writing(lane, "again")
        await until(lambda: _is(len(store.sent) == 2), "the next one is sent again")
        store.sent[1].come()
        await asyncio.gather(*again)
        await lane.stop(1)

    run(main())


@pytest.mark.parametrize("alone", [False, True])
def test_a_commit_of_which_nobody_knows_what_became_is_made_again(alone: bool) -> None:
    async def main() -> None:
        store = Quick()
        commit_at_once = store.commit_at_once

        def cut_off(writes: Sequence[Any]) -> Any:
            commit_at_once(writes)
            raise StoreError("the disk is gone", retry=True)

        store.commit_at_once = cut_off  # type: ignore[method-assign] # it has a bad day
        lane = lane_of(store)
        if alone:
            lane._alone = 100
            assert lane.commit_here(write("r")) is None
            store.commits.clear()
        saving = asyncio.ensure_future(lane.write(Save("r", 1, 7, b"{}")))
        await asyncio.sleep(0)
        with pytest.raises(UnknownOutcomeError):
            await saving
        assert store.commits == [("at once, outside", ["r"]), ("thread", ["r"])]
        await lane.stop(1)

    run(main())


def test_a_store_that_changes_commit_or_stands_before_another_has_all_commits() -> None:
    class Changed(Quick):
        def commit(self, writes: Sequence[Any]) -> list[Any]:
            return super().commit(writes)

    class Before:
        def __init__(self, store: Quick) -> None:
            self.store = store

        def __getattr__(self, name: str) -> Any:
            return getattr(self.store, name)

    class Both(Changed):
        def commit_at_once(self, writes: Sequence[Any]) -> Any:
            return super().commit_at_once(writes)

    def at_once(store: Any) -> bool:
        return at_once_of(store) is not None

    assert [at_once(store) for store in (Quick(), Changed(), Before(Quick()), Both())] == [True, False, False, True]


def test_of_a_batch_that_is_cut_off_each_write_is_refused_for_itself() -> None:
    async def main() -> None:
        store = Sends()
        lane = lane_of(store)
        await _sent_alone(store, lane)

        def commit(writes: Sequence[Any]) -> list[Any]:
            if any(write.run_id == "bad" for write in writes):
                raise RuntimeError("a bug of the store")
            return Quick.commit(store, writes)

        store.commit = commit  # type: ignore[method-assign] # it has a bug
        [first] = writing(lane, "first")
        await asyncio.sleep(0)
        waiting = [*writing(lane, "good", "bad"), asyncio.ensure_future(lane.write(Save("r", 1, 7, b"{}")))]
        await asyncio.sleep(0)
        store.sent[1].come()
        await until(lambda: _is(len(store.sent) == 3), "they are sent")

        def lost() -> None:
            raise StoreError("the connection was lost", retry=True)

        store.sent[2].answer = lost
        store.sent[2].come()
        answers = await asyncio.gather(first, *waiting, return_exceptions=True)
        assert [type(answer) for answer in answers] == [bool, bool, RuntimeError, UnknownOutcomeError]
        await lane.stop(1)

    run(main())


def test_what_is_under_way_when_a_lane_ends_is_waited_for() -> None:
    async def main() -> None:
        store = Sends()
        lane = lane_of(store)
        waiting = writing(lane, "a", "b")
        await asyncio.sleep(0)
        stopping = asyncio.ensure_future(lane.stop(10, lambda: store.commits.append(("closed", []))))
        await asyncio.sleep(0)
        with pytest.raises(StoreError, match="closed"):
            await lane.write(write("late"))
        store.sent[0].come()
        await stopping
        assert await asyncio.gather(*waiting) == [True, True]
        assert store.commits == [("sent", ["a"]), ("thread", ["b"]), ("closed", [])]

    run(main())


def test_a_lane_that_ends_leaves_alone_what_is_not_answered() -> None:
    async def main() -> None:
        store = Sends()
        lane = lane_of(store)
        waiting = writing(lane, "a", "b")
        await asyncio.sleep(0)
        await lane.stop(0.01)
        assert store.sent[0].abandoned
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert "may be saved or not" in str(answers[0])
        assert answers[1] is True

    run(main())


def test_a_loop_that_can_t_watch_leaves_it_all_to_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        def add_reader(*_: Any) -> None:
            raise NotImplementedError

        monkeypatch.setattr(asyncio.get_running_loop(), "add_reader", add_reader)
        store = Sends()
        lane = lane_of(store)
        for name in "ab":
            assert await lane.write(write(name)) is True
        assert store.sent[0].abandoned
        assert store.commits == [("thread", ["a"]), ("thread", ["b"])]
        await lane.stop(1)

    run(main())


def test_threads_hand_in_as_well_while_the_lane_is_open() -> None:
    async def main() -> None:
        store = Quick()
        lane = lane_of(store)
        heard: list[Any] = []
        await asyncio.to_thread(lane.submit_threadsafe, write("a"), heard.append)
        lane.submit_threadsafe(write("b"), heard.append)
        await until(lambda: _is(len(heard) == 2), "both are told")
        assert store.commits == [("at once, outside", ["a"]), ("at once, outside", ["b"])]
        late = threading.Thread(target=lane.submit_threadsafe, args=(write("late"), heard.append))
        late.start()
        late.join()  # before the loop has a turn
        await lane.stop(1)
        await asyncio.sleep(0)
        assert isinstance(heard[2], StoreError), "it came to the loop when the lane was closed: it is told so"
        with pytest.raises(StoreError, match="closed"):
            await asyncio.to_thread(lane.submit_threadsafe, write("c"), heard.append)
        lanes.append(lane)

    lanes: list[WriteLane] = []
    run(main())
    [lane] = lanes
    lane._closed = False  # as of an engine that nobody has left
    with pytest.raises(StoreError, match="closed"):
        lane.submit_threadsafe(write("d"), print)


async def _is(holds: bool) -> bool:
    return holds
