"""Messages: posted by senders who lock no run, seen by the owner, answered, and known for ever by id and key."""

from __future__ import annotations

import json

from flowstmt.stores.protocol import Message, MessageKind, MessageStatus, Posted, Release, Taken, Withdrawal, Write
from flowstmt.testing.store_suite.case import BRIEF, HOUR, StoreCase

__all__ = ["Answers", "Inboxes"]

NEW, KEPT, DONE, DEAD = MessageStatus.new, MessageStatus.kept, MessageStatus.done, MessageStatus.dead


class Inboxes(StoreCase):
    """``Message``, and what ``claim`` and ``rest`` do about it."""

    def test_a_message_makes_a_parked_run_due_and_comes_with_the_claim(self) -> None:
        self.parked()
        before = self.store.now()
        body = b'{"event":"paid","payload":{"a":[1,null]}}'
        assert self.one(self.message("m", key="evt-1", kind=MessageKind.callback, body=body)) == Posted.posted
        (message,) = self.claim()["r"].messages
        told = (message.id, message.run_id, message.kind, message.key, message.status, json.loads(message.body))
        assert told == ("m", "r", MessageKind.callback, "evt-1", NEW, json.loads(body)), "a message is not what was posted"
        assert message.created_at is not None, "the store says when it came"
        assert before <= message.created_at <= self.store.now(), "by the database's clock"

    def test_messages_come_in_the_order_in_which_they_were_posted(self) -> None:
        self.parked()
        ids = ["z", "a", "m", "b", "y"]
        self.commit(*(self.message(name) for name in ids[:3]))
        for name in ids[3:]:
            self.one(self.message(name))
        assert self.new_messages() == ids
        assert [message.id for message in self.claim()["r"].messages] == ids
        assert [message.id for message in self.store.messages("r", NEW, 2)] == ids[:2], "up to the limit"

    def test_a_message_keeps_coming_until_a_save_says_what_became_of_it(self) -> None:
        self.parked()
        self.one(self.message("m"))
        first = self.claim("one", lease=BRIEF)["r"]
        second = self.claim_when_due()
        assert [message.id for message in second.messages] == ["m"], "the first owner died before it saved"
        assert second.fence == first.fence + 1

    def test_what_is_kept_comes_again_and_what_is_done_or_dead_does_not(self) -> None:
        self.parked()
        self.commit(*(self.message(name) for name in ("kept", "done", "dead", "new")))
        fence = self.claim()["r"].fence
        taken = [Taken("kept", KEPT), Taken("done", DONE, b"1"), Taken("dead", DEAD, b'"why"')]
        assert self.one(self.save(fence=fence, revision=2, taken=taken)) is True
        for status, name in zip(MessageStatus, ("new", "kept", "done", "dead"), strict=True):
            assert self.new_messages(status=status) == [name], f"what is {status.value}"
        self.one(Release("r", fence))
        claimed = self.claim()["r"]
        assert [(message.id, message.status) for message in claimed.messages] == [("kept", KEPT), ("new", NEW)]
        self.one(self.save(fence=claimed.fence, revision=3, taken=[Taken("kept", DONE), Taken("new", DONE)]))
        assert self.new_messages() == self.new_messages(status=KEPT) == []

    def test_a_kept_message_does_not_make_its_run_due(self) -> None:
        self.parked()
        self.one(self.message("m"))
        fence = self.claim()["r"].fence
        self.one(self.save(fence=fence, revision=2, taken=[Taken("m", KEPT)], rest=self.rest()))
        assert self.claim() == {}, "nobody waits for it yet, and nobody has to look at it again"

    def test_a_rest_with_a_message_that_was_not_seen_leaves_the_run_due(self) -> None:
        self.parked()
        self.one(self.message("seen"))
        fence = self.claim()["r"].fence
        self.one(self.message("unseen"))
        assert self.one(self.save(fence=fence, revision=2, taken=[Taken("seen", DONE)], rest=self.rest())) is True
        assert self.got().owner is None, "it rests all the same"
        claimed = self.claim("two")["r"]
        assert [message.id for message in claimed.messages] == ["unseen"], "the message would have to wait for ever"
        self.one(self.save(fence=claimed.fence, revision=3, taken=[Taken("unseen", DONE)], rest=self.rest()))
        assert self.claim() == {}, "all has been seen now"

    def test_a_message_posted_in_the_commit_of_the_rest_leaves_the_run_due(self) -> None:
        for number, writes in enumerate([[1, 0], [0, 1]]):
            self.held(f"r{number}")
            both: list[Write] = [self.save(f"r{number}", rest=self.rest()), self.message(f"m{number}", f"r{number}")]
            self.commit(*(both[write] for write in writes))
            assert set(self.claim()) == {f"r{number}"}

    def test_a_message_for_a_run_that_is_owned_waits_for_its_owner(self) -> None:
        self.held()
        assert self.one(self.message("m"), self.other) == Posted.posted
        assert self.claim("two") == {}, "it takes the run from nobody"
        assert [message.id for message in self.store.renew("one", {"r": 1}, HOUR).messages] == ["m"]

    def test_a_message_for_a_paused_run_is_kept_for_later_and_wakes_it_not(self) -> None:
        self.parked(status="Paused")
        assert self.one(self.message("m")) == Posted.posted
        assert self.claim() == {}, "a Paused run was claimed"
        self.one(Release("r"))
        assert [message.id for message in self.claim()["r"].messages] == ["m"], "it comes once the run is released"

    def test_a_rest_as_paused_with_an_unseen_message_stays_paused(self) -> None:
        self.held()
        self.one(self.message("m"))
        self.one(self.save(rest=self.rest("Paused")))
        assert (self.got().status, self.claim()) == ("Paused", {}), "a message has woken a Paused run"
        assert self.new_messages() == ["m"]

    def test_a_message_for_a_run_that_is_over_or_unknown_is_not_kept(self) -> None:
        self.parked("over", "Finished")
        assert self.commit(self.message("a", "over"), self.message("b", "nobody")) == [Posted.over, Posted.unknown]
        for status in MessageStatus:
            assert self.new_messages("over", status) == self.new_messages("nobody", status) == []
        assert self.claim() == {}, "a run that is over was woken"

    def test_a_message_of_an_id_or_key_that_its_run_has_had_is_a_duplicate(self) -> None:
        self.parked()
        self.parked("other")
        assert self.one(self.message("m", key="evt-1")) == Posted.posted
        for message in (self.message("m", key="evt-1"), self.message("m2", key="evt-1")):
            assert self.one(message) == Posted.duplicate, "the run has had it"
        assert self.one(self.message("m3", "other", key="evt-1")) == Posted.posted, "a key is unique in its run only"
        assert self.commit(self.message("m4"), self.message("m5")) == [Posted.posted] * 2, "no key is equal to no other"
        assert self.new_messages() == ["m", "m4", "m5"]

    def test_two_messages_of_one_key_in_one_commit_are_one(self) -> None:
        self.parked()
        answers = self.commit(self.message("a", key="k"), self.message("b", key="k"), self.message("a", key="k"))
        assert answers == [Posted.posted, Posted.duplicate, Posted.duplicate]
        assert self.new_messages() == ["a"]

    def test_a_key_is_remembered_after_its_message_was_delivered(self) -> None:
        for number, status in enumerate((KEPT, DONE, DEAD)):
            run = f"r{number}"
            self.held(run)
            self.one(self.message(f"m{number}", run, key="evt-1"))
            self.one(self.save(run, taken=[Taken(f"m{number}", status, b"1")]))
            answers = self.commit(self.message(f"n{number}", run, key="evt-1"), self.message(f"m{number}", run, key="evt-1"))
            assert answers == [Posted.duplicate] * 2, f"after its message was {status.value}, the key was forgotten"
            assert self.new_messages(run) == []
            self.one(self.save(run, revision=2, rest=self.rest()))
        assert self.claim() == {}, "a duplicate wakes nobody"

    def test_one_of_many_messages_of_a_key_at_the_same_time_is_posted(self) -> None:
        self.parked()
        stores = [self.store, *(self.opened() for _ in range(3))]
        works = [
            lambda s=store, w=worker: [s.commit([self.message(f"{w}-{n}", key=f"k{n}")])[0] for n in range(20)]
            for worker, store in enumerate(stores)
        ]
        for answers in zip(*self.in_threads(*works), strict=True):
            assert sorted(answers) == ["duplicate"] * 3 + ["posted"], "a message of one key was posted twice, or never"

    def test_no_message_is_overlooked_however_it_meets_the_rest_of_its_run(self) -> None:
        """Senders post while the owner puts the run to rest, over and over: each message must be seen in the end."""
        rounds, seen = 40, set[str]()
        self.parked()
        other = self.other

        def post() -> None:
            for n in range(rounds):
                assert other.commit([self.message(f"m{n}")]) == [Posted.posted], "a message for a run that is not over"

        def move() -> None:
            revision = 1

            def once() -> bool | None:
                nonlocal revision
                for claimed in self.claim().values():
                    revision += 1
                    ids = [message.id for message in claimed.messages]
                    taken = [Taken(name, DONE) for name in ids]
                    rest = self.save(fence=claimed.fence, revision=revision, taken=taken, rest=self.rest())
                    assert self.store.commit([rest]) == [True], "nobody else owns the run"
                    seen.update(ids)
                return True if len(seen) == rounds else None

            self.until(once, "a message that was posted while its run came to rest is not seen")

        self.in_threads(post, move)
        assert seen == {f"m{n}" for n in range(rounds)}


class Answers(StoreCase):
    """``answers`` and ``Withdrawal``."""

    def test_the_body_of_a_dead_letter_is_kept(self) -> None:
        self.held()
        self.commit(self.message("dead", body=b'{"amount":5}'))
        self.one(self.save(revision=1, taken=[Taken("dead", DEAD, b'"why"')]))
        (letter,) = self.store.messages("r", DEAD, 10)
        assert json.loads(letter.body) == {"amount": 5}, "who has to send it again must know what it was"

    def test_answers_are_there_for_what_is_done_or_dead(self) -> None:
        self.held()
        self.commit(*(self.message(name) for name in ("new", "kept", "done", "dead", "silent")))
        taken = [Taken("kept", KEPT), Taken("done", DONE, b'{"total":5}'), Taken("dead", DEAD, b'"why"'), Taken("silent", DONE)]
        self.one(self.save(taken=taken))
        answers = self.other.answers(["new", "kept", "done", "dead", "silent", "nobody's"])
        assert set(answers) == {"done", "dead", "silent"}, "what is new or kept has no answer yet"
        assert (answers["done"].status, json.loads(answers["done"].answer or b"")) == (DONE, {"total": 5})
        assert (answers["dead"].status, json.loads(answers["dead"].answer or b"")) == (DEAD, "why")
        assert (answers["silent"].status, answers["silent"].answer) == (DONE, None)
        assert dict(self.store.answers([])) == {}
        assert len(self.store.answers(["done"] + [f"x{n}" for n in range(3000)])) == 1, "however many are asked for"

    def test_an_answer_outlives_the_end_of_its_run(self) -> None:
        self.held()
        self.one(self.message("m"))
        self.one(self.save(taken=[Taken("m", DONE, b"7")], rest=self.rest("Finished")))
        assert self.store.answers(["m"])["m"].answer == b"7"

    def test_taking_a_message_twice_is_taking_it_once(self) -> None:
        self.held()
        self.one(self.message("m"))
        save = self.save(taken=[Taken("m", DONE, b"7"), Taken("nobody's", DONE, b"8")])
        assert self.commit(save, save) == [True, True]
        assert self.store.answers(["m"])["m"].answer == b"7"

    def test_a_save_takes_no_messages_of_other_runs(self) -> None:
        self.held()
        self.parked("other")
        self.one(self.message("theirs", "other"))
        self.one(self.save(taken=[Taken("theirs", DONE)]))
        assert self.new_messages("other") == ["theirs"]

    def test_a_message_that_nobody_saw_can_be_taken_back(self) -> None:
        self.parked()
        self.one(self.message("m"))
        assert self.one(Withdrawal("m")) is True, "it was still new"
        assert self.new_messages() == []
        assert all(not claimed.messages for claimed in self.claim().values()), "whoever was woken by it does not find it"
        assert self.commit(Withdrawal("m"), Withdrawal("nobody's")) == [True, True], "there is nothing that could be answered"
        assert dict(self.store.answers(["m"])) == {}

    def test_a_message_that_was_taken_back_leaves_its_key_to_another(self) -> None:
        self.parked("parked")
        self.held("moved")
        for run in ("parked", "moved"):
            self.one(self.message(f"{run}/first", run, key="evt-1"))
            assert self.one(self.message(f"{run}/second", run, key="evt-1")) is Posted.duplicate
            assert self.one(Withdrawal(f"{run}/first")) is True
            assert self.one(self.message(f"{run}/second", run, key="evt-1")) is Posted.posted, (
                "the run has had none of this key"
            )
            assert self.new_messages(run) == [f"{run}/second"]

    def test_a_message_that_was_seen_can_not_be_taken_back(self) -> None:
        self.held()
        for status in (KEPT, DONE, DEAD):
            self.one(self.message(status.value))
            self.one(self.save(revision=self.got().revision + 1, taken=[Taken(status.value, status, b"1")]))
            assert self.one(Withdrawal(status.value)) is False, f"it is {status.value}: its answer comes, or is there"
            assert self.new_messages(status=status) == [status.value]

    def test_messages_of_one_run_are_none_of_another(self) -> None:
        self.parked("a")
        self.parked("b")
        self.commit(self.message("m", "a"), Message("n", "b", MessageKind.control, b'{"action":"pause"}'))
        assert (self.new_messages("a"), self.new_messages("b")) == (["m"], ["n"])
        assert {run: [message.id for message in claimed.messages] for run, claimed in self.claim().items()} == {
            "a": ["m"],
            "b": ["n"],
        }
