"""``commit_at_once``, for stores that have it: it answers as ``commit`` does, or has done nothing, and waits for nobody.

What it can't do now, or not in this way, is handed to ``commit``, as the engine does. So nearly all here is asked by both ways
and compared; how often a store takes the short one is its own matter.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, cast

from flowstmt.errors import StoreError
from flowstmt.stores.at_once import CommitsAtOnce, Underway, at_once_of
from flowstmt.stores.protocol import (
    HistoryRow,
    Message,
    MessageKind,
    MessageStatus,
    NewRun,
    Outcome,
    Publication,
    Release,
    Rest,
    Save,
    Setback,
    Started,
    Store,
    Taken,
    Withdrawal,
    Write,
)
from flowstmt.testing.store_suite.case import DEADLINE, HOUR, PAST, StoreCase

__all__ = ["AtOnce", "answers_at_once", "awaited"]

SOON = 1.0
"""So many seconds are much for what waits for nobody, and little for what waits for a lock."""


def answers_at_once(store: Store, writes: Sequence[Write]) -> Sequence[Outcome] | None:
    """The answers, or None if it was not done and is to be handed to ``commit``."""
    commit_at_once = at_once_of(store)
    if commit_at_once is None:
        return None
    begun = commit_at_once(writes)
    if begun is None or isinstance(begun, Sequence):
        return begun
    try:
        return awaited(begun)
    except StoreError as error:
        if not error.retry:
            raise AssertionError("what failed underway is to be handed to commit, but its error says otherwise") from error
        return None


def awaited(underway: Underway) -> Sequence[Outcome]:
    """The answers of what is underway, for which an event loop would wait in this way."""
    deadline = time.monotonic() + DEADLINE
    while (outcomes := underway.outcomes()) is None:
        left = deadline - time.monotonic()
        assert left > 0, f"a commit is underway for more than {DEADLINE:.0f} s"
        with selectors.DefaultSelector() as selector:  # select.select knows no descriptor from 1024 on
            selector.register(underway.fileno(), selectors.EVENT_READ)
            selector.select(left)
    return outcomes


class AtOnce(StoreCase):
    """``commit_at_once``."""

    def needed(self, store: Store | None = None) -> CommitsAtOnce:
        """The store, if it has this."""
        store = store or self.store
        if at_once_of(store) is None:
            self.skip("this store has no commit_at_once")
        return cast(CommitsAtOnce, store)

    def either_way(self, *writes: Write, store: Store | None = None) -> Sequence[Outcome]:
        """Commit at once, or else as ever."""
        store = store or self.store
        outcomes = answers_at_once(store, writes)
        if outcomes is None:
            return self.commit(*writes, store=store)
        assert len(outcomes) == len(writes), f"{len(writes)} writes have {len(outcomes)} answers"
        assert not [found for found in outcomes if isinstance(found, Exception)], "what is refused is for commit to say"
        return outcomes

    def test_a_checkpoint_is_made_at_once_if_nothing_is_in_its_way(self) -> None:
        self.needed()
        self.held()
        revision = 0

        def once() -> bool | None:
            nonlocal revision
            revision += 1
            save = self.save(revision=revision)
            outcomes = answers_at_once(self.store, [save])
            if outcomes is None:
                self.one(save)  # so that the connection is there the next time
                return None
            assert list(outcomes) == [True], f"a checkpoint of who holds the lease was answered {outcomes!r}"
            return True

        self.until(once, "no checkpoint is ever made at once")
        assert self.got(store=self.other).revision == revision, "what was answered was not committed"
        assert self.got().snapshot == b'{"at":"%d"}' % revision

    def test_every_kind_of_write_is_answered_as_a_commit_does(self) -> None:
        self.needed()
        for batch in every_kind():
            for _ in range(2):  # the second time as after an unknown outcome
                plain = self.commit(*about("a", batch))
                soon = self.either_way(*about("b", batch))
                told = [_comparable(outcome, "a") for outcome in plain]
                assert [_comparable(outcome, "b") for outcome in soon] == told, f"{batch} was answered otherwise at once"
        for run in ("owner", "rested", "over", "child", "back", "free", "to"):
            assert self.stored(f"b-{run}") == self.stored(f"a-{run}"), f"the run {run} is stored otherwise"

    def stored(self, run_id: str) -> object:
        """All that is stored of a run, but for its name and the clock."""
        run = self.got(run_id)
        prefix = run_id[:2]
        messages = [[m.removeprefix(prefix) for m in self.new_messages(run_id, status)] for status in MessageStatus]
        attempts = [(row.revision, row.attempt, row.error) for row in self.store.history(run_id, 0, 100)]
        told = (run.status, run.position, run.revision, run.attempts, run.snapshot, run.error, run.owner, run.fence)
        published = [found.body for found in self.store.published(run_id, 0, 100)]
        return told, run.wake_at is None, run.finished_at is None, messages, attempts, published

    def test_of_many_checkpoints_those_without_a_lease_are_answered_so(self) -> None:
        self.needed()
        runs = [f"r{number:02}" for number in range(70)]
        self.commit(*(self.new(run, worker="one", lease=HOUR) for run in runs))
        for revision, size in enumerate((2, 5, 64, 70), start=1):
            saves = [self.save(run, revision=revision) for run in runs[:size]]
            saves[1] = replace(saves[1], fence=7)
            assert list(self.either_way(*saves)) == [True, False, *[True] * (size - 2)], "a lost lease is answered False"
            assert list(self.either_way(*saves)) == [True, False, *[True] * (size - 2)], "also when handed in twice"
            assert [self.got(run).revision for run in runs[:size]] == [revision, 0, *[revision] * (size - 2)]

    def test_checkpoints_of_one_run_are_made_in_their_order(self) -> None:
        self.needed()
        runs = [f"r{number}" for number in range(6)]
        self.commit(*(self.new(run, worker="one", lease=HOUR) for run in runs))
        twice: list[Write] = [self.save(run, revision=revision) for revision in (1, 2) for run in runs]
        assert list(self.either_way(*twice)) == [True] * 12
        assert [(self.got(run).revision, self.got(run).snapshot) for run in runs] == [(2, b'{"at":"2"}')] * 6
        mixed = [self.save("r0", revision=3), self.save("r0", revision=4, rest=self.rest()), self.save("r0", revision=5)]
        rest = [self.save(run, revision=3) for run in runs[1:]]
        assert list(self.either_way(*mixed, *rest)) == [True, True, False, *[True] * 5], "after its rest nobody owns the run"
        assert [self.got(run).revision for run in runs] == [4, 3, 3, 3, 3, 3]

    def test_what_is_committed_at_once_may_be_handed_to_commit_again(self) -> None:
        self.needed()
        for batch in every_kind():
            first = self.either_way(*about("a", batch))
            again = self.commit(*about("a", batch))
            self.commit(*about("b", batch))
            other_way = self.either_way(*about("b", batch))
            found = [_comparable(outcome, "b") for outcome in other_way]
            assert [_comparable(outcome, "a") for outcome in again] == found, f"{batch} handed in twice is answered otherwise"
            assert len(first) == len(again)

    def test_an_empty_batch_does_nothing(self) -> None:
        self.needed()
        assert list(self.either_way()) == []

    def test_commits_of_other_threads_and_those_at_once_all_are_made(self) -> None:
        self.needed()
        for number in range(3):
            self.held(f"r{number}")
        self.parked("to")

        def at_once() -> None:
            for revision in range(1, 41):
                found = self.either_way(self.save("r0", revision=revision), self.message(f"a{revision}", "to"))
                assert found[0] is True, "a checkpoint was lost"

        def commit(store: Store, number: int) -> None:
            for revision in range(1, 41):
                saved, _ = store.commit([self.save(f"r{number}", revision=revision), self.message(f"{number}{revision}", "to")])
                assert saved is True, "a checkpoint was lost"

        self.in_threads(at_once, partial(commit, self.store, 1), partial(commit, self.other, 2))
        assert [self.got(f"r{number}").revision for number in range(3)] == [40] * 3
        assert len(set(self.new_messages("to"))) == 120

    def test_while_somebody_else_writes_it_returns_at_once_and_nothing_was_done(self) -> None:
        self.needed()
        if not self.one_writer_at_a_time:
            self.skip("an open transaction keeps nobody from writing in this database")
        self.held()
        for holder in (self.other, self.store):
            with holder.transaction():
                begun = time.monotonic()
                batches: list[list[Write]] = [[self.save()], [self.save(), self.new("new")], [self.message("m")]]
                for writes in batches:
                    assert answers_at_once(self.store, writes) is None, "it can't be done while somebody else writes"
                assert time.monotonic() - begun < SOON, "it has waited for somebody"
            assert (self.got().revision, self.store.get("new"), self.new_messages()) == (0, None, [])
        assert self.one(self.save()) is True

    def test_a_write_that_can_not_be_kept_leaves_nothing_of_its_neighbours(self) -> None:
        self.needed()
        self.held()
        odd = "\ud800 is half a character"
        writes: list[Write] = [self.new("before"), self.new(odd), self.save(), self.new("after")]
        answers = answers_at_once(self.store, writes)
        if answers is None:
            assert (self.store.get("before"), self.store.get("after"), self.got().revision) == (None, None, 0)
            answers = self.commit(*writes)
        assert [isinstance(answers[n], Started) for n in (0, 3)] == [True, True]
        assert (answers[2], self.got().revision) == (True, 1)

    def test_news_that_is_committed_at_once_lets_a_wait_return(self) -> None:
        self.needed()
        self.held()
        for waiting in (self.other, self.store):
            news = partial(self.knock, waiting is self.store)
            self.returns(waiting, news, "a message")

    def knock(self, odd: bool, number: int) -> None:
        """Something new for who waits."""
        self.either_way(self.message(f"{odd}{number}"))

    def test_others_that_write_wait_for_the_end_of_what_is_underway(self) -> None:
        store = self.needed()
        for run in ("a", "b"):
            self.held(run)
        saves = [self.save("a"), self.save("b")]
        begun = store.commit_at_once(saves[:1])
        if begun is None or isinstance(begun, Sequence):
            self.skip("a commit of this store is never underway")

        def end() -> Sequence[Outcome]:
            return awaited(begun)

        assert self.in_threads(end, lambda: self.store.commit(saves[1:])) == [[True], [True]]
        assert [self.got(run).revision for run in ("a", "b")] == [1, 1]

    def test_what_was_underway_and_is_abandoned_keeps_nobody_from_writing(self) -> None:
        store = self.needed()
        self.held()
        begun = store.commit_at_once([self.save()])
        if begun is None or isinstance(begun, Sequence):
            self.skip("a commit of this store is never underway")
        begun.abandon()

        def again() -> list[Outcome] | None:
            try:
                return self.store.commit([self.save()])
            except StoreError as error:
                if not error.retry:
                    raise
                return None

        assert self.until(again, "what was abandoned is in the way") == [True]
        assert self.got().revision == 1


def every_kind() -> list[list[Write]]:
    """Batches that hold writes of every kind, and lead to every answer."""
    row = HistoryRow(1, "main", "pay", 1, PAST, timedelta(seconds=1), "ValueError: no tea")

    def new(run: str, **more: Any) -> NewRun:
        return NewRun(run, "Order", 1, b'{"at":"birth"}', "d", **more)

    def held(run: str) -> NewRun:
        return new(run, worker="one", lease=HOUR)

    def sent(name: str, run: str, key: str | None = None) -> Message:
        return Message(name, run, MessageKind.signal, b'{"event":"paid"}', key)

    def save(run: str, revision: int = 1, fence: int = 1, rest: Rest | None = None, **more: Any) -> Save:
        return Save(run, fence, revision, b"%d" % revision, rest, **more)

    return [
        [held(run) for run in ("owner", "rested", "over", "back", "lost")],
        [
            new("free"),
            new("to", labels={"a": "b"}),
            held("owner"),
            new("one", single_flight="k"),
            new("two", single_flight="k"),
        ],
        [save("owner")],
        [save("owner", fence=7)],
        [save("nobody")],
        [save("owner", 2), save("rested"), save("over"), save("lost", fence=3), save("back")],
        [save("rested", 2, rest=Rest("Waiting", "payment", None, b'{"type":"E"}')), save("rested", 3)],
        [save("over", 2, rest=Rest("Finished", "end", None))],
        [save("rested", 2)],
        [sent("m1", "to", "k"), sent("m2", "to", "k"), sent("m3", "nobody"), sent("m4", "over"), sent("m5", "owner")],
        [save("owner", 3, taken=[Taken("m5", MessageStatus.done, b"1")], history=[row])],
        [save("owner", 4, children=[new("child", parent="owner")], messages=[sent("m6", "child")]), save("child")],
        [sent("m7", "rested"), Withdrawal("m7"), Withdrawal("m5"), Withdrawal("none")],
        [Publication("owner", b"1"), Publication("nobody", b"2")],
        [Setback("back", 1, 2, b'{"type":"E"}', None, [row]), Setback("back", 9, 1, b"{}", None)],
        [Setback("nobody", 1, 1, b"{}", PAST), Release("back"), Release("nobody"), Release("owner"), Release("lost", 9)],
        [Release("lost", 1)],
        [save("owner", 5), save("owner", 6, rest=Rest("Waiting", "sleep", PAST)), sent("m8", "free"), new("free")],
    ]


def about(prefix: str, batch: Sequence[Write]) -> list[Write]:
    """The same writes about runs, messages and keys of other names."""

    def named(write: Any) -> Any:
        if isinstance(write, Withdrawal):
            return replace(write, id=f"{prefix}-{write.id}")
        changed: dict[str, Any] = {"run_id": f"{prefix}-{write.run_id}"}
        if isinstance(write, Message):
            changed["id"] = f"{prefix}-{write.id}"
        if isinstance(write, NewRun) and write.single_flight is not None:
            changed["single_flight"] = f"{prefix}-{write.single_flight}"
        if isinstance(write, Save):
            changed["messages"] = [named(message) for message in write.messages]
            changed["children"] = [named(child) for child in write.children]
            changed["taken"] = [replace(taken, id=f"{prefix}-{taken.id}") for taken in write.taken]
        return replace(write, **changed)

    return [named(write) for write in batch]


def _comparable(outcome: Outcome, prefix: str) -> object:
    """An answer without what differs between two runs: their names and instants."""
    if not isinstance(outcome, Started) or outcome.existing is None:
        return outcome
    run = outcome.existing
    return outcome.created, outcome.in_flight, run.run_id.removeprefix(prefix), run.status, run.revision, run.snapshot
