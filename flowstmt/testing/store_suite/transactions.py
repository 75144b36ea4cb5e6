"""Transactions: what an action writes and the checkpoint commit together; starts and messages in the caller's own."""

from __future__ import annotations

from flowstmt.errors import StoreError
from flowstmt.stores.protocol import MessageStatus, Posted, Started, Taken, Write
from flowstmt.testing.store_suite.case import BRIEF, PAST, StoreCase

__all__ = ["Joins", "Transactions"]


class OddError(Exception):
    """What an action raises."""


class Transactions(StoreCase):
    """``transaction``."""

    def test_a_transaction_commits_the_checkpoint(self) -> None:
        self.held()
        self.start("to")
        self.one(self.message("m"))
        with self.store.transaction() as transaction:
            save = self.save(
                revision=4,
                taken=[Taken("m", MessageStatus.done, b"1")],
                messages=[self.message("x", "to")],
                children=[self.new("child")],
                rest=self.rest("Finished", "end"),
            )
            assert transaction.commit(save) is True
        run = self.got()
        assert (run.revision, run.status, run.owner, run.snapshot) == (4, "Finished", None, b'{"at":"4"}')
        assert self.store.answers(["m"])["m"].answer == b"1"
        assert (self.new_messages("to"), self.got("child").run_id) == (["x"], "child")

    def test_leaving_without_a_commit_rolls_back(self) -> None:
        self.held()
        before = self.got()
        with self.store.transaction():
            pass
        with self.raises(OddError), self.store.transaction():
            raise OddError
        assert self.got() == before
        assert self.one(self.save()) is True, "and keeps nobody from writing"

    def test_a_transaction_whose_lease_is_lost_commits_nothing(self) -> None:
        self.held("r", lease=BRIEF)
        self.claim_when_due()
        before = self.got()
        with self.store.transaction() as transaction:
            outcome = self.store.join(transaction.connection, [self.new("child")])
            assert isinstance(outcome[0], Started), "a transaction's connection can be joined"
            assert transaction.commit(self.save()) is False, "the lease is lost"
        assert self.got() == before
        assert self.store.get("child") is None, "what was written in the transaction stayed"

    def test_what_an_action_wrote_is_committed_with_the_checkpoint(self) -> None:
        self.held()
        with self.store.transaction() as transaction:
            self.write_note(self.database, transaction.connection, "charged")
            assert transaction.commit(self.save()) is True
        assert list(self.notes(self.database)) == ["charged"]
        assert self.got().revision == 1

    def test_what_an_action_wrote_is_gone_if_it_raised_or_lost_its_lease(self) -> None:
        self.held()
        with self.store.transaction() as transaction:
            self.write_note(self.database, transaction.connection, "kept")
            transaction.commit(self.save())
        with self.raises(OddError), self.store.transaction() as transaction:
            self.write_note(self.database, transaction.connection, "failed")
            raise OddError
        with self.store.transaction() as transaction:
            self.write_note(self.database, transaction.connection, "forgotten")
        with self.store.transaction() as transaction:
            self.write_note(self.database, transaction.connection, "late")
            assert transaction.commit(self.save(fence=9)) is False, "this fence was never given"
        assert list(self.notes(self.database)) == ["kept"], "a failed attempt's writes must be gone"
        assert self.got().revision == 1

    def test_starts_and_messages_of_an_action_commit_with_it(self) -> None:
        self.held()
        self.parked("to")
        for number, commits in enumerate((False, True)):
            with self.store.transaction() as transaction:
                writes: list[Write] = [self.new("child", labels={"a": "b"}), self.message("m", "to")]
                answers = self.store.join(transaction.connection, writes)
                assert isinstance(answers[0], Started), "a NewRun is answered with Started"
                assert (answers[0].created, answers[1]) == (True, Posted.posted), f"attempt {number}"
                if commits:
                    assert transaction.commit(self.save()) is True
            assert (self.store.get("child") is not None, self.new_messages("to") == ["m"]) == (commits, commits)
        assert set(self.claim()) == {"child", "to"}

    def test_transactions_of_many_threads_all_commit(self) -> None:
        for number in range(4):
            self.held(f"r{number}")

        def move(number: int) -> None:
            for revision in range(1, 6):
                with self.store.transaction() as transaction:
                    assert transaction.commit(self.save(f"r{number}", revision=revision)) is True

        def commit() -> None:
            for number in range(10):
                assert self.store.commit([self.message(f"m{number}", "r0")]) == [Posted.posted]

        self.in_threads(*(lambda n=number: move(n) for number in range(4)), commit)
        assert [self.got(f"r{number}").revision for number in range(4)] == [5] * 4
        assert len(self.new_messages("r0")) == 10


class Joins(StoreCase):
    """``join``, in a transaction that the caller has opened, and ends."""

    def test_a_start_and_a_message_are_seen_once_the_caller_commits(self) -> None:
        self.parked("to")
        with self.open_connection(self.database) as connection:
            writes: list[Write] = [self.new("r", labels={"a": "b"}, start_at=PAST), self.message("m", "to", key="evt-1")]
            answers = self.store.join(connection, writes)
            assert isinstance(answers[0], Started), "a NewRun is answered with Started"
            assert (answers[0].created, answers[1]) == (True, Posted.posted)
            assert (self.store.get("r"), self.new_messages("to")) == (None, []), "it is seen before the caller has committed"
            connection.commit()
        assert (self.got().labels, self.new_messages("to")) == ({"a": "b"}, ["m"])
        assert set(self.claim()) == {"r", "to"}

    def test_nothing_is_left_if_the_caller_rolls_back(self) -> None:
        self.parked("to")
        with self.open_connection(self.database) as connection:
            self.store.join(connection, [self.new("r", single_flight="k"), self.message("m", "to", key="evt-1")])
            connection.rollback()
        assert self.store.get("r") is None
        assert self.new_messages("to") == []
        assert self.claim() == {}
        self.start("r", single_flight="k")
        assert self.one(self.message("m", "to", key="evt-1")) == Posted.posted, "nothing of it is remembered"

    def test_answers_are_those_of_a_commit(self) -> None:
        self.start("there", single_flight="k")
        self.parked("over", "Finished")
        self.parked("to")
        self.one(self.message("m", "to", key="evt-1"))
        with self.open_connection(self.database) as connection:
            writes: list[Write] = [
                self.new("there"),
                self.new("r", single_flight="k"),
                self.message("a", "over"),
                self.message("b", "nobody"),
            ]
            there, in_flight, over, unknown = self.store.join(connection, writes)
            assert (there.created, there.in_flight, there.existing.run_id) == (False, False, "there")
            assert (in_flight.created, in_flight.in_flight, in_flight.existing.run_id) == (False, True, "there")
            assert (over, unknown) == (Posted.over, Posted.unknown)
            writes = [self.message("c", "to", key="evt-1"), self.message("d", "to"), self.new("born")]
            duplicate, posted, born = self.store.join(connection, writes)
            assert (duplicate, posted, born.created) == (Posted.duplicate, Posted.posted, True), "the transaction goes on"
            connection.commit()
        assert (self.new_messages("to"), self.store.get("r")) == (["m", "d"], None)

    def test_a_sender_in_a_long_transaction_keeps_nobody_from_moving_the_run(self) -> None:
        if self.one_writer_at_a_time:
            self.skip("an open transaction keeps all others from writing in this database")
        self.held(single_flight="k")
        with self.open_connection(self.database) as connection:
            self.store.join(connection, [self.message("m")])
            assert self.one(self.save(revision=1, rest=self.rest(wake_at=PAST)), self.other) is True
            (claimed,) = self.other.claim("two", {"Order": 1}, BRIEF, 10).runs
            assert list(claimed.messages) == [], "the message is not there yet"
            rest = self.rest("Finished")
            assert self.one(self.save(fence=claimed.fence, revision=2, rest=rest), self.other) is True
            connection.rollback()

    def test_a_connection_of_another_database_is_refused(self) -> None:
        self.start("there")
        for stranger in (object(), None):
            with self.raises(StoreError):
                self.store.join(stranger, [self.new("r")])
        assert self.store.get("r") is None
